//! What is trained and how: a file of the user's or the defaults of a kind, fitted to the data set.
//!
//! The file is a [`TrainConfig`] as TOML. Invariant: what is accepted can be served by the daemon, as
//! [`served`] says: its inputs are the features asked for.

use std::path::{Path, PathBuf};

use purkinje_kernels::{
    predictors::architecture::{Architecture, Output},
    training::config::{ConfigError, TrainConfig},
};
use thiserror::Error;

use crate::files::bounded_file::{BoundedFileError, read_text};

/// Longest file, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why a configuration is refused.
#[derive(Debug, Error)]
pub enum NetworkConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] BoundedFileError),
    /// A key is refused.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ConfigError,
    },
    /// A default does not fit the data, or a flag is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The kinds of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Dense layers over one cycle.
    FeedForward,
    /// Recurrent over a window.
    Lstm,
    /// Convolutions over a window.
    Cnn,
    /// Attention over a window.
    Transformer,
    /// Rebuilds its inputs.
    Autoencoder,
}

impl Kind {
    /// As `architecture.kind` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FeedForward => "feed-forward",
            Self::Lstm => "lstm",
            Self::Cnn => "cnn",
            Self::Transformer => "transformer",
            Self::Autoencoder => "autoencoder",
        }
    }
}

/// The defaults of a kind for so many features. An LSTM learns more slowly and with more noise than the others:
/// without, it learned half an hour of a simulated market by heart in two epochs. Of three tries on that
/// market's first seed these were the best for its sizes; `benches/results`, learning, has them on another seed.
///
/// # Errors
/// There are more features than a network has inputs.
pub fn of_kind(kind: Kind, inputs: usize) -> Result<TrainConfig, NetworkConfigError> {
    let answers = match kind {
        Kind::Autoencoder => "",
        _ => "outputs = 1\noutput = \"sigmoid\"\n",
    };
    let text = format!("kind = \"{}\"\ninputs = {inputs}\n{answers}", kind.name());
    let architecture = Architecture::from_toml(&text).map_err(ConfigError::from)?;
    let defaults = TrainConfig::new(architecture);
    Ok(match kind {
        Kind::Lstm => TrainConfig {
            learning_rate: 5e-4,
            weight_decay: 5e-2,
            dropout: 0.4,
            batch: 128,
            patience: 5,
            ..defaults
        },
        _ => defaults,
    })
}

/// A file, for so many features.
///
/// # Errors
/// [`NetworkConfigError`] naming the file and the key.
pub fn of_file(path: &Path, inputs: usize) -> Result<TrainConfig, NetworkConfigError> {
    let refused = |source| NetworkConfigError::File { path: path.to_owned(), source };
    let text = read_text(path, MAX_BYTES)?;
    let config = TrainConfig::from_toml(&text).map_err(refused)?;
    fits(&config.architecture, inputs).map_err(refused)?;
    Ok(config)
}

fn fits(architecture: &Architecture, inputs: usize) -> Result<(), ConfigError> {
    let found = match architecture {
        Architecture::FeedForward(a) => a.inputs,
        Architecture::Lstm(a) => a.inputs,
        Architecture::Cnn(a) => a.inputs,
        Architecture::Transformer(a) => a.inputs,
        Architecture::Autoencoder(a) => a.inputs,
    };
    if found == inputs {
        return Ok(());
    }
    Err(ConfigError::Value {
        key: "architecture.inputs".to_owned(),
        value: found.to_string(),
        expected: format!("{inputs}, one for each of --features"),
    })
}

/// The network as a member: it answers with the probability of a rise alone, whatever it was trained with.
#[must_use]
pub fn served(architecture: &Architecture) -> Architecture {
    let mut served = architecture.clone();
    let (outputs, output) = match &mut served {
        Architecture::FeedForward(a) => (&mut a.outputs, &mut a.output),
        Architecture::Lstm(a) => (&mut a.outputs, &mut a.output),
        Architecture::Cnn(a) => (&mut a.outputs, &mut a.output),
        Architecture::Transformer(a) => (&mut a.outputs, &mut a.output),
        Architecture::Autoencoder(_) => return served,
    };
    (*outputs, *output) = (1, Output::Sigmoid);
    served
}

/// Steps of the windows that a network reads.
#[must_use]
pub fn steps(architecture: &Architecture) -> usize {
    match architecture {
        Architecture::FeedForward(_) | Architecture::Autoencoder(_) => 1,
        Architecture::Lstm(a) => a.steps,
        Architecture::Cnn(a) => a.steps,
        Architecture::Transformer(a) => a.steps,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net.toml");
        std::fs::write(&path, text).unwrap();
        of_file(&path, 5).unwrap_err().to_string()
    }

    #[test]
    fn every_kind_has_defaults_that_are_valid_and_fit() {
        for (kind, steps_expected) in [
            (Kind::FeedForward, 1),
            (Kind::Lstm, 50),
            (Kind::Cnn, 50),
            (Kind::Transformer, 50),
            (Kind::Autoencoder, 1),
        ] {
            let config = of_kind(kind, 5).unwrap();
            config.validate().unwrap();
            fits(&config.architecture, 5).unwrap();
            assert_eq!(served(&config.architecture), config.architecture);
            assert_eq!(config.architecture.kind(), kind.name());
            assert_eq!(steps(&config.architecture), steps_expected);
        }
    }

    #[test]
    fn a_file_that_cannot_be_trained_or_served_is_refused_by_key() {
        for (top, architecture, told) in [
            (
                "epochs = 0",
                "inputs = 5\noutputs = 1\noutput = \"sigmoid\"",
                "epochs = 0: expected 1",
            ),
            ("", "inputs = 6\noutputs = 1\noutput = \"sigmoid\"", "inputs = 6: expected 5, one"),
            ("", "inputs = 5\noutputs = 3", "architecture.outputs = 3: expected 1 to 2"),
            ("rate = 1", "inputs = 5\noutputs = 1", "unknown field `rate`"),
        ] {
            let error = refusal(&format!("{top}\n[architecture]\nkind = \"lstm\"\n{architecture}"));
            assert!(error.contains("net.toml: ") && error.contains(told), "{error}");
        }
        let error = of_file(Path::new("/no/such.toml"), 5).unwrap_err().to_string();
        assert!(error.starts_with("/no/such.toml: "), "{error}");
    }
}
