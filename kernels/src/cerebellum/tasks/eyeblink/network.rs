//! The network of the eyeblink task: "mouse-awake" in small, with two microzones.
//!
//! Cells and delays are the preset's. What is changed, and why: there are 4,000 granule cells in four
//! volumes, each with mossy fibres of its own, so that a stimulus has a place, and parallel fibres
//! converge less, as there are fewer; a climbing fibre teaches but fires no complex spike, whose pause
//! would be mistaken for a learned one; Purkinje cells, nuclei and olive form two microzones within which everything is connected,
//! at the preset's total weight, so that one can be taught and the other watched. The source's
//! spiking cells adapt and its nuclei pause deeply; to get the same swing of nuclear rates out of
//! leaky integrate-and-fire cells, the weights named below are raised and the currents that balance
//! them. Invariant: valid for every [`Learning`] that [`Description::validate`] accepts.

use super::super::super::description::{
    Cell, Climbing, Description, Kernel, Model, Pattern, Plasticity, Potentiation, Projection,
    Weight, presets::mouse_awake,
};

/// Mossy fibres.
pub(super) const MOSSY: usize = 240;
/// Volumes of the granular layer; a mossy fibre stays within one.
pub(super) const VOLUMES: usize = 4;
/// Purkinje cells of both microzones.
pub(super) const PURKINJE: usize = 80;
/// Projecting nuclear cells of both microzones.
pub(super) const NUCLEAR: usize = 80;
/// Olive cells of both microzones.
pub(super) const OLIVE: usize = 16;
const NUCLEO_OLIVARY: usize = 40;
/// Equal parts of Purkinje cells, nuclei and olive.
pub(super) const ZONES: usize = 2;

/// Steps from a granule cell's spike to its arrival by the parallel fibre; by the ascending axon it
/// is faster.
const PARALLEL_DELAY_STEPS: usize = 5;
/// Eligibility: peaks ln(slow / fast) slow fast / (slow - fast) = 33 ms after the parallel fibre's
/// spike.
const ELIGIBILITY: Kernel = Kernel::Difference { slow_ms: 60.0, fast_ms: 20.0 };

// Factors on the preset's weights.
const PARALLEL: f32 = 3.0;
const INTERNEURON_PURKINJE: f32 = 2.0;
const GOLGI_GRANULE: f32 = 2.0;
/// So low that the conditioned stimulus itself hardly moves the nuclei.
const MOSSY_NUCLEAR: f32 = 0.05;
/// At this an olive cell fires about four spikes on the five of an unconditioned stimulus, and one or
/// two where nucleo-olivary cells have fired.
const PRE_OLIVE: f32 = 0.8 / 3.0;
/// One contact in place of the preset's hundred.
const OLIVE_PURKINJE: f32 = 0.01;
/// Parallel fibres that converge on a cell, of the 4,000.
const PARALLEL_PER_PURKINJE: usize = 1_800;
const PARALLEL_PER_STELLATE: usize = 700;
const PARALLEL_PER_BASKET: usize = 950;
// Fan-ins of the preset by which a microzone's total weight is set, times a factor.
const PURKINJE_NUCLEAR: f32 = 0.375 * 70.0 * 4.5;
const PURKINJE_NUCLEO_OLIVARY: f32 = 0.18 * 70.0 * 50.0;
const OLIVE_NUCLEI: f32 = 0.5 * 14.0;
const NUCLEO_OLIVARY_OLIVE: f32 = 0.5 * 68.0 * 0.3;

// Currents that balance the inhibition raised above, and noise that keeps cells of a microzone out of
// step, pA.
const NUCLEAR_PA: f32 = 160.0;
const NUCLEO_OLIVARY_PA: f32 = 85.0;
const PURKINJE_NOISE_PA: f32 = 300.0;
const NUCLEAR_NOISE_PA: f32 = 100.0;

/// How fast parallel-fibre synapses learn, and whether the nuclei inhibit the olive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// Depression by one climbing-fibre spike at full eligibility, in initial weights; 0 for none.
    pub depression: f32,
    /// Potentiation by one parallel-fibre spike of a fully depressed synapse, in initial weights; it
    /// falls to nothing at the initial weight.
    pub potentiation: f32,
    /// Whether nucleo-olivary cells reach the olive.
    pub brake: bool,
}

impl Default for Learning {
    /// Acquisition within forty trials or so.
    fn default() -> Self {
        Self { depression: 0.0045, potentiation: 0.0025, brake: true }
    }
}

/// The network.
pub fn description(learning: Learning) -> Description {
    let mut network = mouse_awake();
    network.name = "eyeblink".into();
    for population in &mut network.populations {
        population.count = match population.cell {
            Cell::Mossy => MOSSY,
            Cell::Granule => 4_000,
            Cell::Golgi => 24,
            Cell::Basket => 30,
            Cell::Stellate => 60,
            Cell::Purkinje => PURKINJE,
            Cell::Nuclear => NUCLEAR,
            Cell::NucleoOlivary => NUCLEO_OLIVARY,
            Cell::Olive | Cell::PreOlive => OLIVE,
        };
        if let Model::Conductance(cell) = &mut population.model {
            match population.cell {
                Cell::Purkinje => cell.noise_pa = PURKINJE_NOISE_PA,
                Cell::Nuclear => {
                    cell.current_pa += NUCLEAR_PA;
                    cell.noise_pa = NUCLEAR_NOISE_PA;
                }
                Cell::NucleoOlivary => cell.current_pa += NUCLEO_OLIVARY_PA,
                _ => {}
            }
        }
    }
    network.projections.iter_mut().for_each(|link| rewire(link, learning));
    if !learning.brake {
        network.projections.retain(|p| (p.pre, p.post) != (Cell::NucleoOlivary, Cell::Olive));
    }
    network
}

fn rewire(link: &mut Projection, learning: Learning) {
    use Cell::{
        Basket, Golgi, Granule, Mossy, Nuclear, NucleoOlivary, Olive, PreOlive, Purkinje, Stellate,
    };
    let parallel = link.delay_steps == PARALLEL_DELAY_STEPS;
    let converging = match (link.pre, link.post) {
        (Granule, Purkinje) if parallel => Some(PARALLEL_PER_PURKINJE),
        (Granule, Stellate) => Some(PARALLEL_PER_STELLATE),
        (Granule, Basket) => Some(PARALLEL_PER_BASKET),
        _ => None,
    };
    if let Some(sources) = converging {
        link.pattern = Pattern::InDegree { sources };
    }
    if (link.pre, link.post) == (Olive, Purkinje) {
        link.onto.truncate(1);
    }
    let factor = match (link.pre, link.post) {
        (Olive, Purkinje) => OLIVE_PURKINJE,
        (Golgi, Granule) => GOLGI_GRANULE,
        (Granule, Purkinje) if parallel => PARALLEL,
        (Basket | Stellate, Purkinje) => INTERNEURON_PURKINJE,
        (Mossy, Nuclear) => MOSSY_NUCLEAR,
        (PreOlive, Olive) => PRE_OLIVE,
        (Purkinje, Nuclear) => within_zones(link, PURKINJE, PURKINJE_NUCLEAR),
        (Purkinje, NucleoOlivary) => within_zones(link, PURKINJE, PURKINJE_NUCLEO_OLIVARY),
        (Olive, Nuclear | NucleoOlivary) => within_zones(link, OLIVE, OLIVE_NUCLEI),
        (NucleoOlivary, Olive) => within_zones(link, NUCLEO_OLIVARY, NUCLEO_OLIVARY_OLIVE),
        _ => 1.0,
    };
    let (Weight::Constant { value } | Weight::Uniform { mean: value, .. }) = &mut link.weight;
    *value *= factor;
    if (link.pre, link.post) == (Mossy, Granule) {
        link.zones = VOLUMES;
    }
    if (link.pre, link.post, link.delay_steps) == (Granule, Purkinje, PARALLEL_DELAY_STEPS) {
        link.plasticity = Some(plasticity(learning, *value));
    }
}

/// Connects all within each microzone; returns what the weight is to be multiplied by so that it
/// totals that of `fan_in` sources.
fn within_zones(link: &mut Projection, sources: usize, fan_in: f32) -> f32 {
    link.zones = ZONES;
    link.pattern = Pattern::AllToAll;
    fan_in / (sources / ZONES) as f32
}

fn plasticity(learning: Learning, w_max: f32) -> Plasticity {
    Plasticity {
        w_min: 0.0,
        w_max,
        potentiation: Some(Potentiation { amount: learning.potentiation * w_max, soft: true }),
        climbing: Some(Climbing {
            kernel: ELIGIBILITY,
            amount: learning.depression * w_max,
            proportional: false,
            block_steps: 0,
        }),
        stdp: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_network_is_valid_with_and_without_depression_and_brake() {
        for learning in [
            Learning::default(),
            Learning { depression: 0.0, ..Learning::default() },
            Learning { brake: false, ..Learning::default() },
        ] {
            assert_eq!(description(learning).validate(), Ok(()), "{learning:?}");
        }
        let bad = Learning { depression: -1.0, ..Learning::default() };
        let message = description(bad).validate().unwrap_err().to_string();
        assert!(message.contains("plasticity.climbing.amount"), "{message}");
    }
}
