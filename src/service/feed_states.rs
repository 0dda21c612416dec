//! How connections, topics and books stand now: a fold over the status events of all feeds.
//!
//! Invariants: what it keeps is bounded by the instruments and channels there are; events that it missed are
//! counted, and what they said shows again when it changes.

use std::collections::BTreeMap;

use purkinje_feeds::{
    InstrumentId,
    status::{Status, StatusEvent},
    topic::{Channel, TopicState},
};
use serde::Serialize;

/// Newest events kept for people to read.
const NEWEST: usize = 20;

/// A connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Connection {
    /// Its number.
    pub connection: u8,
    /// Whether it is open.
    pub is_open: bool,
    /// How often it was opened.
    pub generation: u32,
    /// Times it ended.
    pub disconnects: u64,
    /// Why it ended last.
    pub last_cause: Option<&'static str>,
    /// Since when it stands so, ns since the epoch.
    pub since_ns: i64,
}

/// A book.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BookState {
    /// Whether it may be used.
    pub is_synchronised: bool,
    /// Why it was lost last.
    pub last_reason: Option<&'static str>,
    /// Times it was lost.
    pub losses: u64,
    /// Since when it stands so, ns since the epoch; 0 before the first event.
    pub since_ns: i64,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct FeedStates {
    connections: BTreeMap<u8, Connection>,
    topics: BTreeMap<(u8, u16, Channel), TopicState>,
    books: Vec<BookState>,
    newest: Vec<StatusEvent>,
    missed: u64,
    read: BTreeMap<u8, u64>,
    /// Reused, so that nothing is allocated while a feed thread may wait.
    unread: Vec<StatusEvent>,
}

impl FeedStates {
    /// Before the first event, for so many instruments.
    #[must_use]
    pub fn new(instruments: usize) -> Self {
        Self {
            connections: BTreeMap::new(),
            topics: BTreeMap::new(),
            books: vec![BookState::default(); instruments],
            newest: Vec::new(),
            missed: 0,
            read: BTreeMap::new(),
            unread: Vec::with_capacity(4 * purkinje_feeds::status::StatusLog::CAPACITY),
        }
    }

    /// Takes what happened since it was last called.
    pub fn catch_up(&mut self, logs: &crate::pipeline::status_logs::StatusLogs) {
        let mut unread = std::mem::take(&mut self.unread);
        self.missed += logs.read_new(&mut self.read, &mut unread);
        for event in unread.drain(..) {
            self.take(&event);
        }
        self.unread = unread;
        self.newest.sort_by_key(|event| event.ts_ns);
        let old = self.newest.len().saturating_sub(NEWEST);
        self.newest.drain(..old);
    }

    fn take(&mut self, event: &StatusEvent) {
        let StatusEvent { ts_ns, connection, instrument, what } = *event;
        if self.newest.len() == 2 * NEWEST {
            self.newest.remove(0);
        }
        self.newest.push(*event);
        let state = self
            .connections
            .entry(connection)
            .or_insert_with(|| Connection { connection, ..Connection::default() });
        let book = instrument.and_then(|id| self.books.get_mut(id.index()));
        match what {
            Status::Connected { standby: false, generation } => {
                *state = Connection { is_open: true, generation, since_ns: ts_ns, ..state.clone() };
            }
            Status::Disconnected { standby: false, cause } => {
                state.is_open = false;
                state.disconnects += 1;
                state.last_cause = Some(cause.name());
                state.since_ns = ts_ns;
                for ((of, ..), topic) in &mut self.topics {
                    if *of == connection {
                        *topic = TopicState::Pending;
                    }
                }
            }
            Status::TopicState { channel, to, .. } => {
                if let Some(InstrumentId(instrument)) = instrument {
                    self.topics.insert((connection, instrument, channel), to);
                }
            }
            Status::BookDesync { reason } => {
                if let Some(book) = book {
                    let last_reason = Some(reason.name());
                    let losses = book.losses + 1;
                    *book =
                        BookState { is_synchronised: false, last_reason, losses, since_ns: ts_ns };
                }
            }
            Status::BookSynced { .. } => {
                if let Some(book) = book {
                    *book = BookState { is_synchronised: true, since_ns: ts_ns, ..*book };
                }
            }
            _ => {}
        }
    }

    /// The connections, by number.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.connections.values()
    }

    /// The books, by instrument.
    #[must_use]
    pub fn books(&self) -> &[BookState] {
        &self.books
    }

    /// How a topic of an instrument stands on whatever connection carries it.
    pub fn topics(&self, instrument: u16) -> impl Iterator<Item = (Channel, TopicState)> + '_ {
        let of = move |((_, id, channel), state): (&(u8, u16, Channel), &TopicState)| {
            (*id == instrument).then_some((*channel, *state))
        };
        self.topics.iter().filter_map(of)
    }

    /// How many topics stand so.
    #[must_use]
    pub fn topics_in(&self, state: TopicState) -> usize {
        self.topics.values().filter(|topic| **topic == state).count()
    }

    /// The newest events, oldest first.
    #[must_use]
    pub fn newest(&self) -> &[StatusEvent] {
        &self.newest
    }

    /// Events that fell out of their log before they were read.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::status_logs::StatusLogs;
    use purkinje_feeds::{DesyncReason, net::DisconnectCause};

    #[test]
    fn connections_topics_and_books_stand_as_their_last_events_said() {
        let (logs, mut states) = (StatusLogs::default(), FeedStates::new(2));
        let push = |ts_ns, connection, instrument: Option<u16>, what| {
            let instrument = instrument.map(InstrumentId);
            logs.log(connection).push(StatusEvent { ts_ns, connection, instrument, what });
        };
        let topic = |channel, from, to| Status::TopicState { channel, from, to, stale: None };
        push(1, 0, None, Status::Connected { standby: false, generation: 1 });
        push(2, 0, Some(1), topic(Channel::Depth, TopicState::Pending, TopicState::Flowing));
        push(3, 0, Some(1), Status::BookSynced { recovery_ns: 5 });
        push(3, 0, Some(7), Status::BookSynced { recovery_ns: 5 });
        push(4, 1, None, Status::Connected { standby: false, generation: 1 });
        push(5, 1, Some(0), topic(Channel::Trade, TopicState::Flowing, TopicState::Stale));
        states.catch_up(&logs);
        assert_eq!(states.connections().filter(|c| c.is_open).count(), 2);
        assert_eq!(states.topics(1).collect::<Vec<_>>(), [(Channel::Depth, TopicState::Flowing)]);
        assert_eq!(states.topics_in(TopicState::Stale), 1);
        assert!(states.books()[1].is_synchronised && !states.books()[0].is_synchronised);
        push(6, 0, Some(1), Status::BookDesync { reason: DesyncReason::SequenceGap });
        push(7, 0, None, Status::Disconnected { standby: false, cause: DisconnectCause::Idle });
        push(8, 1, None, Status::Disconnected { standby: true, cause: DisconnectCause::Idle });
        states.catch_up(&logs);
        let [a, b] = states.connections().collect::<Vec<_>>()[..] else { panic!() };
        assert_eq!((a.is_open, a.last_cause, a.since_ns), (false, Some("idle"), 7));
        assert!(b.is_open, "a standby link is not the connection");
        assert_eq!(states.topics_in(TopicState::Pending), 1, "what the lost connection carried");
        let book = states.books()[1];
        assert_eq!(
            (book.is_synchronised, book.losses, book.last_reason),
            (false, 1, Some("sequence_gap"))
        );
        assert_eq!(
            states.newest().iter().map(|e| e.ts_ns).collect::<Vec<_>>(),
            [1, 2, 3, 3, 4, 5, 6, 7, 8]
        );
    }

    #[test]
    fn a_flood_of_events_keeps_the_newest_and_counts_what_was_missed() {
        let (logs, mut states) = (StatusLogs::default(), FeedStates::new(1));
        let count = purkinje_feeds::status::StatusLog::CAPACITY as i64 + 5;
        for ts_ns in 0..count {
            let what = Status::Exhausted { attempts: 1 };
            logs.log(0).push(StatusEvent { ts_ns, connection: 0, instrument: None, what });
        }
        states.catch_up(&logs);
        assert_eq!((states.missed(), states.newest().len()), (5, NEWEST));
        assert_eq!(states.newest().last().map(|event| event.ts_ns), Some(count - 1));
    }
}
