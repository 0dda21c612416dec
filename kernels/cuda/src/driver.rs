//! What the backend asks of a device: memory, a graph of copies and launches, and to wait for its end.
//!
//! A cycle is one graph: it is built once, from the operations that it is to hold, and launched every cycle
//! without an allocation or a call but [`Driver::launch`] and [`Driver::wait`]. What changes from one cycle to
//! the next travels in the pinned block that the graph copies in.
//!
//! Invariants: operations of a graph run in the order in which they are listed, but that those of different branches of
//! one operation may run side by side; after an error that
//! [`DriverError::is_lost`] says of, the driver is good for nothing but to be dropped.

use thiserror::Error;

use crate::sources::Module;

/// The oldest driver that is served, by the CUDA version that it serves: 12.2.
pub const OLDEST_DRIVER: u32 = 12_020;

/// Where something lies in the device's memory, as kernels see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Address(pub u64);

impl Address {
    /// So many bytes further on.
    #[must_use]
    pub const fn add(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

/// A block of the host's memory that the device copies from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pinned(pub(crate) usize);

/// A graph that a driver has built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graph(pub(crate) usize);

/// A kernel with everything that a launch of it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its name, one of those of a [`Module`] that was loaded.
    pub kernel: &'static str,
    /// Blocks, at most 65,535 in the second and third direction.
    pub grid: [u32; 3],
    /// Threads of a block, at most 1,024.
    pub threads: u32,
    /// Dynamic shared memory of a block, bytes.
    pub shared_bytes: u32,
    /// Its one argument, a structure by value, as the kernel lays it out.
    pub argument: Vec<u8>,
}

/// One operation of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The first bytes of a pinned block go to the device.
    CopyIn {
        /// From here.
        from: Pinned,
        /// To there.
        to: Address,
        /// So many.
        bytes: usize,
    },
    /// A kernel runs.
    Launch(Launch),
    /// Bytes of the device go to the beginning of a pinned block.
    CopyOut {
        /// From here.
        from: Address,
        /// To there.
        to: Pinned,
        /// So many.
        bytes: usize,
    },
    /// Lists of operations that have nothing to do with each other, each in its own order; all have ended before
    /// what comes next. A branch has no branches.
    Branches(Vec<Vec<Operation>>),
}

impl Operation {
    /// The copies and launches in it: itself, or its branches'.
    pub fn leaves(&self) -> impl Iterator<Item = &Operation> {
        let (own, branches) = match self {
            Self::Branches(branches) => (None, &branches[..]),
            other => (Some(other), &[][..]),
        };
        own.into_iter().chain(branches.iter().flatten())
    }
}

/// What a device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// As the driver has it, or `emulator`.
    pub name: String,
    /// Compute capability, as 90 for 9.0.
    pub compute_capability: u32,
    /// Its memory.
    pub memory_bytes: u64,
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// Most dynamic shared memory that a block may ask for.
    pub shared_bytes_max: u32,
    /// CUDA version that the driver serves, as 12020 for 12.2; 0 for the emulator.
    pub driver_version: u32,
}

/// Why a device does not serve.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DriverError {
    /// The driver's library is not there.
    #[error("no NVIDIA driver: {library} was not found")]
    NoDriver {
        /// What was looked for.
        library: String,
    },
    /// The driver is there and too old.
    #[error("the NVIDIA driver serves CUDA {found}, expected {needed} or later")]
    TooOld {
        /// As 11040 for 11.4.
        found: u32,
        /// The oldest that is served.
        needed: u32,
    },
    /// There is no such device.
    #[error("no CUDA device {index}: there are {found} (CUDA_VISIBLE_DEVICES may hide some)")]
    NoDevice {
        /// The one asked for.
        index: u32,
        /// How many there are.
        found: u32,
    },
    /// It does not fit.
    #[error("device memory: {asked} bytes asked for, {free} free")]
    OutOfMemory {
        /// Bytes asked for.
        asked: u64,
        /// Bytes free.
        free: u64,
    },
    /// No image of a kernel fits the device.
    #[error("kernels of {module}: {what}")]
    Kernel {
        /// The module.
        module: String,
        /// What is wrong.
        what: String,
    },
    /// The device, or its context, is gone: an Xid, an illegal access, a timeout.
    #[error("the device is lost: {call} answered {code} ({name})")]
    Lost {
        /// The call that said so.
        call: &'static str,
        /// CUDA's number.
        code: u32,
        /// CUDA's name of it.
        name: String,
    },
    /// What was started has not ended in time, and nobody can tell whether it ever will.
    #[error("the device is lost: what was started has not ended in {waited_ms} ms")]
    Hung {
        /// How long it was waited for.
        waited_ms: u64,
    },
    /// A call failed otherwise.
    #[error("{call} answered {code} ({name})")]
    Call {
        /// The call.
        call: &'static str,
        /// CUDA's number.
        code: u32,
        /// CUDA's name of it.
        name: String,
    },
}

impl DriverError {
    /// Whether nothing more can be had of the driver that said so.
    pub const fn is_lost(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Hung { .. })
    }
}

/// A device, or what stands in for one.
///
/// Every method but `launch` and `wait` may allocate and block: they are for construction.
pub trait Driver: Send {
    /// What it is.
    fn device(&self) -> &Device;

    /// Bytes of its memory that are free.
    ///
    /// # Errors
    /// The driver's.
    fn free_bytes(&mut self) -> Result<u64, DriverError>;

    /// Makes the kernels of a module ready to be launched.
    ///
    /// # Errors
    /// [`DriverError::Kernel`] where no image fits the device.
    fn load(&mut self, module: &'static Module) -> Result<(), DriverError>;

    /// Memory of the device, zeros, at a multiple of 256 bytes. It is freed with the driver.
    ///
    /// # Errors
    /// [`DriverError::OutOfMemory`].
    fn allocate(&mut self, bytes: usize) -> Result<Address, DriverError>;

    /// Memory of the host that copies of a graph go from and to, zeros. It is freed with the driver.
    ///
    /// # Errors
    /// The driver's.
    fn pin(&mut self, bytes: usize) -> Result<Pinned, DriverError>;

    /// What a pinned block holds. A graph that copies it must not be running.
    fn pinned(&mut self, block: Pinned) -> &mut [u8];

    /// Writes to the device's memory, now.
    ///
    /// # Errors
    /// The driver's.
    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<(), DriverError>;

    /// Reads the device's memory, now.
    ///
    /// # Errors
    /// The driver's.
    fn read(&mut self, from: Address, into: &mut [u8]) -> Result<(), DriverError>;

    /// Builds a graph.
    ///
    /// # Errors
    /// [`DriverError::Kernel`] where a kernel was not loaded, and the driver's.
    fn graph(&mut self, operations: &[Operation]) -> Result<Graph, DriverError>;

    /// Starts a graph and returns.
    ///
    /// # Errors
    /// The driver's.
    fn launch(&mut self, graph: Graph) -> Result<(), DriverError>;

    /// Waits until all that was started has ended, within the driver's limit.
    ///
    /// # Errors
    /// [`DriverError::Hung`] past the limit, and the driver's, those of what was started among them.
    fn wait(&mut self) -> Result<(), DriverError>;
}
