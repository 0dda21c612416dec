//! How a generator of paths is trained, as TOML.
//!
//! ```toml
//! features = 40
//! steps = 50
//! seed = 7
//! ```
//!
//! Invariants: no key is ignored; every number has bounds; a fault names key, value and what was expected.

use serde::{Deserialize, Serialize};

use super::super::config::{ConfigError, fault, positive, within};
use super::super::trainer::WEIGHTS_MAX;
use crate::predictors::architecture::{INPUTS_MAX, LAYERS_MAX, STEPS_MAX, WIDTH_MAX};

/// Most numbers of a batch at the network's widest place, which bounds the memory of a step.
const BATCH_NUMBERS_MAX: usize = 1 << 28;

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GanConfig {
    /// Features of one step: 1 to [`INPUTS_MAX`].
    pub features: usize,
    /// Steps of a path: 2 to [`STEPS_MAX`].
    #[serde(default = "steps")]
    pub steps: usize,
    /// Steps that the generator takes before a path's first, so that a path begins anywhere: 0 to
    /// [`STEPS_MAX`].
    #[serde(default = "warm_up")]
    pub warm_up: usize,
    /// Random numbers that go into each step: 1 to [`INPUTS_MAX`].
    #[serde(default = "noise")]
    pub noise: usize,
    /// Units of each of the generator's LSTM layers, 1 to [`WIDTH_MAX`]; 1 to [`LAYERS_MAX`] layers.
    #[serde(default = "units")]
    pub units: Vec<usize>,
    /// Channels of each of the discriminator's convolutions, 1 to [`WIDTH_MAX`]; 1 to [`LAYERS_MAX`]
    /// layers.
    #[serde(default = "channels")]
    pub channels: Vec<usize>,
    /// Steps that each convolution weighs: 2 to 64. All of them together must span no more than a path.
    #[serde(default = "kernel")]
    pub kernel: usize,
    /// Above 0 to 1.
    #[serde(default = "generator_rate")]
    pub generator_rate: f64,
    /// Above 0 to 1.
    #[serde(default = "discriminator_rate")]
    pub discriminator_rate: f64,
    /// What a step leaves of the running mean of the generator's weights: 0 (their last values) to 0.9999.
    #[serde(default = "averaging")]
    pub averaging: f64,
    /// Longest gradient over all weights of a network together: above 0 to 1e6.
    #[serde(default = "clip_norm")]
    pub clip_norm: f64,
    /// Most windows of a step, and as many paths: 1 to 65,536.
    #[serde(default = "batch")]
    pub batch: usize,
    /// Passes over the training windows: 1 to 100,000.
    #[serde(default = "epochs")]
    pub epochs: u32,
    /// Of first weights, order of windows and noise.
    #[serde(default)]
    pub seed: u64,
}

fn steps() -> usize {
    50
}
fn warm_up() -> usize {
    8
}
fn noise() -> usize {
    8
}
fn units() -> Vec<usize> {
    vec![32]
}
fn channels() -> Vec<usize> {
    vec![32, 32]
}
fn kernel() -> usize {
    5
}
fn generator_rate() -> f64 {
    1e-3
}
fn discriminator_rate() -> f64 {
    2e-3
}
fn averaging() -> f64 {
    0.99
}
fn clip_norm() -> f64 {
    1.0
}
fn batch() -> usize {
    64
}
fn epochs() -> u32 {
    50
}

impl GanConfig {
    /// The defaults for so many features.
    #[must_use]
    pub fn new(features: usize) -> Self {
        Self {
            features,
            steps: steps(),
            warm_up: warm_up(),
            noise: noise(),
            units: units(),
            channels: channels(),
            kernel: kernel(),
            generator_rate: generator_rate(),
            discriminator_rate: discriminator_rate(),
            averaging: averaging(),
            clip_norm: clip_norm(),
            batch: batch(),
            epochs: epochs(),
            seed: 0,
        }
    }

    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let read: Self = toml::from_str(text)?;
        read.validate()?;
        Ok(read)
    }

    /// Whether every number is in its bounds and the parts fit each other.
    ///
    /// # Errors
    /// [`ConfigError`] naming the first that is not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        within("features", self.features, 1..=INPUTS_MAX)?;
        within("steps", self.steps, 2..=STEPS_MAX)?;
        within("warm_up", self.warm_up, 0..=STEPS_MAX)?;
        within("noise", self.noise, 1..=INPUTS_MAX)?;
        for (key, widths) in [("units", &self.units), ("channels", &self.channels)] {
            within(&format!("{key}.len()"), widths.len(), 1..=LAYERS_MAX)?;
            for (layer, width) in widths.iter().enumerate() {
                within(&format!("{key}[{layer}]"), *width, 1..=WIDTH_MAX)?;
            }
        }
        within("kernel", self.kernel, 2..=64)?;
        let span = 1 + self.channels.len() * (self.kernel - 1);
        if span > self.steps {
            let layers = self.channels.len();
            let expected = format!("a span of at most steps = {} in {layers} layers", self.steps);
            return Err(fault("kernel", self.kernel, format!("{expected}, not {span}")));
        }
        positive("generator_rate", self.generator_rate, 1.0)?;
        positive("discriminator_rate", self.discriminator_rate, 1.0)?;
        within("averaging", self.averaging, 0.0..=0.9999)?;
        positive("clip_norm", self.clip_norm, 1e6)?;
        within("batch", self.batch, 1..=65_536)?;
        within("epochs", self.epochs, 1..=100_000)?;
        let widths = [&[self.features, self.noise][..], &self.units, &self.channels].concat();
        let widest = widths.into_iter().max().unwrap_or(1);
        let [generator, discriminator] = self.weights();
        within("number of the generator's weights", generator, 0..=WEIGHTS_MAX)?;
        within("number of the discriminator's weights", discriminator, 0..=WEIGHTS_MAX)?;
        within("batch", self.batch, 1..=BATCH_NUMBERS_MAX / (widest * (self.steps + self.warm_up)))
    }

    /// Numbers of the generator's tensors and of the discriminator's.
    fn weights(&self) -> [usize; 2] {
        let mut inputs = self.noise;
        let mut generator = 0;
        for units in &self.units {
            generator += 4 * units * (inputs + units + 2);
            inputs = *units;
        }
        generator += self.features * (inputs + 3);
        let mut inputs = self.features;
        let mut discriminator = 0;
        for channels in &self.channels {
            discriminator += channels * (inputs * self.kernel + 2);
            inputs = *channels;
        }
        [generator, discriminator + inputs + 2]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::super::parameters::{Builder, Parameter};
    use super::super::networks::{Discriminator, Generator};
    use super::*;
    use crate::rng::Key;

    #[test]
    fn a_configuration_that_names_only_its_features_has_the_defaults() {
        let read = GanConfig::from_toml("features = 40").unwrap();
        assert_eq!(read, GanConfig::new(40));
        assert_eq!(GanConfig::from_toml(&toml::to_string(&read).unwrap()).unwrap(), read);
    }

    #[test]
    fn weights_are_counted_before_they_are_made() {
        let text = "features = 3\nsteps = 12\nunits = [5, 4]\nchannels = [6, 7]\nkernel = 3";
        let config = GanConfig::from_toml(text).unwrap();
        let mut builders = [(); 2].map(|()| Builder::new(&Device::flex(), Key::new(0)));
        Generator::new(&mut builders[0], &config);
        Discriminator::new(&mut builders[1], &config);
        let count = |b: &Builder| b.all.iter().map(Parameter::count).sum::<usize>();
        assert_eq!(config.weights(), builders.each_ref().map(count));
    }

    #[test]
    fn a_value_out_of_range_is_named_with_what_was_expected() {
        for (text, told) in [
            ("features = 0", "features = 0: expected 1 to 4096"),
            ("features = 3\nsteps = 1", "steps = 1: expected 2 to 4096"),
            ("features = 3\nnoise = 0", "noise = 0: expected 1 to 4096"),
            ("features = 3\nunits = []", "units.len() = 0: expected 1 to 32"),
            ("features = 3\nchannels = [8, 0]", "channels[1] = 0: expected 1 to 4096"),
            ("features = 3\nkernel = 1", "kernel = 1: expected 2 to 64"),
            (
                "features = 3\nsteps = 8",
                "kernel = 5: expected a span of at most steps = 8 in 2 layers, not 9",
            ),
            ("features = 3\ngenerator_rate = nan", "generator_rate = NaN: expected above 0 to 1"),
            ("features = 3\naveraging = 1.0", "averaging = 1: expected 0 to 0.9999"),
            ("features = 3\nbatch = 0", "batch = 0: expected 1 to 65536"),
            (
                "features = 3\nunits = [4096]",
                "number of the generator's weights = 67285001: expected 0 to 16777216",
            ),
            (
                "features = 4096\nsteps = 4096\nwarm_up = 0\nbatch = 17",
                "batch = 17: expected 1 to 16",
            ),
        ] {
            assert_eq!(GanConfig::from_toml(text).unwrap_err().to_string(), told);
        }
        let told = GanConfig::from_toml("features = 3\nrate = 1").unwrap_err().to_string();
        assert!(told.contains("unknown field `rate`"), "{told}");
    }
}
