//! The venues' dialects, one file each.

mod binance;
mod bitstamp;
mod bybit;
mod coinbase_advanced;
mod coinbase_exchange;
mod deribit;
mod kraken;
mod okx;
#[cfg(test)]
mod test_client;

pub use binance::Binance;
pub use bitstamp::Bitstamp;
pub use bybit::Bybit;
pub use coinbase_advanced::CoinbaseAdvanced;
pub use coinbase_exchange::CoinbaseExchange;
pub use deribit::Deribit;
pub use kraken::Kraken;
pub use okx::Okx;
