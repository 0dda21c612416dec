//! NVRTC for tests, as `make test` fetches it.

use std::{path::Path, process::Command, sync::OnceLock};

use purkinje_cuda::nvrtc::Nvrtc;

/// NVRTC; says so where it cannot be had.
pub fn nvrtc() -> Option<&'static Nvrtc> {
    static FOUND: OnceLock<Option<Nvrtc>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/nvrtc.sh");
        // Below it the build put these tests.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let output = Command::new(script).env("CARGO_TARGET_DIR", target).output().unwrap();
        let path = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| Nvrtc::open(Path::new(path.trim_end())).unwrap())
    });
    if found.is_none() {
        eprintln!("skipped: kernels/cuda/nvrtc.sh could not fetch NVRTC");
    }
    found.as_ref()
}
