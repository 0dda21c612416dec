//! Depth updates that wait for a snapshot, decoded, in two rings allocated once.
//!
//! Invariants: at most the stated number of updates and of levels is held; what does not fit pushes
//! out the oldest updates, counted; an update that would not fit an empty buffer empties it (the
//! caller must then start the chain anew).

use std::collections::VecDeque;

use crate::Side;
use crate::protocol::UpdateIds;

/// One changed level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LevelUpdate {
    pub(crate) side: Side,
    pub(crate) price: i64,
    pub(crate) qty: i64,
    /// Decimals that price and quantity had on the wire; looked at by checksums only.
    pub(crate) digits: [u8; 2],
}

/// A depth update without its levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiffHeader {
    pub(crate) ids: UpdateIds,
    pub(crate) ts_venue_ns: i64,
    pub(crate) ts_sent_ns: i64,
    pub(crate) checksum: Option<u32>,
}

/// The buffer of one instrument.
#[derive(Debug)]
pub(crate) struct DiffBuffer {
    /// Headers with the number of levels of each.
    diffs: VecDeque<(DiffHeader, usize)>,
    levels: VecDeque<LevelUpdate>,
    max_diffs: usize,
    max_levels: usize,
    dropped: u64,
}

impl DiffBuffer {
    /// Room for so many updates and levels (at least one each).
    pub(crate) fn new(max_diffs: usize, max_levels: usize) -> Self {
        let (max_diffs, max_levels) = (max_diffs.max(1), max_levels.max(1));
        Self {
            diffs: VecDeque::with_capacity(max_diffs),
            levels: VecDeque::with_capacity(max_levels),
            max_diffs,
            max_levels,
            dropped: 0,
        }
    }

    /// How many updates were pushed out so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.diffs.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.diffs.clear();
        self.levels.clear();
    }

    /// Appends an update; `false` when it does not even fit an empty buffer, which is then empty.
    pub(crate) fn push(&mut self, header: DiffHeader, levels: &[LevelUpdate]) -> bool {
        if levels.len() > self.max_levels {
            self.dropped += self.diffs.len() as u64 + 1;
            self.clear();
            return false;
        }
        while self.diffs.len() == self.max_diffs
            || self.levels.len() + levels.len() > self.max_levels
        {
            self.pop();
            self.dropped += 1;
        }
        self.diffs.push_back((header, levels.len()));
        self.levels.extend(levels);
        true
    }

    /// Forgets the oldest update.
    pub(crate) fn pop(&mut self) {
        if let Some((_, count)) = self.diffs.pop_front() {
            self.levels.drain(..count);
        }
    }

    /// Ids of the updates, oldest first.
    pub(crate) fn ids(&self) -> impl Iterator<Item = UpdateIds> + '_ {
        self.diffs.iter().map(|(header, _)| header.ids)
    }

    /// Updates with their levels, oldest first.
    pub(crate) fn iter(
        &self,
    ) -> impl Iterator<Item = (DiffHeader, impl Iterator<Item = LevelUpdate> + Clone + '_)> {
        let mut start = 0;
        self.diffs.iter().map(move |(header, count)| {
            let range = start..start + count;
            start = range.end;
            (*header, self.levels.range(range).copied())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(last: u64) -> DiffHeader {
        let ids = UpdateIds::linked(last - 1, last);
        DiffHeader { ids, ts_venue_ns: 0, ts_sent_ns: 0, checksum: None }
    }

    fn levels(price: i64, count: usize) -> Vec<LevelUpdate> {
        vec![LevelUpdate { side: Side::Bid, price, qty: 1, digits: [0; 2] }; count]
    }

    /// (last id, price of every level) of the updates held.
    fn held(buffer: &DiffBuffer) -> Vec<(u64, Vec<i64>)> {
        buffer.iter().map(|(h, levels)| (h.ids.last, levels.map(|l| l.price).collect())).collect()
    }

    #[test]
    fn updates_keep_their_order_and_their_levels() {
        let mut buffer = DiffBuffer::new(8, 8);
        for (id, count) in [(1, 2), (2, 0), (3, 1)] {
            assert!(buffer.push(header(id), &levels(id as i64, count)));
        }
        assert_eq!(held(&buffer), [(1, vec![1, 1]), (2, vec![]), (3, vec![3])]);
        buffer.pop();
        assert_eq!(held(&buffer), [(2, vec![]), (3, vec![3])]);
        assert_eq!(buffer.ids().map(|ids| ids.last).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn what_does_not_fit_pushes_out_the_oldest_and_is_counted() {
        let mut buffer = DiffBuffer::new(3, 10);
        for id in 1..=4 {
            buffer.push(header(id), &levels(id as i64, 1));
        }
        assert_eq!(buffer.ids().map(|ids| ids.last).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(buffer.dropped(), 1);
        assert!(buffer.push(header(5), &levels(5, 9)));
        assert_eq!(held(&buffer), [(4, vec![4]), (5, vec![5; 9])]);
        assert_eq!(buffer.dropped(), 3);
    }

    #[test]
    fn an_update_larger_than_the_buffer_empties_it() {
        let mut buffer = DiffBuffer::new(3, 4);
        buffer.push(header(1), &levels(1, 1));
        assert!(!buffer.push(header(2), &levels(2, 5)));
        assert!(buffer.is_empty());
        assert_eq!(buffer.dropped(), 2);
        assert!(buffer.push(header(3), &levels(3, 4)));
    }

    #[test]
    fn no_use_of_the_buffer_allocates() {
        let mut buffer = DiffBuffer::new(3, 10);
        let before = (buffer.diffs.capacity(), buffer.levels.capacity());
        for id in 1..100 {
            buffer.push(header(id), &levels(0, (id % 11) as usize));
        }
        assert_eq!((buffer.diffs.capacity(), buffer.levels.capacity()), before);
    }
}
