//! The last committed book, up to twenty levels a side, and what its shape says.
//!
//! Invariants: the stored levels are finite, best first and not crossed; every measure is finite and
//! is 0 on an empty book. Storing a book is one copy; the measures are computed at the cut only.

use super::quote::{BPS, NO_ASK, NO_BID, Quote, ask_flow, bid_flow, is_usable, ratio_or_zero};

/// Levels kept a side.
pub(super) const LEVELS: usize = 20;
/// Levels that multi-level order flow looks at.
const FLOW_LEVELS: usize = 5;
/// Levels that the weighted measures look at.
const SHAPE_LEVELS: usize = 10;
/// Smallest distance from the mid, as a fraction of it: keeps the measures of a locked book finite.
const MIN_DISTANCE: f64 = 1e-9;

#[derive(Clone, Debug)]
struct Ladder {
    levels: [(f64, f64); LEVELS],
    len: usize,
}

impl Ladder {
    const EMPTY: Self = Self { levels: [(0.0, 0.0); LEVELS], len: 0 };

    /// Copies the best levels; `None` when one of them is not a level.
    fn copy_of(levels: &[(f64, f64)]) -> Option<Self> {
        let mut ladder = Self::EMPTY;
        for (slot, &(price, qty)) in ladder.levels.iter_mut().zip(levels) {
            if !is_usable(price) || !is_usable(qty) || price == 0.0 {
                return None;
            }
            *slot = (price, qty);
        }
        ladder.len = levels.len().min(LEVELS);
        Some(ladder)
    }

    fn top(&self, levels: usize) -> &[(f64, f64)] {
        &self.levels[..levels.min(self.len)]
    }

    fn level_or(&self, index: usize, absent: (f64, f64)) -> (f64, f64) {
        if index < self.len { self.levels[index] } else { absent }
    }

    fn quantity(&self, levels: usize) -> f64 {
        self.top(levels).iter().map(|level| level.1).sum()
    }

    /// Quantity weighted by 1 / rank: Σ Q_k / k.
    fn rank_weighted(&self) -> f64 {
        self.top(SHAPE_LEVELS).iter().zip(1..).map(|(level, rank)| level.1 / f64::from(rank)).sum()
    }

    /// Quantity weighted by nearness to the mid: Σ Q_k · mid / |P_k − mid|.
    fn pressure(&self, mid: f64) -> f64 {
        self.top(SHAPE_LEVELS).iter().map(|level| level.1 / distance(level.0, mid)).sum()
    }

    /// Quantity a basis point between the mid and the last of the levels looked at.
    fn slope(&self, mid: f64) -> f64 {
        let Some(last) = self.top(SHAPE_LEVELS).last() else {
            return 0.0;
        };
        self.quantity(SHAPE_LEVELS) / (BPS * distance(last.0, mid))
    }
}

fn distance(price: f64, mid: f64) -> f64 {
    ((price - mid).abs() / mid).max(MIN_DISTANCE)
}

/// The last committed book.
#[derive(Clone, Debug)]
pub(super) struct Depth {
    bids: Ladder,
    asks: Ladder,
    seen: bool,
}

impl Depth {
    pub(super) const EMPTY: Self = Self { bids: Ladder::EMPTY, asks: Ladder::EMPTY, seen: false };

    /// Replaces the book and returns the multi-level order flow since the one before (0 for the
    /// first): Σ over the five best ranks of e_m, each rank compared with itself (Xu, Gould &
    /// Howison 2018). `None`, and no change, when the book is crossed or holds a senseless number.
    pub(super) fn replace(&mut self, bids: &[(f64, f64)], asks: &[(f64, f64)]) -> Option<f64> {
        let next_bids = Ladder::copy_of(bids)?;
        let next_asks = Ladder::copy_of(asks)?;
        if next_bids.level_or(0, NO_BID).0 > next_asks.level_or(0, NO_ASK).0 {
            return None;
        }
        let mut flow = 0.0;
        if self.seen {
            for rank in 0..FLOW_LEVELS {
                flow +=
                    bid_flow(self.bids.level_or(rank, NO_BID), next_bids.level_or(rank, NO_BID));
                flow -=
                    ask_flow(self.asks.level_or(rank, NO_ASK), next_asks.level_or(rank, NO_ASK));
            }
        }
        *self = Self { bids: next_bids, asks: next_asks, seen: true };
        Some(flow)
    }

    /// The first level of each side as a quote.
    pub(super) fn quote(&self) -> Quote {
        Quote::new(self.bids.level_or(0, (0.0, 0.0)), self.asks.level_or(0, (0.0, 0.0)))
            .unwrap_or(Quote::EMPTY)
    }

    /// (ΣQ_b − ΣQ_a) / (ΣQ_b + ΣQ_a) over the best `levels`.
    pub(super) fn imbalance(&self, levels: usize) -> f64 {
        let (bid, ask) = (self.bids.quantity(levels), self.asks.quantity(levels));
        ratio_or_zero(bid - ask, bid + ask)
    }

    /// The imbalance of ten levels weighted by 1 / rank.
    pub(super) fn weighted_imbalance(&self) -> f64 {
        let (bid, ask) = (self.bids.rank_weighted(), self.asks.rank_weighted());
        ratio_or_zero(bid - ask, bid + ask)
    }

    /// The imbalance of ten levels weighted by 1 / distance from the mid.
    pub(super) fn pressure(&self) -> f64 {
        let Some(mid) = self.quote().mid() else {
            return 0.0;
        };
        let (bid, ask) = (self.bids.pressure(mid), self.asks.pressure(mid));
        ratio_or_zero(bid - ask, bid + ask)
    }

    /// ln of the ratio of the sides' slopes (quantity a basis point), ten levels.
    pub(super) fn log_slope_ratio(&self) -> f64 {
        let Some(mid) = self.quote().mid() else {
            return 0.0;
        };
        let ratio = ratio_or_zero(self.bids.slope(mid), self.asks.slope(mid));
        if ratio > 0.0 { ratio.ln() } else { 0.0 }
    }

    /// ln of the total quantity of ten levels of both sides.
    pub(super) fn log_depth(&self) -> f64 {
        let total = self.bids.quantity(SHAPE_LEVELS) + self.asks.quantity(SHAPE_LEVELS);
        if total > 0.0 { total.ln() } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(bids: &[(f64, f64)], asks: &[(f64, f64)]) -> Depth {
        let mut depth = Depth::EMPTY;
        depth.replace(bids, asks).unwrap();
        depth
    }

    #[test]
    fn imbalance_uses_only_the_levels_asked_for() {
        let depth = book(&[(99.0, 3.0), (98.0, 1.0)], &[(101.0, 1.0), (102.0, 5.0)]);
        assert_eq!(depth.imbalance(1), 0.5);
        assert_eq!(depth.imbalance(20), -0.2);
        assert!((depth.weighted_imbalance() - (3.5 - 3.5) / 7.0).abs() < 1e-12);
    }

    #[test]
    fn pressure_and_slope_weigh_by_the_distance_from_the_mid() {
        let depth = book(&[(99.0, 2.0)], &[(101.0, 1.0), (103.0, 3.0)]);
        // Pressures around the mid of 100: bid 2/1, ask 1/1 + 3/3.
        assert!(depth.pressure().abs() < 1e-12);
        // Slopes: bid 2 in 100 bps; ask 4 in 300 bps.
        assert!((depth.log_slope_ratio() - 1.5_f64.ln()).abs() < 1e-12);
        assert!((depth.log_depth() - 6.0_f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn every_measure_of_an_empty_one_sided_or_locked_book_is_finite() {
        let books = [
            Depth::EMPTY,
            book(&[], &[]),
            book(&[(99.0, 1.0)], &[]),
            book(&[], &[(99.0, 1.0)]),
            book(&[(99.0, 1.0)], &[(99.0, 2.0)]),
            book(&[(99.0, 0.0)], &[(100.0, 0.0)]),
        ];
        for depth in books {
            let measures = [
                depth.imbalance(5),
                depth.weighted_imbalance(),
                depth.pressure(),
                depth.log_slope_ratio(),
                depth.log_depth(),
            ];
            assert!(measures.iter().all(|value| value.is_finite()), "{measures:?}");
        }
    }

    #[test]
    fn multi_level_flow_compares_rank_with_rank() {
        let mut depth = book(&[(99.0, 2.0), (98.0, 4.0)], &[(101.0, 3.0)]);
        let flow = depth.replace(&[(99.0, 5.0), (97.0, 9.0)], &[(101.0, 3.0), (102.0, 2.0)]);
        // Rank 1: bid +3; rank 2: bid fell back −4, and 2 offered where nothing was: −2.
        assert_eq!(flow, Some(3.0 - 4.0 - 2.0));
    }

    #[test]
    fn a_refused_book_leaves_the_old_one_in_place() {
        let mut depth = book(&[(99.0, 2.0)], &[(101.0, 3.0)]);
        let before = depth.imbalance(1);
        assert_eq!(depth.replace(&[(102.0, 1.0)], &[(101.0, 1.0)]), None, "crossed");
        assert_eq!(depth.replace(&[(f64::NAN, 1.0)], &[]), None, "not a number");
        assert_eq!(depth.replace(&[], &[(101.0, -1.0)]), None, "negative");
        assert_eq!(depth.imbalance(1), before);
    }
}
