//! The daemon: pipeline threads, learning, signals, runs and command line.
//!
//! ```text
//!  feeds (crate) ─► pipeline ─► learning ─► signals
//!                      ▲                      │
//!  lifecycle ─► run (live, replay, report)    ▼
//!               ▲   ▲            journal, Kafka, terminal
//!             cli   service (HTTP, dashboard)
//! ```

pub mod alloc;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod evaluation;
pub mod files;
pub mod history;
pub mod learning;
pub mod lifecycle;
pub mod pipeline;
pub mod run;
pub mod service;
pub mod signals;
pub mod training;
pub mod tuning;
