//! The model thread and the sink thread: each takes from one ring, works, and gives to the next.

use std::{sync::Arc, time::Duration};

use rtrb::{Consumer, Producer};

use super::{
    batch::CycleBatch,
    input::Cut,
    latency::Stage,
    live_stats::LiveStats,
    model_board::ModelBoard,
    sink::{Output, Sink, SinkResult},
    waker::Waker,
    warm::AllocationWatch,
};
use crate::{
    clock::monotonic_ns,
    learning::{backend::BackendWatch, forecaster::Forecaster, loss_probe::LossProbe},
};

const NAP: Duration = Duration::from_millis(50);

/// Stage of live histograms: a batch taken by the model → its signals given to the sink.
pub const CYCLE_STAGE: &str = "cycle";

/// Everything the model thread owns.
#[derive(Debug)]
pub struct ModelThread {
    /// Members, combiner, decisions.
    pub forecaster: Forecaster,
    /// Batches from the engine.
    pub batches: Consumer<Box<CycleBatch>>,
    /// Batches back to the engine.
    pub spent: Producer<Box<CycleBatch>>,
    /// Signals to the sink.
    pub outputs: Producer<Output>,
    /// Wakes this thread.
    pub waker: Waker,
    /// Wakes the engine.
    pub engine: Waker,
    /// Wakes the sink.
    pub sink: Waker,
    /// Tells losses on the way, for a search that may have seen enough.
    pub probe: Option<LossProbe>,
    /// Where the models run.
    pub backend: BackendWatch,
    /// Histograms and counts for slow readers, of every cycle that is done.
    pub stats: Arc<LiveStats>,
    /// Tells slow readers of every cycle.
    pub board: Option<ModelBoard>,
}

/// What is left when it has ended.
#[derive(Debug)]
pub struct ModelResult {
    /// With everything it learned and scored.
    pub forecaster: Forecaster,
    /// Batch ready → taken by the model.
    pub pick_up: Stage,
    /// Outcomes learned, members advanced.
    pub model: Stage,
    /// Combined and decided.
    pub decision: Stage,
    /// Times of the first and the last cycle, ns since the epoch.
    pub span_ns: Option<(i64, i64)>,
    /// Cycles whose work took longer than the period.
    pub overruns: u64,
    /// Allocations after warm-up.
    pub allocations: AllocationWatch,
}

impl ModelThread {
    /// Runs until the engine is gone.
    #[must_use]
    pub fn run(mut self, period_ns: u64) -> ModelResult {
        let latency = &self.stats.latency;
        let mut pick_up = Stage::new("batch→model").watched(latency.histogram("model_pick_up"));
        let mut model = Stage::new("model").watched(latency.histogram("model"));
        let mut decision = Stage::new("decision").watched(latency.histogram("decision"));
        let whole_cycle = latency.histogram(CYCLE_STAGE);
        let mut allocations = AllocationWatch::default();
        let mut overruns = 0;
        let mut span_ns = None;
        loop {
            let ending = self.batches.is_abandoned();
            let Ok(batch) = self.batches.pop() else {
                if ending {
                    break;
                }
                let batches = &self.batches;
                self.waker.sleep(NAP, || !batches.is_empty());
                continue;
            };
            let taken = monotonic_ns();
            pick_up.record(taken.saturating_sub(batch.ready_mono_ns));
            self.forecaster.think(&batch);
            self.backend.look(self.forecaster.models_mut());
            let thought = monotonic_ns();
            let (outputs, sink) = (&mut self.outputs, &self.sink);
            self.forecaster.decide(&batch, &mut |output| give(outputs, sink, output));
            self.sink.wake();
            let decided = monotonic_ns();
            let Cut { cycle, ts_cycle_ns, .. } = batch.cut;
            span_ns = Some((span_ns.map_or(ts_cycle_ns, |(first, _)| first), ts_cycle_ns));
            if let Some(probe) = &mut self.probe {
                probe.look(&self.forecaster, ts_cycle_ns);
            }
            model.record(thought - taken);
            decision.record(decided - thought);
            whole_cycle.count(decided - taken);
            overruns += u64::from(decided - taken > period_ns);
            self.stats.decided_a_cycle();
            // As many slots as batches: there is always room.
            let _ = self.spent.push(batch);
            self.engine.wake();
            if let Some(board) = &mut self.board {
                board.publish((cycle, decided), overruns, &self.forecaster);
            }
            allocations.cycle();
        }
        // So that the report tells of what was learned to the end.
        if let Some(cerebellum) = self.forecaster.cerebellum_mut() {
            cerebellum.synchronise();
        }
        ModelResult {
            forecaster: self.forecaster,
            pick_up,
            model,
            decision,
            span_ns,
            overruns,
            allocations,
        }
    }
}

/// The ring holds several cycles of signals; should the sink be further behind than that, waiting
/// for it keeps the stream complete and shows as an overrun.
fn give(outputs: &mut Producer<Output>, sink: &Waker, output: Output) {
    while outputs.push(output).is_err() {
        if outputs.is_abandoned() {
            return;
        }
        sink.wake();
        std::thread::sleep(Duration::from_micros(100));
    }
}

/// Runs the sink until the model is gone; also counts its allocations, per hundred milliseconds of
/// signals as for the others.
#[must_use]
pub fn run_sink(
    mut sink: Sink,
    mut outputs: Consumer<Output>,
    waker: &Waker,
) -> (SinkResult, AllocationWatch) {
    let mut allocations = AllocationWatch::default();
    let mut cycle = 0;
    loop {
        let ending = outputs.is_abandoned();
        if let Ok(output) = outputs.pop() {
            sink.take(&output);
            if let Output::Signal(signal) = output
                && signal.cycle != cycle
            {
                cycle = signal.cycle;
                allocations.cycle();
            }
            continue;
        }
        sink.idle();
        if ending {
            return (sink.finish(), allocations);
        }
        waker.sleep(NAP, || !outputs.is_empty());
    }
}
