//! First-order optimisers over one vector of parameters.
//!
//! Momentum SGD with or without Nesterov's look-ahead (Sutskever et al., ICML 2013, in the form in
//! which the rate multiplies the velocity), Adam (Kingma and Ba, ICLR 2015) and AdamW, whose decay
//! is decoupled from the gradient (Loshchilov and Hutter, ICLR 2019). Invariants: an update with a
//! gradient that is not finite changes nothing and is counted; the saved state restores every bit;
//! no allocation after construction.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::real::Real;

/// How parameters follow their gradient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Method {
    /// v ← momentum · v + g; w ← w - rate · v, or with `nesterov` w - rate · (g + momentum · v).
    Sgd {
        /// Share of the velocity kept, 0 to below 1.
        momentum: f64,
        /// Whether the step looks ahead along the velocity.
        nesterov: bool,
    },
    /// m, v: running means of g and g²; w ← w - rate · m̂ / (√v̂ + epsilon).
    Adam {
        /// Share of m kept, 0 to below 1.
        beta1: f64,
        /// Share of v kept, 0 to below 1.
        beta2: f64,
        /// Keeps the step finite, above 0.
        epsilon: f64,
    },
    /// Adam after w ← w · (1 - rate · decay), for every parameter.
    AdamW {
        /// Share of m kept, 0 to below 1.
        beta1: f64,
        /// Share of v kept, 0 to below 1.
        beta2: f64,
        /// Keeps the step finite, above 0.
        epsilon: f64,
        /// Decay by update at a rate of 1, 0 or more.
        decay: f64,
    },
}

impl Method {
    /// Adam as published: 0.9, 0.999, 1e-8.
    pub const ADAM: Self = Self::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    /// AdamW with Adam's constants and a decay of 0.01.
    pub const ADAM_W: Self = Self::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, decay: 0.01 };

    const fn tag(&self) -> u8 {
        match self {
            Self::Sgd { .. } => 0,
            Self::Adam { .. } => 1,
            Self::AdamW { .. } => 2,
        }
    }

    fn check(&self) -> Result<(), OptimiserError> {
        let share = |name, value: f64| match value {
            0.0..1.0 => Ok(()),
            _ => Err(OptimiserError { name, value, expected: "0 to below 1" }),
        };
        match *self {
            Self::Sgd { momentum, .. } => share("momentum", momentum),
            Self::Adam { beta1, beta2, epsilon } | Self::AdamW { beta1, beta2, epsilon, .. } => {
                share("beta1", beta1)?;
                share("beta2", beta2)?;
                if !(epsilon.is_finite() && epsilon > 0.0) {
                    let expected = "a finite number above 0";
                    return Err(OptimiserError { name: "epsilon", value: epsilon, expected });
                }
                match *self {
                    Self::AdamW { decay, .. } if !(decay.is_finite() && decay >= 0.0) => {
                        let expected = "a finite number, 0 or more";
                        Err(OptimiserError { name: "decay", value: decay, expected })
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

/// A constant out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{name} is {value}, expected {expected}")]
pub struct OptimiserError {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// The range.
    pub expected: &'static str,
}

/// Why a saved state does not belong to an optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StateError {
    /// Another length: another method, another network, or cut short.
    #[error("optimiser state has {found} bytes, expected {expected}")]
    Length {
        /// Bytes given.
        found: usize,
        /// Bytes of this optimiser's state.
        expected: usize,
    },
    /// Saved by another method.
    #[error("optimiser state has method tag {found}, expected {expected}")]
    Method {
        /// Tag given.
        found: u8,
        /// Tag of this optimiser's method.
        expected: u8,
    },
}

/// A method and what it remembers of earlier gradients.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimiser<R> {
    method: Method,
    updates: u64,
    rejected: u64,
    /// Velocity, or the running mean of the gradient.
    first: Vec<R>,
    /// Running mean of the squared gradient; empty for SGD.
    second: Vec<R>,
}

impl<R: Real> Optimiser<R> {
    /// For so many parameters.
    ///
    /// # Errors
    /// [`OptimiserError`] names the constant that is out of range.
    pub fn new(method: Method, parameters: usize) -> Result<Self, OptimiserError> {
        method.check()?;
        let squares = if matches!(method, Method::Sgd { .. }) { 0 } else { parameters };
        Ok(Self {
            method,
            updates: 0,
            rejected: 0,
            first: vec![R::zero(); parameters],
            second: vec![R::zero(); squares],
        })
    }

    /// Moves the parameters against the gradient; returns whether it did. It does not when the
    /// gradient or the rate is not finite.
    ///
    /// # Panics
    /// When a length differs from the number of parameters.
    pub fn step(&mut self, parameters: &mut [R], gradient: &[R], rate: f64) -> bool {
        let n = self.first.len();
        assert_eq!((parameters.len(), gradient.len()), (n, n), "one entry a parameter");
        if !rate.is_finite() || gradient.iter().any(|g| !g.is_finite()) {
            self.rejected += 1;
            return false;
        }
        self.updates += 1;
        match self.method {
            Method::Sgd { momentum, nesterov } => {
                let (momentum, rate) = (R::of(momentum), R::of(rate));
                for ((w, &g), v) in parameters.iter_mut().zip(gradient).zip(&mut self.first) {
                    *v = momentum * *v + g;
                    *w -= rate * if nesterov { g + momentum * *v } else { *v };
                }
            }
            Method::Adam { beta1, beta2, epsilon } => {
                self.adam(parameters, gradient, rate, (beta1, beta2, epsilon));
            }
            Method::AdamW { beta1, beta2, epsilon, decay } => {
                let keep = R::of(1.0 - rate * decay);
                for w in parameters.iter_mut() {
                    *w *= keep;
                }
                self.adam(parameters, gradient, rate, (beta1, beta2, epsilon));
            }
        }
        true
    }

    fn adam(
        &mut self,
        parameters: &mut [R],
        gradient: &[R],
        rate: f64,
        (beta1, beta2, epsilon): (f64, f64, f64),
    ) {
        let unbias = |beta: f64| 1.0 - beta.powf(self.updates as f64);
        let (rate, square_scale) = (R::of(rate / unbias(beta1)), R::of(1.0 / unbias(beta2)));
        let (keep1, keep2, epsilon) = (R::of(beta1), R::of(beta2), R::of(epsilon));
        let (take1, take2) = (R::of(1.0 - beta1), R::of(1.0 - beta2));
        let moments = self.first.iter_mut().zip(&mut self.second);
        for ((w, &g), (m, v)) in parameters.iter_mut().zip(gradient).zip(moments) {
            *m = keep1 * *m + take1 * g;
            *v = keep2 * *v + take2 * g * g;
            *w -= rate * *m / ((*v * square_scale).sqrt() + epsilon);
        }
    }

    /// Updates done.
    pub const fn updates(&self) -> u64 {
        self.updates
    }

    /// Updates refused because a number was not finite.
    pub const fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Appends the state: method tag, updates, rejected, first and second moments, little-endian.
    pub fn write_state(&self, out: &mut Vec<u8>) {
        out.push(self.method.tag());
        out.extend_from_slice(&self.updates.to_le_bytes());
        out.extend_from_slice(&self.rejected.to_le_bytes());
        self.first.iter().chain(&self.second).for_each(|x| x.write(out));
    }

    /// Restores a state that [`Optimiser::write_state`] wrote for the same method and number of
    /// parameters.
    ///
    /// # Errors
    /// [`StateError`] when it is another's; this state is then as it was.
    pub fn read_state(&mut self, bytes: &[u8]) -> Result<(), StateError> {
        let expected = 17 + (self.first.len() + self.second.len()) * R::BYTES;
        let wrong = StateError::Length { found: bytes.len(), expected };
        let (&tag, rest) = bytes.split_first().ok_or(wrong)?;
        if tag != self.method.tag() {
            return Err(StateError::Method { found: tag, expected: self.method.tag() });
        }
        if bytes.len() != expected {
            return Err(wrong);
        }
        let (updates, rest) = rest.split_first_chunk().ok_or(wrong)?;
        let (rejected, rest) = rest.split_first_chunk().ok_or(wrong)?;
        (self.updates, self.rejected) =
            (u64::from_le_bytes(*updates), u64::from_le_bytes(*rejected));
        let moments = self.first.iter_mut().chain(&mut self.second);
        for (moment, bytes) in moments.zip(rest.chunks_exact(R::BYTES)) {
            *moment = R::read(bytes).ok_or(wrong)?;
        }
        Ok(())
    }
}

/// Scales a gradient down so that its Euclidean norm is at most `norm_max` (Pascanu, Mikolov and
/// Bengio, ICML 2013); returns the norm it had. A gradient that is not finite is left as it is.
pub fn clip_global_norm<R: Real>(gradient: &mut [R], norm_max: f64) -> f64 {
    let norm = gradient.iter().map(|g| g.wide() * g.wide()).sum::<f64>().sqrt();
    if norm.is_finite() && norm > norm_max {
        let scale = R::of(norm_max / norm);
        for g in gradient {
            *g *= scale;
        }
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(method: Method, rate: f64, gradients: &[f64]) -> Vec<f64> {
        let mut optimiser = Optimiser::new(method, 1).unwrap();
        let mut w = [1.0];
        gradients
            .iter()
            .map(|&g| {
                assert!(optimiser.step(&mut w, &[g], rate));
                w[0]
            })
            .collect()
    }

    fn assert_close(found: &[f64], expected: &[f64]) {
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-12, "{found:?}, expected {expected:?}");
        }
        assert_eq!(found.len(), expected.len());
    }

    #[test]
    fn momentum_and_nesterov_take_the_steps_worked_out_by_hand() {
        // v: 2, 0.5 · 2 + 1 = 2, 0.5 · 2 - 1 = 0.
        let plain = Method::Sgd { momentum: 0.5, nesterov: false };
        assert_close(&walk(plain, 0.1, &[2.0, 1.0, -1.0]), &[0.8, 0.6, 0.6]);
        // g + 0.5 v: 3, 2, -1.
        let ahead = Method::Sgd { momentum: 0.5, nesterov: true };
        assert_close(&walk(ahead, 0.1, &[2.0, 1.0, -1.0]), &[0.7, 0.5, 0.6]);
    }

    #[test]
    fn adam_and_adamw_take_the_steps_worked_out_by_hand() {
        let (beta1, beta2, epsilon) = (0.5, 0.75, 0.1);
        // m: 1, 1 → m̂: 2, 4/3; v: 1, 1 → v̂: 4, 16/7.
        let first = 1.0 - 0.1 * 2.0 / 2.1;
        let second = |w: f64| w - 0.1 * (4.0 / 3.0) / ((16.0_f64 / 7.0).sqrt() + 0.1);
        let adam = Method::Adam { beta1, beta2, epsilon };
        assert_close(&walk(adam, 0.1, &[2.0, 1.0]), &[first, second(first)]);
        // Decay of 0.2 at a rate of 0.1 keeps 0.98 before each step.
        let decayed = first - 0.02;
        let adam_w = Method::AdamW { beta1, beta2, epsilon, decay: 0.2 };
        assert_close(&walk(adam_w, 0.1, &[2.0, 1.0]), &[decayed, second(0.98 * decayed)]);
    }

    #[test]
    fn a_gradient_that_is_not_a_number_changes_nothing_and_is_counted() {
        let mut optimiser = Optimiser::new(Method::ADAM_W, 2).unwrap();
        let mut w = [1.0_f32, 2.0];
        optimiser.step(&mut w, &[0.1, 0.2], 0.01);
        let before = (w, optimiser.first.clone(), optimiser.second.clone());
        assert!(!optimiser.step(&mut w, &[0.1, f32::NAN], 0.01));
        assert!(!optimiser.step(&mut w, &[0.1, 0.1], f64::INFINITY));
        assert_eq!((w, optimiser.first.clone(), optimiser.second.clone()), before);
        assert_eq!((optimiser.updates(), optimiser.rejected()), (1, 2));
    }

    #[test]
    fn a_restored_optimiser_goes_on_bit_for_bit() {
        for method in [Method::Sgd { momentum: 0.9, nesterov: true }, Method::ADAM_W] {
            let run = |w: &mut [f32; 3], optimiser: &mut Optimiser<f32>, from: u32| {
                for n in from..from + 5 {
                    let g = [0.3, -0.1 * n as f32, 1.0 / (1.0 + n as f32)];
                    optimiser.step(w, &g, 0.01);
                }
            };
            let mut w = [0.5_f32, -0.25, 3.0];
            let mut optimiser = Optimiser::new(method, 3).unwrap();
            run(&mut w, &mut optimiser, 0);
            let mut bytes = Vec::new();
            optimiser.write_state(&mut bytes);
            let mut restored = Optimiser::new(method, 3).unwrap();
            restored.read_state(&bytes).unwrap();
            let mut twin = w;
            run(&mut w, &mut optimiser, 5);
            run(&mut twin, &mut restored, 5);
            assert_eq!(w.map(f32::to_bits), twin.map(f32::to_bits));
            assert_eq!(optimiser, restored);
        }
    }

    #[test]
    fn a_state_of_another_optimiser_is_refused() {
        let mut bytes = Vec::new();
        Optimiser::<f32>::new(Method::ADAM, 3).unwrap().write_state(&mut bytes);
        let mut other = Optimiser::<f32>::new(Method::ADAM_W, 3).unwrap();
        let error = other.read_state(&bytes).unwrap_err();
        assert_eq!(error, StateError::Method { found: 1, expected: 2 });
        let mut longer = Optimiser::<f32>::new(Method::ADAM, 4).unwrap();
        let error = longer.read_state(&bytes).unwrap_err();
        assert_eq!(error, StateError::Length { found: 41, expected: 49 });
        assert!(longer.read_state(&[]).is_err());
        let error = Optimiser::<f32>::new(Method::Sgd { momentum: 1.0, nesterov: false }, 1);
        assert_eq!(error.unwrap_err().to_string(), "momentum is 1, expected 0 to below 1");
    }

    #[test]
    fn clipping_keeps_the_direction_and_bounds_the_norm() {
        let mut g = [3.0_f64, -4.0];
        assert_eq!(clip_global_norm(&mut g, 10.0), 5.0);
        assert_eq!(g, [3.0, -4.0]);
        assert_eq!(clip_global_norm(&mut g, 1.0), 5.0);
        assert_close(&g, &[0.6, -0.8]);
        let mut broken = [f64::NAN, 9.0];
        assert!(clip_global_norm(&mut broken, 1.0).is_nan() && broken[1] == 9.0);
    }
}
