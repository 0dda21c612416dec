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

    /// A convolutional network of four channels with random weights.
    pub(crate) fn cnn(&self, name: &str, seed: u64) -> PathBuf {
        let tensors: [Tensor<'_>; 4] = [
            ("convs.0.weight", &[4, FEATURES, 3], random(seed, 4 * FEATURES * 3, 0.2)),
            ("convs.0.bias", &[4], random(seed + 1, 4, 0.1)),
            ("head.weight", &[1, 4], random(seed + 2, 4, 0.5)),
            ("head.bias", &[1], vec![0.0]),
        ];
        let network = "kind = \"cnn\"\nchannels = [4]\nkernel = 3\nsteps = 8\npooling = \"mean\"";
        self.write(name, &description(network), &safetensors(&tensors))
    }

    /// A transformer of one block with random weights.
    pub(crate) fn transformer(&self, name: &str, seed: u64) -> PathBuf {
        let mut drawn = seed;
        let mut draw = |len: usize| {
            drawn += 1;
            random(drawn, len, 0.4)
        };
        let tensors: [Tensor<'_>; 16] = [
            ("input.weight", &[8, FEATURES], draw(8 * FEATURES)),
            ("input.bias", &[8], draw(8)),
            ("encoder.layers.0.self_attn.in_proj_weight", &[24, 8], draw(24 * 8)),
            ("encoder.layers.0.self_attn.in_proj_bias", &[24], draw(24)),
            ("encoder.layers.0.self_attn.out_proj.weight", &[8, 8], draw(8 * 8)),
            ("encoder.layers.0.self_attn.out_proj.bias", &[8], draw(8)),
            ("encoder.layers.0.linear1.weight", &[6, 8], draw(6 * 8)),
            ("encoder.layers.0.linear1.bias", &[6], draw(6)),
            ("encoder.layers.0.linear2.weight", &[8, 6], draw(8 * 6)),
            ("encoder.layers.0.linear2.bias", &[8], draw(8)),
            ("encoder.layers.0.norm1.weight", &[8], draw(8)),
            ("encoder.layers.0.norm1.bias", &[8], draw(8)),
            ("encoder.layers.0.norm2.weight", &[8], draw(8)),
            ("encoder.layers.0.norm2.bias", &[8], draw(8)),
            ("head.weight", &[1, 8], draw(8)),
            ("head.bias", &[1], vec![0.0]),
        ];
        let network = "kind = \"transformer\"\nd_model = 8\nlayers = 1\nheads = 2\n\
                       feed_forward = 6\nsteps = 5\nattention = \"causal\"";
        self.write(name, &description(network), &safetensors(&tensors))
    }

    /// An autoencoder of three units with random weights.
    pub(crate) fn autoencoder(&self, name: &str, seed: u64) -> PathBuf {
        let tensors: [Tensor<'_>; 4] = [
            ("encoder.0.weight", &[3, FEATURES], random(seed, 3 * FEATURES, 0.2)),
            ("encoder.0.bias", &[3], random(seed + 1, 3, 0.1)),
            ("decoder.0.weight", &[FEATURES, 3], random(seed + 2, 3 * FEATURES, 0.2)),
            ("decoder.0.bias", &[FEATURES], random(seed + 3, FEATURES, 0.1)),
        ];
        let description = format!(
            "features = [\"all\"]\nhorizon_ms = 1000\ncycle_ms = 100\nanomaly_scale = 1.0\n\n\
             [network]\nkind = \"autoencoder\"\ninputs = {FEATURES}\nencoder = [3]\n"
        );
        self.write(name, &description, &safetensors(&tensors))
    }
}

/// A description of a network of all features, to which `network` adds the rest.
pub(crate) fn description(network: &str) -> String {
    format!(
        "features = [\"all\"]\nhorizon_ms = 1000\ncycle_ms = 100\n\n[network]\ninputs = {FEATURES}\noutputs = 1\n\
         output = \"sigmoid\"\n{network}\n"
    )
}
