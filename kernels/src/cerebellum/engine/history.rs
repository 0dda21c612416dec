//! The spikes of a population over its last steps, so that each projection can read those that its
//! delay makes due.
//!
//! Invariants: a slot holds at most every cell once, for which it has room from the start; slots are
//! used in turn, so a step's spikes stay readable for `depth` - 1 further steps.

/// A ring of spike lists by step.
#[derive(Clone, Debug)]
pub(super) struct History {
    slots: Vec<Vec<u32>>,
    /// The slot of the last step begun.
    head: usize,
}

impl History {
    /// Room for the spikes of `cells` cells in the current and the `back` steps before it.
    pub(super) fn new(cells: usize, back: usize) -> Self {
        Self { slots: (0..=back).map(|_| Vec::with_capacity(cells)).collect(), head: 0 }
    }

    /// Begins a step, with an empty list.
    pub(super) fn begin(&mut self) {
        self.head = if self.head + 1 == self.slots.len() { 0 } else { self.head + 1 };
        self.slots[self.head].clear();
    }

    /// The current step's list, which its spikes go to.
    pub(super) fn current(&mut self) -> &mut Vec<u32> {
        &mut self.slots[self.head]
    }

    /// The spikes of the step `back` before the current one.
    #[inline]
    pub(super) fn ago(&self, back: usize) -> &[u32] {
        debug_assert!(back < self.slots.len(), "{back} of {}", self.slots.len());
        let n = self.slots.len();
        let k = if self.head >= back { self.head - back } else { self.head + n - back };
        &self.slots[k]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_readable_until_its_slot_is_used_again() {
        let mut history = History::new(4, 2);
        assert!(history.ago(0).is_empty() && history.ago(2).is_empty());
        for k in 0..5_u32 {
            history.begin();
            history.current().push(k);
            for back in 0..=2_u32.min(k) {
                assert_eq!(history.ago(back as usize), [k - back]);
            }
        }
    }
}
