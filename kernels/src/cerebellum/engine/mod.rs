//! The machine that runs a description: populations swept a step at a time, spikes delivered by
//! event, plasticity settled when a spike reads the synapse.
//!
//! [`Network`] is the compiled, unchanging part; [`State`] the cells, of which a network may have
//! many; [`Synapses`] what learns; [`Simulation`] one of each.

mod adex;
mod conductance;
pub(crate) mod current;
mod debt;
mod fanout;
mod history;
mod lines;
mod network;
mod plastic;
mod recorder;
mod simulation;

pub use crate::isa::Isa;
pub(crate) use current::{Exact, Propagator};
pub use network::{Explicit, Network, State, Synapses};
pub use plastic::Effect;
pub(in crate::cerebellum) use plastic::{PairParts, PairRule, Plastic};
pub use recorder::{RecordedSpike, Recorder};
pub use simulation::{BuildError, Simulation};
