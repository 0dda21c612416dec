//! What a connection of a recording is made of when it is replayed: frames for a session, or events.
//!
//! Imported events go to the engine as they are, with one addition: an instrument of which the history
//! has only quotes, as its header says, gets a book of one level a side from every quote, because
//! features are of books. Invariants: no other instrument is given a book from a quote; a quote without quantities becomes levels of the smallest quantity there is, equal on both sides, and is
//! counted; a missing side stays missing.

use std::sync::Arc;

use purkinje_feeds::{EventBody, InstrumentTable, MarketEvent, Side, session::SessionError};

use super::{feed_core::FeedCore, session_header::Connection};

/// One connection of a replay.
#[derive(Debug)]
pub enum Feed {
    /// Frames, through session and conflator as live.
    Frames(Box<FeedCore>),
    /// Events of an import.
    Events(EventFeed),
}

impl Feed {
    /// What replays this connection, with books of `levels` a side.
    ///
    /// # Errors
    /// The session refuses its specification.
    pub fn new(
        connection: Connection,
        table: &Arc<InstrumentTable>,
        levels: usize,
    ) -> Result<Self, SessionError> {
        Ok(match connection {
            Connection::Frames(spec) => {
                Self::Frames(Box::new(FeedCore::new(spec, table.clone(), levels)?))
            }
            Connection::Events { quotes_only } => Self::Events(EventFeed::new(quotes_only)),
        })
    }
}

/// What an [`EventFeed`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventFeedCounts {
    /// Events taken.
    pub events: u64,
    /// Quotes passed on as books of one level.
    pub quotes_as_books: u64,
    /// Those among them that named no quantity.
    pub quotes_without_qty: u64,
}

/// Imported events on their way to the engine.
#[derive(Debug)]
pub struct EventFeed {
    quotes_only: Vec<bool>,
    counts: EventFeedCounts,
}

impl EventFeed {
    /// Says of every instrument of the table whether there are only quotes of it.
    #[must_use]
    pub fn new(quotes_only: Vec<bool>) -> Self {
        Self { quotes_only, counts: EventFeedCounts::default() }
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> EventFeedCounts {
        self.counts
    }

    /// Passes on one event; `false`, passing on nothing, when its instrument is not in the table.
    pub fn take(&mut self, event: &MarketEvent, push: &mut impl FnMut(MarketEvent)) -> bool {
        let Some(&quotes_only) = self.quotes_only.get(event.instrument.index()) else {
            return false;
        };
        self.counts.events += 1;
        match event.body {
            EventBody::Top { bid_price, bid_qty, ask_price, ask_qty } if quotes_only => {
                self.counts.quotes_as_books += 1;
                self.counts.quotes_without_qty += u64::from(bid_qty == 0 && ask_qty == 0);
                push(MarketEvent { body: EventBody::BookBegin, ..*event });
                let sides = [(Side::Bid, bid_price, bid_qty), (Side::Ask, ask_price, ask_qty)];
                for (side, price, qty) in sides.into_iter().filter(|(_, price, _)| *price != 0) {
                    let body = EventBody::Level { side, price, qty: qty.max(1) };
                    push(MarketEvent { body, ..*event });
                }
                push(MarketEvent { body: EventBody::BookCommit { conflated: false }, ..*event });
            }
            _ => push(*event),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_feeds::InstrumentId;

    fn event(body: EventBody) -> MarketEvent {
        let instrument = InstrumentId(0);
        MarketEvent { ts_venue_ns: 1, ts_sent_ns: 0, ts_recv_ns: 2, update_id: 3, instrument, body }
    }

    fn top(bid_price: i64, bid_qty: i64, ask_price: i64, ask_qty: i64) -> EventBody {
        EventBody::Top { bid_price, bid_qty, ask_price, ask_qty }
    }

    fn bid(price: i64, qty: i64) -> EventBody {
        EventBody::Level { side: Side::Bid, price, qty }
    }

    fn ask(price: i64, qty: i64) -> EventBody {
        EventBody::Level { side: Side::Ask, price, qty }
    }

    const BEGIN: EventBody = EventBody::BookBegin;
    const COMMIT: EventBody = EventBody::BookCommit { conflated: false };

    fn passed(feed: &mut EventFeed, body: EventBody) -> Vec<EventBody> {
        let mut out = Vec::new();
        assert!(feed.take(&event(body), &mut |e| {
            assert_eq!((e.ts_venue_ns, e.ts_recv_ns, e.update_id), (1, 2, 3));
            out.push(e.body);
        }));
        out
    }

    #[test]
    fn quotes_are_books_of_one_level_where_there_is_nothing_else() {
        let mut feed = EventFeed::new(vec![true]);
        let quote = top(10, 5, 11, 6);
        assert_eq!(passed(&mut feed, quote), [BEGIN, bid(10, 5), ask(11, 6), COMMIT]);
        let mut with_book = EventFeed::new(vec![false]);
        assert_eq!(passed(&mut with_book, quote), [quote]);
        let counts = EventFeedCounts { events: 1, quotes_as_books: 1, quotes_without_qty: 0 };
        assert_eq!(feed.counts(), counts);
    }

    #[test]
    fn a_quote_without_quantities_is_balanced_and_counted_and_a_missing_side_stays_missing() {
        let mut feed = EventFeed::new(vec![true]);
        assert_eq!(passed(&mut feed, top(10, 0, 11, 0)), [BEGIN, bid(10, 1), ask(11, 1), COMMIT]);
        assert_eq!(passed(&mut feed, top(0, 0, 11, 4)), [BEGIN, ask(11, 4), COMMIT]);
        assert_eq!(feed.counts().quotes_without_qty, 1);
    }

    #[test]
    fn an_event_of_an_instrument_that_is_not_in_the_table_is_refused() {
        let mut feed = EventFeed::new(Vec::new());
        assert!(!feed.take(&event(COMMIT), &mut |_| panic!("passed on")));
    }
}
