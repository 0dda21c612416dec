//! Features, ensemble combination, decision and risk: pure functions over plain values.
//!
//! Nothing here reads a clock, allocates after construction or knows a thread.

pub mod anomaly;
pub mod calibrate;
pub mod challenger;
pub mod combine;
pub mod decide;
pub mod features;
mod learned;
pub mod normalise;
pub mod score;

#[cfg(test)]
#[path = "../tests/random/mod.rs"]
mod random;
