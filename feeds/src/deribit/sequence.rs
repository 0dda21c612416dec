//! How Deribit chains its book notifications, in terms of [`crate::protocol::sequence`].
//!
//! The venue's rules, numbered as in the tests ("book.(instrument_name).(interval)" of its documentation;
//! verified on a recording in `tests/captures_deribit.rs`):
//!
//! 1. The first notification of a subscription is the whole book, numbered `change_id`. Notifications
//!    that come before it belong to an older subscription and are dropped.
//! 2. Every later one carries `prev_change_id`, which equals the `change_id` of the one before. If it does
//!    not, one was lost: subscribe again and wait for the snapshot.
//! 3. The same notification twice is harmless (not documented; public clients skip it).
//! 4. A snapshot replaces the book whenever it comes: that of a repeated subscription, for one.
//! 5. Amounts are absolute; `delete` removes a level, and the amount beside it says nothing.

use crate::protocol::sequence::{Rules, UpdateIds};

/// All instrument types.
pub const RULES: Rules = Rules::STREAM;

/// From the fields of a notification; a snapshot has no `prev_change_id`.
#[must_use]
pub fn update_ids(prev_change_id: Option<u64>, change_id: u64) -> UpdateIds {
    UpdateIds { prev: prev_change_id, last: change_id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sequence::{DiffStep, DropReason, Sequencer, SnapshotStep};

    fn change(prev: u64, last: u64) -> UpdateIds {
        update_ids(Some(prev), last)
    }

    fn subscribed() -> Sequencer {
        let mut sequencer = Sequencer::new(RULES);
        sequencer.connect(1);
        sequencer
    }

    fn synced(change_id: u64) -> Sequencer {
        let mut sequencer = subscribed();
        let step = sequencer.on_stream_snapshot(update_ids(None, change_id).last);
        assert_eq!(step, SnapshotStep::Bridge { stale: 0 });
        sequencer
    }

    #[test]
    fn rule_1_changes_before_the_snapshot_are_dropped() {
        let mut sequencer = subscribed();
        for update in [change(1, 2), change(2, 9)] {
            let dropped = DiffStep::Drop(DropReason::AwaitingSnapshot);
            assert_eq!(sequencer.on_update(update), dropped);
        }
        assert!(!sequencer.is_synced());
    }

    #[test]
    fn rule_2_every_change_names_the_one_before() {
        let table = [
            // Ids as in a recording; the snapshot is 33195894164.
            (33_195_894_164, 33_195_894_355, DiffStep::Apply),
            (33_195_894_165, 33_195_894_355, DiffStep::Gap),
            (33_195_894_163, 33_195_894_355, DiffStep::Gap),
            (0, 33_195_894_355, DiffStep::Gap),
        ];
        for (prev, last, expected) in table {
            let mut sequencer = synced(33_195_894_164);
            assert_eq!(sequencer.on_update(change(prev, last)), expected, "{prev}");
            assert_eq!(sequencer.is_synced(), expected == DiffStep::Apply);
        }
    }

    #[test]
    fn rule_3_a_notification_received_again_changes_nothing() {
        let mut sequencer = synced(100);
        assert_eq!(sequencer.on_update(change(100, 107)), DiffStep::Apply);
        let duplicate = DiffStep::Drop(DropReason::Duplicate);
        assert_eq!(sequencer.on_update(change(100, 107)), duplicate);
        assert_eq!(sequencer.on_update(change(107, 108)), DiffStep::Apply);
    }

    #[test]
    fn rule_4_after_a_gap_and_in_sequence_a_snapshot_replaces_the_book() {
        for (prev, expected) in [(105, DiffStep::Gap), (100, DiffStep::Apply)] {
            let mut sequencer = synced(100);
            assert_eq!(sequencer.on_update(change(prev, 110)), expected);
            let step = sequencer.on_stream_snapshot(200);
            assert_eq!(step, SnapshotStep::Bridge { stale: 0 });
            assert_eq!(sequencer.on_update(change(200, 203)), DiffStep::Apply);
        }
    }
}
