//! Coinbase: two feeds of one venue, [`advanced`] (Advanced Trade) and [`exchange`] (Exchange).
//!
//! They carry the same market in different protocols: Advanced Trade numbers every frame of a
//! connection, so that no loss stays unseen; Exchange numbers no book update, so its books are compared
//! with REST snapshots. What both write alike is in this file. Nothing here does I/O.

pub mod advanced;
pub mod exchange;

#[cfg(test)]
mod damage;

use crate::Side;
use crate::json::{Cursor, JsonError, scalar};
use crate::protocol::TopicName;
use crate::protocol::fields::rfc3339;
use crate::topic::Channel;

/// Most products named in one request, so that its text stays a few kilobytes [no bound documented].
const MAX_PRODUCTS_PER_REQUEST: usize = 100;

/// Most topics of a connection: a hundred products with three channels [no bound documented; heavy
/// products deserve connections of their own, since the venue cuts readers that fall behind].
const MAX_TOPICS: usize = 300;

/// The channels that carry data, in the order in which they are asked for: books first, since their
/// snapshots take longest.
const CHANNELS: [Channel; 3] = [Channel::Depth, Channel::BookTicker, Channel::Trade];

/// What a JSON string says.
fn string(raw: &[u8]) -> Option<&[u8]> {
    raw.starts_with(b"\"").then(|| scalar(raw)).flatten()
}

/// A time as nanoseconds since the epoch. The venue's zero time, `0001-01-01T00:00:00Z`, is 0: it does
/// not say.
fn time_ns(raw: &[u8]) -> Option<i64> {
    if raw.starts_with(b"\"0001-01-01T00:00:00") { Some(0) } else { rfc3339(string(raw)?) }
}

/// Who crossed the spread, from the maker's side.
fn aggressor(maker_side: &[u8]) -> Option<Side> {
    match string(maker_side)? {
        b"BUY" | b"buy" => Some(Side::Ask),
        b"SELL" | b"sell" => Some(Side::Bid),
        _ => None,
    }
}

/// The topics of one channel, by index, in portions of [`MAX_PRODUCTS_PER_REQUEST`].
fn portions(topics: &[TopicName<'_>], channel: Channel) -> Vec<Vec<usize>> {
    let of_channel = |index: &usize| topics[*index].channel == channel;
    let indices: Vec<usize> = (0..topics.len()).filter(of_channel).collect();
    indices.chunks(MAX_PRODUCTS_PER_REQUEST).map(<[usize]>::to_vec).collect()
}

/// `["BTC-USD","ETH-USD"]`; names must hold no quote and no backslash.
fn product_ids(topics: &[TopicName<'_>], indices: &[usize]) -> String {
    let names: Vec<_> = indices.iter().map(|&i| format!("\"{}\"", topics[i].symbol)).collect();
    format!("[{}]", names.join(","))
}

/// Hands every element of a raw array to `each`, with its place; how many there are.
fn elements<'a>(raw: &'a [u8], mut each: impl FnMut(usize, &'a [u8])) -> Result<usize, JsonError> {
    let mut cursor = Cursor::new(raw);
    let mut count = 0;
    let mut more = cursor.enter_array()?;
    while more {
        each(count, cursor.value()?);
        count += 1;
        more = cursor.next_element()?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_nanoseconds_and_the_zero_time_says_nothing() {
        let table: [(&str, Option<i64>); 5] = [
            (r#""1970-01-01T00:00:01.5Z""#, Some(1_500_000_000)),
            (r#""0001-01-01T00:00:00Z""#, Some(0)),
            (r#""0001-01-01T00:00:00.000000Z""#, Some(0)),
            (r#""0002-01-01T00:00:00Z""#, None),
            ("1618677817", None),
        ];
        for (raw, ns) in table {
            assert_eq!(time_ns(raw.as_bytes()), ns, "{raw}");
        }
    }

    #[test]
    fn the_aggressor_is_opposite_to_the_maker() {
        assert_eq!(aggressor(br#""sell""#), Some(Side::Bid));
        assert_eq!(aggressor(br#""BUY""#), Some(Side::Ask));
        assert_eq!((aggressor(br#""up""#), aggressor(b"1")), (None, None));
    }
}
