//! Numbers laid out in whole cache lines.
//!
//! A row of weights that starts at a line costs as few lines as can be, and rows can be asked for
//! ahead of time line by line. Large vectors are put on huge pages where the system has them for those
//! who ask, because rows are read at random and each would otherwise miss the translation cache.
//! Invariant: the slice seen starts at a multiple of 64 bytes.

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
        let n = length.div_ceil(LINE);
        let mut lines = Vec::with_capacity(n);
        ask_for_huge_pages(&mut lines);
        lines.resize(n, Line([0.0; LINE]));
        Self { lines, length }
    }
}

/// Vectors below this gain nothing from huge pages, of which they would fill few.
#[cfg(target_os = "linux")]
const HUGE_FROM_BYTES: usize = 4 << 20;

/// Tells the system that the room of a vector should be on huge pages, before it is first touched.
#[cfg(target_os = "linux")]
fn ask_for_huge_pages(room: &mut Vec<Line>) {
    const PAGE: usize = 4096;
    let bytes = room.capacity() * size_of::<Line>();
    if bytes < HUGE_FROM_BYTES {
        return;
    }
    let start = room.as_mut_ptr() as usize;
    let (from, to) = (start.next_multiple_of(PAGE), (start + bytes) / PAGE * PAGE);
    let at = room.as_mut_ptr().wrapping_byte_add(from - start);
    // SAFETY: the whole pages from `from` to `to` lie within memory that this vector owns; the advice
    // changes no content. A refusal is no error: the pages stay small.
    let _ = unsafe { libc::madvise(at.cast(), to - from, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_huge_pages(_: &mut Vec<Line>) {}

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
