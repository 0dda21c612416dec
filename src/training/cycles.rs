//! The cycles of a recording or of captures, exactly as a replay's model sees them.
//!
//! The source and the engine are those of `purkinje replay`, on threads of their own; the caller takes
//! the model's place. Invariants: the batches are the same, bit for bit, however fast the caller is; at
//! most [`BATCHES`] exist; when the caller stops early, nothing is left running.

use std::{
    ops::ControlFlow,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use purkinje_feeds::{InstrumentTable, session::SessionError};
use rtrb::RingBuffer;
use thiserror::Error;

use crate::{
    config::Loaded,
    pipeline::{
        batch::CycleBatch,
        engine::{Engine, EngineConfig, EngineCounts, EngineError},
        engine_thread::{EngineThread, Pace, Ring},
        event_feed::Feed,
        live_stats::LiveStats,
        replay_source::{Material, ReplaySource, Speed},
        threads::{ThreadError, join, spawn},
        waker::Waker,
    },
    run::{
        replay::{ReplayRunError, feed_side, open},
        spine::engine_config,
    },
};

/// Batches on their way: one in work, one waiting.
const BATCHES: usize = 2;

/// Longest sleep, so that the end is noticed.
const NAP: Duration = Duration::from_millis(50);

/// Why the cycles of a recording cannot be had.
#[derive(Debug, Error)]
pub enum CyclesError {
    /// The material cannot be opened.
    #[error(transparent)]
    Open(#[from] ReplayRunError),
    /// The sessions are not valid.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The engine refused its settings.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A thread could not be started, or panicked.
    #[error(transparent)]
    Thread(#[from] ThreadError),
}

/// What a pass over the material left.
#[derive(Clone, Debug)]
pub struct CyclesSummary {
    /// What the engine counted.
    pub engine: EngineCounts,
    /// Things to tell the user.
    pub warnings: Vec<String>,
    /// The material broke off in the middle; the reason is among the warnings.
    pub broke_off: bool,
}

/// Material that has been opened and not been read yet.
#[derive(Debug)]
pub struct Cycles {
    table: Arc<InstrumentTable>,
    feeds: Vec<Feed>,
    material: Material,
    title: String,
    warnings: Vec<String>,
    config: EngineConfig,
    ring_items: usize,
    period_ns: i64,
}

impl Cycles {
    /// Opens recordings of one session, or captures, as `purkinje replay` does.
    ///
    /// # Errors
    /// The material cannot be opened, or its header is not valid.
    pub fn open(loaded: &Loaded, paths: &[PathBuf]) -> Result<Self, CyclesError> {
        let opened = open(loaded, paths)?;
        let table = Arc::new(opened.table);
        let levels = loaded.config.pipeline.book_levels;
        let feed = |connection| Feed::new(connection, &table, levels);
        Ok(Self {
            feeds: opened.connections.into_iter().map(feed).collect::<Result<_, _>>()?,
            table,
            material: opened.material,
            title: opened.title,
            warnings: opened.warnings,
            config: engine_config(loaded),
            ring_items: loaded.config.pipeline.ring_items,
            period_ns: i64::from(loaded.config.cycle.period_ms) * 1_000_000,
        })
    }

    /// The instruments, in the order of the batches' rows.
    #[must_use]
    pub fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    /// What this is, in words.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Hands every cycle to `each`, until the material ends, `each` breaks, or `stop` is set.
    ///
    /// # Errors
    /// The engine refuses its settings, or a thread cannot be started or panicked. Trouble in the
    /// middle of the material is part of the summary instead.
    pub fn run(
        self,
        stop: &AtomicBool,
        mut each: impl FnMut(&CycleBatch) -> ControlFlow<()>,
    ) -> Result<CyclesSummary, CyclesError> {
        let (to_model, mut batches) = RingBuffer::new(BATCHES);
        let (mut spent, to_engine) = RingBuffer::new(BATCHES);
        for _ in 0..BATCHES {
            // As many slots as batches: there is always room.
            let _ = spent.push(Box::new(CycleBatch::new(self.table.len())));
        }
        let (inputs_in, inputs) = RingBuffer::new(self.ring_items);
        let (engine_waker, waker) = (Waker::default(), Waker::default());
        let thread = EngineThread {
            engine: Engine::new(&self.table, &self.config)?,
            pace: Pace::Replay,
            rings: vec![Ring { connection: 0, inputs }],
            commands: None,
            batches: to_model,
            spent: to_engine,
            waker: engine_waker.clone(),
            model: waker.clone(),
            stats: Arc::new(LiveStats::default()),
            tap: None,
            ladders: None,
        };
        let halt = Arc::new(AtomicBool::new(false));
        let feed = (inputs_in, engine_waker.clone());
        let source = ReplaySource::new(self.feeds, feed, Speed::Max, halt.clone());
        let (material, period_ns) = (self.material, self.period_ns);
        let engine = spawn("pk-engine", None, move || thread.run())?;
        // Should this fail, the ring's writing end goes with it, and the engine ends.
        let source = spawn("pk-feed-0", None, move || source.run(material, period_ns))?;
        loop {
            let is_ending = batches.is_abandoned();
            let Ok(batch) = batches.pop() else {
                if is_ending {
                    break;
                }
                waker.sleep(NAP, || !batches.is_empty());
                continue;
            };
            if stop.load(Ordering::Relaxed) || each(&batch).is_break() {
                halt.store(true, Ordering::Relaxed);
                break;
            }
            let _ = spent.push(batch);
            engine_waker.wake();
        }
        // Without these the engine waits for nobody, and the source for no engine.
        drop((batches, spent));
        engine_waker.wake();
        let engine = join(engine)?.counts;
        let (notes, _) = join(source)?;
        let side = feed_side(notes, self.warnings);
        Ok(CyclesSummary { engine, warnings: side.warnings, broke_off: side.failed })
    }
}
