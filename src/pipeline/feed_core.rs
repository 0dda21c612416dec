//! One connection's bytes → events, the same for a live socket and for a replay.
//!
//! Session (protocol) and conflator (what a full ring does) together, and while a connection is being
//! replaced a second pair that follows its successor without emitting anything. Invariant: the items
//! emitted depend only on what was received on which link, on when [`FeedCore::promote`] was called, and
//! on the free-slot readings handed in; readings that changed something are reported to the caller, who
//! records them, and are looked up by their number when a recording is replayed.

use std::{collections::VecDeque, sync::Arc};

use purkinje_feeds::{
    DesyncReason, EventBody, InstrumentId, InstrumentTable, MarketEvent,
    net::Link,
    session::{Outbox, Session, SessionCounters, SessionError, SessionSpec, SnapshotReply},
    status::{BookWatch, Status, StatusEvent},
};

use super::conflate::Conflator;

/// Trades of the successor that are remembered in case the old link never tells of them; of more the
/// oldest are forgotten, which the old link has long told.
const PENDING_TRADES: usize = 4_096;

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

/// Protocol and conflation of one link.
#[derive(Debug)]
struct Side {
    session: Session,
    conflator: Conflator,
    outbox: Outbox,
}

impl Side {
    fn new(
        spec: &SessionSpec,
        table: &Arc<InstrumentTable>,
        levels: usize,
    ) -> Result<Self, SessionError> {
        let conflator = Conflator::new(&spec.instruments, levels);
        let session = Session::new(spec.clone(), table.clone())?;
        let outbox = session.outbox();
        Ok(Self { session, conflator, outbox })
    }

    fn take(&mut self, ts_recv_ns: i64, received: &Received<'_>) {
        let (session, out) = (&mut self.session, &mut self.outbox);
        match *received {
            Received::Connected => session.on_connected(ts_recv_ns, out),
            Received::Disconnected => session.on_disconnected(ts_recv_ns, out),
            Received::Frame(bytes) => {
                session.on_frame(ts_recv_ns, bytes, out);
                session.watch_age(out);
            }
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

    /// Follows what `take` left, without passing anything on.
    fn absorb(&mut self) {
        let Self { session, conflator, outbox } = self;
        conflator.offer(&outbox.events, 0, &mut |_| {});
        let crossed = conflator.crossed(&outbox.events).zip(outbox.events.last());
        let crossed = crossed.map(|(instrument, event)| (instrument, event.ts_recv_ns));
        outbox.events.clear();
        if let Some((instrument, ts_recv_ns)) = crossed {
            session.repair(instrument, DesyncReason::Crossed, ts_recv_ns, outbox);
            conflator.offer(&outbox.events, 0, &mut |_| {});
            outbox.events.clear();
        }
    }
}

/// The link that is to succeed.
#[derive(Debug)]
struct Standby {
    side: Side,
    /// Its newest trades, oldest first.
    trades: VecDeque<MarketEvent>,
}

/// The newest trade of an instrument that was passed on.
#[derive(Clone, Copy, Debug, Default)]
struct LastTrade {
    id: u64,
    /// A new link has taken over and may tell again what the old one has told.
    may_repeat: bool,
}

fn is_trade(event: &MarketEvent) -> bool {
    matches!(event.body, EventBody::Trade { .. })
}

/// Session and conflator of one connection, and of its successor while there is one.
#[derive(Debug)]
pub struct FeedCore {
    spec: SessionSpec,
    table: Arc<InstrumentTable>,
    levels: usize,
    active: Side,
    standby: Option<Box<Standby>>,
    /// By instrument of the table.
    last_trades: Vec<LastTrade>,
    offers: u64,
    crossed: u64,
    books: BookWatch,
    status: Vec<StatusEvent>,
    /// Counts of sessions that were succeeded.
    past: SessionCounters,
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
        Ok(Self {
            active: Side::new(&spec, &table, levels)?,
            standby: None,
            last_trades: vec![LastTrade::default(); table.len()],
            offers: 0,
            crossed: 0,
            books: BookWatch::new(spec.connection, &spec.instruments),
            status: Vec::with_capacity(64),
            past: SessionCounters::default(),
            spec,
            table,
            levels,
        })
    }

    /// The protocol state of a link, if there is such a link.
    #[must_use]
    pub fn session(&self, link: Link) -> Option<&Session> {
        match link {
            Link::Active => Some(&self.active.session),
            Link::Standby => self.standby.as_ref().map(|standby| &standby.side.session),
        }
    }

    /// Totals since the start, over all links that were active.
    #[must_use]
    pub fn counters(&self) -> SessionCounters {
        let mut counters = self.past;
        counters.add(self.active.session.counters());
        counters
    }

    /// The requests and topic changes that the last calls left on a link; the caller drains them.
    pub fn outbox(&mut self, link: Link) -> Option<&mut Outbox> {
        match link {
            Link::Active => Some(&mut self.active.outbox),
            Link::Standby => self.standby.as_mut().map(|standby| &mut standby.side.outbox),
        }
    }

    /// What happened to books and links; the caller drains it.
    pub fn status(&mut self) -> &mut Vec<StatusEvent> {
        &mut self.status
    }

    /// Events merged by conflation, and books passed on as one newest state.
    #[must_use]
    pub fn conflation_counts(&self) -> (u64, u64) {
        self.active.conflator.counts()
    }

    /// Books given up because they were crossed after a complete message.
    #[must_use]
    pub fn crossed_books(&self) -> u64 {
        self.crossed
    }

    /// Decodes and sequences, without passing anything on yet.
    pub fn take(&mut self, link: Link, ts_recv_ns: i64, received: &Received<'_>) {
        match link {
            Link::Active => {
                if matches!(received, Received::Connected) {
                    self.books.connected(ts_recv_ns);
                }
                self.active.take(ts_recv_ns, received);
                self.watch();
            }
            Link::Standby => self.take_standby(ts_recv_ns, received),
        }
    }

    fn take_standby(&mut self, ts_recv_ns: i64, received: &Received<'_>) {
        match received {
            // A specification that was accepted once is accepted again.
            Received::Connected => {
                let side = Side::new(&self.spec, &self.table, self.levels).ok();
                let trades = VecDeque::with_capacity(PENDING_TRADES);
                self.standby = side.map(|side| Box::new(Standby { side, trades }));
            }
            Received::Disconnected => self.standby = None,
            _ => {}
        }
        let Some(standby) = &mut self.standby else { return };
        standby.side.take(ts_recv_ns, received);
        let events = &mut standby.side.outbox.events;
        if events.first().is_some_and(is_trade) {
            for trade in events.drain(..).filter(is_trade) {
                if standby.trades.len() == PENDING_TRADES {
                    standby.trades.pop_front();
                }
                standby.trades.push_back(trade);
            }
        }
    }

    /// Looks at what the active link brought: at trades for their ids, at books for their state.
    fn watch(&mut self) {
        let Self { active, last_trades, books, status, .. } = self;
        let events = &mut active.outbox.events;
        // All events of a frame are of one channel, and a change of a book's state comes first or last.
        let Some((first, last)) = events.first().zip(events.last()) else { return };
        if is_trade(first) {
            events.retain(|trade| {
                let Some(last) = last_trades.get_mut(trade.instrument.index()) else { return true };
                if last.may_repeat && (1..=last.id).contains(&trade.update_id) {
                    return false;
                }
                *last = LastTrade { id: trade.update_id, may_repeat: false };
                true
            });
            return;
        }
        let tells = |event: &MarketEvent| {
            matches!(event.body, EventBody::BookBegin | EventBody::Desync { .. })
        };
        if tells(first) || tells(last) {
            books.observe(events, status);
        }
    }

    /// Passes on what `take` left, and gives up a book that the message left crossed.
    pub fn pass(&mut self, link: Link, outlet: &mut impl Outlet) {
        if link == Link::Standby {
            if let Some(standby) = &mut self.standby {
                standby.side.absorb();
            }
            return;
        }
        if let Some((instrument, ts_recv_ns)) = self.offer(outlet) {
            self.crossed += 1;
            let Side { session, outbox, .. } = &mut self.active;
            session.repair(instrument, DesyncReason::Crossed, ts_recv_ns, outbox);
            self.watch();
            self.offer(outlet);
        }
    }

    /// Whether the standby link carries data and has every book that the active one has.
    #[must_use]
    pub fn is_standby_ready(&self) -> bool {
        self.standby.as_ref().is_some_and(|standby| {
            let side = &standby.side;
            side.session.is_flowing() && side.conflator.covers(&self.active.conflator)
        })
    }

    /// Makes the standby link the active one: its books go out in place of the old link's, which is
    /// forgotten without a word. Trades that only the standby link has told of yet follow.
    pub fn promote(&mut self, now_ns: i64, outlet: &mut impl Outlet) {
        let Some(standby) = self.standby.take() else { return };
        let Standby { mut side, trades } = *standby;
        let had = self.active.conflator.books();
        let mut changes = side.conflator.inherit(&self.active.conflator);
        // Whatever the age of a book, it comes or goes now.
        for event in &mut changes {
            event.ts_recv_ns = now_ns;
        }
        let old = std::mem::replace(&mut self.active, side);
        self.past.add(old.session.counters());
        let is_loss = |event: &&MarketEvent| matches!(event.body, EventBody::Desync { .. });
        let books_lost = changes.iter().filter(is_loss).count() as u16;
        let what = Status::Rotated { books_kept: had as u16 - books_lost, books_lost };
        let connection = self.spec.connection;
        self.status.push(StatusEvent { ts_ns: now_ns, connection, instrument: None, what });
        self.books.observe(&changes, &mut self.status);
        for last in &mut self.last_trades {
            last.may_repeat = true;
        }
        // Without an id nobody can tell what the old link has told.
        let events = &mut self.active.outbox.events;
        events.extend(trades.into_iter().filter(|trade| trade.update_id != 0));
        self.watch();
        for last in &mut self.last_trades {
            last.may_repeat = true;
        }
        self.offer(outlet);
    }

    /// Passes on what was held back, if anything and as far as there is room.
    pub fn flush(&mut self, outlet: &mut impl Outlet) {
        if self.active.conflator.is_holding() {
            self.offer(outlet);
        }
    }

    /// Whether something is held back.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.active.conflator.is_holding()
    }

    /// The number the next offer will have.
    #[must_use]
    pub fn next_offer(&self) -> u64 {
        self.offers
    }

    /// Lets time pass: topic states and requests only, never events.
    pub fn tick(&mut self, now_ns: i64) {
        self.active.session.on_tick(now_ns, &mut self.active.outbox);
        if let Some(Standby { side, .. }) = self.standby.as_deref_mut() {
            side.session.on_tick(now_ns, &mut side.outbox);
        }
    }

    /// Offers the outbox's events; returns an instrument whose book they left crossed.
    fn offer(&mut self, outlet: &mut impl Outlet) -> Option<(InstrumentId, i64)> {
        let Side { conflator, outbox, .. } = &mut self.active;
        let events = &outbox.events;
        if events.is_empty() && !conflator.is_holding() {
            return None;
        }
        let offer = self.offers;
        self.offers += 1;
        let free = outlet.free(offer);
        if !conflator.passes(events.len(), free) {
            outlet.matters(Reading { offer, free });
        }
        conflator.offer(events, free, &mut |event| outlet.push(event));
        let crossed = conflator.crossed(events);
        let crossed = crossed.zip(events.last().map(|e| e.ts_recv_ns));
        outbox.events.clear();
        crossed
    }
}

#[cfg(test)]
mod tests;
