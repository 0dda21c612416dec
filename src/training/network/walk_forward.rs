//! Networks beside the baselines, fold after fold in the order of time.
//!
//! Each fold learns from all rows before its boundary and is judged by those up to the next one, purged and
//! under embargo ([`purkinje_kernels::training::walk_forward`]). The latest share of what is learned from
//! ends a network's training and chooses its epoch, so that the judged rows decide nothing; the baselines
//! learn from that share, too. Invariants: all forecasters are judged by the same rows; the whole is a
//! function of rows, settings and seed.

use std::{
    fmt::Write as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use purkinje_kernels::{
    logistic::LogisticError,
    training::{
        config::TrainConfig,
        data::DataError,
        trainer::{TrainError, Trainer},
        walk_forward::{Fold, WalkForward, WalkForwardError, folds},
    },
};
use thiserror::Error;

use super::{
    baselines,
    config::steps,
    samples::{Samples, held_out},
    session::{judged, probabilities, times},
    skill::{Forecasts, Judged, Skill, skills},
};
use crate::{
    evaluation::bootstrap::Estimate,
    files::atomic_file::{AtomicFileError, write_atomically},
    training::{labelled_rows::LabelledRowsError, progress::Progress},
};

/// Most networks that are compared at once.
pub const MAX_NETWORKS: usize = 16;
/// The mean of the networks' probabilities, where there are several.
const ENSEMBLE: &str = "ensemble";

/// Why there is no table.
#[derive(Debug, Error)]
pub enum WalkForwardRunError {
    /// The labels cannot be learned from.
    #[error(transparent)]
    Rows(#[from] LabelledRowsError),
    /// A number of the rows is out of range.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The rows cannot be divided.
    #[error("walk-forward: {0}")]
    Folds(#[from] WalkForwardError),
    /// A network is refused or diverges.
    #[error("walk-forward, {name}, fold {fold}: {source}")]
    Train {
        /// The network.
        name: String,
        /// The fold, from 1.
        fold: usize,
        /// Why.
        source: TrainError,
    },
    /// The regression refuses.
    #[error(transparent)]
    Logistic(#[from] LogisticError),
    /// What was asked for cannot be compared.
    #[error("walk-forward: {key} = {value}: expected {expected}")]
    Setting {
        /// Which.
        key: &'static str,
        /// Its value.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// Somebody stopped it.
    #[error("stopped before the last fold; nothing was written")]
    Stopped,
    /// The table cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
}

/// What is compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Folds.
    pub folds: usize,
    /// Share of what is learned from that ends a training: above 0, below 1.
    pub validation: f64,
    /// The networks, 1 to [`MAX_NETWORKS`].
    pub networks: Vec<TrainConfig>,
}

/// The result.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Skills of all folds together.
    pub all: Vec<Skill>,
    /// Skills of each fold.
    pub folds: Vec<Vec<Skill>>,
}

/// Trains every network on every fold and judges them.
///
/// # Errors
/// See [`WalkForwardRunError`].
pub fn compare(
    samples: &Samples,
    settings: &Settings,
    stop: &AtomicBool,
) -> Result<Comparison, WalkForwardRunError> {
    check(settings)?;
    samples.check_classes()?;
    let data = samples.data(&[])?;
    let networks = &settings.networks;
    let longest = networks.iter().map(|config| steps(&config.architecture)).max().unwrap_or(1);
    let spans = samples.spans(longest);
    let folds = folds(&spans, WalkForward { folds: settings.folds, training_rows_max: None })?;
    let fits = (folds.len() * networks.len()) as u64;
    let mut progress = Progress::stderr("walk-forward", "trainings", fits);
    let (mut all_judged, mut all_forecasts) = (Vec::<Judged>::new(), Vec::<Forecasts>::new());
    let mut by_fold = Vec::new();
    for (number, Fold { training, validation }) in folds.into_iter().enumerate() {
        let rows = data.samples(validation, longest, true)?;
        let baselines = baselines::learn(samples, training.clone())?;
        let mut forecasts = baselines::forecasts(&baselines, samples, &rows);
        let baselines_count = forecasts.len();
        let learned = training.len();
        let parts = held_out(&spans, training, settings.validation);
        if parts[1].is_empty() {
            return Err(WalkForwardRunError::Setting {
                key: "validation",
                value: settings.validation.to_string(),
                expected: format!(
                    "more, or fewer folds: of the {learned} rows of fold {} none is left to end a \
                     training by, behind the windows of those before",
                    number + 1
                ),
            });
        }
        for (index, config) in networks.iter().enumerate() {
            let name = name(networks, index);
            let failed = |source| WalkForwardRunError::Train {
                name: name.clone(),
                fold: number + 1,
                source,
            };
            let [training, stopping] = parts.clone();
            let mut trainer = Trainer::new(config, &data, training, stopping).map_err(failed)?;
            run(&mut trainer, stop, &failed)?;
            let p_up = probabilities(&trainer.best(), config, &data, &rows).map_err(failed)?;
            forecasts.push(Forecasts { name: name.clone(), p_up });
            let done = (number * networks.len() + index + 1) as u64;
            progress.set(done, &format!("fold {}, {name}", number + 1));
        }
        if networks.len() > 1 {
            let p_up = mean(&forecasts[baselines_count..]);
            forecasts.push(Forecasts { name: ENSEMBLE.to_owned(), p_up });
        }
        let judged = judged(samples, &rows);
        by_fold.push(skills(&judged, &forecasts, times(samples)));
        all_judged.extend(judged);
        if all_forecasts.is_empty() {
            all_forecasts = forecasts;
        } else {
            for (all, new) in all_forecasts.iter_mut().zip(forecasts) {
                all.p_up.extend(new.p_up);
            }
        }
    }
    progress.finish();
    Ok(Comparison { all: skills(&all_judged, &all_forecasts, times(samples)), folds: by_fold })
}

fn check(settings: &Settings) -> Result<(), WalkForwardRunError> {
    let fault = |key, value: String, expected: String| {
        Err(WalkForwardRunError::Setting { key, value, expected })
    };
    let (count, share) = (settings.networks.len(), settings.validation);
    if !(1..=MAX_NETWORKS).contains(&count) {
        return fault("number of networks", count.to_string(), format!("1 to {MAX_NETWORKS}"));
    }
    if !(share > 0.0 && share < 1.0) {
        return fault("validation", share.to_string(), "above 0, below 1".to_owned());
    }
    if let Some(config) = settings.networks.iter().find(|config| !config.needs_labels()) {
        let kind = config.architecture.kind().to_owned();
        return fault("kind", kind, "a network that forecasts".to_owned());
    }
    Ok(())
}

fn run(
    trainer: &mut Trainer<'_>,
    stop: &AtomicBool,
    failed: &impl Fn(TrainError) -> WalkForwardRunError,
) -> Result<(), WalkForwardRunError> {
    while trainer.epoch().map_err(failed)?.is_some() {
        if stop.load(Ordering::Relaxed) {
            return Err(WalkForwardRunError::Stopped);
        }
    }
    Ok(())
}

/// A network's kind, numbered where there are several of it.
fn name(networks: &[TrainConfig], index: usize) -> String {
    let kind = |config: &TrainConfig| config.architecture.kind();
    let own = kind(&networks[index]);
    let before = networks[..index].iter().filter(|config| kind(config) == own).count();
    if before == 0 { own.to_owned() } else { format!("{own} {}", before + 1) }
}

fn mean(forecasts: &[Forecasts]) -> Vec<f64> {
    let rows = forecasts.first().map_or(0, |first| first.p_up.len());
    let of_row = |row| forecasts.iter().map(|f| f.p_up[row]).sum::<f64>() / forecasts.len() as f64;
    (0..rows).map(of_row).collect()
}

/// Writes the table as CSV: a line for each forecaster and fold, and of all folds together.
///
/// # Errors
/// The system refuses.
pub fn write(path: &Path, comparison: &Comparison) -> Result<(), WalkForwardRunError> {
    let mut text = String::from("fold,forecaster,rows,effective_rows");
    for figure in ["hit_rate", "log_loss_nat", "gain_nat", "gain_over_regression_nat"] {
        // Writing to a String cannot fail.
        let _ = write!(text, ",{figure},{figure}_low,{figure}_high");
    }
    text.push('\n');
    let folds = (1..).zip(&comparison.folds).map(|(n, skills)| (format!("{n}"), skills));
    for (fold, skills) in folds.chain([("all".to_owned(), &comparison.all)]) {
        for skill in skills {
            let _ = write!(text, "{fold},{},{},{}", skill.name, skill.rows, skill.effective_rows);
            // The regression is always among those compared.
            let over_regression = skill.gain_over_regression.as_slice();
            let figures = [skill.hit_rate, skill.log_loss, skill.gain];
            for Estimate { value, low, high } in figures.iter().chain(over_regression) {
                let _ = write!(text, ",{value},{low},{high}");
            }
            text.push('\n');
        }
    }
    Ok(write_atomically(path, &[text.as_bytes()])?)
}
