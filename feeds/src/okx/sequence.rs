//! How OKX numbers and sums up its depth messages, in terms of [`crate::protocol::sequence`].
//!
//! The venue's rules, numbered as in the tests ("Order book channel" and "Get order book" of the v5
//! documentation and its changelog):
//!
//! 1. A subscription begins with a message of action `snapshot` and `prevSeqId` -1; messages of action
//!    `update` follow.
//! 2. The `prevSeqId` of every update is the `seqId` of the message before; anything else: subscribe anew.
//! 3. An update with `seqId` = `prevSeqId` and no levels says that nothing changed.
//! 4. After maintenance an update may have a `seqId` smaller than its `prevSeqId`: the numbers start anew,
//!    and the chain holds.
//! 5. `checksum` sums up the book after the message. 0, which every message has since June 2026, or none
//!    at all says nothing. Before there were `seqId`s (recordings of 2022) it is the only proof.
//! 6. Announced for production in August 2026 and not seen there yet: no snapshot in the stream. Ignore the
//!    first update and note the `prevSeqId` of the second; fetch a REST snapshot until its `seqId` is at
//!    least that; drop updates with `seqId <=` that of the snapshot; the first one applied satisfies
//!    `prevSeqId <= snapshot < seqId`; then rule 2.
//! 7. Quantities are absolute; zero removes a level, and removing an unknown one is normal. Levels that
//!    leave the 400 of the channel are taken to be removed by the venue (not documented; on record a book
//!    never outgrew them).

use crate::protocol::DecodeErrorKind;
use crate::protocol::sequence::{Rules, UpdateIds};

/// All instrument types. [`SnapshotSource::Rest`] in its place makes rule 6 of it.
pub const RULES: Rules = Rules { first_only_starts_chain: true, ..Rules::STREAM };

/// From the fields of a message, as far as it has them.
///
/// # Errors
/// An update with `seqId` that does not say what it continues from.
pub fn update_ids(
    is_snapshot: bool,
    seq_id: Option<u64>,
    prev_seq_id: Option<i64>,
) -> Result<UpdateIds, DecodeErrorKind> {
    let Some(last) = seq_id else { return Ok(UpdateIds::NONE) };
    if is_snapshot {
        return Ok(UpdateIds::unlinked(last));
    }
    let prev = prev_seq_id.ok_or(DecodeErrorKind::MissingField("prevSeqId"))?;
    let prev = u64::try_from(prev).map_err(|_| DecodeErrorKind::BadIds)?;
    Ok(UpdateIds::linked(prev, last))
}

/// The checksum as the session compares it; `None` for the 0 that says nothing (rule 5).
#[must_use]
pub fn checksum(signed: i32) -> Option<u32> {
    (signed != 0).then_some(signed.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sequence::{
        DiffStep, DropReason, Sequencer, SnapshotSource, SnapshotStep,
    };

    fn update(prev: i64, last: u64) -> UpdateIds {
        update_ids(false, Some(last), Some(prev)).unwrap()
    }

    fn connected(rules: Rules) -> Sequencer {
        let mut sequencer = Sequencer::new(rules);
        sequencer.connect(1);
        sequencer
    }

    /// In sequence up to 100.
    fn synced() -> Sequencer {
        let mut sequencer = connected(RULES);
        let ids = update_ids(true, Some(100), Some(-1)).unwrap();
        sequencer.on_stream_snapshot(ids.last);
        sequencer
    }

    const REST: Rules = Rules { snapshot: SnapshotSource::Rest, ..RULES };

    #[test]
    fn rule_1_a_snapshot_continues_from_nothing_and_an_update_from_something() {
        assert_eq!(update_ids(true, Some(100), Some(-1)), Ok(UpdateIds::unlinked(100)));
        assert_eq!(update_ids(true, Some(100), None), Ok(UpdateIds::unlinked(100)));
        assert_eq!(update_ids(false, Some(100), Some(-1)), Err(DecodeErrorKind::BadIds));
        let missing = DecodeErrorKind::MissingField("prevSeqId");
        assert_eq!(update_ids(false, Some(100), None), Err(missing));
        let mut sequencer = connected(RULES);
        let dropped = DiffStep::Drop(DropReason::AwaitingSnapshot);
        assert_eq!(sequencer.on_update(update(90, 95)), dropped);
    }

    #[test]
    fn rules_2_to_4_every_update_names_the_message_before() {
        let table = [
            (100, 107, DiffStep::Apply),
            (100, 100, DiffStep::Apply),
            (100, 3, DiffStep::Apply),
            (101, 107, DiffStep::Gap),
            (99, 107, DiffStep::Gap),
            (107, 3, DiffStep::Drop(DropReason::Duplicate)),
            (90, 100, DiffStep::Drop(DropReason::Duplicate)),
        ];
        for (prev, last, expected) in table {
            let mut sequencer = synced();
            assert_eq!(sequencer.on_update(update(prev, last)), expected, "{prev}..{last}");
            if expected == DiffStep::Apply {
                let next = update(last.cast_signed(), last + 5);
                assert_eq!(sequencer.on_update(next), DiffStep::Apply, "after {prev}..{last}");
            }
        }
    }

    #[test]
    fn rule_5_without_numbers_updates_are_applied_and_checksums_stand_in() {
        let none = update_ids(false, None, None).unwrap();
        assert_eq!(none, UpdateIds::NONE);
        let mut sequencer = connected(RULES);
        sequencer.on_stream_snapshot(update_ids(true, None, None).unwrap().last);
        for _ in 0..3 {
            assert_eq!(sequencer.on_update(none), DiffStep::Apply);
        }
        assert_eq!(checksum(0), None);
        assert_eq!((checksum(1), checksum(-1)), (Some(1), Some(u32::MAX)));
        assert_eq!(checksum(-914_047_754), Some(3_380_919_542));
    }

    #[test]
    fn rule_6_a_rest_snapshot_is_bridged_by_the_second_update_or_a_later_one() {
        use SnapshotStep::{Bridge, Hold, TooOld};
        let table = [
            // snapshot's seqId; the stream has 90..100 (ignored), 100..110, 110..120
            (95, TooOld),
            (99, TooOld),
            (100, Bridge { stale: 0 }),
            (109, Bridge { stale: 0 }),
            (110, Bridge { stale: 1 }),
            (120, Hold { stale: 2 }),
        ];
        for (snapshot_id, expected) in table {
            let mut sequencer = connected(REST);
            let ignored = DiffStep::Drop(DropReason::AwaitingSnapshot);
            assert_eq!(sequencer.on_update(update(90, 100)), ignored);
            let buffer = [update(100, 110), update(110, 120)];
            for ids in buffer {
                assert_eq!(sequencer.on_update(ids), DiffStep::Buffer);
            }
            let step = sequencer.on_snapshot(1, snapshot_id, buffer.into_iter());
            assert_eq!(step, expected, "{snapshot_id}");
            let next = match expected {
                Bridge { .. } => DiffStep::Apply,
                Hold { .. } => DiffStep::Bridge,
                _ => DiffStep::Buffer,
            };
            assert_eq!(sequencer.on_update(update(120, 130)), next, "{snapshot_id}");
        }
    }
}
