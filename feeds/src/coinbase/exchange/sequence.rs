//! How Coinbase Exchange orders its book updates, in terms of [`crate::protocol::sequence`].
//!
//! The venue's rules, numbered as in the tests ("WebSocket channels", level 2, matches and heartbeat;
//! verified on a recording in `tests/captures_coinbase.rs`):
//!
//! 1. A subscription to `level2_batch` begins with a snapshot, which replaces the book; what comes before
//!    it is of no use.
//! 2. Updates carry no number, only the time of the matching engine. It serves as their number: times
//!    may repeat and may not run backwards. An update that does not say its time is applied.
//! 3. The stream proves nothing else, so two checks stand in. Trade ids count up by one within a
//!    product, in `match` as in the `heartbeat` of every second: a trade that is missing means that
//!    the connection loses messages, and the book is fetched anew. And every
//!    [`audit_every`](crate::protocol::Facts::audit_every) the book is compared with a REST snapshot,
//!    whose `time` is on the same scale.
//! 4. Sizes are absolute; zero removes a level, and removing an unknown one is normal.

use crate::protocol::sequence::{Rules, UpdateIds};

/// The rules of every product.
pub const RULES: Rules = Rules::STREAM;

/// From the time of an update, ns since the epoch; 0 where it does not say. `None` before 1970.
#[must_use]
pub fn update_ids(time_ns: i64) -> Option<UpdateIds> {
    u64::try_from(time_ns).ok().map(UpdateIds::unlinked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sequence::{DiffStep, DropReason, Sequencer, SnapshotStep};

    fn ids(time_ns: i64) -> UpdateIds {
        update_ids(time_ns).unwrap()
    }

    #[test]
    fn rule_1_updates_before_the_snapshot_are_dropped_and_it_may_lack_a_time() {
        let mut sequencer = Sequencer::new(RULES);
        sequencer.connect(1);
        let early = DiffStep::Drop(DropReason::AwaitingSnapshot);
        assert_eq!(sequencer.on_update(ids(5)), early);
        assert_eq!(sequencer.on_stream_snapshot(0), SnapshotStep::Bridge { stale: 0 });
        assert_eq!(sequencer.on_update(ids(6)), DiffStep::Apply);
    }

    #[test]
    fn rule_2_times_may_repeat_or_be_missing_and_not_run_backwards() {
        let mut sequencer = Sequencer::new(RULES);
        sequencer.connect(1);
        sequencer.on_stream_snapshot(100);
        for time_ns in [100, 101, 101, 500, 0, 400] {
            assert_eq!(sequencer.on_update(ids(time_ns)), DiffStep::Apply, "{time_ns}");
        }
        assert_eq!(sequencer.on_update(ids(399)), DiffStep::Gap);
        let waits = DiffStep::Drop(DropReason::AwaitingSnapshot);
        assert_eq!(sequencer.on_update(ids(501)), waits);
        assert_eq!(update_ids(-1), None);
    }
}
