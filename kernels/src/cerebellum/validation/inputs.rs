//! What a network is given while it is watched: Poisson spikes of mossy and climbing fibres.
//!
//! Invariants: each fibre fires independently in every step, at a rate of its own that does not
//! change; the draws follow from the key and the step alone.

use serde::Serialize;

use crate::cerebellum::description::{Cell, Description, Model};
use crate::rng::Key;

/// Rates of a network's inputs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Inputs {
    /// Least and greatest rate of a mossy fibre, Hz; each has one of its own, uniform between.
    pub mossy_hz: [f32; 2],
    /// Rate of every input of the olive or, where the climbing fibres themselves are the input, of
    /// each of them, Hz.
    pub climbing_hz: f32,
}

impl Inputs {
    /// The background of the named sets, and 4 Hz (Geminiani et al., PLOS Comput. Biol.
    /// 20:e1011277, 2024) for all others.
    pub fn background(name: &str) -> Self {
        let mossy_hz = match name {
            // A fibre stands for four of 5 Hz (Yamazaki and Nagao, PLoS ONE 7:e33319, 2012).
            "okr-2012" => [20.0; 2],
            // Casali et al., Front. Neuroinform. 13:37 (2019).
            "scaffold" => [1.0; 2],
            "benchmark-s" | "benchmark-m" | "benchmark-l" => [20.0, 40.0],
            _ => [4.0; 2],
        };
        Self { mossy_hz, climbing_hz: 1.0 }
    }

    /// Mean rate of the mossy fibres, Hz.
    pub fn mean_mossy_hz(&self) -> f64 {
        self.mossy_hz.iter().map(|&hz| 0.5 * f64::from(hz)).sum()
    }
}

/// One input population's spikes.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Its place in the description.
    pub(super) population: usize,
    /// Spikes a step by the fastest fibre there can be.
    greatest: f32,
    /// Rate of each fibre as a share of that.
    share: Vec<f32>,
    key: Key,
}

impl Source {
    /// The sources of `description`: those of its mossy fibres, climbing fibres and inputs of the
    /// olive that are given from outside. Others stay silent.
    pub(super) fn all(description: &Description, inputs: &Inputs, key: Key) -> Vec<Self> {
        let places = description.populations.iter().enumerate();
        let outside = places.filter(|(_, p)| p.model == Model::Input);
        let source = |(population, p): (usize, &crate::cerebellum::description::Population)| {
            let [low, high] = match p.cell {
                Cell::Mossy => inputs.mossy_hz,
                Cell::Olive | Cell::PreOlive => [inputs.climbing_hz; 2],
                _ => return None,
            };
            let key = key.fork(population as u64);
            let rate = |k: usize| low + (high - low) * key.fork(0).uniform(k as u64);
            Some(Self {
                population,
                greatest: (high * description.step_ms * 1e-3).min(1.0),
                share: (0..p.count)
                    .map(|k| if high > 0.0 { rate(k) / high } else { 0.0 })
                    .collect(),
                key: key.fork(1),
            })
        };
        outside.filter_map(source).collect()
    }

    /// Number of fibres.
    pub(super) fn fibres(&self) -> usize {
        self.share.len()
    }

    /// Puts the fibres that fire in `step`, ascending, in place of what `out` held.
    pub(super) fn draw(&self, step: u64, out: &mut Vec<u32>) {
        out.clear();
        if self.greatest <= 0.0 {
            return;
        }
        // From spike to spike of fibres at the greatest rate, by the geometric distribution of the
        // gaps, each kept with the share that its fibre's rate is of the greatest.
        let key = self.key.fork(step);
        let log_miss = f64::from(-self.greatest).ln_1p();
        let mut fibre = 0.0_f64;
        for draw in 0.. {
            let uniform = (f64::from(key.uniform(2 * draw)) + 1e-9).min(1.0);
            fibre += (uniform.ln() / log_miss).floor();
            if fibre >= self.share.len() as f64 {
                return;
            }
            let at = fibre as usize;
            if key.uniform(2 * draw + 1) < self.share[at] {
                out.push(at as u32);
            }
            fibre += 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cerebellum::description::preset;

    #[test]
    fn fibres_fire_at_rates_uniform_between_the_bounds() {
        let network = preset("benchmark-s").unwrap();
        let inputs = Inputs { mossy_hz: [10.0, 50.0], climbing_hz: 1.0 };
        let sources = Source::all(&network, &inputs, Key::new(1));
        assert_eq!(sources.len(), 2);
        let (mossy, steps) = (&sources[0], 50_000);
        let mut counts = vec![0.0; mossy.fibres()];
        let mut spikes = Vec::new();
        for step in 0..steps {
            mossy.draw(step, &mut spikes);
            assert!(spikes.is_sorted_by(|a, b| a < b));
            for &fibre in &spikes {
                counts[fibre as usize] += 1e3 / steps as f64;
            }
        }
        let mean = counts.iter().sum::<f64>() / counts.len() as f64;
        let (low, high) =
            counts.iter().fold((f64::MAX, 0.0_f64), |(l, h), &x| (l.min(x), h.max(x)));
        assert!((mean - 30.0).abs() < 3.0, "{mean}");
        assert!(low > 6.0 && low < 16.0 && high > 44.0 && high < 54.0, "{low} to {high}");
    }

    #[test]
    fn fibres_without_a_rate_are_silent() {
        let network = preset("benchmark-s").unwrap();
        let inputs = Inputs { mossy_hz: [0.0; 2], climbing_hz: 0.0 };
        let mut spikes = vec![1];
        for source in Source::all(&network, &inputs, Key::new(1)) {
            source.draw(0, &mut spikes);
            assert!(spikes.is_empty());
        }
    }
}
