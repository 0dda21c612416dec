//! A kernel's argument, put together member by member as its structure lies in memory.
//!
//! Invariant: members are little-endian, each at a multiple of its size, which is how every compiler that the
//! sources go through lays the structure out; [`Argument::finish`] pads it to whole words of eight bytes. A
//! member that would not lie at a multiple of its size is a fault of the caller.

use crate::driver::Address;

/// The bytes so far.
#[derive(Clone, Debug, Default)]
pub struct Argument(Vec<u8>);

impl Argument {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an address, or 0 for none.
    ///
    /// # Panics
    /// When members of four bytes before it are odd in number.
    #[must_use]
    pub fn address(self, address: Address) -> Self {
        assert!(self.0.len().is_multiple_of(8), "addresses lie at multiples of eight bytes");
        self.bytes(&address.0.to_le_bytes())
    }

    /// Appends a count.
    ///
    /// # Panics
    /// When it is more than a u32 holds.
    #[must_use]
    pub fn count(self, count: usize) -> Self {
        let count = u32::try_from(count).expect("checked by who lays memory out");
        self.bytes(&count.to_le_bytes())
    }

    /// Appends numbers.
    #[must_use]
    pub fn numbers(self, numbers: &[f32]) -> Self {
        numbers.iter().fold(self, |argument, number| argument.bytes(&number.to_le_bytes()))
    }

    /// The structure.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self.0
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_follow_each_other_and_the_end_is_padded() {
        let bytes =
            Argument::new().address(Address(0x0102)).count(3).numbers(&[1.0, -1.0]).finish();
        let expected =
            [2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0x80, 0xbf, 0, 0, 0, 0];
        assert_eq!(bytes, expected);
    }

    #[test]
    #[should_panic(expected = "multiples of eight")]
    fn an_address_at_an_odd_place_is_refused() {
        let _ = Argument::new().count(1).address(Address(1));
    }
}
