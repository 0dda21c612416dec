//! One connection's bytes → events, the same for a live socket and for a replay.
//!
//! Session (protocol) and conflator (what a full ring does) together. Invariant: the items emitted
//! depend only on what was received and on the free-slot readings handed in; readings that changed
//! something are reported to the caller, who records them, and are looked up by their number when a
//! recording is replayed.

use std::sync::Arc;

use purkinje_feeds::{
    DesyncReason, InstrumentId, InstrumentTable, MarketEvent,
    session::{Outbox, Session, SessionError, SessionSpec, SnapshotReply},
};

use super::conflate::Conflator;

/// Something received.
#[derive(Clone, Copy, Debug)]
pub enum Received<'a> {
    /// The connection is up.
    Connected,
    /// The connection is gone.
    Disconnected,
    /// A data frame.
    Frame(&'a [u8]),
    /// A REST snapshot.
    Snapshot {
        /// Of which instrument (index in the table).
        instrument: u16,
        /// The connection generation it was asked for.
        generation: u32,
        /// The body.
        body: &'a [u8],
    },
    /// A REST snapshot could not be had.
    SnapshotFailed {
        /// Of which instrument (index in the table).
        instrument: u16,
        /// The connection generation it was asked for.
        generation: u32,
    },
}

/// A free-slot reading that did not simply let everything pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Number of the offer, counted per connection.
    pub offer: u64,
    /// Slots that were free.
    pub free: usize,
}

/// Where items go and how much room there is.
pub trait Outlet {
    /// Free slots for the offer with this number.
    fn free(&mut self, offer: u64) -> usize;
    /// Takes one event; only called as often as `free` said.
    fn push(&mut self, event: &MarketEvent);
    /// Told of a reading that mattered, before its events are pushed.
    fn matters(&mut self, reading: Reading);
}

/// Session and conflator of one connection.
#[derive(Debug)]
pub struct FeedCore {
    session: Session,
    conflator: Conflator,
    outbox: Outbox,
    offers: u64,
    crossed: u64,
}

impl FeedCore {
    /// A connection that is not up yet, with books of `levels` a side.
    ///
    /// # Errors
    /// The session refuses its specification.
    pub fn new(
        spec: SessionSpec,
        table: Arc<InstrumentTable>,
        levels: usize,
    ) -> Result<Self, SessionError> {
        let conflator = Conflator::new(&spec.instruments, levels);
        let session = Session::new(spec, table)?;
        let outbox = session.outbox();
        Ok(Self { session, conflator, outbox, offers: 0, crossed: 0 })
    }

    /// The protocol state.
    #[must_use]
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The requests and topic changes that the last calls left; the caller drains them.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Events merged by conflation, and books passed on as one newest state.
    #[must_use]
    pub fn conflation_counts(&self) -> (u64, u64) {
        self.conflator.counts()
    }

    /// Books given up because they were crossed after a complete message.
    #[must_use]
    pub fn crossed_books(&self) -> u64 {
        self.crossed
    }

    /// Decodes and sequences, without passing anything on yet.
    pub fn take(&mut self, ts_recv_ns: i64, received: &Received<'_>) {
        let (session, out) = (&mut self.session, &mut self.outbox);
        match *received {
            Received::Connected => session.on_connected(ts_recv_ns, out),
            Received::Disconnected => session.on_disconnected(ts_recv_ns, out),
            Received::Frame(bytes) => session.on_frame(ts_recv_ns, bytes, out),
            Received::Snapshot { instrument, generation, body } => {
                let instrument = InstrumentId(instrument);
                let reply = SnapshotReply { instrument, generation, ts_recv_ns, body };
                session.on_snapshot(reply, out);
            }
            Received::SnapshotFailed { instrument, generation } => {
                let instrument = InstrumentId(instrument);
                session.on_snapshot_failed(instrument, generation);
            }
        }
    }

    /// Passes on what `take` left, and gives up a book that the message left crossed.
    pub fn pass(&mut self, outlet: &mut impl Outlet) {
        if let Some((instrument, ts_recv_ns)) = self.offer(outlet) {
            self.crossed += 1;
            let out = &mut self.outbox;
            self.session.repair(instrument, DesyncReason::Crossed, ts_recv_ns, out);
            self.offer(outlet);
        }
    }

    /// Passes on what was held back, if anything and as far as there is room.
    pub fn flush(&mut self, outlet: &mut impl Outlet) {
        if self.conflator.is_holding() {
            self.offer(outlet);
        }
    }

    /// Whether something is held back.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.conflator.is_holding()
    }

    /// The number the next offer will have.
    #[must_use]
    pub fn next_offer(&self) -> u64 {
        self.offers
    }

    /// Lets time pass: topic states and requests only, never events.
    pub fn tick(&mut self, now_ns: i64) {
        self.session.on_tick(now_ns, &mut self.outbox);
    }

    /// Offers the outbox's events; returns an instrument whose book they left crossed.
    fn offer(&mut self, outlet: &mut impl Outlet) -> Option<(InstrumentId, i64)> {
        let events = &self.outbox.events;
        if events.is_empty() && !self.conflator.is_holding() {
            return None;
        }
        let offer = self.offers;
        self.offers += 1;
        let free = outlet.free(offer);
        if !self.conflator.passes(events.len(), free) {
            outlet.matters(Reading { offer, free });
        }
        self.conflator.offer(events, free, &mut |event| outlet.push(event));
        let crossed = self.conflator.crossed(events);
        let crossed = crossed.zip(events.last().map(|e| e.ts_recv_ns));
        self.outbox.events.clear();
        crossed
    }
}
