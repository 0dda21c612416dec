//! The newest status events of a connection, and how many of each kind there were.
//!
//! Invariant: memory is bounded and allocated once; what falls out is counted.

use std::collections::VecDeque;

use super::{Status, StatusEvent};

/// See the module.
#[derive(Clone, Debug)]
pub struct StatusLog {
    newest: VecDeque<StatusEvent>,
    fell_out: u64,
    counts: [u64; Status::KINDS],
}

impl Default for StatusLog {
    fn default() -> Self {
        Self {
            newest: VecDeque::with_capacity(Self::CAPACITY),
            fell_out: 0,
            counts: [0; Status::KINDS],
        }
    }
}

impl StatusLog {
    /// How many events are kept.
    pub const CAPACITY: usize = 1_024;

    /// Adds an event, in the place of the oldest if there is no room.
    pub fn push(&mut self, event: StatusEvent) {
        if self.newest.len() == Self::CAPACITY {
            self.newest.pop_front();
            self.fell_out += 1;
        }
        self.counts[event.what.kind()] += 1;
        self.newest.push_back(event);
    }

    /// The events that are kept, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &StatusEvent> + ExactSizeIterator {
        self.newest.iter()
    }

    /// How many events were kept once and are no more.
    #[must_use]
    pub fn fell_out(&self) -> u64 {
        self.fell_out
    }

    /// How many events there were of each kind, in the order of [`Status::NAMES`].
    #[must_use]
    pub fn counts(&self) -> [u64; Status::KINDS] {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_all_are_counted_and_what_fell_out_is_told() {
        let mut log = StatusLog::default();
        for lost in 0..StatusLog::CAPACITY as u64 + 7 {
            let what = if lost % 2 == 0 {
                Status::Hole { lost }
            } else {
                Status::Exhausted { attempts: 1 }
            };
            log.push(StatusEvent { ts_ns: 0, connection: 0, instrument: None, what });
        }
        assert_eq!((log.iter().len(), log.fell_out()), (StatusLog::CAPACITY, 7));
        assert_eq!(log.iter().nth(1).map(|event| event.what), Some(Status::Hole { lost: 8 }));
        assert_eq!(log.counts().iter().sum::<u64>(), StatusLog::CAPACITY as u64 + 7);
        assert_eq!(log.counts()[Status::Hole { lost: 0 }.kind()], 516);
    }
}
