//! What `verify` says, as data: the JSON of `purkinje verify --json`.
//!
//! Keys are stable within [`VERSION`]; new ones may be added. Times are ns since the epoch, UTC, and
//! absent (`null`) where the history has none.

use std::{collections::BTreeMap, path::PathBuf};

use purkinje_feeds::{Venue, history::HistoryError, session::SessionCounters};
use serde::Serialize;

use super::{latency::LatencyReport, rates::BurstReport, spans::SpanReport};
use crate::history::source::Source;

/// Version of the JSON.
pub const VERSION: u32 = 1;

/// Lost books that are told one by one, per instrument.
pub const MAX_DESYNCS_TOLD: usize = 16;

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// One entry a history, in the order in which they were read.
    pub files: Vec<FileReport>,
    /// What they come to.
    pub summary: Summary,
}

/// What all files come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Histories looked at.
    pub files: u64,
    /// Those that were read to their ends and have no findings.
    pub clean: u64,
    /// Those that were read to their ends and have findings.
    pub with_findings: u64,
    /// Those that could not be read, or not to their ends.
    pub unreadable: u64,
    /// Rows of all.
    pub rows: u64,
    /// Events of all.
    pub events: u64,
}

/// One history.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// Its first file.
    pub path: PathBuf,
    /// How many files it is made of.
    pub parts: usize,
    /// The format it was read as; absent where it is not known.
    pub format: Option<&'static str>,
    /// Bytes of its files.
    pub bytes: u64,
    /// Rows read.
    pub rows: u64,
    /// Events made of them, the simulator's oracle left out.
    pub events: u64,
    /// Time the reading took, s. The only number that is not the same in every run.
    pub read_s: f64,
    /// Its instruments.
    pub instruments: Vec<InstrumentReport>,
    /// What the sessions counted that read its frames, one a connection; none where it has no frames.
    pub connections: Vec<ConnectionReport>,
    /// What its reader counted, by name.
    pub counters: BTreeMap<&'static str, u64>,
    /// What its reader has to say.
    pub notes: Vec<String>,
    /// Why it could not be read, or not to its end.
    pub error: Option<String>,
}

/// What the venue's own rules said of the frames of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ConnectionReport {
    /// Whose.
    pub venue: &'static str,
    /// Frames.
    pub frames: u64,
    /// Book updates among them, each checked against the venue's sequence rule where it has one.
    pub book_updates: u64,
    /// Breaks of the sequence rule.
    pub sequence_breaks: u64,
    /// Breaks of the numbering of the connection as a whole.
    pub connection_breaks: u64,
    /// Books compared with the venue's checksum.
    pub checksums: u64,
    /// Of those, how many differed.
    pub checksum_mismatches: u64,
    /// Books compared with a REST snapshot.
    pub audits: u64,
    /// Of those, how many differed.
    pub audit_mismatches: u64,
    /// Trades that the venue's ids say are missing.
    pub trades_lost: u64,
    /// Frames and snapshots that could not be read.
    pub bad_frames: u64,
    /// Book updates received twice.
    pub duplicates: u64,
}

impl ConnectionReport {
    /// From a session's counters.
    #[must_use]
    pub fn new(venue: Venue, counters: &SessionCounters) -> Self {
        Self {
            venue: venue.name(),
            frames: counters.frames,
            book_updates: counters.depth,
            sequence_breaks: counters.gaps,
            connection_breaks: counters.connection_gaps,
            checksums: counters.checksums,
            checksum_mismatches: counters.checksum_mismatches,
            audits: counters.audits,
            audit_mismatches: counters.audit_mismatches,
            trades_lost: counters.trades_lost,
            bad_frames: counters.bad_input.total(),
            duplicates: counters.duplicates,
        }
    }

    /// Names of what is wrong, in a fixed order.
    fn find(&self) -> impl Iterator<Item = &'static str> {
        let table = [
            ("sequence_break", self.sequence_breaks),
            ("connection_break", self.connection_breaks),
            ("checksum_mismatch", self.checksum_mismatches),
            ("audit_mismatch", self.audit_mismatches),
            ("trades_lost", self.trades_lost),
            ("bad_frame", self.bad_frames),
        ];
        table.into_iter().filter(|(_, count)| *count > 0).map(|(name, _)| name)
    }
}

/// One instrument of a history.
#[derive(Clone, Debug, Serialize)]
pub struct InstrumentReport {
    /// `venue:symbol`.
    pub instrument: String,
    /// Decimals of its prices.
    pub price_decimals: u8,
    /// Decimals of its quantities.
    pub qty_decimals: u8,
    /// How much of what.
    pub counts: Counts,
    /// Earliest receive time.
    pub first_recv_ns: Option<i64>,
    /// Latest receive time.
    pub last_recv_ns: Option<i64>,
    /// Earliest venue time.
    pub first_venue_ns: Option<i64>,
    /// Latest venue time.
    pub last_venue_ns: Option<i64>,
    /// Earliest time: receive, or venue where there is no receive time. Spans and rates go by it.
    pub first_ns: Option<i64>,
    /// From the earliest to the latest such time.
    pub span_ns: i64,
    /// Mean rate of events; absent for an instant.
    pub events_per_s: Option<f64>,
    /// Events per window of 10, 100 and 1000 ms.
    pub bursts: Vec<BurstReport>,
    /// Order of receive times.
    pub receive_order: OrderReport,
    /// Order of the venue times of books.
    pub venue_order_books: OrderReport,
    /// Order of the venue times of quotes.
    pub venue_order_quotes: OrderReport,
    /// Order of the venue times of trades.
    pub venue_order_trades: OrderReport,
    /// Receive minus venue time; absent where no message has both.
    pub latency: Option<LatencyReport>,
    /// Lost books by reason.
    pub desyncs: BTreeMap<&'static str, u64>,
    /// The first of them, at most [`MAX_DESYNCS_TOLD`].
    pub first_desyncs: Vec<DesyncSeen>,
    /// From a lost book to the next complete snapshot.
    pub unsynchronised: SpanReport,
    /// Best bid over best offer after a complete message.
    pub crossed_books: SpanReport,
    /// Best bid at best offer after a complete message.
    pub locked_books: SpanReport,
    /// Bid over offer in the quotes.
    pub crossed_quotes: SpanReport,
    /// Bid at offer in the quotes.
    pub locked_quotes: SpanReport,
    /// Names of what is wrong, none of a clean instrument.
    pub findings: Vec<&'static str>,
}

/// How much of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Complete messages: books, quotes, trades, losses of the book.
    pub messages: u64,
    /// Books begun anew.
    pub snapshots: u64,
    /// Changes of a level.
    pub levels: u64,
    /// Complete book messages.
    pub books: u64,
    /// Best bids and offers.
    pub quotes: u64,
    /// Trades.
    pub trades: u64,
    /// Losses of the book.
    pub desyncs: u64,
    /// Messages of the simulator's oracle.
    pub oracles: u64,
}

impl Counts {
    /// Events, without the oracle.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.snapshots + self.levels + self.books + self.quotes + self.trades + self.desyncs
    }
}

/// Times that should not run backwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OrderReport {
    /// Messages earlier than the one before them.
    pub backwards: u64,
    /// The furthest that a message is behind the latest before it, ns.
    pub furthest_behind_ns: i64,
}

impl OrderReport {
    /// Two kinds of times together.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            backwards: self.backwards + other.backwards,
            furthest_behind_ns: self.furthest_behind_ns.max(other.furthest_behind_ns),
        }
    }
}

/// One loss of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DesyncSeen {
    /// Rows read by then, this one included.
    pub row: u64,
    /// When.
    pub at_ns: i64,
    /// Why.
    pub reason: &'static str,
}

impl Report {
    /// The reports together.
    #[must_use]
    pub fn new(files: Vec<FileReport>) -> Self {
        let mut summary = Summary::default();
        for file in &files {
            summary.files += 1;
            summary.rows += file.rows;
            summary.events += file.events;
            let count = match (&file.error, file.findings().next()) {
                (Some(_), _) => &mut summary.unreadable,
                (None, Some(_)) => &mut summary.with_findings,
                (None, None) => &mut summary.clean,
            };
            *count += 1;
        }
        Self { version: VERSION, files, summary }
    }
}

impl FileReport {
    /// Nothing read yet.
    #[must_use]
    pub fn new(source: &Source) -> Self {
        Self {
            path: source.path().to_owned(),
            parts: source.files().len(),
            format: None,
            bytes: source.bytes(),
            rows: 0,
            events: 0,
            read_s: 0.0,
            instruments: Vec::new(),
            connections: Vec::new(),
            counters: BTreeMap::new(),
            notes: Vec::new(),
            error: None,
        }
    }

    pub(super) fn refuse(&mut self, error: &HistoryError) {
        self.error = Some(error.to_string());
    }

    /// All findings of its instruments and connections.
    pub fn findings(&self) -> impl Iterator<Item = &'static str> + '_ {
        let of_instruments = self.instruments.iter().flat_map(|i| i.findings.iter().copied());
        of_instruments.chain(self.connections.iter().flat_map(ConnectionReport::find))
    }
}

impl InstrumentReport {
    /// Messages whose venue time is earlier than that of the message before them in their channel.
    #[must_use]
    pub fn venue_backwards(&self) -> u64 {
        let orders = [self.venue_order_books, self.venue_order_quotes, self.venue_order_trades];
        orders.iter().map(|order| order.backwards).sum()
    }

    /// Names of what is wrong, in a fixed order.
    pub(super) fn find(&self) -> Vec<&'static str> {
        let negative = self.latency.is_some_and(|latency| latency.negative_count > 0);
        let table = [
            ("receive_time_backwards", self.receive_order.backwards > 0),
            ("venue_time_backwards", self.venue_backwards() > 0),
            ("negative_latency", negative),
            ("desync", self.counts.desyncs > 0),
            ("crossed_book", self.crossed_books.count > 0),
            ("locked_book", self.locked_books.count > 0),
            ("crossed_quote", self.crossed_quotes.count > 0),
            ("locked_quote", self.locked_quotes.count > 0),
        ];
        table.into_iter().filter(|(_, found)| *found).map(|(name, _)| name).collect()
    }
}
