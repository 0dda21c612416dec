//! Training of the daemon's cerebellum: online, supervised, or both in turn.
//!
//! ```text
//!  data set, examples ─► rows ─► learners (online epochs, surrogate gradients) ─┐
//!                         │          ▲ └────────── hybrid blends ◄──────────────┘
//!                         │       session: epochs, early stopping, checkpoints, resume
//!                         └─► scores, baselines ─► report; plots and event files: record
//! ```
//!
//! What is trained is what runs: the same compiled circuit, online rule, input spikes and horizon
//! delay as in the daemon, which starts from a checkpoint of this (`model`). Invariants: a run is a
//! function of its rows and its settings; stopped at any moment and resumed, it ends with the same
//! weights to the bit; the test rows are looked at once, after the last epoch.

pub mod learners;
pub mod model;
pub mod record;
pub mod report;
pub mod rows;
pub mod score;
pub mod session;
pub mod spikes;
