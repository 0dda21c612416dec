//! What a network's folder says of itself, as far as a report needs it.
//!
//! Whether it can be served is for [`Network::load`](crate::learning::network::Network::load) to say, which
//! reads the same files strictly; here keys of other readers are passed over.

use std::path::Path;

use purkinje_kernels::predictors::{architecture::Architecture, weights::Tensors};
use purkinje_strategies::features::N as FEATURES;
use serde::Deserialize;

use crate::{
    files::bounded_file::{read_bytes, read_text},
    learning::network::{
        DESCRIPTION, Demands, MAX_DESCRIPTION_BYTES, MAX_WEIGHTS_BYTES, NetworkError, WEIGHTS,
    },
};

/// A folder's description.
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    /// Names of the inputs, or "all".
    pub features: Vec<String>,
    /// From an answer to what it is about, ms.
    pub horizon_ms: u64,
    /// From one step to the next, ms.
    pub cycle_ms: u64,
    /// What kind of network it is.
    pub kind: String,
    /// What it is made of, a key a line, defaults filled in where they are known.
    pub architecture: String,
}

/// What is shown of a description, also of one that its strict reader refuses.
#[derive(Deserialize)]
struct Keys {
    features: Vec<String>,
    horizon_ms: u64,
    cycle_ms: u64,
    network: Option<toml::Table>,
    onnx: Option<toml::Table>,
}

impl Folder {
    /// Reads the description.
    ///
    /// # Errors
    /// The file cannot be read or understood.
    pub fn read(folder: &Path) -> Result<Self, NetworkError> {
        let path = folder.join(DESCRIPTION);
        let text = read_text(&path, MAX_DESCRIPTION_BYTES)?;
        let refused = |what: String| NetworkError::Description { path: path.clone(), what };
        let keys: Keys = toml::from_str(&text).map_err(|e| refused(e.to_string()))?;
        let Keys { features, horizon_ms, cycle_ms, network, onnx } = keys;
        let (kind, architecture) = match network {
            Some(table) => {
                let architecture: Architecture =
                    table.try_into().map_err(|e: toml::de::Error| refused(e.to_string()))?;
                (architecture.kind(), toml::to_string(&architecture))
            }
            None => ("onnx", toml::to_string(&onnx.unwrap_or_default())),
        };
        let architecture = architecture.map_err(|e| refused(e.to_string()))?;
        Ok(Self { features, horizon_ms, cycle_ms, kind: kind.to_owned(), architecture })
    }

    /// How many inputs it names.
    #[must_use]
    pub fn inputs(&self) -> usize {
        if self.features == ["all"] { FEATURES } else { self.features.len() }
    }

    /// What it has to be loaded for to be served as it was trained.
    #[must_use]
    pub fn demands(&self, instruments: usize) -> Demands {
        Demands { instruments, horizon_ms: self.horizon_ms, cycle_ms: self.cycle_ms }
    }
}

/// The tensors of a folder, in the order of their names.
///
/// # Errors
/// The file cannot be read, or is not what the format and its limits say.
pub fn weights(folder: &Path) -> Result<Tensors, NetworkError> {
    let path = folder.join(WEIGHTS);
    let bytes = read_bytes(&path, MAX_WEIGHTS_BYTES)?;
    Tensors::read(&bytes).map_err(|source| NetworkError::Weights { path, source })
}

/// How many numbers they hold.
#[must_use]
pub fn parameters(tensors: &Tensors) -> usize {
    tensors.iter().map(|(_, _, values)| values.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Folder, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(DESCRIPTION), text).unwrap();
        Folder::read(dir.path()).map_err(|e| e.to_string())
    }

    #[test]
    fn defaults_are_filled_in_and_keys_of_other_readers_passed_over() {
        let head =
            "features = [\"spread\"]\nhorizon_ms = 500\ncycle_ms = 50\nanomaly_scale = 2.0\n";
        let text = format!("{head}[network]\nkind = \"lstm\"\ninputs = 1\noutputs = 1\n");
        let found = read_text(&text).unwrap();
        assert_eq!((found.kind.as_str(), found.inputs()), ("lstm", 1));
        assert_eq!((found.demands(3).instruments, found.demands(3).horizon_ms), (3, 500));
        assert!(found.architecture.contains("hidden = [64, 32]"), "{}", found.architecture);
        let onnx = read_text(&format!("{head}[onnx]\nsteps = 7\n")).unwrap();
        assert_eq!((onnx.kind.as_str(), onnx.architecture.trim()), ("onnx", "steps = 7"));
    }

    #[test]
    fn what_is_no_description_is_named() {
        for (text, part) in [
            ("features = 7", "model.toml: "),
            ("features = [\"all\"]\nhorizon_ms = 1\n", "cycle_ms"),
            (
                "features = []\nhorizon_ms = 1\ncycle_ms = 1\n[network]\nkind = \"gru\"\n",
                "unknown variant `gru`",
            ),
        ] {
            let told = read_text(text).unwrap_err();
            assert!(told.contains(part), "{told}");
        }
    }
}
