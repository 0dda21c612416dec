//! One training of a generator, from its first epoch to the folder that paths are made from.
//!
//! The pair learns from the windows of the training part; those of the test part, the latest rows, are looked
//! at once, at the end. Everything that the next epoch depends on is in a checkpoint every so many epochs and at
//! the end; what came after the newest one when it was stopped is done again. Invariants: no window crosses a
//! gap, an instrument or the boundary of the parts; resumed after any epoch, a training ends with the bytes of an
//! unbroken one; a checkpoint of other rows or other settings is refused with what differs; what cannot be
//! trained is refused before anything is written; `gan.toml` is written by a training that has ended, and by no
//! other.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use purkinje_kernels::training::{
    config::ConfigError,
    data::DataError,
    gan::{
        config::GanConfig,
        trainer::{GanEpoch, GanTrainer},
    },
    trainer::TrainError,
};
use thiserror::Error;

use super::{
    comparison::{Comparison, Real, TooFewWindows},
    folder::{DESCRIPTION, Description, FolderError, repeated, write, write_history},
};
use crate::{
    learning::network,
    training::{
        checkpoint::{Checkpoint, CheckpointError, Header, Section, Topology},
        network::samples::Samples,
        progress::Progress,
        run_folder::{Keeping, RunFolder, RunFolderError},
        split::SplitError,
    },
};

/// The section of a checkpoint that has the trainer's state.
const STATE: &str = "gan";

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The pair and how it learns.
    pub config: GanConfig,
    /// Share of rows, the latest, that likeness is judged by: above 0.
    pub test: f64,
    /// Its checkpoints.
    pub keeping: Keeping,
}

/// Why a training cannot begin or go on.
#[derive(Debug, Error)]
pub enum GanSessionError {
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
    /// A key of the configuration is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The rows cannot be divided.
    #[error(transparent)]
    Split(#[from] SplitError),
    /// There is no window, or a number is out of range.
    #[error(transparent)]
    Data(#[from] DataError),
    /// There are too few windows to judge by.
    #[error(transparent)]
    TooFewWindows(#[from] TooFewWindows),
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
    Folder(#[from] FolderError),
    /// The configuration cannot be told as keys and values.
    #[error("configuration: {0}")]
    Encode(#[from] toml::ser::Error),
}

/// What a training has come to.
#[derive(Clone, Debug)]
pub struct Trained {
    /// Epochs done, as the newest checkpoint has them.
    pub epochs: u32,
    /// Losses of the last one.
    pub last: Option<GanEpoch>,
    /// Windows of the training part and of the test part.
    pub windows: [usize; 2],
    /// Rows in neither.
    pub purged: usize,
    /// How alike paths are; none where it was stopped before its end, and there is no generator yet.
    pub comparison: Option<Comparison>,
}

/// Trains, from the start or from the newest checkpoint in `folder`, and writes the generator there.
///
/// # Errors
/// See [`GanSessionError`]. Checkpoints of the epochs done so far are whole.
pub fn train(
    samples: &Samples,
    settings: &Settings,
    folder: &Path,
    stop: &AtomicBool,
) -> Result<Trained, GanSessionError> {
    let Settings { config, test, .. } = settings;
    check(settings, samples.rows().feature_names())?;
    let parts = samples.parts(config.steps, 0.0, *test)?;
    let data = samples.data(&parts.weights)?;
    let training = || parts.training.clone();
    let ends = [training(), parts.test.clone()].map(|rows| data.samples(rows, config.steps, false));
    let [learned, judged] = ends;
    let (learned, judged) = (learned?, judged?);
    let names = samples.rows().feature_names();
    let real = Real::draw(&data, names, config.steps, [&learned, &judged], config.seed)?;
    let mut trainer = GanTrainer::new(config, &data, training())?;

    let expected = topology(samples, settings, data.fingerprint())?;
    // Neither a generator nor a network is written over.
    let results = [DESCRIPTION, network::DESCRIPTION];
    let mut run = RunFolder::open(folder, &settings.keeping, &expected, &results)?;
    let steps = trainer.steps_an_epoch();
    let total = u64::from(config.epochs) * steps as u64;
    let mut progress = Progress::stderr("train gan", "steps", total);
    if let Some(mut found) = run.take_found(&mut progress) {
        let state = found.checkpoint.take_bytes(STATE)?;
        trainer = GanTrainer::resume(config, &data, training(), &state)?;
    }
    let mut saved = trainer.history().len();
    while !trainer.is_done() {
        let (before, shown) = (trainer.history().len() * steps, shown(&trainer));
        let ended = trainer.epoch_while(&mut |step| {
            progress.set((before + step) as u64, &shown);
            !stop.load(Ordering::Relaxed)
        })?;
        if ended.is_none() {
            // In the middle of an epoch, of which there are no checkpoints: the newest one stands.
            break;
        }
        let number = trainer.history().len();
        if run.is_due(number) || trainer.is_done() {
            save(&mut run, &expected, &trainer, config.seed)?;
            write_history(folder, trainer.history())?;
            saved = number;
        }
    }
    if trainer.is_done() {
        progress.set(total, &shown(&trainer));
    }
    progress.finish();
    let history = &trainer.history()[..saved];
    write_history(folder, history)?;
    let mut trained = Trained {
        epochs: saved as u32,
        last: history.last().copied(),
        windows: [learned.len(), judged.len()],
        purged: parts.purged,
        comparison: None,
    };
    if trainer.is_done() {
        let comparison = real.compare(trainer.generator(), config.seed)?;
        let description = Description {
            features: names.iter().map(|name| (*name).to_owned()).collect(),
            cycle_ms: samples.rows().cycle_ms,
            material: samples.rows().material.clone(),
            gan: config.clone(),
        };
        let weights = trainer.generator().to_safetensors()?;
        write(folder, &description, &weights, &comparison)?;
        trained.comparison = Some(comparison);
    }
    Ok(trained)
}

fn check(settings: &Settings, names: &[&str]) -> Result<(), GanSessionError> {
    let fault =
        |key, value: String, expected| Err(GanSessionError::Setting { key, value, expected });
    if settings.test.is_nan() || settings.test <= 0.0 {
        let expected = "above 0: likeness is judged by the test part";
        return fault("test", settings.test.to_string(), expected);
    }
    if let Some(name) = repeated(names) {
        return fault("features", format!("{name} twice"), "each name once");
    }
    Ok(settings.config.validate()?)
}

/// What must be equal for a training to go on: rows, their division, every key of the configuration.
fn topology(
    samples: &Samples,
    settings: &Settings,
    fingerprint: u64,
) -> Result<Topology, GanSessionError> {
    let rows = samples.rows();
    let topology = Topology::new()
        .with("rows.fingerprint", &format!("{fingerprint:016x}"))
        .with("rows.features", &rows.feature_names().join(","))
        .with("rows.cycle_ms", &rows.cycle_ms)
        .with("split.test", &format!("{:?}", settings.test));
    Ok(topology.with_table("gan", &toml::Table::try_from(&settings.config)?))
}

fn save(
    run: &mut RunFolder,
    topology: &Topology,
    trainer: &GanTrainer<'_>,
    seed: u64,
) -> Result<(), GanSessionError> {
    let epochs = trainer.history().len() as u64;
    let mut metrics = BTreeMap::new();
    if let Some(epoch) = trainer.history().last() {
        metrics.insert("discriminator.loss".to_owned(), f64::from(epoch.discriminator_loss));
        metrics.insert("generator.loss".to_owned(), f64::from(epoch.generator_loss));
    }
    let topology = topology.clone();
    let mut checkpoint =
        Checkpoint::new(Header { topology, seed, epoch: epochs, step: epochs, metrics });
    checkpoint.put(STATE, Section::Bytes(trainer.checkpoint()?));
    // Neither loss says which epoch is the best: each is relative to the other network.
    run.save(&checkpoint, false)?;
    Ok(())
}

fn shown(trainer: &GanTrainer<'_>) -> String {
    trainer.history().last().map_or_else(String::new, |epoch| {
        let GanEpoch { discriminator_loss, generator_loss } = epoch;
        let epochs = trainer.history().len();
        format!(
            "epoch {epochs}, losses: discriminator {discriminator_loss:.3}, generator \
             {generator_loss:.3}"
        )
    })
}
