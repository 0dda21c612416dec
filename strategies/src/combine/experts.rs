//! The experts that adaptive rules weigh: every member, the uniform average and the base rate.
//!
//! Experts are bits of a mask and slots of a fixed array: no allocation.

use super::{Forecast, MAX_MEMBERS};
use crate::calibrate::logit;

/// Slots for experts: every member, the uniform average and the base rate.
pub(super) const MAX_EXPERTS: usize = MAX_MEMBERS + 2;
/// Slot of the uniform average of the awake members.
pub(super) const AVERAGE: usize = MAX_MEMBERS;
/// Slot of the base rate.
pub(super) const BASE_RATE: usize = MAX_MEMBERS + 1;

/// Indices of the set bits, lowest first.
pub(super) fn bits(mask: u32) -> impl Iterator<Item = usize> {
    (0..MAX_EXPERTS).filter(move |k| mask >> k & 1 == 1)
}

/// The awake members, the average and the base rate.
pub(super) fn expert_mask(awake: u32) -> u32 {
    awake | 1 << AVERAGE | 1 << BASE_RATE
}

/// Log odds of every expert; slots of sleeping members are 0 and never read.
pub(super) fn expert_logits(forecast: &Forecast) -> [f64; MAX_EXPERTS] {
    let mut logits = [0.0; MAX_EXPERTS];
    let mut sum = 0.0;
    for k in bits(forecast.awake) {
        logits[k] = logit(forecast.members[k]);
        sum += logits[k];
    }
    logits[AVERAGE] = sum / f64::from(forecast.awake.count_ones());
    logits[BASE_RATE] = logit(forecast.base_rate);
    logits
}

/// Weighted sum over the experts in the mask.
pub(super) fn dot(mask: u32, weights: &[f64; MAX_EXPERTS], values: &[f64; MAX_EXPERTS]) -> f64 {
    bits(mask).map(|k| weights[k] * values[k]).sum()
}

/// P(up) of every expert; slots of sleeping members are 0 and never read.
pub(super) fn expert_probabilities(forecast: &Forecast) -> [f64; MAX_EXPERTS] {
    let mut probabilities = [0.0; MAX_EXPERTS];
    let mut sum = 0.0;
    for k in bits(forecast.awake) {
        probabilities[k] = forecast.members[k];
        sum += probabilities[k];
    }
    probabilities[AVERAGE] = sum / f64::from(forecast.awake.count_ones());
    probabilities[BASE_RATE] = forecast.base_rate;
    probabilities
}

/// Writes the weights of experts into a forecast, the average's dealt out to the awake members.
pub(super) fn fold(forecast: &mut Forecast, weights: &[f64; MAX_EXPERTS]) {
    let each = weights[AVERAGE] / f64::from(forecast.awake.count_ones());
    forecast.base_rate_weight = weights[BASE_RATE];
    for k in bits(forecast.awake) {
        forecast.weights[k] = weights[k] + each;
    }
}
