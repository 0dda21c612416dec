//! What a simulated market is made of, and what of it is refused.
//!
//! Invariant: a [`MarketConfig`] that passes [`MarketConfig::validate`] can be run for years of
//! simulated time in bounded memory, and its [`Oracle`](super::Oracle) is solved in well under a
//! second.

use crate::{Instrument, Venue};
use thiserror::Error;

/// Most instruments of one simulated market.
pub(crate) const MAX_SYMBOLS: usize = 64;

/// Longest symbol, in bytes.
pub(crate) const MAX_SYMBOL_BYTES: usize = 20;

/// The oracle's cost grows with the number of moves inside a horizon; this many is the limit.
const MAX_MOVES_PER_HORIZON: f64 = 100.0;

/// The oracle's cost also grows with the number of memories inside a horizon.
const MAX_MEMORIES_PER_HORIZON: f64 = 10.0;

/// Parameters of the generative market.
///
/// The price of every instrument is driven by its own hidden state `x`, an Ornstein-Uhlenbeck
/// process of unit variance. The mid price moves by one tick at the times of a Poisson process of
/// `move_rate_hz`, up with probability `1 / (1 + exp(-strength * x))`. Everything else that can be
/// seen depends on `x` and on the past only.
#[derive(Clone, Debug, PartialEq)]
pub struct MarketConfig {
    /// Selects the one market out of all; same seed, same bytes.
    pub seed: u64,
    /// Symbols in upper case letters and digits, e.g. `SIMA`. Default: six, `SIMA` to `SIMF`.
    pub symbols: Vec<String>,
    /// Planted predictability, 0 (none at all: every move is a fair coin) to 20. Default 1.1, at
    /// which the best forecast of the direction over one second is right three times in four.
    pub strength: f64,
    /// Time constant of `x` in milliseconds, 50 to 3,600,000. Default 4000.
    pub memory_ms: u32,
    /// The horizon for which the oracle is solved and published, in milliseconds, 10 to 600,000,
    /// at most ten memories and one hundred expected moves. Default 1000.
    pub horizon_ms: u32,
    /// Moves of the mid price per second, 0.01 to 100. Default 4.
    pub move_rate_hz: f64,
    /// Order flow relative to the recorded BTCUSDT futures session that the model is fitted to,
    /// 0.01 to 10. Default 0.3, so that six instruments do not load a small host.
    pub activity: f64,
    /// Mean length of busy and quiet regimes in milliseconds, 100 to 3,600,000; 0, the default, for none. In
    /// a quiet one the flow is slow and the book and trades lean away from where the price goes.
    pub regime_ms: u32,
}

impl Default for MarketConfig {
    fn default() -> Self {
        Self {
            seed: 1,
            symbols: ["SIMA", "SIMB", "SIMC", "SIMD", "SIME", "SIMF"].map(String::from).to_vec(),
            strength: 1.1,
            memory_ms: 4_000,
            horizon_ms: 1_000,
            move_rate_hz: 4.0,
            activity: 0.3,
            regime_ms: 0,
        }
    }
}

/// Why a market was refused.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum MarketError {
    /// A number outside its range.
    #[error("simulated market: {key} is {found}, expected {low} to {high}")]
    OutOfRange {
        /// Name of the field.
        key: &'static str,
        /// Its value.
        found: f64,
        /// Smallest value accepted.
        low: f64,
        /// Largest value accepted.
        high: f64,
    },
    /// No symbol, or too many.
    #[error("simulated market: {found} symbols, expected 1 to {MAX_SYMBOLS}")]
    SymbolCount {
        /// How many there were.
        found: usize,
    },
    /// A symbol that no venue would list.
    #[error(
        "simulated market: symbol {found:?}, expected 1 to {MAX_SYMBOL_BYTES} upper-case letters or digits"
    )]
    BadSymbol {
        /// The symbol.
        found: String,
    },
    /// The same symbol twice.
    #[error("simulated market: symbol {found:?} is listed twice, expected once")]
    DuplicateSymbol {
        /// The symbol.
        found: String,
    },
}

impl MarketConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// The first value that is out of its range, with the range.
    pub fn validate(&self) -> Result<(), MarketError> {
        let (memory_ms, horizon_ms) = (f64::from(self.memory_ms), f64::from(self.horizon_ms));
        in_range("strength", self.strength, 0.0, 20.0)?;
        in_range("memory_ms", memory_ms, 50.0, 3_600_000.0)?;
        in_range("move_rate_hz", self.move_rate_hz, 0.01, 100.0)?;
        in_range("activity", self.activity, 0.01, 10.0)?;
        if self.regime_ms != 0 {
            in_range("regime_ms", f64::from(self.regime_ms), 100.0, 3_600_000.0)?;
        }
        let longest_ms = (MAX_MEMORIES_PER_HORIZON * memory_ms)
            .min(MAX_MOVES_PER_HORIZON / self.move_rate_hz * 1_000.0)
            .min(600_000.0)
            .floor();
        in_range("horizon_ms", horizon_ms, 10.0, longest_ms)?;
        self.validate_symbols()
    }

    fn validate_symbols(&self) -> Result<(), MarketError> {
        if self.symbols.is_empty() || self.symbols.len() > MAX_SYMBOLS {
            return Err(MarketError::SymbolCount { found: self.symbols.len() });
        }
        for (i, symbol) in self.symbols.iter().enumerate() {
            let plain = symbol.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
            if !plain || symbol.is_empty() || symbol.len() > MAX_SYMBOL_BYTES {
                return Err(MarketError::BadSymbol { found: symbol.clone() });
            }
            if self.symbols[..i].contains(symbol) {
                return Err(MarketError::DuplicateSymbol { found: symbol.clone() });
            }
        }
        Ok(())
    }
}

/// NaN is in no range.
fn in_range(key: &'static str, found: f64, low: f64, high: f64) -> Result<(), MarketError> {
    if found >= low && found <= high {
        Ok(())
    } else {
        Err(MarketError::OutOfRange { key, found, low, high })
    }
}

/// Price grid and typical sizes of one instrument.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Listing {
    /// Decimals of a price on the wire.
    pub(crate) price_decimals: u8,
    /// One tick, in price mantissa steps.
    pub(crate) tick_mantissa: i64,
    /// First best bid, in ticks: far enough above zero that it is never reached.
    pub(crate) start_tick: i64,
    /// Decimals of a quantity on the wire; one lot is one mantissa step.
    pub(crate) qty_decimals: u8,
    /// Median size of a level near the top, in lots.
    pub(crate) typical_lots: f64,
}

/// Grids as different as those of a real venue, taken in turn by the symbols of the configuration.
const LISTINGS: [Listing; 6] = [
    listing(2, 10, 618_002, 3, 2_500.0),
    listing(2, 1, 268_045, 3, 20_000.0),
    listing(3, 1, 152_740, 0, 300.0),
    listing(5, 1, 161_234, 1, 80_000.0),
    listing(4, 5, 249_134, 2, 15_000.0),
    listing(5, 1, 512_345, 0, 4_000.0),
];

const fn listing(
    price_decimals: u8,
    tick_mantissa: i64,
    start_tick: i64,
    qty_decimals: u8,
    typical_lots: f64,
) -> Listing {
    Listing { price_decimals, tick_mantissa, start_tick, qty_decimals, typical_lots }
}

impl Listing {
    /// The grid of the symbol at that place of the configuration.
    pub(crate) fn of_symbol(index: usize) -> Self {
        LISTINGS[index % LISTINGS.len()]
    }

    /// As the rest of the crate describes an instrument.
    pub(crate) fn instrument(&self, symbol: &str) -> Instrument {
        Instrument {
            venue: Venue::BinanceUsdm,
            symbol: symbol.to_owned(),
            price_decimals: self.price_decimals,
            qty_decimals: self.qty_decimals,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_market_is_valid() {
        assert_eq!(MarketConfig::default().validate(), Ok(()));
    }

    #[test]
    fn every_refusal_names_the_value_and_what_was_expected() {
        type Change = fn(&mut MarketConfig);
        let cases: [(Change, &str); 10] = [
            (|c| c.strength = f64::NAN, "strength is NaN, expected 0 to 20"),
            (|c| c.strength = -1.0, "strength is -1, expected 0 to 20"),
            (|c| c.memory_ms = 0, "memory_ms is 0, expected 50 to 3600000"),
            (|c| c.horizon_ms = 50_000, "horizon_ms is 50000, expected 10 to 25000"),
            (|c| c.activity = 0.0, "activity is 0, expected 0.01 to 10"),
            (|c| c.regime_ms = 99, "regime_ms is 99, expected 100 to 3600000"),
            (|c| c.move_rate_hz = 1e9, "move_rate_hz is 1000000000, expected 0.01 to 100"),
            (|c| c.symbols.clear(), "0 symbols, expected 1 to 64"),
            (|c| c.symbols[1] = "sim/b".into(), "symbol \"sim/b\", expected 1 to 20 upper-case"),
            (|c| c.symbols[1] = "SIMA".into(), "symbol \"SIMA\" is listed twice, expected once"),
        ];
        for (change, expected) in cases {
            let mut config = MarketConfig::default();
            change(&mut config);
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
    }
}
