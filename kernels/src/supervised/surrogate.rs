//! What stands in for the derivative of a spike, and for the spike itself where a gradient is to be
//! verified.
//!
//! The surrogate derivative is that of SuperSpike, peak / (1 + β |v - 1|)² (Zenke and Ganguli,
//! Neural Comput. 30, 2018), with v in thresholds. Its integral is a fast sigmoid: with that in the
//! place of the step ([`Spiking::Smooth`]) the whole network is differentiable and the reverse pass,
//! which is the same code in both modes, is its exact gradient, open to finite differences.
//!
//! Invariant: [`FastSigmoid::slope`] is the derivative of [`FastSigmoid::value`] everywhere.

use super::real::Real;

/// The fast sigmoid of the distance to threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FastSigmoid {
    /// Steepness β, per threshold. Zenke and Ganguli's 1 / mV over a gap of 10 mV from rest to
    /// threshold is 10.
    pub beta: f64,
    /// Derivative at threshold. At β / 2 the integral runs from 0 to 1.
    pub peak: f64,
}

impl Default for FastSigmoid {
    /// β 10, peak 1.
    fn default() -> Self {
        Self { beta: 10.0, peak: 1.0 }
    }
}

impl FastSigmoid {
    /// The smoothed spike at `excess` thresholds over threshold: 1/2 at 0.
    #[inline]
    pub fn value<R: Real>(&self, excess: R) -> R {
        R::of(0.5) + R::of(self.peak) * excess / (R::one() + R::of(self.beta) * excess.abs())
    }

    /// Its derivative.
    #[inline]
    pub fn slope<R: Real>(&self, excess: R) -> R {
        let width = R::one() + R::of(self.beta) * excess.abs();
        R::of(self.peak) / (width * width)
    }
}

/// What a cell sends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spiking {
    /// A spike of size 1 at and over threshold: the network as it runs.
    Hard,
    /// The fast sigmoid at every step: only to verify gradients. A refractory period still begins
    /// where the threshold is crossed, so the gradient is exact between crossings.
    Smooth,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_the_derivative_of_the_value() {
        let f = FastSigmoid { beta: 7.0, peak: 1.3 };
        for excess in [-2.0, -0.3, -0.01, 0.02, 0.5, 3.0_f64] {
            let h = 1e-6;
            let difference = (f.value(excess + h) - f.value(excess - h)) / (2.0 * h);
            assert!((difference - f.slope(excess)).abs() < 1e-8, "at {excess}");
        }
    }

    #[test]
    fn a_peak_of_half_the_steepness_gives_a_sigmoid_from_0_to_1() {
        let f = FastSigmoid { beta: 8.0, peak: 4.0 };
        assert!(f.value(-1e9_f64).abs() < 1e-8 && (f.value(1e9_f64) - 1.0).abs() < 1e-8);
        assert_eq!((f.value(0.0_f64), f.slope(0.0_f64)), (0.5, 4.0));
    }
}
