//! Frames of every venue as structs that own their strings, with the fields that a book needs.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

type Pairs = Vec<(String, String)>;

#[derive(Deserialize)]
pub(super) struct Binance {
    pub(super) data: BinanceData,
}

#[derive(Deserialize)]
pub(super) struct BinanceData {
    #[serde(rename = "s")]
    pub(super) symbol: String,
    #[serde(rename = "E")]
    _event_ms: u64,
    #[serde(rename = "T")]
    _transact_ms: Option<u64>,
    #[serde(rename = "U")]
    pub(super) first: u64,
    #[serde(rename = "u")]
    pub(super) last: u64,
    #[serde(rename = "pu")]
    pub(super) previous: Option<u64>,
    #[serde(rename = "b")]
    pub(super) bids: Pairs,
    #[serde(rename = "a")]
    pub(super) asks: Pairs,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BinanceRest {
    pub(super) last_update_id: u64,
    pub(super) bids: Pairs,
    pub(super) asks: Pairs,
}

#[derive(Deserialize)]
pub(super) struct Bybit {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) data: BybitData,
}

#[derive(Deserialize)]
pub(super) struct BybitData {
    #[serde(rename = "s")]
    pub(super) symbol: String,
    #[serde(rename = "u")]
    pub(super) update_id: u64,
    #[serde(rename = "b")]
    pub(super) bids: Pairs,
    #[serde(rename = "a")]
    pub(super) asks: Pairs,
}

#[derive(Deserialize)]
pub(super) struct Okx {
    pub(super) arg: OkxArg,
    pub(super) action: String,
    pub(super) data: Vec<OkxData>,
}

#[derive(Deserialize)]
pub(super) struct OkxArg {
    #[serde(rename = "instId")]
    pub(super) instrument: String,
}

#[derive(Deserialize)]
pub(super) struct OkxData {
    pub(super) bids: Vec<(String, String, String, String)>,
    pub(super) asks: Vec<(String, String, String, String)>,
    #[serde(rename = "ts")]
    _ts_ms: String,
    pub(super) checksum: i32,
}

/// `[id, change, (change,) "book-1000", "pair"]`.
pub(super) struct Kraken {
    pub(super) changes: Vec<KrakenChange>,
    pub(super) pair: String,
}

#[derive(Deserialize)]
pub(super) struct KrakenChange {
    #[serde(rename = "bs")]
    pub(super) whole_bids: Option<Vec<Vec<String>>>,
    #[serde(rename = "as")]
    pub(super) whole_asks: Option<Vec<Vec<String>>>,
    #[serde(rename = "b")]
    pub(super) bids: Option<Vec<Vec<String>>>,
    #[serde(rename = "a")]
    pub(super) asks: Option<Vec<Vec<String>>>,
    #[serde(rename = "c")]
    pub(super) checksum: Option<String>,
}

/// An element of a v1 frame after the first.
enum KrakenPart {
    Change(KrakenChange),
    Name(String),
}

impl<'de> Deserialize<'de> for KrakenPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = KrakenPart;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a change of a book or a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<KrakenPart, E> {
                Ok(KrakenPart::Name(name.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<KrakenPart, A::Error> {
                KrakenChange::deserialize(MapAccessDeserializer::new(map)).map(KrakenPart::Change)
            }
        }
        deserializer.deserialize_any(Parts)
    }
}

impl<'de> Deserialize<'de> for Kraken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Frames;
        impl<'de> Visitor<'de> for Frames {
            type Value = Kraken;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a data frame of the v1 protocol")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Kraken, A::Error> {
                let _id: Option<u64> = seq.next_element()?;
                let mut frame = Kraken { changes: Vec::new(), pair: String::new() };
                while let Some(part) = seq.next_element()? {
                    match part {
                        KrakenPart::Change(change) => frame.changes.push(change),
                        // The pair stands last.
                        KrakenPart::Name(name) => frame.pair = name,
                    }
                }
                Ok(frame)
            }
        }
        deserializer.deserialize_seq(Frames)
    }
}

#[derive(Deserialize)]
pub(super) struct CoinbaseAdvanced {
    #[serde(rename = "sequence_num")]
    pub(super) sequence: u64,
    pub(super) events: Vec<CoinbaseEvent>,
}

#[derive(Deserialize)]
pub(super) struct CoinbaseEvent {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(rename = "product_id")]
    pub(super) product: String,
    pub(super) updates: Vec<CoinbaseUpdate>,
}

#[derive(Deserialize)]
pub(super) struct CoinbaseUpdate {
    pub(super) side: String,
    #[serde(rename = "event_time")]
    _event_time: String,
    #[serde(rename = "price_level")]
    pub(super) price: String,
    #[serde(rename = "new_quantity")]
    pub(super) qty: String,
}

/// Any frame of Coinbase Advanced Trade.
#[derive(Deserialize)]
pub(super) struct Numbered {
    #[serde(rename = "sequence_num")]
    pub(super) sequence: u64,
}

#[derive(Deserialize)]
pub(super) struct CoinbaseExchange {
    #[serde(rename = "product_id")]
    pub(super) product: String,
    #[serde(default)]
    pub(super) changes: Vec<(String, String, String)>,
    pub(super) bids: Option<Pairs>,
    pub(super) asks: Option<Pairs>,
}

#[derive(Deserialize)]
pub(super) struct Deribit {
    pub(super) params: DeribitParams,
}

#[derive(Deserialize)]
pub(super) struct DeribitParams {
    pub(super) data: DeribitData,
}

#[derive(Deserialize)]
pub(super) struct DeribitData {
    #[serde(rename = "instrument_name")]
    pub(super) instrument: String,
    pub(super) change_id: u64,
    #[serde(rename = "prev_change_id")]
    pub(super) previous: Option<u64>,
    pub(super) bids: Vec<(String, f64, f64)>,
    pub(super) asks: Vec<(String, f64, f64)>,
}

#[derive(Deserialize)]
pub(super) struct Bitstamp {
    pub(super) data: BitstampData,
    pub(super) channel: String,
}

#[derive(Deserialize)]
pub(super) struct BitstampData {
    pub(super) microtimestamp: String,
    pub(super) bids: Pairs,
    pub(super) asks: Pairs,
}

#[derive(Deserialize)]
pub(super) struct BitstampRest {
    pub(super) microtimestamp: String,
    pub(super) bids: Pairs,
    pub(super) asks: Pairs,
}
