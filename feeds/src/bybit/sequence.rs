//! How Bybit numbers its depth messages, in terms of [`crate::protocol::sequence`].
//!
//! The venue's rules, numbered as in the tests ("Orderbook", WebSocket stream of the v5 documentation;
//! verified on a recording in `tests/captures_bybit.rs`):
//!
//! 1. A subscription begins with a message of type `snapshot`; messages of type `delta` follow.
//! 2. A later `snapshot` replaces the book, whenever it comes.
//! 3. `u` = 1 means that the service restarted: the message is a snapshot, whatever its type.
//! 4. `u` grows by one with every message of a topic; anything else: subscribe anew. (`seq` grows too,
//!    but counts the changes of the whole product.)
//! 5. Quantities are absolute; zero removes a level, and removing an unknown one is normal. Levels that
//!    leave the subscribed depth are removed by the venue.
//!
//! The one-level topic, which serves as top of book, has numbers of its own, and a quiet one repeats the
//! last message with the same `u` every three seconds: it is not sequenced.

use crate::protocol::BookKind;
use crate::protocol::sequence::{Rules, UpdateIds};

/// All products.
pub const RULES: Rules = Rules::STREAM;

/// `u` of the first message after a restart of the service.
const RESTARTED: u64 = 1;

/// What a message is and where it stands, from its type and its `u`. `None` when `u` is 0, which no
/// message can have.
#[must_use]
pub fn place(is_snapshot: bool, u: u64) -> Option<(BookKind, UpdateIds)> {
    let prev = u.checked_sub(1)?;
    Some(if is_snapshot || u == RESTARTED {
        (BookKind::Snapshot, UpdateIds::unlinked(u))
    } else {
        (BookKind::Update, UpdateIds::linked(prev, u))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sequence::{DiffStep, DropReason, Sequencer, SnapshotStep};

    fn delta(u: u64) -> UpdateIds {
        let (kind, ids) = place(false, u).unwrap();
        assert_eq!(kind, BookKind::Update);
        ids
    }

    /// In sequence up to 100.
    fn synced() -> Sequencer {
        let mut sequencer = Sequencer::new(RULES);
        sequencer.connect(1);
        let (kind, ids) = place(true, 100).unwrap();
        assert_eq!(kind, BookKind::Snapshot);
        let step = sequencer.on_stream_snapshot(ids.last);
        assert_eq!(step, SnapshotStep::Bridge { stale: 0 });
        sequencer
    }

    #[test]
    fn rule_1_deltas_before_the_snapshot_are_dropped() {
        let mut sequencer = Sequencer::new(RULES);
        sequencer.connect(1);
        let dropped = DiffStep::Drop(DropReason::AwaitingSnapshot);
        assert_eq!(sequencer.on_update(delta(99)), dropped);
        sequencer.on_stream_snapshot(100);
        assert_eq!(sequencer.on_update(delta(101)), DiffStep::Apply);
    }

    #[test]
    fn rule_2_a_snapshot_replaces_the_book_whatever_its_number() {
        for u in [7, 100, 5000] {
            let mut sequencer = synced();
            let (kind, ids) = place(true, u).unwrap();
            assert_eq!((kind, ids), (BookKind::Snapshot, UpdateIds::unlinked(u)));
            sequencer.on_stream_snapshot(ids.last);
            assert_eq!(sequencer.on_update(delta(u + 1)), DiffStep::Apply);
        }
    }

    #[test]
    fn rule_3_the_first_message_after_a_restart_is_a_snapshot_whatever_its_type() {
        let restarted = Some((BookKind::Snapshot, UpdateIds::unlinked(1)));
        assert_eq!((place(true, 1), place(false, 1)), (restarted, restarted));
        assert_eq!((place(true, 0), place(false, 0)), (None, None));
    }

    #[test]
    fn rule_4_every_delta_is_one_more_than_the_message_before() {
        let table = [
            (101, DiffStep::Apply),
            (102, DiffStep::Gap),
            (5000, DiffStep::Gap),
            (100, DiffStep::Drop(DropReason::Duplicate)),
            (99, DiffStep::Drop(DropReason::Duplicate)),
        ];
        for (u, expected) in table {
            let mut sequencer = synced();
            assert_eq!(sequencer.on_update(delta(u)), expected, "{u}");
        }
    }
}
