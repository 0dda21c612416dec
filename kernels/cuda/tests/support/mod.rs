//! NVRTC for tests, as `make test` fetches it.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use purkinje_cuda::nvrtc::Nvrtc;

/// NVRTC's library; says so where it cannot be had.
pub(crate) fn library() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/nvrtc.sh");
        // Below it the build put these tests.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let output = Command::new(script).env("CARGO_TARGET_DIR", target).output().unwrap();
        let path = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| path.trim_end().into())
    });
    if found.is_none() {
        eprintln!("skipped: kernels/cuda/nvrtc.sh could not fetch NVRTC");
    }
    found.as_deref()
}

/// NVRTC, loaded.
#[allow(dead_code, reason = "not every test compiles")]
pub(crate) fn nvrtc() -> Option<&'static Nvrtc> {
    static LOADED: OnceLock<Option<Nvrtc>> = OnceLock::new();
    LOADED.get_or_init(|| library().map(|path| Nvrtc::open(path).unwrap())).as_ref()
}
