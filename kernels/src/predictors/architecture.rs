//! What a network is made of, as TOML, without its weights.
//!
//! ```toml
//! kind = "lstm"        # feed-forward, lstm, cnn, transformer, autoencoder
//! inputs = 100         # features of one step
//! outputs = 1
//! output = "sigmoid"   # of the head's sums: identity, sigmoid, tanh
//! steps = 50
//! hidden = [64, 32]
//! ```
//!
//! Invariants: no key is ignored; every number has bounds, so that no file asks for more memory than a
//! machine has; a fault names key, value and what was expected.

use std::fmt::Display;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::activation::Activation;

/// Most features of a step.
pub const INPUTS_MAX: usize = 4_096;
/// Most numbers in an answer.
pub const OUTPUTS_MAX: usize = 1_024;
/// Widest layer.
pub const WIDTH_MAX: usize = 4_096;
/// Most layers of one kind.
pub const LAYERS_MAX: usize = 32;
/// Longest window, steps.
pub const STEPS_MAX: usize = 4_096;
/// Most weights, over all layers of a network.
pub const WEIGHTS_MAX: usize = 1 << 27;

/// Why an architecture was refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ArchitectureError {
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
}

/// A network without its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Architecture {
    /// Dense layers over one step's features.
    FeedForward(FeedForwardArchitecture),
    /// Stacked LSTM layers; the head reads the last step's hidden units.
    Lstm(LstmArchitecture),
    /// Causal convolutions along time.
    Cnn(CnnArchitecture),
    /// An encoder of attention blocks.
    Transformer(TransformerArchitecture),
    /// Features through a narrow layer and back; what it cannot rebuild is unusual.
    Autoencoder(AutoencoderArchitecture),
}

/// What the head does with its sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// Nothing.
    #[default]
    Identity,
    /// Into 0 to 1.
    Sigmoid,
    /// Into -1 to 1.
    Tanh,
}

impl From<Output> for Activation {
    fn from(output: Output) -> Self {
        match output {
            Output::Identity => Self::Identity,
            Output::Sigmoid => Self::Sigmoid,
            Output::Tanh => Self::Tanh,
        }
    }
}

/// `layers.N`, each with an optional batch norm `norms.N` before its activation, then `head`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedForwardArchitecture {
    /// Features: 1 to [`INPUTS_MAX`].
    pub inputs: usize,
    /// Numbers in an answer: 1 to [`OUTPUTS_MAX`].
    pub outputs: usize,
    /// What the head does with its sums.
    #[serde(default)]
    pub output: Output,
    /// Units of each layer, 1 to [`WIDTH_MAX`]; at most [`LAYERS_MAX`] layers, none for a linear model.
    #[serde(default = "feed_forward_hidden")]
    pub hidden: Vec<usize>,
    /// What each layer does with its sums.
    #[serde(default = "relu")]
    pub activation: Activation,
}

/// One `nn.LSTM` per layer, `lstm.N.*_l0`, or, where all are of one width, a single one, `lstm.*_lN`;
/// then `head`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmArchitecture {
    /// Features of one step: 1 to [`INPUTS_MAX`].
    pub inputs: usize,
    /// Numbers in an answer: 1 to [`OUTPUTS_MAX`].
    pub outputs: usize,
    /// What the head does with its sums.
    #[serde(default)]
    pub output: Output,
    /// Steps of a fresh window: 1 to [`STEPS_MAX`].
    #[serde(default = "window_steps")]
    pub steps: usize,
    /// Units of each layer, 1 to [`WIDTH_MAX`]; 1 to [`LAYERS_MAX`] layers.
    #[serde(default = "lstm_hidden")]
    pub hidden: Vec<usize>,
}

/// `convs.N`, each with an optional batch norm `norms.N` before its activation, then `head`. Each layer
/// sees its own and earlier steps only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CnnArchitecture {
    /// Features of one step: 1 to [`INPUTS_MAX`].
    pub inputs: usize,
    /// Numbers in an answer: 1 to [`OUTPUTS_MAX`].
    pub outputs: usize,
    /// What the head does with its sums.
    #[serde(default)]
    pub output: Output,
    /// Steps of a window: 1 to [`STEPS_MAX`].
    #[serde(default = "window_steps")]
    pub steps: usize,
    /// Channels of each layer, 1 to [`WIDTH_MAX`]; 1 to [`LAYERS_MAX`] layers.
    #[serde(default = "cnn_channels")]
    pub channels: Vec<usize>,
    /// Steps that a layer's kernel weighs: 1 to 64.
    #[serde(default = "cnn_kernel")]
    pub kernel: usize,
    /// Steps from one weighed step to the next, for each layer; 1 for all where left out. The kernel
    /// of each layer must span no more than the window.
    #[serde(default)]
    pub dilations: Vec<usize>,
    /// What each layer does with its sums.
    #[serde(default = "relu")]
    pub activation: Activation,
    /// How the window becomes one vector.
    #[serde(default)]
    pub pooling: Pooling,
}

/// How a window's columns become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// The last step's.
    #[default]
    Last,
    /// The mean over the window.
    Mean,
    /// The largest over the window.
    Max,
}

/// `input`, an optional table `position`, PyTorch's `encoder`, then `head` on the last step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformerArchitecture {
    /// Features of one step: 1 to [`INPUTS_MAX`].
    pub inputs: usize,
    /// Numbers in an answer: 1 to [`OUTPUTS_MAX`].
    pub outputs: usize,
    /// What the head does with its sums.
    #[serde(default)]
    pub output: Output,
    /// Steps of a window: 1 to [`STEPS_MAX`].
    #[serde(default = "window_steps")]
    pub steps: usize,
    /// Width of the model, a multiple of `heads`: 1 to [`WIDTH_MAX`].
    #[serde(default = "transformer_d_model")]
    pub d_model: usize,
    /// Encoder blocks: 1 to [`LAYERS_MAX`].
    #[serde(default = "transformer_layers")]
    pub layers: usize,
    /// Attention heads: 1 to 64.
    #[serde(default = "transformer_heads")]
    pub heads: usize,
    /// Units between a block's two dense layers: 1 to [`WIDTH_MAX`].
    #[serde(default = "transformer_feed_forward")]
    pub feed_forward: usize,
    /// Between a block's two dense layers: relu or gelu.
    #[serde(default = "relu")]
    pub activation: Activation,
    /// Whether a block's layer norms come before attention and dense layers, not after.
    #[serde(default = "is_norm_first")]
    pub norm_first: bool,
    /// Which steps a step attends to.
    #[serde(default)]
    pub attention: Attention,
    /// What is added to the scores for the distance of two steps.
    #[serde(default)]
    pub bias: AttentionBias,
}

/// Which steps a step attends to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attention {
    /// The whole window; a new step recomputes it.
    #[default]
    Window,
    /// Itself and the `steps - 1` before it; a new step computes one position.
    Causal,
}

/// What is added to attention's scores for the distance of two steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionBias {
    /// Nothing.
    #[default]
    None,
    /// `-slope · distance`, a slope for each head (Press, Smith and Lewis, 2022).
    Alibi,
}

/// `encoder.N`, then `decoder.N` in mirrored widths; activation after each but the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderArchitecture {
    /// Features, which are also the outputs: 1 to [`OUTPUTS_MAX`].
    pub inputs: usize,
    /// What the last layer does with its sums.
    #[serde(default)]
    pub output: Output,
    /// Units of each encoder layer, 1 to [`WIDTH_MAX`]; 1 to [`LAYERS_MAX`] layers.
    #[serde(default = "autoencoder_encoder")]
    pub encoder: Vec<usize>,
    /// What each layer but the last does with its sums.
    #[serde(default = "relu")]
    pub activation: Activation,
}

fn relu() -> Activation {
    Activation::Relu
}
fn feed_forward_hidden() -> Vec<usize> {
    vec![128, 64, 32]
}
fn lstm_hidden() -> Vec<usize> {
    vec![64, 32]
}
fn window_steps() -> usize {
    50
}
fn cnn_channels() -> Vec<usize> {
    vec![32, 32, 32]
}
fn cnn_kernel() -> usize {
    3
}
fn transformer_d_model() -> usize {
    64
}
fn transformer_layers() -> usize {
    2
}
fn transformer_heads() -> usize {
    4
}
fn transformer_feed_forward() -> usize {
    256
}
fn is_norm_first() -> bool {
    true
}
fn autoencoder_encoder() -> Vec<usize> {
    vec![32, 16, 8]
}

impl Architecture {
    /// Reads and checks a description.
    ///
    /// # Errors
    /// [`ArchitectureError`].
    pub fn from_toml(text: &str) -> Result<Self, ArchitectureError> {
        let read: Self = toml::from_str(text)
            .map_err(|e| ArchitectureError::Syntax { message: e.to_string().trim().to_owned() })?;
        read.validate()?;
        Ok(read)
    }

    /// Whether every number is in its bounds.
    ///
    /// # Errors
    /// [`ArchitectureError::Value`] naming the first that is not.
    pub fn validate(&self) -> Result<(), ArchitectureError> {
        match self {
            Self::FeedForward(network) => network.validate(),
            Self::Lstm(network) => network.validate(),
            Self::Cnn(network) => network.validate(),
            Self::Transformer(network) => network.validate(),
            Self::Autoencoder(network) => network.validate(),
        }
    }
}

impl FeedForwardArchitecture {
    /// See [`Architecture::validate`].
    ///
    /// # Errors
    /// As there.
    pub fn validate(&self) -> Result<(), ArchitectureError> {
        ends(self.inputs, self.outputs)?;
        list("hidden", &self.hidden, 0..=LAYERS_MAX, 1..=WIDTH_MAX)?;
        total(dense_weights(&[&[self.inputs], &self.hidden[..], &[self.outputs]].concat()))
    }
}

impl LstmArchitecture {
    /// See [`Architecture::validate`].
    ///
    /// # Errors
    /// As there.
    pub fn validate(&self) -> Result<(), ArchitectureError> {
        ends(self.inputs, self.outputs)?;
        within("steps", self.steps, 1..=STEPS_MAX)?;
        list("hidden", &self.hidden, 1..=LAYERS_MAX, 1..=WIDTH_MAX)?;
        let below = std::iter::once(&self.inputs).chain(&self.hidden);
        total(
            self.hidden.iter().zip(below).map(|(units, inputs)| 4 * units * (inputs + units)).sum(),
        )
    }
}

impl CnnArchitecture {
    /// See [`Architecture::validate`].
    ///
    /// # Errors
    /// As there.
    pub fn validate(&self) -> Result<(), ArchitectureError> {
        ends(self.inputs, self.outputs)?;
        within("steps", self.steps, 1..=STEPS_MAX)?;
        list("channels", &self.channels, 1..=LAYERS_MAX, 1..=WIDTH_MAX)?;
        within("kernel", self.kernel, 1..=64)?;
        if !self.dilations.is_empty() && self.dilations.len() != self.channels.len() {
            let expected = format!("one for each of {} layers, or none", self.channels.len());
            return Err(value("dilations", format!("{:?}", self.dilations), expected));
        }
        let furthest = (self.steps - 1) / (self.kernel - 1).max(1);
        list("dilations", &self.dilations, 0..=LAYERS_MAX, 1..=furthest.max(1))?;
        let widths = [&[self.inputs], &self.channels[..]].concat();
        total(self.kernel * dense_weights(&widths))
    }
}

impl TransformerArchitecture {
    /// See [`Architecture::validate`].
    ///
    /// # Errors
    /// As there.
    pub fn validate(&self) -> Result<(), ArchitectureError> {
        ends(self.inputs, self.outputs)?;
        within("steps", self.steps, 1..=STEPS_MAX)?;
        within("d_model", self.d_model, 1..=WIDTH_MAX)?;
        within("layers", self.layers, 1..=LAYERS_MAX)?;
        within("heads", self.heads, 1..=64)?;
        within("feed_forward", self.feed_forward, 1..=WIDTH_MAX)?;
        if !self.d_model.is_multiple_of(self.heads) {
            let expected = format!("a divisor of d_model, which is {}", self.d_model);
            return Err(value("heads", self.heads, expected));
        }
        if !matches!(self.activation, Activation::Relu | Activation::Gelu) {
            return Err(value("activation", format!("{:?}", self.activation), "relu or gelu"));
        }
        let block = self.d_model * (4 * self.d_model + 2 * self.feed_forward);
        total(self.layers * block + self.d_model * (self.inputs + self.steps))
    }
}

impl AutoencoderArchitecture {
    /// See [`Architecture::validate`].
    ///
    /// # Errors
    /// As there.
    pub fn validate(&self) -> Result<(), ArchitectureError> {
        within("inputs", self.inputs, 1..=OUTPUTS_MAX)?;
        list("encoder", &self.encoder, 1..=LAYERS_MAX, 1..=WIDTH_MAX)?;
        total(2 * dense_weights(&[&[self.inputs], &self.encoder[..]].concat()))
    }
}

fn value(key: &str, value: impl Display, expected: impl Display) -> ArchitectureError {
    ArchitectureError::Value {
        key: key.to_owned(),
        value: value.to_string(),
        expected: expected.to_string(),
    }
}

fn within(key: &str, found: usize, range: RangeInclusive<usize>) -> Result<(), ArchitectureError> {
    if range.contains(&found) {
        return Ok(());
    }
    Err(value(key, found, format!("{} to {}", range.start(), range.end())))
}

fn ends(inputs: usize, outputs: usize) -> Result<(), ArchitectureError> {
    within("inputs", inputs, 1..=INPUTS_MAX)?;
    within("outputs", outputs, 1..=OUTPUTS_MAX)
}

fn list(
    key: &str,
    values: &[usize],
    lengths: RangeInclusive<usize>,
    range: RangeInclusive<usize>,
) -> Result<(), ArchitectureError> {
    if !lengths.contains(&values.len()) {
        let expected = format!("{} to {}", lengths.start(), lengths.end());
        return Err(value(&format!("length of {key}"), values.len(), expected));
    }
    values
        .iter()
        .enumerate()
        .try_for_each(|(index, found)| within(&format!("{key}[{index}]"), *found, range.clone()))
}

fn dense_weights(widths: &[usize]) -> usize {
    widths.windows(2).map(|pair| pair[0] * pair[1]).sum()
}

fn total(weights: usize) -> Result<(), ArchitectureError> {
    within("number of weights", weights, 0..=WEIGHTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Architecture::from_toml(text).unwrap_err().to_string()
    }

    #[test]
    fn a_description_that_names_only_its_ends_has_the_usual_layers() {
        for (kind, expected) in [
            ("feed-forward", "hidden = [128, 64, 32]"),
            ("lstm", "hidden = [64, 32]"),
            ("cnn", "kernel = 3"),
            ("transformer", "d_model = 64"),
        ] {
            let text = format!("kind = \"{kind}\"\ninputs = 8\noutputs = 1\n");
            let read = Architecture::from_toml(&text).unwrap();
            let written = toml::to_string(&read).unwrap();
            assert!(written.contains(expected), "{written}");
            assert_eq!(Architecture::from_toml(&written).unwrap(), read);
        }
        let read = Architecture::from_toml("kind = \"autoencoder\"\ninputs = 8\n").unwrap();
        let Architecture::Autoencoder(read) = read else { panic!("{read:?}") };
        assert_eq!(read.encoder, [32, 16, 8]);
    }

    #[test]
    fn a_value_out_of_range_is_named_with_what_was_expected() {
        for (kind, rest, told) in [
            ("lstm", "hidden = [64, 0]", "hidden[1] = 0: expected 1 to 4096"),
            ("lstm", "hidden = []", "length of hidden = 0: expected 1 to 32"),
            ("lstm", "steps = 5000", "steps = 5000: expected 1 to 4096"),
            ("cnn", "kernel = 65", "kernel = 65: expected 1 to 64"),
            (
                "cnn",
                "dilations = [1]",
                "dilations = [1]: expected one for each of 3 layers, or none",
            ),
            ("cnn", "steps = 9\ndilations = [1, 4, 5]", "dilations[2] = 5: expected 1 to 4"),
            ("transformer", "heads = 3", "heads = 3: expected a divisor of d_model, which is 64"),
            ("transformer", "activation = \"tanh\"", "activation = Tanh: expected relu or gelu"),
            (
                "lstm",
                "hidden = [4096, 4096]",
                "number of weights = 201457664: expected 0 to 134217728",
            ),
        ] {
            let text = format!("kind = \"{kind}\"\ninputs = 8\noutputs = 1\n{rest}\n");
            assert_eq!(refusal(&text), told);
        }
        let told = refusal("kind = \"feed-forward\"\ninputs = 0\noutputs = 1\n");
        assert_eq!(told, "inputs = 0: expected 1 to 4096");
    }

    #[test]
    fn a_key_that_is_unknown_or_missing_is_named() {
        let told = refusal("kind = \"lstm\"\ninputs = 8\noutputs = 1\nlayer = 2\n");
        assert!(told.contains("unknown field `layer`"), "{told}");
        let told = refusal("kind = \"lstm\"\ninputs = 8\n");
        assert!(told.contains("missing field `outputs`"), "{told}");
        let told = refusal("kind = \"gru\"\ninputs = 8\n");
        assert!(told.contains("unknown variant `gru`"), "{told}");
    }
}
