//! A feed-forward network over one step's features.
//!
//! Tensors: `layers.N.weight`, `layers.N.bias`, optional batch norms `norms.N.*`, `head.weight`,
//! `head.bias`. It keeps no state between steps.

use super::architecture::FeedForwardArchitecture;
use super::cuda::{self, DeviceBuildError, Execution, Program};
use super::dense::{Chosen, Dense, Stack};
use super::predictor::{BuildError, Predictor, Serving, batch_of};
use super::weights::Tensors;
use crate::isa::Isa;

/// See the module.
#[derive(Clone, Debug)]
pub struct FeedForward {
    isa: Isa,
    instruments: usize,
    max_batch: usize,
    pub(super) stack: Stack,
    chosen: Chosen,
}

impl FeedForward {
    /// Builds it from all of a file's tensors.
    ///
    /// # Errors
    /// [`BuildError`] where the architecture is not valid or the tensors are not its own.
    pub fn new(
        architecture: &FeedForwardArchitecture,
        mut tensors: Tensors,
        serving: &Serving,
    ) -> Result<Self, BuildError> {
        architecture.validate()?;
        serving.validate()?;
        let Serving { isa, precision, instruments, max_batch } = *serving;
        let mut inputs = architecture.inputs;
        let mut layers = Vec::new();
        for (n, &units) in architecture.hidden.iter().enumerate() {
            let names = [&*format!("layers.{n}"), &*format!("norms.{n}")];
            let shape = [inputs, units];
            let activation = architecture.activation;
            layers.push(Dense::take_normed(&mut tensors, names, shape, activation, precision)?);
            inputs = units;
        }
        let (shape, output) = ([inputs, architecture.outputs], architecture.output.into());
        layers.push(Dense::take(&mut tensors, "head", shape, output, precision)?);
        tensors.finish()?;
        let stack = Stack::new(layers, max_batch.max(instruments));
        let chosen = Chosen::new(instruments, architecture.inputs, architecture.outputs);
        Ok(Self { isa, instruments, max_batch, stack, chosen })
    }
}

impl Predictor for FeedForward {
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
    }

    fn reset(&mut self, instrument: usize) {
        assert!(instrument < self.instruments, "instrument {instrument}");
    }

    fn device_program(&self, _: Execution) -> Result<Program, DeviceBuildError> {
        Ok(cuda::feed_forward::program(&self.stack, false, self.instruments))
    }

    fn weight_bytes(&self) -> usize {
        self.stack.bytes()
    }
}
