//! The mode `fenced`: every cycle's signals in one transaction, under a transactional id that one daemon at a
//! time can use. The rules, without threads or clocks:
//!
//! 1. Signals wait in the window, oldest first, then in the spill; a cycle is complete when all instruments have spoken or the next one has
//!    begun. One transaction holds the signals of one cycle of one epoch, to both topics, and is committed before the next begins.
//! 2. What has expired before its transaction begins is settled as expired and not sent.
//! 3. A signal is delivered when its transaction is committed. A transaction that fails is aborted, and its signals wait
//!    again, in front of all others, until they expire. One that the broker may have committed although
//!    it never said so is sent again: its identity stays, and consumers drop what they have.
//! 4. Whoever starts with the same transactional id takes over. The one that was fenced off must not take it back: it
//!    refuses every signal from then on, and says why.
//! 5. At the end what was not settled goes to the front of the spill.
//!
//! Calls to the broker wait for at most [`PATIENCE`]; the sink's ring holds what is made meanwhile.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hdrhistogram::Histogram;
use rdkafka::error::RDKafkaErrorCode as E;

use super::{
    delivery::{Delivery, WriteValue},
    envelope::Envelope,
    outcome::{KafkaCounts, Outcome},
    overflow::{ExpiredRange, Overflow},
    producer::{Destination, Fate, Producer, TransactionError},
    publisher::{CLOSE_WITHIN, Now, PublisherConfig},
    spill::{Spill, Taken},
    window::Slot,
};

/// Longest that one call waits for the broker.
pub const PATIENCE: Duration = Duration::from_millis(200);

/// Pause after something failed, ns.
const RETRY_PAUSE_NS: u64 = 100_000_000;

/// Where the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The transactional id is not taken yet.
    Starting,
    /// No transaction is open.
    Ready,
    /// The cycle was handed over; the commit is to be called, perhaps again.
    Committing,
    /// The transaction is to be aborted, perhaps again.
    Aborting,
    /// Another daemon has the transactional id.
    FencedOff,
}

/// What is remembered of a slot.
#[derive(Clone, Copy, Debug, Default)]
struct Track {
    made_mono_ns: u64,
    /// Where it lies on the disk until it is settled, if it was spilled.
    from_spill: Option<Taken>,
    may_be_there: bool,
}

/// See the module.
pub struct FencedPublisher<P> {
    producer: P,
    latest: bool,
    /// Signals of a whole cycle.
    cycle_signals: usize,
    overflow: Overflow,
    counts: Arc<KafkaCounts>,
    tracks: Box<[Track]>,
    /// The signals of the open transaction.
    current: Vec<Slot>,
    waiting: VecDeque<Slot>,
    phase: Phase,
    is_broken: bool,
    not_before_mono_ns: u64,
    latency: Option<Histogram<u64>>,
}

impl<P: Producer> FencedPublisher<P> {
    /// A publisher on a transactional client, for cycles of `cycle_signals` signals.
    #[must_use]
    pub fn new(
        config: PublisherConfig,
        cycle_signals: usize,
        mut producer: P,
        spill: Option<Spill>,
        counts: Arc<KafkaCounts>,
    ) -> Self {
        let slots = producer.window().slots();
        Self {
            producer,
            latest: config.latest,
            cycle_signals,
            overflow: Overflow::new(spill, counts.clone()),
            counts,
            tracks: vec![Track::default(); slots].into(),
            current: Vec::with_capacity(slots),
            waiting: VecDeque::with_capacity(slots),
            phase: Phase::Starting,
            is_broken: false,
            not_before_mono_ns: 0,
            latency: Histogram::new_with_bounds(1, 60_000_000, 3).ok(),
        }
    }

    fn take_reports(&mut self) {
        while let Some(report) = self.producer.next_report() {
            if let Fate::Failed { code, may_be_there } = report.fate {
                self.tracks[report.slot.0 as usize].may_be_there |= may_be_there;
                if report.to == Destination::Latest {
                    self.counts.latest_failed.fetch_add(1, Relaxed);
                }
                // What is purged by an abort was told of before.
                if !matches!(code, E::PurgeQueue | E::PurgeInflight) {
                    self.counts.note(|| format!("a signal was not delivered: {code}"));
                }
            }
        }
    }

    /// Takes up what a call to the broker said; `true` if it succeeded.
    fn succeeded(&mut self, result: Result<(), TransactionError>, now: Now) -> bool {
        let Err(error) = result else {
            self.found(true, now);
            return true;
        };
        if is_fenced(error.code, error.is_fatal) {
            self.fence_off(&error.reason);
        } else if error.is_fatal {
            self.is_broken = true;
            self.counts.note(|| error.reason);
        } else if error.needs_abort {
            self.phase = Phase::Aborting;
            self.counts.note(|| error.reason);
        } else {
            // The call may be repeated. That is the way of a broker that does not answer, but also of a coordinator that
            // takes its time at the start.
            if self.phase != Phase::Starting {
                self.found(false, now);
            }
            self.counts.note(|| error.reason);
        }
        self.not_before_mono_ns = now.mono_ns + RETRY_PAUSE_NS;
        false
    }

    fn found(&mut self, is_there: bool, now: Now) {
        if self.counts.is_broker_lost() == is_there {
            self.counts.broker_found(is_there, now.wall_ns);
        }
    }

    fn fence_off(&mut self, reason: &str) {
        self.phase = Phase::FencedOff;
        self.counts.fenced_off.store(true, Relaxed);
        self.counts
            .note(|| format!("another daemon publishes under kafka.transactional_id: {reason}"));
        self.producer.close(CLOSE_WITHIN);
        self.take_reports();
        for slot in std::mem::take(&mut self.current) {
            self.settle(slot, Outcome::Refused);
        }
        while let Some(slot) = self.waiting.pop_front() {
            self.settle(slot, Outcome::Refused);
        }
        while self.overflow.drop_oldest() {
            self.counts.count(Outcome::Refused);
        }
    }

    fn settle(&mut self, slot: Slot, outcome: Outcome) {
        self.counts.count(outcome);
        self.release(slot);
    }

    /// Ends the use of a slot whose signal is settled.
    fn release(&mut self, slot: Slot) {
        if let Some(taken) = self.tracks[slot.0 as usize].from_spill.take() {
            self.overflow.settle(taken);
        }
        // What the client never reported back keeps its slot: it may still be read.
        if self.producer.window().pending(slot) == 0 {
            self.producer.window().release(slot);
        }
    }

    fn settle_expired(&mut self, slot: Slot) {
        let identity = self.producer.window().envelope(slot).identity;
        if self.tracks[slot.0 as usize].may_be_there {
            self.settle(slot, Outcome::PossiblyPersisted);
        } else {
            self.overflow.note_expired(identity);
            self.release(slot);
        }
    }

    /// Brings the signals of a transaction that is over back in front of all that wait.
    fn wait_again(&mut self) {
        while let Some(slot) = self.current.pop() {
            self.counts.retries.fetch_add(1, Relaxed);
            self.waiting.push_front(slot);
        }
    }

    fn drop_expired(&mut self, now: Now) {
        while let Some(slot) = self.waiting.front().copied()
            && self.producer.window().envelope(slot).expires_ns <= now.wall_ns
        {
            self.waiting.pop_front();
            self.settle_expired(slot);
        }
    }

    /// Moves what the spill holds behind what waits, as far as there are slots.
    fn load_spill(&mut self, now: Now) {
        while let Some((envelope, value)) = self.overflow.front(now.wall_ns) {
            let Some(slot) = self.producer.window().acquire(&envelope, |into| {
                into.get_mut(..value.len())?.copy_from_slice(value);
                Some(value.len())
            }) else {
                return;
            };
            let from_spill = self.overflow.take();
            self.tracks[slot.0 as usize] = Track { from_spill, ..Track::default() };
            self.waiting.push_back(slot);
        }
    }

    /// How many of those that wait make up the oldest cycle; `None` if it may not be complete.
    fn next_cycle(&mut self) -> Option<usize> {
        let (waiting, window) = (&self.waiting, self.producer.window());
        let of = |slot: &Slot| {
            let envelope = window.envelope(*slot);
            (envelope.identity.epoch, envelope.cycle)
        };
        let cycle = of(waiting.front()?);
        let signals = waiting.iter().take_while(|slot| of(slot) == cycle).count();
        let is_followed = signals < waiting.len() || !self.overflow.is_empty();
        (is_followed || signals >= self.cycle_signals).then_some(signals)
    }

    fn begin(&mut self, signals: usize, now: Now) {
        let begun = self.producer.begin_transaction();
        if !self.succeeded(begun, now) {
            return;
        }
        self.phase = Phase::Committing;
        for _ in 0..signals {
            let Some(slot) = self.waiting.pop_front() else { break };
            self.current.push(slot);
        }
        for i in 0..self.current.len() {
            let slot = self.current[i];
            let mut sent = self.producer.send(slot, Destination::Signals);
            if sent.is_ok() && self.latest {
                sent = self.producer.send(slot, Destination::Latest);
            }
            if let Err(error) = sent {
                self.counts.note(|| format!("a cycle could not be handed over: {error:?}"));
                self.phase = Phase::Aborting;
                return;
            }
        }
    }

    fn commit(&mut self, now: Now) {
        let committed = self.producer.commit_transaction(PATIENCE);
        self.take_reports();
        if !self.succeeded(committed, now) {
            return;
        }
        self.phase = Phase::Ready;
        for slot in std::mem::take(&mut self.current) {
            let Track { made_mono_ns, from_spill, .. } = self.tracks[slot.0 as usize];
            let has_expired = self.producer.window().envelope(slot).expires_ns <= now.wall_ns;
            self.counts.late.fetch_add(u64::from(has_expired), Relaxed);
            if let Some(latency) = self.latency.as_mut().filter(|_| from_spill.is_none()) {
                let done = crate::clock::monotonic_ns();
                latency.saturating_record(done.saturating_sub(made_mono_ns) / 1_000);
            }
            self.settle(slot, Outcome::of_acknowledged(from_spill.is_some()));
        }
    }

    fn abort(&mut self, now: Now) {
        let aborted = self.producer.abort_transaction(PATIENCE);
        self.take_reports();
        if self.succeeded(aborted, now) {
            self.phase = Phase::Ready;
            // Aborted for certain: consumers of committed records will never see it.
            for slot in &self.current {
                self.tracks[slot.0 as usize].may_be_there = false;
            }
            self.wait_again();
            self.not_before_mono_ns = now.mono_ns + RETRY_PAUSE_NS;
        }
    }

    fn step(&mut self, now: Now) {
        match self.phase {
            Phase::Starting => {
                let taken = self.producer.init_transactions(PATIENCE);
                if self.succeeded(taken, now) {
                    self.phase = Phase::Ready;
                }
            }
            Phase::Ready => {
                if let Some(signals) = self.next_cycle() {
                    self.begin(signals, now);
                    if self.phase == Phase::Committing {
                        self.commit(now);
                    }
                }
            }
            Phase::Committing => self.commit(now),
            Phase::Aborting => self.abort(now),
            Phase::FencedOff => {}
        }
    }
}

impl<P: Producer + Send> Delivery for FencedPublisher<P> {
    fn offer(&mut self, envelope: &Envelope, made_mono_ns: u64, write: WriteValue<'_>, _: Now) {
        self.counts.offered.fetch_add(1, Relaxed);
        if self.phase == Phase::FencedOff {
            return self.counts.count(Outcome::Refused);
        }
        if self.overflow.is_empty()
            && let Some(slot) = self.producer.window().acquire(envelope, &mut *write)
        {
            self.tracks[slot.0 as usize] = Track { made_mono_ns, ..Track::default() };
            self.waiting.push_back(slot);
        } else {
            self.overflow.put(envelope, write);
        }
    }

    fn pump(&mut self, now: Now) {
        self.producer.poll(Duration::ZERO);
        self.take_reports();
        let trouble = self.producer.take_trouble();
        if let Some(code) = trouble.fatal
            && self.phase != Phase::FencedOff
        {
            let reason = trouble.reason.clone().unwrap_or_default();
            if is_fenced(code, true) {
                self.fence_off(&reason);
            } else {
                self.is_broken = true;
            }
        }
        if let Some(reason) = trouble.reason.filter(|_| self.phase != Phase::FencedOff) {
            self.counts.note(|| reason);
        }
        self.drop_expired(now);
        self.load_spill(now);
        if !self.is_broken && now.mono_ns >= self.not_before_mono_ns {
            self.step(now);
        }
    }

    fn wait_for_reports(&mut self, _: Duration) -> bool {
        // A commit has waited for them; what is waited for now is the rest of a cycle.
        false
    }

    fn is_broken(&self) -> bool {
        self.is_broken
    }

    fn rebuild(&mut self, now: Now) -> bool {
        if now.mono_ns < self.not_before_mono_ns {
            return false;
        }
        self.not_before_mono_ns = now.mono_ns + RETRY_PAUSE_NS;
        self.producer.close(CLOSE_WITHIN);
        self.take_reports();
        self.wait_again();
        self.phase = Phase::Starting;
        match self.producer.reopen() {
            Ok(()) => {
                self.is_broken = false;
                self.counts.rebuilds.fetch_add(1, Relaxed);
                true
            }
            Err(why) => {
                self.counts.note(|| why);
                false
            }
        }
    }

    fn is_idle(&mut self) -> bool {
        let nothing =
            self.current.is_empty() && self.waiting.is_empty() && self.overflow.is_empty();
        nothing || self.phase == Phase::FencedOff
    }

    fn has_in_flight(&mut self) -> bool {
        !self.current.is_empty() || !self.waiting.is_empty()
    }

    fn take_expired(&mut self) -> Option<ExpiredRange> {
        self.overflow.take_expired()
    }

    fn next_fault(&mut self) -> Option<String> {
        self.overflow.next_fault()
    }

    fn latency(&self) -> Option<&Histogram<u64>> {
        self.latency.as_ref()
    }

    fn end(mut self: Box<Self>, now: Now) -> Option<ExpiredRange> {
        // The last cycle may be one that was cut short: nothing will complete it.
        self.cycle_signals = 1;
        if self.phase != Phase::FencedOff && !self.is_broken {
            self.pump(now);
        }
        if self.phase == Phase::Committing {
            self.phase = Phase::Aborting;
        }
        if self.phase == Phase::Aborting {
            self.abort(now);
        }
        self.producer.close(CLOSE_WITHIN);
        self.take_reports();
        let slots: Vec<Slot> = self.current.drain(..).chain(self.waiting.drain(..)).collect();
        let expired = self.overflow.take_expired();
        self.overflow.keep(&slots, self.producer.window());
        expired
    }
}

/// Whether another client has taken the transactional id over. An old epoch alone may also mean that the
/// coordinator has forgotten this client, unless that is fatal.
fn is_fenced(code: E, is_fatal: bool) -> bool {
    matches!(code, E::Fenced | E::ProducerFenced | E::TransactionCoordinatorFenced)
        || is_fatal && code == E::InvalidProducerEpoch
}
