//! A venue's own view of its book, kept to verify its checksums and to cut it to the subscribed depth.
//!
//! Invariants: each side is sorted, the best level last, as in [`crate::Book`]; at most `2 × depth` levels
//! a side are held (what lies beyond is let go and could not be in any checksum); numbers keep the
//! decimals they had on the wire, since checksums are made of text. Allocates nothing after construction.

use std::cmp::Ordering;

use super::buffer::LevelUpdate;
use crate::Side;
use crate::fixed::POW10;
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
        let mut sum = Sum::new();
        let [bids, asks] = &self.sides;
        match self.checksum? {
            Checksum::Kraken => {
                for side in [asks, bids] {
                    for entry in side.iter().rev().take(KRAKEN_LEVELS) {
                        self.add_bare(&mut sum, entry);
                    }
                }
            }
            Checksum::Okx => {
                let mut joint = false;
                for i in 1..=OKX_LEVELS {
                    for side in [bids, asks] {
                        if let Some(entry) = side.len().checked_sub(i).map(|at| side[at]) {
                            self.add_text(&mut sum, &entry, std::mem::replace(&mut joint, true));
                        }
                    }
                }
            }
        }
        Some(sum.finish())
    }

    /// Digits without the point and without leading zeros.
    fn add_bare(&self, sum: &mut Sum, entry: &Entry) {
        for (i, mantissa) in [entry.price, entry.qty].into_iter().enumerate() {
            sum.add_number(self.on_wire(mantissa, i, entry.digits[i]), 1);
        }
    }

    /// `price:qty` as they stood on the wire.
    fn add_text(&self, sum: &mut Sum, entry: &Entry, joint: bool) {
        for (i, mantissa) in [entry.price, entry.qty].into_iter().enumerate() {
            if joint || i > 0 {
                sum.add_byte(b':');
            }
            let number = self.on_wire(mantissa, i, entry.digits[i]);
            match POW10.get(usize::from(entry.digits[i])) {
                Some(1) => sum.add_number(number, 1),
                Some(one) => {
                    sum.add_number(number / one, 1);
                    sum.add_byte(b'.');
                    sum.add_number(number % one, usize::from(entry.digits[i]));
                }
                // No mantissa has so many decimals: whatever is summed up contradicts the venue.
                None => sum.add_number(number, MAX_DIGITS),
            }
        }
    }

    /// The mantissa with the decimals it had on the wire, which may be fewer or, with zeros, more.
    fn on_wire(&self, mantissa: i64, which: usize, digits: u8) -> u64 {
        let (magnitude, decimals) = (mantissa.unsigned_abs(), self.decimals[which]);
        let power = |decimals: u8| POW10.get(usize::from(decimals)).copied().unwrap_or(u64::MAX);
        match digits.cmp(&decimals) {
            Ordering::Equal => magnitude,
            Ordering::Less => magnitude / power(decimals - digits),
            Ordering::Greater => magnitude.saturating_mul(power(digits - decimals)),
        }
    }
}

/// Orders prices from worst to best; the complement reverses without overflow.
fn rank(side: Side, price: i64) -> i64 {
    match side {
        Side::Bid => price,
        Side::Ask => !price,
    }
}

/// A CRC-32 of many short texts, collected first: the sum of one long text costs a fraction.
struct Sum {
    crc: crc32fast::Hasher,
    text: [u8; Self::ROOM],
    len: usize,
}

impl Sum {
    /// More than Kraken's twenty levels ever need.
    const ROOM: usize = 1024;

    fn new() -> Self {
        Self { crc: crc32fast::Hasher::new(), text: [0; Self::ROOM], len: 0 }
    }

    fn add_byte(&mut self, byte: u8) {
        self.make_room();
        self.text[self.len] = byte;
        self.len += 1;
    }

    /// Adds the digits without leading zeros, except that at least so many are kept (at most
    /// [`MAX_DIGITS`]).
    fn add_number(&mut self, number: u64, least: usize) {
        const EIGHT: u64 = 100_000_000;
        let (high, low) = (number / EIGHT, number % EIGHT);
        if high == 0 && least <= 8 {
            return self.add_eight(low, least);
        }
        let (top, middle) = (high / EIGHT, high % EIGHT);
        if top > 0 || least > 16 {
            self.add_eight(top, least.saturating_sub(16));
            self.add_eight(middle, 8);
        } else {
            self.add_eight(middle, least.saturating_sub(8));
        }
        self.add_eight(low, 8);
    }

    /// Adds a number under 10^8. Eight bytes are always written, which costs less than to copy as many
    /// as there are digits; what is too many is written over by what follows.
    fn add_eight(&mut self, number: u64, least: usize) {
        self.make_room();
        let digits = u64::from_le_bytes(eight_digits(number));
        let zeros = (digits & 0x0F0F_0F0F_0F0F_0F0F).trailing_zeros() as usize / 8;
        let zeros = zeros.min(8 - least.min(8));
        let kept = digits.checked_shr(8 * zeros as u32).unwrap_or(0);
        self.text[self.len..self.len + 8].copy_from_slice(&kept.to_le_bytes());
        self.len += 8 - zeros;
    }

    /// Ensures eight free bytes.
    fn make_room(&mut self) {
        if self.len + 8 > Self::ROOM {
            self.crc.update(&self.text[..self.len]);
            self.len = 0;
        }
    }

    fn finish(mut self) -> u32 {
        self.crc.update(&self.text[..self.len]);
        self.crc.finalize()
    }
}

/// The digits of a number under 10^8, all at once: halves, then quarters, then eighths of one register.
/// The products replace divisions by 100 and by 10, exactly for what the parts can hold.
fn eight_digits(number: u64) -> [u8; 8] {
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007F_0000_007F;
    let quarters = hundreds | ((halves - hundreds * 100) << 16);
    let tens = ((quarters * 103) >> 10) & 0x000F_000F_000F_000F;
    let eighths = tens | ((quarters - tens * 10) << 8);
    (eighths | 0x3030_3030_3030_3030).to_le_bytes()
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
        for level in levels {
            checker.set(*level);
        }
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

    fn digits(number: u64, least: usize) -> String {
        let mut sum = Sum::new();
        sum.add_number(number, least);
        String::from_utf8(sum.text[..sum.len].to_vec()).unwrap()
    }

    #[test]
    fn digits_are_those_of_the_number() {
        let powers = (0..20).map(|exponent| 10u64.pow(exponent));
        let edges = powers.flat_map(|power| [power - 1, power, power.saturating_mul(9)]);
        let spread = (0..100_000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (i % 64));
        for number in edges.chain(spread).chain([u64::MAX]) {
            assert_eq!(digits(number, 1), number.to_string());
            for least in [2, 8, 9, 12, 16, 17, 20] {
                assert_eq!(digits(number, least), format!("{number:0least$}"));
            }
        }
    }

    #[test]
    fn eight_digits_are_those_of_the_number() {
        for number in 0..10_000u64 {
            let text = format!("{:08}", number * 10_000 + 9_999 - number);
            assert_eq!(eight_digits(number * 10_000 + 9_999 - number), text.as_bytes());
        }
    }

    #[test]
    fn zeros_beyond_the_instruments_decimals_count_as_they_stood_on_the_wire() {
        let mut checker = Checker::new(Some(Checksum::Kraken), 10, (1, 0));
        let (side, digits) = (Side::Bid, [3, 8]);
        checker.set(LevelUpdate { side, price: 3541, qty: 5, digits });
        assert_eq!(checker.checksum(), Some(crc32fast::hash(b"354100500000000")));
        checker.set(LevelUpdate { side, price: i64::MAX, qty: 5, digits: [255, 255] });
        assert!(checker.checksum().is_some(), "absurd decimals saturate");
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
