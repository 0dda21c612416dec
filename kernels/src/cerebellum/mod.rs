//! The cerebellum: spiking networks described as data, an engine that runs them, and the forecaster
//! built of them.
//!
//! `description` says what a network is made of and `connect` draws who reaches whom; `engine` runs
//! it; `rules` are the slow rules of whole cells; `tasks` are what networks are shown to learn and
//! `validation` holds them against the literature; `trading` is the network that the daemon forecasts
//! with; `wide` is one large network over a whole device.

pub mod connect;
pub mod description;
mod device_twins;
pub mod encode;
pub mod engine;
pub mod rules;
pub mod tasks;
mod trading;
pub mod validation;
mod wide;

pub(crate) use trading::LaidOut;
pub use trading::{
    Cerebellum, CerebellumConfig, ConfigError, DeviceCounters, DeviceError, DevicePlan,
    Eligibility, LearnedWeights, LearningReport, MossyEncoder, PreparedDevice, Rates, RuleReport,
    RulesConfig, WeightSummary, WeightsError,
};
pub use wide::{WideCerebellum, WideConfig, WideError, WideReport, WideState, WideWiring};
