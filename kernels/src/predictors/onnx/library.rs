//! Where ONNX Runtime is found, and that it is loaded once.
//!
//! A process can hold one ONNX Runtime, which stays until it ends. Without one nothing else is worse off:
//! the library is not linked, and looked up only when a graph needs it.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;

use super::runtime::RuntimeError;

/// Names the library where the configuration does not.
pub const VARIABLE: &str = "ORT_DYLIB_PATH";
/// What the system's linker is asked for where that does not either.
pub const SYSTEM: &str = "libonnxruntime.so";

static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// The library's path: the one given, else the one of [`VARIABLE`], else [`SYSTEM`].
#[must_use]
pub fn locate(given: Option<&Path>) -> PathBuf {
    let of_variable = || std::env::var_os(VARIABLE).filter(|path: &OsString| !path.is_empty());
    let path = given.map(Path::to_owned).or_else(|| of_variable().map(PathBuf::from));
    path.unwrap_or_else(|| PathBuf::from(SYSTEM))
}

/// Loads the library, or gives the one that is loaded.
pub(super) fn load(path: &Path) -> Result<Environment, RuntimeError> {
    let failed = |message: String| RuntimeError::Library { path: path.to_owned(), message };
    // A bare name is for the linker to find.
    let is_bare = matches!(path.components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    let path = if is_bare {
        path.to_owned()
    } else {
        path.canonicalize().map_err(|e| failed(e.to_string()))?
    };
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    match &*loaded {
        Some((own, environment)) if *own == path => return Ok(environment.clone()),
        Some((own, _)) => {
            return Err(failed(format!(
                "expected {}, which is loaded already: a process holds one ONNX Runtime",
                own.display()
            )));
        }
        None => {}
    }
    let environment = ort::init_from(&path).map_err(|e| failed(e.to_string()))?;
    let environment = environment
        .with_name("purkinje")
        .with_telemetry(false)
        .build()
        .map_err(|e| failed(e.to_string()))?;
    *loaded = Some((path, environment.clone()));
    Ok(environment)
}
