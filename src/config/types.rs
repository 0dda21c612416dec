//! The configuration as typed values, one field per key of `table`: here the daemon's own, beside it those of
//! the presets.
//!
//! Invariants: values are within the bounds of the table and free of the conflicts of `rules` when
//! they come from `load`. Field names are the key names, so deserialisation is the mapping; a field
//! without a key, or a key without a field, is refused there.

mod feed;
mod strategy;

use serde::{Deserialize, Deserializer};
use std::path::PathBuf;

pub use feed::{Channels, FeedPreset, InstrumentConfig};
pub use strategy::{
    Anomaly, Bcm, Brake, Calibration, CalibrationMap, Cerebellum, CerebellumRules, Challenger,
    CombineRule, Combiner, Conformal, Eligibility, Isotonic, Logistic, Member, Metaplasticity,
    Normaliser, Stdp, StrategyPreset, Thresholds,
};

/// The daemon's own settings, from `purkinje.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the terminal shows.
    pub terminal: Terminal,
    /// The cycle clock.
    pub cycle: Cycle,
    /// Which feed preset is used.
    pub feed: PresetRef,
    /// Which strategy preset is used.
    pub strategy: PresetRef,
    /// The simulated exchange.
    pub simulator: Simulator,
    /// Threads, rings and books.
    pub pipeline: Pipeline,
    /// Where the models run.
    pub backend: Backend,
    /// Recording of raw input.
    pub record: Record,
    /// Journal of signals.
    pub journal: Journal,
    /// Kafka sink.
    pub kafka: Kafka,
    /// What is kept from one run to the next.
    pub state: State,
    /// Control socket.
    pub control: Control,
    /// HTTP.
    pub http: Http,
    /// The closing report.
    pub report: Report,
    /// `purkinje run`.
    pub run: Run,
}

/// A preset by built-in name or by path.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresetRef {
    /// Built-in name, or path of the file with a relative one already resolved.
    pub preset: String,
}

/// What the terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Terminal {
    /// `Table` on a terminal, `Lines` into a pipe.
    Auto,
    /// A live table of instruments.
    Table,
    /// One line per signal.
    Lines,
    /// Nothing.
    Off,
}

/// The cycle clock.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cycle {
    /// Time between two cycles, ms.
    pub period_ms: u32,
}

/// The simulated exchange.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Simulator {
    /// Seed of the market.
    pub seed: u64,
    /// Number of instruments.
    pub instruments: usize,
    /// Their symbols as configured; may be empty, see [`Simulator::symbol_list`].
    pub symbols: Vec<String>,
    /// Planted log-odds per standard deviation of the hidden state.
    pub strength: f64,
    /// Time constant of the hidden state, ms.
    pub memory_ms: u64,
    /// Mid-price moves per second and instrument.
    pub move_rate_hz: f64,
    /// Rate of frames relative to a BTCUSDT perpetual.
    pub activity: f64,
    /// Mean length of busy and quiet regimes, ms; 0 for none.
    pub regime_ms: u64,
    /// Loopback port; 0 takes a free one.
    pub port: u16,
}

impl Simulator {
    /// The symbols traded: those configured, or SIMA … SIMZ, SIMAA, SIMAB, … .
    #[must_use]
    pub fn symbol_list(&self) -> Vec<String> {
        if self.symbols.is_empty() {
            (0..self.instruments).map(simulated_symbol).collect()
        } else {
            self.symbols.clone()
        }
    }
}

/// Name of the `index`-th simulated instrument: letters count as in a spreadsheet's columns.
pub(crate) fn simulated_symbol(index: usize) -> String {
    let mut letters = Vec::new();
    let mut rest = index + 1;
    while rest > 0 {
        rest -= 1;
        letters.push(char::from(b'A' + (rest % 26) as u8));
        rest /= 26;
    }
    "SIM".chars().chain(letters.into_iter().rev()).collect()
}

/// Where the models run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// On what.
    pub kind: BackendKind,
    /// Number of the device.
    pub device: u32,
    /// Cycles from one copy of the device's state to the next.
    pub synchronise_cycles: u64,
    /// From a loss to each attempt to return, s.
    pub retry_s: u64,
    /// NVRTC's library; empty looks in the usual places.
    pub nvrtc: PathBuf,
    /// Folder of compiled kernels; empty is the usual one.
    pub kernel_cache: PathBuf,
}

/// On what the cerebellum runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendKind {
    /// On a GPU if one is found and serves, else on the CPU.
    Auto,
    /// On the CPU.
    Cpu,
    /// On an NVIDIA GPU, or not at all.
    Cuda,
}

/// Threads, rings and books.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// Capacity of the ring per connection, events.
    pub ring_items: usize,
    /// Depth of a book, levels per side.
    pub book_levels: usize,
    /// Core of the feed thread; `None` is not pinned.
    #[serde(deserialize_with = "core_number")]
    pub feed_core: Option<usize>,
    /// Core of the engine thread; `None` is not pinned.
    #[serde(deserialize_with = "core_number")]
    pub engine_core: Option<usize>,
    /// Core of the model thread; `None` is not pinned.
    #[serde(deserialize_with = "core_number")]
    pub model_core: Option<usize>,
    /// Core of the sink thread; `None` is not pinned.
    #[serde(deserialize_with = "core_number")]
    pub sink_core: Option<usize>,
    /// How the engine waits.
    pub engine_wait: EngineWait,
    /// Age at which an instrument is stale, ms.
    pub stale_after_ms: u64,
}

/// -1 means not pinned.
fn core_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    i64::deserialize(deserializer).map(|core| usize::try_from(core).ok())
}

/// How the engine thread waits for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineWait {
    /// Sleeps until woken.
    Park,
    /// Polls.
    Spin,
}

/// Recording of raw input.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Directory; empty records nothing.
    pub dir: PathBuf,
    /// Size at which a file is closed, MiB.
    pub rotate_mb: u64,
    /// Age at which a file is closed, s.
    pub rotate_s: u64,
    /// zstd compression level.
    pub level: i32,
    /// When data is forced to the disk.
    pub fsync: RecordFsync,
}

/// When recorded data is forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordFsync {
    /// Left to the system.
    Never,
    /// At each new file.
    Rotate,
    /// At each flush.
    Flush,
}

/// Journal of signals.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Journal {
    /// File; empty keeps none.
    pub path: PathBuf,
    /// Size at which it is set aside and begun anew, MiB.
    pub max_mb: u64,
    /// When lines are forced to the disk.
    pub fsync: JournalFsync,
}

/// When journal lines are forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JournalFsync {
    /// Left to the system.
    Never,
    /// Once a second.
    Second,
}

/// Kafka: where signals go, and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Bootstrap servers; empty publishes nothing.
    pub brokers: String,
    /// What the names of topics begin with.
    pub topic_prefix: String,
    /// How signals are delivered.
    pub mode: KafkaMode,
    /// Kafka's transactional.id; empty in the mode [`KafkaMode::Epoch`].
    pub transactional_id: String,
    /// Encoding of signals.
    pub encoding: KafkaEncoding,
    /// Name of this daemon; empty takes the host's.
    pub source: String,
    /// Whether to publish to the compacted topic, too.
    pub latest: bool,
    /// Most signals handed to the client and not acknowledged.
    pub window_messages: usize,
    /// Age of an unacknowledged signal at which the broker counts as lost, ms.
    pub broker_loss_ms: u64,
    /// Directory of epoch and spill; empty takes the default one.
    pub state_dir: PathBuf,
    /// Most disk space for spilled signals, MiB.
    pub spill_mb: u64,
    /// Interval of health records, ms; 0 is never.
    pub health_every_ms: u64,
    /// Whether to obey the control topic.
    pub control: bool,
    /// How to speak to the brokers.
    pub security: KafkaSecurity,
    /// Transport security.
    pub tls: KafkaTls,
    /// Authentication.
    pub sasl: KafkaSasl,
}

/// How signals are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KafkaMode {
    /// At least once; consumers drop by instrument, epoch and sequence.
    Epoch,
    /// One transaction per cycle.
    Fenced,
}

/// Encoding of signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KafkaEncoding {
    /// One JSON object.
    Json,
    /// One Protobuf message.
    Protobuf,
}

/// How to speak to the brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KafkaSecurity {
    /// Openly.
    Plaintext,
    /// TLS.
    Tls,
    /// Log in, openly.
    SaslPlaintext,
    /// Log in over TLS.
    SaslTls,
}

/// Transport security towards the brokers. All files are PEM; an empty path is none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaTls {
    /// Who may sign brokers' certificates.
    pub ca_file: PathBuf,
    /// The client's certificate.
    pub certificate_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
    /// File with the key's password.
    pub key_password_file: PathBuf,
}

/// Authentication towards the brokers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSasl {
    /// How.
    pub mechanism: SaslMechanism,
    /// As whom.
    pub username: String,
    /// File with the password.
    pub password_file: PathBuf,
}

/// How to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SaslMechanism {
    /// Salted challenge, SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
    /// Salted challenge, SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// The password as it is: for TLS only.
    Plain,
}

/// Control socket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Path; empty takes the default one.
    pub socket: PathBuf,
}

/// What is kept from one run to the next.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Directory of what was learned; empty keeps nothing.
    pub dir: PathBuf,
}

/// HTTP: health, metrics, signals, dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Whether to serve at all.
    pub enabled: bool,
    /// Where, `ip:port`.
    pub address: String,
    /// File with the bearer token; empty is none.
    pub token_file: PathBuf,
}

/// The closing report.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// First stretch whose forecasts are not scored, s.
    pub warmup_s: u64,
}

/// `purkinje run`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Time after which it ends by itself, s; 0 runs until stopped.
    pub duration_s: u64,
}
