//! What the fuzz targets run: bytes into a decoder or reader, and what must hold of what comes out.
//!
//! Invariants: a run depends on its input alone (no clock, no state between runs); what it asserts is what
//! the module under test promises in its documentation; a run's work is bounded by the length of its
//! input. The modules are a library so that `tests/seeds.rs` can show that the seeds reach what they are
//! meant to reach.

pub mod capture_lines;
pub mod frames;
pub mod history;
pub mod json;
pub mod recording;
mod scratch;
