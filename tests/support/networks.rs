//! Folders of networks, written by hand.

use std::{fmt::Write as _, path::PathBuf};

use purkinje_kernels::rng::Key;
use purkinje_strategies::features::N as FEATURES;

/// A tensor to be written.
pub(crate) type Tensor<'a> = (&'a str, &'a [usize], Vec<f32>);

/// A safetensors file: the length of a JSON header, the header, the numbers.
pub(crate) fn safetensors(tensors: &[Tensor<'_>]) -> Vec<u8> {
    let (mut header, mut data) = (String::from("{"), Vec::new());
    for (name, shape, values) in tensors {
        let begin = data.len();
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let comma = if begin == 0 { "" } else { "," };
        let end = data.len();
        write!(
            header,
            "{comma}\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape:?},\"data_offsets\":[{begin},{end}]}}"
        )
        .unwrap();
    }
    header.push('}');
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// Numbers in [-size, size].
pub(crate) fn random(tag: u64, len: usize, size: f32) -> Vec<f32> {
    let key = Key::new(7).fork(tag);
    (0..len as u64).map(|k| (2.0 * key.uniform(k) - 1.0) * size).collect()
}

/// Folders of networks.
pub(crate) struct Networks(pub(crate) tempfile::TempDir);

impl Networks {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Writes a folder.
    pub(crate) fn write(&self, name: &str, description: &str, weights: &[u8]) -> PathBuf {
        let folder = self.0.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("model.toml"), description).unwrap();
        std::fs::write(folder.join("weights.safetensors"), weights).unwrap();
        folder
    }

    /// A linear model of all features.
    pub(crate) fn linear(&self, name: &str, weights: &[f32], bias: f32) -> PathBuf {
        let tensors: [Tensor<'_>; 2] =
            [("head.weight", &[1, FEATURES], weights.to_vec()), ("head.bias", &[1], vec![bias])];
        self.write(
            name,
            &description("kind = \"feed-forward\"\nhidden = []"),
            &safetensors(&tensors),
        )
    }

    /// An LSTM of eight units with random weights.
    pub(crate) fn lstm(&self, name: &str, seed: u64) -> PathBuf {
        let tensors: [Tensor<'_>; 6] = [
            ("lstm.weight_ih_l0", &[32, FEATURES], random(seed, 32 * FEATURES, 0.2)),
            ("lstm.weight_hh_l0", &[32, 8], random(seed + 1, 32 * 8, 0.3)),
            ("lstm.bias_ih_l0", &[32], random(seed + 2, 32, 0.1)),
            ("lstm.bias_hh_l0", &[32], random(seed + 3, 32, 0.1)),
            ("head.weight", &[1, 8], random(seed + 4, 8, 0.5)),
            ("head.bias", &[1], vec![0.0]),
        ];
        self.write(name, &description("kind = \"lstm\"\nhidden = [8]"), &safetensors(&tensors))
    }
}

/// A description of a network of all features, to which `network` adds the rest.
pub(crate) fn description(network: &str) -> String {
    format!(
        "features = [\"all\"]\nhorizon_ms = 1000\ncycle_ms = 100\n\n[network]\ninputs = {FEATURES}\noutputs = 1\n\
         output = \"sigmoid\"\n{network}\n"
    )
}
