//! What a venue's protocol is to the simulator: requests in, frames out, and a few facts.
//!
//! A [`Dialect`] is stateless. What differs between connections stands in [`Session`], what happened
//! on the market in the frame structs. Every `write_*` function appends one WebSocket message to
//! `out`; **one that writes nothing sends nothing**. A frame is rendered for every session on its
//! own, before a fault decides whether it is sent, so a dropped frame has used its numbers up.
//!
//! Invariants: a dialect never blocks, reads no clock and keeps nothing between two calls.

use super::book::{ModelBook, TopOfBook};
use super::model::{Ids, LevelChange, Listing, Trade};
use crate::Venue;
use std::fmt;
use std::time::Duration;

/// The kinds of stream a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// L2 depth.
    Book,
    /// Best bid and ask.
    Top,
    /// Trades.
    Trade,
    /// A heartbeat that is subscribed to like data.
    Heartbeat,
}

/// One subscribed stream of one instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic {
    /// Place of the instrument in the market's listings; 0 for a heartbeat of the whole connection.
    pub instrument: u16,
    /// Kind of stream.
    pub channel: Channel,
    /// Levels per side the client asked for; 0 means the whole book. Changes beyond it are not
    /// shown to the dialect.
    pub depth: u16,
    /// The dialect's own mark, to tell streams of one kind apart (an interval, full or diff).
    pub variant: u8,
}

/// What a client's message leads to, carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this text.
    Reply(String),
    /// The topic flows from now on. Where snapshots come in the stream one is sent at once.
    /// Subscribing to a topic that flows already starts it anew.
    Subscribe(Topic),
    /// The topic ends.
    Unsubscribe(Topic),
    /// Session heartbeats from now on at this interval ([`Heartbeat::OnRequest`]).
    Heartbeat(Duration),
    /// The venue ends the connection with this WebSocket close code.
    Close(u16),
    /// The request was not understood or named something unknown: counted, nothing else.
    BadRequest,
}

/// What a dialect may remember of one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Number of the connection since the server started.
    pub id: u64,
    /// The dialect's own marks, e.g. that frames go without their envelope.
    pub mode: u32,
    sequence: u64,
}

impl Session {
    /// A session that has sent nothing.
    #[must_use]
    pub fn new(id: u64) -> Self {
        Self { id, mode: 0, sequence: 0 }
    }

    /// A session that has sent `sequence` messages.
    #[must_use]
    pub fn with_sequence(id: u64, sequence: u64) -> Self {
        Self { id, mode: 0, sequence }
    }

    /// Counts messages that were rendered earlier and sent since.
    pub(crate) fn skip(&mut self, messages: u64) {
        self.sequence += messages;
    }

    /// The next number of a sequence that counts every message of the connection: 0, 1, 2 …
    pub fn next_sequence(&mut self) -> u64 {
        let number = self.sequence;
        self.sequence += 1;
        number
    }
}

/// How the checksum of a book frame is to be written, where the venue has one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// As it is.
    #[default]
    True,
    /// Wrong: fault.
    Wrong,
    /// Zero: fault, or a venue that ceased to compute it.
    Zero,
}

impl Checksum {
    /// The number to write in place of the true one; a wrong one differs in every bit.
    #[must_use]
    pub fn of(self, value: u32) -> u32 {
        match self {
            Self::True => value,
            Self::Wrong => !value,
            Self::Zero => 0,
        }
    }
}

/// A snapshot or an update of a book.
#[derive(Clone, Copy, Debug)]
pub struct BookFrame<'a> {
    /// The instrument.
    pub listing: &'a Listing,
    /// The stream it is written for.
    pub topic: Topic,
    /// The whole true book, **after** the changes; see [`BookFrame::levels`].
    pub book: &'a ModelBook,
    /// What changed within the topic's depth, bids and asks mixed; empty in a snapshot.
    pub changes: &'a [LevelChange],
    /// The numbers of the update, or of the last one that a snapshot contains.
    pub ids: Ids,
    /// Time of the matching engine, ns since the epoch.
    pub venue_ns: i64,
    /// What to write as checksum.
    pub checksum: Checksum,
    /// The snapshot follows a restart of the venue's service ([`Restart::Snapshot`]).
    pub is_restart: bool,
}

impl BookFrame<'_> {
    /// The levels of a side that the topic shows, best first.
    #[must_use]
    pub fn levels(&self, side: crate::Side) -> &[crate::book::Level] {
        self.book.top_levels(side, self.topic.depth)
    }
}

/// A change of the best bid or ask, or the first state of a top-of-book stream.
#[derive(Clone, Copy, Debug)]
pub struct TopFrame<'a> {
    /// The instrument.
    pub listing: &'a Listing,
    /// The stream it is written for.
    pub topic: Topic,
    /// The best levels.
    pub top: TopOfBook,
    /// The numbers of the update that brought them.
    pub ids: Ids,
    /// Time of the matching engine, ns since the epoch.
    pub venue_ns: i64,
    /// First frame of the stream, sent on subscription rather than because something changed.
    pub is_first: bool,
}

/// One trade.
#[derive(Clone, Copy, Debug)]
pub struct TradeFrame<'a> {
    /// The instrument.
    pub listing: &'a Listing,
    /// The stream it is written for.
    pub topic: Topic,
    /// The trade.
    pub trade: Trade,
    /// The numbers of the update it came with.
    pub ids: Ids,
    /// Time of the matching engine, ns since the epoch.
    pub venue_ns: i64,
}

/// A sign of life.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatFrame<'a> {
    /// The heartbeat stream it is written for; `None` for one of the whole connection.
    pub topic: Option<Topic>,
    /// The instrument of that stream.
    pub listing: Option<&'a Listing>,
    /// Numbers of the last update of that instrument.
    pub ids: Ids,
    /// Id of its last trade.
    pub last_trade_id: u64,
    /// Model time, ns since the epoch.
    pub venue_ns: i64,
}

/// What a venue announces before it ends connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The planned end of a connection, e.g. after 24 hours.
    PlannedClose,
    /// The client is asked to connect anew, as Bitstamp does.
    Reconnect,
    /// The service is about to be upgraded or restarted, as OKX says with code 64008.
    ServiceUpgrade,
}

/// Where the first state of a book comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotSource {
    /// From the stream, upon subscription.
    Stream,
    /// From REST; the stream begins with updates.
    Rest,
}

/// What happens to a level that a better one pushes out of a topic's depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeavingLevel {
    /// A delete is sent for it.
    IsDeleted,
    /// Nothing is sent: the client has to truncate (Kraken).
    IsSilent,
}

/// Pings the server sends on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerPing {
    /// None: the client has to ping.
    None,
    /// WebSocket ping frames at this interval.
    Protocol(Duration),
}

/// Heartbeat messages the server sends on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// None.
    None,
    /// On every connection at this interval, but only when nothing else was sent meanwhile.
    WhenQuiet(Duration),
    /// For every subscribed topic of [`Channel::Heartbeat`] at this interval.
    Topics(Duration),
    /// On a connection that asked for it ([`Effect::Heartbeat`]).
    OnRequest,
}

/// What a restart of the venue's service looks like to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// A snapshot comes in the stream, and [`Ids::count`] starts again at 1 (Bybit `u = 1`).
    Snapshot,
    /// The next update's [`Ids::link`] is smaller than its [`Ids::prev_link`] (OKX).
    SmallerLink,
    /// [`Notice::ServiceUpgrade`] where the venue has one, then the connection ends.
    Disconnect,
}

/// What does not change about a venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whose protocol it is.
    pub venue: Venue,
    /// Path (and query) a client connects to by default.
    pub ws_path: &'static str,
    /// Where the first state of a book comes from.
    pub snapshot: SnapshotSource,
    /// Most levels a side of a snapshot has, 0 for all.
    pub depth_limit: u16,
    /// What happens to levels that leave a topic's depth.
    pub leaving_level: LeavingLevel,
    /// Book frames carry a checksum.
    pub has_checksum: bool,
    /// A client can tell from the frames that one was lost (by numbers or by checksum).
    pub detects_loss: bool,
    /// Pings the server sends.
    pub ping: ServerPing,
    /// A client that sends no message and no pong for so long is cut.
    pub client_silence_limit: Option<Duration>,
    /// Heartbeats the server sends.
    pub heartbeat: Heartbeat,
    /// What a restart of the service looks like.
    pub restart: Restart,
    /// Client messages per second the venue takes; the server counts connections that send more.
    pub client_messages_per_s: u32,
}

/// The market as REST requests see it.
pub trait RestView {
    /// What is listed; a place in it is the instrument's number.
    fn listings(&self) -> &[Listing];
    /// The book of an instrument, the numbers of the last update it contains and its time
    /// (ns since the epoch). A fault may make it an old one.
    fn book(&self, instrument: usize) -> (&ModelBook, Ids, i64);
}

/// The answer to a REST request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestAnswer {
    /// HTTP status.
    pub status: u16,
    /// Headers besides the content type.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Vec<u8>,
}

/// The protocol of one venue.
pub trait Dialect: Send + Sync + fmt::Debug {
    /// What does not change.
    fn facts(&self) -> Facts;

    /// Whether a WebSocket is served at this path. What the URL subscribes to goes to `effects`;
    /// so does a greeting.
    fn open(
        &self,
        path: &str,
        query: &str,
        listings: &[Listing],
        session: &mut Session,
        effects: &mut Vec<Effect>,
    ) -> bool;

    /// The number by which a client knows an update (`u`, `seqId` …), under which the load generator
    /// notes when it was sent. Where frames have no number of their own: their count.
    fn update_number(&self, ids: &Ids) -> u64 {
        ids.count
    }

    /// Carries out a client's text message.
    fn handle(
        &self,
        text: &str,
        listings: &[Listing],
        session: &mut Session,
        effects: &mut Vec<Effect>,
    );

    /// The first state of a book stream ([`SnapshotSource::Stream`]), also after a restart.
    fn write_snapshot(&self, session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>);

    /// The changes of a book.
    fn write_update(&self, session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>);

    /// The best levels.
    fn write_top(&self, session: &mut Session, frame: &TopFrame<'_>, out: &mut Vec<u8>);

    /// A trade.
    fn write_trade(&self, session: &mut Session, frame: &TradeFrame<'_>, out: &mut Vec<u8>);

    /// A frame of a book stream that says "nothing changed" (OKX, Bybit level 1).
    fn write_keep_alive(&self, session: &mut Session, frame: &BookFrame<'_>, out: &mut Vec<u8>) {
        let _ = (session, frame, out);
    }

    /// A sign of life.
    fn write_heartbeat(
        &self,
        session: &mut Session,
        frame: &HeartbeatFrame<'_>,
        out: &mut Vec<u8>,
    ) {
        let _ = (session, frame, out);
    }

    /// An announcement, where the venue has that one.
    fn write_notice(&self, session: &mut Session, notice: Notice, out: &mut Vec<u8>) {
        let _ = (session, notice, out);
    }

    /// Answers a GET request; `None` when there is no such path.
    fn rest(&self, path: &str, query: &str, market: &dyn RestView) -> Option<RestAnswer> {
        let _ = (path, query, market);
        None
    }
}
