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
//! The nucleo-olivary brake: cells of a zone's nuclei inhibit the very olivary cells that teach it, so
//! that a zone which already answers is taught less (Kim, Krupa and Thompson, Science 279, 1998;
//! Bengtsson and Hesslow, Cerebellum 5, 2006). With δ the zone's lead over the other in nuclear
//! rate, in logits of the value, whose slope at 0 is a quarter,
//!
//! ```text
//! rate of a climbing fibre = rest + (peak - rest) · [e - strength · [δ]₊ / 4]₊
//! ```
//!
//! with the e and δ of the cycle that is taught. The sliding threshold, where it is on, adds
//! `bcm_rate · φ` to the change of a synapse by a spike; metaplasticity multiplies the change that
//! climbing fibres make, by Purkinje cell.
//!
//! Invariants: weights stay in [0, cap]; no allocation after construction; the gain moves a bounded
//! way.

use super::circuit::{Circuit, PARALLEL_AT};
use super::config::{CerebellumConfig, ConfigError};
use super::memory::{Kept, Recalled, Summary};
use super::rules::RulesConfig;
use crate::cerebellum::engine::Synapses;
use crate::cerebellum::rules::{Bcm, Metaplasticity, RuleEffect, Scaling};
use crate::rng::Key;

/// Rate of a climbing fibre when there is no error of its sign, and at an error of one, Hz.
const CLIMBING_REST_HZ: f32 = 1.0;
const CLIMBING_PEAK_HZ: f32 = 10.0;

/// Share of the distance by which the balance follows the climbing fibres at each outcome.
const BALANCE_RATE: f32 = 1.0 / 512.0;

/// What the climbing fibres have done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Taught {
    /// Synapses changed, summed over outcomes, and the change before clipping, initial weights.
    pub(super) moves: u64,
    pub(super) change: f64,
    /// The same of the sliding threshold.
    pub(super) bcm_moves: u64,
    pub(super) bcm_change: f64,
    /// Climbing-fibre rates that the brake lowered, and by how many Hz in all.
    pub(super) braked: u64,
    pub(super) braked_hz: f64,
}

/// What an outcome changes by one spike, in all Purkinje cells together, initial weights.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lesson {
    /// By climbing fibres.
    climbing: f32,
    /// By the sliding threshold.
    sliding: f32,
}

/// Rates over a cycle that the slow rules see.
#[derive(Clone, Copy, Debug)]
pub(super) struct CycleRates<'a> {
    /// By Purkinje cell, the up zone first, Hz.
    pub(super) purkinje_hz: &'a [f32],
}

/// What teaches one set of weights: of all instruments, or of one.
#[derive(Clone, Debug)]
pub(super) struct Teacher {
    /// Purkinje cells of both zones: the length of a row.
    cells: usize,
    granules: usize,
    /// Mean climbing-fibre spikes an outcome, over both zones: n0.
    balance: f32,
    outcomes: u64,
    scaling: Scaling,
    metaplasticity: Metaplasticity,
    bcm: Bcm,
    taught: Taught,
    /// Mean |dw| since the cycle began, as a share of the weights' range, by Purkinje cell.
    moved: Vec<f32>,
    /// Scratch: the change of a synapse with one spike, by Purkinje cell.
    change: Vec<f32>,
    rules: RulesConfig,
    rate: f32,
    decay: f32,
    floor: f32,
    cap: f32,
    cycle_s: f32,
}

impl Teacher {
    pub(super) fn new(config: &CerebellumConfig) -> Result<Self, ConfigError> {
        let cells = 2 * config.purkinje_per_zone;
        let rules = config.rules;
        Ok(Self {
            cells,
            granules: config.granule_cells,
            balance: CLIMBING_REST_HZ * config.cycle_s(),
            outcomes: 0,
            scaling: Scaling::new(rules.scaling, 1.0)?,
            metaplasticity: Metaplasticity::new(rules.metaplasticity, cells)?,
            bcm: Bcm::new(rules.bcm, cells)?,
            taught: Taught::default(),
            moved: vec![0.0; cells],
            change: vec![0.0; cells],
            rules,
            rate: config.learning_rate,
            decay: config.learning_decay,
            floor: config.learning_floor,
            cap: config.weight_cap,
            cycle_s: config.cycle_s(),
        })
    }

    /// Learns one outcome: `error` is target minus prediction, `recalled` what the network did in
    /// the cycle that predicted. `key` is the outcome's own.
    pub(super) fn learn(
        &mut self,
        circuit: &Circuit,
        synapses: &mut Synapses,
        error: f32,
        recalled: &Recalled<'_>,
        key: Key,
    ) {
        let summary = &recalled.summary;
        let (lesson, change) = self.outcome(error, summary, key);
        circuit.network.add_outer(synapses, PARALLEL_AT, recalled.eligible, change);
        self.account(lesson, None, (summary.total, summary.cells));
    }

    /// What one outcome changes by a spike of a granule cell, by Purkinje cell, for who applies it and then
    /// [`Teacher::account`]s for it. Of the summary, it does not read the spikes.
    pub(super) fn outcome(
        &mut self,
        error: f32,
        summary: &Summary<'_>,
        key: Key,
    ) -> (Lesson, &[f32]) {
        self.change.fill(0.0);
        let mut lesson = Lesson::default();
        if self.rules.climbing_fibre {
            self.climb(error, summary.logit, key);
            lesson.climbing = absolute(&self.change);
        }
        if self.rules.bcm.enabled {
            for (j, (all, &spikes)) in self.change.iter_mut().zip(summary.purkinje).enumerate() {
                let rate_hz = spikes as f32 / self.cycle_s;
                let own = self.rules.bcm_rate * self.bcm.modulation(j, rate_hz);
                lesson.sliding += own.abs();
                *all += own;
            }
        }
        (lesson, &self.change)
    }

    /// Accounts for a lesson that has found spikes of granule cells: `kept` is their sum and how many cells have
    /// any. `change` is what [`Teacher::outcome`] gave with it; none stands for the last.
    pub(super) fn account(&mut self, lesson: Lesson, change: Option<&[f32]>, kept: Kept) {
        let (total, eligible) = kept;
        if self.rules.climbing_fibre {
            self.taught.moves += eligible * self.cells as u64;
            self.taught.change += f64::from(total * lesson.climbing);
        }
        if self.rules.bcm.enabled {
            self.taught.bcm_moves += eligible * self.cells as u64;
            self.taught.bcm_change += f64::from(total * lesson.sliding);
        }
        let share = total / (self.granules as f32 * self.cap);
        for (moved, change) in self.moved.iter_mut().zip(change.unwrap_or(&self.change)) {
            *moved += share * change.abs();
        }
    }

    /// Fires the climbing fibres of both zones and sets the change by one spike from theirs.
    fn climb(&mut self, error: f32, logit: f32, key: Key) {
        let rate = (self.rate / (1.0 + self.outcomes as f32 / self.decay).sqrt()).max(self.floor);
        self.outcomes += 1;
        // A forecast that was too low fires the up zone, whose Purkinje cells then hold its nuclei
        // less.
        let (up_hz, down_hz) = (self.climbing_hz(error, logit), self.climbing_hz(-error, -logit));
        let (up, down) = self.change.split_at_mut(self.cells / 2);
        let fired = climb(up_hz * self.cycle_s, key.fork(0), up)
            + climb(down_hz * self.cycle_s, key.fork(1), down);
        let balance = self.balance;
        self.balance += BALANCE_RATE * (fired / self.cells as f32 - balance);
        for (n, multiple) in self.change.iter_mut().zip(self.metaplasticity.rates()) {
            *n = rate * multiple * (balance - *n);
        }
    }

    /// Rate of a zone's climbing fibres at an error of its sign and a lead of its nuclei, Hz.
    fn climbing_hz(&mut self, error: f32, lead_logits: f32) -> f32 {
        let error = error.clamp(0.0, 1.0);
        let span = CLIMBING_PEAK_HZ - CLIMBING_REST_HZ;
        let mut size = error;
        if self.rules.brake {
            // A quarter of the lead is the value's distance from one half, to first order.
            size = (error - self.rules.brake_strength * 0.25 * lead_logits.max(0.0)).max(0.0);
            self.taught.braked += u64::from(size < error);
            self.taught.braked_hz += f64::from(span * (error - size));
        }
        CLIMBING_REST_HZ + span * size
    }

    /// Lets the slow rules act on what a cycle did.
    pub(super) fn end_cycle(&mut self, synapses: &mut Synapses, rates: CycleRates<'_>) {
        let cycle_ms = 1e3 * self.cycle_s;
        let (up, down) = rates.purkinje_hz.split_at(self.cells / 2);
        *synapses.gain_mut(PARALLEL_AT) = self.scaling.update(mean(up), mean(down));
        self.metaplasticity.update(&self.moved, cycle_ms);
        self.moved.fill(0.0);
        self.bcm.update(rates.purkinje_hz, cycle_ms);
    }

    /// What the climbing fibres, the brake and the sliding threshold have done to weights.
    pub(super) const fn taught(&self) -> Taught {
        self.taught
    }

    /// What scaling and metaplasticity have done.
    pub(super) fn slow_effects(&self) -> [RuleEffect; 2] {
        [self.scaling.effect(), self.metaplasticity.effect()]
    }

    /// Outcomes learned so far, on which the rate depends.
    pub(super) const fn outcomes(&self) -> u64 {
        self.outcomes
    }

    /// Goes on as after so many outcomes.
    pub(super) const fn set_outcomes(&mut self, outcomes: u64) {
        self.outcomes = outcomes;
    }

    /// Sets the gain from which synaptic scaling goes on.
    pub(super) fn set_gain(&mut self, synapses: &mut Synapses, gain: f32) {
        *synapses.gain_mut(PARALLEL_AT) = self.scaling.set_gain(gain);
    }

    /// Numbers that [`Teacher::write`] writes after the outcomes.
    pub(super) const fn state_numbers(purkinje_cells: usize) -> usize {
        1 + 4 * purkinje_cells
    }

    /// Appends what learning has made beside the weights and the gain, as little-endian bytes: the
    /// outcomes, then numbers.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.outcomes.to_le_bytes());
        let rows = [
            self.metaplasticity.rates(),
            self.metaplasticity.movement_per_s(),
            self.bcm.theta_hz(),
            &self.moved,
        ];
        for number in std::iter::once(&self.balance).chain(rows.into_iter().flatten()) {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    /// Takes back what [`Teacher::write`] has written; `numbers` are as many as it writes.
    pub(super) fn read(&mut self, outcomes: u64, numbers: &[f32]) {
        self.outcomes = outcomes;
        let (balance, rows) = numbers.split_at(1);
        self.balance = balance[0];
        let mut rows = rows.chunks_exact(self.cells);
        let mut row = || rows.next().unwrap_or(&[]);
        self.metaplasticity.restore(row(), row());
        self.bcm.restore(row());
        self.moved.copy_from_slice(row());
    }
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len() as f32
}

fn absolute(values: &[f32]) -> f32 {
    values.iter().map(|v| v.abs()).sum()
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

    struct Lesson {
        circuit: Circuit,
        synapses: Synapses,
        teacher: Teacher,
    }

    impl Lesson {
        fn new(config: &CerebellumConfig) -> Self {
            let circuit = Circuit::new(config, Key::new(1)).unwrap();
            let teacher = Teacher::new(config).unwrap();
            Self { synapses: circuit.synapses(), teacher, circuit }
        }

        fn learn(&mut self, error: f32, trace: &[u8], key: Key) {
            self.learn_at(error, 0.0, trace, &[], key);
        }

        fn learn_at(&mut self, error: f32, logit: f32, trace: &[u8], purkinje: &[u16], key: Key) {
            let eligible: Vec<f32> = trace.iter().map(|&n| n.into()).collect();
            let summary = Summary {
                total: eligible.iter().sum(),
                cells: eligible.iter().filter(|&&e| e > 0.0).count() as u64,
                purkinje,
                logit,
            };
            let recalled = Recalled { eligible: &eligible, summary };
            self.teacher.learn(&self.circuit, &mut self.synapses, error, &recalled, key);
        }

        fn weights(&self) -> Vec<f32> {
            self.circuit.weights(&self.synapses)
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
        let mut taught = Lesson::new(&small());
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
        let mut taught = Lesson::new(&small());
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
        let mut taught = Lesson::new(&CerebellumConfig { learning_rate: 1.0, ..small() });
        for n in 0..200 {
            taught.learn(if n < 100 { 1.0 } else { -1.0 }, &[255; 16], Key::new(n));
            assert!(taught.weights().iter().all(|w| (0.0..=8.0).contains(w)));
            taught.teacher.end_cycle(&mut taught.synapses, CycleRates { purkinje_hz: &[0.0; 8] });
        }
        assert!(*taught.synapses.gain_mut(PARALLEL_AT) <= 20.0);
    }

    #[test]
    fn the_brake_lowers_the_teaching_of_a_zone_that_already_answers_and_of_no_other() {
        let braked = RulesConfig { brake: true, ..RulesConfig::default() };
        let mut taught = Lesson::new(&CerebellumConfig { rules: braked, ..small() });
        let teacher = &mut taught.teacher;
        // [0.4 - 0.5 · 2 / 4]₊ = 0.15, of a span of 9 Hz above 1.
        assert!((teacher.climbing_hz(0.4, 2.0) - 2.35).abs() < 1e-5);
        assert!((teacher.climbing_hz(0.4, -2.0) - 4.6).abs() < 1e-5, "the other zone leads");
        assert_eq!(teacher.climbing_hz(0.4, 9.0), CLIMBING_REST_HZ);
        assert_eq!(teacher.taught().braked, 2);
        assert!((teacher.taught().braked_hz - 9.0 * (0.25 + 0.4)).abs() < 1e-4);
        let mut free = Lesson::new(&small());
        assert!((free.teacher.climbing_hz(0.4, 2.0) - 4.6).abs() < 1e-5);
        assert_eq!(free.teacher.taught().braked, 0);
    }

    #[test]
    fn without_climbing_fibres_an_outcome_teaches_nothing() {
        let off = RulesConfig { climbing_fibre: false, ..RulesConfig::default() };
        let mut taught = Lesson::new(&CerebellumConfig { rules: off, ..small() });
        (0..20).for_each(|n| taught.learn(0.9, &[3; 16], Key::new(n)));
        assert!(taught.weights().iter().all(|&w| w == 1.0));
        assert_eq!(taught.teacher.taught().moves, 0);
    }

    #[test]
    fn the_sliding_threshold_strengthens_what_fires_above_it_and_weakens_what_fires_below() {
        let mut rules =
            RulesConfig { climbing_fibre: false, bcm_rate: 0.1, ..RulesConfig::default() };
        rules.bcm.enabled = true;
        let mut taught = Lesson::new(&CerebellumConfig { rules, ..small() });
        // Of 30 ms cycles: 3 spikes are 100 Hz, above the threshold of 60, and 1 is 33, below.
        let purkinje = [3, 1, 3, 1, 0, 0, 0, 0];
        taught.learn_at(0.0, 0.0, &[1; 16], &purkinje, Key::new(1));
        let row = taught.weights()[..8].to_vec();
        assert!((row[0] - (1.0 + 0.1 * 100.0 * 40.0 / 3600.0)).abs() < 1e-4, "{row:?}");
        assert!(row[1] < 1.0 && row[4] == 1.0, "{row:?}");
        assert!(taught.teacher.taught().bcm_change > 0.0);
    }

    #[test]
    fn metaplasticity_slows_cells_whose_weights_move_much() {
        let mut rules = RulesConfig::default();
        rules.metaplasticity.enabled = true;
        let config = CerebellumConfig { rules, learning_rate: 1.0, ..small() };
        let (mut slowed, mut free) = (Lesson::new(&config), Lesson::new(&small()));
        for n in 0..50 {
            for lesson in [&mut slowed, &mut free] {
                lesson.learn(if n % 2 == 0 { 1.0 } else { -1.0 }, &[5; 16], Key::new(n));
                let rates = CycleRates { purkinje_hz: &[60.0; 8] };
                lesson.teacher.end_cycle(&mut lesson.synapses, rates);
            }
        }
        assert!(slowed.teacher.metaplasticity.rates().iter().all(|&r| r < 1.0));
        assert!(free.teacher.metaplasticity.rates().iter().all(|&r| r == 1.0));
    }
}
