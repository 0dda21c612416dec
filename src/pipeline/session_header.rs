//! What a recording says about itself in its first record, and how its connections are rebuilt from it.
//!
//! Invariant: fields that a later format added are absent from the JSON where they say nothing, and a
//! header without them is read as one of the format before.

use purkinje_feeds::{
    Instrument, InstrumentError, InstrumentId, InstrumentTable, Venue,
    session::{Channels, SessionSpec},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Version of this header: 2 has venues per instrument and connections that carry events.
pub const FORMAT: u32 = 2;

/// Oldest version that is read.
pub const OLDEST_FORMAT: u32 = 1;

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
    /// Venue of every instrument that does not name its own.
    pub venue: String,
    /// Channels of all connections.
    pub channels: HeaderChannels,
    /// Levels asked for in a snapshot.
    pub snapshot_limit: usize,
    /// The instrument table, in order.
    pub instruments: Vec<HeaderInstrument>,
    /// Instruments (indices) of each connection.
    pub connections: Vec<Vec<u16>>,
    /// Connections (indices) that carry events, not a venue's frames: imported histories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub event_connections: Vec<u8>,
    /// SHA-256, in hex, of the learned state that the run began with, which lies beside the recording; `None` if it
    /// began untaught.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned_sha256: Option<String>,
    /// What an import has to say about its files, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
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
    /// Where it trades, if not where the header says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub venue: Option<String>,
    /// Whether an import has only quotes of it and never a book.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quotes_only: bool,
}

/// What a connection of a recording carries.
#[derive(Clone, Debug)]
pub enum Connection {
    /// Frames of a venue, for a session.
    Frames(SessionSpec),
    /// Events.
    Events {
        /// By instrument: whether there are only quotes of it.
        quotes_only: Vec<bool>,
    },
}

/// Why a header cannot be used.
#[derive(Debug, Error)]
pub enum HeaderError {
    /// Not JSON, or fields are missing.
    #[error("the recording's header cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// Made by another version.
    #[error("the recording has header format {found}, expected {OLDEST_FORMAT} to {FORMAT}")]
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
        if !(OLDEST_FORMAT..=FORMAT).contains(&header.format) {
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

    /// The instrument table.
    ///
    /// # Errors
    /// Venue or instruments are not valid.
    pub fn table(&self) -> Result<InstrumentTable, HeaderError> {
        let instrument = |i: &HeaderInstrument| -> Result<Instrument, HeaderError> {
            Ok(Instrument {
                venue: self.venue_of(i)?,
                symbol: i.symbol.clone(),
                price_decimals: i.price_decimals,
                qty_decimals: i.qty_decimals,
            })
        };
        let instruments = self.instruments.iter().map(instrument).collect::<Result<_, _>>()?;
        Ok(InstrumentTable::new(instruments)?)
    }

    /// What every connection carries.
    ///
    /// # Errors
    /// A venue is not known here.
    pub fn connections(&self) -> Result<Vec<Connection>, HeaderError> {
        let channels = Channels {
            depth: true,
            book_ticker: self.channels.book_ticker,
            trade: self.channels.trade,
            oracle: self.channels.oracle,
        };
        let connection = |(number, ids): (usize, &Vec<u16>)| {
            let number = u8::try_from(number).unwrap_or(u8::MAX);
            if self.event_connections.contains(&number) {
                let quotes_only = self.instruments.iter().map(|i| i.quotes_only).collect();
                return Ok(Connection::Events { quotes_only });
            }
            let first = ids.first().and_then(|&i| self.instruments.get(usize::from(i)));
            let venue = first.map_or_else(|| venue(&self.venue), |i| self.venue_of(i))?;
            Ok(Connection::Frames(SessionSpec {
                channels,
                depth_interval_ms: self.channels.depth_interval_ms,
                snapshot_limit: self.snapshot_limit,
                ..SessionSpec::new(number, venue, ids.iter().map(|&i| InstrumentId(i)).collect())
            }))
        };
        self.connections.iter().enumerate().map(connection).collect()
    }

    fn venue_of(&self, instrument: &HeaderInstrument) -> Result<Venue, HeaderError> {
        venue(instrument.venue.as_ref().unwrap_or(&self.venue))
    }
}

fn venue(name: &str) -> Result<Venue, HeaderError> {
    Venue::from_name(name).ok_or_else(|| HeaderError::Venue { found: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header as the first format wrote it.
    const FIRST: &str = r#"{"format":1,"writer":"purkinje 0.1.0","engine":false,"cycle_ms":100,
        "book_levels":20,"config_sha256":"","venue":"binance-usdm","channels":{"depth_interval_ms":0,
        "book_ticker":true,"trade":true,"oracle":true},"snapshot_limit":1000,"instruments":[
        {"symbol":"BTCUSDT","price_decimals":2,"qty_decimals":3}],"connections":[[0]]}"#;

    #[test]
    fn a_header_of_the_first_format_is_read_as_frames_of_its_one_venue() {
        let header = SessionHeader::parse(FIRST).unwrap();
        assert_eq!(header.table().unwrap().get(InstrumentId(0)).key(), "binance-usdm:BTCUSDT");
        let connections = header.connections().unwrap();
        let [Connection::Frames(spec)] = &connections[..] else { panic!("{connections:?}") };
        assert_eq!((spec.venue, spec.snapshot_limit), (Venue::BinanceUsdm, 1000));
        let json = serde_json::to_string(&header).unwrap();
        assert!(!json.contains("event_connections") && !json.contains("notes"), "{json}");
    }

    #[test]
    fn instruments_of_several_venues_and_connections_that_carry_events_are_told() {
        let text = FIRST
            .replace(r#""format":1"#, r#""format":2"#)
            .replace(
                "3}]",
                r#"3},{"symbol":"EURUSD","price_decimals":5,"qty_decimals":0,"venue":"oanda","quotes_only":true}]"#,
            )
            .replace("[[0]]", r#"[[0],[1]],"event_connections":[1]"#);
        let header = SessionHeader::parse(&text).unwrap();
        let table = header.table().unwrap();
        let keys: Vec<String> = table.iter().map(|(_, i)| i.key()).collect();
        assert_eq!(keys, ["binance-usdm:BTCUSDT", "oanda:EURUSD"]);
        let connections = header.connections().unwrap();
        let [Connection::Frames(_), Connection::Events { quotes_only }] = &connections[..] else {
            panic!("{connections:?}")
        };
        assert_eq!(*quotes_only, [false, true]);
        let json = serde_json::to_string(&header).unwrap();
        assert_eq!(SessionHeader::parse(&json).unwrap(), header);
    }

    #[test]
    fn a_header_of_a_later_format_and_a_venue_from_elsewhere_are_refused() {
        let later = FIRST.replace(r#""format":1"#, r#""format":3"#);
        let error = SessionHeader::parse(&later).unwrap_err().to_string();
        assert!(error.contains("format 3, expected 1 to 2"), "{error}");
        let elsewhere = SessionHeader::parse(&FIRST.replace("binance-usdm", "mars")).unwrap();
        assert!(matches!(elsewhere.table(), Err(HeaderError::Venue { found }) if found == "mars"));
    }
}
