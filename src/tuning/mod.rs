//! Hyper-parameter search: a seeded tree-structured Parzen estimator over ranges of configuration
//! keys, with median pruning, parallel trials and a journal from which a study goes on.
//!
//! ```text
//!  space ─► sampler ─► runner ─► objective (a replay with the trial's configuration)
//!              ▲          │ ▲         │ loss after each quarter
//!            study ◄─ journal └─ prune ◄┘
//! ```
//!
//! Trials are worked on in batches of as many as run in parallel. What a trial is given, and what it
//! is pruned against, depends on the batches before its own and on nothing else, so a study is a
//! function of space, seed, number of jobs and objective: not of thread timing, nor of how often it
//! was interrupted. Another number of jobs makes another, equally valid, study.
//!
//! Invariants: trials, parameters, jobs and journal lines are bounded; a trial that the journal holds
//! is never evaluated again.

pub mod journal;
pub mod plot;
pub mod prune;
pub mod replay_objective;
pub mod runner;
pub mod sampler;
pub mod space;
pub mod study;
pub mod table;

pub use journal::{JournalError, Opened, StudyFile};
pub use plot::parallel_coordinates;
pub use runner::{Control, Objective, ObjectiveError, Progress, TuneError, run};
pub use space::{Parameter, ParameterValue, Parameters, Space, SpaceError};
pub use study::{Header, ObjectiveId, State, Study, Trial};
