//! One connection to a venue as an I/O-free state machine: frames in, events and requests out.
//!
//! The owner moves bytes and time in (`on_…`) and drains the [`Outbox`] after each call. Invariants:
//!
//! * No clock is read, nothing random happens, and [`Session::on_tick`] never emits an event, so a
//!   replay of the same frames and answers yields the same events without ticks.
//! * A book is emitted only in sequence: `BookBegin`, levels, `BookCommit` of a snapshot that an update
//!   bridges, then each update as levels and a `BookCommit`, each checked against the venue's rules.
//!   All events of a call carry its receive time, those of updates that waited for the snapshot too:
//!   the moment at which they became usable. Event times never run backwards if the calls' do not.
//! * A frame that cannot be read costs at most its own instrument the book. Nothing panics on input,
//!   everything dropped is counted.
//! * After construction nothing is allocated, unless one frame holds more levels than any before.
//!
//! A session keeps no book. A consumer that finds one crossed says so with [`Session::repair`].

mod age;
mod buffer;
mod counters;
mod escalation;
mod outbox;
mod slot;
mod spec;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use self::buffer::{DiffBuffer, DiffHeader, LevelUpdate};
pub use self::counters::{BadInput, BadInputCounts, SessionCounters};
use self::escalation::Escalation;
pub use self::escalation::{MAX_RESUBSCRIPTIONS, MAX_RESUBSCRIPTIONS_PER_TICK};
pub use self::outbox::{Action, Outbox, ReconnectReason};
use self::slot::{Sink, Slot, SnapshotHeader};
use self::spec::check;
pub use self::spec::{Channels, MAX_SNAPSHOT_LIMIT, SessionError, SessionSpec};
use crate::binance::decode::{self, Levels, Subject, decode_snapshot};
use crate::binance::message::{Ack, BookTicker, Depth, Message, Oracle, Trade};
use crate::binance::sequence::DiffIds;
use crate::binance::{MAX_STREAMS_PER_REQUEST, request_text, stream_name};
use crate::topic::{Channel, TopicId, TopicState, Topics};
use crate::{DesyncReason, EventBody, InstrumentId, InstrumentTable, MarketEvent, Side, fixed};

/// Longest frame looked at, in bytes; the largest depth update on record is under 64 KiB.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// How much of an oversize frame is read to learn what it was about.
const SUBJECT_BYTES: usize = 512;

/// Request ids from here on belong to resubscriptions.
const RESUBSCRIPTION_IDS: u64 = 1 << 32;

/// Decimals of an oracle probability: parts per billion.
const PROBABILITY_DECIMALS: u8 = 9;

/// Answer to [`Action::Snapshot`].
#[derive(Clone, Copy, Debug)]
pub struct SnapshotReply<'a> {
    /// Of which instrument.
    pub instrument: InstrumentId,
    /// The generation the request carried.
    pub generation: u32,
    /// When the answer was received, ns since the epoch.
    pub ts_recv_ns: i64,
    /// Its body.
    pub body: &'a [u8],
}

/// The state machine of one connection.
#[derive(Debug)]
pub struct Session {
    spec: SessionSpec,
    table: Arc<InstrumentTable>,
    /// In the order of `spec.instruments`.
    slots: Vec<Slot>,
    /// Slot of each instrument of the table.
    slot_of: Vec<Option<u16>>,
    /// Numbered slot by slot, channel by channel.
    topics: Topics,
    escalation: Escalation,
    /// Stream of each topic.
    streams: Vec<String>,
    generation: u32,
    counters: SessionCounters,
    /// Levels of the message at hand.
    scratch: Vec<LevelUpdate>,
}

impl Session {
    /// A session before its first connection.
    ///
    /// # Errors
    /// The specification contradicts the table, the venue's limits or itself.
    pub fn new(spec: SessionSpec, table: Arc<InstrumentTable>) -> Result<Self, SessionError> {
        let slot_of = check(&spec, &table)?;
        let slots: Vec<Slot> = spec
            .instruments
            .iter()
            .map(|&id| {
                let item = table.get(id);
                let decimals = (item.price_decimals, item.qty_decimals);
                // Without the depth channel there is nothing to buffer and no snapshot to hold.
                let has_depth = usize::from(spec.channels.depth);
                let buffer =
                    DiffBuffer::new(spec.buffer_diffs * has_depth, spec.buffer_levels * has_depth);
                Slot::new(spec.venue, id, decimals, spec.snapshot_limit * has_depth, buffer)
            })
            .collect();
        let stream = |id: InstrumentId, channel| {
            stream_name(&table.get(id).symbol, channel, spec.depth_interval_ms)
        };
        let streams: Vec<String> = spec
            .instruments
            .iter()
            .flat_map(|&id| spec.channels.iter().map(move |channel| stream(id, channel)))
            .collect();
        let channels = spec.instruments.iter().flat_map(|_| spec.channels.iter());
        Ok(Self {
            topics: Topics::new(channels, spec.silence),
            escalation: Escalation::new(streams.len()),
            scratch: Vec::with_capacity(2 * spec.snapshot_limit),
            slots,
            slot_of,
            streams,
            generation: 0,
            counters: SessionCounters::default(),
            spec,
            table,
        })
    }

    /// An outbox with room for the largest answer to one call: a snapshot and a full buffer.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        let buffered = self.spec.buffer_levels + self.spec.buffer_diffs;
        Outbox::with_capacity(2 * self.spec.snapshot_limit + buffered + 64)
    }

    /// What the session is for.
    #[must_use]
    pub fn spec(&self) -> &SessionSpec {
        &self.spec
    }

    /// Generation of the current (or last) connection, counted from 1; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Totals since construction.
    #[must_use]
    pub fn counters(&self) -> &SessionCounters {
        &self.counters
    }

    /// Names of all streams, in the order of [`TopicId`]; for a combined-stream URL.
    #[must_use]
    pub fn stream_names(&self) -> &[String] {
        &self.streams
    }

    /// The requests to send after connecting, each for at most [`MAX_STREAMS_PER_REQUEST`] streams.
    #[must_use]
    pub fn subscription(&self) -> Vec<String> {
        let requests = self.streams.chunks(MAX_STREAMS_PER_REQUEST).enumerate();
        requests.map(|(i, streams)| request_text("SUBSCRIBE", streams, i as u64 + 1)).collect()
    }

    /// The requests that answer [`Action::Resubscribe`], in order; empty for an id of no topic.
    #[must_use]
    pub fn resubscription(&self, topic: TopicId) -> Vec<String> {
        let index = usize::from(topic.0);
        let id = RESUBSCRIPTION_IDS + 2 * index as u64;
        self.streams.get(index..=index).map_or_else(Vec::new, |stream| {
            vec![request_text("UNSUBSCRIBE", stream, id), request_text("SUBSCRIBE", stream, id + 1)]
        })
    }

    /// Where the topic of a channel of an instrument stands; `None` if it is not subscribed.
    #[must_use]
    pub fn topic_state(&self, instrument: InstrumentId, channel: Channel) -> Option<TopicState> {
        self.topics.state(self.topic(self.slot_index(instrument)?, channel)?)
    }

    /// Instrument and channel of a topic; `None` for an id of no topic.
    #[must_use]
    pub fn topic_subject(&self, topic: TopicId) -> Option<(InstrumentId, Channel)> {
        let per_slot = self.spec.channels.iter().count();
        let index = usize::from(topic.0);
        let channel = self.spec.channels.iter().nth(index % per_slot)?;
        Some((self.slots.get(index / per_slot)?.instrument, channel))
    }

    /// A connection is up: a new generation starts.
    pub fn on_connected(&mut self, ts_recv_ns: i64, out: &mut Outbox) {
        // An owner that skipped `on_disconnected` must not leave books trusted.
        self.drop_books(ts_recv_ns, out);
        self.generation += 1;
        for slot in &mut self.slots {
            slot.connect(self.generation);
        }
        self.topics.connected(ts_recv_ns, &mut out.topics);
        self.escalation.connected();
    }

    /// The connection is gone: every published book is given up.
    pub fn on_disconnected(&mut self, ts_recv_ns: i64, out: &mut Outbox) {
        self.drop_books(ts_recv_ns, out);
        self.topics.disconnected(ts_recv_ns, &mut out.topics);
    }

    /// A text frame arrived.
    pub fn on_frame(&mut self, ts_recv_ns: i64, frame: &[u8], out: &mut Outbox) {
        self.counters.frames += 1;
        self.counters.bytes += frame.len() as u64;
        if frame.len() > MAX_FRAME_BYTES {
            let head = decode::decode(self.spec.venue, &frame[..SUBJECT_BYTES]);
            let subject = head.err().map_or_else(Subject::default, |error| error.subject);
            return self.refuse(BadInput::Oversize, subject, ts_recv_ns, out);
        }
        match decode::decode(self.spec.venue, frame) {
            Ok(Message::Depth(depth)) => self.on_depth(depth, ts_recv_ns, out),
            Ok(Message::BookTicker(top)) => self.on_book_ticker(&top, ts_recv_ns, out),
            Ok(Message::Trade(trade)) => self.on_trade(&trade, ts_recv_ns, out),
            Ok(Message::Oracle(oracle)) => self.on_oracle(&oracle, ts_recv_ns, out),
            Ok(Message::Ack(ack)) => self.on_ack(ack, ts_recv_ns, out),
            Ok(Message::Ignored(_)) => self.counters.ignored += 1,
            Err(error) => self.refuse(error.kind.into(), error.subject, ts_recv_ns, out),
        }
    }

    /// A snapshot request was answered.
    pub fn on_snapshot(&mut self, reply: SnapshotReply<'_>, out: &mut Outbox) {
        let Some(index) = self.slot_index(reply.instrument) else {
            self.counters.unknown_symbol += 1;
            return;
        };
        let header = self.read_snapshot(index, reply.body);
        let Self { slots, counters, scratch, .. } = self;
        match header {
            Ok(header) => {
                let mut sink = Sink { ts_recv_ns: reply.ts_recv_ns, out, counters };
                slots[index].snapshot(reply.generation, header, scratch, &mut sink);
            }
            Err(kind) => {
                counters.bad_input.add(kind);
                slots[index].snapshot_failed(reply.generation, Some(reply.ts_recv_ns), counters);
            }
        }
    }

    /// A snapshot request failed for good; another is asked for, after a while, where one is still
    /// needed.
    pub fn on_snapshot_failed(&mut self, instrument: InstrumentId, generation: u32) {
        if let Some(index) = self.slot_index(instrument) {
            let Self { slots, counters, .. } = self;
            slots[index].snapshot_failed(generation, None, counters);
        }
    }

    /// Gives up the book of one instrument and repairs it, for a reason the consumer found
    /// (a book that stayed crossed after a commit).
    pub fn repair(
        &mut self,
        instrument: InstrumentId,
        reason: DesyncReason,
        ts_recv_ns: i64,
        out: &mut Outbox,
    ) {
        if let Some(index) = self.slot_index(instrument) {
            let Self { slots, counters, .. } = self;
            slots[index].desync(reason, &mut Sink { ts_recv_ns, out, counters });
        }
    }

    /// Whether data (acknowledgements and heartbeats are none) flows on any topic.
    #[must_use]
    pub fn is_flowing(&self) -> bool {
        self.topics.any_flowing()
    }

    /// Time passed: looks for silence. Changes topic states and asks for actions, emits no event.
    pub fn on_tick(&mut self, now_ns: i64, out: &mut Outbox) {
        self.topics.tick(now_ns, &mut out.topics);
        self.escalation.tick(&self.topics, now_ns, &mut out.actions);
    }

    fn drop_books(&mut self, ts_recv_ns: i64, out: &mut Outbox) {
        let Self { slots, counters, .. } = self;
        for slot in slots {
            slot.disconnect(&mut Sink { ts_recv_ns, out, counters });
        }
    }

    fn on_depth(&mut self, depth: Depth<'_>, ts_recv_ns: i64, out: &mut Outbox) {
        let Some(index) = self.route(depth.symbol, Channel::Depth, ts_recv_ns, out) else {
            return;
        };
        self.counters.depth += 1;
        let symbol = depth.symbol;
        match self.read_depth(index, depth) {
            Ok(header) => {
                let Self { slots, counters, scratch, .. } = self;
                slots[index].diff(header, scratch, &mut Sink { ts_recv_ns, out, counters });
            }
            Err(kind) => {
                let subject = Subject { symbol: Some(symbol), channel: Some(Channel::Depth) };
                self.refuse(kind, subject, ts_recv_ns, out);
            }
        }
    }

    /// Reads all of a depth update before any of it takes effect; its levels go to `scratch`.
    fn read_depth(&mut self, index: usize, depth: Depth<'_>) -> Result<DiffHeader, BadInput> {
        let ids = DiffIds::new(self.spec.venue, depth.first_id, depth.final_id, depth.prev_id)
            .ok_or(BadInput::BadIds)?;
        let ts_sent_ns = ns(depth.event_ms)?;
        let ts_venue_ns = depth.transact_ms.map_or(Ok(ts_sent_ns), ns)?;
        self.scratch.clear();
        self.read_levels(index, Side::Bid, depth.bids, usize::MAX)?;
        self.read_levels(index, Side::Ask, depth.asks, usize::MAX)?;
        Ok(DiffHeader { ids, ts_venue_ns, ts_sent_ns })
    }

    fn read_snapshot(&mut self, index: usize, body: &[u8]) -> Result<SnapshotHeader, BadInput> {
        if body.len() > MAX_FRAME_BYTES {
            return Err(BadInput::Oversize);
        }
        let snapshot = decode_snapshot(body)?;
        let ts_sent_ns = snapshot.event_ms.map_or(Ok(0), ns)?;
        let ts_venue_ns = snapshot.transact_ms.map_or(Ok(ts_sent_ns), ns)?;
        let limit = self.spec.snapshot_limit;
        self.scratch.clear();
        self.read_levels(index, Side::Bid, snapshot.bids, limit)?;
        self.read_levels(index, Side::Ask, snapshot.asks, limit)?;
        Ok(SnapshotHeader { id: snapshot.last_update_id, ts_venue_ns, ts_sent_ns })
    }

    /// Appends at most `limit` levels to `scratch`, and reads the rest all the same.
    fn read_levels(
        &mut self,
        index: usize,
        side: Side,
        levels: Levels<'_>,
        limit: usize,
    ) -> Result<(), BadInput> {
        let Slot { price_decimals, qty_decimals, .. } = self.slots[index];
        for (i, level) in levels.enumerate() {
            let (price, qty) = level?;
            let price = positive(price, price_decimals)?;
            let qty = not_negative(qty, qty_decimals)?;
            if i < limit {
                self.scratch.push(LevelUpdate { side, price, qty });
            } else {
                self.counters.snapshot_levels_cut += 1;
            }
        }
        Ok(())
    }

    fn on_book_ticker(&mut self, top: &BookTicker<'_>, ts_recv_ns: i64, out: &mut Outbox) {
        let channel = Channel::BookTicker;
        let Some(index) = self.route(top.symbol, channel, ts_recv_ns, out) else {
            return;
        };
        match top_event(&self.slots[index], top, ts_recv_ns) {
            Ok(event) => {
                self.counters.tops += 1;
                out.events.push(event);
            }
            Err(kind) => self.counters.bad_input.add(kind),
        }
    }

    fn on_trade(&mut self, trade: &Trade<'_>, ts_recv_ns: i64, out: &mut Outbox) {
        let channel = Channel::Trade;
        let Some(index) = self.route(trade.symbol, channel, ts_recv_ns, out) else {
            return;
        };
        match trade_event(&self.slots[index], trade, ts_recv_ns) {
            Ok(event) => {
                self.counters.trades += 1;
                out.events.push(event);
            }
            Err(kind) => self.counters.bad_input.add(kind),
        }
    }

    fn on_oracle(&mut self, oracle: &Oracle<'_>, ts_recv_ns: i64, out: &mut Outbox) {
        let channel = Channel::Oracle;
        let Some(index) = self.route(oracle.symbol, channel, ts_recv_ns, out) else {
            return;
        };
        match oracle_event(self.slots[index].instrument, oracle, ts_recv_ns) {
            Ok(event) => {
                self.counters.oracles += 1;
                out.events.push(event);
            }
            Err(kind) => self.counters.bad_input.add(kind),
        }
    }

    fn on_ack(&mut self, ack: Ack<'_>, ts_recv_ns: i64, out: &mut Outbox) {
        if ack.error.is_some() {
            self.counters.acks_refused += 1;
            return;
        }
        self.counters.acks += 1;
        let topics = ack.id.map_or(0..0, |id| self.topics_of_request(id));
        for index in topics {
            self.topics.acknowledged(TopicId(index as u16), ts_recv_ns, &mut out.topics);
        }
    }

    /// Topics that a subscription request of that id names.
    fn topics_of_request(&self, id: u64) -> Range<usize> {
        let len = self.streams.len();
        let start = usize::try_from(id.wrapping_sub(1))
            .ok()
            .and_then(|request| request.checked_mul(MAX_STREAMS_PER_REQUEST));
        start.map_or(0..0, |start| {
            start.min(len)..start.saturating_add(MAX_STREAMS_PER_REQUEST).min(len)
        })
    }

    /// Slot of a data frame's symbol, its topic marked alive. Counts frames nobody asked for.
    fn route(
        &mut self,
        symbol: &[u8],
        channel: Channel,
        ts_recv_ns: i64,
        out: &mut Outbox,
    ) -> Option<usize> {
        let instrument = self.table.lookup(self.spec.venue, symbol);
        let Some(index) = instrument.and_then(|id| self.slot_index(id)) else {
            self.counters.unknown_symbol += 1;
            return None;
        };
        let Some(topic) = self.topic(index, channel) else {
            self.counters.ignored += 1;
            return None;
        };
        self.topics.data(topic, ts_recv_ns, &mut out.topics);
        Some(index)
    }

    /// Counts a frame that could not be read; if it may have been a book update, the book of its
    /// instrument misses it and must be repaired. Where the instrument cannot be told, the sequence
    /// check of its next update finds out.
    fn refuse(&mut self, kind: BadInput, subject: Subject<'_>, ts_recv_ns: i64, out: &mut Outbox) {
        self.counters.bad_input.add(kind);
        if subject.channel != Some(Channel::Depth) || !self.spec.channels.depth {
            return;
        }
        let Self { table, slots, counters, .. } = self;
        let slot = subject.symbol.and_then(|symbol| {
            // Stream names are lower-case.
            let is_it = |slot: &&mut Slot| {
                table.get(slot.instrument).symbol.as_bytes().eq_ignore_ascii_case(symbol)
            };
            slots.iter_mut().find(is_it)
        });
        if let Some(slot) = slot {
            slot.desync(DesyncReason::BadMessage, &mut Sink { ts_recv_ns, out, counters });
        }
    }

    fn slot_index(&self, instrument: InstrumentId) -> Option<usize> {
        self.slot_of.get(instrument.index()).copied().flatten().map(usize::from)
    }

    fn topic(&self, slot: usize, channel: Channel) -> Option<TopicId> {
        let per_slot = self.spec.channels.iter().count();
        let offset = self.spec.channels.iter().position(|subscribed| subscribed == channel)?;
        Some(TopicId((slot * per_slot + offset) as u16))
    }
}

fn top_event(slot: &Slot, top: &BookTicker<'_>, ts_recv_ns: i64) -> Result<MarketEvent, BadInput> {
    Ok(MarketEvent {
        ts_venue_ns: top.transact_ms.map_or(Ok(0), ns)?,
        ts_sent_ns: top.event_ms.map_or(Ok(0), ns)?,
        ts_recv_ns,
        update_id: top.update_id,
        instrument: slot.instrument,
        // An empty side has a price of zero.
        body: EventBody::Top {
            bid_price: not_negative(top.bid_price, slot.price_decimals)?,
            bid_qty: not_negative(top.bid_qty, slot.qty_decimals)?,
            ask_price: not_negative(top.ask_price, slot.price_decimals)?,
            ask_qty: not_negative(top.ask_qty, slot.qty_decimals)?,
        },
    })
}

fn trade_event(slot: &Slot, trade: &Trade<'_>, ts_recv_ns: i64) -> Result<MarketEvent, BadInput> {
    Ok(MarketEvent {
        ts_venue_ns: ns(trade.transact_ms)?,
        ts_sent_ns: ns(trade.event_ms)?,
        ts_recv_ns,
        update_id: trade.trade_id,
        instrument: slot.instrument,
        body: EventBody::Trade {
            side: if trade.buyer_was_maker { Side::Ask } else { Side::Bid },
            price: positive(trade.price, slot.price_decimals)?,
            qty: not_negative(trade.qty, slot.qty_decimals)?,
            count: 1,
        },
    })
}

fn oracle_event(
    instrument: InstrumentId,
    oracle: &Oracle<'_>,
    ts_recv_ns: i64,
) -> Result<MarketEvent, BadInput> {
    let ts_venue_ns = ns(oracle.event_ms)?;
    let p_up_ppb = fixed::parse(oracle.p_up, PROBABILITY_DECIMALS)?;
    let p_up_ppb = u32::try_from(p_up_ppb).map_err(|_| BadInput::OutOfRange)?;
    if p_up_ppb > 10u32.pow(u32::from(PROBABILITY_DECIMALS)) {
        return Err(BadInput::OutOfRange);
    }
    Ok(MarketEvent {
        ts_venue_ns,
        ts_sent_ns: ts_venue_ns,
        ts_recv_ns,
        update_id: 0,
        instrument,
        body: EventBody::Oracle { p_up_ppb, horizon_ms: oracle.horizon_ms },
    })
}

/// The venue's time as nanoseconds. It counts milliseconds, or microseconds where spot was asked for
/// them (`?timeUnit=microsecond`): read as milliseconds those would lie beyond the year 5000.
fn ns(venue_time: i64) -> Result<i64, BadInput> {
    const LEAST_MICROSECONDS: i64 = 100_000_000_000_000;
    let unit_ns = if venue_time < LEAST_MICROSECONDS { 1_000_000 } else { 1_000 };
    venue_time.checked_mul(unit_ns).ok_or(BadInput::OutOfRange)
}

fn positive(text: &[u8], decimals: u8) -> Result<i64, BadInput> {
    let price = fixed::parse(text, decimals)?;
    if price > 0 { Ok(price) } else { Err(BadInput::OutOfRange) }
}

fn not_negative(text: &[u8], decimals: u8) -> Result<i64, BadInput> {
    let qty = fixed::parse(text, decimals)?;
    if qty < 0 { Err(BadInput::OutOfRange) } else { Ok(qty) }
}
