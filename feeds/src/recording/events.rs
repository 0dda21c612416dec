//! Normalised events as bytes: what the tail of a [`Record::Events`](super::Record::Events) holds.
//!
//! A batch is a run of items, every integer little-endian, each beginning with a kind:
//!
//! | kind | item | fields |
//! |---|---|---|
//! | 0 | stamp | instrument u16, ts_venue_ns i64, ts_sent_ns i64, ts_recv_ns i64, update_id u64 |
//! | 1 | `BookBegin` | |
//! | 2 | `Level` | side u8, price i64, qty i64 |
//! | 3 | `BookCommit` | conflated u8 (1 no, 2 yes) |
//! | 4 | `Top` | bid_price i64, bid_qty i64, ask_price i64, ask_qty i64 |
//! | 5 | `Trade` | side u8, price i64, qty i64, count u32 |
//! | 6 | `Desync` | reason u8 (1 disconnected, 2 sequence gap, 3 bad message, 4 crossed, 5 checksum, 6 audit) |
//! | 7 | `Oracle` | p_up_ppb u32, horizon_ms u32 |
//!
//! A side is 1 for bid (of a trade: the buyer aggressed) and 2 for ask. A stamp says whose and when
//! the events after it are, up to the next stamp; it stands before the first event and wherever one of
//! its fields changes, and nowhere else. A level therefore costs 18 bytes, and a message 35 once.
//!
//! Invariants: a batch has one form (the reader refuses a stamp that changes nothing or that no event
//! follows), so that the same events are always the same bytes; every batch can be read alone; nothing
//! is allocated but the bytes of the batch.

use crate::{DesyncReason, EventBody, InstrumentId, MarketEvent, Side};

/// Bytes of a stamp, its kind included.
pub const STAMP_BYTES: usize = 1 + 2 + 4 * 8;

/// Bytes of the longest item that is not a stamp (`Top`), its kind included.
pub const MAX_BODY_BYTES: usize = 1 + 4 * 8;

/// Kinds of items.
mod item {
    pub(super) const STAMP: u8 = 0;
    pub(super) const BOOK_BEGIN: u8 = 1;
    pub(super) const LEVEL: u8 = 2;
    pub(super) const BOOK_COMMIT: u8 = 3;
    pub(super) const TOP: u8 = 4;
    pub(super) const TRADE: u8 = 5;
    pub(super) const DESYNC: u8 = 6;
    pub(super) const ORACLE: u8 = 7;
}

/// Why bytes are not a batch of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventsError {
    /// The bytes end within an item.
    #[error("the item at byte {at} needs {needed} bytes, there are {have}")]
    Truncated {
        /// Where the item begins.
        at: usize,
        /// Bytes it needs.
        needed: usize,
        /// Bytes there are.
        have: usize,
    },
    /// An item of no known kind.
    #[error("item kind {kind} at byte {at}, expected 0 to 7")]
    UnknownKind {
        /// Where the item begins.
        at: usize,
        /// Its kind.
        kind: u8,
    },
    /// A one-byte choice has no such value.
    #[error("{field} of the item at byte {at} is {value}, expected 1 to {max}")]
    BadChoice {
        /// Where the item begins.
        at: usize,
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u8,
        /// Largest value there is.
        max: u8,
    },
    /// An event before any stamp.
    #[error("the event at byte {at} has no stamp before it")]
    NoStamp {
        /// Where the event begins.
        at: usize,
    },
    /// A stamp that says what was said before, or that no event follows.
    #[error("the stamp at byte {at} is idle: it changes nothing, or no event follows it")]
    IdleStamp {
        /// Where the stamp begins.
        at: usize,
    },
}

/// Whose and when: the fields of an event beside its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    instrument: InstrumentId,
    ts_venue_ns: i64,
    ts_sent_ns: i64,
    ts_recv_ns: i64,
    update_id: u64,
}

impl Stamp {
    fn of(event: &MarketEvent) -> Self {
        let MarketEvent { ts_venue_ns, ts_sent_ns, ts_recv_ns, update_id, instrument, .. } = *event;
        Self { instrument, ts_venue_ns, ts_sent_ns, ts_recv_ns, update_id }
    }

    fn with(self, body: EventBody) -> MarketEvent {
        let Self { instrument, ts_venue_ns, ts_sent_ns, ts_recv_ns, update_id } = self;
        MarketEvent { ts_venue_ns, ts_sent_ns, ts_recv_ns, update_id, instrument, body }
    }
}

/// A batch being put together. Its owner bounds it: a record takes 16 MiB.
#[derive(Clone, Debug, Default)]
pub struct EventBatch {
    bytes: Vec<u8>,
    stamp: Option<Stamp>,
}

impl EventBatch {
    /// An empty batch with room for so many bytes.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), stamp: None }
    }

    /// Appends one event.
    pub fn push(&mut self, event: &MarketEvent) {
        let stamp = Stamp::of(event);
        if self.stamp != Some(stamp) {
            self.stamp = Some(stamp);
            self.u8(item::STAMP);
            self.bytes.extend_from_slice(&stamp.instrument.0.to_le_bytes());
            self.i64(stamp.ts_venue_ns);
            self.i64(stamp.ts_sent_ns);
            self.i64(stamp.ts_recv_ns);
            self.bytes.extend_from_slice(&stamp.update_id.to_le_bytes());
        }
        match event.body {
            EventBody::BookBegin => self.u8(item::BOOK_BEGIN),
            EventBody::Level { side, price, qty } => {
                self.u8(item::LEVEL);
                self.u8(side_code(side));
                self.i64(price);
                self.i64(qty);
            }
            EventBody::BookCommit { conflated } => {
                self.u8(item::BOOK_COMMIT);
                self.u8(1 + u8::from(conflated));
            }
            EventBody::Top { bid_price, bid_qty, ask_price, ask_qty } => {
                self.u8(item::TOP);
                for number in [bid_price, bid_qty, ask_price, ask_qty] {
                    self.i64(number);
                }
            }
            EventBody::Trade { side, price, qty, count } => {
                self.u8(item::TRADE);
                self.u8(side_code(side));
                self.i64(price);
                self.i64(qty);
                self.u32(count);
            }
            EventBody::Desync { reason } => {
                self.u8(item::DESYNC);
                self.u8(reason_code(reason));
            }
            EventBody::Oracle { p_up_ppb, horizon_ms } => {
                self.u8(item::ORACLE);
                self.u32(p_up_ppb);
                self.u32(horizon_ms);
            }
        }
    }

    /// The bytes so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether nothing was pushed since the last [`clear`](Self::clear).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Begins the next batch in the same memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.stamp = None;
    }

    fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn i64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }
}

fn side_code(side: Side) -> u8 {
    match side {
        Side::Bid => 1,
        Side::Ask => 2,
    }
}

fn reason_code(reason: DesyncReason) -> u8 {
    match reason {
        DesyncReason::Disconnected => 1,
        DesyncReason::SequenceGap => 2,
        DesyncReason::BadMessage => 3,
        DesyncReason::Crossed => 4,
        DesyncReason::ChecksumMismatch => 5,
        DesyncReason::AuditMismatch => 6,
    }
}

/// The events of a batch. After an error it is at its end.
#[derive(Clone, Debug)]
pub struct EventsIter<'a> {
    bytes: &'a [u8],
    at: usize,
    stamp: Option<Stamp>,
}

/// The events in the bytes of an [`EventBatch`].
#[must_use]
pub fn events(bytes: &[u8]) -> EventsIter<'_> {
    EventsIter { bytes, at: 0, stamp: None }
}

impl Iterator for EventsIter<'_> {
    type Item = Result<MarketEvent, EventsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.bytes.len() {
            return None;
        }
        let event = self.read();
        if event.is_err() {
            self.at = self.bytes.len();
        }
        Some(event)
    }
}

impl<'a> EventsIter<'a> {
    fn read(&mut self) -> Result<MarketEvent, EventsError> {
        let at = self.at;
        if self.bytes.get(at) == Some(&item::STAMP) {
            let mut fields = self.item(STAMP_BYTES)?;
            let stamp = Stamp {
                instrument: InstrumentId(u16::from_le_bytes(fields.take())),
                ts_venue_ns: fields.i64(),
                ts_sent_ns: fields.i64(),
                ts_recv_ns: fields.i64(),
                update_id: u64::from_le_bytes(fields.take()),
            };
            let is_last = matches!(self.bytes.get(self.at), None | Some(&item::STAMP));
            if is_last || self.stamp.replace(stamp) == Some(stamp) {
                return Err(EventsError::IdleStamp { at });
            }
        }
        let body = self.body()?;
        self.stamp.map(|stamp| stamp.with(body)).ok_or(EventsError::NoStamp { at })
    }

    fn body(&mut self) -> Result<EventBody, EventsError> {
        let at = self.at;
        let kind = self.bytes.get(at).copied().unwrap_or_default();
        let len = match kind {
            item::BOOK_BEGIN => 0,
            item::LEVEL => 1 + 2 * 8,
            item::BOOK_COMMIT | item::DESYNC => 1,
            item::TOP => 4 * 8,
            item::TRADE => 1 + 2 * 8 + 4,
            item::ORACLE => 2 * 4,
            _ => return Err(EventsError::UnknownKind { at, kind }),
        };
        let mut fields = self.item(1 + len)?;
        Ok(match kind {
            item::LEVEL => {
                EventBody::Level { side: fields.side(at)?, price: fields.i64(), qty: fields.i64() }
            }
            item::BOOK_COMMIT => {
                EventBody::BookCommit { conflated: fields.choice(at, "conflated", 2)? == 2 }
            }
            item::TOP => EventBody::Top {
                bid_price: fields.i64(),
                bid_qty: fields.i64(),
                ask_price: fields.i64(),
                ask_qty: fields.i64(),
            },
            item::TRADE => EventBody::Trade {
                side: fields.side(at)?,
                price: fields.i64(),
                qty: fields.i64(),
                count: fields.u32(),
            },
            item::DESYNC => {
                let code = fields.choice(at, "reason", DesyncReason::ALL.len() as u8)?;
                EventBody::Desync { reason: DesyncReason::ALL[usize::from(code) - 1] }
            }
            item::ORACLE => EventBody::Oracle { p_up_ppb: fields.u32(), horizon_ms: fields.u32() },
            _ => EventBody::BookBegin,
        })
    }

    /// Steps over an item of `len` bytes and returns its fields.
    fn item(&mut self, len: usize) -> Result<Fields<'a>, EventsError> {
        let (at, have) = (self.at, self.bytes.len() - self.at);
        if len > have {
            return Err(EventsError::Truncated { at, needed: len, have });
        }
        self.at += len;
        Ok(Fields(&self.bytes[at + 1..at + len]))
    }
}

/// The fields of an item, whose length was checked; one beyond it would read as zero.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((field, rest)) = self.0.split_first_chunk::<N>() else { return [0; N] };
        self.0 = rest;
        *field
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.take())
    }

    fn choice(&mut self, at: usize, field: &'static str, max: u8) -> Result<u8, EventsError> {
        let [value] = self.take();
        if (1..=max).contains(&value) {
            Ok(value)
        } else {
            Err(EventsError::BadChoice { at, field, value, max })
        }
    }

    fn side(&mut self, at: usize) -> Result<Side, EventsError> {
        Ok(if self.choice(at, "side", 2)? == 1 { Side::Bid } else { Side::Ask })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(ts: i64, body: EventBody) -> MarketEvent {
        MarketEvent {
            ts_venue_ns: ts,
            ts_sent_ns: ts + 1,
            ts_recv_ns: ts + 2,
            update_id: ts as u64 * 3,
            instrument: InstrumentId(0x0102),
            body,
        }
    }

    /// One of each body, with every value of every choice, two events to a stamp.
    fn one_of_each() -> Vec<MarketEvent> {
        let mut bodies = vec![
            EventBody::BookBegin,
            EventBody::Level { side: Side::Bid, price: -5, qty: 0 },
            EventBody::Level { side: Side::Ask, price: i64::MAX, qty: i64::MIN },
            EventBody::BookCommit { conflated: false },
            EventBody::BookCommit { conflated: true },
            EventBody::Top { bid_price: 1, bid_qty: 2, ask_price: 3, ask_qty: 4 },
            EventBody::Trade { side: Side::Bid, price: 7, qty: 8, count: 1 },
            EventBody::Trade { side: Side::Ask, price: 7, qty: 8, count: u32::MAX },
            EventBody::Oracle { p_up_ppb: 500_000_001, horizon_ms: 1_000 },
        ];
        bodies.extend(DesyncReason::ALL.map(|reason| EventBody::Desync { reason }));
        bodies.into_iter().enumerate().map(|(i, body)| event(i as i64 / 2, body)).collect()
    }

    fn encoded(events: &[MarketEvent]) -> Vec<u8> {
        let mut batch = EventBatch::default();
        for event in events {
            batch.push(event);
        }
        batch.bytes().to_vec()
    }

    #[test]
    fn every_body_is_read_back_as_it_was() {
        let all = one_of_each();
        let bytes = encoded(&all);
        let back: Vec<_> = events(&bytes).collect::<Result<_, _>>().unwrap();
        assert_eq!(back, all);
        for one in all {
            let bytes = encoded(&[one]);
            assert!(bytes.len() <= STAMP_BYTES + MAX_BODY_BYTES);
            assert_eq!(events(&bytes).collect::<Vec<_>>(), [Ok(one)]);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_table_and_a_stamp_stands_once() {
        let level = |price| EventBody::Level { side: Side::Ask, price, qty: 1 };
        let bytes = encoded(&[event(9, level(2)), event(9, level(3))]);
        let mut expected = vec![0, 2, 1];
        for number in [9i64, 10, 11, 27] {
            expected.extend(number.to_le_bytes());
        }
        for price in [2, 3] {
            expected.extend([2, 2, price, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        }
        assert_eq!(bytes, expected);
        assert_eq!(bytes.len(), STAMP_BYTES + 2 * 18);
    }

    #[test]
    fn a_batch_cut_at_any_byte_gives_its_whole_events_and_then_an_error_or_the_end() {
        let all = one_of_each();
        let bytes = encoded(&all);
        let mut ends = Vec::new();
        for end in 0..bytes.len() {
            let mut read = 0;
            let mut error = None;
            for item in events(&bytes[..end]) {
                match item {
                    Ok(event) => {
                        assert_eq!((error, event), (None, all[read]));
                        read += 1;
                    }
                    Err(e) => assert_eq!(error.replace(e), None, "one error, then the end"),
                }
            }
            match error {
                None => ends.push((end, read)),
                Some(EventsError::Truncated { at, needed, have }) => {
                    assert_eq!(at + have, end);
                    assert!(needed > have);
                }
                Some(EventsError::IdleStamp { at }) => assert_eq!(at + STAMP_BYTES, end),
                Some(other) => panic!("{end}: {other}"),
            }
        }
        let whole: Vec<_> = (0..all.len()).map(|n| (encoded(&all[..n]).len(), n)).collect();
        assert_eq!(ends, whole, "without an error only at the end of an event");
    }

    #[test]
    fn what_a_batch_never_holds_is_refused_with_its_place() {
        let begin = encoded(&[event(1, EventBody::BookBegin)]);
        let with = |tail: &[u8]| [&begin, tail].concat();
        let at = begin.len();
        let stamp = &begin[..STAMP_BYTES];
        let mut level =
            encoded(&[event(1, EventBody::Level { side: Side::Bid, price: 1, qty: 1 })]);
        level[STAMP_BYTES + 1] = 3;
        let cases = [
            (with(&[8]), EventsError::UnknownKind { at, kind: 8 }),
            (with(&[255, 1, 2]), EventsError::UnknownKind { at, kind: 255 }),
            (vec![1], EventsError::NoStamp { at: 0 }),
            (with(stamp), EventsError::IdleStamp { at }),
            (with(&[stamp, &[1]].concat()), EventsError::IdleStamp { at }),
            ([stamp, &begin].concat(), EventsError::IdleStamp { at: 0 }),
            (with(&[3, 0]), EventsError::BadChoice { at, field: "conflated", value: 0, max: 2 }),
            (with(&[6, 7]), EventsError::BadChoice { at, field: "reason", value: 7, max: 6 }),
            (level, EventsError::BadChoice { at: STAMP_BYTES, field: "side", value: 3, max: 2 }),
        ];
        for (bytes, expected) in cases {
            let last = events(&bytes).last();
            assert_eq!(last, Some(Err(expected)), "{bytes:?}");
        }
    }

    #[test]
    fn a_cleared_batch_can_be_read_alone() {
        let mut batch = EventBatch::with_capacity(64);
        let one = event(1, EventBody::BookBegin);
        batch.push(&one);
        let first = batch.bytes().to_vec();
        batch.clear();
        assert!(batch.is_empty());
        batch.push(&one);
        assert_eq!(batch.bytes(), first, "the stamp stands again");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_what_is_read_is_written_the_same(bytes: Vec<u8>) {
            let read: Vec<_> = events(&bytes).map_while(Result::ok).collect();
            let again = encoded(&read);
            prop_assert_eq!(&bytes[..again.len()], &again[..]);
        }

        #[test]
        fn changed_bytes_never_panic(at in 0usize..400, value: u8) {
            let mut bytes = encoded(&one_of_each());
            let at = at % bytes.len();
            bytes[at] = value;
            let read: Vec<_> = events(&bytes).map_while(Result::ok).collect();
            let again = encoded(&read);
            prop_assert_eq!(&bytes[..again.len()], &again[..]);
        }
    }
}
