//! What becomes of a network's answers when its inputs are changed: noise, missing values, shuffled features.
//!
//! Invariants: all changes come from fixed seeds; every figure is of the same rows as the unchanged one it
//! is compared with; only inputs of the network are changed.

use std::ops::Range;

use purkinje_kernels::rng::Key;
use purkinje_strategies::features::NAMES;

use super::{
    metrics::{Metric, Tally},
    rows::Rows,
    streams,
};
use crate::learning::network::Network;

/// Standard deviations of the noise that is added, in those of the feature.
pub const NOISE: [f64; 5] = [0.0, 0.1, 0.25, 0.5, 1.0];
/// Shares of values that go missing.
pub const MISSING: [f64; 5] = [0.0, 0.05, 0.1, 0.25, 0.5];
/// Shuffles of each feature.
pub const SHUFFLES: usize = 3;
const SEED: u64 = 0x0070_6572;

/// The figures at one level of disturbance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// As in [`NOISE`] or [`MISSING`].
    pub amount: f64,
    /// Share of hits.
    pub accuracy: f64,
    /// Mean log loss, nat.
    pub log_loss: f64,
    /// Expected calibration error.
    pub calibration_error: f64,
}

/// What a feature is worth to the network.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Importance {
    /// The feature.
    pub name: &'static str,
    /// Rise of the log loss when its values are shuffled among the rows, nat: mean of [`SHUFFLES`].
    pub loss_rise: f64,
    /// Standard deviation of the shuffles, nat.
    pub loss_rise_sd: f64,
}

/// Rows on which disturbed answers are scored, and those before them from which streams have memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Lead-in and scored rows.
    pub run: Range<usize>,
    /// Scored rows.
    pub scored: Range<usize>,
}

impl Part {
    /// The latest rows of a span, at most so many, with a lead-in of two windows.
    #[must_use]
    pub fn latest(rows: &Rows, tested: &Range<usize>, max_rows: usize, steps: usize) -> Self {
        let begin = tested.end - tested.len().min(max_rows);
        let lead_ns = 2 * steps as i64 * rows.data().cycle_ms as i64 * 1_000_000;
        let from_ns = rows.rows()[begin].ts_cycle_ns.saturating_sub(lead_ns);
        let run = rows.rows().partition_point(|row| row.ts_cycle_ns < from_ns);
        Self { run: run..tested.end, scored: begin..tested.end }
    }
}

/// A network and the rows that it is disturbed on.
pub struct Disturbed<'a> {
    /// The network; its streams begin anew with each pass.
    pub network: &'a mut Network,
    /// All rows.
    pub rows: &'a Rows,
    /// Those of them that matter.
    pub part: &'a Part,
    /// Told how many passes over the rows are done, and of how many.
    pub progress: &'a mut dyn FnMut(u64, u64),
    /// Passes done.
    pub passes: u64,
}

impl Disturbed<'_> {
    fn pass(&mut self, alter: impl FnMut(usize, &mut [f32])) -> Tally {
        let answers = streams::forecasts(self.network, self.rows, self.part.run.clone(), alter);
        self.passes += 1;
        let all = NOISE.len() + MISSING.len() + 1 + SHUFFLES * self.rows.inputs().len();
        (self.progress)(self.passes, all as u64);
        let lead = self.part.scored.start - self.part.run.start;
        let mut tally = Tally::default();
        for (row, p_up) in self.part.scored.clone().zip(&answers[lead..]) {
            if let Some(up) = self.rows.rose(row) {
                tally.record(*p_up, up);
            }
        }
        tally
    }

    /// Answers under Gaussian noise, in units of each feature's standard deviation.
    pub fn noise(&mut self, deviations: &[f32]) -> Vec<Level> {
        let inputs = deviations.len();
        let key = Key::new(SEED).fork(1);
        let level = |amount: f64| {
            let tally = self.pass(|row, shown| {
                for (input, deviation) in deviations.iter().enumerate().filter(|_| amount > 0.0) {
                    let noise = key.normal((row * inputs + input) as u64);
                    shown[input] += amount as f32 * deviation * noise;
                }
            });
            Level::of(amount, &tally)
        };
        NOISE.map(level).to_vec()
    }

    /// Answers when values are 0, which is what the daemon shows for a feature that is hidden.
    pub fn missing(&mut self) -> Vec<Level> {
        let inputs = self.rows.inputs().len();
        let key = Key::new(SEED).fork(2);
        let level = |share: f64| {
            let tally = self.pass(|row, shown| {
                for (input, value) in shown.iter_mut().enumerate() {
                    if f64::from(key.uniform((row * inputs + input) as u64)) < share {
                        *value = 0.0;
                    }
                }
            });
            Level::of(share, &tally)
        };
        MISSING.map(level).to_vec()
    }

    /// What each input is worth (permutation importance: Breiman, Machine Learning 45, 2001), from the
    /// most to the least.
    pub fn importance(&mut self) -> Vec<Importance> {
        let unchanged = self.pass(|_, _| {}).metric(Metric::LogLoss);
        let run = self.part.run.clone();
        let mut found = Vec::new();
        for (input, place) in self.rows.inputs().iter().enumerate() {
            let rises: [f64; SHUFFLES] = std::array::from_fn(|shuffle| {
                let key = Key::new(SEED).fork(3).fork((input * SHUFFLES + shuffle) as u64);
                let order = shuffled(run.clone(), key);
                let rows = self.rows;
                let tally = self.pass(|row, shown| {
                    shown[input] = rows.features_of(order[row - run.start])[input];
                });
                tally.metric(Metric::LogLoss) - unchanged
            });
            let mean = rises.iter().sum::<f64>() / SHUFFLES as f64;
            let squares: f64 = rises.iter().map(|rise| (rise - mean).powi(2)).sum();
            let loss_rise_sd = (squares / (SHUFFLES - 1) as f64).sqrt();
            found.push(Importance { name: NAMES[*place], loss_rise: mean, loss_rise_sd });
        }
        found.sort_by(|a, b| b.loss_rise.total_cmp(&a.loss_rise));
        found
    }
}

impl Level {
    fn of(amount: f64, tally: &Tally) -> Self {
        Self {
            amount,
            accuracy: tally.metric(Metric::Accuracy),
            log_loss: tally.metric(Metric::LogLoss),
            calibration_error: tally.metric(Metric::CalibrationError),
        }
    }
}

/// The rows in random order (Fisher and Yates, 1938).
fn shuffled(rows: Range<usize>, key: Key) -> Vec<usize> {
    let mut order: Vec<usize> = rows.collect();
    for last in (1..order.len()).rev() {
        order.swap(last, key.below(last as u64, last as u32 + 1) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::planted;
    use super::*;

    #[test]
    fn a_shuffle_is_a_permutation_of_its_rows_and_of_its_key() {
        let order = shuffled(100..1_100, Key::new(1));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(100..1_100));
        let stayed = (100..1_100).zip(&order).filter(|(place, row)| place == *row).count();
        assert!(stayed < 10, "{stayed} of 1000 stayed where they were");
        assert_ne!(order, shuffled(100..1_100, Key::new(2)));
        assert_eq!(order, shuffled(100..1_100, Key::new(1)));
    }

    #[test]
    fn the_latest_rows_are_scored_after_a_lead_in_of_two_windows() {
        // Two rows a cycle: a lead-in of 20 cycles is 40 rows.
        let rows = planted(500, 1.0, 1);
        let part = Part::latest(&rows, &(600..1_000), 100, 10);
        assert_eq!(part, Part { run: 860..1_000, scored: 900..1_000 });
        let all = Part::latest(&rows, &(10..1_000), usize::MAX, 10);
        assert_eq!(all, Part { run: 0..1_000, scored: 10..1_000 });
    }
}
