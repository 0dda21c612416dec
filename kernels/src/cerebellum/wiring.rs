//! Who reaches whom: the fixed connections of one network, drawn once from the seed and shared by
//! all instruments.
//!
//! Invariants: every granule cell has exactly four dendrites on four different mossy fibres; rows
//! list targets in ascending order; nothing changes after construction.

use super::config::CerebellumConfig;
use crate::rng::Key;

/// Dendrites of a granule cell, as in Yamazaki and Nagao (PLoS ONE 7:e33319, 2012).
pub(crate) const DENDRITES: usize = 4;

/// Mossy fibres that reach one Golgi cell directly.
const MOSSY_PER_GOLGI: usize = 20;

/// Targets by source: the targets of source `s` are `targets[start[s]..start[s + 1]]`.
#[derive(Clone, Debug)]
pub(crate) struct Fanout {
    start: Vec<u32>,
    targets: Vec<u32>,
}

impl Fanout {
    /// Turns each target's list of sources round.
    fn from_sources(sources: usize, by_target: &[Vec<u32>]) -> Self {
        let mut rows = vec![Vec::new(); sources];
        for (target, list) in by_target.iter().enumerate() {
            for &source in list {
                rows[source as usize].push(target as u32);
            }
        }
        let mut start = vec![0];
        let mut targets = Vec::new();
        for row in rows {
            targets.extend_from_slice(&row);
            start.push(targets.len() as u32);
        }
        Self { start, targets }
    }

    /// The targets of one source.
    #[inline]
    pub(crate) fn of(&self, source: u32) -> &[u32] {
        let k = source as usize;
        &self.targets[self.start[k] as usize..self.start[k + 1] as usize]
    }
}

/// The two random projections; every other one follows from the cells' places.
#[derive(Clone, Debug)]
pub(crate) struct Wiring {
    pub(crate) mossy_to_granule: Fanout,
    pub(crate) mossy_to_golgi: Fanout,
}

impl Wiring {
    pub(crate) fn new(config: &CerebellumConfig, key: Key) -> Self {
        let fibres = config.fibres();
        let draw = |targets: usize, sources: usize, key: Key| -> Vec<Vec<u32>> {
            (0..targets).map(|t| distinct(sources, fibres, key.fork(t as u64))).collect()
        };
        let granule = draw(config.granule_cells, DENDRITES, key.fork(0));
        let golgi = draw(config.golgi_cells(), MOSSY_PER_GOLGI, key.fork(1));
        Self {
            mossy_to_granule: Fanout::from_sources(fibres, &granule),
            mossy_to_golgi: Fanout::from_sources(fibres, &golgi),
        }
    }
}

/// `wanted` different numbers below `bound`, or all of them when there are fewer (Floyd's
/// algorithm).
fn distinct(wanted: usize, bound: usize, key: Key) -> Vec<u32> {
    let mut chosen = Vec::with_capacity(wanted);
    for top in bound.saturating_sub(wanted)..bound {
        let draw = key.below(top as u64, top as u32 + 1);
        chosen.push(if chosen.contains(&draw) { top as u32 } else { draw });
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_granule_cell_has_four_different_fibres() {
        let config = CerebellumConfig::default();
        let wiring = Wiring::new(&config, Key::new(1));
        let mut sources = vec![Vec::new(); config.granule_cells];
        for fibre in 0..config.fibres() as u32 {
            for &cell in wiring.mossy_to_granule.of(fibre) {
                sources[cell as usize].push(fibre);
            }
        }
        for mut list in sources {
            list.dedup();
            assert_eq!(list.len(), DENDRITES);
        }
    }

    #[test]
    fn numbers_drawn_are_distinct_and_evenly_spread() {
        let mut seen = [0; 10];
        for k in 0..10_000 {
            let mut list = distinct(4, 10, Key::new(k));
            list.sort_unstable();
            list.dedup();
            assert_eq!(list.len(), 4);
            for x in list {
                seen[x as usize] += 1;
            }
        }
        assert!(seen.iter().all(|&n| (3_800..4_200).contains(&n)), "{seen:?}");
        assert_eq!(distinct(4, 3, Key::new(0)).len(), 3);
    }
}
