//! The cerebellar circuit: a spiking network an instrument, advanced one decision cycle at a time,
//! that learns online from the error of its forecasts.
//!
//! Features are coded by mossy fibres (`mossy`), spread over granule cells held sparse by Golgi
//! cells (`circuit`), and weighed by the plastic parallel-fibre synapses of Purkinje cells in an up
//! and a down microzone (`plasticity`); the difference of the nuclear rates that the zones leave is
//! the value. A forecast's granule activity is kept until its horizon has passed, so the trace on
//! which the climbing fibres act is exact however long the horizon is.
//!
//! Invariants: equal configuration, inputs and outcomes give bit-equal values; what one instrument
//! does is independent of the others unless they share weights, and then only through the weights;
//! no allocation after construction; weights change only in [`Cerebellum::learn`] and, by scaling,
//! at the end of [`Cerebellum::advance`].

mod circuit;
mod config;
pub mod description;
mod mossy;
mod neuron;
mod plasticity;
mod wiring;

pub use config::{CerebellumConfig, ConfigError};

use crate::rng::Key;
use circuit::{Circuit, NetworkState, Spikes};
use mossy::MossyFibres;
use plasticity::Synapses;

/// The value of an instrument that was not active.
const NEUTRAL: f32 = 0.5;

/// Mean firing rates over the active instruments of the last cycle, Hz.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Mossy fibres.
    pub mossy_hz: f32,
    /// Granule cells.
    pub granule_hz: f32,
    /// Golgi cells.
    pub golgi_hz: f32,
    /// Purkinje cells (simple spikes), both zones.
    pub purkinje_hz: f32,
    /// Nuclear cells, both zones.
    pub nuclear_hz: f32,
}

/// A batch of cerebellar networks.
#[derive(Clone, Debug)]
pub struct Cerebellum {
    config: CerebellumConfig,
    circuit: Circuit,
    states: Vec<NetworkState>,
    /// One set for all, or one an instrument.
    synapses: Vec<Synapses>,
    mossy: MossyFibres,
    /// Granule spike counts by instrument, pending slot and granule cell.
    traces: Vec<u8>,
    /// The cycle each slot of each instrument holds.
    held: Vec<Option<u64>>,
    rates: Rates,
    key: Key,
    expired: u64,
    rejected: u64,
}

impl Cerebellum {
    /// Builds the networks and lets their granule layer settle on random features (300 cycles of
    /// one network, whatever the number of instruments).
    ///
    /// # Errors
    /// [`ConfigError`] names the setting, its value and what was expected.
    pub fn new(config: CerebellumConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let key = Key::new(config.seed);
        let circuit = Circuit::new(&config, key.fork(0));
        let sets = if config.shared_weights { 1 } else { config.instruments };
        let slots = config.instruments * config.pending_cycles;
        Ok(Self {
            states: (0..config.instruments)
                .map(|k| circuit.state(key.fork(1).fork(k as u64)))
                .collect(),
            synapses: vec![Synapses::new(&config, circuit::initial_gain(&config)); sets],
            mossy: MossyFibres::new(&config),
            traces: vec![0; slots * config.granule_cells],
            held: vec![None; slots],
            rates: Rates::default(),
            key,
            expired: 0,
            rejected: 0,
            circuit,
            config,
        })
    }

    /// Runs decision cycle `cycle` for every active instrument.
    ///
    /// `features` is [instruments × features], each near N(0, 1); `value` receives, by instrument,
    /// a number in (0, 1) that rises with what the outcomes have taught, or 0.5 where `active` is
    /// false, whose network then stands still. The granule activity is kept under `cycle` for
    /// [`Cerebellum::learn`], in the place of the cycle `pending_cycles` before it.
    ///
    /// # Panics
    /// When a slice does not have the length stated.
    pub fn advance(&mut self, cycle: u64, features: &[f32], active: &[bool], value: &mut [f32]) {
        let n = self.config.instruments;
        assert_eq!(features.len(), n * self.config.features, "features by instrument");
        assert_eq!((active.len(), value.len()), (n, n), "one entry an instrument");
        let mut sum = Spikes::default();
        let mut ran = 0_usize;
        for (instrument, x) in features.chunks_exact(self.config.features).enumerate() {
            if !active[instrument] {
                value[instrument] = NEUTRAL;
                continue;
            }
            let key = self.key.fork(2).fork(instrument as u64).fork(cycle);
            self.mossy.encode(x, key);
            let slot = self.slot(instrument, cycle);
            self.held[slot] = Some(cycle);
            let granules = self.config.granule_cells;
            let set = self.set(instrument);
            let (y, spikes) = self.circuit.cycle(
                &mut self.states[instrument],
                &self.mossy,
                &self.synapses[set],
                &mut self.traces[slot * granules..(slot + 1) * granules],
            );
            value[instrument] = y;
            if !self.config.shared_weights {
                let hz = self.purkinje_hz(spikes.purkinje, 1);
                self.synapses[set].scale(hz);
            }
            sum.add(spikes);
            ran += 1;
        }
        if ran == 0 {
            return;
        }
        if self.config.shared_weights {
            let hz = self.purkinje_hz(sum.purkinje, ran);
            self.synapses[0].scale(hz);
        }
        self.rates = self.mean_rates(&sum, ran);
    }

    /// Learns the outcome of the forecast made at `cycle`: `error` is the target less the value
    /// given then, in [-1, 1]. Returns whether the forecast's activity was still held; when it was
    /// not, or the error is not a number, nothing changes and a counter tells.
    pub fn learn(&mut self, instrument: usize, cycle: u64, error: f32) -> bool {
        if instrument >= self.config.instruments || error.is_nan() {
            self.rejected += 1;
            return false;
        }
        let slot = self.slot(instrument, cycle);
        if self.held[slot] != Some(cycle) {
            self.expired += 1;
            return false;
        }
        let granules = self.config.granule_cells;
        let key = self.key.fork(3).fork(instrument as u64).fork(cycle);
        let trace = &self.traces[slot * granules..(slot + 1) * granules];
        let set = self.set(instrument);
        self.synapses[set].learn(error, trace, key);
        true
    }

    /// The rates of the last cycle in which any instrument was active.
    pub const fn rates(&self) -> Rates {
        self.rates
    }

    /// Outcomes that came when their cycle was no longer, or never, held.
    pub const fn expired(&self) -> u64 {
        self.expired
    }

    /// Outcomes refused because the instrument does not exist or the error is not a number.
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    /// The configuration.
    pub const fn config(&self) -> &CerebellumConfig {
        &self.config
    }

    /// Appends the configuration and everything learned as little-endian bytes in a fixed order:
    /// what the identity of a model is hashed from. Neuron states and pending traces are not part
    /// of it.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        self.config.write(out);
        self.synapses.iter().for_each(|set| set.write(out));
    }

    fn slot(&self, instrument: usize, cycle: u64) -> usize {
        let pending = self.config.pending_cycles;
        instrument * pending + (cycle % pending as u64) as usize
    }

    const fn set(&self, instrument: usize) -> usize {
        if self.config.shared_weights { 0 } else { instrument }
    }

    fn purkinje_hz(&self, spikes: u64, networks: usize) -> f32 {
        self.hz(spikes, 2 * self.config.purkinje_per_zone, networks)
    }

    fn hz(&self, spikes: u64, cells: usize, networks: usize) -> f32 {
        spikes as f32 / ((cells * networks) as f32 * self.config.cycle_s())
    }

    fn mean_rates(&self, sum: &Spikes, ran: usize) -> Rates {
        let c = &self.config;
        Rates {
            mossy_hz: self.hz(sum.mossy, c.fibres(), ran),
            granule_hz: self.hz(sum.granule, c.granule_cells, ran),
            golgi_hz: self.hz(sum.golgi, c.golgi_cells(), ran),
            purkinje_hz: self.purkinje_hz(sum.purkinje, ran),
            nuclear_hz: self.hz(sum.nuclear, 2 * c.nuclear_per_zone, ran),
        }
    }
}
