//! The rows of the last cycles, from which a network on the CPU catches up with its streams on a device.
//!
//! Invariants: a bounded number of cycles is kept, in one allocation; they are forgotten all at once, when every
//! stream has been copied back.

/// One cycle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept<'a> {
    /// `[instruments][stride]`.
    pub(super) rows: &'a [f32],
    /// Who took part.
    pub(super) active: &'a [bool],
    /// Whose stream began anew before that.
    pub(super) begins: &'a [bool],
}

/// See the module.
#[derive(Debug)]
pub(super) struct Recent {
    instruments: usize,
    numbers: usize,
    rows: Box<[f32]>,
    active: Box<[bool]>,
    begins: Box<[bool]>,
    /// Cycles since construction.
    seen: u64,
    /// The first of them that is kept.
    first: u64,
}

impl Recent {
    /// Room for so many cycles of instruments' rows of `stride` numbers.
    pub(super) fn new(cycles: usize, instruments: usize, stride: usize) -> Self {
        let numbers = instruments * stride;
        Self {
            instruments,
            numbers,
            rows: vec![0.0; cycles * numbers].into(),
            active: vec![false; cycles * instruments].into(),
            begins: vec![false; cycles * instruments].into(),
            seen: 0,
            first: 0,
        }
    }

    /// Keeps a cycle.
    ///
    /// # Panics
    /// Where it is full, or a slice has another length.
    pub(super) fn push(&mut self, kept: Kept<'_>) {
        assert!(!self.is_full(), "room for {} cycles", self.kept());
        let slot = self.kept();
        let flags = slot * self.instruments..(slot + 1) * self.instruments;
        self.rows[slot * self.numbers..(slot + 1) * self.numbers].copy_from_slice(kept.rows);
        self.active[flags.clone()].copy_from_slice(kept.active);
        self.begins[flags].copy_from_slice(kept.begins);
        self.seen += 1;
    }

    /// Whether there is no room for another cycle.
    pub(super) fn is_full(&self) -> bool {
        self.kept() * self.instruments == self.active.len()
    }

    /// Cycles since construction.
    pub(super) const fn seen(&self) -> u64 {
        self.seen
    }

    /// Cycles kept.
    pub(super) const fn kept(&self) -> usize {
        (self.seen - self.first) as usize
    }

    /// Forgets all cycles.
    pub(super) const fn clear(&mut self) {
        self.first = self.seen;
    }

    /// The cycles from the `from`-th since construction on, those of them that are kept.
    pub(super) fn since(&self, from: u64) -> impl Iterator<Item = Kept<'_>> {
        let slots = from.saturating_sub(self.first) as usize..self.kept();
        slots.map(|slot| {
            let flags = slot * self.instruments..(slot + 1) * self.instruments;
            Kept {
                rows: &self.rows[slot * self.numbers..(slot + 1) * self.numbers],
                active: &self.active[flags.clone()],
                begins: &self.begins[flags],
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_given_back_in_their_order_from_any_one_on_until_they_are_forgotten() {
        let mut recent = Recent::new(3, 2, 2);
        let push = |recent: &mut Recent, n: u8| {
            let rows = [f32::from(n); 4];
            recent.push(Kept { rows: &rows, active: &[true, n == 1], begins: &[n == 2, false] });
        };
        let firsts = |recent: &Recent, from| -> Vec<f32> {
            recent.since(from).map(|kept| kept.rows[0]).collect()
        };
        for n in 0..3 {
            assert!(!recent.is_full());
            push(&mut recent, n);
        }
        assert!(recent.is_full());
        assert_eq!((recent.seen(), recent.kept()), (3, 3));
        assert_eq!(firsts(&recent, 0), [0.0, 1.0, 2.0]);
        assert_eq!(firsts(&recent, 2), [2.0]);
        assert_eq!(firsts(&recent, 3), [0.0; 0]);
        let flags: Vec<_> = recent.since(1).map(|kept| (kept.active[1], kept.begins[0])).collect();
        assert_eq!(flags, [(true, false), (false, true)]);
        recent.clear();
        assert_eq!(firsts(&recent, 0), [0.0; 0]);
        push(&mut recent, 9);
        assert_eq!((firsts(&recent, 0), recent.seen()), (vec![9.0], 4));
    }
}
