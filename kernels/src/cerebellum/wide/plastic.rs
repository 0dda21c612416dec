//! Plasticity of parallel fibres on Purkinje cells, settled when a parallel fibre fires.
//!
//! A weight is a u16 of 4,096 units an initial weight. With x the eligibility of a parallel fibre, which each of its
//! spikes raises by one, which decays with `trace_ms` and ends `window_ms` after the last,
//!
//! ```text
//! parallel-fibre spike:   w = min(w + potentiation, cap)
//! climbing-fibre spike:   w = max(w - depression · x, 0)
//! ```
//!
//! the form that published models of the cerebellum share: potentiation at every parallel-fibre spike, depression
//! by climbing-fibre spikes that follow (Fujita, Biol. Cybern. 45, 1982; Yamazaki and Nagao, PLoS ONE 7:e33319,
//! 2012). Both are rounded to whole units at random, without bias: to the amount in 65,536ths 16 random bits are added
//! and the rest is cut off. The bits of a depression are the sum of those of the parallel fibre's spike and of the climbing
//! fibre's, so any two synapses round independently and a row costs no word a synapse.
//!
//! A climbing-fibre spike is noted alone, with its step. What it takes off a weight depends on the step and eligibility
//! of the last spike of the weight's parallel fibre and on nothing else, so it is taken off when that fibre fires next,
//! or once its window is over. Between two potentiations there are depressions alone, which may be added up and
//! stop at zero as they would have one by one. Invariants: settling late or at once gives the same units, every one;
//! no event is displaced that a weight still owes, because a climbing fibre is refractory.

use super::config::{UNIT, WideConfig};

/// A climbing-fibre spike: its step, and 16 random bits.
pub(super) const fn event(step: u32, word: u64) -> u64 {
    (step as u64) << 32 | word & 0xffff
}

/// The step of a climbing-fibre spike.
pub(super) const fn step_of(event: u64) -> u32 {
    (event >> 32) as u32
}

/// What a row owes by each climbing-fibre spike since the last spike of its granule cell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Debt {
    /// Step of that spike.
    pub(super) last: u32,
    /// What a climbing-fibre spike in that very step takes off, in 65,536ths of a unit.
    pub(super) depression: f32,
    /// 16 random bits.
    pub(super) dither: u32,
}

/// The rule, for one length of steps.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// What eligibility keeps over so many steps, for all of a window.
    keep: Vec<f32>,
    /// Depression of an eligibility of one, in 65,536ths of a unit.
    depression: f32,
    /// Largest weight, units.
    pub(super) cap: u16,
    /// Steps that potentiation is balanced over: the sum of what eligibility keeps.
    kept_steps: f64,
}

impl Rule {
    pub(super) fn new(config: &WideConfig) -> Self {
        let decay = -f64::from(config.step_ms) / f64::from(config.trace_ms);
        let window = config.steps(config.window_ms);
        let keep: Vec<f32> = (0..window).map(|k| (decay * f64::from(k)).exp() as f32).collect();
        Self {
            kept_steps: keep.iter().map(|&kept| f64::from(kept)).sum(),
            keep,
            depression: config.depression * UNIT as f32 * 65_536.0,
            cap: (config.weight_cap * UNIT as f32) as u16,
        }
    }

    /// Steps for which a parallel fibre is eligible.
    pub(super) fn window(&self) -> u32 {
        self.keep.len() as u32
    }

    /// What eligibility keeps over so many steps of a window.
    pub(super) fn keep(&self) -> &[f32] {
        &self.keep
    }

    /// Depression of an eligibility of one, in 65,536ths of a unit.
    pub(super) const fn depression(&self) -> f32 {
        self.depression
    }

    /// What a parallel-fibre spike has to add, in 65,536ths of a unit, for climbing fibres of so many spikes a step to
    /// leave the weight where it is on the whole.
    pub(super) fn balancing(&self, spikes_a_step: f32) -> u32 {
        (f64::from(self.depression) * self.kept_steps * f64::from(spikes_a_step)) as u32
    }

    /// Eligibility at a spike: `trace` was it at the one before, so many steps ago.
    pub(super) fn raised(&self, trace: f32, steps: u32) -> f32 {
        1.0 + self.keep.get(steps as usize).map_or(0.0, |keep| trace * keep)
    }

    /// What is owed by a granule cell that fired last in step `last`, `trace` being its eligibility then and `word`
    /// the random word of that spike.
    pub(super) fn debt(&self, last: u32, trace: f32, word: u64) -> Debt {
        Debt { last, depression: self.depression * trace, dither: word as u32 & 0xffff }
    }

    /// Units that climbing-fibre spikes of one Purkinje cell have taken off; the latest comes first.
    pub(super) fn owed(&self, debt: Debt, events: impl IntoIterator<Item = u64>) -> u32 {
        let mut sum = 0;
        for event in events {
            let Some(steps) = step_of(event).checked_sub(debt.last) else { break };
            if let Some(keep) = self.keep.get(steps as usize) {
                sum += amount(debt, *keep, event);
            }
        }
        sum
    }
}

/// Units that one climbing-fibre spike takes off, at which eligibility has kept `keep`.
fn amount(debt: Debt, keep: f32, event: u64) -> u32 {
    let amount = (debt.depression * keep) as u32;
    (amount + ((event as u32).wrapping_add(debt.dither) & 0xffff)) >> 16
}

/// Units that a parallel-fibre spike adds, `potentiation` being 65,536ths and `word` the spike's random word.
pub(super) const fn added(potentiation: u32, word: u64) -> u32 {
    (potentiation + (word as u32 >> 16)) >> 16
}

/// A weight less what it owes.
pub(super) fn less(weight: u16, owed: u32) -> u16 {
    weight.saturating_sub(owed.min(u32::from(u16::MAX)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    #[test]
    fn rounding_is_without_bias_whatever_the_fraction() {
        let rule = Rule::new(&WideConfig::tiny());
        let (key, other) = (Key::new(1), Key::new(2));
        for keep in [1e-4_f32, 0.003, 0.3, 1.0] {
            let n = 20_000_u64;
            let sum: f64 = (0..n)
                .map(|k| {
                    let debt = rule.debt(10, 1.0, key.word(k));
                    f64::from(amount(debt, keep, event(12, other.word(k))))
                })
                .sum();
            let exact = f64::from(rule.depression() * keep) / 65_536.0;
            // Five deviations of a mean of numbers that are off by less than one.
            let allowed = 5.0 * 0.5 / (n as f64).sqrt();
            assert!((sum / n as f64 - exact).abs() < allowed, "{keep}: {}", sum / n as f64);
        }
    }

    #[test]
    fn potentiation_balances_climbing_fibres_at_their_mean_rate() {
        let rule = Rule::new(&WideConfig::tiny());
        // Per step of eligibility and climbing-fibre spike; the window cuts 0.7 % off 100.5 steps.
        let exact = 0.02 * 4_096.0 * 65_536.0 * 99.8 * 1e-3;
        let found = f64::from(rule.balancing(1e-3));
        assert!((found / exact - 1.0).abs() < 1e-3, "{found}, {exact}");
    }

    #[test]
    fn events_before_the_last_spike_and_after_its_window_are_owed_nothing() {
        let rule = Rule::new(&WideConfig::tiny());
        let debt = rule.debt(1_000, 1.0, 0);
        assert_eq!(rule.owed(debt, [event(999, 0)]), 0);
        assert_eq!(rule.owed(debt, [event(1_500, 0xffff)]), 0);
        // 0.02 of 4,096.
        assert_eq!(rule.owed(debt, [event(1_000, 0), event(999, 0)]), 81);
        let both = rule.owed(debt, [event(1_080, 0), event(1_000, 0), event(0, 0)]);
        assert_eq!(both, 81 + (81.92 * (-0.8_f64).exp()) as u32);
        assert_eq!(less(100, both), 0);
    }
}
