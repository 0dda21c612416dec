//! PyTorch's vectors: `vectors/from_pytorch*.py` writes them.

#![allow(unreachable_pub, dead_code, reason = "not every user needs every item")]

use purkinje_kernels::predictors::weights::Tensors;

/// A network's weights and the file of its inputs and outputs.
pub fn read(name: &str) -> (Tensors, Tensors) {
    (read_file(&format!("{name}.safetensors")), read_vectors(name))
}

/// The file of inputs and outputs.
pub fn read_vectors(name: &str) -> Tensors {
    read_file(&format!("{name}.vectors.safetensors"))
}

fn read_file(name: &str) -> Tensors {
    let path = format!("{}/tests/vectors/pytorch/{name}", env!("CARGO_MANIFEST_DIR"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    Tensors::read(&bytes).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Within 1e-5 of each number, relative to it or to the mean size of all where that is larger: where
/// the terms of a sum cancel, 32 bits hold no more of what is left, in PyTorch no more than here.
pub fn assert_close(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let mean_size = expected.iter().map(|y| y.abs()).sum::<f32>() / expected.len() as f32;
    for (index, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs() / expected.abs().max(mean_size);
        assert!(error <= 1e-5, "{what}[{index}] = {got}, PyTorch {expected}: {error:.1e} apart");
    }
}

/// What must be equal to the last bit.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
