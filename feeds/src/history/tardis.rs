//! Tardis CSV: trades, quotes (also `book_ticker`), incremental L2 books and book snapshots.
//!
//! The columns are those of <https://docs.tardis.dev/downloadable-csv-files/data-types>; the heading
//! tells which kind a file is. Times are microseconds UTC. Rules:
//!
//! 1. `local_timestamp` is the receive time. Where the venue gave no time Tardis repeats it as
//!    `timestamp`: an equal pair means that the venue time is unknown.
//! 2. Rows of `incremental_book_L2` with one `local_timestamp` are one message.
//! 3. A snapshot row after a row that was none starts the book anew.
//! 4. A quote without one of its sides says nothing that a top of book can hold; it is counted.
//! 5. A trade of side `unknown` is classified by the tick rule and counted.

use std::path::Path;
use std::sync::Arc;

use super::aggressor::TickRule;
use super::lines::{Line, Lines, MAX_ROW_BYTES, Place};
use super::number::Widest;
use super::window::Window;
use super::{HEAD_ROWS, HistoryError, HistoryReader, MAX_BATCH_EVENTS, Progress};
use crate::book::Level;
use crate::instrument::MAX_INSTRUMENTS;
use crate::{EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Side, Venue};

/// How every heading of the kind begins.
pub(super) const HEADING: &str = "exchange,symbol,timestamp,local_timestamp,";

const TRADES: &str = "id,side,price,amount";
const QUOTES: &str = "ask_amount,ask_price,bid_price,bid_amount";
const INCREMENTAL: &str = "is_snapshot,side,price,amount";

/// Decimals of a microsecond count that make it nanoseconds.
const MICROS: u8 = 3;

/// Columns before those of the kind.
const COMMON_COLUMNS: usize = 4;

/// Most levels a side of a snapshot file; Tardis makes 5 and 25.
const MAX_SNAPSHOT_LEVELS: usize = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Trades,
    Quotes,
    Incremental,
    Snapshots { levels: usize },
}

impl Kind {
    /// The kind whose columns after [`HEADING`] are these.
    fn of(columns: &str) -> Option<Self> {
        match columns {
            TRADES => return Some(Self::Trades),
            QUOTES => return Some(Self::Quotes),
            INCREMENTAL => return Some(Self::Incremental),
            _ => {}
        }
        let mut names = columns.split(',');
        for level in 0..=MAX_SNAPSHOT_LEVELS {
            let Some(name) = names.next() else {
                return (level > 0).then_some(Self::Snapshots { levels: level });
            };
            let expected = [
                format!("asks[{level}].price"),
                format!("asks[{level}].amount"),
                format!("bids[{level}].price"),
                format!("bids[{level}].amount"),
            ];
            let found = [Some(name), names.next(), names.next(), names.next()];
            if !expected.iter().zip(found).all(|(expected, found)| Some(expected.as_str()) == found)
            {
                return None;
            }
        }
        None
    }

    fn format(self) -> &'static str {
        match self {
            Self::Trades => "tardis-trades",
            Self::Quotes => "tardis-quotes",
            Self::Incremental => "tardis-incremental-book-l2",
            Self::Snapshots { .. } => "tardis-book-snapshot",
        }
    }

    /// Columns of a row, and where among them prices and quantities stand.
    fn columns(self) -> usize {
        match self {
            Self::Trades | Self::Quotes | Self::Incremental => 8,
            Self::Snapshots { levels } => COMMON_COLUMNS + 4 * levels,
        }
    }

    fn is_price(self, column: usize) -> bool {
        match self {
            Self::Trades | Self::Incremental => column == 6,
            Self::Quotes => column == 5 || column == 6,
            Self::Snapshots { .. } => column >= COMMON_COLUMNS && column.is_multiple_of(2),
        }
    }

    fn is_qty(self, column: usize) -> bool {
        match self {
            Self::Trades | Self::Incremental => column == 7,
            Self::Quotes => column == 4 || column == 7,
            Self::Snapshots { .. } => column >= COMMON_COLUMNS && !column.is_multiple_of(2),
        }
    }
}

/// The venue by Tardis's name for it.
fn venue(exchange: &[u8]) -> Option<Venue> {
    Some(match exchange {
        b"binance" => Venue::BinanceSpot,
        b"binance-futures" => Venue::BinanceUsdm,
        b"binance-delivery" => Venue::BinanceCoinm,
        b"coinbase" => Venue::CoinbaseExchange,
        b"kraken" => Venue::Kraken,
        b"bybit" => Venue::BybitLinear,
        b"bybit-spot" => Venue::BybitSpot,
        b"okex" | b"okex-futures" | b"okex-swap" | b"okex-options" => Venue::Okx,
        b"bitstamp" => Venue::Bitstamp,
        b"deribit" => Venue::Deribit,
        _ => return None,
    })
}

/// What is kept for each instrument.
#[derive(Debug, Default)]
struct State {
    window: Window,
    tick_rule: TickRule,
    /// The last book row of it was of a snapshot.
    in_snapshot: bool,
}

/// The message whose rows are being read (rule 2).
#[derive(Clone, Copy)]
struct Open {
    instrument: InstrumentId,
    is_snapshot: bool,
    ts_venue_ns: i64,
    ts_recv_ns: i64,
}

/// Reads one Tardis file.
pub(super) struct TardisReader {
    lines: Lines,
    kind: Kind,
    table: Arc<InstrumentTable>,
    states: Vec<State>,
    open: Option<Open>,
    one_sided_quotes: u64,
    unknown_sides: u64,
}

impl TardisReader {
    pub(super) fn open(path: &Path) -> Result<Self, HistoryError> {
        let mut lines = Lines::open(path, MAX_ROW_BYTES)?;
        let kind = read_heading(&mut lines)?;
        let table = Arc::new(find_instruments(path, kind)?);
        let states = (0..table.len()).map(|_| State::default()).collect();
        let (one_sided_quotes, unknown_sides) = (0, 0);
        Ok(Self { lines, kind, table, states, open: None, one_sided_quotes, unknown_sides })
    }
}

fn read_heading(lines: &mut Lines) -> Result<Kind, HistoryError> {
    const EXPECTED: &str = "the heading of a Tardis trades, quotes, incremental or snapshot file";
    let Some(line) = lines.next()? else {
        return Err(lines.place().bad("heading", b"", EXPECTED));
    };
    let columns = line.bytes.strip_prefix(HEADING.as_bytes());
    let columns = columns.and_then(|columns| std::str::from_utf8(columns).ok());
    columns.and_then(Kind::of).ok_or_else(|| line.place.bad("heading", line.bytes, EXPECTED))
}

/// The instruments of the first rows, with the decimals they have there.
fn find_instruments(path: &Path, kind: Kind) -> Result<InstrumentTable, HistoryError> {
    let mut lines = Lines::open(path, MAX_ROW_BYTES)?;
    lines.next()?;
    let mut found: Vec<(Venue, String, Widest, Widest)> = Vec::new();
    for _ in 0..HEAD_ROWS {
        let Some(line) = lines.next()? else { break };
        let mut fields = line.bytes.split(|&byte| byte == b',');
        let exchange = fields.next().unwrap_or_default();
        let Some(venue) = venue(exchange) else {
            let why = "it is not among the venues purkinje knows";
            let what = format!("Tardis data of {}", super::lines::shown(exchange));
            return Err(HistoryError::Unsupported { path: path.to_owned(), what, why });
        };
        let symbol = fields.next().unwrap_or_default();
        let is_symbol = symbol.iter().all(u8::is_ascii_graphic) && (1..=64).contains(&symbol.len());
        if !is_symbol {
            return Err(line.place.bad("symbol", symbol, "1 to 64 visible ASCII characters"));
        }
        let known = found.iter().position(|(v, s, ..)| *v == venue && s.as_bytes() == symbol);
        let at = known.unwrap_or(found.len());
        if known.is_none() {
            if found.len() == MAX_INSTRUMENTS {
                return Err(line.place.bad("symbol", symbol, "at most 1024 symbols in a file"));
            }
            let symbol = String::from_utf8_lossy(symbol).into_owned();
            found.push((venue, symbol, Widest::default(), Widest::default()));
        }
        let (_, _, price, qty) = &mut found[at];
        for (column, field) in (2..).zip(fields) {
            if kind.is_price(column) {
                price.see(field);
            } else if kind.is_qty(column) {
                qty.see(field);
            }
        }
    }
    let instruments = found.into_iter().map(|(venue, symbol, price, qty)| Instrument {
        venue,
        symbol,
        price_decimals: price.get(),
        qty_decimals: qty.get(),
    });
    super::instruments(path, instruments.collect())
}

/// The first four columns, understood.
struct Head<'a> {
    instrument: InstrumentId,
    decimals: (u8, u8),
    ts_venue_ns: i64,
    ts_recv_ns: i64,
    place: Place<'a>,
}

impl Head<'_> {
    fn event(&self, update_id: u64, body: EventBody) -> MarketEvent {
        MarketEvent {
            ts_venue_ns: self.ts_venue_ns,
            ts_sent_ns: 0,
            ts_recv_ns: self.ts_recv_ns,
            update_id,
            instrument: self.instrument,
            body,
        }
    }

    fn price(&self, text: &[u8]) -> Result<i64, HistoryError> {
        self.place.price("price", text, self.decimals.0)
    }

    fn qty(&self, text: &[u8]) -> Result<i64, HistoryError> {
        self.place.qty("amount", text, self.decimals.1)
    }
}

fn head<'a>(
    table: &InstrumentTable,
    line: &Line<'a>,
    fields: [&[u8]; COMMON_COLUMNS],
) -> Result<Head<'a>, HistoryError> {
    let place = line.place;
    let [exchange, symbol, venue_time, local_time] = fields;
    let instrument = venue(exchange)
        .and_then(|venue| table.lookup(venue, symbol))
        .ok_or_else(|| place.bad("symbol", symbol, "an instrument of the first 65536 rows"))?;
    let expected = "microseconds since the epoch";
    let ts_recv_ns = place.time_ns("local_timestamp", local_time, MICROS, expected)?;
    let ts_venue_ns = place.time_ns("timestamp", venue_time, MICROS, expected)?;
    let ts_venue_ns = if ts_venue_ns == ts_recv_ns { 0 } else { ts_venue_ns };
    let item = table.get(instrument);
    let decimals = (item.price_decimals, item.qty_decimals);
    Ok(Head { instrument, decimals, ts_venue_ns, ts_recv_ns, place })
}

impl HistoryReader for TardisReader {
    fn format(&self) -> &'static str {
        self.kind.format()
    }

    fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        match self.kind {
            Kind::Trades => self.trade(out),
            Kind::Quotes => self.quote(out),
            Kind::Incremental => self.message(out),
            Kind::Snapshots { levels } => self.snapshot(levels, out),
        }
    }

    fn progress(&self) -> Progress {
        self.lines.progress()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        match self.kind {
            Kind::Trades => vec![("trades_classified_by_tick_rule", self.unknown_sides)],
            Kind::Quotes => vec![("one_sided_quotes", self.one_sided_quotes)],
            Kind::Incremental | Kind::Snapshots { .. } => Vec::new(),
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.one_sided_quotes > 0 {
            notes.push(format!(
                "{} quotes have one side only and make no event",
                self.one_sided_quotes
            ));
        }
        if self.unknown_sides > 0 {
            let count = self.unknown_sides;
            notes.push(format!("{count} trades tell no side and were classified by the tick rule"));
        }
        notes
    }
}

impl TardisReader {
    fn trade(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        let Some(line) = self.lines.next()? else { return Ok(false) };
        let [exchange, symbol, venue_time, local_time, id, side, price, amount] =
            line.fields("8 columns")?;
        let head = head(&self.table, &line, [exchange, symbol, venue_time, local_time])?;
        let (price, qty) = (head.price(price)?, head.qty(amount)?);
        let tick_rule = &mut self.states[head.instrument.index()].tick_rule;
        let side = match side {
            b"buy" => Side::Bid,
            b"sell" => Side::Ask,
            b"unknown" | b"" => {
                self.unknown_sides += 1;
                tick_rule.classify(price)
            }
            _ => return Err(head.place.bad("side", side, "buy, sell or unknown")),
        };
        tick_rule.observe(price, side);
        // Some venues number their trades, others name them in other ways.
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok()).unwrap_or(0);
        out.push(head.event(id, EventBody::Trade { side, price, qty, count: 1 }));
        Ok(true)
    }

    fn quote(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        let Some(line) = self.lines.next()? else { return Ok(false) };
        let fields = line.fields::<8>("8 columns")?;
        let [exchange, symbol, venue_time, local_time, ask_qty, ask, bid, bid_qty] = fields;
        let head = head(&self.table, &line, [exchange, symbol, venue_time, local_time])?;
        if [ask_qty, ask, bid, bid_qty].iter().any(|field| field.is_empty()) {
            self.one_sided_quotes += 1;
            return Ok(true);
        }
        let (bid_price, bid_qty) = (head.price(bid)?, head.qty(bid_qty)?);
        let (ask_price, ask_qty) = (head.price(ask)?, head.qty(ask_qty)?);
        out.push(head.event(0, EventBody::Top { bid_price, bid_qty, ask_price, ask_qty }));
        Ok(true)
    }

    /// Reads rows until one of another message has begun, which closes the one before.
    fn message(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        let bound = out.len() + MAX_BATCH_EVENTS;
        while out.len() < bound {
            let Some(line) = self.lines.next()? else {
                let was_open = self.open.is_some();
                self.open.take().into_iter().for_each(|open| out.push(commit(open)));
                return Ok(was_open);
            };
            let fields = line.fields::<8>("8 columns")?;
            let [exchange, symbol, venue_time, local_time, snapshot, side, price, amount] = fields;
            let head = head(&self.table, &line, [exchange, symbol, venue_time, local_time])?;
            let is_snapshot = match snapshot {
                b"true" => true,
                b"false" => false,
                _ => return Err(head.place.bad("is_snapshot", snapshot, "true or false")),
            };
            let side = match side {
                b"bid" => Side::Bid,
                b"ask" => Side::Ask,
                _ => return Err(head.place.bad("side", side, "bid or ask")),
            };
            let level =
                EventBody::Level { side, price: head.price(price)?, qty: head.qty(amount)? };
            let continues = self.open.is_some_and(|open| {
                open.instrument == head.instrument
                    && open.ts_recv_ns == head.ts_recv_ns
                    && open.is_snapshot == is_snapshot
            });
            let mut has_closed = false;
            if !continues {
                if let Some(open) = self.open.take() {
                    out.push(commit(open));
                    has_closed = true;
                }
                let state = &mut self.states[head.instrument.index()];
                if is_snapshot && !state.in_snapshot {
                    out.push(head.event(0, EventBody::BookBegin));
                }
                state.in_snapshot = is_snapshot;
            }
            let Head { instrument, ts_venue_ns, ts_recv_ns, .. } = head;
            self.open = Some(Open { instrument, is_snapshot, ts_venue_ns, ts_recv_ns });
            out.push(head.event(0, level));
            if has_closed {
                break;
            }
        }
        Ok(true)
    }

    fn snapshot(
        &mut self,
        levels: usize,
        out: &mut Vec<MarketEvent>,
    ) -> Result<bool, HistoryError> {
        let Some(line) = self.lines.next()? else { return Ok(false) };
        let mut fields = line.bytes.split(|&byte| byte == b',');
        let wrong_columns = || line.place.bad("row", line.bytes, "the columns of the heading");
        if line.bytes.split(|&byte| byte == b',').count() != self.kind.columns() {
            return Err(wrong_columns());
        }
        let mut next = || fields.next().unwrap_or_default();
        let common = [next(), next(), next(), next()];
        let head = head(&self.table, &line, common)?;
        let window = &mut self.states[head.instrument.index()].window;
        window.begin();
        for _ in 0..levels {
            for side in [Side::Ask, Side::Bid] {
                let (price, amount) = (next(), next());
                // A book with fewer levels leaves the rest of the row empty.
                if price.is_empty() {
                    continue;
                }
                let level = Level { price: head.price(price)?, qty: head.qty(amount)? };
                if !window.push(side, level) {
                    return Err(head.place.bad("price", price, "levels from best to worst"));
                }
            }
        }
        window.finish(|body| out.push(head.event(0, body)));
        Ok(true)
    }
}

fn commit(open: Open) -> MarketEvent {
    MarketEvent {
        ts_venue_ns: open.ts_venue_ns,
        ts_sent_ns: 0,
        ts_recv_ns: open.ts_recv_ns,
        update_id: 0,
        instrument: open.instrument,
        body: EventBody::BookCommit { conflated: false },
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::super::testing::{bodies, file, gzip, read, refusal};
    use super::*;

    fn heading(columns: &str) -> String {
        format!("{HEADING}{columns}\n")
    }

    fn level(side: Side, price: i64, qty: i64) -> EventBody {
        EventBody::Level { side, price, qty }
    }

    const COMMIT: EventBody = EventBody::BookCommit { conflated: false };

    #[test]
    fn a_trade_without_a_venue_time_or_side_says_so() {
        let text = heading(TRADES)
            + "deribit,BTC-PERPETUAL,1582329602000000,1582329602000007,a-1,buy,9682,10\n\
               deribit,BTC-PERPETUAL,1582329603000000,1582329603000000,42,unknown,9681.5,1e1\n";
        let (events, error) = read(&file("trades.csv.gz", &gzip(text.as_bytes())));
        assert!(error.is_none(), "{error:?}");
        assert_eq!(events[0].ts_venue_ns, 1_582_329_602_000_000_000);
        assert_eq!(events[0].ts_recv_ns, 1_582_329_602_000_007_000);
        assert_eq!((events[0].update_id, events[1].update_id), (0, 42));
        assert_eq!(events[1].ts_venue_ns, 0);
        let body = EventBody::Trade { side: Side::Ask, price: 96_815, qty: 10, count: 1 };
        assert_eq!(events[1].body, body);
    }

    #[test]
    fn book_rows_of_one_receive_time_are_one_message_and_a_snapshot_begins_anew() {
        let row = |local, snapshot, side, price, amount| {
            format!("binance,BTCUSDT,5,{local},{snapshot},{side},{price},{amount}\n")
        };
        let text = [
            heading(INCREMENTAL),
            row(10, true, "bid", "100.5", "1"),
            row(10, true, "ask", "101", "2.25"),
            row(11, false, "bid", "100.5", "0"),
            row(11, false, "bid", "100", "3"),
            row(12, false, "ask", "101", "1"),
            row(13, true, "bid", "99", "1"),
        ]
        .concat();
        assert_eq!(
            bodies(&file("book.csv", text.as_bytes())),
            [
                EventBody::BookBegin,
                level(Side::Bid, 1005, 100),
                level(Side::Ask, 1010, 225),
                COMMIT,
                level(Side::Bid, 1005, 0),
                level(Side::Bid, 1000, 300),
                COMMIT,
                level(Side::Ask, 1010, 100),
                COMMIT,
                EventBody::BookBegin,
                level(Side::Bid, 990, 100),
                COMMIT,
            ]
        );
    }

    #[test]
    fn a_long_snapshot_comes_in_bounded_batches_with_one_commit() {
        let mut text = heading(INCREMENTAL);
        for price in 0..3 * MAX_BATCH_EVENTS {
            writeln!(text, "binance,BTCUSDT,5,10,true,bid,{},1", price + 1).unwrap();
        }
        let file = file("book.csv", text.as_bytes());
        let mut reader = super::super::open(file.path()).unwrap();
        let (mut out, mut commits, mut begins) = (Vec::new(), 0, 0);
        while reader.next_batch(&mut out).unwrap() {
            assert!(out.len() <= MAX_BATCH_EVENTS + 2, "{}", out.len());
            commits += out.iter().filter(|event| event.body == COMMIT).count();
            begins += out.iter().filter(|event| event.body == EventBody::BookBegin).count();
            out.clear();
        }
        assert_eq!((begins, commits), (1, 1));
    }

    #[test]
    fn snapshots_of_five_and_twenty_five_levels_become_level_changes() {
        for levels in [5, 25] {
            let names: Vec<String> = (0..levels)
                .map(|i| {
                    format!("asks[{i}].price,asks[{i}].amount,bids[{i}].price,bids[{i}].amount")
                })
                .collect();
            let row = |shift: i64| {
                let cells: Vec<String> =
                    (0..levels).map(|i| format!("{},1,{},2", 200 + shift + i, 100 - i)).collect();
                format!("kraken,XBT/USD,5,1{shift},{}\n", cells.join(","))
            };
            let text = [heading(&names.join(",")), row(0), row(0), row(1)].concat();
            let found = bodies(&file("snapshots.csv", text.as_bytes()));
            assert_eq!(found.len() as i64, 2 + 2 * levels + 3);
            assert_eq!(
                found[found.len() - 3..],
                [level(Side::Ask, 200, 0), level(Side::Ask, 200 + levels, 1), COMMIT]
            );
        }
    }

    #[test]
    fn an_empty_side_of_a_quote_or_a_snapshot_is_no_level() {
        let text = heading(QUOTES) + "okex,BTC-USDT,5,6,,,100,1\nokex,BTC-USDT,5,7,2,101,100,1\n";
        let top = EventBody::Top { bid_price: 100, bid_qty: 1, ask_price: 101, ask_qty: 2 };
        assert_eq!(bodies(&file("quotes.csv", text.as_bytes())), [top]);
        let text = heading("asks[0].price,asks[0].amount,bids[0].price,bids[0].amount")
            + "okex,BTC-USDT,5,6,,,100,1\n";
        let found = bodies(&file("snapshots.csv", text.as_bytes()));
        assert_eq!(found, [EventBody::BookBegin, level(Side::Bid, 100, 1), COMMIT]);
    }

    #[test]
    fn bad_rows_are_named() {
        let good = "binance,BTCUSDT,5,6,1,buy,100,1\n";
        for (bad, says) in [
            ("binance,BTCUSDT,5,6,1,buy,100\n", "8 columns"),
            ("binance,BTCUSDT,5,6,1,hold,100,1\n", "buy, sell or unknown"),
            ("binance,BTCUSDT,5,6,1,buy,1x0,1\n", "a decimal number"),
            ("binance,BTCUSDT,5,6,1,buy,99999999999999999999,1\n", "fits 64 bits"),
            ("binance,BTCUSDT,5,6,1,buy,100,-1\n", "no negative quantity"),
            ("binance,BTCUSDT,x,6,1,buy,100,1\n", "microseconds"),
            ("binance,BTCUSDT,5,99999999999999999999,1,buy,100,1\n", "microseconds"),
        ] {
            let text = [&heading(TRADES), good, bad, good].concat();
            let error = refusal(&file("trades.csv", text.as_bytes()));
            assert!(error.contains("row 3") && error.contains(says), "{error}");
        }
        let long = heading(TRADES) + &"x".repeat(MAX_ROW_BYTES + 1);
        assert!(refusal(&file("trades.csv", long.as_bytes())).contains("row 2 is longer than"));
        let foreign = heading(TRADES) + "bitmex,XBTUSD,5,6,1,buy,100,1\n";
        assert!(refusal(&file("trades.csv", foreign.as_bytes())).contains("Tardis data of bitmex"));
        let odd = heading("id,price");
        assert!(refusal(&file("trades.csv", odd.as_bytes())).contains("heading of a Tardis"));
    }

    #[test]
    fn more_decimals_than_the_head_has_are_refused_not_rounded() {
        let mut text = heading(TRADES);
        for _ in 0..HEAD_ROWS {
            text += "binance,BTCUSDT,5,6,1,buy,100.5,1\n";
        }
        text += "binance,BTCUSDT,5,6,1,buy,100.55,1\n";
        let error = refusal(&file("trades.csv", text.as_bytes()));
        assert!(error.contains(&format!("row {}", HEAD_ROWS + 2)), "{error}");
        assert!(error.contains("no more decimals"), "{error}");
    }

    #[test]
    fn a_torn_file_is_damaged() {
        let mut text = heading(TRADES);
        for i in 0..500u64 {
            let id = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            writeln!(text, "binance,BTCUSDT,5,6,{id},buy,100,1").unwrap();
        }
        let whole = gzip(text.as_bytes());
        let error = refusal(&file("trades.csv.gz", &whole[..whole.len() / 2]));
        assert!(error.contains("ends too early"), "{error}");
    }
}
