//! The venues' dialects, one file each.

mod binance;
mod bybit;
mod coinbase_advanced;
mod coinbase_exchange;

pub use binance::Binance;
pub use bybit::Bybit;
pub use coinbase_advanced::CoinbaseAdvanced;
pub use coinbase_exchange::CoinbaseExchange;
