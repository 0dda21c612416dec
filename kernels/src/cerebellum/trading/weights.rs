//! What a cerebellum has learned, to be saved, moved and taken up again.
//!
//! [`LearnedWeights`] is one set in units that mean the same to every cerebellum of that topology and
//! to supervised training: effective parallel-fibre weights (weight × the gain of synaptic scaling,
//! in initial weights) and the read-out. The state is everything to the bit, of all sets. Invariants:
//! what does not fit changes nothing; weights taken up are held within [0, cap] and counted.

use std::sync::PoisonError;

use thiserror::Error;

use super::Cerebellum;
use super::circuit::{Circuit, PARALLEL_AT};
use super::learning::Teacher;
use super::shard::WeightSet;

/// From the contrast of the nuclear rates to the value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Readout {
    pub(super) gain: f32,
    pub(super) bias: f32,
}

impl Default for Readout {
    fn default() -> Self {
        Self { gain: 1.0, bias: 0.0 }
    }
}

impl Readout {
    /// gain · contrast + bias.
    pub(super) fn logit(self, contrast: f32) -> f32 {
        self.gain * contrast + self.bias
    }

    /// 1 / (1 + exp(-logit)).
    pub(super) fn value(logit: f32) -> f32 {
        1.0 / (1.0 + (-logit).exp())
    }
}

/// One set of learned weights.
#[derive(Clone, Debug, PartialEq)]
pub struct LearnedWeights {
    /// Effective weights of parallel fibres on Purkinje cells, in initial weights: granule cell by
    /// granule cell, the up zone's Purkinje cells first.
    pub parallel: Vec<f32>,
    /// Logits of the value by unit of the nuclear contrast.
    pub readout_gain: f32,
    /// Logits of the value at no contrast.
    pub readout_bias: f32,
    /// Outcomes that the weights have learned from: the online rate goes on from there.
    pub outcomes: u64,
}

/// Why weights or a state were refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WeightsError {
    /// Of another number of cells.
    #[error("{found} parallel-fibre weights, expected {expected}")]
    Count {
        /// Weights given.
        found: usize,
        /// Granule cells × Purkinje cells.
        expected: usize,
    },
    /// Not a number, or infinite.
    #[error("{name} is {value}, expected a finite number")]
    NotFinite {
        /// Which.
        name: String,
        /// Its value.
        value: String,
    },
    /// The state is shorter or longer than this cerebellum's.
    #[error("state of {found} bytes, expected {expected}")]
    Length {
        /// Bytes given.
        found: usize,
        /// Bytes of this cerebellum's state.
        expected: usize,
    },
    /// The state was written under another configuration.
    #[error("state of another configuration (byte {at} of it differs)")]
    Configuration {
        /// The first byte of the configuration that differs.
        at: usize,
    },
}

/// Bytes of the number of outcomes, with which a set begins.
const OUTCOMES_BYTES: usize = 8;

impl LearnedWeights {
    /// Refuses what is not `count` finite weights and a finite read-out.
    ///
    /// # Errors
    /// [`WeightsError`] names the first number that is wrong, or the count.
    pub fn check(&self, count: usize) -> Result<(), WeightsError> {
        if self.parallel.len() != count {
            return Err(WeightsError::Count { found: self.parallel.len(), expected: count });
        }
        let readout = [("readout gain", self.readout_gain), ("readout bias", self.readout_bias)];
        let named = readout.map(|(name, value)| (name.to_owned(), value)).into_iter();
        let weights = self.parallel.iter().enumerate().map(|(k, w)| (format!("weight {k}"), *w));
        match named.chain(weights.filter(|(_, w)| !w.is_finite())).find(|(_, w)| !w.is_finite()) {
            Some((name, value)) => Err(WeightsError::NotFinite { name, value: value.to_string() }),
            None => Ok(()),
        }
    }
}

impl Cerebellum {
    /// The learned weights; where instruments do not share them, the first instrument's.
    pub fn weights(&self) -> LearnedWeights {
        self.read_sets(|circuit, set| {
            let gain = set.synapses.gain(PARALLEL_AT);
            let mut parallel = circuit.weights(&set.synapses);
            for w in &mut parallel {
                *w *= gain;
            }
            LearnedWeights {
                parallel,
                readout_gain: set.readout.gain,
                readout_bias: set.readout.bias,
                outcomes: set.teacher.outcomes(),
            }
        })
        .swap_remove(0)
    }

    /// Replaces the learned weights of every instrument, with a gain of 1 from which synaptic scaling
    /// goes on. Returns how many weights of a set were outside [0, cap] and are held there.
    ///
    /// # Errors
    /// [`WeightsError`] when there are more or fewer, or one is not finite; nothing has then changed.
    pub fn set_weights(&mut self, weights: &LearnedWeights) -> Result<usize, WeightsError> {
        let row = 2 * self.config.purkinje_per_zone;
        weights.check(self.config.granule_cells * row)?;
        let cap = self.config.weight_cap;
        let clipped = weights.parallel.iter().filter(|w| !(0.0..=cap).contains(*w)).count();
        self.write_sets(|circuit, set| {
            for (granule, given) in weights.parallel.chunks_exact(row).enumerate() {
                let own = circuit.network.row_mut(&mut set.synapses, PARALLEL_AT, granule as u32);
                own.iter_mut().zip(given).for_each(|(w, given)| *w = given.clamp(0.0, cap));
            }
            set.teacher.set_gain(&mut set.synapses, 1.0);
            set.readout.gain = weights.readout_gain;
            set.readout.bias = weights.readout_bias;
            set.teacher.set_outcomes(weights.outcomes);
        });
        Ok(clipped)
    }

    /// Appends the configuration and everything learned as little-endian bytes in a fixed order:
    /// what the identity of a model is hashed from, and what a run goes on from. Neuron states and
    /// pending traces are not part of it.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        self.config.write(out);
        for set in self.read_sets(|circuit, set| {
            let mut bytes = Vec::new();
            set.teacher.write(&mut bytes);
            let weights = circuit.weights(&set.synapses);
            let numbers = [set.readout.gain, set.readout.bias, set.synapses.gain(PARALLEL_AT)];
            bytes.extend(numbers.iter().chain(&weights).flat_map(|value| value.to_le_bytes()));
            bytes
        }) {
            out.extend_from_slice(&set);
        }
    }

    /// Takes up what [`Cerebellum::write_state`] wrote under the same configuration, to the bit.
    ///
    /// # Errors
    /// [`WeightsError`] when it is another's; nothing has then changed.
    pub fn read_state(&mut self, bytes: &[u8]) -> Result<(), WeightsError> {
        let mut own = Vec::new();
        self.config.write(&mut own);
        let row = 2 * self.config.purkinje_per_zone;
        let teacher = Teacher::state_numbers(row);
        // The teacher's, the read-out's two, the gain, the weights.
        let numbers = teacher + 3 + row * self.config.granule_cells;
        let set_bytes = OUTCOMES_BYTES + 4 * numbers;
        let sets = if self.shared.is_some() { 1 } else { self.config.instruments };
        let expected = own.len() + sets * set_bytes;
        if bytes.len() != expected {
            return Err(WeightsError::Length { found: bytes.len(), expected });
        }
        if let Some(at) = own.iter().zip(bytes).position(|(own, given)| own != given) {
            return Err(WeightsError::Configuration { at });
        }
        let mut rest = bytes[own.len()..].chunks_exact(set_bytes);
        self.write_sets(|circuit, set| {
            // As many chunks as sets: the length was checked.
            let Some(bytes) = rest.next() else { return };
            let Some((outcomes, bytes)) = bytes.split_first_chunk::<OUTCOMES_BYTES>() else {
                return;
            };
            let words = bytes.as_chunks::<4>().0.iter();
            let numbers: Vec<f32> = words.map(|word| f32::from_le_bytes(*word)).collect();
            let (state, numbers) = numbers.split_at(teacher);
            set.teacher.read(u64::from_le_bytes(*outcomes), state);
            (set.readout.gain, set.readout.bias) = (numbers[0], numbers[1]);
            set.teacher.set_gain(&mut set.synapses, numbers[2]);
            for (granule, given) in numbers[3..].chunks_exact(row).enumerate() {
                let own = circuit.network.row_mut(&mut set.synapses, PARALLEL_AT, granule as u32);
                own.copy_from_slice(given);
            }
        });
        Ok(())
    }

    /// What `read` makes of every set, in the order of the instruments: one at least.
    fn read_sets<T>(&self, read: impl Fn(&Circuit, &WeightSet) -> T) -> Vec<T> {
        if let Some(shared) = &self.shared {
            let set = shared.read().unwrap_or_else(PoisonError::into_inner);
            return vec![read(&self.circuit, &set)];
        }
        let own = self.shards.iter().flatten().flat_map(|shard| &shard.own);
        own.map(|set| read(&self.circuit, set)).collect()
    }

    fn write_sets(&mut self, mut write: impl FnMut(&Circuit, &mut WeightSet)) {
        self.take_over();
        if let Some(shared) = &self.shared {
            let mut set = shared.write().unwrap_or_else(PoisonError::into_inner);
            return write(&self.circuit, &mut set);
        }
        let own = self.shards.iter_mut().flatten().flat_map(|shard| &mut shard.own);
        own.for_each(|set| write(&self.circuit, set));
    }
}

#[cfg(test)]
mod tests {
    use super::super::CerebellumConfig;
    use super::*;

    fn small(shared_weights: bool) -> Cerebellum {
        let config = CerebellumConfig {
            features: 3,
            instruments: 2,
            granule_cells: 64,
            granule_per_golgi: 32,
            purkinje_per_zone: 4,
            nuclear_per_zone: 4,
            steps_per_cycle: 40,
            shared_weights,
            ..CerebellumConfig::default()
        };
        Cerebellum::new(config).unwrap()
    }

    fn teach(net: &mut Cerebellum, cycles: std::ops::Range<u64>) -> Vec<f32> {
        let mut value = [0.0; 2];
        let mut values = Vec::new();
        for cycle in cycles {
            let x = if cycle % 2 == 0 { 1.0 } else { -1.0 };
            net.advance(cycle, &[x, 0.0, x, -x, x, 0.0], &[true; 2], &mut value);
            values.extend_from_slice(&value);
            net.learn(0, cycle, 0.5 * x);
            net.learn(1, cycle, -0.5 * x);
        }
        values
    }

    #[test]
    fn a_state_taken_up_goes_on_to_the_bit() {
        for shared in [true, false] {
            let (mut first, mut second) = (small(shared), small(shared));
            teach(&mut first, 0..30);
            let mut state = Vec::new();
            first.write_state(&mut state);
            second.read_state(&state).unwrap();
            first.rest();
            assert_eq!(teach(&mut first, 30..60), teach(&mut second, 30..60));
            let (mut a, mut b) = (Vec::new(), Vec::new());
            first.write_state(&mut a);
            second.write_state(&mut b);
            assert_eq!(a, b);
            assert_ne!(a, state);
        }
    }

    #[test]
    fn weights_come_back_as_they_were_set_and_act() {
        let mut net = small(true);
        teach(&mut net, 0..50);
        let mut learned = net.weights();
        assert_eq!(learned.outcomes, 100);
        learned.parallel[7] = 9.0;
        (learned.readout_gain, learned.readout_bias) = (0.0, 2.0);
        let mut other = small(false);
        assert_eq!(other.set_weights(&learned), Ok(1));
        let mut expected = learned.clone();
        expected.parallel[7] = 8.0;
        assert_eq!(other.weights(), expected);
        other.set_plastic(false);
        let values = teach(&mut other, 0..2);
        assert_eq!(values, [1.0 / (1.0 + (-2.0_f32).exp()); 4], "the read-out is in force");
        assert_eq!(other.weights(), expected, "frozen");
    }

    #[test]
    fn what_does_not_fit_changes_nothing_and_says_why() {
        let mut net = small(true);
        let before = net.weights();
        let mut wrong = before.clone();
        wrong.parallel.pop();
        let error = net.set_weights(&wrong).unwrap_err().to_string();
        assert_eq!(error, "511 parallel-fibre weights, expected 512");
        wrong.parallel.push(f32::NAN);
        let error = net.set_weights(&wrong).unwrap_err().to_string();
        assert_eq!(error, "weight 511 is NaN, expected a finite number");
        wrong = LearnedWeights { readout_gain: f32::INFINITY, ..before.clone() };
        assert!(
            net.set_weights(&wrong).unwrap_err().to_string().starts_with("readout gain is inf")
        );
        let mut state = Vec::new();
        small(false).write_state(&mut state);
        assert!(matches!(net.read_state(&state), Err(WeightsError::Length { .. })));
        state.clear();
        net.write_state(&mut state);
        state[0] ^= 1;
        assert_eq!(net.read_state(&state), Err(WeightsError::Configuration { at: 0 }));
        assert_eq!(net.weights(), before);
    }
}
