//! How unusual the features are that a forecast is made of: an autoencoder's reconstruction error.
//!
//! A folder as that of a member ([`super::network`]), but `network.kind` is `"autoencoder"` and there is one more
//! key, `anomaly_scale`: the error that 99 in 100 rows of its validation stayed under. What the score does to a
//! forecast is defined in `purkinje_strategies::anomaly`.
//!
//! Invariants: as of a network; an error that is no number is the greatest score, never none.

use std::path::Path;

use purkinje_kernels::predictors::{
    architecture::Architecture,
    autoencoder::Autoencoder,
    predictor::{Predictor, Serving},
};
use purkinje_strategies::anomaly::{SCORE_MAX, score};

use super::network::{Demands, Described, Made, NetworkError, Weights, gather};

/// What was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnomalyCounts {
    /// Scores of forecasts.
    pub scored: u64,
    /// Those over 1, which lowered a confidence.
    pub unusual: u64,
    /// Those of them whose error was no number, or too large to tell apart.
    pub maximal: u64,
    /// The greatest.
    pub greatest: f64,
}

/// See the module.
#[derive(Debug)]
pub struct Anomaly {
    name: String,
    network: Autoencoder,
    scale: f64,
    /// Where its inputs stand among the features.
    features: Vec<usize>,
    rows: Vec<f32>,
    rebuilt: Vec<f32>,
    errors: Vec<f32>,
    sha256: [u8; 32],
    counts: AnomalyCounts,
}

impl Anomaly {
    /// Loads a folder.
    ///
    /// # Errors
    /// A file cannot be read or is not what it should be, or the network is for something else.
    pub fn load(folder: &Path, demands: &Demands) -> Result<Self, NetworkError> {
        let described = Described::read(folder, demands)?;
        let Made::Layers(Architecture::Autoencoder(architecture)) = &described.network else {
            let kind = described.network.kind().to_owned();
            return Err(described.wrong("network.kind", kind, "\"autoencoder\"".into()));
        };
        let Some(scale) = described.anomaly_scale else {
            let expected = "the error that is still usual: a number above 0".into();
            return Err(described.wrong("anomaly_scale", "(absent)".into(), expected));
        };
        if !(scale.is_finite() && scale > 0.0) {
            let expected = "a finite number above 0".into();
            return Err(described.wrong("anomaly_scale", scale.to_string(), expected));
        }
        if architecture.inputs != described.features.len() {
            let expected = format!("{}, one for each of features", described.features.len());
            return Err(described.wrong(
                "network.inputs",
                architecture.inputs.to_string(),
                expected,
            ));
        }
        let Weights { path, tensors, sha256 } = described.weights()?;
        let serving = Serving { max_batch: 1, ..Serving::new(demands.instruments) };
        let network = Autoencoder::new(architecture, tensors, &serving)
            .map_err(|source| NetworkError::Build { path, source })?;
        let width = described.features.len();
        Ok(Self {
            network,
            scale,
            rows: vec![0.0; demands.instruments * width],
            errors: vec![f32::NAN; demands.instruments],
            rebuilt: vec![0.0; demands.instruments * width],
            sha256,
            name: described.name,
            features: described.features,
            counts: AnomalyCounts::default(),
        })
    }

    /// Takes one cycle, as a member does.
    pub fn advance(&mut self, features: &[f32], active: &[bool]) {
        gather(features, &self.features, &mut self.rows);
        self.network.step(&self.rows, active, &mut self.rebuilt);
        self.note_errors();
    }

    /// What rebuilds the features.
    pub(super) fn predictor(&self) -> &dyn Predictor {
        &self.network
    }

    /// What rebuilds them on the CPU, and where to.
    pub(super) fn parts(&mut self) -> (&mut dyn Predictor, &mut [f32]) {
        (&mut self.network, &mut self.rebuilt)
    }

    /// Each instrument's error, wherever it comes from.
    pub(super) fn errors_mut(&mut self) -> &mut [f32] {
        &mut self.errors
    }

    /// Takes the errors from the CPU.
    pub(super) fn note_errors(&mut self) {
        self.errors.copy_from_slice(self.network.errors());
    }

    /// Where its inputs stand among the features of the live table.
    #[must_use]
    pub fn features(&self) -> &[usize] {
        &self.features
    }

    /// Score of an instrument that was active in the last cycle taken; counts it.
    pub fn score(&mut self, instrument: usize) -> f64 {
        let score = score(f64::from(self.errors[instrument]), self.scale);
        self.counts.scored += 1;
        self.counts.unusual += u64::from(score > 1.0);
        self.counts.maximal += u64::from(score == SCORE_MAX);
        self.counts.greatest = self.counts.greatest.max(score);
        score
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// SHA-256 of description and weights.
    #[must_use]
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// What was seen so far.
    #[must_use]
    pub fn counts(&self) -> AnomalyCounts {
        self.counts
    }
}
