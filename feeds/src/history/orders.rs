//! A book kept order by order, seen as price levels.
//!
//! Invariants: the quantity at a level is the sum of its live orders plus what [`OrderBook::adjust`]
//! added without an order; it is never negative and a level of none is not held; [`OrderBook::changes`]
//! gives each level touched since the last call once, as it is now. At most a stated number of orders
//! is held.

use std::collections::{BTreeMap, HashMap};

use crate::{EventBody, Side};

/// One resting order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    pub(super) side: Side,
    pub(super) price: i64,
    pub(super) qty: i64,
}

/// The book.
#[derive(Debug)]
pub(super) struct OrderBook {
    /// Looked up by id and never iterated, so its order is of no consequence.
    orders: HashMap<u64, Order>,
    levels: [BTreeMap<i64, i64>; 2],
    touched: Vec<(Side, i64)>,
    max_orders: usize,
    /// Times a level would have become negative.
    shortfalls: u64,
}

impl OrderBook {
    pub(super) fn new(max_orders: usize) -> Self {
        Self {
            orders: HashMap::new(),
            levels: [BTreeMap::new(), BTreeMap::new()],
            touched: Vec::new(),
            max_orders,
            shortfalls: 0,
        }
    }

    /// Forgets everything, also what was touched: a snapshot follows.
    #[cfg(feature = "databento")]
    pub(super) fn clear(&mut self) {
        self.orders.clear();
        self.touched.clear();
        for side in &mut self.levels {
            side.clear();
        }
    }

    /// Live orders.
    #[cfg(any(feature = "databento", test))]
    pub(super) fn len(&self) -> usize {
        self.orders.len()
    }

    pub(super) fn get(&self, id: u64) -> Option<Order> {
        self.orders.get(&id).copied()
    }

    /// Adds an order, or replaces the one of that id; `false` when there is no room for another.
    pub(super) fn put(&mut self, id: u64, order: Order) -> bool {
        if self.orders.len() >= self.max_orders && !self.orders.contains_key(&id) {
            return false;
        }
        if let Some(old) = self.orders.insert(id, order) {
            self.adjust(old.side, old.price, -old.qty);
        }
        self.adjust(order.side, order.price, order.qty);
        true
    }

    /// Takes an order out.
    pub(super) fn remove(&mut self, id: u64) -> Option<Order> {
        let order = self.orders.remove(&id)?;
        self.adjust(order.side, order.price, -order.qty);
        Some(order)
    }

    /// Changes the quantity at a level by `by` without an order.
    pub(super) fn adjust(&mut self, side: Side, price: i64, by: i64) {
        let held = self.total(side, price);
        let sum = held.saturating_add(by);
        self.shortfalls += u64::from(sum < 0);
        self.set(side, price, sum.max(0));
    }

    /// Sets the quantity at a level whatever its orders say.
    pub(super) fn set(&mut self, side: Side, price: i64, qty: i64) {
        let levels = &mut self.levels[side as usize];
        if qty > 0 {
            levels.insert(price, qty);
        } else {
            levels.remove(&price);
        }
        // Changes of one message mostly touch one level, one after the other.
        if self.touched.last() != Some(&(side, price)) {
            self.touched.push((side, price));
        }
    }

    /// Empties a level and forgets its orders: they are not what they seemed.
    pub(super) fn forget_level(&mut self, side: Side, price: i64) {
        self.orders.retain(|_, order| (order.side, order.price) != (side, price));
        self.set(side, price, 0);
    }

    /// Quantity at a level.
    pub(super) fn total(&self, side: Side, price: i64) -> i64 {
        self.levels[side as usize].get(&price).copied().unwrap_or(0)
    }

    /// Best price of a side.
    pub(super) fn best(&self, side: Side) -> Option<i64> {
        let levels = &self.levels[side as usize];
        match side {
            Side::Bid => levels.last_key_value(),
            Side::Ask => levels.first_key_value(),
        }
        .map(|(price, _)| *price)
    }

    /// Levels of a side at `limit` or better, worst of a bid side and best of an ask side first.
    pub(super) fn down_to(&self, side: Side, limit: i64) -> impl Iterator<Item = (i64, i64)> + '_ {
        let levels = &self.levels[side as usize];
        match side {
            Side::Bid => levels.range(limit..),
            Side::Ask => levels.range(..=limit),
        }
        .map(|(price, qty)| (*price, *qty))
    }

    /// How many touches wait to be told (the same level may be among them twice).
    pub(super) fn touches(&self) -> usize {
        self.touched.len()
    }

    /// Tells every level touched since the last call, in order of side and price.
    pub(super) fn changes(&mut self, mut emit: impl FnMut(EventBody)) {
        self.touched.sort_unstable_by_key(|&(side, price)| (side as u8, price));
        self.touched.dedup();
        for &(side, price) in &self.touched {
            let qty = self.levels[side as usize].get(&price).copied().unwrap_or(0);
            emit(EventBody::Level { side, price, qty });
        }
        self.touched.clear();
    }

    /// Times a level would have become negative.
    pub(super) fn shortfalls(&self) -> u64 {
        self.shortfalls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(side: Side, price: i64, qty: i64) -> Order {
        Order { side, price, qty }
    }

    fn changes(book: &mut OrderBook) -> Vec<(Side, i64, i64)> {
        let mut found = Vec::new();
        book.changes(|body| match body {
            EventBody::Level { side, price, qty } => found.push((side, price, qty)),
            other => panic!("{other:?}"),
        });
        found
    }

    #[test]
    fn orders_of_a_level_add_up_and_replacing_one_moves_it() {
        let mut book = OrderBook::new(10);
        assert!(book.put(1, order(Side::Bid, 100, 5)));
        assert!(book.put(2, order(Side::Bid, 100, 7)));
        assert_eq!(changes(&mut book), [(Side::Bid, 100, 12)]);
        assert!(book.put(1, order(Side::Bid, 101, 4)));
        assert_eq!(changes(&mut book), [(Side::Bid, 100, 7), (Side::Bid, 101, 4)]);
        assert_eq!(book.remove(2), Some(order(Side::Bid, 100, 7)));
        assert_eq!(book.remove(2), None);
        assert_eq!(changes(&mut book), [(Side::Bid, 100, 0)]);
        assert_eq!((book.best(Side::Bid), book.best(Side::Ask)), (Some(101), None));
        assert_eq!(changes(&mut book), []);
    }

    #[test]
    fn a_forgotten_level_takes_its_orders_along() {
        let mut book = OrderBook::new(10);
        for (id, price) in [(1, 7), (2, 7), (3, 8)] {
            book.put(id, order(Side::Bid, price, 5));
        }
        book.forget_level(Side::Bid, 7);
        assert_eq!((book.len(), book.total(Side::Bid, 7), book.total(Side::Bid, 8)), (1, 0, 5));
        assert_eq!(book.remove(1), None);
    }

    #[test]
    fn the_bound_on_orders_holds_and_a_replacement_still_fits() {
        let mut book = OrderBook::new(2);
        assert!(book.put(1, order(Side::Ask, 1, 1)) && book.put(2, order(Side::Ask, 2, 1)));
        assert!(!book.put(3, order(Side::Ask, 3, 1)));
        assert_eq!(book.total(Side::Ask, 3), 0);
        assert!(book.put(2, order(Side::Ask, 2, 9)));
        assert_eq!((book.len(), book.total(Side::Ask, 2)), (2, 9));
    }

    #[test]
    fn a_level_is_never_negative_and_the_shortfall_is_counted() {
        let mut book = OrderBook::new(2);
        book.adjust(Side::Ask, 7, 3);
        book.adjust(Side::Ask, 7, -5);
        assert_eq!((book.total(Side::Ask, 7), book.shortfalls()), (0, 1));
        book.put(1, order(Side::Ask, 7, i64::MAX));
        book.put(2, order(Side::Ask, 7, i64::MAX));
        assert_eq!(book.total(Side::Ask, 7), i64::MAX);
    }
}
