//! What became of every signal that was meant for Kafka.
//!
//! Invariant: once a run has ended, the outcomes of [`KafkaOutcome`] add up to the signals that were
//! offered and those found in the spill at the start: each ends in exactly one.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
};

/// What becomes of one signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Acknowledged by the broker, sent from memory.
    Delivered,
    /// Acknowledged by the broker, sent from the spill.
    SpilledDelivered,
    /// Sent, but its time ended before the broker said whether it has it.
    PossiblyPersisted,
    /// Its time ended before it was sent.
    Expired,
    /// The broker or a full spill would not have it.
    Refused,
    /// Still in the spill when the run ended; the next run decides.
    Kept,
}

impl Outcome {
    /// All of them, in the order of [`KafkaOutcome::outcomes`].
    pub const ALL: [Self; 6] = [
        Self::Delivered,
        Self::SpilledDelivered,
        Self::PossiblyPersisted,
        Self::Expired,
        Self::Refused,
        Self::Kept,
    ];

    /// Of a signal that the broker has acknowledged.
    #[must_use]
    pub(super) const fn of_acknowledged(was_spilled: bool) -> Self {
        if was_spilled { Self::SpilledDelivered } else { Self::Delivered }
    }

    /// For reports and status records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::SpilledDelivered => "spilled_delivered",
            Self::PossiblyPersisted => "possibly_persisted",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Kept => "kept",
        }
    }
}

/// The live counters: written by the publisher, read by anyone.
#[derive(Debug, Default)]
pub struct KafkaCounts {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    /// Signals taken from the sink.
    pub(super) offered: AtomicU64,
    /// Signals found in the spill at the start.
    pub(super) inherited: AtomicU64,
    /// Signals put into the spill.
    pub(super) spilled: AtomicU64,
    /// Signals acknowledged after their time; a part of the delivered.
    pub(super) late: AtomicU64,
    /// Records for the topic of latest signals that did not arrive.
    pub(super) latest_failed: AtomicU64,
    /// Times the broker was lost.
    pub(super) losses: AtomicU64,
    /// Times the producer was made anew after a fatal error.
    pub(super) rebuilds: AtomicU64,
    /// Hand-overs again after a failure that may pass.
    pub(super) retries: AtomicU64,
    /// Errors of the spill's disk, and damage found in it.
    pub(super) spill_errors: AtomicU64,
    /// The epoch in force.
    pub(super) epoch: AtomicU64,
    /// Since when the broker is lost, ns since the epoch; 0 while it is there.
    pub(super) lost_since_ns: AtomicI64,
    /// Another daemon has the transactional id: nothing is published any more.
    pub(super) fenced_off: AtomicBool,
    trouble: Mutex<Option<String>>,
    spill_trouble: Mutex<Option<String>>,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaOutcome {
    /// Signals taken from the sink.
    pub offered: u64,
    /// Signals found in the spill at the start.
    pub inherited: u64,
    /// By [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Signals put into the spill.
    pub spilled: u64,
    /// Signals acknowledged after their time; a part of the delivered.
    pub late: u64,
    /// Records for the topic of latest signals that did not arrive.
    pub latest_failed: u64,
    /// Times the broker was lost.
    pub losses: u64,
    /// Times the producer was made anew.
    pub rebuilds: u64,
    /// Hand-overs again after a failure that may pass.
    pub retries: u64,
    /// Errors of the spill's disk, and damage found in it.
    pub spill_errors: u64,
    /// The epoch in force.
    pub epoch: u64,
    /// The last thing that went wrong with the broker or the state directory.
    pub trouble: Option<String>,
    /// The last thing that went wrong with the spill, which the broker's troubles would soon hide.
    pub spill_trouble: Option<String>,
}

impl KafkaOutcome {
    /// How many signals ended so.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Whether every signal has ended in exactly one outcome.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.outcomes.iter().sum::<u64>() == self.offered + self.inherited
    }
}

impl KafkaCounts {
    /// Reads them.
    #[must_use]
    pub fn outcome(&self) -> KafkaOutcome {
        KafkaOutcome {
            offered: self.offered.load(Relaxed),
            inherited: self.inherited.load(Relaxed),
            outcomes: std::array::from_fn(|i| self.outcomes[i].load(Relaxed)),
            spilled: self.spilled.load(Relaxed),
            late: self.late.load(Relaxed),
            latest_failed: self.latest_failed.load(Relaxed),
            losses: self.losses.load(Relaxed),
            rebuilds: self.rebuilds.load(Relaxed),
            retries: self.retries.load(Relaxed),
            spill_errors: self.spill_errors.load(Relaxed),
            epoch: self.epoch.load(Relaxed),
            trouble: self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            spill_trouble: self
                .spill_trouble
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// Whether another daemon publishes in this one's place.
    #[must_use]
    pub fn is_fenced_off(&self) -> bool {
        self.fenced_off.load(Relaxed)
    }

    /// Whether the broker counts as lost.
    pub(super) fn is_broker_lost(&self) -> bool {
        self.lost_since_ns.load(Relaxed) != 0
    }

    /// Notes that the broker was lost or found.
    pub(super) fn broker_found(&self, is_there: bool, now_ns: i64) {
        self.losses.fetch_add(u64::from(!is_there), Relaxed);
        self.lost_since_ns.store(if is_there { 0 } else { now_ns }, Relaxed);
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn note(&self, why: impl FnOnce() -> String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why());
    }

    pub(super) fn note_spill(&self, why: String) {
        *self.spill_trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }
}
