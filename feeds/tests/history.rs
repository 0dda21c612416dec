//! Every historical file of the shared data set that is no capture of frames, read to its end.
//!
//! Counts are exact, so that a change of a reader shows. What is asserted of a book holds at every
//! commit of the whole file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use purkinje_feeds::book::{Level, Shape};
use purkinje_feeds::history::{self, HistoryError};
use purkinje_feeds::{Book, EventBody, MarketEvent, Side};

/// The data set, or `None` with a word on the console where the checkout stands alone.
fn shared(file: &str) -> Option<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    if !data.is_dir() {
        eprintln!("skipped {file}: no {}", data.display());
        return None;
    }
    Some(data.join(file))
}

/// Levels a side of the books: more than any file has.
const DEPTH: usize = 40_000;

/// What a file held.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    rows: u64,
    events: u64,
    begins: u64,
    levels: u64,
    commits: u64,
    tops: u64,
    trades: u64,
    bought_trades: u64,
    desyncs: u64,
    /// Commits or tops at which a book of two sides was crossed, and at how many it became so.
    crossed: u64,
    crossed_spans: u64,
    /// Events earlier than one before them, by venue and by receive time.
    venue_order_violations: u64,
    recv_order_violations: u64,
    /// Trades that have an id which is not the one after the last.
    id_jumps: u64,
}

/// Reads a file to its end and replays its books.
struct Run {
    tally: Tally,
    format: &'static str,
    key: String,
    decimals: (u8, u8),
    counters: Vec<(&'static str, u64)>,
    books: Vec<Book>,
    first: Option<MarketEvent>,
    last: Option<MarketEvent>,
    /// Venue times of the first and the last crossed state.
    crossed_ns: Option<(i64, i64)>,
}

impl Run {
    fn of(path: &Path) -> Result<Self, HistoryError> {
        let mut reader = history::open(path)?;
        let table = std::sync::Arc::clone(reader.table());
        let (_, item) = table.iter().next().unwrap();
        let mut run = Self {
            tally: Tally::default(),
            format: reader.format(),
            key: item.key(),
            decimals: (item.price_decimals, item.qty_decimals),
            counters: Vec::new(),
            books: (0..table.len()).map(|_| Book::with_depth(DEPTH)).collect(),
            first: None,
            last: None,
            crossed_ns: None,
        };
        let mut was_crossed = vec![false; table.len()];
        let (mut venue_ns, mut recv_ns, mut last_id) = (0, 0, None);
        let mut batch = Vec::new();
        while reader.next_batch(&mut batch)? {
            assert!(batch.len() <= 8_192, "a batch of {} events", batch.len());
            for event in batch.drain(..) {
                run.take(&event, &mut was_crossed, &mut last_id);
                run.tally.venue_order_violations += u64::from(event.ts_venue_ns < venue_ns);
                run.tally.recv_order_violations += u64::from(event.ts_recv_ns < recv_ns);
                venue_ns = venue_ns.max(event.ts_venue_ns);
                recv_ns = recv_ns.max(event.ts_recv_ns);
                run.first.get_or_insert(event);
                run.last = Some(event);
            }
        }
        assert!(!reader.next_batch(&mut batch)?, "the end stays the end");
        let progress = reader.progress();
        assert_eq!(progress.bytes_read, progress.bytes_total, "{}", path.display());
        run.tally.rows = progress.rows;
        run.counters = reader.counters();
        Ok(run)
    }

    fn take(&mut self, event: &MarketEvent, was_crossed: &mut [bool], last_id: &mut Option<u64>) {
        let tally = &mut self.tally;
        let at = event.instrument.index();
        tally.events += 1;
        let is_crossed = match event.body {
            EventBody::BookBegin => {
                tally.begins += 1;
                self.books[at].clear();
                return;
            }
            EventBody::Level { side, price, qty } => {
                tally.levels += 1;
                assert!(qty >= 0);
                self.books[at].set(side, price, qty);
                return;
            }
            EventBody::BookCommit { conflated } => {
                assert!(!conflated);
                tally.commits += 1;
                self.books[at].shape() == Shape::Crossed
            }
            EventBody::Top { bid_price, ask_price, .. } => {
                tally.tops += 1;
                bid_price > ask_price
            }
            EventBody::Trade { side, qty, count, .. } => {
                tally.trades += 1;
                tally.bought_trades += u64::from(side == Side::Bid);
                assert!(qty >= 0 && count == 1);
                if event.update_id == 0 {
                    return;
                }
                let last = last_id.replace(event.update_id);
                tally.id_jumps += u64::from(last.is_some_and(|last| last + 1 != event.update_id));
                return;
            }
            EventBody::Desync { .. } => {
                tally.desyncs += 1;
                return;
            }
            EventBody::Oracle { .. } => panic!("no historical file has an oracle"),
        };
        if is_crossed {
            let (first, _) = self.crossed_ns.unwrap_or((event.ts_venue_ns, 0));
            self.crossed_ns = Some((first, event.ts_venue_ns));
        }
        tally.crossed += u64::from(is_crossed);
        tally.crossed_spans += u64::from(is_crossed && !was_crossed[at]);
        was_crossed[at] = is_crossed;
    }

    /// What was found, for the table.
    fn line(&self) -> String {
        let Tally { rows, events, begins, levels, commits, tops, trades, bought_trades, .. } =
            self.tally;
        let Tally { desyncs, crossed, crossed_spans, .. } = self.tally;
        let Tally { venue_order_violations, recv_order_violations, id_jumps, .. } = self.tally;
        let (price_decimals, qty_decimals) = self.decimals;
        let mut line = format!(
            "{} {} {price_decimals}/{qty_decimals} decimals | {rows} rows, {events} events: \
             {begins} begins, {levels} levels, {commits} commits, {tops} tops, {trades} trades \
             ({bought_trades} bought), {desyncs} desyncs | crossed {crossed} in {crossed_spans} \
             spans, order violations {venue_order_violations} venue {recv_order_violations} \
             receive, id jumps {id_jumps} |",
            self.format, self.key
        );
        for (name, count) in &self.counters {
            let _ = write!(line, " {name} {count}");
        }
        line
    }
}

/// The expected results: a line a file, as [`Run::line`] writes it.
const EXPECTED: &str = include_str!("history/expected.txt");

/// Every file of a folder of the data set is in the table and gives what the table says.
fn check(folder: &str) {
    let Some(root) = shared("") else { return };
    let mut folders = vec![root.join(folder)];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty());
    let mut wrong = 0;
    for path in files {
        let file = path.strip_prefix(&root).unwrap().display().to_string();
        let found = match Run::of(&path) {
            Ok(run) => run.line(),
            Err(error) => format!("refused: {}", reason(&error)),
        };
        let expected = EXPECTED.lines().find_map(|line| line.strip_prefix(&format!("{file} | ")));
        if expected != Some(found.as_str()) {
            println!("expected: {}", expected.unwrap_or("(no line)"));
            println!("found:    {file} | {found}");
            wrong += 1;
        }
    }
    assert_eq!(wrong, 0, "files differ from feeds/tests/history/expected.txt");
}

/// What an error says after the path.
fn reason(error: &HistoryError) -> String {
    match error {
        HistoryError::Unsupported { what, why, .. } => format!("{what}: {why}"),
        HistoryError::Unrecognised { .. } => "not a format known here".to_owned(),
        other => other.to_string(),
    }
}

#[test]
fn every_file_of_cryptocurrencies_gives_what_the_table_says() {
    check("crypto");
}

#[test]
fn every_file_of_equities_gives_what_the_table_says() {
    check("equity");
}

#[test]
fn every_file_of_foreign_exchange_gives_what_the_table_says() {
    check("fx");
}

#[test]
#[cfg(feature = "databento")]
fn every_file_of_futures_gives_what_the_table_says() {
    check("futures");
}

#[test]
#[cfg(not(feature = "databento"))]
fn without_the_feature_a_databento_file_is_refused_with_the_reason() {
    let name = "futures/databento_es/esh4-glbx-mdp3-20231225.mbo.dbn.zst";
    let Some(path) = shared(name) else { return };
    let error = Run::of(&path).err().unwrap().to_string();
    assert!(error.contains("without the feature `databento`"), "{error}");
}

#[test]
fn what_is_no_recording_for_replay_is_refused_with_the_reason() {
    check("ws_captures/bitfinex_raw_book");
    let Some(path) = shared("ws_captures/single_message_fixtures.jsonl") else { return };
    let error = Run::of(&path).err().unwrap().to_string();
    assert!(error.contains("single messages"), "{error}");
}

/// The levels of the first book, best first.
fn levels(book: &Book) -> [Vec<Level>; 2] {
    [Side::Bid, Side::Ask].map(|side| book.levels(side).collect())
}

#[test]
fn a_quarter_of_an_hour_begins_with_the_book_the_one_before_ended_with() {
    for (before, after) in [(1, 2), (2, 3)] {
        let name = |n| format!("crypto/gdax_btcusd_l2/l2update_15min_{n}.csv.gz");
        let (Some(before), Some(after)) = (shared(&name(before)), shared(&name(after))) else {
            return;
        };
        let end = Run::of(&before).unwrap();
        let mut reader = history::open(&after).unwrap();
        let mut book = Book::with_depth(DEPTH);
        let mut events = Vec::new();
        while !events.iter().any(|e: &MarketEvent| matches!(e.body, EventBody::BookCommit { .. })) {
            assert!(reader.next_batch(&mut events).unwrap());
        }
        for event in events {
            if let EventBody::Level { side, price, qty } = event.body {
                book.set(side, price, qty);
            }
        }
        assert!(book.levels(Side::Bid).len() > 13_000);
        assert_eq!(levels(&end.books[0]), levels(&book));
    }
}

#[test]
fn the_last_book_of_a_lobster_file_is_its_last_row() {
    let name = "equity/lobster/AAPL_2012-06-21_34200000_57600000_message_1.csv.gz";
    let Some(path) = shared(name) else { return };
    let run = Run::of(&path).unwrap();
    let best = |side| run.books[0].best(side).unwrap();
    assert_eq!(best(Side::Ask), Level { price: 5_776_700, qty: 300 });
    assert_eq!(best(Side::Bid), Level { price: 5_775_400, qty: 410 });
    // 09:30 and 16:00 in New York on 2012-06-21.
    let (open_ns, close_ns) = (1_340_285_400_000_000_000, 1_340_308_800_000_000_000);
    assert!((open_ns..open_ns + 1_000_000_000).contains(&run.first.unwrap().ts_venue_ns));
    assert!((close_ns - 1_000_000_000..close_ns).contains(&run.last.unwrap().ts_venue_ns));
}

#[test]
fn a_lobster_message_left_out_is_noticed_at_once() {
    let name = "equity/lobster/AMZN_2012-06-21_34200000_57600000_message_1.csv.gz";
    let Some(path) = shared(name) else { return };
    let mut text = String::new();
    let file = std::fs::File::open(&path).unwrap();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let stem = "AMZN_2012-06-21_34200000_57600000";
    let books = path.with_file_name(format!("{stem}_orderbook_1.csv.gz"));
    std::fs::copy(books, folder.path().join(format!("{stem}_orderbook_1.csv.gz"))).unwrap();
    for removed in [1_000, 20_000, 50_000] {
        let rows: Vec<&str> = text.lines().collect();
        let rows = [&rows[..removed], &rows[removed + 1..]].concat().join("\n");
        let short = folder.path().join(format!("{stem}_message_1.csv"));
        std::fs::write(&short, rows).unwrap();
        let mut reader = history::open(&short).unwrap();
        let mut batch = Vec::new();
        let noticed = loop {
            batch.clear();
            assert!(reader.next_batch(&mut batch).unwrap(), "never noticed");
            if reader.counters().contains(&("disagreeing_rows", 1)) {
                break reader.progress().rows as usize;
            }
        };
        // Two equal messages in a row hide the gap for that long.
        assert!((removed..removed + 10).contains(&noticed), "{removed} noticed at {noticed}");
    }
}

#[test]
#[cfg(feature = "databento")]
fn trades_of_two_databento_schemas_are_the_same_trades() {
    let trades = |schema: &str| {
        let name = format!("futures_{schema}_2024-07-01T23-58_2024-07-02T00-02.dbn.zst");
        let path = shared(&format!("futures/databento_es/{name}"))?;
        let mut reader = history::open(&path).unwrap();
        let mut events = Vec::new();
        while reader.next_batch(&mut events).unwrap() {}
        events.retain(|event| matches!(event.body, EventBody::Trade { .. }));
        Some(events)
    };
    let (Some(mbp), Some(plain)) = (trades("mbp-1"), trades("trades")) else { return };
    assert_eq!(mbp.len(), 120);
    assert_eq!(mbp, plain);
}

#[test]
#[cfg(feature = "databento")]
fn an_order_by_order_book_is_crossed_only_before_the_market_opens() {
    let name = "futures/databento_es/esh4-glbx-mdp3-20231225.mbo.dbn.zst";
    let Some(path) = shared(name) else { return };
    let run = Run::of(&path).unwrap();
    let (first_ns, last_ns) = run.crossed_ns.unwrap();
    // 2023-12-25, a holiday: Globex opens at 17:00 in Chicago, 23:00 UTC.
    let open_ns = 1_703_545_200_000_000_000;
    println!("crossed for {} s before the opening", (last_ns - first_ns) / 1_000_000_000);
    assert!(first_ns > open_ns - 3_600_000_000_000 && last_ns <= open_ns, "{first_ns} {last_ns}");
}

#[test]
fn a_file_cut_in_the_middle_is_damaged_and_never_just_shorter() {
    let mut files = vec![
        "crypto/tardis_binance_futures_btcusdt/trades_2020-02-22.csv.gz",
        "crypto/binance_ltcusdt_trades/LTCUSDT_2025-06-21_06h_trades.csv.gz",
        "crypto/bitstamp_btcusd_l3/2015-05-01.00h-16h.log.gz",
        "crypto/gdax_btcusd_l2/l2update_15min_1.csv.gz",
        "crypto/gdax_btcusd_l2/raw_mongo_input_20180417.csv.gz",
        "equity/lean_tick/aig/20131007_aig_Trade_Tick.csv.gz",
        "fx/oanda_eurusd/20140501_eurusd_tick_quote.csv.gz",
    ];
    if cfg!(feature = "databento") {
        files.push("futures/databento_es/futures_mbp-1_2024-07-01T23-58_2024-07-02T00-02.dbn.zst");
        files.push("futures/databento_es/esh4-glbx-mdp3-20231225.mbo.dbn.zst");
    }
    for file in files {
        let Some(path) = shared(file) else { return };
        let bytes = std::fs::read(&path).unwrap();
        // The folder's name tells the pair where the file's does not.
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join(path.parent().unwrap().file_name().unwrap());
        std::fs::create_dir(&folder).unwrap();
        let cut = folder.join(path.file_name().unwrap());
        for percent in [2, 60, 99] {
            std::fs::write(&cut, &bytes[..bytes.len() * percent / 100]).unwrap();
            let error = Run::of(&cut).err();
            assert!(matches!(error, Some(HistoryError::Damaged { .. })), "{file}: {error:?}");
        }
    }
}
