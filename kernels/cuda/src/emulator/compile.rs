//! Compiles the kernels as C++ with the system's compiler, into a cache.
//!
//! The compiler is `$CXX` or `c++`. Objects lie in `emulator/` of cargo's target folder, under the hash of
//! sources, flags and the compiler's version, and are built beside and renamed, so that a process never sees
//! half of one. At most [`CACHE_MAX`] are kept: a build removes the oldest above that.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
    process::{self, Command},
};

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::sources::{Module, PRELUDE};

/// Objects that are kept for the next time.
pub const CACHE_MAX: usize = 32;

/// Set in the environment of tests that run with sanitizers: what [`super::Object::shared`] is built with.
pub const SANITIZE: &str = "PURKINJE_EMULATOR_SANITIZE";

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
const FLAGS: [&str; 13] = [
    "-std=c++20",
    "-DEMULATED",
    "-O2",
    "-g",
    "-ffp-contract=off",
    "-fno-fast-math",
    "-fno-strict-aliasing",
    "-fvisibility=hidden",
    "-fPIC",
    "-shared",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
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
        } else {
            // With sanitizers GCC warns of what is right.
            flags.push("-Werror");
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

pub(super) fn compiler() -> OsString {
    env::var_os("CXX").unwrap_or_else(|| "c++".into())
}

/// A command of the compiler. Without `LD_PRELOAD`, which tests under sanitizers are started with: the compiler's
/// own faults are not asked for.
pub(super) fn command(compiler: &OsStr) -> Command {
    let mut command = Command::new(compiler);
    command.env_remove("LD_PRELOAD");
    command
}

fn version(compiler: &OsStr) -> Result<Vec<u8>, BuildError> {
    match command(compiler).arg("--version").output() {
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
        let _ = writeln!(list, "namespace {name} {{\n#include \"{name}.cu\"\n}}");
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
    let mut name = String::new();
    for byte in hash.finalize().iter().take(16) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

fn cache_folder() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    target.join("emulator")
}

/// What makes one object, and where it is to lie.
pub(super) struct Recipe {
    compiler: OsString,
    flags: Vec<&'static str>,
    files: Vec<(String, String)>,
    folder: PathBuf,
}

impl Recipe {
    /// Asks the compiler its version, and builds nothing.
    pub(super) fn new(modules: &[&Module], variant: Variant) -> Result<Self, BuildError> {
        let compiler = compiler();
        let flags = variant.flags();
        let files = files(modules);
        let folder = cache_folder().join(hash(&version(&compiler)?, &flags, &files));
        Ok(Self { compiler, flags, files, folder })
    }

    /// Where the object lies once it is built.
    pub(super) fn object(&self) -> PathBuf {
        self.folder.join("kernels.so")
    }

    /// Builds it unless it is there.
    pub(super) fn build(&self) -> Result<(), BuildError> {
        if self.object().exists() {
            return Ok(());
        }
        build(&self.compiler, &self.flags, &self.files, &self.folder)
    }
}

fn build(
    compiler: &OsStr,
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
    let mut command = command(compiler);
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn an_object_that_another_process_has_built_meanwhile_is_used() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("hash");
        let files =
            [("table.cpp".to_owned(), "extern \"C\" int answer() { return 42; }".to_owned())];
        for _ in 0..2 {
            build(&compiler(), &FLAGS, &files, &folder).unwrap();
            assert!(folder.join("kernels.so").exists());
            assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_does_not_compile_leaves_nothing_behind() {
        let cache = tempfile::tempdir().unwrap();
        let files = [("table.cpp".to_owned(), "int answer() { return; }".to_owned())];
        let error = build(&compiler(), &FLAGS, &files, &cache.path().join("hash")).unwrap_err();
        assert!(matches!(error, BuildError::Compile { .. }), "{error}");
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_compiler_that_is_not_there_is_named() {
        let error = version(OsStr::new("no-such-compiler")).unwrap_err().to_string();
        assert!(error.starts_with("the C++ compiler no-such-compiler does not run"), "{error}");
    }

    #[test]
    fn the_cache_keeps_the_newest() {
        let cache = tempfile::tempdir().unwrap();
        let begin = SystemTime::now() - Duration::from_secs(10_000);
        let path = |k: usize| cache.path().join(format!("{:02}", (k * 7) % 40));
        for k in 0..40 {
            fs::create_dir(path(k)).unwrap();
            let folder = fs::File::open(path(k)).unwrap();
            folder.set_modified(begin + Duration::from_secs(k as u64)).unwrap();
        }
        // The one just built, whatever its time.
        remove_oldest(cache.path(), &path(0));
        let kept: Vec<usize> = (0..40).filter(|k| path(*k).exists()).collect();
        let expected: Vec<usize> = [0].into_iter().chain(40 - (CACHE_MAX - 1)..40).collect();
        assert_eq!(kept, expected);
    }

    #[test]
    fn the_name_of_an_object_depends_on_all_that_it_is_made_of() {
        let file = |text: &str| [("a.cu".to_owned(), text.to_owned())];
        let names = [
            hash(b"12.2", &["-O2"], &file("x")),
            hash(b"12.3", &["-O2"], &file("x")),
            hash(b"12.2", &["-O1"], &file("x")),
            hash(b"12.2", &["-O2"], &file("y")),
        ];
        assert_eq!(names.iter().collect::<std::collections::BTreeSet<_>>().len(), 4);
        assert_eq!(names[0], hash(b"12.2", &["-O2"], &file("x")));
    }
}
