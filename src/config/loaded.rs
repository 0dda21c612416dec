//! A configuration that passed every check, as the daemon uses it.
//!
//! Invariants: typed values, origins and the values behind them belong to one load; the hash is a
//! function of the values in force alone, not of the layers they came from.

use super::check::unknown_name;
use super::load::Sources;
use super::problem::{Origin, Problems};
use super::spec::KeySpec;
use super::types::{Config, FeedPreset, StrategyPreset};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;
use toml::Value;

/// One key with its value in force.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    pub(crate) path: String,
    pub(crate) spec: &'static KeySpec,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

impl Effective {
    /// The value as TOML, unless it is a secret.
    pub(crate) fn shown(&self) -> String {
        if self.spec.secret { "\"<redacted>\"".to_owned() } else { self.value.to_string() }
    }

    /// Whether it enters the configuration hash.
    fn is_hashed(&self) -> bool {
        let is_told =
            !self.spec.is_later || Some(&self.value) != self.spec.default.value().as_ref();
        self.spec.affects_signals && is_told
    }
}

/// A configuration that passed every check.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The daemon's settings.
    pub config: Config,
    /// The feed.
    pub feed: FeedPreset,
    /// The strategy.
    pub strategy: StrategyPreset,
    /// Origin of every value, by full path (`cycle.period_ms`, `strategy.ttl_ms`, …).
    pub origins: BTreeMap<String, Origin>,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// Where it came from, to be read again.
    pub(crate) sources: Sources,
    /// Every key in the order of the table.
    pub(crate) values: Vec<Effective>,
}

impl Loaded {
    /// Indices into `known` of the features the strategy names, in the strategy's order; all of
    /// them for `"all"`.
    ///
    /// # Errors
    /// Every name that is not among `known`, with the nearest that is.
    pub fn select_features(&self, known: &[&str]) -> Result<Vec<usize>, Problems> {
        if self.strategy.features.iter().any(|name| name == "all") {
            return Ok((0..known.len()).collect());
        }
        let key = "strategy.features";
        let origin = self.origins.get(key).unwrap_or(&Origin::Default);
        let mut indices = Vec::new();
        let mut problems = Vec::new();
        for name in &self.strategy.features {
            match known.iter().position(|feature| feature == name) {
                Some(index) => indices.push(index),
                None => problems.push(unknown_name(key, origin, name, known)),
            }
        }
        if problems.is_empty() { Ok(indices) } else { Err(Problems(problems)) }
    }

    /// What learners learned under: the values that can change signals and that a running daemon does not change.
    pub(crate) fn learned_under(&self) -> impl Iterator<Item = (&str, String)> {
        let fixed = self.values.iter().filter(|value| value.is_hashed() && !value.spec.is_live);
        fixed.map(|value| (value.path.as_str(), value.value.to_string()))
    }

    /// SHA-256 over the values that can change the signals made from a given recorded input.
    ///
    /// Two configurations with one hash differ only in where input comes from, where output goes,
    /// and how threads are laid out.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut lines: Vec<String> = self
            .values
            .iter()
            .filter(|value| value.is_hashed())
            .map(|value| format!("{} = {}\n", value.path, value.value))
            .collect();
        lines.sort_unstable();
        let mut hasher = Sha256::new();
        for line in &lines {
            hasher.update(line.as_bytes());
        }
        hasher.finalize().into()
    }
}
