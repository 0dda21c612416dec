//! A run between two epochs as bytes, and back.
//!
//! The bytes are a safetensors file: weights, those of the best epoch, moments and history as tensors, the
//! rest as JSON beside them. Invariants: numbers that decide anything keep all of their bits; bytes of
//! another configuration, other data or other rows are refused, and so is a file that is cut or changed in
//! its structure.

use std::ops::Range;

use safetensors::SafeTensors;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::config::TrainConfig;
use super::data::Dataset;
use super::export::File;
use super::optimiser::Moments;
use super::parameters::{Parameter, vector};
use super::schedule::Plateau;
use super::trainer::{Best, Epoch, TrainError, Trainer};
use crate::predictors::weights::Tensors;

/// Where the state is among a file's texts.
pub(super) const KEY: &str = "training";
/// Of this format.
const VERSION: u32 = 1;
/// Numbers of an epoch in the history.
const HISTORY: usize = 3;

/// What is no tensor. Numbers with a fraction are kept as their bits.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    version: u32,
    /// As JSON.
    config: String,
    data: u64,
    rows: [Range<usize>; 2],
    epochs: u32,
    plateau_share: u64,
    plateau_stale: u32,
    /// Epoch and loss.
    best: Option<(u32, u64)>,
    /// Steps of each tensor's moments; none where it has none.
    moments: Vec<Option<u64>>,
}

impl State {
    fn of(trainer: &Trainer<'_>) -> Result<Self, TrainError> {
        let config = serde_json::to_string(&trainer.config).map_err(|e| damaged(&e))?;
        let moments = trainer.stepper.moments.iter();
        Ok(Self {
            version: VERSION,
            config,
            data: trainer.fingerprint,
            rows: trainer.rows.clone(),
            epochs: trainer.history.len() as u32,
            plateau_share: trainer.plateau.share.to_bits(),
            plateau_stale: trainer.plateau.stale,
            best: trainer.best.as_ref().map(|best| (best.epoch, best.loss.to_bits())),
            moments: moments.map(|m| m.as_ref().map(|m| m.steps)).collect(),
        })
    }

    /// Whether it can belong to a run, which has not begun.
    fn check(&self, new: &Self) -> Result<(), TrainError> {
        same("version", &self.version, &new.version)?;
        same("configuration", &self.config, &new.config)?;
        same("fingerprint of the data", &self.data, &new.data)?;
        same("rows", &format!("{:?}", self.rows), &format!("{:?}", new.rows))?;
        same("number of moments", &self.moments.len(), &new.moments.len())
    }
}

/// Whether a checkpoint says the same as its run.
pub(super) fn same(
    key: &'static str,
    found: &dyn ToString,
    expected: &dyn ToString,
) -> Result<(), TrainError> {
    let (found, expected) = (found.to_string(), expected.to_string());
    if found == expected {
        return Ok(());
    }
    Err(TrainError::CheckpointOfAnother { key, found, expected })
}

pub(super) fn damaged(message: &dyn ToString) -> TrainError {
    TrainError::CheckpointState { message: message.to_string() }
}

impl<'a> Trainer<'a> {
    /// All that the next epoch depends on besides configuration and data.
    ///
    /// # Errors
    /// [`TrainError::Backend`].
    pub fn checkpoint(&self) -> Result<Vec<u8>, TrainError> {
        let mut file = File::default();
        for (parameter, moments) in self.model.parameters.iter().zip(&self.stepper.moments) {
            let mut add = |what, values| {
                file.add(format!("{what}.{}", parameter.name), &parameter.shape, values)
            };
            add("present", &parameter.values)?;
            if let Some(moments) = moments {
                add("first_moment", &moments.first)?;
                add("second_moment", &moments.second)?;
            }
        }
        for parameter in self.best.iter().flat_map(|best| &best.parameters) {
            file.add(format!("best.{}", parameter.name), &parameter.shape, &parameter.values)?;
        }
        let epoch = |e: &Epoch| [e.training_loss, e.validation_loss, e.learning_rate];
        let history: Vec<f32> = self.history.iter().flat_map(epoch).collect();
        file.add_numbers("history".to_owned(), &[self.history.len(), HISTORY], &history);
        let state = serde_json::to_string(&State::of(self)?).map_err(|e| damaged(&e))?;
        file.bytes(Some((KEY, state)))
    }

    /// Goes on where [`checkpoint`](Self::checkpoint) was written: the other arguments are those that the
    /// run began with.
    ///
    /// # Errors
    /// As [`Trainer::new`], and those of [`TrainError`] about checkpoints.
    pub fn resume(
        config: &TrainConfig,
        data: &'a Dataset<'a>,
        training: Range<usize>,
        validation: Range<usize>,
        checkpoint: &[u8],
    ) -> Result<Self, TrainError> {
        let mut trainer = Self::new(config, data, training, validation)?;
        // It checks lengths and places, which the reader of the state takes as they are.
        let mut tensors = Tensors::read(checkpoint)?;
        let state: State = read_state(checkpoint)?;
        state.check(&State::of(&trainer)?)?;
        let device = trainer.model.device().clone();
        let parameters = &mut trainer.model.parameters;
        let take = |tensors: &mut Tensors, what: &str, parameter: &Parameter| {
            let name = format!("{what}.{}", parameter.name);
            tensors.take(&name, &parameter.shape).map(|values| vector(values, &device))
        };
        let moments = trainer.stepper.moments.iter_mut().zip(&state.moments);
        for (parameter, (moments, steps)) in parameters.iter_mut().zip(moments) {
            parameter.values = take(&mut tensors, "present", parameter)?;
            if let Some(steps) = *steps {
                let first = take(&mut tensors, "first_moment", parameter)?;
                let second = take(&mut tensors, "second_moment", parameter)?;
                *moments = Some(Moments { steps, first, second });
            }
        }
        if let Some((epoch, loss)) = state.best {
            let mut best = parameters.clone();
            for parameter in &mut best {
                parameter.values = take(&mut tensors, "best", parameter)?;
            }
            trainer.best = Some(Best { epoch, loss: f64::from_bits(loss), parameters: best });
        }
        let history = tensors.take("history", &[state.epochs as usize, HISTORY])?;
        tensors.finish()?;
        let epoch = |e: &[f32; HISTORY]| {
            let [training_loss, validation_loss, learning_rate] = *e;
            Epoch { training_loss, validation_loss, learning_rate }
        };
        trainer.history = history.as_chunks().0.iter().map(epoch).collect();
        let share = f64::from_bits(state.plateau_share);
        trainer.plateau = Plateau { share, stale: state.plateau_stale };
        trainer.check_state()?;
        Ok(trainer)
    }

    /// Whether what was read can have been written by a run.
    fn check_state(&self) -> Result<(), TrainError> {
        let epochs = self.history.len() as u32;
        let Plateau { share, stale } = self.plateau;
        let steps = u64::from(epochs) * self.steps_an_epoch() as u64;
        let other = self.stepper.moments.iter().flatten().find(|m| m.steps != steps);
        let fault = match &self.best {
            Some(best) if best.epoch >= epochs => {
                format!("best epoch {}, expected less than {epochs}", best.epoch)
            }
            Some(best) if !best.loss.is_finite() => {
                format!("best loss {}, expected a finite number", best.loss)
            }
            None if epochs > 0 => "no best epoch, expected one after the first".to_owned(),
            _ if epochs > self.config.epochs => {
                format!("{epochs} epochs, expected at most {}", self.config.epochs)
            }
            _ if !(0.0..=1.0).contains(&share) || stale > epochs => {
                format!("plateau {share}, {stale}, expected 0 to 1, at most {epochs}")
            }
            _ if let Some(moments) = other => {
                format!("moments of {} steps, expected {steps}", moments.steps)
            }
            _ => return Ok(()),
        };
        Err(damaged(&fault))
    }
}

/// The state that is among a checkpoint's texts.
pub(super) fn read_state<S: DeserializeOwned>(checkpoint: &[u8]) -> Result<S, TrainError> {
    let (_, header) = SafeTensors::read_metadata(checkpoint).map_err(|e| damaged(&e))?;
    let text = header.metadata().as_ref().and_then(|texts| texts.get(KEY));
    let text = text.ok_or_else(|| damaged(&format!("no text {KEY}, expected the run's state")))?;
    serde_json::from_str(text).map_err(|e| damaged(&format!("{KEY}: {e}")))
}
