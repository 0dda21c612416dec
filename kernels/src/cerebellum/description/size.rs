//! How large a projection is before it is drawn: what validation bounds and the table shows.
//!
//! Numbers are expected values where a pattern draws, and exact otherwise (stripes: exact where the
//! columns divide both ends).

use super::{Pattern, Population, Projection};
use crate::cerebellum::connect::{addresses_clusters, part};

/// The expected size of a projection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extent {
    /// Entries of the weight vector.
    pub edges: f64,
    /// Pairs of cells that these join: more where clusters share entries.
    pub synapses: f64,
    /// Whether targets need not be listed.
    pub dense: bool,
    /// Synapses a target cell.
    pub fan_in: f64,
    /// Synapses a source cell that takes part.
    pub fan_out: f64,
    /// Rows, one a source unit.
    pub rows: usize,
}

impl Extent {
    /// The size of `projection` between `pre` and `post`.
    pub fn new(projection: &Projection, pre: &Population, post: &Population) -> Self {
        let by_cluster = addresses_clusters(projection, post);
        let sources = projection.pre_range.as_ref().map_or(pre.count, std::ops::Range::len);
        let targets = if by_cluster { post.clusters() } else { post.count };
        let zones = projection.zones.max(1);
        let recurrent = pre.cell == post.cell && !by_cluster;
        let pairs = |z| {
            let (s, t) =
                (part(sources, zones, z).len() as f64, part(targets, zones, z).len() as f64);
            (s, t)
        };
        let over_zones = |of: &dyn Fn(f64, f64) -> f64| -> f64 {
            (0..zones).map(pairs).map(|(s, t)| of(s, t)).sum()
        };
        let all = over_zones(&|s, t| s * t);
        let by_cell = matches!(projection.pattern, Pattern::Neighbours { .. });
        let edges = match projection.pattern {
            Pattern::AllToAll => all,
            Pattern::OneToOne => over_zones(&f64::max),
            Pattern::InDegree { sources } => sources as f64 * targets as f64,
            Pattern::OutDegree { targets } => targets as f64 * sources as f64,
            Pattern::Probability { p } => {
                f64::from(p) * (all - if recurrent { sources as f64 } else { 0.0 })
            }
            Pattern::Stripes { columns, reach } => {
                all * (2 * reach + 1) as f64 / columns.max(1) as f64
            }
            Pattern::Neighbours { from, to, p, spread } => {
                let places = (f64::from(to) - f64::from(from) + 1.0) * spread as f64;
                places * places * f64::from(p) * targets as f64
            }
        };
        let source_cells = if by_cell { pre.cluster as f64 } else { 1.0 };
        let target_cells = post.count as f64 / targets.max(1) as f64;
        let synapses = edges * source_cells * target_cells;
        Self {
            edges,
            synapses,
            dense: projection.pattern == Pattern::AllToAll && projection.pre_range.is_none(),
            fan_in: synapses / post.count as f64,
            fan_out: synapses / sources as f64,
            rows: if by_cell { pre.clusters() } else { pre.count },
        }
    }

    /// Bytes of the weights and, where targets are listed, of the lists.
    pub fn bytes(&self) -> f64 {
        if self.dense { 4.0 * self.edges } else { 8.0 * self.edges + 4.0 * (self.rows + 1) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::super::presets::{NAMES, preset};
    use super::*;
    use crate::cerebellum::connect::connect;
    use crate::rng::Key;

    #[test]
    fn the_size_foretold_is_the_size_drawn() {
        for name in NAMES.iter().filter(|&&name| name != "benchmark-l") {
            let network = preset(name).unwrap();
            for (k, projection) in network.projections.iter().enumerate() {
                let pre = network.population(projection.pre).unwrap();
                let post = network.population(projection.post).unwrap();
                let foretold = Extent::new(projection, pre, post);
                let drawn = connect(projection, pre, post, Key::new(1).fork(k as u64));
                assert_eq!(drawn.sources(), foretold.rows);
                let apart = (drawn.edges() as f64 - foretold.edges).abs();
                let allowed = match projection.pattern {
                    // The deviation of a binomial count, times the targets that one draw reaches.
                    Pattern::Probability { .. } | Pattern::Neighbours { .. } => {
                        10.0 * foretold.edges.sqrt() + 1.0
                    }
                    _ => 0.5,
                };
                assert!(apart <= allowed, "{name} {projection:?}: {apart} of {}", foretold.edges);
            }
        }
    }
}
