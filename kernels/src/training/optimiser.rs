//! From gradients to new weights: one clipping over all of them, then Adam or AdamW.
//!
//! `burn`'s own clipping takes each tensor by itself, which changes the direction of a step; here the whole
//! gradient is scaled. Adam's weight decay is part of the gradient, AdamW's is not; both leave biases and
//! norms alone.

use burn::optim::{AdamW, AdamWConfig, AdamWState, AdaptiveMomentumState, Optimizer};
use burn::tensor::Tensor;

use super::config::{Optimiser, TrainConfig};
use super::parameters::{Parameter, Role};

/// Added to the root of the second moment.
const EPSILON: f32 = 1e-8;

/// What is remembered of a tensor's gradients.
#[derive(Clone, Debug)]
pub(super) struct Moments {
    pub(super) steps: u64,
    pub(super) first: Tensor<1>,
    pub(super) second: Tensor<1>,
}

/// See the module.
pub(super) struct Stepper {
    decaying: AdamW,
    plain: AdamW,
    /// Adam's weight decay.
    coupled_decay: f64,
    clip_norm: f64,
    /// By tensor; none before the first step, and none of statistics.
    pub(super) moments: Vec<Option<Moments>>,
}

impl Stepper {
    pub(super) fn new(config: &TrainConfig, tensors: usize) -> Self {
        let with_decay =
            |decay: f64| AdamWConfig::new().with_epsilon(EPSILON).with_weight_decay(decay as f32);
        let (decoupled, coupled_decay) = match config.optimiser {
            Optimiser::Adam => (0.0, config.weight_decay),
            Optimiser::AdamW => (config.weight_decay, 0.0),
        };
        Self {
            decaying: with_decay(decoupled).build(),
            plain: with_decay(0.0).build(),
            coupled_decay,
            clip_norm: config.clip_norm,
            moments: vec![None; tensors],
        }
    }

    /// Adam without weight decay, with moments of its own.
    pub(super) fn adam(moments: [f32; 2], clip_norm: f64, tensors: usize) -> Self {
        let adam = || {
            let [first, second] = moments;
            let adam = AdamWConfig::new().with_epsilon(EPSILON).with_weight_decay(0.0);
            adam.with_beta_1(first).with_beta_2(second).build()
        };
        Self {
            decaying: adam(),
            plain: adam(),
            coupled_decay: 0.0,
            clip_norm,
            moments: vec![None; tensors],
        }
    }

    /// Changes the tensors that have a gradient; returns the gradient's length before it was clipped. If
    /// that is no number, nothing is changed.
    pub(super) fn step(
        &mut self,
        learning_rate: f64,
        parameters: &mut [Parameter],
        gradients: Vec<Option<Tensor<1>>>,
    ) -> f64 {
        let square = |g: &Tensor<1>| f64::from((g.clone() * g.clone()).sum().into_scalar::<f32>());
        let norm = gradients.iter().flatten().map(square).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return norm;
        }
        let scale = (self.clip_norm / norm).min(1.0);
        let tensors = parameters.iter_mut().zip(&mut self.moments).zip(gradients);
        for ((parameter, moments), gradient) in tensors {
            let Some(mut gradient) = gradient else { continue };
            if scale < 1.0 {
                gradient = gradient.mul_scalar(scale);
            }
            let is_weight = parameter.role == Role::Weight;
            if is_weight && self.coupled_decay > 0.0 {
                gradient = gradient + parameter.values.clone().mul_scalar(self.coupled_decay);
            }
            let adam = if is_weight { &self.decaying } else { &self.plain };
            let state = moments.take().map(|m| {
                AdamWState::new(AdaptiveMomentumState::new(m.steps as usize, m.first, m.second))
            });
            let (values, state) =
                adam.step(learning_rate, parameter.values.clone(), gradient, state);
            parameter.values = values;
            *moments = state.map(|AdamWState { momentum, .. }| Moments {
                steps: momentum.time as u64,
                first: momentum.moment_1,
                second: momentum.moment_2,
            });
        }
        norm
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::export::numbers;
    use super::super::parameters::vector;
    use super::*;

    /// A weight and a bias, both `[2, -1]`.
    fn parameters() -> Vec<Parameter> {
        [Role::Weight, Role::Bias]
            .map(|role| Parameter {
                name: format!("{role:?}"),
                shape: vec![2],
                role,
                values: vector(vec![2.0, -1.0], &Device::flex()),
            })
            .into()
    }

    fn stepper(top: &str) -> Stepper {
        let text =
            format!("{top}\n[architecture]\nkind = \"feed-forward\"\ninputs = 1\noutputs = 1\n");
        Stepper::new(&TrainConfig::from_toml(&text).unwrap(), 2)
    }

    fn gradients(weight: [f32; 2], bias: [f32; 2]) -> Vec<Option<Tensor<1>>> {
        [weight, bias].map(|g| Some(vector(g.to_vec(), &Device::flex()))).into()
    }

    fn assert_near(found: &Tensor<1>, expected: [f32; 2]) {
        let found = numbers(found).unwrap();
        for (x, y) in found.iter().zip(expected) {
            assert!((x - y).abs() < 1e-6, "{found:?}, expected {expected:?}");
        }
    }

    #[test]
    fn a_long_gradient_is_scaled_over_all_tensors_at_once() {
        let mut stepper = stepper("clip_norm = 1.0\nweight_decay = 0.0");
        let norm = stepper.step(0.1, &mut parameters(), gradients([3.0, 0.0], [0.0, 4.0]));
        assert_eq!(norm, 5.0);
        // The first moment is a tenth of the gradient that was used.
        let first = |n: usize| stepper.moments[n].as_ref().map(|m| m.first.clone()).unwrap();
        assert_near(&first(0), [0.06, 0.0]);
        assert_near(&first(1), [0.0, 0.08]);
    }

    #[test]
    fn a_first_step_goes_by_the_learning_rate_against_the_gradient() {
        let mut all = parameters();
        stepper("weight_decay = 0.0").step(0.1, &mut all, gradients([0.3, -0.2], [0.1, 0.0]));
        assert_near(&all[0].values, [1.9, -0.9]);
        assert_near(&all[1].values, [1.9, -1.0]);
    }

    #[test]
    fn decay_draws_weights_but_no_biases_in_each_optimisers_own_way() {
        let mut all = parameters();
        let decay = "weight_decay = 0.5";
        stepper(decay).step(0.1, &mut all, gradients([0.0; 2], [0.0; 2]));
        assert_near(&all[0].values, [1.9, -0.95]);
        assert_near(&all[1].values, [2.0, -1.0]);

        let mut all = parameters();
        let mut adam = stepper(&format!("optimiser = \"adam\"\n{decay}"));
        adam.step(0.1, &mut all, gradients([0.0; 2], [0.0; 2]));
        // As part of the gradient it is scaled to a whole step.
        assert_near(&all[0].values, [1.9, -0.9]);
        assert_near(&all[1].values, [2.0, -1.0]);
    }

    #[test]
    fn a_gradient_that_is_no_number_changes_nothing() {
        let (mut all, mut stepper) = (parameters(), stepper(""));
        let norm = stepper.step(0.1, &mut all, gradients([f32::NAN, 0.0], [1.0, 0.0]));
        assert!(norm.is_nan());
        assert_near(&all[1].values, [2.0, -1.0]);
        assert!(stepper.moments.iter().all(Option::is_none));
    }
}
