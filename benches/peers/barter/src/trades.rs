//! A frame with trades, read by the three readers to price, quantity and side.

use barter_data::event::MarketEvent;
use barter_data::exchange::binance::channel::BinanceChannel;
use barter_data::exchange::binance::futures::BinanceFuturesUsd;
use barter_data::exchange::binance::trade::BinanceTrade;
use barter_data::exchange::bybit::channel::BybitChannel;
use barter_data::exchange::bybit::futures::BybitPerpetualsUsd;
use barter_data::exchange::bybit::trade::BybitTrade;
use barter_data::subscription::trade::{PublicTrade, PublicTrades};
use barter_data::transformer::ExchangeTransformer;
use barter_data::transformer::stateless::StatelessTransformer;
use barter_integration::Transformer;
use futures_util::FutureExt;
use purkinje_feeds::Venue;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::barter::subscriptions;
use crate::recordings::{Line, Recording};

/// Reads frames to trades and says how many there were.
pub type ReadTrades = Box<dyn FnMut(&Line) -> Result<usize, String>>;

/// The reader of `barter-data`; `None` where this bench has none.
///
/// # Errors
/// The transformer could not be made.
pub fn barter(recording: &Recording) -> Result<Option<ReadTrades>, String> {
    match recording.source.venue {
        Venue::BinanceUsdm => {
            type T = StatelessTransformer<BinanceFuturesUsd, usize, PublicTrades, BinanceTrade>;
            let channel = BinanceChannel::TRADES.0;
            stateless::<BinanceFuturesUsd, T>(recording, channel).map(Some)
        }
        Venue::BybitLinear => {
            type T = StatelessTransformer<BybitPerpetualsUsd, usize, PublicTrades, BybitTrade>;
            let channel = BybitChannel::TRADES.0;
            stateless::<BybitPerpetualsUsd, T>(recording, channel).map(Some)
        }
        _ => Ok(None),
    }
}

fn stateless<Exchange, T>(recording: &Recording, channel: &str) -> Result<ReadTrades, String>
where
    T: ExchangeTransformer<Exchange, usize, PublicTrades>
        + Transformer<Output = MarketEvent<usize, PublicTrade>>
        + 'static,
    T::Input: DeserializeOwned,
{
    let (sender, _) = tokio::sync::mpsc::unbounded_channel();
    let made = T::init(subscriptions(recording, channel), &[], sender).now_or_never();
    let mut transformer = made.ok_or("init waits")?.map_err(|error| error.to_string())?;
    Ok(Box::new(move |line| {
        let input = serde_json::from_slice::<T::Input>(&line.for_barter);
        let events = transformer.transform(input.map_err(|error| error.to_string())?);
        let mut trades = 0;
        for event in events {
            trades += usize::from(event.is_ok_and(|event| event.kind.price > 0.0));
        }
        Ok(trades)
    }))
}

/// A trade of a straightforward client.
struct Trade {
    price: f64,
    qty: f64,
    _symbol: String,
    _is_buy: bool,
}

#[derive(Deserialize)]
struct Binance {
    data: BinanceData,
}

#[derive(Deserialize)]
struct BinanceData {
    #[serde(rename = "s")]
    symbol: String,
    #[serde(rename = "T")]
    _time_ms: u64,
    #[serde(rename = "t")]
    _id: u64,
    #[serde(rename = "p")]
    price: String,
    #[serde(rename = "q")]
    qty: String,
    #[serde(rename = "m")]
    buyer_was_maker: bool,
}

#[derive(Deserialize)]
struct Bybit {
    data: Vec<BybitData>,
}

#[derive(Deserialize)]
struct BybitData {
    #[serde(rename = "T")]
    _time_ms: u64,
    #[serde(rename = "s")]
    symbol: String,
    #[serde(rename = "S")]
    side: String,
    #[serde(rename = "v")]
    qty: String,
    #[serde(rename = "p")]
    price: String,
    #[serde(rename = "i")]
    _id: String,
}

#[derive(Deserialize)]
struct Okx {
    data: Vec<OkxData>,
}

#[derive(Deserialize)]
struct OkxData {
    #[serde(rename = "instId")]
    symbol: String,
    #[serde(rename = "tradeId")]
    _id: String,
    px: String,
    sz: String,
    side: String,
    #[serde(rename = "ts")]
    _ts_ms: String,
}

/// The straightforward client of a recording's venue; `None` where this bench has none.
pub fn owned(recording: &Recording) -> Option<ReadTrades> {
    Some(match recording.source.venue {
        Venue::BinanceUsdm | Venue::BinanceSpot => Box::new(|line| {
            let Binance { data } = read(&line.bytes)?;
            trades([trade(data.symbol, &data.price, &data.qty, !data.buyer_was_maker)])
        }),
        Venue::BybitLinear => Box::new(|line| {
            let Bybit { data } = read(&line.bytes)?;
            trades(data.into_iter().map(|t| trade(t.symbol, &t.price, &t.qty, t.side == "Buy")))
        }),
        Venue::Okx => Box::new(|line| {
            let Okx { data } = read(&line.bytes)?;
            trades(data.into_iter().map(|t| trade(t.symbol, &t.px, &t.sz, t.side == "buy")))
        }),
        _ => return None,
    })
}

fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn trade(symbol: String, price: &str, qty: &str, is_buy: bool) -> Result<Trade, String> {
    let number = |text: &str| text.parse::<f64>().map_err(|error| format!("{text}: {error}"));
    Ok(Trade { price: number(price)?, qty: number(qty)?, _symbol: symbol, _is_buy: is_buy })
}

fn trades(list: impl IntoIterator<Item = Result<Trade, String>>) -> Result<usize, String> {
    let list = list.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(list.iter().filter(|trade| trade.price > 0.0 && trade.qty >= 0.0).count())
}
