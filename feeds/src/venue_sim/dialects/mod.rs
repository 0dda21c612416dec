//! The venues' dialects, one file each.

mod binance;
mod bitstamp;
mod bybit;
mod deribit;
#[cfg(test)]
mod test_client;
mod okx;
mod kraken;
mod coinbase_advanced;
mod coinbase_exchange;

pub use binance::Binance;
pub use bitstamp::Bitstamp;
pub use bybit::Bybit;
pub use deribit::Deribit;
pub use okx::Okx;
pub use kraken::Kraken;
pub use coinbase_advanced::CoinbaseAdvanced;
pub use coinbase_exchange::CoinbaseExchange;
