//! What the publisher needs of a Kafka client, so that tests can put a scripted one in its place.

use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;

use super::window::{Slot, Window};

/// Where a signal is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Topic of signals.
    Signals = 0,
    /// Compacted topic of latest signals.
    Latest = 1,
}

/// What became of one hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which signal.
    pub slot: Slot,
    /// Where it was sent.
    pub to: Destination,
    /// What became of it.
    pub fate: Fate,
}

/// See [`Report`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The broker has it.
    Delivered {
        /// From the hand-over to the acknowledgement, µs.
        latency_us: u64,
    },
    /// The client has given up.
    Failed {
        /// Why.
        code: RDKafkaErrorCode,
        /// Whether the broker may have it all the same.
        may_be_there: bool,
    },
}

/// Why the client did not take a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// Its queue is full: later.
    QueueFull,
    /// It has met an error that only a new client gets over.
    Fatal,
    /// It will never take this one.
    Refused(RDKafkaErrorCode),
}

/// What the client complained of since it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Only a new client helps.
    pub is_fatal: bool,
    /// The fatal error.
    pub fatal: Option<RDKafkaErrorCode>,
    /// No broker can be reached.
    pub all_brokers_down: bool,
    /// In words.
    pub reason: Option<String>,
}

/// Why a transaction did not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionError {
    /// Why.
    pub code: RDKafkaErrorCode,
    /// In words.
    pub reason: String,
    /// Only a new client helps.
    pub is_fatal: bool,
    /// The transaction must be aborted; neither this nor fatal means that the call may be repeated.
    pub needs_abort: bool,
}

/// A client that sends what lies in its window.
pub trait Producer {
    /// The signals it may hold.
    fn window(&mut self) -> &mut Window;

    /// Hands a signal over; the slot must not be released before it was reported back.
    ///
    /// # Errors
    /// The client does not take it; nothing will be reported then.
    fn send(&mut self, slot: Slot, to: Destination) -> Result<(), SendError>;

    /// Serves the client, waiting for at most `timeout`.
    fn poll(&mut self, timeout: Duration);

    /// What became of a hand-over, as far as polling has brought it up.
    fn next_report(&mut self) -> Option<Report>;

    /// What the client complained of.
    fn take_trouble(&mut self) -> Trouble;

    /// Whether a broker answers within `timeout`.
    fn is_broker_there(&mut self, timeout: Duration) -> bool;

    /// Gives up everything under way, so that all of it is reported, waiting for at most `timeout`.
    fn close(&mut self, timeout: Duration);

    /// Ends the client and makes a new one with the same settings and the same window.
    ///
    /// # Errors
    /// In words; there is no client then, and this may be tried again.
    fn reopen(&mut self) -> Result<(), String>;

    /// Takes over the transactional id, fencing off whoever had it.
    ///
    /// # Errors
    /// See [`TransactionError`].
    fn init_transactions(&mut self, timeout: Duration) -> Result<(), TransactionError>;

    /// Begins a transaction.
    ///
    /// # Errors
    /// See [`TransactionError`].
    fn begin_transaction(&mut self) -> Result<(), TransactionError>;

    /// Commits it; after a time-out the call may be repeated.
    ///
    /// # Errors
    /// See [`TransactionError`].
    fn commit_transaction(&mut self, timeout: Duration) -> Result<(), TransactionError>;

    /// Aborts it.
    ///
    /// # Errors
    /// See [`TransactionError`].
    fn abort_transaction(&mut self, timeout: Duration) -> Result<(), TransactionError>;
}
