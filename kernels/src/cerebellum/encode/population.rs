//! Population code: each feature drives a row of fibres with Gaussian receptive fields.
//!
//! A fibre of centre c fires at background + peak exp(-(x - c)² / 2 sd²). Published models draw
//! Poisson spikes (as Bogdan et al., Front. Cell. Neurosci. 15, 2021, for the
//! vestibulo-ocular reflex); regular ones, from a random phase, count a rate over a cycle to within a
//! spike instead of its square root. Centres lie evenly from `low` to `high`. Invariants: a value is
//! held within one standard deviation of the span; an absent feature leaves its fibres at the
//! background.

use serde::{Deserialize, Serialize};

use super::{Cycle, CycleSpikes, Encode, EncodeError, range, validate};
use crate::exp;
use crate::rng::Key;

/// When a fibre of known rate fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Firing {
    /// At even intervals from a phase that is drawn every cycle.
    Regular,
    /// In every step with the same probability.
    Poisson,
}

/// Settings of a population code.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PopulationCode {
    /// Fibres a feature.
    pub fibres_per_feature: usize,
    /// Centre of the first field.
    pub low: f32,
    /// Centre of the last field.
    pub high: f32,
    /// Standard deviation of a field, in the unit of the value.
    pub sd: f32,
    /// Rate at the centre above the background, Hz.
    pub peak_hz: f32,
    /// Rate far from the field, Hz; with the peak at most one spike a step.
    pub background_hz: f32,
    /// When fibres fire.
    pub firing: Firing,
}

impl Default for PopulationCode {
    fn default() -> Self {
        Self {
            fibres_per_feature: 10,
            low: -2.5,
            high: 2.5,
            sd: 0.5,
            peak_hz: 100.0,
            background_hz: 4.0,
            firing: Firing::Regular,
        }
    }
}

/// Fires the fibres of a [`PopulationCode`].
#[derive(Clone, Debug)]
pub struct PopulationEncoder {
    code: PopulationCode,
    centres: Vec<f32>,
    features: usize,
    cycle: Cycle,
    absent: u64,
}

impl PopulationEncoder {
    /// An encoder of this many features.
    ///
    /// # Errors
    /// [`EncodeError`] names the setting, its value and what was expected.
    pub fn new(code: PopulationCode, features: usize, cycle: Cycle) -> Result<Self, EncodeError> {
        let n = code.fibres_per_feature;
        validate(features, n, [code.low, code.high], cycle)?;
        range("sd", code.sd, 1e-6, 1e6)?;
        cycle.rate("background_hz", code.background_hz, 0.0)?;
        cycle.rate("peak_hz", code.peak_hz, 0.0)?;
        cycle.rate("peak_hz + background_hz", code.peak_hz + code.background_hz, 0.0)?;
        // A single field lies in the middle.
        let (first, apart) = match n {
            1 => (0.5 * (code.low + code.high), 0.0),
            _ => (code.low, (code.high - code.low) / (n - 1) as f32),
        };
        let centres = (0..n).map(|k| first + k as f32 * apart).collect();
        Ok(Self { code, centres, features, cycle, absent: 0 })
    }

    /// The centres of a feature's fields.
    pub(in crate::cerebellum) fn centres(&self) -> &[f32] {
        &self.centres
    }

    /// Spikes a step in the background and, above it, at a centre.
    pub(in crate::cerebellum) fn rates_a_step(&self) -> [f32; 2] {
        [self.code.background_hz, self.code.peak_hz].map(|hz| self.cycle.a_step(hz))
    }

    /// Counts features that are absent from what another than this encoder encodes.
    pub(in crate::cerebellum) fn note_absent(&mut self, features: &[f32]) {
        self.absent += features.iter().filter(|x| x.is_nan()).count() as u64;
    }
}

impl Encode for PopulationEncoder {
    fn features(&self) -> usize {
        self.features
    }

    fn fibres(&self) -> usize {
        self.features * self.centres.len()
    }

    fn encode(&mut self, features: &[f32], key: Key, out: &mut CycleSpikes) {
        out.begin(features.len(), self.features, self.fibres(), self.cycle.steps);
        let c = &self.code;
        let [background, peak] = self.rates_a_step();
        let mut fibre = 0;
        for &x in features {
            let here = (!x.is_nan()).then(|| x.clamp(c.low - c.sd, c.high + c.sd));
            self.absent += u64::from(here.is_none());
            for &centre in &self.centres {
                let field =
                    here.map_or(0.0, |x| exp::negative(-0.5 * ((x - centre) / c.sd).powi(2)));
                let p = background + peak * field;
                match c.firing {
                    Firing::Poisson => out.fire_at_random(fibre, p, key),
                    Firing::Regular => {
                        let interval = p.recip().max(1.0);
                        let phase = key.uniform(u64::from(fibre));
                        out.fire_regularly(fibre, interval * phase, interval);
                    }
                }
                fibre += 1;
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
    fn a_fibre_fires_at_the_rate_its_field_gives() {
        for firing in [Firing::Regular, Firing::Poisson] {
            let code = PopulationCode { firing, ..PopulationCode::default() };
            let mut encoder = PopulationEncoder::new(code, 2, CYCLE).unwrap();
            let x = [0.4, -1.9];
            let rates = rates_hz(&mut encoder, &x, 2000);
            for (k, rate) in rates.into_iter().enumerate() {
                let d = x[k / 10] - ((k % 10) as f32 * 5.0 / 9.0 - 2.5);
                let expected = 4.0 + 100.0 * (-d * d / 0.5).exp();
                // 200 s: five deviations of a Poisson count.
                let allowed = 5.0 * (expected / 200.0).sqrt();
                assert!((rate - expected).abs() < allowed, "{firing:?} {k}: {rate}, {expected}");
            }
        }
    }

    #[test]
    fn regular_firing_counts_a_rate_to_within_a_spike() {
        let mut encoder = PopulationEncoder::new(PopulationCode::default(), 1, CYCLE).unwrap();
        let mut out = CycleSpikes::new(10, CYCLE.steps);
        for cycle in 0..200 {
            encoder.encode(&[-2.5], Key::new(3).fork(cycle), &mut out);
            let first = (0..100).filter(|&step| out.at(step).contains(&0)).count();
            assert!((10..=11).contains(&first), "{first} spikes at 104 Hz in 100 ms");
        }
    }
}
