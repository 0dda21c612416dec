//! How Binance numbers its depth updates, in terms of [`crate::protocol::sequence`].
//!
//! The venue's rules, numbered as in the tests ("How to manage a local order book correctly", for spot
//! and for futures; verified on recordings in `tests/captures.rs`):
//!
//! 1. Open the stream, buffer its updates, then fetch a REST snapshot with id `L` = `lastUpdateId`.
//! 2. Drop updates the snapshot contains: spot `u <= L`, futures `u < L`.
//! 3. The first update applied: spot `U <= L+1 <= u`, futures `U <= L <= u` (and `pu <= L < U`, ids at
//!    which nothing happened to this instrument).
//! 4. Then spot `U` = previous `u` + 1, futures `pu` = previous `u` (their ids are not contiguous, but
//!    they say what they continue from); anything else: start over.
//! 5. Quantities are absolute; zero removes a level, and removing an unknown one is normal.

use crate::Venue;
use crate::protocol::sequence::{Rules, UpdateIds};

/// Spot.
pub const SPOT: Rules = Rules::REST;

/// USD-M and COIN-M futures.
pub const FUTURES: Rules = Rules { snapshot_contains_equal: false, ..SPOT };

/// From the fields of a frame: `U`, `u` and, for futures, `pu`. `None` when they cannot be true:
/// `U > u`, `pu >= U`, `U` of zero, or no `pu` on futures.
#[must_use]
pub fn update_ids(venue: Venue, first: u64, last: u64, prev: Option<u64>) -> Option<UpdateIds> {
    let prev = match venue {
        Venue::BinanceSpot => first.checked_sub(1)?,
        _ => prev.filter(|prev| *prev < first)?,
    };
    (first <= last).then_some(UpdateIds::linked(prev, last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::sequence::{DiffStep, Sequencer, SnapshotStep};

    fn ids(venue: Venue, first: u64, last: u64, prev: Option<u64>) -> UpdateIds {
        update_ids(venue, first, last, prev).unwrap()
    }

    #[test]
    fn ids_come_from_the_first_id_on_spot_and_from_pu_on_futures() {
        let spot = |first, last| update_ids(Venue::BinanceSpot, first, last, None);
        let futures = |first, last, prev| update_ids(Venue::BinanceCoinm, first, last, prev);
        assert_eq!(spot(101, 105), Some(UpdateIds::linked(100, 105)));
        assert_eq!(futures(104, 109, Some(100)), Some(UpdateIds::linked(100, 109)));
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
    fn rules_1_to_3_the_first_update_applied_bridges_the_snapshot() {
        // Snapshot id 105; first and last id of the one buffered update; whether it bridges.
        let table = [
            (SPOT, Venue::BinanceSpot, 101, 105, false),
            (SPOT, Venue::BinanceSpot, 101, 106, true),
            (SPOT, Venue::BinanceSpot, 106, 110, true),
            (SPOT, Venue::BinanceSpot, 107, 110, false),
            (FUTURES, Venue::BinanceUsdm, 101, 104, false),
            (FUTURES, Venue::BinanceUsdm, 101, 105, true),
            (FUTURES, Venue::BinanceUsdm, 105, 110, true),
        ];
        for (rules, venue, first, last, bridges) in table {
            let mut sequencer = Sequencer::new(rules);
            sequencer.connect(1);
            let update = ids(venue, first, last, Some(first - 1));
            assert_eq!(sequencer.on_update(update), DiffStep::Buffer);
            let step = sequencer.on_snapshot(1, 105, std::iter::once(update));
            let expected = SnapshotStep::Bridge { stale: 0 };
            assert_eq!(step == expected, bridges, "{venue:?} {first}..{last}");
        }
    }

    #[test]
    fn rule_4_every_update_continues_the_one_before() {
        let table = [
            (SPOT, Venue::BinanceSpot, 111, None, DiffStep::Apply),
            (SPOT, Venue::BinanceSpot, 112, None, DiffStep::Gap),
            (FUTURES, Venue::BinanceUsdm, 115, Some(110), DiffStep::Apply),
            (FUTURES, Venue::BinanceUsdm, 111, Some(109), DiffStep::Gap),
        ];
        for (rules, venue, first, prev, expected) in table {
            let mut sequencer = Sequencer::new(rules);
            sequencer.connect(1);
            let bridge = ids(venue, 101, 110, Some(100));
            sequencer.on_update(bridge);
            sequencer.on_snapshot(1, 105, std::iter::once(bridge));
            let step = sequencer.on_update(ids(venue, first, first + 5, prev));
            assert_eq!(step, expected, "{venue:?}");
        }
    }
}
