//! From a description and weights to a network that answers, whatever its kind.

use super::architecture::{Architecture, Output};
use super::autoencoder::Autoencoder;
use super::cnn::Cnn;
use super::feed_forward::FeedForward;
use super::lstm::Lstm;
use super::predictor::{BuildError, Predictor, Serving};
use super::transformer::Transformer;
use super::weights::Tensors;

impl Architecture {
    /// Builds the network; every tensor must be one of its own.
    ///
    /// # Errors
    /// The description or a count is out of range, or the weights are those of another network.
    pub fn build(
        &self,
        tensors: Tensors,
        serving: &Serving,
    ) -> Result<Box<dyn Predictor>, BuildError> {
        Ok(match self {
            Self::FeedForward(network) => Box::new(FeedForward::new(network, tensors, serving)?),
            Self::Lstm(network) => Box::new(Lstm::new(network, tensors, serving)?),
            Self::Cnn(network) => Box::new(Cnn::new(network, tensors, serving)?),
            Self::Transformer(network) => Box::new(Transformer::new(network, tensors, serving)?),
            Self::Autoencoder(network) => Box::new(Autoencoder::new(network, tensors, serving)?),
        })
    }

    /// Its kind, as a description names it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::FeedForward(_) => "feed-forward",
            Self::Lstm(_) => "lstm",
            Self::Cnn(_) => "cnn",
            Self::Transformer(_) => "transformer",
            Self::Autoencoder(_) => "autoencoder",
        }
    }

    /// What the head does with its sums; none has an autoencoder, which answers with its inputs.
    #[must_use]
    pub fn output(&self) -> Option<Output> {
        match self {
            Self::FeedForward(network) => Some(network.output),
            Self::Lstm(network) => Some(network.output),
            Self::Cnn(network) => Some(network.output),
            Self::Transformer(network) => Some(network.output),
            Self::Autoencoder(_) => None,
        }
    }
}
