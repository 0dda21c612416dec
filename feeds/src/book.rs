//! An L2 order book with a stated depth: two sorted flat arrays, best level at the end.
//!
//! Invariants: per side prices are unique and strictly sorted, quantities are positive, and at most
//! `levels_per_side` levels are held; nothing allocates after construction. A level pushed out by a
//! better one is reported, and [`Book::complete_to`] says how far the book can still be believed.
//!
//! Cost: a binary search, and an insertion or deletion moves the levels on one side of it, whichever are
//! fewer: markets edit near the best price, and the levels of a snapshot come in order. There is room at
//! both ends, so evicting the worst level is a step of an index; where the room on one side is used up,
//! the whole side moves to the middle, at most once in about `levels_per_side / 2` edits.

use crate::Side;

/// A resting price level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Price mantissa.
    pub price: i64,
    /// Quantity mantissa, positive.
    pub qty: i64,
}

/// What [`Book::set`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new level.
    Inserted {
        /// The worst level of the side, deleted to make room.
        evicted: Option<Level>,
    },
    /// The level was there; its quantity was replaced.
    Updated {
        /// The quantity before.
        previous_qty: i64,
    },
    /// The level was there and is gone.
    Deleted {
        /// The quantity before.
        previous_qty: i64,
    },
    /// A delete for a level that is not held: normal, venues send them.
    UnknownDelete,
    /// The side is full and the level is worse than its worst: the level itself was not kept.
    BeyondDepth,
}

/// How the two sides stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// No level at all.
    Empty,
    /// One side has no level.
    OneSided,
    /// Best bid under best offer.
    Normal,
    /// Best bid equals best offer.
    Locked,
    /// Best bid over best offer: never the state of one venue's book between two updates.
    Crossed,
}

/// The book.
#[derive(Clone, Debug)]
pub struct Book {
    bids: Ladder,
    asks: Ladder,
}

impl Book {
    /// An empty book that holds at most `levels_per_side` levels on each side (at least 1).
    #[must_use]
    pub fn with_depth(levels_per_side: usize) -> Self {
        let depth = levels_per_side.max(1);
        Self { bids: Ladder::new(Side::Bid, depth), asks: Ladder::new(Side::Ask, depth) }
    }

    /// Most levels held per side.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.bids.depth
    }

    /// Forgets every level and every doubt about completeness.
    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    /// Sets the absolute quantity at a price; a quantity of zero (or less) deletes the level.
    pub fn set(&mut self, side: Side, price: i64, qty: i64) -> Change {
        let ladder = match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        };
        ladder.set(price, qty)
    }

    /// Best level of a side.
    #[must_use]
    pub fn best(&self, side: Side) -> Option<Level> {
        self.ladder(side).held().last().copied()
    }

    /// Levels of a side, best first.
    pub fn levels(
        &self,
        side: Side,
    ) -> impl DoubleEndedIterator<Item = Level> + ExactSizeIterator + '_ {
        self.ladder(side).held().iter().rev().copied()
    }

    /// Levels of a side as they lie in memory, **worst first**: for loops that want a slice.
    #[must_use]
    pub fn worst_first(&self, side: Side) -> &[Level] {
        self.ladder(side).held()
    }

    /// How the two sides stand to each other.
    #[must_use]
    pub fn shape(&self) -> Shape {
        match (self.best(Side::Bid), self.best(Side::Ask)) {
            (None, None) => Shape::Empty,
            (None, Some(_)) | (Some(_), None) => Shape::OneSided,
            (Some(bid), Some(ask)) if bid.price < ask.price => Shape::Normal,
            (Some(bid), Some(ask)) if bid.price == ask.price => Shape::Locked,
            _ => Shape::Crossed,
        }
    }

    /// The worst price down to which the side is complete: every level the venue holds at that price
    /// or a better one is in the book, levels beyond it may be missing. `None`: no known limit.
    ///
    /// The limit moves towards the best price with every eviction, and falls only with
    /// [`clear`](Self::clear): a level that was once let go is not sent again until it changes.
    #[must_use]
    pub fn complete_to(&self, side: Side) -> Option<i64> {
        self.ladder(side).complete_to
    }

    /// Declares that the levels now held are a snapshot which the venue may have truncated: nothing
    /// is known beyond the worst level of each side.
    pub fn mark_truncated(&mut self) {
        for ladder in [&mut self.bids, &mut self.asks] {
            if let Some(worst) = ladder.held().first().map(|level| level.price) {
                ladder.limit_to(worst);
            }
        }
    }

    fn ladder(&self, side: Side) -> &Ladder {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }
}

/// One side, sorted from the worst level to the best.
#[derive(Clone, Debug)]
struct Ladder {
    side: Side,
    depth: usize,
    /// Twice the depth. Only `slots[start..end]` is held, the rest is room.
    slots: Box<[Level]>,
    start: usize,
    end: usize,
    complete_to: Option<i64>,
}

impl Ladder {
    fn new(side: Side, depth: usize) -> Self {
        let slots = vec![Level { price: 0, qty: 0 }; 2 * depth].into_boxed_slice();
        Self { side, depth, slots, start: depth, end: depth, complete_to: None }
    }

    fn clear(&mut self) {
        (self.start, self.end) = (self.depth, self.depth);
        self.complete_to = None;
    }

    fn held(&self) -> &[Level] {
        &self.slots[self.start..self.end]
    }

    /// Orders prices from worst to best. Bitwise complement reverses the order of `i64` without the
    /// overflow that negation has.
    fn rank(&self, price: i64) -> i64 {
        match self.side {
            Side::Bid => price,
            Side::Ask => !price,
        }
    }

    fn set(&mut self, price: i64, qty: i64) -> Change {
        let rank = self.rank(price);
        let held = self.held();
        let worse = held.partition_point(|level| self.rank(level.price) < rank);
        let known = held.get(worse).is_some_and(|level| level.price == price);
        let at = self.start + worse;
        match (known, qty > 0) {
            (true, true) => {
                let previous_qty = std::mem::replace(&mut self.slots[at].qty, qty);
                Change::Updated { previous_qty }
            }
            (true, false) => Change::Deleted { previous_qty: self.remove(at).qty },
            (false, false) => Change::UnknownDelete,
            (false, true) => self.insert(at, Level { price, qty }),
        }
    }

    fn remove(&mut self, at: usize) -> Level {
        let level = self.slots[at];
        if at - self.start < self.end - at {
            self.slots.copy_within(self.start..at, self.start + 1);
            self.start += 1;
        } else {
            self.slots.copy_within(at + 1..self.end, at);
            self.end -= 1;
        }
        level
    }

    fn insert(&mut self, at: usize, level: Level) -> Change {
        let full = self.end - self.start == self.depth;
        if full && at == self.start {
            self.lose(level.price);
            return Change::BeyondDepth;
        }
        let evicted = full.then(|| self.slots[self.start]);
        if let Some(worst) = evicted {
            self.lose(worst.price);
            self.start += 1;
        }
        let worse = at - self.start;
        let moves_worse = worse < self.end - at;
        let has_room = if moves_worse { self.start > 0 } else { self.end < self.slots.len() };
        if !has_room {
            self.centre();
        }
        let at = self.start + worse;
        if moves_worse {
            self.slots.copy_within(self.start..at, self.start - 1);
            self.start -= 1;
            self.slots[at - 1] = level;
        } else {
            self.slots.copy_within(at..self.end, at + 1);
            self.end += 1;
            self.slots[at] = level;
        }
        Change::Inserted { evicted }
    }

    /// Moves the held levels to the middle. Fewer than the depth are held, of twice as many slots, so
    /// that there is room at both ends.
    fn centre(&mut self) {
        let held = self.end - self.start;
        let start = (self.slots.len() - held) / 2;
        self.slots.copy_within(self.start..self.end, start);
        (self.start, self.end) = (start, start + held);
    }

    /// A level at `price` is not held although the venue has it.
    fn lose(&mut self, price: i64) {
        let next_better = match self.side {
            Side::Bid => price.saturating_add(1),
            Side::Ask => price.saturating_sub(1),
        };
        self.limit_to(next_better);
    }

    fn limit_to(&mut self, price: i64) {
        let better = self.complete_to.is_none_or(|old| self.rank(price) > self.rank(old));
        if better {
            self.complete_to = Some(price);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn prices(book: &Book, side: Side) -> Vec<i64> {
        book.levels(side).map(|level| level.price).collect()
    }

    #[test]
    fn levels_come_best_first_on_both_sides() {
        let mut book = Book::with_depth(10);
        for price in [100, 99, 101, 98] {
            book.set(Side::Bid, price, 1);
            book.set(Side::Ask, price + 10, 1);
        }
        assert_eq!(prices(&book, Side::Bid), [101, 100, 99, 98]);
        assert_eq!(prices(&book, Side::Ask), [108, 109, 110, 111]);
        assert_eq!(book.best(Side::Bid), Some(Level { price: 101, qty: 1 }));
        assert_eq!(book.worst_first(Side::Ask)[0].price, 111);
    }

    #[test]
    fn each_edit_says_what_it_did() {
        let mut book = Book::with_depth(2);
        let set = |book: &mut Book, price, qty| book.set(Side::Ask, price, qty);
        assert_eq!(set(&mut book, 10, 5), Change::Inserted { evicted: None });
        assert_eq!(set(&mut book, 10, 7), Change::Updated { previous_qty: 5 });
        assert_eq!(set(&mut book, 12, 1), Change::Inserted { evicted: None });
        assert_eq!(set(&mut book, 13, 1), Change::BeyondDepth);
        let evicted = Some(Level { price: 12, qty: 1 });
        assert_eq!(set(&mut book, 9, 1), Change::Inserted { evicted });
        assert_eq!(set(&mut book, 12, 0), Change::UnknownDelete);
        assert_eq!(set(&mut book, 10, 0), Change::Deleted { previous_qty: 7 });
        assert_eq!(prices(&book, Side::Ask), [9]);
    }

    #[test]
    fn shapes_are_told_apart() {
        let mut book = Book::with_depth(4);
        assert_eq!(book.shape(), Shape::Empty);
        book.set(Side::Bid, 10, 1);
        assert_eq!(book.shape(), Shape::OneSided);
        book.set(Side::Ask, 12, 1);
        assert_eq!(book.shape(), Shape::Normal);
        book.set(Side::Ask, 10, 1);
        assert_eq!(book.shape(), Shape::Locked);
        book.set(Side::Ask, 9, 1);
        assert_eq!(book.shape(), Shape::Crossed);
        book.clear();
        assert_eq!(book.shape(), Shape::Empty);
    }

    #[test]
    fn completeness_ends_before_the_best_level_ever_let_go() {
        let mut book = Book::with_depth(2);
        for price in [10, 9] {
            book.set(Side::Bid, price, 1);
        }
        assert_eq!(book.complete_to(Side::Bid), None);
        book.set(Side::Bid, 5, 1);
        assert_eq!(book.complete_to(Side::Bid), Some(6));
        book.set(Side::Bid, 11, 1);
        assert_eq!(book.complete_to(Side::Bid), Some(10));
        book.set(Side::Bid, 10, 0);
        assert_eq!(book.complete_to(Side::Bid), Some(10), "the level at 9 is still missing");
        book.clear();
        assert_eq!(book.complete_to(Side::Bid), None);
    }

    #[test]
    fn a_truncated_snapshot_limits_completeness_to_its_worst_level() {
        let mut book = Book::with_depth(8);
        book.mark_truncated();
        assert_eq!(book.complete_to(Side::Bid), None);
        for (bid, ask) in [(10, 11), (8, 14)] {
            book.set(Side::Bid, bid, 1);
            book.set(Side::Ask, ask, 1);
        }
        book.mark_truncated();
        assert_eq!(book.complete_to(Side::Bid), Some(8));
        assert_eq!(book.complete_to(Side::Ask), Some(14));
    }

    #[test]
    fn extreme_prices_keep_their_order() {
        let mut book = Book::with_depth(3);
        for price in [i64::MIN, 0, i64::MAX] {
            book.set(Side::Ask, price, 1);
        }
        assert_eq!(prices(&book, Side::Ask), [i64::MIN, 0, i64::MAX]);
        book.set(Side::Ask, 1, 1);
        assert_eq!(prices(&book, Side::Ask), [i64::MIN, 0, 1]);
    }

    /// Quantities of one side keyed by badness: the first key is the best price.
    type Model = BTreeMap<i64, i64>;

    fn badness(side: Side, price: i64) -> i64 {
        if side == Side::Bid { -price } else { price }
    }

    proptest! {
        #[test]
        fn the_book_is_a_sorted_map_cut_at_its_depth(
            depth in 1usize..12,
            edits in prop::collection::vec((any::<bool>(), 0i64..24, 0i64..4), 0..400),
        ) {
            let mut book = Book::with_depth(depth);
            let mut cut = [Model::new(), Model::new()];
            let mut whole = [Model::new(), Model::new()];
            for (is_bid, price, qty) in edits {
                let side = if is_bid { Side::Bid } else { Side::Ask };
                let (i, key) = (side as usize, badness(side, price));
                let before = cut[i].get(&key).copied();
                let change = book.set(side, price, qty);
                let expected = match (before, qty) {
                    (None, 0) => Change::UnknownDelete,
                    (Some(previous_qty), 0) => Change::Deleted { previous_qty },
                    (Some(previous_qty), _) => Change::Updated { previous_qty },
                    (None, _) => Change::Inserted { evicted: None },
                };
                for model in [&mut cut[i], &mut whole[i]] {
                    if qty == 0 { model.remove(&key); } else { model.insert(key, qty); }
                }
                if cut[i].len() > depth {
                    let (lost, lost_qty) = cut[i].pop_last().unwrap();
                    if lost == key {
                        prop_assert_eq!(change, Change::BeyondDepth);
                    } else {
                        let level = Level { price: badness(side, lost), qty: lost_qty };
                        prop_assert_eq!(change, Change::Inserted { evicted: Some(level) });
                    }
                } else {
                    prop_assert_eq!(change, expected);
                }
                for side in [Side::Bid, Side::Ask] {
                    let held: Vec<_> =
                        book.levels(side).map(|l| (badness(side, l.price), l.qty)).collect();
                    let model: Vec<_> = cut[side as usize].iter().map(|(k, q)| (*k, *q)).collect();
                    prop_assert_eq!(&held, &model);
                    // What the book claims to know is what the venue has.
                    let limit = book.complete_to(side).map_or(i64::MAX, |p| badness(side, p));
                    let known: Vec<_> = held.into_iter().filter(|(k, _)| *k <= limit).collect();
                    let truth: Vec<_> =
                        whole[side as usize].range(..=limit).map(|(k, q)| (*k, *q)).collect();
                    prop_assert_eq!(known, truth);
                }
            }
        }
    }
}
