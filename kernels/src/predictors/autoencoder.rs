//! A network that rebuilds its features through a narrow layer: what it rebuilds badly is unusual.
//!
//! Tensors: `encoder.N.weight`, `encoder.N.bias`, `decoder.N.weight`, `decoder.N.bias`. Answers are the
//! rebuilt features; [`Autoencoder::errors`] holds the score of each instrument's last step.

use super::architecture::AutoencoderArchitecture;
use super::cuda::{self, DeviceBuildError, Execution, Program};
use super::dense::{Chosen, Dense, Stack};
use super::predictor::{BuildError, Predictor, Serving, batch_of};
use super::weights::Tensors;
use crate::isa::Isa;

/// See the module.
#[derive(Clone, Debug)]
pub struct Autoencoder {
    isa: Isa,
    max_batch: usize,
    pub(super) stack: Stack,
    chosen: Chosen,
    errors: Box<[f32]>,
}

impl Autoencoder {
    /// Builds it from all of a file's tensors.
    ///
    /// # Errors
    /// [`BuildError`] where the architecture is not valid or the tensors are not its own.
    pub fn new(
        architecture: &AutoencoderArchitecture,
        mut tensors: Tensors,
        serving: &Serving,
    ) -> Result<Self, BuildError> {
        architecture.validate()?;
        serving.validate()?;
        let Serving { isa, precision, instruments, max_batch } = *serving;
        let widths = [&[architecture.inputs], &architecture.encoder[..]].concat();
        let depth = architecture.encoder.len();
        let mut layers = Vec::new();
        for n in 0..2 * depth {
            let (name, shape) = if n < depth {
                (format!("encoder.{n}"), [widths[n], widths[n + 1]])
            } else {
                let n = n - depth;
                (format!("decoder.{n}"), [widths[depth - n], widths[depth - n - 1]])
            };
            let is_last = n + 1 == 2 * depth;
            let activation =
                if is_last { architecture.output.into() } else { architecture.activation };
            layers.push(Dense::take(&mut tensors, &name, shape, activation, precision)?);
        }
        tensors.finish()?;
        let inputs = architecture.inputs;
        Ok(Self {
            isa,
            max_batch,
            stack: Stack::new(layers, max_batch.max(instruments)),
            chosen: Chosen::new(instruments, inputs, inputs),
            errors: vec![f32::NAN; instruments].into(),
        })
    }

    /// For each instrument, the [`error`] of its last step; NaN where it had none since it was reset.
    #[must_use]
    pub fn errors(&self) -> &[f32] {
        &self.errors
    }
}

/// Mean squared difference of features and what was rebuilt of them, summed in order.
#[must_use]
pub fn error(features: &[f32], rebuilt: &[f32]) -> f32 {
    let square = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).powi(2);
    let sum: f64 = features.iter().zip(rebuilt).map(square).sum();
    (sum / features.len() as f64) as f32
}

impl Predictor for Autoencoder {
    fn inputs(&self) -> usize {
        self.stack.inputs()
    }

    fn steps(&self) -> usize {
        1
    }

    fn outputs(&self) -> usize {
        self.stack.outputs()
    }

    fn infer(&mut self, windows: &[f32], outputs: &mut [f32]) {
        batch_of(self, self.max_batch, windows, outputs);
        self.stack.run(self.isa, windows, outputs);
    }

    fn step(&mut self, rows: &[f32], active: &[bool], outputs: &mut [f32]) {
        self.chosen.run(&mut self.stack, self.isa, rows, active, outputs);
        let width = self.stack.inputs();
        let pairs = rows.chunks_exact(width).zip(outputs.chunks_exact(width));
        for ((score, is_active), (row, rebuilt)) in self.errors.iter_mut().zip(active).zip(pairs) {
            if *is_active {
                *score = error(row, rebuilt);
            }
        }
    }

    fn reset(&mut self, instrument: usize) {
        self.errors[instrument] = f32::NAN;
    }

    fn device_program(&self, _: Execution) -> Result<Program, DeviceBuildError> {
        Ok(cuda::feed_forward::program(&self.stack, true, self.errors.len()))
    }

    fn weight_bytes(&self) -> usize {
        self.stack.bytes()
    }
}
