//! The shared object that holds the kernels as C++, built once with the system's compiler.
//!
//! The compiler is `$CXX` or `c++`. Objects lie in `emulator/` of cargo's target folder, under the hash of
//! sources, flags and the compiler's version, and are built beside and renamed, so that a process never sees
//! half of one. At most [`CACHE_MAX`] are kept: a build removes the oldest above that.

use std::{
    collections::BTreeMap,
    env,
    ffi::{CStr, CString, OsString, c_char, c_int, c_void},
    fs, io,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{Arc, Mutex, PoisonError},
};

use libloading::Library;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    driver::Launch,
    sources::{MODULES, Module, PRELUDE},
};

/// Objects that are kept for the next time.
pub const CACHE_MAX: usize = 32;

/// Set in the environment of tests that run with sanitizers: what [`Object::shared`] is built with.
pub const SANITIZE: &str = "PURKINJE_EMULATOR_SANITIZE";

/// Most bytes of a kernel's error.
const ERROR_BYTES: usize = 1024;

/// What does not depend on the modules.
const FILES: [(&str, &str); 5] = [
    ("fiber.hpp", include_str!("../../host/fiber.hpp")),
    ("emulate.hpp", include_str!("../../host/emulate.hpp")),
    ("intrinsics.hpp", include_str!("../../host/intrinsics.hpp")),
    ("table.cpp", include_str!("../../host/table.cpp")),
    ("prelude.cuh", PRELUDE),
];

/// How an object is built. No fused multiply-add but where a kernel writes `fmaf`, and no assumption on what types
/// lie in shared memory.
const FLAGS: [&str; 15] = [
    "-std=c++20",
    "-DEMULATED",
    "-O2",
    "-g",
    "-ffp-contract=off",
    "-fno-fast-math",
    "-fno-strict-aliasing",
    "-fno-gnu-unique",
    "-fvisibility=hidden",
    "-fPIC",
    "-shared",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
    "-Werror",
];

/// Besides, with sanitizers. A conversion of a number that does not fit is undefined in C++ and saturates on a GPU.
const SANITIZER_FLAGS: [&str; 3] = [
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
];

/// Why there is no object.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The compiler does not run.
    #[error("the C++ compiler {command} does not run ($CXX names another): {source}")]
    Compiler {
        /// What was run.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// The sources do not compile.
    #[error("{command} does not compile the kernels:\n{messages}")]
    Compile {
        /// What was run.
        command: String,
        /// What it said.
        messages: String,
    },
    /// The cache cannot be written.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was built cannot be loaded.
    #[error("{path} cannot be loaded: {source}")]
    Load {
        /// The object.
        path: PathBuf,
        /// Why.
        source: libloading::Error,
    },
}

/// Variants of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Variant {
    /// With the address and undefined-behaviour sanitizers, whose libraries the process must have loaded first.
    pub sanitize: bool,
    /// With fibers that switch as on processors for which there is no switch of our own.
    pub portable_fibers: bool,
}

impl Variant {
    /// What the environment asks for: with sanitizers where [`SANITIZE`] is set.
    pub fn of_environment() -> Self {
        Self { sanitize: env::var_os(SANITIZE).is_some(), portable_fibers: false }
    }

    fn flags(self) -> Vec<&'static str> {
        let mut flags = FLAGS.to_vec();
        if self.sanitize {
            flags.extend(SANITIZER_FLAGS);
        }
        if self.portable_fibers {
            flags.push("-DEMULATE_UCONTEXT");
        }
        #[cfg(target_arch = "x86_64")]
        if has_v3() {
            flags.push("-march=x86-64-v3");
        }
        flags
    }
}

/// Whether this processor has what x86-64-v3 adds.
#[cfg(target_arch = "x86_64")]
fn has_v3() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("movbe")
        && is_x86_feature_detected!("f16c")
}

type EmulateFn = unsafe extern "C" fn(
    name: *const c_char,
    grid: *const u32,
    threads: u32,
    shared_bytes: u32,
    argument: *const c_void,
    argument_bytes: usize,
    order: u32,
    seed: u64,
    error: *mut c_char,
    error_bytes: usize,
) -> c_int;

type KernelFn = unsafe extern "C" fn(index: usize, argument_bytes: *mut usize) -> *const c_char;

/// Kernels that can be run on the CPU, by any number of threads at once.
#[derive(Debug)]
pub struct Object {
    emulate: EmulateFn,
    /// By name, the size of its argument in bytes.
    kernels: BTreeMap<String, usize>,
    path: PathBuf,
    // Last: what the others point into.
    _library: Library,
}

/// Those that the process has loaded, by hash.
static LOADED: Mutex<BTreeMap<String, Arc<Object>>> = Mutex::new(BTreeMap::new());

impl Object {
    /// That of all modules, as the environment asks for it ([`Variant::of_environment`]).
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn shared() -> Result<Arc<Self>, BuildError> {
        Self::of(&MODULES, Variant::of_environment())
    }

    /// That of some modules: loaded before, found in the cache, or built now, which takes seconds.
    ///
    /// # Errors
    /// [`BuildError`].
    pub fn of(modules: &[&'static Module], variant: Variant) -> Result<Arc<Self>, BuildError> {
        let compiler = compiler();
        let flags = variant.flags();
        let files = files(modules);
        let hash = hash(&version(&compiler)?, &flags, &files);
        // Held while building, so that the tests of a process build once.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(object) = loaded.get(&hash) {
            return Ok(Arc::clone(object));
        }
        let folder = cache_folder().join(&hash);
        let path = folder.join("kernels.so");
        if !path.exists() {
            build(&compiler, &flags, &files, &folder)?;
        }
        let object = Arc::new(Self::load(path)?);
        loaded.insert(hash, Arc::clone(&object));
        Ok(object)
    }

    fn load(path: PathBuf) -> Result<Self, BuildError> {
        let failed = |source| BuildError::Load { path: path.clone(), source };
        // SAFETY: its initializers build a list of kernels and nothing else.
        let library = unsafe { Library::new(&path) }.map_err(failed)?;
        // SAFETY: table.cpp declares it so.
        let emulate = *unsafe { library.get::<EmulateFn>(b"emulate\0") }.map_err(failed)?;
        // SAFETY: table.cpp declares it so.
        let kernel = *unsafe { library.get::<KernelFn>(b"emulate_kernel\0") }.map_err(failed)?;
        let mut kernels = BTreeMap::new();
        loop {
            let mut argument_bytes = 0;
            // SAFETY: it writes one number, and answers null or a string that lives as long as the library.
            let name = unsafe { kernel(kernels.len(), &raw mut argument_bytes) };
            if name.is_null() {
                break;
            }
            // SAFETY: not null.
            let name = unsafe { CStr::from_ptr(name) };
            kernels.insert(name.to_string_lossy().into_owned(), argument_bytes);
        }
        Ok(Self { emulate, kernels, path, _library: library })
    }

    /// Its kernels, with the size of their arguments in bytes.
    pub const fn kernels(&self) -> &BTreeMap<String, usize> {
        &self.kernels
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a kernel to its end.
    ///
    /// # Errors
    /// What the kernel did that a GPU answers with anything: which threads wait for which, an argument of the wrong
    /// size, no such kernel.
    ///
    /// # Safety
    /// What addresses the argument holds, and how far from them the kernel goes, must be memory that it may read and
    /// write, by itself.
    pub unsafe fn run(&self, launch: &Launch, order: Order) -> Result<(), String> {
        let name = CString::new(launch.kernel).map_err(|error| error.to_string())?;
        let (order, seed) = match order {
            Order::Ascending => (0, 0),
            Order::Random { seed } => (1, seed),
            Order::Adversarial { seed } => (2, seed),
        };
        let mut error = [0; ERROR_BYTES];
        // SAFETY: name and error end with a zero, sizes are those of what they belong to; the caller vouches for
        // what the argument points to.
        let answer = unsafe {
            (self.emulate)(
                name.as_ptr(),
                launch.grid.as_ptr(),
                launch.threads,
                launch.shared_bytes,
                launch.argument.as_ptr().cast(),
                launch.argument.len(),
                order,
                seed,
                error.as_mut_ptr(),
                error.len(),
            )
        };
        if answer == 0 {
            return Ok(());
        }
        // SAFETY: the callee writes a zero within the array's length.
        Err(unsafe { CStr::from_ptr(error.as_ptr()) }.to_string_lossy().into_owned())
    }
}

/// In which order the threads of a block run between the points at which they wait for each other, and blocks one
/// after another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By number.
    #[default]
    Ascending,
    /// Any that can run, drawn from the seed.
    Random {
        /// Of what is drawn.
        seed: u64,
    },
    /// Some of the threads, drawn from the seed, as far as they can before the others, and those before an atomic
    /// operation sometimes after others.
    Adversarial {
        /// Of what is drawn.
        seed: u64,
    },
}

fn compiler() -> OsString {
    env::var_os("CXX").unwrap_or_else(|| "c++".into())
}

/// A command of the compiler. Without `LD_PRELOAD`, which tests under sanitizers are started with: the compiler's
/// own faults are not asked for.
pub(super) fn command() -> Command {
    let mut command = Command::new(compiler());
    command.env_remove("LD_PRELOAD");
    command
}

fn version(compiler: &OsString) -> Result<Vec<u8>, BuildError> {
    match command().arg("--version").output() {
        Ok(output) => Ok(output.stdout),
        Err(source) => {
            Err(BuildError::Compiler { command: compiler.to_string_lossy().into_owned(), source })
        }
    }
}

fn files(modules: &[&Module]) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> =
        FILES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let mut list = String::new();
    for module in modules {
        let name = module.name;
        // On a GPU each module is an image of its own, so that two may use one name for two things.
        list += &format!("namespace {name} {{\n#include \"{name}.cu\"\n}}\n");
        files.push((format!("{name}.cu"), module.text.to_owned()));
    }
    files.push(("modules.inc".to_owned(), list));
    files
}

fn hash(version: &[u8], flags: &[&str], files: &[(String, String)]) -> String {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(version);
    add(flags.join(" ").as_bytes());
    for (name, text) in files {
        add(name.as_bytes());
        add(text.as_bytes());
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

fn cache_folder() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    target.join("emulator")
}

fn build(
    compiler: &OsString,
    flags: &[&str],
    files: &[(String, String)],
    folder: &Path,
) -> Result<(), BuildError> {
    let beside = folder.with_extension(format!("{}.tmp", process::id()));
    let in_file = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::File { path, source }
    };
    fs::create_dir_all(&beside).map_err(in_file(&beside))?;
    for (name, text) in files {
        let path = beside.join(name);
        fs::write(&path, text).map_err(in_file(&path))?;
    }
    let mut prefix = OsString::from("-fdebug-prefix-map=");
    prefix.push(&beside);
    prefix.push("=");
    prefix.push(folder);
    let mut command = command();
    command.current_dir(&beside).args(flags).arg(prefix).args(["table.cpp", "-o", "kernels.so"]);
    let output = command.output().map_err(|source| BuildError::Compiler {
        command: compiler.to_string_lossy().into_owned(),
        source,
    })?;
    let result = if output.status.success() {
        match fs::rename(&beside, folder) {
            Err(source) if !folder.join("kernels.so").exists() => {
                Err(BuildError::File { path: folder.to_owned(), source })
            }
            _ => Ok(()),
        }
    } else {
        Err(BuildError::Compile {
            command: format!("{command:?}"),
            messages: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    };
    // Gone already, unless another process was quicker or the build failed.
    let _ = fs::remove_dir_all(&beside);
    if let Some(cache) = folder.parent() {
        remove_oldest(cache, folder);
    }
    result
}

/// Keeps [`CACHE_MAX`] objects, `newest` among them. What cannot be removed stays.
fn remove_oldest(cache: &Path, newest: &Path) {
    let Ok(entries) = fs::read_dir(cache) else { return };
    let mut folders: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.path() != newest)
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    folders.sort();
    for (_, path) in folders.iter().rev().skip(CACHE_MAX - 1) {
        let _ = fs::remove_dir_all(path);
    }
}
