//! Configuration: one table of keys, four layers, three documents.
//!
//! `table` describes every key of `purkinje.toml`, the feed preset and the strategy preset once;
//! validation, defaults, the effective dump, the hash, the reference and the example file are all
//! read off it. The keys of the presets live in the same name space under `feed.` and `strategy.`,
//! so any of them can be overridden from `purkinje.toml`, the environment or a flag.
//!
//! Invariants: a configuration that loads is complete, within bounds and free of conflicts; one
//! that does not is refused with all its problems at once; loading reads nothing but its sources.

mod check;
mod diff;
mod load;
mod loaded;
pub mod preset;
mod problem;
mod render;
mod rules;
mod source;
mod spec;
mod suggest;
mod table;
#[cfg(test)]
mod tests;
mod types;

pub use diff::Change;
pub use load::{Sources, load};
pub use loaded::Loaded;
pub use problem::{Origin, Problem, Problems};
pub use render::{example, reference};
pub use spec::{Document, KeySpec, Kind, Literal, env_name};
pub(crate) use suggest::nearest as nearest_name;
pub use types::{
    Anomaly, Backend, BackendKind, Bcm, Brake, Calibration, CalibrationMap, Cerebellum,
    CerebellumRules, Challenger, Channels, CombineRule, Combiner, Config, Conformal, Control,
    Cycle, Eligibility, EngineWait, FeedPreset, Http, InstrumentConfig, Isotonic, Journal,
    JournalFsync, Kafka, KafkaEncoding, KafkaMode, KafkaSasl, KafkaSecurity, KafkaTls, Logistic,
    Member, Metaplasticity, Normaliser, Pipeline, PresetRef, Record, RecordFsync, Report, Run,
    SaslMechanism, Simulator, State, Stdp, StrategyPreset, Terminal, Thresholds,
};
