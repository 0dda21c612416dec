//! One training from its first epoch to the folder that the daemon serves.
//!
//! Everything that the next epoch depends on is in a checkpoint every so many epochs, at the end and when
//! it is stopped. Invariants: resumed after any epoch, a training ends with the bytes of an unbroken one; a
//! checkpoint of other rows or other settings is refused with what differs; what cannot be trained is
//! refused before anything is written; `model.toml` is written by a training that has ended, and by no
//! other.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use purkinje_kernels::{
    logistic::LogisticError,
    predictors::{architecture::Output, autoencoder::error},
    training::{
        config::TrainConfig,
        data::{DataError, Dataset},
        model::Model,
        trainer::{TrainError, Trainer},
    },
};
use thiserror::Error;

use super::{
    baselines,
    config::{served, steps},
    output::{OutputError, draw, write_history, write_network},
    samples::{Parts, Samples},
    skill::{Forecasts, Judged, Skill, Times, skills},
};
use crate::{
    learning::network::{DESCRIPTION, NetworkError, name_of},
    training::{
        checkpoint::{Checkpoint, CheckpointError, Header, Section, Topology},
        labelled_rows::LabelledRowsError,
        progress::Progress,
        run_folder::{Keeping, RunFolder, RunFolderError},
        split::SplitError,
    },
};

/// The section of a checkpoint that has the trainer's state.
const STATE: &str = "trainer";
/// Share of validation rows whose reconstruction error is below an autoencoder's anomaly scale.
const ANOMALY_PERCENTILE: f64 = 0.99;

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The network and how it learns.
    pub config: TrainConfig,
    /// Share of rows that chooses the epoch and ends the training.
    pub validation: f64,
    /// Share of rows that is scored once at the end; 0 for none.
    pub test: f64,
    /// Its checkpoints.
    pub keeping: Keeping,
}

/// Why a training cannot begin or go on.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The folder's name is no member's.
    #[error(transparent)]
    Name(#[from] NetworkError),
    /// A setting is out of range.
    #[error("{key} = {value}: expected {expected}")]
    Setting {
        /// Which.
        key: &'static str,
        /// Its value.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
    /// The labels cannot be learned from.
    #[error(transparent)]
    Rows(#[from] LabelledRowsError),
    /// The rows cannot be divided.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// A number of the rows is out of range.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The trainer refuses.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The folder takes no such training, or no checkpoint.
    #[error(transparent)]
    Run(#[from] RunFolderError),
    /// A checkpoint is damaged.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A result cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The regression to compare with refuses.
    #[error(transparent)]
    Logistic(#[from] LogisticError),
    /// The configuration cannot be told as keys and values.
    #[error("configuration: {0}")]
    Encode(#[from] toml::ser::Error),
}

/// What a training has come to.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Epochs done.
    pub epochs: u32,
    /// Number, from 1, and validation loss of the best epoch; none before the first.
    pub best: Option<(u32, f64)>,
    /// It was stopped before its end; there is no network yet.
    pub is_stopped: bool,
    /// Rows to learn from, to stop by, to judge by, and purged; labelled or not.
    pub rows: [usize; 4],
    /// Scores by part: baselines, then the network. None of an autoencoder.
    pub skills: Vec<(&'static str, Vec<Skill>)>,
    /// An autoencoder's.
    pub anomaly_scale: Option<f64>,
    /// Cycle of the first test row, ns since the epoch, if any were left aside.
    pub test_begin_ns: Option<i64>,
}

/// Trains, from the start or from the newest checkpoint in `folder`, and writes the network there.
///
/// # Errors
/// See [`SessionError`]. Checkpoints of the epochs done so far are whole.
pub fn train(
    samples: &Samples,
    settings: &Settings,
    folder: &Path,
    stop: &AtomicBool,
) -> Result<Trained, SessionError> {
    let Settings { config, validation, test, .. } = settings;
    let name = name_of(folder)?;
    check(settings)?;
    config.validate().map_err(TrainError::from)?;
    if config.needs_labels() {
        samples.check_classes()?;
    }
    let parts = samples.parts(steps(&config.architecture), *validation, *test)?;
    let data = samples.data(&parts.weights)?;
    let ranges = || (parts.training.clone(), parts.validation.clone());
    let (training, validation) = ranges();
    let mut trainer = Trainer::new(config, &data, training, validation)?;

    let expected = topology(samples, settings, &data)?;
    let mut run = RunFolder::open(folder, &settings.keeping, &expected, &[DESCRIPTION])?;
    let total = u64::from(config.epochs);
    let mut progress = Progress::stderr(&format!("train {name}"), "epochs", total);
    if let Some(mut found) = run.take_found(&mut progress) {
        let state = found.checkpoint.take_bytes(STATE)?;
        let (training, validation) = ranges();
        trainer = Trainer::resume(config, &data, training, validation, &state)?;
    }
    let mut saved = trainer.history().len();
    let mut is_best = false;
    while !trainer.is_done() && !stop.load(Ordering::Relaxed) {
        trainer.epoch()?;
        let number = trainer.history().len();
        is_best |= trainer.best_epoch().is_some_and(|(best, _)| best as usize + 1 == number);
        if run.is_due(number) {
            save(&mut run, &expected, settings, &trainer, std::mem::take(&mut is_best))?;
            write_history(folder, trainer.history())?;
            saved = number;
        }
        progress.set(number as u64, &shown(&trainer));
    }
    progress.finish();
    if trainer.history().len() > saved {
        save(&mut run, &expected, settings, &trainer, is_best)?;
    }
    write_history(folder, trainer.history())?;
    let unit = if config.needs_labels() { "cross-entropy, nat" } else { "mean squared difference" };
    draw(folder, trainer.history(), unit)?;
    let mut trained = Trained {
        epochs: trainer.history().len() as u32,
        best: trainer.best_epoch().map(|(epoch, loss)| (epoch + 1, loss)),
        is_stopped: !trainer.is_done(),
        rows: [
            count(&parts, &parts.training),
            count(&parts, &parts.validation),
            count(&parts, &parts.test),
            parts.purged,
        ],
        skills: Vec::new(),
        anomaly_scale: None,
        test_begin_ns: parts
            .test
            .clone()
            .find(|row| parts.weights[*row] > 0.0)
            .map(|row| samples.rows().rows()[row].ts_cycle_ns),
    };
    if trained.is_stopped {
        return Ok(trained);
    }
    let best = trainer.best();
    if config.needs_labels() {
        trained.skills = compare(samples, &data, &parts, config, &best)?;
    } else {
        trained.anomaly_scale = Some(anomaly_scale(&data, &parts, samples, &best)?);
    }
    let weights = best.direction_to_safetensors()?;
    let (rows, architecture) = (samples.rows(), served(&config.architecture));
    write_network(folder, rows, &architecture, trained.anomaly_scale, &weights)?;
    Ok(trained)
}

fn check(settings: &Settings) -> Result<(), SessionError> {
    if settings.validation.is_nan() || settings.validation <= 0.0 {
        return Err(SessionError::Setting {
            key: "validation",
            value: settings.validation.to_string(),
            expected: "above 0: the validation rows choose the epoch",
        });
    }
    Ok(())
}

/// What must be equal for a training to go on: rows, their division, every key of the configuration.
fn topology(
    samples: &Samples,
    settings: &Settings,
    data: &Dataset<'_>,
) -> Result<Topology, SessionError> {
    let rows = samples.rows();
    let topology = Topology::new()
        .with("rows.fingerprint", &format!("{:016x}", data.fingerprint()))
        .with("rows.features", &rows.feature_names().join(","))
        .with("rows.horizon_ms", &rows.horizon_ms)
        .with("rows.cycle_ms", &rows.cycle_ms)
        .with("split.validation", &format!("{:?}", settings.validation))
        .with("split.test", &format!("{:?}", settings.test));
    let config = toml::Table::try_from(&settings.config)?;
    Ok(topology.with_table("config", &config))
}

fn save(
    run: &mut RunFolder,
    topology: &Topology,
    settings: &Settings,
    trainer: &Trainer<'_>,
    is_best: bool,
) -> Result<(), SessionError> {
    let epochs = trainer.history().len() as u64;
    let mut metrics = BTreeMap::new();
    if let Some(epoch) = trainer.history().last() {
        metrics.insert("training.loss".to_owned(), f64::from(epoch.training_loss));
        metrics.insert("validation.loss".to_owned(), f64::from(epoch.validation_loss));
    }
    let mut checkpoint = Checkpoint::new(Header {
        topology: topology.clone(),
        seed: settings.config.seed,
        epoch: epochs,
        step: epochs,
        metrics,
    });
    checkpoint.put(STATE, Section::Bytes(trainer.checkpoint()?));
    run.save(&checkpoint, is_best)?;
    Ok(())
}

fn shown(trainer: &Trainer<'_>) -> String {
    let (Some(epoch), Some((best, loss))) = (trainer.history().last(), trainer.best_epoch()) else {
        return String::new();
    };
    format!(
        "loss {:.4}, validation {:.4}, best {loss:.4} of epoch {}",
        epoch.training_loss,
        epoch.validation_loss,
        best + 1
    )
}

fn count(parts: &Parts, range: &std::ops::Range<usize>) -> usize {
    parts.weights[range.clone()].iter().filter(|weight| **weight > 0.0).count()
}

/// Baselines that learned from the training part, and the network, on the later parts.
fn compare(
    samples: &Samples,
    data: &Dataset<'_>,
    parts: &Parts,
    config: &TrainConfig,
    network: &Model,
) -> Result<Vec<(&'static str, Vec<Skill>)>, SessionError> {
    let used = parts.training.clone().filter(|row| parts.weights[*row] > 0.0);
    let baselines = baselines::learn(samples, used)?;
    let mut all = Vec::new();
    for (name, range) in [("validation", &parts.validation), ("test", &parts.test)] {
        if range.is_empty() {
            continue;
        }
        let rows = data.samples(range.clone(), steps(&config.architecture), true)?;
        let mut forecasts = baselines::forecasts(&baselines, samples, &rows);
        let kind = config.architecture.kind().to_owned();
        forecasts
            .push(Forecasts { name: kind, p_up: probabilities(network, config, data, &rows)? });
        all.push((name, skills(&judged(samples, &rows), &forecasts, times(samples))));
    }
    Ok(all)
}

/// A network's P(up) of some rows.
///
/// # Errors
/// A row has no window.
pub(super) fn probabilities(
    network: &Model,
    config: &TrainConfig,
    data: &Dataset<'_>,
    rows: &[usize],
) -> Result<Vec<f64>, TrainError> {
    let answers = network.answers(data, rows)?;
    let is_probability = config.architecture.output() == Some(Output::Sigmoid);
    let first =
        answers.chunks_exact((answers.len() / rows.len().max(1)).max(1)).map(|a| f64::from(a[0]));
    Ok(first.map(|x| if is_probability { x } else { 1.0 / (1.0 + (-x).exp()) }).collect())
}

/// What became of some rows that have a label.
pub(super) fn judged(samples: &Samples, rows: &[usize]) -> Vec<Judged> {
    let judged = |row: &usize| {
        let ts_cycle_ns = samples.rows().rows()[*row].ts_cycle_ns;
        Some(Judged { ts_cycle_ns, is_up: samples.is_up(*row)? })
    };
    rows.iter().filter_map(judged).collect()
}

pub(super) fn times(samples: &Samples) -> Times {
    let rows = samples.rows();
    Times { cycle_ms: rows.cycle_ms, horizon_ms: rows.horizon_ms }
}

/// The reconstruction error that 99 % of the validation rows are below.
fn anomaly_scale(
    data: &Dataset<'_>,
    parts: &Parts,
    samples: &Samples,
    network: &Model,
) -> Result<f64, SessionError> {
    let rows = data.samples(parts.validation.clone(), 1, false)?;
    let rebuilt = network.answers(data, &rows)?;
    let rebuilt = rebuilt.chunks_exact(data.inputs());
    let mut errors: Vec<f32> = rows
        .iter()
        .zip(rebuilt)
        .map(|(row, x)| error(samples.rows().features_of(*row), x))
        .collect();
    errors.sort_by(f32::total_cmp);
    let rank = (ANOMALY_PERCENTILE * errors.len() as f64).ceil() as usize;
    Ok(f64::from(errors[rank.saturating_sub(1)]))
}
