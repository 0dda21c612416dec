//! A log of Bitstamp's order feed: `<receive ms> <event> <JSON>` a line, books kept order by order.
//!
//! Events are `order_created`, `order_changed`, `order_deleted` (`amount` is what remains), `trade`
//! (without side or orders) and `order_book` (the best 20 levels of each side). Rules:
//!
//! 1. The book begins with the first `order_book`; orders seen before it count as far as they go.
//! 2. The feed announces an order before it is matched. An order that crosses the other side is held
//!    back until nothing it crosses is left; what then remains of it joins the book.
//! 3. An order that was live before the log began is unknown: a cancel of it takes its amount from its
//!    level, a fill of it is known only at the next `order_book`.
//! 4. Every `order_book` is compared with the book as deep as both are known. If they agree nothing is
//!    told; if not, the book is seeded anew from it and the mismatch is counted. Levels deeper than any
//!    `order_book` told so far are taken from it without a mismatch.
//! 5. A trade takes as much from two orders of opposite sides, just before it. The aggressor is the
//!    younger one, with the greater id. Trades for which no such pair is found are classified by the
//!    tick rule; both kinds are counted.
//! 6. Numbers of trades are printed doubles; see [`super::number`]. `datetime` has whole seconds and is
//!    that of the order's making, so there is no venue time.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use super::aggressor::TickRule;
use super::lines::{Lines, Place};
use super::number::Widest;
use super::orders::{Order, OrderBook};
use super::{HEAD_ROWS, HistoryError, HistoryReader, MAX_BATCH_EVENTS, Progress, name};
use crate::json::{Cursor, JsonError, scalar};
use crate::{EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Side, Venue};

/// Longest line; an `order_book` of 20 levels has under 2 KiB.
const MAX_LINE_BYTES: usize = 64 * 1024;

/// Amounts have 8 decimals on this venue.
const AMOUNT_DECIMALS: u8 = 8;

/// Most live orders kept.
const MAX_LIVE_ORDERS: usize = 1 << 20;

/// Most orders held back at once; the next one joins the book as it is.
const MAX_HELD_ORDERS: usize = 1024;

/// Most levels a side of an `order_book`.
const MAX_SNAPSHOT_LEVELS: usize = 1000;

/// How many fills are remembered for the trades they belong to.
const RECENT_FILLS: usize = 64;

/// The words after the time.
pub(super) const EVENTS: [&str; 5] =
    ["order_created", "order_changed", "order_deleted", "trade", "order_book"];

/// What an order lost, for a trade to be matched with.
#[derive(Clone, Copy, Debug)]
struct Fill {
    id: u64,
    side: Side,
    price: i64,
    /// `None` for an order whose amount before was never told.
    amount: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    snapshots: u64,
    snapshot_mismatches: u64,
    unknown_cancels: u64,
    unknown_fills: u64,
    held_orders: u64,
    refused_orders: u64,
    paired_trades: u64,
    tick_rule_trades: u64,
}

/// Reads one log.
pub(super) struct BitstampLogReader {
    lines: Lines,
    table: Arc<InstrumentTable>,
    book: OrderBook,
    /// Orders that cross the other side, oldest first.
    held: Vec<(u64, Order)>,
    fills: VecDeque<Fill>,
    /// Worst price of each side told by an `order_book` so far.
    known_to: Option<[i64; 2]>,
    /// Levels of the `order_book` being read, by side, best first.
    snapshot: [Vec<(i64, i64)>; 2],
    tick_rule: TickRule,
    /// What a row made beyond the size of a batch.
    pending: std::vec::IntoIter<MarketEvent>,
    counters: Counters,
}

impl BitstampLogReader {
    pub(super) fn open(path: &Path) -> Result<Self, HistoryError> {
        const NAME: &str = "a pair such as btcusd in the name of the file or its folder";
        let (base, quote) = name::pair(path).ok_or_else(|| name::lacks(path, "the pair", NAME))?;
        let mut head = Lines::open(path, MAX_LINE_BYTES)?;
        let mut price = Widest::default();
        for _ in 0..HEAD_ROWS {
            let Some(line) = head.next()? else { break };
            let (_, event, json) = split(line.place, line.bytes)?;
            // The numbers of trades are noisy, and never have more digits than those of orders.
            if event != b"trade" {
                let members = Members::read(line.place, json)?;
                price.see(members.price);
                for (field, list) in [("bids", members.bids), ("asks", members.asks)] {
                    if !list.is_empty() {
                        for_each_level(line.place, field, list, |text, _| {
                            price.see(text);
                            Ok(())
                        })?;
                    }
                }
            }
        }
        let instrument = Instrument {
            venue: Venue::Bitstamp,
            symbol: base + &quote,
            price_decimals: price.get(),
            qty_decimals: AMOUNT_DECIMALS,
        };
        Ok(Self {
            lines: Lines::open(path, MAX_LINE_BYTES)?,
            table: Arc::new(super::instruments(path, vec![instrument])?),
            book: OrderBook::new(MAX_LIVE_ORDERS),
            held: Vec::new(),
            fills: VecDeque::with_capacity(RECENT_FILLS),
            known_to: None,
            snapshot: [Vec::new(), Vec::new()],
            tick_rule: TickRule::default(),
            pending: Vec::new().into_iter(),
            counters: Counters::default(),
        })
    }
}

/// Time, event and JSON of a line.
fn split<'a>(place: Place<'a>, line: &'a [u8]) -> Result<(i64, &'a [u8], &'a [u8]), HistoryError> {
    let mut parts = line.splitn(3, |&byte| byte == b' ');
    let mut next = || parts.next().unwrap_or_default();
    let (time, event, json) = (next(), next(), next());
    let ts_recv_ns = place.time_ns("time", time, 6, "milliseconds since the epoch")?;
    Ok((ts_recv_ns, event, json))
}

/// The members of a line's object, as text; empty where absent.
#[derive(Clone, Copy, Debug, Default)]
struct Members<'a> {
    price: &'a [u8],
    amount: &'a [u8],
    id: &'a [u8],
    order_type: &'a [u8],
    bids: &'a [u8],
    asks: &'a [u8],
}

impl<'a> Members<'a> {
    fn read(place: Place<'_>, json: &'a [u8]) -> Result<Self, HistoryError> {
        let mut members = Self::default();
        let mut cursor = Cursor::new(json);
        let object = cursor.object::<JsonError>(|key, cursor| {
            let value = cursor.value()?;
            let text = || scalar(value).unwrap_or_default();
            match key {
                b"price" => members.price = text(),
                b"amount" => members.amount = text(),
                b"id" => members.id = text(),
                b"order_type" => members.order_type = text(),
                b"bids" => members.bids = value,
                b"asks" => members.asks = value,
                _ => {}
            }
            Ok(())
        });
        match object.and_then(|()| cursor.end()) {
            Ok(()) => Ok(members),
            Err(_) => Err(place.bad("JSON", json, "an object")),
        }
    }
}

impl HistoryReader for BitstampLogReader {
    fn format(&self) -> &'static str {
        "bitstamp-order-log"
    }

    fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        if self.pending.len() > 0 {
            out.extend(self.pending.by_ref().take(MAX_BATCH_EVENTS));
            return Ok(true);
        }
        let bound = out.len() + MAX_BATCH_EVENTS;
        let decimals = self.table.get(InstrumentId(0)).price_decimals;
        let Some(line) = self.lines.next()? else { return Ok(false) };
        let place = line.place;
        let (ts_recv_ns, event, json) = split(place, line.bytes)?;
        let members = Members::read(place, json)?;
        let mut emit = |update_id, body| {
            let instrument = InstrumentId(0);
            let (ts_venue_ns, ts_sent_ns) = (0, 0);
            out.push(MarketEvent {
                ts_venue_ns,
                ts_sent_ns,
                ts_recv_ns,
                update_id,
                instrument,
                body,
            });
        };
        match event {
            b"order_created" | b"order_changed" | b"order_deleted" => {
                let id = place.integer("id", members.id, "an order id")?;
                let side = match members.order_type {
                    b"0" => Side::Bid,
                    b"1" => Side::Ask,
                    other => return Err(place.bad("order_type", other, "0 or 1")),
                };
                let price = place.fixed("price", members.price, decimals)?;
                let qty = place.qty("amount", members.amount, AMOUNT_DECIMALS)?;
                self.counters.apply(
                    &mut self.book,
                    &mut self.held,
                    &mut self.fills,
                    event,
                    id,
                    Order { side, price, qty },
                );
                if self.known_to.is_some() && self.book.touches() > 0 {
                    self.book.changes(|body| emit(0, body));
                    emit(0, EventBody::BookCommit { conflated: false });
                }
            }
            b"trade" => {
                let id = place.integer("id", members.id, "a trade id")?;
                let price = place.unprinted("price", members.price, decimals)?.mantissa;
                let qty = place.unprinted("amount", members.amount, AMOUNT_DECIMALS)?.mantissa;
                if qty < 0 {
                    return Err(place.bad("amount", members.amount, "no negative amount"));
                }
                let side = aggressor(&mut self.fills, price, qty);
                let side = if let Some(side) = side {
                    self.counters.paired_trades += 1;
                    self.tick_rule.observe(price, side);
                    side
                } else {
                    self.counters.tick_rule_trades += 1;
                    self.tick_rule.classify(price)
                };
                emit(id, EventBody::Trade { side, price, qty, count: 1 });
            }
            b"order_book" => {
                let [bids, asks] = &mut self.snapshot;
                read_levels(place, "bids", members.bids, decimals, bids)?;
                read_levels(place, "asks", members.asks, decimals, asks)?;
                self.verify(|body| emit(0, body));
            }
            other => return Err(place.bad("event", other, "an event of the order feed")),
        }
        if out.len() > bound {
            self.pending = out.split_off(bound).into_iter();
        }
        Ok(true)
    }

    fn progress(&self) -> Progress {
        self.lines.progress()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let counters = &self.counters;
        vec![
            ("snapshots", counters.snapshots),
            ("snapshot_mismatches", counters.snapshot_mismatches),
            ("unknown_cancels", counters.unknown_cancels),
            ("unknown_fills", counters.unknown_fills),
            ("held_orders", counters.held_orders),
            ("refused_orders", counters.refused_orders),
            ("level_shortfalls", self.book.shortfalls()),
            ("trades_with_exact_side", counters.paired_trades),
            ("trades_classified_by_tick_rule", counters.tick_rule_trades),
        ]
    }

    fn notes(&self) -> Vec<String> {
        let counters = &self.counters;
        let mut notes = vec![
            "receive times only: the venue's have whole seconds and are of the order's making"
                .into(),
            "the book knows the best 20 levels and the orders made since the log began".into(),
        ];
        if counters.snapshot_mismatches > 0 {
            notes.push(format!(
                "{} of {} order_book rows contradict the orders; the book was seeded anew",
                counters.snapshot_mismatches, counters.snapshots
            ));
        }
        if counters.paired_trades + counters.tick_rule_trades > 0 {
            notes.push(format!(
                "the side of {} trades follows from their orders, that of {} from the tick rule",
                counters.paired_trades, counters.tick_rule_trades
            ));
        }
        notes
    }
}

fn read_levels(
    place: Place<'_>,
    field: &'static str,
    list: &[u8],
    decimals: u8,
    levels: &mut Vec<(i64, i64)>,
) -> Result<(), HistoryError> {
    levels.clear();
    for_each_level(place, field, list, |price, amount| {
        let price = place.fixed("price", price, decimals)?;
        levels.push((price, place.qty("amount", amount, AMOUNT_DECIMALS)?));
        if levels.len() > MAX_SNAPSHOT_LEVELS {
            return Err(place.bad(field, list, "at most 1000 levels"));
        }
        Ok(())
    })
}

/// Walks a list of pairs of price and amount.
fn for_each_level(
    place: Place<'_>,
    field: &'static str,
    list: &[u8],
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), HistoryError>,
) -> Result<(), HistoryError> {
    let bad = || place.bad(field, list, "a list of pairs of price and amount");
    let mut cursor = Cursor::new(list);
    let mut more = cursor.enter_array().map_err(|_| bad())?;
    while more {
        let (price, amount) = pair(&mut cursor).ok_or_else(bad)?;
        each(price, amount)?;
        more = cursor.next_element().map_err(|_| bad())?;
    }
    Ok(())
}

/// The next element, if it is a pair of scalars.
fn pair<'a>(cursor: &mut Cursor<'a>) -> Option<(&'a [u8], &'a [u8])> {
    if !cursor.enter_array().ok()? {
        return None;
    }
    let first = scalar(cursor.value().ok()?)?;
    if !cursor.next_element().ok()? {
        return None;
    }
    let second = scalar(cursor.value().ok()?)?;
    (!cursor.next_element().ok()?).then_some((first, second))
}

fn crosses(book: &OrderBook, order: Order) -> bool {
    book.best(order.side.opposite()).is_some_and(|best| match order.side {
        Side::Bid => order.price >= best,
        Side::Ask => order.price <= best,
    })
}

impl Counters {
    /// Puts an order into the book, or holds it back while it crosses (rule 2).
    fn place(&mut self, book: &mut OrderBook, held: &mut Vec<(u64, Order)>, id: u64, order: Order) {
        if crosses(book, order) && held.len() < MAX_HELD_ORDERS {
            book.remove(id);
            held.push((id, order));
            self.held_orders += 1;
        } else if !book.put(id, order) {
            self.refused_orders += 1;
        }
    }

    /// Lets the held orders that no longer cross join the book, oldest first.
    fn settle(&mut self, book: &mut OrderBook, held: &mut Vec<(u64, Order)>) {
        held.retain(|&(id, order)| {
            let is_held = crosses(book, order);
            if !is_held && !book.put(id, order) {
                self.refused_orders += 1;
            }
            is_held
        });
    }

    /// One event of an order.
    fn apply(
        &mut self,
        book: &mut OrderBook,
        held: &mut Vec<(u64, Order)>,
        fills: &mut VecDeque<Fill>,
        event: &[u8],
        id: u64,
        order: Order,
    ) {
        let Order { side, price, qty } = order;
        let at = held.iter().position(|&(held_id, _)| held_id == id);
        let before = at.map(|at| held.remove(at).1).or_else(|| book.get(id));
        let is_deleted = event == b"order_deleted";
        // What remains of a cancelled order is told; of a filled one nothing remains.
        let is_fill = event == b"order_changed" || (is_deleted && qty == 0);
        if is_fill {
            if fills.len() == RECENT_FILLS {
                fills.pop_front();
            }
            let amount = before.map(|before| before.qty.saturating_sub(qty));
            fills.push_back(Fill { id, side, price, amount });
        }
        if !is_deleted {
            self.unknown_fills += u64::from(is_fill && before.is_none());
            if qty > 0 {
                self.place(book, held, id, order);
            } else {
                book.remove(id);
            }
        } else if before.is_some() {
            book.remove(id);
        } else if qty > 0 {
            self.unknown_cancels += 1;
            // Where the level is not known there is nothing to take away.
            let known = book.total(side, price).min(qty);
            if known > 0 {
                book.adjust(side, price, -known);
            }
        } else {
            self.unknown_fills += 1;
        }
        self.settle(book, held);
    }
}

/// The aggressor of a trade (rule 5), if the two orders are among the recent fills.
fn aggressor(fills: &mut VecDeque<Fill>, price: i64, qty: i64) -> Option<Side> {
    let latest = |side| {
        fills.iter().rposition(|fill: &Fill| {
            fill.side == side && fill.amount.is_none_or(|amount| amount == qty)
        })
    };
    let (bid, ask) = (latest(Side::Bid)?, latest(Side::Ask)?);
    let (taker, maker) = if fills[bid].id > fills[ask].id { (bid, ask) } else { (ask, bid) };
    if fills[maker].price != price {
        return None;
    }
    let side = fills[taker].side;
    // From the back, so that the first removal does not move the other one.
    fills.remove(bid.max(ask));
    fills.remove(bid.min(ask));
    Some(side)
}

impl BitstampLogReader {
    /// Compares the book with the `order_book` just read, and corrects it (rule 4).
    fn verify(&mut self, mut emit: impl FnMut(EventBody)) {
        self.counters.snapshots += 1;
        let is_first = self.known_to.is_none();
        let mut known_to = self.known_to.unwrap_or([i64::MAX, i64::MIN]);
        let mut is_mismatch = false;
        for side in [Side::Bid, Side::Ask] {
            let told = &self.snapshot[side as usize];
            let Some(&(worst, _)) = told.last() else { continue };
            let limit = &mut known_to[side as usize];
            let mut differing: Vec<(i64, i64)> = self
                .book
                .down_to(side, worst)
                .filter(|(price, _)| !told.iter().any(|(told, _)| told == price))
                .map(|(price, _)| (price, 0))
                .collect();
            differing.extend(
                told.iter().copied().filter(|&(price, qty)| self.book.total(side, price) != qty),
            );
            for (price, qty) in differing {
                is_mismatch |= match side {
                    Side::Bid => price >= *limit,
                    Side::Ask => price <= *limit,
                };
                if qty == 0 {
                    self.book.forget_level(side, price);
                } else {
                    self.book.set(side, price, qty);
                }
            }
            *limit = match side {
                Side::Bid => worst.min(*limit),
                Side::Ask => worst.max(*limit),
            };
        }
        self.known_to = Some(known_to);
        self.counters.settle(&mut self.book, &mut self.held);
        if is_first || is_mismatch {
            self.counters.snapshot_mismatches += u64::from(!is_first);
            self.book.changes(|_| {});
            emit(EventBody::BookBegin);
            for (side, all) in [(Side::Bid, i64::MIN), (Side::Ask, i64::MAX)] {
                for (price, qty) in self.book.down_to(side, all) {
                    emit(EventBody::Level { side, price, qty });
                }
            }
            emit(EventBody::BookCommit { conflated: false });
        } else if self.book.touches() > 0 {
            self.book.changes(&mut emit);
            emit(EventBody::BookCommit { conflated: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestFile, bodies, drain, file, gzip, refusal};
    use super::*;

    const NAME: &str = "btcusd-2015-05-01.log";
    const COMMIT: EventBody = EventBody::BookCommit { conflated: false };

    fn log(lines: &[String]) -> TestFile {
        file(NAME, lines.concat().as_bytes())
    }

    fn order(event: &str, id: u64, order_type: u8, price: &str, amount: &str) -> String {
        format!(
            "1430438404518 order_{event} {{\"price\": \"{price}\", \"amount\": \"{amount}\", \
             \"datetime\": \"1430438404\", \"id\": {id}, \"order_type\": {order_type}}}\n"
        )
    }

    fn book(bids: &str, asks: &str) -> String {
        format!("1430438404518 order_book {{\"bids\": [{bids}], \"asks\": [{asks}]}}\n")
    }

    fn trade(price: &str, amount: &str, id: u64) -> String {
        format!("1430438404645 trade {{\"price\": {price}, \"amount\": {amount}, \"id\": {id}}}\n")
    }

    fn level(side: Side, price: i64, qty: i64) -> EventBody {
        EventBody::Level { side, price, qty }
    }

    const ONE: i64 = 100_000_000;

    fn seed() -> String {
        book(r#"["236.47", "1.0"]"#, r#"["236.50", "2.0"]"#)
    }

    fn seeded() -> [EventBody; 4] {
        let levels = [level(Side::Bid, 23_647, ONE), level(Side::Ask, 23_650, 2 * ONE)];
        [EventBody::BookBegin, levels[0], levels[1], COMMIT]
    }

    fn counter(file: &TestFile, name: &str) -> u64 {
        let mut reader = super::super::open(file.path()).unwrap();
        let (_, error) = drain(reader.as_mut());
        assert!(error.is_none(), "{error:?}");
        reader.counters().into_iter().find(|(known, _)| *known == name).unwrap().1
    }

    #[test]
    fn orders_add_to_levels_from_the_first_snapshot_on() {
        let file = log(&[
            order("created", 1, 0, "236.47", "0.25"),
            seed(),
            order("created", 2, 0, "236.47", "0.5"),
            order("changed", 2, 0, "236.47", "0.25"),
            order("deleted", 2, 0, "236.47", "0.25"),
            // Never seen: what was cancelled leaves its level.
            order("deleted", 9, 1, "236.50", "0.5"),
        ]);
        let mut expected = seeded().to_vec();
        for changed in [
            level(Side::Bid, 23_647, 3 * ONE / 2),
            level(Side::Bid, 23_647, 5 * ONE / 4),
            level(Side::Bid, 23_647, ONE),
            level(Side::Ask, 23_650, 3 * ONE / 2),
        ] {
            expected.extend([changed, COMMIT]);
        }
        assert_eq!(bodies(&file), expected);
        assert_eq!(counter(&file, "unknown_cancels"), 1);
    }

    #[test]
    fn an_order_that_crosses_joins_the_book_only_when_it_no_longer_does() {
        let file = log(&[
            order("created", 1, 1, "236.50", "2.0"),
            seed(),
            order("created", 2, 0, "236.60", "3.0"),
            order("changed", 2, 0, "236.60", "1.0"),
            order("deleted", 1, 1, "236.50", "0.0"),
        ]);
        let mut expected = seeded().to_vec();
        expected.extend([level(Side::Bid, 23_660, ONE), level(Side::Ask, 23_650, 0), COMMIT]);
        assert_eq!(bodies(&file), expected);
        // Changed while it still crossed, so it was held back twice.
        assert_eq!(counter(&file, "held_orders"), 2);
    }

    #[test]
    fn a_snapshot_that_agrees_is_silent_and_one_that_does_not_seeds_the_book_anew() {
        let file = log(&[seed(), seed()]);
        assert_eq!(bodies(&file), seeded());
        assert_eq!(counter(&file, "snapshot_mismatches"), 0);
        let ghost = order("created", 3, 0, "236.48", "1.0");
        let gone = order("deleted", 3, 0, "236.48", "1.0");
        let file = log(&[seed(), ghost, seed(), gone]);
        let mut expected = seeded().to_vec();
        expected.extend([level(Side::Bid, 23_648, ONE), COMMIT]);
        expected.extend(seeded());
        assert_eq!(bodies(&file), expected, "the order of a forgotten level is forgotten");
        assert_eq!(counter(&file, "snapshot_mismatches"), 1);
        // Deeper levels than were ever told are news, not a contradiction.
        let deeper = book(r#"["236.47", "1.0"], ["236.40", "1.0"]"#, r#"["236.50", "2.0"]"#);
        let file = log(&[seed(), deeper]);
        let mut expected = seeded().to_vec();
        expected.extend([level(Side::Bid, 23_640, ONE), COMMIT]);
        assert_eq!(bodies(&file), expected);
    }

    #[test]
    fn the_side_of_a_trade_is_that_of_the_younger_of_its_two_orders() {
        let sell = order("created", 1, 1, "236.50", "2.0");
        let buy = order("created", 2, 0, "236.60", "0.21144331");
        let filled = order("deleted", 2, 0, "236.60", "0.0");
        let changed = order("changed", 1, 1, "236.50", "1.78855669");
        let lines = [sell, buy, filled, changed, trade("236.5", "0.21144330999999999", 7)];
        let file = log(&lines);
        // One decimal is all that the prices of the orders have.
        let (price, qty) = (2_365, 21_144_331);
        let bought = EventBody::Trade { side: Side::Bid, price, qty, count: 1 };
        assert_eq!(bodies(&file), [bought]);
        assert_eq!(counter(&file, "trades_with_exact_side"), 1);
        // At a price that is not the older order's the pair is not the trade's.
        let file = log(&[&lines[..4], &[trade("236.4", "0.21144331", 7)]].concat());
        assert_eq!(counter(&file, "trades_classified_by_tick_rule"), 1);
    }

    #[test]
    fn bad_lines_are_refused() {
        let good = order("created", 1, 0, "236.47", "0.25");
        for (bad, says) in [
            ("x order_created {}\n".to_owned(), "row 2: time"),
            ("1 order_eaten {}\n".to_owned(), "row 2: event"),
            ("1 order_created {\n".to_owned(), "row 2: JSON"),
            ("1 order_created\n".to_owned(), "row 2: JSON"),
            (order("created", 1, 2, "236.47", "0.25"), "row 2: order_type"),
            (order("created", 1, 0, "236.4x", "0.25"), "row 2: price"),
            (order("created", 1, 0, "236.47", "-1"), "row 2: amount"),
            (order("created", 1, 0, "99999999999999999999", "1"), "fits 64 bits"),
            (trade("236.123456", "1", 1), "row 2: price"),
            (trade("236.47", "1", 1).replace("\"id\": 1", "\"id\": -1"), "row 2: id"),
            (book("[1]", ""), "row 2: bids"),
            ("1 order_book {}\n".to_owned(), "row 2: bids"),
            (format!("1 order_created {}\n", "x".repeat(MAX_LINE_BYTES)), "row 2 is longer than"),
        ] {
            let error = refusal(&log(&[good.clone(), bad]));
            assert!(error.contains(says), "{says}: {error}");
        }
        let nameless = file("2015-05-01.log", good.as_bytes());
        assert!(refusal(&nameless).contains("does not tell the pair"));
        let whole = gzip(good.as_bytes());
        assert!(refusal(&file(NAME, &whole[..whole.len() - 9])).contains("ends too early"));
    }
}
