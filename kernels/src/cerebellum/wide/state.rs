//! What a wide network consists of at a moment, as host and device both keep it.
//!
//! Invariant: every number that a later cycle depends on is here or in the teacher, so that two networks of one
//! configuration with equal states go on equally.

use super::config::{DENDRITES, MOSSY_PER_GOLGI, NUCLEI_PER_PURKINJE, WideConfig};
use super::model::Model;

/// Who reaches whom, and what does not change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WideWiring {
    /// Mossy fibres by granule cell, four each.
    pub granule_mossy: Vec<u16>,
    /// Mossy fibres by Golgi cell, 20 each.
    pub golgi_mossy: Vec<u16>,
    /// By place of a Purkinje cell what the sum of its weights' units is multiplied by.
    pub gains: Vec<f32>,
    /// Nuclear cells of its zone by place of a Purkinje cell, four each.
    pub nuclear_targets: Vec<u16>,
}

/// Potentials, currents, weights and what weights owe. Purkinje cells have places: those of a beam in a row that is
/// filled up to a multiple of eight, the places after the last cell being idle.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WideState {
    /// By granule cell: potential, excitatory current, and constant current, thresholds.
    pub granule_v: Vec<f32>,
    /// See `granule_v`.
    pub granule_exc: Vec<f32>,
    /// See `granule_v`.
    pub granule_drive: Vec<f32>,
    /// Inhibitory current by cluster, thresholds.
    pub cluster_inh: Vec<f32>,
    /// By Golgi cell: potential and excitatory current.
    pub golgi_v: Vec<f32>,
    /// See `golgi_v`.
    pub golgi_exc: Vec<f32>,
    /// By granule cell the step of its last spike, and its eligibility then; 0 where nothing is owed.
    pub last: Vec<u32>,
    /// See `last`.
    pub trace: Vec<f32>,
    /// By granule cell a row of weights, units, as they were at the granule cell's last spike.
    pub weights: Vec<u16>,
    /// By place of a Purkinje cell: potential and excitatory current.
    pub purkinje_v: Vec<f32>,
    /// See `purkinje_v`.
    pub purkinje_exc: Vec<f32>,
    /// Last climbing-fibre spikes, the latest of all places first: step and random bits.
    pub events: Vec<u64>,
    /// By nuclear cell, the up zone first: potential and inhibitory current.
    pub nuclear_v: Vec<f32>,
    /// See `nuclear_v`.
    pub nuclear_inh: Vec<f32>,
    /// Purkinje spikes on their way, by parity of the step and nuclear cell.
    pub nuclear_counts: Vec<u32>,
}

impl WideWiring {
    /// Draws it, as `wide_init` does.
    pub(super) fn generate(config: &WideConfig, model: &Model) -> Self {
        let keys = &model.keys;
        let fibres = config.fibres() as u32;
        let places = config.cells() as u64;
        Self {
            granule_mossy: (0..config.granules() as u64 * DENDRITES as u64 / 2)
                .flat_map(|k| {
                    let word = keys.granule_mossy.word(k);
                    [word, word << 32].map(|word| (((word >> 32) * u64::from(fibres)) >> 32) as u16)
                })
                .collect(),
            golgi_mossy: (0..(config.clusters() * MOSSY_PER_GOLGI) as u64)
                .map(|k| keys.golgi_mossy.below(k, fibres) as u16)
                .collect(),
            gains: (0..places).map(|k| model.gain * (0.9 + 0.2 * keys.gains.uniform(k))).collect(),
            nuclear_targets: (0..places * NUCLEI_PER_PURKINJE as u64)
                .map(|k| keys.nuclear.below(k, config.nuclear_per_zone as u32) as u16)
                .collect(),
        }
    }
}

impl WideState {
    /// Of every array as many elements as there are, zeros.
    pub(super) fn zeros(config: &WideConfig) -> Self {
        let (granules, clusters) = (config.granules(), config.clusters());
        let (cells, nuclei) = (config.cells(), 2 * config.nuclear_per_zone);
        Self {
            granule_v: vec![0.0; granules],
            granule_exc: vec![0.0; granules],
            granule_drive: vec![0.0; granules],
            cluster_inh: vec![0.0; clusters],
            golgi_v: vec![0.0; clusters],
            golgi_exc: vec![0.0; clusters],
            last: vec![0; granules],
            trace: vec![0.0; granules],
            weights: vec![0; granules * config.row()],
            purkinje_v: vec![0.0; cells],
            purkinje_exc: vec![0.0; cells],
            events: vec![0; config.slots() * cells],
            nuclear_v: vec![0.0; nuclei],
            nuclear_inh: vec![0.0; nuclei],
            nuclear_counts: vec![0; 2 * nuclei],
        }
    }

    /// The state at the start, as `wide_init` generates it.
    pub(super) fn generate(config: &WideConfig, model: &Model) -> Self {
        let mut state = Self::zeros(config);
        let keys = &model.keys;
        for (k, four) in state.weights.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let word = keys.weights.word(k as u64);
            for (lane, weight) in four.iter_mut().enumerate() {
                let random = (word >> (16 * lane)) as u32 & 0xffff;
                *weight = (model.weight_low + ((random * model.weight_span) >> 16)) as u16;
            }
        }
        let potentials = [&mut state.golgi_v, &mut state.purkinje_v, &mut state.nuclear_v];
        for (counter, v) in potentials.into_iter().flatten().enumerate() {
            *v = keys.potentials.uniform(counter as u64);
        }
        state
    }
}
