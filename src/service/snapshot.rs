//! How a live run is at one moment, for people and programs: what `/statusz` shows and metrics are made of.
//!
//! Numbers come from different threads and are of slightly different moments. Units are in the names; what is not
//! known is null.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{
    feed_states::{BookState, Connection},
    skill::Skill,
};

/// See the module.
#[derive(Clone, Debug, Serialize)]
pub struct Snapshot {
    /// Of the program.
    pub version: &'static str,
    /// Feed and strategy.
    pub title: String,
    /// Version of the model.
    pub model_version: String,
    /// When it was taken, ns since the epoch.
    pub ts_ns: i64,
    /// Since the start, s.
    pub uptime_s: f64,
    /// Whether cycles advance.
    pub is_live: bool,
    /// Whether anybody can trade on its signals now.
    pub is_ready: bool,
    /// Why not.
    pub not_ready: Vec<String>,
    /// What is wrong with parts of it.
    pub degraded: Vec<String>,
    /// Whether trading is halted.
    pub is_halted: bool,
    /// Attempts to take another configuration.
    pub reloads: Reloads,
    /// The engine thread.
    pub engine: Engine,
    /// The model thread.
    pub model: Model,
    /// The members and their weights.
    pub members: Vec<Member>,
    /// The newest signal of every instrument, in order of configuration.
    pub instruments: Vec<Instrument>,
    /// How good forecasts are.
    pub skill: Vec<Skill>,
    /// Length of the window of the skills, s.
    pub skill_window_s: u64,
    /// Connections, topics, books.
    pub feeds: Feeds,
    /// What became of the signals.
    pub sinks: Sinks,
    /// Stages within the last two minutes.
    pub latency: Vec<Stage>,
}

/// Attempts to take another configuration since the start.
#[derive(Clone, Debug, Serialize)]
pub struct Reloads {
    /// Those that were taken.
    pub applied: u64,
    /// Those that were refused, the configuration before staying in force.
    pub refused: u64,
    /// How the last one ended; null before the first.
    pub last: Option<Reload>,
}

/// An attempt to take another configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Reload {
    /// When, ns since the epoch.
    pub ts_ns: i64,
    /// Whether it was taken.
    pub is_applied: bool,
    /// What it changed, or why it was refused.
    pub what: String,
}

/// The engine thread.
#[derive(Clone, Debug, Serialize)]
pub struct Engine {
    /// Cycles cut.
    pub cycles: u64,
    /// Cycles missed.
    pub missed_cycles: u64,
    /// Time from one cycle to the next, ms.
    pub period_ms: u32,
    /// Market events applied.
    pub events: u64,
    /// Books and trades that came conflated.
    pub conflated: u64,
    /// Books lost.
    pub desyncs: u64,
    /// Instruments there are.
    pub instruments: usize,
    /// Instruments that were ready at the last cut.
    pub ready_instruments: u64,
}

/// The model thread.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    /// The last cycle that was done.
    pub cycle: u64,
    /// How long ago, ms; null before the first.
    pub last_cycle_ms_ago: Option<f64>,
    /// Cycles that took longer than the period.
    pub overruns: u64,
    /// Where the cerebellum runs.
    pub backend: String,
    /// Devices lost.
    pub backend_losses: u64,
    /// Devices gone back to.
    pub backend_returns: u64,
    /// Mean firing rates by population, Hz; null without a cerebellum.
    pub firing_hz: Option<Firing>,
    /// Forecasts made.
    pub forecasts: u64,
    /// Forecasts after which the price moved.
    pub moved: u64,
    /// Forecasts after which it did not.
    pub unchanged: u64,
    /// Forecasts that could not be verified.
    pub discarded: u64,
}

/// Mean firing rates of the cerebellum, Hz.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Firing {
    /// Mossy fibres.
    pub mossy: f32,
    /// Granule cells.
    pub granule: f32,
    /// Golgi cells.
    pub golgi: f32,
    /// Purkinje cells, simple spikes.
    pub purkinje: f32,
    /// Nuclear cells.
    pub nuclear: f32,
}

/// A member of the ensemble.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its weight in the newest combination; null before the first.
    pub weight: Option<f32>,
}

/// An instrument and its newest signal.
#[derive(Clone, Debug, Serialize)]
pub struct Instrument {
    /// `venue:symbol`.
    pub instrument: String,
    /// Its book.
    pub book: BookState,
    /// Its topics, by channel.
    pub topics: BTreeMap<&'static str, &'static str>,
    /// Its newest signal; null before the first.
    pub signal: Option<Newest>,
}

/// The newest signal of an instrument.
#[derive(Clone, Debug, Serialize)]
pub struct Newest {
    /// Its number.
    pub seq: u64,
    /// `BUY`, `SELL` or `HOLD`.
    pub action: &'static str,
    /// Why.
    pub reason: &'static str,
    /// P(up | moves).
    pub value: f32,
    /// Recalibrated probability of the predicted side.
    pub confidence: f32,
    /// Weight of the members that predict that side.
    pub agreement: f32,
    /// Mid price, exact.
    pub mid: String,
    /// Age of the newest input when it was made, ms; null before the first input.
    pub input_age_ms: Option<f64>,
    /// Since it was made, ms.
    pub age_ms: f64,
    /// What each member said, P(up); null where it took no part.
    pub members: Vec<Option<f32>>,
}

/// Connections, topics and books.
#[derive(Clone, Debug, Serialize)]
pub struct Feeds {
    /// By number.
    pub connections: Vec<Connection>,
    /// How many topics stand how.
    pub topics: BTreeMap<&'static str, usize>,
    /// How often what happened.
    pub happened: BTreeMap<&'static str, u64>,
    /// What happened lately, oldest first.
    pub newest: Vec<Event>,
    /// Events that are not in `newest` and what else is shown, because too many came at once.
    pub missed_events: u64,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// When, ns since the epoch.
    pub ts_ns: i64,
    /// On which connection.
    pub connection: u8,
    /// To which instrument.
    pub instrument: Option<String>,
    /// What.
    pub what: String,
}

/// What became of the signals.
#[derive(Clone, Debug, Serialize)]
pub struct Sinks {
    /// Signals by action.
    pub actions: BTreeMap<&'static str, u64>,
    /// HOLD signals by reason.
    pub holds: BTreeMap<&'static str, u64>,
    /// Signals that a sink's ring had no room for, by sink.
    pub refused: BTreeMap<&'static str, u64>,
    /// Kafka; null without a broker.
    pub kafka: Option<Kafka>,
}

/// Kafka.
#[derive(Clone, Debug, Serialize)]
pub struct Kafka {
    /// The epoch in force.
    pub epoch: u64,
    /// Signals by what became of them.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Signals put into the spill.
    pub spilled: u64,
    /// Times the broker was lost.
    pub broker_losses: u64,
    /// Times the producer was made anew.
    pub producer_rebuilds: u64,
    /// Errors of the spill's disk.
    pub spill_errors: u64,
    /// What went wrong last.
    pub trouble: Option<String>,
}

/// A stage. Quantiles are upper bounds within a fourth of the value, µs; null where nothing was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    /// Its name.
    pub stage: &'static str,
    /// How often it was measured.
    pub count: u64,
    /// Half were not longer.
    pub p50_us: Option<f64>,
    /// 99 in 100 were not longer.
    pub p99_us: Option<f64>,
    /// 999 in 1000 were not longer.
    pub p999_us: Option<f64>,
}
