//! Training of the networks in [`predictors`](crate::predictors), on `burn`'s tensors and derivatives.
//!
//! It takes slices and gives bytes: a [`Dataset`](data::Dataset) over features and labels goes in, weights
//! under PyTorch's names come out, which [`Tensors`](crate::predictors::weights::Tensors) reads. The networks
//! are written on `burn`'s tensors rather than on its modules, for two reasons: its modules draw dropout
//! masks and first weights from one generator of the whole process, which no checkpoint can restore, and
//! their tensors have other names and layouts than PyTorch's. LSTM layers, softmax and layer norm are
//! operations of our own, with derivatives of our own: of `burn`'s operations they would be long graphs of
//! small tensors.
//!
//! Invariants: equal data, configuration and seed give equal weights, bit for bit, on one kind of processor;
//! a run that was cut and resumed ends as one that was not.

mod checkpoint;
pub mod config;
pub mod data;
mod export;
pub mod gan;
mod layers;
mod loss;
mod lstm_layer;
pub mod model;
mod networks;
mod optimiser;
mod parameters;
mod pass;
mod row_operations;
pub mod schedule;
pub mod trainer;
pub mod walk_forward;
