//! The trading network under observation: one instrument on random features, open to be looked at
//! after every step.
//!
//! Invariants: wired, settled and driven as an instrument of [`super::Cerebellum`] is; weights stay
//! as they are before any learning.

use super::circuit::Circuit;
use super::config::{CerebellumConfig, ConfigError};
use crate::cerebellum::encode::{CycleSpikes, Encode, PopulationEncoder};
use crate::cerebellum::engine::{Network, State, Synapses};
use crate::rng::Key;

/// One settled network.
#[derive(Debug)]
pub(in crate::cerebellum) struct Probe {
    circuit: Circuit,
    state: State,
    synapses: Synapses,
    encoder: PopulationEncoder,
    mossy: CycleSpikes,
    features: Vec<f32>,
    steps: usize,
    key: Key,
}

impl Probe {
    /// The network of one instrument.
    ///
    /// # Errors
    /// [`ConfigError`] names the setting, its value and what was expected.
    pub(in crate::cerebellum) fn new(config: &CerebellumConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let key = Key::new(config.seed);
        let circuit = Circuit::new(config, key.fork(0))?;
        let encoder = circuit.encoder.clone();
        Ok(Self {
            state: circuit.state(key.fork(1)),
            synapses: circuit.synapses(),
            mossy: CycleSpikes::new(encoder.fibres(), config.steps_per_cycle),
            encoder,
            features: vec![0.0; config.features],
            steps: config.steps_per_cycle,
            key: key.fork(2),
            circuit,
        })
    }

    /// Runs one cycle on N(0, 1) features that follow from the seed and `cycle`; `look` sees the
    /// cells after every step.
    pub(in crate::cerebellum) fn cycle(&mut self, cycle: u64, mut look: impl FnMut(&State)) {
        let key = self.key.fork(cycle);
        for (k, feature) in self.features.iter_mut().enumerate() {
            *feature = key.fork(0).normal(k as u64);
        }
        self.encoder.encode(&self.features, key.fork(1), &mut self.mossy);
        for step in 0..self.steps {
            self.circuit.present(&mut self.state, &self.mossy, step);
            self.circuit.network.step_frozen(&mut self.state, &self.synapses);
            look(&self.state);
        }
    }

    /// The network.
    pub(in crate::cerebellum) const fn network(&self) -> &Network {
        &self.circuit.network
    }

    /// Its weights.
    pub(in crate::cerebellum) const fn synapses(&self) -> &Synapses {
        &self.synapses
    }
}
