//! Coinbase (GDAX) level changes as CSV, `side,price,size,time`, and the snapshot that seeds them,
//! `side,price,size`.
//!
//! A size is the new total at its level, 0 removes it. One hour may be cut into numbered files
//! (`l2update_15min_1.csv`, `…_2.csv`): a file is seeded by the snapshot beside it
//! (`snapshot_bids.csv`, `snapshot_asks.csv`) and every earlier number. Without all of these its
//! changes come without a `BookBegin`, and a note says so.
//!
//! The sizes were written by a script through binary doubles; see [`super::number`]. Bitcoin prices
//! have 2 decimals on this venue, sizes 8.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lines::{Line, Lines, MAX_ROW_BYTES};
use super::{HistoryError, HistoryReader, MAX_BATCH_EVENTS, Progress, calendar, name};
use crate::{EventBody, Instrument, InstrumentId, InstrumentTable, MarketEvent, Side, Venue};

/// Heading of a file of changes.
pub(super) const CHANGES_HEADING: &str = "side,price,size,time";

/// Heading of a snapshot.
pub(super) const SNAPSHOT_HEADING: &str = "side,price,size";

const PRICE_DECIMALS: u8 = 2;
const SIZE_DECIMALS: u8 = 8;

/// Most levels a side of a snapshot; the venue had 14 thousand.
const MAX_LEVELS: usize = 1 << 20;

/// Most numbered files of one recording.
const MAX_PARTS: u32 = 1000;

/// Levels by price, quantities as values.
type Levels = [BTreeMap<i64, i64>; 2];

/// Reads a file of changes or a snapshot.
pub(super) struct GdaxReader {
    lines: Lines,
    is_snapshot_file: bool,
    table: Arc<InstrumentTable>,
    seed: Seed,
    noisy_sizes: u64,
}

/// The book before the first row, on its way out.
struct Seed {
    /// What is left to tell, in order of side and price.
    levels: std::vec::IntoIter<(Side, i64, i64)>,
    /// Time of the last row that it holds, 0 for a bare snapshot.
    ts_venue_ns: i64,
    state: SeedState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SeedState {
    /// There is none.
    Absent,
    /// `BookBegin` is still to come.
    Waiting,
    Flowing,
    Told,
}

/// One row.
struct Change {
    side: Side,
    price: i64,
    size: i64,
    is_noisy: bool,
    time_ns: i64,
}

fn read_change(line: &Line<'_>, is_snapshot: bool) -> Result<Change, HistoryError> {
    let place = line.place;
    let (side, price, size, time) = if is_snapshot {
        let [side, price, size] = line.fields("3 columns: side, price, size")?;
        (side, price, size, None)
    } else {
        let [side, price, size, time] = line.fields("4 columns: side, price, size, time")?;
        (side, price, size, Some(time))
    };
    let side = match side {
        b"buy" => Side::Bid,
        b"sell" => Side::Ask,
        _ => return Err(place.bad("side", side, "buy or sell")),
    };
    let size_read = place.unprinted("size", size, SIZE_DECIMALS)?;
    if size_read.mantissa < 0 {
        return Err(place.bad("size", size, "no negative size"));
    }
    let time_ns = match time {
        None => 0,
        Some(time) => calendar::iso8601_ns(time)
            .ok_or_else(|| place.bad("time", time, "ISO 8601 with its zone"))?,
    };
    Ok(Change {
        side,
        price: place.unprinted("price", price, PRICE_DECIMALS)?.mantissa,
        size: size_read.mantissa,
        is_noisy: size_read.is_noisy,
        time_ns,
    })
}

impl GdaxReader {
    /// Opens a file of changes, and the files that seed it.
    pub(super) fn open_changes(path: &Path) -> Result<Self, HistoryError> {
        let seed = match seed_files(path) {
            None => {
                Seed { levels: Vec::new().into_iter(), ts_venue_ns: 0, state: SeedState::Absent }
            }
            Some(files) => read_seed(&files)?,
        };
        Self::open(path, false, seed)
    }

    /// Opens one side of a snapshot: a book of one side.
    pub(super) fn open_snapshot(path: &Path) -> Result<Self, HistoryError> {
        let state = SeedState::Waiting;
        Self::open(path, true, Seed { levels: Vec::new().into_iter(), ts_venue_ns: 0, state })
    }

    fn open(path: &Path, is_snapshot_file: bool, seed: Seed) -> Result<Self, HistoryError> {
        const NAME: &str = "a pair such as btcusd in the name of the file or its folder";
        let (base, quote) =
            name::pair(path).ok_or_else(|| name::lacks(path, "the product", NAME))?;
        let instrument = Instrument {
            venue: Venue::CoinbaseExchange,
            symbol: format!("{base}-{quote}").to_ascii_uppercase(),
            price_decimals: PRICE_DECIMALS,
            qty_decimals: SIZE_DECIMALS,
        };
        let table = Arc::new(super::instruments(path, vec![instrument])?);
        let mut lines = Lines::open(path, MAX_ROW_BYTES)?;
        lines.next()?;
        Ok(Self { lines, is_snapshot_file, table, seed, noisy_sizes: 0 })
    }

    /// Tells part of the seed; `false` when nothing of it is left.
    fn tell_seed(&mut self, out: &mut Vec<MarketEvent>) -> bool {
        let seed = &mut self.seed;
        if matches!(seed.state, SeedState::Absent | SeedState::Told) {
            return false;
        }
        let time = seed.ts_venue_ns;
        if seed.state == SeedState::Waiting {
            out.push(event(time, EventBody::BookBegin));
            seed.state = SeedState::Flowing;
        }
        let levels = seed.levels.by_ref().take(MAX_BATCH_EVENTS);
        out.extend(
            levels.map(|(side, price, qty)| event(time, EventBody::Level { side, price, qty })),
        );
        // The rows of a snapshot file follow, and the commit after them.
        if self.is_snapshot_file {
            return false;
        }
        if seed.levels.len() == 0 {
            out.push(event(time, EventBody::BookCommit { conflated: false }));
            seed.state = SeedState::Told;
        }
        true
    }
}

/// The files that make the book before the first row of `path`: both sides of the snapshot, then the
/// earlier numbers. `None` when any is missing.
fn seed_files(path: &Path) -> Option<Vec<PathBuf>> {
    let (series, number) = name::stem(path).rsplit_once('_')?;
    let number: u32 = number.parse().ok().filter(|number| (1..=MAX_PARTS).contains(number))?;
    let mut files =
        vec![name::beside(path, "snapshot_bids")?, name::beside(path, "snapshot_asks")?];
    for earlier in 1..number {
        files.push(name::beside(path, &format!("{series}_{earlier}"))?);
    }
    Some(files)
}

fn read_seed(files: &[PathBuf]) -> Result<Seed, HistoryError> {
    let mut levels: Levels = [BTreeMap::new(), BTreeMap::new()];
    let mut ts_venue_ns = 0;
    for (index, file) in files.iter().enumerate() {
        let is_snapshot = index < 2;
        let mut lines = Lines::open(file, MAX_ROW_BYTES)?;
        let heading = if is_snapshot { SNAPSHOT_HEADING } else { CHANGES_HEADING };
        if let Some(line) = lines.next()?.filter(|line| line.bytes != heading.as_bytes()) {
            return Err(line.place.bad("heading", line.bytes, heading));
        }
        while let Some(line) = lines.next()? {
            let change = read_change(&line, is_snapshot)?;
            let side = &mut levels[change.side as usize];
            if change.size == 0 {
                side.remove(&change.price);
            } else {
                side.insert(change.price, change.size);
            }
            if side.len() > MAX_LEVELS {
                return Err(line.place.bad("row", line.bytes, "at most 1048576 levels a side"));
            }
            ts_venue_ns = change.time_ns;
        }
    }
    let [bids, asks] = levels;
    let told = |side| move |(price, qty)| (side, price, qty);
    let levels: Vec<_> = bids
        .into_iter()
        .map(told(Side::Bid))
        .chain(asks.into_iter().map(told(Side::Ask)))
        .collect();
    Ok(Seed { levels: levels.into_iter(), ts_venue_ns, state: SeedState::Waiting })
}

fn event(ts_venue_ns: i64, body: EventBody) -> MarketEvent {
    let instrument = InstrumentId(0);
    MarketEvent { ts_venue_ns, ts_sent_ns: 0, ts_recv_ns: 0, update_id: 0, instrument, body }
}

impl HistoryReader for GdaxReader {
    fn format(&self) -> &'static str {
        if self.is_snapshot_file { "gdax-snapshot" } else { "gdax-level-changes" }
    }

    fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        if self.tell_seed(out) {
            return Ok(true);
        }
        let Some(line) = self.lines.next()? else {
            let is_open = self.seed.state == SeedState::Flowing;
            if is_open {
                out.push(event(0, EventBody::BookCommit { conflated: false }));
                self.seed.state = SeedState::Told;
            }
            return Ok(is_open);
        };
        let Change { side, price, size: qty, is_noisy, time_ns } =
            read_change(&line, self.is_snapshot_file)?;
        self.noisy_sizes += u64::from(is_noisy);
        out.push(event(time_ns, EventBody::Level { side, price, qty }));
        if !self.is_snapshot_file {
            out.push(event(time_ns, EventBody::BookCommit { conflated: false }));
        }
        Ok(true)
    }

    fn progress(&self) -> Progress {
        self.lines.progress()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("sizes_restored_from_doubles", self.noisy_sizes)]
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.is_snapshot_file {
            notes.push("one side of a snapshot, without a time".to_owned());
        } else if self.seed.state == SeedState::Absent {
            notes
                .push("no snapshot and earlier files beside it: changes without a book".to_owned());
        }
        if self.noisy_sizes > 0 {
            let count = self.noisy_sizes;
            notes.push(format!(
                "{count} sizes were printed from doubles and read as their decimals"
            ));
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestFile, bodies, drain, file, gzip, refusal};
    use super::*;

    const SECOND: &str = "btcusd_l2update_2.csv";
    const COMMIT: EventBody = EventBody::BookCommit { conflated: false };

    fn changes(rows: &str) -> Vec<u8> {
        format!("{CHANGES_HEADING}\n{rows}").into_bytes()
    }

    fn snapshot(rows: &str) -> Vec<u8> {
        format!("{SNAPSHOT_HEADING}\n{rows}").into_bytes()
    }

    fn level(side: Side, price: i64, qty: i64) -> EventBody {
        EventBody::Level { side, price, qty }
    }

    fn recording(second: &[u8]) -> TestFile {
        let first = "buy,9170.5,2,2018-04-24T03:52:17.202Z\nsell,9171,0,2018-04-24T03:52:18Z\n";
        file(SECOND, second)
            .beside("btcusd_l2update_1.csv", &changes(first))
            .beside("snapshot_bids.csv", &snapshot("buy,9170,1\nbuy,9170.5,1\n"))
            .beside("snapshot_asks.csv.gz", &gzip(&snapshot("sell,9171,1\nsell,9172.25,7e-05\n")))
    }

    #[test]
    fn a_later_file_is_seeded_by_the_snapshot_and_the_files_before_it() {
        let file = recording(&changes("buy,9170,0.0,2018-04-24T03:52:19Z\n"));
        assert_eq!(
            bodies(&file),
            [
                EventBody::BookBegin,
                level(Side::Bid, 917_000, 100_000_000),
                level(Side::Bid, 917_050, 200_000_000),
                level(Side::Ask, 917_225, 7_000),
                COMMIT,
                level(Side::Bid, 917_000, 0),
                COMMIT,
            ]
        );
        let mut reader = super::super::open(file.path()).unwrap();
        let (events, _) = drain(reader.as_mut());
        assert_eq!(events[0].ts_venue_ns, 1_524_541_938_000_000_000, "the row before");
        assert_eq!(reader.table().get(InstrumentId(0)).key(), "coinbase-exchange:BTC-USD");
        assert!(reader.notes().is_empty(), "{:?}", reader.notes());
    }

    #[test]
    fn without_its_seed_a_file_has_no_book_and_says_so() {
        let file = file(SECOND, &changes("buy,9170,0.10099999999999999,2018-04-24T03:52:19Z\n"));
        assert_eq!(bodies(&file), [level(Side::Bid, 917_000, 10_100_000), COMMIT]);
        let mut reader = super::super::open(file.path()).unwrap();
        drain(reader.as_mut());
        assert_eq!(reader.notes().len(), 2);
        assert_eq!(reader.counters(), [("sizes_restored_from_doubles", 1)]);
    }

    #[test]
    fn a_snapshot_alone_is_a_book_of_one_side() {
        let file = file("btcusd_snapshot_bids.csv", &snapshot("buy,9170,1\n"));
        let expected = [EventBody::BookBegin, level(Side::Bid, 917_000, 100_000_000), COMMIT];
        assert_eq!(bodies(&file), expected);
    }

    #[test]
    fn bad_rows_are_refused_also_in_the_seed() {
        for (bad, says) in [
            ("buy,9170,1\n", "4 columns"),
            ("bid,9170,1,2018-04-24T03:52:19Z\n", "row 2: side"),
            ("buy,9170.123,1,2018-04-24T03:52:19Z\n", "row 2: price"),
            ("buy,9170,-1,2018-04-24T03:52:19Z\n", "row 2: size"),
            ("buy,9170,1.123456789,2018-04-24T03:52:19Z\n", "row 2: size"),
            ("buy,9170,1,yesterday\n", "row 2: time"),
            ("buy,1e30,1,2018-04-24T03:52:19Z\n", "row 2: price"),
        ] {
            let error = refusal(&file(SECOND, &changes(bad)));
            assert!(error.contains(says), "{error}");
        }
        let good = changes("buy,9170,0.0,2018-04-24T03:52:19Z\n");
        let seeded = recording(&good).beside("snapshot_bids.csv", &snapshot("buy,9170,x\n"));
        assert!(refusal(&seeded).contains("snapshot_bids.csv row 2: size"));
        let seeded = recording(&good).beside("snapshot_bids.csv", b"price\n");
        assert!(refusal(&seeded).contains("snapshot_bids.csv row 1: heading"));
        let nameless = file("l2update_2.csv", &good);
        assert!(refusal(&nameless).contains("does not tell the product"));
        let long = changes(&"1".repeat(MAX_ROW_BYTES + 1));
        assert!(refusal(&file(SECOND, &long)).contains("row 2 is longer than"));
        let whole = gzip(&good);
        assert!(refusal(&file(SECOND, &whole[..whole.len() - 9])).contains("ends too early"));
    }
}
