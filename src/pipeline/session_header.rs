//! What a recording says about itself in its first record, and how a session is rebuilt from it.

use purkinje_feeds::{
    Instrument, InstrumentError, InstrumentId, InstrumentTable, Venue,
    session::{Channels, SessionSpec},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Version of this header.
pub const FORMAT: u32 = 1;

/// The JSON of a `SessionStart` record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionHeader {
    /// [`FORMAT`].
    pub format: u32,
    /// The program and version that wrote it.
    pub writer: String,
    /// Whether the recording holds what the engine did (a live run), or market data only.
    pub engine: bool,
    /// Cycle period of the run, ms.
    pub cycle_ms: u64,
    /// Depth of books, levels a side: part of what the engine did.
    pub book_levels: usize,
    /// SHA-256, in hex, of everything configured that can change a signal.
    pub config_sha256: String,
    /// Venue of all connections.
    pub venue: String,
    /// Channels of all connections.
    pub channels: HeaderChannels,
    /// Levels asked for in a snapshot.
    pub snapshot_limit: usize,
    /// The instrument table, in order.
    pub instruments: Vec<HeaderInstrument>,
    /// Instruments (indices) of each connection.
    pub connections: Vec<Vec<u16>>,
}

/// The JSON of an `End` record of a live run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndSummary {
    /// SHA-256 of the signal stream, in hex: what a replay should come to.
    pub signals_sha256: String,
    /// Signals made.
    pub signals: u64,
    /// Cycles cut.
    pub cycles: u64,
}

/// Streams per instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderChannels {
    /// Interval of depth updates, ms.
    pub depth_interval_ms: u32,
    /// Top of book.
    pub book_ticker: bool,
    /// Trades.
    pub trade: bool,
    /// The simulator's oracle.
    pub oracle: bool,
}

/// One instrument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderInstrument {
    /// The venue's symbol.
    pub symbol: String,
    /// Decimals of prices.
    pub price_decimals: u8,
    /// Decimals of quantities.
    pub qty_decimals: u8,
}

/// Why a header cannot be used.
#[derive(Debug, Error)]
pub enum HeaderError {
    /// Not JSON, or fields are missing.
    #[error("the recording's header cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Made by another version.
    #[error("the recording has header format {found}, expected {FORMAT}")]
    Format {
        /// What it says.
        found: u32,
    },
    /// A venue this program does not know.
    #[error("the recording is of venue {found:?}, which is not known here")]
    Venue {
        /// What it says.
        found: String,
    },
    /// The instrument table is not valid.
    #[error("the recording's instruments: {0}")]
    Instruments(#[from] InstrumentError),
    /// A connection names an instrument that is not in the table.
    #[error("the recording's connection {connection} has instrument {found} of {instruments}")]
    Index {
        /// Which connection.
        connection: usize,
        /// Which index.
        found: u16,
        /// Instruments there are.
        instruments: usize,
    },
}

impl SessionHeader {
    /// Reads and checks a header.
    ///
    /// # Errors
    /// See [`HeaderError`].
    pub fn parse(json: &str) -> Result<Self, HeaderError> {
        let header: Self = serde_json::from_str(json)?;
        if header.format != FORMAT {
            return Err(HeaderError::Format { found: header.format });
        }
        let instruments = header.instruments.len();
        for (connection, ids) in header.connections.iter().enumerate() {
            if let Some(&found) = ids.iter().find(|&&i| usize::from(i) >= instruments) {
                return Err(HeaderError::Index { connection, found, instruments });
            }
        }
        Ok(header)
    }

    /// Its venue.
    ///
    /// # Errors
    /// The venue is not known here.
    pub fn venue(&self) -> Result<Venue, HeaderError> {
        Venue::from_name(&self.venue)
            .ok_or_else(|| HeaderError::Venue { found: self.venue.clone() })
    }

    /// The instrument table.
    ///
    /// # Errors
    /// Venue or instruments are not valid.
    pub fn table(&self) -> Result<InstrumentTable, HeaderError> {
        let venue = self.venue()?;
        let instrument = |i: &HeaderInstrument| Instrument {
            venue,
            symbol: i.symbol.clone(),
            price_decimals: i.price_decimals,
            qty_decimals: i.qty_decimals,
        };
        Ok(InstrumentTable::new(self.instruments.iter().map(instrument).collect())?)
    }

    /// The session of every connection.
    ///
    /// # Errors
    /// The venue is not known here.
    pub fn sessions(&self) -> Result<Vec<SessionSpec>, HeaderError> {
        let venue = self.venue()?;
        let channels = Channels {
            depth: true,
            book_ticker: self.channels.book_ticker,
            trade: self.channels.trade,
            oracle: self.channels.oracle,
        };
        let spec = |(connection, ids): (usize, &Vec<u16>)| SessionSpec {
            channels,
            depth_interval_ms: self.channels.depth_interval_ms,
            snapshot_limit: self.snapshot_limit,
            ..SessionSpec::new(
                u8::try_from(connection).unwrap_or(u8::MAX),
                venue,
                ids.iter().map(|&i| InstrumentId(i)).collect(),
            )
        };
        Ok(self.connections.iter().enumerate().map(spec).collect())
    }
}
