//! The wire format of Binance USD-M futures, written by hand into reused buffers.
//!
//! Shapes follow recorded frames: combined-stream envelope, prices and quantities as strings with
//! the instrument's decimals, `E` and `T` in milliseconds. The `@oracle` stream is our own and
//! exists on the simulator only.
//! Invariant: nothing here allocates once the buffer has grown to the largest frame.

use super::config::Listing;
use super::ladder::{LEVELS, Ladder};
use crate::Side;

/// The four streams of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StreamKind {
    /// Changed levels since the previous frame of this stream.
    Depth,
    /// Best bid and offer.
    BookTicker,
    /// One trade.
    Trade,
    /// The best achievable forecast, to score against.
    Oracle,
}

impl StreamKind {
    /// All kinds, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::Depth, Self::BookTicker, Self::Trade, Self::Oracle];

    /// The part of the stream's name that follows the `@` behind the symbol.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Depth => "depth@0ms",
            Self::BookTicker => "bookTicker",
            Self::Trade => "trade",
            Self::Oracle => "oracle",
        }
    }
}

/// One frame as the venue would send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SimFrame<'a> {
    /// Market time of the frame, ns since the epoch.
    pub ts_ns: i64,
    /// Place of the symbol in the configuration.
    pub symbol: usize,
    /// Which stream it belongs to.
    pub kind: StreamKind,
    /// The text on a combined-stream connection: `{"stream":…,"data":…}`.
    pub json: &'a [u8],
    /// The text on a raw-stream connection: the value of `data` alone.
    pub data: &'a [u8],
}

/// Where one frame lies in an [`Outbox`].
#[derive(Clone, Copy, Debug)]
struct Span {
    kind: StreamKind,
    start: usize,
    data: usize,
    end: usize,
}

/// Most frames that one event of one instrument causes: trade, top of book, depth.
const MAX_SPANS: usize = 4;

/// The frames of one event, rendered and waiting to be taken.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    text: Vec<u8>,
    spans: [Option<Span>; MAX_SPANS],
    written: usize,
    taken: usize,
    symbol: usize,
    ts_ns: i64,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        // A depth frame has at most 2 × 2 × LEVELS changes of some 30 bytes.
        let text = Vec::with_capacity(4 * LEVELS * 40);
        Self { text, spans: [None; MAX_SPANS], written: 0, taken: 0, symbol: 0, ts_ns: 0 }
    }

    /// Forgets the old frames; the next ones belong to an event of `symbol` at `ts_ns`.
    pub(crate) fn begin(&mut self, symbol: usize, ts_ns: i64) {
        self.text.clear();
        (self.written, self.taken, self.symbol, self.ts_ns) = (0, 0, symbol, ts_ns);
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.taken == self.written
    }

    /// Bytes that fit without another allocation.
    #[cfg(test)]
    pub(crate) fn room(&self) -> usize {
        self.text.capacity()
    }

    /// The next frame not yet taken.
    pub(crate) fn take(&mut self) -> Option<SimFrame<'_>> {
        let span = *self.spans.get(self.taken)?;
        let span = span.filter(|_| self.taken < self.written)?;
        self.taken += 1;
        Some(SimFrame {
            ts_ns: self.ts_ns,
            symbol: self.symbol,
            kind: span.kind,
            json: &self.text[span.start..span.end],
            data: &self.text[span.data..span.end - 1],
        })
    }

    /// Writes one frame: the envelope here, its data by `body`.
    pub(crate) fn push(
        &mut self,
        names: &Names,
        kind: StreamKind,
        body: impl FnOnce(&mut Vec<u8>, i64),
    ) {
        debug_assert!(self.written < MAX_SPANS, "an event caused more than {MAX_SPANS} frames");
        let start = self.text.len();
        put(&mut self.text, b"{\"stream\":\"");
        put(&mut self.text, names.lower.as_bytes());
        put(&mut self.text, b"@");
        put(&mut self.text, kind.suffix().as_bytes());
        put(&mut self.text, b"\",\"data\":");
        let data = self.text.len();
        body(&mut self.text, self.ts_ns.div_euclid(1_000_000));
        put(&mut self.text, b"}");
        self.spans[self.written] = Some(Span { kind, start, data, end: self.text.len() });
        self.written += 1;
    }
}

/// Both spellings of a symbol.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    /// As in data frames and REST requests.
    pub(crate) upper: String,
    /// As in stream names.
    pub(crate) lower: String,
}

impl Names {
    pub(crate) fn new(symbol: &str) -> Self {
        Self { upper: symbol.to_owned(), lower: symbol.to_ascii_lowercase() }
    }
}

/// The update ids of a depth frame: its first and last change, and the last of the frame before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DepthIds {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) previous: u64,
}

/// `depthUpdate`: what changed between two ladders.
pub(crate) fn depth(
    out: &mut Vec<u8>,
    ms: i64,
    names: &Names,
    listing: &Listing,
    ids: DepthIds,
    (new, old): (&Ladder, &Ladder),
) {
    event_head(out, b"depthUpdate", ms, names);
    field_int(out, b",\"U\":", ids.first as i64);
    field_int(out, b",\"u\":", ids.last as i64);
    field_int(out, b",\"pu\":", ids.previous as i64);
    for (key, side) in [(b",\"b\":[", Side::Bid), (b",\"a\":[", Side::Ask)] {
        put(out, key);
        let start = out.len();
        new.changes_since(old, side, |tick, lots| {
            level(out, start, listing, tick, lots);
        });
        put(out, b"]");
    }
    put(out, b"}");
}

/// `bookTicker`.
pub(crate) fn book_ticker(
    out: &mut Vec<u8>,
    ms: i64,
    names: &Names,
    listing: &Listing,
    update_id: u64,
    ladder: &Ladder,
) {
    put(out, b"{\"e\":\"bookTicker\"");
    field_int(out, b",\"u\":", update_id as i64);
    put(out, b",\"s\":\"");
    put(out, names.upper.as_bytes());
    let (bid, ask) = (ladder.tick(Side::Bid, 0), ladder.tick(Side::Ask, 0));
    put(out, b"\",\"b\":\"");
    put_decimal(out, bid * listing.tick_mantissa, listing.price_decimals);
    put(out, b"\",\"B\":\"");
    put_decimal(out, ladder.lots(Side::Bid, 0), listing.qty_decimals);
    put(out, b"\",\"a\":\"");
    put_decimal(out, ask * listing.tick_mantissa, listing.price_decimals);
    put(out, b"\",\"A\":\"");
    put_decimal(out, ladder.lots(Side::Ask, 0), listing.qty_decimals);
    field_int(out, b"\",\"T\":", ms);
    field_int(out, b",\"E\":", ms);
    put(out, b"}");
}

/// A trade to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Print {
    pub(crate) id: u64,
    pub(crate) aggressor: Side,
    pub(crate) tick: i64,
    pub(crate) lots: i64,
}

/// `trade`; `m` says that the buyer was the maker, i.e. that the seller aggressed.
pub(crate) fn trade(out: &mut Vec<u8>, ms: i64, names: &Names, listing: &Listing, print: Print) {
    event_head(out, b"trade", ms, names);
    field_int(out, b",\"t\":", print.id as i64);
    put(out, b",\"p\":\"");
    put_decimal(out, print.tick * listing.tick_mantissa, listing.price_decimals);
    put(out, b"\",\"q\":\"");
    put_decimal(out, print.lots, listing.qty_decimals);
    put(out, b"\",\"X\":\"MARKET\",\"m\":");
    put(out, if print.aggressor == Side::Ask { b"true}" } else { b"false}" });
}

/// `oracle`: the probability is a JSON number of nine decimals, never exactly 0 or 1.
pub(crate) fn oracle(out: &mut Vec<u8>, ms: i64, names: &Names, horizon_ms: u32, p_up: f64) {
    event_head(out, b"oracle", ms, names);
    field_int(out, b",\"h\":", i64::from(horizon_ms));
    put(out, b",\"p\":");
    put_decimal(out, ((p_up * 1e9).round() as i64).clamp(1, 999_999_999), 9);
    put(out, b"}");
}

/// REST depth snapshot: `levels` on either side at most, best first.
pub(crate) fn snapshot(
    out: &mut Vec<u8>,
    ms: i64,
    listing: &Listing,
    last_update_id: u64,
    levels: usize,
    ladder: &Ladder,
) {
    field_int(out, b"{\"lastUpdateId\":", last_update_id as i64);
    field_int(out, b",\"E\":", ms);
    field_int(out, b",\"T\":", ms);
    for (key, side) in [(&b",\"bids\":["[..], Side::Bid), (&b",\"asks\":["[..], Side::Ask)] {
        put(out, key);
        let start = out.len();
        let held = (0..LEVELS).filter(|&d| ladder.lots(side, d) > 0);
        for d in held.take(levels) {
            level(out, start, listing, ladder.tick(side, d), ladder.lots(side, d));
        }
        put(out, b"]");
    }
    put(out, b"}");
}

/// One symbol of the REST `exchangeInfo`.
pub(crate) fn listing_info(out: &mut Vec<u8>, names: &Names, listing: &Listing) {
    put(out, b"{\"symbol\":\"");
    put(out, names.upper.as_bytes());
    put(out, b"\",\"pair\":\"");
    put(out, names.upper.as_bytes());
    put(out, b"\",\"contractType\":\"PERPETUAL\",\"status\":\"TRADING\"");
    field_int(out, b",\"pricePrecision\":", i64::from(listing.price_decimals));
    field_int(out, b",\"quantityPrecision\":", i64::from(listing.qty_decimals));
    put(out, b",\"filters\":[{\"filterType\":\"PRICE_FILTER\",\"minPrice\":\"");
    put_decimal(out, listing.tick_mantissa, listing.price_decimals);
    put(out, b"\",\"maxPrice\":\"");
    put_decimal(out, listing.tick_mantissa * listing.start_tick * 100, listing.price_decimals);
    put(out, b"\",\"tickSize\":\"");
    put_decimal(out, listing.tick_mantissa, listing.price_decimals);
    put(out, b"\"},{\"filterType\":\"LOT_SIZE\",\"minQty\":\"");
    put_decimal(out, 1, listing.qty_decimals);
    put(out, b"\",\"maxQty\":\"");
    put_decimal(out, (listing.typical_lots * 1e4) as i64, listing.qty_decimals);
    put(out, b"\",\"stepSize\":\"");
    put_decimal(out, 1, listing.qty_decimals);
    put(out, b"\"}]}");
}

/// `["price","quantity"]`, with a comma unless it is the first since `start`.
fn level(out: &mut Vec<u8>, start: usize, listing: &Listing, tick: i64, lots: i64) {
    put(out, if out.len() == start { b"[\"" } else { b",[\"" });
    put_decimal(out, tick * listing.tick_mantissa, listing.price_decimals);
    put(out, b"\",\"");
    put_decimal(out, lots, listing.qty_decimals);
    put(out, b"\"]");
}

/// The fields most events begin with.
fn event_head(out: &mut Vec<u8>, event: &[u8], ms: i64, names: &Names) {
    put(out, b"{\"e\":\"");
    put(out, event);
    field_int(out, b"\",\"E\":", ms);
    field_int(out, b",\"T\":", ms);
    put(out, b",\"s\":\"");
    put(out, names.upper.as_bytes());
    put(out, b"\"");
}

pub(crate) fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
}

pub(crate) fn field_int(out: &mut Vec<u8>, key: &[u8], value: i64) {
    put(out, key);
    put_decimal(out, value, 0);
}

/// A fixed-point number: `mantissa` × 10^-`decimals`, all decimals written.
fn put_decimal(out: &mut Vec<u8>, mantissa: i64, decimals: u8) {
    if mantissa < 0 {
        out.push(b'-');
    }
    // 19 digits of a u64, the point, and zeros up to 15 decimals fit.
    let mut digits = [b'0'; 24];
    let (mut at, mut left) = (digits.len(), mantissa.unsigned_abs());
    let point = digits.len() - usize::from(decimals);
    while left > 0 || at > point {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
    }
    if at == point {
        out.push(b'0');
    }
    put(out, &digits[at..point]);
    if decimals > 0 {
        out.push(b'.');
        put(out, &digits[point..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(mantissa: i64, decimals: u8) -> String {
        let mut out = Vec::new();
        put_decimal(&mut out, mantissa, decimals);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_carry_all_their_decimals() {
        let cases = [
            (6_180_020, 2, "61800.20"),
            (14, 3, "0.014"),
            (0, 3, "0.000"),
            (0, 0, "0"),
            (300, 0, "300"),
            (-5, 1, "-0.5"),
            (500_000_000, 9, "0.500000000"),
            (i64::MAX, 0, "9223372036854775807"),
            (i64::MAX, 15, "9223.372036854775807"),
        ];
        for (mantissa, decimals, expected) in cases {
            assert_eq!(decimal(mantissa, decimals), expected);
        }
    }

    #[test]
    fn frames_are_spelled_as_the_venue_spells_them() {
        let (names, listing) = (Names::new("BTCUSDT"), Listing::of_symbol(0));
        let mut ladder = Ladder::new(618_002);
        ladder.set(Side::Bid, 0, 2_507);
        ladder.set(Side::Ask, 0, 2_510);
        let mut old = ladder.clone();
        old.set(Side::Bid, 3, 14);
        old.set(Side::Ask, 0, 9);
        let mut outbox = Outbox::new();
        outbox.begin(0, 1_723_161_256_313_000_000);
        let ids = DepthIds { first: 5, last: 9, previous: 3 };
        outbox.push(&names, StreamKind::Depth, |out, ms| {
            depth(out, ms, &names, &listing, ids, (&ladder, &old));
        });
        outbox.push(&names, StreamKind::BookTicker, |out, ms| {
            book_ticker(out, ms, &names, &listing, 5_123_107_839_020, &ladder);
        });
        let print = Print { id: 5_266_583_935, aggressor: Side::Bid, tick: 618_003, lots: 6 };
        outbox.push(&names, StreamKind::Trade, |out, ms| {
            trade(out, ms, &names, &listing, print);
        });
        outbox.push(&names, StreamKind::Oracle, |out, ms| {
            oracle(out, ms, &names, 1_000, 0.612_345_678);
        });
        let expected = [
            r#"{"stream":"btcusdt@depth@0ms","data":{"e":"depthUpdate","E":1723161256313,"T":1723161256313,"s":"BTCUSDT","U":5,"u":9,"pu":3,"b":[["61799.90","0.001"]],"a":[["61800.30","2.510"]]}}"#,
            // Letter for letter the second frame of the recorded session `btcusdt_20240808.gz`.
            r#"{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":5123107839020,"s":"BTCUSDT","b":"61800.20","B":"2.507","a":"61800.30","A":"2.510","T":1723161256313,"E":1723161256313}}"#,
            // The third one but for its time.
            r#"{"stream":"btcusdt@trade","data":{"e":"trade","E":1723161256313,"T":1723161256313,"s":"BTCUSDT","t":5266583935,"p":"61800.30","q":"0.006","X":"MARKET","m":false}}"#,
            r#"{"stream":"btcusdt@oracle","data":{"e":"oracle","E":1723161256313,"T":1723161256313,"s":"BTCUSDT","h":1000,"p":0.612345678}}"#,
        ];
        for text in expected {
            let frame = outbox.take().unwrap();
            assert_eq!(std::str::from_utf8(frame.json).unwrap(), text);
            assert!(text.ends_with(&format!("\"data\":{}}}", String::from_utf8_lossy(frame.data))));
        }
        assert!(outbox.take().is_none() && outbox.is_drained());
    }

    #[test]
    fn a_snapshot_lists_held_levels_best_first_up_to_the_limit() {
        let mut ladder = Ladder::new(618_002);
        ladder.set(Side::Ask, 1, 0);
        let mut out = Vec::new();
        snapshot(&mut out, 17, &Listing::of_symbol(0), 42, 2, &ladder);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            concat!(
                r#"{"lastUpdateId":42,"E":17,"T":17,"#,
                r#""bids":[["61800.20","0.001"],["61800.10","0.001"]],"#,
                r#""asks":[["61800.30","0.001"],["61800.50","0.001"]]}"#
            )
        );
    }
}
