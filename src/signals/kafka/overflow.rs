//! Where signals wait that the client cannot take: the spill on disk, and what becomes of them there.
//!
//! Invariant: a signal put here leaves by [`Overflow::take`] after [`Overflow::front`] has shown it, or is settled
//! here: expired, refused (a full or damaged disk), or kept at the end. What was taken stays on the disk until
//! [`Overflow::settle`] says that its outcome is known: a process that is killed before leaves it to the next one.
//! Nothing allocates in steady state.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{
    contract::Identity,
    envelope::Envelope,
    outcome::{KafkaCounts, Outcome},
    spill::{Spill, SpillError, Taken},
    window::{MAX_VALUE_BYTES, Slot, Window},
};

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

/// See the module.
pub struct Overflow {
    spill: Option<Spill>,
    counts: Arc<KafkaCounts>,
    expired: Option<ExpiredRange>,
    /// The first error of the disk that was not told yet.
    disk_fault: Option<String>,
    /// A value on its way to the spill.
    scratch: Box<[u8; MAX_VALUE_BYTES]>,
    /// Records that the spill had lost to damage when that was last counted.
    lost: u64,
}

impl Overflow {
    /// On a spill, which may hold signals of an earlier run; without one everything put here is refused.
    #[must_use]
    pub fn new(spill: Option<Spill>, counts: Arc<KafkaCounts>) -> Self {
        counts.inherited.store(spill.as_ref().map_or(0, Spill::len), Relaxed);
        Self {
            spill,
            counts,
            expired: None,
            disk_fault: None,
            scratch: Box::new([0; MAX_VALUE_BYTES]),
            lost: 0,
        }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spill.as_ref().is_none_or(Spill::is_empty)
    }

    /// Whether there is nowhere to put a signal.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.spill.is_none()
    }

    /// Puts a signal behind all others. A full spill gives its oldest up: that one is the first to be worth nothing.
    pub fn put(
        &mut self,
        envelope: &Envelope,
        write: impl FnOnce(&mut [u8; MAX_VALUE_BYTES]) -> Option<usize>,
    ) {
        let Some(len) = write(&mut self.scratch) else {
            return self.refuse("its value is too long");
        };
        let Some(mut spill) = self.spill.take() else {
            return self.refuse("there is no spill");
        };
        let head = envelope.to_bytes();
        loop {
            match spill.append(&[head.as_ref(), &self.scratch[..len]]) {
                Ok(()) => {
                    self.counts.spilled.fetch_add(1, Relaxed);
                    break;
                }
                Err(SpillError::Full { .. }) if spill.pop() => self.refuse("the spill is full"),
                Err(error) => {
                    self.disk_error(&error);
                    self.counts.count(Outcome::Refused);
                    break;
                }
            }
        }
        self.spill = Some(spill);
        self.count_lost();
    }

    /// The oldest signal that has not expired; those before it are settled.
    pub fn front(&mut self, now_ns: i64) -> Option<(Envelope, &[u8])> {
        self.drop_worthless(now_ns);
        self.spill.as_mut()?.front().and_then(Envelope::from_bytes)
    }

    fn drop_worthless(&mut self, now_ns: i64) {
        loop {
            let Some(spill) = &mut self.spill else { return };
            let front = spill.front().map(Envelope::from_bytes);
            let parts = front.map(|parts| parts.map(|(envelope, _)| envelope));
            self.count_lost();
            match parts {
                Some(None) => {
                    self.counts.spill_errors.fetch_add(1, Relaxed);
                    self.refuse("its record in the spill is not one");
                }
                Some(Some(envelope)) if envelope.expires_ns <= now_ns => {
                    self.note_expired(envelope.identity);
                }
                None | Some(Some(_)) => return,
            }
            self.drop_oldest();
        }
    }

    /// Takes the oldest signal, to be settled later.
    pub fn take(&mut self) -> Option<Taken> {
        self.spill.as_mut().and_then(Spill::take)
    }

    /// Forgets a signal that was taken: its outcome is known.
    pub fn settle(&mut self, taken: Taken) {
        if let Some(spill) = &mut self.spill {
            spill.settle(taken);
        }
    }

    /// Takes the oldest signal away and forgets it; false when there is none.
    pub fn drop_oldest(&mut self) -> bool {
        self.spill.as_mut().is_some_and(Spill::pop)
    }

    /// Settles a signal as expired.
    pub fn note_expired(&mut self, identity: Identity) {
        self.counts.count(Outcome::Expired);
        let range =
            self.expired.get_or_insert(ExpiredRange { count: 0, first: identity, last: identity });
        range.count += 1;
        range.last = identity;
    }

    /// Signals that expired since this was last asked for.
    pub fn take_expired(&mut self) -> Option<ExpiredRange> {
        self.expired.take()
    }

    /// Settles a signal as refused.
    pub fn refuse(&self, why: &str) {
        self.counts.count(Outcome::Refused);
        self.counts.note(|| format!("a signal was refused: {why}"));
    }

    /// What has gone wrong with the spill, in words, until there is nothing more to tell: the first error of its disk
    /// since this was last asked for, then what it has passed over.
    pub fn next_fault(&mut self) -> Option<String> {
        if let Some(fault) = self.disk_fault.take() {
            return Some(fault);
        }
        let fault = self.spill.as_mut()?.next_fault()?.to_string();
        self.counts.spill_errors.fetch_add(1, Relaxed);
        self.counts.note_spill(fault.clone());
        Some(fault)
    }

    fn disk_error(&mut self, error: &SpillError) {
        self.counts.spill_errors.fetch_add(1, Relaxed);
        let told = error.to_string();
        self.disk_fault.get_or_insert_with(|| told.clone());
        self.counts.note_spill(told);
    }

    /// Settles what damage has taken.
    fn count_lost(&mut self) {
        let lost = self.spill.as_ref().map_or(0, |spill| spill.counters().records_lost);
        for _ in self.lost..lost {
            self.counts.spill_errors.fetch_add(1, Relaxed);
            self.refuse("the spill was damaged");
        }
        self.lost = lost;
    }

    /// Ends: puts these slots in front of all others and keeps everything for the next run.
    pub fn keep(mut self, slots: &[Slot], window: &Window) {
        let Some(mut spill) = self.spill.take() else {
            for _ in slots {
                self.refuse("the run ended and there is no spill");
            }
            return;
        };
        let records: Vec<Vec<u8>> = slots
            .iter()
            .map(|slot| [window.envelope(*slot).to_bytes().as_ref(), window.value(*slot)].concat())
            .collect();
        let (kept, outcome) = spill.put_back(records.iter().map(Vec::as_slice));
        if let Err(error) = outcome {
            self.disk_error(&error);
            for _ in kept..slots.len() as u64 {
                self.counts.count(Outcome::Refused);
            }
        }
        for _ in 0..spill.len() {
            self.counts.count(Outcome::Kept);
        }
        spill.close();
    }
}
