//! The networks that lie in folders, each with what is wrong with it.
//!
//! Invariants: folders come in the order of their names, at most [`MAX_FOLDERS`] of a directory; a network
//! is loaded as the daemon would load it, so that one without a problem is one that the daemon takes.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::{
    folder::{Folder, parameters, weights},
    tables::Table,
};
use crate::{
    learning::network::{DESCRIPTION, Network, NetworkError},
    run::spine::hex,
};

/// Most networks of a directory.
pub const MAX_FOLDERS: usize = 1_024;

/// Why a directory was not listed.
#[derive(Debug, Error)]
pub enum CatalogueError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It holds more than anybody has.
    #[error("{}: more than {MAX_FOLDERS} networks", path.display())]
    TooMany {
        /// The directory.
        path: PathBuf,
    },
}

/// One folder.
#[derive(Debug)]
pub struct Entry {
    /// The folder.
    pub folder: PathBuf,
    /// Its description, if it can be read.
    pub description: Option<Folder>,
    /// Numbers in its file of weights, if they can be read.
    pub parameters: Option<usize>,
    /// Bytes of weights that an answer reads, and SHA-256 of description and weights; of a network that
    /// loads.
    pub loaded: Option<(usize, String)>,
    /// Why it does not load.
    pub problem: Option<NetworkError>,
}

impl Entry {
    /// Looks into a folder.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let folder = folder.to_owned();
        let parameters = weights(&folder).map(|tensors| parameters(&tensors)).ok();
        let description = match Folder::read(&folder) {
            Ok(description) => description,
            Err(error) => {
                let problem = Some(error);
                return Self { folder, description: None, parameters, loaded: None, problem };
            }
        };
        let found = Network::load(&folder, &description.demands(1));
        let (loaded, problem) = match found {
            Ok(network) => (Some((network.weight_bytes(), hex(network.sha256()))), None),
            Err(error) => (None, Some(error)),
        };
        Self { folder, description: Some(description), parameters, loaded, problem }
    }
}

/// The networks of a directory: itself if it is the folder of one, else the folders in it that have a
/// description.
///
/// # Errors
/// See [`CatalogueError`].
pub fn folders(directory: &Path) -> Result<Vec<PathBuf>, CatalogueError> {
    let failed = |source| CatalogueError::Io { path: directory.to_owned(), source };
    if directory.join(DESCRIPTION).is_file() {
        return Ok(vec![directory.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.join(DESCRIPTION).is_file() {
            found.push(path);
        }
        if found.len() > MAX_FOLDERS {
            return Err(CatalogueError::TooMany { path: directory.to_owned() });
        }
    }
    found.sort();
    Ok(found)
}

/// A line for each network.
#[must_use]
pub fn table(entries: &[Entry]) -> Table {
    let head = [
        "folder",
        "kind",
        "inputs",
        "parameters",
        "bytes",
        "horizon ms",
        "cycle ms",
        "sha256",
        "problem",
    ];
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let row = |entry: &Entry| {
        let description = entry.description.as_ref();
        let of = |get: fn(&Folder) -> String| or_dash(description.map(get));
        let loaded = entry.loaded.as_ref();
        vec![
            entry.folder.display().to_string(),
            of(|d| d.kind.clone()),
            of(|d| d.inputs().to_string()),
            or_dash(entry.parameters.map(|n| n.to_string())),
            or_dash(loaded.map(|(bytes, _)| bytes.to_string())),
            of(|d| d.horizon_ms.to_string()),
            of(|d| d.cycle_ms.to_string()),
            // As short as that of a model version.
            or_dash(loaded.map(|(_, sha256)| sha256.chars().take(16).collect())),
            entry.problem.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string),
        ]
    };
    let rows = entries.iter().map(row).collect();
    Table { head: head.map(str::to_owned).to_vec(), rows, is_text: false }
}

/// The tensors of a network: shape, norm, mean and extremes of each.
///
/// # Errors
/// The weights cannot be read.
pub fn tensors(folder: &Path) -> Result<Table, NetworkError> {
    let head = ["tensor", "shape", "numbers", "L2 norm", "mean", "least", "greatest"];
    let found = weights(folder)?;
    let rows = found.iter().map(|(name, shape, values)| {
        let sum: f64 = values.iter().map(|value| f64::from(*value)).sum();
        let squares: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        let mean = if values.is_empty() { 0.0 } else { sum / values.len() as f64 };
        let least = values.iter().copied().reduce(f32::min).unwrap_or(0.0);
        let greatest = values.iter().copied().reduce(f32::max).unwrap_or(0.0);
        vec![
            name.to_owned(),
            format!("{shape:?}"),
            values.len().to_string(),
            format!("{:.4}", squares.sqrt()),
            format!("{mean:.4}"),
            format!("{least:.4}"),
            format!("{greatest:.4}"),
        ]
    });
    Ok(Table { head: head.map(str::to_owned).to_vec(), rows: rows.collect(), is_text: false })
}
