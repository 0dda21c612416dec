//! The objective in production: a replay with the trial's configuration, scored by the cerebellum's
//! walk-forward log loss.
//!
//! Each forecast is scored before its outcome is learned, so the loss of a whole recording is out of
//! sample. The cerebellum is the only member of a trial, as the others do not touch its forecasts and
//! take time. After each quarter of the recording the loss up to there is reported. What is replayed
//! is surveyed once with a cheap member: that tells its span, and that it can be scored at all.
//!
//! Invariants: trials see the configuration as it was when the study was opened; a loss depends on
//! data and configuration alone; nothing is published or written by a trial.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

use purkinje_feeds::recording::{FILE_EXTENSION, ReadError, RecordingReader};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{
    runner::{Control, Objective, ObjectiveError},
    space::{Parameters, settings},
    study::ObjectiveId,
};
use crate::{
    config::{Loaded, Problems},
    learning::loss_probe::LossProbe,
    pipeline::replay_source::Speed,
    run::{
        replay::{ReplayRunError, replay_probed},
        report::Report,
        spine::{OutletConfig, hex},
    },
    signals::terminal::Mode,
};

/// The member that is tuned.
const MEMBER: &str = "cerebellum";
/// Parts of the recording after each of which, but the last, a loss is reported.
const PARTS: i64 = 4;
/// Bytes read at a time for the hash of the data.
const CHUNK_BYTES: usize = 1 << 16;

/// Why the data cannot be used to tune on.
#[derive(Debug, Error)]
pub enum SurveyError {
    /// The configuration does not load with the survey's member.
    #[error(transparent)]
    Config(#[from] Problems),
    /// The data cannot be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayRunError),
    /// A recording cannot be listed.
    #[error(transparent)]
    Recording(#[from] ReadError),
    /// The data cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// The replay broke off.
    #[error("the data cannot be replayed to its end: {0}")]
    Broken(String),
    /// There is no label to score.
    #[error(
        "no forecast can be scored: the first {warmup_s} s are left out (report.warmup_s) and no price moved after them; expected a longer recording or a shorter warm-up"
    )]
    NothingScored {
        /// The stretch left out, s.
        warmup_s: u64,
    },
    /// A signal came.
    #[error("stopped before the first trial")]
    Stopped,
}

/// Replays of one set of data under varying configurations.
#[derive(Debug)]
pub struct ReplayObjective {
    base: Loaded,
    paths: Vec<PathBuf>,
    stop: Arc<AtomicBool>,
    /// The cycle times at which the loss is reported, ns.
    due_ns: Vec<i64>,
    id: ObjectiveId,
}

impl ReplayObjective {
    /// Surveys the data: one replay without a cerebellum, one pass for its hash. `stop` ends the
    /// survey and every trial.
    ///
    /// # Errors
    /// See [`SurveyError`].
    pub fn new(
        loaded: &Loaded,
        paths: &[PathBuf],
        stop: Arc<AtomicBool>,
    ) -> Result<Self, SurveyError> {
        let members = |name: &str| vec![("strategy.members".to_owned(), name.to_owned())];
        let cheap = loaded.with_sets(&members("queue-imbalance"))?;
        let report = replay_probed(&cheap, paths, Speed::Max, &silent(), &stop, None)?;
        if stop.load(Ordering::Relaxed) {
            return Err(SurveyError::Stopped);
        }
        if report.feeds.failed {
            return Err(SurveyError::Broken(report.feeds.warnings.join("; ")));
        }
        let warmup_s = loaded.config.report.warmup_s;
        let Some((first_ns, last_ns)) = report.spine.model.span_ns else {
            return Err(SurveyError::NothingScored { warmup_s });
        };
        if report.spine.model.forecaster.scorecard().labelled() == 0 {
            return Err(SurveyError::NothingScored { warmup_s });
        }
        let span_ns = last_ns.saturating_sub(first_ns);
        let base = loaded.with_sets(&members(MEMBER))?;
        let id = ObjectiveId {
            what: format!(
                "log loss of the cerebellum, walk forward after {warmup_s} s, over {:.1} s of {} instruments",
                span_ns as f64 * 1e-9,
                report.instruments.len()
            ),
            data_sha256: data_sha256(paths)?,
            config_sha256: hex(&base.hash()),
        };
        let due_ns = (1..PARTS).map(|part| first_ns + span_ns / PARTS * part).collect();
        Ok(Self { base, paths: paths.to_vec(), stop, due_ns, id })
    }

    /// What is minimised.
    #[must_use]
    pub fn id(&self) -> &ObjectiveId {
        &self.id
    }
}

impl Objective for ReplayObjective {
    fn evaluate(
        &self,
        parameters: &Parameters,
        report: &mut dyn FnMut(u32, f64) -> Control,
    ) -> Result<f64, ObjectiveError> {
        let failed = |e: &dyn std::error::Error| {
            ObjectiveError::Failed(e.to_string().lines().collect::<Vec<_>>().join("; "))
        };
        if self.stop.load(Ordering::Relaxed) {
            return Err(ObjectiveError::Stopped);
        }
        let loaded = self.base.with_sets(&settings(parameters)).map_err(|e| failed(&e))?;
        // Room for every loss: the model thread never waits for this one.
        let (tx, rx) = mpsc::sync_channel(self.due_ns.len());
        let probe = LossProbe::new(MEMBER, &self.due_ns, tx);
        let enough = Arc::new(AtomicBool::new(false));
        let result = std::thread::scope(|scope| {
            let replaying = scope.spawn(|| {
                replay_probed(&loaded, &self.paths, Speed::Max, &silent(), &enough, Some(probe))
            });
            // The channel closes when the model thread ends; till then a stop is looked for, too.
            let mut step = 0;
            loop {
                match rx.recv_timeout(std::time::Duration::from_millis(20)) {
                    Ok(loss) => {
                        step += 1;
                        if report(step, loss) == Control::Prune {
                            enough.store(true, Ordering::Relaxed);
                        }
                    }
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                }
                if self.stop.load(Ordering::Relaxed) {
                    enough.store(true, Ordering::Relaxed);
                }
            }
            replaying.join()
        });
        if self.stop.load(Ordering::Relaxed) {
            return Err(ObjectiveError::Stopped);
        }
        let report = result
            .map_err(|_| ObjectiveError::Failed("the replay panicked".to_owned()))?
            .map_err(|e| failed(&e))?;
        loss_of(&report)
    }
}

/// The cerebellum's mean log loss over the whole replay.
fn loss_of(report: &Report) -> Result<f64, ObjectiveError> {
    if report.feeds.failed {
        return Err(ObjectiveError::Failed(report.feeds.warnings.join("; ")));
    }
    let skill = report.spine.model.forecaster.scorecard().skills().find(|s| s.name == MEMBER);
    skill.filter(|skill| skill.n > 0).map(|skill| skill.log_loss).ok_or_else(|| {
        ObjectiveError::Failed("no forecast of the cerebellum was scored".to_owned())
    })
}

fn silent() -> OutletConfig {
    OutletConfig { journal: None, kafka: None, terminal: Mode::Off, title: String::new() }
}

/// SHA-256 over all files in the order in which they are replayed. Their names do not count.
fn data_sha256(paths: &[PathBuf]) -> Result<String, SurveyError> {
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        if path.is_dir() || path.extension().is_some_and(|e| e == FILE_EXTENSION) {
            files.extend_from_slice(RecordingReader::open(path)?.files());
        } else {
            files.push(path.clone());
        }
    }
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    for path in &files {
        hash_file(path, &mut hasher, &mut chunk)
            .map_err(|source| SurveyError::Io { path: path.clone(), source })?;
    }
    Ok(hex(&hasher.finalize()))
}

fn hash_file(path: &Path, hasher: &mut Sha256, chunk: &mut [u8]) -> io::Result<()> {
    let mut file = File::open(path)?;
    loop {
        match file.read(chunk)? {
            0 => return Ok(()),
            n => hasher.update(&chunk[..n]),
        }
    }
}
