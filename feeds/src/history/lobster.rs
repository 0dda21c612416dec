//! LOBSTER: a message file and the order book file beside it, row for row.
//!
//! The files are described at <https://lobsterdata.com/info/DataStructure.php>. The book's levels come
//! from the order book file (which has the best L levels after each message), the trades from the
//! message file. Opening either file reads the pair. Rules:
//!
//! 1. Row k of one file belongs to row k of the other; a file with fewer rows is an error.
//! 2. Messages 4 and 5 (visible and hidden execution) are trades; the direction is the side of the
//!    resting order, so the aggressor's is the other one.
//! 3. A submission (1) adds its size to its level, a cancellation (2), deletion (3) or visible
//!    execution (4) takes it away, anything else changes nothing. Wherever both rows show the level,
//!    that is checked, and so is that no other shown level changed; rows that disagree are counted.
//! 4. A halt (7) is counted and makes no event.
//! 5. Times are seconds after midnight in New York of the date in the file's name, to the nanosecond;
//!    further digits are noise of the double they were printed from, see [`super::number`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::calendar::{Zone, midnight_ns};
use super::lines::{Lines, MAX_ROW_BYTES, Place};
use super::name;
use super::window::Window;
use super::{HistoryError, HistoryReader, Progress};
use crate::book::Level;
use crate::{EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Side, Venue};

/// Prices are USD × 10000.
const PRICE_DECIMALS: u8 = 4;

/// Decimals of a second count that make it nanoseconds.
const SECONDS: u8 = 9;

/// The price of a level that is not there is this, with the sign of a side.
const NO_PRICE: u64 = 9_999_999_999;

/// Most levels a side; LOBSTER makes up to 200.
const MAX_LEVELS: usize = 200;

/// Reads a pair of LOBSTER files.
pub(super) struct LobsterReader {
    messages: Lines,
    books: Lines,
    table: Arc<InstrumentTable>,
    midnight_ns: i64,
    /// Levels a side in each row.
    levels: usize,
    window: Window,
    halts: u64,
    disagreeing_rows: u64,
}

/// One row of a message file.
struct Message {
    ts_ns: i64,
    kind: u8,
    size: i64,
    price: i64,
    /// Side of the order the message is about.
    side: Side,
}

impl LobsterReader {
    /// Opens the pair of which `path` is either file.
    pub(super) fn open(path: &Path) -> Result<Self, HistoryError> {
        const NAME: &str =
            "SYMBOL_YYYY-MM-DD_start_end_message_LEVELS.csv or …_orderbook_LEVELS.csv";
        let lacks = |missing| name::lacks(path, missing, NAME);
        let stem = name::stem(path);
        let symbol = stem.split('_').next().filter(|symbol| !symbol.is_empty());
        let symbol = symbol.ok_or_else(|| lacks("the symbol"))?.to_owned();
        let date = name::date_part(path, 1).ok_or_else(|| lacks("the date"))?;
        let midnight_ns = midnight_ns(date, Zone::UsEastern).ok_or_else(|| lacks("the date"))?;
        let levels = stem.rsplit('_').next().and_then(|levels| levels.parse().ok());
        let levels = levels
            .filter(|levels| (1..=MAX_LEVELS).contains(levels))
            .ok_or_else(|| lacks("the number of levels"))?;
        let (message_path, book_path) = pair(path).ok_or_else(|| {
            name::lacks(
                path,
                "an existing file beside it",
                "the pair of message and orderbook files",
            )
        })?;
        let instrument = Instrument {
            venue: Venue::Nasdaq,
            symbol,
            price_decimals: PRICE_DECIMALS,
            qty_decimals: 0,
        };
        Ok(Self {
            messages: Lines::open(&message_path, MAX_ROW_BYTES)?,
            books: Lines::open(&book_path, MAX_ROW_BYTES)?,
            table: Arc::new(super::instruments(path, vec![instrument])?),
            midnight_ns,
            levels,
            window: Window::default(),
            halts: 0,
            disagreeing_rows: 0,
        })
    }

    /// Reads a row of the order book file into the window.
    fn read_window(&mut self) -> Result<bool, HistoryError> {
        let Some(line) = self.books.next()? else { return Ok(false) };
        let place = line.place;
        let mut fields = line.bytes.split(|&byte| byte == b',');
        self.window.begin();
        for _ in 0..self.levels {
            for side in [Side::Ask, Side::Bid] {
                let (Some(price), Some(size)) = (fields.next(), fields.next()) else {
                    return Err(place.bad("row", line.bytes, "4 columns for each level"));
                };
                let level = Level {
                    price: place.fixed("price", price, 0)?,
                    qty: place.qty("size", size, 0)?,
                };
                if level.price.unsigned_abs() == NO_PRICE {
                    continue;
                }
                if !self.window.push(side, level) {
                    return Err(place.bad("price", price, "levels from best to worst"));
                }
            }
        }
        if fields.next().is_some() {
            return Err(place.bad("row", line.bytes, "4 columns for each level"));
        }
        Ok(true)
    }

    /// Whether the change of the window is the message's (rule 3).
    fn agrees(&self, message: &Message) -> bool {
        if !self.window.is_seeded() {
            return true;
        }
        let by = match message.kind {
            1 => message.size,
            2..=4 => -message.size,
            _ => 0,
        };
        [Side::Bid, Side::Ask].into_iter().all(|side| {
            let (before, after) = (self.window.held(side), self.window.next(side));
            let is_shown = |levels: &[Level], price: i64| {
                levels.len() < self.levels
                    || levels.last().is_some_and(|worst| match side {
                        Side::Bid => price >= worst.price,
                        Side::Ask => price <= worst.price,
                    })
            };
            let qty_at = |levels: &[Level], price: i64| {
                levels.iter().find(|level| level.price == price).map_or(0, |level| level.qty)
            };
            let own = (side == message.side).then_some(message.price);
            before.iter().chain(after).map(|level| level.price).chain(own).all(|price| {
                let by = if own == Some(price) { by } else { 0 };
                !(is_shown(before, price) && is_shown(after, price))
                    || qty_at(after, price) - qty_at(before, price) == by
            })
        })
    }
}

/// The message file and the order book file.
fn pair(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let stem = name::stem(path);
    if stem.contains("_message_") {
        let other = name::beside(path, &stem.replace("_message_", "_orderbook_"))?;
        Some((path.to_owned(), other))
    } else {
        let other = name::beside(path, &stem.replace("_orderbook_", "_message_"))?;
        Some((other, path.to_owned()))
    }
}

fn read_message(
    place: Place<'_>,
    fields: [&[u8]; 6],
    midnight_ns: i64,
) -> Result<Message, HistoryError> {
    let [time, kind, _order, size, price, direction] = fields;
    // Some times have been through a double: 43002.632812672004.
    let since_midnight = place.unprinted("time", time, SECONDS)?.mantissa;
    if since_midnight < 0 {
        return Err(place.bad("time", time, "seconds after midnight"));
    }
    let kind_text = kind;
    let kind = place.integer::<u8>("type", kind, "a message type from 1 to 7")?;
    if !(1..=7).contains(&kind) {
        return Err(place.bad("type", kind_text, "a message type from 1 to 7"));
    }
    let side = match direction {
        b"1" => Side::Bid,
        b"-1" => Side::Ask,
        _ => return Err(place.bad("direction", direction, "1 or -1")),
    };
    let (size, price) = (place.qty("size", size, 0)?, place.fixed("price", price, 0)?);
    let ts_ns = midnight_ns.saturating_add(since_midnight);
    Ok(Message { ts_ns, kind, size, price, side })
}

impl HistoryReader for LobsterReader {
    fn format(&self) -> &'static str {
        "lobster"
    }

    fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        const EXPECTED: &str = "as many rows as the file of the pair has";
        let has_book = self.read_window()?;
        let message = match self.messages.next()? {
            Some(line) => {
                let fields = line.fields::<6>("6 columns")?;
                Some(read_message(line.place, fields, self.midnight_ns)?)
            }
            None => None,
        };
        let message = match (message, has_book) {
            (Some(message), true) => message,
            (None, false) => return Ok(false),
            (Some(_), false) => return Err(self.books.place().bad("end", b"", EXPECTED)),
            (None, true) => return Err(self.messages.place().bad("end", b"", EXPECTED)),
        };
        self.disagreeing_rows += u64::from(!self.agrees(&message));
        let mut emit = |body| {
            out.push(MarketEvent {
                ts_venue_ns: message.ts_ns,
                ts_sent_ns: 0,
                ts_recv_ns: 0,
                update_id: 0,
                instrument: InstrumentId(0),
                body,
            });
        };
        match message.kind {
            4 | 5 => emit(EventBody::Trade {
                side: message.side.opposite(),
                price: message.price,
                qty: message.size,
                count: 1,
            }),
            7 => self.halts += 1,
            _ => {}
        }
        self.window.finish(emit);
        Ok(true)
    }

    fn progress(&self) -> Progress {
        let (messages, books) = (self.messages.progress(), self.books.progress());
        Progress {
            bytes_read: messages.bytes_read + books.bytes_read,
            bytes_total: messages.bytes_total + books.bytes_total,
            rows: messages.rows,
        }
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("halt_messages", self.halts), ("disagreeing_rows", self.disagreeing_rows)]
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = vec![
            format!("the book is the best {} levels a side, and only those", self.levels),
            "times are seconds after midnight in New York of the date in the file's name"
                .to_owned(),
        ];
        if self.halts > 0 {
            notes.push(format!("{} messages of trading halts make no event", self.halts));
        }
        if self.disagreeing_rows > 0 {
            let count = self.disagreeing_rows;
            notes.push(format!("in {count} rows the book does not change as the message says"));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestFile, bodies, drain, file, gzip, read, refusal};
    use super::*;

    const MESSAGES: &str = "AAPL_2012-06-21_34200000_57600000_message_1.csv";
    const BOOKS: &str = "AAPL_2012-06-21_34200000_57600000_orderbook_1.csv";

    fn files(messages: &str, books: &str) -> TestFile {
        file(MESSAGES, messages.as_bytes()).beside(BOOKS, books.as_bytes())
    }

    const GOOD_MESSAGES: &str = "34200.004241176,1,1,18,5853300,1\n\
        34200.500000000004,4,2,50,5859400,-1\n\
        34201,5,0,7,5856350,1\n\
        34202,7,0,0,-1,-1\n\
        34203,3,1,18,5853300,1\n";
    const GOOD_BOOKS: &str = "5859400,200,5853300,18\n\
        5859400,150,5853300,18\n\
        5859400,150,5853300,18\n\
        5859400,150,5853300,18\n\
        5859400,150,-9999999999,0\n";

    #[test]
    fn the_pair_becomes_trades_and_level_changes() {
        let level = |side, price, qty| EventBody::Level { side, price, qty };
        let trade = |side, price, qty| EventBody::Trade { side, price, qty, count: 1 };
        let commit = EventBody::BookCommit { conflated: false };
        let files = files(GOOD_MESSAGES, GOOD_BOOKS);
        assert_eq!(
            bodies(&files),
            [
                EventBody::BookBegin,
                level(Side::Bid, 5_853_300, 18),
                level(Side::Ask, 5_859_400, 200),
                commit,
                trade(Side::Bid, 5_859_400, 50),
                level(Side::Ask, 5_859_400, 150),
                commit,
                trade(Side::Ask, 5_856_350, 7),
                level(Side::Bid, 5_853_300, 0),
                commit,
            ]
        );
        let (events, _) = read(&files);
        // 09:30:00.004241176 in New York in summer.
        assert_eq!(events[0].ts_venue_ns, 1_340_285_400_004_241_176);
        assert_eq!((events[0].ts_sent_ns, events[0].ts_recv_ns), (0, 0));
    }

    #[test]
    fn either_file_of_the_pair_opens_it() {
        let files = files(GOOD_MESSAGES, GOOD_BOOKS);
        let mut reader = super::super::open(&files.path().with_file_name(BOOKS)).unwrap();
        let (events, error) = drain(reader.as_mut());
        assert!(error.is_none(), "{error:?}");
        assert_eq!(events.len(), 10);
        assert_eq!(reader.counters(), [("halt_messages", 1), ("disagreeing_rows", 0)]);
        assert_eq!(reader.progress().rows, 5);
    }

    #[test]
    fn rows_that_contradict_each_other_are_counted() {
        for (from, to) in [
            // The execution takes 50 shares, not 49; a hidden one takes none; nothing else moves.
            ("5859400,150,5853300,18\n", "5859400,151,5853300,18\n"),
            ("5859400,150,5853300,18\n", "5859400,150,5853300,17\n"),
        ] {
            let files = files(GOOD_MESSAGES, &GOOD_BOOKS.replacen(from, to, 1));
            let mut reader = super::super::open(files.path()).unwrap();
            let (_, error) = drain(reader.as_mut());
            assert!(error.is_none(), "{error:?}");
            assert_eq!(reader.counters()[1], ("disagreeing_rows", 2), "there and back");
        }
    }

    #[test]
    fn bad_rows_missing_rows_and_a_missing_file_are_named() {
        for (messages, books, says) in [
            ("x,1,1,18,5853300,1\n", "2,1,1,1\n", "row 1: time"),
            ("-1,1,1,18,5853300,1\n", "2,1,1,1\n", "row 1: time"),
            ("1,9,1,18,5853300,1\n", "2,1,1,1\n", "row 1: type"),
            ("1,1,1,18,5853300,0\n", "2,1,1,1\n", "row 1: direction"),
            ("1,1,1,-18,5853300,1\n", "2,1,1,1\n", "row 1: size"),
            ("1,1,1,18,99999999999999999999,1\n", "2,1,1,1\n", "fits 64 bits"),
            ("1,1,1,18,1,1\n1,1,1,18,1\n", "2,1,1,18\n2,1,1,18\n", "6 columns"),
            ("1,1,1,18,1,1\n", "2,1,1\n", "4 columns"),
            ("1,1,1,18,1,1\n", "2,1,1,1,3,1,0,1\n", "4 columns"),
            ("1,1,1,18,1,1\n1,1,1,18,1,1\n", "2,1,1,18\n", "orderbook_1.csv row 1: end"),
            ("1,1,1,18,1,1\n", "2,1,1,18\n2,1,1,18\n", "message_1.csv row 1: end"),
        ] {
            let error = refusal(&files(messages, books));
            assert!(error.contains(says), "{error}");
        }
        let error = refusal(&file(MESSAGES, GOOD_MESSAGES.as_bytes()));
        assert!(error.contains("file beside it"), "{error}");
        let long = "1".repeat(MAX_ROW_BYTES + 1);
        assert!(refusal(&files(GOOD_MESSAGES, &long)).contains("longer than"));
        let books = gzip(GOOD_BOOKS.as_bytes());
        let torn = file(MESSAGES, GOOD_MESSAGES.as_bytes())
            .beside(&format!("{BOOKS}.gz"), &books[..books.len() - 12]);
        assert!(refusal(&torn).contains("ends too early"));
    }
}
