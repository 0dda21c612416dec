//! What Bitstamp's book updates carry in place of numbers, in terms of [`crate::protocol::sequence`].
//!
//! The venue's rules, numbered as in the tests ("WebSocket API v2" and "Order book" of the HTTP API;
//! verified on a recording in `tests/captures_bitstamp.rs`):
//!
//! 1. `diff_order_book_<pair>` begins with updates; the whole book is fetched by REST. Updates that come
//!    before it are kept.
//! 2. Book and updates carry the time of the matching engine, `microtimestamp`. Updates up to the time of
//!    the book are contained in it; the later ones are applied in order.
//! 3. The book must be at least as new as the oldest update kept, or what lies between may be missing.
//! 4. Updates are neither numbered nor linked, and there is no checksum: **a lost update does not show**.
//!    Time that runs backwards is all that can be noticed here, so the book is compared with a REST
//!    snapshot now and then ([`Facts::audit_every`](crate::protocol::Facts::audit_every)).
//! 5. Quantities are absolute; zero removes a level, and removing an unknown one is normal.

use crate::protocol::sequence::{Rules, UpdateIds};

/// All pairs.
pub const RULES: Rules = Rules::REST;

/// From the `microtimestamp` of a book or of an update.
#[must_use]
pub fn update_ids(microtimestamp: u64) -> UpdateIds {
    UpdateIds::unlinked(microtimestamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sequence::{DiffStep, DropReason, Sequencer, SnapshotStep};

    /// As in a recording, µs.
    const T: u64 = 1_641_343_691_244_908;

    fn waiting(times: &[u64]) -> Sequencer {
        let mut sequencer = Sequencer::new(RULES);
        sequencer.connect(1);
        for &time in times {
            assert_eq!(sequencer.on_update(update_ids(time)), DiffStep::Buffer);
        }
        sequencer
    }

    #[test]
    fn rules_1_to_3_the_book_must_reach_the_oldest_update_kept() {
        let kept = [T, T + 5, T + 9];
        let table = [
            (T - 1, SnapshotStep::TooOld),
            (T, SnapshotStep::Bridge { stale: 1 }),
            (T + 4, SnapshotStep::Bridge { stale: 1 }),
            (T + 5, SnapshotStep::Bridge { stale: 2 }),
            (T + 100, SnapshotStep::Hold { stale: 3 }),
        ];
        for (snapshot, expected) in table {
            let mut sequencer = waiting(&kept);
            let step = sequencer.on_snapshot(1, snapshot, kept.map(update_ids).into_iter());
            assert_eq!(step, expected, "{snapshot}");
        }
    }

    #[test]
    fn rule_2_a_book_before_any_update_waits_for_the_first_later_one() {
        let mut sequencer = waiting(&[]);
        let step = sequencer.on_snapshot(1, T, std::iter::empty());
        assert_eq!(step, SnapshotStep::Hold { stale: 0 });
        assert_eq!(sequencer.on_update(update_ids(T)), DiffStep::Drop(DropReason::Stale));
        assert_eq!(sequencer.on_update(update_ids(T + 1)), DiffStep::Bridge);
    }

    #[test]
    fn rule_4_only_time_that_runs_backwards_is_noticed() {
        let table = [
            (T + 10, DiffStep::Apply),
            (T + 9, DiffStep::Apply),
            (T + 8, DiffStep::Gap),
            (T + 60_000_000, DiffStep::Apply),
        ];
        for (time, expected) in table {
            let mut sequencer = waiting(&[T, T + 9]);
            let kept = [T, T + 9].map(update_ids).into_iter();
            assert_eq!(sequencer.on_snapshot(1, T, kept), SnapshotStep::Bridge { stale: 1 });
            assert_eq!(sequencer.on_update(update_ids(time)), expected, "{time}");
        }
    }
}
