//! How Coinbase Advanced Trade numbers its frames, in terms of [`crate::protocol::sequence`].
//!
//! The venue's rules, numbered as in the tests ("WebSocket overview", sequence numbers, and "Level 2
//! order book"; verified on a recording in `tests/captures_coinbase.rs`):
//!
//! 1. `sequence_num` counts every message of a connection, whatever its channel, from 0 on: a greater
//!    one than the next means that something was lost, of any product, and a smaller one is to be
//!    ignored. [`Message::ConnectionSequence`](crate::protocol::Message) hands it to the session.
//! 2. A subscription to `level2` begins with a snapshot; what comes before it is of no use, and a
//!    snapshot replaces the book whenever it comes.
//! 3. Updates are not numbered by product. They take the number of their frame, which may not run
//!    backwards; whether one is missing is rule 1's to say.
//! 4. Quantities are absolute; zero removes a level, and removing an unknown one is normal.

use crate::protocol::sequence::{Rules, UpdateIds};

/// The rules of every product.
pub const RULES: Rules = Rules::STREAM;

/// From the number of the frame.
#[must_use]
pub fn update_ids(sequence_num: u64) -> UpdateIds {
    UpdateIds::unlinked(sequence_num)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sequence::{DiffStep, DropReason, Sequencer, SnapshotStep};

    #[test]
    fn rules_2_and_3_updates_count_from_the_snapshot_on_and_never_backwards() {
        let mut sequencer = Sequencer::new(RULES);
        sequencer.connect(1);
        let early = DiffStep::Drop(DropReason::AwaitingSnapshot);
        for number in [0, 3, 12] {
            assert_eq!(sequencer.on_update(update_ids(number)), early);
        }
        assert_eq!(sequencer.on_stream_snapshot(13), SnapshotStep::Bridge { stale: 0 });
        // Other channels and products use numbers up; two events of one frame share theirs.
        for number in [14, 15, 15, 28, 1000] {
            assert_eq!(sequencer.on_update(update_ids(number)), DiffStep::Apply, "{number}");
        }
        assert_eq!(sequencer.on_update(update_ids(999)), DiffStep::Gap);
        assert_eq!(sequencer.on_update(update_ids(1001)), early);
        sequencer.on_stream_snapshot(1002);
        assert_eq!(sequencer.on_update(update_ids(1003)), DiffStep::Apply);
    }

    #[test]
    fn rule_1_numbers_begin_anew_with_every_connection() {
        let mut sequencer = Sequencer::new(RULES);
        sequencer.connect(1);
        sequencer.on_stream_snapshot(5000);
        sequencer.connect(2);
        assert_eq!(sequencer.on_stream_snapshot(0), SnapshotStep::Bridge { stale: 0 });
        assert_eq!(sequencer.on_update(update_ids(1)), DiffStep::Apply);
    }
}
