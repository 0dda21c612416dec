//! Tasks with published answers, which show that the network learns.
//!
//! Each is a protocol around a [`Simulation`](super::engine::Simulation): it makes the stimuli, runs
//! the network and scores what comes out. Invariant: a run follows from its configuration, the seed
//! and the calls made, in order.

pub mod eyeblink;
pub mod vor;
