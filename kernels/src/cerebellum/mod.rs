//! The cerebellum: spiking networks described as data, an engine that runs them, and the forecaster
//! built of them.
//!
//! `description` says what a network is made of and `connect` draws who reaches whom; `engine` runs
//! it; `trading` is the network that the daemon forecasts with.

pub mod connect;
pub mod description;
pub mod encode;
pub mod engine;
pub mod rules;
mod trading;

pub use trading::{
    Cerebellum, CerebellumConfig, ConfigError, LearnedWeights, MossyEncoder, Rates, WeightsError,
};
