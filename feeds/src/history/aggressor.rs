//! Who started a trade that does not say it: the tick rule.
//!
//! A trade above the price before it was started by a buyer, one below by a seller, one at the same
//! price by whoever started the one before; the first counts as a buyer's. A classification, right for
//! most trades and not for all, so the reader that uses it says so in its notes.

use crate::Side;

/// The rule's state for one instrument.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TickRule {
    last: Option<(i64, Side)>,
}

impl TickRule {
    /// The side the rule gives to a trade at `price`.
    pub(super) fn classify(&mut self, price: i64) -> Side {
        let side = match self.last {
            Some((last, _)) if price > last => Side::Bid,
            Some((last, _)) if price < last => Side::Ask,
            Some((_, side)) => side,
            None => Side::Bid,
        };
        self.observe(price, side);
        side
    }

    /// Takes note of a trade whose side is known.
    pub(super) fn observe(&mut self, price: i64, side: Side) {
        self.last = Some((price, side));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upticks_are_buys_downticks_sells_and_zero_ticks_go_on() {
        use Side::{Ask, Bid};
        let mut rule = TickRule::default();
        let sides = [100, 101, 101, 99, 99, 100].map(|price| rule.classify(price));
        assert_eq!(sides, [Bid, Bid, Bid, Ask, Ask, Bid]);
        rule.observe(100, Side::Ask);
        assert_eq!(rule.classify(100), Side::Ask);
    }
}
