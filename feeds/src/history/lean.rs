//! Lean tick files: equity quotes folded to an NBBO, equity trades, foreign exchange quotes.
//!
//! The columns are those of Lean's `Data/readme.md` files. Equity files have times in ms since
//! midnight in New York and prices in USD × 10000; foreign exchange files have ms since midnight UTC,
//! perhaps with a fraction, and decimal prices. The date and the symbol are in the file's name. Rules:
//!
//! 1. A quote row updates one side of one exchange; the other side's price and size are 0. A size of 0
//!    with a price withdraws that exchange's quote.
//! 2. The files lack most withdrawals: an exchange that stopped quoting seems to quote for hours. So a
//!    quote stands until its exchange replaces it *or a newer quote of the other side crosses it*, which
//!    could not stand against it. Such quotes are dropped and counted.
//! 3. The NBBO is the best price of each side over the standing quotes, with the sizes that exchanges
//!    show at it summed. It is emitted whenever it changes and both sides are quoted. By rule 2 it may
//!    be locked and is never crossed.
//! 4. Trades tell no side: the tick rule classifies them.
//! 5. Rows flagged suspicious are read like all others and counted.

use std::path::Path;
use std::sync::Arc;

use super::aggressor::TickRule;
use super::calendar::{Zone, midnight_ns};
use super::lines::{Lines, MAX_ROW_BYTES, Place};
use super::number::Widest;
use super::{HEAD_ROWS, HistoryError, HistoryReader, Progress, name};
use crate::{EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Side, Venue};

/// Decimals of a millisecond count that make it nanoseconds.
const MILLIS: u8 = 6;

/// Most exchanges in a file; the United States had 16 when these were recorded, and the code is one
/// letter.
const MAX_EXCHANGES: usize = 26;

/// Which of the three a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    EquityQuotes,
    EquityTrades,
    ForexQuotes,
}

impl Kind {
    fn format(self) -> &'static str {
        match self {
            Self::EquityQuotes => "lean-equity-quotes",
            Self::EquityTrades => "lean-equity-trades",
            Self::ForexQuotes => "lean-forex-quotes",
        }
    }
}

/// One exchange's last quote; a quantity of 0 is no quote.
#[derive(Clone, Copy, Debug, Default)]
struct Quote {
    exchange: u8,
    /// Price and size by side.
    sides: [(i64, i64); 2],
}

/// Folds the exchanges' quotes.
#[derive(Debug, Default)]
struct Nbbo {
    quotes: Vec<Quote>,
    /// Quotes dropped because a newer one crossed them.
    superseded: u64,
    /// The NBBO last emitted.
    last: Option<[(i64, i64); 2]>,
}

impl Nbbo {
    /// Takes a quote; `false` when there are too many exchanges.
    fn set(&mut self, exchange: u8, side: Side, price: i64, qty: i64) -> bool {
        let known = self.quotes.iter().position(|quote| quote.exchange == exchange);
        let at = known.unwrap_or(self.quotes.len());
        if known.is_none() {
            if at == MAX_EXCHANGES {
                return false;
            }
            self.quotes.push(Quote { exchange, ..Quote::default() });
        }
        self.quotes[at].sides[side as usize] = (price, qty);
        if qty > 0 {
            for quote in &mut self.quotes {
                let other = &mut quote.sides[side.opposite() as usize];
                let is_crossed = match side {
                    Side::Bid => price > other.0,
                    Side::Ask => price < other.0,
                };
                if other.1 > 0 && is_crossed {
                    *other = (0, 0);
                    self.superseded += 1;
                }
            }
        }
        true
    }

    /// Best price of a side and the sizes shown there.
    fn best(&self, side: Side) -> Option<(i64, i64)> {
        let mut best: Option<(i64, i64)> = None;
        for quote in &self.quotes {
            let (price, qty) = quote.sides[side as usize];
            if qty == 0 {
                continue;
            }
            best = Some(match best {
                Some((best_price, shown)) if price == best_price => {
                    (price, shown.saturating_add(qty))
                }
                Some((best_price, shown)) if (price > best_price) != (side == Side::Bid) => {
                    (best_price, shown)
                }
                _ => (price, qty),
            });
        }
        best
    }

    /// The NBBO, if both sides are quoted and it is not the one told last.
    fn change(&mut self) -> Option<[(i64, i64); 2]> {
        let now = [self.best(Side::Bid)?, self.best(Side::Ask)?];
        (self.last.replace(now) != Some(now)).then_some(now)
    }
}

/// Reads one Lean tick file.
pub(super) struct LeanReader {
    lines: Lines,
    kind: Kind,
    table: Arc<InstrumentTable>,
    midnight_ns: i64,
    nbbo: Nbbo,
    tick_rule: TickRule,
    suspicious_rows: u64,
}

impl LeanReader {
    pub(super) fn open(path: &Path, kind: Kind) -> Result<Self, HistoryError> {
        const NAME: &str = "YYYYMMDD_symbol_… as in 20131007_aig_Trade_Tick.csv";
        let lacks = |missing| name::lacks(path, missing, NAME);
        let symbol = name::stem(path).split('_').nth(1).filter(|symbol| !symbol.is_empty());
        let symbol = symbol.ok_or_else(|| lacks("the symbol"))?.to_ascii_uppercase();
        let date = name::date_part(path, 0).ok_or_else(|| lacks("the date"))?;
        let zone = if kind == Kind::ForexQuotes { Zone::Utc } else { Zone::UsEastern };
        let midnight_ns = midnight_ns(date, zone).ok_or_else(|| lacks("the date"))?;
        let (venue, price_decimals) = match kind {
            Kind::ForexQuotes => (Venue::Oanda, forex_decimals(path)?),
            Kind::EquityQuotes | Kind::EquityTrades => (Venue::UsEquities, 4),
        };
        let instrument = Instrument { venue, symbol, price_decimals, qty_decimals: 0 };
        Ok(Self {
            lines: Lines::open(path, MAX_ROW_BYTES)?,
            kind,
            table: Arc::new(super::instruments(path, vec![instrument])?),
            midnight_ns,
            nbbo: Nbbo::default(),
            tick_rule: TickRule::default(),
            suspicious_rows: 0,
        })
    }

    fn decimals(&self) -> u8 {
        self.table.get(InstrumentId(0)).price_decimals
    }
}

fn forex_decimals(path: &Path) -> Result<u8, HistoryError> {
    let mut lines = Lines::open(path, MAX_ROW_BYTES)?;
    let mut widest = Widest::default();
    for _ in 0..HEAD_ROWS {
        let Some(line) = lines.next()? else { break };
        for price in line.bytes.split(|&byte| byte == b',').skip(1) {
            widest.see(price);
        }
    }
    Ok(widest.get())
}

/// The flag at the end of an equity row.
fn is_suspicious(place: Place<'_>, field: &[u8]) -> Result<bool, HistoryError> {
    match field {
        b"0" => Ok(false),
        b"1" => Ok(true),
        _ => Err(place.bad("suspicious", field, "0 or 1")),
    }
}

impl HistoryReader for LeanReader {
    fn format(&self) -> &'static str {
        self.kind.format()
    }

    fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        let decimals = self.decimals();
        let midnight_ns = self.midnight_ns;
        let Some(line) = self.lines.next()? else { return Ok(false) };
        let place = line.place;
        let time = |text| {
            let since = place.time_ns("time", text, MILLIS, "milliseconds since midnight")?;
            Ok::<_, HistoryError>(midnight_ns.saturating_add(since))
        };
        let (ts_venue_ns, body) = match self.kind {
            Kind::ForexQuotes => {
                let [at, bid, ask] = line.fields("3 columns: time, bid, ask")?;
                let bid_price = place.fixed("bid", bid, decimals)?;
                let ask_price = place.fixed("ask", ask, decimals)?;
                let body = EventBody::Top { bid_price, bid_qty: 0, ask_price, ask_qty: 0 };
                (time(at)?, Some(body))
            }
            Kind::EquityTrades => {
                let [at, price, size, _exchange, _condition, suspicious] =
                    line.fields("6 columns: time, price, size, exchange, condition, suspicious")?;
                self.suspicious_rows += u64::from(is_suspicious(place, suspicious)?);
                let price = place.fixed("price", price, 0)?;
                let qty = place.qty("size", size, 0)?;
                let side = self.tick_rule.classify(price);
                (time(at)?, Some(EventBody::Trade { side, price, qty, count: 1 }))
            }
            Kind::EquityQuotes => {
                let [at, bid, bid_size, ask, ask_size, exchange, _condition, suspicious] = line
                    .fields("8 columns: time, bid, size, ask, size, exchange, condition, flag")?;
                self.suspicious_rows += u64::from(is_suspicious(place, suspicious)?);
                let &[exchange] = exchange else {
                    return Err(place.bad("exchange", exchange, "one letter"));
                };
                for (side, price, size) in [(Side::Bid, bid, bid_size), (Side::Ask, ask, ask_size)]
                {
                    let price_mantissa = place.fixed("price", price, 0)?;
                    let qty = place.qty("size", size, 0)?;
                    let is_told = price_mantissa != 0;
                    if is_told && !self.nbbo.set(exchange, side, price_mantissa, qty) {
                        return Err(place.bad("exchange", &[exchange], "at most 26 exchanges"));
                    }
                }
                let change = self.nbbo.change();
                let body = change.map(|[(bid_price, bid_qty), (ask_price, ask_qty)]| {
                    EventBody::Top { bid_price, bid_qty, ask_price, ask_qty }
                });
                (time(at)?, body)
            }
        };
        out.extend(body.map(|body| MarketEvent {
            ts_venue_ns,
            ts_sent_ns: 0,
            ts_recv_ns: 0,
            update_id: 0,
            instrument: InstrumentId(0),
            body,
        }));
        Ok(true)
    }

    fn progress(&self) -> Progress {
        self.lines.progress()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        match self.kind {
            Kind::ForexQuotes => Vec::new(),
            Kind::EquityTrades => vec![("suspicious_rows", self.suspicious_rows)],
            Kind::EquityQuotes => vec![
                ("suspicious_rows", self.suspicious_rows),
                ("superseded_quotes", self.nbbo.superseded),
                ("exchanges", self.nbbo.quotes.len() as u64),
            ],
        }
    }

    fn notes(&self) -> Vec<String> {
        let zone = if self.kind == Kind::ForexQuotes { "UTC" } else { "in New York" };
        let mut notes =
            vec![format!("times are ms since midnight {zone} of the date in the file's name")];
        match self.kind {
            Kind::ForexQuotes => notes.push("quotes have no sizes".to_owned()),
            Kind::EquityTrades => {
                notes.push("trades tell no side and were classified by the tick rule".to_owned());
            }
            Kind::EquityQuotes => notes.push(format!(
                "quotes of {} exchanges folded to an NBBO; {} that a newer one crossed were dropped",
                self.nbbo.quotes.len(),
                self.nbbo.superseded
            )),
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bodies, file, gzip, read, refusal};
    use super::*;

    const QUOTES: &str = "20131007_aig_Quote_Tick.csv";
    const TRADES: &str = "20131007_aig_Trade_Tick.csv";
    const FOREX: &str = "20140501_eurusd_tick_quote.csv";

    fn top(bid_price: i64, bid_qty: i64, ask_price: i64, ask_qty: i64) -> EventBody {
        EventBody::Top { bid_price, bid_qty, ask_price, ask_qty }
    }

    #[test]
    fn the_nbbo_is_the_best_over_exchanges_and_changes_only_when_it_changes() {
        let text = "14400000,490000,300,0,0,P,1,0\n\
            14400001,0,0,491000,200,P,1,0\n\
            14400002,490100,100,0,0,Q,1,0\n\
            14400003,0,0,491000,400,Q,1,0\n\
            14400004,489000,900,0,0,Z,1,0\n\
            14400005,490000,100,0,0,Q,1,0\n\
            14400006,490000,0,0,0,P,1,0\n\
            14400007,0,0,489900,100,Z,800,1\n\
            14400008,489900,200,0,0,P,1,0\n";
        let file = file(QUOTES, text.as_bytes());
        assert_eq!(
            bodies(&file),
            [
                top(490000, 300, 491000, 200),
                top(490100, 100, 491000, 200),
                top(490100, 100, 491000, 600),
                top(490000, 400, 491000, 600),
                top(490000, 100, 491000, 600),
                // The new offer crosses Q's bid of 490000: Z's of 489000 is what is left.
                top(489000, 900, 489900, 100),
                top(489900, 200, 489900, 100),
            ]
        );
        let mut reader = super::super::open(file.path()).unwrap();
        super::super::testing::drain(reader.as_mut());
        let counters = [("suspicious_rows", 1), ("superseded_quotes", 1), ("exchanges", 3)];
        assert_eq!(reader.counters(), counters);
        // 04:00 in New York in summer.
        assert_eq!(read(&file).0[0].ts_venue_ns, 1_381_132_800_001_000_000);
    }

    #[test]
    fn trades_take_the_side_of_the_tick() {
        let text = "14400688,491800,300,P,2000,0\n14400689,491700,200,Q,20002020,0";
        let trade = |side, price, qty| EventBody::Trade { side, price, qty, count: 1 };
        assert_eq!(
            bodies(&file(TRADES, text.as_bytes())),
            [trade(Side::Bid, 491800, 300), trade(Side::Ask, 491700, 200)]
        );
    }

    #[test]
    fn forex_quotes_keep_fractions_of_a_millisecond() {
        let (events, error) = read(&file(FOREX, b"292.5,1.38676,1.3868\n"));
        assert!(error.is_none(), "{error:?}");
        assert_eq!(events[0].ts_venue_ns, 1_398_902_400_292_500_000);
        assert_eq!(events[0].body, top(138_676, 0, 138_680, 0));
    }

    #[test]
    fn bad_rows_and_names_are_refused() {
        let quote = "14400000,490000,300,0,0,P,1,0\n";
        for (name, good, bad, says) in [
            (QUOTES, quote, "1,490000,300,0,0,PP,1,0\n", "row 2: exchange"),
            (QUOTES, quote, "1,490000,300,0,0,P,1,2\n", "row 2: suspicious"),
            (QUOTES, quote, "1,490000,-3,0,0,P,1,0\n", "no negative quantity"),
            (QUOTES, quote, "1,49.5,3,0,0,P,1,0\n", "row 2: price"),
            (QUOTES, quote, "x,490000,3,0,0,P,1,0\n", "row 2: time"),
            (QUOTES, quote, "1,490000,3,0,0,P,1\n", "8 columns"),
            (TRADES, "1,2,3,P,0,0\n", "1,2,3,P,0\n", "6 columns"),
            (TRADES, "1,2,3,P,0,0\n", "1,99999999999999999999,3,P,0,0\n", "fits 64 bits"),
            (FOREX, "1,1.5,1.6\n", "1,1.5\n", "3 columns"),
            (FOREX, "1,1.5,1.6\n", "1e999,1.5,1.6\n", "row 2: time"),
        ] {
            let error = refusal(&file(name, [good, bad].concat().as_bytes()));
            assert!(error.contains(says), "{error}");
        }
        let error = refusal(&file("quotes.csv", quote.as_bytes()));
        assert!(error.contains("does not tell the symbol"), "{error}");
        let error = refusal(&file("20131307_aig_Quote_Tick.csv", quote.as_bytes()));
        assert!(error.contains("does not tell the date"), "{error}");
        let long = [quote, &"1".repeat(MAX_ROW_BYTES + 1)].concat();
        assert!(refusal(&file(QUOTES, long.as_bytes())).contains("row 2 is longer than"));
        let whole = gzip(quote.repeat(50).as_bytes());
        let torn = file(QUOTES, &whole[..whole.len() - 9]);
        assert!(refusal(&torn).contains("ends too early"));
    }

    #[test]
    fn a_twenty_seventh_exchange_is_refused() {
        let rows = (b'A'..=b'[').map(|e| format!("1,490000,300,0,0,{},1,0\n", e as char));
        let text = rows.collect::<Vec<_>>().concat();
        let error = refusal(&file(QUOTES, text.as_bytes()));
        assert!(error.contains("row 27") && error.contains("at most 26"), "{error}");
    }
}
