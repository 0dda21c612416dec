//! The one table of configuration keys: every key of every document, with its bounds and default.
//!
//! Adding a key is one line here and one field of the same name in `types`; a missing half fails
//! every test that loads anything. `.signals()` marks what can change the signals made from a given
//! recorded input: what only chooses or shapes the input (addresses, the simulator, ring sizes whose
//! decisions a recording carries) or where output goes is left unmarked. `.live()` marks what a running
//! daemon takes at a reload, all of which `pipeline::live_settings` carries to it; all else needs a restart.

use super::spec::{KeySpec, Kind};
use purkinje_feeds::instrument::{MAX_DECIMALS, MAX_INSTRUMENTS};
use purkinje_feeds::session::MAX_SNAPSHOT_LIMIT;

/// Venue names a feed may give; a test holds them equal to `purkinje_feeds::instrument::Venue`.
#[rustfmt::skip]
pub(crate) const VENUES: &[&str] = &[
    "binance-spot", "binance-usdm", "binance-coinm", "coinbase-advanced", "coinbase-exchange", "kraken",
    "bybit-spot", "bybit-linear", "okx", "bitstamp", "deribit",
];

/// Ensemble members a strategy may list.
pub(crate) const MEMBERS: &[&str] = &["cerebellum", "logistic", "queue-imbalance", "persistence"];

/// Maps of a recalibration.
const CALIBRATIONS: &[&str] = &["platt", "isotonic", "none"];

/// Rules of combination that a challenger may have, or that there is none.
const CHALLENGER_RULES: &[&str] =
    &["off", "ml-poly", "mean", "vote", "median", "stacking", "fixed-share", "boa"];

/// Most symbols the simulated exchange trades.
pub(crate) const MAX_SIMULATED: i64 = 64;

/// Most cycles a forecast may look ahead: the model keeps one activity record a pending cycle.
pub(crate) const MAX_HORIZON_CYCLES: i64 = 600;

/// Largest processor core number that a thread may be pinned to.
const MAX_CORE: i64 = 1023;

/// One day, the longest duration most settings take.
const DAY_S: i64 = 86_400;

/// Keys of `purkinje.toml`.
#[rustfmt::skip]
pub(crate) static DAEMON: &[KeySpec] = &[
    KeySpec::choice("terminal", &["auto", "table", "lines", "off"], "Signals on the terminal: a live table, one line each, or nothing; `auto` is `table` on a terminal and `lines` into a pipe."),

    KeySpec::int("cycle.period_ms", 100, (10, 10_000), "Time between two cycles: one forecast and one decision per instrument each.").unit("ms").signals(),

    KeySpec::text("feed.preset", "simulated", "Feed preset: a built-in name or the path of a file (relative to the file that names it). `feed = \"NAME\"` is short for this."),
    KeySpec::text("strategy.preset", "default", "Strategy preset: a built-in name or the path of a file (relative to the file that names it). `strategy = \"NAME\"` is short for this."),

    KeySpec::int("simulator.seed", 1, (0, i64::MAX), "Seed of the simulated market: same seed, same market."),
    KeySpec::int("simulator.instruments", 6, (1, MAX_SIMULATED), "Number of instruments the simulated exchange trades."),
    KeySpec::list("simulator.symbols", &Kind::Symbol { max: 20, is_venues: false }, (0, MAX_SIMULATED as usize), &[], "Their symbols; empty means SIMA, SIMB, … ."),
    KeySpec::float("simulator.strength", 1.1, (0.0, 20.0), "Strength of the planted predictable component: log-odds that the next move is up, per standard deviation of the hidden state. The default lets the best forecast over one second be right three times in four; 0 leaves nothing to learn."),
    KeySpec::int("simulator.memory_ms", 4_000, (50, 3_600_000), "Time constant of the hidden state.").unit("ms"),
    KeySpec::float("simulator.move_rate_hz", 4.0, (0.01, 100.0), "Mean rate of mid-price moves per instrument.").unit("Hz"),
    KeySpec::float("simulator.activity", 0.3, (0.01, 10.0), "Rate of frames relative to a BTCUSDT perpetual; the default keeps a small host idle."),
    KeySpec::int("simulator.regime_ms", 0, (0, 3_600_000), "Mean length of busy and quiet regimes that take turns, at least 100; in a quiet one the flow is slow and the book leans away from where the price goes, which no linear model of the features sees. 0: none.").unit("ms"),
    KeySpec::int("simulator.port", 0, (0, 65_535), "Loopback port of the simulated exchange; 0 takes a free one."),

    KeySpec::int("pipeline.ring_items", 65_536, (1_024, 16_777_216), "Capacity of the ring between a connection and the engine; when it is full, updates are conflated per instrument and counted.").unit("events"),
    KeySpec::int("pipeline.book_levels", 1_000, (20, 10_000), "Depth of a book.").unit("levels per side").signals(),
    KeySpec::int("pipeline.feed_core", -1, (-1, MAX_CORE), "Processor core of the feed thread; -1 leaves it to the scheduler."),
    KeySpec::int("pipeline.engine_core", -1, (-1, MAX_CORE), "Processor core of the engine thread; -1 leaves it to the scheduler."),
    KeySpec::int("pipeline.model_core", -1, (-1, MAX_CORE), "Processor core of the model thread; -1 leaves it to the scheduler."),
    KeySpec::int("pipeline.sink_core", -1, (-1, MAX_CORE), "Processor core of the sink thread; -1 leaves it to the scheduler."),
    KeySpec::choice("pipeline.engine_wait", &["park", "spin"], "How the engine waits for events: `park` sleeps, `spin` burns a core for the last microseconds."),
    KeySpec::int("pipeline.stale_after_ms", 3_000, (10, 600_000), "An instrument without data for this long is stale and gets HOLD.").unit("ms").signals().live(),

    KeySpec::choice("backend.kind", &["auto", "cpu", "cuda"], "Where the cerebellum and the trained networks run: `cuda` on an NVIDIA GPU or not at all, `auto` there if one is found and holds them, else on the CPU, where ONNX Runtime's networks are in any case. Signals are the same to the bit."),
    KeySpec::int("backend.device", 0, (0, 63), "Number of the GPU, of those that CUDA_VISIBLE_DEVICES leaves."),
    KeySpec::int("backend.synchronise_cycles", 100, (1, 1_000_000), "Cycles from one copy of the GPU's cells, weights and streams to the next (of streams at most 128). What the cerebellum learned since the last is lost with a GPU; networks are led through the cycles since on the CPU.").unit("cycles"),
    KeySpec::int("backend.retry_s", 60, (1, DAY_S), "Time from the loss of a GPU to each attempt to go back to it.").unit("s"),
    KeySpec::path("backend.nvrtc", "", "NVRTC's library, where kernels are compiled at first start; empty looks at PURKINJE_NVRTC and in the usual places."),
    KeySpec::path("backend.kernel_cache", "", "Directory of compiled kernels; empty is purkinje/kernels in XDG_CACHE_HOME or ~/.cache."),

    KeySpec::path("record.dir", "", "Directory of recordings (relative to the working directory); empty records nothing."),
    KeySpec::int("record.rotate_mb", 256, (1, 65_536), "A recording file is closed and the next begun at this size.").unit("MiB"),
    KeySpec::int("record.rotate_s", 3_600, (10, 7 * DAY_S), "A recording file is closed and the next begun at this age.").unit("s"),
    KeySpec::int("record.level", 1, (1, 3), "zstd compression level."),
    KeySpec::choice("record.fsync", &["rotate", "never", "flush"], "When recorded data is forced to the disk: at each new file, never, or at each flush (once a second)."),

    KeySpec::path("journal.path", "", "JSON-Lines journal of signals (relative to the working directory); empty keeps none."),
    KeySpec::int("journal.max_mb", 256, (1, 1_048_576), "Size at which the journal is set aside as NAME.1, replacing the one before, and begun anew.").unit("MiB"),
    KeySpec::choice("journal.fsync", &["never", "second"], "When journal lines are forced to the disk: left to the system, or once a second."),

    KeySpec::text("kafka.brokers", "", "Kafka bootstrap servers, `host:port` separated by commas; empty publishes nothing."),
    KeySpec::text("kafka.topic_prefix", "purkinje", "What the names of all topics begin with, before `.signals.v1` and its like. Letters, digits, dots and hyphens."),
    KeySpec::choice("kafka.mode", &["epoch", "fenced"], "How signals are delivered: `epoch` at least once, consumers drop by (instrument, epoch, seq); `fenced` in one transaction per cycle, for consumers that read committed records."),
    KeySpec::text("kafka.transactional_id", "", "Kafka's transactional.id in the mode `fenced`: of all who share it only the one started last may publish."),
    KeySpec::choice("kafka.encoding", &["json", "protobuf"], "Encoding of signals."),
    KeySpec::text("kafka.source", "", "Name of this daemon in the header ce_source; empty takes purkinje://HOSTNAME."),
    KeySpec::bool("kafka.latest", true, "Publish every signal to the compacted topic of latest signals, too."),
    KeySpec::int("kafka.window_messages", 4_096, (64, 1 << 16), "Most signals handed to the Kafka client and not yet acknowledged; beyond it they are spilled.").unit("messages"),
    KeySpec::int("kafka.broker_loss_ms", 1_000, (10, 60_000), "A broker that leaves a signal unacknowledged for this long counts as lost, and new signals are spilled until it answers.").unit("ms"),
    KeySpec::path("kafka.state_dir", "", "Directory of the epoch and of spilled signals; empty takes $STATE_DIRECTORY, else $XDG_STATE_HOME/purkinje, else ~/.local/state/purkinje."),
    KeySpec::int("kafka.spill_mb", 64, (1, 65_536), "Most disk space for signals the broker has not taken; beyond it the oldest are refused and counted.").unit("MiB"),
    KeySpec::int("kafka.health_every_ms", 1_000, (0, 3_600_000), "Interval of health records; 0 publishes none.").unit("ms"),
    KeySpec::bool("kafka.control", false, "Obey halt and resume from the control topic: whoever may write there may stop trading."),
    KeySpec::choice("kafka.security", &["plaintext", "tls", "sasl-plaintext", "sasl-tls"], "How to speak to the brokers."),
    KeySpec::path("kafka.tls.ca_file", "", "Certificates (PEM) that may sign a broker's; empty takes the system's."),
    KeySpec::path("kafka.tls.certificate_file", "", "This client's certificate (PEM), where brokers ask for one."),
    KeySpec::path("kafka.tls.key_file", "", "The key of the client's certificate (PEM)."),
    KeySpec::path("kafka.tls.key_password_file", "", "File with the password of that key; credential:NAME is a systemd credential."),
    KeySpec::choice("kafka.sasl.mechanism", &["scram-sha-512", "scram-sha-256", "plain"], "How to log in."),
    KeySpec::text("kafka.sasl.username", "", "Name to log in with."),
    KeySpec::path("kafka.sasl.password_file", "", "File with the password to log in with; credential:NAME is a systemd credential."),

    KeySpec::path("state.dir", "", "Directory of what was learned: written when a run ends in order, the last two of them kept, and taken up by the next run; empty keeps nothing."),

    KeySpec::path("control.socket", "", "Unix socket of `purkinje halt` and its like; empty takes the default path."),

    KeySpec::bool("http.enabled", true, "Serve health, metrics, signals and the dashboard over HTTP."),
    KeySpec::text("http.address", "127.0.0.1:9109", "Where HTTP is served, `ip:port`; port 0 takes a free one. A socket that systemd passes is taken instead. Where the default is taken by somebody else the run goes on without HTTP; where another address is, it does not start."),
    KeySpec::path("http.token_file", "", "File with the bearer token of those who may halt and resume trading over HTTP; credential:NAME is a systemd credential; empty: nobody may."),

    KeySpec::int("report.warmup_s", 60, (0, DAY_S), "Forecasts of this first stretch are not scored in the report.").unit("s"),

    KeySpec::int("run.duration_s", 0, (0, 365 * DAY_S), "`purkinje run` ends by itself after this time; 0 runs until stopped.").unit("s"),
];

/// Keys of a feed preset.
#[rustfmt::skip]
pub(crate) static FEED: &[KeySpec] = &[
    KeySpec::choice("venue", VENUES, "Venue and product family: decides wire format and sequence rules.").required().signals(),
    KeySpec::url("ws_url", &["ws://", "wss://"], "WebSocket address; empty means the simulated exchange inside this process."),
    KeySpec::url("rest_url", &["http://", "https://"], "REST address for snapshots, without a path; empty means the simulated exchange inside this process."),
    KeySpec::choice("channels.depth", &["100ms", "0ms", "250ms", "500ms", "1000ms"], "Interval of order-book updates. Binance spot offers 100ms and 1000ms, its futures 0ms (unthrottled), 100ms, 250ms and 500ms, Deribit 100ms and (with a login) 0ms; other venues send at their own pace.").signals(),
    KeySpec::bool("channels.book_ticker", true, "Subscribe to every change of the best bid and ask.").signals(),
    KeySpec::bool("channels.trade", true, "Subscribe to trades.").signals(),
    KeySpec::bool("channels.oracle", false, "Subscribe to the simulated exchange's best possible forecast, for the report only; no venue has it."),
    KeySpec::int("snapshot_limit", 1_000, (5, MAX_SNAPSHOT_LIMIT as i64), "Levels a side of a snapshot, and the depth subscribed where the venue offers several: the least that is enough.").unit("levels").signals(),
    KeySpec::int("rest_weight_per_min", 2_400, (10, 1_000_000), "Request weight the venue allows a minute; at most nine tenths are used.").unit("weight/min"),
    KeySpec::int("idle_timeout_ms", 60_000, (1_000, 600_000), "A connection that delivers no byte for this long is replaced.").unit("ms"),
    KeySpec::int("max_lifetime_s", 85_800, (1, 7 * DAY_S), "Age at which a connection is replaced by one that is ready, before the venue cuts it (Binance: after 24 hours); up to a sixteenth earlier, so that many are not replaced at once.").unit("s"),
    KeySpec::int("max_connect_failures", 0, (0, 1_000_000), "Attempts to connect that may fail in a row before the run is given up and ends with an error; 0 tries for ever.").unit("attempts"),
    KeySpec::int("max_streams_per_connection", 200, (1, 1_024), "Most streams the venue takes on one connection.").unit("streams"),
    KeySpec::int("connections", 1, (1, 64), "Connections over which the instruments are spread.").signals(),
    KeySpec::tables("instruments", INSTRUMENT, MAX_INSTRUMENTS, "What to listen to, in the order of instrument ids. May be left out with the simulated exchange inside this process, and then means all it trades.").signals(),
];

/// Keys of one `[[instruments]]` table of a feed preset.
#[rustfmt::skip]
pub(crate) static INSTRUMENT: &[KeySpec] = &[
    KeySpec::symbol("symbol", "The venue's own spelling, as in its data frames."),
    KeySpec::int("price_decimals", 8, (0, MAX_DECIMALS as i64), "Decimals of a price as the venue prints it.").required(),
    KeySpec::int("qty_decimals", 8, (0, MAX_DECIMALS as i64), "Decimals of a quantity as the venue prints it.").required(),
];

/// Keys of a strategy preset.
#[rustfmt::skip]
pub(crate) static STRATEGY: &[KeySpec] = &[
    KeySpec::list("members", &Kind::Choice(MEMBERS), (1, MEMBERS.len()), MEMBERS, "Predictors of the ensemble.").signals(),
    KeySpec::list("networks", &Kind::Text, (0, 7), &[], "Folders with model.toml and weights.safetensors or model.onnx: trained networks that are members, too, named after their folders.").signals(),
    KeySpec::int("horizon_ms", 1_000, (10, 600_000), "How far ahead a forecast looks; a multiple of `cycle.period_ms`.").unit("ms").signals(),
    KeySpec::choice("normaliser", &["robust-z", "min-max"], "How features are put on one scale online.").signals(),
    KeySpec::int("normaliser_warm_up_cycles", 128, (80, 4_096), "Cycles a feature is watched before it is put on the scale; until then it reads 0.").unit("cycles").signals(),
    KeySpec::int("normaliser_memory_cycles", 3_000, (80, 10_000_000), "Time constant with which the scale forgets.").unit("cycles").signals(),
    KeySpec::list("features", &Kind::Text, (1, 1_024), &["all"], "Names of the features the members see, or `\"all\"`.").signals(),
    KeySpec::int("ttl_ms", 5_000, (10, 600_000), "Time after which a signal has expired.").unit("ms").signals(),
    KeySpec::int("max_signals_per_s", 10, (1, 1_000), "Most BUY and SELL signals per instrument and second; what exceeds it is HOLD with the reason.").unit("signals/s").signals().live(),

    KeySpec::float("thresholds.buy_value", 0.6, (0.0, 1.0), "BUY needs a value above this.").signals().live(),
    KeySpec::float("thresholds.sell_value", 0.4, (0.0, 1.0), "SELL needs a value below this.").signals().live(),
    KeySpec::float("thresholds.confidence", 0.7, (0.5, 1.0), "BUY and SELL need a confidence (the recalibrated probability of the predicted side) above this.").signals().live(),

    KeySpec::int("cerebellum.seed", 1, (0, i64::MAX), "Seed of wiring and spike generation.").signals(),
    KeySpec::int("cerebellum.granule_cells", 2_000, (16, 1_000_000), "Granule cells per instrument.").unit("cells").signals(),
    KeySpec::int("cerebellum.fibres_per_feature", 2, (2, 100), "Mossy fibres that encode one feature.").unit("fibres").signals(),
    KeySpec::int("cerebellum.steps_per_cycle", 100, (40, 1_000), "Simulation steps of 1 ms of model time per cycle.").unit("steps").signals(),
    KeySpec::float("cerebellum.granule_hz", 5.0, (0.1, 20.0), "Mean rate that every granule cell is set to when the network is built; about 1 - exp(-rate * 0.1 s) of the cells fire in 100 ms.").unit("Hz").signals(),
    KeySpec::float("cerebellum.learning_rate", 0.05, (0.000_001, 1.0), "Depression of a parallel-fibre synapse by one climbing-fibre spike, at the first outcome, as a share of its initial weight; falls with the number of outcomes to a hundredth.").signals(),
    KeySpec::bool("cerebellum.shared_weights", true, "Whether all instruments share the plastic synapses and so learn from one another.").signals(),
    KeySpec::int("cerebellum.threads", 1, (1, 256), "Threads that share the instruments; results do not depend on it.").unit("threads"),
    KeySpec::bool("cerebellum.plastic", true, "Whether anything in the cerebellum learns; when false it stays as it was built.").signals(),
    KeySpec::choice("cerebellum.eligibility", &["held", "kernel"], "What an outcome teaches: the activity of the very cycle that forecast, held until then, or all activity, weighed by a difference of two exponentials that peaks one horizon back.").signals(),
    KeySpec::bool("cerebellum.rules.climbing_fibre", true, "Plasticity of parallel fibres gated by climbing fibres, with the potentiation that balances it.").signals(),
    KeySpec::bool("cerebellum.rules.scaling", true, "Synaptic scaling on the mean rate of both zones.").signals(),
    KeySpec::bool("cerebellum.rules.brake", false, "Nucleo-olivary inhibition: climbing fibres fire less where the nuclei already answer.").signals(),
    KeySpec::bool("cerebellum.rules.stdp", false, "Pair STDP of parallel fibres; needs weights of each instrument's own.").signals(),
    KeySpec::bool("cerebellum.rules.metaplasticity", false, "Purkinje cells whose weights moved much learn more slowly.").signals(),
    KeySpec::bool("cerebellum.rules.bcm", false, "Sliding threshold between depression and potentiation.").signals(),
    KeySpec::bool("cerebellum.rules.intrinsic", false, "Drive of the Purkinje cells that follows their rate.").signals(),
    KeySpec::float("cerebellum.brake.strength", 0.5, (0.0, 4.0), "Share of the value's distance from one half that the brake takes off the error.").signals(),
    KeySpec::float("cerebellum.stdp.tau_pre_ms", 20.0, (0.1, 10_000.0), "Decay of the presynaptic trace.").unit("ms").signals(),
    KeySpec::float("cerebellum.stdp.tau_post_ms", 20.0, (0.1, 10_000.0), "Decay of the postsynaptic trace.").unit("ms").signals(),
    KeySpec::float("cerebellum.stdp.a_plus", 0.1, (0.0, 10.0), "Potentiation by a coincident pair at a rate of 1, in initial weights.").signals(),
    KeySpec::float("cerebellum.stdp.a_minus", 0.105, (0.0, 10.0), "Depression by a coincident pair at a rate of 1, in initial weights.").signals(),
    KeySpec::float("cerebellum.stdp.rate", 0.01, (0.0, 1.0), "Learning rate of pair STDP.").signals(),
    KeySpec::float("cerebellum.metaplasticity.threshold_per_s", 0.1, (0.000_001, 1_000.0), "Mean movement of a Purkinje cell's weights above which it learns more slowly, as a share of their range per second.").unit("1/s").signals(),
    KeySpec::float("cerebellum.metaplasticity.tau_ms", 1_000.0, (1.0, 1e7), "Time constant of the mean movement and of the change of the rate.").unit("ms").signals(),
    KeySpec::float("cerebellum.metaplasticity.factor", 1.2, (1.001, 100.0), "What the learning rate is divided or multiplied by in that time.").signals(),
    KeySpec::float("cerebellum.bcm.rate", 0.001, (0.0, 1.0), "Change by one parallel-fibre spike at a modification of 1, in initial weights.").signals(),
    KeySpec::path("cerebellum.weights", "", "Checkpoint of `purkinje train cerebellum` whose weights it starts from (relative to the working directory); empty starts untaught.").signals(),

    KeySpec::path("onnx.library", "", "ONNX Runtime's library, for networks from ONNX files that our own kernels do not know; empty looks for the one that ORT_DYLIB_PATH names, then for the system's libonnxruntime.so."),
    KeySpec::float("onnx.cycle_share", 0.25, (0.000_001, 1.0), "Share of a cycle that all calls of ONNX Runtime for one network may take. Live, a network whose 99th percentile is over it is refused at start, and a cycle over it is cut short; a replay only counts."),
    KeySpec::int("onnx.sleep_after_cycles", 3, (1, 1_000_000), "Cycles in a row over that share after which a live run asks the network no more.").unit("cycles"),
    KeySpec::int("onnx.warm_up_runs", 200, (8, 100_000), "Calls of ONNX Runtime on random rows before the run, which are also what is measured; at most five seconds of them.").unit("calls"),

    KeySpec::float("logistic.prior_sd", 0.3, (0.001, 100.0), "Standard deviation of a weak feature's weight before any label, in logits for one unit of the feature; two regressions that expect a third and a tenth of it are mixed in by evidence.").signals(),
    KeySpec::float("logistic.memory_labels", 20_000.0, (100.0, 1e12), "Label weight after which old labels count 1/e as much.").unit("labels").signals(),

    KeySpec::choice("combiner.rule", &["ml-poly", "mean", "vote", "median", "stacking", "fixed-share", "boa"], "How members are combined.").signals(),
    KeySpec::float("combiner.share_floor", 0.001, (0.0, 0.5), "Share of the weight that is dealt out equally to the awake experts, so that each can come back.").signals(),
    KeySpec::float("combiner.tracking_memory_labels", 1_000.0, (10.0, 1e12), "Memory of the mix that follows changes.").unit("labels").signals(),
    KeySpec::float("combiner.base_rate_memory_labels", 20_000.0, (10.0, 1e12), "Memory of the base rate.").unit("labels").signals(),
    KeySpec::float("combiner.probability_clip", 0.001, (0.000_001, 0.1), "Members' probabilities are kept this far from 0 and 1.").signals(),

    KeySpec::choice("calibration.map", CALIBRATIONS, "How what is combined is recalibrated: slope and offset in log-odds, any monotone map, or not at all.").later_signals(),
    KeySpec::choice("calibration.members_map", CALIBRATIONS, "How the cerebellum and networks are recalibrated before they are combined; the other members are probabilities by construction.").later_signals(),
    KeySpec::float("calibration.slope_sd", 0.3, (0.001, 10.0), "Prior standard deviation of the recalibration's slope around 1.").signals(),
    KeySpec::float("calibration.offset_sd", 0.1, (0.001, 10.0), "Prior standard deviation of the recalibration's offset around 0, in log-odds.").signals(),
    KeySpec::float("calibration.memory_labels", 20_000.0, (100.0, 1e12), "Labels after which the recalibration forgets by a factor of e.").unit("labels").signals(),
    KeySpec::float("calibration.isotonic.prior_labels", 4.0, (0.01, 1e6), "Independent labels that the identity is worth in each of the isotonic map's 32 bins.").unit("labels").later_signals(),
    KeySpec::int("calibration.isotonic.refit_labels", 100, (1, 1_000_000), "Labels from one fit of the isotonic map to the next.").unit("labels").later_signals(),

    KeySpec::bool("conformal.enabled", false, "Hold with the reason `abstained` where adaptive conformal prediction does not leave exactly one direction.").later_signals(),
    KeySpec::float("conformal.target_miss_rate", 0.3, (0.001, 0.999), "Share of all outcomes with a move that the set of directions may miss, in the long run and for each instrument.").later_signals(),
    KeySpec::float("conformal.rate", 0.005, (0.000_001, 1.0), "Step of the adaptation at each outcome.").later_signals(),
    KeySpec::int("conformal.window_labels", 1_000, (1, 65_536), "Last outcomes that the quantile is taken over.").unit("labels").later_signals(),

    KeySpec::choice("challenger.rule", CHALLENGER_RULES, "A second combination, with the numbers of `strategy.combiner`, that forecasts in shadow and decides about an instrument once its evidence there is enough; the two then change places.").later_signals(),
    KeySpec::list("challenger.networks", &Kind::Text, (0, 7), &[], "Folders of trained networks that only the challenger combines, behind the members of the ensemble.").later_signals(),
    KeySpec::float("challenger.alpha", 0.01, (1e-9, 0.5), "Largest probability of a promotion, in one duel, where the one in shadow is not better; promoted is at evidence 1 / alpha.").later_signals(),
    KeySpec::int("challenger.labels_min", 30, (1, 1_000_000_000), "Outcomes, one a horizon, that must have counted before a promotion.").unit("labels").later_signals(),

    KeySpec::path("anomaly.network", "", "Folder of an autoencoder whose reconstruction error, over the `anomaly_scale` of its model.toml, lowers confidence; empty has none.").later_signals(),
];
