//! One connection to a venue as an I/O-free state machine: frames in, events and requests out.
//!
//! The owner moves bytes and time in (`on_…`) and drains the [`Outbox`] after each call. Invariants:
//!
//! * No clock is read, nothing random happens, and [`Session::on_tick`] never emits an event, so a
//!   replay of the same frames and answers yields the same events without ticks.
//! * A book is emitted only in sequence: `BookBegin`, levels, `BookCommit` of a snapshot (one from REST
//!   only once an update bridges it), then each update as levels and a `BookCommit`, each checked against
//!   the venue's rules and, where it sends them, its checksums.
//!   All events of a call carry its receive time, those of updates that waited for the snapshot too:
//!   the moment at which they became usable. Event times never run backwards if the calls' do not.
//! * A frame that cannot be read costs at most its own instrument the book. Nothing panics on input,
//!   everything dropped is counted.
//! * After construction nothing is allocated, unless one frame holds more levels than any before.
//!
//! It is written once for all venues: what differs is behind [`Protocol`]. It keeps no book unless a
//! checksum needs one; a consumer that finds its book crossed says so with [`Session::repair`].

mod age;
mod audit;
mod buffer;
mod checker;
mod counters;
mod escalation;
mod outbox;
mod slot;
mod spec;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use self::audit::Audit;
use self::buffer::{DiffBuffer, DiffHeader, LevelUpdate};
use self::checker::{Checker, decimals_of};
pub use self::counters::{BadInput, BadInputCounts, SessionCounters};
use self::escalation::Escalation;
pub use self::escalation::{MAX_RESUBSCRIPTIONS, MAX_RESUBSCRIPTIONS_PER_TICK};
pub use self::outbox::{Action, Outbox, ReconnectReason};
use self::slot::{Sink, Slot, SnapshotHeader};
pub use self::spec::{Channels, MAX_SNAPSHOT_LIMIT, SessionError, SessionSpec};
use self::spec::{check, check_limit};
use crate::protocol;
use crate::protocol::sequence::{Rules, Sequencer, SnapshotSource};
use crate::protocol::{
    Ack, AckOf, BookKind, BookMessage, Levels, Message, OracleMessage, Protocol, Request,
    SnapshotRequest, StreamOptions, Subject, TopMessage, TopicName, TradeMessage, Verb,
};
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
    protocol: &'static dyn Protocol,
    options: StreamOptions,
    /// Levels a side of a whole book: as many as the depth topic carries, since an update may delete any
    /// of them and the venue will not send the next ones again.
    depth: usize,
    table: Arc<InstrumentTable>,
    /// In the order of `spec.instruments`.
    slots: Vec<Slot>,
    /// Slot of each instrument of the table.
    slot_of: Vec<Option<u16>>,
    /// Numbered slot by slot, channel by channel.
    topics: Topics,
    escalation: Escalation,
    /// What is sent after connecting, and which topics each request is about.
    requests: Vec<Request>,
    generation: u32,
    /// Number of the connection's newest frame, where the venue counts them.
    connection_seq: Option<u64>,
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
        let protocol =
            protocol::of(spec.venue).ok_or(SessionError::NotLive { venue: spec.venue })?;
        check_limit(&spec, protocol)?;
        Self::for_replay(spec, table)
    }

    /// A session for frames that were recorded: the venue's limit on topics does not matter any more.
    ///
    /// # Errors
    /// The specification contradicts the table or itself.
    pub fn for_replay(
        spec: SessionSpec,
        table: Arc<InstrumentTable>,
    ) -> Result<Self, SessionError> {
        let (protocol, slot_of) = check(&spec, &table)?;
        let facts = protocol.facts();
        let options = StreamOptions {
            levels: spec.snapshot_limit,
            depth_interval_ms: spec.depth_interval_ms,
            snapshot: spec.snapshot_source.unwrap_or(facts.rules.snapshot),
        };
        let depth = protocol.depth(options);
        let slots: Vec<Slot> = spec
            .instruments
            .iter()
            .enumerate()
            .map(|(i, &id)| slot(&spec, protocol, options, (i, id), &table))
            .collect();
        let topics: Vec<TopicName<'_>> = spec
            .instruments
            .iter()
            .flat_map(|&id| spec.channels.iter().map(move |channel| (id, channel)))
            .map(|(id, channel)| TopicName { symbol: &table.get(id).symbol, channel })
            .collect();
        let requests = protocol.requests(Verb::Subscribe, &topics, options, 1);
        Ok(Self {
            topics: Topics::new(topics.iter().map(|topic| topic.channel), spec.silence),
            escalation: Escalation::new(topics.len()),
            scratch: Vec::with_capacity(2 * depth),
            protocol,
            options,
            depth,
            slots,
            slot_of,
            requests,
            generation: 0,
            connection_seq: None,
            counters: SessionCounters::default(),
            spec,
            table,
        })
    }

    /// An outbox with room for the largest answer to one call: a snapshot and a full buffer.
    #[must_use]
    pub fn outbox(&self) -> Outbox {
        let buffered = self.spec.buffer_levels + self.spec.buffer_diffs;
        Outbox::with_capacity(2 * self.depth + buffered + 64)
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

    /// How many topics are subscribed.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// The venue's protocol.
    #[must_use]
    pub fn protocol(&self) -> &'static dyn Protocol {
        self.protocol
    }

    /// Whether the book of every instrument is published.
    #[must_use]
    pub fn all_published(&self) -> bool {
        self.slots.iter().all(Slot::is_published)
    }

    /// The requests to send after connecting.
    pub fn subscription(&self) -> impl Iterator<Item = &str> {
        self.requests.iter().map(|request| request.text.as_str())
    }

    /// The requests that answer [`Action::Resubscribe`], in order; empty for an id of no topic.
    #[must_use]
    pub fn resubscription(&self, topic: TopicId) -> Vec<String> {
        let Some((instrument, channel)) = self.topic_subject(topic) else {
            return Vec::new();
        };
        let name = [TopicName { symbol: &self.table.get(instrument).symbol, channel }];
        let id = RESUBSCRIPTION_IDS + 2 * u64::from(topic.0);
        [(Verb::Unsubscribe, id), (Verb::Subscribe, id + 1)]
            .into_iter()
            .flat_map(|(verb, id)| self.protocol.requests(verb, &name, self.options, id))
            .filter(|request| !request.topics.is_empty())
            .map(|request| request.text)
            .collect()
    }

    /// The REST request that answers [`Action::Snapshot`]; `None` for an instrument of another session
    /// and at venues without.
    #[must_use]
    pub fn snapshot_request(&self, instrument: InstrumentId) -> Option<SnapshotRequest> {
        self.slot_index(instrument)?;
        let symbol = &self.table.get(instrument).symbol;
        self.protocol.snapshot_request(symbol, self.options)
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
            slot.connect(self.generation, ts_recv_ns);
        }
        self.connection_seq = None;
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
        let protocol = self.protocol;
        if frame.len() > MAX_FRAME_BYTES {
            let head = protocol.decode(&frame[..SUBJECT_BYTES], &mut |_| {});
            let subject = head.err().map_or_else(Subject::default, |error| error.subject);
            return self.refuse(BadInput::Oversize, subject, ts_recv_ns, out);
        }
        let mut is_old = false;
        let decoded = protocol.decode(frame, &mut |message| {
            if !is_old {
                is_old = !self.on_message(message, ts_recv_ns, out);
            }
        });
        if let Err(error) = decoded {
            self.refuse(error.kind.into(), error.subject, ts_recv_ns, out);
        }
    }

    /// Takes one message; `false` when the rest of its frame is of no use.
    fn on_message(&mut self, message: Message<'_>, ts_recv_ns: i64, out: &mut Outbox) -> bool {
        match message {
            Message::Book(book) => self.on_book(book, ts_recv_ns, out),
            Message::Top(top) => self.on_top(&top, ts_recv_ns, out),
            Message::Trade(trade) => self.on_trade(&trade, ts_recv_ns, out),
            Message::Oracle(oracle) => self.on_oracle(&oracle, ts_recv_ns, out),
            Message::Ack(ack) => self.on_ack(ack, ts_recv_ns, out),
            Message::ConnectionSequence(number) => {
                return self.on_connection_sequence(number, ts_recv_ns, out);
            }
            Message::LastTrade { symbol, trade_id } => {
                self.on_last_trade(symbol, trade_id, ts_recv_ns, out);
            }
            Message::Respond(text) => out.actions.push(Action::Send(text)),
            Message::ReconnectRequested(_) => {
                out.actions.push(Action::Reconnect { reason: ReconnectReason::Requested });
            }
            Message::Heartbeat => self.counters.heartbeats += 1,
            Message::Ignored(_) => self.counters.ignored += 1,
        }
        true
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

    fn on_book(&mut self, book: BookMessage<'_>, ts_recv_ns: i64, out: &mut Outbox) {
        let Some(index) = self.route(book.symbol, Channel::Depth, ts_recv_ns, out) else {
            return;
        };
        self.counters.depth += 1;
        let (symbol, kind) = (book.symbol, book.kind);
        match self.read_book(index, book) {
            Ok(header) => {
                let Self { slots, counters, scratch, .. } = self;
                let mut sink = Sink { ts_recv_ns, out, counters };
                match kind {
                    BookKind::Update => slots[index].update(header, scratch, &mut sink),
                    BookKind::Snapshot => {
                        slots[index].stream_snapshot(header.into(), scratch, &mut sink);
                    }
                }
            }
            Err(kind) => {
                let subject = Subject { symbol: Some(symbol), channel: Some(Channel::Depth) };
                self.refuse(kind, subject, ts_recv_ns, out);
            }
        }
    }

    /// Reads all of a book message before any of it takes effect; its levels go to `scratch`.
    fn read_book(&mut self, index: usize, book: BookMessage<'_>) -> Result<DiffHeader, BadInput> {
        let limit = match book.kind {
            BookKind::Update => usize::MAX,
            BookKind::Snapshot => self.depth,
        };
        self.scratch.clear();
        let [bids, asks] = book.levels;
        self.read_levels(index, Side::Bid, bids, limit)?;
        self.read_levels(index, Side::Ask, asks, limit)?;
        let BookMessage { ids, ts_venue_ns, ts_sent_ns, checksum, .. } = book;
        Ok(DiffHeader { ids, ts_venue_ns, ts_sent_ns, checksum })
    }

    fn read_snapshot(&mut self, index: usize, body: &[u8]) -> Result<SnapshotHeader, BadInput> {
        if body.len() > MAX_FRAME_BYTES {
            return Err(BadInput::Oversize);
        }
        let snapshot = self.protocol.decode_snapshot(body)?;
        Ok(self.read_book(index, snapshot)?.into())
    }

    /// Appends at most `limit` levels of either side to `scratch`, and reads the rest all the same.
    fn read_levels(
        &mut self,
        index: usize,
        list: Side,
        levels: Levels<'_>,
        limit: usize,
    ) -> Result<(), BadInput> {
        let Slot { price_decimals, qty_decimals, .. } = self.slots[index];
        let wants_digits = self.slots[index].wants_digits();
        let mut counts = [0; 2];
        for level in levels {
            let level = level?;
            // Coinbase has sent such; what the level holds stays as it was known.
            if level.qty == b"NaN" {
                self.counters.levels_not_a_number += 1;
                continue;
            }
            let side = level.side.unwrap_or(list);
            let price = positive(level.price, price_decimals)?;
            let qty = not_negative(level.qty, qty_decimals)?;
            let digits = if wants_digits {
                [decimals_of(level.price), decimals_of(level.qty)]
            } else {
                [0; 2]
            };
            let count = &mut counts[side as usize];
            if *count < limit {
                *count += 1;
                self.scratch.push(LevelUpdate { side, price, qty, digits });
            } else {
                self.counters.snapshot_levels_cut += 1;
            }
        }
        Ok(())
    }

    fn on_top(&mut self, top: &TopMessage<'_>, ts_recv_ns: i64, out: &mut Outbox) {
        let Some(index) = self.route(top.symbol, Channel::BookTicker, ts_recv_ns, out) else {
            return;
        };
        match top_event(&mut self.slots[index], top, ts_recv_ns) {
            Ok(event) => {
                self.counters.tops += u64::from(event.is_some());
                out.events.extend(event);
            }
            Err(kind) => self.counters.bad_input.add(kind),
        }
    }

    fn on_trade(&mut self, trade: &TradeMessage<'_>, ts_recv_ns: i64, out: &mut Outbox) {
        let Some(index) = self.route(trade.symbol, Channel::Trade, ts_recv_ns, out) else {
            return;
        };
        let slot = &mut self.slots[index];
        slot.last_trade_id = slot.last_trade_id.max(trade.trade_id);
        if trade.is_history {
            self.counters.trades_history += 1;
            return;
        }
        match trade_event(slot, trade, ts_recv_ns) {
            Ok(event) => {
                self.counters.trades += 1;
                out.events.push(event);
            }
            Err(kind) => self.counters.bad_input.add(kind),
        }
    }

    /// Every frame of the connection counts one on; `false` for a frame that is late or doubled.
    fn on_connection_sequence(&mut self, number: u64, ts_recv_ns: i64, out: &mut Outbox) -> bool {
        let due = self.connection_seq.map(|newest| newest.saturating_add(1));
        if due.is_some_and(|due| number < due) {
            self.counters.connection_duplicates += 1;
            return false;
        }
        self.connection_seq = Some(number);
        if due.is_some_and(|due| number > due) {
            self.counters.connection_gaps += 1;
            // What is missing may have been of any instrument.
            let Self { slots, counters, .. } = self;
            for slot in slots {
                let mut sink = Sink { ts_recv_ns, out, counters };
                slot.give_up(DesyncReason::SequenceGap, &mut sink);
            }
            out.actions.push(Action::Reconnect { reason: ReconnectReason::SequenceGap });
        }
        true
    }

    /// The venue says which trade was the newest: one that is not known was lost, and the book's
    /// updates, which came the same way, are not to be trusted either.
    fn on_last_trade(&mut self, symbol: &[u8], trade_id: u64, ts_recv_ns: i64, out: &mut Outbox) {
        let instrument = self.table.lookup(self.spec.venue, symbol);
        let Some(index) = instrument.and_then(|id| self.slot_index(id)) else {
            self.counters.unknown_symbol += 1;
            return;
        };
        let Self { slots, counters, .. } = self;
        let slot = &mut slots[index];
        let known = slot.last_trade_id;
        slot.last_trade_id = known.max(trade_id);
        if known > 0 && trade_id > known && self.spec.channels.trade {
            counters.trades_lost += trade_id - known;
            if self.spec.channels.depth {
                slot.desync(DesyncReason::SequenceGap, &mut Sink { ts_recv_ns, out, counters });
            }
        }
    }

    fn on_oracle(&mut self, oracle: &OracleMessage<'_>, ts_recv_ns: i64, out: &mut Outbox) {
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
        let mut confirm = |index: usize| {
            self.topics.acknowledged(TopicId(index as u16), ts_recv_ns, &mut out.topics);
        };
        match ack.of {
            AckOf::Request(id) if id >= RESUBSCRIPTION_IDS => {
                confirm(((id - RESUBSCRIPTION_IDS) / 2) as usize);
            }
            AckOf::Request(id) => {
                let request = self.requests.iter().find(|request| request.id == id);
                request.into_iter().flat_map(|r| &r.topics).for_each(|&index| confirm(index));
            }
            AckOf::Topic { symbol, channel } => {
                let instrument = self.table.lookup(self.spec.venue, symbol);
                let slot = instrument.and_then(|id| self.slot_index(id));
                if let Some(topic) = slot.and_then(|slot| self.topic(slot, channel)) {
                    self.topics.acknowledged(topic, ts_recv_ns, &mut out.topics);
                }
            }
            AckOf::Unknown => {}
        }
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
    /// check of its next update finds out, and where there is none every book is given up.
    fn refuse(&mut self, kind: BadInput, subject: Subject<'_>, ts_recv_ns: i64, out: &mut Outbox) {
        self.counters.bad_input.add(kind);
        let shows_loss = self.protocol.facts().shows_loss;
        let may_be_depth = match subject.channel {
            Some(channel) => channel == Channel::Depth,
            None => !shows_loss,
        };
        if !may_be_depth || !self.spec.channels.depth {
            return;
        }
        let Self { table, slots, counters, .. } = self;
        if subject.symbol.is_none() && !shows_loss {
            for slot in slots {
                let mut sink = Sink { ts_recv_ns, out: &mut *out, counters: &mut *counters };
                slot.desync(DesyncReason::BadMessage, &mut sink);
            }
            return;
        }
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

fn slot(
    spec: &SessionSpec,
    protocol: &dyn Protocol,
    options: StreamOptions,
    (index, id): (usize, InstrumentId),
    table: &InstrumentTable,
) -> Slot {
    let facts = protocol.facts();
    let item = table.get(id);
    let decimals = (item.price_decimals, item.qty_decimals);
    // Without the depth channel there is nothing to buffer and no snapshot to hold.
    let has_depth = usize::from(spec.channels.depth);
    let is_rest = options.snapshot == SnapshotSource::Rest;
    let buffered = has_depth * usize::from(is_rest);
    let buffer = DiffBuffer::new(spec.buffer_diffs * buffered, spec.buffer_levels * buffered);
    let checksum = facts.checksum.filter(|_| spec.verify_checksums);
    let needs_checker =
        spec.channels.depth && !is_rest && (checksum.is_some() || facts.cuts_to_depth);
    let depth = protocol.depth(options);
    let checker = needs_checker.then(|| Checker::new(checksum, depth, decimals));
    let depth_topic = TopicId((index * spec.channels.iter().count()) as u16);
    let rules = Rules { snapshot: options.snapshot, ..facts.rules };
    let held = depth * has_depth;
    let audited = facts.audit_every.filter(|_| spec.channels.depth && !needs_checker);
    let every = audited.map(|every| spec.audit_every.unwrap_or(every));
    let audit = every.map(|every| Audit::new(i64::try_from(every.as_nanos()).unwrap_or(i64::MAX)));
    let checks = (checker, audit);
    Slot::new(Sequencer::new(rules), (id, depth_topic), decimals, held, buffer, checks)
}

/// The top with the side that did not change filled in; nothing while one side was never told.
fn top_event(
    slot: &mut Slot,
    top: &TopMessage<'_>,
    ts_recv_ns: i64,
) -> Result<Option<MarketEvent>, BadInput> {
    // An empty side has a price of zero.
    let read = |(price, qty)| {
        let price = not_negative(price, slot.price_decimals)?;
        Ok::<_, BadInput>((price, not_negative(qty, slot.qty_decimals)?))
    };
    let sides = [top.bid.map(read).transpose()?, top.ask.map(read).transpose()?];
    slot.top = [sides[0].or(slot.top[0]), sides[1].or(slot.top[1])];
    let [Some((bid_price, bid_qty)), Some((ask_price, ask_qty))] = slot.top else {
        return Ok(None);
    };
    Ok(Some(MarketEvent {
        ts_venue_ns: top.ts_venue_ns,
        ts_sent_ns: top.ts_sent_ns,
        ts_recv_ns,
        update_id: top.update_id,
        instrument: slot.instrument,
        body: EventBody::Top { bid_price, bid_qty, ask_price, ask_qty },
    }))
}

fn trade_event(
    slot: &Slot,
    trade: &TradeMessage<'_>,
    ts_recv_ns: i64,
) -> Result<MarketEvent, BadInput> {
    Ok(MarketEvent {
        ts_venue_ns: trade.ts_venue_ns,
        ts_sent_ns: trade.ts_sent_ns,
        ts_recv_ns,
        update_id: trade.trade_id,
        instrument: slot.instrument,
        body: EventBody::Trade {
            side: trade.aggressor,
            price: positive(trade.price, slot.price_decimals)?,
            qty: not_negative(trade.qty, slot.qty_decimals)?,
            count: 1,
        },
    })
}

fn oracle_event(
    instrument: InstrumentId,
    oracle: &OracleMessage<'_>,
    ts_recv_ns: i64,
) -> Result<MarketEvent, BadInput> {
    let ts_venue_ns = oracle.ts_venue_ns;
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

fn positive(text: &[u8], decimals: u8) -> Result<i64, BadInput> {
    let price = fixed::parse(text, decimals)?;
    if price > 0 { Ok(price) } else { Err(BadInput::OutOfRange) }
}

fn not_negative(text: &[u8], decimals: u8) -> Result<i64, BadInput> {
    let qty = fixed::parse(text, decimals)?;
    if qty < 0 { Err(BadInput::OutOfRange) } else { Ok(qty) }
}
