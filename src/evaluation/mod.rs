//! What a trained network is worth: held against baselines on labelled rows, disturbed, timed, reported.
//!
//! ```text
//!  rows ─► streams (the network, as live) ─┐
//!     └──► baselines ──────────────────────┼─► metrics ─► bootstrap ─┐
//!     └──► perturb, drift ─────────────────┴─────────────────────────┴─► evaluate ─► report, card
//!  folder ─► catalogue (what is there), latency (what a step takes)
//! ```
//!
//! Networks are served by the daemon's own code, so that what is judged is what would run.

pub mod baselines;
pub mod bootstrap;
pub mod card;
pub mod catalogue;
pub mod drift;
pub mod evaluate;
pub mod folder;
pub mod history;
pub mod latency;
pub mod metrics;
pub mod perturb;
pub mod report;
pub mod rows;
pub mod streams;
pub mod tables;
