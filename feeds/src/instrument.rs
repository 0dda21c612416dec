//! Instruments interned to a small integer at start, so that the hot path never touches a string.
//!
//! Invariant: the table is built once, before the first frame, and is immutable afterwards; ids are
//! dense (`0..len`) and follow the order of configuration, so they index arrays directly.

use thiserror::Error;

/// Most instruments one daemon takes.
pub const MAX_INSTRUMENTS: usize = 1024;

/// Most decimals of a price or a quantity: 10^15 mantissa steps leave room for the value.
pub const MAX_DECIMALS: u8 = 15;

/// A venue and product family with one wire format and one set of sequence rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Venue {
    /// Binance spot.
    BinanceSpot,
    /// Binance USD-margined futures.
    BinanceUsdm,
    /// Binance coin-margined futures.
    BinanceCoinm,
    /// Coinbase, Advanced Trade feed.
    CoinbaseAdvanced,
    /// Coinbase, Exchange feed.
    CoinbaseExchange,
    /// Kraken spot, WebSocket v2.
    Kraken,
    /// Bybit v5 spot.
    BybitSpot,
    /// Bybit v5 linear contracts.
    BybitLinear,
    /// OKX v5, all instrument types.
    Okx,
    /// Bitstamp.
    Bitstamp,
    /// Deribit.
    Deribit,
    /// Nasdaq, from historical files only.
    Nasdaq,
    /// Consolidated quotes and trades of United States equities, from historical files only.
    UsEquities,
    /// CME Globex, from historical files only.
    CmeGlobex,
    /// OANDA foreign exchange and metals, from historical files only.
    Oanda,
}

impl Venue {
    /// All venues, in a stable order.
    pub const ALL: [Self; 15] = [
        Self::BinanceSpot,
        Self::BinanceUsdm,
        Self::BinanceCoinm,
        Self::CoinbaseAdvanced,
        Self::CoinbaseExchange,
        Self::Kraken,
        Self::BybitSpot,
        Self::BybitLinear,
        Self::Okx,
        Self::Bitstamp,
        Self::Deribit,
        Self::Nasdaq,
        Self::UsEquities,
        Self::CmeGlobex,
        Self::Oanda,
    ];

    /// Stable, lower-case name: configuration value and first half of the Kafka key.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::BinanceSpot => "binance-spot",
            Self::BinanceUsdm => "binance-usdm",
            Self::BinanceCoinm => "binance-coinm",
            Self::CoinbaseAdvanced => "coinbase-advanced",
            Self::CoinbaseExchange => "coinbase-exchange",
            Self::Kraken => "kraken",
            Self::BybitSpot => "bybit-spot",
            Self::BybitLinear => "bybit-linear",
            Self::Okx => "okx",
            Self::Bitstamp => "bitstamp",
            Self::Deribit => "deribit",
            Self::Nasdaq => "nasdaq",
            Self::UsEquities => "us-equities",
            Self::CmeGlobex => "cme-globex",
            Self::Oanda => "oanda",
        }
    }

    /// Whether purkinje speaks the venue's protocol; the others are known from files only.
    #[must_use]
    pub fn is_live(self) -> bool {
        !matches!(self, Self::Nasdaq | Self::UsEquities | Self::CmeGlobex | Self::Oanda)
    }

    /// The venue of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.name() == name)
    }
}

/// Dense index of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstrumentId(pub u16);

impl InstrumentId {
    /// As an array index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What the daemon knows about an instrument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instrument {
    /// Where it trades.
    pub venue: Venue,
    /// The venue's own spelling, as it stands in data frames (`BTCUSDT`).
    pub symbol: String,
    /// Prices are mantissas × 10^-`price_decimals`.
    pub price_decimals: u8,
    /// Quantities are mantissas × 10^-`qty_decimals`.
    pub qty_decimals: u8,
}

impl Instrument {
    /// Price mantissa to a number, for features and display.
    #[must_use]
    pub fn price(&self, mantissa: i64) -> f64 {
        mantissa as f64 / 10f64.powi(i32::from(self.price_decimals))
    }

    /// Quantity mantissa to a number, for features and display.
    #[must_use]
    pub fn qty(&self, mantissa: i64) -> f64 {
        mantissa as f64 / 10f64.powi(i32::from(self.qty_decimals))
    }

    /// `venue:symbol`, the key signals are published under.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.venue.name(), self.symbol)
    }
}

/// Why a table could not be built.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InstrumentError {
    /// More than [`MAX_INSTRUMENTS`].
    #[error("{found} instruments configured, at most {MAX_INSTRUMENTS} are supported")]
    TooMany {
        /// How many there were.
        found: usize,
    },
    /// The same venue and symbol twice.
    #[error("instrument {key} is configured twice")]
    Duplicate {
        /// `venue:symbol`.
        key: String,
    },
    /// Exponent out of range.
    #[error("instrument {key}: {what} is {found}, expected 0 to {MAX_DECIMALS}")]
    Decimals {
        /// `venue:symbol`.
        key: String,
        /// Which of the two.
        what: &'static str,
        /// The value.
        found: u8,
    },
}

/// All instruments of the daemon.
#[derive(Clone, Debug, Default)]
pub struct InstrumentTable {
    items: Vec<Instrument>,
    /// Indices into `items`, sorted by (venue, symbol).
    order: Vec<u16>,
}

impl InstrumentTable {
    /// Interns the instruments in the order given.
    ///
    /// # Errors
    /// Too many, a duplicate, or an exponent out of range.
    pub fn new(items: Vec<Instrument>) -> Result<Self, InstrumentError> {
        if items.len() > MAX_INSTRUMENTS {
            return Err(InstrumentError::TooMany { found: items.len() });
        }
        for i in &items {
            for (what, found) in
                [("price_decimals", i.price_decimals), ("qty_decimals", i.qty_decimals)]
            {
                if found > MAX_DECIMALS {
                    return Err(InstrumentError::Decimals { key: i.key(), what, found });
                }
            }
        }
        let mut order: Vec<u16> = (0..items.len() as u16).collect();
        let key = |i: &u16| {
            let item: &Instrument = &items[usize::from(*i)];
            (item.venue, item.symbol.as_str())
        };
        order.sort_by(|a, b| key(a).cmp(&key(b)));
        if let Some(pair) = order.windows(2).find(|pair| key(&pair[0]) == key(&pair[1])) {
            return Err(InstrumentError::Duplicate { key: items[usize::from(pair[0])].key() });
        }
        Ok(Self { items, order })
    }

    /// The instrument with that wire symbol, compared byte for byte; no allocation.
    #[must_use]
    pub fn lookup(&self, venue: Venue, symbol: &[u8]) -> Option<InstrumentId> {
        self.order
            .binary_search_by(|i| {
                let item = &self.items[usize::from(*i)];
                (item.venue, item.symbol.as_bytes()).cmp(&(venue, symbol))
            })
            .ok()
            .map(|at| InstrumentId(self.order[at]))
    }

    /// The instrument behind an id of this table.
    #[must_use]
    pub fn get(&self, id: InstrumentId) -> &Instrument {
        &self.items[id.index()]
    }

    /// Ids and instruments in order of configuration.
    pub fn iter(&self) -> impl Iterator<Item = (InstrumentId, &Instrument)> {
        self.items.iter().enumerate().map(|(i, item)| (InstrumentId(i as u16), item))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(venue: Venue, symbol: &str) -> Instrument {
        Instrument { venue, symbol: symbol.into(), price_decimals: 8, qty_decimals: 8 }
    }

    #[test]
    fn ids_follow_configuration_order_and_lookup_is_by_venue_and_symbol() {
        let table = InstrumentTable::new(vec![
            item(Venue::BinanceUsdm, "ETHUSDT"),
            item(Venue::BinanceSpot, "BTCUSDT"),
            item(Venue::BinanceUsdm, "BTCUSDT"),
        ])
        .unwrap();
        assert_eq!(table.lookup(Venue::BinanceUsdm, b"ETHUSDT"), Some(InstrumentId(0)));
        assert_eq!(table.lookup(Venue::BinanceSpot, b"BTCUSDT"), Some(InstrumentId(1)));
        assert_eq!(table.lookup(Venue::BinanceUsdm, b"BTCUSDT"), Some(InstrumentId(2)));
        assert_eq!(table.lookup(Venue::BinanceSpot, b"ETHUSDT"), None);
        assert_eq!(table.lookup(Venue::BinanceUsdm, b"btcusdt"), None);
    }

    #[test]
    fn duplicates_and_wild_exponents_are_refused() {
        let twice = vec![item(Venue::BinanceSpot, "A"), item(Venue::BinanceSpot, "A")];
        assert!(matches!(InstrumentTable::new(twice), Err(InstrumentError::Duplicate { .. })));
        let mut wild = item(Venue::BinanceSpot, "A");
        wild.qty_decimals = 16;
        assert!(matches!(InstrumentTable::new(vec![wild]), Err(InstrumentError::Decimals { .. })));
    }
}
