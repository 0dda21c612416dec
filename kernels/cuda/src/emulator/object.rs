//! A shared object of kernels, loaded, and how its threads take turns.

use std::{
    collections::BTreeMap,
    ffi::{CStr, CString, c_char, c_int, c_void},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use libloading::Library;

use super::compile::{BuildError, Recipe, Variant};
use crate::{
    driver::Launch,
    sources::{MODULES, Module},
};

/// Most bytes of a kernel's error.
const ERROR_BYTES: usize = 1024;

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

/// Those that the process has loaded, by path.
static LOADED: Mutex<BTreeMap<PathBuf, Arc<Object>>> = Mutex::new(BTreeMap::new());

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
        let recipe = Recipe::new(modules, variant)?;
        let path = recipe.object();
        // Held while building, so that the tests of a process build once.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(object) = loaded.get(&path) {
            return Ok(Arc::clone(object));
        }
        recipe.build()?;
        let object = Arc::new(Self::load(path.clone())?);
        loaded.insert(path, Arc::clone(&object));
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
