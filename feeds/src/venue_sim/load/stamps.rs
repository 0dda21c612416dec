//! When updates were sent: a table shared by sender and receivers, without locks.
//!
//! Invariants: one sender per instrument; a stamp that a later one has overwritten reads as `None`,
//! never as a wrong time; nothing allocates after construction.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Updates that are remembered: 2^20 slots of 16 bytes.
const SLOTS: usize = 1 << 20;

/// Marks a slot that is being written.
const WRITING: u64 = 0;

/// The table.
#[derive(Debug)]
pub struct SendStamps {
    origin: Instant,
    slots: Box<[Slot]>,
}

#[derive(Debug, Default)]
struct Slot {
    key: AtomicU64,
    sent_ns: AtomicU64,
}

impl SendStamps {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now(), slots: (0..SLOTS).map(|_| Slot::default()).collect() }
    }

    /// Monotonic time in ns since the table was made, the clock of all stamps.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// When the update of that number ([`Dialect::update_number`](super::super::Dialect::update_number))
    /// was about to be written to its socket; `None` when it was not, or too long ago.
    #[must_use]
    pub fn sent_ns(&self, instrument: usize, number: u64) -> Option<u64> {
        let key = key(instrument, number);
        let slot = self.slot(key);
        if slot.key.load(Ordering::Acquire) != key {
            return None;
        }
        let sent_ns = slot.sent_ns.load(Ordering::Acquire);
        // Unchanged: the time belongs to the key.
        (slot.key.load(Ordering::Relaxed) == key).then_some(sent_ns)
    }

    pub(crate) fn stamp(&self, instrument: usize, number: u64, sent_ns: u64) {
        let key = key(instrument, number);
        let slot = self.slot(key);
        slot.key.store(WRITING, Ordering::Relaxed);
        slot.sent_ns.store(sent_ns, Ordering::Release);
        slot.key.store(key, Ordering::Release);
    }

    fn slot(&self, key: u64) -> &Slot {
        // Fibonacci hashing: neighbours in number lie far apart, and all bits of the key count.
        let at = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - SLOTS.trailing_zeros());
        &self.slots[at as usize]
    }
}

/// Instrument and number in one word; numbers start at 10^15 and stay far below 2^53.
fn key(instrument: usize, number: u64) -> u64 {
    ((instrument as u64 + 1) << 53) | (number & ((1 << 53) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_until_it_is_overwritten() {
        let stamps = SendStamps::new();
        assert_eq!(stamps.sent_ns(0, 7), None);
        stamps.stamp(0, 7, 11);
        stamps.stamp(1, 7, 12);
        assert_eq!((stamps.sent_ns(0, 7), stamps.sent_ns(1, 7)), (Some(11), Some(12)));
        for number in 0..4 * SLOTS as u64 {
            stamps.stamp(2, number, number);
        }
        assert!(stamps.sent_ns(0, 7).is_none_or(|ns| ns == 11));
        let kept = (0..4 * SLOTS as u64).filter(|n| stamps.sent_ns(2, *n) == Some(*n)).count();
        assert!(kept > SLOTS / 2, "{kept} kept");
    }
}
