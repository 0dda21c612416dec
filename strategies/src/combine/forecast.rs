//! One combined forecast: what was said, by whom, with what weight, and what its label will teach.
//!
//! Invariant: a forecast holds all that learning needs, so labels may come late and overlap.

use super::MAX_MEMBERS;
use super::experts::bits;

/// One combined forecast and all that learning from its label needs later.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Combined P(up), in (0, 1): the base rate when nobody is awake.
    pub p_up: f64,
    /// P(up) of each member, clipped; NaN where absent.
    pub members: [f64; MAX_MEMBERS],
    /// Bit k is set when member k took part.
    pub awake: u32,
    /// Weight of each member in `p_up`, the uniform average folded in; 0 where absent. What they
    /// weigh (log odds, probabilities, votes) is told by the rule.
    pub weights: [f64; MAX_MEMBERS],
    /// P(up) of the base rate.
    pub base_rate: f64,
    /// Weight of the base rate. With `weights` it sums to 1, except under `stacking`, whose
    /// coefficients sharpen or soften, too, and are negative for a contrary member.
    pub base_rate_weight: f64,
    /// Log odds of the two mixes under the `ml-poly` rule; 0 under every other.
    pub(super) long_logit: f64,
    pub(super) tracking_logit: f64,
}

impl Forecast {
    /// Weighted share, in [0, 1], of the awake members on the side of 0.5 that `p_up` is on; a
    /// member at exactly 0.5 counts half. NaN when nobody awake has a weight.
    #[must_use]
    pub fn agreement(&self) -> f64 {
        let side = (self.p_up - 0.5).signum();
        let (mut agreeing, mut total) = (0.0, 0.0);
        for k in bits(self.awake) {
            // Under a negative weight a member speaks for the other side.
            let weight = self.weights[k].abs();
            let lean = (self.members[k] - 0.5) * side * self.weights[k].signum();
            total += weight;
            agreeing += weight * if lean == 0.0 { 0.5 } else { f64::from(lean > 0.0) };
        }
        agreeing / total
    }
}
