//! The functions of NVIDIA's driver, looked up in its library when a program first asks for a device.
//!
//! The library, its types and the functions' signatures are `cudarc`'s: each signature here is held against its
//! binding by the compiler. The functions are looked up here all the same, for two reasons. Its bindings answer with
//! an enumeration, and a newer driver answers with numbers that it lacks (226, a contained memory error, is one):
//! here they answer with the number. And its bindings panic where the library or a function is missing: here that
//! is an error.
//!
//! Invariant: nothing panics, on a host without the driver and with an older one.

use std::{
    ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_ulonglong, c_void},
    ptr,
    sync::OnceLock,
};

use cudarc::driver::sys::{self, CUdevice_attribute_enum as attribute};

use crate::driver::{Device, DriverError, OLDEST_DRIVER};

/// Most devices that are looked at.
const DEVICES_MAX: u32 = 64;

/// What the loader is asked for.
const LIBRARY: &str = "libcuda.so.1";

const OUT_OF_MEMORY: u32 = 2;
const NO_DEVICE: u32 = 100;
const NOT_READY: u32 = 600;

/// After these, nothing more can be had of the context, or of the device: CUDA's documentation says so of each, or
/// says that the process must end. An unknown error is counted with them, for a device that falls off its bus often
/// gives that one.
const LOST: [u32; 18] = [
    4,   // DEINITIALIZED
    46,  // DEVICE_UNAVAILABLE
    214, // ECC_UNCORRECTABLE
    220, // NVLINK_UNCORRECTABLE
    226, // CONTAINED
    700, // ILLEGAL_ADDRESS
    702, // LAUNCH_TIMEOUT
    709, // CONTEXT_IS_DESTROYED
    710, // ASSERT
    714, // HARDWARE_STACK_ERROR
    715, // ILLEGAL_INSTRUCTION
    716, // MISALIGNED_ADDRESS
    717, // INVALID_ADDRESS_SPACE
    718, // INVALID_PC
    719, // LAUNCH_FAILED
    721, // TENSOR_MEMORY_LEAK
    810, // MPS_CLIENT_TERMINATED
    999, // UNKNOWN
];

/// Declares the table of functions, looks each up, and holds its signature against cudarc's.
macro_rules! functions {
    ($($(#[$doc:meta])* $field:ident = $symbol:ident($($argument:ty),*);)*) => {
        /// The driver's functions; each answers 0, or the number of an error.
        pub(crate) struct Functions {
            $($(#[$doc])* pub(crate) $field: unsafe extern "C" fn($($argument),*) -> u32,)*
            error_name: unsafe extern "C" fn(u32, *mut *const c_char) -> u32,
        }

        impl Functions {
            fn load() -> Result<Self, DriverError> {
                // SAFETY: loading NVIDIA's library runs its initialisers, which is what it is there for.
                if !unsafe { sys::is_culib_present() } {
                    return Err(DriverError::NoDriver { library: LIBRARY.to_owned() });
                }
                Ok(Self {
                    // SAFETY: the driver's functions are C functions; their types are cudarc's (below), but that
                    // the enumeration they answer with, which is a C int of four bytes, is read as a number.
                    $($field: unsafe { function(concat!(stringify!($symbol), "\0"))? },)*
                    // SAFETY: likewise; the error is an argument here.
                    error_name: unsafe { function("cuGetErrorName\0")? },
                })
            }
        }

        const _: () = {
            $(let _: unsafe fn($($argument),*) -> sys::CUresult = sys::$symbol;)*
        };
    };
}

functions! {
    init = cuInit(c_uint);
    driver_version = cuDriverGetVersion(*mut c_int);
    device_count = cuDeviceGetCount(*mut c_int);
    device = cuDeviceGet(*mut sys::CUdevice, c_int);
    device_name = cuDeviceGetName(*mut c_char, c_int, sys::CUdevice);
    device_memory = cuDeviceTotalMem_v2(*mut usize, sys::CUdevice);
    device_attribute = cuDeviceGetAttribute(*mut c_int, sys::CUdevice_attribute, sys::CUdevice);
    context_retain = cuDevicePrimaryCtxRetain(*mut sys::CUcontext, sys::CUdevice);
    context_release = cuDevicePrimaryCtxRelease_v2(sys::CUdevice);
    context_set = cuCtxSetCurrent(sys::CUcontext);
    memory_info = cuMemGetInfo_v2(*mut usize, *mut usize);
    memory_allocate = cuMemAlloc_v2(*mut sys::CUdeviceptr, usize);
    memory_free = cuMemFree_v2(sys::CUdeviceptr);
    memory_set = cuMemsetD8Async(sys::CUdeviceptr, c_uchar, usize, sys::CUstream);
    host_allocate = cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
    host_free = cuMemFreeHost(*mut c_void);
    copy_in = cuMemcpyHtoDAsync_v2(sys::CUdeviceptr, *const c_void, usize, sys::CUstream);
    copy_out = cuMemcpyDtoHAsync_v2(*mut c_void, sys::CUdeviceptr, usize, sys::CUstream);
    stream_create = cuStreamCreate(*mut sys::CUstream, c_uint);
    stream_destroy = cuStreamDestroy_v2(sys::CUstream);
    stream_query = cuStreamQuery(sys::CUstream);
    stream_wait = cuStreamSynchronize(sys::CUstream);
    stream_await = cuStreamWaitEvent(sys::CUstream, sys::CUevent, c_uint);
    event_create = cuEventCreate(*mut sys::CUevent, c_uint);
    event_record = cuEventRecord(sys::CUevent, sys::CUstream);
    event_destroy = cuEventDestroy_v2(sys::CUevent);
    capture_begin = cuStreamBeginCapture_v2(sys::CUstream, sys::CUstreamCaptureMode);
    capture_end = cuStreamEndCapture(sys::CUstream, *mut sys::CUgraph);
    graph_instantiate = cuGraphInstantiateWithFlags(*mut sys::CUgraphExec, sys::CUgraph, c_ulonglong);
    graph_upload = cuGraphUpload(sys::CUgraphExec, sys::CUstream);
    graph_launch = cuGraphLaunch(sys::CUgraphExec, sys::CUstream);
    graph_destroy = cuGraphDestroy(sys::CUgraph);
    executable_destroy = cuGraphExecDestroy(sys::CUgraphExec);
    module_load = cuModuleLoadData(*mut sys::CUmodule, *const c_void);
    module_unload = cuModuleUnload(sys::CUmodule);
    module_function = cuModuleGetFunction(*mut sys::CUfunction, sys::CUmodule, *const c_char);
    function_set = cuFuncSetAttribute(sys::CUfunction, sys::CUfunction_attribute, c_int);
    launch = cuLaunchKernel(
        sys::CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, sys::CUstream,
        *mut *mut c_void, *mut *mut c_void
    );
}

/// The function of this name, which ends in zero.
///
/// # Safety
/// The library is present, and `F` is the type of this C function.
unsafe fn function<F: Copy>(name: &str) -> Result<F, DriverError> {
    // SAFETY: cudarc panics where the library is absent, and the caller has seen it; it stays loaded from here on.
    let library = unsafe { sys::culib() };
    // SAFETY: as the caller says.
    let found = unsafe { library.get::<F>(name.as_bytes()) };
    found.map(|symbol| *symbol).map_err(|_| {
        let name = name.trim_end_matches('\0');
        DriverError::NoDriver { library: format!("{LIBRARY} with {name}") }
    })
}

impl Functions {
    /// The driver's functions, looked up once. The driver may still be too old, or have no device.
    pub(crate) fn get() -> Result<&'static Self, DriverError> {
        static FOUND: OnceLock<Functions> = OnceLock::new();
        // A failure is not kept: a driver may be installed later.
        match FOUND.get() {
            Some(found) => Ok(found),
            None => Self::load().map(|found| FOUND.get_or_init(|| found)),
        }
    }

    /// CUDA version that the driver serves.
    pub(crate) fn version(&self) -> Result<u32, DriverError> {
        let mut version = 0;
        // SAFETY: it points to an integer; the call is allowed before `cuInit`.
        self.check("cuDriverGetVersion", unsafe { (self.driver_version)(&raw mut version) })?;
        Ok(version.unsigned_abs())
    }

    /// Makes the driver ready, if it is not too old, and counts its devices.
    pub(crate) fn start(&self) -> Result<u32, DriverError> {
        let found = self.version()?;
        if found < OLDEST_DRIVER {
            return Err(DriverError::TooOld { found, needed: OLDEST_DRIVER });
        }
        // SAFETY: 0 is the one value that is allowed; it may be called more than once.
        let code = unsafe { (self.init)(0) };
        if code == NO_DEVICE {
            return Ok(0);
        }
        self.check("cuInit", code)?;
        let mut count = 0;
        // SAFETY: it points to an integer.
        self.check("cuDeviceGetCount", unsafe { (self.device_count)(&raw mut count) })?;
        Ok(count.unsigned_abs().min(DEVICES_MAX))
    }

    /// The device of this number, and what it is. The driver was started.
    pub(crate) fn describe(&self, index: u32) -> Result<(sys::CUdevice, Device), DriverError> {
        let mut device = 0;
        // SAFETY: it points to a device.
        self.check("cuDeviceGet", unsafe { (self.device)(&raw mut device, index as c_int) })?;
        let mut name: [c_char; 256] = [0; 256];
        // SAFETY: the block is as long as is said, less one, so that it ends in zero whatever is written.
        let code = unsafe { (self.device_name)(name.as_mut_ptr(), 255, device) };
        self.check("cuDeviceGetName", code)?;
        let mut memory_bytes = 0;
        // SAFETY: it points to a size.
        let code = unsafe { (self.device_memory)(&raw mut memory_bytes, device) };
        self.check("cuDeviceTotalMem", code)?;
        let figure = |which| -> Result<u32, DriverError> {
            let mut figure = 0;
            // SAFETY: it points to an integer.
            let code = unsafe { (self.device_attribute)(&raw mut figure, which, device) };
            self.check("cuDeviceGetAttribute", code)?;
            Ok(figure.unsigned_abs())
        };
        let major = figure(attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = figure(attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        let described = Device {
            // SAFETY: the block ends in zero.
            name: unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned(),
            compute_capability: 10 * major + minor,
            memory_bytes: memory_bytes as u64,
            multiprocessors: figure(attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            shared_bytes_max: figure(
                attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            )?,
            driver_version: self.version()?,
        };
        Ok((device, described))
    }

    /// What a call's answer means.
    pub(crate) fn check(&self, call: &'static str, code: u32) -> Result<(), DriverError> {
        if code == 0 { Ok(()) } else { Err(sorted(call, code, self.name_of(code))) }
    }

    /// What the answer of a question whether something has ended means.
    pub(crate) fn check_ready(&self, call: &'static str, code: u32) -> Result<bool, DriverError> {
        if code == NOT_READY { Ok(false) } else { self.check(call, code).map(|()| true) }
    }

    /// What the answer of a call that asks for memory means.
    pub(crate) fn check_memory(
        &self,
        call: &'static str,
        code: u32,
        asked: usize,
    ) -> Result<(), DriverError> {
        if code != OUT_OF_MEMORY {
            return self.check(call, code);
        }
        let (mut free, mut total) = (0, 0);
        // SAFETY: both point to sizes. Where it fails, nothing is known to be free.
        unsafe { (self.memory_info)(&raw mut free, &raw mut total) };
        Err(DriverError::OutOfMemory { asked: asked as u64, free: free as u64 })
    }

    fn name_of(&self, code: u32) -> String {
        let mut name = ptr::null();
        // SAFETY: takes any number, and sets the pointer to a constant string or to null.
        unsafe { (self.error_name)(code, &raw mut name) };
        if name.is_null() {
            return "no name".to_owned();
        }
        // SAFETY: the string is the library's, constant, and ends in zero.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    }
}

fn sorted(call: &'static str, code: u32, name: String) -> DriverError {
    if LOST.contains(&code) {
        DriverError::Lost { call, code, name }
    } else {
        DriverError::Call { call, code, name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_a_context_of_no_use_is_told_from_what_does_not() {
        for code in [46, 214, 700, 702, 709, 714, 715, 716, 719] {
            assert!(sorted("cuStreamSynchronize", code, String::new()).is_lost(), "{code}");
        }
        // INVALID_VALUE, OUT_OF_MEMORY, INVALID_IMAGE, NOT_READY, LAUNCH_OUT_OF_RESOURCES.
        for code in [1, 2, 200, 600, 701] {
            assert!(!sorted("cuLaunchKernel", code, String::new()).is_lost(), "{code}");
        }
        let error = sorted("cuGraphLaunch", 719, "CUDA_ERROR_LAUNCH_FAILED".to_owned());
        let expected = "the device is lost: cuGraphLaunch answered 719 (CUDA_ERROR_LAUNCH_FAILED)";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_driver_is_there_or_said_to_be_missing() {
        match Functions::get() {
            Ok(functions) => assert!(functions.version().unwrap() > 0),
            Err(error) => {
                let expected = "no NVIDIA driver: libcuda.so.1 was not found";
                assert_eq!(error.to_string(), expected);
            }
        }
    }
}
