//! Latency code: a fibre fires once a cycle, the earlier the greater the value (Thorpe, Fize and
//! Marlot, Nature 381, 1996, for the principle).
//!
//! Fibre k of n answers the share of the span above its threshold, k / n: with z the value's place in
//! the span and y = (z - k/n) / (1 - k/n), it fires at latest - y (latest - earliest), rounded to the
//! step, and not at all if y is 0 or less. Nothing is drawn. Invariants: values beyond the span are
//! held at its ends; an absent feature has no spikes.

use serde::{Deserialize, Serialize};

use super::{Cycle, CycleSpikes, Encode, EncodeError, place, range, validate};
use crate::rng::Key;

/// Settings of a latency code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LatencyCode {
    /// Fibres a feature, of staggered thresholds.
    pub fibres_per_feature: usize,
    /// Value at which no fibre fires.
    pub low: f32,
    /// Value at which every fibre fires at `earliest_ms`.
    pub high: f32,
    /// Time of the spike of the greatest value, ms from the start of the cycle.
    pub earliest_ms: f32,
    /// Time of the spike of a value just above the threshold, ms: within the cycle.
    pub latest_ms: f32,
}

impl Default for LatencyCode {
    fn default() -> Self {
        Self { fibres_per_feature: 10, low: -2.5, high: 2.5, earliest_ms: 0.0, latest_ms: 80.0 }
    }
}

/// Places the spikes of a [`LatencyCode`].
#[derive(Clone, Debug)]
pub struct LatencyEncoder {
    code: LatencyCode,
    features: usize,
    cycle: Cycle,
    absent: u64,
}

impl LatencyEncoder {
    /// An encoder of this many features.
    ///
    /// # Errors
    /// [`EncodeError`] names the setting, its value and what was expected.
    pub fn new(code: LatencyCode, features: usize, cycle: Cycle) -> Result<Self, EncodeError> {
        validate(features, code.fibres_per_feature, [code.low, code.high], cycle)?;
        let last_ms = (cycle.steps - 1) as f32 * cycle.step_ms;
        range("latest_ms", code.latest_ms, 0.0, last_ms)?;
        range("earliest_ms", code.earliest_ms, 0.0, code.latest_ms)?;
        Ok(Self { code, features, cycle, absent: 0 })
    }

    /// The step in which fibre `k` fires at place `z`.
    fn step(&self, k: usize, z: f32) -> Option<usize> {
        let c = &self.code;
        let threshold = k as f32 / c.fibres_per_feature as f32;
        let y = (z - threshold) / (1.0 - threshold);
        let ms = c.latest_ms - y * (c.latest_ms - c.earliest_ms);
        (y > 0.0).then(|| ((ms / self.cycle.step_ms).round() as usize).min(self.cycle.steps - 1))
    }
}

impl Encode for LatencyEncoder {
    fn features(&self) -> usize {
        self.features
    }

    fn fibres(&self) -> usize {
        self.features * self.code.fibres_per_feature
    }

    fn encode(&mut self, features: &[f32], _: Key, out: &mut CycleSpikes) {
        out.begin(features.len(), self.features, self.fibres(), self.cycle.steps);
        let c = self.code;
        for (f, &x) in features.iter().enumerate() {
            let Some(z) = place(x, [c.low, c.high]) else {
                self.absent += 1;
                continue;
            };
            for k in 0..c.fibres_per_feature {
                if let Some(step) = self.step(k, z) {
                    out.push(step, (f * c.fibres_per_feature + k) as u32);
                }
            }
        }
    }

    fn absent(&self) -> u64 {
        self.absent
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::CYCLE;
    use super::*;

    fn times(x: f32) -> Vec<Option<usize>> {
        let code = LatencyCode {
            fibres_per_feature: 2,
            low: 0.0,
            high: 1.0,
            earliest_ms: 10.0,
            latest_ms: 90.0,
        };
        let mut encoder = LatencyEncoder::new(code, 1, CYCLE).unwrap();
        let mut out = CycleSpikes::new(2, CYCLE.steps);
        encoder.encode(&[x], Key::new(1), &mut out);
        (0..2).map(|f| (0..100).find(|&step| out.at(step).contains(&f))).collect()
    }

    #[test]
    fn greater_values_fire_earlier_by_the_stated_law() {
        assert_eq!(times(0.0), [None, None]);
        assert_eq!(times(0.25), [Some(70), None]);
        assert_eq!(times(0.5), [Some(50), None]);
        assert_eq!(times(0.75), [Some(30), Some(50)]);
        assert_eq!(times(1.0), [Some(10), Some(10)]);
        assert_eq!(times(7.0), times(1.0));
        assert_eq!(times(f32::NAN), [None, None]);
    }
}
