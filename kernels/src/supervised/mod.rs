//! Supervised learning through spikes: surrogate gradients through time on a cerebellar network.
//!
//! A spike has no useful derivative, so the reverse pass puts a smooth one in its place (SuperSpike:
//! Zenke and Ganguli, Neural Comput. 30, 2018; reviewed by Neftci, Mostafa and Zenke, IEEE Signal
//! Process. Mag. 36, 2019). [`Network`] is the circuit as plain arrays, [`Workspace`] what one pass
//! over a sample needs, [`Trainer`] runs epochs, and [`hybrid`] alternates them with an online rule.
//!
//! Everything is generic over [`Real`]: training runs in `f32`, the finite-difference checks in
//! `f64`. Invariants: equal networks, samples and seeds give bit-equal gradients and parameters; a
//! pass over a sample asks the allocator for nothing.

mod bptt;
mod fan_out;
mod forward;
pub mod hybrid;
mod layer;
mod loss;
mod monitor;
mod network;
mod optimiser;
mod real;
mod schedule;
mod surrogate;
mod train;

pub use fan_out::FanOut;
pub use forward::{Forward, MossySpikes, SpikesError, Workspace};
pub use loss::Loss;
pub use monitor::{ConvergenceMonitor, Goal, MonitorError, Verdict};
pub use network::{
    Cells, MossyGain, Network, NetworkError, NetworkParts, Parameters, Projection, TAPE_BYTES_MAX,
};
pub use optimiser::{Method, Optimiser, OptimiserError, StateError, clip_global_norm};
pub use real::Real;
pub use schedule::Schedule;
pub use surrogate::{FastSigmoid, Spiking};
pub use train::{EpochReport, Sample, TrainError, Trainer, TrainerConfig};
