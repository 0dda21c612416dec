//! Parallel-fibre synapses on the Purkinje cells of both microzones, and the climbing fibres that
//! teach them.
//!
//! A climbing-fibre spike depresses the synapses whose parallel fibres fired in the cycle whose
//! outcome it reports; the same parallel fibre spikes potentiate without regard to it. With e the
//! spikes of the parallel fibre in that cycle and n the climbing fibre's spikes,
//!
//! ```text
//! dw = rate · e · (n0 - n),      0 <= w <= cap,
//! ```
//!
//! where n0 is the running mean of n over both zones, so that potentiation balances depression in
//! the long run and only the difference between the zones learns. Since the mean of n is linear in
//! the error this is Widrow and Hoff's rule on granule activity (Fujita, Biol. Cybern. 45, 1982).
//!
//! The zones' error sizes are carried by how many climbing fibres fire: they share one random phase
//! and have staggered thresholds (systematic sampling), so each fires at its own 1 to 10 Hz yet the
//! count of a zone is within one of its expectation. Independent draws would add noise of the order
//! of the error itself.
//!
//! Synaptic scaling is one gain, moved to hold the mean rate over both zones: never a sweep over
//! the weights, and never by zone, which would pin the output's mean.
//!
//! Invariants: weights stay in [0, cap]; no allocation after construction; the gain moves a bounded
//! way.

use super::circuit::{Circuit, PARALLEL_AT, PURKINJE_HZ};
use super::config::CerebellumConfig;
use crate::cerebellum::engine::Synapses;
use crate::rng::Key;

/// Rate of a climbing fibre when there is no error of its sign, and at an error of one, Hz.
const CLIMBING_REST_HZ: f32 = 1.0;
const CLIMBING_PEAK_HZ: f32 = 10.0;

/// Share of the distance by which the balance follows the climbing fibres at each outcome.
const BALANCE_RATE: f32 = 1.0 / 512.0;

/// Share of the relative rate error by which scaling moves the gain each cycle.
const SCALING_RATE: f32 = 0.02;

/// The gain stays within this factor of where it began.
const GAIN_SPAN: f32 = 20.0;

/// What teaches one set of weights: of all instruments, or of one.
#[derive(Clone, Debug)]
pub(super) struct Teacher {
    /// Purkinje cells of both zones: the length of a row.
    cells: usize,
    /// Mean climbing-fibre spikes an outcome, over both zones: n0.
    balance: f32,
    outcomes: u64,
    /// Scratch: the change of a synapse with one spike, by Purkinje cell.
    change: Vec<f32>,
    rate: f32,
    decay: f32,
    floor: f32,
    cap: f32,
    cycle_s: f32,
}

impl Teacher {
    pub(super) fn new(config: &CerebellumConfig) -> Self {
        let cells = 2 * config.purkinje_per_zone;
        Self {
            cells,
            balance: CLIMBING_REST_HZ * config.cycle_s(),
            outcomes: 0,
            change: vec![0.0; cells],
            rate: config.learning_rate,
            decay: config.learning_decay,
            floor: config.learning_floor,
            cap: config.weight_cap,
            cycle_s: config.cycle_s(),
        }
    }

    /// Learns one outcome: `error` is target minus prediction, `trace` the granule cells' spikes in
    /// the cycle that predicted. `key` is the outcome's own.
    pub(super) fn learn(
        &mut self,
        circuit: &Circuit,
        synapses: &mut Synapses,
        error: f32,
        trace: &[u8],
        key: Key,
    ) {
        let rate = (self.rate / (1.0 + self.outcomes as f32 / self.decay).sqrt()).max(self.floor);
        self.outcomes += 1;
        let (up, down) = self.change.split_at_mut(self.cells / 2);
        // A forecast that was too low fires the up zone, whose Purkinje cells then hold its nuclei
        // less.
        let fired = climb(expected_spikes(error, self.cycle_s), key.fork(0), up)
            + climb(expected_spikes(-error, self.cycle_s), key.fork(1), down);
        let balance = self.balance;
        self.balance += BALANCE_RATE * (fired / self.cells as f32 - balance);
        self.change.iter_mut().for_each(|n| *n = rate * (balance - *n));
        for (granule, &count) in trace.iter().enumerate() {
            if count == 0 {
                continue;
            }
            let count = count as f32;
            let row = circuit.network.row_mut(synapses, PARALLEL_AT, granule as u32);
            for (weight, change) in row.iter_mut().zip(&self.change) {
                *weight = (*weight + count * change).clamp(0.0, self.cap);
            }
        }
    }

    /// Outcomes learned so far, on which the rate depends.
    pub(super) const fn outcomes(&self) -> u64 {
        self.outcomes
    }

    /// Goes on as after so many outcomes.
    pub(super) const fn set_outcomes(&mut self, outcomes: u64) {
        self.outcomes = outcomes;
    }

    /// Takes back what [`Teacher::write`] has written.
    pub(super) fn read(&mut self, outcomes: [u8; 8], balance: [u8; 4]) {
        self.outcomes = u64::from_le_bytes(outcomes);
        self.balance = f32::from_le_bytes(balance);
    }

    /// Appends what learning has made beside the weights, as little-endian bytes.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.outcomes.to_le_bytes());
        out.extend_from_slice(&self.balance.to_le_bytes());
    }
}

/// Synaptic scaling: moves the gain by how far the Purkinje cells' mean rate is from where it should
/// be.
pub(super) fn scale(synapses: &mut Synapses, purkinje_hz: f32) {
    let error = (PURKINJE_HZ - purkinje_hz) / PURKINJE_HZ;
    let gain = synapses.gain_mut(PARALLEL_AT);
    *gain = (*gain * (1.0 + SCALING_RATE * error)).clamp(1.0 / GAIN_SPAN, GAIN_SPAN);
}

/// Spikes a climbing fibre is expected to fire about one outcome.
fn expected_spikes(error: f32, cycle_s: f32) -> f32 {
    let size = error.clamp(0.0, 1.0);
    (CLIMBING_REST_HZ + (CLIMBING_PEAK_HZ - CLIMBING_REST_HZ) * size) * cycle_s
}

/// Fires a zone's climbing fibres, `expected` spikes each on average, and returns the zone's total.
fn climb(expected: f32, key: Key, spikes: &mut [f32]) -> f32 {
    let n = spikes.len();
    let phase = key.uniform(0);
    let turn = key.below(1, n as u32) as usize;
    let mut total = 0.0;
    for place in 0..n {
        let before = (place as f32 * expected + phase).floor();
        let count = ((place + 1) as f32 * expected + phase).floor() - before;
        spikes[(place + turn) % n] = count;
        total += count;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> CerebellumConfig {
        CerebellumConfig {
            features: 2,
            granule_cells: 16,
            granule_per_golgi: 16,
            steps_per_cycle: 30,
            purkinje_per_zone: 4,
            learning_rate: 0.1,
            ..CerebellumConfig::default()
        }
    }

    fn mean(weights: &[f32]) -> f32 {
        weights.iter().sum::<f32>() / weights.len() as f32
    }

    struct Taught {
        circuit: Circuit,
        synapses: Synapses,
        teacher: Teacher,
    }

    impl Taught {
        fn new(config: &CerebellumConfig) -> Self {
            let circuit = Circuit::new(config, Key::new(1));
            Self { synapses: circuit.synapses(), teacher: Teacher::new(config), circuit }
        }

        fn learn(&mut self, error: f32, trace: &[u8], key: Key) {
            self.teacher.learn(&self.circuit, &mut self.synapses, error, trace, key);
        }

        fn weights(&self) -> Vec<f32> {
            self.circuit.network.weights(&self.synapses, PARALLEL_AT)
        }

        fn zone_mean(&self, granule: usize, zone: usize) -> f32 {
            let half = self.teacher.cells / 2;
            let first = granule * self.teacher.cells + zone * half;
            self.weights()[first..first + half].iter().sum::<f32>() / half as f32
        }
    }

    #[test]
    fn climbing_fibres_fire_at_their_rate_and_the_zone_within_one_of_its_expectation() {
        let mut spikes = [0.0; 16];
        for expected in [0.1, 0.37, 1.0, 1.7] {
            let mut by_fibre = [0.0; 16];
            for n in 0..4_000 {
                let total = climb(expected, Key::new(n), &mut spikes);
                assert!((total - 16.0 * expected).abs() <= 1.001, "{total} at {expected}");
                by_fibre.iter_mut().zip(&spikes).for_each(|(sum, n)| *sum += n / 4_000.0);
            }
            let spread = by_fibre.iter().fold(0.0_f32, |a, rate| a.max((rate - expected).abs()));
            assert!(spread < 0.04, "{expected}: {by_fibre:?}");
        }
    }

    #[test]
    fn a_forecast_too_low_depresses_the_up_zone_only_where_parallel_fibres_fired() {
        let mut taught = Taught::new(&small());
        let mut trace = [0; 16];
        trace[3] = 2;
        for n in 0..20 {
            taught.learn(0.8, &trace, Key::new(n));
        }
        assert!(taught.zone_mean(3, 0) < 0.5, "up {}", taught.zone_mean(3, 0));
        assert!(taught.zone_mean(3, 1) > taught.zone_mean(3, 0) + 0.4);
        assert_eq!((taught.zone_mean(4, 0), taught.zone_mean(4, 1)), (1.0, 1.0));
    }

    #[test]
    fn errors_of_either_sign_leave_the_mean_weight_where_it_was() {
        let mut taught = Taught::new(&small());
        let trace = [1; 16];
        let mut means = Vec::new();
        for n in 0..6_000 {
            let error = if Key::new(n).uniform(0) < 0.5 { 0.5 } else { -0.5 };
            taught.learn(error, &trace, Key::new(n).fork(1));
            means.push(mean(&taught.weights()));
        }
        let late = means[3_000..].iter().sum::<f32>() / 3_000.0;
        assert!((0.3..3.0).contains(&late), "mean weight {late}");
    }

    #[test]
    fn weights_never_leave_their_range_and_the_gain_its_span() {
        let mut taught = Taught::new(&CerebellumConfig { learning_rate: 1.0, ..small() });
        for n in 0..200 {
            taught.learn(if n < 100 { 1.0 } else { -1.0 }, &[255; 16], Key::new(n));
            assert!(taught.weights().iter().all(|w| (0.0..=8.0).contains(w)));
            scale(&mut taught.synapses, 0.0);
        }
        assert!(*taught.synapses.gain_mut(PARALLEL_AT) <= GAIN_SPAN);
    }
}
