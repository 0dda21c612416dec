//! How a network is trained, as TOML.
//!
//! ```toml
//! learning_rate = 1e-3
//! epochs = 50
//! seed = 7
//!
//! [architecture]
//! kind = "feed-forward"
//! inputs = 40
//! outputs = 1
//! output = "sigmoid"
//!
//! [schedule]
//! kind = "reduce-on-plateau"
//! ```
//!
//! A network's first answer stands for up: its probability where `output` is sigmoid, its logit where it is
//! identity. A second, with identity only, is the magnitude. An autoencoder has no labels.
//!
//! Invariants: no key is ignored; every number has bounds; a fault names key, value and what was expected.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::schedule::Schedule;
use crate::predictors::architecture::{Architecture, ArchitectureError, Output};

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ConfigError {
    /// It is not TOML, or a key is unknown, missing or of the wrong type.
    #[error("{message}")]
    Syntax {
        /// What is wrong and where.
        message: String,
    },
    /// A value is out of range.
    #[error("{key} = {value}: expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// What it holds.
        value: String,
        /// What it may hold.
        expected: String,
    },
    /// The architecture is not valid.
    #[error("architecture: {0}")]
    Architecture(#[from] ArchitectureError),
}

impl From<toml::de::Error> for ConfigError {
    fn from(error: toml::de::Error) -> Self {
        Self::Syntax { message: error.to_string().trim().to_owned() }
    }
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// What turns gradients into steps.
    #[serde(default)]
    pub optimiser: Optimiser,
    /// Learning rate where the schedule says nothing else: above 0 to 1.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// How strongly weights are drawn to zero, biases and norms excepted: 0 to 1.
    #[serde(default = "weight_decay")]
    pub weight_decay: f64,
    /// Longest gradient over all weights together; a longer one is scaled down: above 0 to 1e6.
    #[serde(default = "clip_norm")]
    pub clip_norm: f64,
    /// Share of units that each training step leaves out: 0 to 0.9.
    #[serde(default)]
    pub dropout: f64,
    /// Whether layers are normalised over the batch: feed-forward and cnn only.
    #[serde(default)]
    pub batch_norm: bool,
    /// Most rows of a training step: 1 to 65,536, at least 2 with batch norm.
    #[serde(default = "batch")]
    pub batch: usize,
    /// Most passes over the training rows: 1 to 100,000.
    #[serde(default = "epochs")]
    pub epochs: u32,
    /// Epochs without improvement after which training ends: 1 to 100,000.
    #[serde(default = "patience")]
    pub patience: u32,
    /// By how much the validation loss must fall to be an improvement: 0 to 1e6.
    #[serde(default)]
    pub min_delta: f64,
    /// How the learning rate changes.
    #[serde(default)]
    pub schedule: Schedule,
    /// What rows of each class count, down and up: each above 0 to 1,000.
    #[serde(default = "class_weights")]
    pub class_weights: [f64; 2],
    /// What is made small.
    #[serde(default)]
    pub loss: Loss,
    /// Of first weights, order of rows and dropout.
    #[serde(default)]
    pub seed: u64,
    /// The network.
    pub architecture: Architecture,
}

/// What turns gradients into steps: moments 0.9 and 0.999, epsilon 1e-8.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Optimiser {
    /// Kingma and Ba, 2015; weight decay is part of the gradient.
    Adam,
    /// Loshchilov and Hutter, 2019; weight decay goes by the learning rate alone.
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
}

/// `(1 - magnitude_share) · cross-entropy + magnitude_share · Huber`; of an autoencoder the mean squared
/// difference instead.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loss {
    /// Share of the magnitude's loss: 0 to 1; 0 where the network has one answer.
    #[serde(default)]
    pub magnitude_share: f64,
    /// Difference of magnitudes up to which the loss is quadratic, linear beyond: above 0 to 1e6.
    #[serde(default = "huber_delta")]
    pub huber_delta: f64,
}

impl Default for Loss {
    fn default() -> Self {
        Self { magnitude_share: 0.0, huber_delta: huber_delta() }
    }
}

fn learning_rate() -> f64 {
    1e-3
}
fn weight_decay() -> f64 {
    1e-4
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
fn patience() -> u32 {
    8
}
fn class_weights() -> [f64; 2] {
    [1.0; 2]
}
fn huber_delta() -> f64 {
    1.0
}

impl TrainConfig {
    /// The defaults for a network.
    #[must_use]
    pub fn new(architecture: Architecture) -> Self {
        Self {
            optimiser: Optimiser::default(),
            learning_rate: learning_rate(),
            weight_decay: weight_decay(),
            clip_norm: clip_norm(),
            dropout: 0.0,
            batch_norm: false,
            batch: batch(),
            epochs: epochs(),
            patience: patience(),
            min_delta: 0.0,
            schedule: Schedule::default(),
            class_weights: class_weights(),
            loss: Loss::default(),
            seed: 0,
            architecture,
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
        self.architecture.validate()?;
        positive("learning_rate", self.learning_rate, 1.0)?;
        within("weight_decay", self.weight_decay, 0.0..=1.0)?;
        positive("clip_norm", self.clip_norm, 1e6)?;
        within("dropout", self.dropout, 0.0..=0.9)?;
        within("batch", self.batch, 1 + usize::from(self.batch_norm)..=65_536)?;
        within("epochs", self.epochs, 1..=100_000)?;
        within("patience", self.patience, 1..=100_000)?;
        within("min_delta", self.min_delta, 0.0..=1e6)?;
        for (class, weight) in self.class_weights.iter().enumerate() {
            positive(&format!("class_weights[{class}]"), *weight, 1_000.0)?;
        }
        within("loss.magnitude_share", self.loss.magnitude_share, 0.0..=1.0)?;
        positive("loss.huber_delta", self.loss.huber_delta, 1e6)?;
        self.schedule.validate(self.epochs)?;
        self.fit()
    }

    /// Whether answers mean what the loss takes them for.
    fn fit(&self) -> Result<(), ConfigError> {
        let can_normalise =
            matches!(self.architecture, Architecture::FeedForward(_) | Architecture::Cnn(_));
        if self.batch_norm && !can_normalise {
            return Err(fault("batch_norm", true, "false: only feed-forward and cnn have any"));
        }
        let Some((outputs, output)) = self.answers() else {
            return match self.loss.magnitude_share {
                0.0 => Ok(()),
                share => {
                    Err(fault("loss.magnitude_share", share, "0: an autoencoder has no labels"))
                }
            };
        };
        within("architecture.outputs", outputs, 1..=2)?;
        let is_known = output == Output::Identity || output == Output::Sigmoid && outputs == 1;
        if !is_known {
            let expected = "Identity, or Sigmoid with one answer";
            return Err(fault("architecture.output", format!("{output:?}"), expected));
        }
        match (outputs, self.loss.magnitude_share) {
            (1, share) if share != 0.0 => {
                Err(fault("loss.magnitude_share", share, "0 where architecture.outputs = 1"))
            }
            (2, 0.0) => {
                Err(fault("loss.magnitude_share", 0, "more than 0 where architecture.outputs = 2"))
            }
            _ => Ok(()),
        }
    }

    /// How many answers the network gives and what its head does with them; none of an autoencoder.
    fn answers(&self) -> Option<(usize, Output)> {
        match &self.architecture {
            Architecture::FeedForward(network) => Some((network.outputs, network.output)),
            Architecture::Lstm(network) => Some((network.outputs, network.output)),
            Architecture::Cnn(network) => Some((network.outputs, network.output)),
            Architecture::Transformer(network) => Some((network.outputs, network.output)),
            Architecture::Autoencoder(_) => None,
        }
    }

    /// Whether training needs labels.
    #[must_use]
    pub fn needs_labels(&self) -> bool {
        self.answers().is_some()
    }
}

pub(super) fn fault(key: &str, value: impl Display, expected: impl Display) -> ConfigError {
    ConfigError::Value {
        key: key.to_owned(),
        value: value.to_string(),
        expected: expected.to_string(),
    }
}

pub(super) fn within<T: PartialOrd + Display>(
    key: &str,
    found: T,
    range: RangeInclusive<T>,
) -> Result<(), ConfigError> {
    // NaN is in no range.
    if range.contains(&found) {
        return Ok(());
    }
    Err(fault(key, found, format!("{} to {}", range.start(), range.end())))
}

pub(super) fn positive(key: &str, found: f64, most: f64) -> Result<(), ConfigError> {
    if found > 0.0 && found <= most {
        return Ok(());
    }
    Err(fault(key, found, format!("above 0 to {most}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(top: &str, architecture: &str, rest: &str) -> String {
        format!("{top}\n[architecture]\ninputs = 4\n{architecture}\n{rest}")
    }

    const FEED_FORWARD: &str = "kind = \"feed-forward\"\noutputs = 1\noutput = \"sigmoid\"";

    #[test]
    fn a_configuration_that_names_only_its_network_has_the_defaults() {
        let read = TrainConfig::from_toml(&text("", FEED_FORWARD, "")).unwrap();
        assert_eq!(read, TrainConfig::new(read.architecture.clone()));
        let written = toml::to_string(&read).unwrap();
        assert_eq!(TrainConfig::from_toml(&written).unwrap(), read);
    }

    #[test]
    fn a_value_out_of_range_is_named_with_what_was_expected() {
        for (top, architecture, rest, told) in [
            ("learning_rate = 0.0", FEED_FORWARD, "", "learning_rate = 0: expected above 0 to 1"),
            ("learning_rate = nan", FEED_FORWARD, "", "learning_rate = NaN: expected above 0 to 1"),
            ("dropout = 0.95", FEED_FORWARD, "", "dropout = 0.95: expected 0 to 0.9"),
            ("epochs = 0", FEED_FORWARD, "", "epochs = 0: expected 1 to 100000"),
            ("batch = 1\nbatch_norm = true", FEED_FORWARD, "", "batch = 1: expected 2 to 65536"),
            (
                "class_weights = [1.0, 0.0]",
                FEED_FORWARD,
                "",
                "class_weights[1] = 0: expected above 0 to 1000",
            ),
            (
                "batch_norm = true",
                "kind = \"autoencoder\"",
                "",
                "batch_norm = true: expected false: only feed-forward and cnn have any",
            ),
            ("", "kind = \"lstm\"\noutputs = 3", "", "architecture.outputs = 3: expected 1 to 2"),
            (
                "",
                "kind = \"lstm\"\noutputs = 1\noutput = \"tanh\"",
                "",
                "architecture.output = Tanh: expected Identity, or Sigmoid with one answer",
            ),
            (
                "",
                FEED_FORWARD,
                "[loss]\nmagnitude_share = 0.5",
                "loss.magnitude_share = 0.5: expected 0 where architecture.outputs = 1",
            ),
            (
                "",
                "kind = \"lstm\"\noutputs = 2",
                "",
                "loss.magnitude_share = 0: expected more than 0 where architecture.outputs = 2",
            ),
            (
                "",
                FEED_FORWARD,
                "[schedule]\nkind = \"reduce-on-plateau\"\nfactor = 1.0",
                "schedule.factor = 1: expected 0.01 to 0.99",
            ),
            (
                "epochs = 5",
                FEED_FORWARD,
                "[schedule]\nkind = \"cosine\"\nwarm_up_epochs = 5",
                "schedule.warm_up_epochs = 5: expected 0 to 4",
            ),
            (
                "",
                "kind = \"cnn\"\noutputs = 1\nkernel = 65",
                "",
                "architecture: kernel = 65: expected 1 to 64",
            ),
        ] {
            let refusal = TrainConfig::from_toml(&text(top, architecture, rest)).unwrap_err();
            assert_eq!(refusal.to_string(), told);
        }
    }

    #[test]
    fn a_key_that_is_unknown_is_named() {
        for (top, rest) in [
            ("rate = 1.0", ""),
            ("", "[loss]\nrate = 1"),
            ("", "[schedule]\nkind = \"constant\"\nrate = 1"),
        ] {
            let refusal = TrainConfig::from_toml(&text(top, FEED_FORWARD, rest)).unwrap_err();
            assert!(refusal.to_string().contains("unknown field `rate`"), "{refusal}");
        }
    }
}
