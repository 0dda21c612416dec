//! Runs a study: proposes a batch, evaluates it in parallel, writes each trial down as it ends.
//!
//! Invariants: every trial of a batch is proposed, and pruned, from the batches before it alone; at
//! most `jobs` trials run at a time; when `stop` is set, trials under way are dropped and those that
//! ended are in the journal, so that a later run does exactly what is left.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::Instant,
};

use thiserror::Error;

use super::{
    journal::{JournalError, StudyFile},
    prune::Medians,
    sampler::{SamplerError, propose},
    space::Parameters,
    study::{MAX_TRIALS, State, Trial},
};

/// Most losses that a trial may report on the way.
pub const MAX_STEPS: usize = 64;
/// Longest error kept, characters.
const MAX_ERROR_CHARS: usize = 500;

/// Whether a trial goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// It does.
    Continue,
    /// It is not worth its time: return, with whatever value.
    Prune,
}

/// Why a trial has no value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ObjectiveError {
    /// It was told to stop: nothing is written down.
    #[error("stopped")]
    Stopped,
    /// It cannot be evaluated, whatever else happens.
    #[error("{0}")]
    Failed(String),
}

/// What is minimised.
pub trait Objective: Sync {
    /// The loss at `parameters`. `report` takes the step (from 1, rising, at most [`MAX_STEPS`]) and
    /// the loss up to it. Must be a function of `parameters` alone.
    ///
    /// # Errors
    /// It was stopped, or the values cannot be evaluated.
    fn evaluate(
        &self,
        parameters: &Parameters,
        report: &mut dyn FnMut(u32, f64) -> Control,
    ) -> Result<f64, ObjectiveError>;
}

/// Why a study did not go on.
#[derive(Debug, Error)]
pub enum TuneError {
    /// The study file.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The estimator.
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    /// Too many trials asked for.
    #[error("{trials} trials, expected at most {MAX_TRIALS}")]
    Trials {
        /// Trials asked for.
        trials: u64,
    },
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Trials it added.
    pub added: u64,
    /// Trials that it dropped because it was stopped.
    pub dropped: u64,
    /// Whether it was stopped before the study had all its trials.
    pub is_stopped: bool,
}

/// Goes on with a study until it has `trials` trials or `stop` is set. `ended` is told of every
/// trial, in the order in which they end.
///
/// # Errors
/// See [`TuneError`].
pub fn run(
    file: &mut StudyFile,
    objective: &dyn Objective,
    trials: u64,
    stop: &AtomicBool,
    ended: &mut dyn FnMut(&Trial),
) -> Result<Progress, TuneError> {
    if trials > MAX_TRIALS {
        return Err(TuneError::Trials { trials });
    }
    let mut progress = Progress::default();
    let jobs = file.study().header().jobs as u64;
    loop {
        let first = file.study().first_missing();
        if first >= trials {
            return Ok(progress);
        }
        if stop.load(Ordering::Relaxed) {
            progress.is_stopped = true;
            return Ok(progress);
        }
        // A batch that an earlier run left half done is proposed again, to the same values.
        let begin = first / jobs * jobs;
        let batch = begin..(begin + jobs).min(trials);
        let (proposals, medians) = plan(file, batch)?;
        let missing: Vec<_> =
            proposals.into_iter().filter(|(number, _)| !file.study().has(*number)).collect();
        run_batch(file, objective, missing, &medians, &mut progress, ended)?;
    }
}

type Proposal = (u64, Parameters);

/// Values for the trials of a batch, and what they are pruned against.
fn plan(
    file: &StudyFile,
    batch: std::ops::Range<u64>,
) -> Result<(Vec<Proposal>, Medians), SamplerError> {
    let study = file.study();
    let header = study.header();
    let history = study.before(batch.start);
    let mut proposals: Vec<Parameters> = Vec::new();
    for number in batch.clone() {
        let proposal = propose(&header.space, header.seed, number, &history, &proposals)?;
        proposals.push(proposal);
    }
    Ok((batch.zip(proposals).collect(), Medians::new(&history)))
}

fn run_batch(
    file: &mut StudyFile,
    objective: &dyn Objective,
    proposals: Vec<Proposal>,
    medians: &Medians,
    progress: &mut Progress,
    ended: &mut dyn FnMut(&Trial),
) -> Result<(), TuneError> {
    std::thread::scope(|scope| {
        let (tx, rx) = mpsc::channel();
        for (number, parameters) in proposals {
            let tx = tx.clone();
            scope.spawn(move || {
                // The receiver is gone only if the journal failed: the trial is lost anyway.
                let _ = tx.send(evaluate(objective, number, parameters, medians));
            });
        }
        drop(tx);
        for trial in rx {
            let Some(trial) = trial else {
                progress.dropped += 1;
                progress.is_stopped = true;
                continue;
            };
            ended(&trial);
            file.add(trial)?;
            progress.added += 1;
        }
        Ok(())
    })
}

/// One trial; `None` if it was stopped.
fn evaluate(
    objective: &dyn Objective,
    number: u64,
    parameters: Parameters,
    medians: &Medians,
) -> Option<Trial> {
    let begin = Instant::now();
    let mut steps: Vec<(u32, f64)> = Vec::new();
    let mut pruned_at = None;
    let result = objective.evaluate(&parameters, &mut |step, loss| {
        // What is said after the end is not heard; NaN and infinity have no place in JSON.
        if pruned_at.is_none() && loss.is_finite() && steps.len() < MAX_STEPS {
            steps.push((step, loss));
            pruned_at = medians.prunes(step, loss).then_some(loss);
        }
        if pruned_at.is_some() { Control::Prune } else { Control::Continue }
    });
    let failed = |reason: String| {
        let reason = reason.chars().take(MAX_ERROR_CHARS).collect();
        (State::Failed, None, Some(reason))
    };
    let (state, value, error) = match (pruned_at, result) {
        (Some(loss), _) => (State::Pruned, Some(loss), None),
        (None, Ok(loss)) if loss.is_finite() => (State::Complete, Some(loss), None),
        (None, Ok(loss)) => failed(format!("the loss is {loss}, expected a finite number")),
        (None, Err(ObjectiveError::Failed(reason))) => failed(reason),
        (None, Err(ObjectiveError::Stopped)) => return None,
    };
    let duration_s = begin.elapsed().as_secs_f64();
    Some(Trial { number, state, value, parameters, steps, error, duration_s })
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::atomic::AtomicU64};

    use super::*;
    use crate::tuning::{
        space::{Parameter, ParameterValue, Range, Scale, Space},
        study::{Header, ObjectiveId, Study, VERSION},
    };

    /// A bowl whose losses come in four steps, from far above; stops itself after some evaluations.
    struct Bowl<'a> {
        evaluations: AtomicU64,
        stop_after: u64,
        stop: &'a AtomicBool,
    }

    fn float(parameters: &Parameters, name: &str) -> f64 {
        let ParameterValue::Float(x) = parameters[name] else { panic!("{parameters:?}") };
        x
    }

    impl Objective for Bowl<'_> {
        fn evaluate(
            &self,
            parameters: &Parameters,
            report: &mut dyn FnMut(u32, f64) -> Control,
        ) -> Result<f64, ObjectiveError> {
            if self.evaluations.fetch_add(1, Ordering::Relaxed) >= self.stop_after {
                self.stop.store(true, Ordering::Relaxed);
                return Err(ObjectiveError::Stopped);
            }
            let (x, y) = (float(parameters, "x"), float(parameters, "y"));
            if y > 0.95 {
                return Err(ObjectiveError::Failed("too steep".into()));
            }
            let loss = (x - 0.3).powi(2) + (y.ln() + 2.0).powi(2);
            for step in 1..4 {
                if report(step, loss + f64::from(4 - step)) == Control::Prune {
                    return Ok(f64::NAN);
                }
            }
            Ok(loss)
        }
    }

    fn header(jobs: usize) -> Header {
        let of = |name: &str, low, scale| Parameter {
            name: name.into(),
            range: Range::Float { low, high: 1.0, scale },
        };
        let space = Space::new(vec![of("x", 0.0, Scale::Linear), of("y", 1e-3, Scale::Log)]);
        Header {
            version: VERSION,
            seed: 11,
            jobs,
            objective: ObjectiveId {
                what: "bowl".into(),
                data_sha256: String::new(),
                config_sha256: String::new(),
            },
            space: space.unwrap(),
        }
    }

    /// Runs a study to its end or for so many evaluations; what is on the disk afterwards.
    fn go_on(path: &Path, jobs: usize, trials: u64, evaluations: u64) -> (Study, Progress) {
        let (mut file, _) = StudyFile::open(path, &header(jobs)).unwrap();
        let stop = AtomicBool::new(false);
        let bowl = Bowl { evaluations: AtomicU64::new(0), stop_after: evaluations, stop: &stop };
        let progress = run(&mut file, &bowl, trials, &stop, &mut |_| {}).unwrap();
        (file.study().clone(), progress)
    }

    /// All but the wall time.
    fn timeless(study: &Study) -> Vec<Trial> {
        study.trials().map(|t| Trial { duration_s: 0.0, ..t.clone() }).collect()
    }

    #[test]
    fn a_study_interrupted_again_and_again_is_the_one_that_ran_through() {
        for jobs in [1, 4] {
            let dir = tempfile::tempdir().unwrap();
            let (through, progress) = go_on(&dir.path().join("a"), jobs, 42, u64::MAX);
            assert_eq!(progress, Progress { added: 42, dropped: 0, is_stopped: false });
            let path = dir.path().join("b");
            let mut runs = 0;
            let mut last = None;
            while last.as_ref().is_none_or(|(_, p): &(Study, Progress)| p.is_stopped) {
                last = Some(go_on(&path, jobs, 42, 5));
                // A kill in the middle of a write leaves part of a line.
                let mut torn = std::fs::read(&path).unwrap();
                torn.extend_from_slice(b"{\"trial\":");
                std::fs::write(&path, torn).unwrap();
                runs += 1;
                assert!(runs < 50);
            }
            assert!(runs >= 8, "{runs}");
            assert_eq!(timeless(&last.unwrap().0), timeless(&through), "{jobs} jobs");
        }
    }

    #[test]
    fn a_study_can_be_given_more_trials_later() {
        let dir = tempfile::tempdir().unwrap();
        let (through, _) = go_on(&dir.path().join("a"), 4, 30, u64::MAX);
        let path = dir.path().join("b");
        go_on(&path, 4, 13, u64::MAX);
        let (longer, _) = go_on(&path, 4, 30, u64::MAX);
        assert_eq!(timeless(&longer), timeless(&through));
    }

    #[test]
    fn parallel_studies_do_not_depend_on_timing() {
        let dir = tempfile::tempdir().unwrap();
        let (a, _) = go_on(&dir.path().join("a"), 8, 40, u64::MAX);
        let (b, _) = go_on(&dir.path().join("b"), 8, 40, u64::MAX);
        assert_eq!(timeless(&a), timeless(&b));
        let distinct: std::collections::BTreeSet<String> =
            a.trials().map(|t| format!("{:?}", t.parameters)).collect();
        assert_eq!(distinct.len(), 40, "the trials of a batch differ");
    }

    #[test]
    fn pruning_gives_up_bad_trials_early_and_failures_are_kept_with_their_reason() {
        let dir = tempfile::tempdir().unwrap();
        let (study, _) = go_on(&dir.path().join("a"), 1, 80, u64::MAX);
        let of = |state| study.trials().filter(|t| t.state == state).collect::<Vec<_>>();
        let (complete, pruned) = (of(State::Complete), of(State::Pruned));
        assert!(pruned.len() >= 10, "{} pruned", pruned.len());
        assert!(complete.len() >= 20, "{} complete", complete.len());
        assert!(pruned.iter().all(|t| (2..4).contains(&t.steps.len())), "not at the first step");
        let best_pruned = pruned
            .iter()
            .map(|t| {
                (float(&t.parameters, "x") - 0.3).powi(2)
                    + (float(&t.parameters, "y").ln() + 2.0).powi(2)
            })
            .fold(f64::INFINITY, f64::min);
        let best = study.best().unwrap().value.unwrap();
        assert!(best < best_pruned && best < 0.05, "{best} {best_pruned}");
        assert!(of(State::Failed).iter().all(|t| t.error.as_deref() == Some("too steep")));
    }
}
