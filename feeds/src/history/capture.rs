//! A capture of WebSocket frames as a stream of events: every frame goes through the venue's own decoder
//! and sequence rules, exactly as if it had come from a socket.
//!
//! The file is read once to learn what it is of (connections and their venues, symbols, decimals, the
//! depth subscribed) and then once a connection: collectors write their connections one after the other,
//! and the lines are merged by receive time, ties in order of the file. Invariants: one line a connection
//! is in memory; REST answers reach the session whose instrument their address names; a session asks for
//! nothing here, since a recording cannot answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{HistoryError, HistoryReader, Progress};
use crate::protocol::{self, BookMessage, Message, Protocol};
use crate::recording::capture::{
    CaptureError, CaptureFormat, CaptureKind, CaptureLine, CaptureReader, probe,
};
use crate::session::{Outbox, Session, SessionCounters, SessionSpec, SnapshotReply};
use crate::topic::Channel;
use crate::{Instrument, InstrumentError, InstrumentId, InstrumentTable, MarketEvent, Venue};

/// Most connections that are merged; each costs a reading of the file.
const MAX_LANES: usize = 64;

/// Levels a side of a snapshot that are kept: more than any recorded book has.
const SNAPSHOT_LEVELS: usize = 20_000;

/// Addresses of venues, as they stood and stand in captures.
const ADDRESSES: [(&str, Venue); 19] = [
    ("stream.binance.com", Venue::BinanceSpot),
    ("api.binance.com", Venue::BinanceSpot),
    ("fstream.binance.com", Venue::BinanceUsdm),
    ("fapi.binance.com", Venue::BinanceUsdm),
    ("dstream.binance.com", Venue::BinanceCoinm),
    ("dapi.binance.com", Venue::BinanceCoinm),
    ("advanced-trade-ws.coinbase.com", Venue::CoinbaseAdvanced),
    ("ws-feed.pro.coinbase.com", Venue::CoinbaseExchange),
    ("ws-feed.exchange.coinbase.com", Venue::CoinbaseExchange),
    ("api.exchange.coinbase.com", Venue::CoinbaseExchange),
    ("ws.kraken.com", Venue::Kraken),
    ("stream.bybit.com/v5/public/spot", Venue::BybitSpot),
    ("stream.bybit.com/v5/public/linear", Venue::BybitLinear),
    ("ws.okx.com", Venue::Okx),
    ("www.okx.com", Venue::Okx),
    ("ws.bitstamp.net", Venue::Bitstamp),
    ("www.bitstamp.net", Venue::Bitstamp),
    ("www.deribit.com", Venue::Deribit),
    ("streams.deribit.com", Venue::Deribit),
];

/// The venue an address belongs to.
fn venue_of(address: &[u8]) -> Option<Venue> {
    let address = std::str::from_utf8(address).ok()?;
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    ADDRESSES.iter().find(|(prefix, _)| rest.starts_with(prefix)).map(|(_, venue)| *venue)
}

/// What the first reading learned.
#[derive(Debug, Default)]
struct Survey {
    /// Venue of each connection, where its frames are read.
    venues: BTreeMap<u16, Venue>,
    /// Connections that carry frames.
    framed: BTreeSet<u16>,
    /// Addresses of connections that no adapter reads.
    foreign: Vec<String>,
    /// Decimals of price and quantity of each instrument.
    instruments: BTreeMap<(Venue, Vec<u8>), [u8; 2]>,
    /// Levels a side subscribed, where a request says so.
    depth: Option<usize>,
    warnings: Vec<String>,
}

/// See the module.
#[derive(Debug)]
pub struct CaptureHistory {
    format: CaptureFormat,
    table: Arc<InstrumentTable>,
    lanes: Vec<Lane>,
    out: Outbox,
    notes: Vec<String>,
}

/// One connection of the file.
#[derive(Debug)]
struct Lane {
    connection: u16,
    reader: CaptureReader,
    /// The next line, if there is one.
    head: Option<Head>,
    /// Its bytes, kept from line to line.
    bytes: Vec<u8>,
    address: Vec<u8>,
    /// None for a connection that only carries REST answers.
    session: Option<Session>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    ts_recv_ns: i64,
    kind: CaptureKind,
}

impl CaptureHistory {
    /// Opens a capture of any format that [`CaptureReader`] reads.
    ///
    /// # Errors
    /// The file cannot be read, is no capture, or is of venues that have no adapter here.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let mut survey = Survey::default();
        let format = survey.read(path)?;
        if survey.instruments.is_empty() {
            let what = match survey.foreign.first() {
                Some(address) => format!("a capture of {address}"),
                None => format!("a capture ({})", format.name()),
            };
            let why = "no adapter here reads its frames";
            return Err(HistoryError::Unsupported { path: path.to_owned(), what, why });
        }
        let bad_table = |source| HistoryError::Instruments { path: path.to_owned(), source };
        let table = Arc::new(survey.table().map_err(bad_table)?);
        let mut lanes = Vec::new();
        let connections = survey.venues.keys().copied().max().map_or(0, |most| most + 1);
        let mut notes: Vec<String> = survey
            .foreign
            .iter()
            .map(|a| format!("{a} is passed over: no adapter reads it"))
            .collect();
        notes.append(&mut survey.warnings);
        for connection in 0..connections.max(1) {
            let Some(&venue) = survey.venues.get(&connection) else {
                continue;
            };
            let has_frames = survey.framed.contains(&connection);
            let session = has_frames.then(|| session(&survey, venue, connection, &table)).flatten();
            lanes.push(Lane::open(path, connection, session, &mut notes)?);
        }
        if lanes.len() > MAX_LANES {
            let what = format!("a capture of {} connections", lanes.len());
            let why = "at most 64 are merged";
            return Err(HistoryError::Unsupported { path: path.to_owned(), what, why });
        }
        let out = lanes.iter().find_map(|lane| lane.session.as_ref().map(Session::outbox));
        let mut this = Self { format, table, lanes, out: out.unwrap_or_default(), notes };
        if format == CaptureFormat::Hftbacktest {
            // Its files begin inside a connection.
            this.connect_all();
        }
        Ok(this)
    }

    /// Which collector wrote the file.
    #[must_use]
    pub fn capture_format(&self) -> CaptureFormat {
        self.format
    }

    fn connect_all(&mut self) {
        for lane in &mut self.lanes {
            if let (Some(session), Some(head)) = (&mut lane.session, lane.head) {
                session.on_connected(head.ts_recv_ns, &mut self.out);
            }
        }
        self.out.clear();
    }

    /// Hands a REST answer to the sessions of the instrument its address names.
    fn on_answer(&mut self, ts_recv_ns: i64, address: &[u8], body: &[u8]) {
        let named = venue_of(address).and_then(|v| self.table.lookup(v, symbol_in(address)));
        let Some(instrument) = named else {
            return;
        };
        for session in self.lanes.iter_mut().filter_map(|lane| lane.session.as_mut()) {
            // Other answers of the same venue are no snapshots.
            let is_of_it = session.spec().instruments.contains(&instrument)
                && session.protocol().decode_snapshot(body).is_ok();
            if is_of_it {
                answer(session, instrument, ts_recv_ns, body, &mut self.out);
            }
        }
    }
}

/// The symbol a REST address names: `…?symbol=BTCUSDT&…`, `…/products/BTC-USD/book`, or the last part
/// of the path.
fn symbol_in(address: &[u8]) -> &[u8] {
    let until = |text: &'_ [u8], stop: &[u8]| {
        text.iter().position(|b| stop.contains(b)).unwrap_or(text.len())
    };
    for mark in [&b"symbol="[..], b"instId=", b"/products/"] {
        if let Some(at) = address.windows(mark.len()).position(|window| window == mark) {
            let rest = &address[at + mark.len()..];
            return &rest[..until(rest, b"&/?")];
        }
    }
    let path = &address[..until(address, b"?")];
    let path = path.strip_suffix(b"/").unwrap_or(path);
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(b"")
}

fn session(
    survey: &Survey,
    venue: Venue,
    connection: u16,
    table: &Arc<InstrumentTable>,
) -> Option<Session> {
    let of_venue = table.iter().filter(|(_, item)| item.venue == venue);
    let mut spec = SessionSpec::new(connection as u8, venue, of_venue.map(|(id, _)| id).collect());
    spec.snapshot_limit = survey.depth.unwrap_or(SNAPSHOT_LEVELS).min(SNAPSHOT_LEVELS);
    // Seconds of the busiest stream: REST answers come late in captures of many instruments.
    (spec.buffer_diffs, spec.buffer_levels) = (4_096, 65_536);
    let protocol = protocol::of(venue)?;
    spec.channels.depth = protocol.has(Channel::Depth);
    spec.channels.book_ticker = protocol.has(Channel::BookTicker);
    spec.channels.trade = protocol.has(Channel::Trade);
    Session::for_replay(spec, Arc::clone(table)).ok()
}

impl Lane {
    fn open(
        path: &Path,
        connection: u16,
        session: Option<Session>,
        notes: &mut Vec<String>,
    ) -> Result<Self, HistoryError> {
        let reader = CaptureReader::open(path)?;
        let (bytes, address) = (Vec::new(), Vec::new());
        let mut lane = Self { connection, reader, head: None, bytes, address, session };
        lane.advance(notes)?;
        Ok(lane)
    }

    /// Reads on to the next line of the connection.
    fn advance(&mut self, notes: &mut Vec<String>) -> Result<(), HistoryError> {
        self.head = None;
        loop {
            match self.reader.next_line() {
                Ok(None) => return Ok(()),
                Ok(Some(line)) if line.connection == self.connection => {
                    let CaptureLine { ts_recv_ns, kind, address, bytes, .. } = line;
                    self.head = Some(Head { ts_recv_ns, kind });
                    self.bytes.clear();
                    self.bytes.extend_from_slice(bytes);
                    self.address.clear();
                    self.address.extend_from_slice(address);
                    return Ok(());
                }
                Ok(Some(_)) => {}
                Err(error) if error.is_warning() => {
                    let note = error.to_string();
                    if !notes.contains(&note) {
                        notes.push(note);
                    }
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl HistoryReader for CaptureHistory {
    fn format(&self) -> &'static str {
        self.format.name()
    }

    fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        let heads = self.lanes.iter().enumerate();
        let next = heads.filter_map(|(i, lane)| Some((lane.head?.ts_recv_ns, i))).min();
        let Some((ts_recv_ns, index)) = next else {
            return Ok(false);
        };
        let lane = &mut self.lanes[index];
        let kind = lane.head.map(|head| head.kind);
        match (kind, &mut lane.session) {
            (Some(CaptureKind::Frame), Some(session)) => {
                session.on_frame(ts_recv_ns, &lane.bytes, &mut self.out);
            }
            (Some(CaptureKind::Connected), Some(session)) => {
                session.on_connected(ts_recv_ns, &mut self.out);
            }
            (Some(CaptureKind::Snapshot), Some(session)) => {
                // A file of one instrument does not name it.
                let instrument = session.spec().instruments[0];
                answer(session, instrument, ts_recv_ns, &lane.bytes, &mut self.out);
            }
            (Some(CaptureKind::Http), _) => {
                let bytes = std::mem::take(&mut lane.bytes);
                let address = std::mem::take(&mut lane.address);
                self.on_answer(ts_recv_ns, &address, &bytes);
                (self.lanes[index].bytes, self.lanes[index].address) = (bytes, address);
            }
            _ => {}
        }
        out.append(&mut self.out.events);
        self.out.clear();
        self.lanes[index].advance(&mut self.notes)?;
        Ok(true)
    }

    fn progress(&self) -> Progress {
        let rows = self.lanes.iter().map(|lane| lane.reader.lines_read()).max().unwrap_or(0);
        let bytes = self.lanes.iter().map(|lane| lane.reader.bytes());
        let (bytes_read, bytes_total) = bytes.min().unwrap_or((0, 0));
        Progress { bytes_read, bytes_total, rows }
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn sessions(&self) -> Vec<(Venue, SessionCounters)> {
        let sessions = self.lanes.iter().filter_map(|lane| lane.session.as_ref());
        sessions.map(|session| (session.spec().venue, *session.counters())).collect()
    }
}

fn answer(
    session: &mut Session,
    instrument: InstrumentId,
    ts_recv_ns: i64,
    body: &[u8],
    out: &mut Outbox,
) {
    let generation = session.generation();
    session.on_snapshot(SnapshotReply { instrument, generation, ts_recv_ns, body }, out);
}

impl Survey {
    /// Reads the whole file.
    fn read(&mut self, path: &Path) -> Result<CaptureFormat, HistoryError> {
        let mut reader = CaptureReader::open(path)?;
        // hftbacktest files name no address; their frames tell.
        let mut told = None;
        loop {
            match reader.next_line() {
                Ok(Some(line)) => {
                    let is_told = !self.venues.is_empty() || !self.foreign.is_empty();
                    if line.kind == CaptureKind::Frame && told.is_none() && !is_told {
                        told = Some(probe(path).map_err(|error| unsupported(path, error))?.venue);
                    }
                    self.line(&line, told);
                }
                Ok(None) => break,
                Err(error) if error.is_warning() => break,
                Err(error) => return Err(error.into()),
            }
        }
        let missing = || HistoryError::Unrecognised { path: path.to_owned(), head: String::new() };
        reader.format().ok_or_else(missing)
    }

    fn line(&mut self, line: &CaptureLine<'_>, told: Option<Venue>) {
        match line.kind {
            CaptureKind::Connected => match venue_of(line.address) {
                Some(venue) if protocol::of(venue).is_some() => {
                    self.venues.insert(line.connection, venue);
                }
                _ => {
                    let address = String::from_utf8_lossy(line.address);
                    let host = address.split('?').next().unwrap_or_default().to_owned();
                    if !self.foreign.contains(&host) {
                        self.foreign.push(host);
                    }
                }
            },
            CaptureKind::Sent => {
                self.depth = self.depth.or_else(|| number_after(line.bytes, b"\"depth\":"));
            }
            CaptureKind::Http => {
                if let Some(venue) = venue_of(line.address).filter(|v| protocol::of(*v).is_some()) {
                    self.venues.entry(line.connection).or_insert(venue);
                    self.answer(venue, symbol_in(line.address), line.bytes);
                }
            }
            CaptureKind::Snapshot => {
                // A file of one instrument does not name it; its frames do, before or after.
                let venue = told.or(self.venues.get(&line.connection).copied());
                let symbol = self.instruments.keys().next().map(|(_, symbol)| symbol.clone());
                if let (Some(venue), Some(symbol)) = (venue, symbol) {
                    self.answer(venue, &symbol, line.bytes);
                }
            }
            CaptureKind::Frame => {
                self.framed.insert(line.connection);
                if let Some(venue) = told {
                    self.venues.entry(line.connection).or_insert(venue);
                }
                let venue = self.venues.get(&line.connection).copied();
                if let Some((venue, protocol)) = venue.and_then(|v| Some((v, protocol::of(v)?))) {
                    self.frame(venue, protocol, line.bytes);
                }
            }
        }
    }

    /// Notes how many decimals a number of an instrument needs.
    fn note(&mut self, venue: Venue, symbol: &[u8], price: &[u8], qty: &[u8]) {
        let known = self.instruments.entry((venue, symbol.to_vec())).or_default();
        known[0] = known[0].max(decimals_of(price));
        known[1] = known[1].max(decimals_of(qty));
    }

    fn note_levels(&mut self, venue: Venue, symbol: &[u8], book: &BookMessage<'_>) {
        self.note(venue, symbol, b"", b"");
        for level in book.levels.iter().flat_map(Clone::clone).map_while(Result::ok) {
            self.note(venue, symbol, level.price, level.qty);
        }
    }

    /// A REST answer about an instrument that the frames carry too.
    fn answer(&mut self, venue: Venue, symbol: &[u8], body: &[u8]) {
        let Some(protocol) = protocol::of(venue) else { return };
        if let Ok(book) = protocol.decode_snapshot(body) {
            self.note_levels(venue, symbol, &book);
        }
    }

    /// A frame. What cannot be decoded is counted when it is read for good.
    fn frame(&mut self, venue: Venue, protocol: &dyn Protocol, frame: &[u8]) {
        let _ = protocol.decode(frame, &mut |message| match message {
            Message::Book(book) => self.note_levels(venue, book.symbol, &book),
            Message::Top(top) => {
                for (price, qty) in top.bid.into_iter().chain(top.ask) {
                    self.note(venue, top.symbol, price, qty);
                }
            }
            Message::Trade(trade) => self.note(venue, trade.symbol, trade.price, trade.qty),
            _ => {}
        });
    }

    fn table(&self) -> Result<InstrumentTable, InstrumentError> {
        let item = |((venue, symbol), decimals): (&(Venue, Vec<u8>), &[u8; 2])| Instrument {
            venue: *venue,
            symbol: String::from_utf8_lossy(symbol).into_owned(),
            price_decimals: decimals[0],
            qty_decimals: decimals[1],
        };
        InstrumentTable::new(self.instruments.iter().map(item).collect())
    }
}

fn unsupported(path: &Path, error: CaptureError) -> HistoryError {
    match error {
        CaptureError::Unrecognised { .. } => HistoryError::Unsupported {
            path: path.to_owned(),
            what: "a capture of frames that are not Binance's".to_owned(),
            why: "the format does not say which venue it is of",
        },
        other => other.into(),
    }
}

/// Decimals of a number with the zeros at its end left out: they cost range and say nothing.
fn decimals_of(text: &[u8]) -> u8 {
    let Some(point) = text.iter().position(|&byte| byte == b'.') else {
        return 0;
    };
    let zeros = text.iter().rev().take_while(|&&byte| byte == b'0').count();
    u8::try_from((text.len() - point - 1).saturating_sub(zeros)).unwrap_or(u8::MAX)
}

/// The whole number that follows a mark.
fn number_after(text: &[u8], mark: &[u8]) -> Option<usize> {
    let at = text.windows(mark.len()).position(|window| window == mark)?;
    let digits = text[at + mark.len()..].iter().skip_while(|byte| **byte == b' ');
    let digits: Vec<u8> = digits.take_while(|byte| byte.is_ascii_digit()).copied().collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

impl From<CaptureError> for HistoryError {
    fn from(error: CaptureError) -> Self {
        let problem = error.to_string();
        let io = |path: PathBuf, source| Self::Io { path, source };
        match error {
            CaptureError::Io { path, source } => io(path, source),
            CaptureError::Damaged { path, line, .. }
            | CaptureError::Malformed { path, line, .. }
            | CaptureError::TooManyConnections { path, line }
            | CaptureError::LineTooLong { path, line } => {
                Self::Damaged { path, row: line, problem }
            }
            CaptureError::TornTail { path, lines, .. } => {
                Self::Damaged { path, row: lines, problem }
            }
            CaptureError::Unrecognised { path } => Self::Unrecognised { path, head: String::new() },
        }
    }
}
