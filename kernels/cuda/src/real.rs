//! A CUDA device, through NVIDIA's driver.
//!
//! It has the device's primary context, which a process shares, and one stream that waits for no other: all copies
//! and launches go there, in order. A graph is what that stream captures of the same calls that would run at once;
//! the other way, a node for each operation, needs a description of each copy in three dimensions and the edges
//! between nodes, where a mistake runs and computes something else. Branches are captured on streams beside it. Whatever
//! captures is ended on every path.
//!
//! Invariants: every method makes the context current first, for a driver may have moved to another thread; a graph
//! holds only copies within pinned blocks and launches that its kernels allow; all that was had of the driver is
//! given back when this is dropped, in the reverse order. A device that has not ended in time is lost: every call
//! from then on answers so without asking it, and what was had of it is kept for good, because giving it back would
//! wait for what does not end, and what still runs may write to it.

use std::{
    collections::BTreeMap,
    ffi::{CString, c_int, c_void},
    fmt,
    ptr::{self, NonNull},
    slice,
    time::Duration,
};

use cudarc::driver::sys::{self, CUfunction_attribute_enum as attribute};

use crate::{
    api::Functions,
    branches::Branches,
    driver::{Address, Device, Driver, DriverError, Graph, Launch, Operation, Pinned},
    images::{Image, Images, Origin},
    patience,
    sources::{Kernel, Module},
    target::Target,
};

/// Dynamic shared memory that a kernel may have without being told that it may have more.
const SHARED_BYTES_UNASKED: u32 = 48 * 1024;

/// What allocations are rounded up to; CUDA's lie at multiples of at least this.
const ALIGNMENT_BYTES: usize = 256;

const INVALID_VALUE: u32 = 1;

/// How long what was started may take unless it is said otherwise.
pub const WAIT_LIMIT: Duration = Duration::from_secs(2);

/// A kernel that was loaded.
struct Function {
    handle: sys::CUfunction,
    kernel: &'static Kernel,
    /// Most dynamic shared memory that it may have now.
    shared_bytes_max: u32,
}

/// A block of the host's memory.
struct Block {
    start: NonNull<u8>,
    bytes: usize,
}

/// What was loaded of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The module's name.
    pub module: &'static str,
    /// What its image was compiled for.
    pub target: Target,
    /// Where its image came from.
    pub origin: Origin,
}

/// A device.
pub struct CudaDriver {
    functions: &'static Functions,
    device: Device,
    handle: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    branches: Branches,
    images: Images,
    loaded: Vec<Loaded>,
    kernels: BTreeMap<&'static str, Function>,
    modules: Vec<sys::CUmodule>,
    allocations: Vec<sys::CUdeviceptr>,
    blocks: Vec<Block>,
    graphs: Vec<sys::CUgraphExec>,
    wait_limit: Duration,
    /// What was waited for in vain.
    hung: Option<DriverError>,
}

// SAFETY: the handles may be used on any thread on which the context is current, and every method makes it so. The
// pinned blocks are this driver's own.
unsafe impl Send for CudaDriver {}

impl fmt::Debug for CudaDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CudaDriver").field("device", &self.device).finish_non_exhaustive()
    }
}

impl CudaDriver {
    /// Opens the device of this number, of those that `CUDA_VISIBLE_DEVICES` leaves; its kernels' images are found by
    /// `images`.
    ///
    /// # Errors
    /// [`DriverError::NoDriver`], [`DriverError::TooOld`], [`DriverError::NoDevice`], and the driver's.
    pub fn open(index: u32, images: Images) -> Result<Self, DriverError> {
        let functions = Functions::get()?;
        let found = functions.start()?;
        if index >= found {
            return Err(DriverError::NoDevice { index, found });
        }
        let (handle, device) = functions.describe(index)?;
        let mut context = ptr::null_mut();
        // SAFETY: it points to a context, and the device is one that the driver gave.
        let code = unsafe { (functions.context_retain)(&raw mut context, handle) };
        functions.check("cuDevicePrimaryCtxRetain", code)?;
        // From here on, whatever fails drops it, which releases the context.
        let mut driver = Self {
            functions,
            device,
            handle,
            context,
            stream: ptr::null_mut(),
            branches: Branches::default(),
            images,
            loaded: Vec::new(),
            kernels: BTreeMap::new(),
            modules: Vec::new(),
            allocations: Vec::new(),
            blocks: Vec::new(),
            graphs: Vec::new(),
            wait_limit: WAIT_LIMIT,
            hung: None,
        };
        driver.enter()?;
        let flags = sys::CUstream_flags::CU_STREAM_NON_BLOCKING as u32;
        // SAFETY: it points to a stream, and the context is current.
        let code = unsafe { (functions.stream_create)(&raw mut driver.stream, flags) };
        functions.check("cuStreamCreate", code)?;
        Ok(driver)
    }

    /// Sets how long what was started may take before the device counts as lost; [`WAIT_LIMIT`] at first.
    pub const fn set_wait_limit(&mut self, limit: Duration) {
        self.wait_limit = limit;
    }

    /// What finds the kernels' images, with what has happened to their cache.
    pub const fn images(&self) -> &Images {
        &self.images
    }

    /// Which image each module was loaded from.
    pub fn loaded(&self) -> &[Loaded] {
        &self.loaded
    }

    /// Makes the context current on this thread, unless what was started before has not ended in time.
    fn enter(&self) -> Result<(), DriverError> {
        if let Some(error) = &self.hung {
            return Err(error.clone());
        }
        // SAFETY: the context is retained until this is dropped.
        let code = unsafe { (self.functions.context_set)(self.context) };
        self.functions.check("cuCtxSetCurrent", code)
    }

    /// Waits for the stream within the limit.
    fn finish(&mut self) -> Result<(), DriverError> {
        let (functions, stream) = (self.functions, self.stream);
        let waited = patience::wait(self.wait_limit, || {
            // SAFETY: the stream is this driver's.
            let code = unsafe { (functions.stream_query)(stream) };
            functions.check_ready("cuStreamQuery", code)
        })?;
        match waited {
            None => Ok(()),
            Some(waited) => {
                let error = DriverError::Hung { waited_ms: waited.as_millis() as u64 };
                self.hung = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Waits for a copy from or to borrowed memory, which must have ended before it is let go of: nothing else was
    /// on the stream, so that there is no kernel to hang on.
    fn finish_copy(&self) -> Result<(), DriverError> {
        // SAFETY: the stream is this driver's.
        let code = unsafe { (self.functions.stream_wait)(self.stream) };
        self.functions.check("cuStreamSynchronize", code)
    }

    /// Lets kernels have as much dynamic shared memory as the launches ask for, and refuses launches that are not
    /// as their kernels are.
    fn prepare(&mut self, operations: &[Operation]) -> Result<(), DriverError> {
        for operation in operations {
            if let Operation::Branches(branches) = operation {
                self.branches.make_room(self.functions, branches.len())?;
            }
        }
        for operation in operations.iter().flat_map(Operation::leaves) {
            let launch = match operation {
                Operation::Launch(launch) => launch,
                Operation::Branches(_) => {
                    return Err(DriverError::Call {
                        call: "a graph's branches",
                        code: INVALID_VALUE,
                        name: "branches within a branch".to_owned(),
                    });
                }
                Operation::CopyIn { from: block, bytes, .. }
                | Operation::CopyOut { to: block, bytes, .. } => {
                    let length = self.blocks.get(block.0).map_or(0, |block| block.bytes);
                    if *bytes > length {
                        return Err(DriverError::Call {
                            call: "a graph's copy",
                            code: INVALID_VALUE,
                            name: format!("{bytes} bytes, expected at most the block's {length}"),
                        });
                    }
                    continue;
                }
            };
            let function = self.kernels.get_mut(launch.kernel).ok_or_else(|| not_loaded(launch))?;
            allowed(launch, function.kernel, &self.device)?;
            if launch.shared_bytes > function.shared_bytes_max {
                let which = attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
                let bytes = launch.shared_bytes as c_int;
                // SAFETY: the function is of a module that stays loaded.
                let code = unsafe { (self.functions.function_set)(function.handle, which, bytes) };
                self.functions.check("cuFuncSetAttribute", code)?;
                function.shared_bytes_max = launch.shared_bytes;
            }
        }
        Ok(())
    }

    /// Puts an operation that was prepared on a stream.
    fn enqueue(&self, operation: &Operation, stream: sys::CUstream) -> Result<(), DriverError> {
        match operation {
            Operation::CopyIn { bytes: 0, .. } | Operation::CopyOut { bytes: 0, .. } => Ok(()),
            Operation::CopyIn { from, to, bytes } => {
                let from = self.start_of(*from);
                // SAFETY: the block is as long, as was seen, and lives as long as the graph.
                let code =
                    unsafe { (self.functions.copy_in)(to.0, from.cast_const(), *bytes, stream) };
                self.functions.check("cuMemcpyHtoDAsync", code)
            }
            Operation::CopyOut { from, to, bytes } => {
                let to = self.start_of(*to);
                // SAFETY: as before.
                let code = unsafe { (self.functions.copy_out)(to, from.0, *bytes, stream) };
                self.functions.check("cuMemcpyDtoHAsync", code)
            }
            Operation::Branches(branches) => {
                self.branches.each(self.functions, stream, branches.len(), |n, stream| {
                    branches[n].iter().try_for_each(|operation| self.enqueue(operation, stream))
                })
            }
            Operation::Launch(launch) => {
                let function = self.kernels.get(launch.kernel).ok_or_else(|| not_loaded(launch))?;
                let [x, y, z] = launch.grid;
                // The driver copies the argument while it is called; it does not write to it.
                let mut arguments = [launch.argument.as_ptr().cast_mut().cast::<c_void>()];
                // SAFETY: the one argument is as long as the kernel's, as was seen.
                let code = unsafe {
                    (self.functions.launch)(
                        function.handle,
                        x,
                        y,
                        z,
                        launch.threads,
                        1,
                        1,
                        launch.shared_bytes,
                        stream,
                        arguments.as_mut_ptr(),
                        ptr::null_mut(),
                    )
                };
                self.functions.check("cuLaunchKernel", code)
            }
        }
    }

    fn start_of(&self, block: Pinned) -> *mut c_void {
        self.blocks.get(block.0).map_or(ptr::null_mut(), |block| block.start.as_ptr().cast())
    }

    /// What the stream captures of these operations.
    fn capture(&self, operations: &[Operation]) -> Result<sys::CUgraph, DriverError> {
        // Other threads may allocate meanwhile; this one only puts operations on the stream.
        let mode = sys::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream is this driver's.
        let code = unsafe { (self.functions.capture_begin)(self.stream, mode) };
        self.functions.check("cuStreamBeginCapture", code)?;
        let enqueued =
            operations.iter().try_for_each(|operation| self.enqueue(operation, self.stream));
        let mut graph = ptr::null_mut();
        // SAFETY: it points to a graph. The stream captures, and must not do so on.
        let code = unsafe { (self.functions.capture_end)(self.stream, &raw mut graph) };
        let ended = self.functions.check("cuStreamEndCapture", code);
        // What failed first says more.
        match enqueued.and(ended) {
            Ok(()) => Ok(graph),
            Err(error) => {
                self.discard(graph);
                Err(error)
            }
        }
    }

    fn discard(&self, graph: sys::CUgraph) {
        if !graph.is_null() {
            // SAFETY: the graph was captured here and nobody else has it. An error leaves nothing to do.
            unsafe { (self.functions.graph_destroy)(graph) };
        }
    }

    fn executable(&mut self, graph: sys::CUgraph) -> Result<Graph, DriverError> {
        let mut executable = ptr::null_mut();
        // SAFETY: the graph was captured here.
        let code = unsafe { (self.functions.graph_instantiate)(&raw mut executable, graph, 0) };
        self.functions.check("cuGraphInstantiate", code)?;
        self.graphs.push(executable);
        // So that the first launch costs no more than the others.
        // SAFETY: the graph was made just now and the stream is this driver's.
        let code = unsafe { (self.functions.graph_upload)(executable, self.stream) };
        self.functions.check("cuGraphUpload", code)?;
        self.finish()?;
        Ok(Graph(self.graphs.len() - 1))
    }

    /// Loads an image; the module is unloaded with the driver.
    fn load_image(
        &mut self,
        module: &'static Module,
        image: &Image,
    ) -> Result<sys::CUmodule, DriverError> {
        // The driver reads numbers of eight bytes in it; what is embedded lies anywhere.
        let mut aligned = vec![0_u64; image.bytes.len().div_ceil(8)];
        // SAFETY: the block is at least as long, and every byte of it is a value.
        let bytes = unsafe {
            slice::from_raw_parts_mut(aligned.as_mut_ptr().cast::<u8>(), image.bytes.len())
        };
        bytes.copy_from_slice(&image.bytes);
        let mut loaded = ptr::null_mut();
        // SAFETY: the image is a whole one: a cubin says its own length, and PTX ends in zero.
        let code =
            unsafe { (self.functions.module_load)(&raw mut loaded, aligned.as_ptr().cast()) };
        self.functions.check("cuModuleLoadData", code).map_err(|error| match error {
            // An image that the device or its driver refuses.
            DriverError::Call { .. } => DriverError::Kernel {
                module: module.name.to_owned(),
                what: format!("{} ({:?}): {error}", image.target, image.origin),
            },
            other => other,
        })?;
        self.modules.push(loaded);
        Ok(loaded)
    }
}

fn not_loaded(launch: &Launch) -> DriverError {
    DriverError::Kernel { module: launch.kernel.to_owned(), what: "was not loaded".to_owned() }
}

/// Whether a launch is as the kernel is; the driver reads the argument to the kernel's length, whatever ours is.
fn allowed(launch: &Launch, kernel: &Kernel, device: &Device) -> Result<(), DriverError> {
    let argument_bytes = launch.argument.len() as u64;
    let what = if argument_bytes != u64::from(kernel.argument_bytes) {
        format!("an argument of {argument_bytes} bytes, expected {}", kernel.argument_bytes)
    } else if !(1..=kernel.threads_max).contains(&launch.threads) {
        format!("{} threads, expected 1 to {}", launch.threads, kernel.threads_max)
    } else if launch.shared_bytes > device.shared_bytes_max {
        let most = device.shared_bytes_max;
        format!("{} bytes of shared memory, expected at most {most}", launch.shared_bytes)
    } else if launch.grid.contains(&0) || launch.grid[1..].iter().any(|blocks| *blocks > 65_535) {
        format!("a grid of {:?} blocks, expected 1 to 65535 in y and z", launch.grid)
    } else {
        return Ok(());
    };
    Err(DriverError::Kernel { module: kernel.name.to_owned(), what })
}

impl Driver for CudaDriver {
    fn device(&self) -> &Device {
        &self.device
    }

    fn free_bytes(&mut self) -> Result<u64, DriverError> {
        self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: both point to sizes.
        let code = unsafe { (self.functions.memory_info)(&raw mut free, &raw mut total) };
        self.functions.check("cuMemGetInfo", code)?;
        Ok(free as u64)
    }

    fn load(&mut self, module: &'static Module) -> Result<(), DriverError> {
        self.enter()?;
        if module.kernels.iter().all(|kernel| self.kernels.contains_key(kernel.name)) {
            return Ok(());
        }
        let Device { compute_capability, driver_version, .. } = self.device;
        let image =
            self.images.image(module, compute_capability, driver_version).map_err(|error| {
                DriverError::Kernel { module: module.name.to_owned(), what: error.to_string() }
            })?;
        let loaded = self.load_image(module, &image)?;
        // A driver may load a kernel's code late, but does so here at the latest: no launch waits for it.
        for kernel in module.kernels {
            let refused = |what: String| DriverError::Kernel {
                module: module.name.to_owned(),
                what: format!("{}: {what}", kernel.name),
            };
            let name = CString::new(kernel.name).map_err(|error| refused(error.to_string()))?;
            let mut handle = ptr::null_mut();
            // SAFETY: the module is loaded and the name ends in zero.
            let code =
                unsafe { (self.functions.module_function)(&raw mut handle, loaded, name.as_ptr()) };
            self.functions
                .check("cuModuleGetFunction", code)
                .map_err(|error| refused(error.to_string()))?;
            let shared_bytes_max = SHARED_BYTES_UNASKED;
            self.kernels.insert(kernel.name, Function { handle, kernel, shared_bytes_max });
        }
        let Image { target, origin, .. } = image;
        self.loaded.push(Loaded { module: module.name, target, origin });
        Ok(())
    }

    fn allocate(&mut self, bytes: usize) -> Result<Address, DriverError> {
        self.enter()?;
        // Nothing is an error to ask for; what is asked for is.
        let bytes = bytes.max(1).checked_next_multiple_of(ALIGNMENT_BYTES).unwrap_or(usize::MAX);
        let mut address = 0;
        // SAFETY: it points to an address.
        let code = unsafe { (self.functions.memory_allocate)(&raw mut address, bytes) };
        self.functions.check_memory("cuMemAlloc", code, bytes)?;
        self.allocations.push(address);
        // On the stream, and waited for: the default stream's work would not be waited for by it.
        // SAFETY: so many bytes were allocated just now.
        let code = unsafe { (self.functions.memory_set)(address, 0, bytes, self.stream) };
        self.functions.check("cuMemsetD8Async", code)?;
        self.finish()?;
        Ok(Address(address))
    }

    fn pin(&mut self, bytes: usize) -> Result<Pinned, DriverError> {
        self.enter()?;
        let mut start = ptr::null_mut();
        // Without flags: what combines writes is slow to read, and others need not see it.
        // SAFETY: it points to a pointer.
        let code = unsafe { (self.functions.host_allocate)(&raw mut start, bytes.max(1), 0) };
        self.functions.check_memory("cuMemHostAlloc", code, bytes)?;
        let Some(start) = NonNull::new(start.cast::<u8>()) else {
            return Err(DriverError::Call {
                call: "cuMemHostAlloc",
                code: 0,
                name: "null".to_owned(),
            });
        };
        // SAFETY: so many bytes were allocated just now.
        unsafe { start.write_bytes(0, bytes) };
        self.blocks.push(Block { start, bytes });
        Ok(Pinned(self.blocks.len() - 1))
    }

    fn pinned(&mut self, block: Pinned) -> &mut [u8] {
        match self.blocks.get(block.0) {
            // SAFETY: the block is this driver's until it is dropped and was written throughout. Only graphs
            // touch it otherwise, and the caller sees to it that none runs.
            Some(block) => unsafe { slice::from_raw_parts_mut(block.start.as_ptr(), block.bytes) },
            None => &mut [],
        }
    }

    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.enter()?;
        self.finish()?;
        // SAFETY: the bytes are borrowed until the copy has ended, below; the driver refuses addresses that are
        // not the device's.
        let code = unsafe {
            (self.functions.copy_in)(to.0, bytes.as_ptr().cast(), bytes.len(), self.stream)
        };
        let copied = self.functions.check("cuMemcpyHtoDAsync", code);
        copied.and(self.finish_copy())
    }

    fn read(&mut self, from: Address, into: &mut [u8]) -> Result<(), DriverError> {
        if into.is_empty() {
            return Ok(());
        }
        self.enter()?;
        self.finish()?;
        // SAFETY: as for writing.
        let code = unsafe {
            (self.functions.copy_out)(into.as_mut_ptr().cast(), from.0, into.len(), self.stream)
        };
        let copied = self.functions.check("cuMemcpyDtoHAsync", code);
        copied.and(self.finish_copy())
    }

    fn graph(&mut self, operations: &[Operation]) -> Result<Graph, DriverError> {
        self.enter()?;
        self.prepare(operations)?;
        let graph = self.capture(operations)?;
        let executable = self.executable(graph);
        self.discard(graph);
        executable
    }

    fn launch(&mut self, graph: Graph) -> Result<(), DriverError> {
        let Some(executable) = self.graphs.get(graph.0).copied() else {
            return Err(DriverError::Call {
                call: "cuGraphLaunch",
                code: INVALID_VALUE,
                name: format!("graph {}, expected one of {}", graph.0, self.graphs.len()),
            });
        };
        self.enter()?;
        // SAFETY: the graph and all that it holds live until this is dropped.
        let code = unsafe { (self.functions.graph_launch)(executable, self.stream) };
        self.functions.check("cuGraphLaunch", code)
    }

    fn wait(&mut self) -> Result<(), DriverError> {
        self.enter()?;
        self.finish()
    }
}

impl Drop for CudaDriver {
    fn drop(&mut self) {
        if self.hung.is_some() {
            return;
        }
        let functions = self.functions;
        // A device that is lost answers each of these with the same error: there is nothing to do about it, and the
        // process keeps what the driver does not take back.
        // SAFETY: all of these were had of the driver, are given back once, and are used by nobody else: what still
        // runs is waited for first.
        unsafe {
            (functions.context_set)(self.context);
            if !self.stream.is_null() {
                (functions.stream_wait)(self.stream);
            }
            for graph in self.graphs.drain(..) {
                (functions.executable_destroy)(graph);
            }
            for module in self.modules.drain(..) {
                (functions.module_unload)(module);
            }
            for block in self.blocks.drain(..) {
                (functions.host_free)(block.start.as_ptr().cast());
            }
            for address in self.allocations.drain(..) {
                (functions.memory_free)(address);
            }
            self.branches.give_back(functions);
            if !self.stream.is_null() {
                (functions.stream_destroy)(self.stream);
            }
            (functions.context_set)(ptr::null_mut());
            (functions.context_release)(self.handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{images::Settings, sources::PROBE};

    fn device() -> Device {
        Device {
            name: "test".to_owned(),
            compute_capability: 90,
            memory_bytes: 1 << 30,
            multiprocessors: 1,
            shared_bytes_max: 100_000,
            driver_version: 12_020,
        }
    }

    #[test]
    fn a_launch_that_is_not_as_its_kernel_is_refused_with_what_was_expected() {
        let kernel = PROBE.kernel("probe_saxpy").unwrap();
        let right = Launch {
            kernel: kernel.name,
            grid: [1, 1, 1],
            threads: 1024,
            shared_bytes: 100_000,
            argument: vec![0; 24],
        };
        allowed(&right, kernel, &device()).unwrap();
        for (wrong, expected) in [
            (Launch { argument: vec![0; 20], ..right.clone() }, "20 bytes, expected 24"),
            (Launch { threads: 0, ..right.clone() }, "0 threads, expected 1 to 1024"),
            (Launch { threads: 1025, ..right.clone() }, "1025 threads"),
            (Launch { shared_bytes: 100_001, ..right.clone() }, "expected at most 100000"),
            (Launch { grid: [1, 0, 1], ..right.clone() }, "[1, 0, 1] blocks"),
            (Launch { grid: [70_000, 1, 70_000], ..right.clone() }, "[70000, 1, 70000] blocks"),
        ] {
            let error = allowed(&wrong, kernel, &device()).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("probe_saxpy"), "{error}");
        }
    }

    #[test]
    fn opening_a_device_that_is_not_there_says_what_is_missing() {
        let error = CudaDriver::open(1000, Images::new(Settings::default())).unwrap_err();
        let named = matches!(
            error,
            DriverError::NoDriver { .. }
                | DriverError::TooOld { .. }
                | DriverError::NoDevice { .. }
        );
        assert!(named, "{error}");
    }
}
