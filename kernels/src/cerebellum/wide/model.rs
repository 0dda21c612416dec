//! The numbers that follow from a configuration: membranes, what a spike adds, streams of random words.
//!
//! Cells are current-based and integrate and fire (`engine/current.rs`), without a refractory period: the reset lies
//! below rest. A step advances a cell from its currents at the step's start; then the step's spikes are added, except
//! that Purkinje spikes reach nuclear cells one step later. Invariant: host and device compute with the very numbers
//! that are here, none of which depends on anything but the configuration.

use super::config::{NUCLEI_PER_PURKINJE, UNIT, WideConfig};
use super::plastic::Rule;
use crate::cerebellum::description::{CurrentLif, Receptor};
use crate::cerebellum::engine::Propagator;
use crate::rng::Key;

/// Time constants of the synaptic currents, ms.
const EXCITATORY_MS: f32 = 3.0;
const INHIBITORY_MS: f32 = 10.0;

// Membrane time constants lie inside published spans (granule cells 2 ms in Casali et al. 2019 to 24 ms in
// Geminiani et al. 2024).
const GRANULE: CurrentLif =
    CurrentLif { tau_m_ms: 8.0, refractory_ms: 0.0, reset: -0.3, drive: 0.0 };
const GOLGI: CurrentLif =
    CurrentLif { tau_m_ms: 20.0, refractory_ms: 0.0, reset: -0.1, drive: 0.55 };
const PURKINJE: CurrentLif =
    CurrentLif { tau_m_ms: 15.0, refractory_ms: 0.0, reset: -0.1, drive: 0.8 };
const NUCLEAR: CurrentLif =
    CurrentLif { tau_m_ms: 20.0, refractory_ms: 0.0, reset: -0.1, drive: 2.0 };

// Mean synaptic currents at the mean rates, in thresholds.
const MOSSY_TO_GRANULE: f32 = 1.1;
const MOSSY_TO_GOLGI: f32 = 0.2;
const GRANULE_TO_GOLGI: f32 = 0.25;
const PARALLEL_TO_PURKINJE: f32 = 0.8;
const PURKINJE_TO_NUCLEAR: f32 = 0.6;
/// Mean rate of the Purkinje cells (in vivo 60 to 90 Hz).
const PURKINJE_HZ: f32 = 60.0;

/// A mossy fibre's jump of the granule cell's current is at most this, so that no single spike fires it.
const MOSSY_JUMP_MAX: f32 = 1.3;
/// A Golgi spike's jump of the inhibitory current of its cluster, which no other Golgi cell inhibits.
const GOLGI_JUMP: f32 = 2.2;

/// First weights are uniform between these, in initial weights.
const WEIGHT_LOW: f32 = 0.5;
const WEIGHT_SPAN: f32 = 1.0;

/// Streams of random words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    pub(super) granule_mossy: Key,
    pub(super) golgi_mossy: Key,
    pub(super) weights: Key,
    pub(super) gains: Key,
    pub(super) nuclear: Key,
    /// First potentials, so that no two cells begin in step.
    pub(super) potentials: Key,
    pub(super) mossy: Key,
    pub(super) climbing: Key,
    pub(super) dither: Key,
    /// Features while granule cells settle.
    pub(super) settling: Key,
}

/// What cells and synapses compute with.
#[derive(Clone, Debug)]
pub(super) struct Model {
    pub(super) granule: Propagator,
    pub(super) golgi: Propagator,
    pub(super) purkinje: Propagator,
    pub(super) nuclear: Propagator,
    pub(super) mossy_to_granule: f32,
    pub(super) mossy_to_golgi: f32,
    pub(super) golgi_to_granule: f32,
    pub(super) granule_to_golgi: f32,
    pub(super) purkinje_to_nuclear: f32,
    /// Mean of what a Purkinje cell multiplies the sum of its weights' units by.
    pub(super) gain: f32,
    /// Spikes a cycle at which intrinsic plasticity holds a granule cell.
    pub(super) wanted: f32,
    pub(super) weight_low: u32,
    pub(super) weight_span: u32,
    /// Steps between climbing-fibre spikes, at least.
    pub(super) refractory: u32,
    /// The number of the first step: so many that an event at step 0, which stands for none, is over.
    pub(super) first_step: u32,
    pub(super) rule: Rule,
    pub(super) keys: Keys,
}

impl Model {
    /// The numbers of a valid configuration.
    pub(super) fn new(config: &WideConfig) -> Self {
        let receptors = [receptor(EXCITATORY_MS), receptor(INHIBITORY_MS)];
        let membrane = |cell: &CurrentLif| Propagator::new(cell, &receptors, config.step_ms);
        // What one spike adds to a current whose mean is to be `current`.
        let jump = |current: f32, sources: f32, hz: f32, tau_ms: f32| {
            current / (sources * hz * 1e-3 * tau_ms)
        };
        let fibre_hz = mean_fibre_hz(config);
        let granules_per_beam = (config.clusters_per_beam * config.granules_per_cluster) as f32;
        let nuclear_sources = config.purkinje() as f32 / 2.0 * NUCLEI_PER_PURKINJE as f32
            / config.nuclear_per_zone as f32;
        let root = Key::new(config.seed);
        let refractory = config.steps(config.climbing_refractory_ms);
        let rule = Rule::new(config);
        Self {
            granule: membrane(&GRANULE),
            golgi: membrane(&GOLGI),
            purkinje: membrane(&PURKINJE),
            nuclear: membrane(&NUCLEAR),
            mossy_to_granule: jump(MOSSY_TO_GRANULE, 4.0, fibre_hz, EXCITATORY_MS)
                .min(MOSSY_JUMP_MAX),
            mossy_to_golgi: jump(MOSSY_TO_GOLGI, 20.0, fibre_hz, EXCITATORY_MS),
            golgi_to_granule: GOLGI_JUMP,
            granule_to_golgi: jump(
                GRANULE_TO_GOLGI,
                config.granules_per_cluster as f32,
                config.granule_hz,
                EXCITATORY_MS,
            ),
            purkinje_to_nuclear: jump(
                PURKINJE_TO_NUCLEAR,
                nuclear_sources,
                PURKINJE_HZ,
                INHIBITORY_MS,
            ),
            gain: jump(PARALLEL_TO_PURKINJE, granules_per_beam, config.granule_hz, EXCITATORY_MS)
                / UNIT as f32,
            wanted: config.granule_hz * config.steps_per_cycle as f32 * config.step_ms * 1e-3,
            weight_low: (WEIGHT_LOW * UNIT as f32) as u32,
            weight_span: (WEIGHT_SPAN * UNIT as f32) as u32,
            refractory,
            first_step: rule.window().max(refractory),
            rule,
            keys: Keys {
                granule_mossy: root.fork(0),
                golgi_mossy: root.fork(1),
                weights: root.fork(2),
                gains: root.fork(3),
                nuclear: root.fork(4),
                potentials: root.fork(5),
                mossy: root.fork(6),
                climbing: root.fork(7),
                dither: root.fork(8),
                settling: root.fork(9),
            },
        }
    }
}

fn receptor(tau_ms: f32) -> Receptor {
    Receptor { name: String::new(), tau_ms, reversal_mv: 0.0, by_cluster: false }
}

/// Mean rate of a mossy fibre when its feature is N(0, 1), averaged over the row of fibres.
fn mean_fibre_hz(config: &WideConfig) -> f32 {
    let code = config.code();
    let n = code.fibres_per_feature;
    let variance = 1.0 + code.sd * code.sd;
    let field: f32 = (0..n)
        .map(|k| {
            let centre = code.low + (code.high - code.low) * k as f32 / (n - 1) as f32;
            (-0.5 * centre * centre / variance).exp() * code.sd / variance.sqrt()
        })
        .sum();
    code.background_hz + code.peak_hz * field / n as f32
}
