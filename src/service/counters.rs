//! What the HTTP server did, by the limit or rule that decided it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Something that the server counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection was accepted.
    Connection,
    /// A connection was closed at once: too many were open.
    ConnectionRefused,
    /// A request was answered with a status under 400.
    Answered,
    /// A request was answered with a status of 400 or more.
    Failed,
    /// A request's head was longer than allowed.
    HeadTooLong,
    /// A request's body was longer than allowed.
    BodyTooLong,
    /// A request's head, or the next request, did not come in time.
    HeadTimeout,
    /// A request took too long, its body included.
    RequestTimeout,
    /// A client took nothing for too long.
    Stalled,
    /// What came was no HTTP.
    Malformed,
    /// A stream was refused: too many were open.
    StreamRefused,
    /// A command came without the right token.
    Unauthorized,
    /// A request named a host that this server is not.
    WrongHost,
}

impl Event {
    /// All, in the order of declaration.
    pub const ALL: [Self; 13] = [
        Self::Connection,
        Self::ConnectionRefused,
        Self::Answered,
        Self::Failed,
        Self::HeadTooLong,
        Self::BodyTooLong,
        Self::HeadTimeout,
        Self::RequestTimeout,
        Self::Stalled,
        Self::Malformed,
        Self::StreamRefused,
        Self::Unauthorized,
        Self::WrongHost,
    ];

    /// Label in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::ConnectionRefused => "connection_refused",
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::HeadTooLong => "head_too_long",
            Self::BodyTooLong => "body_too_long",
            Self::HeadTimeout => "head_timeout",
            Self::RequestTimeout => "request_timeout",
            Self::Stalled => "stalled",
            Self::Malformed => "malformed",
            Self::StreamRefused => "stream_refused",
            Self::Unauthorized => "unauthorized",
            Self::WrongHost => "wrong_host",
        }
    }
}

/// How often each happened.
#[derive(Debug, Default)]
pub struct Counters([AtomicU64; Event::ALL.len()]);

impl Counters {
    /// It happened once more.
    pub fn count(&self, event: Event) {
        self.0[event as usize].fetch_add(1, Relaxed);
    }

    /// How often it happened.
    #[must_use]
    pub fn of(&self, event: Event) -> u64 {
        self.0[event as usize].load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_its_own_counter_and_name() {
        let counters = Counters::default();
        let mut names = Vec::new();
        for (k, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, k, "{event:?} is out of order in ALL");
            counters.count(event);
            assert_eq!(counters.of(event), 1);
            names.push(event.name());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Event::ALL.len());
    }
}
