//! One training from its first epoch to its last: epochs, scores, early stopping, checkpoints and
//! resume.
//!
//! After every epoch the frozen weights forecast the training and the validation rows, the monitor
//! judges the validation loss (the training loss where there is no validation), and a checkpoint with
//! everything that the next epoch depends on is on the device before it begins. Invariants: resumed
//! after any epoch, a training goes on to the same weights to the bit; a checkpoint of other rows,
//! another network or other settings is refused with what differs.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use purkinje_kernels::{
    cerebellum::{ConfigError, LearnedWeights, WeightsError},
    logistic::LogisticError,
    supervised::{
        ConvergenceMonitor, EpochReport, Goal, Loss, MonitorError, Network, NetworkError, Sample,
        TrainError, Trainer, TrainerConfig, Verdict,
        hybrid::{
            Hybrid, HybridConfig, HybridError, Learner as _, ProtocolError, SupervisedLearner,
        },
    },
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{
    learners::{Online, Played, SamplesError, logits_per_output, samples},
    model,
    record::{Record, RecordError},
    rows::Rows,
    score::{Baselines, Score},
};
use crate::{
    config::Loaded,
    run::spine::hex,
    training::{
        checkpoint::{Checkpoint, CheckpointError, Header, Section, Topology},
        plots::{QUANTILES, quantiles},
        progress::Progress,
        run_folder::{Keeping, RunFolder, RunFolderError},
    },
};

/// Sections of a checkpoint beside the weights.
const ONLINE: &str = "state.online";
const SUPERVISED: &str = "state.supervised";
const PROGRESS: &str = "progress";

/// How weights are learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The daemon's own rule.
    Online,
    /// Surrogate gradients through time.
    Supervised,
    /// Both in turn, blended.
    Hybrid,
}

impl Mode {
    const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Supervised => "supervised",
            Self::Hybrid => "hybrid",
        }
    }
}

/// How to train.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How weights are learned.
    pub mode: Mode,
    /// Epochs when the training ends; of the hybrid protocol, cycles.
    pub epochs: u64,
    /// Of supervised epochs.
    pub trainer: TrainerConfig,
    /// Supervised epochs learn from every so manieth row.
    pub every: usize,
    /// Of the hybrid protocol.
    pub hybrid: HybridConfig,
    /// Epochs without progress after which the training ends.
    pub patience: u64,
    /// Fall of the loss that counts as progress, nat.
    pub min_delta: f64,
    /// Numbered checkpoints kept.
    pub keep_last: usize,
}

/// Why a training cannot begin or go on.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The network refused its settings.
    #[error("strategy.cerebellum.{0}")]
    Circuit(#[from] ConfigError),
    /// The trainable network refused its parts.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The trainer refused a setting or a sample.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The rows make no samples.
    #[error(transparent)]
    Samples(#[from] SamplesError),
    /// The monitor refused a setting.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    /// The protocol refused a setting.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A hybrid cycle failed.
    #[error(transparent)]
    Hybrid(#[from] HybridError<WeightsError, TrainError>),
    /// Weights do not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The regression to compare with refused its settings.
    #[error("strategy.logistic.{0}")]
    Logistic(#[from] LogisticError),
    /// The folder takes no such training, or no checkpoint.
    #[error(transparent)]
    Run(#[from] RunFolderError),
    /// A checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Events or plots cannot be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The progress in a checkpoint cannot be read.
    #[error("{path}: its progress cannot be read: {source}")]
    Progress {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The progress cannot be written.
    #[error("the progress cannot be written: {0}")]
    Encode(serde_json::Error),
}

/// One epoch as it is remembered and drawn.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Its number, from 1.
    pub number: u64,
    /// Loss of what was learned from, as it was visited: from rest where supervised.
    pub learning_loss: Option<f64>,
    /// Frozen weights on the training rows.
    pub train: Score,
    /// Frozen weights on the validation rows.
    pub validation: Score,
    /// The supervised learning rate at its end.
    pub rate: Option<f64>,
    /// Mean norm of the supervised gradients before clipping.
    pub gradient_norm: Option<f64>,
    /// Quantiles of the effective weights.
    pub weights: [f64; QUANTILES.len()],
}

impl Epoch {
    /// The loss that early stopping goes by.
    #[must_use]
    pub fn judged_loss(&self) -> Option<f64> {
        self.validation.mean_loss().or_else(|| self.train.mean_loss())
    }
}

/// What a checkpoint remembers of the epochs.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Progressed {
    monitor: ConvergenceMonitor,
    has_converged: bool,
    epochs: Vec<Epoch>,
}

/// What a training has come to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every epoch.
    pub epochs: Vec<Epoch>,
    /// The best epoch's number.
    pub best_epoch: u64,
    /// SHA-256 over the last epoch's weights and read-out.
    pub weights_sha256: String,
    /// Scores by part: base rate, regression, best epoch. Parts without rows are left out.
    pub table: Vec<(&'static str, usize, [Score; 3])>,
    /// The best weights' checkpoint.
    pub best_path: PathBuf,
    /// It ended because the loss no longer fell.
    pub has_converged: bool,
    /// It was stopped before its end.
    pub is_stopped: bool,
    /// Outcomes that came when their activity was no longer held.
    pub expired: u64,
}

/// The learners of a mode.
struct Learners<'a> {
    online: Online<'a>,
    supervised: Option<SupervisedLearner<'a, f32>>,
    hybrid: Option<Hybrid<f32>>,
    loss: Loss,
    /// Samples an update.
    batch: u64,
}

impl Learners<'_> {
    /// One epoch; what was learned from lost so much, and the trainer's report.
    fn epoch(&mut self, epoch: u64) -> Result<(f64, Option<EpochReport>), SessionError> {
        match (&mut self.supervised, &mut self.hybrid) {
            (None, _) => Ok((self.online.epoch(epoch)?, None)),
            (Some(supervised), None) => {
                let report = supervised.trainer.epoch(supervised.samples, epoch)?;
                Ok((report.loss, Some(report)))
            }
            (Some(supervised), Some(hybrid)) => {
                let report = hybrid.cycle(&mut self.online, supervised)?;
                Ok((report.online_loss, None))
            }
        }
    }

    /// The weights as they would be given to the daemon.
    fn weights(&self) -> LearnedWeights {
        let mut weights = self.online.cerebellum.weights();
        if let Some(supervised) = &self.supervised {
            let parameters = supervised.trainer.parameters();
            let gain = logits_per_output(self.loss);
            weights.parallel.copy_from_slice(parameters.parallel());
            weights.readout_gain = gain * parameters.readout_gain();
            weights.readout_bias = gain * parameters.readout_bias();
            weights.outcomes += self.visited();
        }
        weights
    }

    /// Samples that supervised epochs have visited.
    fn visited(&self) -> u64 {
        self.updates() * self.batch
    }

    /// Updates of the supervised learner.
    fn updates(&self) -> u64 {
        self.supervised.as_ref().map_or(0, |s| s.trainer.optimiser().updates())
    }

    /// Updates of any kind.
    fn steps(&self) -> u64 {
        self.online.cerebellum.weights().outcomes + self.updates()
    }
}

/// What differs between two trainings on the same rows.
fn topology(loaded: &Loaded, rows: &Rows, settings: &Settings) -> Topology {
    let circuit = &rows.circuit;
    let mut topology = Topology::new()
        .with("rows.sha256", &rows.sha256())
        .with("rows.instruments", &rows.instruments)
        .with("training.mode", settings.mode.name());
    if settings.mode != Mode::Supervised {
        topology = topology
            .with("training.online_rate", &format!("{:?}", circuit.learning_rate))
            .with("training.online_pending_cycles", &circuit.pending_cycles);
    }
    if settings.mode != Mode::Online {
        let t = &settings.trainer;
        topology = topology
            .with("training.loss", &format!("{:?}", t.loss))
            .with("training.method", &format!("{:?}", t.method))
            .with("training.schedule", &format!("{:?}", t.schedule))
            .with("training.batch", &t.batch)
            .with("training.clip", &format!("{:?}", t.norm_max))
            .with("training.seed", &t.seed)
            .with("training.every", &settings.every);
    }
    if settings.mode == Mode::Hybrid {
        topology = topology.with("training.hybrid", &format!("{:?}", settings.hybrid));
    }
    model::topology(loaded, circuit, &rows.inputs).and(topology)
}

/// Trains, from the start or, if it is to `resume`, from the newest checkpoint in `dir`, and scores
/// the best epoch at the end.
///
/// # Errors
/// See [`SessionError`]. Checkpoints of the epochs done so far are whole.
pub fn train(
    loaded: &Loaded,
    rows: &Rows,
    settings: &Settings,
    dir: &Path,
    resume: bool,
    stop: &AtomicBool,
) -> Result<Outcome, SessionError> {
    let expected = topology(loaded, rows, settings);
    let keeping = Keeping { keep_last: settings.keep_last, every: 1, resume };
    let mut run = RunFolder::open(dir, &keeping, &expected, &[])?;
    let mut online = Online::new(rows)?;
    let all = match settings.mode {
        Mode::Online => Vec::new(),
        Mode::Supervised | Mode::Hybrid => samples(&online, settings.trainer.loss, settings.every)?,
    };
    let mut baselines = Baselines::new(loaded, rows)?;
    let supervised = match settings.mode {
        Mode::Online => None,
        Mode::Supervised | Mode::Hybrid => Some(supervised(&mut online, &all, settings)?),
    };
    let hybrid = match settings.mode {
        Mode::Hybrid => {
            let bounds = (0.0, rows.circuit.weight_cap);
            Some(Hybrid::new(settings.hybrid, online.weight_count(), bounds)?)
        }
        Mode::Online | Mode::Supervised => None,
    };
    let TrainerConfig { loss, batch, .. } = settings.trainer;
    let mut learners = Learners { online, supervised, hybrid, loss, batch: batch as u64 };
    let mut done = Progressed {
        monitor: ConvergenceMonitor::new(Goal::Min, settings.patience, settings.min_delta)?,
        has_converged: false,
        epochs: Vec::new(),
    };
    let title = format!("train {}", settings.mode.name());
    let mut progress = Progress::stderr(&title, "epochs", settings.epochs);
    if let Some(found) = run.take_found(&mut progress) {
        done = restore(found.checkpoint, &found.path, &mut learners)?;
    }
    let mut record = Record::create(dir)?;
    let base = baselines.score(rows, &rows.validation)[0].mean_loss();
    let initial = learners.weights().parallel;
    let mut played = Played::default();
    while (done.epochs.len() as u64) < settings.epochs && !done.has_converged {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let number = done.epochs.len() as u64;
        let (learning_loss, report) = learners.epoch(number)?;
        let weights = learners.weights();
        let on_train = learners.online.score(&weights, &rows.train)?;
        played = learners.online.score(&weights, &rows.validation)?;
        let mut sorted = weights.parallel.clone();
        let epoch = Epoch {
            number: number + 1,
            learning_loss: learning_loss.is_finite().then_some(learning_loss),
            train: on_train.score,
            validation: played.score,
            rate: report.map(|r| r.rate),
            gradient_norm: report.map(|r| r.gradient_norm).filter(|norm| norm.is_finite()),
            weights: quantiles(&mut sorted).unwrap_or_default(),
        };
        if rows.validation.rows().is_empty() {
            played = on_train;
        }
        let verdict = done.monitor.observe(epoch.judged_loss().unwrap_or(f64::NAN));
        done.has_converged = verdict == Verdict::Stop;
        let text = shown(&epoch);
        record.epoch(&epoch, base, &weights.parallel, &played.granule_hz)?;
        done.epochs.push(epoch);
        let checkpoint = save(&expected, settings, &learners, &weights, &done)?;
        run.save(&checkpoint, verdict == Verdict::Improved)?;
        progress.set(number + 1, &text);
    }
    progress.finish();
    let has_ended = done.has_converged || done.epochs.len() as u64 >= settings.epochs;
    let last = learners.weights();
    record.plots(rows, &learners.online, &done.epochs, base, [&initial, &last.parallel])?;
    let mut outcome = Outcome {
        best_epoch: done.monitor.best().map_or(0, |(seen, _)| seen + 1),
        weights_sha256: weights_sha256(&last),
        table: Vec::new(),
        best_path: run.best_path(),
        has_converged: done.has_converged,
        is_stopped: !has_ended,
        expired: learners.online.cerebellum.expired(),
        epochs: done.epochs,
    };
    drop(played);
    if has_ended && outcome.best_epoch > 0 {
        let mut best = Checkpoint::read(&outcome.best_path)?;
        best.expect_topology(&expected)?;
        let weights = model::take(&mut best, last.parallel.len())?;
        for (name, part) in
            [("train", &rows.train), ("validation", &rows.validation), ("test", &rows.test)]
        {
            if !part.rows().is_empty() {
                let [base, logistic] = baselines.score(rows, part);
                let own = learners.online.score(&weights, part)?.score;
                outcome.table.push((name, part.rows().len(), [base, logistic, own]));
            }
        }
    }
    Ok(outcome)
}

/// The supervised learner, whose network starts at the circuit's own operating point.
fn supervised<'a>(
    online: &mut Online<'_>,
    samples: &'a [Sample<f32>],
    settings: &Settings,
) -> Result<SupervisedLearner<'a, f32>, SessionError> {
    let network = Network::new(online.cerebellum.trainable())?;
    let trainer = Trainer::new(network, settings.trainer.clone())?;
    Ok(SupervisedLearner { trainer, samples })
}

fn save(
    topology: &Topology,
    settings: &Settings,
    learners: &Learners<'_>,
    weights: &LearnedWeights,
    done: &Progressed,
) -> Result<Checkpoint, SessionError> {
    let mut metrics = BTreeMap::new();
    if let Some(epoch) = done.epochs.last() {
        for (name, score) in [("train", &epoch.train), ("validation", &epoch.validation)] {
            metrics.insert(format!("{name}.loss"), score.mean_loss().unwrap_or(f64::NAN));
            metrics.insert(format!("{name}.accuracy"), score.accuracy().unwrap_or(f64::NAN));
        }
    }
    let mut checkpoint = Checkpoint::new(Header {
        topology: topology.clone(),
        seed: settings.trainer.seed,
        epoch: done.epochs.len() as u64,
        step: learners.steps(),
        metrics,
    });
    model::put(&mut checkpoint, weights);
    let mut state = Vec::new();
    learners.online.cerebellum.write_state(&mut state);
    checkpoint.put(ONLINE, Section::Bytes(state));
    if let Some(supervised) = &learners.supervised {
        let mut state = Vec::new();
        supervised.trainer.write_state(&mut state);
        checkpoint.put(SUPERVISED, Section::Bytes(state));
    }
    let json = serde_json::to_vec(done).map_err(SessionError::Encode)?;
    checkpoint.put(PROGRESS, Section::Bytes(json));
    Ok(checkpoint)
}

fn restore(
    mut checkpoint: Checkpoint,
    path: &Path,
    learners: &mut Learners<'_>,
) -> Result<Progressed, SessionError> {
    learners.online.cerebellum.read_state(&checkpoint.take_bytes(ONLINE)?)?;
    if let Some(supervised) = &mut learners.supervised {
        supervised.trainer.read_state(&checkpoint.take_bytes(SUPERVISED)?)?;
    }
    let epochs = checkpoint.header.epoch;
    learners.hybrid = learners.hybrid.take().map(|hybrid| hybrid.after(epochs));
    serde_json::from_slice(&checkpoint.take_bytes(PROGRESS)?)
        .map_err(|source| SessionError::Progress { path: path.to_owned(), source })
}

fn weights_sha256(weights: &LearnedWeights) -> String {
    let mut hash = Sha256::new();
    let readout = [weights.readout_gain, weights.readout_bias];
    for value in weights.parallel.iter().chain(&readout) {
        hash.update(value.to_le_bytes());
    }
    hex(&hash.finalize())
}

/// An epoch in a line.
fn shown(epoch: &Epoch) -> String {
    let part = |name: &str, score: &Score| match (score.mean_loss(), score.accuracy()) {
        (Some(loss), Some(hits)) => format!("{name} {loss:.4} nat {:.1} %", 100.0 * hits),
        _ => format!("{name} -"),
    };
    format!("{}, {}", part("train", &epoch.train), part("validation", &epoch.validation))
}
