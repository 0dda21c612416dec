//! A graph that is none of ours, run by ONNX Runtime.
//!
//! One session on one thread ([`super::call`]). Where the file leaves the number of rows open, all instruments
//! are answered in one call, those with nothing to ask among them, so that an answer does not depend on who
//! else is asked; else each call takes as many as the file says. Windows are kept here; an instrument is not
//! answered for (NaN) before its window is full.
//!
//! Before the first step the session is warmed up with [`Limits::warm_up_runs`] runs; where limits are enforced,
//! a 99th percentile beyond the budget refuses it.
//!
//! Enforced limits depend on the wall clock, so they are for live runs: a step past its budget is cut (see
//! [`super::guard`] for what cannot be) and its missing answers are NaN; after [`Limits::sleep_after_steps`]
//! of them in a row the predictor answers NaN for good. Where they are not enforced, as in a replay, steps
//! over the budget are counted and change no answer.
//!
//! Invariants: an answer is a number from 0 to 1 or NaN; a step allocates nothing on this side of ONNX
//! Runtime unless a call fails.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;

pub use super::call::Timing;
use super::call::{Call, session};
use super::library;
use super::model::{Model, Row};
use crate::predictors::architecture::{INPUTS_MAX, STEPS_MAX};
use crate::predictors::cuda::{DeviceBuildError, Execution, Program};
use crate::predictors::predictor::{BATCH_MAX, Health, Predictor, batch_of};

/// Most numbers of all windows, in one call or kept.
const NUMBERS_MAX: usize = 1 << 27;

/// What a runtime's calls may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls before the first step; how few may be made is for [`super::call`] to say.
    pub warm_up_runs: u32,
    /// What all calls of a step may take.
    pub budget: Duration,
    /// Steps in a row over the budget after which it is asked no more.
    pub sleep_after_steps: u32,
    /// Whether the wall clock may refuse, cut and put to sleep; if not, it only counts.
    pub are_enforced: bool,
}

/// How a graph is run.
#[derive(Clone, Debug)]
pub struct RuntimeConfig<'a> {
    /// The library; see [`library::locate`].
    pub library: Option<&'a Path>,
    /// Instruments whose windows are kept: 1 to [`BATCH_MAX`].
    pub instruments: usize,
    /// Features of a step.
    pub features: usize,
    /// Steps of a window, where the file leaves them open.
    pub steps: Option<usize>,
    /// Whether the answer is a logit, of which the sigmoid is taken.
    pub is_logit: bool,
    /// What calls may take.
    pub limits: Limits,
}

/// Why a graph cannot be run.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// The library is missing or none.
    #[error(
        "ONNX Runtime, {}: {message}; install libonnxruntime.so 1.17 or newer and name it in \
         strategy.onnx.library or {}", path.display(), library::VARIABLE
    )]
    Library {
        /// Where it was looked up.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// ONNX Runtime refuses the file or its first run.
    #[error("ONNX Runtime: {message}")]
    Session {
        /// What it said.
        message: String,
    },
    /// A number of inputs, steps or outputs does not fit.
    #[error("{key} = {value}: expected {expected}")]
    Value {
        /// What.
        key: &'static str,
        /// What it is.
        value: String,
        /// What would fit.
        expected: String,
    },
    /// It does not answer with a probability.
    #[error(
        "it answers {answer} to random rows: expected a probability, 0 to 1 (onnx.sigmoid = true takes the \
         sigmoid of a logit)"
    )]
    Answer {
        /// An answer.
        answer: f32,
    },
    /// It takes too long.
    #[error(
        "too slow for the cycle: {calls} calls of {p99_us} µs (99th percentile of {runs}, median {p50_us} µs) \
         in {budget_us} µs"
    )]
    Slow {
        /// Calls of a step.
        calls: usize,
        /// Median, µs.
        p50_us: u64,
        /// 99th percentile, µs.
        p99_us: u64,
        /// Calls measured.
        runs: usize,
        /// What all calls of a step may take, µs.
        budget_us: u64,
    },
    /// The system refuses the thread that watches its calls.
    #[error("the thread that watches its calls: {source}")]
    Thread {
        /// What it said.
        source: io::Error,
    },
}

impl<R> From<ort::Error<R>> for RuntimeError {
    fn from(error: ort::Error<R>) -> Self {
        // Several lines, some of them a stack.
        let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        Self::Session { message }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Runtime {
    call: Call,
    instruments: usize,
    /// Of each instrument, oldest step first.
    windows: Box<[f32]>,
    /// Steps that each holds.
    filled: Box<[usize]>,
    limits: Limits,
    health: Health,
    /// Steps over the budget since the last one that was not.
    late_in_a_row: u32,
    timing: Timing,
    bytes: usize,
}

impl Runtime {
    /// Opens a session for a file whose [`Model`] has been read, and warms it up.
    ///
    /// # Errors
    /// [`RuntimeError`]: no library, nothing that it runs, no probability, or too slow.
    pub fn new(
        bytes: &[u8],
        model: &Model,
        config: &RuntimeConfig<'_>,
    ) -> Result<Self, RuntimeError> {
        let (instruments, features) = (config.instruments, config.features);
        within("instruments", instruments, BATCH_MAX)?;
        within("features", features, INPUTS_MAX)?;
        if model.features.is_some_and(|stated| stated != features) {
            let value = model.features.map_or_else(String::new, |stated| stated.to_string());
            let expected = format!("{features}, one for each of features");
            return Err(RuntimeError::Value { key: "the file's features", value, expected });
        }
        let steps = steps_of(model.row, config.steps)?;
        let rows = model.batch.unwrap_or(instruments);
        within("the file's rows", rows, BATCH_MAX)?;
        within("numbers of all windows", rows.max(instruments) * steps * features, NUMBERS_MAX)?;
        let environment = library::load(&library::locate(config.library))?;
        let session = session(&environment, bytes)?;
        let mut call = Call::new(session, model, [rows, steps, features], config.is_logit)?;
        let calls = instruments.div_ceil(rows);
        let timing = call.warm_up(config.limits.warm_up_runs, calls)?;
        let Limits { budget, .. } = config.limits;
        if config.limits.are_enforced {
            let whole = timing.p99.checked_mul(u32::try_from(calls).unwrap_or(u32::MAX));
            if whole.is_none_or(|whole| whole > budget) {
                return Err(RuntimeError::Slow {
                    calls,
                    p50_us: timing.p50.as_micros() as u64,
                    p99_us: timing.p99.as_micros() as u64,
                    runs: timing.runs,
                    budget_us: budget.as_micros() as u64,
                });
            }
            call.guard.watch(budget)?;
        }
        Ok(Self {
            windows: vec![0.0; instruments * steps * features].into(),
            filled: vec![0; instruments].into(),
            call,
            instruments,
            limits: config.limits,
            health: Health::default(),
            late_in_a_row: 0,
            timing,
            bytes: bytes.len(),
        })
    }

    /// What calls took when it was warmed up.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Takes an instrument's row into its window.
    fn push(&mut self, instrument: usize, row: &[f32]) {
        let (steps, features) = (self.call.steps, self.call.features);
        let window = &mut self.windows[instrument * steps * features..][..steps * features];
        window.copy_within(features.., 0);
        window[(steps - 1) * features..].copy_from_slice(row);
        self.filled[instrument] = (self.filled[instrument] + 1).min(steps);
    }

    /// Whether a step that began then may go on.
    fn is_in_time(&self, began: Instant) -> bool {
        !self.limits.are_enforced || began.elapsed() < self.limits.budget
    }

    /// Counts a step.
    fn finish(&mut self, began: Instant) {
        if began.elapsed() <= self.limits.budget {
            self.late_in_a_row = 0;
            return;
        }
        self.health.over_budget += 1;
        self.late_in_a_row = self.late_in_a_row.saturating_add(1);
        self.health.is_asleep =
            self.limits.are_enforced && self.late_in_a_row >= self.limits.sleep_after_steps.max(1);
    }
}

impl Predictor for Runtime {
    fn inputs(&self) -> usize {
        self.call.features
    }

    fn steps(&self) -> usize {
        self.call.steps
    }

    fn outputs(&self) -> usize {
        1
    }

    /// Answers that fail are NaN.
    fn infer(&mut self, windows: &[f32], outputs: &mut [f32]) {
        // They are answered in pieces, so that any number will do.
        batch_of(self, usize::MAX, windows, outputs);
        let numbers = self.call.rows * self.call.steps * self.call.features;
        for (windows, outputs) in windows.chunks(numbers).zip(outputs.chunks_mut(self.call.rows)) {
            self.call.run(windows, Instant::now(), &mut self.health);
            self.call.answers(outputs, &mut self.health);
        }
    }

    fn step(&mut self, rows: &[f32], active: &[bool], outputs: &mut [f32]) {
        let (instruments, features, steps) =
            (self.instruments, self.call.features, self.call.steps);
        assert_eq!(rows.len(), instruments * features, "a row for each instrument");
        assert_eq!([active.len(), outputs.len()], [instruments; 2], "a flag and an answer each");
        for (instrument, row) in rows.chunks_exact(features).enumerate() {
            if active[instrument] {
                self.push(instrument, row);
                outputs[instrument] = f32::NAN;
            }
        }
        if self.health.is_asleep {
            return;
        }
        let began = Instant::now();
        let each = self.call.rows;
        let mut is_asked = false;
        for first in (0..instruments).step_by(each) {
            let group = first..(first + each).min(instruments);
            let is_ready = |k: usize| active[k] && self.filled[k] == steps;
            if !group.clone().any(is_ready) {
                continue;
            }
            is_asked = true;
            if !self.is_in_time(began) {
                self.health.left_out += 1;
                continue;
            }
            let numbers = group.start * steps * features..group.end * steps * features;
            if self.call.run(&self.windows[numbers], began, &mut self.health) {
                for k in group.filter(|k| active[*k] && self.filled[*k] == steps) {
                    let answer = &mut outputs[k..=k];
                    self.call.answer(k - first, answer, &mut self.health);
                }
            }
        }
        if is_asked {
            self.finish(began);
        }
    }

    fn reset(&mut self, instrument: usize) {
        self.filled[instrument] = 0;
    }

    fn device_program(&self, _: Execution) -> Result<Program, DeviceBuildError> {
        Err(DeviceBuildError::NotServed { by: "ONNX Runtime" })
    }

    /// Those of the file, which are mostly weights.
    fn weight_bytes(&self) -> usize {
        self.bytes
    }

    fn health(&self) -> Option<Health> {
        Some(self.health)
    }
}

fn steps_of(row: Row, given: Option<usize>) -> Result<usize, RuntimeError> {
    let (stated, given) = match (row, given) {
        (Row::Step, _) => return Ok(1),
        (Row::Window { steps }, given) => (steps, given),
    };
    let steps = match (stated, given) {
        (Some(stated), Some(given)) if stated != given => {
            let (value, expected) = (given.to_string(), format!("{stated}, as the file has"));
            return Err(RuntimeError::Value { key: "onnx.steps", value, expected });
        }
        (stated, given) => stated.or(given),
    };
    let Some(steps) = steps else {
        let expected = "steps of a window, which the file leaves open".to_owned();
        return Err(RuntimeError::Value { key: "onnx.steps", value: "none".to_owned(), expected });
    };
    within("steps of a window", steps, STEPS_MAX)?;
    Ok(steps)
}

fn within(key: &'static str, value: usize, max: usize) -> Result<(), RuntimeError> {
    if (1..=max).contains(&value) {
        return Ok(());
    }
    Err(RuntimeError::Value { key, value: value.to_string(), expected: format!("1 to {max}") })
}
