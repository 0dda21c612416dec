//! The usual activations, over whole layers.
//!
//! Invariants: the same bits on every processor (plain arithmetic in a stated order, no library
//! function); NaN in, NaN out; within 1e-6 of the exact value, relative to it or to 1 where that is
//! larger, which the tests hold against f64.

use serde::{Deserialize, Serialize};

use super::lanes::Lanes;
use crate::isa::{Isa, dispatched};

/// What a layer does with each of its sums. Names and formulas are PyTorch's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `x` where positive, `0.01 · x` elsewhere.
    LeakyRelu,
    /// `x` where positive, `exp(x) - 1` elsewhere.
    Elu,
    /// `x / (1 + exp(-x))`.
    Silu,
    /// `x/2 · (1 + erf(x/√2))`.
    Gelu,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// Replaces each number.
    pub fn apply(self, isa: Isa, values: &mut [Lanes]) {
        match self {
            Self::Identity => {}
            Self::Relu => relu(isa, values),
            Self::LeakyRelu => leaky_relu(isa, values),
            Self::Elu => elu(isa, values),
            Self::Silu => silu(isa, values),
            Self::Gelu => gelu(isa, values),
            Self::Sigmoid => sigmoid(isa, values),
            Self::Tanh => tanh(isa, values),
        }
    }
}

/// Beyond it `exp` is 0 or too large for a sigmoid or a tangent to differ from its limit.
const EXP_MAX: f32 = 87.0;

/// `e^x`, x cut to ±[`EXP_MAX`]: two to a whole number, times a polynomial of degree 6 on
/// [-ln 2 / 2, ln 2 / 2] (Cephes, `expf`).
#[inline(always)]
pub(super) fn exp_one(x: f32) -> f32 {
    // ln 2 in two parts: the first has so few digits that its products are exact.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding it rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    // A comparison with NaN is false: it passes through.
    let cut = if x > EXP_MAX { EXP_MAX } else { x };
    let cut = if cut < -EXP_MAX { -EXP_MAX } else { cut };
    let shifted = cut.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    let r = whole.mul_add(-LN2_LOW, whole.mul_add(-LN2_HIGH, cut));
    let p = r.mul_add(1.987_569_1e-4, 1.398_199_9e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 0.166_666_65);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    let power = shifted.to_bits().wrapping_add(127).wrapping_shl(23);
    p * f32::from_bits(power)
}

#[inline(always)]
pub(crate) fn sigmoid_one(x: f32) -> f32 {
    1.0 / (1.0 + exp_one(-x))
}

/// Near zero a polynomial, because the other form cancels there (Cephes, `tanhf`).
#[inline(always)]
pub(crate) fn tanh_one(x: f32) -> f32 {
    let size = x.abs();
    let square = x * x;
    let p = square.mul_add(-5.704_988e-3, 2.063_909e-2);
    let p = p.mul_add(square, -5.373_971e-2);
    let p = p.mul_add(square, 0.133_314_42);
    let p = p.mul_add(square, -0.333_332_8);
    let near = (p * square).mul_add(x, x);
    let far = (1.0 - 2.0 / (exp_one(2.0 * size) + 1.0)).copysign(x);
    if size < 0.625 { near } else { far }
}

#[inline(always)]
fn relu_one(x: f32) -> f32 {
    // So that NaN stays one. Adding zero changes no number: without it the compiler stores the zeros alone,
    // under a mask, which takes some processors ten times as long as storing everything.
    (if x < 0.0 { 0.0 } else { x }) + 0.0
}

#[inline(always)]
fn leaky_relu_one(x: f32) -> f32 {
    // A factor of one for the same reason as in `relu_one`.
    x * if x < 0.0 { 0.01 } else { 1.0 }
}

#[inline(always)]
fn elu_one(x: f32) -> f32 {
    // exp(x) - 1 = tanh(x/2) · (exp(x) + 1), which does not cancel near zero.
    if x < 0.0 { tanh_one(0.5 * x) * (exp_one(x) + 1.0) } else { x }
}

#[inline(always)]
fn silu_one(x: f32) -> f32 {
    // Below, the factor is cut and would be multiplied with ever larger numbers.
    let cut = if x < -EXP_MAX { -EXP_MAX } else { x };
    cut * sigmoid_one(x)
}

#[inline(always)]
fn gelu_one(x: f32) -> f32 {
    0.5 * x * (1.0 + erf_one(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function, within 1.5e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
fn erf_one(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / size.mul_add(0.327_591_1, 1.0);
    let p = t.mul_add(1.061_405_4, -1.453_152);
    let p = p.mul_add(t, 1.421_413_7);
    let p = p.mul_add(t, -0.284_496_74);
    let p = p.mul_add(t, 0.254_829_6);
    (1.0 - p * t * exp_one(-size * size)).copysign(x)
}

/// Over every number of a layer.
macro_rules! each {
    ($($name:ident, $all:ident, $one:ident;)*) => {
        $(
            #[inline(always)]
            fn $all(values: &mut [Lanes]) {
                for lanes in values {
                    for value in &mut lanes.0 {
                        *value = $one(*value);
                    }
                }
            }
            dispatched! { wide fn $name = $all(values: &mut [Lanes]) }
        )*
    };
}

each! {
    relu, relu_all, relu_one;
    leaky_relu, leaky_relu_all, leaky_relu_one;
    elu, elu_all, elu_one;
    silu, silu_all, silu_one;
    gelu, gelu_all, gelu_one;
    sigmoid, sigmoid_all, sigmoid_one;
    tanh, tanh_all, tanh_one;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predictors::lanes::LANES;

    const ALL: [Activation; 8] = [
        Activation::Identity,
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Elu,
        Activation::Silu,
        Activation::Gelu,
        Activation::Sigmoid,
        Activation::Tanh,
    ];

    /// By its series near zero, by its continued fraction elsewhere.
    fn erf(x: f64) -> f64 {
        let size = x.abs();
        let value = if size < 3.0 {
            let (mut term, mut sum) = (size, size);
            for n in 1..80 {
                term *= -size * size / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            2.0 / std::f64::consts::PI.sqrt() * sum
        } else {
            let fraction = (1..60).rev().fold(size, |f, n| size + 0.5 * f64::from(n) / f);
            1.0 - (-size * size).exp() / (fraction * std::f64::consts::PI.sqrt())
        };
        value.copysign(x)
    }

    fn exact(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Identity => x,
            Activation::Relu => x.max(0.0),
            Activation::LeakyRelu => x.max(0.01 * x),
            Activation::Elu => x.max(x.min(0.0).exp_m1()),
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::Gelu => 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2)),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Tanh => x.tanh(),
        }
    }

    /// From the smallest sizes to beyond where everything has reached its limit.
    fn inputs() -> Vec<f32> {
        let sizes = (0..4_000).map(|i| 1e-7 * 1.006_f32.powi(i)).take_while(|x| *x < 300.0);
        sizes.flat_map(|x| [x, -x]).chain([0.0, -0.0, 0.625, f32::MAX, f32::MIN]).collect()
    }

    fn applied(activation: Activation, isa: Isa, inputs: &[f32]) -> Vec<f32> {
        let mut lanes = Lanes::zeros(inputs.len());
        Lanes::flat_mut(&mut lanes)[..inputs.len()].copy_from_slice(inputs);
        activation.apply(isa, &mut lanes);
        Lanes::flat(&lanes)[..inputs.len()].to_vec()
    }

    #[test]
    fn activations_are_what_they_are_named_after() {
        let inputs = inputs();
        for activation in ALL {
            let mut worst = 0.0_f64;
            for (x, y) in inputs.iter().zip(applied(activation, Isa::Portable, &inputs)) {
                let exact = exact(activation, f64::from(*x));
                let error = (f64::from(y) - exact).abs() / exact.abs().max(1.0);
                assert!(error < 1e-6, "{activation:?}({x}) = {y}, expected {exact}");
                worst = worst.max(error);
            }
            println!("{activation:?}: {worst:.1e}");
        }
    }

    #[test]
    fn a_tangent_of_a_small_number_is_right_in_relation_to_it() {
        let inputs = inputs();
        for (x, y) in inputs.iter().zip(applied(Activation::Tanh, Isa::Portable, &inputs)) {
            let exact = f64::from(*x).tanh();
            assert!((f64::from(y) - exact).abs() <= 4e-7 * exact.abs(), "tanh({x}) = {y}");
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let inputs = inputs();
        let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        for activation in ALL {
            let portable = bits(applied(activation, Isa::Portable, &inputs));
            for isa in Isa::here() {
                assert_eq!(bits(applied(activation, isa, &inputs)), portable, "{activation:?}");
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for activation in ALL {
            let got = applied(activation, Isa::best(), &[f32::NAN; LANES]);
            assert!(got.iter().all(|y| y.is_nan()), "{activation:?}: {got:?}");
        }
    }
}
