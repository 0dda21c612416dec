//! What a cerebellum is built from, and the ranges in which it makes sense.
//!
//! Every number that shapes the circuit is here or beside the equation that uses it; `validate` is
//! the only gate, and names the setting, its value and what was expected.

use thiserror::Error;

use super::rules::RulesConfig;
use crate::cerebellum::encode::{Cycle, EncodeError, Firing, PopulationCode, PopulationEncoder};
use crate::cerebellum::rules::RuleError;

/// Mossy fibres' fields are centred from minus to plus this many feature units. Values are held at
/// the edge beyond it plus one field.
pub(super) const FIELD_SPAN: f32 = 2.5;

/// Rate of a mossy fibre far from its field, Hz.
const BACKGROUND_HZ: f32 = 4.0;

/// Largest memory of pending granule activity, bytes: 4 GiB.
const TRACE_BYTES_MAX: usize = 1 << 32;
/// Largest number of plastic synapses over all sets: 4 GiB of them.
const SYNAPSES_MAX: usize = 1 << 30;

/// What of the granule cells' past activity an outcome teaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eligibility {
    /// The activity of the very cycle whose outcome it is, kept until then.
    #[default]
    Held,
    /// All activity so far, weighed by a difference of two exponentials that peaks one horizon back:
    /// a trace that a synapse could keep, and two numbers a granule cell however long the horizon.
    Kernel,
}

/// Settings of a [`super::Cerebellum`]. Build one with `..CerebellumConfig::default()`.
#[derive(Clone, Debug, PartialEq)]
pub struct CerebellumConfig {
    /// Features an instrument: 1 to 1,024. Each is expected to be near N(0, 1).
    pub features: usize,
    /// Instruments in the batch, each with its own neuron state: 1 to 65,536.
    pub instruments: usize,
    /// Granule cells: 16 to 1,000,000.
    pub granule_cells: usize,
    /// Granule cells that share one Golgi cell's inhibition (a cluster): 16 to 4,096. Biology has
    /// about 430.
    pub granule_per_golgi: usize,
    /// Mossy fibres that code one feature: 2 to 1,024. Two, broad, are an opposed pair whose
    /// granule cells see each feature almost linearly: best when many features add up, because what
    /// is learned at one value serves them all. Many, narrow, suit few features whose joint shape
    /// matters.
    pub fibres_per_feature: usize,
    /// Standard deviation of a mossy fibre's Gaussian receptive field, in feature units: 0.01 to
    /// 10.
    pub field_sd: f32,
    /// Mossy fibre rate at the centre of its field, Hz: 1 to 600.
    pub fibre_peak_hz: f32,
    /// Rate at which the mean rate of every granule cell is set during construction, Hz: 0.1 to 20.
    pub granule_hz: f32,
    /// Simulation steps a decision cycle: 10 to 1,000.
    pub steps_per_cycle: usize,
    /// Length of a step, ms: 0.1 to 2.
    pub step_ms: f32,
    /// Steps at the start of a cycle in which nuclear spikes are not yet counted, so that the cycle
    /// before can drain: below `steps_per_cycle`.
    pub settle_steps: usize,
    /// Purkinje cells in each of the two microzones: 1 to 1,024.
    pub purkinje_per_zone: usize,
    /// Nuclear cells in each of the two microzones: 1 to 1,024.
    pub nuclear_per_zone: usize,
    /// Cycles for which a forecast may wait for its outcome, and so the longest horizon: 1 to 65,536.
    /// Held activity takes one byte for each granule cell, instrument and pending cycle.
    pub pending_cycles: usize,
    /// What of the past activity an outcome teaches.
    pub eligibility: Eligibility,
    /// Cycles from a forecast to its outcome, where the kernel peaks: 1 to 65,536, and for the kernel at
    /// most `pending_cycles`.
    pub horizon_cycles: usize,
    /// Whether anything learns: when not, weights, gains and drives stay as they were built.
    pub plastic: bool,
    /// The online rules.
    pub rules: RulesConfig,
    /// Depression by one climbing-fibre spike of a synapse whose parallel fibre fired once, as a
    /// share of the initial weight, at the first outcome: 0 (no plasticity) to 1.
    pub learning_rate: f32,
    /// Outcomes after which the rate has fallen by the square root of two; it goes on as 1 /
    /// sqrt(n).
    pub learning_decay: f32,
    /// The rate below which it does not fall, as a share of the initial weight: 0 to
    /// `learning_rate`.
    pub learning_floor: f32,
    /// Largest weight of a parallel fibre, in initial weights: 1 to 100.
    pub weight_cap: f32,
    /// Difference of the zones' nuclear rates that stands for one logit of the value, Hz: 0.1 to
    /// 100.
    pub decode_hz: f32,
    /// Whether all instruments share the plastic weights, and so learn from one another.
    pub shared_weights: bool,
    /// Threads that share the instruments, the caller's included: 1 to 256. The results do not depend
    /// on it.
    pub threads: usize,
    /// Seed of the wiring and of every random draw.
    pub seed: u64,
}

impl Default for CerebellumConfig {
    fn default() -> Self {
        Self {
            features: 50,
            instruments: 1,
            granule_cells: 2_000,
            granule_per_golgi: 100,
            fibres_per_feature: 2,
            field_sd: 1.5,
            fibre_peak_hz: 250.0,
            granule_hz: 5.0,
            steps_per_cycle: 100,
            step_ms: 1.0,
            settle_steps: 20,
            purkinje_per_zone: 16,
            nuclear_per_zone: 16,
            pending_cycles: 64,
            eligibility: Eligibility::Held,
            horizon_cycles: 10,
            plastic: true,
            rules: RulesConfig::default(),
            learning_rate: 0.05,
            learning_decay: 150.0,
            learning_floor: 0.000_5,
            weight_cap: 8.0,
            decode_hz: 12.0,
            shared_weights: true,
            threads: 1,
            seed: 1,
        }
    }
}

/// A setting out of its range.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{name} is {value}, expected {expected}")]
pub struct ConfigError {
    /// The setting's name.
    pub name: String,
    /// Its value, as text.
    pub value: String,
    /// What was expected.
    pub expected: String,
}

impl From<RuleError> for ConfigError {
    fn from(error: RuleError) -> Self {
        Self {
            name: format!("rules: {}: {}", error.rule, error.name),
            value: error.value.to_string(),
            expected: error.expected.to_owned(),
        }
    }
}

impl From<EncodeError> for ConfigError {
    fn from(error: EncodeError) -> Self {
        Self { name: error.key.to_owned(), value: error.value, expected: error.expected }
    }
}

impl CerebellumConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        count("features", self.features, 1, 1_024)?;
        count("instruments", self.instruments, 1, 65_536)?;
        count("granule_cells", self.granule_cells, 16, 1_000_000)?;
        count("granule_per_golgi", self.granule_per_golgi, 16, 4_096)?;
        count("fibres_per_feature", self.fibres_per_feature, 2, 1_024)?;
        range("field_sd", self.field_sd, 0.01, 10.0)?;
        range("fibre_peak_hz", self.fibre_peak_hz, 1.0, 600.0)?;
        range("granule_hz", self.granule_hz, 0.1, 20.0)?;
        count("steps_per_cycle", self.steps_per_cycle, 10, 1_000)?;
        range("step_ms", self.step_ms, 0.1, 2.0)?;
        count("settle_steps", self.settle_steps, 0, self.steps_per_cycle - 1)?;
        count("purkinje_per_zone", self.purkinje_per_zone, 1, 1_024)?;
        count("nuclear_per_zone", self.nuclear_per_zone, 1, 1_024)?;
        count("threads", self.threads, 1, 256)?;
        count("pending_cycles", self.pending_cycles, 1, 65_536)?;
        range("learning_rate", self.learning_rate, 0.0, 1.0)?;
        range("learning_decay", self.learning_decay, 1.0, 1e12)?;
        range("learning_floor", self.learning_floor, 0.0, self.learning_rate)?;
        range("weight_cap", self.weight_cap, 1.0, 100.0)?;
        range("decode_hz", self.decode_hz, 0.1, 100.0)?;
        let horizon_max = match self.eligibility {
            Eligibility::Held => 65_536,
            Eligibility::Kernel => self.pending_cycles,
        };
        count("horizon_cycles", self.horizon_cycles, 1, horizon_max)?;
        self.rules.validate(self.step_ms)?;
        if self.rules.stdp.enabled && self.shared_weights {
            return Err(ConfigError {
                name: "rules.stdp".to_owned(),
                value: "true".to_owned(),
                expected:
                    "false where shared_weights is true, as spikes of one instrument must not \
                           pair with those of another"
                        .to_owned(),
            });
        }
        self.validate_sizes()
    }

    /// Checks the products that memory grows with, each at most a few GiB.
    fn validate_sizes(&self) -> Result<(), ConfigError> {
        let product =
            |factors: &[usize]| factors.iter().fold(1, |a: usize, &b| a.saturating_mul(b));
        let cells = self.instruments.saturating_mul(self.granule_cells);
        let sets = if self.shared_weights { 1 } else { self.instruments };
        let weights = product(&[sets, self.granule_cells, 2, self.purkinje_per_zone]);
        let fibres = product(&[self.features, self.fibres_per_feature]);
        count("features x fibres_per_feature", fibres, 2, 65_536)?;
        match self.eligibility {
            Eligibility::Held => {
                let traces = product(&[cells, self.pending_cycles]);
                count("instruments x granule_cells x pending_cycles", traces, 16, TRACE_BYTES_MAX)?;
            }
            Eligibility::Kernel => {
                let traces = product(&[cells, 2 * size_of::<f32>()]);
                count("instruments x granule_cells x 8", traces, 16, TRACE_BYTES_MAX)?;
            }
        }
        count("parallel-fibre synapses", weights, 32, SYNAPSES_MAX)
    }

    /// Length of a decision cycle in seconds.
    pub(super) fn cycle_s(&self) -> f32 {
        self.steps_per_cycle as f32 * self.step_ms * 1e-3
    }

    /// Mossy fibres of one network.
    pub(super) const fn fibres(&self) -> usize {
        self.features * self.fibres_per_feature
    }

    /// The encoder of one network's features.
    pub(super) fn encoder(&self) -> Result<PopulationEncoder, EncodeError> {
        let (code, cycle) = self.code();
        PopulationEncoder::new(code, self.features, cycle)
    }

    /// How features become mossy fibre spikes: regular ones, which on the planted-signal test were
    /// worth a sixth of the skill over Poisson ones.
    pub(super) fn code(&self) -> (PopulationCode, Cycle) {
        let code = PopulationCode {
            fibres_per_feature: self.fibres_per_feature,
            low: -FIELD_SPAN,
            high: FIELD_SPAN,
            sd: self.field_sd,
            peak_hz: self.fibre_peak_hz,
            background_hz: BACKGROUND_HZ,
            firing: Firing::Regular,
        };
        (code, Cycle { steps: self.steps_per_cycle, step_ms: self.step_ms })
    }

    /// Golgi cells of one network, which is also the number of clusters.
    pub(super) const fn golgi_cells(&self) -> usize {
        self.granule_cells.div_ceil(self.granule_per_golgi)
    }

    /// Appends every setting as little-endian bytes, in the order of declaration.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let counts = [
            self.features,
            self.instruments,
            self.granule_cells,
            self.granule_per_golgi,
            self.fibres_per_feature,
            self.steps_per_cycle,
            self.settle_steps,
            self.purkinje_per_zone,
            self.nuclear_per_zone,
            self.pending_cycles,
            usize::from(self.shared_weights),
            usize::from(self.eligibility == Eligibility::Kernel),
            self.horizon_cycles,
            usize::from(self.plastic),
        ];
        for count in counts {
            out.extend_from_slice(&(count as u64).to_le_bytes());
        }
        let numbers = [
            self.field_sd,
            self.fibre_peak_hz,
            self.granule_hz,
            self.step_ms,
            self.learning_rate,
            self.learning_decay,
            self.learning_floor,
            self.weight_cap,
            self.decode_hz,
        ];
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&self.seed.to_le_bytes());
        self.rules.write(out);
    }
}

fn count(name: &'static str, value: usize, low: usize, high: usize) -> Result<(), ConfigError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(ConfigError {
        name: name.to_owned(),
        value: value.to_string(),
        expected: format!("{low} to {high}"),
    })
}

pub(super) fn range(
    name: &'static str,
    value: f32,
    low: f32,
    high: f32,
) -> Result<(), ConfigError> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(ConfigError {
        name: name.to_owned(),
        value: value.to_string(),
        expected: format!("{low} to {high}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        CerebellumConfig::default().validate().unwrap();
    }

    #[test]
    fn a_setting_out_of_range_is_named_with_its_value_and_what_was_expected() {
        let ok = CerebellumConfig::default;
        let cases = [
            (CerebellumConfig { features: 0, ..ok() }, "features is 0, expected 1 to 1024"),
            (
                CerebellumConfig { field_sd: f32::NAN, ..ok() },
                "field_sd is NaN, expected 0.01 to 10",
            ),
            (
                CerebellumConfig { settle_steps: 100, ..ok() },
                "settle_steps is 100, expected 0 to 99",
            ),
            (
                CerebellumConfig { learning_rate: -0.5, ..ok() },
                "learning_rate is -0.5, expected 0 to 1",
            ),
            (
                CerebellumConfig { learning_rate: 0.25, learning_floor: 0.5, ..ok() },
                "learning_floor is 0.5, expected 0 to 0.25",
            ),
            (
                CerebellumConfig { instruments: 65_536, pending_cycles: 65_536, ..ok() },
                "instruments x granule_cells x pending_cycles is 8589934592000, \
                 expected 16 to 4294967296",
            ),
            (
                CerebellumConfig { eligibility: Eligibility::Kernel, horizon_cycles: 65, ..ok() },
                "horizon_cycles is 65, expected 1 to 64",
            ),
            (
                CerebellumConfig {
                    rules: RulesConfig { brake_strength: -1.0, ..RulesConfig::default() },
                    ..ok()
                },
                "rules.brake_strength is -1, expected 0 to 4",
            ),
            (
                CerebellumConfig { granule_cells: 1_000_000, purkinje_per_zone: 1_024, ..ok() },
                "parallel-fibre synapses is 2048000000, expected 32 to 1073741824",
            ),
        ];
        for (config, message) in cases {
            assert_eq!(config.validate().unwrap_err().to_string(), message);
        }
    }
}
