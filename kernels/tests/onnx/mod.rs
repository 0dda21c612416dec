//! The files of `vectors/from_onnx.py`.

#![allow(unreachable_pub, dead_code, reason = "not every user needs every item")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use purkinje_kernels::predictors::onnx::model::Model;
use purkinje_kernels::predictors::weights::Tensors;

/// Windows of each file of vectors.
pub const WINDOWS: usize = 4;
/// Steps of a window.
pub const STEPS: usize = 7;
/// Features of a step.
pub const FEATURES: usize = 6;

/// The bytes of a model.
pub fn bytes(name: &str) -> Vec<u8> {
    file(&format!("{name}.onnx"))
}

/// A model.
pub fn model(name: &str) -> Model {
    Model::read(&bytes(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Windows of `steps` and what ONNX Runtime answers to each.
pub fn vectors(name: &str, steps: Option<usize>, outputs: usize) -> (Vec<f32>, Vec<f32>) {
    let mut tensors = Tensors::read(&file(&format!("{name}.vectors.safetensors"))).unwrap();
    let shape: Vec<usize> = [Some(WINDOWS), steps, Some(FEATURES)].into_iter().flatten().collect();
    let inputs = tensors.take("inputs", &shape).unwrap();
    (inputs, tensors.take("outputs", &[WINDOWS, outputs]).unwrap())
}

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/vectors/onnx/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Within 1e-5 of each number, relative to it or to 1 where that is larger.
pub fn assert_close(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs() / expected.abs().max(1.0);
        assert!(
            error <= 1e-5,
            "{what}[{index}] = {got}, ONNX Runtime {expected}: {error:.1e} apart"
        );
    }
}

/// ONNX Runtime's library, as `make test` fetches it; says so where it cannot be had.
pub fn library() -> Option<PathBuf> {
    static LIBRARY: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = LIBRARY.get_or_init(|| {
        let script = format!("{}/../tests/onnx/library.sh", env!("CARGO_MANIFEST_DIR"));
        // Below it the build put these tests.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let output = Command::new(script).env("CARGO_TARGET_DIR", target).output().unwrap();
        let path = String::from_utf8(output.stdout).unwrap();
        output.status.success().then(|| PathBuf::from(path.trim_end()))
    });
    if found.is_none() {
        eprintln!("skipped: tests/onnx/library.sh could not fetch ONNX Runtime");
    }
    found.clone()
}
