//! Rate code: all fibres of a feature fire as Poisson processes at a rate that rises linearly with
//! the value, from `low_hz` at `low` to `high_hz` at `high` (Adrian and Zotterman, J. Physiol. 61,
//! 1926, for the principle).
//!
//! Invariants: values beyond the span are held at its ends; an absent feature leaves its fibres at
//! `low_hz`, which is their background.

use serde::{Deserialize, Serialize};

use super::{Cycle, CycleSpikes, Encode, EncodeError, place, validate};
use crate::rng::Key;

/// Settings of a rate code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateCode {
    /// Fibres a feature.
    pub fibres_per_feature: usize,
    /// Value at which the rate is `low_hz`.
    pub low: f32,
    /// Value at which the rate is `high_hz`.
    pub high: f32,
    /// Least rate, Hz.
    pub low_hz: f32,
    /// Greatest rate, Hz: at most one spike a step.
    pub high_hz: f32,
}

impl Default for RateCode {
    fn default() -> Self {
        Self { fibres_per_feature: 10, low: -2.5, high: 2.5, low_hz: 4.0, high_hz: 100.0 }
    }
}

/// Draws the spikes of a [`RateCode`].
#[derive(Clone, Debug)]
pub struct RateEncoder {
    code: RateCode,
    features: usize,
    cycle: Cycle,
    absent: u64,
}

impl RateEncoder {
    /// An encoder of this many features.
    ///
    /// # Errors
    /// [`EncodeError`] names the setting, its value and what was expected.
    pub fn new(code: RateCode, features: usize, cycle: Cycle) -> Result<Self, EncodeError> {
        validate(features, code.fibres_per_feature, [code.low, code.high], cycle)?;
        cycle.rate("low_hz", code.low_hz, 0.0)?;
        cycle.rate("high_hz", code.high_hz, code.low_hz)?;
        Ok(Self { code, features, cycle, absent: 0 })
    }
}

impl Encode for RateEncoder {
    fn features(&self) -> usize {
        self.features
    }

    fn fibres(&self) -> usize {
        self.features * self.code.fibres_per_feature
    }

    fn encode(&mut self, features: &[f32], key: Key, out: &mut CycleSpikes) {
        out.begin(features.len(), self.features, self.fibres(), self.cycle.steps);
        let c = &self.code;
        for (f, &x) in features.iter().enumerate() {
            let z = place(x, [c.low, c.high]).unwrap_or_else(|| {
                self.absent += 1;
                0.0
            });
            let p = self.cycle.a_step(c.low_hz + z * (c.high_hz - c.low_hz));
            for k in 0..c.fibres_per_feature {
                out.fire_at_random((f * c.fibres_per_feature + k) as u32, p, key);
            }
        }
    }

    fn absent(&self) -> u64 {
        self.absent
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{CYCLE, rates_hz};
    use super::*;

    #[test]
    fn rates_rise_linearly_with_the_value_and_are_held_beyond_the_span() {
        let code = RateCode { fibres_per_feature: 3, ..RateCode::default() };
        let mut encoder = RateEncoder::new(code, 4, CYCLE).unwrap();
        let rates = rates_hz(&mut encoder, &[-9.0, -1.25, 1.25, 9.0], 2000);
        for (f, expected) in [4.0, 28.0, 76.0, 100.0].into_iter().enumerate() {
            // 200 s: five deviations of a Poisson count.
            let allowed = 5.0 * (expected / 200.0_f32).sqrt();
            for rate in &rates[3 * f..3 * f + 3] {
                assert!((rate - expected).abs() < allowed, "{rate} Hz against {expected}");
            }
        }
    }

    #[test]
    fn counts_vary_as_those_of_a_poisson_process() {
        let code = RateCode { fibres_per_feature: 1, high_hz: 50.0, ..RateCode::default() };
        let mut encoder = RateEncoder::new(code, 1, CYCLE).unwrap();
        let mut out = CycleSpikes::new(1, CYCLE.steps);
        let counts: Vec<f64> = (0..5000)
            .map(|cycle| {
                encoder.encode(&[9.0], Key::new(2).fork(cycle), &mut out);
                out.total() as f64
            })
            .collect();
        let mean = counts.iter().sum::<f64>() / 5000.0;
        let variance = counts.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 5000.0;
        // Bernoulli steps: variance = mean (1 - p), p = 0.05.
        assert!((variance / mean - 0.95).abs() < 0.08, "Fano factor {}", variance / mean);
    }
}
