//! A driver that runs the kernels on the CPU.
//!
//! Device memory is the host's, so an address is a pointer; each allocation is exactly as long as was asked for, so
//! that under AddressSanitizer an access past it is seen. A graph runs within [`Driver::launch`]; what goes wrong in
//! it is answered by the next [`Driver::wait`], as a device answers it. Branches of a graph run one after the other,
//! from the last to the first where threads run in no order. After a kernel has failed the driver is
//! lost, as a context is.
//!
//! Invariant: nothing depends on time or addresses; two emulators with one seed that are given the same calls hold
//! the same bytes.

mod compile;
mod object;
mod sanitized;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeMap,
    slice,
    sync::Arc,
};

pub use compile::{BuildError, CACHE_MAX, SANITIZE, Variant};
pub use object::{Object, Order};
pub use sanitized::{SanitizedRun, run_sanitized, sanitized_command};

use crate::{
    driver::{Address, Device, Driver, DriverError, Graph, Launch, Operation, Pinned},
    sources::Module,
};

/// Device memory lies at multiples of this.
const ALIGN: usize = 256;

/// What an emulated device is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// In which order threads run. Each launch draws from a seed of its own.
    pub order: Order,
    /// Memory of the device.
    pub memory_bytes: u64,
    /// Most dynamic shared memory of a block.
    pub shared_bytes_max: u32,
    /// What is said of it: kernels run as fast with any number.
    pub multiprocessors: u32,
}

impl Default for Settings {
    /// In ascending order, with 4 GiB, and shared memory as compute capability 9.0 has it.
    fn default() -> Self {
        Self {
            order: Order::Ascending,
            memory_bytes: 4 << 30,
            shared_bytes_max: 227 << 10,
            multiprocessors: 4,
        }
    }
}

/// Memory that kernels read and write: only its address is kept.
#[derive(Debug)]
struct Memory {
    start: *mut u8,
    layout: Layout,
    bytes: usize,
}

// SAFETY: it is owned memory.
unsafe impl Send for Memory {}

impl Memory {
    /// Zeros; none where the host has no more. An allocation of no bytes has an address of its own.
    fn new(bytes: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes.max(1), ALIGN).ok()?;
        // From the system itself, whatever the program's allocator: that is where AddressSanitizer looks.
        // SAFETY: the size is not zero.
        let start = unsafe { System.alloc_zeroed(layout) };
        (!start.is_null()).then_some(Self { start, layout, bytes })
    }

    fn address(&self) -> u64 {
        self.start as u64
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: it was allocated so.
        unsafe { System.dealloc(self.start, self.layout) };
    }
}

/// A device that is the CPU.
#[derive(Debug)]
pub struct Emulator {
    object: Arc<Object>,
    device: Device,
    order: Order,
    /// By address.
    memory: BTreeMap<u64, Memory>,
    allocated_bytes: u64,
    pinned: Vec<Memory>,
    loaded: Vec<&'static Module>,
    graphs: Vec<Vec<Operation>>,
    /// Kernels run so far.
    launched: u64,
    /// What was wrong first: the answer to all that follows.
    lost: Option<DriverError>,
}

impl Emulator {
    /// One of all modules, built before where it is the first.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn new(settings: &Settings) -> Result<Self, BuildError> {
        Ok(Self::with_object(Object::shared()?, settings))
    }

    /// One whose threads run in an order drawn from `seed`, or in ascending order for 0.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn with_seed(seed: u64) -> Result<Self, BuildError> {
        let order = if seed == 0 { Order::Ascending } else { Order::Random { seed } };
        Self::new(&Settings { order, ..Settings::default() })
    }

    /// One of the modules of `object`.
    pub fn with_object(object: Arc<Object>, settings: &Settings) -> Self {
        let device = Device {
            name: "emulator".to_owned(),
            compute_capability: 90,
            memory_bytes: settings.memory_bytes,
            multiprocessors: settings.multiprocessors,
            shared_bytes_max: settings.shared_bytes_max,
            driver_version: 0,
        };
        Self {
            object,
            device,
            order: settings.order,
            memory: BTreeMap::new(),
            allocated_bytes: 0,
            pinned: Vec::new(),
            loaded: Vec::new(),
            graphs: Vec::new(),
            launched: 0,
            lost: None,
        }
    }

    /// A pointer to device memory of which so many bytes are allocated.
    fn device_memory(
        &self,
        call: &'static str,
        address: Address,
        bytes: usize,
    ) -> Result<*mut u8, DriverError> {
        self.memory
            .range(..=address.0)
            .next_back()
            .and_then(|(start, memory)| {
                let at = (address.0 - start) as usize;
                let end = at.checked_add(bytes)?;
                // SAFETY: within the allocation, or its end.
                (end <= memory.bytes).then(|| unsafe { memory.start.add(at) })
            })
            .ok_or_else(|| {
                invalid(
                    call,
                    &format!("{bytes} bytes at {:#x}, which no allocation holds", address.0),
                )
            })
    }

    fn pinned_memory(
        &self,
        call: &'static str,
        block: Pinned,
        bytes: usize,
    ) -> Result<*mut u8, DriverError> {
        match self.pinned.get(block.0) {
            Some(memory) if bytes <= memory.bytes => Ok(memory.start),
            Some(memory) => Err(invalid(
                call,
                &format!("{bytes} bytes of a pinned block of {} bytes", memory.bytes),
            )),
            None => Err(invalid(call, &format!("no pinned block {}", block.0))),
        }
    }

    fn alive(&self) -> Result<(), DriverError> {
        self.lost.clone().map_or(Ok(()), Err)
    }

    fn check_launch(&self, launch: &Launch) -> Result<(), DriverError> {
        const CALL: &str = "cuGraphAddKernelNode";
        let Launch { kernel, grid, threads, shared_bytes, argument } = launch;
        let Some(module) =
            self.loaded.iter().find(|module| module.kernels.iter().any(|k| k.name == *kernel))
        else {
            return Err(DriverError::Kernel {
                module: "all that were loaded".to_owned(),
                what: format!("there is no kernel {kernel}"),
            });
        };
        let expected = self.object.kernels().get(*kernel).copied().unwrap_or(0);
        if argument.len() != expected {
            return Err(DriverError::Kernel {
                module: module.name.to_owned(),
                what: format!(
                    "{kernel} is given an argument of {} bytes, expected {expected}",
                    argument.len()
                ),
            });
        }
        let wrong = |what: String| Err(invalid(CALL, &format!("{kernel}: {what}")));
        if !(1..=1024).contains(threads) {
            return wrong(format!("{threads} threads a block, expected 1 to 1024"));
        }
        let limits = [i32::MAX as u32, 65_535, 65_535];
        if grid.iter().zip(limits).any(|(blocks, limit)| !(1..=limit).contains(blocks)) {
            return wrong(format!("a grid of {grid:?} blocks, expected 1 to {limits:?}"));
        }
        if *shared_bytes > self.device.shared_bytes_max {
            return wrong(format!(
                "{shared_bytes} bytes of shared memory, expected at most {}",
                self.device.shared_bytes_max
            ));
        }
        Ok(())
    }

    fn run(&mut self, operation: &Operation) -> Result<(), DriverError> {
        match operation {
            Operation::CopyIn { from, to, bytes } => {
                let from = self.pinned_memory("cuGraphLaunch", *from, *bytes)?;
                let to = self.device_memory("cuGraphLaunch", *to, *bytes)?;
                // SAFETY: both hold so many bytes and are of different allocations.
                unsafe { from.copy_to_nonoverlapping(to, *bytes) };
            }
            Operation::CopyOut { from, to, bytes } => {
                let from = self.device_memory("cuGraphLaunch", *from, *bytes)?;
                let to = self.pinned_memory("cuGraphLaunch", *to, *bytes)?;
                // SAFETY: both hold so many bytes and are of different allocations.
                unsafe { from.copy_to_nonoverlapping(to, *bytes) };
            }
            Operation::Branches(branches) => {
                // Nothing may depend on which of them comes first.
                let first_to_last = self.order == Order::Ascending;
                for n in 0..branches.len() {
                    let n = if first_to_last { n } else { branches.len() - 1 - n };
                    branches[n].iter().try_for_each(|operation| self.run(operation))?;
                }
            }
            Operation::Launch(launch) => {
                let order = self.order.of_launch(self.launched);
                self.launched += 1;
                // SAFETY: kernels go where their arguments point, as on a device; that they stay within what is
                // allocated is what the tests under AddressSanitizer are for.
                if let Err(what) = unsafe { self.object.run(launch, order) } {
                    return Err(DriverError::Lost {
                        call: "cuStreamSynchronize",
                        code: 719,
                        name: format!("CUDA_ERROR_LAUNCH_FAILED: {what}"),
                    });
                }
            }
        }
        Ok(())
    }
}

impl Order {
    /// The order of the n-th launch of an emulator: another one for each.
    fn of_launch(self, n: u64) -> Self {
        let mix = |seed: u64| seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        match self {
            Self::Ascending => Self::Ascending,
            Self::Random { seed } => Self::Random { seed: mix(seed) },
            Self::Adversarial { seed } => Self::Adversarial { seed: mix(seed) },
        }
    }
}

fn invalid(call: &'static str, what: &str) -> DriverError {
    DriverError::Call { call, code: 1, name: format!("CUDA_ERROR_INVALID_VALUE: {what}") }
}

impl Driver for Emulator {
    fn device(&self) -> &Device {
        &self.device
    }

    fn free_bytes(&mut self) -> Result<u64, DriverError> {
        self.alive()?;
        Ok(self.device.memory_bytes - self.allocated_bytes)
    }

    fn load(&mut self, module: &'static Module) -> Result<(), DriverError> {
        self.alive()?;
        for kernel in module.kernels {
            if !self.object.kernels().contains_key(kernel.name) {
                return Err(DriverError::Kernel {
                    module: module.name.to_owned(),
                    what: format!(
                        "{} holds no kernel {}",
                        self.object.path().display(),
                        kernel.name
                    ),
                });
            }
        }
        if !self.loaded.contains(&module) {
            self.loaded.push(module);
        }
        Ok(())
    }

    fn allocate(&mut self, bytes: usize) -> Result<Address, DriverError> {
        let free = self.free_bytes()?;
        let asked = bytes as u64;
        let out_of_memory = DriverError::OutOfMemory { asked, free };
        if asked > free {
            return Err(out_of_memory);
        }
        let memory = Memory::new(bytes).ok_or(out_of_memory)?;
        let address = memory.address();
        self.memory.insert(address, memory);
        self.allocated_bytes += asked;
        Ok(Address(address))
    }

    fn pin(&mut self, bytes: usize) -> Result<Pinned, DriverError> {
        self.alive()?;
        let memory = Memory::new(bytes).ok_or_else(|| DriverError::Call {
            call: "cuMemHostAlloc",
            code: 2,
            name: format!("CUDA_ERROR_OUT_OF_MEMORY: {bytes} bytes of the host's"),
        })?;
        self.pinned.push(memory);
        Ok(Pinned(self.pinned.len() - 1))
    }

    fn pinned(&mut self, block: Pinned) -> &mut [u8] {
        match self.pinned.get(block.0) {
            // SAFETY: it holds so many bytes, was zeros at first, and `self` is borrowed as long.
            Some(memory) => unsafe { slice::from_raw_parts_mut(memory.start, memory.bytes) },
            None => &mut [],
        }
    }

    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        self.alive()?;
        let to = self.device_memory("cuMemcpyHtoD", to, bytes.len())?;
        // SAFETY: it holds so many bytes; `bytes` is borrowed, so it is none of them.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        Ok(())
    }

    fn read(&mut self, from: Address, into: &mut [u8]) -> Result<(), DriverError> {
        self.alive()?;
        let from = self.device_memory("cuMemcpyDtoH", from, into.len())?;
        // SAFETY: as for `write`.
        unsafe { from.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
        Ok(())
    }

    fn graph(&mut self, operations: &[Operation]) -> Result<Graph, DriverError> {
        self.alive()?;
        for operation in operations.iter().flat_map(Operation::leaves) {
            match operation {
                Operation::CopyIn { from: block, to: address, bytes }
                | Operation::CopyOut { from: address, to: block, bytes } => {
                    self.pinned_memory("cuGraphAddMemcpyNode", *block, *bytes)?;
                    self.device_memory("cuGraphAddMemcpyNode", *address, *bytes)?;
                }
                Operation::Launch(launch) => self.check_launch(launch)?,
                Operation::Branches(_) => {
                    return Err(invalid("cuStreamBeginCapture", "branches within a branch"));
                }
            }
        }
        self.graphs.push(operations.to_vec());
        Ok(Graph(self.graphs.len() - 1))
    }

    fn launch(&mut self, graph: Graph) -> Result<(), DriverError> {
        self.alive()?;
        let Some(operations) = self.graphs.get_mut(graph.0).map(std::mem::take) else {
            return Err(invalid("cuGraphLaunch", &format!("no graph {}", graph.0)));
        };
        let result = operations.iter().try_for_each(|operation| self.run(operation));
        self.graphs[graph.0] = operations;
        self.lost = result.err();
        Ok(())
    }

    fn wait(&mut self) -> Result<(), DriverError> {
        self.alive()
    }
}
