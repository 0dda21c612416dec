//! Fixed synapses: where a spike goes and what it adds there.
//!
//! Delivery is driven by events: a spike walks its own row and nothing else is touched. All-to-all
//! projections store no targets: a row is a contiguous run of weights onto a contiguous run of cells,
//! which is the layout of a beam of parallel fibres. Invariants: every target of a row is below the
//! number of target units, checked once in [`Fanout::new`]; spikes are delivered in ascending order
//! of source and then of target, so sums round alike everywhere; no allocation after construction.

use super::lines::{LINE, Lines};
use crate::cerebellum::connect::{Connections, Rows, part};
use crate::isa::{Isa, dispatched};

/// Sources and targets of a block within which all reach all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) first_source: u32,
    pub(super) first_target: u32,
    /// Targets, and weights a row.
    pub(super) width: u32,
    /// Places from one row to the next: whole cache lines for long rows.
    pub(super) stride: u32,
    /// Where the weights of the block begin.
    pub(super) base: usize,
}

/// The rows of a projection.
#[derive(Clone, Debug)]
pub(super) enum Layout {
    /// Contiguous runs, by block of sources.
    Blocks(Vec<Block>),
    /// Listed targets.
    Rows(Rows),
}

/// What the synapses add: one weight for all, or one each.
#[derive(Clone, Debug)]
pub(super) enum Weights {
    /// All alike.
    One(f32),
    /// By synapse, as [`Fanout::store`] lays them out.
    Each(Lines),
}

/// A projection's layout and sizes.
#[derive(Clone, Debug)]
pub(in crate::cerebellum) struct Fanout {
    pub(super) layout: Layout,
    /// Target units.
    pub(super) targets: usize,
    /// Source cells.
    pub(super) sources: usize,
    /// Synapses.
    pub(super) edges: usize,
}

impl Fanout {
    /// Takes the connections of a projection whose presynaptic population has `sources` cells.
    ///
    /// # Panics
    /// When a row names a target that does not exist, or rows do not cover the sources.
    pub(super) fn new(connections: Connections, sources: usize) -> Self {
        let (targets, edges) = (connections.targets(), connections.edges());
        let layout = match connections {
            Connections::Blocks { sources, targets, zones } => {
                let mut base = 0;
                let blocks = (0..zones).map(|zone| {
                    let (from, to) = (part(sources, zones, zone), part(targets, zones, zone));
                    let stride =
                        if to.len() < LINE { to.len() } else { to.len().next_multiple_of(LINE) };
                    let block = Block {
                        first_source: from.start as u32,
                        first_target: to.start as u32,
                        width: to.len() as u32,
                        stride: stride as u32,
                        base,
                    };
                    base += from.len() * stride;
                    block
                });
                Layout::Blocks(blocks.collect())
            }
            Connections::Sparse(rows) => {
                assert!(rows.target.iter().all(|&t| (t as usize) < targets), "a target exists");
                assert!(rows.start.windows(2).all(|w| w[0] <= w[1]), "rows ascend");
                assert_eq!(rows.start.last().copied(), Some(rows.target.len() as u32), "rows end");
                assert_eq!(rows.start.len(), rows.sources + 1, "a row a source");
                assert!(sources <= rows.sources * rows.cells_per_source, "rows cover the sources");
                Layout::Rows(rows)
            }
        };
        Self { layout, targets, sources, edges }
    }

    /// Lays weights out as delivery reads them, from the order of the rows.
    pub(super) fn store(&self, weights: &[f32]) -> Lines {
        assert_eq!(weights.len(), self.edges, "a weight a synapse");
        let mut stored = Lines::new(self.places());
        let mut rest = weights;
        for source in 0..self.rows() {
            let places = self.places_of(source);
            let (row, after) = rest.split_at(places.len());
            stored[places].copy_from_slice(row);
            rest = after;
        }
        stored
    }

    /// The weights in the order of the rows.
    pub(super) fn list(&self, stored: &[f32]) -> Vec<f32> {
        let mut weights = Vec::with_capacity(self.edges);
        for source in 0..self.rows() {
            weights.extend_from_slice(&stored[self.places_of(source)]);
        }
        weights
    }

    /// Places that the stored weights take.
    pub(super) fn places(&self) -> usize {
        match &self.layout {
            Layout::Blocks(blocks) => self.sources.checked_sub(1).map_or(0, |last| {
                run(blocks, last as u32).0 + Self::block(blocks, last as u32).stride as usize
            }),
            Layout::Rows(rows) => rows.target.len(),
        }
    }

    fn rows(&self) -> usize {
        match &self.layout {
            Layout::Blocks(_) => self.sources,
            Layout::Rows(rows) => rows.sources,
        }
    }

    /// Where the stored weights of a row are.
    pub(super) fn places_of(&self, row: usize) -> std::ops::Range<usize> {
        match &self.layout {
            Layout::Blocks(blocks) => {
                let (from, _, width) = run(blocks, row as u32);
                from..from + width
            }
            Layout::Rows(rows) => rows.start[row] as usize..rows.start[row + 1] as usize,
        }
    }

    /// The targets of a source, and where its weights begin in the order of the rows.
    pub(super) fn row(&self, source: u32) -> (usize, Vec<u32>) {
        match &self.layout {
            Layout::Blocks(blocks) => {
                let (_, first, width) = run(blocks, source);
                let before = |b: &Block| {
                    let next = blocks.iter().find(|n| n.first_source > b.first_source);
                    let end = next.map_or(source, |n| n.first_source.min(source));
                    (end.saturating_sub(b.first_source) * b.width) as usize
                };
                let from = blocks.iter().filter(|b| b.first_source <= source).map(before).sum();
                (from, (first as u32..(first + width) as u32).collect())
            }
            Layout::Rows(rows) => {
                let r = source as usize / rows.cells_per_source;
                (rows.start[r] as usize, rows.row(r).to_vec())
            }
        }
    }

    /// The block of a source.
    #[inline]
    pub(super) fn block(blocks: &[Block], source: u32) -> &Block {
        let mut found = &blocks[0];
        for block in &blocks[1..] {
            if block.first_source > source {
                break;
            }
            found = block;
        }
        found
    }

    /// Adds what each spike brings, times `share`, to the receptor values of the targets.
    pub(super) fn deliver(
        &self,
        isa: Isa,
        weights: &Weights,
        spikes: &[u32],
        share: f32,
        onto: &mut [f32],
    ) {
        assert_eq!(onto.len(), self.targets, "one value a target");
        match (&self.layout, weights) {
            (_, Weights::Each(w)) => self.deliver_each(isa, w, spikes, share, onto),
            (Layout::Blocks(blocks), Weights::One(w)) => {
                for &source in spikes {
                    let b = Self::block(blocks, source);
                    let first = b.first_target as usize;
                    for value in &mut onto[first..first + b.width as usize] {
                        *value += w * share;
                    }
                }
            }
            (Layout::Rows(rows), Weights::One(w)) => rows_one(rows, w * share, spikes, onto),
        }
    }

    /// The same with a weight for each synapse.
    pub(super) fn deliver_each(
        &self,
        isa: Isa,
        w: &[f32],
        spikes: &[u32],
        share: f32,
        onto: &mut [f32],
    ) {
        assert_eq!(onto.len(), self.targets, "one value a target");
        match &self.layout {
            Layout::Blocks(blocks) => blocks_each(isa, blocks, w, spikes, share, onto),
            Layout::Rows(rows) => rows_each(isa, rows, w, spikes, share, onto),
        }
    }
}

dispatched!(pub(super) fn blocks_each = blocks_each_body(blocks: &[Block], w: &[f32], spikes: &[u32], share: f32, onto: &mut [f32]));

#[allow(clippy::inline_always, reason = "see `dispatched`")]
#[inline(always)]
fn blocks_each_body(blocks: &[Block], w: &[f32], spikes: &[u32], share: f32, onto: &mut [f32]) {
    for (k, &source) in spikes.iter().enumerate() {
        if let Some(&next) = spikes.get(k + AHEAD) {
            let (from, _, width) = run(blocks, next);
            prefetch(w, from, width);
        }
        let (from, first, width) = run(blocks, source);
        let row = &w[from..from + width];
        for (value, w) in onto[first..first + width].iter_mut().zip(row) {
            *value += w * share;
        }
    }
}

/// Spikes ahead of the one delivered whose rows are asked for: enough to hide a trip to memory.
pub(super) const AHEAD: usize = 4;

/// Where the row of a source starts, its first target and its length.
#[allow(clippy::inline_always, reason = "see `dispatched`")]
#[inline(always)]
pub(super) fn run(blocks: &[Block], source: u32) -> (usize, usize, usize) {
    let b = Fanout::block(blocks, source);
    let from = b.base + (source - b.first_source) as usize * b.stride as usize;
    (from, b.first_target as usize, b.width as usize)
}

/// Asks for the cache lines of a run of values, up to 16 of them.
#[allow(clippy::inline_always, reason = "see `dispatched`")]
#[inline(always)]
pub(super) fn prefetch<T>(values: &[T], from: usize, length: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let bytes = (length * size_of::<T>()).min(1024);
        let start = values.as_ptr().wrapping_add(from).cast::<i8>();
        let mut at = 0;
        while at < bytes {
            // SAFETY: a prefetch is a hint: it faults on no address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at)) };
            at += 64;
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, from, length);
}

dispatched!(pub(super) fn rows_each = rows_each_body(rows: &Rows, w: &[f32], spikes: &[u32], share: f32, onto: &mut [f32]));

#[allow(clippy::inline_always, reason = "see `dispatched`")]
#[inline(always)]
fn rows_each_body(rows: &Rows, w: &[f32], spikes: &[u32], share: f32, onto: &mut [f32]) {
    for (k, &source) in spikes.iter().enumerate() {
        if let Some(&next) = spikes.get(k + 2) {
            let (from, to) = rows.bounds(next);
            prefetch(&rows.target, from, to - from);
            prefetch(w, from, to - from);
        }
        let (from, to) = rows.bounds(source);
        for (&target, w) in rows.target[from..to].iter().zip(&w[from..to]) {
            // SAFETY: `Fanout::new` has checked every target against the number of target units,
            // and `Fanout::deliver` that `onto` has so many.
            *unsafe { onto.get_unchecked_mut(target as usize) } += w * share;
        }
    }
}

fn rows_one(rows: &Rows, jump: f32, spikes: &[u32], onto: &mut [f32]) {
    for &source in spikes {
        let (from, to) = rows.bounds(source);
        for &target in &rows.target[from..to] {
            // SAFETY: as in `rows_each_body`.
            *unsafe { onto.get_unchecked_mut(target as usize) } += jump;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Rows {
        // Source 0 reaches 1 and 3, source 1 nothing, source 2 reaches 0, 1 and 2.
        Rows {
            sources: 3,
            targets: 4,
            cells_per_source: 1,
            start: vec![0, 2, 2, 5],
            target: vec![1, 3, 0, 1, 2],
        }
    }

    #[test]
    fn a_spike_adds_its_weights_to_its_targets_and_nothing_else() {
        let fanout = Fanout::new(Connections::Sparse(rows()), 3);
        let each = Weights::Each(fanout.store(&[1.0, 2.0, 4.0, 8.0, 16.0]));
        for isa in Isa::here() {
            let mut onto = vec![0.0; 4];
            fanout.deliver(isa, &each, &[0, 2], 0.5, &mut onto);
            assert_eq!(onto, [2.0, 4.5, 8.0, 1.0]);
            fanout.deliver(isa, &Weights::One(1.0), &[1, 2], 1.0, &mut onto);
            assert_eq!(onto, [3.0, 5.5, 9.0, 1.0]);
        }
    }

    #[test]
    fn blocks_keep_to_their_zone() {
        let connections = Connections::Blocks { sources: 5, targets: 4, zones: 2 };
        let fanout = Fanout::new(connections, 5);
        assert_eq!(fanout.edges, 10);
        let listed: Vec<f32> = (0..10).map(|k| k as f32).collect();
        let each = Weights::Each(fanout.store(&listed));
        assert_eq!(fanout.list(&fanout.store(&listed)), listed);
        assert_eq!(fanout.row(4), (8, vec![2, 3]));
        for isa in Isa::here() {
            let mut onto = vec![0.0; 4];
            fanout.deliver(isa, &each, &[1], 1.0, &mut onto);
            assert_eq!(onto, [2.0, 3.0, 0.0, 0.0]);
            fanout.deliver(isa, &each, &[4], 1.0, &mut onto);
            assert_eq!(onto, [2.0, 3.0, 8.0, 9.0]);
            fanout.deliver(isa, &Weights::One(1.0), &[0, 4], 1.0, &mut onto);
            assert_eq!(onto, [3.0, 4.0, 9.0, 10.0]);
        }
    }

    #[test]
    fn long_rows_start_at_cache_lines() {
        let connections = Connections::Blocks { sources: 3, targets: 20, zones: 1 };
        let fanout = Fanout::new(connections, 3);
        let listed: Vec<f32> = (0..60).map(|k| k as f32).collect();
        let stored = fanout.store(&listed);
        assert_eq!((stored.len(), stored[32], fanout.row(1).0), (96, 20.0, 20));
        assert_eq!(fanout.list(&stored), listed);
        let mut onto = vec![0.0; 20];
        fanout.deliver(Isa::best(), &Weights::Each(stored), &[2], 1.0, &mut onto);
        assert_eq!(onto, listed[40..]);
    }

    #[test]
    #[should_panic(expected = "a target exists")]
    fn a_target_that_does_not_exist_is_refused() {
        let mut rows = rows();
        rows.target[4] = 4;
        let _ = Fanout::new(Connections::Sparse(rows), 3);
    }
}
