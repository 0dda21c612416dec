//! Trades of Binance as CSV: the venue's own public files, and the same trades as a recorder wrote them.
//!
//! 1. `id,price,qty,quote_qty,time,is_buyer_maker[,is_best_match]`, with or without this heading
//!    (<https://github.com/binance/binance-public-data>). Only spot files have the seventh column, only
//!    COIN-M files have `base_qty` instead of `quote_qty` or a symbol such as `BTCUSD_PERP`. When the
//!    buyer is the maker, the aggressor sold.
//! 2. `timestamp,price,quantity,side,tradeId` with the aggressor's side.
//!
//! Times are ms, and microseconds in spot files since 2025: told by the number of digits. Jumps of the
//! trade id are counted: they are trades that the file lacks.

use std::path::Path;
use std::sync::Arc;

use super::lines::{Line, Lines, MAX_ROW_BYTES, Place};
use super::number::Widest;
use super::{HEAD_ROWS, HistoryError, HistoryReader, Progress, name};
use crate::{EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Side, Venue};

/// Heading of the recorder's files.
pub(super) const RECORDER_HEADING: &str = "timestamp,price,quantity,side,tradeId";

/// How the venue's own headings begin.
pub(super) const VENUE_HEADING: &str = "id,price,qty,";

/// A time with more digits than this is in microseconds: until the year 5138 milliseconds have fewer.
const MAX_MILLIS_DIGITS: usize = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Recorder,
    /// With or without the seventh column.
    Venue {
        is_spot: bool,
    },
}

/// The fields of a row that are read.
struct Row<'a> {
    time: &'a [u8],
    id: &'a [u8],
    price: &'a [u8],
    qty: &'a [u8],
    aggressor: Side,
}

impl Layout {
    fn read<'a>(self, line: &Line<'a>) -> Result<Row<'a>, HistoryError> {
        match self {
            Self::Recorder => {
                let [time, price, qty, side, id] = line.fields("5 columns")?;
                let aggressor = match side {
                    b"buy" => Side::Bid,
                    b"sell" => Side::Ask,
                    _ => return Err(line.place.bad("side", side, "buy or sell")),
                };
                Ok(Row { time, id, price, qty, aggressor })
            }
            Self::Venue { is_spot: true } => {
                let [id, price, qty, _, time, maker, _] = line.fields("7 columns")?;
                let aggressor = aggressor(line.place, maker)?;
                Ok(Row { time, id, price, qty, aggressor })
            }
            Self::Venue { is_spot: false } => {
                let [id, price, qty, _, time, maker] = line.fields("6 columns")?;
                let aggressor = aggressor(line.place, maker)?;
                Ok(Row { time, id, price, qty, aggressor })
            }
        }
    }
}

fn aggressor(place: Place<'_>, is_buyer_maker: &[u8]) -> Result<Side, HistoryError> {
    if is_buyer_maker.eq_ignore_ascii_case(b"true") {
        Ok(Side::Ask)
    } else if is_buyer_maker.eq_ignore_ascii_case(b"false") {
        Ok(Side::Bid)
    } else {
        Err(place.bad("is_buyer_maker", is_buyer_maker, "true or false"))
    }
}

/// Reads one file of trades.
pub(super) struct BinanceTradesReader {
    lines: Lines,
    layout: Layout,
    table: Arc<InstrumentTable>,
    has_heading: bool,
    last_id: Option<u64>,
    id_jumps: u64,
    missing_trades: u64,
}

impl BinanceTradesReader {
    pub(super) fn open(path: &Path) -> Result<Self, HistoryError> {
        const NAME: &str = "SYMBOL-trades-YYYY-MM-DD.csv or SYMBOL_….csv";
        let stem = name::stem(path);
        let symbol = stem.split_once("-trades-").or_else(|| stem.split_once('_'));
        let symbol = symbol.map(|(symbol, _)| symbol).filter(|symbol| {
            !symbol.is_empty()
                && symbol.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
        });
        let symbol = symbol.ok_or_else(|| name::lacks(path, "the symbol", NAME))?.to_owned();

        let mut head = Lines::open(path, MAX_ROW_BYTES)?;
        let (mut layout, mut venue, mut has_heading) =
            (Layout::Recorder, Venue::BinanceSpot, false);
        let (mut price, mut qty) = (Widest::default(), Widest::default());
        for _ in 0..HEAD_ROWS {
            let Some(line) = head.next()? else { break };
            if line.place.row == 1 {
                (layout, venue, has_heading) = layout_of(line, &symbol);
                if has_heading {
                    continue;
                }
            }
            let row = layout.read(&line)?;
            price.see(row.price);
            qty.see(row.qty);
        }
        let (price_decimals, qty_decimals) = (price.get(), qty.get());
        let instrument = Instrument { venue, symbol, price_decimals, qty_decimals };
        let mut lines = Lines::open(path, MAX_ROW_BYTES)?;
        if has_heading {
            lines.next()?;
        }
        let table = Arc::new(super::instruments(path, vec![instrument])?);
        let (last_id, id_jumps, missing_trades) = (None, 0, 0);
        Ok(Self { lines, layout, table, has_heading, last_id, id_jumps, missing_trades })
    }
}

/// Layout and venue by the first row, and whether that is a heading.
fn layout_of(line: Line<'_>, symbol: &str) -> (Layout, Venue, bool) {
    if line.bytes == RECORDER_HEADING.as_bytes() {
        return (Layout::Recorder, Venue::BinanceSpot, true);
    }
    let columns = line.bytes.split(|&byte| byte == b',').count();
    let is_spot = columns == 7;
    let is_coinm = line.bytes.split(|&byte| byte == b',').any(|name| name == b"base_qty")
        || symbol.contains("USD_");
    let venue = match (is_spot, is_coinm) {
        (true, _) => Venue::BinanceSpot,
        (false, true) => Venue::BinanceCoinm,
        (false, false) => Venue::BinanceUsdm,
    };
    (Layout::Venue { is_spot }, venue, line.bytes.starts_with(VENUE_HEADING.as_bytes()))
}

impl HistoryReader for BinanceTradesReader {
    fn format(&self) -> &'static str {
        match self.layout {
            Layout::Recorder => "binance-recorder-trades",
            Layout::Venue { .. } => "binance-public-trades",
        }
    }

    fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        let item = self.table.get(InstrumentId(0));
        let Some(line) = self.lines.next()? else { return Ok(false) };
        let place = line.place;
        let row = self.layout.read(&line)?;
        let (unit, expected) = if row.time.len() > MAX_MILLIS_DIGITS {
            (3, "microseconds since the epoch")
        } else {
            (6, "milliseconds since the epoch")
        };
        let ts_venue_ns = place.time_ns("time", row.time, unit, expected)?;
        let id = place.integer::<u64>("id", row.id, "a trade id")?;
        let price = place.price("price", row.price, item.price_decimals)?;
        let qty = place.qty("qty", row.qty, item.qty_decimals)?;
        if let Some(last) = self.last_id.replace(id).filter(|last| last.checked_add(1) != Some(id))
        {
            self.id_jumps += 1;
            self.missing_trades += id.saturating_sub(last).saturating_sub(1);
        }
        out.push(MarketEvent {
            ts_venue_ns,
            ts_sent_ns: 0,
            ts_recv_ns: 0,
            update_id: id,
            instrument: InstrumentId(0),
            body: EventBody::Trade { side: row.aggressor, price, qty, count: 1 },
        });
        Ok(true)
    }

    fn progress(&self) -> Progress {
        self.lines.progress()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("trade_id_jumps", self.id_jumps), ("missing_trades", self.missing_trades)]
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.layout == Layout::Recorder {
            notes.push("the file does not tell the market: read as Binance spot".to_owned());
        } else if !self.has_heading {
            notes.push(
                "the file has no heading: columns and market told by their number".to_owned(),
            );
        }
        if self.id_jumps > 0 {
            let (jumps, missing) = (self.id_jumps, self.missing_trades);
            notes.push(format!("trade ids jump {jumps} times, {missing} trades are missing"));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestFile, drain, file, gzip, read, refusal};
    use super::*;

    fn key(file: &TestFile) -> String {
        super::super::open(file.path()).unwrap().table().get(InstrumentId(0)).key()
    }

    #[test]
    fn the_venues_files_are_told_apart_with_and_without_heading() {
        let usdm = "1,100.5,2,201,1704067200000,true\n2,100.5,1,100.5,1704067200001,false\n";
        let heading = "id,price,qty,quote_qty,time,is_buyer_maker\n";
        let coinm = "id,price,qty,base_qty,time,is_buyer_maker\n";
        let spot = "1,100.5,2,201,1735689600000001,True,True\n";
        for (name, text, expected) in [
            ("BTCUSDT-trades-2024-01-01.csv", usdm.to_owned(), "binance-usdm:BTCUSDT"),
            ("BTCUSDT-trades-2024-01.csv", [heading, usdm].concat(), "binance-usdm:BTCUSDT"),
            ("BTCUSD_PERP-trades-2024-01.csv", [coinm, usdm].concat(), "binance-coinm:BTCUSD_PERP"),
            ("BTCUSD_PERP-trades-2024-01.csv", usdm.to_owned(), "binance-coinm:BTCUSD_PERP"),
            ("BTCUSDT-trades-2025-01-01.csv", spot.to_owned(), "binance-spot:BTCUSDT"),
        ] {
            assert_eq!(key(&file(name, text.as_bytes())), expected, "{name}");
        }
        let (events, _) =
            read(&file("BTCUSDT-trades-2024-01.csv", [heading, usdm].concat().as_bytes()));
        let sides = events.iter().map(|event| match event.body {
            EventBody::Trade { side, .. } => side,
            other => panic!("{other:?}"),
        });
        assert_eq!(
            sides.collect::<Vec<_>>(),
            [Side::Ask, Side::Bid],
            "a maker who buys is sold to"
        );
        let (events, _) = read(&file("BTCUSDT-trades-2025-01-01.csv", spot.as_bytes()));
        assert_eq!(events[0].ts_venue_ns, 1_735_689_600_000_001_000);
    }

    #[test]
    fn jumps_of_the_trade_id_are_counted() {
        let text = format!(
            "{RECORDER_HEADING}\n1,83.29,0.107,buy,10\n2,83.29,1,sell,11\n3,83.3,1,buy,15\n"
        );
        let file = file("LTCUSDT_2025-06-21_06h_trades.csv", text.as_bytes());
        let mut reader = super::super::open(file.path()).unwrap();
        let (events, error) = drain(reader.as_mut());
        assert!(error.is_none(), "{error:?}");
        let body = EventBody::Trade { side: Side::Bid, price: 8_329, qty: 107, count: 1 };
        assert_eq!((events[0].body, events[0].ts_venue_ns), (body, 1_000_000));
        assert_eq!(reader.counters(), [("trade_id_jumps", 1), ("missing_trades", 3)]);
    }

    #[test]
    fn bad_rows_and_names_are_refused() {
        const NAME: &str = "LTCUSDT_x.csv";
        for (bad, says) in [
            ("1,83.29,0.107,buy\n", "5 columns"),
            ("1,83.29,0.107,hold,10\n", "row 2: side"),
            ("1,83.2q,0.107,buy,10\n", "row 2: price"),
            ("1,83.29,-1,buy,10\n", "row 2: qty"),
            ("x,83.29,1,buy,10\n", "row 2: time"),
            ("1,83.29,1,buy,-10\n", "row 2: id"),
            ("1,99999999999999999999,1,buy,10\n", "fits 64 bits"),
        ] {
            let text = format!("{RECORDER_HEADING}\n{bad}");
            let error = refusal(&file(NAME, text.as_bytes()));
            assert!(error.contains(says), "{error}");
        }
        let maker = "1,1,1,1,1,maybe\n";
        assert!(refusal(&file("BTCUSDT-trades-1.csv", maker.as_bytes())).contains("not a format"));
        let maker = "1,1,1,1,1,true\n1,1,1,1,1,maybe\n";
        let error = refusal(&file("BTCUSDT-trades-1.csv", maker.as_bytes()));
        assert!(error.contains("row 2: is_buyer_maker"), "{error}");
        let error = refusal(&file("trades.csv", format!("{RECORDER_HEADING}\n").as_bytes()));
        assert!(error.contains("does not tell the symbol"), "{error}");
        let text = format!("{RECORDER_HEADING}\n{}", "1".repeat(MAX_ROW_BYTES + 1));
        assert!(refusal(&file(NAME, text.as_bytes())).contains("row 2 is longer than"));
        let whole = gzip(format!("{RECORDER_HEADING}\n1,83.29,0.107,buy,10\n").as_bytes());
        assert!(refusal(&file(NAME, &whole[..whole.len() - 9])).contains("ends too early"));
    }
}
