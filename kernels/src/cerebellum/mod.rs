//! The cerebellum: spiking networks described as data, an engine that runs them, and the forecaster
//! built of them.
//!
//! `description` says what a network is made of and `connect` draws who reaches whom; `engine` runs
//! it; `trading` is the network that the daemon forecasts with; `validation` holds networks against the
//! literature.

pub mod connect;
pub mod description;
pub mod encode;
pub mod engine;
pub mod rules;
mod trading;
pub mod validation;

pub use trading::{Cerebellum, CerebellumConfig, ConfigError, Rates};
