//! Tasks with published answers, which show that the network learns.
//!
//! Each is a protocol around a [`Simulation`](super::engine::Simulation): it makes the stimuli, runs
//! the network and gives the numbers that the literature reports; what they must be is in the tests.
//! Invariant: a run follows from its configuration, the seed and the calls made, in order.

pub mod eyeblink;
pub mod mackey_glass;
pub mod okr;
pub mod regressor;
pub mod vor;
