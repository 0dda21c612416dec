//! How many synapses cells really have: in- and out-degrees of drawn connections.
//!
//! Invariants: counts are of single cells, also where a cluster of targets shares its synapses; only
//! the sources that take part have an out-degree.

use serde::Serialize;

use crate::cerebellum::connect::addresses_clusters;
use crate::cerebellum::description::{Cell, Description};
use crate::cerebellum::engine::Network;

/// Mean and standard deviation over cells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Moments {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub sd: f64,
}

impl Moments {
    /// Of some values; 0 where there are none.
    pub(super) fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let n = values.clone().count().max(1) as f64;
        let mean = values.clone().sum::<f64>() / n;
        let variance = values.map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        Self { mean, sd: variance.sqrt() }
    }
}

/// The degrees of one projection.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Degrees {
    /// Presynaptic population.
    pub pre: Cell,
    /// Postsynaptic population.
    pub post: Cell,
    /// Synapses a postsynaptic cell.
    pub fan_in: Moments,
    /// Synapses a presynaptic cell.
    pub fan_out: Moments,
}

/// The degrees of every projection of `network`, which is that of `description`.
pub(super) fn degrees(description: &Description, network: &Network) -> Vec<Degrees> {
    let measured = description.projections.iter().enumerate().filter_map(|(k, projection)| {
        let pre = description.population(projection.pre)?;
        let post = description.population(projection.post)?;
        let cluster = if addresses_clusters(projection, post) { post.cluster } else { 1 };
        let mut fan_in = vec![0_u32; post.count];
        let sources = projection.pre_range.clone().unwrap_or(0..pre.count);
        let fan_out: Vec<u32> = sources
            .map(|source| {
                let mut reached = 0;
                for unit in network.row(k, source as u32).1 {
                    let first = unit as usize * cluster;
                    let cells = &mut fan_in[first..post.count.min(first + cluster)];
                    reached += cells.len() as u32;
                    for n in cells.iter_mut() {
                        *n += 1;
                    }
                }
                reached
            })
            .collect();
        let moments = |of: &[u32]| Moments::of(of.iter().map(|&n| f64::from(n)));
        Some(Degrees {
            pre: projection.pre,
            post: projection.post,
            fan_in: moments(&fan_in),
            fan_out: moments(&fan_out),
        })
    });
    measured.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cerebellum::description::presets::okr_2012;
    use crate::cerebellum::engine::Isa;
    use crate::rng::Key;

    #[test]
    fn degrees_are_those_of_cells_also_where_clusters_share_synapses() {
        let network = okr_2012();
        let drawn = Network::new(&network, Vec::new(), Key::new(1), Isa::best());
        let degrees = degrees(&network, &drawn);
        let of = |ends| degrees.iter().find(|d| (d.pre, d.post) == ends).unwrap();
        // 4 glomeruli of 2 % of 81 Golgi cells; as many Golgi cells as clusters of 100.
        let inhibition = of((Cell::Golgi, Cell::Granule));
        assert!((inhibition.fan_in.mean - 8.1).abs() < 0.3, "{inhibition:?}");
        assert!((inhibition.fan_out.mean - 100.0 * inhibition.fan_in.mean).abs() < 1e-6);
        let beam = of((Cell::Granule, Cell::Purkinje));
        assert_eq!((beam.fan_in.mean, beam.fan_in.sd), (28_800.0, 0.0));
        // The fibres of the nucleus reach no granule cell and have no out-degree there.
        assert_eq!(of((Cell::Mossy, Cell::Granule)).fan_out.mean, 1.0);
    }
}
