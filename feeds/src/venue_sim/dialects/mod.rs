//! The venues' dialects, one file each.

mod binance;
mod bybit;

pub use binance::Binance;
pub use bybit::Bybit;
