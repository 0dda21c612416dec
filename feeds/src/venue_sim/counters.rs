//! What a simulator did, counted, and which faults struck.
//!
//! Invariant: every frame, request and session ends in exactly one of the counters of its kind.

use super::faults::Fault;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters of a simulator since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimCounters {
    /// TCP connections accepted.
    pub connections: u64,
    /// TCP connections and sessions turned away because there were too many.
    pub turned_away: u64,
    /// WebSocket sessions opened.
    pub sessions_opened: u64,
    /// WebSocket sessions open now.
    pub sessions_open: u64,
    /// Handshakes refused by a fault.
    pub upgrades_refused: u64,
    /// Sessions cut because their queue was full.
    pub slow_clients: u64,
    /// Sessions cut because they sent nothing for too long.
    pub silent_clients: u64,
    /// Seconds in which a session sent more messages than the venue takes; it is not cut for it.
    pub hasty_seconds: u64,
    /// Subscriptions started.
    pub subscriptions: u64,
    /// Subscriptions ended by request.
    pub unsubscriptions: u64,
    /// Client messages.
    pub client_messages: u64,
    /// Requests that could not be understood or named something unknown.
    pub bad_requests: u64,
    /// REST requests.
    pub rest_requests: u64,
    /// REST requests refused by a fault.
    pub rest_refused: u64,
    /// Updates of the model.
    pub updates: u64,
    /// Frames queued for sending: data, replies, heartbeats, notices.
    pub frames_queued: u64,
    /// Bytes of these.
    pub bytes_queued: u64,
    /// Frames a fault kept from being sent.
    pub frames_dropped: u64,
    /// Faults that struck.
    pub faults: u64,
    /// Faults refused, because too many waited or they named an instrument that is not listed.
    pub faults_refused: u64,
}

/// A fault that struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiredFault {
    /// What.
    pub fault: Fault,
    /// Model time, ns since the epoch.
    pub model_ns: i64,
    /// Updates of the model so far, over all instruments.
    pub updates: u64,
}

macro_rules! atomics {
    ($($name:ident),*) => {
        /// The counters behind [`SimCounters`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> SimCounters {
                SimCounters { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

atomics!(
    connections,
    turned_away,
    sessions_opened,
    sessions_open,
    upgrades_refused,
    slow_clients,
    silent_clients,
    hasty_seconds,
    subscriptions,
    unsubscriptions,
    client_messages,
    bad_requests,
    rest_requests,
    rest_refused,
    updates,
    frames_queued,
    bytes_queued,
    frames_dropped,
    faults,
    faults_refused
);

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds `n`.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Relaxed);
}
