//! Everything that is checked of one instrument, event by event.
//!
//! A time is the receive time, or the venue time where the history has no receive times. Order of
//! venue times is looked at per channel (book updates, snapshots, quotes, trades), because a venue's
//! channels do not wait for one another, and the update that bridges a snapshot may be older than it.

use std::collections::BTreeMap;

use purkinje_feeds::{Book, EventBody, Instrument, MarketEvent, book::Shape};

use super::{
    latency::Latency,
    rates::Rates,
    report::{Counts, DesyncSeen, InstrumentReport, MAX_DESYNCS_TOLD, OrderReport},
    spans::Spans,
};
use crate::history::{ends_message, time_ns};

/// Levels a side of the book whose shape is looked at. A book of more levels loses its far ones.
const LEVELS: usize = 2_000;

/// One instrument.
#[derive(Debug)]
pub(super) struct InstrumentCheck {
    instrument: Instrument,
    counts: Counts,
    recv: Clock,
    /// Of book updates, snapshots, quotes and trades.
    venue: [Clock; 4],
    latency: Option<Latency>,
    rates: Option<Rates>,
    /// Made with the first book.
    book: Option<Book>,
    is_filling: bool,
    desyncs: BTreeMap<&'static str, u64>,
    first_desyncs: Vec<DesyncSeen>,
    unsynchronised: Spans,
    crossed_books: Spans,
    locked_books: Spans,
    crossed_quotes: Spans,
    locked_quotes: Spans,
    first_ns: Option<i64>,
    last_ns: i64,
}

/// Times of one kind in the order in which they come.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    first_ns: Option<i64>,
    newest_ns: i64,
    before_ns: i64,
    order: OrderReport,
}

impl Clock {
    fn take(&mut self, ts_ns: i64) {
        if ts_ns == 0 {
            return;
        }
        if self.first_ns.is_some() {
            self.order.backwards += u64::from(ts_ns < self.before_ns);
            let behind_ns = self.newest_ns.saturating_sub(ts_ns);
            self.order.furthest_behind_ns = self.order.furthest_behind_ns.max(behind_ns);
        }
        self.first_ns = Some(self.first_ns.map_or(ts_ns, |first| first.min(ts_ns)));
        self.newest_ns = if self.before_ns == 0 { ts_ns } else { self.newest_ns.max(ts_ns) };
        self.before_ns = ts_ns;
    }
}

impl InstrumentCheck {
    pub(super) fn new(instrument: Instrument) -> Self {
        Self {
            instrument,
            counts: Counts::default(),
            recv: Clock::default(),
            venue: [Clock::default(); 4],
            latency: Latency::new(),
            rates: Rates::new(),
            book: None,
            is_filling: false,
            desyncs: BTreeMap::new(),
            first_desyncs: Vec::new(),
            unsynchronised: Spans::default(),
            crossed_books: Spans::default(),
            locked_books: Spans::default(),
            crossed_quotes: Spans::default(),
            locked_quotes: Spans::default(),
            first_ns: None,
            last_ns: i64::MIN,
        }
    }

    /// Takes the next event of the instrument, read with row `row`.
    pub(super) fn take(&mut self, event: &MarketEvent, row: u64) {
        // The simulator's truth is no market data.
        if matches!(event.body, EventBody::Oracle { .. }) {
            self.counts.oracles += 1;
            return;
        }
        let at_ns = time_ns(event);
        self.first_ns = Some(self.first_ns.map_or(at_ns, |first| first.min(at_ns)));
        self.last_ns = self.last_ns.max(at_ns);
        if let Some(rates) = &mut self.rates {
            rates.take(at_ns);
        }
        if ends_message(event.body) {
            self.message(event);
        }
        match event.body {
            EventBody::BookBegin => {
                self.counts.snapshots += 1;
                self.is_filling = true;
                self.book.get_or_insert_with(|| Book::with_depth(LEVELS)).clear();
            }
            EventBody::Level { side, price, qty } => {
                self.counts.levels += 1;
                self.book.get_or_insert_with(|| Book::with_depth(LEVELS)).set(side, price, qty);
            }
            EventBody::BookCommit { .. } => {
                self.counts.books += 1;
                if std::mem::take(&mut self.is_filling) {
                    self.unsynchronised.set(at_ns, false);
                }
                let shape = self.book.as_ref().map_or(Shape::Empty, Book::shape);
                self.crossed_books.set(at_ns, shape == Shape::Crossed);
                self.locked_books.set(at_ns, shape == Shape::Locked);
            }
            EventBody::Top { bid_price, ask_price, .. } => {
                self.counts.quotes += 1;
                let is_whole = bid_price != 0 && ask_price != 0;
                self.crossed_quotes.set(at_ns, is_whole && bid_price > ask_price);
                self.locked_quotes.set(at_ns, is_whole && bid_price == ask_price);
            }
            EventBody::Trade { count, .. } => self.counts.trades += u64::from(count),
            EventBody::Desync { reason } => {
                self.counts.desyncs += 1;
                *self.desyncs.entry(reason.name()).or_default() += 1;
                if self.first_desyncs.len() < MAX_DESYNCS_TOLD {
                    let seen = DesyncSeen { row, at_ns, reason: reason.name() };
                    self.first_desyncs.push(seen);
                }
                self.is_filling = false;
                self.unsynchronised.set(at_ns, true);
                self.crossed_books.set(at_ns, false);
                self.locked_books.set(at_ns, false);
            }
            EventBody::Oracle { .. } => {}
        }
    }

    /// Order and latency: once a message, by its last event.
    fn message(&mut self, event: &MarketEvent) {
        self.counts.messages += 1;
        self.recv.take(event.ts_recv_ns);
        let channel = match event.body {
            EventBody::BookCommit { .. } if self.is_filling => 1,
            EventBody::Top { .. } => 2,
            EventBody::Trade { .. } => 3,
            // Lost books are told by the receiver, at no time of the venue's.
            EventBody::Desync { .. } => return,
            _ => 0,
        };
        self.venue[channel].take(event.ts_venue_ns);
        if let (true, Some(latency)) =
            (event.ts_venue_ns != 0 && event.ts_recv_ns != 0, &mut self.latency)
        {
            latency.record(event.ts_recv_ns.saturating_sub(event.ts_venue_ns));
        }
    }

    pub(super) fn finish(self) -> InstrumentReport {
        let end_ns = self.last_ns;
        let newest = |clock: &Clock| clock.first_ns.map(|_| clock.newest_ns);
        let first_ns = self.first_ns;
        let span_ns = first_ns.map_or(0, |first| end_ns.saturating_sub(first));
        let events = self.counts.events();
        let seconds = span_ns as f64 * 1e-9;
        let [updates, snapshots, quotes, trades] = self.venue;
        let mut report = InstrumentReport {
            instrument: self.instrument.key(),
            price_decimals: self.instrument.price_decimals,
            qty_decimals: self.instrument.qty_decimals,
            counts: self.counts,
            first_recv_ns: self.recv.first_ns,
            last_recv_ns: newest(&self.recv),
            first_venue_ns: self.venue.iter().filter_map(|c| c.first_ns).min(),
            last_venue_ns: self.venue.iter().filter_map(newest).max(),
            first_ns,
            span_ns,
            events_per_s: (span_ns > 0).then(|| events as f64 / seconds),
            bursts: self.rates.map_or_else(Vec::new, |rates| rates.report()),
            receive_order: self.recv.order,
            venue_order_books: updates.order.with(snapshots.order),
            venue_order_quotes: quotes.order,
            venue_order_trades: trades.order,
            latency: self.latency.and_then(|latency| latency.report()),
            desyncs: self.desyncs,
            first_desyncs: self.first_desyncs,
            unsynchronised: self.unsynchronised.finish(end_ns),
            crossed_books: self.crossed_books.finish(end_ns),
            locked_books: self.locked_books.finish(end_ns),
            crossed_quotes: self.crossed_quotes.finish(end_ns),
            locked_quotes: self.locked_quotes.finish(end_ns),
            findings: Vec::new(),
        };
        report.findings = report.find();
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_feeds::{DesyncReason, InstrumentId, Side, Venue};

    fn check() -> InstrumentCheck {
        InstrumentCheck::new(Instrument {
            venue: Venue::Kraken,
            symbol: "X".into(),
            price_decimals: 0,
            qty_decimals: 0,
        })
    }

    fn event(ts_venue_ns: i64, ts_recv_ns: i64, body: EventBody) -> MarketEvent {
        let instrument = InstrumentId(0);
        MarketEvent { ts_venue_ns, ts_sent_ns: 0, ts_recv_ns, update_id: 0, instrument, body }
    }

    fn reported(events: &[(i64, i64, EventBody)]) -> InstrumentReport {
        let mut check = check();
        for (row, &(venue, recv, body)) in events.iter().enumerate() {
            check.take(&event(venue, recv, body), row as u64 + 1);
        }
        check.finish()
    }

    const BEGIN: EventBody = EventBody::BookBegin;
    const COMMIT: EventBody = EventBody::BookCommit { conflated: false };
    const GAP: EventBody = EventBody::Desync { reason: DesyncReason::SequenceGap };
    const TRADE: EventBody = EventBody::Trade { side: Side::Bid, price: 1, qty: 1, count: 1 };

    fn level(side: Side, price: i64) -> EventBody {
        EventBody::Level { side, price, qty: 1 }
    }

    fn top(bid_price: i64, ask_price: i64) -> EventBody {
        EventBody::Top { bid_price, bid_qty: 1, ask_price, ask_qty: 1 }
    }

    #[test]
    fn a_clean_history_has_no_findings() {
        let report = reported(&[
            (1, 2, BEGIN),
            (1, 2, level(Side::Bid, 9)),
            (1, 2, level(Side::Ask, 10)),
            (1, 2, COMMIT),
            (3, 4, top(9, 10)),
            (2, 5, TRADE),
        ]);
        assert_eq!(report.findings, [""; 0]);
        let Counts { messages, snapshots, levels, books, quotes, trades, .. } = report.counts;
        assert_eq!((messages, snapshots, levels, books, quotes, trades), (3, 1, 2, 1, 1, 1));
        assert_eq!((report.first_recv_ns, report.last_venue_ns), (Some(2), Some(3)));
        assert_eq!(report.latency.unwrap().max_ns, 3);
    }

    #[test]
    fn times_that_run_backwards_are_found_by_clock_and_channel() {
        let report = reported(&[(5, 10, TRADE), (4, 9, TRADE), (3, 12, top(1, 2)), (6, 11, TRADE)]);
        let order = |backwards, furthest_behind_ns| OrderReport { backwards, furthest_behind_ns };
        assert_eq!(report.receive_order, order(2, 1));
        assert_eq!(report.venue_order_trades, order(1, 1));
        assert_eq!(report.venue_order_quotes, order(0, 0));
        assert_eq!(report.findings, ["receive_time_backwards", "venue_time_backwards"]);
    }

    #[test]
    fn an_update_that_bridges_a_snapshot_may_be_older_than_it_and_snapshots_are_in_order() {
        let update = [(8, 20, level(Side::Bid, 1)), (8, 20, COMMIT)];
        let snapshot = |ts| [(ts, 20, BEGIN), (ts, 20, COMMIT)];
        let report = reported(&[&snapshot(9)[..], &update].concat());
        assert_eq!(report.venue_order_books.backwards, 0);
        let report = reported(&[&snapshot(9)[..], &update, &snapshot(7)].concat());
        assert_eq!(report.venue_order_books, OrderReport { backwards: 1, furthest_behind_ns: 2 });
    }

    #[test]
    fn what_was_received_before_it_happened_is_found() {
        let report = reported(&[(5, 4, TRADE), (5, 6, TRADE)]);
        let latency = report.latency.unwrap();
        assert_eq!((latency.min_ns, latency.negative_count), (-1, 1));
        assert_eq!(report.findings, ["negative_latency"]);
    }

    #[test]
    fn a_lost_book_is_told_with_its_row_and_counts_until_the_next_snapshot_is_complete() {
        let book = [BEGIN, level(Side::Bid, 1), COMMIT];
        let mut events: Vec<_> = book.iter().map(|body| (0, 10, *body)).collect();
        events.push((0, 20, GAP));
        events.push((0, 25, top(1, 2)));
        events.extend(book.iter().map(|body| (0, 50, *body)));
        events.push((0, 70, GAP));
        events.push((0, 90, top(1, 2)));
        let report = reported(&events);
        let spans = report.unsynchronised;
        assert_eq!((spans.count, spans.total_ns, spans.longest_ns), (2, 50, 30));
        assert!(spans.open_at_end);
        assert_eq!(report.desyncs.get("sequence_gap"), Some(&2));
        let seen = &report.first_desyncs[0];
        assert_eq!((seen.row, seen.at_ns, seen.reason), (4, 20, "sequence_gap"));
        assert_eq!(report.findings, ["desync"]);
    }

    #[test]
    fn crossed_and_locked_spans_of_books_and_quotes_are_told_apart() {
        let report = reported(&[
            (0, 10, BEGIN),
            (0, 10, level(Side::Bid, 5)),
            (0, 10, level(Side::Ask, 4)),
            (0, 10, COMMIT),
            (0, 13, EventBody::Level { side: Side::Ask, price: 4, qty: 0 }),
            (0, 13, level(Side::Ask, 5)),
            (0, 13, COMMIT),
            (0, 14, level(Side::Bid, 6)),
            (0, 14, EventBody::Level { side: Side::Bid, price: 6, qty: 0 }),
            (0, 14, EventBody::Level { side: Side::Bid, price: 5, qty: 0 }),
            (0, 14, COMMIT),
            (0, 20, top(3, 2)),
            (0, 21, top(2, 2)),
            (0, 25, top(0, 2)),
        ]);
        let spans = [
            report.crossed_books,
            report.locked_books,
            report.crossed_quotes,
            report.locked_quotes,
        ];
        let told = spans.map(|s| (s.count, s.longest_ns, s.open_at_end));
        assert_eq!(told, [(1, 3, false), (1, 1, false), (1, 1, false), (1, 4, false)]);
        assert_eq!(
            report.findings,
            ["crossed_book", "locked_book", "crossed_quote", "locked_quote"]
        );
    }

    #[test]
    fn without_receive_times_the_venue_times_tell_spans_and_rates_and_there_is_no_latency() {
        let report = reported(&[(1_000_000_000, 0, TRADE), (3_000_000_000, 0, TRADE)]);
        assert_eq!((report.first_recv_ns, report.latency), (None, None));
        assert_eq!((report.span_ns, report.events_per_s), (2_000_000_000, Some(1.0)));
        assert_eq!(report.bursts[2].windows, 3);
    }
}
