//! A venue's own view of its book, kept to verify its checksums and to cut it to the subscribed depth.
//!
//! Invariants: each side is sorted, the best level last, as in [`crate::Book`]; at most `2 × depth` levels
//! a side are held (what lies beyond is let go and could not be in any checksum); numbers keep the
//! decimals they had on the wire, since checksums are made of text. Allocates nothing after construction.

use super::buffer::LevelUpdate;
use crate::Side;
use crate::protocol::Checksum;

/// Levels a side that Kraken's checksum covers.
const KRAKEN_LEVELS: usize = 10;

/// Levels a side that OKX's checksum covers.
const OKX_LEVELS: usize = 25;

/// Most digits of an `i64`.
const MAX_DIGITS: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    price: i64,
    qty: i64,
    digits: [u8; 2],
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Checker {
    checksum: Option<Checksum>,
    /// Decimals of the instrument's mantissas.
    decimals: [u8; 2],
    depth: usize,
    /// Worst first.
    sides: [Vec<Entry>; 2],
}

impl Checker {
    /// An empty book of `depth` levels a side.
    pub(crate) fn new(checksum: Option<Checksum>, depth: usize, decimals: (u8, u8)) -> Self {
        let side = || Vec::with_capacity(2 * depth + 1);
        Self { checksum, decimals: decimals.into(), depth, sides: [side(), side()] }
    }

    pub(crate) fn clear(&mut self) {
        self.sides.iter_mut().for_each(Vec::clear);
    }

    /// Sets or deletes a level.
    pub(crate) fn set(&mut self, level: LevelUpdate) {
        let LevelUpdate { side, price, qty, digits } = level;
        let most = 2 * self.depth;
        let levels = &mut self.sides[side as usize];
        let at = levels.partition_point(|entry| rank(side, entry.price) < rank(side, price));
        let known = levels.get(at).is_some_and(|entry| entry.price == price);
        match (known, qty > 0) {
            (true, true) => levels[at] = Entry { price, qty, digits },
            (true, false) => drop(levels.remove(at)),
            (false, true) => {
                levels.insert(at, Entry { price, qty, digits });
                if levels.len() > most {
                    levels.remove(0);
                }
            }
            // Venues delete levels that were never held.
            (false, false) => {}
        }
    }

    /// Lets go of the levels beyond the depth, and tells each as a delete.
    pub(crate) fn cut(&mut self, mut each: impl FnMut(LevelUpdate)) {
        for side in [Side::Bid, Side::Ask] {
            let levels = &mut self.sides[side as usize];
            let beyond = levels.len().saturating_sub(self.depth);
            for Entry { price, digits, .. } in levels.drain(..beyond) {
                each(LevelUpdate { side, price, qty: 0, digits });
            }
        }
    }

    /// The checksum of the book as it stands; `None` at venues without one.
    pub(crate) fn checksum(&self) -> Option<u32> {
        let mut crc = crc32fast::Hasher::new();
        let [bids, asks] = &self.sides;
        match self.checksum? {
            Checksum::Kraken => {
                for side in [asks, bids] {
                    for entry in side.iter().rev().take(KRAKEN_LEVELS) {
                        self.add_bare(&mut crc, entry);
                    }
                }
            }
            Checksum::Okx => {
                let mut joint = false;
                for i in 1..=OKX_LEVELS {
                    for side in [bids, asks] {
                        if let Some(entry) = side.len().checked_sub(i).map(|at| side[at]) {
                            self.add_text(&mut crc, &entry, std::mem::replace(&mut joint, true));
                        }
                    }
                }
            }
        }
        Some(crc.finalize())
    }

    /// Digits without the point and without leading zeros.
    fn add_bare(&self, crc: &mut crc32fast::Hasher, entry: &Entry) {
        for (i, mantissa) in [entry.price, entry.qty].into_iter().enumerate() {
            let mut text = [0; MAX_DIGITS];
            let number = self.on_wire(mantissa, i, entry.digits[i]);
            let start = print(number, &mut text, 1);
            crc.update(&text[start..]);
        }
    }

    /// `price:qty` as they stood on the wire.
    fn add_text(&self, crc: &mut crc32fast::Hasher, entry: &Entry, joint: bool) {
        for (i, mantissa) in [entry.price, entry.qty].into_iter().enumerate() {
            if joint || i > 0 {
                crc.update(b":");
            }
            let digits = usize::from(entry.digits[i]);
            let mut text = [0; MAX_DIGITS];
            let start = print(self.on_wire(mantissa, i, entry.digits[i]), &mut text, digits + 1);
            let point = MAX_DIGITS - digits;
            crc.update(&text[start..point]);
            if digits > 0 {
                crc.update(b".");
                crc.update(&text[point..]);
            }
        }
    }

    /// The mantissa with the decimals it had on the wire.
    fn on_wire(&self, mantissa: i64, which: usize, digits: u8) -> u64 {
        let surplus = self.decimals[which].saturating_sub(digits);
        mantissa.unsigned_abs() / 10u64.saturating_pow(u32::from(surplus))
    }
}

/// Orders prices from worst to best; the complement reverses without overflow.
fn rank(side: Side, price: i64) -> i64 {
    match side {
        Side::Bid => price,
        Side::Ask => !price,
    }
}

/// Writes the digits of a number at the end of `text`, at least `least` of them; where they start.
fn print(mut number: u64, text: &mut [u8; MAX_DIGITS], least: usize) -> usize {
    let mut at = MAX_DIGITS;
    while at > 0 && (number > 0 || MAX_DIGITS - at < least) {
        at -= 1;
        text[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    at
}

/// Decimals a number has on the wire.
pub(crate) fn decimals_of(text: &[u8]) -> u8 {
    let point = text.iter().position(|&byte| byte == b'.');
    point.map_or(0, |at| u8::try_from(text.len() - at - 1).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixed;

    fn level(side: Side, price: &str, qty: &str) -> LevelUpdate {
        let digits = [decimals_of(price.as_bytes()), decimals_of(qty.as_bytes())];
        let number = |text: &str| fixed::parse(text.as_bytes(), 8).unwrap();
        LevelUpdate { side, price: number(price), qty: number(qty), digits }
    }

    fn checker(style: Checksum, levels: &[LevelUpdate]) -> Checker {
        let mut checker = Checker::new(Some(style), 25, (8, 8));
        levels.iter().for_each(|level| checker.set(*level));
        checker
    }

    #[test]
    fn krakens_digits_have_neither_point_nor_leading_zeros() {
        let levels = [
            level(Side::Ask, "0.05005", "0.00000500"),
            level(Side::Ask, "0.05010", "0.00000500"),
            level(Side::Bid, "0.05000", "10.0"),
        ];
        let expected = crc32fast::hash(b"500550050105005000100");
        assert_eq!(checker(Checksum::Kraken, &levels).checksum(), Some(expected));
    }

    #[test]
    fn okx_joins_the_wire_texts_of_both_sides_in_turn() {
        let levels = [
            level(Side::Bid, "3366.1", "7"),
            level(Side::Ask, "3366.8", "9.50"),
            level(Side::Ask, "3368", "0.08"),
        ];
        let expected = crc32fast::hash(b"3366.1:7:3366.8:9.50:3368:0.08");
        assert_eq!(checker(Checksum::Okx, &levels).checksum(), Some(expected));
    }

    #[test]
    fn what_falls_out_of_the_depth_is_told_as_deletes() {
        let mut checker = Checker::new(None, 2, (8, 8));
        for price in ["1", "2", "3", "4"] {
            checker.set(level(Side::Bid, price, "1"));
        }
        checker.set(level(Side::Bid, "9", "0"));
        let mut cut = Vec::new();
        checker.cut(|level| cut.push((level.price / 100_000_000, level.qty)));
        assert_eq!(cut, [(1, 0), (2, 0)]);
        assert_eq!(checker.checksum(), None);
        for price in 10..20 {
            checker.set(level(Side::Bid, &price.to_string(), "1"));
        }
        assert_eq!(checker.sides[0].len(), 4, "bounded between cuts too");
    }
}
