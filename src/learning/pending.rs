//! Forecasts that wait for their horizon, per instrument, in a fixed ring.
//!
//! Invariants: entries leave in the order they came; a ring never grows: a forecast that finds it
//! full displaces the oldest, which is counted; the features of a forecast stay readable until its
//! entry has left.

/// A fixed ring of forecasts of one instrument.
#[derive(Clone, Debug)]
pub struct Pending<T> {
    entries: Vec<Option<T>>,
    features: Vec<f32>,
    width: usize,
    head: usize,
    len: usize,
}

impl<T: Copy> Pending<T> {
    /// Room for `capacity` forecasts with `width` features each.
    #[must_use]
    pub fn new(capacity: usize, width: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            entries: vec![None; capacity],
            features: vec![0.0; capacity * width],
            width,
            head: 0,
            len: 0,
        }
    }

    /// Adds the newest; false if the oldest had to go for it.
    pub fn push(&mut self, entry: T, features: &[f32]) -> bool {
        let full = self.len == self.entries.len();
        if full {
            self.pop();
        }
        let at = (self.head + self.len) % self.entries.len();
        self.entries[at] = Some(entry);
        self.features[at * self.width..][..self.width].copy_from_slice(features);
        self.len += 1;
        !full
    }

    /// The oldest and its features.
    #[must_use]
    pub fn front(&self) -> Option<(&T, &[f32])> {
        if self.len == 0 {
            return None;
        }
        let features = &self.features[self.head * self.width..][..self.width];
        self.entries[self.head].as_ref().map(|entry| (entry, features))
    }

    /// Removes the oldest.
    pub fn pop(&mut self) {
        if self.len > 0 {
            self.entries[self.head] = None;
            self.head = (self.head + 1) % self.entries.len();
            self.len -= 1;
        }
    }

    /// Removes all; returns how many there were.
    pub fn clear(&mut self) -> usize {
        let n = self.len;
        while self.len > 0 {
            self.pop();
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_leave_in_order_with_their_features_and_the_oldest_yields() {
        let mut ring = Pending::new(2, 1);
        assert!(ring.push(1, &[10.0]));
        assert!(ring.push(2, &[20.0]));
        assert!(!ring.push(3, &[30.0]), "1 had to go");
        assert_eq!(ring.front(), Some((&2, &[20.0][..])));
        ring.pop();
        assert!(ring.push(4, &[40.0]));
        assert_eq!(ring.front(), Some((&3, &[30.0][..])));
        assert_eq!(ring.clear(), 2);
        assert_eq!(ring.front(), None);
    }
}
