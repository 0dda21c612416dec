//! NVRTC, NVIDIA's compiler of CUDA C++ as a library, loaded when it is first needed.
//!
//! It needs no GPU and no driver. The library is looked for under an explicit path, else `$PURKINJE_NVRTC`, else by
//! the loader and where toolkits are installed; a path that is given is the only one that is tried.
//!
//! Invariants: a library that is missing, broken or too new for the driver is an error that names it; a compiler's
//! log is in the error; nothing here panics. A library stays loaded until the process ends, because it has threads
//! and handlers of its own that unloading would pull the ground from under.

use std::{
    env,
    ffi::{CStr, CString, c_char, c_int, c_void},
    fmt,
    mem::ManuallyDrop,
    path::{Path, PathBuf},
    ptr,
};

use libloading::Library;
use thiserror::Error;

use crate::{
    sources::{Module, OPTIONS},
    target::Target,
};

/// Names the library to load, before any other place.
pub const LIBRARY_VARIABLE: &str = "PURKINJE_NVRTC";

/// The oldest release that is served: the first that compiles all that the kernels use.
pub const OLDEST: Version = Version { major: 12, minor: 0 };

/// Releases that are looked for, newest first.
const MAJORS: [u32; 2] = [13, 12];

/// Where toolkits put their libraries; `%` stands for the major release.
const FOLDERS: [&str; 2] = ["/usr/local/cuda-%/lib64", "/usr/local/cuda/lib64"];

/// Most of a log that an error repeats, bytes.
const LOG_BYTES_MAX: usize = 16 * 1024;

/// Most that a compiler's answer may measure, bytes; more is a broken library.
const IMAGE_BYTES_MAX: usize = 64 << 20;

/// A release of NVRTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// As 12 of 12.9.
    pub major: u32,
    /// As 9 of 12.9.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Why nothing was compiled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NvrtcError {
    /// No library loads.
    #[error("no NVRTC library: tried {tried}; {LIBRARY_VARIABLE} may name one")]
    NotFound {
        /// Each place and what the loader said.
        tried: String,
    },
    /// A library loads and is not what it should be.
    #[error("{library}: {what}")]
    Broken {
        /// Its path, or its name where the loader found it.
        library: String,
        /// What is wrong.
        what: String,
    },
    /// A library of a release that is not served.
    #[error("{library} is NVRTC {found}, expected {expected}")]
    Unserved {
        /// Its path or name.
        library: String,
        /// Its release.
        found: Version,
        /// What would do.
        expected: String,
    },
    /// The compiler refuses the source or an option.
    #[error("{module}.cu for {target}: {code}\n{log}")]
    Refused {
        /// The module.
        module: String,
        /// What it was to become.
        target: Target,
        /// NVRTC's name of the error.
        code: String,
        /// What the compiler said, its first 16 KiB.
        log: String,
    },
}

/// What a compilation made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// A cubin, or PTX with a zero byte at its end, both as `cuModuleLoadData` takes them.
    pub image: Vec<u8>,
    /// What the compiler said: for a cubin, what each kernel takes.
    pub log: String,
}

type Program = *mut c_void;

/// The library's functions that are used. Each answers 0, or the number of an error.
struct Functions {
    version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int,
    error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    architecture_count: unsafe extern "C" fn(*mut c_int) -> c_int,
    architectures: unsafe extern "C" fn(*mut c_int) -> c_int,
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int,
    destroy: unsafe extern "C" fn(*mut Program) -> c_int,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int,
    log: Getter,
    cubin: Getter,
    ptx: Getter,
}

/// Two functions that together give a block of bytes.
struct Getter {
    size: unsafe extern "C" fn(Program, *mut usize) -> c_int,
    bytes: unsafe extern "C" fn(Program, *mut c_char) -> c_int,
}

/// A loaded compiler.
pub struct Nvrtc {
    functions: Functions,
    name: String,
    version: Version,
    architectures: Vec<u32>,
    // The functions are its; it is never unloaded.
    _library: ManuallyDrop<Library>,
}

impl fmt::Debug for Nvrtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NVRTC {} ({})", self.version, self.name)
    }
}

impl Nvrtc {
    /// Loads the library at `explicit`, else the one that `$PURKINJE_NVRTC` names, else the newest that is found. A
    /// driver loads no machine code of a later major release than its own, so its `driver_version` (as 12020 for
    /// 12.2), where there is one, says what is too new.
    ///
    /// # Errors
    /// [`NvrtcError::NotFound`] with every place, [`NvrtcError::Unserved`] where a path was given.
    pub fn find(explicit: Option<&Path>, driver_version: Option<u32>) -> Result<Self, NvrtcError> {
        let named = explicit
            .map(Path::to_owned)
            .or_else(|| env::var_os(LIBRARY_VARIABLE).map(PathBuf::from))
            .filter(|path| !path.as_os_str().is_empty());
        Self::first_of(named.as_deref(), &places(), driver_version)
    }

    fn first_of(
        named: Option<&Path>,
        places: &[PathBuf],
        driver_version: Option<u32>,
    ) -> Result<Self, NvrtcError> {
        if let Some(path) = named {
            return Self::open(path)?.served(driver_version);
        }
        let mut tried = Vec::new();
        for place in places {
            match Self::open(place).and_then(|nvrtc| nvrtc.served(driver_version)) {
                Ok(nvrtc) => return Ok(nvrtc),
                Err(NvrtcError::NotFound { .. }) => tried.push(place.display().to_string()),
                Err(unfit) => tried.push(unfit.to_string()),
            }
        }
        Err(NvrtcError::NotFound { tried: tried.join(", ") })
    }

    /// Loads the library of this path, or of this name as the loader finds it.
    ///
    /// # Errors
    /// [`NvrtcError::NotFound`] where it does not load, [`NvrtcError::Broken`] where it is not NVRTC.
    pub fn open(path: &Path) -> Result<Self, NvrtcError> {
        let name = path.display().to_string();
        // SAFETY: loading runs the library's initialisers; it is the compiler that the user named or installed.
        let library = unsafe { Library::new(path) }
            .map_err(|error| NvrtcError::NotFound { tried: format!("{name} ({error})") })?;
        let library = ManuallyDrop::new(library);
        let broken = |what: String| NvrtcError::Broken { library: name.clone(), what };
        let functions = Functions::load(&library).map_err(&broken)?;
        let (mut major, mut minor) = (0, 0);
        // SAFETY: both point to integers.
        let code = unsafe { (functions.version)(&raw mut major, &raw mut minor) };
        let version = match (code, u32::try_from(major), u32::try_from(minor)) {
            (0, Ok(major), Ok(minor)) => Version { major, minor },
            _ => return Err(broken(format!("nvrtcVersion answered {code}"))),
        };
        let architectures = functions.supported().map_err(&broken)?;
        Ok(Self { functions, name, version, architectures, _library: library })
    }

    /// Itself, if it is neither too old nor too new for the driver.
    fn served(self, driver_version: Option<u32>) -> Result<Self, NvrtcError> {
        let newest_major = driver_version.map(|version| version / 1000);
        let expected = match newest_major {
            _ if self.version < OLDEST => format!("{OLDEST} or later"),
            Some(newest) if self.version.major > newest => {
                format!("{newest} or earlier, as the driver")
            }
            _ => return Ok(self),
        };
        Err(NvrtcError::Unserved { library: self.name, found: self.version, expected })
    }

    /// Its path, or its name where the loader found it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its release.
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Compute capabilities that it compiles for, ascending.
    pub fn architectures(&self) -> &[u32] {
        &self.architectures
    }

    /// Compiles a module.
    ///
    /// # Errors
    /// [`NvrtcError::Refused`] with the compiler's log.
    pub fn compile(&self, module: &Module, target: Target) -> Result<Compiled, NvrtcError> {
        let refused = |code: String, log: String| NvrtcError::Refused {
            module: module.name.to_owned(),
            target,
            code,
            log,
        };
        let text = |text: String| {
            CString::new(text).map_err(|_| refused("a zero byte".to_owned(), String::new()))
        };
        let source = text(module.source())?;
        // The text begins with the prelude and names the module itself where that begins.
        let name = text("prelude.cuh".to_owned())?;
        let mut options = vec![text(format!("--gpu-architecture={target}"))?];
        for option in OPTIONS {
            options.push(text(option.to_owned())?);
        }
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();

        let mut program = ProgramGuard { functions: &self.functions, program: ptr::null_mut() };
        // SAFETY: the strings end in zero and outlive the call; there are no headers.
        let code = unsafe {
            (self.functions.create)(
                &raw mut program.program,
                source.as_ptr(),
                name.as_ptr(),
                0,
                ptr::null(),
                ptr::null(),
            )
        };
        if code != 0 {
            return Err(refused(self.functions.name_of(code), String::new()));
        }
        // SAFETY: the program was created, and the options' strings outlive the call.
        let code = unsafe {
            (self.functions.compile)(program.program, options.len() as c_int, options.as_ptr())
        };
        let log = program.get(&self.functions.log).map(text_of).unwrap_or_default();
        if code != 0 {
            return Err(refused(self.functions.name_of(code), shortened(log)));
        }
        let getter = match target {
            Target::Cubin(_) => &self.functions.cubin,
            Target::Ptx(_) => &self.functions.ptx,
        };
        match program.get(getter) {
            Ok(image) if !image.is_empty() => Ok(Compiled { image, log }),
            Ok(_) => Err(refused("an empty image".to_owned(), shortened(log))),
            Err(what) => Err(refused(what, shortened(log))),
        }
    }
}

/// A program that NVRTC made, destroyed when it is dropped.
struct ProgramGuard<'a> {
    functions: &'a Functions,
    program: Program,
}

impl ProgramGuard<'_> {
    fn get(&self, getter: &Getter) -> Result<Vec<u8>, String> {
        let mut size = 0;
        // SAFETY: the program was created and the size is an integer of this function.
        let code = unsafe { (getter.size)(self.program, &raw mut size) };
        if code != 0 {
            return Err(self.functions.name_of(code));
        }
        if size > IMAGE_BYTES_MAX {
            return Err(format!("{size} bytes, expected at most {IMAGE_BYTES_MAX}"));
        }
        let mut bytes = vec![0; size];
        // SAFETY: the block is as large as the library said that it writes.
        let code = unsafe { (getter.bytes)(self.program, bytes.as_mut_ptr().cast()) };
        if code == 0 { Ok(bytes) } else { Err(self.functions.name_of(code)) }
    }
}

impl Drop for ProgramGuard<'_> {
    fn drop(&mut self) {
        if !self.program.is_null() {
            // SAFETY: the program was created and is used by nobody else. An error leaves nothing to do.
            unsafe { (self.functions.destroy)(&raw mut self.program) };
        }
    }
}

impl Functions {
    fn load(library: &Library) -> Result<Self, String> {
        /// The function of this name, with the type that its field says.
        fn get<F: Copy>(library: &Library, name: &CStr) -> Result<F, String> {
            // SAFETY: NVRTC's functions are C functions of the types in `Functions`, unchanged since its release 8.
            let found = unsafe { library.get::<F>(name.to_bytes_with_nul()) };
            found.map(|symbol| *symbol).map_err(|_| format!("has no {}", name.to_string_lossy()))
        }
        let getter = |size: &CStr, bytes: &CStr| -> Result<Getter, String> {
            Ok(Getter { size: get(library, size)?, bytes: get(library, bytes)? })
        };
        Ok(Self {
            version: get(library, c"nvrtcVersion")?,
            error_string: get(library, c"nvrtcGetErrorString")?,
            architecture_count: get(library, c"nvrtcGetNumSupportedArchs")?,
            architectures: get(library, c"nvrtcGetSupportedArchs")?,
            create: get(library, c"nvrtcCreateProgram")?,
            destroy: get(library, c"nvrtcDestroyProgram")?,
            compile: get(library, c"nvrtcCompileProgram")?,
            log: getter(c"nvrtcGetProgramLogSize", c"nvrtcGetProgramLog")?,
            cubin: getter(c"nvrtcGetCUBINSize", c"nvrtcGetCUBIN")?,
            ptx: getter(c"nvrtcGetPTXSize", c"nvrtcGetPTX")?,
        })
    }

    fn supported(&self) -> Result<Vec<u32>, String> {
        let mut count = 0;
        // SAFETY: it points to an integer.
        let code = unsafe { (self.architecture_count)(&raw mut count) };
        if code != 0 || !(1..=256).contains(&count) {
            return Err(format!("nvrtcGetNumSupportedArchs answered {code}, {count}"));
        }
        let mut found = vec![0; count as usize];
        // SAFETY: the block holds as many integers as the library said that it writes.
        let code = unsafe { (self.architectures)(found.as_mut_ptr()) };
        if code != 0 {
            return Err(format!("nvrtcGetSupportedArchs answered {code}"));
        }
        let mut found: Vec<u32> =
            found.into_iter().filter_map(|arch| arch.try_into().ok()).collect();
        found.sort_unstable();
        Ok(found)
    }

    fn name_of(&self, code: c_int) -> String {
        // SAFETY: takes any number.
        let name = unsafe { (self.error_string)(code) };
        if name.is_null() {
            return format!("NVRTC error {code}");
        }
        // SAFETY: the library answers with a constant string that ends in zero.
        unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
    }
}

/// Where to look, first to last.
fn places() -> Vec<PathBuf> {
    let files: Vec<String> = MAJORS.iter().map(|major| format!("libnvrtc.so.{major}")).collect();
    let mut places: Vec<PathBuf> = files.iter().map(PathBuf::from).collect();
    places.push("libnvrtc.so".into());
    for (major, file) in MAJORS.iter().zip(&files) {
        for folder in FOLDERS {
            let place = Path::new(&folder.replace('%', &major.to_string())).join(file);
            // Only what is there is worth a word in an error.
            if place.exists() {
                places.push(place);
            }
        }
    }
    places
}

/// A C string's bytes as text, without the zero at its end.
fn text_of(mut bytes: Vec<u8>) -> String {
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn shortened(mut log: String) -> String {
    if log.len() > LOG_BYTES_MAX {
        log.truncate(log.floor_char_boundary(LOG_BYTES_MAX));
        log.push_str("\n…");
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_that_is_not_there_is_named() {
        let path = Path::new("/nonexistent/libnvrtc.so.12");
        let error = Nvrtc::find(Some(path), None).unwrap_err();
        assert!(matches!(error, NvrtcError::NotFound { .. }), "{error}");
        assert!(error.to_string().contains("/nonexistent/libnvrtc.so.12"), "{error}");
    }

    #[test]
    fn every_place_that_was_tried_is_named() {
        let places = [PathBuf::from("/nonexistent/a.so"), PathBuf::from("/nonexistent/b.so")];
        let error = Nvrtc::first_of(None, &places, None).unwrap_err().to_string();
        assert!(error.contains("a.so") && error.contains("b.so"), "{error}");
        assert!(error.contains(LIBRARY_VARIABLE), "{error}");
    }

    #[test]
    fn a_library_that_is_another_one_is_refused() {
        let error = Nvrtc::open(Path::new("libc.so.6")).unwrap_err();
        let expected = NvrtcError::Broken {
            library: "libc.so.6".to_owned(),
            what: "has no nvrtcVersion".to_owned(),
        };
        assert_eq!(error, expected);
    }

    #[test]
    fn a_file_that_is_no_library_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("libnvrtc.so.12");
        std::fs::write(&path, b"not a library").unwrap();
        let error = Nvrtc::open(&path).unwrap_err();
        assert!(matches!(error, NvrtcError::NotFound { .. }), "{error}");
    }

    #[test]
    fn a_long_log_is_cut_between_characters() {
        let log = "é".repeat(LOG_BYTES_MAX);
        let cut = shortened(log);
        assert!(cut.len() <= LOG_BYTES_MAX + "\n…".len());
        assert!(cut.ends_with('…'));
    }
}
