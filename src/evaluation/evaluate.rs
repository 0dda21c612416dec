//! One network held against the baselines on labelled rows: all figures of its model card.
//!
//! Invariants: the network answers every tested row as a daemon would have had it answer; the network, the
//! baselines and the bootstrap see the same rows; no clock is read and no draw is unseeded, so that the
//! same folder and rows give the same figures.

use std::path::Path;

use purkinje_kernels::logistic::LogisticError;
use purkinje_strategies::features::NAMES;
use thiserror::Error;

use super::{
    baselines::{self, BASELINES},
    bootstrap::{Draws, Estimate, Outcome, Units},
    drift::{Distance, distance},
    folder::{Folder, parameters, weights},
    metrics::{METRICS, Metric, Tally},
    perturb::{Disturbed, Importance, Level, Part},
    rows::{Rows, RowsError, Span, Split},
    streams,
};
use crate::{
    learning::network::{Network, NetworkError},
    run::spine::hex,
};

/// Rows on which disturbed inputs are scored, unless told otherwise.
pub const DISTURBED_ROWS: usize = 10_000;
/// Most periods of the figures over time.
const PERIODS: usize = 24;
/// Fewest rows of a period.
const PERIOD_ROWS: usize = 50;

/// Why a network was not evaluated.
#[derive(Debug, Error)]
pub enum EvaluationError {
    /// The network is refused.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The rows are.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// They are not for each other.
    #[error("{name}: {key} = {found}, but the rows of {title} have {expected}")]
    Mismatch {
        /// The network.
        name: String,
        /// The key of its description.
        key: &'static str,
        /// What it says.
        found: u64,
        /// What the rows are of.
        expected: u64,
        /// The rows.
        title: String,
    },
    /// The rows have other inputs than the network.
    #[error("{name}: its inputs are {inputs}, but the rows have {rows}")]
    Inputs {
        /// The network.
        name: String,
        /// Its inputs.
        inputs: String,
        /// Those of the rows.
        rows: String,
    },
    /// The network answers with what is no probability.
    #[error("{name} answers {value} to row {row} of {title}: expected a probability")]
    Answer {
        /// The network.
        name: String,
        /// What it says.
        value: f64,
        /// Which row, counted from 0 in the order of time.
        row: usize,
        /// The rows.
        title: String,
    },
    /// A baseline cannot be built.
    #[error("the logistic regression to compare with: {0}")]
    Baseline(#[from] LogisticError),
}

/// What is evaluated, and how thoroughly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Which rows are tested.
    pub span: Span,
    /// Most rows, the latest of the tested, that disturbed inputs are scored on; 0 leaves noise, missing
    /// inputs and importance out.
    pub disturbed_rows: usize,
}

impl Default for Settings {
    /// The latest 30 % of the rows, disturbed on [`DISTURBED_ROWS`].
    fn default() -> Self {
        Self { span: Span::Share(0.3), disturbed_rows: DISTURBED_ROWS }
    }
}

/// What a network is.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// Its name, which is its folder's.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// What it is made of, a key a line.
    pub architecture: String,
    /// Names of its inputs.
    pub inputs: Vec<&'static str>,
    /// Steps of its window.
    pub steps: usize,
    /// Numbers in its file of weights, if it has one.
    pub parameters: Option<usize>,
    /// Bytes of weights that an answer reads.
    pub weight_bytes: usize,
    /// From an answer to what it is about, ms.
    pub horizon_ms: u64,
    /// From one step to the next, ms.
    pub cycle_ms: u64,
    /// SHA-256 of description and weights, hexadecimal.
    pub sha256: String,
}

/// Rows of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartFacts {
    /// Rows.
    pub rows: usize,
    /// That rose and that fell.
    pub classes: [usize; 2],
    /// Cycle of the first, ns since the epoch.
    pub from_ns: i64,
    /// Cycle of the last, ns.
    pub to_ns: i64,
}

/// How a forecaster did.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// The forecaster.
    pub name: String,
    /// Its sums.
    pub tally: Tally,
    /// Its figures, in the order of [`Metric::ALL`].
    pub figures: [Estimate; METRICS],
    /// What the network gains over it, nat; that of the network itself is 0.
    pub gain: Estimate,
}

/// The figures of some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Period {
    /// Cycle of its first row, ns since the epoch.
    pub from_ns: i64,
    /// Rows that moved.
    pub rows: usize,
    /// The network's share of hits.
    pub accuracy: f64,
    /// Mean log loss, nat: the network, then [`BASELINES`].
    pub log_loss: [f64; 1 + BASELINES.len()],
}

/// How far a feature moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureDrift {
    /// The feature.
    pub name: &'static str,
    /// From the earlier rows to the tested ones.
    pub distance: Distance,
}

/// All figures of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The network.
    pub network: Facts,
    /// What the rows are.
    pub title: String,
    /// Column of the labels.
    pub label: &'static str,
    /// Instruments of the rows.
    pub instruments: usize,
    /// Rows that baselines learned from.
    pub earlier: PartFacts,
    /// Rows that were tested.
    pub tested: PartFacts,
    /// Stretches of a horizon (of a very long span, several) that have rows: what the bootstrap draws.
    pub units: usize,
    /// Of them in a run.
    pub run_units: usize,
    /// The network, then [`BASELINES`].
    pub scores: Vec<Score>,
    /// How often the price rose in each bin of the network's answers.
    pub frequencies: Vec<Estimate>,
    /// From the first to the last.
    pub periods: Vec<Period>,
    /// Rows of the disturbed figures that follow.
    pub disturbed: usize,
    /// Log loss of the base rate on them, nat.
    pub disturbed_base_loss: f64,
    /// By noise, from none.
    pub noise: Vec<Level>,
    /// By share of missing inputs, from none.
    pub missing: Vec<Level>,
    /// From the most important input.
    pub importance: Vec<Importance>,
    /// Inputs from the one that moved most.
    pub drift: Vec<FeatureDrift>,
    /// Of the network's own answers.
    pub answer_drift: Distance,
}

impl Evaluation {
    /// The baselines over which the network's gain is not surely above 0; none of a network with skill.
    #[must_use]
    pub fn unbeaten(&self) -> Vec<&str> {
        let baselines = self.scores.iter().skip(1);
        // An interval that is not there is not above 0.
        let unbeaten = baselines.filter(|score| score.gain.low.is_nan() || score.gain.low <= 0.0);
        unbeaten.map(|score| score.name.as_str()).collect()
    }

    /// The network's own score.
    #[must_use]
    pub fn own(&self) -> &Score {
        &self.scores[0]
    }
}

/// Evaluates the network of a folder. `progress` is told how many passes over disturbed rows, which take
/// most of the time, are done, and of how many.
///
/// # Errors
/// See [`EvaluationError`].
pub fn evaluate(
    folder: &Path,
    rows: &Rows,
    settings: &Settings,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Evaluation, EvaluationError> {
    let split = rows.split(settings.span)?;
    let description = Folder::read(folder)?;
    let (horizon_ms, cycle_ms) = (description.horizon_ms, description.cycle_ms);
    let data = rows.data();
    let title = || data.material.clone();
    let mut network = Network::load(folder, &description.demands(data.instruments().len()))?;
    let name = network.name().to_owned();
    for (key, found, expected) in
        [("horizon_ms", horizon_ms, data.horizon_ms), ("cycle_ms", cycle_ms, data.cycle_ms)]
    {
        if found != expected {
            let title = title();
            return Err(EvaluationError::Mismatch { name, key, found, expected, title });
        }
    }
    if network.features() != rows.inputs() {
        let inputs = |places: &[usize]| {
            places.iter().map(|place| NAMES[*place]).collect::<Vec<_>>().join(", ")
        };
        let (inputs, rows) = (inputs(network.features()), inputs(rows.inputs()));
        return Err(EvaluationError::Inputs { name, inputs, rows });
    }
    let all = streams::forecasts(&mut network, rows, 0..split.tested.end, |_, _| {});
    if let Some(row) = all.iter().position(|p_up| !(0.0..=1.0).contains(p_up)) {
        let (value, title) = (all[row], title());
        return Err(EvaluationError::Answer { name, value, row, title });
    }
    let answers = &all[split.tested.clone()];
    let baselines = baselines::forecasts(rows, &split)?;
    let forecasters: Vec<(&str, &[f64])> = std::iter::once((name.as_str(), answers))
        .chain(BASELINES.into_iter().zip(baselines.iter().map(Vec::as_slice)))
        .collect();
    let Judged { scores, frequencies, units, run_units } = judge(rows, &split, &forecasters);

    let deviations = deviations(rows, &split);
    let part = Part::latest(rows, &split.tested, settings.disturbed_rows.max(1), network.steps());
    let mut disturbed = Disturbed { network: &mut network, rows, part: &part, progress, passes: 0 };
    let (noise, missing, importance) = if settings.disturbed_rows == 0 {
        (Vec::new(), Vec::new(), Vec::new())
    } else {
        (disturbed.noise(&deviations), disturbed.missing(), disturbed.importance())
    };
    let as_f32 = |range: std::ops::Range<usize>| all[range].iter().map(|p_up| *p_up as f32);
    Ok(Evaluation {
        title: title(),
        label: rows.label(),
        instruments: data.instruments().len(),
        earlier: facts_of(rows, &split.earlier),
        tested: facts_of(rows, &split.tested),
        units,
        run_units,
        periods: periods(rows, &split, &forecasters),
        scores,
        frequencies,
        disturbed_base_loss: base_loss(rows, &split, &part, &baselines[0]),
        disturbed: if noise.is_empty() { 0 } else { part.scored.len() },
        noise,
        missing,
        importance,
        drift: drift(rows, &split),
        answer_drift: distance(as_f32(split.earlier.clone()), as_f32(split.tested.clone())),
        network: Facts {
            name: name.clone(),
            kind: description.kind,
            architecture: description.architecture,
            inputs: rows.inputs().iter().map(|place| NAMES[*place]).collect(),
            steps: network.steps(),
            parameters: weights(folder).map(|tensors| parameters(&tensors)).ok(),
            weight_bytes: network.weight_bytes(),
            horizon_ms,
            cycle_ms,
            sha256: hex(network.sha256()),
        },
    })
}

fn facts_of(rows: &Rows, range: &std::ops::Range<usize>) -> PartFacts {
    PartFacts {
        rows: range.len(),
        classes: rows.classes(range.clone()),
        from_ns: rows.rows()[range.start].ts_cycle_ns,
        to_ns: rows.rows()[range.end - 1].ts_cycle_ns,
    }
}

/// Scores and what they share.
struct Judged {
    scores: Vec<Score>,
    frequencies: Vec<Estimate>,
    units: usize,
    run_units: usize,
}

fn judge(rows: &Rows, split: &Split, forecasters: &[(&str, &[f64])]) -> Judged {
    let tested = &rows.rows()[split.tested.clone()];
    let units = Units::new(rows.data().horizon_ms, tested.iter().map(|row| row.ts_cycle_ns));
    let draws = Draws::new(units.count());
    let rose = || split.tested.clone().map(|row| rows.rose(row));
    let outcome = |answers: &[f64]| draws.outcome(&units.tallies(answers, rose()));
    let outcomes: Vec<Outcome> = forecasters.iter().map(|(_, answers)| outcome(answers)).collect();
    let own = &outcomes[0];
    let score = |((name, _), outcome): (&(&str, &[f64]), &Outcome)| Score {
        name: (*name).to_owned(),
        tally: outcome.all,
        figures: outcome.figures(),
        gain: own.gain_over(outcome),
    };
    Judged {
        scores: forecasters.iter().zip(&outcomes).map(score).collect(),
        frequencies: own.frequencies(),
        units: units.count(),
        run_units: draws.run_units(),
    }
}

/// Figures of stretches with equally many rows.
fn periods(rows: &Rows, split: &Split, forecasters: &[(&str, &[f64])]) -> Vec<Period> {
    let moved: Vec<(usize, bool)> =
        split.tested.clone().filter_map(|row| Some((row, rows.rose(row)?))).collect();
    let number = (moved.len() / PERIOD_ROWS).clamp(1, PERIODS);
    moved
        .chunks(moved.len().div_ceil(number))
        .map(|chunk| {
            let tallies: Vec<Tally> = forecasters
                .iter()
                .map(|(_, answers)| {
                    let mut tally = Tally::default();
                    for (row, up) in chunk {
                        tally.record(answers[row - split.tested.start], *up);
                    }
                    tally
                })
                .collect();
            Period {
                from_ns: rows.rows()[chunk[0].0].ts_cycle_ns,
                rows: chunk.len(),
                accuracy: tallies[0].metric(Metric::Accuracy),
                log_loss: std::array::from_fn(|k| tallies[k].metric(Metric::LogLoss)),
            }
        })
        .collect()
}

/// Log loss of the base rate on the rows of a part, nat.
fn base_loss(rows: &Rows, split: &Split, part: &Part, answers: &[f64]) -> f64 {
    let mut tally = Tally::default();
    for row in part.scored.clone() {
        if let Some(up) = rows.rose(row) {
            tally.record(answers[row - split.tested.start], up);
        }
    }
    tally.metric(Metric::LogLoss)
}

/// Standard deviation of each input over the earlier rows.
fn deviations(rows: &Rows, split: &Split) -> Vec<f32> {
    let count = split.earlier.len() as f64;
    (0..rows.inputs().len())
        .map(|place| {
            let values =
                || split.earlier.clone().map(|row| f64::from(rows.features_of(row)[place]));
            let mean = values().sum::<f64>() / count;
            (values().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt() as f32
        })
        .collect()
}

fn drift(rows: &Rows, split: &Split) -> Vec<FeatureDrift> {
    let of = |(input, place): (usize, &usize)| {
        let values = |range: &std::ops::Range<usize>| {
            range.clone().map(move |row| rows.features_of(row)[input])
        };
        let distance = distance(values(&split.earlier), values(&split.tested));
        FeatureDrift { name: NAMES[*place], distance }
    };
    let mut found: Vec<_> = rows.inputs().iter().enumerate().map(of).collect();
    found.sort_by(|a, b| b.distance.stability_index.total_cmp(&a.distance.stability_index));
    found
}
