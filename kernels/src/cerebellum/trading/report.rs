//! What the rules of a cerebellum have done to its weights, for an operator to read.
//!
//! Invariants: counts are exact; a change is the mean before clipping, so that the shares of weights
//! at their bounds tell what clipping took; reading changes nothing.

use std::fmt;

use super::circuit::{Circuit, PARALLEL_AT};
use super::config::CerebellumConfig;
use super::learning::Taught;
use super::shard::WeightSet;
use crate::cerebellum::rules::RuleEffect;

/// What one rule has done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuleReport {
    /// The rule.
    pub name: &'static str,
    /// Whether it is on.
    pub enabled: bool,
    /// How often it moved something.
    pub moves: u64,
    /// Mean size of such a move.
    pub mean_change: f64,
    /// What it moves, and in which unit.
    pub of: &'static str,
}

/// The weights of all sets of parallel fibres together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WeightSummary {
    /// Weights.
    pub count: usize,
    /// Their mean, in initial weights.
    pub mean: f64,
    /// Their standard deviation, in initial weights.
    pub sd: f64,
    /// Share of them at 0.
    pub at_zero: f64,
    /// Share of them at the cap.
    pub at_cap: f64,
    /// Mean gain that synaptic scaling has given the sets; 1 at first.
    pub gain: f64,
}

/// What all rules have done; `Display` is a table.
#[derive(Clone, Debug, PartialEq)]
pub struct LearningReport {
    /// By rule, in a fixed order.
    pub rules: Vec<RuleReport>,
    /// The weights they have made.
    pub weights: WeightSummary,
}

impl fmt::Display for LearningReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {:<18} {:>3} {:>15} {:>12}  of", "rule", "on", "moves", "mean change")?;
        for rule in &self.rules {
            let (on, change) = (if rule.enabled { "yes" } else { "no" }, rule.mean_change);
            let (name, moves) = (rule.name, rule.moves);
            if moves == 0 {
                writeln!(f, "  {name:<18} {on:>3} {moves:>15} {:>12}  {}", "-", rule.of)?;
            } else {
                writeln!(f, "  {name:<18} {on:>3} {moves:>15} {change:>12.3e}  {}", rule.of)?;
            }
        }
        let w = &self.weights;
        writeln!(
            f,
            "  weights            {}: mean {:.3}, sd {:.3} initial weights; {:.2} % at 0, {:.2} % at the cap; gain {:.3}",
            w.count,
            w.mean,
            w.sd,
            1e2 * w.at_zero,
            1e2 * w.at_cap,
            w.gain
        )
    }
}

/// Moves and their summed size.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    moves: u64,
    change: f64,
}

impl Sum {
    fn add(&mut self, moves: u64, change: f64) {
        self.moves += moves;
        self.change += change;
    }

    fn add_effect(&mut self, effect: RuleEffect) {
        self.add(effect.updates, effect.updates as f64 * effect.mean_abs_change);
    }
}

/// Adds up over weight sets.
#[derive(Debug)]
pub(super) struct Collector<'a> {
    config: &'a CerebellumConfig,
    climbing: Sum,
    brake: Sum,
    scaling: Sum,
    stdp: Sum,
    metaplasticity: Sum,
    bcm: Sum,
    intrinsic: Sum,
    sets: usize,
    count: usize,
    sum: f64,
    squares: f64,
    at_zero: usize,
    at_cap: usize,
    gain: f64,
}

impl<'a> Collector<'a> {
    pub(super) fn new(config: &'a CerebellumConfig) -> Self {
        let none = Sum::default();
        Self {
            config,
            climbing: none,
            brake: none,
            scaling: none,
            stdp: none,
            metaplasticity: none,
            bcm: none,
            intrinsic: none,
            sets: 0,
            count: 0,
            sum: 0.0,
            squares: 0.0,
            at_zero: 0,
            at_cap: 0,
            gain: 0.0,
        }
    }

    /// Adds one set of weights.
    pub(super) fn add(&mut self, circuit: &Circuit, set: &WeightSet) {
        let Taught { moves, change, bcm_moves, bcm_change, braked, braked_hz } =
            set.teacher.taught();
        self.climbing.add(moves, change);
        self.bcm.add(bcm_moves, bcm_change);
        self.brake.add(braked, braked_hz);
        let [scaling, metaplasticity] = set.teacher.slow_effects();
        self.scaling.add_effect(scaling);
        self.metaplasticity.add_effect(metaplasticity);
        if self.config.rules.stdp.enabled
            && let Some(effect) = set.synapses.effect(PARALLEL_AT)
        {
            let row = 2 * self.config.purkinje_per_zone as u64;
            let moved = effect.paired_up.abs() + effect.paired_down.abs();
            self.stdp.add(effect.presynaptic_spikes * row, moved);
        }
        self.sets += 1;
        self.gain += f64::from(set.synapses.gain(PARALLEL_AT));
        for w in circuit.weights(&set.synapses) {
            self.count += 1;
            self.sum += f64::from(w);
            self.squares += f64::from(w) * f64::from(w);
            self.at_zero += usize::from(w <= 0.0);
            self.at_cap += usize::from(w >= self.config.weight_cap);
        }
    }

    /// Adds the intrinsic plasticity of some instruments.
    pub(super) fn add_intrinsic(&mut self, effect: RuleEffect) {
        self.intrinsic.add_effect(effect);
    }

    pub(super) fn finish(self) -> LearningReport {
        let (rules, plastic) = (&self.config.rules, self.config.plastic);
        let report = |name, enabled: bool, sum: Sum, of| RuleReport {
            name,
            enabled: enabled && plastic,
            moves: sum.moves,
            mean_change: sum.change / sum.moves.max(1) as f64,
            of,
        };
        let n = self.count.max(1) as f64;
        let mean = self.sum / n;
        LearningReport {
            rules: vec![
                report("climbing fibres", rules.climbing_fibre, self.climbing, "initial weights"),
                report("brake", rules.brake, self.brake, "climbing-fibre Hz"),
                report("scaling", rules.scaling.enabled, self.scaling, "gain of all weights"),
                report("pair STDP", rules.stdp.enabled, self.stdp, "initial weights"),
                report(
                    "metaplasticity",
                    rules.metaplasticity.enabled,
                    self.metaplasticity,
                    "multiple of the learning rate",
                ),
                report("sliding threshold", rules.bcm.enabled, self.bcm, "initial weights"),
                report(
                    "intrinsic",
                    rules.intrinsic.enabled,
                    self.intrinsic,
                    "drive, firing thresholds",
                ),
            ],
            weights: WeightSummary {
                count: self.count,
                mean,
                sd: (self.squares / n - mean * mean).max(0.0).sqrt(),
                at_zero: self.at_zero as f64 / n,
                at_cap: self.at_cap as f64 / n,
                gain: self.gain / self.sets.max(1) as f64,
            },
        }
    }
}
