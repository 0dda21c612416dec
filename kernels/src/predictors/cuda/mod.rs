//! The networks' forward passes on a GPU: the same bits as on the CPU, mostly one launch a network and cycle.
//!
//! A [`DevicePredictor`] is built as the CPU's network is and refuses what that refuses. It turns one step of
//! all streams into operations, so that a whole ensemble is appended to the graph of a cycle; its streams stay
//! on the device, in the words of [`save_stream`](super::predictor::Predictor::save_stream), so that either side
//! can go on where the other stood.
//!
//! Invariants: every kernel does the CPU's operations on the CPU's numbers in its order of rounding, so that
//! changing the backend changes no bit of an answer (of a NaN, which bits it has); a launch covers all
//! instruments, and those that take no part are left as they are.

pub(super) mod cnn;
mod device_predictor;
pub(super) mod feed_forward;
pub(super) mod lstm;
mod program;
pub(super) mod transformer;

pub use device_predictor::{DeviceBuildError, DevicePredictor, DeviceServing, Execution, Rows};
pub use program::Program;
pub use purkinje_cuda::flags::{ACTIVE, RESET};
