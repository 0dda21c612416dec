//! The true book of a simulated instrument: two plain lists, best level first.
//!
//! Invariants: prices are unique and sorted, quantities positive. It is the reference that clients
//! are compared with, so it is kept obvious rather than fast.

use crate::Side;
use crate::book::Level;

/// All levels of one instrument.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelBook {
    bids: Vec<Level>,
    asks: Vec<Level>,
}

/// The best level of either side, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopOfBook {
    /// Highest bid.
    pub bid: Option<Level>,
    /// Lowest ask.
    pub ask: Option<Level>,
}

impl ModelBook {
    /// All levels of a side, best first.
    #[must_use]
    pub fn levels(&self, side: Side) -> &[Level] {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    /// The best `depth` levels of a side (0: all), best first.
    #[must_use]
    pub fn top_levels(&self, side: Side, depth: u16) -> &[Level] {
        let levels = self.levels(side);
        if depth == 0 { levels } else { &levels[..levels.len().min(usize::from(depth))] }
    }

    /// The best level of either side.
    #[must_use]
    pub fn top(&self) -> TopOfBook {
        TopOfBook { bid: self.bids.first().copied(), ask: self.asks.first().copied() }
    }

    /// Quantity at a price, 0 where there is no level.
    #[must_use]
    pub fn qty_at(&self, side: Side, price: i64) -> i64 {
        let levels = self.levels(side);
        self.place(side, price).map_or(0, |at| levels[at].qty)
    }

    /// Sets the absolute quantity at a price, 0 deletes. Returns the quantity before.
    pub fn set(&mut self, side: Side, price: i64, qty: i64) -> i64 {
        let place = self.place(side, price);
        let levels = match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        };
        match place {
            Ok(at) if qty > 0 => std::mem::replace(&mut levels[at].qty, qty),
            Ok(at) => levels.remove(at).qty,
            Err(at) => {
                if qty > 0 {
                    levels.insert(at, Level { price, qty });
                }
                0
            }
        }
    }

    /// Whether the best bid is at or over the best ask.
    #[must_use]
    pub fn is_crossed(&self) -> bool {
        let top = self.top();
        top.bid.zip(top.ask).is_some_and(|(bid, ask)| bid.price >= ask.price)
    }

    /// Where a price stands or would stand in its side.
    fn place(&self, side: Side, price: i64) -> Result<usize, usize> {
        self.levels(side).binary_search_by(|level| match side {
            Side::Bid => price.cmp(&level.price),
            Side::Ask => level.price.cmp(&price),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_stay_sorted_best_first_and_deletes_remove() {
        let mut book = ModelBook::default();
        for price in [10, 12, 11] {
            assert_eq!(book.set(Side::Bid, price, 5), 0);
            assert_eq!(book.set(Side::Ask, price + 10, 7), 0);
        }
        let prices = |side| book.levels(side).iter().map(|l| l.price).collect::<Vec<_>>();
        assert_eq!(prices(Side::Bid), [12, 11, 10]);
        assert_eq!(prices(Side::Ask), [20, 21, 22]);
        assert_eq!(book.top_levels(Side::Bid, 2).len(), 2);
        assert_eq!(book.top_levels(Side::Bid, 0).len(), 3);
        assert_eq!(book.set(Side::Bid, 12, 0), 5);
        assert_eq!(book.set(Side::Bid, 12, 0), 0, "an unknown delete changes nothing");
        assert_eq!(book.qty_at(Side::Bid, 11), 5);
        assert!(!book.is_crossed());
        book.set(Side::Bid, 20, 1);
        assert!(book.is_crossed(), "locked counts as crossed");
    }
}
