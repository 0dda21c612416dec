//! A live connection's end: socket callbacks in, ring items and recorded bytes out.

use std::{collections::VecDeque, sync::Arc};

use purkinje_feeds::{
    MarketEvent,
    net::{Handler, NetAction, RestReply},
    recording::Record,
    session::{Action, Session},
    topic::TopicState,
};
use rtrb::Producer;

use super::{
    feed_core::{FeedCore, Outlet, Reading, Received},
    input::Input,
    latency::Stage,
    live_stats::LiveStats,
    recorder::Tap,
    waker::Waker,
};
use crate::clock::{monotonic_ns, wall_ns};

/// Most requests that may wait for the connection; more are a sign of a loop and are counted.
const ACTIONS_BOUND: usize = 4_096;

/// How often topics (one channel of one instrument) changed their state, and what was asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopicCounts {
    /// Subscriptions that the venue acknowledged.
    pub confirmed: u64,
    /// Topics that began, or began again, to carry data.
    pub flowing: u64,
    /// Topics that fell silent for too long.
    pub stale: u64,
    /// Topics subscribed anew because of it.
    pub resubscribed: u64,
    /// Connections made anew because all was silent.
    pub reconnects: u64,
}

impl TopicCounts {
    /// Adds another connection's.
    pub fn add(&mut self, other: &Self) {
        self.confirmed += other.confirmed;
        self.flowing += other.flowing;
        self.stale += other.stale;
        self.resubscribed += other.resubscribed;
        self.reconnects += other.reconnects;
    }
}

/// What is left of a connection when it has ended.
#[derive(Debug)]
pub struct LineResult {
    /// Protocol counters.
    pub session: purkinje_feeds::session::SessionCounters,
    /// Events merged because the ring was full, and books passed on whole.
    pub conflated: (u64, u64),
    /// Books given up because they were crossed.
    pub crossed_books: u64,
    /// Requests dropped at the bound.
    pub actions_dropped: u64,
    /// What happened to its topics.
    pub topics: TopicCounts,
    /// Off the socket → events ready.
    pub decode: Stage,
}

/// The ring and the tap behind it.
#[derive(Debug)]
struct RingOutlet {
    connection: u8,
    ring: Producer<Input>,
    tap: Option<Tap>,
    idle: bool,
}

impl RingOutlet {
    fn note(&mut self, record: &Record<'_>) {
        if let Some(tap) = &mut self.tap {
            tap.record(record);
        }
    }
}

impl Outlet for RingOutlet {
    fn free(&mut self, _: u64) -> usize {
        self.ring.slots()
    }

    fn push(&mut self, event: &MarketEvent) {
        // `free` slots were there and only this thread takes them.
        let _ = self.ring.push(Input::Event(*event));
    }

    fn matters(&mut self, reading: Reading) {
        let free = u32::try_from(reading.free).unwrap_or(u32::MAX);
        let (connection, idle, offer) = (self.connection, self.idle, reading.offer);
        self.note(&Record::Conflation { connection, idle, offer, free });
    }
}

/// A [`Handler`] that feeds the engine.
#[derive(Debug)]
pub struct LiveLine {
    core: FeedCore,
    out: RingOutlet,
    engine: Waker,
    /// Snapshots that could not be had; asked for again at the next tick, not at once.
    failed: Vec<(u16, u32)>,
    actions: VecDeque<NetAction>,
    actions_dropped: u64,
    topics: TopicCounts,
    stats: Arc<LiveStats>,
    decode: Stage,
    generation: u32,
}

impl LiveLine {
    /// A line for one connection.
    #[must_use]
    pub fn new(
        core: FeedCore,
        connection: u8,
        (ring, engine): (Producer<Input>, Waker),
        tap: Option<Tap>,
        stats: Arc<LiveStats>,
    ) -> Self {
        Self {
            core,
            out: RingOutlet { connection, ring, tap, idle: false },
            engine,
            failed: Vec::with_capacity(64),
            actions: VecDeque::with_capacity(256),
            actions_dropped: 0,
            topics: TopicCounts::default(),
            stats,
            decode: Stage::new("socket→decoded"),
            generation: 0,
        }
    }

    /// Ends the line: its ring closes.
    #[must_use]
    pub fn finish(self) -> LineResult {
        LineResult {
            session: *self.core.session().counters(),
            conflated: self.core.conflation_counts(),
            crossed_books: self.core.crossed_books(),
            actions_dropped: self.actions_dropped,
            topics: self.topics,
            decode: self.decode,
        }
    }

    fn session(&self) -> &Session {
        self.core.session()
    }

    /// Records last: readings of the ring that matter are noted while passing on, and so stand in the
    /// recording before the record that a replay will need them for.
    fn receive(&mut self, ts_recv_ns: i64, received: &Received<'_>, record: &Record<'_>) {
        self.core.take(ts_recv_ns, received);
        self.core.pass(&mut self.out);
        self.out.note(record);
        self.requests();
        self.engine.wake();
    }

    fn count_topics(&mut self) {
        for change in self.core.outbox().topics.drain(..) {
            match change.to {
                TopicState::Pending => {}
                TopicState::Confirmed => self.topics.confirmed += 1,
                TopicState::Flowing => self.topics.flowing += 1,
                TopicState::Stale => {
                    self.topics.stale += 1;
                    self.stats.topic_stale(true);
                }
            }
            if change.from == TopicState::Stale {
                self.stats.topic_stale(false);
            }
        }
    }

    /// Turns what the session asks for into what the connection can do.
    fn requests(&mut self) {
        self.count_topics();
        let outbox = self.core.outbox();
        let asked = std::mem::take(&mut outbox.actions);
        for action in &asked {
            match *action {
                Action::Snapshot { instrument, generation } => {
                    let Some(request) = self.session().snapshot_request(instrument) else {
                        continue;
                    };
                    self.ask(NetAction::Snapshot {
                        instrument: instrument.0,
                        generation,
                        path_and_query: request.path_and_query,
                        weight: request.weight,
                    });
                }
                Action::Send(text) => self.ask(NetAction::Send(text.into())),
                Action::Resubscribe { topic } => {
                    self.topics.resubscribed += 1;
                    for text in self.session().resubscription(topic) {
                        self.ask(NetAction::Send(text));
                    }
                }
                Action::Reconnect { reason } => {
                    self.topics.reconnects += 1;
                    self.ask(NetAction::Reconnect { reason: reason.name().into() });
                }
            }
        }
        // Hand the buffer back, so that asking never allocates again.
        let outbox = self.core.outbox();
        outbox.actions = asked;
        outbox.actions.clear();
    }

    fn ask(&mut self, action: NetAction) {
        if self.actions.len() < ACTIONS_BOUND {
            self.actions.push_back(action);
        } else {
            self.actions_dropped += 1;
        }
    }
}

impl Handler for LiveLine {
    fn on_connected(&mut self, ts_recv_ns: i64, send: &mut Vec<String>) {
        self.generation += 1;
        let (connection, generation) = (self.out.connection, self.generation);
        let record = Record::Connected { connection, generation, ts_recv_ns };
        self.receive(ts_recv_ns, &Received::Connected, &record);
        send.extend(self.session().subscription().map(str::to_owned));
    }

    fn on_frame(&mut self, ts_recv_ns: i64, bytes: &[u8]) {
        let since_read_ns = u64::try_from(wall_ns() - ts_recv_ns).unwrap_or(0);
        let recv_mono_ns = monotonic_ns().saturating_sub(since_read_ns);
        self.core.take(ts_recv_ns, &Received::Frame(bytes));
        let decoded_mono_ns = monotonic_ns();
        self.decode.record(decoded_mono_ns - recv_mono_ns);
        self.core.pass(&mut self.out);
        let connection = self.out.connection;
        self.out.note(&Record::Frame { connection, ts_recv_ns, bytes });
        // Only measured: where it has no room, one sample is missing.
        let _ = self.out.ring.push(Input::FrameEnd { recv_mono_ns, decoded_mono_ns });
        self.engine.wake();
        if !self.core.outbox().actions.is_empty() || !self.core.outbox().topics.is_empty() {
            self.requests();
        }
    }

    fn on_snapshot(&mut self, reply: RestReply<'_>) {
        let RestReply { instrument, generation, ts_recv_ns, .. } = reply;
        let connection = self.out.connection;
        match reply.result {
            Ok(bytes) => {
                let status = 200;
                let record = Record::Snapshot {
                    connection,
                    generation,
                    instrument,
                    ts_recv_ns,
                    status,
                    bytes,
                };
                let received = Received::Snapshot { instrument, generation, body: bytes };
                self.receive(ts_recv_ns, &received, &record);
            }
            Err(_) if self.failed.len() < ACTIONS_BOUND => {
                self.failed.push((instrument, generation));
            }
            Err(_) => self.actions_dropped += 1,
        }
    }

    fn on_disconnected(&mut self, ts_recv_ns: i64, reason: &str) {
        self.actions.clear();
        let (connection, generation) = (self.out.connection, self.generation);
        let record = Record::Disconnected { connection, generation, ts_recv_ns, reason };
        self.receive(ts_recv_ns, &Received::Disconnected, &record);
    }

    fn on_tick(&mut self, now_ns: i64) {
        while let Some((instrument, generation)) = self.failed.pop() {
            // Emits no event, so a replay does not need to know when it was.
            self.core.take(now_ns, &Received::SnapshotFailed { instrument, generation });
        }
        self.core.tick(now_ns);
        self.out.idle = true;
        self.core.flush(&mut self.out);
        self.out.idle = false;
        self.requests();
        self.engine.wake();
    }

    fn next_action(&mut self) -> Option<NetAction> {
        self.actions.pop_front()
    }

    fn is_flowing(&self) -> bool {
        self.session().is_flowing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_feeds::{Instrument, InstrumentId, session::SessionSpec};
    use rtrb::RingBuffer;

    #[test]
    fn topics_are_counted_from_their_confirmation_to_their_silence() {
        let venue = Venue::BinanceUsdm;
        let table = Arc::new(
            InstrumentTable::new(vec![Instrument {
                venue,
                symbol: "SIMA".into(),
                price_decimals: 2,
                qty_decimals: 2,
            }])
            .unwrap(),
        );
        let spec = SessionSpec::new(0, venue, vec![InstrumentId(0)]);
        let core = FeedCore::new(spec, table.clone(), 10).unwrap();
        let streams = core.session().topic_count() as u64;
        let stats = Arc::new(LiveStats::default());
        let (ring, _engine) = RingBuffer::new(1_000);
        let ring = (ring, Waker::default());
        let mut line = LiveLine::new(core, 0, ring, None, stats.clone());
        line.on_connected(1, &mut Vec::new());
        line.on_frame(2, b"{\"result\":null,\"id\":1}");
        line.on_tick(3_600_000_000_000);
        assert_eq!(stats.snapshot().stale_topics, streams);
        line.on_disconnected(3_600_000_000_001, "test");
        assert_eq!(stats.snapshot().stale_topics, 0, "not asked for now, so not stale");
        let topics = line.finish().topics;
        assert_eq!((topics.confirmed, topics.flowing, topics.stale), (streams, 0, streams));
        assert!(topics.resubscribed + topics.reconnects > 0);
    }
}
