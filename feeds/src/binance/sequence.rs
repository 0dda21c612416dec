//! The venue's sequence rules for one instrument, as a pure state machine over update ids.
//!
//! A depth update says which ids it covers. In one notation for all three venues it *continues from*
//! `prev` and *ends at* `last` ([`DiffIds`]): spot states the first id `U`, so `prev = U - 1`; futures
//! state `pu` themselves, because their ids are not contiguous. The rules, numbered as in the tests:
//!
//! 1. Updates that arrive before a snapshot are buffered, and the buffer is itself a chain.
//! 2. A snapshot with id `L` makes buffered updates stale: spot `last <= L`, futures `last < L`.
//! 3. The first update applied to it must bridge: `prev <= L` and `L < last` (spot, which is the
//!    documented `U <= L+1 <= u`) or `L <= last` (futures: the documented `U <= L <= u`, and also
//!    `pu <= L < U`, ids at which nothing happened to this instrument).
//! 4. A snapshot that the oldest buffered update does not reach (`prev > L`) is too old: ask again.
//! 5. A snapshot with nothing to bridge it yet is held, unpublished, until an update does.
//! 6. After that **every** update must satisfy `prev == last of the previous one`.
//! 7. An update with `last <=` the previous one's is a duplicate: harmless, counted. A run of
//!    [`MAX_DUPLICATES`] is no duplicate but a venue that restarted its numbering: a gap.
//! 8. Anything else is a gap: the book is unusable, buffering starts again with that very update.
//! 9. A snapshot of an older connection generation is dropped, whatever its id; so is one that
//!    arrives while the book is in sequence (an older one would undo newer updates).
//!
//! Sources: the venue's "How to manage a local order book correctly" for spot and for futures; both
//! rules verified on recordings (`tests/captures.rs`).

use crate::Venue;

/// Consecutive duplicates after which the venue must have restarted its numbering (rule 7). Few, since
/// the published book stands still meanwhile: 0.8 s of the 100 ms stream.
pub const MAX_DUPLICATES: u32 = 8;

/// The ids one depth update covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiffIds {
    /// The id it continues from.
    pub prev: u64,
    /// The id it ends at.
    pub last: u64,
}

impl DiffIds {
    /// From the fields of a frame: `U`, `u` and, for futures, `pu`. `None` when they cannot be true:
    /// `U > u`, `pu >= U`, `U` of zero, or no `pu` on futures.
    #[must_use]
    pub fn new(venue: Venue, first: u64, last: u64, prev: Option<u64>) -> Option<Self> {
        let prev = match venue {
            Venue::BinanceSpot => first.checked_sub(1)?,
            _ => prev.filter(|prev| *prev < first)?,
        };
        (first <= last).then_some(Self { prev, last })
    }
}

/// What to do with a depth update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiffStep {
    /// In sequence: apply and commit (rule 6).
    Apply,
    /// Already contained: drop (rules 2 and 7).
    Drop(DropReason),
    /// Not in sequence yet: buffer it (rule 1).
    Buffer,
    /// Breaks the chain of the buffer: empty the buffer, then buffer this one (rules 1 and 8).
    RestartBuffer,
    /// Bridges the held snapshot: publish that, then this (rules 3 and 5).
    Bridge,
    /// The held snapshot is too old: discard it, buffer this, ask for another (rule 4).
    HeldTooOld,
    /// At least one update is missing: the book is unusable; buffer this and ask (rule 8).
    Gap,
}

/// Why an update needs no applying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Sent twice.
    Duplicate,
    /// Older than the snapshot.
    Stale,
    /// There is no connection it could belong to.
    NoConnection,
}

/// What to do with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotStep {
    /// Publish it, then the buffered updates without the first `stale` (rules 2 and 3).
    Bridge {
        /// How many buffered updates it already contains.
        stale: usize,
    },
    /// Hold it; all `stale` buffered updates are contained in it (rule 5).
    Hold {
        /// How many buffered updates it already contains.
        stale: usize,
    },
    /// Older than the oldest update at hand, or than the one held: ask again (rule 4).
    TooOld,
    /// Of an older connection (rule 9).
    WrongGeneration,
    /// The book is in sequence and needs none (rule 9).
    NotNeeded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Disconnected,
    /// Waiting for a snapshot; the id the buffered chain ends at, if anything is buffered.
    Buffering {
        chain_end: Option<u64>,
    },
    /// A snapshot waits for the update that bridges it; nothing is buffered.
    Holding {
        snapshot_id: u64,
    },
    /// The book is in sequence up to this id.
    Synced {
        last: u64,
    },
}

/// The rules of one instrument on one connection after another.
#[derive(Clone, Debug)]
pub struct Sequencer {
    venue: Venue,
    generation: u32,
    state: State,
    duplicates_in_a_row: u32,
}

impl Sequencer {
    /// Before the first connection.
    #[must_use]
    pub fn new(venue: Venue) -> Self {
        Self { venue, generation: 0, state: State::Disconnected, duplicates_in_a_row: 0 }
    }

    /// A connection is up; its generation is what its snapshots will carry.
    pub fn connect(&mut self, generation: u32) {
        self.generation = generation;
        self.state = State::Buffering { chain_end: None };
        self.duplicates_in_a_row = 0;
    }

    /// The connection is gone.
    pub fn disconnect(&mut self) {
        self.state = State::Disconnected;
    }

    /// Gives up what is known on this connection (a message could not be read, the book is crossed,
    /// the buffer overflowed): nothing is buffered or held, a new snapshot is needed. Without a
    /// connection there is nothing to give up.
    pub fn restart(&mut self) {
        if self.state != State::Disconnected {
            self.connect(self.generation);
        }
    }

    /// Whether the book is in sequence.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        matches!(self.state, State::Synced { .. })
    }

    /// The generation of the connection.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Judges a depth update and moves on.
    pub fn on_diff(&mut self, ids: DiffIds) -> DiffStep {
        let (state, step) = self.judge(ids);
        self.state = state;
        self.duplicates_in_a_row = match step {
            DiffStep::Drop(DropReason::Duplicate) => self.duplicates_in_a_row + 1,
            _ => 0,
        };
        step
    }

    fn judge(&self, ids: DiffIds) -> (State, DiffStep) {
        let synced = State::Synced { last: ids.last };
        let buffering = State::Buffering { chain_end: Some(ids.last) };
        let numbering_restarted = self.duplicates_in_a_row >= MAX_DUPLICATES;
        match self.state {
            State::Disconnected => (self.state, DiffStep::Drop(DropReason::NoConnection)),
            State::Synced { last } | State::Buffering { chain_end: Some(last) }
                if ids.last <= last && !numbering_restarted =>
            {
                (self.state, DiffStep::Drop(DropReason::Duplicate))
            }
            State::Synced { last } if ids.prev == last => (synced, DiffStep::Apply),
            State::Synced { .. } => (buffering, DiffStep::Gap),
            State::Buffering { chain_end } if chain_end.is_none_or(|end| end == ids.prev) => {
                (buffering, DiffStep::Buffer)
            }
            State::Buffering { .. } => (buffering, DiffStep::RestartBuffer),
            State::Holding { snapshot_id } if self.is_stale(ids, snapshot_id) => {
                (self.state, DiffStep::Drop(DropReason::Stale))
            }
            State::Holding { snapshot_id } if ids.prev <= snapshot_id => (synced, DiffStep::Bridge),
            State::Holding { .. } => (buffering, DiffStep::HeldTooOld),
        }
    }

    /// Judges a snapshot against the ids of the buffered updates, oldest first, and moves on.
    pub fn on_snapshot(
        &mut self,
        generation: u32,
        snapshot_id: u64,
        buffered: impl Iterator<Item = DiffIds>,
    ) -> SnapshotStep {
        if generation != self.generation || self.state == State::Disconnected {
            return SnapshotStep::WrongGeneration;
        }
        match self.state {
            State::Synced { .. } => return SnapshotStep::NotNeeded,
            State::Holding { snapshot_id: held } if snapshot_id <= held => {
                return SnapshotStep::TooOld;
            }
            _ => {}
        }
        let mut stale = 0;
        let mut bridge = None;
        for ids in buffered {
            if bridge.is_none() && self.is_stale(ids, snapshot_id) {
                stale += 1;
            } else if bridge.is_none() && ids.prev > snapshot_id {
                return SnapshotStep::TooOld;
            } else {
                bridge = Some(ids.last);
            }
        }
        if let Some(last) = bridge {
            self.state = State::Synced { last };
            SnapshotStep::Bridge { stale }
        } else {
            self.state = State::Holding { snapshot_id };
            SnapshotStep::Hold { stale }
        }
    }

    /// Rule 2.
    fn is_stale(&self, ids: DiffIds, snapshot_id: u64) -> bool {
        match self.venue {
            Venue::BinanceSpot => ids.last <= snapshot_id,
            _ => ids.last < snapshot_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(prev: u64, last: u64) -> DiffIds {
        DiffIds { prev, last }
    }

    fn connected(venue: Venue) -> Sequencer {
        let mut sequencer = Sequencer::new(venue);
        sequencer.connect(1);
        sequencer
    }

    /// In sequence up to 110.
    fn synced(venue: Venue) -> Sequencer {
        let mut sequencer = connected(venue);
        assert_eq!(sequencer.on_diff(ids(100, 110)), DiffStep::Buffer);
        let step = sequencer.on_snapshot(1, 105, [ids(100, 110)].into_iter());
        assert_eq!(step, SnapshotStep::Bridge { stale: 0 });
        sequencer
    }

    const BOTH: [Venue; 2] = [Venue::BinanceSpot, Venue::BinanceUsdm];

    #[test]
    fn ids_come_from_the_first_id_on_spot_and_from_pu_on_futures() {
        let spot = |first, last| DiffIds::new(Venue::BinanceSpot, first, last, None);
        let futures = |first, last, prev| DiffIds::new(Venue::BinanceCoinm, first, last, prev);
        assert_eq!(spot(101, 105), Some(ids(100, 105)));
        assert_eq!(futures(104, 109, Some(100)), Some(ids(100, 109)));
        for impossible in [
            spot(0, 5),
            spot(6, 5),
            futures(6, 5, Some(1)),
            futures(5, 6, Some(5)),
            futures(5, 6, None),
        ] {
            assert_eq!(impossible, None);
        }
    }

    #[test]
    fn rule_1_the_buffer_is_a_chain_and_restarts_where_it_breaks() {
        for venue in BOTH {
            let mut sequencer = connected(venue);
            assert_eq!(sequencer.on_diff(ids(100, 110)), DiffStep::Buffer);
            assert_eq!(sequencer.on_diff(ids(110, 120)), DiffStep::Buffer);
            assert_eq!(sequencer.on_diff(ids(110, 120)), DiffStep::Drop(DropReason::Duplicate));
            assert_eq!(sequencer.on_diff(ids(121, 130)), DiffStep::RestartBuffer);
            assert_eq!(sequencer.on_diff(ids(130, 131)), DiffStep::Buffer);
        }
    }

    #[test]
    fn rules_2_to_5_a_snapshot_is_judged_against_the_buffer() {
        use SnapshotStep::{Bridge, Hold, TooOld};
        let buffer = [ids(100, 110), ids(110, 120), ids(120, 130)];
        let table = [
            // snapshot id, spot, futures
            (99, TooOld, TooOld),
            (100, Bridge { stale: 0 }, Bridge { stale: 0 }),
            (109, Bridge { stale: 0 }, Bridge { stale: 0 }),
            (110, Bridge { stale: 1 }, Bridge { stale: 0 }),
            (111, Bridge { stale: 1 }, Bridge { stale: 1 }),
            (129, Bridge { stale: 2 }, Bridge { stale: 2 }),
            (130, Hold { stale: 3 }, Bridge { stale: 2 }),
            (131, Hold { stale: 3 }, Hold { stale: 3 }),
        ];
        for (snapshot_id, spot, futures) in table {
            for (venue, expected) in [(BOTH[0], spot), (BOTH[1], futures)] {
                let mut sequencer = connected(venue);
                for diff in buffer {
                    assert_eq!(sequencer.on_diff(diff), DiffStep::Buffer);
                }
                let step = sequencer.on_snapshot(1, snapshot_id, buffer.into_iter());
                assert_eq!(step, expected, "{venue:?} {snapshot_id}");
                let is_bridged = matches!(expected, Bridge { .. });
                assert_eq!(sequencer.is_synced(), is_bridged, "{venue:?} {snapshot_id}");
                if is_bridged {
                    assert_eq!(sequencer.on_diff(ids(130, 131)), DiffStep::Apply);
                }
            }
        }
    }

    #[test]
    fn rule_5_a_held_snapshot_waits_for_its_bridge() {
        let table = [
            // prev, last, spot, futures; the held snapshot is 200
            (150, 199, DiffStep::Drop(DropReason::Stale), DiffStep::Drop(DropReason::Stale)),
            (150, 200, DiffStep::Drop(DropReason::Stale), DiffStep::Bridge),
            (150, 201, DiffStep::Bridge, DiffStep::Bridge),
            (200, 205, DiffStep::Bridge, DiffStep::Bridge),
            (201, 205, DiffStep::HeldTooOld, DiffStep::HeldTooOld),
        ];
        for (prev, last, spot, futures) in table {
            for (venue, expected) in [(BOTH[0], spot), (BOTH[1], futures)] {
                let mut sequencer = connected(venue);
                let hold = sequencer.on_snapshot(1, 200, std::iter::empty());
                assert_eq!(hold, SnapshotStep::Hold { stale: 0 });
                assert!(!sequencer.is_synced());
                assert_eq!(
                    sequencer.on_diff(ids(prev, last)),
                    expected,
                    "{venue:?} {prev}..{last}"
                );
            }
        }
    }

    #[test]
    fn a_held_snapshot_is_replaced_only_by_a_newer_one() {
        let mut sequencer = connected(Venue::BinanceSpot);
        let none = std::iter::empty::<DiffIds>;
        assert_eq!(sequencer.on_snapshot(1, 200, none()), SnapshotStep::Hold { stale: 0 });
        assert_eq!(sequencer.on_snapshot(1, 199, none()), SnapshotStep::TooOld);
        assert_eq!(sequencer.on_snapshot(1, 210, none()), SnapshotStep::Hold { stale: 0 });
        assert_eq!(sequencer.on_diff(ids(205, 209)), DiffStep::Drop(DropReason::Stale));
        assert_eq!(sequencer.on_diff(ids(209, 211)), DiffStep::Bridge);
    }

    #[test]
    fn rules_6_to_8_every_update_is_checked_in_steady_state() {
        let table = [
            (110, 120, DiffStep::Apply),
            (100, 110, DiffStep::Drop(DropReason::Duplicate)),
            (50, 60, DiffStep::Drop(DropReason::Duplicate)),
            (111, 120, DiffStep::Gap),
            (109, 120, DiffStep::Gap),
            (500, 510, DiffStep::Gap),
        ];
        for (prev, last, expected) in table {
            for venue in BOTH {
                let mut sequencer = synced(venue);
                assert_eq!(sequencer.on_diff(ids(prev, last)), expected, "{prev}..{last}");
                assert_eq!(sequencer.is_synced(), expected != DiffStep::Gap);
            }
        }
    }

    #[test]
    fn rule_7_numbering_that_restarts_is_noticed() {
        let mut sequencer = synced(Venue::BinanceSpot);
        const { assert!(MAX_DUPLICATES <= 10, "a book may stand still for a second, not longer") };
        for i in 0..u64::from(MAX_DUPLICATES) {
            assert_eq!(sequencer.on_diff(ids(i, i + 1)), DiffStep::Drop(DropReason::Duplicate));
        }
        assert_eq!(sequencer.on_diff(ids(8, 9)), DiffStep::Gap);
        assert_eq!(sequencer.on_diff(ids(9, 10)), DiffStep::Buffer);
    }

    #[test]
    fn rule_8_the_update_that_showed_the_gap_can_bridge_the_repair() {
        let mut sequencer = synced(Venue::BinanceUsdm);
        assert_eq!(sequencer.on_diff(ids(120, 130)), DiffStep::Gap);
        let step = sequencer.on_snapshot(1, 125, [ids(120, 130)].into_iter());
        assert_eq!(step, SnapshotStep::Bridge { stale: 0 });
        assert_eq!(sequencer.on_diff(ids(130, 131)), DiffStep::Apply);
    }

    #[test]
    fn rule_9_snapshots_of_another_generation_or_not_needed_change_nothing() {
        let mut sequencer = synced(Venue::BinanceSpot);
        let none = std::iter::empty::<DiffIds>;
        assert_eq!(sequencer.on_snapshot(1, 105, none()), SnapshotStep::NotNeeded);
        assert_eq!(sequencer.on_diff(ids(110, 111)), DiffStep::Apply);
        sequencer.disconnect();
        assert_eq!(sequencer.on_snapshot(1, 500, none()), SnapshotStep::WrongGeneration);
        assert_eq!(sequencer.on_diff(ids(111, 112)), DiffStep::Drop(DropReason::NoConnection));
        sequencer.connect(2);
        assert_eq!(sequencer.on_snapshot(1, 500, none()), SnapshotStep::WrongGeneration);
        assert_eq!(sequencer.on_snapshot(2, 500, none()), SnapshotStep::Hold { stale: 0 });
    }
}
