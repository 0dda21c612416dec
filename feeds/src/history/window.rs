//! The best levels of a book, row after row, become the level changes between the rows.
//!
//! Some files repeat the whole visible window of a book in each row. Invariants: after the events of a
//! row a consumer's book holds exactly the levels of that row; a level that leaves the window is
//! deleted, for nothing further is known of it; the first row comes as a snapshot.

use crate::book::Level;
use crate::{EventBody, Side};

/// The window as last seen, and the one being read.
#[derive(Debug, Default)]
pub(super) struct Window {
    held: [Vec<Level>; 2],
    next: [Vec<Level>; 2],
    is_seeded: bool,
}

impl Window {
    /// Starts a new row.
    pub(super) fn begin(&mut self) {
        for side in &mut self.next {
            side.clear();
        }
    }

    /// Adds a level of the new row, best first; `false` when it is not worse than the one before.
    pub(super) fn push(&mut self, side: Side, level: Level) -> bool {
        let levels = &mut self.next[side as usize];
        let is_sorted = levels.last().is_none_or(|last| match side {
            Side::Bid => level.price < last.price,
            Side::Ask => level.price > last.price,
        });
        levels.push(level);
        is_sorted
    }

    /// Levels of the new row, best first; after [`finish`](Self::finish) those of the row before.
    pub(super) fn next(&self, side: Side) -> &[Level] {
        &self.next[side as usize]
    }

    /// Levels of the last finished row, best first.
    pub(super) fn held(&self, side: Side) -> &[Level] {
        &self.held[side as usize]
    }

    /// Whether a row was finished.
    pub(super) fn is_seeded(&self) -> bool {
        self.is_seeded
    }

    /// Emits what changed, commit included; nothing when nothing did.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(EventBody)) {
        let mut changed = !self.is_seeded;
        if changed {
            emit(EventBody::BookBegin);
            self.is_seeded = true;
        }
        // Deletions first: a book no deeper than the window must not push out a level that stays.
        for side in [Side::Bid, Side::Ask] {
            let (held, next) = (&self.held[side as usize], &self.next[side as usize]);
            for_each_missing(side, held, next, |old| {
                changed = true;
                emit(EventBody::Level { side, price: old.price, qty: 0 });
            });
        }
        for side in [Side::Bid, Side::Ask] {
            let mut held = self.held[side as usize].iter().copied().peekable();
            for &new in &self.next[side as usize] {
                while held.next_if(|old| is_better(side, *old, new)).is_some() {}
                if held.next_if(|old| old.price == new.price) != Some(new) {
                    changed = true;
                    emit(EventBody::Level { side, price: new.price, qty: new.qty });
                }
            }
        }
        if changed {
            emit(EventBody::BookCommit { conflated: false });
        }
        std::mem::swap(&mut self.held, &mut self.next);
    }
}

fn is_better(side: Side, a: Level, b: Level) -> bool {
    match side {
        Side::Bid => a.price > b.price,
        Side::Ask => a.price < b.price,
    }
}

/// Calls `each` with the levels of `held` whose price is not in `next`, both being best first.
fn for_each_missing(side: Side, held: &[Level], next: &[Level], mut each: impl FnMut(Level)) {
    let mut next = next.iter().copied().peekable();
    for &old in held {
        while next.next_if(|new| is_better(side, *new, old)).is_some() {}
        if next.next_if(|new| new.price == old.price).is_none() {
            each(old);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Book;

    fn row(window: &mut Window, bids: &[(i64, i64)], asks: &[(i64, i64)]) -> Vec<EventBody> {
        window.begin();
        for (side, levels) in [(Side::Bid, bids), (Side::Ask, asks)] {
            for &(price, qty) in levels {
                assert!(window.push(side, Level { price, qty }));
            }
        }
        let mut events = Vec::new();
        window.finish(|event| events.push(event));
        events
    }

    #[test]
    fn the_first_row_is_a_snapshot_and_an_equal_row_is_silent() {
        let mut window = Window::default();
        let events = row(&mut window, &[(10, 1)], &[(11, 2)]);
        assert_eq!(events.len(), 4);
        assert_eq!(events[0], EventBody::BookBegin);
        assert_eq!(row(&mut window, &[(10, 1)], &[(11, 2)]), []);
        assert!(!window.push(Side::Bid, Level { price: 10, qty: 1 }), "not sorted");
    }

    type Rows = Vec<(std::collections::BTreeMap<i64, i64>, std::collections::BTreeMap<i64, i64>)>;

    proptest! {
        #[test]
        fn a_book_fed_with_the_changes_is_the_row(
            rows in prop::collection::vec((
                prop::collection::btree_map(0i64..12, 1i64..4, 0..5),
                prop::collection::btree_map(12i64..24, 1i64..4, 0..5),
            ), 1..30),
        ) {
            let rows: Rows = rows;
            let mut window = Window::default();
            // No deeper than the window.
            let mut book = Book::with_depth(4);
            for (bids, asks) in rows {
                let bids: Vec<_> = bids.into_iter().rev().collect();
                let asks: Vec<_> = asks.into_iter().collect();
                for event in row(&mut window, &bids, &asks) {
                    match event {
                        EventBody::BookBegin => book.clear(),
                        EventBody::Level { side, price, qty } => { book.set(side, price, qty); }
                        _ => {}
                    }
                }
                for (side, levels) in [(Side::Bid, bids), (Side::Ask, asks)] {
                    let held: Vec<_> = book.levels(side).map(|l| (l.price, l.qty)).collect();
                    prop_assert_eq!(held, levels);
                }
            }
        }
    }
}
