//! `barter-data`: its transformer, which checks sequence numbers, and its `OrderBook`.
//!
//! It has an L2 book of Binance (spot, USD-M) and of Bybit.

use barter_data::books::OrderBook;
use barter_data::error::DataError;
use barter_data::event::MarketEvent;
use barter_data::exchange::binance::book::l2::BinanceOrderBookL2Snapshot;
use barter_data::exchange::binance::channel::BinanceChannel;
use barter_data::exchange::binance::futures::BinanceFuturesUsd;
use barter_data::exchange::binance::futures::l2::BinanceFuturesUsdOrderBooksL2Transformer;
use barter_data::exchange::binance::spot::BinanceSpot;
use barter_data::exchange::binance::spot::l2::BinanceSpotOrderBooksL2Transformer;
use barter_data::exchange::bybit::book::l2::BybitOrderBooksL2Transformer;
use barter_data::exchange::bybit::channel::BybitChannel;
use barter_data::exchange::bybit::futures::BybitPerpetualsUsd;
use barter_data::subscription::Map;
use barter_data::subscription::book::{OrderBookEvent, OrderBooksL2};
use barter_data::transformer::ExchangeTransformer;
use barter_instrument::exchange::ExchangeId;
use barter_integration::Transformer;
use barter_integration::subscription::SubscriptionId;
use futures_util::FutureExt;
use purkinje_feeds::{Side, Venue};
use serde::de::DeserializeOwned;

use crate::Reader;
use crate::recordings::{Kind, Line, Recording};

type Event = MarketEvent<usize, OrderBookEvent>;

/// The reader for the venue of a recording; `None` where there is none.
///
/// # Errors
/// The transformer could not be made.
pub fn reader(recording: &Recording) -> Result<Option<Box<dyn Reader>>, String> {
    let l2 = BinanceChannel::ORDER_BOOK_L2.0;
    Ok(Some(match recording.source.venue {
        Venue::BinanceSpot => {
            type T = BinanceSpotOrderBooksL2Transformer<usize>;
            Box::new(Barter::new(recording, init::<BinanceSpot, T>(recording, l2)?))
        }
        Venue::BinanceUsdm => {
            type T = BinanceFuturesUsdOrderBooksL2Transformer<usize>;
            Box::new(Barter::new(recording, init::<BinanceFuturesUsd, T>(recording, l2)?))
        }
        Venue::BybitLinear | Venue::BybitSpot => {
            type T = BybitOrderBooksL2Transformer<usize>;
            let l2 = BybitChannel::ORDER_BOOK_L2.0;
            Box::new(Barter::new(recording, init::<BybitPerpetualsUsd, T>(recording, l2)?))
        }
        _ => return Ok(None),
    }))
}

/// Every symbol of the recording under its subscription's id.
pub(crate) fn subscriptions(recording: &Recording, channel: &str) -> Map<usize> {
    let id =
        |(i, symbol): (usize, &String)| (SubscriptionId::from(format!("{channel}|{symbol}")), i);
    recording.symbols.iter().enumerate().map(id).collect()
}

fn init<Exchange, T>(recording: &Recording, channel: &str) -> Result<T, String>
where
    T: ExchangeTransformer<Exchange, usize, OrderBooksL2>,
{
    let mut snapshots = Vec::new();
    for line in &recording.lines {
        if let Kind::Rest(symbol) = line.kind {
            snapshots.push(rest_book(symbol, line)?);
        }
    }
    let (sender, _) = tokio::sync::mpsc::unbounded_channel();
    let map = subscriptions(recording, channel);
    let made = T::init(map, &snapshots, sender).now_or_never().ok_or("init waits")?;
    made.map_err(|error| error.to_string())
}

fn rest_book(symbol: usize, line: &Line) -> Result<Event, String> {
    let read = serde_json::from_slice::<BinanceOrderBookL2Snapshot>(&line.bytes);
    let snapshot = read.map_err(|error| error.to_string())?;
    Ok(Event::from((ExchangeId::BinanceSpot, symbol, snapshot)))
}

struct Barter<T> {
    transformer: T,
    books: Vec<OrderBook>,
    verified: u64,
}

impl<T> Barter<T> {
    /// With the books of REST snapshots in place, as the crate's own stream has them.
    fn new(recording: &Recording, transformer: T) -> Self {
        let mut books = vec![OrderBook::default(); recording.symbols.len()];
        for line in &recording.lines {
            if let Kind::Rest(symbol) = line.kind
                && let Ok(event) = rest_book(symbol, line)
            {
                books[symbol].update(&event.kind);
            }
        }
        Self { transformer, books, verified: 0 }
    }
}

impl<T> Reader for Barter<T>
where
    T: Transformer<Output = Event, Error = DataError>,
    T::Input: DeserializeOwned,
{
    fn line(&mut self, line: &Line) -> Result<(), String> {
        if !matches!(line.kind, Kind::Update | Kind::Snapshot) {
            return Ok(());
        }
        let input = serde_json::from_slice::<T::Input>(&line.for_barter);
        for event in self.transformer.transform(input.map_err(|error| error.to_string())?) {
            let event = event.map_err(|error| error.to_string())?;
            self.books[event.instrument].update(&event.kind);
            self.verified += 1;
        }
        Ok(())
    }

    fn best(&self, symbol: usize, side: Side, most: usize) -> Vec<(f64, f64)> {
        let book = &self.books[symbol];
        let levels = match side {
            Side::Bid => book.bids().levels(),
            Side::Ask => book.asks().levels(),
        };
        let number = |decimal: rust_decimal::Decimal| f64::try_from(decimal).unwrap_or(f64::NAN);
        levels.iter().take(most).map(|l| (number(l.price), number(l.amount))).collect()
    }

    fn verified(&self) -> Option<u64> {
        Some(self.verified)
    }
}
