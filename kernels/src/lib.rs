//! The numbers: a spiking model of the cerebellum and predictors, on the CPU and, by the kernels of
//! `purkinje-cuda`, on GPUs.
//!
//! This crate knows no market and does no I/O: it takes slices of `f32` features and gives values.

pub mod cerebellum;
pub mod device_cycle;
mod exp;
pub mod isa;
pub mod logistic;
pub mod predictors;
pub mod rng;
pub mod scale_mixture;
pub mod supervised;
#[cfg(feature = "train")]
pub mod training;
