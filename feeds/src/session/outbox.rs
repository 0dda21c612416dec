//! What leaves a session: events, topic changes, and what it asks its owner to do.
//!
//! Invariant: the owner drains all three lists after every call; their capacity is kept, so that the
//! steady state allocates nothing.

use crate::topic::{TopicChange, TopicId};
use crate::{InstrumentId, MarketEvent};

/// Why a connection should be made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReconnectReason {
    /// Every topic is silent although the socket is open.
    Silent,
    /// Every topic is stale and some carry data that is late: it waits in a queue of this connection.
    Late,
    /// A book's topic stayed mute however often it was asked for, and the venue never confirmed it.
    Unconfirmed,
    /// The numbering of the connection shows that frames are missing.
    SequenceGap,
    /// The venue asked for it.
    Requested,
}

impl ReconnectReason {
    /// All reasons, in the order of declaration.
    pub const ALL: [Self; 5] =
        [Self::Silent, Self::Late, Self::Unconfirmed, Self::SequenceGap, Self::Requested];

    /// Stable, lower-case name for reports and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::SequenceGap => "sequence_gap",
            Self::Requested => "requested",
            Self::Late => "late",
            Self::Unconfirmed => "unconfirmed",
        }
    }
}

/// What a session asks its owner to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Fetch a depth snapshot and hand it to `on_snapshot` (or the failure to `on_snapshot_failed`)
    /// with this generation. Never more than one is outstanding per instrument; pacing and the
    /// venue's rate budget are the owner's.
    Snapshot {
        /// Of which instrument.
        instrument: InstrumentId,
        /// To be handed back with the answer.
        generation: u32,
    },
    /// Unsubscribe and subscribe one topic: send the texts of `Session::resubscription`.
    Resubscribe {
        /// Which one.
        topic: TopicId,
    },
    /// Send this text at once: the venue waits for it.
    Send(&'static str),
    /// Close the connection and open a new one.
    Reconnect {
        /// Why.
        reason: ReconnectReason,
    },
}

/// Filled by a session, drained by its owner.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Events, in order.
    pub events: Vec<MarketEvent>,
    /// Requests, in order.
    pub actions: Vec<Action>,
    /// Topic states that changed, in order.
    pub topics: Vec<TopicChange>,
}

impl Outbox {
    /// With room for so many events; [`Session::outbox`](super::Session::outbox) knows how many.
    #[must_use]
    pub fn with_capacity(events: usize) -> Self {
        Self {
            events: Vec::with_capacity(events),
            actions: Vec::with_capacity(64),
            topics: Vec::with_capacity(64),
        }
    }

    /// Empties all lists and keeps their capacity.
    pub fn clear(&mut self) {
        self.events.clear();
        self.actions.clear();
        self.topics.clear();
    }
}
