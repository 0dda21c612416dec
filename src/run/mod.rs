//! Runs of the daemon: what `purkinje run`, `record` and `replay` have in common, and what differs.
//!
//! Live and replay differ in two things only: who fills the rings and who cuts the cycles. From the
//! engine on, both are the same threads with the same code.

mod feeds;
pub mod journal_thread;
mod judgement_lines;
pub mod kafka_threads;
pub mod live;
pub mod replay;
pub mod report;
pub mod simulated_session;
pub mod spine;
pub mod stop;
