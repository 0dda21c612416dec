//! When orders arrive: a self-exciting (Hawkes) process with bursts.
//!
//! Rate = base + excitation; every order raises the excitation by a random mark, which then decays
//! exponentially (Hawkes, Biometrika 58, 1971). On average an order causes [`BRANCHING`] further
//! ones, so the process is close to critical; the marks have a Pareto tail, so that now and then
//! one order sets off hundreds. Waiting times are drawn exactly by the decomposition of Dassios
//! and Zhao ("Exact simulation of Hawkes process with exponentially decaying intensity",
//! Electron. Commun. Probab. 18, 2013).
//!
//! Invariants: arrival times are independent of the hidden state that drives the price; the rate
//! never exceeds [`MAX_EXCITATION_HZ`] plus the base rate.

use super::rng::Rng;

/// Mean number of orders that one order causes.
const BRANCHING: f64 = 0.87;

/// Decay of the excitation, per second.
const DECAY_HZ: f64 = 30.0;

/// Exponent of the Pareto tail of the marks: finite mean, infinite variance but for the cut.
const MARK_TAIL: f64 = 1.35;

/// Largest mark relative to the smallest.
const MARK_CUT: f64 = 2_000.0;

/// Bound of the excitation, orders per second: an avalanche cannot run away.
const MAX_EXCITATION_HZ: f64 = 12_000.0;

/// Orders per second that nothing caused, at activity 1.
const BASE_HZ: f64 = 25.0;

/// Arrival process of one instrument.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    base_hz: f64,
    excitation_hz: f64,
    at_ns: i64,
    /// Scales Pareto marks to a mean of one.
    mark_scale: f64,
}

impl Flow {
    /// A quiet process at that time; activity scales the base rate and with it the mean rate.
    pub(crate) fn new(activity: f64, at_ns: i64) -> Self {
        let cut = |power: f64| 1.0 - MARK_CUT.powf(-power);
        let mean = MARK_TAIL / (MARK_TAIL - 1.0) * cut(MARK_TAIL - 1.0) / cut(MARK_TAIL);
        Self { base_hz: BASE_HZ * activity, excitation_hz: 0.0, at_ns, mark_scale: 1.0 / mean }
    }

    /// The base rate changes; the excitation decays to that time.
    pub(crate) fn turn(&mut self, at_ns: i64, activity: f64) {
        self.base_hz = BASE_HZ * activity;
        self.decay_to(at_ns);
    }

    fn decay_to(&mut self, at_ns: i64) {
        let elapsed_s = (at_ns - self.at_ns) as f64 * 1e-9;
        self.excitation_hz *= (-DECAY_HZ * elapsed_s).exp();
        self.at_ns = at_ns;
    }

    /// An order arrived: the excitation decays to its time and rises by a mark.
    pub(crate) fn excite(&mut self, at_ns: i64, rng: &mut Rng) {
        // Inverse of the distribution function of the Pareto law cut at MARK_CUT.
        let mass = 1.0 - MARK_CUT.powf(-MARK_TAIL);
        let mark = (1.0 - mass * rng.uniform()).powf(-1.0 / MARK_TAIL) * self.mark_scale;
        self.decay_to(at_ns);
        self.excitation_hz += BRANCHING * DECAY_HZ * mark;
        self.excitation_hz = self.excitation_hz.min(MAX_EXCITATION_HZ);
    }

    /// Draws when the next order arrives if nothing excites the process before.
    pub(crate) fn next_ns(&self, rng: &mut Rng) -> i64 {
        let base_s = rng.waiting_s(self.base_hz);
        // The excitation alone has a finite total, so it may never fire.
        let left = 1.0 + DECAY_HZ * rng.uniform().ln() / self.excitation_hz.max(1e-9);
        let excited_s = if left > 0.0 { -left.ln() / DECAY_HZ } else { f64::INFINITY };
        self.at_ns + (base_s.min(excited_s) * 1e9) as i64 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(activity: f64, seconds: i64) -> Vec<i64> {
        let (mut flow, mut rng) = (Flow::new(activity, 0), Rng::new(11, 0));
        let mut times = Vec::new();
        loop {
            let at_ns = flow.next_ns(&mut rng);
            if at_ns > seconds * 1_000_000_000 {
                return times;
            }
            times.push(at_ns);
            flow.excite(at_ns, &mut rng);
        }
    }

    #[test]
    fn the_mean_rate_is_the_base_rate_over_one_minus_the_branching_ratio() {
        for activity in [0.3, 1.0] {
            let rate_hz = arrivals(activity, 2_000).len() as f64 / 2_000.0;
            let expected_hz = BASE_HZ * activity / (1.0 - BRANCHING);
            println!("activity {activity}: {rate_hz:.1} orders/s, expected {expected_hz:.1}");
            // The bound of the excitation cuts a little off the largest bursts.
            assert!((rate_hz / expected_hz - 1.0).abs() < 0.15);
        }
    }

    #[test]
    fn arrivals_come_in_bursts_that_a_poisson_process_does_not_have() {
        let times = arrivals(1.0, 500);
        let mut windows = vec![0.0_f64; 5_000];
        for t in &times {
            windows[((t - 1) / 100_000_000) as usize] += 1.0;
        }
        let mean = windows.iter().sum::<f64>() / windows.len() as f64;
        let variance =
            windows.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / windows.len() as f64;
        println!("variance over mean of 100 ms counts: {:.1}", variance / mean);
        assert!(variance > 20.0 * mean, "a Poisson process would have {mean}, found {variance}");
    }

    #[test]
    fn times_strictly_increase() {
        assert!(arrivals(1.0, 100).windows(2).all(|pair| pair[0] < pair[1]));
    }
}
