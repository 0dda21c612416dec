//! One call of ONNX Runtime: a session with the tensors that it reads and writes.
//!
//! Tensors are allocated once and bound; their number of rows is fixed, and what is not asked for is zero. Before
//! the first step the session is run as often as is asked for on random rows (fewer where that takes longer than
//! [`WARM_UP_MAX`]); an answer to one of the first that is no probability refuses the file.
//!
//! Invariants: an answer is a number from 0 to 1 or NaN; a run allocates nothing on this side of ONNX Runtime
//! unless it fails.

use std::time::{Duration, Instant};

use ort::AsPointer as _;
use ort::logging::LogLevel;
use ort::memory::Allocator;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{IoBinding, RunOptions, Session};
use ort::value::Tensor;

use super::guard::Guard;
use super::model::{Model, Row};
use super::runtime::RuntimeError;
use crate::predictors::activation::sigmoid_one;
use crate::predictors::predictor::Health;
use crate::rng::Key;

/// Runs of a warm-up whose answers are looked at, and which are made however long they take.
const RUNS_CHECKED: u32 = 8;
/// After this the warm-up ends with fewer runs than asked for.
const WARM_UP_MAX: Duration = Duration::from_secs(5);
/// Seed of the rows that it is warmed up with.
const WARM_UP_SEED: u64 = 6;

/// What calls took when it was warmed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Median of a call.
    pub p50: Duration,
    /// 99th percentile of a call.
    pub p99: Duration,
    /// Calls measured.
    pub runs: usize,
    /// Calls of a step.
    pub calls: usize,
}

/// A session with what it reads and writes.
#[derive(Debug)]
pub(super) struct Call {
    session: Session,
    binding: IoBinding,
    input: Tensor<f32>,
    output: Tensor<f32>,
    pub(super) guard: Guard,
    pub(super) rows: usize,
    pub(super) steps: usize,
    pub(super) features: usize,
    is_logit: bool,
}

impl Call {
    pub(super) fn new(
        mut session: Session,
        model: &Model,
        [rows, steps, features]: [usize; 3],
        is_logit: bool,
    ) -> Result<Self, RuntimeError> {
        let shape = match model.row {
            Row::Step => vec![rows, features],
            Row::Window { .. } => vec![rows, steps, features],
        };
        let allocator = Allocator::default();
        let mut input = Tensor::<f32>::new(&allocator, &shape[..])?;
        input.extract_tensor_mut().1.fill(0.0);
        // What shape an answer has, only a run tells.
        let shape: Vec<i64> = {
            let mut answers = session.run(ort::inputs![&input])?;
            let answer = answers.remove(&model.output);
            let shape = answer.as_ref().and_then(|answer| answer.dtype().tensor_shape());
            shape.map(|shape| shape.to_vec()).unwrap_or_default()
        };
        let is_row_each = shape.iter().filter(|size| **size != 1).all(|size| *size == rows as i64)
            && shape.iter().product::<i64>() == rows as i64;
        if !is_row_each {
            let expected = format!("one number for each of {rows} rows");
            let value = format!("{shape:?}");
            return Err(RuntimeError::Value { key: "the answer's shape", value, expected });
        }
        let output = Tensor::<f32>::new(&allocator, &shape[..])?;
        let mut binding = session.create_binding()?;
        binding.bind_input(model.input.as_str(), &input)?;
        let guard = Guard::unwatched(RunOptions::new()?);
        let mut call =
            Self { session, binding, input, output, guard, rows, steps, features, is_logit };
        call.binding.bind_output(model.output.as_str(), &mut call.output)?;
        Ok(call)
    }

    /// Runs it on up to as many windows as a call takes; whether there are answers.
    pub(super) fn run(&mut self, windows: &[f32], step: Instant, health: &mut Health) -> bool {
        let (_, input) = self.input.extract_tensor_mut();
        let (asked, rest) = input.split_at_mut(windows.len());
        asked.copy_from_slice(windows);
        rest.fill(0.0);
        health.calls += 1;
        self.guard.begin(step);
        let result = self.bound_run();
        let is_cut = self.guard.end();
        if result.is_err() {
            if is_cut {
                health.cut += 1;
            } else {
                health.failed += 1;
            }
            self.output.extract_tensor_mut().1.fill(f32::NAN);
        }
        result.is_ok()
    }

    /// [`Session::run_binding`] without the list of outputs that it allocates.
    fn bound_run(&mut self) -> Result<(), ort::Error> {
        let (session, options) = (self.session.ptr_mut(), self.guard.options().ptr());
        // SAFETY: session, options and binding live in `self`, as do the tensors bound; they belong to one
        // another, and `&mut self` keeps every other run of this session away, which it is not safe beside.
        let status = unsafe { (ort::api().RunWithBinding)(session, options, self.binding.ptr()) };
        // SAFETY: the status comes from ONNX Runtime and is given on once.
        unsafe { ort::Error::result_from_status(status) }
    }

    /// The answers of the last run, as many as there is room for.
    pub(super) fn answers(&self, to: &mut [f32], health: &mut Health) {
        for row in 0..to.len() {
            self.answer(row, &mut to[row..=row], health);
        }
    }

    pub(super) fn answer(&self, row: usize, to: &mut [f32], health: &mut Health) {
        let raw = self.output.extract_tensor().1[row];
        let p = if self.is_logit { sigmoid_one(raw) } else { raw };
        let is_probability = raw.is_finite() && (0.0..=1.0).contains(&p);
        health.no_probability += u64::from(!is_probability);
        to[0] = if is_probability { p } else { f32::NAN };
    }

    /// Runs it on random rows and measures.
    pub(super) fn warm_up(&mut self, runs: u32, calls: usize) -> Result<Timing, RuntimeError> {
        let key = Key::new(WARM_UP_SEED);
        let mut windows = vec![0.0; self.rows * self.steps * self.features];
        let mut health = Health::default();
        let mut took = Vec::with_capacity(runs as usize);
        let mut drawn = 0_u64;
        let first = Instant::now();
        for run in 0..runs.max(RUNS_CHECKED) {
            if run >= RUNS_CHECKED && first.elapsed() > WARM_UP_MAX {
                break;
            }
            for number in &mut windows {
                // Features are kept within a few units of 0.
                *number = 4.0 * key.uniform(drawn) - 2.0;
                drawn += 1;
            }
            let began = Instant::now();
            let (_, input) = self.input.extract_tensor_mut();
            input.copy_from_slice(&windows);
            self.bound_run()?;
            took.push(began.elapsed());
            let mut answer = [0.0];
            for row in (0..self.rows).filter(|_| run < RUNS_CHECKED) {
                self.answer(row, &mut answer, &mut health);
                if health.no_probability > 0 {
                    let answer = self.output.extract_tensor().1[row];
                    return Err(RuntimeError::Answer { answer });
                }
            }
        }
        took.sort_unstable();
        let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
        Ok(Timing { p50: at(50), p99: at(99), runs: took.len(), calls })
    }
}

/// On one thread, which is the caller's, with all that does not change what the graph computes.
pub(super) fn session(
    environment: &ort::environment::Environment,
    bytes: &[u8],
) -> Result<Session, ort::Error> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_parallel_execution(false)?
        .with_deterministic_compute(true)?
        .with_log_level(LogLevel::Fatal)?
        .commit_from_memory(bytes)
}
