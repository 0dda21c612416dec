//! A run between two epochs as bytes, and back, as those of [`Trainer`](super::super::trainer::Trainer).
//!
//! Invariants: bytes of another configuration, other data or other rows are refused, and so is a file that
//! is cut or changed in its structure.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::super::checkpoint::{KEY, damaged, read_state, same};
use super::super::data::Dataset;
use super::super::export::File;
use super::super::optimiser::Moments;
use super::super::parameters::{Parameter, vector};
use super::super::trainer::TrainError;
use super::config::GanConfig;
use super::trainer::{GanEpoch, GanTrainer};
use crate::predictors::weights::Tensors;

/// Of this format.
const VERSION: u32 = 1;
/// Numbers of an epoch in the history.
const HISTORY: usize = 2;
/// Whose tensors they are.
const LEARNERS: [&str; 2] = ["generator", "discriminator"];
const AVERAGE: &str = "average";

/// What is no tensor.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    /// As JSON.
    gan: String,
    data: u64,
    rows: Range<usize>,
    epochs: u32,
}

impl State {
    fn of(trainer: &GanTrainer<'_>) -> Result<Self, TrainError> {
        Ok(Self {
            version: VERSION,
            gan: serde_json::to_string(&trainer.config).map_err(|e| damaged(&e))?,
            data: trainer.fingerprint,
            rows: trainer.rows.clone(),
            epochs: trainer.history.len() as u32,
        })
    }

    /// Whether it can belong to a run, which has not begun.
    fn check(&self, new: &Self, config: &GanConfig) -> Result<(), TrainError> {
        same("version", &self.version, &new.version)?;
        same("configuration", &self.gan, &new.gan)?;
        same("fingerprint of the data", &self.data, &new.data)?;
        same("rows", &format!("{:?}", self.rows), &format!("{:?}", new.rows))?;
        if self.epochs > config.epochs {
            let expected = config.epochs;
            return Err(damaged(&format!("{} epochs, expected at most {expected}", self.epochs)));
        }
        Ok(())
    }
}

impl<'a> GanTrainer<'a> {
    /// All that the next epoch depends on besides configuration and data.
    ///
    /// # Errors
    /// [`TrainError::Backend`].
    pub fn checkpoint(&self) -> Result<Vec<u8>, TrainError> {
        let mut file = File::default();
        for (whose, learner) in LEARNERS.iter().zip(&self.learners) {
            for (parameter, moments) in learner.parameters.iter().zip(&learner.stepper.moments) {
                let mut add = |what: &str, values| {
                    let name = format!("{whose}.{what}.{}", parameter.name);
                    file.add(name, &parameter.shape, values)
                };
                add("present", &parameter.values)?;
                if let Some(moments) = moments {
                    add("first_moment", &moments.first)?;
                    add("second_moment", &moments.second)?;
                }
            }
        }
        for parameter in &self.generator.parameters {
            let name = format!("{AVERAGE}.{}", parameter.name);
            file.add(name, &parameter.shape, &parameter.values)?;
        }
        let epoch = |e: &GanEpoch| [e.discriminator_loss, e.generator_loss];
        let history: Vec<f32> = self.history.iter().flat_map(epoch).collect();
        file.add_numbers("history".to_owned(), &[self.history.len(), HISTORY], &history);
        let state = serde_json::to_string(&State::of(self)?).map_err(|e| damaged(&e))?;
        file.bytes(Some((KEY, state)))
    }

    /// Goes on where [`checkpoint`](Self::checkpoint) was written: the other arguments are those that the
    /// run began with.
    ///
    /// # Errors
    /// As [`GanTrainer::new`], and those of [`TrainError`] about checkpoints.
    pub fn resume(
        config: &GanConfig,
        data: &'a Dataset<'a>,
        rows: Range<usize>,
        checkpoint: &[u8],
    ) -> Result<Self, TrainError> {
        let mut trainer = Self::new(config, data, rows)?;
        // It checks lengths and places, which the reader of the state takes as they are.
        let mut tensors = Tensors::read(checkpoint)?;
        let state: State = read_state(checkpoint)?;
        state.check(&State::of(&trainer)?, config)?;
        let steps = u64::from(state.epochs) * trainer.steps_an_epoch() as u64;
        let device = trainer.device.clone();
        let mut take = |what: String, parameter: &Parameter| {
            let name = format!("{what}.{}", parameter.name);
            tensors.take(&name, &parameter.shape).map(|values| vector(values, &device))
        };
        for (whose, learner) in LEARNERS.iter().zip(&mut trainer.learners) {
            let moments = learner.stepper.moments.iter_mut();
            for (parameter, moments) in learner.parameters.iter_mut().zip(moments) {
                parameter.values = take(format!("{whose}.present"), parameter)?;
                // What is learned has taken every step of the run.
                if steps > 0 && parameter.is_learned() {
                    let first = take(format!("{whose}.first_moment"), parameter)?;
                    let second = take(format!("{whose}.second_moment"), parameter)?;
                    *moments = Some(Moments { steps, first, second });
                }
            }
        }
        for parameter in &mut trainer.generator.parameters {
            parameter.values = take(AVERAGE.to_owned(), parameter)?;
        }
        let history = tensors.take("history", &[state.epochs as usize, HISTORY])?;
        tensors.finish()?;
        let epoch = |e: &[f32; HISTORY]| {
            let [discriminator_loss, generator_loss] = *e;
            GanEpoch { discriminator_loss, generator_loss }
        };
        trainer.history = history.as_chunks().0.iter().map(epoch).collect();
        Ok(trainer)
    }
}
