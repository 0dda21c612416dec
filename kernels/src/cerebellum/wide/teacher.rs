//! What teaches a wide network: the rates of the climbing fibres in a cycle, and the potentiation that balances them.
//!
//! A signed error is split between the zones: an output that was too low fires the up zone's climbing fibres, whose
//! Purkinje cells then hold the up nuclei less (Fujita, Biol. Cybern. 45, 1982; Luque et al., Int. J. Neural Syst.
//! 26, 2016). A climbing fibre fires at random, at `climbing_rest_hz` without and at `climbing_peak_hz` with an error of
//! one, and is refractory, so that mean rates stay within the 10 Hz that olivary cells reach. Potentiation follows the
//! mean rate of both zones: weights stay where they are on the whole and only what differs between the zones is
//! learned. Invariants: the rates of a cycle depend on the error that was given before it and on no other; without one
//! both zones rest.

use super::config::WideConfig;
use super::model::Model;

/// Share of the distance by which the balance follows the climbing fibres in each cycle.
const BALANCE_RATE: f32 = 1.0 / 512.0;

/// What a cycle is taught.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lesson {
    /// Probabilities of a climbing-fibre spike a step once it is not refractory, of the up and of the down zone.
    pub(super) climbing: [f32; 2],
    /// What a parallel-fibre spike adds to a weight, in 65,536ths of a unit.
    pub(super) potentiation: u32,
}

#[derive(Clone, Debug)]
pub(super) struct Teacher {
    rest_hz: f32,
    peak_hz: f32,
    step_s: f32,
    refractory: u32,
    error: f32,
    /// Running mean of the rates of both zones, Hz.
    balance_hz: f32,
}

impl Teacher {
    pub(super) fn new(config: &WideConfig, model: &Model) -> Self {
        Self {
            rest_hz: config.climbing_rest_hz,
            peak_hz: config.climbing_peak_hz,
            step_s: config.step_ms * 1e-3,
            refractory: model.refractory,
            error: 0.0,
            balance_hz: config.climbing_rest_hz,
        }
    }

    /// Has the next cycle taught an error: target less output, held within -1 and 1. One that is no number is none.
    pub(super) fn teach(&mut self, error: f32) {
        self.error = if error.is_nan() { 0.0 } else { error.clamp(-1.0, 1.0) };
    }

    /// The next cycle's.
    pub(super) fn next(&mut self, model: &Model) -> Lesson {
        let rate = |error: f32| self.rest_hz + (self.peak_hz - self.rest_hz) * error.max(0.0);
        let rates = [rate(self.error), rate(-self.error)];
        let potentiation = model.rule.balancing(self.balance_hz * self.step_s);
        let climbing = rates.map(|hz| self.probability(hz));
        self.balance_hz += BALANCE_RATE * (0.5 * (rates[0] + rates[1]) - self.balance_hz);
        self.error = 0.0;
        Lesson { climbing, potentiation }
    }

    /// The probability a step at which the mean interval is that of the rate, refractory period included.
    fn probability(&self, hz: f32) -> f32 {
        let interval = 1.0 / (hz * self.step_s);
        let waiting = interval - (self.refractory - 1) as f32;
        (1.0 / waiting).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    #[test]
    fn a_refractory_fibre_of_that_probability_fires_at_the_rate_asked_for() {
        let config = WideConfig::tiny();
        let teacher = Teacher::new(&config, &Model::new(&config));
        for hz in [0.0, 1.0, 4.0, 8.0, 12.5] {
            let p = teacher.probability(hz);
            let (mut spikes, mut last, steps) = (0_u32, 0_u32, 1_000_000_u32);
            for step in 80..steps {
                if step - last >= 80 && Key::new(1).uniform(step.into()) < p {
                    (spikes, last) = (spikes + 1, step);
                }
            }
            let expected = hz * 1e-3 * steps as f32;
            let allowed = 5.0 * expected.sqrt() + 1.0;
            assert!((spikes as f32 - expected).abs() < allowed, "{hz} Hz: {spikes} of {expected}");
        }
    }

    #[test]
    fn an_error_fires_the_zone_of_its_sign_in_the_next_cycle_alone() {
        let config = WideConfig::tiny();
        let model = Model::new(&config);
        let mut teacher = Teacher::new(&config, &model);
        let rest = teacher.next(&model);
        assert_eq!(rest.climbing[0], rest.climbing[1]);
        teacher.teach(0.5);
        let up = teacher.next(&model);
        assert!(up.climbing[0] > 3.0 * rest.climbing[0]);
        assert_eq!(up.climbing[1], rest.climbing[1]);
        assert_eq!(teacher.next(&model).climbing, rest.climbing);
        teacher.teach(f32::NEG_INFINITY);
        let down = teacher.next(&model);
        assert_eq!(down.climbing[0], rest.climbing[0]);
        assert_eq!(down.climbing[1], teacher.probability(8.0));
        teacher.teach(f32::NAN);
        assert_eq!(teacher.next(&model).climbing, rest.climbing);
        // Two cycles of teaching have raised the balance.
        assert!(teacher.next(&model).potentiation > rest.potentiation);
    }
}
