//! The status logs of all connections: each written by its feed thread, all read by slow threads.
//!
//! Invariant: a feed thread waits for nobody but a reader that copies a few events, and only when
//! something happened; frames that change no state never come here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use purkinje_feeds::status::{Status, StatusEvent, StatusLog};

/// The log of one connection.
#[derive(Clone, Debug, Default)]
pub struct SharedLog(Arc<Mutex<StatusLog>>);

impl SharedLog {
    /// Adds an event.
    pub fn push(&self, event: StatusEvent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct StatusLogs(Mutex<BTreeMap<u8, SharedLog>>);

impl StatusLogs {
    /// The log of a connection.
    #[must_use]
    pub fn log(&self, connection: u8) -> SharedLog {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logs.entry(connection).or_default().clone()
    }

    fn all(&self) -> Vec<SharedLog> {
        let logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logs.values().cloned().collect()
    }

    /// The newest events of all connections, oldest first, at most so many.
    #[must_use]
    pub fn newest(&self, most: usize) -> Vec<StatusEvent> {
        let mut newest = Vec::new();
        for log in self.all() {
            let log = log.0.lock().unwrap_or_else(PoisonError::into_inner);
            newest.extend(log.iter().rev().take(most).rev());
        }
        newest.sort_by_key(|event: &StatusEvent| event.ts_ns);
        newest.split_off(newest.len().saturating_sub(most))
    }

    /// The events of all connections that a reader has not read yet, by connection and then by age; returns how many fell out of
    /// a log before. `read` is the reader's own: how many events it has taken of each log.
    pub fn read_new(&self, read: &mut BTreeMap<u8, u64>, into: &mut Vec<StatusEvent>) -> u64 {
        let logs: Vec<_> = {
            let logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            logs.iter().map(|(connection, log)| (*connection, log.clone())).collect()
        };
        let mut missed = 0;
        for (connection, log) in logs {
            let log = log.0.lock().unwrap_or_else(PoisonError::into_inner);
            let read = read.entry(connection).or_default();
            missed += log.fell_out().saturating_sub(*read);
            let kept = read.saturating_sub(log.fell_out()) as usize;
            into.extend(log.iter().skip(kept));
            *read = log.fell_out() + log.iter().len() as u64;
        }
        missed
    }

    /// How many events there were of each kind, in the order of [`Status::NAMES`].
    #[must_use]
    pub fn counts(&self) -> [u64; Status::KINDS] {
        let mut counts = [0; Status::KINDS];
        for log in self.all() {
            let log = log.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (count, more) in counts.iter_mut().zip(log.counts()) {
                *count += more;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_all_connections_come_in_the_order_of_time() {
        let logs = StatusLogs::default();
        for (connection, ts_ns) in [(1, 5), (0, 1), (0, 6), (1, 7), (0, 9)] {
            let what = Status::Exhausted { attempts: 1 };
            logs.log(connection).push(StatusEvent { ts_ns, connection, instrument: None, what });
        }
        let newest: Vec<_> = logs.newest(3).iter().map(|e| (e.connection, e.ts_ns)).collect();
        assert_eq!(newest, [(0, 6), (1, 7), (0, 9)]);
        assert_eq!(logs.newest(9).len(), 5);
        let (mut read, mut events) = (BTreeMap::new(), Vec::new());
        assert_eq!(logs.read_new(&mut read, &mut events), 0);
        assert_eq!(events.len(), 5);
        let what = Status::Exhausted { attempts: 2 };
        for _ in 0..StatusLog::CAPACITY + 3 {
            let event = StatusEvent { ts_ns: 10, connection: 0, instrument: None, what };
            logs.log(0).push(event);
        }
        events.clear();
        assert_eq!(logs.read_new(&mut read, &mut events), 3, "three fell out unread");
        assert_eq!(events.len(), StatusLog::CAPACITY);
        assert_eq!(logs.counts().iter().sum::<u64>(), 5 + StatusLog::CAPACITY as u64 + 3);
    }
}
