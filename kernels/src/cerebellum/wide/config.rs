//! What a wide network is built from, what it takes, and the ranges in which it makes sense.
//!
//! Invariant: a configuration that [`WideConfig::validate`] passes has sizes whose products fit their types: a
//! granule cell has a u32 for its number, a mossy fibre a u16, and a cycle's spikes of all cells a u32.

use std::fmt::Display;

use super::WideReport;
use crate::cerebellum::ConfigError;
use crate::cerebellum::encode::{Cycle, EncodeError, Firing, PopulationCode, PopulationEncoder};

/// Dendrites of a granule cell, as in Yamazaki and Nagao (PLoS ONE 7:e33319, 2012).
pub(super) const DENDRITES: usize = 4;
/// Mossy fibres that reach one Golgi cell.
pub(super) const MOSSY_PER_GOLGI: usize = 20;
/// Nuclear cells that a Purkinje cell inhibits; a cell that is drawn twice is inhibited twice.
pub(super) const NUCLEI_PER_PURKINJE: usize = 4;
/// A weight of one, in units of the fixed-point numbers in which weights are kept.
pub(super) const UNIT: u32 = 4_096;
/// Weights that are read at once: the row of a granule cell is a multiple of it.
pub(super) const VECTOR: usize = 8;

/// Mossy fibres' fields are centred from minus to plus this many feature units.
const FIELD_SPAN: f32 = 2.5;
/// Rate of a mossy fibre far from its field, Hz.
const BACKGROUND_HZ: f32 = 4.0;
/// Largest number of parallel-fibre synapses: 2^36, 128 GiB of them.
const SYNAPSES_MAX: usize = 1 << 36;

/// Settings of a [`super::WideCerebellum`]. Begin with one of the sizes that have a name.
#[derive(Clone, Debug, PartialEq)]
pub struct WideConfig {
    /// Features: 1 to 1,024. Each is expected to be near N(0, 1).
    pub features: usize,
    /// Mossy fibres that code one feature: 2 to 1,024; at most 65,536 in all.
    pub fibres_per_feature: usize,
    /// Standard deviation of a mossy fibre's Gaussian receptive field, in feature units: 0.01 to 10.
    pub field_sd: f32,
    /// Mossy fibre rate at the centre of its field, Hz: 1 to 600.
    pub fibre_peak_hz: f32,
    /// Beams: sets of granule cells whose parallel fibres reach the same Purkinje cells, all of them. 1 to 1,024.
    pub beams: usize,
    /// Clusters of granule cells of a beam, each with a Golgi cell: 1 to 1,000,000.
    pub clusters_per_beam: usize,
    /// Granule cells of a cluster: 1 to 512. Biology has about 430 to a Golgi cell.
    pub granules_per_cluster: usize,
    /// Purkinje cells of a beam, of which the first half belongs to the up zone: 2 to 2,048.
    pub purkinje_per_beam: usize,
    /// Nuclear cells of each of the two zones: 1 to 1,024.
    pub nuclear_per_zone: usize,
    /// Rate at which settling holds every granule cell, Hz: 0.1 to 20.
    pub granule_hz: f32,
    /// Simulation steps a decision cycle: 10 to 1,000.
    pub steps_per_cycle: usize,
    /// Length of a step, ms: 0.1 to 2.
    pub step_ms: f32,
    /// Steps at the start of a cycle in which nuclear spikes are not yet counted: below `steps_per_cycle`.
    pub settle_steps: usize,
    /// Difference of the zones' nuclear rates that stands for one logit of the value, Hz: 0.1 to 100.
    pub decode_hz: f32,
    /// Time constant of a parallel fibre's eligibility, ms: 1 to 1,000.
    pub trace_ms: f32,
    /// Time after a spike of a parallel fibre at which its eligibility is over, ms: at least 1, at most ten of its
    /// time constants.
    pub window_ms: f32,
    /// Depression by one climbing-fibre spike of a synapse whose parallel fibre has just fired, in initial
    /// weights: 0 (no plasticity) to 0.5, and less where eligibility adds up to more than a weight can hold.
    pub depression: f32,
    /// Largest weight, in initial weights: 2 to 15.
    pub weight_cap: f32,
    /// Rate of a climbing fibre without an error of its sign, Hz: 0 to `climbing_peak_hz`.
    pub climbing_rest_hz: f32,
    /// Its rate at an error of one, Hz: 0.1 to 100, and below what the refractory period allows.
    pub climbing_peak_hz: f32,
    /// Time after a climbing-fibre spike in which there is no other, ms: at least a step, at most `window_ms`.
    pub climbing_refractory_ms: f32,
    /// Seed of the wiring and of every random draw.
    pub seed: u64,
}

impl WideConfig {
    /// A network that a test runs in an instant.
    pub fn tiny() -> Self {
        Self {
            features: 3,
            fibres_per_feature: 7,
            field_sd: 0.6,
            fibre_peak_hz: 150.0,
            beams: 2,
            clusters_per_beam: 5,
            granules_per_cluster: 37,
            purkinje_per_beam: 13,
            nuclear_per_zone: 5,
            granule_hz: 5.0,
            steps_per_cycle: 41,
            step_ms: 1.0,
            settle_steps: 7,
            decode_hz: 12.0,
            trace_ms: 100.0,
            window_ms: 500.0,
            depression: 0.02,
            weight_cap: 8.0,
            climbing_rest_hz: 1.0,
            climbing_peak_hz: 8.0,
            climbing_refractory_ms: 80.0,
            seed: 1,
        }
    }

    /// 100,000 granule cells and 100 Purkinje cells in one beam: what a CPU runs in time.
    pub fn hundred_thousand() -> Self {
        Self {
            features: 50,
            fibres_per_feature: 40,
            beams: 1,
            clusters_per_beam: 1_000,
            granules_per_cluster: 100,
            purkinje_per_beam: 100,
            nuclear_per_zone: 25,
            granule_hz: 3.0,
            steps_per_cycle: 100,
            settle_steps: 20,
            ..Self::tiny()
        }
    }

    /// A million granule cells and 1,000 Purkinje cells in five beams.
    pub fn million() -> Self {
        Self {
            fibres_per_feature: 500,
            beams: 5,
            clusters_per_beam: 2_000,
            purkinje_per_beam: 200,
            nuclear_per_zone: 100,
            ..Self::hundred_thousand()
        }
    }

    /// Four million granule cells and 15,000 Purkinje cells in 20 beams: three thousand million synapses, each
    /// Purkinje cell with as many as in biology.
    pub fn four_million() -> Self {
        Self { fibres_per_feature: 1_000, beams: 20, purkinje_per_beam: 750, ..Self::million() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first setting out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        held("features", self.features, 1, 1_024)?;
        held("fibres_per_feature", self.fibres_per_feature, 2, 1_024)?;
        held("features x fibres_per_feature", self.fibres(), 2, 65_536)?;
        held("field_sd", self.field_sd, 0.01, 10.0)?;
        held("fibre_peak_hz", self.fibre_peak_hz, 1.0, 600.0)?;
        held("beams", self.beams, 1, 1_024)?;
        held("clusters_per_beam", self.clusters_per_beam, 1, 1_000_000)?;
        held("granules_per_cluster", self.granules_per_cluster, 1, 512)?;
        held("purkinje_per_beam", self.purkinje_per_beam, 2, 2_048)?;
        held("nuclear_per_zone", self.nuclear_per_zone, 1, 1_024)?;
        held("granule_hz", self.granule_hz, 0.1, 20.0)?;
        held("steps_per_cycle", self.steps_per_cycle, 10, 1_000)?;
        held("step_ms", self.step_ms, 0.1, 2.0)?;
        held("settle_steps", self.settle_steps, 0, self.steps_per_cycle - 1)?;
        held("decode_hz", self.decode_hz, 0.1, 100.0)?;
        held("trace_ms", self.trace_ms, 1.0, 1_000.0)?;
        held("window_ms", self.window_ms, self.step_ms.max(1.0), 10.0 * self.trace_ms)?;
        held("weight_cap", self.weight_cap, 2.0, 15.0)?;
        let refractory_ms = self.climbing_refractory_ms;
        held("climbing_refractory_ms", refractory_ms, self.step_ms, self.window_ms)?;
        held("climbing_peak_hz", self.climbing_peak_hz, 0.1, (1e3 / refractory_ms).min(100.0))?;
        held("climbing_rest_hz", self.climbing_rest_hz, 0.0, self.climbing_peak_hz)?;
        // What a burst of one spike a step adds up to: its depression must stay within 65,535 units.
        let most = 1.0 / (1.0 - (-self.step_ms / self.trace_ms).exp());
        held("depression", self.depression, 0.0, (60_000.0 / (UNIT as f32 * most)).min(0.5))?;
        let spikes = self.granules().saturating_mul(self.steps_per_cycle);
        held("granule cells x steps_per_cycle", spikes, 1, u32::MAX as usize)?;
        held("parallel-fibre synapses", self.synapses(), 2, SYNAPSES_MAX)
    }

    /// Mossy fibres.
    pub const fn fibres(&self) -> usize {
        self.features * self.fibres_per_feature
    }

    /// Clusters of granule cells, and so Golgi cells.
    pub const fn clusters(&self) -> usize {
        self.beams * self.clusters_per_beam
    }

    /// Granule cells.
    pub const fn granules(&self) -> usize {
        self.clusters() * self.granules_per_cluster
    }

    /// Purkinje cells.
    pub const fn purkinje(&self) -> usize {
        self.beams * self.purkinje_per_beam
    }

    /// Synapses of parallel fibres on Purkinje cells.
    pub const fn synapses(&self) -> usize {
        self.granules().saturating_mul(self.purkinje_per_beam)
    }

    /// Places of a granule cell's row of weights: `purkinje_per_beam` and what fills up the last eight.
    pub(super) const fn row(&self) -> usize {
        self.purkinje_per_beam.next_multiple_of(VECTOR)
    }

    /// Places of Purkinje cells: a row a beam.
    pub(super) const fn cells(&self) -> usize {
        self.beams * self.row()
    }

    /// So many milliseconds in steps, at least one.
    pub(super) fn steps(&self, ms: f32) -> u32 {
        (ms / self.step_ms).round().max(1.0) as u32
    }

    /// Events that are kept of each climbing fibre: as many as there can be, refractory as it is, in a window and
    /// the cycle after it, when the last weight that needs them is settled.
    pub(super) fn slots(&self) -> usize {
        let reach = self.steps(self.window_ms) as usize + self.steps_per_cycle;
        reach.div_ceil(self.steps(self.climbing_refractory_ms) as usize)
    }

    /// Bytes that a cycle of these spikes moves between a device and its memory at least: granule cells once, a row of
    /// weights a spike (where weights learn twice, and so each row that expired), spikes as bits twice. What is read
    /// again and again within a cycle (Purkinje cells, wiring of the fibres) stays in caches.
    pub fn cycle_bytes(&self, report: &WideReport, plastic: bool) -> u64 {
        // Potential and current read and written, drive and dendrites read.
        let granules = self.granules() as u64 * (16 + 4 + 2 * DENDRITES as u64);
        let bits = 2 * (self.granules() * self.steps_per_cycle).div_ceil(8) as u64;
        let row = 2 * self.row() as u64;
        let learning = if plastic {
            // Eligibility is read of all cells, and read and written of those that fire.
            let eligibility = 8 * (self.granules() as u64 + 2 * report.granule);
            report.granule * row + report.expired * 2 * row + eligibility
        } else {
            0
        };
        granules + bits + report.granule * row + learning
    }

    /// How features become mossy-fibre spikes.
    pub(super) fn code(&self) -> PopulationCode {
        PopulationCode {
            fibres_per_feature: self.fibres_per_feature,
            low: -FIELD_SPAN,
            high: FIELD_SPAN,
            sd: self.field_sd,
            peak_hz: self.fibre_peak_hz,
            background_hz: BACKGROUND_HZ,
            firing: Firing::Regular,
        }
    }

    /// The encoder of the features.
    pub(super) fn encoder(&self) -> Result<PopulationEncoder, EncodeError> {
        let cycle = Cycle { steps: self.steps_per_cycle, step_ms: self.step_ms };
        PopulationEncoder::new(self.code(), self.features, cycle)
    }
}

/// Refuses a value out of its range.
fn held<T: Copy + PartialOrd + Display>(
    name: &'static str,
    value: T,
    low: T,
    high: T,
) -> Result<(), ConfigError> {
    if low <= value && value <= high {
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
    fn the_sizes_that_have_a_name_are_valid_and_as_large_as_they_say() {
        let all = [
            (WideConfig::tiny(), 370, 26, 4_810),
            (WideConfig::hundred_thousand(), 100_000, 100, 10_000_000),
            (WideConfig::million(), 1_000_000, 1_000, 200_000_000),
            (WideConfig::four_million(), 4_000_000, 15_000, 3_000_000_000),
        ];
        for (config, granules, purkinje, synapses) in all {
            config.validate().unwrap();
            let found = (config.granules(), config.purkinje(), config.synapses());
            assert_eq!(found, (granules, purkinje, synapses));
        }
    }

    #[test]
    fn a_setting_out_of_range_is_named_with_its_value_and_what_was_expected() {
        let ok = WideConfig::tiny;
        let cases = [
            (WideConfig { beams: 0, ..ok() }, "beams is 0, expected 1 to 1024"),
            (WideConfig { field_sd: f32::NAN, ..ok() }, "field_sd is NaN, expected 0.01 to 10"),
            (
                WideConfig { features: 1_024, fibres_per_feature: 65, ..ok() },
                "features x fibres_per_feature is 66560, expected 2 to 65536",
            ),
            (
                WideConfig { climbing_peak_hz: 13.0, ..ok() },
                "climbing_peak_hz is 13, expected 0.1 to 12.5",
            ),
            (
                WideConfig { beams: 1_024, clusters_per_beam: 1_000_000, ..ok() },
                "granule cells x steps_per_cycle is 1553408000000, expected 1 to 4294967295",
            ),
        ];
        for (config, expected) in cases {
            assert_eq!(config.validate().unwrap_err().to_string(), expected);
        }
        let error = WideConfig { depression: 0.4, ..ok() }.validate().unwrap_err();
        assert_eq!(error.name, "depression");
    }

    #[test]
    fn events_that_are_kept_are_as_many_as_a_climbing_fibre_can_have() {
        // 500 steps of window, 41 of a cycle, one each 80.
        assert_eq!(WideConfig::tiny().slots(), 7);
        assert_eq!(WideConfig::four_million().slots(), 8);
    }
}
