//! Rules that learn nothing: weighted mean, weighted vote, median.
//!
//! Mean (the linear opinion pool, Stone 1961): the log loss is convex, so by Jensen's inequality
//! each forecast loses at most the weighted mean of its members' losses. Vote: the forecast is on
//! the wrong side of one half only where at least half of the weight is, so by Markov's inequality
//! it errs at most twice as often as the members do on weighted average. Median: its breakdown point
//! is one half (Hampel 1971): while fewer than half of the awake members are arbitrary, it lies
//! within the range of the others.
//!
//! Invariant: weights of the awake sum to 1; where the given weights of all who are awake are zero,
//! these count alike.

use super::experts::bits;
use super::{Forecast, MAX_MEMBERS};

/// Normalises `given` over the awake members.
fn deal(given: &[f64; MAX_MEMBERS], forecast: &mut Forecast) {
    let total: f64 = bits(forecast.awake).map(|k| given[k]).sum();
    let alike = 1.0 / f64::from(forecast.awake.count_ones());
    for k in bits(forecast.awake) {
        forecast.weights[k] = if total > 0.0 { given[k] / total } else { alike };
    }
    forecast.base_rate_weight = 0.0;
}

/// Weighted mean of the awake members' probabilities.
pub(super) fn mean(given: &[f64; MAX_MEMBERS], forecast: &mut Forecast) {
    deal(given, forecast);
    let weighed = |k: usize| forecast.weights[k] * forecast.members[k];
    forecast.p_up = bits(forecast.awake).map(weighed).sum();
}

/// Weighted share of the awake members above one half, clipped; one at one half counts half.
pub(super) fn vote(given: &[f64; MAX_MEMBERS], clip: f64, forecast: &mut Forecast) {
    deal(given, forecast);
    let mut lead = 0.0;
    for k in bits(forecast.awake) {
        let lean = forecast.members[k] - 0.5;
        lead += forecast.weights[k] * if lean == 0.0 { 0.0 } else { lean.signum() };
    }
    forecast.p_up = (0.5 + 0.5 * lead).clamp(clip, 1.0 - clip);
}

/// Median of the awake members' probabilities, the mean of the two middle ones where their number
/// is even. All the weight is on those who said a middle value, alike on those who said the same.
pub(super) fn median(forecast: &mut Forecast) {
    let mut sorted = [f64::NAN; MAX_MEMBERS];
    let mut awake = 0;
    for k in bits(forecast.awake) {
        sorted[awake] = forecast.members[k];
        awake += 1;
    }
    sorted[..awake].sort_unstable_by(f64::total_cmp);
    let middles = [sorted[(awake - 1) / 2], sorted[awake / 2]];
    forecast.base_rate_weight = 0.0;
    forecast.p_up = 0.5 * (middles[0] + middles[1]);
    for middle in middles {
        let said = |&k: &usize| forecast.members[k] == middle;
        let each = 0.5 / bits(forecast.awake).filter(said).count() as f64;
        for k in bits(forecast.awake).filter(|&k| forecast.members[k] == middle) {
            forecast.weights[k] += each;
        }
    }
}
