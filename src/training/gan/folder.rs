//! The folder of a generator.
//!
//! `generator.safetensors` has its weights, `gan.toml` what its features are and what it is made of;
//! `history.csv` one line an epoch, `likeness.json` how alike its paths are to real windows. Invariants: each
//! file is written atomically; `gan.toml` comes last, so that a folder which has it has everything; equal
//! trainings leave equal bytes; what is read back is a generator whose features are columns of `purkinje
//! dataset`, or is refused with file and key.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use purkinje_kernels::training::{
    gan::{config::GanConfig, generator::Generator, trainer::GanEpoch},
    trainer::{TrainError, WEIGHTS_MAX},
};
use purkinje_strategies::features::NAMES;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::comparison::Comparison;
use crate::{
    evaluation::history::HISTORY,
    files::{
        atomic_file::{AtomicFileError, write_atomically},
        bounded_file::{BoundedFileError, read_bytes, read_text},
    },
};

/// What says what the generator is.
pub const DESCRIPTION: &str = "gan.toml";
/// Its weights.
pub const WEIGHTS: &str = "generator.safetensors";
/// How alike generated windows are to real ones.
pub const LIKENESS: &str = "likeness.json";

/// Longest description or configuration, bytes.
const MAX_TOML_BYTES: u64 = 1 << 20;
/// Longest file of weights, bytes: the numbers and their names.
const MAX_WEIGHTS_BYTES: u64 = 4 * WEIGHTS_MAX as u64 + (1 << 20);

/// Why a folder or a configuration is not written or read.
#[derive(Debug, Error)]
pub enum FolderError {
    /// A file cannot be replaced.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] BoundedFileError),
    /// The description cannot be encoded.
    #[error("{DESCRIPTION}: {0}")]
    Encode(#[from] toml::ser::Error),
    /// The likeness cannot be encoded.
    #[error("{LIKENESS}: {0}")]
    Json(#[from] serde_json::Error),
    /// A file does not say what it should.
    #[error("{}: {what}", path.display())]
    Description {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        what: String,
    },
}

impl FolderError {
    fn description(path: &Path, what: &impl ToString) -> Self {
        Self::Description { path: path.to_owned(), what: what.to_string().trim().to_owned() }
    }
}

/// `gan.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The features of a step, in order.
    pub features: Vec<String>,
    /// Time from one step to the next, ms.
    pub cycle_ms: u64,
    /// What it learned from, in words.
    pub material: String,
    /// How it was trained.
    pub gan: GanConfig,
}

/// A generator as it was read.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What it is.
    pub description: Description,
    /// What makes paths.
    pub generator: Generator,
    /// SHA-256 of description and weights.
    pub sha256: [u8; 32],
}

/// A user's configuration for so many features.
///
/// # Errors
/// [`FolderError`] naming file and key.
pub fn config_of_file(path: &Path, features: usize) -> Result<GanConfig, FolderError> {
    let refused = |what: &dyn ToString| FolderError::description(path, &what.to_string());
    let config =
        GanConfig::from_toml(&read_text(path, MAX_TOML_BYTES)?).map_err(|e| refused(&e))?;
    if config.features != features {
        let found = config.features;
        let what = format!("features = {found}: expected {features}, one for each of --features");
        return Err(refused(&what));
    }
    Ok(config)
}

/// The first feature that is named twice, which would be two columns of one name.
#[must_use]
pub fn repeated<T: AsRef<str>>(names: &[T]) -> Option<&str> {
    let is_repeated =
        |(n, name): &(usize, &T)| names[..*n].iter().any(|before| before.as_ref() == name.as_ref());
    names.iter().enumerate().find(is_repeated).map(|(_, name)| name.as_ref())
}

/// Writes the result of a training that has ended.
///
/// # Errors
/// The system refuses.
pub fn write(
    folder: &Path,
    description: &Description,
    weights: &[u8],
    comparison: &Comparison,
) -> Result<(), FolderError> {
    let text = toml::to_string(description)?;
    let mut likeness = serde_json::to_vec_pretty(&comparison.report())?;
    likeness.push(b'\n');
    write_atomically(&folder.join(WEIGHTS), &[weights])?;
    write_atomically(&folder.join(LIKENESS), &[&likeness])?;
    Ok(write_atomically(&folder.join(DESCRIPTION), &[text.as_bytes()])?)
}

/// Writes `history.csv`: epochs counted from 1, means of the losses over an epoch's steps.
///
/// # Errors
/// The system refuses.
pub fn write_history(folder: &Path, history: &[GanEpoch]) -> Result<(), FolderError> {
    let mut text = String::from("epoch,discriminator_loss,generator_loss\n");
    for (number, epoch) in (1..).zip(history) {
        let GanEpoch { discriminator_loss, generator_loss } = epoch;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{number},{discriminator_loss},{generator_loss}");
    }
    Ok(write_atomically(&folder.join(HISTORY), &[text.as_bytes()])?)
}

/// Reads a generator.
///
/// # Errors
/// [`FolderError`] naming the file, and the key or the tensor.
pub fn read(folder: &Path) -> Result<Stored, FolderError> {
    let path = folder.join(DESCRIPTION);
    let text = read_text(&path, MAX_TOML_BYTES)?;
    let description: Description =
        toml::from_str(&text).map_err(|e| FolderError::description(&path, &e))?;
    check(&description).map_err(|what| FolderError::description(&path, &what))?;
    let path = folder.join(WEIGHTS);
    let weights = read_bytes(&path, MAX_WEIGHTS_BYTES)?;
    let refused = |e: TrainError| FolderError::description(&path, &e);
    let generator = Generator::from_safetensors(&description.gan, &weights).map_err(refused)?;
    let sha256 = Sha256::new().chain_update(&text).chain_update(&weights).finalize().into();
    Ok(Stored { description, generator, sha256 })
}

fn check(description: &Description) -> Result<(), String> {
    let Description { features, gan, .. } = description;
    gan.validate().map_err(|e| format!("gan.{e}"))?;
    if let Some(name) = features.iter().find(|name| !NAMES.contains(&name.as_str())) {
        return Err(format!("features = {name:?}: expected names of `purkinje dataset --columns`"));
    }
    if let Some(name) = repeated(features) {
        return Err(format!("features = {name:?} twice: expected each name once"));
    }
    if features.len() == gan.features {
        return Ok(());
    }
    let expected = format!("{}, one for each of features", features.len());
    Err(format!("gan.features = {}: expected {expected}", gan.features))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(features: &[&str], gan: GanConfig) -> Description {
        Description {
            features: features.iter().map(|name| (*name).to_owned()).collect(),
            cycle_ms: 100,
            material: "made".to_owned(),
            gan,
        }
    }

    #[test]
    fn a_description_that_fits_no_generator_is_refused_by_key() {
        let [first, second] = [NAMES[0], NAMES[1]];
        let fine = described(&[first, second], GanConfig::new(2));
        assert_eq!(check(&fine), Ok(()));
        assert_eq!(toml::from_str::<Description>(&toml::to_string(&fine).unwrap()).unwrap(), fine);
        let steps = GanConfig { steps: 1, ..GanConfig::new(2) };
        for (description, told) in [
            (described(&[first, "x; required float y"], GanConfig::new(2)), "names of `purkinje"),
            (described(&[first, first], GanConfig::new(2)), "twice: expected each name once"),
            (described(&[first], GanConfig::new(2)), "gan.features = 2: expected 1, one for each"),
            (described(&[first, second], steps), "gan.steps = 1: expected 2 to 4096"),
        ] {
            let found = check(&description).unwrap_err();
            assert!(found.contains(told), "{told:?} is not in {found}");
        }
    }

    #[test]
    fn a_configuration_of_a_user_is_refused_with_its_file_and_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mine.toml");
        let refusal = |text: &str| {
            std::fs::write(&path, text).unwrap();
            config_of_file(&path, 3).unwrap_err().to_string()
        };
        for (text, told) in [
            ("features = 4", "mine.toml: features = 4: expected 3, one for each of --features"),
            ("features = 3\nrate = 1", "unknown field `rate`"),
            ("features = 3\nepochs = 0", "mine.toml: epochs = 0: expected 1 to 100000"),
            ("steps = 9", "missing field `features`"),
        ] {
            let found = refusal(text);
            assert!(found.contains(told), "{told:?} is not in {found}");
        }
        std::fs::write(&path, "features = 3\nsteps = 9").unwrap();
        assert_eq!(config_of_file(&path, 3).unwrap().steps, 9);
    }
}
