//! The resting orders of one instrument: two contiguous ladders of price levels.
//!
//! Invariants: the best ask is one tick above the best bid, always, so the book can neither cross
//! nor lock; both best levels hold at least one lot; a level further out may be empty. Prices are
//! ticks, quantities are lots.

use crate::Side;

/// Levels kept on either side.
pub(crate) const LEVELS: usize = 100;

/// Quantities by distance from the best price, both sides, and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ladder {
    best_bid_tick: i64,
    lots: [[i64; LEVELS]; 2],
}

fn row(side: Side) -> usize {
    match side {
        Side::Bid => 0,
        Side::Ask => 1,
    }
}

impl Ladder {
    /// One lot at every level.
    pub(crate) fn new(best_bid_tick: i64) -> Self {
        Self { best_bid_tick, lots: [[1; LEVELS]; 2] }
    }

    /// Price of the level at that distance from the best one of its side.
    pub(crate) fn tick(&self, side: Side, distance: usize) -> i64 {
        match side {
            Side::Bid => self.best_bid_tick - distance as i64,
            Side::Ask => self.best_bid_tick + 1 + distance as i64,
        }
    }

    /// Quantity at that distance.
    pub(crate) fn lots(&self, side: Side, distance: usize) -> i64 {
        self.lots[row(side)][distance]
    }

    /// Replaces the quantity at that distance; the best level keeps at least one lot.
    pub(crate) fn set(&mut self, side: Side, distance: usize, lots: i64) {
        self.lots[row(side)][distance] = lots.max(i64::from(distance == 0));
    }

    /// The best level opposite to `toward` is gone and both ladders follow by one tick: up when
    /// `toward` is the bid side. The level that opens at the top of `toward` holds `opened` lots
    /// and the one that comes into sight at the other end of the opposite side `sighted` lots.
    pub(crate) fn shift(&mut self, toward: Side, opened: i64, sighted: i64) {
        self.best_bid_tick += match toward {
            Side::Bid => 1,
            Side::Ask => -1,
        };
        let growing = &mut self.lots[row(toward)];
        growing.copy_within(0..LEVELS - 1, 1);
        growing[0] = opened.max(1);
        let eaten = &mut self.lots[row(toward.opposite())];
        eaten.copy_within(1.., 0);
        eaten[LEVELS - 1] = sighted;
        eaten[0] = eaten[0].max(1);
    }

    fn lots_at(&self, side: Side, tick: i64) -> i64 {
        let distance = match side {
            Side::Bid => self.best_bid_tick - tick,
            Side::Ask => tick - self.best_bid_tick - 1,
        };
        usize::try_from(distance).ok().and_then(|d| self.lots[row(side)].get(d)).map_or(0, |n| *n)
    }

    /// Calls `f(tick, lots)` for each level that differs from `older`, prices rising; zero lots
    /// means that the level is gone. The work is bounded by the levels of both ladders.
    pub(crate) fn changes_since(&self, older: &Self, side: Side, mut f: impl FnMut(i64, i64)) {
        let ends = |l: &Self| {
            let (a, b) = (l.tick(side, 0), l.tick(side, LEVELS - 1));
            (a.min(b), a.max(b))
        };
        let ((low, high), (older_low, older_high)) = (ends(self), ends(older));
        for tick in low.min(older_low)..=high.max(older_high) {
            let lots = self.lots_at(side, tick);
            if lots != older.lots_at(side, tick) {
                f(tick, lots);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(new: &Ladder, old: &Ladder, side: Side) -> Vec<(i64, i64)> {
        let mut found = Vec::new();
        new.changes_since(old, side, |tick, lots| found.push((tick, lots)));
        found
    }

    #[test]
    fn a_move_up_turns_the_best_ask_into_the_best_bid() {
        let mut ladder = Ladder::new(1_000);
        let older = ladder.clone();
        ladder.shift(Side::Bid, 7, 9);
        assert_eq!((ladder.tick(Side::Bid, 0), ladder.tick(Side::Ask, 0)), (1_001, 1_002));
        assert_eq!(changes(&ladder, &older, Side::Bid), [(901, 0), (1_001, 7)]);
        assert_eq!(changes(&ladder, &older, Side::Ask), [(1_001, 0), (1_101, 9)]);
    }

    #[test]
    fn a_move_down_turns_the_best_bid_into_the_best_ask() {
        let mut ladder = Ladder::new(1_000);
        let older = ladder.clone();
        ladder.shift(Side::Ask, 7, 9);
        assert_eq!((ladder.tick(Side::Bid, 0), ladder.tick(Side::Ask, 0)), (999, 1_000));
        assert_eq!(changes(&ladder, &older, Side::Ask), [(1_000, 7), (1_100, 0)]);
        assert_eq!(changes(&ladder, &older, Side::Bid), [(900, 9), (1_000, 0)]);
    }

    #[test]
    fn a_move_up_and_down_again_leaves_only_the_changed_quantities() {
        let mut ladder = Ladder::new(1_000);
        let older = ladder.clone();
        ladder.shift(Side::Bid, 7, 1);
        ladder.shift(Side::Ask, 5, 1);
        assert_eq!(changes(&ladder, &older, Side::Ask), [(1_001, 5)]);
        assert_eq!(changes(&ladder, &older, Side::Bid), []);
    }

    #[test]
    fn the_best_level_is_never_empty_but_an_outer_one_may_be() {
        let mut ladder = Ladder::new(1_000);
        ladder.set(Side::Ask, 0, 0);
        ladder.set(Side::Ask, 1, 0);
        assert_eq!((ladder.lots(Side::Ask, 0), ladder.lots(Side::Ask, 1)), (1, 0));
        ladder.shift(Side::Bid, 0, 0);
        assert_eq!((ladder.lots(Side::Ask, 0), ladder.lots(Side::Bid, 0)), (1, 1));
    }
}
