//! Numbers laid out in whole cache lines.
//!
//! A row of weights that starts at a line costs as few lines as can be, and rows can be asked for
//! ahead of time line by line. Invariant: the slice seen starts at a multiple of 64 bytes.

use std::ops::{Deref, DerefMut};

/// Numbers in a cache line.
pub(super) const LINE: usize = 16;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// A vector of `f32` that starts at a cache line.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    lines: Vec<Line>,
    length: usize,
}

impl Lines {
    /// So many zeros.
    pub(super) fn new(length: usize) -> Self {
        Self { lines: vec![Line([0.0; LINE]); length.div_ceil(LINE)], length }
    }
}

impl Deref for Lines {
    type Target = [f32];

    #[inline]
    fn deref(&self) -> &[f32] {
        // SAFETY: a `Line` is 16 `f32` without padding (64 bytes, aligned to 64), and there are lines
        // for `length` of them.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.length) }
    }
}

impl DerefMut for Lines {
    #[inline]
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_start_at_a_line_and_are_as_many_as_asked_for() {
        for length in [0, 1, 16, 17, 1_000] {
            let mut lines = Lines::new(length);
            assert_eq!(lines.len(), length);
            assert!((lines.as_ptr() as usize).is_multiple_of(64));
            lines.iter_mut().enumerate().for_each(|(k, x)| *x = k as f32);
            assert!(lines.iter().enumerate().all(|(k, &x)| x == k as f32));
        }
    }
}
