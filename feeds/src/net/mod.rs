//! Sockets: one WebSocket connection that keeps itself alive, and REST requests within a rate budget.
//!
//! This room moves bytes and knows no venue: what the bytes mean lives behind [`Handler`].
//! [`run`] owns a connection for its whole life (dial, read, reconnect), a
//! [`RestService`] owns the one thread that makes blocking HTTP requests, and
//! everything that happens is counted in [`NetCounters`]. Invariants: a frame reaches the handler with
//! the timestamp of the socket read that completed it; no failure is silent and no retry is unbounded in
//! rate; every queue has a bound and a counter; nothing a peer sends can cause a panic.

pub mod backoff;
pub mod budget;
pub mod connection;
pub mod counters;
mod dial;
pub mod limit;
mod open;
pub mod rest;
mod rest_queue;
mod rotation;
pub mod stamp;

pub use backoff::{Backoff, BackoffConfig};
pub use budget::{Budget, BudgetError};
pub use connection::{ConnectionEnd, ConnectionSpec, Keepalive, run};
pub use counters::{Counter, DisconnectCause, NetCounters};
pub use limit::SharedLimit;
pub use rest::{RestClient, RestConfig, RestError, RestService, RestStartError};
pub use stamp::realtime_ns;

/// Makes rustls use ring in this process. Harmless when a provider is already installed.
pub fn install_crypto_provider() {
    // The only error is "already installed", which is what was wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Which of a connection's two sockets is spoken of.
///
/// There is one, the active link, except while it is replaced at its planned age: then its successor,
/// the standby link, is made and followed beside it until it can take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// What the handler's data comes from.
    Active,
    /// What is to become the active link.
    Standby,
}

/// The protocol behind a connection, as a state machine that does no I/O.
///
/// All calls come from the one task that runs the connection. Timestamps are nanoseconds since the
/// epoch UTC from the realtime clock. After every call the connection takes what
/// [`next_action`](Self::next_action) offers, but only while the link is open: actions offered before a
/// disconnect wait, so `on_disconnected` should discard the ones that no longer make sense.
///
/// A handler that leaves [`can_rotate`](Self::can_rotate) alone hears of [`Link::Active`] only.
pub trait Handler {
    /// The WebSocket is open. Texts pushed to `send` (empty on entry) are sent in order, at the
    /// connection's message rate. `ts_recv_ns` is the stamp of the upgrade response.
    fn on_connected(&mut self, link: Link, ts_recv_ns: i64, send: &mut Vec<String>);

    /// A whole text or binary message arrived. This is the hot path: do not block or allocate.
    fn on_frame(&mut self, link: Link, ts_recv_ns: i64, bytes: &[u8]);

    /// A [`NetAction::Snapshot`] was answered or given up; possibly for an older generation, which the
    /// handler must recognise and discard. A request whose link has ended is not answered any more.
    fn on_snapshot(&mut self, link: Link, reply: RestReply<'_>);

    /// The link that `on_connected` announced is gone. `ts_recv_ns` is when that was noticed.
    fn on_disconnected(
        &mut self,
        link: Link,
        ts_recv_ns: i64,
        cause: DisconnectCause,
        reason: &str,
    );

    /// Time passes; called about every `tick_ms` in every phase, also while disconnected.
    fn on_tick(&mut self, now_ns: i64);

    /// What the handler wants done next on a link, if anything.
    fn next_action(&mut self, link: Link) -> Option<NetAction>;

    /// Whether data (not acknowledgements or heartbeats) has arrived on this link and the
    /// handler still thinks it flows. Backoff starts afresh only after this has held for a while.
    fn is_flowing(&self, link: Link) -> bool;

    /// Whether the handler can follow a standby link. If not, a connection is dropped at its planned
    /// age and dialled anew.
    fn can_rotate(&self) -> bool {
        false
    }

    /// Whether the standby link, which is open, could take over without a loss.
    fn is_standby_ready(&self) -> bool {
        false
    }

    /// The standby link is the active one from here on. What was active is closed; unless
    /// `on_disconnected` has told of its end already, this does. REST answers that it still waited
    /// for do not come.
    fn on_promoted(&mut self, now_ns: i64) {
        let _ = now_ns;
    }
}

/// What a [`Handler`] may ask of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetAction {
    /// Fetch a REST snapshot. The answer comes to [`Handler::on_snapshot`]. Asking again for the same
    /// instrument and generation while the first is under way does nothing; asking for a newer
    /// generation drops an older one that has not been sent yet.
    Snapshot {
        /// Interned instrument.
        instrument: u16,
        /// The handler's own count, returned with the answer.
        generation: u32,
        /// What follows the base URL, from its first `/`.
        path_and_query: String,
        /// The venue's request weight.
        weight: u32,
    },
    /// Send a text message.
    Send(String),
    /// Drop this connection and dial again.
    Reconnect {
        /// For reports; comes back in [`Handler::on_disconnected`].
        reason: String,
    },
}

/// The end of a [`NetAction::Snapshot`].
#[derive(Clone, Copy, Debug)]
pub struct RestReply<'a> {
    /// As asked.
    pub instrument: u16,
    /// As asked.
    pub generation: u32,
    /// As asked.
    pub path_and_query: &'a str,
    /// When the body was complete, or when the request was given up; nanoseconds since the epoch UTC.
    pub ts_recv_ns: i64,
    /// The body of a 200 answer, or why there is none. After an error the handler decides whether to
    /// ask again, and had better not do so at once.
    pub result: Result<&'a [u8], &'a RestError>,
}
