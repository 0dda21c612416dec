//! Every signal to the broker, in order, each to exactly one outcome: the rules, without threads or clocks.
//!
//! A signal is *offered*, lies in a slot of the window while the client has it, and is *settled* by an
//! [`Outcome`]. Rules:
//!
//! 1. Signals are handed over in the order they were offered in. While something older waits (to be sent again, or in the
//!    spill), while the broker counts as lost, or while no slot is free, a signal goes to the end of the spill.
//!    Without a spill (its disk is unusable) the window alone holds what waits.
//! 2. The broker counts as lost once the oldest hand-over is older than `broker_loss_ns` or the client has reached no
//!    broker at all; it is back with the first acknowledgement, or when it answers a question.
//! 3. What the spill holds is handed over oldest first as slots allow, and stays there until it is settled; what
//!    has expired there is settled as expired.
//! 4. A failure that may pass brings a signal back to be sent again, in order, before everything newer, until
//!    its time ends: then it is expired, or possibly persisted if the broker may have it. Sending again is
//!    safe: the identity stays, and consumers drop what they have.
//! 5. A failure that cannot pass settles the signal as refused. A full spill refuses its oldest signal for the newest.
//! 6. A fatal error of the client ends it; all it had comes back as by rule 4, a new one is made and a new epoch begins.
//! 7. A signal goes to the compacted topic once the broker has acknowledged it: what stands there is on the topic of
//!    signals, too, and the requests of a connection, which a broker serves one after the other, delay no signal. What
//!    fails there is counted and not repeated.
//! 8. At the end what was not settled goes to the front of the spill, in order, and is kept for the next run.
//!
//! Nothing here allocates in steady state.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rdkafka::error::RDKafkaErrorCode as E;

use super::{
    delivery::{Delivery, WriteValue},
    envelope::Envelope,
    outcome::{KafkaCounts, Outcome},
    overflow::{ExpiredRange, Overflow},
    producer::{Destination, Fate, Producer, Report, SendError},
    spill::{Spill, Taken},
    window::Slot,
};

/// Pause before something that failed is sent again, ns.
const RETRY_PAUSE_NS: u64 = 50_000_000;

/// How often a lost broker is asked whether it is back, ns.
const ASK_EVERY_NS: u64 = 250_000_000;

/// How long it gets to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);

/// How long a client that has failed gets to give everything back.
pub(super) const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// One moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Wall clock, ns since the epoch: what expires goes by it.
    pub wall_ns: i64,
    /// Monotonic, ns: what is late goes by it.
    pub mono_ns: u64,
}

/// Settings of a publisher.
#[derive(Clone, Copy, Debug)]
pub struct PublisherConfig {
    /// Age of the oldest unacknowledged signal at which the broker counts as lost, ns.
    pub broker_loss_ns: u64,
    /// Whether signals go to the compacted topic, too.
    pub latest: bool,
}

/// Where a slot is.
#[derive(Clone, Copy, Debug, Default)]
struct Track {
    /// Tells a slot's uses apart.
    generation: u32,
    stage: Stage,
    /// Where it lies on the disk until it is settled, if it was spilled.
    from_spill: Option<Taken>,
    /// An earlier hand-over may have reached the broker.
    may_be_there: bool,
    made_mono_ns: u64,
    sent_mono_ns: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Not in use, or settled.
    #[default]
    Settled,
    /// The client has it.
    InFlight,
    /// The client has given it back.
    Returned,
    /// It is to be sent again.
    Waiting,
}

/// See the module.
pub struct Publisher<P> {
    config: PublisherConfig,
    producer: P,
    overflow: Overflow,
    counts: Arc<KafkaCounts>,
    tracks: Box<[Track]>,
    /// Hand-overs in their order; those settled since are skipped.
    in_flight: VecDeque<(Slot, u32)>,
    /// To be sent again, oldest first.
    again: VecDeque<Slot>,
    any_returned: bool,
    not_before_mono_ns: u64,
    lost: bool,
    ask_at_mono_ns: u64,
    is_broken: bool,
    /// From the making of a signal to its acknowledgement, µs; spilled ones are left out.
    latency: Option<hdrhistogram::Histogram<u64>>,
}

impl<P: Producer> Publisher<P> {
    /// A publisher on a client; the spill may hold signals of an earlier run.
    #[must_use]
    pub fn new(
        config: PublisherConfig,
        mut producer: P,
        spill: Option<Spill>,
        counts: Arc<KafkaCounts>,
    ) -> Self {
        let slots = producer.window().slots();
        Self {
            config,
            producer,
            overflow: Overflow::new(spill, counts.clone()),
            counts,
            tracks: vec![Track::default(); slots].into(),
            // An entry settled in the middle stays until those before it are: twice the slots, then swept.
            in_flight: VecDeque::with_capacity(2 * slots),
            again: VecDeque::with_capacity(slots),
            any_returned: false,
            not_before_mono_ns: 0,
            lost: false,
            ask_at_mono_ns: 0,
            is_broken: false,
            latency: hdrhistogram::Histogram::new_with_bounds(1, 60_000_000, 3).ok(),
        }
    }

    /// The client, for tests that break it.
    #[cfg(test)]
    pub(crate) fn producer(&mut self) -> &mut P {
        &mut self.producer
    }

    /// Whether the broker counts as lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether the client may be given a signal. Without a spill it is the only place for those that wait for a lost
    /// broker, too.
    fn may_send(&self, now: Now) -> bool {
        (!self.lost || self.overflow.is_absent())
            && !self.is_broken
            && self.again.is_empty()
            && !self.any_returned
            && now.mono_ns >= self.not_before_mono_ns
    }

    /// Hands a slot to the client; `false` if it is to be sent again later.
    fn hand_over(&mut self, slot: Slot, now: Now) -> bool {
        match self.producer.send(slot, Destination::Signals) {
            Ok(()) => {
                let track = &mut self.tracks[slot.0 as usize];
                track.stage = Stage::InFlight;
                track.sent_mono_ns = now.mono_ns;
                let entry = (slot, track.generation);
                if self.in_flight.len() == self.in_flight.capacity() {
                    let tracks = &self.tracks;
                    self.in_flight.retain(|entry| is_under_way(tracks, *entry));
                }
                self.in_flight.push_back(entry);
                true
            }
            Err(SendError::QueueFull) => {
                self.pause(now);
                false
            }
            Err(SendError::Fatal) => {
                self.is_broken = true;
                false
            }
            Err(SendError::Refused(code)) => {
                self.settle(slot, Outcome::Refused);
                self.counts.note(|| format!("a signal was refused: {code}"));
                true
            }
        }
    }

    fn wait(&mut self, slot: Slot) {
        self.tracks[slot.0 as usize].stage = Stage::Waiting;
        self.again.push_back(slot);
    }

    fn pause(&mut self, now: Now) {
        self.not_before_mono_ns = now.mono_ns + RETRY_PAUSE_NS;
    }

    fn take_reports(&mut self, now: Now) {
        while let Some(report) = self.producer.next_report() {
            match report.to {
                Destination::Signals => self.take_report(report, now),
                Destination::Latest => {
                    let failed = matches!(report.fate, Fate::Failed { .. });
                    self.counts.latest_failed.fetch_add(u64::from(failed), Relaxed);
                }
            }
            if self.tracks[report.slot.0 as usize].stage == Stage::Settled {
                self.release(report.slot);
            }
        }
        if self.any_returned {
            self.collect_returned();
        }
        while self.in_flight.front().is_some_and(|entry| !is_under_way(&self.tracks, *entry)) {
            self.in_flight.pop_front();
        }
    }

    fn take_report(&mut self, report: Report, now: Now) {
        let slot = report.slot;
        let expires_ns = self.producer.window().envelope(slot).expires_ns;
        let has_expired = expires_ns <= now.wall_ns;
        match report.fate {
            Fate::Delivered { latency_us } => {
                self.counts.late.fetch_add(u64::from(has_expired), Relaxed);
                let Track { from_spill, made_mono_ns, sent_mono_ns, .. } =
                    self.tracks[slot.0 as usize];
                if let Some(latency) = self.latency.as_mut().filter(|_| from_spill.is_none()) {
                    let waited_us = sent_mono_ns.saturating_sub(made_mono_ns) / 1_000;
                    latency.saturating_record(waited_us + latency_us);
                }
                self.finish(slot, Outcome::of_acknowledged(from_spill.is_some()));
                if self.config.latest && self.producer.send(slot, Destination::Latest).is_err() {
                    self.counts.latest_failed.fetch_add(1, Relaxed);
                }
                self.found(true, now);
            }
            Fate::Failed { code, may_be_there } => {
                let track = &mut self.tracks[slot.0 as usize];
                track.may_be_there |= may_be_there;
                if is_final(code) {
                    self.finish(slot, Outcome::Refused);
                    self.counts.note(|| format!("a signal was refused: {code}"));
                } else if has_expired {
                    self.finish_expired(slot);
                    self.counts.note(|| format!("a signal was not delivered in time: {code}"));
                } else {
                    track.stage = Stage::Returned;
                    self.any_returned = true;
                }
            }
        }
    }

    /// Brings what was given back into the queue of what is sent again, in the order of its first hand-over.
    fn collect_returned(&mut self) {
        let (tracks, window) = (&mut self.tracks, self.producer.window());
        let mut waits = false;
        // Those that wait already may be older or newer than what comes back now.
        let older = self.again.len();
        for (slot, generation) in &self.in_flight {
            let track = &mut tracks[slot.0 as usize];
            if track.generation != *generation || track.stage != Stage::Returned {
                continue;
            }
            if window.pending(*slot) > 0 {
                waits = true;
                continue;
            }
            track.stage = Stage::Waiting;
            track.generation = track.generation.wrapping_add(1);
            self.again.push_back(*slot);
        }
        if older > 0 {
            let window = self.producer.window();
            self.again
                .make_contiguous()
                .sort_unstable_by_key(|slot| window.envelope(*slot).identity);
        }
        self.any_returned = waits;
    }

    fn look_for_loss(&mut self, now: Now) {
        let trouble = self.producer.take_trouble();
        if let Some(reason) = trouble.reason {
            self.counts.note(|| reason);
        }
        self.is_broken |= trouble.is_fatal;
        let oldest =
            self.in_flight.front().map(|(slot, _)| self.tracks[slot.0 as usize].sent_mono_ns);
        let is_late =
            oldest.is_some_and(|at| now.mono_ns.saturating_sub(at) > self.config.broker_loss_ns);
        if !self.lost && (is_late || trouble.all_brokers_down) {
            self.found(false, now);
        }
        if self.lost && !self.is_broken && now.mono_ns >= self.ask_at_mono_ns {
            self.ask_at_mono_ns = now.mono_ns + ASK_EVERY_NS;
            let is_back = self.producer.is_broker_there(ANSWER_WITHIN);
            // What is late although the broker answers keeps it lost: it takes no signals.
            self.found(is_back && !is_late, now);
        }
    }

    fn found(&mut self, is_there: bool, now: Now) {
        if self.lost != is_there {
            return;
        }
        self.lost = !is_there;
        self.counts.broker_found(is_there, now.wall_ns);
        self.ask_at_mono_ns = now.mono_ns + ASK_EVERY_NS;
    }

    fn send_again(&mut self, now: Now) {
        while let Some(slot) = self.again.front().copied() {
            let has_expired = self.producer.window().envelope(slot).expires_ns <= now.wall_ns;
            if has_expired {
                self.again.pop_front();
                self.finish_expired(slot);
                self.release(slot);
                continue;
            }
            if self.lost || now.mono_ns < self.not_before_mono_ns || !self.hand_over(slot, now) {
                return;
            }
            self.counts.retries.fetch_add(1, Relaxed);
            self.again.pop_front();
        }
    }

    fn drain_spill(&mut self, now: Now) {
        loop {
            let may_send = self.may_send(now);
            let Some((envelope, value)) = self.overflow.front(now.wall_ns) else { return };
            if !may_send {
                return;
            }
            let Some(slot) = self.producer.window().acquire(&envelope, |into| {
                into.get_mut(..value.len())?.copy_from_slice(value);
                Some(value.len())
            }) else {
                return;
            };
            let from_spill = self.overflow.take();
            self.track(slot, Track { from_spill, ..Track::default() });
            if !self.hand_over(slot, now) {
                self.wait(slot);
                return;
            }
        }
    }

    /// Begins a use of a slot.
    fn track(&mut self, slot: Slot, track: Track) {
        let old = &mut self.tracks[slot.0 as usize];
        *old = Track { generation: old.generation.wrapping_add(1), ..track };
    }

    /// Settles a signal that the client had; its slot is released once nothing of it is under way.
    fn finish(&mut self, slot: Slot, outcome: Outcome) {
        self.end_use(slot);
        self.counts.count(outcome);
    }

    fn end_use(&mut self, slot: Slot) {
        let track = &mut self.tracks[slot.0 as usize];
        track.stage = Stage::Settled;
        track.generation = track.generation.wrapping_add(1);
        if let Some(taken) = track.from_spill.take() {
            self.overflow.settle(taken);
        }
    }

    fn finish_expired(&mut self, slot: Slot) {
        let identity = self.producer.window().envelope(slot).identity;
        let may_be_there = self.tracks[slot.0 as usize].may_be_there;
        self.end_use(slot);
        if may_be_there {
            self.counts.count(Outcome::PossiblyPersisted);
        } else {
            self.overflow.note_expired(identity);
        }
    }

    /// Settles a signal that the client does not have.
    fn settle(&mut self, slot: Slot, outcome: Outcome) {
        self.finish(slot, outcome);
        self.release(slot);
    }

    /// Frees a slot whose signal is settled, once nobody reads it any more.
    fn release(&mut self, slot: Slot) {
        if self.producer.window().pending(slot) == 0 {
            self.producer.window().release(slot);
        }
    }
}

impl<P: Producer + Send> Delivery for Publisher<P> {
    fn offer(&mut self, envelope: &Envelope, made_mono_ns: u64, write: WriteValue<'_>, now: Now) {
        self.counts.offered.fetch_add(1, Relaxed);
        if self.may_send(now)
            && self.overflow.is_empty()
            && let Some(slot) = self.producer.window().acquire(envelope, &mut *write)
        {
            self.track(slot, Track { made_mono_ns, ..Track::default() });
            if !self.hand_over(slot, now) {
                self.wait(slot);
            }
        } else {
            self.overflow.put(envelope, write);
        }
    }

    fn pump(&mut self, now: Now) {
        self.producer.poll(Duration::ZERO);
        self.take_reports(now);
        self.look_for_loss(now);
        if self.is_broken {
            return;
        }
        self.send_again(now);
        self.drain_spill(now);
    }

    fn wait_for_reports(&mut self, at_most: Duration) -> bool {
        self.producer.poll(at_most);
        true
    }

    fn is_broken(&self) -> bool {
        self.is_broken
    }

    fn rebuild(&mut self, now: Now) -> bool {
        if now.mono_ns < self.not_before_mono_ns {
            return false;
        }
        self.pause(now);
        self.producer.close(CLOSE_WITHIN);
        self.take_reports(now);
        match self.producer.reopen() {
            Ok(()) => {
                self.is_broken = false;
                self.counts.rebuilds.fetch_add(1, Relaxed);
            }
            Err(why) => self.counts.note(|| why),
        }
        !self.is_broken
    }

    fn is_idle(&mut self) -> bool {
        !self.has_in_flight() && self.again.is_empty() && self.overflow.is_empty()
    }

    fn has_in_flight(&mut self) -> bool {
        let window = self.producer.window();
        window.free() < window.slots()
    }

    fn take_expired(&mut self) -> Option<ExpiredRange> {
        self.overflow.take_expired()
    }

    fn next_fault(&mut self) -> Option<String> {
        self.overflow.next_fault()
    }

    fn latency(&self) -> Option<&hdrhistogram::Histogram<u64>> {
        self.latency.as_ref()
    }

    fn end(mut self: Box<Self>, now: Now) -> Option<ExpiredRange> {
        self.producer.close(CLOSE_WITHIN);
        self.take_reports(now);
        let mut left: Vec<Slot> = self.again.drain(..).collect();
        // What a client never gave back although it was closed: it cannot be told what became of it.
        for (slot, generation) in std::mem::take(&mut self.in_flight) {
            if is_under_way(&self.tracks, (slot, generation)) {
                left.push(slot);
            }
        }
        let window = self.producer.window();
        left.sort_unstable_by_key(|slot| window.envelope(*slot).identity);
        let expired = self.overflow.take_expired();
        self.overflow.keep(&left, window);
        expired
    }
}

fn is_under_way(tracks: &[Track], (slot, generation): (Slot, u32)) -> bool {
    let track = &tracks[slot.0 as usize];
    track.generation == generation && matches!(track.stage, Stage::InFlight | Stage::Returned)
}

/// Whether no later attempt can succeed: the record, the topic or the right to write is at fault.
fn is_final(code: E) -> bool {
    matches!(
        code,
        E::MessageSizeTooLarge
            | E::MessageBatchTooLarge
            | E::InvalidMessage
            | E::InvalidRecord
            | E::InvalidTimestamp
            | E::InvalidTopic
            | E::InvalidRequiredAcks
            | E::UnsupportedForMessageFormat
            | E::UnknownTopic
            | E::UnknownTopicOrPartition
            | E::UnknownPartition
            | E::TopicAuthorizationFailed
            | E::ClusterAuthorizationFailed
            | E::TransactionalIdAuthorizationFailed
            | E::PolicyViolation
            | E::BadCompression
            | E::BadMessage
    )
}

#[cfg(test)]
mod tests;
