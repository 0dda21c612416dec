//! A fixed-capacity ring that keeps the newest values, allocated once.
//!
//! Invariants: `len <= slots.len()`; the newest value sits just before `next`; pushing into a full
//! ring overwrites the oldest value, which is the whole point of a window.

/// The newest `capacity` values, addressed by age.
#[derive(Clone, Debug)]
pub(super) struct Ring<T> {
    slots: Box<[T]>,
    /// Slot that the next push writes.
    next: usize,
    /// Number of slots written since the last clear, at most the capacity.
    len: usize,
}

impl<T: Copy + Default> Ring<T> {
    /// An empty ring; a capacity of zero is raised to one.
    pub(super) fn new(capacity: usize) -> Self {
        Self { slots: vec![T::default(); capacity.max(1)].into_boxed_slice(), next: 0, len: 0 }
    }

    pub(super) fn push(&mut self, value: T) {
        self.slots[self.next] = value;
        self.next = if self.next + 1 == self.slots.len() { 0 } else { self.next + 1 };
        self.len = (self.len + 1).min(self.slots.len());
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == self.slots.len()
    }

    /// The value pushed `age` pushes before the newest one.
    pub(super) fn ago(&self, age: usize) -> Option<T> {
        if age >= self.len {
            return None;
        }
        let capacity = self.slots.len();
        Some(self.slots[(self.next + capacity - 1 - age) % capacity])
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &T> {
        let (head, tail) = self.slots.split_at(self.next);
        head.iter().rev().chain(tail.iter().rev()).take(self.len)
    }

    pub(super) fn clear(&mut self) {
        self.next = 0;
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_forgets_the_oldest_value() {
        let mut ring = Ring::new(3);
        assert_eq!(ring.ago(0), None);
        for value in 1..=5 {
            ring.push(value);
        }
        assert!(ring.is_full());
        assert_eq!(ring.newest_first().copied().collect::<Vec<_>>(), [5, 4, 3]);
        assert_eq!((ring.ago(0), ring.ago(2), ring.ago(3)), (Some(5), Some(3), None));
        ring.clear();
        assert_eq!(ring.newest_first().count(), 0);
    }

    #[test]
    fn a_partly_filled_ring_yields_only_what_was_pushed() {
        let mut ring = Ring::new(4);
        ring.push(1);
        ring.push(2);
        assert_eq!(ring.newest_first().copied().collect::<Vec<_>>(), [2, 1]);
        assert_eq!(ring.len(), 2);
    }
}
