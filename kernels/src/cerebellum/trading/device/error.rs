//! Why the cerebellum is not on a device: what is asked for and what there is, by name and number.

use purkinje_cuda::driver::DriverError;
use thiserror::Error;

/// Why the cerebellum is not on a device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// A size that the kernels do not have.
    #[error("{setting} is {value}, on a device expected {expected}")]
    Unsupported {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What there is.
        expected: String,
    },
    /// A network does not fit the shared memory of a block.
    #[error(
        "a network needs {needed} bytes of a block's shared memory, {device} has {found} \
         (granule_cells, fibres and steps_per_cycle decide)"
    )]
    Shared {
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        found: usize,
        /// The device.
        device: String,
    },
    /// The device's memory is too small.
    #[error(
        "{instruments} instruments need {needed} bytes of device memory, {device} has {free} free"
    )]
    Memory {
        /// How many.
        instruments: usize,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// The device.
        device: String,
    },
    /// The driver refused.
    #[error(transparent)]
    Driver(#[from] DriverError),
}
