//! What the network room did, as counters that any thread may read at any time.
//!
//! Invariants: counters only grow; relaxed ordering throughout, so that counting costs next to nothing
//! and values read together may be of slightly different moments.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }
}

/// Why a connection, or an attempt at one, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DisconnectCause {
    /// Name resolution, TCP or TLS failed, or the upgrade was refused with an unexpected answer.
    DialFailed,
    /// The dial as a whole took longer than allowed.
    DialTimeout,
    /// The venue refused the upgrade for our rate of connecting (HTTP 429 or 418).
    RateLimited,
    /// The venue refused the upgrade because it is down for a while (HTTP 503).
    Unavailable,
    /// The venue sent a close frame.
    ClosedByPeer,
    /// The socket ended or failed without a close frame.
    Lost,
    /// The bytes were no valid WebSocket, or a text was no UTF-8.
    Protocol,
    /// A message was longer than allowed.
    Oversized,
    /// Not one byte arrived for longer than allowed.
    Idle,
    /// Two keep-alive texts in a row were followed by not one byte.
    Unanswered,
    /// The peer did not take what we sent, or the handler asked for more than the send queue holds.
    SendStalled,
    /// The connection reached its planned age.
    Lifetime,
    /// The handler asked for it.
    Requested,
    /// We are shutting down.
    Shutdown,
}

impl DisconnectCause {
    /// All causes, in the order of declaration.
    pub const ALL: [Self; 14] = [
        Self::DialFailed,
        Self::DialTimeout,
        Self::RateLimited,
        Self::Unavailable,
        Self::ClosedByPeer,
        Self::Lost,
        Self::Protocol,
        Self::Oversized,
        Self::Idle,
        Self::Unanswered,
        Self::SendStalled,
        Self::Lifetime,
        Self::Requested,
        Self::Shutdown,
    ];

    /// Stable, lower-case name for reports and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DialFailed => "dial_failed",
            Self::DialTimeout => "dial_timeout",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::ClosedByPeer => "closed_by_peer",
            Self::Lost => "lost",
            Self::Protocol => "protocol",
            Self::Oversized => "oversized",
            Self::Idle => "idle",
            Self::Unanswered => "unanswered",
            Self::SendStalled => "send_stalled",
            Self::Lifetime => "lifetime",
            Self::Requested => "requested",
            Self::Shutdown => "shutdown",
        }
    }
}

/// The counters of one connection, of a REST service, or of several of them together.
#[derive(Debug, Default)]
pub struct NetCounters {
    /// Attempts to connect.
    pub dials: Counter,
    /// Attempts that ended in an open WebSocket.
    pub connects: Counter,
    /// Connections that proved themselves: data flowed for the stated time.
    pub proven: Counter,
    /// Text and binary messages received.
    pub frames: Counter,
    /// Payload bytes of those messages.
    pub frame_bytes: Counter,
    /// Bytes read from open connections, TLS and framing included; brought up to date every tick.
    pub socket_bytes: Counter,
    /// Protocol pings received; each was answered.
    pub pings: Counter,
    /// Texts sent.
    pub sends: Counter,
    /// Of those, keep-alives.
    pub keepalives: Counter,
    /// Milliseconds that texts were held back by the limit shared between connections.
    pub send_limit_ms_total: Counter,
    /// Connections replaced at their planned age by one that was ready, without a loss.
    pub rotations: Counter,
    /// Planned replacements that were not ready in time: the connection was dropped and dialled anew.
    pub rotations_failed: Counter,
    /// Connections that ended while their replacement was open: it took over as it was.
    pub failovers: Counter,
    /// Milliseconds of backoff planned; a shutdown may have cut the last one short.
    pub backoff_ms_total: Counter,
    /// Milliseconds that dials were held back by the connection limit.
    pub connect_limit_ms_total: Counter,
    /// HTTP requests sent, retries included.
    pub rest_requests: Counter,
    /// HTTP requests that were retries of an earlier one.
    pub rest_retries: Counter,
    /// Snapshots delivered.
    pub rest_ok: Counter,
    /// Snapshots given up: delivered to the handler as an error.
    pub rest_failures: Counter,
    /// Snapshots refused because the queue was full (these also count as failures).
    pub rest_refused: Counter,
    /// Snapshots asked for while the same one was under way.
    pub rest_duplicates: Counter,
    /// Snapshots dropped unsent because a newer generation was asked for.
    pub rest_superseded: Counter,
    /// Answers that told us to stay away (HTTP 429, 418 or 403, 503 with a time); each paused all
    /// requests.
    pub rest_rate_limited: Counter,
    /// Times a request had to wait for the weight budget.
    pub rest_budget_waits: Counter,
    disconnects: [Counter; DisconnectCause::ALL.len()],
    /// What was said when a connection or an attempt last ended by itself.
    last_trouble: Mutex<Option<String>>,
}

impl NetCounters {
    /// How many connections or attempts ended for this cause.
    #[must_use]
    pub fn disconnects(&self, cause: DisconnectCause) -> u64 {
        self.disconnects[cause as usize].get()
    }

    /// How many connections or attempts ended, for any cause.
    #[must_use]
    pub fn disconnects_total(&self) -> u64 {
        self.disconnects.iter().map(Counter::get).sum()
    }

    /// What is wrong while no connection is open: how many ended since the start and what the last
    /// one said. `None` while one is open, and before the first has failed.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let never_open = [
            DisconnectCause::DialFailed,
            DisconnectCause::DialTimeout,
            DisconnectCause::RateLimited,
            DisconnectCause::Unavailable,
        ];
        let failed: u64 = never_open.into_iter().map(|cause| self.disconnects(cause)).sum();
        let ended = self.disconnects_total();
        let open = (self.connects.get() + failed).saturating_sub(ended);
        let said = self.last_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
        said.filter(|_| open == 0)
            .map(|said| format!("{ended} connection attempts ended, last: {said}"))
    }

    pub(crate) fn disconnected(&self, cause: DisconnectCause, said: &str) {
        self.disconnects[cause as usize].add(1);
        if cause != DisconnectCause::Shutdown {
            let mut last = self.last_trouble.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(format!("{}: {said}", cause.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_has_its_own_counter_and_name() {
        let counters = NetCounters::default();
        for (index, cause) in DisconnectCause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index, "{cause:?} is out of order in ALL");
            for _ in 0..=index {
                counters.disconnected(cause, "so it is");
            }
        }
        let mut names: Vec<&str> = DisconnectCause::ALL.iter().map(|cause| cause.name()).collect();
        for (index, cause) in DisconnectCause::ALL.into_iter().enumerate() {
            assert_eq!(counters.disconnects(cause), index as u64 + 1);
        }
        assert_eq!(counters.disconnects_total(), 105);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), DisconnectCause::ALL.len());
    }

    #[test]
    fn trouble_is_told_while_no_connection_is_open() {
        let counters = NetCounters::default();
        assert_eq!(counters.trouble(), None);
        counters.disconnected(DisconnectCause::DialFailed, "no such host");
        let said = counters.trouble().unwrap();
        assert!(
            said.contains("1 connection") && said.contains("dial_failed: no such host"),
            "{said}"
        );
        counters.connects.add(1);
        assert_eq!(counters.trouble(), None, "one is open");
        counters.disconnected(DisconnectCause::Idle, "silent for 30 s");
        assert!(counters.trouble().unwrap().contains("idle: silent for 30 s"));
    }
}
