//! An instrument's stream as words, in the layout that devices keep it in: counters first, then numbers.
//!
//! Invariant: what is written is read back by the same calls in the same order; `finish` holds that the slice
//! was as long as they asked for.

/// Writes a stream's words one behind the other.
pub(super) struct Writer<'a> {
    rest: &'a mut [u32],
}

impl<'a> Writer<'a> {
    pub(super) fn new(words: &'a mut [u32]) -> Self {
        Self { rest: words }
    }

    fn next(&mut self, len: usize) -> &'a mut [u32] {
        let (words, rest) = std::mem::take(&mut self.rest).split_at_mut(len);
        self.rest = rest;
        words
    }

    /// A counter takes two words, the lower half first.
    pub(super) fn counter(&mut self, count: usize) {
        let count = count as u64;
        self.next(2).copy_from_slice(&[count as u32, (count >> 32) as u32]);
    }

    pub(super) fn numbers(&mut self, numbers: &[f32]) {
        for (word, number) in self.next(numbers.len()).iter_mut().zip(numbers) {
            *word = number.to_bits();
        }
    }

    /// # Panics
    /// Where words are left.
    pub(super) fn finish(self) {
        assert!(self.rest.is_empty(), "{} words too many for the stream", self.rest.len());
    }
}

/// Reads what a [`Writer`] wrote.
pub(super) struct Reader<'a> {
    rest: &'a [u32],
}

impl<'a> Reader<'a> {
    pub(super) fn new(words: &'a [u32]) -> Self {
        Self { rest: words }
    }

    fn next(&mut self, len: usize) -> &'a [u32] {
        let (words, rest) = self.rest.split_at(len);
        self.rest = rest;
        words
    }

    pub(super) fn counter(&mut self) -> usize {
        let words = self.next(2);
        (u64::from(words[1]) << 32 | u64::from(words[0])) as usize
    }

    pub(super) fn numbers(&mut self, numbers: &mut [f32]) {
        let words = self.next(numbers.len());
        for (number, word) in numbers.iter_mut().zip(words) {
            *number = f32::from_bits(*word);
        }
    }

    /// # Panics
    /// Where words are left.
    pub(super) fn finish(self) {
        assert!(self.rest.is_empty(), "{} words too many for the stream", self.rest.len());
    }
}
