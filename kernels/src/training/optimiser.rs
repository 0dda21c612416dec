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
