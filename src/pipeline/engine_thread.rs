//! The engine thread: takes inputs from the rings, applies them, cuts cycles.
//!
//! Live, it decides the order between rings and the moment of each cut, and tells the recorder. In a
//! replay the one ring carries both, and where a live engine would miss a cycle because the model is
//! still busy, a replaying one waits: its clock can.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use purkinje_feeds::recording::{Command, Record};
use rtrb::{Consumer, Producer};

use super::{
    batch::{CycleBatch, Status},
    engine::{Engine, EngineCounts},
    grid::Grid,
    input::{Cut, Input},
    ladders::LadderWriter,
    latency::Stage,
    live_settings::MAX_TEXT_BYTES,
    live_stats::LiveStats,
    recorder::Tap,
    waker::Waker,
    warm::AllocationWatch,
};
use crate::clock::{monotonic_ns, until, wall_ns};

/// Items taken from one ring before the clock and the other rings are looked at.
const BURST_ITEMS: usize = 512;

/// Longest sleep, so that a stop is noticed.
const NAP: Duration = Duration::from_millis(50);

/// What drives the cycles.
#[derive(Debug)]
pub enum Pace {
    /// The wall clock.
    Live {
        /// Cycle period, ns.
        period_ns: i64,
        /// Poll instead of sleeping.
        spin: bool,
        /// Set to end the thread after what is in the rings.
        stop: Arc<AtomicBool>,
    },
    /// The cuts in the stream.
    Replay,
}

/// One feed ring.
#[derive(Debug)]
pub struct Ring {
    /// Whose.
    pub connection: u8,
    /// The reading end.
    pub inputs: Consumer<Input>,
}

/// Everything the thread owns.
#[derive(Debug)]
pub struct EngineThread {
    /// The state machine.
    pub engine: Engine,
    /// Live or replay.
    pub pace: Pace,
    /// One a connection.
    pub rings: Vec<Ring>,
    /// The operator's commands.
    pub commands: Option<Consumer<Input>>,
    /// Batches to the model.
    pub batches: Producer<Box<CycleBatch>>,
    /// Batches back from the model.
    pub spent: Consumer<Box<CycleBatch>>,
    /// Wakes this thread.
    pub waker: Waker,
    /// Wakes the model thread.
    pub model: Waker,
    /// Counters for slow readers.
    pub stats: Arc<LiveStats>,
    /// Tells the recorder.
    pub tap: Option<Tap>,
    /// Shows books to slow readers.
    pub ladders: Option<LadderWriter>,
}

/// What is left when the thread has ended.
#[derive(Clone, Debug)]
pub struct EngineResult {
    /// The counters.
    pub counts: EngineCounts,
    /// Times the wall clock jumped back.
    pub clock_jumps: u64,
    /// Decoded → in the book.
    pub book: Stage,
    /// Boundary → cut begins.
    pub jitter: Stage,
    /// Time to make the batch.
    pub features: Stage,
    /// Allocations after warm-up.
    pub allocations: AllocationWatch,
}

struct Running {
    thread: EngineThread,
    halted: bool,
    /// Cycles missed since the last cut, which it could not tell.
    untold_missed: u32,
    result: EngineResult,
}

impl EngineThread {
    /// Runs until the feeds have ended.
    #[must_use]
    pub fn run(self) -> EngineResult {
        let latency = &self.stats.latency;
        let mut running = Running {
            halted: false,
            untold_missed: 0,
            result: EngineResult {
                counts: EngineCounts::default(),
                clock_jumps: 0,
                book: Stage::new("decoded→book").watched(latency.histogram("book")),
                jitter: Stage::new("cycle jitter").watched(latency.histogram("cycle_jitter")),
                features: Stage::new("features").watched(latency.histogram("features")),
                allocations: AllocationWatch::default(),
            },
            thread: self,
        };
        match &running.thread.pace {
            Pace::Live { period_ns, spin, stop } => {
                let (period_ns, spin, stop) = (*period_ns, *spin, stop.clone());
                running.live(period_ns, spin, &stop);
            }
            Pace::Replay => running.replay(),
        }
        running.thread.publish(running.halted, 0, running.untold_missed);
        running.result.counts = running.thread.counts(running.untold_missed);
        running.result
    }
}

impl EngineThread {
    fn counts(&self, untold_missed: u32) -> EngineCounts {
        let mut counts = self.engine.counts();
        counts.missed_cycles += u64::from(untold_missed);
        counts
    }

    fn publish(&self, halted: bool, ready: usize, untold_missed: u32) {
        self.stats.publish(&self.counts(untold_missed), ready, halted);
    }

    /// Fills a free batch and hands it to the model; false if there is none.
    fn try_cut(&mut self, cut: Cut, halted: bool, features: &mut Stage) -> bool {
        let Ok(mut batch) = self.spent.pop() else { return false };
        let begin = monotonic_ns();
        self.engine.cut(cut, &mut batch);
        batch.ready_mono_ns = monotonic_ns();
        features.record(batch.ready_mono_ns - begin);
        let ready = batch.rows.iter().filter(|r| r.status == Status::Ready).count();
        // There are no more batches than slots, so this cannot fail while the model lives.
        let _ = self.batches.push(batch);
        self.model.wake();
        self.publish(halted, ready, 0);
        // The model is at work already.
        if let Some(ladders) = &mut self.ladders {
            ladders.publish(cut.cycle, |instrument| self.engine.verified_book(instrument));
        }
        true
    }
}

impl Running {
    fn apply(&mut self, input: &Input) {
        match input {
            Input::Event(event) => self.thread.engine.apply(event),
            Input::FrameEnd { recv_mono_ns, decoded_mono_ns } => {
                self.thread.engine.frame_end(*recv_mono_ns);
                self.result.book.record(monotonic_ns().saturating_sub(*decoded_mono_ns));
            }
            Input::Halt(halted) => {
                self.halted = *halted;
                self.thread.engine.set_halted(*halted);
            }
            Input::Settings(settings) => self.thread.engine.change(settings),
            Input::Cut(_) | Input::End => {}
        }
    }

    fn note(&mut self, record: &Record<'_>) {
        if let Some(tap) = &mut self.thread.tap {
            tap.record(record);
        }
    }

    fn live(&mut self, period_ns: i64, spin: bool, stop: &AtomicBool) {
        let mut grid = Grid::new(period_ns, wall_ns());
        // What is in the rings when the end comes is taken, and not what a feed that was left behind
        // might still put in.
        let items = self.thread.rings.iter().map(|r| r.inputs.buffer().capacity()).max();
        let mut passes_left = items.unwrap_or(0) / BURST_ITEMS + 2;
        loop {
            // Looked at before draining: what came before the end is still taken.
            let stopping = stop.load(Ordering::Acquire);
            let ending = stopping || self.thread.rings.iter().all(|r| r.inputs.is_abandoned());
            passes_left -= usize::from(stopping);
            let took = self.drain() | self.take_commands();
            let now = wall_ns();
            if let Some(cut) = grid.due(now) {
                self.result.jitter.record((now - cut.ts_cycle_ns) as u64);
                if self.thread.try_cut(cut, self.halted, &mut self.result.features) {
                    let Cut { cycle, ts_cycle_ns, missed } = cut;
                    self.note(&Record::Cut { cycle, ts_cycle_ns, missed });
                } else {
                    grid.miss(cut);
                    self.thread.publish(self.halted, 0, grid.missed());
                }
                self.result.allocations.cycle();
            }
            if passes_left == 0 || (ending && !took) {
                break;
            }
            if !took && !spin {
                let (rings, commands) = (&self.thread.rings, &self.thread.commands);
                self.thread.waker.sleep(until(grid.next_ns()).min(NAP), || {
                    rings.iter().any(|r| !r.inputs.is_empty())
                        || commands.as_ref().is_some_and(|c| !c.is_empty())
                });
            }
        }
        self.untold_missed = grid.missed();
        self.result.clock_jumps = grid.clock_jumps();
    }

    fn drain(&mut self) -> bool {
        let mut took = false;
        for at in 0..self.thread.rings.len() {
            let mut events = 0;
            for _ in 0..BURST_ITEMS {
                let Ok(input) = self.thread.rings[at].inputs.pop() else { break };
                events += u32::from(matches!(input, Input::Event(_)));
                took = true;
                self.apply(&input);
            }
            if events > 0 {
                let connection = self.thread.rings[at].connection;
                self.note(&Record::Consumed { connection, items: events });
            }
        }
        took
    }

    fn take_commands(&mut self) -> bool {
        let mut took = false;
        while let Some(Ok(input)) = self.thread.commands.as_mut().map(Consumer::pop) {
            took = true;
            self.apply(&input);
            let ts_ns = wall_ns();
            match input {
                Input::Halt(halted) => {
                    let command = if halted { Command::Halt } else { Command::Resume };
                    self.note(&Record::Control { ts_ns, command });
                }
                Input::Settings(settings) => {
                    let mut buffer = [0; MAX_TEXT_BYTES];
                    self.note(&Record::Settings { ts_ns, json: settings.write(&mut buffer) });
                }
                _ => {}
            }
        }
        took
    }

    fn replay(&mut self) {
        loop {
            let Some(ring) = self.thread.rings.first_mut() else { return };
            match ring.inputs.pop() {
                Ok(Input::End) => return,
                Ok(Input::Cut(cut)) => {
                    while !self.thread.try_cut(cut, self.halted, &mut self.result.features) {
                        if self.thread.spent.is_abandoned() {
                            return;
                        }
                        let spent = &self.thread.spent;
                        self.thread.waker.sleep(NAP, || !spent.is_empty());
                    }
                    self.result.allocations.cycle();
                }
                Ok(input) => self.apply(&input),
                Err(_) if ring.inputs.is_abandoned() => return,
                Err(_) => {
                    let inputs = &ring.inputs;
                    self.thread.waker.sleep(NAP, || !inputs.is_empty());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{batch::CycleBatch, engine::EngineConfig};
    use purkinje_feeds::InstrumentTable;
    use purkinje_strategies::normalise::{NormaliserConfig, NormaliserKind};
    use rtrb::RingBuffer;

    struct Rig {
        thread: EngineThread,
        feed: Producer<Input>,
        stop: Arc<AtomicBool>,
        stats: Arc<LiveStats>,
        _model: (Consumer<Box<CycleBatch>>, Producer<Box<CycleBatch>>),
    }

    /// A live engine whose model holds all the batches.
    fn rig() -> Rig {
        let config = EngineConfig {
            cycle_ms: 100,
            levels: 10,
            stale_after_ns: 1,
            normaliser: NormaliserKind::RobustZ,
            normaliser_config: NormaliserConfig::default(),
        };
        let (feed, inputs) = RingBuffer::new(64);
        let (batches, taken) = RingBuffer::new(1);
        let (returned, spent) = RingBuffer::new(1);
        let (stop, stats) = (Arc::new(AtomicBool::new(false)), Arc::new(LiveStats::default()));
        let thread = EngineThread {
            engine: Engine::new(&InstrumentTable::default(), &config).unwrap(),
            pace: Pace::Live { period_ns: 1_000_000, spin: false, stop: stop.clone() },
            rings: vec![Ring { connection: 0, inputs }],
            commands: None,
            batches,
            spent,
            waker: Waker::default(),
            model: Waker::default(),
            stats: stats.clone(),
            tap: None,
            ladders: None,
        };
        Rig { thread, feed, stop, stats, _model: (taken, returned) }
    }

    #[test]
    fn cycles_missed_while_the_model_hangs_are_told_while_it_does_and_at_the_end() {
        let Rig { thread, feed: _feed, stop, stats, _model } = rig();
        let engine = std::thread::spawn(move || thread.run());
        while stats.snapshot().missed < 3 {
            std::thread::yield_now();
        }
        stop.store(true, Ordering::Release);
        let counts = engine.join().unwrap().counts;
        assert_eq!(counts.cycles, 0);
        assert!(counts.missed_cycles >= 3);
    }

    #[test]
    fn a_ring_that_keeps_filling_does_not_hold_up_a_stop() {
        let Rig { thread, mut feed, stop, stats: _, _model } = rig();
        stop.store(true, Ordering::Release);
        let filler = std::thread::spawn(move || {
            while !feed.is_abandoned() {
                let _ = feed.push(Input::FrameEnd { recv_mono_ns: 1, decoded_mono_ns: 1 });
            }
        });
        let _ = thread.run();
        filler.join().unwrap();
    }
}
