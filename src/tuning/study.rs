//! A study: what is searched, and the trials so far.
//!
//! Invariants: the header never changes; trials are kept by number, each belongs to the space and has
//! a finite value exactly if it is complete or pruned; at most [`MAX_TRIALS`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    sampler::order,
    space::{Parameters, Space},
};

/// Most trials of a study.
pub const MAX_TRIALS: u64 = 100_000;
/// Most trials at a time.
pub const MAX_JOBS: usize = 256;
/// Version of the journal and of the way from history to proposal.
pub const VERSION: u32 = 1;

/// What is minimised, precisely enough to tell whether two studies minimise the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectiveId {
    /// In words.
    pub what: String,
    /// SHA-256 of the data, in hex; empty where there is none.
    pub data_sha256: String,
    /// SHA-256 of the configuration that the trials vary, in hex; empty where there is none.
    pub config_sha256: String,
}

/// What a study is: all that its trials depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub version: u32,
    /// Seed of the proposals.
    pub seed: u64,
    /// Trials proposed from one history and run at a time: 1 to [`MAX_JOBS`].
    pub jobs: usize,
    /// What is minimised.
    pub objective: ObjectiveId,
    /// What is searched.
    pub space: Space,
}

impl Header {
    /// In what `asked` differs from this study, one phrase a difference; empty if in nothing.
    #[must_use]
    pub fn differences(&self, asked: &Self) -> Vec<String> {
        let mut out = Vec::new();
        let mut compare = |name: &str, here: String, there: String| {
            if here != there {
                out.push(format!("{name} is {here} in the study and {there} now"));
            }
        };
        compare("version", self.version.to_string(), asked.version.to_string());
        compare("seed", self.seed.to_string(), asked.seed.to_string());
        compare("jobs", self.jobs.to_string(), asked.jobs.to_string());
        let (mine, theirs) = (&self.objective, &asked.objective);
        compare("the objective", mine.what.clone(), theirs.what.clone());
        compare("the data's sha256", mine.data_sha256.clone(), theirs.data_sha256.clone());
        compare(
            "the configuration's sha256",
            mine.config_sha256.clone(),
            theirs.config_sha256.clone(),
        );
        let range = |space: &Space, name: &str| {
            let found = space.parameters().iter().find(|p| p.name == name);
            found.map_or("absent".to_owned(), |p| format!("{:?}", p.range))
        };
        let names = |space: &Space| -> Vec<String> {
            space.parameters().iter().map(|p| p.name.clone()).collect()
        };
        let (mine, theirs) = (names(&self.space), names(&asked.space));
        for name in mine.iter().chain(theirs.iter().filter(|n| !mine.contains(n))) {
            compare(
                &format!("the range of {name}"),
                range(&self.space, name),
                range(&asked.space, name),
            );
        }
        // The same ranges in another order draw other numbers.
        if out.is_empty() && mine != theirs {
            out.push("the ranges are in another order".to_owned());
        }
        out
    }
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Evaluated to its end.
    Complete,
    /// Given up because it was worse than most at the same step.
    Pruned,
    /// Could not be evaluated; the error says why.
    Failed,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Pruned => "pruned",
            Self::Failed => "failed",
        }
    }
}

/// One evaluated proposal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Counts from 0.
    #[serde(rename = "trial")]
    pub number: u64,
    /// How it ended.
    pub state: State,
    /// The loss: at the end, or where it was pruned; absent when it failed.
    pub value: Option<f64>,
    /// The values tried.
    pub parameters: Parameters,
    /// Losses on the way, by step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<(u32, f64)>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Wall time it took, s; the only part that two equal studies need not share.
    pub duration_s: f64,
}

/// A header and the trials so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Study {
    header: Header,
    trials: BTreeMap<u64, Trial>,
}

impl Study {
    /// A study without trials.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self { header, trials: BTreeMap::new() }
    }

    /// What the study is.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// All trials, by number.
    pub fn trials(&self) -> impl Iterator<Item = &Trial> {
        self.trials.values()
    }

    /// Trials so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.trials.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.trials.is_empty()
    }

    /// Whether trial `number` is there.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        self.trials.contains_key(&number)
    }

    /// The trials before `number`.
    #[must_use]
    pub fn before(&self, number: u64) -> Vec<&Trial> {
        self.trials.range(..number).map(|(_, trial)| trial).collect()
    }

    /// The first trial that is not there yet.
    #[must_use]
    pub fn first_missing(&self) -> u64 {
        let gap = (0..).zip(self.trials.keys()).find(|(expected, found)| expected != *found);
        gap.map_or(self.trials.len() as u64, |(expected, _)| expected)
    }

    /// Trials from the best to the worst.
    #[must_use]
    pub fn ranked(&self) -> Vec<&Trial> {
        let mut trials: Vec<&Trial> = self.trials.values().collect();
        trials.sort_by(|a, b| order(a, b));
        trials
    }

    /// The best complete trial.
    #[must_use]
    pub fn best(&self) -> Option<&Trial> {
        self.ranked().into_iter().find(|trial| trial.state == State::Complete)
    }

    /// Adds a trial.
    ///
    /// # Errors
    /// Why it does not belong here: its number, its value or its parameters.
    pub fn add(&mut self, trial: Trial) -> Result<(), String> {
        if trial.number >= MAX_TRIALS {
            return Err(format!("trial {}, expected one below {MAX_TRIALS}", trial.number));
        }
        if self.has(trial.number) {
            return Err(format!("trial {} stands here a second time", trial.number));
        }
        let finite = trial.value.is_some_and(f64::is_finite);
        if finite != (trial.state != State::Failed) || (trial.value.is_some() && !finite) {
            return Err(format!(
                "trial {} is {} with value {:?}, expected a finite value exactly if it did not fail",
                trial.number,
                trial.state.name(),
                trial.value
            ));
        }
        if let Some(misfit) = self.header.space.misfit(&trial.parameters) {
            return Err(format!("trial {}: {misfit}", trial.number));
        }
        self.trials.insert(trial.number, trial);
        Ok(())
    }
}
