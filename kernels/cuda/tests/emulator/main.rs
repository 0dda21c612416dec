//! The emulator: kernels with known results, kernels with known mistakes, and the driver around them.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod driver;
mod faults;
mod host;
mod intrinsics;
mod mistakes;
mod probe;
mod sanitizers;
