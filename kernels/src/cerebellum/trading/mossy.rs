//! Features become spikes: each feature drives a row of mossy fibres with Gaussian receptive
//! fields.
//!
//! A fibre of centre c fires at background + peak exp(-(x - c)² / 2 sd²): regularly within a cycle,
//! from a random phase keyed by (seed, instrument, cycle, fibre). Regular spikes are a choice for
//! precision, where published models draw Poisson spikes: a feature's count over a cycle errs by less than one spike a fibre instead of by the square root of the count, which on
//! the planted-signal test was a sixth of the skill.
//!
//! Invariants: a value outside the span is held at its edge; at most one spike a fibre and step;
//! the draws do not depend on their order; no allocation after construction.

use super::config::CerebellumConfig;
use crate::rng::Key;

/// Fields are centred from minus to plus this many feature units. Values are held at the edge
/// beyond it plus one field.
pub(super) const FIELD_SPAN: f32 = 2.5;

/// Rate of a fibre far from its field, Hz.
const BACKGROUND_HZ: f32 = 4.0;

/// One cycle's mossy fibre spikes, by step: scratch that every instrument uses in turn.
#[derive(Clone, Debug)]
pub(super) struct MossyFibres {
    centres: Vec<f32>,
    inverse_variance: f32,
    /// Spikes a step.
    peak: f32,
    background: f32,
    steps: usize,
    /// `fibres` places a step, of which the first `lengths[step]` hold ids.
    ids: Vec<u32>,
    lengths: Vec<u32>,
    fibres: usize,
}

impl MossyFibres {
    pub(super) fn new(config: &CerebellumConfig) -> Self {
        let n = config.fibres_per_feature;
        let step = 2.0 * FIELD_SPAN / (n - 1) as f32;
        let scale = config.step_ms * 1e-3;
        Self {
            centres: (0..n).map(|k| k as f32 * step - FIELD_SPAN).collect(),
            inverse_variance: 1.0 / (config.field_sd * config.field_sd),
            peak: config.fibre_peak_hz * scale,
            background: BACKGROUND_HZ * scale,
            steps: config.steps_per_cycle,
            ids: vec![0; config.steps_per_cycle * config.fibres()],
            lengths: vec![0; config.steps_per_cycle],
            fibres: config.fibres(),
        }
    }

    /// Draws one cycle of spikes for one instrument. `key` is that instrument's and cycle's own.
    pub(super) fn encode(&mut self, features: &[f32], key: Key) {
        self.lengths.fill(0);
        let edge = FIELD_SPAN + self.inverse_variance.sqrt().recip();
        let mut fibre = 0;
        for &x in features {
            // A NaN would compare false everywhere; the centre is the value that says nothing.
            let x = if x.is_nan() { 0.0 } else { x.clamp(-edge, edge) };
            for k in 0..self.centres.len() {
                let d = x - self.centres[k];
                let field = (-0.5 * d * d * self.inverse_variance).exp();
                let interval = (self.background + self.peak * field).recip().max(1.0);
                self.fire(fibre, interval, interval * key.uniform(fibre as u64));
                fibre += 1;
            }
        }
    }

    /// Files one fibre's spikes: the first at `first`, then one each `interval`, both in steps.
    fn fire(&mut self, fibre: u32, interval: f32, first: f32) {
        let mut at = first;
        while (at as usize) < self.steps {
            let step = at as usize;
            let length = &mut self.lengths[step];
            self.ids[step * self.fibres + *length as usize] = fibre;
            *length += 1;
            at += interval;
        }
    }

    /// The fibres that fire in `step`, in ascending order.
    #[inline]
    pub(super) fn at(&self, step: usize) -> &[u32] {
        let first = step * self.fibres;
        &self.ids[first..first + self.lengths[step] as usize]
    }

    /// Steps of a cycle.
    pub(super) const fn steps(&self) -> usize {
        self.steps
    }

    /// Spikes of the whole cycle.
    pub(super) fn total(&self) -> u64 {
        self.lengths.iter().map(|&n| n as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates_hz(x: f32) -> Vec<f32> {
        let config = CerebellumConfig {
            features: 1,
            fibres_per_feature: 10,
            field_sd: 0.5,
            fibre_peak_hz: 100.0,
            ..CerebellumConfig::default()
        };
        let mut fibres = MossyFibres::new(&config);
        let mut counts = vec![0.0; config.fibres()];
        let cycles = 2_000;
        for cycle in 0..cycles {
            fibres.encode(&[x], Key::new(1).fork(cycle));
            for step in 0..config.steps_per_cycle {
                fibres.at(step).iter().for_each(|&f| counts[f as usize] += 1.0);
            }
        }
        counts.iter().map(|n| n / (cycles as f32 * config.cycle_s())).collect()
    }

    #[test]
    fn a_fibre_fires_at_the_rate_its_field_gives() {
        let x = 0.4;
        for (k, rate) in rates_hz(x).into_iter().enumerate() {
            let d = x - (k as f32 * 5.0 / 9.0 - 2.5);
            let expected = 4.0 + 100.0 * (-d * d / 0.5).exp();
            assert!((rate - expected).abs() < 3.0, "fibre {k}: {rate} Hz against {expected}");
        }
    }

    #[test]
    fn values_that_are_not_finite_are_held_inside_the_span() {
        assert_eq!(rates_hz(f32::INFINITY), rates_hz(100.0));
        assert_eq!(rates_hz(f32::NAN), rates_hz(0.0));
    }
}
