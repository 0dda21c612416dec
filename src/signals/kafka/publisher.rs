//! Every signal to the broker, in order, each to exactly one outcome: the rules, without threads or clocks.
//!
//! A signal is *offered*, lies in a slot of the window while the client has it, and is *settled* by an
//! [`Outcome`]. Rules:
//!
//! 1. Signals are handed over in the order they were offered in. While something older waits (to be sent again, or in the
//!    spill), while the broker counts as lost, or while no slot is free, a signal goes to the end of the spill.
//! 2. The broker counts as lost once the oldest hand-over is older than `broker_loss_ns` or the client has reached no
//!    broker at all; it is back with the first acknowledgement, or when it answers a question.
//! 3. What the spill holds is handed over oldest first as slots allow; what has expired there is settled as expired.
//! 4. A failure that may pass brings a signal back to be sent again, in order, before everything newer, until
//!    its time ends: then it is expired, or possibly persisted if the broker may have it. Sending again is
//!    safe: the identity stays, and consumers drop what they have.
//! 5. A failure that cannot pass settles the signal as refused. A full spill refuses its oldest signal for the newest.
//! 6. A fatal error of the client ends it; all it had comes back as by rule 4, a new one is made and a new epoch begins.
//! 7. At the end what was not settled goes to the front of the spill, in order, and is kept for the next run.
//!
//! Nothing here allocates in steady state.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use rdkafka::error::RDKafkaErrorCode as E;

use super::{
    contract::Identity,
    envelope::Envelope,
    outcome::{KafkaCounts, Outcome},
    producer::{Destination, Fate, Producer, Report, SendError},
    spill::{Spill, SpillError},
    window::{MAX_VALUE_BYTES, Slot},
};

/// Pause before something that failed is sent again, ns.
const RETRY_PAUSE_NS: u64 = 50_000_000;

/// How often a lost broker is asked whether it is back, ns.
const ASK_EVERY_NS: u64 = 250_000_000;

/// How long it gets to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(100);

/// How long a client that has failed gets to give everything back.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

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

/// Signals that have expired since this was last asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpiredRange {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub first: Identity,
    /// The last of them.
    pub last: Identity,
}

/// Where a slot is.
#[derive(Clone, Copy, Debug, Default)]
struct Track {
    /// Tells a slot's uses apart.
    generation: u32,
    stage: Stage,
    from_spill: bool,
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
    spill: Option<Spill>,
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
    expired: Option<ExpiredRange>,
    /// The first error of the spill's disk that was not told yet.
    disk_fault: Option<String>,
    /// Value of a signal on its way to the spill.
    scratch: Box<[u8; MAX_VALUE_BYTES]>,
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
        let inherited = spill.as_ref().map_or(0, Spill::len);
        counts.inherited.store(inherited, Relaxed);
        Self {
            config,
            producer,
            spill,
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
            expired: None,
            disk_fault: None,
            scratch: Box::new([0; MAX_VALUE_BYTES]),
            latency: hdrhistogram::Histogram::new_with_bounds(1, 60_000_000, 3).ok(),
        }
    }

    /// Whether nothing waits to be acknowledged or sent.
    #[must_use]
    pub fn is_idle(&mut self) -> bool {
        let window = self.producer.window();
        let is_empty = window.free() == window.slots();
        is_empty && self.again.is_empty() && self.is_spill_empty()
    }

    /// Whether the client has something that it has not reported back.
    #[must_use]
    pub fn has_in_flight(&mut self) -> bool {
        let window = self.producer.window();
        window.free() < window.slots()
    }

    /// Whether the client has met a fatal error: it takes nothing until [`rebuild`](Self::rebuild).
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Whether the broker counts as lost.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.lost
    }

    /// Signals that expired since this was last asked for.
    pub fn take_expired(&mut self) -> Option<ExpiredRange> {
        self.expired.take()
    }

    /// From the making of a signal to its acknowledgement, µs; spilled ones are left out.
    #[must_use]
    pub fn latency(&self) -> Option<&hdrhistogram::Histogram<u64>> {
        self.latency.as_ref()
    }

    /// Takes a signal: its envelope, when it was made (monotonic ns), and what writes its value and returns
    /// the value's length.
    pub fn offer(
        &mut self,
        envelope: &Envelope,
        made_mono_ns: u64,
        mut write: impl FnMut(&mut [u8; MAX_VALUE_BYTES]) -> Option<usize>,
        now: Now,
    ) {
        self.counts.offered.fetch_add(1, Relaxed);
        if self.may_send(now) && self.is_spill_empty() {
            if let Some(slot) = self.producer.window().acquire(envelope, &mut write) {
                self.tracks[slot.0 as usize] = Track {
                    generation: self.tracks[slot.0 as usize].generation.wrapping_add(1),
                    made_mono_ns,
                    ..Track::default()
                };
                if !self.hand_over(slot, now) {
                    self.wait(slot);
                }
                return;
            }
            if self.producer.window().free() > 0 {
                return self.settle_unsent(Outcome::Refused, "its value is too long");
            }
        }
        match write(&mut self.scratch) {
            Some(len) => self.spill_scratch(envelope, len),
            None => self.settle_unsent(Outcome::Refused, "its value is too long"),
        }
    }

    /// Does what is due: reports, losses, what is to be sent again, the spill.
    pub fn pump(&mut self, now: Now) {
        self.producer.poll(Duration::ZERO);
        self.take_reports(now);
        self.look_for_loss(now);
        if self.is_broken {
            return;
        }
        self.send_again(now);
        self.drain_spill(now);
    }

    fn may_send(&self, now: Now) -> bool {
        !self.lost
            && !self.is_broken
            && self.again.is_empty()
            && !self.any_returned
            && now.mono_ns >= self.not_before_mono_ns
    }

    fn is_spill_empty(&self) -> bool {
        self.spill.as_ref().is_none_or(Spill::is_empty)
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
                if self.config.latest && self.producer.send(slot, Destination::Latest).is_err() {
                    self.counts.latest_failed.fetch_add(1, Relaxed);
                }
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
            let slot = report.slot;
            if self.tracks[slot.0 as usize].stage == Stage::Settled
                && self.producer.window().pending(slot) == 0
            {
                self.producer.window().release(slot);
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
                if let Some(latency) = self.latency.as_mut().filter(|_| !from_spill) {
                    let waited_us = sent_mono_ns.saturating_sub(made_mono_ns) / 1_000;
                    latency.saturating_record(waited_us + latency_us);
                }
                let outcome =
                    if from_spill { Outcome::SpilledDelivered } else { Outcome::Delivered };
                self.finish(slot, outcome);
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
        // What is to be sent again already is newer than nothing that comes back now, or came back before.
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
        if self.lost == !is_there {
            return;
        }
        self.lost = !is_there;
        self.counts.losses.fetch_add(u64::from(self.lost), Relaxed);
        self.counts.lost_since_ns.store(if self.lost { now.wall_ns } else { 0 }, Relaxed);
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
        let Some(mut spill) = self.spill.take() else { return };
        let lost_before = spill.counters().records_lost;
        while let Some(record) = spill.front() {
            let Some((envelope, value)) = Envelope::from_bytes(record) else {
                self.counts.spill_errors.fetch_add(1, Relaxed);
                self.settle_unsent(Outcome::Refused, "its record in the spill is not one");
                spill.pop();
                continue;
            };
            if envelope.expires_ns <= now.wall_ns {
                self.note_expired(envelope.identity);
                self.counts.count(Outcome::Expired);
                spill.pop();
                continue;
            }
            if !self.may_send(now) {
                break;
            }
            let Some(slot) = self.producer.window().acquire(&envelope, |into| {
                into.get_mut(..value.len())?.copy_from_slice(value);
                Some(value.len())
            }) else {
                break;
            };
            self.tracks[slot.0 as usize] = Track {
                generation: self.tracks[slot.0 as usize].generation.wrapping_add(1),
                from_spill: true,
                ..Track::default()
            };
            spill.pop();
            if !self.hand_over(slot, now) {
                self.wait(slot);
                break;
            }
        }
        self.count_lost(&spill, lost_before);
        self.spill = Some(spill);
    }

    /// Settles what damage has taken from the spill.
    fn count_lost(&self, spill: &Spill, before: u64) {
        for _ in before..spill.counters().records_lost {
            self.counts.spill_errors.fetch_add(1, Relaxed);
            self.settle_unsent(Outcome::Refused, "the spill was damaged");
        }
    }

    /// What has gone wrong with the spill, in words: the first error of its disk since this was last asked for,
    /// then what it has passed over.
    pub fn next_fault(&mut self) -> Option<String> {
        if let Some(fault) = self.disk_fault.take() {
            return Some(fault);
        }
        let fault = self.spill.as_mut()?.next_fault()?.to_string();
        self.counts.spill_errors.fetch_add(1, Relaxed);
        self.counts.note_spill(fault.clone());
        Some(fault)
    }

    /// Puts the signal whose value lies in `scratch` at the end of the spill.
    fn spill_scratch(&mut self, envelope: &Envelope, len: usize) {
        let Some(mut spill) = self.spill.take() else {
            return self.settle_unsent(Outcome::Refused, "there is no spill");
        };
        let lost_before = spill.counters().records_lost;
        let head = envelope.to_bytes();
        let parts = [head.as_ref(), &self.scratch[..len]];
        loop {
            match spill.append(&parts) {
                Ok(()) => {
                    self.counts.spilled.fetch_add(1, Relaxed);
                    break;
                }
                // The oldest is the first to be worth nothing.
                Err(SpillError::Full { .. }) if !spill.is_empty() => {
                    if spill.pop() {
                        self.settle_unsent(Outcome::Refused, "the spill is full");
                    }
                }
                Err(error) => {
                    self.spill_trouble(&error);
                    self.counts.count(Outcome::Refused);
                    break;
                }
            }
        }
        self.count_lost(&spill, lost_before);
        self.spill = Some(spill);
    }

    fn spill_trouble(&mut self, error: &SpillError) {
        self.counts.spill_errors.fetch_add(1, Relaxed);
        let told = error.to_string();
        self.disk_fault.get_or_insert_with(|| told.clone());
        self.counts.note_spill(told);
    }

    fn settle_unsent(&self, outcome: Outcome, why: &str) {
        self.counts.count(outcome);
        self.counts.note(|| format!("a signal was {}: {why}", outcome.name()));
    }

    /// Settles a signal that the client had; its slot is released once nothing of it is under way.
    fn finish(&mut self, slot: Slot, outcome: Outcome) {
        let track = &mut self.tracks[slot.0 as usize];
        track.stage = Stage::Settled;
        track.generation = track.generation.wrapping_add(1);
        self.counts.count(outcome);
    }

    fn finish_expired(&mut self, slot: Slot) {
        let identity = self.producer.window().envelope(slot).identity;
        let may_be_there = self.tracks[slot.0 as usize].may_be_there;
        self.finish(slot, if may_be_there { Outcome::PossiblyPersisted } else { Outcome::Expired });
        if !may_be_there {
            self.note_expired(identity);
        }
    }

    /// Settles a signal that the client does not have.
    fn settle(&mut self, slot: Slot, outcome: Outcome) {
        self.finish(slot, outcome);
        self.release(slot);
    }

    fn release(&mut self, slot: Slot) {
        if self.producer.window().pending(slot) == 0 {
            self.producer.window().release(slot);
        }
    }

    fn note_expired(&mut self, identity: Identity) {
        let range =
            self.expired.get_or_insert(ExpiredRange { count: 0, first: identity, last: identity });
        range.count += 1;
        range.last = identity;
    }

    /// Ends a client that has failed and makes another in its place; everything it had is sent again. Stays broken
    /// where that cannot be done now.
    pub fn rebuild(&mut self, now: Now) {
        if now.mono_ns < self.not_before_mono_ns {
            return;
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
    }

    /// Ends: what is not settled goes to the front of the spill. Returns what has expired on the way.
    #[must_use]
    pub fn end(mut self, now: Now) -> Option<ExpiredRange> {
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
        let records: Vec<Vec<u8>> = left
            .iter()
            .map(|slot| {
                let mut record = window.envelope(*slot).to_bytes().as_ref().to_vec();
                record.extend_from_slice(window.value(*slot));
                record
            })
            .collect();
        let Some(mut spill) = self.spill.take() else {
            for _ in &records {
                self.settle_unsent(Outcome::Refused, "the run ended and there is no spill");
            }
            return self.expired;
        };
        let (kept, outcome) = spill.put_back(records.iter().map(Vec::as_slice));
        if let Err(error) = outcome {
            self.spill_trouble(&error);
        }
        for _ in 0..spill.len() {
            self.counts.count(Outcome::Kept);
        }
        for _ in kept..records.len() as u64 {
            self.counts.count(Outcome::Refused);
        }
        spill.close();
        self.expired
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
