//! A live connection's end: socket callbacks in, ring items, recorded bytes and status events out.
//!
//! Invariant: whatever decides what the engine sees is in the recording, in the order in which it was
//! decided: what either link received, room in the ring where it mattered, and the moment at which the
//! standby link took over.

use std::{collections::VecDeque, sync::Arc};

use purkinje_feeds::{
    InstrumentId, MarketEvent,
    net::{DisconnectCause, Handler, Link, NetAction, RestError, RestReply},
    protocol::SnapshotRequest,
    recording::{Record, STANDBY},
    session::{Action, Session},
    status::{Status, StatusEvent},
    topic::{TopicChange, TopicState},
};
use rtrb::Producer;

use super::{
    feed_core::{FeedCore, Outlet, Reading, Received},
    input::Input,
    latency::Stage,
    live_stats::LiveStats,
    recorder::Tap,
    status_logs::SharedLog,
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

/// What waits on one link.
#[derive(Debug)]
struct Waiting {
    /// Snapshots that could not be had; asked for again at the next tick, not at once.
    failed: Vec<(u16, u32)>,
    actions: VecDeque<NetAction>,
    /// Topics that are stale.
    stale: u64,
}

impl Default for Waiting {
    fn default() -> Self {
        let (failed, actions) = (Vec::with_capacity(64), VecDeque::with_capacity(256));
        Self { failed, actions, stale: 0 }
    }
}

/// A [`Handler`] that feeds the engine.
#[derive(Debug)]
pub struct LiveLine {
    core: FeedCore,
    out: RingOutlet,
    engine: Waker,
    /// Of the active and the standby link.
    waiting: [Waiting; 2],
    actions_dropped: u64,
    topics: TopicCounts,
    stats: Arc<LiveStats>,
    log: SharedLog,
    decode: Stage,
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
        let decode = Stage::new("socket→decoded").watched(stats.latency.histogram("decode"));
        Self {
            core,
            out: RingOutlet { connection, ring, tap, idle: false },
            engine,
            waiting: Default::default(),
            actions_dropped: 0,
            topics: TopicCounts::default(),
            log: stats.status.log(connection),
            stats,
            decode,
        }
    }

    /// Ends the line: its ring closes.
    #[must_use]
    pub fn finish(self) -> LineResult {
        LineResult {
            session: self.core.counters(),
            conflated: self.core.conflation_counts(),
            crossed_books: self.core.crossed_books(),
            actions_dropped: self.actions_dropped,
            topics: self.topics,
            decode: self.decode,
        }
    }

    /// The connection was given up after so many attempts.
    pub fn gave_up(&mut self, attempts: u32) {
        self.tell(wall_ns(), None, Status::Exhausted { attempts });
    }

    /// The number under which a link's records go.
    fn number(&self, link: Link) -> u8 {
        match link {
            Link::Active => self.out.connection,
            Link::Standby => self.out.connection | STANDBY,
        }
    }

    fn generation(&self, link: Link) -> u32 {
        self.core.session(link).map_or(0, Session::generation)
    }

    /// Records last: readings of the ring that matter are noted while passing on, and so stand in the
    /// recording before the record that a replay will need them for.
    fn receive(&mut self, link: Link, ts_ns: i64, received: &Received<'_>, record: &Record<'_>) {
        self.core.take(link, ts_ns, received);
        self.core.pass(link, &mut self.out);
        self.out.note(record);
        self.tell_status();
        self.requests(link);
        self.engine.wake();
    }

    fn tell(&mut self, ts_ns: i64, instrument: Option<InstrumentId>, what: Status) {
        let connection = self.out.connection;
        let event = StatusEvent { ts_ns, connection, instrument, what };
        self.log.push(event);
        self.out.note(&Record::Status(event));
        if let Some(lost) = self.out.tap.as_mut().and_then(Tap::take_told_hole) {
            self.log.push(StatusEvent { instrument: None, what: Status::Hole { lost }, ..event });
        }
    }

    fn tell_status(&mut self) {
        while !self.core.status().is_empty() {
            // In order; there are a few at most.
            let StatusEvent { ts_ns, instrument, what, .. } = self.core.status().remove(0);
            self.tell(ts_ns, instrument, what);
        }
    }

    fn topic_changed(&mut self, link: Link, change: &TopicChange) {
        let Waiting { stale, .. } = &mut self.waiting[link as usize];
        let (was, is) = (change.from == TopicState::Stale, change.to == TopicState::Stale);
        *stale = *stale + u64::from(is) - u64::from(was);
        if link == Link::Standby {
            return;
        }
        self.stats.topics_stale(i64::from(is) - i64::from(was));
        match change.to {
            TopicState::Pending => {}
            TopicState::Confirmed => self.topics.confirmed += 1,
            TopicState::Flowing => self.topics.flowing += 1,
            TopicState::Stale => self.topics.stale += 1,
        }
        let TopicChange { topic, from, to, stale, at_ns } = *change;
        let subject = self.core.session(link).and_then(|session| session.topic_subject(topic));
        if let Some((instrument, channel)) = subject {
            self.tell(at_ns, Some(instrument), Status::TopicState { channel, from, to, stale });
        }
    }

    /// Turns what a link's session asks for into what the connection can do.
    fn requests(&mut self, link: Link) {
        let Some(outbox) = self.core.outbox(link) else { return };
        let mut changes = std::mem::take(&mut outbox.topics);
        let mut asked = std::mem::take(&mut outbox.actions);
        for change in changes.drain(..) {
            self.topic_changed(link, &change);
        }
        for action in asked.drain(..) {
            self.request(link, action);
        }
        // Hand the buffers back, so that asking never allocates again.
        if let Some(outbox) = self.core.outbox(link) {
            (outbox.topics, outbox.actions) = (changes, asked);
        }
    }

    fn request(&mut self, link: Link, action: Action) {
        match action {
            Action::Snapshot { instrument, generation } => {
                let session = self.core.session(link);
                let Some(SnapshotRequest { path_and_query, weight }) =
                    session.and_then(|session| session.snapshot_request(instrument))
                else {
                    return;
                };
                let instrument = instrument.0;
                self.ask(
                    link,
                    NetAction::Snapshot { instrument, generation, path_and_query, weight },
                );
            }
            Action::Send(text) => self.ask(link, NetAction::Send(text.into())),
            Action::Resubscribe { topic } => {
                let Some(session) = self.core.session(link) else { return };
                let (texts, subject) =
                    (session.resubscription(topic), session.topic_subject(topic));
                for text in texts {
                    self.ask(link, NetAction::Send(text));
                }
                if let Some((instrument, channel)) = subject.filter(|_| link == Link::Active) {
                    self.topics.resubscribed += 1;
                    self.tell(wall_ns(), Some(instrument), Status::Resubscribed { channel });
                }
            }
            Action::Reconnect { reason } => {
                self.ask(link, NetAction::Reconnect { reason: reason.name().into() });
                if link == Link::Active {
                    self.topics.reconnects += 1;
                    self.tell(wall_ns(), None, Status::ReconnectAsked { reason });
                }
            }
        }
    }

    fn ask(&mut self, link: Link, action: NetAction) {
        let actions = &mut self.waiting[link as usize].actions;
        if actions.len() < ACTIONS_BOUND {
            actions.push_back(action);
        } else {
            self.actions_dropped += 1;
        }
    }
}

impl Handler for LiveLine {
    fn on_connected(&mut self, link: Link, ts_recv_ns: i64, send: &mut Vec<String>) {
        let (connection, standby) = (self.number(link), link == Link::Standby);
        // A standby link's session begins with it.
        let generation = if standby { 1 } else { self.generation(link) + 1 };
        let record = Record::Connected { connection, generation, ts_recv_ns };
        self.receive(link, ts_recv_ns, &Received::Connected, &record);
        self.tell(ts_recv_ns, None, Status::Connected { standby, generation });
        let session = self.core.session(link);
        send.extend(session.into_iter().flat_map(Session::subscription).map(str::to_owned));
    }

    fn on_frame(&mut self, link: Link, ts_recv_ns: i64, bytes: &[u8]) {
        let connection = self.number(link);
        let record = Record::Frame { connection, ts_recv_ns, bytes };
        if link == Link::Standby {
            return self.receive(link, ts_recv_ns, &Received::Frame(bytes), &record);
        }
        let since_read_ns = u64::try_from(wall_ns() - ts_recv_ns).unwrap_or(0);
        let recv_mono_ns = monotonic_ns().saturating_sub(since_read_ns);
        self.core.take(link, ts_recv_ns, &Received::Frame(bytes));
        let decoded_mono_ns = monotonic_ns();
        self.decode.record(decoded_mono_ns - recv_mono_ns);
        self.core.pass(link, &mut self.out);
        self.out.note(&record);
        // Only measured: where it has no room, one sample is missing.
        let _ = self.out.ring.push(Input::FrameEnd { recv_mono_ns, decoded_mono_ns });
        self.engine.wake();
        self.tell_status();
        self.requests(link);
    }

    fn on_snapshot(&mut self, link: Link, reply: RestReply<'_>) {
        let RestReply { instrument, generation, ts_recv_ns, .. } = reply;
        let connection = self.number(link);
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
                self.receive(link, ts_recv_ns, &received, &record);
            }
            Err(error) => {
                let failed = &mut self.waiting[link as usize].failed;
                if failed.len() < ACTIONS_BOUND {
                    failed.push((instrument, generation));
                } else {
                    self.actions_dropped += 1;
                }
                let status = match error {
                    RestError::Status { status, .. } => *status,
                    _ => 0,
                };
                let instrument = Some(InstrumentId(instrument));
                self.tell(ts_recv_ns, instrument, Status::RestRefused { status });
            }
        }
    }

    fn on_disconnected(
        &mut self,
        link: Link,
        ts_recv_ns: i64,
        cause: DisconnectCause,
        reason: &str,
    ) {
        let (connection, generation) = (self.number(link), self.generation(link));
        let record = Record::Disconnected { connection, generation, ts_recv_ns, reason };
        self.receive(link, ts_recv_ns, &Received::Disconnected, &record);
        let waiting = &mut self.waiting[link as usize];
        waiting.actions.clear();
        if link == Link::Standby {
            *waiting = Waiting::default();
        }
        let standby = link == Link::Standby;
        self.tell(ts_recv_ns, None, Status::Disconnected { standby, cause });
    }

    fn on_tick(&mut self, now_ns: i64) {
        for link in [Link::Active, Link::Standby] {
            while let Some((instrument, generation)) = self.waiting[link as usize].failed.pop() {
                // Emits no event, so a replay does not need to know when it was.
                let received = Received::SnapshotFailed { instrument, generation };
                self.core.take(link, now_ns, &received);
            }
        }
        self.core.tick(now_ns);
        self.out.idle = true;
        self.core.flush(&mut self.out);
        self.out.idle = false;
        self.requests(Link::Active);
        self.requests(Link::Standby);
        self.engine.wake();
    }

    fn next_action(&mut self, link: Link) -> Option<NetAction> {
        self.waiting[link as usize].actions.pop_front()
    }

    fn is_flowing(&self, link: Link) -> bool {
        self.core.session(link).is_some_and(Session::is_flowing)
    }

    fn can_rotate(&self) -> bool {
        true
    }

    fn is_standby_ready(&self) -> bool {
        self.core.is_standby_ready()
    }

    fn on_promoted(&mut self, now_ns: i64) {
        self.core.promote(now_ns, &mut self.out);
        self.out.note(&Record::Rotated { connection: self.out.connection, ts_ns: now_ns });
        let standby = std::mem::take(&mut self.waiting[Link::Standby as usize]);
        let old = std::mem::replace(&mut self.waiting[Link::Active as usize], standby);
        let new = &self.waiting[Link::Active as usize];
        self.stats.topics_stale(new.stale as i64 - old.stale as i64);
        self.tell_status();
        self.requests(Link::Active);
        self.engine.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_feeds::{Instrument, InstrumentId, InstrumentTable, Venue, session::SessionSpec};
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
        let streams = core.session(Link::Active).unwrap().topic_count() as u64;
        let stats = Arc::new(LiveStats::default());
        let (ring, _engine) = RingBuffer::new(1_000);
        let ring = (ring, Waker::default());
        let mut line = LiveLine::new(core, 0, ring, None, stats.clone());
        line.on_connected(Link::Active, 1, &mut Vec::new());
        line.on_frame(Link::Active, 2, b"{\"result\":null,\"id\":1}");
        line.on_tick(3_600_000_000_000);
        assert_eq!(stats.snapshot().stale_topics, streams);
        line.on_disconnected(Link::Active, 3_600_000_000_001, DisconnectCause::Lost, "test");
        assert_eq!(stats.snapshot().stale_topics, 0, "not asked for now, so not stale");
        let topics = line.finish().topics;
        assert_eq!((topics.confirmed, topics.flowing, topics.stale), (streams, 0, streams));
        assert!(topics.resubscribed + topics.reconnects > 0);
        let counts = stats.status.counts();
        let count = |name| counts[Status::NAMES.iter().position(|n| *n == name).unwrap()];
        assert_eq!((count("connected"), count("disconnected")), (1, 1));
        assert_eq!(count("topic_state"), 3 * streams, "confirmed, stale, pending");
        let newest = stats.status.newest(1);
        let cause = DisconnectCause::Lost;
        assert_eq!(newest[0].what, Status::Disconnected { standby: false, cause });
    }
}
