//! The latest spikes of a few cells of each population, for rasters.
//!
//! Invariants: holds at most its capacity, the oldest giving way and counted; records one cell in
//! `every`, so that a population of a million fits a screen; no allocation after construction.

use std::collections::VecDeque;

use crate::cerebellum::description::Cell;

/// A spike that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordedSpike {
    /// The step in which it was fired.
    pub step: u64,
    /// The population.
    pub cell: Cell,
    /// The cell's index in its population.
    pub index: u32,
}

/// A ring of recorded spikes.
#[derive(Clone, Debug)]
pub struct Recorder {
    spikes: VecDeque<RecordedSpike>,
    capacity: usize,
    every: u32,
    dropped: u64,
}

impl Recorder {
    /// Room for `capacity` spikes of one cell in `every` of each population; both at least 1.
    pub fn new(capacity: usize, every: u32) -> Self {
        let capacity = capacity.max(1);
        Self {
            spikes: VecDeque::with_capacity(capacity),
            capacity,
            every: every.max(1),
            dropped: 0,
        }
    }

    /// Takes in the spikes of one population and step.
    pub fn record(&mut self, step: u64, cell: Cell, spikes: &[u32]) {
        for &index in spikes {
            if !index.is_multiple_of(self.every) {
                continue;
            }
            if self.spikes.len() == self.capacity {
                self.spikes.pop_front();
                self.dropped += 1;
            }
            self.spikes.push_back(RecordedSpike { step, cell, index });
        }
    }

    /// The spikes held, oldest first.
    pub fn spikes(&self) -> impl Iterator<Item = &RecordedSpike> {
        self.spikes.iter()
    }

    /// Spikes that gave way to later ones.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_spikes_give_way_and_are_counted() {
        let mut recorder = Recorder::new(3, 2);
        for step in 0..5 {
            recorder.record(step, Cell::Granule, &[0, 1]);
        }
        let steps: Vec<u64> = recorder.spikes().map(|s| s.step).collect();
        assert_eq!((steps, recorder.dropped()), (vec![2, 3, 4], 2));
        assert!(recorder.spikes().all(|s| s.index == 0));
    }
}
