//! The book feed of one instrument: sequencer, buffer, held snapshot and checksum turned into events.
//!
//! Invariants: nothing of a book is emitted before a snapshot is bridged, and nothing of a message whose
//! checksum is another book's; after a `Desync` nothing is emitted before the next `BookBegin`; at most
//! one snapshot request (or, where books come in the stream, one resubscription) is outstanding; a REST
//! request is made only once an update tells where the chain starts that a snapshot could be bridged to,
//! since an earlier answer could only be too old; after an answer that was of no use, or a second book
//! that did not last [`RELAPSE_NS`], the next request waits at doubling distances ([`RETRY_FIRST_NS`] to
//! [`RETRY_MOST_NS`]) for an update that comes late enough, so that no trouble of the venue's or ours turns
//! into requests without pause.

use super::audit::{Audit, Wish};
use super::buffer::{DiffBuffer, DiffHeader, LevelUpdate};
use super::checker::Checker;
use super::counters::SessionCounters;
use super::outbox::{Action, Outbox};
use crate::protocol::sequence::{DiffStep, DropReason, Sequencer, SnapshotSource, SnapshotStep};
use crate::topic::TopicId;
use crate::{DesyncReason, EventBody, InstrumentId, MarketEvent};

/// Distance to the next request after the first useless answer; doubles with each further one.
pub(super) const RETRY_FIRST_NS: i64 = 250_000_000;

/// Longest such distance.
pub(super) const RETRY_MOST_NS: i64 = 16_000_000_000;

/// A book given up sooner than this after it was published was not repaired.
pub(super) const RELAPSE_NS: i64 = 1_000_000_000;

/// How long a subscription may stay without the snapshot it begins with.
pub(super) const STREAM_SNAPSHOT_WAIT_NS: i64 = 5_000_000_000;

/// A snapshot without its levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SnapshotHeader {
    pub(crate) id: u64,
    pub(crate) ts_venue_ns: i64,
    pub(crate) ts_sent_ns: i64,
    pub(crate) checksum: Option<u32>,
}

impl From<DiffHeader> for SnapshotHeader {
    fn from(header: DiffHeader) -> Self {
        let DiffHeader { ids, ts_venue_ns, ts_sent_ns, checksum } = header;
        Self { id: ids.last, ts_venue_ns, ts_sent_ns, checksum }
    }
}

/// The last known top of one side, price and quantity.
pub(crate) type TopSide = Option<(i64, i64)>;

/// State of one instrument on its connection.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) instrument: InstrumentId,
    pub(crate) price_decimals: u8,
    pub(crate) qty_decimals: u8,
    /// Last known bid and offer of the top-of-book stream, for venues that send one side alone.
    pub(crate) top: [TopSide; 2],
    /// Id of the newest trade received.
    pub(crate) last_trade_id: u64,
    /// The topic that carries the book, where books come in the stream.
    depth_topic: TopicId,
    sequencer: Sequencer,
    checker: Option<Checker>,
    audit: Option<Audit>,
    buffer: DiffBuffer,
    held: SnapshotHeader,
    held_levels: Vec<LevelUpdate>,
    /// A snapshot request is outstanding.
    asked: bool,
    /// Since when.
    asked_ns: i64,
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
        sequencer: Sequencer,
        (instrument, depth_topic): (InstrumentId, TopicId),
        decimals: (u8, u8),
        snapshot_limit: usize,
        buffer: DiffBuffer,
        (checker, audit): (Option<Checker>, Option<Audit>),
    ) -> Self {
        Self {
            instrument,
            price_decimals: decimals.0,
            qty_decimals: decimals.1,
            top: [None; 2],
            last_trade_id: 0,
            depth_topic,
            sequencer,
            checker,
            audit,
            buffer,
            held: SnapshotHeader::default(),
            held_levels: Vec::with_capacity(2 * snapshot_limit),
            asked: false,
            asked_ns: 0,
            retry: Retry::default(),
            published: false,
            published_ns: 0,
            repairing: false,
        }
    }

    /// Whether levels must say how many decimals they had on the wire.
    pub(crate) fn wants_digits(&self) -> bool {
        self.checker.is_some()
    }

    /// Whether the consumer holds a book it may use.
    pub(crate) fn is_published(&self) -> bool {
        self.published
    }

    pub(crate) fn connect(&mut self, generation: u32, now_ns: i64) {
        self.sequencer.connect(generation);
        self.buffer.clear();
        // The subscription that follows is the request, where books come in the stream.
        self.asked = self.sequencer.snapshot_source() == SnapshotSource::Stream;
        self.asked_ns = now_ns;
        self.retry = Retry::default();
        (self.top, self.last_trade_id) = ([None; 2], 0);
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
        if self.sequencer.snapshot_source() == SnapshotSource::Stream {
            self.ask(sink);
        }
    }

    /// Gives the book up where only a new connection helps; nothing is asked for.
    pub(crate) fn give_up(&mut self, reason: DesyncReason, sink: &mut Sink<'_>) {
        self.unpublish(reason, sink);
        self.sequencer.restart();
        self.buffer.clear();
        (self.asked, self.asked_ns) = (true, sink.ts_recv_ns);
    }

    pub(crate) fn update(
        &mut self,
        header: DiffHeader,
        levels: &[LevelUpdate],
        sink: &mut Sink<'_>,
    ) {
        match self.sequencer.on_update(header.ids) {
            DiffStep::Apply => self.apply(header, levels, sink),
            DiffStep::Drop(DropReason::Duplicate) => sink.counters.duplicates += 1,
            DiffStep::Drop(DropReason::Stale | DropReason::NoConnection) => {
                sink.counters.stale_dropped += 1;
            }
            DiffStep::Drop(DropReason::AwaitingSnapshot) => {
                sink.counters.awaiting_snapshot += 1;
                self.ask(sink);
            }
            DiffStep::Buffer => self.keep(header, levels, sink),
            DiffStep::RestartBuffer => {
                sink.counters.gaps += 1;
                self.buffer.clear();
                self.keep(header, levels, sink);
            }
            DiffStep::Bridge => {
                self.publish(sink);
                self.apply(header, levels, sink);
            }
            DiffStep::HeldTooOld => {
                sink.counters.snapshots_stale += 1;
                self.retry.failed(Some(sink.ts_recv_ns));
                self.keep(header, levels, sink);
            }
            DiffStep::Gap => {
                sink.counters.gaps += 1;
                self.unpublish(DesyncReason::SequenceGap, sink);
                match self.sequencer.snapshot_source() {
                    SnapshotSource::Rest => self.keep(header, levels, sink),
                    SnapshotSource::Stream => self.ask(sink),
                }
            }
        }
    }

    /// A REST snapshot.
    pub(crate) fn snapshot(
        &mut self,
        generation: u32,
        header: SnapshotHeader,
        levels: &[LevelUpdate],
        sink: &mut Sink<'_>,
    ) {
        if generation == self.sequencer.generation()
            && let Some(audit) = self.audit.as_mut().filter(|audit| audit.is_asked())
        {
            let wish = audit.answer(header.id, levels, sink.ts_recv_ns);
            return self.carry_out(wish, sink);
        }
        if self.sequencer.snapshot_source() == SnapshotSource::Stream {
            sink.counters.snapshots_not_needed += 1;
            return;
        }
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
                let mut audit = self.audit.take();
                for (header, levels) in self.buffer.iter() {
                    if let Some(audit) = &mut audit {
                        audit.seed(levels.clone());
                    }
                    self.emit_update(header, levels, sink);
                }
                self.audit = audit;
                self.buffer.clear();
            }
        }
    }

    /// A snapshot in the stream; of no use where books come by REST.
    pub(crate) fn stream_snapshot(
        &mut self,
        header: SnapshotHeader,
        levels: &[LevelUpdate],
        sink: &mut Sink<'_>,
    ) {
        if self.sequencer.snapshot_source() == SnapshotSource::Rest {
            sink.counters.snapshots_not_needed += 1;
            return;
        }
        if self.sequencer.on_stream_snapshot(header.id) == SnapshotStep::WrongGeneration {
            sink.counters.snapshots_wrong_generation += 1;
            return;
        }
        self.asked = false;
        if let Some(checker) = &mut self.checker {
            checker.clear();
            for level in levels {
                checker.set(*level);
            }
        }
        if self.is_refuted(header.checksum, sink) {
            self.retry.failed(Some(sink.ts_recv_ns));
            self.desync(DesyncReason::ChecksumMismatch, sink);
            return;
        }
        self.hold(header, levels);
        self.publish(sink);
    }

    /// An update in sequence: emitted unless its checksum refutes the book.
    fn apply(&mut self, header: DiffHeader, levels: &[LevelUpdate], sink: &mut Sink<'_>) {
        let Some(checker) = &mut self.checker else {
            self.emit_update(header, levels.iter().copied(), sink);
            let audit = self.audit.as_mut();
            let wish = audit.map(|audit| audit.update(header, levels, sink.ts_recv_ns));
            return self.carry_out(wish.unwrap_or(Wish::None), sink);
        };
        for level in levels {
            checker.set(*level);
        }
        // The held snapshot is published, so its room serves for what the cut deletes.
        self.held_levels.clear();
        let cut = &mut self.held_levels;
        checker.cut(|level| cut.push(level));
        if self.is_refuted(header.checksum, sink) {
            return self.desync(DesyncReason::ChecksumMismatch, sink);
        }
        sink.counters.levels_cut += self.held_levels.len() as u64;
        let all = levels.iter().chain(&self.held_levels).copied();
        self.emit_update(header, all, sink);
    }

    fn carry_out(&mut self, wish: Wish, sink: &mut Sink<'_>) {
        match wish {
            Wish::None => {}
            Wish::Snapshot => {
                let (instrument, generation) = (self.instrument, self.sequencer.generation());
                sink.out.actions.push(Action::Snapshot { instrument, generation });
            }
            Wish::Passed => sink.counters.audits += 1,
            Wish::Failed => {
                sink.counters.audits += 1;
                sink.counters.audit_mismatches += 1;
                self.desync(DesyncReason::AuditMismatch, sink);
            }
        }
    }

    fn is_refuted(&self, claimed: Option<u32>, sink: &mut Sink<'_>) -> bool {
        let held = self.checker.as_ref().and_then(Checker::checksum);
        let (Some(claimed), Some(held)) = (claimed, held) else {
            return false;
        };
        sink.counters.checksums += 1;
        sink.counters.checksum_mismatches += u64::from(claimed != held);
        claimed != held
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
        if let Some(audit) = self.audit.as_mut().filter(|audit| audit.is_asked()) {
            audit.failed();
            return;
        }
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
        let is_stream = self.sequencer.snapshot_source() == SnapshotSource::Stream;
        // A REST request is always answered; a subscription may be acknowledged and stay mute.
        let waited_ns = sink.ts_recv_ns.saturating_sub(self.asked_ns);
        if is_stream && self.asked && waited_ns >= STREAM_SNAPSHOT_WAIT_NS {
            self.asked = false;
            self.retry.failed(Some(sink.ts_recv_ns));
        }
        if self.asked || !self.retry.is_due(sink.ts_recv_ns) {
            return;
        }
        (self.asked, self.asked_ns) = (true, sink.ts_recv_ns);
        let (instrument, generation) = (self.instrument, self.sequencer.generation());
        sink.out.actions.push(if is_stream {
            Action::Resubscribe { topic: self.depth_topic }
        } else {
            Action::Snapshot { instrument, generation }
        });
    }

    fn unpublish(&mut self, reason: DesyncReason, sink: &mut Sink<'_>) {
        if let Some(audit) = &mut self.audit {
            audit.end();
        }
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
        let SnapshotHeader { id, ts_venue_ns, ts_sent_ns, .. } = self.held;
        let times = (ts_venue_ns, ts_sent_ns);
        self.emit(EventBody::BookBegin, times, id, sink);
        self.emit_levels(self.held_levels.iter().copied(), times, id, sink);
        self.emit(EventBody::BookCommit { conflated: false }, times, id, sink);
        self.published = true;
        self.published_ns = sink.ts_recv_ns;
        if let Some(audit) = &mut self.audit {
            audit.begin(&self.held_levels, sink.ts_recv_ns);
        }
        sink.counters.snapshots_applied += 1;
        sink.counters.repairs_done += u64::from(std::mem::take(&mut self.repairing));
    }

    fn emit_update(
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
        let ts_recv_ns = sink.ts_recv_ns;
        sink.out.events.extend(levels.map(|LevelUpdate { side, price, qty, .. }| MarketEvent {
            ts_venue_ns: times.0,
            ts_sent_ns: times.1,
            ts_recv_ns,
            update_id,
            instrument: self.instrument,
            body: EventBody::Level { side, price, qty },
        }));
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
