//! Engine, model and sink threads with everything behind them, wired the same way for every run.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use purkinje_feeds::InstrumentTable;
use purkinje_kernels::{
    cerebellum::{CerebellumConfig, Eligibility, RulesConfig},
    logistic::LogisticConfig,
    predictors::onnx::runtime::Limits as CallLimits,
};
use purkinje_strategies::{
    calibrate::{Calibration, ConformalConfig, IsotonicConfig, PlattConfig},
    combine::{self, CombineRule, CombinerConfig},
    decide::{Limits, Thresholds},
    features,
    normalise::{NormaliserConfig, NormaliserKind},
};
use rtrb::{Consumer, Producer, RingBuffer};
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::{
    journal_thread::{Journal, JournalOutcome, run_journal},
    kafka_threads::{KafkaParts, KafkaResult, KafkaThreads, wait_finished},
};
use crate::{
    clock::Clock,
    config::{
        CalibrationMap, Cerebellum, CombineRule as RuleName, Eligibility as Recalls, Loaded,
        Normaliser,
    },
    learning::{
        ForecasterError,
        anomaly::Anomaly,
        backend::{BackendError, BackendSettings, BackendWatch},
        forecaster::{Forecaster, leaning},
        label::{horizon_cycles, pending_slots},
        loss_probe::LossProbe,
        network::{Demands, Network, NetworkError},
        onnx::OnnxServing,
        settings::{ForecasterConfig, Networks},
        shadow::ShadowConfig,
    },
    lifecycle::{
        Operator,
        learned::{Learned, LearnedError},
    },
    pipeline::{
        backend_state::BackendState,
        batch::CycleBatch,
        boards::boards,
        byte_ring::byte_ring,
        engine::{Engine, EngineConfig, EngineError},
        engine_thread::{EngineResult, EngineThread, Pace, Ring},
        input::Input,
        live_stats::LiveStats,
        model_thread::{ModelResult, ModelThread, run_sink},
        recorder::Tap,
        sink::{Outlets, Sink, SinkResult, WhenFull},
        threads::{ThreadError, join, spawn},
        waker::Waker,
        warm::AllocationWatch,
    },
    signals::{
        Signal,
        encode::Encoder,
        journal::{JournalConfig, JournalError, JournalFile, Recovery},
        kafka::run::{KafkaOutlet, KafkaSetupError},
        run_constants::RunConstants,
        terminal::{Mode, Terminal},
    },
    training::cerebellum::model::{self, ModelError},
};

/// Standard deviation of a coefficient of stacking around the uniform average's, before any label.
const STACKING_PRIOR_SD: f64 = 1.0;

/// Batches on their way between engine and model: one in work, one waiting.
const BATCHES: usize = 2;

/// Bytes of signals the journal and the broker threads may lag behind by.
const OUTLET_RING_BYTES: usize = 4 << 20;

/// How long the terminal gets to show the last signals; one that takes nothing is left alone.
const TERMINAL_GOODBYE: Duration = Duration::from_secs(1);

/// The rate at which learning goes on for ever, as a share of the rate at the first outcome.
const LEARNING_FLOOR_SHARE: f64 = 0.01;

/// Why a run could not start or go on.
#[derive(Debug, Error)]
pub enum RunError {
    /// A member refused its settings.
    #[error(transparent)]
    Forecaster(#[from] ForecasterError),
    /// A feature name is unknown.
    #[error("{0}")]
    Features(String),
    /// The engine refused its settings.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A thread could not be started, or panicked.
    #[error(transparent)]
    Thread(#[from] ThreadError),
    /// The journal cannot be opened.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Trained weights cannot be taken up.
    #[error("strategy.cerebellum.weights: {0}")]
    Weights(#[from] ModelError),
    /// A trained network cannot be taken up.
    #[error("{key}: {source}")]
    Network {
        /// The key that names it.
        key: &'static str,
        /// Why.
        source: NetworkError,
    },
    /// The cerebellum is to run on a device and cannot.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// What an earlier run has learned does not fit.
    #[error("state.dir: {0}")]
    Learned(#[from] LearnedError),
    /// The broker's client refused its settings.
    #[error(transparent)]
    Kafka(#[from] KafkaSetupError),
}

/// Where signals go beside the hash.
#[derive(Clone, Debug)]
pub struct OutletConfig {
    /// Journal file; `None` keeps none.
    pub journal: Option<JournalOutlet>,
    /// Broker; `None` publishes nothing.
    pub kafka: Option<KafkaOutlet>,
    /// Terminal.
    pub terminal: Mode,
    /// What the terminal says it shows.
    pub title: String,
}

/// The journal's place and policy.
#[derive(Clone, Debug)]
pub struct JournalOutlet {
    /// The file.
    pub path: PathBuf,
    /// Its bounds.
    pub config: JournalConfig,
    /// Force it to the device once a second.
    pub sync: bool,
}

/// What differs between live and replay.
#[derive(Debug)]
pub struct SpineInputs {
    /// The instruments.
    pub table: Arc<InstrumentTable>,
    /// Live or replay.
    pub pace: Pace,
    /// Feed rings.
    pub rings: Vec<Ring>,
    /// The operator's commands.
    pub commands: Option<Consumer<Input>>,
    /// What an operator may ask for on the control topic; nothing where there is none.
    pub operator: Option<Operator>,
    /// The engine's recording tap.
    pub tap: Option<Tap>,
    /// Wakes the engine; the feeds have it, too.
    pub engine: Waker,
    /// Who stamps signals.
    pub clock: Clock,
    /// What a full ring behind the sink means.
    pub when_full: WhenFull,
    /// Counters for slow readers.
    pub stats: Arc<LiveStats>,
    /// Tells losses on the way.
    pub probe: Option<LossProbe>,
    /// What an earlier run has learned.
    pub learned: Option<Learned>,
    /// Who watches the run gets its signals here; `None` where nobody does.
    pub watch: Option<Producer<Signal>>,
}

/// The running threads.
#[derive(Debug)]
pub struct Spine {
    engine: JoinHandle<EngineResult>,
    model: JoinHandle<ModelResult>,
    sink: JoinHandle<(SinkResult, AllocationWatch)>,
    journal: Option<JoinHandle<JournalOutcome>>,
    kafka: Option<KafkaThreads>,
    terminal: Option<JoinHandle<()>>,
    journal_recovery: Option<Recovery>,
    backend: Arc<BackendState>,
    /// The model's version.
    pub model_version: String,
    /// What is the same for every signal.
    pub run_constants: Arc<RunConstants>,
}

/// What all threads left.
#[derive(Debug)]
pub struct SpineResult {
    /// Engine.
    pub engine: EngineResult,
    /// Model.
    pub model: ModelResult,
    /// Sink, and what it allocated.
    pub sink: (SinkResult, AllocationWatch),
    /// Journal.
    pub journal: Option<JournalOutcome>,
    /// What opening the journal found.
    pub journal_recovery: Option<Recovery>,
    /// Kafka.
    pub kafka: Option<KafkaResult>,
    /// Where the cerebellum ran.
    pub backend: Arc<BackendState>,
}

/// The engine's settings.
#[must_use]
pub fn engine_config(loaded: &Loaded) -> EngineConfig {
    EngineConfig {
        cycle_ms: loaded.config.cycle.period_ms,
        levels: loaded.config.pipeline.book_levels,
        stale_after_ns: loaded.config.pipeline.stale_after_ms as i64 * 1_000_000,
        normaliser: match loaded.strategy.normaliser {
            Normaliser::RobustZ => NormaliserKind::RobustZ,
            Normaliser::MinMax => NormaliserKind::MinMax,
        },
        normaliser_config: NormaliserConfig {
            warm_up_cycles: loaded.strategy.normaliser_warm_up_cycles,
            memory_cycles: loaded.strategy.normaliser_memory_cycles,
        },
    }
}

/// Which features the configuration shows to members.
///
/// # Errors
/// An unknown feature.
pub fn feature_mask(loaded: &Loaded) -> Result<[bool; features::N], RunError> {
    let shown = loaded
        .select_features(&features::NAMES)
        .map_err(|problems| RunError::Features(problems.to_string()))?;
    let mut mask = [false; features::N];
    for index in shown {
        mask[index] = true;
    }
    Ok(mask)
}

/// The cerebellum that a configuration describes.
#[must_use]
pub fn cerebellum_config(loaded: &Loaded, instruments: usize) -> CerebellumConfig {
    let cerebellum = &loaded.strategy.cerebellum;
    let horizon_ns = loaded.strategy.horizon_ms as i64 * 1_000_000;
    let period_ns = i64::from(loaded.config.cycle.period_ms) * 1_000_000;
    CerebellumConfig {
        features: leaning().count(),
        instruments,
        pending_cycles: pending_slots(horizon_ns, period_ns),
        horizon_cycles: horizon_cycles(horizon_ns, period_ns),
        threads: cerebellum.threads,
        plastic: cerebellum.plastic,
        eligibility: match cerebellum.eligibility {
            Recalls::Held => Eligibility::Held,
            Recalls::Kernel => Eligibility::Kernel,
        },
        rules: cerebellum_rules(cerebellum),
        granule_cells: cerebellum.granule_cells,
        fibres_per_feature: cerebellum.fibres_per_feature,
        steps_per_cycle: cerebellum.steps_per_cycle,
        shared_weights: cerebellum.shared_weights,
        granule_hz: cerebellum.granule_hz as f32,
        learning_rate: cerebellum.learning_rate as f32,
        learning_floor: (cerebellum.learning_rate * LEARNING_FLOOR_SHARE) as f32,
        seed: cerebellum.seed,
        ..CerebellumConfig::default()
    }
}

/// The forecaster that a configuration describes.
///
/// # Errors
/// An unknown feature, or a member refuses its settings.
pub fn forecaster(
    loaded: &Loaded,
    instruments: usize,
    clock: Clock,
) -> Result<Forecaster, RunError> {
    let strategy = &loaded.strategy;
    let feature_mask = feature_mask(loaded)?;
    let period_ms = i64::from(loaded.config.cycle.period_ms);
    let horizon_ms = strategy.horizon_ms as i64;
    let networks = networks(loaded, instruments, clock)?;
    let config = ForecasterConfig {
        instruments,
        members: strategy.members.clone(),
        feature_mask,
        horizon_ns: horizon_ms * 1_000_000,
        period_ns: period_ms * 1_000_000,
        cerebellum: cerebellum_config(loaded, instruments),
        logistic: LogisticConfig {
            prior_sd: strategy.logistic.prior_sd,
            memory: strategy.logistic.memory_labels,
            ..LogisticConfig::new(features::N)
        },
        combiner: CombinerConfig {
            share_floor: strategy.combiner.share_floor,
            tracking_memory_labels: strategy.combiner.tracking_memory_labels,
            base_rate_memory_labels: strategy.combiner.base_rate_memory_labels,
            probability_clip: strategy.combiner.probability_clip,
        },
        rule: combine_rule(loaded, strategy.combiner.rule),
        calibration: calibration(loaded, strategy.calibration.map),
        members_calibration: calibration(loaded, strategy.calibration.members_map),
        conformal: strategy.conformal.enabled.then_some(ConformalConfig {
            target: strategy.conformal.target_miss_rate,
            rate: strategy.conformal.rate,
            window_labels: strategy.conformal.window_labels,
        }),
        challenger: strategy.challenger.rule.map(|rule| ShadowConfig {
            rule: combine_rule(loaded, rule),
            alpha: strategy.challenger.alpha,
            labels_min: strategy.challenger.labels_min,
        }),
        thresholds: Thresholds {
            buy_value: strategy.thresholds.buy_value,
            sell_value: strategy.thresholds.sell_value,
            confidence: strategy.thresholds.confidence,
        },
        limits: Limits {
            stale_after_ms: loaded.config.pipeline.stale_after_ms as i64,
            ttl_ms: strategy.ttl_ms as i64,
            max_signals_per_s: strategy.max_signals_per_s,
        },
        warmup_ns: loaded.config.report.warmup_s as i64 * 1_000_000_000,
        clock,
    };
    let mut forecaster = Forecaster::new(config, networks)?;
    let weights = &strategy.cerebellum.weights;
    if let Some(cerebellum) = forecaster.cerebellum_mut()
        && !weights.as_os_str().is_empty()
    {
        model::load(weights, &model::live_topology(loaded)?, cerebellum)?;
    }
    Ok(forecaster)
}

/// The trained networks that a configuration names.
pub(crate) fn networks(
    loaded: &Loaded,
    instruments: usize,
    clock: Clock,
) -> Result<Networks, RunError> {
    let strategy = &loaded.strategy;
    let demands = Demands {
        instruments,
        horizon_ms: strategy.horizon_ms,
        cycle_ms: u64::from(loaded.config.cycle.period_ms),
    };
    let onnx = onnx_serving(loaded, clock);
    let all = |folders: &[String], key| -> Result<Vec<Network>, RunError> {
        let load = |folder| Network::load_serving(Path::new(folder), &demands, &onnx);
        let loaded: Result<_, _> = folders.iter().map(load).collect();
        loaded.map_err(|source| RunError::Network { key, source })
    };
    let folder = &strategy.anomaly.network;
    let anomaly = (!folder.as_os_str().is_empty()).then(|| Anomaly::load(folder, &demands));
    Ok(Networks {
        members: all(&strategy.networks, "strategy.networks")?,
        challenger: all(&strategy.challenger.networks, "strategy.challenger.networks")?,
        anomaly: anomaly
            .transpose()
            .map_err(|source| RunError::Network { key: "strategy.anomaly.network", source })?,
    })
}

/// Where the models are to run.
fn backend_settings(loaded: &Loaded) -> BackendSettings {
    let backend = &loaded.config.backend;
    let cycles_a_s = 1_000.0 / f64::from(loaded.config.cycle.period_ms);
    BackendSettings {
        kind: backend.kind,
        device: backend.device,
        synchronise_cycles: backend.synchronise_cycles,
        retry_cycles: (backend.retry_s as f64 * cycles_a_s) as u64,
        images: BackendSettings::images(&backend.nvrtc, &backend.kernel_cache),
    }
}

/// How ONNX Runtime is used: only a run on the wall clock may be changed by it.
fn onnx_serving(loaded: &Loaded, clock: Clock) -> OnnxServing {
    let onnx = &loaded.strategy.onnx;
    let cycle = Duration::from_millis(u64::from(loaded.config.cycle.period_ms));
    OnnxServing {
        library: (!onnx.library.as_os_str().is_empty()).then(|| onnx.library.clone()),
        limits: CallLimits {
            warm_up_runs: onnx.warm_up_runs,
            budget: cycle.mul_f64(onnx.cycle_share),
            sleep_after_steps: onnx.sleep_after_cycles,
            are_enforced: clock == Clock::Wall,
        },
    }
}

/// The recalibration that a configuration names, with its numbers.
fn calibration(loaded: &Loaded, map: CalibrationMap) -> Calibration {
    let numbers = &loaded.strategy.calibration;
    match map {
        CalibrationMap::Platt => Calibration::Platt(PlattConfig {
            slope_sd: numbers.slope_sd,
            offset_sd: numbers.offset_sd,
            memory_labels: numbers.memory_labels,
        }),
        CalibrationMap::Isotonic => Calibration::Isotonic(IsotonicConfig {
            prior_labels: numbers.isotonic.prior_labels,
            memory_labels: numbers.memory_labels,
            refit_labels: numbers.isotonic.refit_labels,
        }),
        CalibrationMap::None => Calibration::None,
    }
}

/// The combination of that name, with the numbers of `strategy.combiner`.
fn combine_rule(loaded: &Loaded, name: RuleName) -> CombineRule {
    let horizon_ns = loaded.strategy.horizon_ms as i64 * 1_000_000;
    let period_ns = i64::from(loaded.config.cycle.period_ms) * 1_000_000;
    let weights = [1.0; combine::MAX_MEMBERS];
    match name {
        RuleName::MlPoly => CombineRule::MlPoly,
        RuleName::Mean => CombineRule::Mean { weights },
        RuleName::Vote => CombineRule::Vote { weights },
        RuleName::Median => CombineRule::Median,
        RuleName::Stacking => CombineRule::Stacking {
            prior_sd: STACKING_PRIOR_SD,
            memory_labels: loaded.strategy.combiner.base_rate_memory_labels,
            label_weight: 1.0 / horizon_cycles(horizon_ns, period_ns) as f64,
        },
        RuleName::FixedShare => CombineRule::FixedShare {
            switches_per_label: 1.0 / loaded.strategy.combiner.tracking_memory_labels,
        },
        RuleName::Boa => CombineRule::Boa,
    }
}

/// The online rules that a configuration switches on.
fn cerebellum_rules(settings: &Cerebellum) -> RulesConfig {
    let mut rules = RulesConfig {
        climbing_fibre: settings.rules.climbing_fibre,
        brake: settings.rules.brake,
        brake_strength: settings.brake.strength as f32,
        bcm_rate: settings.bcm.rate as f32,
        ..RulesConfig::default()
    };
    rules.scaling.enabled = settings.rules.scaling;
    rules.bcm.enabled = settings.rules.bcm;
    rules.intrinsic.enabled = settings.rules.intrinsic;
    rules.stdp.enabled = settings.rules.stdp;
    rules.stdp.tau_pre_ms = settings.stdp.tau_pre_ms as f32;
    rules.stdp.tau_post_ms = settings.stdp.tau_post_ms as f32;
    rules.stdp.a_plus = settings.stdp.a_plus as f32;
    rules.stdp.a_minus = settings.stdp.a_minus as f32;
    rules.stdp.rate = settings.stdp.rate as f32;
    rules.metaplasticity.enabled = settings.rules.metaplasticity;
    rules.metaplasticity.threshold_per_s = settings.metaplasticity.threshold_per_s as f32;
    rules.metaplasticity.tau_ms = settings.metaplasticity.tau_ms as f32;
    rules.metaplasticity.factor = settings.metaplasticity.factor as f32;
    rules
}

/// Version of a model: the first 16 hex digits of SHA-256 over its weights and its configuration.
#[must_use]
pub fn model_version(loaded: &Loaded, forecaster: &Forecaster) -> String {
    let mut state = Vec::new();
    forecaster.write_state(&mut state);
    let mut hash = Sha256::new();
    hash.update(loaded.hash());
    hash.update(&state);
    hex(&hash.finalize())[..16].to_owned()
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

impl Spine {
    /// Starts every thread from the engine on.
    ///
    /// # Errors
    /// The configuration cannot be carried out, or the system refuses a thread.
    pub fn start(
        loaded: &Loaded,
        inputs: SpineInputs,
        outlets: &OutletConfig,
    ) -> Result<Self, RunError> {
        let SpineInputs {
            table,
            pace,
            rings,
            commands,
            operator,
            tap,
            engine,
            clock,
            when_full,
            stats,
            probe,
            learned,
            watch,
        } = inputs;
        let mut forecaster = forecaster(loaded, table.len(), clock)?;
        if let Some(learned) = learned {
            learned.teach(&mut forecaster)?;
        }
        let model_version = model_version(loaded, &forecaster);
        let backend = BackendWatch::begin(
            backend_settings(loaded),
            forecaster.models_mut(),
            stats.backend.clone(),
        )?;
        let members = forecaster.member_names();
        let encoder = Encoder::new(
            &table,
            &members,
            loaded.strategy.horizon_ms as u32,
            loaded.strategy.ttl_ms as u32,
            &model_version,
        );
        let mut behind = Outlets::default();

        let mut journal = None;
        let mut journal_recovery = None;
        if let Some(JournalOutlet { path, config, sync }) = &outlets.journal {
            let (file, recovery) = JournalFile::open(path, config.clone())?;
            let file = Journal { file, sync: *sync };
            journal_recovery = Some(recovery);
            let (tx, rx) = byte_ring(OUTLET_RING_BYTES, Waker::default());
            behind.journal = Some(tx);
            journal = Some(spawn("pk-journal", None, move || run_journal(file, rx))?);
        }
        let mut kafka = None;
        if let Some(outlet) = &outlets.kafka {
            let made = KafkaParts { table: &table, encoder: &encoder, stats: &stats, operator };
            let (threads, ring) = KafkaThreads::start(outlet, made)?;
            behind.kafka = Some(ring);
            kafka = Some(threads);
        }
        let mut terminal = None;
        if outlets.terminal != Mode::Off {
            let (tx, rx) = RingBuffer::new(64 * table.len().max(16));
            behind.terminal = Some(tx);
            let shown = Terminal {
                mode: outlets.terminal,
                table: table.clone(),
                members: members.clone(),
                title: outlets.title.clone(),
                stats: stats.clone(),
            };
            terminal = Some(spawn("pk-terminal", None, move || shown.run(rx))?);
        }

        let (model_waker, sink_waker) = (Waker::default(), Waker::default());
        let (batches_tx, batches_rx) = RingBuffer::new(BATCHES);
        let (mut spent_tx, spent_rx) = RingBuffer::new(BATCHES);
        for _ in 0..BATCHES {
            // As many slots as batches.
            let _ = spent_tx.push(Box::new(CycleBatch::new(table.len())));
        }
        let (outputs_tx, outputs_rx) = RingBuffer::new(16 * (table.len() + 1));
        let cores = &loaded.config.pipeline;
        let period_ns = u64::from(loaded.config.cycle.period_ms) * 1_000_000;
        let place = stats.backend.clone();

        let (mut model_board, mut ladders) = (None, None);
        if let Some(signals) = watch {
            let (writers, readers) = boards(&table, &forecaster, signals);
            stats.watch_boards(readers);
            behind.watch = Some(writers.sink);
            (model_board, ladders) = (Some(writers.model), Some(writers.ladders));
        }
        let run_constants = encoder.run_constants().clone();
        let sink = Sink::new(encoder, behind, when_full).watched(&stats.latency);
        let waker = sink_waker.clone();
        let sink = spawn("pk-sink", cores.sink_core, move || run_sink(sink, outputs_rx, &waker))?;
        let model = ModelThread {
            forecaster,
            batches: batches_rx,
            spent: spent_tx,
            outputs: outputs_tx,
            waker: model_waker.clone(),
            engine: engine.clone(),
            sink: sink_waker,
            probe,
            backend,
            stats: stats.clone(),
            board: model_board,
        };
        let model = spawn("pk-model", cores.model_core, move || model.run(period_ns))?;
        let state = Engine::new(&table, &engine_config(loaded))?;
        let engine = EngineThread {
            engine: state,
            pace,
            rings,
            commands,
            batches: batches_tx,
            spent: spent_rx,
            waker: engine,
            model: model_waker,
            stats,
            tap,
            ladders,
        };
        let engine = spawn("pk-engine", cores.engine_core, move || engine.run())?;
        Ok(Self {
            engine,
            model,
            sink,
            journal,
            kafka,
            terminal,
            journal_recovery,
            backend: place,
            model_version,
            run_constants,
        })
    }

    /// Whether a thread has ended. While the feeds run, none does but by a panic. A terminal that went
    /// away does not count: signals go on without it.
    #[must_use]
    pub fn any_finished(&self) -> bool {
        self.engine.is_finished()
            || self.model.is_finished()
            || self.sink.is_finished()
            || self.journal.as_ref().is_some_and(JoinHandle::is_finished)
            || self.kafka.as_ref().is_some_and(KafkaThreads::is_finished)
    }

    /// Waits for all threads, front to back; each ends when the one before it has. All are waited for
    /// before a failure is told, so that the journal is written to its end whatever happened.
    ///
    /// # Errors
    /// One of them panicked.
    pub fn join(self) -> Result<SpineResult, RunError> {
        let engine = join(self.engine);
        let model = join(self.model);
        let sink = join(self.sink);
        let journal = self.journal.map(join).transpose();
        let kafka = self.kafka.map(KafkaThreads::join);
        if let Some(terminal) = self.terminal
            && wait_finished(&terminal, TERMINAL_GOODBYE)
        {
            // What goes wrong on a screen is not worth a failure.
            let _ = join(terminal);
        }
        Ok(SpineResult {
            engine: engine?,
            model: model?,
            sink: sink?,
            journal: journal?,
            journal_recovery: self.journal_recovery,
            kafka: kafka.transpose()?,
            backend: self.backend,
        })
    }
}
