//! Delta code (send on delta): each feature has an ON and an OFF fibre, which fire at every threshold
//! the value has crossed upwards or downwards since the last cycle (Lichtsteiner, Posch and Delbruck,
//! IEEE J. Solid-State Circuits 43, 2008).
//!
//! Thresholds lie `threshold` apart from a reference, which moves with them; the value is taken to
//! have changed linearly over the cycle, so crossing k of a change d comes at k · threshold / |d| of
//! it. Invariants: the reference lies within one threshold of the last value; the first value of a
//! feature sets it and gives no spike; an absent or infinite value gives none and leaves it; crossings
//! beyond one a step are dropped and counted. State belongs to one network.

use serde::{Deserialize, Serialize};

use super::{Cycle, CycleSpikes, Encode, EncodeError, range, validate};
use crate::rng::Key;

/// Settings of a delta code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeltaCode {
    /// Change that gives a spike, in the unit of the value.
    pub threshold: f32,
}

impl Default for DeltaCode {
    fn default() -> Self {
        Self { threshold: 0.1 }
    }
}

/// Tracks the changes of a [`DeltaCode`].
#[derive(Clone, Debug)]
pub struct DeltaEncoder {
    code: DeltaCode,
    /// By feature; none before the first value.
    reference: Vec<Option<f32>>,
    cycle: Cycle,
    absent: u64,
    dropped: u64,
}

impl DeltaEncoder {
    /// An encoder of this many features, which has seen none.
    ///
    /// # Errors
    /// [`EncodeError`] names the setting, its value and what was expected.
    pub fn new(code: DeltaCode, features: usize, cycle: Cycle) -> Result<Self, EncodeError> {
        validate(features, 2, [0.0, 1.0], cycle)?;
        range("threshold", code.threshold, 1e-6, 1e6)?;
        Ok(Self { code, reference: vec![None; features], cycle, absent: 0, dropped: 0 })
    }

    /// Crossings that found no step of their own.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl Encode for DeltaEncoder {
    fn features(&self) -> usize {
        self.reference.len()
    }

    fn fibres(&self) -> usize {
        2 * self.reference.len()
    }

    fn encode(&mut self, features: &[f32], _: Key, out: &mut CycleSpikes) {
        let steps = self.cycle.steps;
        out.begin(features.len(), self.reference.len(), self.fibres(), steps);
        let threshold = self.code.threshold;
        for (f, (&x, reference)) in features.iter().zip(&mut self.reference).enumerate() {
            if !x.is_finite() {
                self.absent += 1;
                continue;
            }
            let Some(from) = *reference else {
                *reference = Some(x);
                continue;
            };
            let change = (x - from).abs();
            let crossings = (change / threshold).floor();
            if crossings < 1.0 {
                continue;
            }
            *reference = Some(if crossings < 1e6 {
                from + (crossings * threshold).copysign(x - from)
            } else {
                x
            });
            let fibre = (2 * f + usize::from(x < from)) as u32;
            let wanted = crossings as u64;
            let given = wanted.min(steps as u64);
            self.dropped += wanted - given;
            // Crossings fall into steps of their own: where they crowd, they fill the last ones.
            let mut next = 0;
            for k in 1..=given {
                let at = (k as f32 * threshold / change * steps as f32).ceil() as usize;
                let latest = steps - (given - k) as usize - 1;
                let step = at.saturating_sub(1).clamp(next, latest);
                out.push(step, fibre);
                next = step + 1;
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

    /// The steps in which the ON and the OFF fibre fire, by cycle.
    fn spikes(threshold: f32, values: &[f32]) -> (Vec<[Vec<usize>; 2]>, DeltaEncoder) {
        let mut encoder = DeltaEncoder::new(DeltaCode { threshold }, 1, CYCLE).unwrap();
        let mut out = CycleSpikes::new(2, CYCLE.steps);
        let cycles = values.iter().map(|&x| {
            encoder.encode(&[x], Key::new(1), &mut out);
            [0, 1].map(|f| (0..100).filter(|&step| out.at(step).contains(&f)).collect())
        });
        let cycles = cycles.collect();
        (cycles, encoder)
    }

    #[test]
    fn a_spike_marks_every_threshold_crossed_since_the_last_value() {
        let (cycles, _) = spikes(0.5, &[10.0, 11.0, 11.25, 11.5, 10.0, 10.0]);
        assert_eq!(cycles[0], [[0_usize; 0]; 2]);
        assert_eq!(cycles[1], [vec![49, 99], vec![]]);
        // Half a threshold, then the other half.
        assert_eq!(cycles[2], [[0_usize; 0]; 2]);
        assert_eq!(cycles[3], [vec![99], vec![]]);
        assert_eq!(cycles[4], [vec![], vec![33, 66, 99]]);
        assert_eq!(cycles[5], [[0_usize; 0]; 2]);
    }

    #[test]
    fn an_absent_value_leaves_the_reference() {
        let (cycles, encoder) = spikes(0.5, &[1.0, f32::NAN, f32::INFINITY, 1.5]);
        assert_eq!(cycles[1], [[0_usize; 0]; 2]);
        assert_eq!(cycles[3], [vec![99], vec![]]);
        assert_eq!(encoder.absent(), 2);
    }

    #[test]
    fn more_crossings_than_steps_fill_the_cycle_and_are_counted() {
        let (cycles, encoder) = spikes(0.25, &[0.0, 50.0, 50.25, 1e30, 1e30]);
        assert_eq!(cycles[1][0], (0..100).collect::<Vec<_>>());
        assert_eq!(cycles[2], [vec![99], vec![]]);
        assert_eq!(cycles[3][0].len(), 100);
        assert_eq!(cycles[4], [[0_usize; 0]; 2]);
        assert!(encoder.dropped() >= 100);
    }
}
