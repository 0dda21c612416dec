//! Pair STDP with exponential traces: its usual constants, and a plain, eager form.
//!
//! A postsynaptic spike adds rate · `a_plus` · x to the synapse and a presynaptic one takes rate ·
//! `a_minus` · y off, where x and y are the traces of all earlier spikes of the other side (Song,
//! Miller and Abbott, Nat. Neurosci. 3, 2000; all-to-all pairs). Spikes of one step do not see each
//! other. The engine runs the rule lazily from [`PairStdpConfig::rule`]; [`PairTraces`] is for small
//! dense layers and to compare with. Invariant: weights stay within their bounds.

use serde::{Deserialize, Serialize};

use super::{Meter, RuleEffect, RuleError, positive, require};
use crate::cerebellum::description::{PairStdp, Plasticity};

const NAME: &str = "pair-stdp";

/// Settings of pair STDP.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairStdpConfig {
    /// Whether it acts.
    pub enabled: bool,
    /// Decay of the presynaptic trace, ms.
    pub tau_pre_ms: f32,
    /// Decay of the postsynaptic trace, ms.
    pub tau_post_ms: f32,
    /// Potentiation by a coincident pair at a rate of 1.
    pub a_plus: f32,
    /// Depression by a coincident pair at a rate of 1.
    pub a_minus: f32,
    /// Learning rate.
    pub rate: f32,
    /// Least weight.
    pub w_min: f32,
    /// Greatest weight.
    pub w_max: f32,
}

impl Default for PairStdpConfig {
    /// Off; 20 ms both, 0.1 and 0.105, rate 0.01, weights in [0, 1].
    fn default() -> Self {
        Self {
            enabled: false,
            tau_pre_ms: 20.0,
            tau_post_ms: 20.0,
            a_plus: 0.1,
            a_minus: 0.105,
            rate: 0.01,
            w_min: 0.0,
            w_max: 1.0,
        }
    }
}

impl PairStdpConfig {
    /// The rule as a projection of a description takes it; none inside when off.
    pub fn rule(&self) -> Plasticity {
        let stdp = PairStdp {
            tau_pre_ms: self.tau_pre_ms,
            tau_post_ms: self.tau_post_ms,
            a_plus: self.rate * self.a_plus,
            a_minus: self.rate * self.a_minus,
        };
        Plasticity {
            w_min: self.w_min,
            w_max: self.w_max,
            potentiation: None,
            climbing: None,
            stdp: self.enabled.then_some(stdp),
        }
    }

    fn check(&self) -> Result<(), RuleError> {
        positive(NAME, "tau_pre_ms", self.tau_pre_ms)?;
        positive(NAME, "tau_post_ms", self.tau_post_ms)?;
        for (name, value) in
            [("a_plus", self.a_plus), ("a_minus", self.a_minus), ("rate", self.rate)]
        {
            require(NAME, name, value, value >= 0.0, "a finite number, 0 or more")?;
        }
        require(NAME, "w_min", self.w_min, true, "a finite number")?;
        let above = self.w_max > self.w_min;
        require(NAME, "w_max", self.w_max, above, "a finite number above w_min")
    }
}

/// Traces of two populations that are connected all to all.
#[derive(Clone, Debug)]
pub struct PairTraces {
    config: PairStdpConfig,
    keep_pre: f32,
    keep_post: f32,
    pre: Vec<f32>,
    post: Vec<f32>,
    meter: Meter,
}

impl PairTraces {
    /// Traces of 0.
    ///
    /// # Errors
    /// [`RuleError`] names the setting out of range.
    pub fn new(
        config: PairStdpConfig,
        pre: usize,
        post: usize,
        step_ms: f32,
    ) -> Result<Self, RuleError> {
        config.check()?;
        positive(NAME, "step_ms", step_ms)?;
        Ok(Self {
            keep_pre: (-step_ms / config.tau_pre_ms).exp(),
            keep_post: (-step_ms / config.tau_post_ms).exp(),
            pre: vec![0.0; pre],
            post: vec![0.0; post],
            config,
            meter: Meter::default(),
        })
    }

    /// Advances one step in which these cells fired. `weights` is [pre × post].
    ///
    /// # Panics
    /// When the weights have another shape or a cell does not exist.
    pub fn step(&mut self, pre_spikes: &[u32], post_spikes: &[u32], weights: &mut [f32]) {
        let (c, posts) = (self.config, self.post.len());
        assert_eq!(weights.len(), self.pre.len() * posts, "weights by both populations");
        if !c.enabled {
            return;
        }
        self.pre.iter_mut().for_each(|x| *x *= self.keep_pre);
        self.post.iter_mut().for_each(|y| *y *= self.keep_post);
        let bounds = (c.w_min, c.w_max);
        for &i in pre_spikes {
            let row = &mut weights[i as usize * posts..(i as usize + 1) * posts];
            for (w, y) in row.iter_mut().zip(&self.post) {
                self.meter.hold(w, *w - c.rate * c.a_minus * y, bounds);
            }
        }
        for &j in post_spikes {
            for (row, x) in weights.chunks_exact_mut(posts).zip(&self.pre) {
                let w = &mut row[j as usize];
                self.meter.hold(w, *w + c.rate * c.a_plus * x, bounds);
            }
        }
        for &i in pre_spikes {
            self.pre[i as usize] += 1.0;
        }
        for &j in post_spikes {
            self.post[j as usize] += 1.0;
        }
    }

    /// What it did; changes are of weights.
    pub fn effect(&self) -> RuleEffect {
        self.meter.effect(NAME, self.config.enabled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on() -> PairStdpConfig {
        PairStdpConfig { enabled: true, ..PairStdpConfig::default() }
    }

    /// The weight after spikes at the given steps, from 0.5.
    fn after(config: PairStdpConfig, pre: &[usize], post: &[usize]) -> f32 {
        let mut traces = PairTraces::new(config, 1, 1, 1.0).unwrap();
        let mut w = [0.5];
        for n in 0..200 {
            let fired = |steps: &[usize]| if steps.contains(&n) { vec![0] } else { vec![] };
            traces.step(&fired(pre), &fired(post), &mut w);
        }
        w[0]
    }

    #[test]
    fn pairs_change_the_weight_by_the_exponential_of_their_distance() {
        let fall = |ms: f32| (-ms / 20.0).exp();
        assert!((after(on(), &[10], &[15]) - (0.5 + 1e-3 * fall(5.0))).abs() < 1e-6);
        assert!((after(on(), &[15], &[10]) - (0.5 - 1.05e-3 * fall(5.0))).abs() < 1e-6);
        assert_eq!(after(on(), &[10], &[10]), 0.5, "one step apart at least");
        let three = 1e-3 * (fall(10.0) + fall(5.0)) - 1.05e-3 * fall(25.0);
        assert!((after(on(), &[10, 15, 45], &[20]) - (0.5 + three)).abs() < 1e-6, "all to all");
    }

    #[test]
    fn weights_keep_their_bounds_and_a_rule_that_is_off_does_nothing() {
        let strong = PairStdpConfig { rate: 10.0, ..on() };
        assert_eq!(after(strong, &[10], &[12]), 1.0);
        assert_eq!(after(strong, &[12], &[10]), 0.0);
        assert_eq!(after(PairStdpConfig::default(), &[10], &[12]), 0.5);
    }

    #[test]
    fn the_description_carries_the_rate_within_its_amplitudes() {
        let stdp = on().rule().stdp.unwrap();
        assert!((stdp.a_plus - 1e-3).abs() < 1e-9 && (stdp.a_minus - 1.05e-3).abs() < 1e-9);
        assert_eq!(PairStdpConfig::default().rule().stdp, None);
        let broken = PairStdpConfig { tau_post_ms: 0.0, ..on() };
        let error = PairTraces::new(broken, 1, 1, 1.0).unwrap_err().to_string();
        assert_eq!(error, "pair-stdp: tau_post_ms is 0, expected a finite number above 0");
    }
}
