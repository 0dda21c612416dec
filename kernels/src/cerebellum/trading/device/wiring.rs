//! The fixed wiring of a network as the kernels read it.
//!
//! Invariant: sources of a target are ascending, the order in which the CPU adds their contributions up.

use super::super::circuit::{
    Circuit, GOLGI_GRANULE_AT, GRANULE_GOLGI_AT, MOSSY_GOLGI_AT, MOSSY_GRANULE_AT,
    PURKINJE_NUCLEAR_AT,
};
use super::sizes::Sizes;
use crate::cerebellum::description::Cell;

/// A source that is none, as in `cerebellum.cu`.
pub(super) const NO_SOURCE: u16 = u16::MAX;

/// Sources by target, each list ascending and filled up with [`NO_SOURCE`].
pub(super) struct Sources {
    /// Length of each list.
    pub(super) each: usize,
    pub(super) list: Vec<u16>,
}

impl Sources {
    fn new(circuit: &Circuit, projection: usize, sources: usize, targets: usize) -> Self {
        let mut lists = vec![Vec::new(); targets];
        for source in 0..sources as u32 {
            for target in circuit.network.row(projection, source).1 {
                lists[target as usize].push(source as u16);
            }
        }
        let each = lists.iter().map(Vec::len).max().unwrap_or(0);
        let mut list = Vec::with_capacity(each * targets);
        for mut sources in lists {
            sources.resize(each, NO_SOURCE);
            list.extend(sources);
        }
        Self { each, list }
    }
}

/// See the module.
pub(super) struct Wiring {
    pub(super) granule_mossy: Sources,
    pub(super) golgi_mossy: Sources,
    pub(super) cluster_golgi: Sources,
    /// By source, a bit for each target.
    pub(super) golgi_granule: Vec<u32>,
    pub(super) nuclear_purkinje: Vec<u32>,
}

impl Wiring {
    pub(super) fn new(circuit: &Circuit, sizes: &Sizes) -> Self {
        let fibres = circuit.network.count(Cell::Mossy);
        let sources =
            |projection, sources, targets| Sources::new(circuit, projection, sources, targets);
        let bits = |projection, sources: usize, targets: usize| {
            let words = targets.div_ceil(32);
            let mut rows = vec![0_u32; sources * words];
            for source in 0..sources {
                for target in circuit.network.row(projection, source as u32).1 {
                    rows[source * words + target as usize / 32] |= 1 << (target % 32);
                }
            }
            rows
        };
        Self {
            granule_mossy: sources(MOSSY_GRANULE_AT, fibres, sizes.granules),
            golgi_mossy: sources(MOSSY_GOLGI_AT, fibres, sizes.golgi),
            cluster_golgi: sources(GOLGI_GRANULE_AT, sizes.golgi, sizes.golgi),
            golgi_granule: bits(GRANULE_GOLGI_AT, sizes.granules, sizes.golgi),
            nuclear_purkinje: bits(PURKINJE_NUCLEAR_AT, sizes.purkinje, sizes.nuclear),
        }
    }
}
