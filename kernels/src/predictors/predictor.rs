//! What every network answers to: windows from the beginning, or one step at a time with state carried.
//!
//! Invariants: neither call allocates; an instrument's answer depends on its own rows alone.

use thiserror::Error;

use super::cuda::{DeviceBuildError, Execution, Program};
use super::panels::Precision;
use super::weights::WeightsError;
use crate::isa::Isa;

/// Most instruments, and most windows answered at once.
pub const BATCH_MAX: usize = 65_536;

/// How a network is run, whatever its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// Instruction set of the hot loops. It changes no bit of an answer.
    pub isa: Isa,
    /// How weights are kept.
    pub precision: Precision,
    /// Instruments whose streams are carried: 1 to [`BATCH_MAX`].
    pub instruments: usize,
    /// Most windows in one call of [`Predictor::infer`]: 1 to [`BATCH_MAX`].
    pub max_batch: usize,
}

impl Serving {
    /// On the widest instruction set of this processor, weights as given, windows for as many as there
    /// are instruments.
    #[must_use]
    pub fn new(instruments: usize) -> Self {
        let (isa, precision) = (Isa::best(), Precision::F32);
        Self { isa, precision, instruments, max_batch: instruments }
    }

    /// Whether the counts are in their bounds.
    ///
    /// # Errors
    /// [`BuildError::Serving`] naming the first that is not.
    pub fn validate(&self) -> Result<(), BuildError> {
        for (key, value) in [("instruments", self.instruments), ("max_batch", self.max_batch)] {
            if !(1..=BATCH_MAX).contains(&value) {
                return Err(BuildError::Serving { key, value });
            }
        }
        Ok(())
    }
}

/// Why a network could not be built.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum BuildError {
    /// A number of [`Serving`] is out of range.
    #[error("{key} = {value}: expected 1 to {BATCH_MAX}")]
    Serving {
        /// The field.
        key: &'static str,
        /// What it holds.
        value: usize,
    },
    /// The description is not valid.
    #[error(transparent)]
    Architecture(#[from] super::architecture::ArchitectureError),
    /// The weights do not fit the description.
    #[error(transparent)]
    Weights(#[from] WeightsError),
}

/// What a runtime that is not ours has done, and what of that was no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Its calls.
    pub calls: u64,
    /// Steps that took longer than their budget.
    pub over_budget: u64,
    /// Calls cut off at the end of the budget.
    pub cut: u64,
    /// Calls left out because the budget was spent.
    pub left_out: u64,
    /// Calls that ended with an error, those cut off not counted.
    pub failed: u64,
    /// Answers that were no probabilities.
    pub no_probability: u64,
    /// Whether it is asked no more: too many steps in a row were over the budget.
    pub is_asleep: bool,
}

/// A network with its weights and, for each instrument, the state of its stream.
pub trait Predictor: Send + std::fmt::Debug {
    /// Features of one step.
    fn inputs(&self) -> usize;

    /// Steps of a window; 1 for a network without memory.
    fn steps(&self) -> usize;

    /// Numbers in an answer.
    fn outputs(&self) -> usize;

    /// Answers fresh windows, which leave the streams alone. `windows` is `[batch][steps][inputs]`,
    /// oldest step first, and `outputs` is `[batch][outputs]`.
    ///
    /// # Panics
    /// Where a slice is no whole number of windows or answers, or the batch is larger than the
    /// network was built for.
    fn infer(&mut self, windows: &[f32], outputs: &mut [f32]);

    /// Advances the streams of the active instruments by one step. `rows` is `[instruments][inputs]`
    /// and `outputs` is `[instruments][outputs]`, of which those of the others are left alone.
    ///
    /// # Panics
    /// Where a slice has another length.
    fn step(&mut self, rows: &[f32], active: &[bool], outputs: &mut [f32]);

    /// Forgets what an instrument's stream held: its feed had a gap.
    ///
    /// # Panics
    /// Where there is no such instrument.
    fn reset(&mut self, instrument: usize);

    /// Words that an instrument's stream is carried in, from one backend to another; none where nothing is
    /// kept between steps, or nothing that another could go on with.
    fn stream_words(&self) -> usize {
        0
    }

    /// Writes an instrument's stream to [`stream_words`](Self::stream_words) words.
    ///
    /// # Panics
    /// Where there is no such instrument, or not as many words.
    fn save_stream(&self, _instrument: usize, words: &mut [u32]) {
        assert!(words.is_empty(), "no stream to save");
    }

    /// Goes on with an instrument's stream from what [`save_stream`](Self::save_stream) wrote.
    ///
    /// # Panics
    /// As there.
    fn load_stream(&mut self, _instrument: usize, words: &[u32]) {
        assert!(words.is_empty(), "no stream to load");
    }

    /// What a device runs in this network's place: the same weights and as many streams, which begin empty.
    ///
    /// # Errors
    /// [`DeviceBuildError::NotServed`] where there are no kernels for it.
    fn device_program(&self, execution: Execution) -> Result<Program, DeviceBuildError>;

    /// Bytes of weights that one answer reads.
    fn weight_bytes(&self) -> usize;

    /// What became of its calls, where it is not our own code that answers; an answer that failed is NaN.
    fn health(&self) -> Option<Health> {
        None
    }
}

/// Checks the slices of a call of [`Predictor::infer`] of a network that was built for so many windows.
pub(super) fn batch_of(model: &impl Predictor, max_batch: usize, windows: &[f32], outputs: &[f32]) {
    let batch = outputs.len() / model.outputs();
    assert_eq!(batch * model.outputs(), outputs.len(), "whole answers");
    assert_eq!(batch * model.steps() * model.inputs(), windows.len(), "{batch} windows");
    assert!(batch <= max_batch, "{batch} windows, built for {max_batch}");
}

/// Writes the active instruments, ascending, to the front of `chosen` and returns them.
pub(super) fn choose<'a>(active: &[bool], chosen: &'a mut [usize]) -> &'a [usize] {
    assert_eq!(active.len(), chosen.len(), "a flag for each instrument");
    let mut count = 0;
    for (instrument, is_active) in active.iter().enumerate() {
        // Written always, kept where wanted: no branch to guess.
        chosen[count] = instrument;
        count += usize::from(*is_active);
    }
    &chosen[..count]
}
