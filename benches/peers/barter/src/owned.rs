//! What a straightforward client does: `serde_json` into structs that own their strings, prices as `f64`,
//! a `BTreeMap` a side, and the venue's own check of sequence or checksum.

mod frames;

use std::collections::{BTreeMap, HashMap};

use purkinje_feeds::{Side, Venue};
use serde::Deserialize;

use self::frames::{
    Binance, BinanceRest, Bitstamp, BitstampRest, Bybit, CoinbaseAdvanced, CoinbaseExchange,
    Deribit, Kraken, Numbered, Okx,
};
use crate::Reader;
use crate::recordings::{Kind, Line, Recording};

/// A price that can be ordered.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Price(f64);

impl Eq for Price {}

impl PartialOrd for Price {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Price {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

#[derive(Debug)]
struct Entry {
    qty: f64,
    /// Price and quantity as on the wire, where a checksum needs them.
    texts: Option<(String, String)>,
}

#[derive(Debug, Default)]
struct TreeBook {
    sides: [BTreeMap<Price, Entry>; 2],
    keeps_texts: bool,
    /// The newest number of the instrument's chain.
    last: u64,
}

impl TreeBook {
    fn clear(&mut self) {
        self.sides.iter_mut().for_each(BTreeMap::clear);
    }

    fn set(&mut self, side: Side, price: String, qty: String) -> Result<(), String> {
        let read = |text: &str| text.parse::<f64>().map_err(|error| format!("{text}: {error}"));
        let (key, value) = (read(&price)?, read(&qty)?);
        let texts = self.keeps_texts.then_some((price, qty));
        self.put(side, key, value, texts);
        Ok(())
    }

    fn put(&mut self, side: Side, price: f64, qty: f64, texts: Option<(String, String)>) {
        let levels = &mut self.sides[side as usize];
        if qty > 0.0 {
            levels.insert(Price(price), Entry { qty, texts });
        } else {
            levels.remove(&Price(price));
        }
    }

    fn set_all(&mut self, side: Side, levels: Vec<(String, String)>) -> Result<(), String> {
        levels.into_iter().try_for_each(|(price, qty)| self.set(side, price, qty))
    }

    fn cut(&mut self, depth: usize) {
        while self.sides[0].len() > depth {
            self.sides[0].pop_first();
        }
        while self.sides[1].len() > depth {
            self.sides[1].pop_last();
        }
    }

    fn best(&self, side: Side) -> Box<dyn Iterator<Item = (&Price, &Entry)> + '_> {
        match side {
            Side::Bid => Box::new(self.sides[0].iter().rev()),
            Side::Ask => Box::new(self.sides[1].iter()),
        }
    }

    fn texts(&self, side: Side, most: usize) -> Vec<&(String, String)> {
        self.best(side).take(most).filter_map(|(_, entry)| entry.texts.as_ref()).collect()
    }

    fn okx_checksum(&self) -> i32 {
        let (bids, asks) = (self.texts(Side::Bid, 25), self.texts(Side::Ask, 25));
        let mut parts = Vec::new();
        for i in 0..25 {
            for side in [&bids, &asks] {
                if let Some((price, qty)) = side.get(i) {
                    parts.push(format!("{price}:{qty}"));
                }
            }
        }
        crc32fast::hash(parts.join(":").as_bytes()).cast_signed()
    }

    fn kraken_checksum(&self) -> u32 {
        let mut text = String::new();
        for side in [Side::Ask, Side::Bid] {
            for (price, qty) in self.texts(side, 10) {
                for number in [price, qty] {
                    text.push_str(number.replace('.', "").trim_start_matches('0'));
                }
            }
        }
        crc32fast::hash(text.as_bytes())
    }
}

/// See the module.
pub struct Owned {
    venue: Venue,
    depth: usize,
    symbols: HashMap<String, usize>,
    books: Vec<TreeBook>,
    connection_seq: Option<u64>,
    verified: u64,
}

impl Owned {
    /// With empty books.
    pub fn new(recording: &Recording) -> Self {
        let venue = recording.source.venue;
        let keeps_texts = matches!(venue, Venue::Okx | Venue::Kraken);
        let symbols = recording.symbols.iter().enumerate();
        Self {
            venue,
            depth: recording.source.levels,
            symbols: symbols.map(|(i, symbol)| (symbol.clone(), i)).collect(),
            books: recording
                .symbols
                .iter()
                .map(|_| TreeBook { keeps_texts, ..TreeBook::default() })
                .collect(),
            connection_seq: None,
            verified: 0,
        }
    }

    fn book(&mut self, symbol: &str) -> Result<&mut TreeBook, String> {
        let at = self.symbols.get(symbol).ok_or_else(|| format!("unknown symbol {symbol}"))?;
        Ok(&mut self.books[*at])
    }

    fn rest(&mut self, symbol: usize, bytes: &[u8]) -> Result<(), String> {
        let book = &mut self.books[symbol];
        book.clear();
        let (id, bids, asks) = if self.venue == Venue::Bitstamp {
            let BitstampRest { microtimestamp, bids, asks } = read(bytes)?;
            (number(&microtimestamp)?, bids, asks)
        } else {
            let BinanceRest { last_update_id, bids, asks } = read(bytes)?;
            (last_update_id, bids, asks)
        };
        book.last = id;
        book.set_all(Side::Bid, bids)?;
        book.set_all(Side::Ask, asks)
    }

    fn binance(&mut self, bytes: &[u8]) -> Result<(), String> {
        let data = read::<Binance>(bytes)?.data;
        let is_spot = self.venue == Venue::BinanceSpot;
        let book = self.book(&data.symbol)?;
        // Before the snapshot, or within it.
        if book.last == 0 || data.last < book.last || is_spot && data.last == book.last {
            return Ok(());
        }
        let is_bridge = data.first <= book.last + 1 && book.last <= data.last;
        let follows = data.previous.map_or(data.first == book.last + 1, |pu| pu == book.last);
        if !follows && !is_bridge {
            return Err(format!("{} after {}", data.last, book.last));
        }
        book.last = data.last;
        book.set_all(Side::Bid, data.bids)?;
        book.set_all(Side::Ask, data.asks)?;
        self.verified += 1;
        Ok(())
    }

    fn bybit(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Bybit { kind, data } = read(bytes)?;
        let book = self.book(&data.symbol)?;
        if kind == "snapshot" {
            book.clear();
        } else if data.update_id != book.last + 1 {
            return Err(format!("{} after {}", data.update_id, book.last));
        }
        book.last = data.update_id;
        book.set_all(Side::Bid, data.bids)?;
        book.set_all(Side::Ask, data.asks)?;
        self.verified += 1;
        Ok(())
    }

    fn okx(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Okx { arg, action, data } = read(bytes)?;
        let book = self.book(&arg.instrument)?;
        if action == "snapshot" {
            book.clear();
        }
        let mut sums = 0;
        for data in data {
            for (side, levels) in [(Side::Bid, data.bids), (Side::Ask, data.asks)] {
                for (price, qty, _, _) in levels {
                    book.set(side, price, qty)?;
                }
            }
            if book.okx_checksum() != data.checksum {
                return Err(format!("checksum {}", data.checksum));
            }
            sums += 1;
        }
        self.verified += sums;
        Ok(())
    }

    fn kraken(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Kraken { changes, pair } = read(bytes)?;
        let depth = self.depth;
        let book = self.book(&pair)?;
        let mut sum = None;
        for change in changes {
            let lists = [
                (Side::Bid, change.whole_bids, true),
                (Side::Ask, change.whole_asks, true),
                (Side::Bid, change.bids, false),
                (Side::Ask, change.asks, false),
            ];
            for (side, levels, is_whole) in lists {
                if is_whole && levels.is_some() {
                    book.sides[side as usize].clear();
                }
                for level in levels.into_iter().flatten() {
                    let mut texts = level.into_iter();
                    let (Some(price), Some(qty)) = (texts.next(), texts.next()) else {
                        return Err("a level of less than two texts".into());
                    };
                    book.set(side, price, qty)?;
                }
            }
            sum = sum.or(change.checksum);
        }
        book.cut(depth);
        if let Some(sum) = sum {
            if book.kraken_checksum().to_string() != sum {
                return Err(format!("checksum {sum}"));
            }
            self.verified += 1;
        }
        Ok(())
    }

    fn coinbase_advanced(&mut self, bytes: &[u8]) -> Result<(), String> {
        let CoinbaseAdvanced { sequence, events } = read(bytes)?;
        self.count(sequence)?;
        for event in events {
            let book = self.book(&event.product)?;
            if event.kind == "snapshot" {
                book.clear();
            }
            for update in event.updates {
                let side = if update.side == "bid" { Side::Bid } else { Side::Ask };
                book.set(side, update.price, update.qty)?;
            }
            self.verified += 1;
        }
        Ok(())
    }

    fn count(&mut self, sequence: u64) -> Result<(), String> {
        if self.connection_seq.is_some_and(|last| sequence != last + 1) {
            return Err(format!("frame {sequence} after {:?}", self.connection_seq));
        }
        self.connection_seq = Some(sequence);
        Ok(())
    }

    fn coinbase_exchange(&mut self, bytes: &[u8]) -> Result<(), String> {
        let CoinbaseExchange { product, changes, bids, asks } = read(bytes)?;
        let book = self.book(&product)?;
        if bids.is_some() {
            book.clear();
        }
        book.set_all(Side::Bid, bids.unwrap_or_default())?;
        book.set_all(Side::Ask, asks.unwrap_or_default())?;
        for (side, price, qty) in changes {
            let side = if side == "buy" { Side::Bid } else { Side::Ask };
            book.set(side, price, qty)?;
        }
        Ok(())
    }

    fn deribit(&mut self, bytes: &[u8]) -> Result<(), String> {
        let data = read::<Deribit>(bytes)?.params.data;
        let book = self.book(&data.instrument)?;
        match data.previous {
            None => book.clear(),
            Some(previous) if previous != book.last => {
                return Err(format!("{previous} after {}", book.last));
            }
            Some(_) => {}
        }
        book.last = data.change_id;
        for (side, levels) in [(Side::Bid, data.bids), (Side::Ask, data.asks)] {
            for (action, price, qty) in levels {
                book.put(side, price, if action == "delete" { 0.0 } else { qty }, None);
            }
        }
        self.verified += 1;
        Ok(())
    }

    fn bitstamp(&mut self, bytes: &[u8]) -> Result<(), String> {
        let Bitstamp { data, channel } = read(bytes)?;
        let symbol = channel.rsplit('_').next().unwrap_or_default();
        let book = self.book(symbol)?;
        let time = number(&data.microtimestamp)?;
        if time > book.last && book.last > 0 {
            book.set_all(Side::Bid, data.bids)?;
            book.set_all(Side::Ask, data.asks)?;
        }
        Ok(())
    }
}

impl Reader for Owned {
    fn line(&mut self, line: &Line) -> Result<(), String> {
        let bytes = &line.bytes;
        match line.kind {
            Kind::Rest(symbol) => return self.rest(symbol, bytes),
            Kind::Other => return self.count(read::<Numbered>(bytes)?.sequence),
            Kind::Trade => return Ok(()),
            Kind::Update | Kind::Snapshot => {}
        }
        match self.venue {
            Venue::BybitLinear | Venue::BybitSpot => self.bybit(bytes),
            Venue::Okx => self.okx(bytes),
            Venue::Kraken => self.kraken(bytes),
            Venue::CoinbaseAdvanced => self.coinbase_advanced(bytes),
            Venue::CoinbaseExchange => self.coinbase_exchange(bytes),
            Venue::Deribit => self.deribit(bytes),
            Venue::Bitstamp => self.bitstamp(bytes),
            _ => self.binance(bytes),
        }
    }

    fn best(&self, symbol: usize, side: Side, most: usize) -> Vec<(f64, f64)> {
        self.books[symbol]
            .best(side)
            .take(most)
            .map(|(price, entry)| (price.0, entry.qty))
            .collect()
    }

    fn verified(&self) -> Option<u64> {
        let has_none = matches!(self.venue, Venue::CoinbaseExchange | Venue::Bitstamp);
        (!has_none).then_some(self.verified)
    }
}

fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|error| format!("{text}: {error}"))
}
