//! The book feed of one instrument: sequencer, buffer and held snapshot turned into events.
//!
//! Invariants: nothing of a book is emitted before a snapshot is bridged; after a `Desync` nothing is
//! emitted before the next `BookBegin`; at most one snapshot request is outstanding; a request is made
//! only once an update is buffered that a snapshot could be bridged to, since an earlier answer could
//! only be too old; after an answer that was of no use, or a second book that did not last [`RELAPSE_NS`],
//! the next request waits at doubling distances ([`RETRY_FIRST_NS`] to [`RETRY_MOST_NS`]) for an update
//! that comes late enough, so that no trouble of the venue's or ours turns into requests without pause.

use super::buffer::{DiffBuffer, DiffHeader, LevelUpdate};
use super::counters::SessionCounters;
use super::outbox::{Action, Outbox};
use crate::binance::sequence::{DiffStep, DropReason, Sequencer, SnapshotStep};
use crate::{DesyncReason, EventBody, InstrumentId, MarketEvent, Venue};

/// Distance to the next request after the first useless answer; doubles with each further one.
pub(super) const RETRY_FIRST_NS: i64 = 250_000_000;

/// Longest such distance.
pub(super) const RETRY_MOST_NS: i64 = 16_000_000_000;

/// A book given up sooner than this after it was published was not repaired.
pub(super) const RELAPSE_NS: i64 = 1_000_000_000;

/// A snapshot without its levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SnapshotHeader {
    pub(crate) id: u64,
    pub(crate) ts_venue_ns: i64,
    pub(crate) ts_sent_ns: i64,
}

/// State of one instrument on its connection.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) instrument: InstrumentId,
    pub(crate) price_decimals: u8,
    pub(crate) qty_decimals: u8,
    sequencer: Sequencer,
    buffer: DiffBuffer,
    held: SnapshotHeader,
    held_levels: Vec<LevelUpdate>,
    /// A snapshot request is outstanding.
    asked: bool,
    retry: Retry,
    /// The consumer holds a book it may use.
    published: bool,
    /// When the newest book was published, ns since the epoch.
    published_ns: i64,
    /// A published book was given up and waits to be published again.
    repairing: bool,
}

/// Where a slot writes to.
pub(crate) struct Sink<'a> {
    pub(crate) ts_recv_ns: i64,
    pub(crate) out: &'a mut Outbox,
    pub(crate) counters: &'a mut SessionCounters,
}

impl Slot {
    pub(crate) fn new(
        venue: Venue,
        instrument: InstrumentId,
        decimals: (u8, u8),
        snapshot_limit: usize,
        buffer: DiffBuffer,
    ) -> Self {
        Self {
            instrument,
            price_decimals: decimals.0,
            qty_decimals: decimals.1,
            sequencer: Sequencer::new(venue),
            buffer,
            held: SnapshotHeader::default(),
            held_levels: Vec::with_capacity(2 * snapshot_limit),
            asked: false,
            retry: Retry::default(),
            published: false,
            published_ns: 0,
            repairing: false,
        }
    }

    pub(crate) fn connect(&mut self, generation: u32) {
        self.sequencer.connect(generation);
        self.buffer.clear();
        self.asked = false;
        self.retry = Retry::default();
    }

    pub(crate) fn disconnect(&mut self, sink: &mut Sink<'_>) {
        self.unpublish(DesyncReason::Disconnected, sink);
        self.sequencer.disconnect();
        self.buffer.clear();
        self.asked = false;
    }

    /// Gives the book up for a reason other than a gap and starts over on the same connection.
    pub(crate) fn desync(&mut self, reason: DesyncReason, sink: &mut Sink<'_>) {
        self.unpublish(reason, sink);
        self.sequencer.restart();
        self.buffer.clear();
    }

    pub(crate) fn diff(&mut self, header: DiffHeader, levels: &[LevelUpdate], sink: &mut Sink<'_>) {
        match self.sequencer.on_diff(header.ids) {
            DiffStep::Apply => self.emit_diff(header, levels.iter().copied(), sink),
            DiffStep::Drop(DropReason::Duplicate) => sink.counters.duplicates += 1,
            DiffStep::Drop(DropReason::Stale | DropReason::NoConnection) => {
                sink.counters.stale_dropped += 1;
            }
            DiffStep::Buffer => self.keep(header, levels, sink),
            DiffStep::RestartBuffer => {
                sink.counters.gaps += 1;
                self.buffer.clear();
                self.keep(header, levels, sink);
            }
            DiffStep::Bridge => {
                self.publish(sink);
                self.emit_diff(header, levels.iter().copied(), sink);
            }
            DiffStep::HeldTooOld => {
                sink.counters.snapshots_stale += 1;
                self.retry.failed(Some(sink.ts_recv_ns));
                self.keep(header, levels, sink);
            }
            DiffStep::Gap => {
                sink.counters.gaps += 1;
                self.unpublish(DesyncReason::SequenceGap, sink);
                self.keep(header, levels, sink);
            }
        }
    }

    pub(crate) fn snapshot(
        &mut self,
        generation: u32,
        header: SnapshotHeader,
        levels: &[LevelUpdate],
        sink: &mut Sink<'_>,
    ) {
        let step = self.sequencer.on_snapshot(generation, header.id, self.buffer.ids());
        if step != SnapshotStep::WrongGeneration {
            self.asked = false;
        }
        match step {
            SnapshotStep::WrongGeneration => sink.counters.snapshots_wrong_generation += 1,
            SnapshotStep::NotNeeded => sink.counters.snapshots_not_needed += 1,
            SnapshotStep::TooOld => {
                sink.counters.snapshots_stale += 1;
                self.retry.failed(Some(sink.ts_recv_ns));
            }
            SnapshotStep::Hold { stale } => {
                self.hold(header, levels);
                self.drop_stale(stale, sink);
            }
            SnapshotStep::Bridge { stale } => {
                self.hold(header, levels);
                self.drop_stale(stale, sink);
                self.publish(sink);
                for (header, levels) in self.buffer.iter() {
                    self.emit_diff(header, levels, sink);
                }
                self.buffer.clear();
            }
        }
    }

    /// The outstanding request came to nothing, or its answer could not be read.
    /// `at_ns`: when, where that is known.
    pub(crate) fn snapshot_failed(
        &mut self,
        generation: u32,
        at_ns: Option<i64>,
        counters: &mut SessionCounters,
    ) {
        if generation != self.sequencer.generation() {
            counters.snapshots_wrong_generation += 1;
            return;
        }
        counters.snapshots_failed += 1;
        self.asked = false;
        self.retry.failed(at_ns);
    }

    fn hold(&mut self, header: SnapshotHeader, levels: &[LevelUpdate]) {
        self.held = header;
        self.held_levels.clear();
        self.held_levels.extend_from_slice(levels);
    }

    fn drop_stale(&mut self, stale: usize, sink: &mut Sink<'_>) {
        sink.counters.stale_dropped += stale as u64;
        (0..stale).for_each(|_| self.buffer.pop());
    }

    fn keep(&mut self, header: DiffHeader, levels: &[LevelUpdate], sink: &mut Sink<'_>) {
        let dropped_before = self.buffer.dropped();
        if self.buffer.push(header, levels) {
            self.ask(sink);
        } else {
            self.sequencer.restart();
        }
        sink.counters.buffered_dropped += self.buffer.dropped() - dropped_before;
    }

    fn ask(&mut self, sink: &mut Sink<'_>) {
        if !self.asked && self.retry.is_due(sink.ts_recv_ns) {
            self.asked = true;
            let generation = self.sequencer.generation();
            sink.out.actions.push(Action::Snapshot { instrument: self.instrument, generation });
        }
    }

    fn unpublish(&mut self, reason: DesyncReason, sink: &mut Sink<'_>) {
        if std::mem::replace(&mut self.published, false) {
            self.repairing = true;
            if sink.ts_recv_ns.saturating_sub(self.published_ns) < RELAPSE_NS {
                self.retry.relapsed(sink.ts_recv_ns);
            } else {
                self.retry = Retry::default();
            }
            sink.counters.repairs_started += 1;
            self.emit(EventBody::Desync { reason }, (0, 0), 0, sink);
        }
    }

    /// Emits the held snapshot as a complete book.
    fn publish(&mut self, sink: &mut Sink<'_>) {
        let SnapshotHeader { id, ts_venue_ns, ts_sent_ns } = self.held;
        let times = (ts_venue_ns, ts_sent_ns);
        self.emit(EventBody::BookBegin, times, id, sink);
        self.emit_levels(self.held_levels.iter().copied(), times, id, sink);
        self.emit(EventBody::BookCommit { conflated: false }, times, id, sink);
        self.published = true;
        self.published_ns = sink.ts_recv_ns;
        sink.counters.snapshots_applied += 1;
        sink.counters.repairs_done += u64::from(std::mem::take(&mut self.repairing));
    }

    fn emit_diff(
        &self,
        header: DiffHeader,
        levels: impl Iterator<Item = LevelUpdate>,
        sink: &mut Sink<'_>,
    ) {
        let times = (header.ts_venue_ns, header.ts_sent_ns);
        self.emit_levels(levels, times, header.ids.last, sink);
        self.emit(EventBody::BookCommit { conflated: false }, times, header.ids.last, sink);
    }

    fn emit_levels(
        &self,
        levels: impl Iterator<Item = LevelUpdate>,
        times: (i64, i64),
        update_id: u64,
        sink: &mut Sink<'_>,
    ) {
        for LevelUpdate { side, price, qty } in levels {
            self.emit(EventBody::Level { side, price, qty }, times, update_id, sink);
        }
    }

    /// `times` are the venue's and the send time, ns.
    fn emit(&self, body: EventBody, times: (i64, i64), update_id: u64, sink: &mut Sink<'_>) {
        sink.out.events.push(MarketEvent {
            ts_venue_ns: times.0,
            ts_sent_ns: times.1,
            ts_recv_ns: sink.ts_recv_ns,
            update_id,
            instrument: self.instrument,
            body,
        });
    }
}

/// When to ask again after snapshots that were of no use.
#[derive(Clone, Copy, Debug, Default)]
struct Retry {
    /// How many in a row.
    failures: u32,
    /// When the newest of them was noticed, or the first update after it where that is not known.
    since_ns: Option<i64>,
    /// A book did not last; the first time that costs no wait.
    relapsed: bool,
}

impl Retry {
    fn failed(&mut self, at_ns: Option<i64>) {
        (self.failures, self.since_ns) = (self.failures.saturating_add(1), at_ns);
    }

    fn relapsed(&mut self, at_ns: i64) {
        if std::mem::replace(&mut self.relapsed, true) {
            self.failed(Some(at_ns));
        }
    }

    /// Whether an update at `now_ns` may ask.
    fn is_due(&mut self, now_ns: i64) -> bool {
        let Some(doublings) = self.failures.checked_sub(1) else { return true };
        let since_ns = *self.since_ns.get_or_insert(now_ns);
        let wait_ns = (RETRY_FIRST_NS << doublings.min(16)).min(RETRY_MOST_NS);
        // A clock that stepped back says nothing about the wait: better once too often than never.
        now_ns < since_ns || now_ns.saturating_sub(since_ns) >= wait_ns
    }
}
