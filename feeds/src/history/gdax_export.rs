//! A CSV export of Coinbase (GDAX) WebSocket messages, one message a row, one column a field.
//!
//! The columns that hold lists are quoted text of the form `[['buy', '8041.33', '0'], …]`. Rules:
//!
//! 1. `snapshot` (`asks`, `bids`: price, size) begins a book; `l2update` (`changes`: side, price, size)
//!    is one message of it. A snapshot comes in several batches and is committed with the last.
//! 2. `match` is a trade; its `side` is the maker's, so the aggressor's is the other one. Jumps of the
//!    trade id are counted.
//! 3. `last_match` tells the trade before the subscription once more, `subscriptions` what was
//!    subscribed, `error` what was refused: counted, no event.

use std::path::Path;
use std::sync::Arc;

use super::lines::{Line, Lines, Place};
use super::number::Widest;
use super::{HEAD_ROWS, HistoryError, HistoryReader, MAX_BATCH_EVENTS, Progress, calendar};
use crate::{EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Side, Venue};

/// The heading.
pub(super) const HEADING: &str = "_id,asks,bids,changes,channels,maker_order_id,message,price,\
    product_id,reason,sequence,side,size,taker_order_id,time,trade_id,type";

/// Longest row: a snapshot of both sides was 0.6 MiB long.
const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

const COLUMNS: usize = 17;

/// The columns that are read, by their place in [`HEADING`].
const ASKS: usize = 1;
const BIDS: usize = 2;
const CHANGES: usize = 3;
const PRICE: usize = 7;
const PRODUCT: usize = 8;
const SIDE: usize = 11;
const SIZE: usize = 12;
const TIME: usize = 14;
const TRADE_ID: usize = 15;
const TYPE: usize = 16;

const COMMIT: EventBody = EventBody::BookCommit { conflated: false };

/// Reads one export.
pub(super) struct GdaxExportReader {
    lines: Lines,
    table: Arc<InstrumentTable>,
    /// Levels of a snapshot that wait for the next batch.
    pending: std::vec::IntoIter<MarketEvent>,
    last_trade_id: Option<u64>,
    trade_id_jumps: u64,
    other_messages: u64,
}

impl GdaxExportReader {
    pub(super) fn open(path: &Path) -> Result<Self, HistoryError> {
        let mut head = Lines::open(path, MAX_MESSAGE_BYTES)?;
        head.next()?;
        let mut product: Option<Vec<u8>> = None;
        let (mut price, mut qty) = (Widest::default(), Widest::default());
        for _ in 0..HEAD_ROWS {
            let Some(line) = head.next()? else { break };
            let row = split(&line)?;
            price.see(row[PRICE]);
            qty.see(row[SIZE]);
            for (column, width) in [(ASKS, 2), (BIDS, 2), (CHANGES, 3)] {
                let mut texts = ListTexts::new(row[column]).skip(width - 2);
                while let Some(text) = texts.next() {
                    price.see(text);
                    qty.see(texts.next().unwrap_or_default());
                    texts.by_ref().take(width - 2).for_each(drop);
                }
            }
            if product.is_none() && !row[PRODUCT].is_empty() {
                product = Some(row[PRODUCT].to_vec());
            }
        }
        let product = product.and_then(|product| String::from_utf8(product).ok());
        let symbol = product.filter(|product| product.len() <= 64).ok_or_else(|| {
            head.place().bad("product_id", b"", "a product in the first 65536 rows")
        })?;
        let instrument = Instrument {
            venue: Venue::CoinbaseExchange,
            symbol,
            price_decimals: price.get(),
            qty_decimals: qty.get(),
        };
        let mut lines = Lines::open(path, MAX_MESSAGE_BYTES)?;
        lines.next()?;
        Ok(Self {
            lines,
            table: Arc::new(super::instruments(path, vec![instrument])?),
            pending: Vec::new().into_iter(),
            last_trade_id: None,
            trade_id_jumps: 0,
            other_messages: 0,
        })
    }
}

/// The columns of a row, quotes around a column taken off.
fn split<'a>(line: &Line<'a>) -> Result<[&'a [u8]; COLUMNS], HistoryError> {
    const EXPECTED: &str = "17 columns";
    let wrong = || line.place.bad("row", line.bytes, EXPECTED);
    let mut columns = [&b""[..]; COLUMNS];
    let mut rest = line.bytes;
    for (index, column) in columns.iter_mut().enumerate() {
        let end;
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            let close = quoted.iter().position(|&byte| byte == b'"').ok_or_else(wrong)?;
            *column = &quoted[..close];
            end = close + 2;
        } else {
            end = rest.iter().position(|&byte| byte == b',').unwrap_or(rest.len());
            *column = &rest[..end];
        }
        let is_last = index == COLUMNS - 1;
        match rest.get(end) {
            Some(b',') if !is_last => rest = &rest[end + 1..],
            None if is_last => {}
            _ => return Err(wrong()),
        }
    }
    Ok(columns)
}

/// The single-quoted texts of a list in Python's notation, brackets ignored.
struct ListTexts<'a> {
    rest: &'a [u8],
}

impl<'a> ListTexts<'a> {
    fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// Whether nothing but the end of the list is left.
    fn is_over(&self) -> bool {
        self.rest.iter().all(|byte| b"[], ".contains(byte))
    }
}

impl<'a> Iterator for ListTexts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let open = self.rest.iter().position(|byte| !b"[], ".contains(byte))?;
        let text = self.rest[open..].strip_prefix(b"'")?;
        let close = text.iter().position(|&byte| byte == b'\'')?;
        self.rest = &text[close + 1..];
        Some(&text[..close])
    }
}

/// What the rows of a book and of trades share.
struct Context<'a> {
    place: Place<'a>,
    ts_venue_ns: i64,
    price_decimals: u8,
    qty_decimals: u8,
}

impl Context<'_> {
    fn event(&self, update_id: u64, body: EventBody) -> MarketEvent {
        MarketEvent {
            ts_venue_ns: self.ts_venue_ns,
            ts_sent_ns: 0,
            ts_recv_ns: 0,
            update_id,
            instrument: InstrumentId(0),
            body,
        }
    }

    fn level(&self, side: Side, price: &[u8], size: &[u8]) -> Result<MarketEvent, HistoryError> {
        let price = self.place.price("price", price, self.price_decimals)?;
        let qty = self.place.qty("size", size, self.qty_decimals)?;
        Ok(self.event(0, EventBody::Level { side, price, qty }))
    }
}

fn side(place: Place<'_>, text: &[u8]) -> Result<Side, HistoryError> {
    match text {
        b"buy" => Ok(Side::Bid),
        b"sell" => Ok(Side::Ask),
        _ => Err(place.bad("side", text, "buy or sell")),
    }
}

impl HistoryReader for GdaxExportReader {
    fn format(&self) -> &'static str {
        "gdax-message-export"
    }

    fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        if self.pending.len() > 0 {
            out.extend(self.pending.by_ref().take(MAX_BATCH_EVENTS));
            return Ok(true);
        }
        let item = self.table.get(InstrumentId(0));
        let Some(line) = self.lines.next()? else { return Ok(false) };
        let place = line.place;
        let row = split(&line)?;
        let is_book = matches!(row[TYPE], b"snapshot" | b"l2update");
        if (is_book || row[TYPE] == b"match") && row[PRODUCT] != item.symbol.as_bytes() {
            return Err(place.bad("product_id", row[PRODUCT], "the one product of the file"));
        }
        let mut context = Context {
            place,
            ts_venue_ns: 0,
            price_decimals: item.price_decimals,
            qty_decimals: item.qty_decimals,
        };
        // Snapshots have no time.
        if !row[TIME].is_empty() {
            context.ts_venue_ns = calendar::iso8601_ns(row[TIME])
                .ok_or_else(|| place.bad("time", row[TIME], "ISO 8601 with its zone"))?;
        }
        match row[TYPE] {
            b"snapshot" => {
                let mut events = vec![context.event(0, EventBody::BookBegin)];
                for (side, column, field) in [(Side::Bid, BIDS, "bids"), (Side::Ask, ASKS, "asks")]
                {
                    let mut texts = ListTexts::new(row[column]);
                    while let Some(price) = texts.next() {
                        let size = texts.next().unwrap_or_default();
                        events.push(context.level(side, price, size)?);
                    }
                    if !texts.is_over() {
                        return Err(place.bad(field, texts.rest, "pairs of price and size"));
                    }
                }
                events.push(context.event(0, COMMIT));
                self.pending = events.into_iter();
                out.extend(self.pending.by_ref().take(MAX_BATCH_EVENTS));
            }
            b"l2update" => {
                let mut texts = ListTexts::new(row[CHANGES]);
                while let Some(text) = texts.next() {
                    let side = side(place, text)?;
                    let price = texts.next().unwrap_or_default();
                    let size = texts.next().unwrap_or_default();
                    out.push(context.level(side, price, size)?);
                }
                if !texts.is_over() {
                    let found = texts.rest;
                    return Err(place.bad("changes", found, "triples of side, price and size"));
                }
                out.push(context.event(0, COMMIT));
            }
            b"match" => {
                // The script that exported them made numbers of them: `41766820.0`.
                let id = place.fixed("trade_id", row[TRADE_ID], 0)?;
                let id = u64::try_from(id)
                    .map_err(|_| place.bad("trade_id", row[TRADE_ID], "no negative trade id"))?;
                let last = self.last_trade_id.replace(id);
                self.trade_id_jumps += u64::from(last.is_some_and(|last| last + 1 != id));
                let side = side(place, row[SIDE])?.opposite();
                let price = place.price("price", row[PRICE], context.price_decimals)?;
                let qty = place.qty("size", row[SIZE], context.qty_decimals)?;
                out.push(context.event(id, EventBody::Trade { side, price, qty, count: 1 }));
            }
            b"last_match" | b"subscriptions" | b"error" => self.other_messages += 1,
            other => return Err(place.bad("type", other, "a message type of the feed")),
        }
        Ok(true)
    }

    fn progress(&self) -> Progress {
        self.lines.progress()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("trade_id_jumps", self.trade_id_jumps), ("other_messages", self.other_messages)]
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.other_messages > 0 {
            let count = self.other_messages;
            notes
                .push(format!("{count} messages (last_match, subscriptions, error) make no event"));
        }
        if self.trade_id_jumps > 0 {
            notes.push(format!("trade ids jump {} times", self.trade_id_jumps));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bodies, drain, file, gzip, refusal};
    use super::*;

    fn row(columns: &[(usize, &str)]) -> String {
        let mut cells = [""; COLUMNS].map(str::to_owned);
        for &(column, text) in columns {
            cells[column] =
                if text.contains(',') { format!("\"{text}\"") } else { text.to_owned() };
        }
        cells.join(",") + "\n"
    }

    fn export(rows: &[String]) -> Vec<u8> {
        format!("{HEADING}\n{}", rows.concat()).into_bytes()
    }

    fn snapshot(bids: &str) -> String {
        let asks = "[['8042.91', '10.5'], ['8043', '1']]";
        row(&[(ASKS, asks), (BIDS, bids), (PRODUCT, "BTC-USD"), (TYPE, "snapshot")])
    }

    fn update(changes: &str) -> String {
        let time = (TIME, "2018-04-17T00:55:04.358Z");
        row(&[(CHANGES, changes), (PRODUCT, "BTC-USD"), time, (TYPE, "l2update")])
    }

    fn matched(id: &str) -> String {
        row(&[
            (PRICE, "8042.91000000"),
            (PRODUCT, "BTC-USD"),
            (SIDE, "sell"),
            (SIZE, "0.65350000"),
            (TIME, "2018-04-17T00:54:57.887000Z"),
            (TRADE_ID, id),
            (TYPE, "match"),
        ])
    }

    #[test]
    fn messages_become_books_and_trades() {
        let level = |side, price, qty| EventBody::Level { side, price, qty };
        let commit = EventBody::BookCommit { conflated: false };
        let rows = [
            snapshot("[['8042.9', '2.25']]"),
            row(&[(TYPE, "subscriptions")]),
            update("[['buy', '8042.90000000', '0'], ['sell', '8043', '0.5']]"),
            matched("41766820.0"),
            matched("41766822.0"),
        ];
        let file = file("export.csv", &export(&rows));
        let trade = EventBody::Trade { side: Side::Bid, price: 804_291, qty: 6_535, count: 1 };
        assert_eq!(
            bodies(&file),
            [
                EventBody::BookBegin,
                level(Side::Bid, 804_290, 22_500),
                level(Side::Ask, 804_291, 105_000),
                level(Side::Ask, 804_300, 10_000),
                commit,
                level(Side::Bid, 804_290, 0),
                level(Side::Ask, 804_300, 5_000),
                commit,
                trade,
                trade,
            ]
        );
        let mut reader = super::super::open(file.path()).unwrap();
        let (events, _) = drain(reader.as_mut());
        assert_eq!((events[0].ts_venue_ns, events[8].update_id), (0, 41_766_820));
        assert_eq!(reader.counters(), [("trade_id_jumps", 1), ("other_messages", 1)]);
    }

    #[test]
    fn a_long_snapshot_comes_in_bounded_batches() {
        let bids: Vec<String> =
            (1..=3 * MAX_BATCH_EVENTS).map(|price| format!("['{price}', '1']")).collect();
        let file = file("export.csv", &export(&[snapshot(&format!("[{}]", bids.join(", ")))]));
        let mut reader = super::super::open(file.path()).unwrap();
        let (mut out, mut levels) = (Vec::new(), 0);
        while reader.next_batch(&mut out).unwrap() {
            assert!(out.len() <= MAX_BATCH_EVENTS + 1, "{}", out.len());
            levels += out.iter().filter(|e| matches!(e.body, EventBody::Level { .. })).count();
            out.clear();
        }
        assert_eq!(levels, 3 * MAX_BATCH_EVENTS + 2);
    }

    #[test]
    fn bad_rows_are_refused() {
        for (bad, says) in [
            ("1,2\n".to_owned(), "17 columns"),
            (update("[['buy', '1']]"), "row 3: size"),
            (update("[['bid', '1', '1']]"), "row 3: side"),
            (update("[['buy', '1', '1'], x]"), "row 3: changes"),
            (update("[['buy', '1', '1'], ['buy"), "row 3: changes"),
            (snapshot("[['1', '-1']]"), "row 3: size"),
            (matched("x"), "row 3: trade_id"),
            (matched("-1"), "row 3: trade_id"),
            (matched("1").replace("2018", "in"), "row 3: time"),
            (matched("1").replace("BTC-USD", "ETH-USD"), "row 3: product_id"),
            (matched("1").replace("match", "mtch"), "row 3: type"),
            (matched("1").replace("8042.91", "99999999999999999999"), "fits 64 bits"),
        ] {
            let error = refusal(&file("export.csv", &export(&[matched("0"), bad])));
            assert!(error.contains(says), "{error}");
        }
        let empty = file("export.csv", &export(&[]));
        assert!(refusal(&empty).contains("product_id"));
        let whole = gzip(&export(&[matched("0"), matched("1")]));
        assert!(refusal(&file("export.csv", &whole[..whole.len() - 9])).contains("ends too early"));
        let long = export(&["x".repeat(MAX_MESSAGE_BYTES + 1)]);
        assert!(refusal(&file("export.csv", &long)).contains("row 2 is longer than"));
    }
}
