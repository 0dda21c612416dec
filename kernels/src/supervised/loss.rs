//! Losses on the decoded output.
//!
//! Invariants: a loss is not negative, is 0 only at a perfect output, and neither it nor its slope
//! overflows for any finite output.

use serde::{Deserialize, Serialize};

use super::real::Real;

/// What training lowers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// (output - target)².
    MeanSquared,
    /// -t ln p - (1 - t) ln(1 - p) with p = 1 / (1 + exp(-output)): the output is a logit, the
    /// target a probability.
    CrossEntropy,
}

impl Loss {
    /// The loss of one output and its derivative by the output.
    pub fn at<R: Real>(self, output: R, target: R) -> (R, R) {
        match self {
            Self::MeanSquared => {
                let error = output - target;
                (error * error, R::of(2.0) * error)
            }
            Self::CrossEntropy => {
                // ln(1 + exp(x)) without overflow.
                let tail = (-output.abs()).exp();
                let softplus = output.max(R::zero()) + tail.ln_1p();
                let p = if output >= R::zero() { R::one() } else { tail } / (R::one() + tail);
                (softplus - target * output, p - target)
            }
        }
    }

    /// Whether a target makes sense.
    pub fn accepts<R: Real>(self, target: R) -> bool {
        match self {
            Self::MeanSquared => target.is_finite(),
            Self::CrossEntropy => (R::zero()..=R::one()).contains(&target),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_the_derivatives_of_the_losses() {
        for loss in [Loss::MeanSquared, Loss::CrossEntropy] {
            for (output, target) in [(0.3, 1.0), (-2.0, 0.0), (4.0, 0.25), (-9.0_f64, 1.0)] {
                let h = 1e-6;
                let up = loss.at(output + h, target).0;
                let down = loss.at(output - h, target).0;
                let slope = loss.at(output, target).1;
                assert!(((up - down) / (2.0 * h) - slope).abs() < 1e-7, "{loss:?} at {output}");
            }
        }
    }

    #[test]
    fn cross_entropy_is_exact_at_even_odds_and_stays_finite_far_out() {
        let (value, slope) = Loss::CrossEntropy.at(0.0_f64, 1.0);
        assert!((value - std::f64::consts::LN_2).abs() < 1e-15 && slope == -0.5);
        assert_eq!(Loss::CrossEntropy.at(1e30_f32, 0.0), (1e30, 1.0));
        assert_eq!(Loss::CrossEntropy.at(-1e30_f32, 0.0), (0.0, 0.0));
    }

    #[test]
    fn a_target_must_be_a_probability_for_cross_entropy_only() {
        assert!(Loss::MeanSquared.accepts(-3.0_f32) && !Loss::CrossEntropy.accepts(-3.0_f32));
        assert!(!Loss::MeanSquared.accepts(f32::NAN) && !Loss::CrossEntropy.accepts(f32::NAN));
    }
}
