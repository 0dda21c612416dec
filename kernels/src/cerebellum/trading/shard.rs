//! The instruments of one worker: their cells, their memory, and, where instruments do not share
//! weights, their synapses.
//!
//! Invariants: what an instrument does depends on its own inputs, state and weights alone, so the
//! number of shards changes no result; no allocation after construction.

use super::circuit::{Activity, Circuit, Spikes, Wired};
use super::config::{CerebellumConfig, ConfigError};
use super::learning::{CycleRates, Teacher};
use super::memory::{Kept, Memory, Past, Recalled, Summary};
use super::weights::Readout;
use crate::cerebellum::encode::{CycleSpikes, Encode, PopulationEncoder};
use crate::cerebellum::engine::{State, Synapses};
use crate::cerebellum::rules::{Intrinsic, RuleEffect};
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
    pub(super) fn new(config: &CerebellumConfig, circuit: &Circuit) -> Result<Self, ConfigError> {
        Ok(Self {
            synapses: circuit.synapses(),
            teacher: Teacher::new(config)?,
            readout: Readout::default(),
        })
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
    encoder: PopulationEncoder,
    mossy: CycleSpikes,
    activity: Activity,
    memory: Memory,
    intrinsic: Intrinsic,
    /// The inputs and outputs of a cycle, by instrument.
    pub(super) features: Vec<f32>,
    pub(super) active: Vec<bool>,
    pub(super) values: Vec<f32>,
    pub(super) spikes: Spikes,
    /// Spikes of the cycle by Purkinje cell, over the instruments that ran.
    pub(super) purkinje: Vec<u32>,
    pub(super) ran: usize,
    /// Scratch: rates of one instrument's Purkinje cells, Hz.
    purkinje_hz: Vec<f32>,
    features_each: usize,
    cycle_s: f32,
    plastic: bool,
    moves_drives: bool,
    /// What the initial potentials are drawn from.
    key: Key,
}

impl Shard {
    pub(super) fn new(
        config: &CerebellumConfig,
        circuit: &Circuit,
        instruments: std::ops::Range<usize>,
        key: Key,
    ) -> Result<Self, ConfigError> {
        let n = instruments.len();
        let own = if config.shared_weights { 0 } else { n };
        let cells = 2 * config.purkinje_per_zone;
        let encoder = circuit.encoder.clone();
        Ok(Self {
            first: instruments.start,
            states: instruments.map(|k| circuit.state(key.fork(k as u64))).collect(),
            own: (0..own).map(|_| WeightSet::new(config, circuit)).collect::<Result<_, _>>()?,
            mossy: CycleSpikes::new(encoder.fibres(), config.steps_per_cycle),
            encoder,
            activity: Activity::new(config),
            memory: Memory::new(config, n),
            intrinsic: Intrinsic::new(config.rules.intrinsic)?,
            features: vec![0.0; n * config.features],
            active: vec![false; n],
            values: vec![NEUTRAL; n],
            spikes: Spikes::default(),
            purkinje: vec![0; cells],
            ran: 0,
            purkinje_hz: vec![0.0; cells],
            features_each: config.features,
            cycle_s: config.cycle_s(),
            plastic: config.plastic,
            moves_drives: config.rules.intrinsic.enabled,
            key,
        })
    }

    /// Switches every rule on or off.
    pub(super) fn set_plastic(&mut self, circuit: &Circuit, on: bool) {
        self.plastic = on;
        if circuit.learns_by_spike() {
            for set in &mut self.own {
                set.synapses.set_plastic(&circuit.network, on);
            }
        }
    }

    /// Puts every cell back where it was after construction and forgets what is pending. Allocates.
    pub(super) fn rest(&mut self, circuit: &Circuit) {
        for (k, state) in (self.first as u64..).zip(&mut self.states) {
            *state = circuit.state(self.key.fork(k));
        }
        self.memory.clear();
        // Off and on again, so that traces of spikes before do not outlive them.
        let on = self.plastic;
        self.set_plastic(circuit, false);
        self.set_plastic(circuit, on);
    }

    /// Spikes of each granule cell of instrument `k` in a cycle, while they are held.
    pub(super) fn granule_spikes(&self, k: usize, cycle: u64) -> Option<&[u8]> {
        self.memory.held(k, cycle)
    }

    /// Number of instruments.
    pub(super) fn len(&self) -> usize {
        self.states.len()
    }

    /// Features so far that were not numbers.
    pub(super) fn absent(&self) -> u64 {
        self.encoder.absent()
    }

    /// What intrinsic plasticity has done.
    pub(super) fn intrinsic(&self) -> RuleEffect {
        self.intrinsic.effect()
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
        self.begin();
        for k in 0..self.states.len() {
            if !self.active[k] {
                self.values[k] = NEUTRAL;
                continue;
            }
            let instrument = (self.first + k) as u64;
            let features = &self.features[k * self.features_each..(k + 1) * self.features_each];
            self.encoder.encode(features, key.fork(instrument).fork(cycle), &mut self.mossy);
            let synapses = match shared {
                Some(set) => Wired::Fixed(&set.synapses),
                None if self.learns_by_spike(circuit) => Wired::Learning(&mut self.own[k].synapses),
                None => Wired::Fixed(&self.own[k].synapses),
            };
            let state = &mut self.states[k];
            let contrast = circuit.cycle(state, &self.mossy, synapses, &mut self.activity);
            let readout = shared.map_or_else(|| self.own[k].readout, |set| set.readout);
            let logit = readout.logit(contrast);
            self.values[k] = Readout::value(logit);
            self.memory.record(k, cycle, &self.activity, logit);
            self.end_cycle(k, shared.is_some());
        }
    }

    /// Forgets the last cycle's results.
    fn begin(&mut self) {
        self.spikes = Spikes::default();
        self.purkinje.fill(0);
        self.ran = 0;
    }

    /// Takes what a device made of `cycle`, instrument by instrument, in place of [`Shard::advance`].
    pub(super) fn take(
        &mut self,
        circuit: &Circuit,
        shared: Option<&WeightSet>,
        cycle: u64,
        result: impl Fn(usize, &mut Activity) -> Kept,
    ) {
        self.begin();
        for k in 0..self.states.len() {
            if !self.active[k] {
                self.values[k] = NEUTRAL;
                continue;
            }
            let each = self.features_each;
            self.encoder.note_absent(&self.features[k * each..(k + 1) * each]);
            let kept = result(self.first + k, &mut self.activity);
            let readout = shared.map_or_else(|| self.own[k].readout, |set| set.readout);
            let logit = readout.logit(circuit.contrast(self.activity.nuclear));
            self.values[k] = Readout::value(logit);
            self.memory.note(k, cycle, &self.activity.purkinje, logit, kept);
            self.end_cycle(k, shared.is_some());
        }
    }

    /// Adds up what instrument `k` did in the cycle just run, and lets the slow rules act on it.
    fn end_cycle(&mut self, k: usize, shares: bool) {
        self.spikes.add(self.activity.spikes);
        self.ran += 1;
        for (sum, &spikes) in self.purkinje.iter_mut().zip(&self.activity.purkinje) {
            *sum += u32::from(spikes);
        }
        if !self.plastic || (shares && !self.moves_drives) {
            return;
        }
        for (hz, &spikes) in self.purkinje_hz.iter_mut().zip(&self.activity.purkinje) {
            *hz = spikes as f32 / self.cycle_s;
        }
        if self.moves_drives {
            let drive = Circuit::purkinje_drive(&mut self.states[k]);
            self.intrinsic.update(&self.purkinje_hz, drive);
        }
        if let Some(WeightSet { synapses, teacher, .. }) = self.own.get_mut(k) {
            teacher.end_cycle(synapses, CycleRates { purkinje_hz: &self.purkinje_hz });
        }
    }

    /// What instrument `k` of this shard did in `cycle`, if it is still known.
    pub(super) fn recall(&mut self, k: usize, cycle: u64) -> Option<Recalled<'_>> {
        self.memory.recall(k, cycle)
    }

    /// What a device's outcome of instrument `k`'s `cycle` needs (see [`Memory::noted`]), with the teacher of
    /// the instrument's own weights where it has some.
    pub(super) fn noted_and_taught(
        &mut self,
        k: usize,
        cycle: u64,
    ) -> Option<(Summary<'_>, usize, Option<&mut Teacher>)> {
        let (summary, slot) = self.memory.noted(k, cycle)?;
        Some((summary, slot, self.own.get_mut(k).map(|set| &mut set.teacher)))
    }

    /// Forgets what was kept of the cycles after one, of which only a device knew the counts.
    pub(super) fn forget_after(&mut self, cycle: Option<u64>) {
        self.memory.forget_after(cycle);
    }

    /// The cells of instrument `k`.
    pub(super) fn state_mut(&mut self, k: usize) -> &mut State {
        &mut self.states[k]
    }

    /// The cells of each instrument with its own weights, where it has some.
    pub(super) fn states_and_sets(&mut self) -> impl Iterator<Item = (&mut State, &mut WeightSet)> {
        self.states.iter_mut().zip(&mut self.own)
    }

    /// The teacher of the weights of this instrument, of all, where it is here and has some.
    pub(super) fn teacher_of(&mut self, instrument: usize) -> Option<&mut Teacher> {
        let k = instrument.checked_sub(self.first)?;
        self.own.get_mut(k).map(|set| &mut set.teacher)
    }

    /// Whether weights learn at every spike now.
    pub(super) const fn learns_by_spike(&self, circuit: &Circuit) -> bool {
        self.plastic && circuit.learns_by_spike()
    }

    /// What is kept of the granule cells' activity.
    pub(super) fn past_mut(&mut self) -> Past<'_> {
        self.memory.past_mut()
    }

    /// Teaches instrument `k`'s own weights; whether its cycle was still known.
    pub(super) fn learn_own(
        &mut self,
        circuit: &Circuit,
        k: usize,
        cycle: u64,
        error: f32,
        key: Key,
    ) -> bool {
        let Some(recalled) = self.memory.recall(k, cycle) else { return false };
        let WeightSet { synapses, teacher, .. } = &mut self.own[k];
        if self.plastic {
            teacher.learn(circuit, synapses, error, &recalled, key);
        }
        true
    }
}
