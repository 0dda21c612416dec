//! Gathers what hot threads publish: the newest signals, how feeds stand, skill and latency over time.
//!
//! Invariants: what it keeps is bounded by the instruments there are and by [`super::heat`] and [`super::skill`];
//! it is called by one slow thread, and reading never makes a hot one wait.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use purkinje_feeds::{InstrumentTable, status::Status, topic::TopicState};
use rtrb::Consumer;

use super::{
    feed_states::FeedStates,
    heat::Heat,
    skill::{SAMPLE_EVERY, Skill, SkillWindow},
    snapshot,
};
use crate::{
    clock::{monotonic_ns, wall_ns},
    pipeline::{boards::Boards, ladders::Ladder, live_stats::LiveStats, model_board::ModelView},
    signals::{Action, Reason, Signal, kafka::outcome::Outcome, run_constants::RunConstants},
};

/// A model that has not finished a cycle for so many periods, and [`STUCK_AFTER`], is not running.
const STUCK_PERIODS: u32 = 20;

/// See [`STUCK_PERIODS`].
const STUCK_AFTER: Duration = Duration::from_secs(2);

/// A model that has not finished a cycle for this long does not live.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// Time between two columns of latency.
const HEAT_EVERY: Duration = Duration::from_secs(1);

/// What is watched.
#[derive(Debug)]
pub struct WatchInputs {
    /// What the threads publish.
    pub stats: Arc<LiveStats>,
    /// Every signal that there was room for.
    pub signals: Consumer<Signal>,
    /// The instruments.
    pub table: Arc<InstrumentTable>,
    /// What is the same for every signal.
    pub run: Arc<RunConstants>,
    /// Feed and strategy.
    pub title: String,
    /// Time from one cycle to the next, ms.
    pub period_ms: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Watch {
    inputs: WatchInputs,
    started: Instant,
    newest: Vec<Option<Signal>>,
    feeds: FeedStates,
    skill: SkillWindow,
    heat: Heat,
    heat_at: Instant,
    skill_at: Instant,
}

impl Watch {
    /// Begins to watch.
    #[must_use]
    pub fn new(inputs: WatchInputs) -> Self {
        let (instruments, now) = (inputs.table.len(), Instant::now());
        Self {
            started: now,
            newest: vec![None; instruments],
            feeds: FeedStates::new(instruments),
            skill: SkillWindow::default(),
            heat: Heat::default(),
            heat_at: now,
            skill_at: now,
            inputs,
        }
    }

    /// Takes the signals that have come, at most as many as their ring holds; `each` sees them in order.
    pub fn take_signals(&mut self, mut each: impl FnMut(&Signal)) {
        for _ in 0..self.inputs.signals.buffer().capacity() {
            let Ok(signal) = self.inputs.signals.pop() else { return };
            each(&signal);
            if let Some(newest) = self.newest.get_mut(signal.instrument.index()) {
                *newest = Some(signal);
            }
        }
    }

    /// Takes the samples that are due; whether there is a new column of latency.
    pub fn sample(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.skill_at {
            self.skill_at = now + SAMPLE_EVERY;
            if let Some(view) = self.model() {
                self.skill.sample(&view.skills);
            }
        }
        let is_due = now >= self.heat_at;
        if is_due {
            self.heat_at = now + HEAT_EVERY;
            self.feeds.catch_up(&self.inputs.stats.status);
            self.heat.sample(self.inputs.stats.latency.counts());
        }
        is_due
    }

    /// What is the same for every signal.
    #[must_use]
    pub fn run(&self) -> &Arc<RunConstants> {
        &self.inputs.run
    }

    /// The instruments.
    #[must_use]
    pub fn table(&self) -> &InstrumentTable {
        &self.inputs.table
    }

    /// The counters of the threads.
    #[must_use]
    pub fn stats(&self) -> &LiveStats {
        &self.inputs.stats
    }

    /// The newest signals, by instrument.
    #[must_use]
    pub fn newest(&self) -> &[Option<Signal>] {
        &self.newest
    }

    /// Latency over time.
    #[must_use]
    pub fn heat(&self) -> &Heat {
        &self.heat
    }

    /// What the model thread told last.
    #[must_use]
    pub fn model(&self) -> Option<ModelView> {
        self.boards()?.model.view()
    }

    /// An instrument's best levels.
    #[must_use]
    pub fn ladder(&self, instrument: usize) -> Option<Ladder> {
        self.boards()?.ladders.of(instrument)
    }

    /// The weights of the members in the newest combination.
    #[must_use]
    pub fn weights(&self) -> Option<Vec<f32>> {
        let newest = self.newest.iter().flatten().max_by_key(|signal| signal.seq)?;
        Some(self.run().members(newest).map(|(_, member)| member.weight).collect())
    }

    /// Since the last cycle of the model was done; since the start before the first.
    #[must_use]
    pub fn since_last_cycle(&self) -> Duration {
        let done = self.model().map(|view| view.done_mono_ns);
        done.map_or(self.started.elapsed(), |done| {
            Duration::from_nanos(monotonic_ns().saturating_sub(done))
        })
    }

    /// Why the program is beyond hope; `None` while cycles advance.
    #[must_use]
    pub fn not_live(&self) -> Option<String> {
        let since = self.since_last_cycle();
        (since > DEAD_AFTER).then(|| {
            format!(
                "no cycle was done for {:.1} s, expected one every {} ms",
                since.as_secs_f64(),
                self.inputs.period_ms
            )
        })
    }

    /// Why nobody can trade on the signals now; empty while one can.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let since = self.since_last_cycle();
        let period = Duration::from_millis(u64::from(self.inputs.period_ms));
        let stuck = (since > STUCK_AFTER.max(period * STUCK_PERIODS)).then(|| {
            format!(
                "model: no cycle was done for {:.1} s, expected one every {} ms",
                since.as_secs_f64(),
                self.inputs.period_ms
            )
        });
        let feeds = self.inputs.stats.not_ready().map(|why| format!("feeds: {why}"));
        feeds.into_iter().chain(stuck).collect()
    }

    /// Skill of every forecaster, and the length of its window.
    #[must_use]
    pub fn skills(&self) -> (Vec<Skill>, Duration) {
        let names = self.boards().map_or(&[][..], |boards| boards.model.names());
        let skills =
            self.model().map_or_else(Vec::new, |view| self.skill.skills(names, &view.skills));
        (skills, self.skill.length())
    }

    fn boards(&self) -> Option<&Boards> {
        self.inputs.stats.boards()
    }

    fn degraded(&self) -> Vec<String> {
        let mut parts = Vec::new();
        let live = self.inputs.stats.snapshot();
        let instruments = self.newest.len() as u64;
        if live.ready < instruments {
            parts.push(format!(
                "{} of {instruments} instruments are not ready",
                instruments - live.ready
            ));
        }
        if live.stale_topics > 0 {
            parts.push(format!("{} topics are stale", live.stale_topics));
        }
        let closed = self.feeds.connections().filter(|connection| !connection.is_open).count();
        if closed > 0 {
            parts.push(format!("{closed} connections are not open"));
        }
        if let Some(trouble) = self.inputs.stats.kafka().and_then(|kafka| kafka.outcome().trouble) {
            parts.push(format!("kafka: {trouble}"));
        }
        parts
    }

    /// Everything, as of now.
    #[must_use]
    pub fn snapshot(&self) -> snapshot::Snapshot {
        let WatchInputs { stats, title, period_ms, run, .. } = &self.inputs;
        let (live, view, not_ready) = (stats.snapshot(), self.model(), self.not_ready());
        let (skill, window) = self.skills();
        let weights = self.weights();
        let weight = |k: usize| weights.as_ref().and_then(|weights| weights.get(k)).copied();
        let [backend_losses, backend_returns] = stats.backend.counts();
        let [applied, refused] = stats.reloads.counts();
        let last = stats.reloads.last();
        let learning = view.as_ref().map(|view| view.learning).unwrap_or_default();
        snapshot::Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            title: title.clone(),
            model_version: run.model().to_owned(),
            ts_ns: wall_ns(),
            uptime_s: self.started.elapsed().as_secs_f64(),
            is_live: self.not_live().is_none(),
            is_ready: not_ready.is_empty(),
            not_ready,
            degraded: self.degraded(),
            is_halted: live.halted,
            reloads: snapshot::Reloads {
                applied,
                refused,
                last: last.map(|last| snapshot::Reload {
                    ts_ns: last.ts_ns,
                    is_applied: last.is_applied,
                    what: last.what,
                }),
            },
            engine: snapshot::Engine {
                cycles: live.cycles,
                missed_cycles: live.missed,
                period_ms: *period_ms,
                events: live.events,
                conflated: live.conflated,
                desyncs: live.desyncs,
                instruments: self.newest.len(),
                ready_instruments: live.ready,
            },
            model: snapshot::Model {
                cycle: view.as_ref().map_or(0, |view| view.cycle),
                last_cycle_ms_ago: view
                    .is_some()
                    .then(|| self.since_last_cycle().as_secs_f64() * 1e3),
                overruns: view.as_ref().map_or(0, |view| view.overruns),
                backend: stats.backend.place(),
                backend_losses,
                backend_returns,
                firing_hz: view.and_then(|view| view.rates).map(|rates| snapshot::Firing {
                    mossy: rates.mossy_hz,
                    granule: rates.granule_hz,
                    golgi: rates.golgi_hz,
                    purkinje: rates.purkinje_hz,
                    nuclear: rates.nuclear_hz,
                }),
                forecasts: learning.forecasts,
                moved: learning.moved,
                unchanged: learning.unchanged,
                discarded: learning.discarded,
            },
            members: run
                .member_names()
                .iter()
                .enumerate()
                .map(|(k, name)| snapshot::Member { name: name.clone(), weight: weight(k) })
                .collect(),
            instruments: self.instruments(),
            skill,
            skill_window_s: window.as_secs(),
            feeds: self.feeds(),
            sinks: self.sinks(),
            latency: self.latency(),
        }
    }

    /// Every instrument with its newest signal.
    #[must_use]
    pub fn instruments(&self) -> Vec<snapshot::Instrument> {
        let now_ns = wall_ns();
        let one = |(id, key): (usize, &String)| snapshot::Instrument {
            instrument: key.clone(),
            book: self.feeds.books()[id],
            topics: self
                .feeds
                .topics(id as u16)
                .map(|(channel, state)| (channel.name(), state.name()))
                .collect(),
            signal: self.newest[id].as_ref().map(|signal| self.show(signal, now_ns)),
        };
        self.run().keys().iter().enumerate().map(one).collect()
    }

    fn show(&self, signal: &Signal, now_ns: i64) -> snapshot::Newest {
        let ms = |ns: i64| ns as f64 / 1e6;
        let members = self.run().members(signal);
        snapshot::Newest {
            seq: signal.seq,
            action: signal.action.name(),
            reason: signal.reason.name(),
            value: signal.value,
            confidence: signal.confidence,
            agreement: signal.agreement,
            mid: self.run().mid(signal).to_string(),
            input_age_ms: (signal.ts_recv_ns != 0)
                .then(|| ms(signal.ts_signal_ns.saturating_sub(signal.ts_recv_ns))),
            age_ms: ms(now_ns.saturating_sub(signal.ts_signal_ns)),
            members: members.map(|(_, m)| Some(m.value).filter(|p| p.is_finite())).collect(),
        }
    }

    /// Connections, topics and books.
    #[must_use]
    pub fn feeds(&self) -> snapshot::Feeds {
        use TopicState::{Confirmed, Flowing, Pending, Stale};
        let keys = self.run().keys();
        snapshot::Feeds {
            connections: self.feeds.connections().cloned().collect(),
            topics: [Pending, Confirmed, Flowing, Stale]
                .map(|state| (state.name(), self.feeds.topics_in(state)))
                .into(),
            happened: Status::NAMES.into_iter().zip(self.inputs.stats.status.counts()).collect(),
            newest: self
                .feeds
                .newest()
                .iter()
                .map(|event| snapshot::Event {
                    ts_ns: event.ts_ns,
                    connection: event.connection,
                    instrument: event.instrument.and_then(|id| keys.get(id.index())).cloned(),
                    what: event.what.to_string(),
                })
                .collect(),
            missed_events: self.feeds.missed(),
        }
    }

    /// What became of the signals.
    #[must_use]
    pub fn sinks(&self) -> snapshot::Sinks {
        let counts = self.boards().map(|boards| boards.sink.counts()).unwrap_or_default();
        let actions = [Action::Buy, Action::Sell, Action::Hold];
        let kafka = self.inputs.stats.kafka().map(|kafka| {
            let outcome = kafka.outcome();
            snapshot::Kafka {
                epoch: outcome.epoch,
                outcomes: Outcome::ALL.map(|each| (each.name(), outcome.of(each))).into(),
                spilled: outcome.spilled,
                broker_losses: outcome.losses,
                producer_rebuilds: outcome.rebuilds,
                spill_errors: outcome.spill_errors,
                trouble: outcome.trouble,
            }
        });
        snapshot::Sinks {
            actions: actions.map(|action| (action.name(), counts.actions[action as usize])).into(),
            // A trade has its own reason, which no HOLD has.
            holds: Reason::ALL
                .into_iter()
                .filter(|reason| *reason != Reason::ThresholdMet)
                .map(|reason| (reason.name(), counts.reasons[reason as usize]))
                .collect(),
            refused: BTreeMap::from([
                ("journal", counts.journal_refused),
                ("kafka", counts.kafka_refused),
                ("terminal", counts.terminal_skipped),
                ("http", counts.watch_skipped),
            ]),
            kafka,
        }
    }

    /// Stages within the last two minutes.
    #[must_use]
    pub fn latency(&self) -> Vec<snapshot::Stage> {
        let stages = self.heat.totals().map(|(stage, _)| {
            let window = self.heat.window(stage);
            let us = |q| window.quantile_ns(q).map(|ns| ns as f64 / 1e3);
            snapshot::Stage {
                stage,
                count: window.count(),
                p50_us: us(0.5),
                p99_us: us(0.99),
                p999_us: us(0.999),
            }
        });
        stages.collect()
    }
}
