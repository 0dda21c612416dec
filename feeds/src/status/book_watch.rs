//! Which books may be used, and how long they could not: read off the market events that a session emits.
//!
//! Invariants: a book that comes into use and each loss is told, and nothing else; times are the events' own, so that the same events tell the same.

use super::{Status, StatusEvent};
use crate::{EventBody, InstrumentId, MarketEvent};

/// See the module.
#[derive(Clone, Debug)]
pub struct BookWatch {
    connection: u8,
    /// The connection's instruments, ascending.
    instruments: Vec<InstrumentId>,
    /// In that order: since when the book is out of use; `None` while it is in use.
    lost_ns: Vec<Option<i64>>,
    /// In that order: a snapshot has begun.
    filling: Vec<bool>,
}

impl BookWatch {
    /// A watch over these instruments' books, none of which is in use yet.
    #[must_use]
    pub fn new(connection: u8, instruments: &[InstrumentId]) -> Self {
        let mut instruments = instruments.to_vec();
        instruments.sort_unstable();
        let count = instruments.len();
        Self { connection, instruments, lost_ns: vec![Some(0); count], filling: vec![false; count] }
    }

    /// A connection is up: books that were never in use are waited for from now on.
    pub fn connected(&mut self, now_ns: i64) {
        for lost_ns in self.lost_ns.iter_mut().flatten().filter(|ns| **ns == 0) {
            *lost_ns = now_ns;
        }
    }

    /// Looks at the events of a message.
    pub fn observe(&mut self, events: &[MarketEvent], out: &mut Vec<StatusEvent>) {
        for event in events {
            let what = match event.body {
                EventBody::BookBegin | EventBody::BookCommit { .. } | EventBody::Desync { .. } => {
                    self.change(event)
                }
                _ => None,
            };
            let (ts_ns, connection) = (event.ts_recv_ns, self.connection);
            let instrument = Some(event.instrument);
            out.extend(what.map(|what| StatusEvent { ts_ns, connection, instrument, what }));
        }
    }

    fn change(&mut self, event: &MarketEvent) -> Option<Status> {
        let index = self.instruments.binary_search(&event.instrument).ok()?;
        let now_ns = event.ts_recv_ns;
        match event.body {
            EventBody::BookBegin => {
                self.filling[index] = true;
                None
            }
            EventBody::BookCommit { .. } => {
                let filled = std::mem::take(&mut self.filling[index]);
                let lost_ns = self.lost_ns[index].filter(|_| filled)?;
                self.lost_ns[index] = None;
                let recovery_ns = u64::try_from(now_ns.saturating_sub(lost_ns)).unwrap_or(0);
                Some(Status::BookSynced { recovery_ns })
            }
            EventBody::Desync { reason } => {
                self.filling[index] = false;
                self.lost_ns[index].get_or_insert(now_ns);
                Some(Status::BookDesync { reason })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DesyncReason;

    fn event(instrument: u16, ts_recv_ns: i64, body: EventBody) -> MarketEvent {
        let instrument = InstrumentId(instrument);
        MarketEvent { ts_venue_ns: 0, ts_sent_ns: 0, ts_recv_ns, update_id: 0, instrument, body }
    }

    #[test]
    fn recovery_counts_from_the_connection_or_the_loss_and_updates_tell_nothing() {
        let reason = DesyncReason::SequenceGap;
        let (begin, commit) = (EventBody::BookBegin, EventBody::BookCommit { conflated: false });
        let mut watch = BookWatch::new(3, &[InstrumentId(4), InstrumentId(2)]);
        watch.connected(100);
        let events = [
            event(4, 150, begin),
            event(4, 150, commit),
            event(4, 160, commit),
            event(9, 165, commit),
            event(4, 170, EventBody::Desync { reason }),
            event(4, 180, EventBody::Desync { reason }),
            event(4, 300, begin),
            event(4, 300, commit),
            event(2, 400, begin),
            event(2, 400, commit),
            event(2, 500, begin),
            event(2, 500, commit),
        ];
        let mut told = Vec::new();
        watch.observe(&events, &mut told);
        assert!(told.iter().all(|status| status.connection == 3));
        let told: Vec<_> =
            told.iter().map(|s| (s.instrument.unwrap().0, s.ts_ns, s.what)).collect();
        assert_eq!(
            told,
            [
                (4, 150, Status::BookSynced { recovery_ns: 50 }),
                (4, 170, Status::BookDesync { reason }),
                (4, 180, Status::BookDesync { reason }),
                (4, 300, Status::BookSynced { recovery_ns: 130 }),
                (2, 400, Status::BookSynced { recovery_ns: 300 }),
            ]
        );
    }
}
