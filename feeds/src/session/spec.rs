//! What a session is for, and what contradicts that.

use std::time::Duration;

use thiserror::Error;

use crate::protocol::{self, Protocol, SnapshotSource};
use crate::topic::{Channel, Silence};
use crate::{InstrumentId, InstrumentTable, Venue};

/// Most levels per side of a snapshot that may be configured.
pub const MAX_SNAPSHOT_LIMIT: usize = 20_000;

/// Which channels to subscribe, for every instrument of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Order book updates.
    pub depth: bool,
    /// Best bid and offer.
    pub book_ticker: bool,
    /// Trades.
    pub trade: bool,
    /// The simulator's oracle.
    pub oracle: bool,
}

impl Channels {
    pub(super) fn has(self, channel: Channel) -> bool {
        match channel {
            Channel::Depth => self.depth,
            Channel::BookTicker => self.book_ticker,
            Channel::Trade => self.trade,
            Channel::Oracle => self.oracle,
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Channel> {
        Channel::ALL.into_iter().filter(move |channel| self.has(*channel))
    }
}

/// What a session is for.
#[derive(Clone, Debug)]
pub struct SessionSpec {
    /// Number of the connection, for the owner.
    pub connection: u8,
    /// The venue of every instrument.
    pub venue: Venue,
    /// The instruments.
    pub instruments: Vec<InstrumentId>,
    /// Channels of each.
    pub channels: Channels,
    /// Levels per side asked for and kept of a snapshot, 1 to [`MAX_SNAPSHOT_LIMIT`]; where books come in
    /// the stream, the depth subscribed: the next that the venue offers, all of which is kept.
    pub snapshot_limit: usize,
    /// The depth stream's interval, ms; 0 is the unthrottled futures stream.
    pub depth_interval_ms: u32,
    /// Most depth updates per instrument that wait for a snapshot.
    pub buffer_diffs: usize,
    /// Most levels in them (24 bytes each).
    pub buffer_levels: usize,
    /// Silence after which a topic is suspected.
    pub silence: Silence,
    /// Where whole books come from; `None` leaves it to the venue's rules. OKX announced both ways.
    pub snapshot_source: Option<SnapshotSource>,
    /// How often books are compared with REST snapshots where the stream proves nothing; `None` leaves it
    /// to the venue's facts.
    pub audit_every: Option<Duration>,
    /// Compare the venue's checksums, where it sends them. Costs a second book per instrument.
    pub verify_checksums: bool,
}

impl SessionSpec {
    /// Depth every 100 ms, tops and trades; snapshots of 1000 levels; room for 1024 updates with
    /// 16384 levels, which is seconds of a busy unthrottled stream.
    #[must_use]
    pub fn new(connection: u8, venue: Venue, instruments: Vec<InstrumentId>) -> Self {
        Self {
            connection,
            venue,
            instruments,
            channels: Channels { depth: true, book_ticker: true, trade: true, oracle: false },
            snapshot_limit: 1000,
            depth_interval_ms: 100,
            buffer_diffs: 1024,
            buffer_levels: 16_384,
            silence: Silence::default(),
            snapshot_source: None,
            audit_every: None,
            verify_checksums: true,
        }
    }
}

/// Why a session could not be made.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SessionError {
    /// A venue that is known from files only.
    #[error("{} has no live protocol here", venue.name())]
    NotLive {
        /// The venue.
        venue: Venue,
    },
    /// A channel the venue does not have.
    #[error("{} has no {} channel", venue.name(), channel.name())]
    NoChannel {
        /// The venue.
        venue: Venue,
        /// The channel.
        channel: Channel,
    },
    /// Nothing to subscribe.
    #[error("a session needs at least one instrument and one channel")]
    Nothing,
    /// More streams than the venue takes on a connection.
    #[error("{found} streams on one {} connection, at most {max} are allowed", venue.name())]
    TooManyStreams {
        /// How many there would be.
        found: usize,
        /// How many may be.
        max: usize,
        /// The venue.
        venue: Venue,
    },
    /// An id that is not in the table.
    #[error("instrument id {id} is not in the table of {len}")]
    UnknownInstrument {
        /// The id.
        id: u16,
        /// Size of the table.
        len: usize,
    },
    /// An instrument of another venue.
    #[error("instrument {key} does not trade on {}", expected.name())]
    WrongVenue {
        /// `venue:symbol` of the instrument.
        key: String,
        /// The venue of the session.
        expected: Venue,
    },
    /// The same instrument twice.
    #[error("instrument {key} is listed twice")]
    Duplicate {
        /// `venue:symbol`.
        key: String,
    },
    /// A symbol that cannot stand in a request.
    #[error("symbol {symbol:?} is empty or holds a quote, a backslash or a control character")]
    Symbol {
        /// The symbol.
        symbol: String,
    },
    /// Snapshot limit out of range.
    #[error("snapshot_limit is {found}, expected 1 to {MAX_SNAPSHOT_LIMIT}")]
    SnapshotLimit {
        /// The value.
        found: usize,
    },
}

/// Checks a specification, finds its protocol and numbers its instruments.
pub(super) fn check(
    spec: &SessionSpec,
    table: &InstrumentTable,
) -> Result<(&'static dyn Protocol, Vec<Option<u16>>), SessionError> {
    let venue = spec.venue;
    let protocol = protocol::of(venue).ok_or(SessionError::NotLive { venue })?;
    if let Some(channel) = spec.channels.iter().find(|channel| !protocol.has(*channel)) {
        return Err(SessionError::NoChannel { venue, channel });
    }
    if spec.instruments.is_empty() || spec.channels.iter().count() == 0 {
        return Err(SessionError::Nothing);
    }
    if !(1..=MAX_SNAPSHOT_LIMIT).contains(&spec.snapshot_limit) {
        return Err(SessionError::SnapshotLimit { found: spec.snapshot_limit });
    }
    let mut slot_of = vec![None; table.len()];
    for (slot, &id) in spec.instruments.iter().enumerate() {
        let Some(entry) = slot_of.get_mut(id.index()) else {
            return Err(SessionError::UnknownInstrument { id: id.0, len: table.len() });
        };
        let item = table.get(id);
        if item.venue != spec.venue {
            return Err(SessionError::WrongVenue { key: item.key(), expected: spec.venue });
        }
        let is_unsafe = |c: char| c.is_control() || c == '"' || c == '\\';
        if item.symbol.is_empty() || item.symbol.contains(is_unsafe) {
            return Err(SessionError::Symbol { symbol: item.symbol.clone() });
        }
        if entry.replace(slot as u16).is_some() {
            return Err(SessionError::Duplicate { key: item.key() });
        }
    }
    Ok((protocol, slot_of))
}

/// Checks that the venue takes so many topics on one connection.
pub(super) fn check_limit(spec: &SessionSpec, protocol: &dyn Protocol) -> Result<(), SessionError> {
    let found = spec.instruments.len() * spec.channels.iter().count();
    let max = protocol.facts().max_topics;
    if found > max {
        return Err(SessionError::TooManyStreams { found, max, venue: spec.venue });
    }
    Ok(())
}
