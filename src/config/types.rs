//! The configuration as typed values, one field per key of `table`.
//!
//! Invariants: values are within the bounds of the table and free of the conflicts of `rules` when
//! they come from `load`. Field names are the key names, so deserialisation is the mapping; a field
//! without a key, or a key without a field, is refused there.

use serde::{
    Deserialize, Deserializer,
    de::{IntoDeserializer as _, value::StringDeserializer},
};
use std::path::PathBuf;

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
    /// Recording of raw input.
    pub record: Record,
    /// Journal of signals.
    pub journal: Journal,
    /// Kafka sink.
    pub kafka: Kafka,
    /// Control socket.
    pub control: Control,
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

/// A feed: venue, addresses, channels, instruments.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedPreset {
    /// A name of `purkinje_feeds::instrument::Venue`.
    pub venue: String,
    /// WebSocket address; empty means the simulated exchange inside this process.
    pub ws_url: String,
    /// REST address; empty exactly when `ws_url` is.
    pub rest_url: String,
    /// What to subscribe to.
    pub channels: Channels,
    /// Levels per side of a snapshot.
    pub snapshot_limit: u32,
    /// Request weight the venue allows a minute.
    pub rest_weight_per_min: u32,
    /// Silence after which a connection is replaced, ms.
    pub idle_timeout_ms: u64,
    /// Age at which a connection is replaced, s.
    pub max_lifetime_s: u64,
    /// Failures in a row after which a connection is given up; 0 is without limit.
    pub max_connect_failures: u32,
    /// Most streams on one connection.
    pub max_streams_per_connection: usize,
    /// Connections over which the instruments are spread.
    pub connections: usize,
    /// What to listen to; empty only with the simulated exchange inside this process, and then
    /// all it trades.
    pub instruments: Vec<InstrumentConfig>,
}

impl FeedPreset {
    /// Whether the feed is the simulated exchange inside this process.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.ws_url.is_empty()
    }
}

/// Streams to subscribe to for every instrument.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channels {
    /// Interval of order-book updates as in the stream's name, for example `100ms`.
    pub depth: String,
    /// Best bid and ask.
    pub book_ticker: bool,
    /// Trades.
    pub trade: bool,
    /// The simulated exchange's own forecast.
    pub oracle: bool,
}

impl Channels {
    /// Interval of order-book updates, ms; 0 is unthrottled.
    #[must_use]
    pub fn depth_interval_ms(&self) -> u32 {
        self.depth.strip_suffix("ms").and_then(|ms| ms.parse().ok()).unwrap_or(0)
    }

    /// Streams per instrument.
    #[must_use]
    pub fn per_instrument(&self) -> usize {
        1 + usize::from(self.book_ticker) + usize::from(self.trade) + usize::from(self.oracle)
    }
}

/// One instrument of a feed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstrumentConfig {
    /// The venue's own spelling.
    pub symbol: String,
    /// Decimals of a price.
    pub price_decimals: u8,
    /// Decimals of a quantity.
    pub qty_decimals: u8,
}

/// A strategy: members, horizon, features, thresholds, risk.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StrategyPreset {
    /// Predictors of the ensemble, in order.
    pub members: Vec<Member>,
    /// Folders of trained networks that are members behind those.
    pub networks: Vec<String>,
    /// How far ahead a forecast looks, ms.
    pub horizon_ms: u64,
    /// How features are put on one scale.
    pub normaliser: Normaliser,
    /// Cycles a feature is watched before it is put on the scale.
    pub normaliser_warm_up_cycles: u32,
    /// Time constant with which the scale forgets, cycles.
    pub normaliser_memory_cycles: u32,
    /// Feature names, or exactly `["all"]`; see `Loaded::select_features`.
    pub features: Vec<String>,
    /// Life of a signal, ms.
    pub ttl_ms: u64,
    /// Most BUY and SELL signals per instrument and second.
    pub max_signals_per_s: u32,
    /// When to BUY and SELL.
    pub thresholds: Thresholds,
    /// The cerebellar circuit.
    pub cerebellum: Cerebellum,
    /// ONNX Runtime.
    pub onnx: Onnx,
    /// The online logistic regression.
    pub logistic: Logistic,
    /// The combination of members.
    pub combiner: Combiner,
    /// The recalibration of probabilities.
    pub calibration: Calibration,
    /// Abstention.
    pub conformal: Conformal,
    /// The combination in shadow.
    pub challenger: Challenger,
    /// What lowers confidence where features are unusual.
    pub anomaly: Anomaly,
}

/// A predictor of the ensemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Member {
    /// The spiking cerebellar circuit.
    Cerebellum,
    /// Online logistic regression on the features.
    Logistic,
    /// Logistic regression on two queue imbalances: the forecaster to beat.
    QueueImbalance,
    /// Continuation of the last move.
    Persistence,
}

/// How features are put on one scale online.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Normaliser {
    /// Distance from a running median in running absolute deviations.
    RobustZ,
    /// Position between decaying extremes.
    MinMax,
}

/// When to BUY and SELL.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// BUY needs a value above this.
    pub buy_value: f64,
    /// SELL needs a value below this.
    pub sell_value: f64,
    /// Both need a confidence above this.
    pub confidence: f64,
}

/// The cerebellar circuit.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cerebellum {
    /// Seed of wiring and spike generation.
    pub seed: u64,
    /// Granule cells per instrument.
    pub granule_cells: usize,
    /// Mossy fibres per feature.
    pub fibres_per_feature: usize,
    /// Simulation steps of 1 ms per cycle.
    pub steps_per_cycle: usize,
    /// Mean rate of every granule cell, Hz.
    pub granule_hz: f64,
    /// Depression by one climbing-fibre spike at the first outcome, in initial weights.
    pub learning_rate: f64,
    /// Whether all instruments share the plastic synapses.
    pub shared_weights: bool,
    /// Threads that share the instruments.
    pub threads: usize,
    /// Whether anything learns.
    pub plastic: bool,
    /// What of the past activity an outcome teaches.
    pub eligibility: Eligibility,
    /// Which rules are on.
    pub rules: CerebellumRules,
    /// The nucleo-olivary brake.
    pub brake: Brake,
    /// Pair STDP.
    pub stdp: Stdp,
    /// Metaplasticity.
    pub metaplasticity: Metaplasticity,
    /// The sliding threshold.
    pub bcm: Bcm,
    /// Checkpoint of a training that the weights start from; empty starts untaught.
    pub weights: PathBuf,
}

/// What of the granule cells' past activity an outcome teaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Eligibility {
    /// The activity of the cycle that forecast.
    Held,
    /// All activity, weighed by a kernel that peaks one horizon back.
    Kernel,
}

/// Which online rules of the cerebellum are on.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CerebellumRules {
    /// Plasticity gated by climbing fibres.
    pub climbing_fibre: bool,
    /// Synaptic scaling.
    pub scaling: bool,
    /// Nucleo-olivary inhibition.
    pub brake: bool,
    /// Pair STDP.
    pub stdp: bool,
    /// Metaplasticity.
    pub metaplasticity: bool,
    /// Sliding threshold.
    pub bcm: bool,
    /// Intrinsic plasticity.
    pub intrinsic: bool,
}

/// The nucleo-olivary brake.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Brake {
    /// Share of the value's distance from one half that it takes off the error.
    pub strength: f64,
}

/// Pair STDP.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stdp {
    /// Decay of the presynaptic trace, ms.
    pub tau_pre_ms: f64,
    /// Decay of the postsynaptic trace, ms.
    pub tau_post_ms: f64,
    /// Potentiation by a coincident pair at a rate of 1.
    pub a_plus: f64,
    /// Depression by a coincident pair at a rate of 1.
    pub a_minus: f64,
    /// Learning rate.
    pub rate: f64,
}

/// Metaplasticity.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metaplasticity {
    /// Mean movement of the weights above which learning slows, share of their range per second.
    pub threshold_per_s: f64,
    /// Time constant, ms.
    pub tau_ms: f64,
    /// What the rate is divided or multiplied by in that time.
    pub factor: f64,
}

/// The sliding threshold.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bcm {
    /// Change by one parallel-fibre spike at a modification of 1, in initial weights.
    pub rate: f64,
}

/// ONNX Runtime, for networks that our own kernels do not know.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Onnx {
    /// Its library; empty looks it up.
    pub library: PathBuf,
    /// Share of a cycle that all calls for one network may take.
    pub cycle_share: f64,
    /// Cycles in a row over it after which a live run asks the network no more.
    pub sleep_after_cycles: u32,
    /// Calls before the run.
    pub warm_up_runs: u32,
}

/// The online logistic regression.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logistic {
    /// Standard deviation of a weight before any label, logits per unit of its feature.
    pub prior_sd: f64,
    /// Label weight after which old labels count 1/e as much.
    pub memory_labels: f64,
}

/// How members are combined; see `purkinje_strategies::combine::CombineRule`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CombineRule {
    /// ML-Poly mixes of log odds.
    MlPoly,
    /// Mean of the probabilities.
    Mean,
    /// Share of the members above one half.
    Vote,
    /// Median of the probabilities.
    Median,
    /// Logistic regression on the members' log odds.
    Stacking,
    /// Bayesian mixture that expects switches.
    FixedShare,
    /// Bernstein online aggregation of log odds.
    Boa,
}

/// The combination of members.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Combiner {
    /// The rule.
    pub rule: CombineRule,
    /// Share of the weight dealt out equally to the awake experts.
    pub share_floor: f64,
    /// Memory of the mix that follows changes, labels.
    pub tracking_memory_labels: f64,
    /// Memory of the base rate, labels.
    pub base_rate_memory_labels: f64,
    /// Members' probabilities are kept this far from 0 and 1.
    pub probability_clip: f64,
}

/// The recalibration of probabilities.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// How what is combined is recalibrated.
    pub map: CalibrationMap,
    /// How members that are no probabilities by construction are.
    pub members_map: CalibrationMap,
    /// Prior standard deviation of the slope around 1.
    pub slope_sd: f64,
    /// Prior standard deviation of the offset around 0, log-odds.
    pub offset_sd: f64,
    /// Labels after which it forgets by a factor of e.
    pub memory_labels: f64,
    /// The isotonic map.
    pub isotonic: Isotonic,
}

/// A recalibration; see `purkinje_strategies::calibrate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CalibrationMap {
    /// Slope and offset in log-odds.
    Platt,
    /// Any monotone map.
    Isotonic,
    /// The identity.
    None,
}

/// The isotonic recalibration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Isotonic {
    /// Independent labels that the identity is worth in each bin.
    pub prior_labels: f64,
    /// Labels from one fit to the next.
    pub refit_labels: u32,
}

/// Abstention by adaptive conformal prediction.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conformal {
    /// Whether it abstains at all.
    pub enabled: bool,
    /// Share of outcomes that the set may miss.
    pub target_miss_rate: f64,
    /// Step of the adaptation.
    pub rate: f64,
    /// Outcomes that the quantile is taken over.
    pub window_labels: usize,
}

/// The combination in shadow.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenger {
    /// Its rule; `None` is no challenger.
    #[serde(deserialize_with = "rule_unless_off")]
    pub rule: Option<CombineRule>,
    /// Folders of trained networks that only it combines.
    pub networks: Vec<String>,
    /// Largest probability of a promotion that is not deserved.
    pub alpha: f64,
    /// Outcomes that must have counted before a promotion.
    pub labels_min: u64,
}

/// The word `off` means none.
fn rule_unless_off<'de, D: Deserializer<'de>>(from: D) -> Result<Option<CombineRule>, D::Error> {
    let word = String::deserialize(from)?;
    if word == "off" {
        return Ok(None);
    }
    let word: StringDeserializer<D::Error> = word.into_deserializer();
    CombineRule::deserialize(word).map(Some)
}

/// What lowers confidence where features are unusual.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anomaly {
    /// Folder of an autoencoder; empty is none.
    pub network: PathBuf,
}
