//! What a session counts, so that nothing it drops or repairs goes unseen.

use crate::fixed::FixedError;
use crate::protocol::DecodeErrorKind;

/// Why a frame (or a snapshot) was refused, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadInput {
    /// It ends inside a value.
    Truncated,
    /// Not a JSON object.
    Malformed,
    /// A field it cannot do without is missing.
    MissingField,
    /// A field holds something else than it should.
    BadField,
    /// A price, quantity or probability that is not a plain decimal number.
    NotANumber,
    /// A number with more decimals than the instrument has.
    TooPrecise,
    /// A number that does not fit 64 bits.
    Overflow,
    /// A quantity below zero, or a probability outside 0 to 1.
    OutOfRange,
    /// Update ids that cannot be true.
    BadIds,
    /// Longer than [`MAX_FRAME_BYTES`](super::MAX_FRAME_BYTES).
    Oversize,
}

impl BadInput {
    /// All kinds, in a stable order.
    pub const ALL: [Self; 10] = [
        Self::Truncated,
        Self::Malformed,
        Self::MissingField,
        Self::BadField,
        Self::NotANumber,
        Self::TooPrecise,
        Self::Overflow,
        Self::OutOfRange,
        Self::BadIds,
        Self::Oversize,
    ];

    /// Stable, lower-case name for reports and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::MissingField => "missing_field",
            Self::BadField => "bad_field",
            Self::NotANumber => "not_a_number",
            Self::TooPrecise => "too_precise",
            Self::Overflow => "overflow",
            Self::OutOfRange => "out_of_range",
            Self::BadIds => "bad_ids",
            Self::Oversize => "oversize",
        }
    }
}

impl From<DecodeErrorKind> for BadInput {
    fn from(kind: DecodeErrorKind) -> Self {
        match kind {
            DecodeErrorKind::Truncated => Self::Truncated,
            DecodeErrorKind::Malformed => Self::Malformed,
            DecodeErrorKind::MissingField(_) => Self::MissingField,
            DecodeErrorKind::BadField(_) => Self::BadField,
            DecodeErrorKind::BadIds => Self::BadIds,
        }
    }
}

impl From<FixedError> for BadInput {
    fn from(error: FixedError) -> Self {
        match error {
            FixedError::NotANumber { .. } => Self::NotANumber,
            FixedError::TooPrecise { .. } => Self::TooPrecise,
            FixedError::Overflow { .. } => Self::Overflow,
        }
    }
}

/// Refused inputs by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BadInputCounts([u64; BadInput::ALL.len()]);

impl BadInputCounts {
    pub(super) fn add(&mut self, kind: BadInput) {
        self.0[kind as usize] += 1;
    }

    /// How many of one kind.
    #[must_use]
    pub fn of(&self, kind: BadInput) -> u64 {
        self.0[kind as usize]
    }

    /// How many in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// Totals since the session was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounters {
    /// Frames received, refused ones included.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Depth updates of subscribed instruments, applied or not.
    pub depth: u64,
    /// Tops emitted.
    pub tops: u64,
    /// Trades emitted.
    pub trades: u64,
    /// Oracle values emitted.
    pub oracles: u64,
    /// Requests the venue accepted.
    pub acks: u64,
    /// Requests the venue refused.
    pub acks_refused: u64,
    /// Frames of no use: unknown event types, trades off the market.
    pub ignored: u64,
    /// Frames of a symbol that is not subscribed.
    pub unknown_symbol: u64,
    /// Frames and snapshots refused, by kind.
    pub bad_input: BadInputCounts,
    /// Signs of life that belong to no topic.
    pub heartbeats: u64,
    /// Trades from before the subscription, not emitted.
    pub trades_history: u64,
    /// Trades that the venue's ids say were missed.
    pub trades_lost: u64,
    /// Breaks of the venue's sequence rule, in steady state and while buffering.
    pub gaps: u64,
    /// Breaks of the numbering of a connection as a whole.
    pub connection_gaps: u64,
    /// Frames that the numbering of the connection shows to be late or doubled, dropped.
    pub connection_duplicates: u64,
    /// Checksums that were compared with the book.
    pub checksums: u64,
    /// Of those, how many were another book's.
    pub checksum_mismatches: u64,
    /// Books compared with a REST snapshot.
    pub audits: u64,
    /// Of those, how many were another book.
    pub audit_mismatches: u64,
    /// Depth updates dropped because a snapshot in the stream was due.
    pub awaiting_snapshot: u64,
    /// Levels deleted because they fell out of the subscribed depth.
    pub levels_cut: u64,
    /// Levels whose quantity the venue gave as `NaN`, passed over.
    pub levels_not_a_number: u64,
    /// Depth updates received again.
    pub duplicates: u64,
    /// Depth updates older than the snapshot.
    pub stale_dropped: u64,
    /// Snapshots published.
    pub snapshots_applied: u64,
    /// Snapshots too old to be bridged.
    pub snapshots_stale: u64,
    /// Snapshots of an older connection.
    pub snapshots_wrong_generation: u64,
    /// Snapshots that came while the book was in sequence.
    pub snapshots_not_needed: u64,
    /// Snapshot requests that failed.
    pub snapshots_failed: u64,
    /// Snapshot levels beyond the configured limit, left out.
    pub snapshot_levels_cut: u64,
    /// Depth updates that the buffer had no room for.
    pub buffered_dropped: u64,
    /// Published books that had to be given up.
    pub repairs_started: u64,
    /// Of those, how many were published again.
    pub repairs_done: u64,
}

impl SessionCounters {
    /// Adds those of another session of the same connection.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.bad_input.0.iter_mut().zip(other.bad_input.0) {
            *count += more;
        }
        let Self {
            frames,
            bytes,
            depth,
            tops,
            trades,
            oracles,
            acks,
            acks_refused,
            ignored,
            unknown_symbol,
            bad_input: _,
            heartbeats,
            trades_history,
            trades_lost,
            connection_gaps,
            connection_duplicates,
            checksums,
            checksum_mismatches,
            audits,
            audit_mismatches,
            awaiting_snapshot,
            levels_cut,
            levels_not_a_number,
            gaps,
            duplicates,
            stale_dropped,
            snapshots_applied,
            snapshots_stale,
            snapshots_wrong_generation,
            snapshots_not_needed,
            snapshots_failed,
            snapshot_levels_cut,
            buffered_dropped,
            repairs_started,
            repairs_done,
        } = self;
        for (count, more) in [
            (frames, other.frames),
            (bytes, other.bytes),
            (depth, other.depth),
            (tops, other.tops),
            (trades, other.trades),
            (oracles, other.oracles),
            (acks, other.acks),
            (acks_refused, other.acks_refused),
            (ignored, other.ignored),
            (unknown_symbol, other.unknown_symbol),
            (heartbeats, other.heartbeats),
            (trades_history, other.trades_history),
            (trades_lost, other.trades_lost),
            (connection_gaps, other.connection_gaps),
            (connection_duplicates, other.connection_duplicates),
            (checksums, other.checksums),
            (checksum_mismatches, other.checksum_mismatches),
            (audits, other.audits),
            (audit_mismatches, other.audit_mismatches),
            (awaiting_snapshot, other.awaiting_snapshot),
            (levels_cut, other.levels_cut),
            (levels_not_a_number, other.levels_not_a_number),
            (gaps, other.gaps),
            (duplicates, other.duplicates),
            (stale_dropped, other.stale_dropped),
            (snapshots_applied, other.snapshots_applied),
            (snapshots_stale, other.snapshots_stale),
            (snapshots_wrong_generation, other.snapshots_wrong_generation),
            (snapshots_not_needed, other.snapshots_not_needed),
            (snapshots_failed, other.snapshots_failed),
            (snapshot_levels_cut, other.snapshot_levels_cut),
            (buffered_dropped, other.buffered_dropped),
            (repairs_started, other.repairs_started),
            (repairs_done, other.repairs_done),
        ] {
            *count += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_count_and_name() {
        let mut counts = BadInputCounts::default();
        for (i, kind) in BadInput::ALL.into_iter().enumerate() {
            (0..=i).for_each(|_| counts.add(kind));
        }
        for (i, kind) in BadInput::ALL.into_iter().enumerate() {
            assert_eq!(counts.of(kind), i as u64 + 1);
        }
        assert_eq!(counts.total(), 55);
        let mut names = BadInput::ALL.map(BadInput::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
