//! The venues' dialects, one file each.

mod binance;
mod bybit;
mod kraken;

pub use binance::Binance;
pub use bybit::Bybit;
pub use kraken::Kraken;
