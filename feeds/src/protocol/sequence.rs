//! The sequence rules of one instrument as a pure state machine over update ids, for all venues.
//!
//! An update says what it *continues from* (`prev`) and what it *ends at* (`last`), in the venue's own
//! numbers ([`UpdateIds`]); what differs between venues is how its decoder finds the two and a few facts
//! ([`Rules`]). The rules, numbered as in the tests:
//!
//! 1. Where snapshots come by REST, updates that arrive before one are buffered, and the buffer is itself
//!    a chain. Where they come in the stream, updates before one are dropped: it will contain them. At
//!    venues that say so ([`Rules::first_only_starts_chain`]) the first update before a REST snapshot only
//!    tells where the chain starts.
//! 2. A REST snapshot with id `L` makes buffered updates stale: `last <= L`, or `last < L` at venues whose
//!    rule says so ([`Rules::snapshot_contains_equal`]).
//! 3. The first update applied to it must bridge: `prev <= L` and not be stale.
//! 4. A snapshot that the oldest buffered update does not reach (`prev > L`) is too old: ask again. Where
//!    updates are not linked, it is too old unless it is at least as new as the oldest buffered one.
//! 5. A snapshot with nothing to bridge it yet is held, unpublished, until an update does: where updates
//!    are not linked, the first that is not stale (the stream may lag behind REST).
//! 6. After that **every** linked update must satisfy `prev == last of the previous one`, whichever of
//!    the two is greater: a venue may restart its numbers if it links them.
//! 7. A linked update that does not, with `last <=` the previous one's, is a duplicate: harmless,
//!    counted. A run of [`MAX_DUPLICATES`] is no duplicate but a venue that restarted its numbering: a gap.
//! 8. Anything else is a gap: the book is unusable. With REST snapshots buffering starts again with that
//!    very update; with stream snapshots everything waits for the next one.
//! 9. A snapshot of an older connection generation is dropped, whatever its id; so is a REST snapshot
//!    that arrives while the book is in sequence (an older one would undo newer updates).
//! 10. A snapshot in the stream replaces the book, whenever it comes.
//! 11. Updates that are numbered but not linked (by time, say) may not run backwards: that is a gap.
//!     Equal numbers are applied. Updates without any number are applied: another check (a checksum, a
//!     connection-wide number, an audit) must stand in, and the venue's folder says which.

/// Consecutive duplicates after which the venue must have restarted its numbering (rule 7). Few, since
/// the published book stands still meanwhile: 0.8 s of the 100 ms stream.
pub const MAX_DUPLICATES: u32 = 8;

/// What an update continues from and ends at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateIds {
    /// The id it continues from; `None` where the venue does not link updates.
    pub prev: Option<u64>,
    /// The id it ends at; 0 where the venue does not number updates.
    pub last: u64,
}

impl UpdateIds {
    /// An update without any number.
    pub const NONE: Self = Self { prev: None, last: 0 };

    /// An update that says what it continues from.
    #[must_use]
    pub fn linked(prev: u64, last: u64) -> Self {
        Self { prev: Some(prev), last }
    }

    /// An update that has a number only.
    #[must_use]
    pub fn unlinked(last: u64) -> Self {
        Self { prev: None, last }
    }
}

/// Where whole books come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotSource {
    /// A REST request.
    Rest,
    /// The stream itself, after each subscription.
    Stream,
}

/// What of the rules differs between venues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Where whole books come from.
    pub snapshot: SnapshotSource,
    /// An update that ends at the snapshot's id is contained in it (rule 2).
    pub snapshot_contains_equal: bool,
    /// The first update received is not to be applied, only continued from (rule 1). Of no consequence
    /// where snapshots come in the stream.
    pub first_only_starts_chain: bool,
}

impl Rules {
    /// Whole books come in the stream.
    pub const STREAM: Self = Self {
        snapshot: SnapshotSource::Stream,
        snapshot_contains_equal: true,
        first_only_starts_chain: false,
    };

    /// Whole books come by REST, and one contains the update that ends at its id.
    pub const REST: Self = Self { snapshot: SnapshotSource::Rest, ..Self::STREAM };
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
    /// At least one update is missing: the book is unusable; buffer this if snapshots come by REST, and
    /// ask for a snapshot (rule 8).
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
    /// A snapshot is due that will contain it (rule 1).
    AwaitingSnapshot,
}

/// What to do with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotStep {
    /// Publish it, then the buffered updates without the first `stale` (rules 2, 3, 5 and 10).
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
    rules: Rules,
    generation: u32,
    state: State,
    duplicates_in_a_row: u32,
}

impl Sequencer {
    /// Before the first connection.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self { rules, generation: 0, state: State::Disconnected, duplicates_in_a_row: 0 }
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

    /// Where whole books come from.
    #[must_use]
    pub fn snapshot_source(&self) -> SnapshotSource {
        self.rules.snapshot
    }

    /// Judges an update and moves on.
    pub fn on_update(&mut self, ids: UpdateIds) -> DiffStep {
        let (state, step) = match self.rules.snapshot {
            SnapshotSource::Rest if self.rules.first_only_starts_chain && self.is_empty() => {
                let started = State::Buffering { chain_end: Some(ids.last) };
                (started, DiffStep::Drop(DropReason::AwaitingSnapshot))
            }
            SnapshotSource::Rest => self.judge(ids),
            SnapshotSource::Stream => self.judge_in_stream(ids),
        };
        self.state = state;
        self.duplicates_in_a_row = match step {
            DiffStep::Drop(DropReason::Duplicate) => self.duplicates_in_a_row + 1,
            _ => 0,
        };
        step
    }

    /// Connected, and nothing received.
    fn is_empty(&self) -> bool {
        self.state == State::Buffering { chain_end: None }
    }

    fn judge_in_stream(&self, ids: UpdateIds) -> (State, DiffStep) {
        match self.judge(ids) {
            (_, DiffStep::Buffer | DiffStep::RestartBuffer) => {
                let waiting = State::Buffering { chain_end: None };
                (waiting, DiffStep::Drop(DropReason::AwaitingSnapshot))
            }
            (_, DiffStep::Gap) => (State::Buffering { chain_end: None }, DiffStep::Gap),
            judged => judged,
        }
    }

    fn judge(&self, ids: UpdateIds) -> (State, DiffStep) {
        let synced = State::Synced { last: ids.last };
        let buffering = State::Buffering { chain_end: Some(ids.last) };
        let numbering_restarted = self.duplicates_in_a_row >= MAX_DUPLICATES;
        let continues = |end: u64| match ids.prev {
            Some(prev) => prev == end,
            None => ids.last == 0 || ids.last >= end,
        };
        match self.state {
            State::Disconnected => (self.state, DiffStep::Drop(DropReason::NoConnection)),
            State::Synced { last } if continues(last) => (synced, DiffStep::Apply),
            State::Buffering { chain_end } if chain_end.is_none_or(continues) => {
                (buffering, DiffStep::Buffer)
            }
            State::Synced { last } | State::Buffering { chain_end: Some(last) }
                if ids.prev.is_some() && ids.last <= last && !numbering_restarted =>
            {
                (self.state, DiffStep::Drop(DropReason::Duplicate))
            }
            State::Synced { .. } => (buffering, DiffStep::Gap),
            State::Buffering { .. } => (buffering, DiffStep::RestartBuffer),
            State::Holding { snapshot_id } if self.is_stale(ids, snapshot_id) => {
                (self.state, DiffStep::Drop(DropReason::Stale))
            }
            State::Holding { snapshot_id } if ids.prev.is_none_or(|prev| prev <= snapshot_id) => {
                (synced, DiffStep::Bridge)
            }
            State::Holding { .. } => (buffering, DiffStep::HeldTooOld),
        }
    }

    /// A snapshot came in the stream: it is the book from here on (rule 10).
    pub fn on_stream_snapshot(&mut self, snapshot_id: u64) -> SnapshotStep {
        if self.state == State::Disconnected {
            return SnapshotStep::WrongGeneration;
        }
        self.duplicates_in_a_row = 0;
        self.state = State::Synced { last: snapshot_id };
        SnapshotStep::Bridge { stale: 0 }
    }

    /// Judges a REST snapshot against the ids of the buffered updates, oldest first, and moves on.
    pub fn on_snapshot(
        &mut self,
        generation: u32,
        snapshot_id: u64,
        buffered: impl Iterator<Item = UpdateIds>,
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
        let mut end = None;
        for (i, ids) in buffered.enumerate() {
            if end.is_none() && self.is_stale(ids, snapshot_id) {
                stale += 1;
                continue;
            }
            let is_reached = match ids.prev {
                Some(prev) => prev <= snapshot_id,
                None => i > 0 || ids.last <= snapshot_id,
            };
            if end.is_none() && !is_reached {
                return SnapshotStep::TooOld;
            }
            end = Some(ids.last);
        }
        if let Some(last) = end {
            self.state = State::Synced { last };
            SnapshotStep::Bridge { stale }
        } else {
            self.state = State::Holding { snapshot_id };
            SnapshotStep::Hold { stale }
        }
    }

    /// Rule 2.
    fn is_stale(&self, ids: UpdateIds, snapshot_id: u64) -> bool {
        if self.rules.snapshot_contains_equal {
            ids.last <= snapshot_id
        } else {
            ids.last < snapshot_id
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(prev: u64, last: u64) -> UpdateIds {
        UpdateIds::linked(prev, last)
    }

    /// The two kinds of REST rules there are, and the rule for stream snapshots.
    const SPOT: Rules = Rules::REST;
    const FUTURES: Rules = Rules { snapshot_contains_equal: false, ..Rules::REST };
    const STREAM: Rules = Rules::STREAM;

    fn connected(rules: Rules) -> Sequencer {
        let mut sequencer = Sequencer::new(rules);
        sequencer.connect(1);
        sequencer
    }

    /// In sequence up to 110.
    fn synced(rules: Rules) -> Sequencer {
        let mut sequencer = connected(rules);
        assert_eq!(sequencer.on_update(ids(100, 110)), DiffStep::Buffer);
        let step = sequencer.on_snapshot(1, 105, [ids(100, 110)].into_iter());
        assert_eq!(step, SnapshotStep::Bridge { stale: 0 });
        sequencer
    }

    const BOTH: [Rules; 2] = [SPOT, FUTURES];

    #[test]
    fn rule_1_the_buffer_is_a_chain_and_restarts_where_it_breaks() {
        for rules in BOTH {
            let mut sequencer = connected(rules);
            assert_eq!(sequencer.on_update(ids(100, 110)), DiffStep::Buffer);
            assert_eq!(sequencer.on_update(ids(110, 120)), DiffStep::Buffer);
            assert_eq!(sequencer.on_update(ids(110, 120)), DiffStep::Drop(DropReason::Duplicate));
            assert_eq!(sequencer.on_update(ids(121, 130)), DiffStep::RestartBuffer);
            assert_eq!(sequencer.on_update(ids(130, 131)), DiffStep::Buffer);
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
            for (rules, expected) in [(BOTH[0], spot), (BOTH[1], futures)] {
                let mut sequencer = connected(rules);
                for diff in buffer {
                    assert_eq!(sequencer.on_update(diff), DiffStep::Buffer);
                }
                let step = sequencer.on_snapshot(1, snapshot_id, buffer.into_iter());
                assert_eq!(step, expected, "{rules:?} {snapshot_id}");
                let is_bridged = matches!(expected, Bridge { .. });
                assert_eq!(sequencer.is_synced(), is_bridged, "{rules:?} {snapshot_id}");
                if is_bridged {
                    assert_eq!(sequencer.on_update(ids(130, 131)), DiffStep::Apply);
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
            for (rules, expected) in [(BOTH[0], spot), (BOTH[1], futures)] {
                let mut sequencer = connected(rules);
                let hold = sequencer.on_snapshot(1, 200, std::iter::empty());
                assert_eq!(hold, SnapshotStep::Hold { stale: 0 });
                assert!(!sequencer.is_synced());
                assert_eq!(
                    sequencer.on_update(ids(prev, last)),
                    expected,
                    "{rules:?} {prev}..{last}"
                );
            }
        }
    }

    #[test]
    fn a_held_snapshot_is_replaced_only_by_a_newer_one() {
        let mut sequencer = connected(SPOT);
        let none = std::iter::empty::<UpdateIds>;
        assert_eq!(sequencer.on_snapshot(1, 200, none()), SnapshotStep::Hold { stale: 0 });
        assert_eq!(sequencer.on_snapshot(1, 199, none()), SnapshotStep::TooOld);
        assert_eq!(sequencer.on_snapshot(1, 210, none()), SnapshotStep::Hold { stale: 0 });
        assert_eq!(sequencer.on_update(ids(205, 209)), DiffStep::Drop(DropReason::Stale));
        assert_eq!(sequencer.on_update(ids(209, 211)), DiffStep::Bridge);
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
            for rules in BOTH {
                let mut sequencer = synced(rules);
                assert_eq!(sequencer.on_update(ids(prev, last)), expected, "{prev}..{last}");
                assert_eq!(sequencer.is_synced(), expected != DiffStep::Gap);
            }
        }
    }

    #[test]
    fn rule_7_numbering_that_restarts_is_noticed() {
        let mut sequencer = synced(SPOT);
        const { assert!(MAX_DUPLICATES <= 10, "a book may stand still for a second, not longer") };
        for i in 0..u64::from(MAX_DUPLICATES) {
            assert_eq!(sequencer.on_update(ids(i, i + 1)), DiffStep::Drop(DropReason::Duplicate));
        }
        assert_eq!(sequencer.on_update(ids(8, 9)), DiffStep::Gap);
        assert_eq!(sequencer.on_update(ids(9, 10)), DiffStep::Buffer);
    }

    #[test]
    fn rule_8_the_update_that_showed_the_gap_can_bridge_the_repair() {
        let mut sequencer = synced(FUTURES);
        assert_eq!(sequencer.on_update(ids(120, 130)), DiffStep::Gap);
        let step = sequencer.on_snapshot(1, 125, [ids(120, 130)].into_iter());
        assert_eq!(step, SnapshotStep::Bridge { stale: 0 });
        assert_eq!(sequencer.on_update(ids(130, 131)), DiffStep::Apply);
    }

    #[test]
    fn rule_9_snapshots_of_another_generation_or_not_needed_change_nothing() {
        let mut sequencer = synced(SPOT);
        let none = std::iter::empty::<UpdateIds>;
        assert_eq!(sequencer.on_snapshot(1, 105, none()), SnapshotStep::NotNeeded);
        assert_eq!(sequencer.on_update(ids(110, 111)), DiffStep::Apply);
        sequencer.disconnect();
        assert_eq!(sequencer.on_snapshot(1, 500, none()), SnapshotStep::WrongGeneration);
        assert_eq!(sequencer.on_update(ids(111, 112)), DiffStep::Drop(DropReason::NoConnection));
        sequencer.connect(2);
        assert_eq!(sequencer.on_snapshot(1, 500, none()), SnapshotStep::WrongGeneration);
        assert_eq!(sequencer.on_snapshot(2, 500, none()), SnapshotStep::Hold { stale: 0 });
    }

    fn in_stream(snapshot_id: u64) -> Sequencer {
        let mut sequencer = connected(STREAM);
        let published = SnapshotStep::Bridge { stale: 0 };
        assert_eq!(sequencer.on_stream_snapshot(snapshot_id), published);
        sequencer
    }

    #[test]
    fn rule_1_updates_before_the_stream_snapshot_are_dropped() {
        let mut sequencer = connected(STREAM);
        for update in [ids(1, 2), ids(2, 3), ids(9, 10), UpdateIds::NONE] {
            let dropped = DiffStep::Drop(DropReason::AwaitingSnapshot);
            assert_eq!(sequencer.on_update(update), dropped);
        }
        assert!(!sequencer.is_synced());
    }

    #[test]
    fn rule_1_the_first_update_only_starts_the_chain_where_the_venue_says_so() {
        let mut sequencer = connected(Rules { first_only_starts_chain: true, ..SPOT });
        let dropped = DiffStep::Drop(DropReason::AwaitingSnapshot);
        assert_eq!(sequencer.on_update(ids(100, 110)), dropped);
        assert_eq!(sequencer.on_update(ids(110, 120)), DiffStep::Buffer);
        // A snapshot inside the first update is too old, since that is not to be applied.
        let buffer = [ids(110, 120)];
        let too_old = sequencer.clone().on_snapshot(1, 109, buffer.into_iter());
        assert_eq!(too_old, SnapshotStep::TooOld);
        let step = sequencer.clone().on_snapshot(1, 110, buffer.into_iter());
        assert_eq!(step, SnapshotStep::Bridge { stale: 0 });
        assert_eq!(sequencer.on_update(ids(121, 130)), DiffStep::RestartBuffer);
        // Where snapshots come in the stream nothing changes.
        let mut stream = connected(Rules { first_only_starts_chain: true, ..STREAM });
        assert_eq!(stream.on_update(ids(1, 2)), dropped);
        stream.on_stream_snapshot(2);
        assert_eq!(stream.on_update(ids(2, 3)), DiffStep::Apply);
    }

    #[test]
    fn rule_6_numbers_may_restart_if_they_are_linked() {
        let mut sequencer = in_stream(100);
        for update in [ids(100, 110), ids(110, 110), ids(110, 3), ids(3, 9)] {
            assert_eq!(sequencer.on_update(update), DiffStep::Apply, "{update:?}");
        }
        assert_eq!(sequencer.on_update(ids(3, 9)), DiffStep::Drop(DropReason::Duplicate));
    }

    #[test]
    fn rule_8_after_a_gap_a_stream_waits_for_its_next_snapshot() {
        let mut sequencer = in_stream(100);
        assert_eq!(sequencer.on_update(ids(101, 102)), DiffStep::Gap);
        let dropped = DiffStep::Drop(DropReason::AwaitingSnapshot);
        assert_eq!(sequencer.on_update(ids(102, 103)), dropped);
        sequencer.on_stream_snapshot(103);
        assert_eq!(sequencer.on_update(ids(103, 104)), DiffStep::Apply);
    }

    #[test]
    fn rule_10_a_stream_snapshot_replaces_the_book_whatever_its_number() {
        let mut sequencer = in_stream(100);
        assert_eq!(sequencer.on_stream_snapshot(1), SnapshotStep::Bridge { stale: 0 });
        assert_eq!(sequencer.on_update(ids(1, 2)), DiffStep::Apply);
        sequencer.disconnect();
        assert_eq!(sequencer.on_stream_snapshot(7), SnapshotStep::WrongGeneration);
    }

    #[test]
    fn rule_11_unlinked_updates_may_not_run_backwards() {
        let at = UpdateIds::unlinked;
        let mut sequencer = connected(SPOT);
        for update in [at(100), at(100), at(110)] {
            assert_eq!(sequencer.on_update(update), DiffStep::Buffer);
        }
        let buffer = [at(100), at(100), at(110)];
        let too_old = sequencer.clone().on_snapshot(1, 99, buffer.into_iter());
        assert_eq!(too_old, SnapshotStep::TooOld, "an update between 99 and 100 may be missing");
        let mut ahead = sequencer.clone();
        assert_eq!(ahead.on_snapshot(1, 200, buffer.into_iter()), SnapshotStep::Hold { stale: 3 });
        assert_eq!(ahead.on_update(at(150)), DiffStep::Drop(DropReason::Stale), "the stream lags");
        assert_eq!(ahead.on_update(at(201)), DiffStep::Bridge);
        let step = sequencer.on_snapshot(1, 100, buffer.into_iter());
        assert_eq!(step, SnapshotStep::Bridge { stale: 2 });
        assert_eq!(sequencer.on_update(at(110)), DiffStep::Apply);
        assert_eq!(sequencer.on_update(at(111)), DiffStep::Apply);
        assert_eq!(sequencer.on_update(UpdateIds::NONE), DiffStep::Apply);
        assert_eq!(sequencer.on_update(at(5)), DiffStep::Apply, "after one without a number");
        assert_eq!(sequencer.on_update(at(4)), DiffStep::Gap);
    }
}
