//! The status stream: what happened to a connection, a topic or a book, when and why.
//!
//! A [`StatusEvent`] is plain data of fixed size. The engine's books follow market events; people,
//! metrics and recordings follow these. Invariants: what comes of frames ([`BookWatch`], topic changes)
//! depends on them alone; [`StatusLog`] keeps the newest [`StatusLog::CAPACITY`] events, counts all by kind
//! and says how many fell out; [`StatusEvent::to_bytes`] has one form per event, and
//! [`StatusEvent::from_bytes`] accepts no other.

mod book_watch;
mod log;
mod wire;

pub use book_watch::BookWatch;
pub use log::StatusLog;

use crate::net::DisconnectCause;
use crate::session::ReconnectReason;
use crate::topic::{Channel, StaleReason, TopicState};
use crate::{DesyncReason, InstrumentId};

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusEvent {
    /// When, ns since the epoch.
    pub ts_ns: i64,
    /// On which connection.
    pub connection: u8,
    /// To which instrument, where it was one.
    pub instrument: Option<InstrumentId>,
    /// What.
    pub what: Status,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// A link was established.
    Connected {
        /// It is to succeed the one that goes on.
        standby: bool,
        /// How often its session was connected, from 1.
        generation: u32,
    },
    /// A link ended.
    Disconnected {
        /// It was to succeed another.
        standby: bool,
        /// Why.
        cause: DisconnectCause,
    },
    /// The successor took over.
    Rotated {
        /// Books that went on without a break.
        books_kept: u16,
        /// Books that the old link had and the new one had not.
        books_lost: u16,
    },
    /// A topic changed its state.
    TopicState {
        /// Of the instrument.
        channel: Channel,
        /// From where.
        from: TopicState,
        /// To where.
        to: TopicState,
        /// Why, where it is stale now.
        stale: Option<StaleReason>,
    },
    /// A book may no longer be used.
    BookDesync {
        /// Why.
        reason: DesyncReason,
    },
    /// A book may be used.
    BookSynced {
        /// Since it was lost; for the first time, since the connection was established.
        recovery_ns: u64,
    },
    /// A topic was subscribed again.
    Resubscribed {
        /// Of the instrument.
        channel: Channel,
    },
    /// The protocol asked for a new connection.
    ReconnectAsked {
        /// Why.
        reason: ReconnectReason,
    },
    /// A REST snapshot was given up.
    RestRefused {
        /// HTTP status of the last answer, 0 where there was none.
        status: u16,
    },
    /// Records are missing from the recording at this place.
    Hole {
        /// How many.
        lost: u64,
    },
    /// The connection was given up for good.
    Exhausted {
        /// Attempts that failed in a row.
        attempts: u32,
    },
}

impl Status {
    /// How many kinds there are.
    pub const KINDS: usize = 11;

    /// Names of the kinds, in the order of declaration: stable, lower-case, for reports and metrics.
    pub const NAMES: [&'static str; Self::KINDS] = [
        "connected",
        "disconnected",
        "rotated",
        "topic_state",
        "book_desync",
        "book_synced",
        "resubscribed",
        "reconnect_asked",
        "rest_refused",
        "hole",
        "exhausted",
    ];

    /// Number of the kind, an index of [`Status::NAMES`].
    #[must_use]
    pub fn kind(&self) -> usize {
        match self {
            Self::Connected { .. } => 0,
            Self::Disconnected { .. } => 1,
            Self::Rotated { .. } => 2,
            Self::TopicState { .. } => 3,
            Self::BookDesync { .. } => 4,
            Self::BookSynced { .. } => 5,
            Self::Resubscribed { .. } => 6,
            Self::ReconnectAsked { .. } => 7,
            Self::RestRefused { .. } => 8,
            Self::Hole { .. } => 9,
            Self::Exhausted { .. } => 10,
        }
    }

    /// Name of the kind.
    #[must_use]
    pub fn name(&self) -> &'static str {
        Self::NAMES[self.kind()]
    }
}

impl std::fmt::Display for Status {
    /// The kind and its particulars, `key=value`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())?;
        let role = |standby| if standby { " standby" } else { "" };
        match *self {
            Self::Connected { standby, generation } => {
                write!(f, "{} generation={generation}", role(standby))
            }
            Self::Disconnected { standby, cause } => {
                write!(f, "{} cause={}", role(standby), cause.name())
            }
            Self::Rotated { books_kept, books_lost } => {
                write!(f, " books_kept={books_kept} books_lost={books_lost}")
            }
            Self::TopicState { channel, from, to, stale } => {
                let (channel, from, to) = (channel.name(), from.name(), to.name());
                write!(f, " channel={channel} from={from} to={to}")?;
                stale.map_or(Ok(()), |reason| write!(f, " reason={}", reason.name()))
            }
            Self::BookDesync { reason } => write!(f, " reason={}", reason.name()),
            Self::BookSynced { recovery_ns } => write!(f, " recovery_ns={recovery_ns}"),
            Self::Resubscribed { channel } => write!(f, " channel={}", channel.name()),
            Self::ReconnectAsked { reason } => write!(f, " reason={}", reason.name()),
            Self::RestRefused { status } => write!(f, " status={status}"),
            Self::Hole { lost } => write!(f, " lost={lost}"),
            Self::Exhausted { attempts } => write!(f, " attempts={attempts}"),
        }
    }
}
