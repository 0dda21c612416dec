//! The recordings of the data set beside the checkout, in memory: one a venue, reduced to what books need.
//!
//! Invariants: REST answers stand first, all other lines are in order of their receive times; the texts are the venue's, but for the reader
//! that needs another envelope ([`Line::for_barter`]).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use purkinje_feeds::Venue;
use purkinje_feeds::binance::decode::is_snapshot;
use purkinje_feeds::protocol::{self, BookKind, Message};
use purkinje_feeds::recording::capture::{CaptureError, CaptureKind, CaptureReader};

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Changed levels: what is timed.
    Update,
    /// A whole book in the stream.
    Snapshot,
    /// The body of a REST answer with the book of a symbol, by its place in the list.
    Rest(usize),
    /// Trades: timed in a pass of their own.
    Trade,
    /// A frame that only counts, on venues that number all frames of a connection.
    Other,
}

/// One line of a recording.
#[derive(Clone, Debug)]
pub struct Line {
    /// When it was received, ns since the epoch.
    pub ts_recv_ns: i64,
    /// What it is.
    pub kind: Kind,
    /// The text as received.
    pub bytes: Vec<u8>,
    /// The text as `barter-data` expects it: without the envelope of Binance's combined streams, and
    /// with the one depth of Bybit's that it knows in the topic's name. Empty for other venues.
    pub for_barter: Vec<u8>,
}

/// A file of the data set and what is read of it.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// How reports call it.
    pub name: &'static str,
    /// Whose protocol.
    pub venue: Venue,
    /// Path under `ws_captures`.
    pub file: &'static str,
    /// How the address of the connections ends that are read.
    pub address_end: &'static str,
    /// Levels a side that the recorded channel carries, or that are kept of it.
    pub levels: usize,
}

const fn source(
    name: &'static str,
    venue: Venue,
    file: &'static str,
    address_end: &'static str,
    levels: usize,
) -> Source {
    Source { name, venue, file, address_end, levels }
}

/// One recording a venue.
pub const SOURCES: [Source; 11] = [
    source("binance spot", Venue::BinanceSpot, "hftbacktest/spot/btcusdt_20240808.gz", "", 5000),
    source("binance usdm", Venue::BinanceUsdm, "hftbacktest/usdm/btcusdt_20240808.gz", "", 1000),
    source(
        "binance coinm",
        Venue::BinanceCoinm,
        "hftbacktest/cm/btcusd_perp_20240808.gz",
        "",
        1000,
    ),
    source("bybit linear", Venue::BybitLinear, "cryptofeed_v2/BYBIT.jsonl.zst", "/linear", 200),
    source("bybit spot", Venue::BybitSpot, "cryptofeed_v2/BYBIT.jsonl.zst", "/spot", 200),
    source("okx", Venue::Okx, "cryptofeed_v2/OKX.jsonl.zst", "/ws/v5/public", 400),
    source("kraken (v1)", Venue::Kraken, "cryptofeed_v2/KRAKEN.jsonl.zst", "", 1000),
    source(
        "coinbase advanced",
        Venue::CoinbaseAdvanced,
        "cryptofeed_v2/COINBASE.jsonl.zst",
        "",
        20_000,
    ),
    source(
        "coinbase exchange",
        Venue::CoinbaseExchange,
        "cryptofeed_v1/COINBASE.ws.28.0.txt.gz",
        "",
        20_000,
    ),
    source("deribit", Venue::Deribit, "cryptofeed_v2/DERIBIT.jsonl.zst", "", 10_000),
    source("bitstamp", Venue::Bitstamp, "cryptofeed_v2/BITSTAMP.jsonl.zst", "", 5000),
];

/// A recording in memory.
#[derive(Clone, Debug)]
pub struct Recording {
    /// Where it is from.
    pub source: Source,
    /// The instruments its books are of, in the venue's spelling.
    pub symbols: Vec<String>,
    /// Decimals of the prices and quantities of each.
    pub decimals: Vec<(u8, u8)>,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Levels of all updates.
    pub levels: u64,
}

impl Recording {
    /// Reads a recording; `None`, and a message, where the data set is absent.
    ///
    /// # Errors
    /// The file cannot be read, or holds no book.
    pub fn open(source: Source) -> Result<Option<Self>, String> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../../shared/data/ws_captures");
        let path = PathBuf::from(root).join(source.file);
        if !path.exists() {
            eprintln!("skipped: {} is absent", path.display());
            return Ok(None);
        }
        let raw = read(&path, source.address_end)?;
        let (symbols, decimals) = symbols(source.venue, &raw).into_iter().unzip();
        let mut recording = Self { source, symbols, decimals, lines: Vec::new(), levels: 0 };
        for (ts_recv_ns, kind, address, bytes) in raw {
            let kind = match kind {
                CaptureKind::Snapshot => Kind::Rest(0),
                CaptureKind::Http => match recording.rest_book(&address) {
                    Some(symbol) => Kind::Rest(symbol),
                    None => continue,
                },
                CaptureKind::Frame => match recording.classify(&bytes) {
                    Some(kind) => kind,
                    None => continue,
                },
                _ => continue,
            };
            let for_barter = for_barter(source.venue, kind, &bytes);
            recording.lines.push(Line { ts_recv_ns, kind, bytes, for_barter });
        }
        // So that no reader has to buffer what came while a snapshot was fetched.
        recording.lines.sort_by_key(|line| !matches!(line.kind, Kind::Rest(_)));
        if recording.updates() == 0 {
            return Err(format!("{}: no book update of {}", path.display(), source.name));
        }
        Ok(Some(recording))
    }

    /// The lines that keep books in step.
    pub fn book_lines(&self) -> Vec<Line> {
        let is_of_books = |line: &&Line| line.kind != Kind::Trade;
        self.lines.iter().filter(is_of_books).cloned().collect()
    }

    /// The frames with trades.
    pub fn trades(&self) -> Vec<Line> {
        self.lines.iter().filter(|line| line.kind == Kind::Trade).cloned().collect()
    }

    /// How many updates there are.
    pub fn updates(&self) -> u64 {
        self.lines.iter().filter(|line| line.kind == Kind::Update).count() as u64
    }

    fn rest_book(&self, address: &str) -> Option<usize> {
        let is_book = self.source.venue == Venue::Bitstamp && address.contains("/order_book/");
        let symbol = address.rsplit('/').next().filter(|_| is_book)?;
        self.symbols.iter().position(|known| known == symbol)
    }

    fn classify(&mut self, bytes: &[u8]) -> Option<Kind> {
        let (mut kind, mut levels) = (None, 0);
        // A frame that cannot be read counts like one that is of no use.
        let _ = protocol::of(self.source.venue)?.decode(bytes, &mut |message| match message {
            Message::Book(book) => {
                levels += book.levels.iter().map(|list| list.clone().count() as u64).sum::<u64>();
                kind = Some(match book.kind {
                    BookKind::Update => Kind::Update,
                    BookKind::Snapshot => Kind::Snapshot,
                });
            }
            Message::Trade(_) => kind = Some(Kind::Trade),
            _ => {}
        });
        // Here, trades and tickers count too.
        let counts_all = self.source.venue == Venue::CoinbaseAdvanced;
        match kind {
            Some(Kind::Update) => self.levels += levels,
            None | Some(Kind::Trade) if counts_all => return Some(Kind::Other),
            _ => {}
        }
        kind
    }
}

type Raw = (i64, CaptureKind, String, Vec<u8>);

fn read(path: &Path, address_end: &str) -> Result<Vec<Raw>, String> {
    let mut reader = CaptureReader::open(path).map_err(|error| error.to_string())?;
    let (mut wanted, mut raw) = (Vec::new(), Vec::new());
    loop {
        let line = match reader.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            // The older recording ends with empty lines.
            Err(CaptureError::Malformed { found, .. }) if found.is_empty() => break,
            Err(error) => return Err(error.to_string()),
        };
        if line.kind == CaptureKind::Connected && line.bytes.ends_with(address_end.as_bytes()) {
            wanted.push(line.connection);
        }
        if address_end.is_empty() || wanted.contains(&line.connection) {
            let address = String::from_utf8_lossy(line.address).into_owned();
            raw.push((line.ts_recv_ns, line.kind, address, line.bytes.to_vec()));
        }
    }
    // Connections are recorded one after the other in places.
    raw.sort_by_key(|(ts_recv_ns, ..)| *ts_recv_ns);
    Ok(raw)
}

/// Every symbol there is a book of, and the most decimals its prices and quantities have.
fn symbols(venue: Venue, raw: &[Raw]) -> BTreeMap<String, (u8, u8)> {
    let mut symbols = BTreeMap::new();
    let Some(protocol) = protocol::of(venue) else { return symbols };
    for (_, kind, _, bytes) in raw.iter().filter(|(_, _, _, bytes)| !is_snapshot(bytes)) {
        if *kind != CaptureKind::Frame {
            continue;
        }
        // What cannot be read is noticed when it is to be used.
        let _ = protocol.decode(bytes, &mut |message| {
            let Message::Book(book) = message else { return };
            let symbol = String::from_utf8_lossy(book.symbol).into_owned();
            let most = symbols.entry(symbol).or_insert((0, 0));
            for level in book.levels.into_iter().flatten().flatten() {
                most.0 = most.0.max(decimals_of(level.price));
                most.1 = most.1.max(decimals_of(level.qty));
            }
        });
    }
    symbols
}

/// Decimals of a number, zeros at its end not counted.
fn decimals_of(text: &[u8]) -> u8 {
    let zeros = text.iter().rev().take_while(|byte| **byte == b'0').count();
    let point = text.iter().position(|byte| *byte == b'.');
    point.map_or(0, |at| (text.len() - at - 1).saturating_sub(zeros) as u8)
}

fn for_barter(venue: Venue, kind: Kind, bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    match venue {
        Venue::BinanceSpot | Venue::BinanceUsdm => match (kind, text.split_once(r#""data":"#)) {
            (Kind::Rest(_), _) | (_, None) => bytes.to_vec(),
            (_, Some((_, data))) => data.strip_suffix('}').unwrap_or(data).into(),
        },
        Venue::BybitLinear | Venue::BybitSpot => {
            text.replacen(r#""topic":"orderbook.200."#, r#""topic":"orderbook.50."#, 1).into()
        }
        _ => Vec::new(),
    }
}
