//! The one thing that leaves this crate: a fixed-size, `Copy` [`MarketEvent`].
//!
//! Invariants: an event is plain data (no pointer, no lifetime), so it can cross a lock-free ring by
//! copy; prices and quantities are mantissas whose exponents live in the
//! [`InstrumentTable`](crate::InstrumentTable); levels between a `BookBegin`/first `Level` and the
//! next `BookCommit` of an instrument belong to one venue message and are not to be looked at before
//! that commit.

use crate::InstrumentId;

/// Side of a resting level, or the aggressor of a trade (`Bid` = buyer aggressed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Side {
    /// Buy side.
    Bid,
    /// Sell side.
    Ask,
}

impl Side {
    /// The other side.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Bid => Self::Ask,
            Self::Ask => Self::Bid,
        }
    }
}

/// Why a book may no longer be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DesyncReason {
    /// The connection that fed the book went away.
    Disconnected,
    /// The venue's sequence rule was broken: at least one update is missing.
    SequenceGap,
    /// A message for the instrument could not be decoded, so its content is missing from the book.
    BadMessage,
    /// The book stayed crossed after a complete message.
    Crossed,
    /// The venue's checksum is not that of the book.
    ChecksumMismatch,
    /// A REST snapshot showed another book.
    AuditMismatch,
}

impl DesyncReason {
    /// All reasons, in the order of declaration.
    pub const ALL: [Self; 6] = [
        Self::Disconnected,
        Self::SequenceGap,
        Self::BadMessage,
        Self::Crossed,
        Self::ChecksumMismatch,
        Self::AuditMismatch,
    ];

    /// Stable, lower-case name for reports, records and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::SequenceGap => "sequence_gap",
            Self::BadMessage => "bad_message",
            Self::Crossed => "crossed",
            Self::ChecksumMismatch => "checksum_mismatch",
            Self::AuditMismatch => "audit_mismatch",
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventBody {
    /// A snapshot follows: forget every level of the instrument.
    BookBegin,
    /// Absolute quantity at a price; `qty == 0` deletes the level.
    Level {
        /// Side of the book.
        side: Side,
        /// Price mantissa.
        price: i64,
        /// Quantity mantissa, never negative.
        qty: i64,
    },
    /// The message is complete: the book is consistent and may be looked at.
    BookCommit {
        /// The levels since `BookBegin` replace several messages that the ring had no room for.
        conflated: bool,
    },
    /// Best bid and offer as the venue's top-of-book stream tells it.
    Top {
        /// Best bid price mantissa.
        bid_price: i64,
        /// Quantity at the best bid.
        bid_qty: i64,
        /// Best offer price mantissa.
        ask_price: i64,
        /// Quantity at the best offer.
        ask_qty: i64,
    },
    /// One trade, or several of one side summed by conflation.
    Trade {
        /// The aggressor's side.
        side: Side,
        /// Price mantissa (of the last one, when summed).
        price: i64,
        /// Quantity mantissa (total, when summed).
        qty: i64,
        /// Number of trades, 1 unless summed.
        count: u32,
    },
    /// The book is not to be used until the next `BookBegin … BookCommit`.
    Desync {
        /// Why.
        reason: DesyncReason,
    },
    /// Simulator only: the best achievable probability that the mid price, given that it moves
    /// within `horizon_ms`, moves up. Scored against, never shown to a model.
    Oracle {
        /// Probability in parts per billion.
        p_up_ppb: u32,
        /// The horizon it holds for.
        horizon_ms: u32,
    },
}

/// One normalised market event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarketEvent {
    /// When the venue's matching engine did it, ns since the epoch; 0 where the venue does not say.
    pub ts_venue_ns: i64,
    /// When the venue sent it, ns since the epoch; 0 where the venue does not say.
    pub ts_sent_ns: i64,
    /// When the socket read that brought it returned, ns since the epoch.
    pub ts_recv_ns: i64,
    /// The venue's update id (books, tops) or trade id; 0 where there is none.
    pub update_id: u64,
    /// Which instrument.
    pub instrument: InstrumentId,
    /// What happened.
    pub body: EventBody,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_stays_small_enough_to_copy_through_a_ring() {
        assert_eq!(std::mem::size_of::<MarketEvent>(), 80);
    }
}
