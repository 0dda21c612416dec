//! The instruments of one worker: their cells, their pending activity, and, where instruments do not
//! share weights, their synapses.
//!
//! Invariants: what an instrument does depends on its own inputs, state and weights alone, so the
//! number of shards changes no result; an instrument's activity of a cycle is kept until the cycle
//! `pending_cycles` later takes its place; no allocation after construction.

use super::circuit::{Circuit, Spikes};
use super::config::CerebellumConfig;
use super::learning::{Teacher, scale};
use super::mossy::MossyFibres;
use super::weights::Readout;
use crate::cerebellum::engine::{State, Synapses};
use crate::rng::Key;

/// The value of an instrument that was not active.
pub(super) const NEUTRAL: f32 = 0.5;

/// A set of weights and what teaches it.
#[derive(Clone, Debug)]
pub(super) struct WeightSet {
    pub(super) synapses: Synapses,
    pub(super) teacher: Teacher,
    pub(super) readout: Readout,
}

impl WeightSet {
    pub(super) fn new(config: &CerebellumConfig, circuit: &Circuit) -> Self {
        Self {
            synapses: circuit.synapses(),
            teacher: Teacher::new(config),
            readout: Readout::default(),
        }
    }
}

/// Some instruments of the batch.
#[derive(Debug)]
pub(super) struct Shard {
    /// The first instrument's number.
    pub(super) first: usize,
    states: Vec<State>,
    /// One an instrument, or none where all instruments share one elsewhere.
    pub(super) own: Vec<WeightSet>,
    mossy: MossyFibres,
    /// Granule spike counts by instrument, pending slot and granule cell.
    traces: Vec<u8>,
    /// The cycle each slot of each instrument holds.
    held: Vec<Option<u64>>,
    /// The inputs and outputs of a cycle, by instrument.
    pub(super) features: Vec<f32>,
    pub(super) active: Vec<bool>,
    pub(super) values: Vec<f32>,
    pub(super) spikes: Spikes,
    pub(super) ran: usize,
    features_each: usize,
    granules: usize,
    pending: usize,
    /// Purkinje cells of one instrument times the seconds of a cycle.
    purkinje_seconds: f32,
    /// Whether own weights are scaled.
    pub(super) plastic: bool,
    /// What the initial potentials are drawn from.
    key: Key,
}

impl Shard {
    pub(super) fn new(
        config: &CerebellumConfig,
        circuit: &Circuit,
        instruments: std::ops::Range<usize>,
        key: Key,
    ) -> Self {
        let n = instruments.len();
        let own = if config.shared_weights { 0 } else { n };
        Self {
            first: instruments.start,
            states: instruments.map(|k| circuit.state(key.fork(k as u64))).collect(),
            own: (0..own).map(|_| WeightSet::new(config, circuit)).collect(),
            mossy: MossyFibres::new(config),
            traces: vec![0; n * config.pending_cycles * config.granule_cells],
            held: vec![None; n * config.pending_cycles],
            features: vec![0.0; n * config.features],
            active: vec![false; n],
            values: vec![NEUTRAL; n],
            spikes: Spikes::default(),
            ran: 0,
            features_each: config.features,
            granules: config.granule_cells,
            pending: config.pending_cycles,
            purkinje_seconds: 2.0 * config.purkinje_per_zone as f32 * config.cycle_s(),
            plastic: true,
            key,
        }
    }

    /// Puts every cell back where it was after construction and forgets what is pending. Allocates.
    pub(super) fn rest(&mut self, circuit: &Circuit) {
        for (k, state) in (self.first as u64..).zip(&mut self.states) {
            *state = circuit.state(self.key.fork(k));
        }
        self.held.fill(None);
    }

    /// Number of instruments.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Runs `cycle` for the active instruments on their own weights, or on the `shared` ones. `key`
    /// is that of all mossy fibres.
    pub(super) fn advance(
        &mut self,
        circuit: &Circuit,
        shared: Option<&WeightSet>,
        cycle: u64,
        key: Key,
    ) {
        self.spikes = Spikes::default();
        self.ran = 0;
        for k in 0..self.states.len() {
            if !self.active[k] {
                self.values[k] = NEUTRAL;
                continue;
            }
            let instrument = (self.first + k) as u64;
            let features = &self.features[k * self.features_each..(k + 1) * self.features_each];
            self.mossy.encode(features, key.fork(instrument).fork(cycle));
            let slot = self.slot(k, cycle);
            self.held[slot] = Some(cycle);
            let trace = &mut self.traces[slot * self.granules..(slot + 1) * self.granules];
            let set = shared.unwrap_or_else(|| &self.own[k]);
            let (contrast, spikes) =
                circuit.cycle(&mut self.states[k], &self.mossy, &set.synapses, trace);
            self.values[k] = set.readout.value(contrast);
            if shared.is_none() && self.plastic {
                let hz = spikes.purkinje as f32 / self.purkinje_seconds;
                scale(&mut self.own[k].synapses, hz);
            }
            self.spikes.add(spikes);
            self.ran += 1;
        }
    }

    /// The granule activity of instrument `k` of this shard at `cycle`, if it is still held.
    pub(super) fn trace(&self, k: usize, cycle: u64) -> Option<&[u8]> {
        let slot = self.slot(k, cycle);
        (self.held[slot] == Some(cycle))
            .then(|| &self.traces[slot * self.granules..(slot + 1) * self.granules])
    }

    /// Teaches instrument `k`'s own weights; whether the activity was still held.
    pub(super) fn learn_own(
        &mut self,
        circuit: &Circuit,
        k: usize,
        cycle: u64,
        error: f32,
        key: Key,
    ) -> bool {
        let slot = self.slot(k, cycle);
        if self.held[slot] != Some(cycle) {
            return false;
        }
        let trace = &self.traces[slot * self.granules..(slot + 1) * self.granules];
        let WeightSet { synapses, teacher, .. } = &mut self.own[k];
        teacher.learn(circuit, synapses, error, trace, key);
        true
    }

    fn slot(&self, k: usize, cycle: u64) -> usize {
        k * self.pending + (cycle % self.pending as u64) as usize
    }
}
