//! The venues' dialects, one file each.

mod binance;
mod bybit;
mod okx;

pub use binance::Binance;
pub use bybit::Bybit;
pub use okx::Okx;
