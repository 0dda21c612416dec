//! "okr-2012": optokinetic gain adaptation, after Yamazaki and Nagao, "A Computational Mechanism
//! for Unified Gain and Timing Control in the Cerebellum" (PLoS ONE 7:e33319, 2012).
//!
//! The paper's numbers at its step of 1 ms. What differs, and why it makes no difference: the four
//! mossy fibres of a granule cell have equal synapses, so one private fibre stands for them, which
//! is to fire at the sum of their rates (one of 0 to 30 Hz with the stimulus, three of 5 Hz); the
//! three basket cells of a Purkinje cell are its own and its neighbours on either side. The 100
//! fibres of the nucleus follow those of the granule cells.

use super::super::{
    AfterHyperpolarisation, Cell, Climbing, ConductanceLif, Description, Kernel, Model, Pattern,
    Plasticity, Population, Port, Potentiation, Projection, Receptor,
};
use super::{cells, input, projection, receptor};

/// Golgi cells, and clusters of granule cells: a torus of 32 × 32.
const GOLGI: usize = 32 * 32;
/// Granule cells of a cluster, which share their inhibition.
const CLUSTER: usize = 100;
const PURKINJE: usize = 16;
/// Mossy fibres that reach the nucleus.
const NUCLEAR_FIBRES: usize = 100;
/// A cycle of the stimulus, at whose end depression takes effect, ms.
const CYCLE_MS: usize = 2000;

/// The network.
pub fn okr_2012() -> Description {
    okr_2012_of(CLUSTER)
}

/// The network with `cluster` granule cells in each of its 1,024 clusters in place of 100, their
/// synapses stronger in proportion: what fits in a short test. Its name is that of the whole.
pub fn okr_2012_of(cluster: usize) -> Description {
    Description {
        name: "okr-2012".into(),
        source: "Yamazaki and Nagao, PLoS ONE 7:e33319 (2012)".into(),
        step_ms: 1.0,
        populations: populations(cluster),
        projections: granular_layer(cluster).into_iter().chain(output(cluster)).collect(),
    }
}

fn populations(cluster: usize) -> Vec<Population> {
    let granule_cells = GOLGI * cluster;
    let by_cluster = |mut r: Receptor| {
        r.by_cluster = true;
        r
    };
    let granule = ConductanceLif { reset_mv: Some(-58.0), ..lif([3.1, 0.43, -58.0, -35.0, 0.0]) };
    let golgi =
        ConductanceLif { reset_mv: Some(-55.0), ..lif([28.0, 1.0 / 0.428, -55.0, -52.0, 0.0]) };
    let molecular = lif([106.0, 1.0 / 0.431, -68.0, -55.0, 0.0]);
    let model = |lif, [g_ns, reversal_mv, tau_ms]: [f32; 3]| {
        Model::Conductance(ConductanceLif {
            ahp: Some(AfterHyperpolarisation { g_ns, reversal_mv, tau_ms }),
            ..lif
        })
    };
    vec![
        input(Cell::Mossy, granule_cells + NUCLEAR_FIBRES),
        Population {
            cluster,
            ..cells(
                Cell::Granule,
                granule_cells,
                model(granule, [1.0, -82.0, 5.0]),
                [
                    receptor("AMPA", 1.2, 0.0),
                    receptor("NMDA", 52.0, 0.0),
                    by_cluster(receptor("GABA", 7.0, -82.0)),
                    by_cluster(receptor("GABA slow", 59.0, -82.0)),
                ],
            )
        },
        cells(
            Cell::Golgi,
            GOLGI,
            model(golgi, [20.0, -72.7, 5.0]),
            [
                receptor("AMPA", 1.5, 0.0),
                receptor("NMDA", 31.0, 0.0),
                receptor("NMDA slow", 170.0, 0.0),
            ],
        ),
        cells(
            Cell::Basket,
            PURKINJE,
            model(molecular, [100.0, -70.0, 2.5]),
            [receptor("AMPA", 8.3, 0.0)],
        ),
        cells(
            Cell::Purkinje,
            PURKINJE,
            model(ConductanceLif { current_pa: 250.0, ..molecular }, [100.0, -70.0, 2.5]),
            [receptor("AMPA", 8.3, 0.0), receptor("GABA", 10.0, -75.0)],
        ),
        cells(
            Cell::Nuclear,
            1,
            model(lif([122.3, 1.0 / 0.61, -56.0, -38.8, 700.0]), [50.0, -70.0, 5.0]),
            [
                receptor("AMPA", 9.9, 0.0),
                receptor("NMDA", 30.5, 0.0),
                receptor("GABA", 42.3, -88.0),
            ],
        ),
        cells(
            Cell::Olive,
            1,
            model(lif([1.0, 0.015, -60.0, -50.0, 0.0]), [1.0, -70.0, 5.0]),
            [receptor("AMPA", 10.0, 0.0), receptor("GABA", 10.0, -75.0)],
        ),
        input(Cell::PreOlive, 1),
    ]
}

/// Without after-hyperpolarisation: capacitance, leak, its reversal, threshold, current.
const fn lif(of: [f32; 5]) -> ConductanceLif {
    let [c_pf, leak_ns, leak_mv, threshold_mv, current_pa] = of;
    ConductanceLif {
        c_pf,
        leak_ns,
        leak_mv,
        threshold_mv,
        reset_mv: None,
        refractory_ms: 0.0,
        current_pa,
        noise_pa: 0.0,
        ahp: None,
    }
}

fn ports<const N: usize>(of: [(usize, f32); N]) -> Vec<Port> {
    of.map(|(receptor, share)| Port { receptor, share }).to_vec()
}

/// What a synapse of one of `cluster` granule cells is multiplied by to stand for its share of 100.
fn stronger(cluster: usize) -> f32 {
    CLUSTER as f32 / cluster as f32
}

fn granular_layer(cluster: usize) -> [Projection; 3] {
    use Cell::{Golgi, Granule, Mossy};
    let near = |reach: i32, p, spread| Pattern::Neighbours { from: -reach, to: reach, p, spread };
    let mut mossy = projection((Mossy, Granule), 0, Pattern::OneToOne, 0.18 * 4.0, 0);
    mossy.pre_range = Some(0..GOLGI * cluster);
    mossy.onto = ports([(0, 0.88), (1, 0.12)]);
    let mut golgi = projection((Golgi, Granule), 0, near(4, 0.025, 2), 0.028 * 20.0, 0);
    golgi.onto = ports([(2, 0.43), (3, 0.57)]);
    let to_golgi = 45.5 * 0.2 / 4900.0 * stronger(cluster);
    let mut granule = projection((Granule, Golgi), 0, near(3, 0.05, 1), to_golgi, 0);
    granule.onto = ports([(0, 0.8), (1, 0.066), (2, 0.134)]);
    [mossy, golgi, granule]
}

fn output(cluster: usize) -> [Projection; 7] {
    use Cell::{Basket, Granule, Mossy, Nuclear, Olive, PreOlive, Purkinje};
    let beam = Pattern::Stripes { columns: 32, reach: 4 };
    let w_max = 0.7 * 0.003 * stronger(cluster);
    let mut learned = projection((Granule, Purkinje), 0, beam, w_max, 0);
    learned.plasticity = Some(Plasticity {
        w_min: 0.0,
        w_max,
        potentiation: Some(Potentiation { amount: 1e-4 * w_max, soft: true }),
        climbing: Some(Climbing {
            kernel: Kernel::Window { length_ms: 50.0 },
            amount: 0.005,
            proportional: true,
            block_steps: CYCLE_MS,
        }),
        stdp: None,
    });
    let beside = Pattern::Stripes { columns: PURKINJE, reach: 1 };
    let mut nucleus = projection((Mossy, Nuclear), 0, Pattern::AllToAll, 50.0 * 0.2 / 100.0, 0);
    nucleus.pre_range = Some(GOLGI * cluster..GOLGI * cluster + NUCLEAR_FIBRES);
    nucleus.onto = ports([(0, 0.66), (1, 0.34)]);
    let all = Pattern::AllToAll;
    let basket = 0.7 * 300.0 / (GOLGI * cluster) as f32;
    [
        learned,
        projection((Granule, Basket), 0, beam, basket, 0),
        projection((Basket, Purkinje), 1, beside, 16.0 / 3.0, 0),
        projection((Purkinje, Nuclear), 2, all, 30.0 * 0.12 / PURKINJE as f32, 0),
        nucleus,
        projection((PreOlive, Olive), 0, all, 0.1, 0),
        projection((Nuclear, Olive), 1, all, 0.018 * 4.0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::super::Extent;
    use super::*;

    #[test]
    fn fan_ins_are_those_of_the_paper() {
        let network = okr_2012();
        for (pre, post, expected) in [
            (Cell::Mossy, Cell::Granule, 1.0),
            // 4 glomeruli, each reached by 2 % of 81 Golgi cells.
            (Cell::Golgi, Cell::Granule, 4.0 * 81.0 * 0.025),
            (Cell::Granule, Cell::Golgi, 49.0 * 0.05 * 100.0),
            (Cell::Granule, Cell::Purkinje, 28_800.0),
            (Cell::Basket, Cell::Purkinje, 3.0),
            (Cell::Purkinje, Cell::Nuclear, 16.0),
            (Cell::Mossy, Cell::Nuclear, 100.0),
        ] {
            let p = network.projections.iter().find(|p| (p.pre, p.post) == (pre, post)).unwrap();
            let [a, b] = [pre, post].map(|cell| network.population(cell).unwrap());
            let fan_in = Extent::new(p, a, b).fan_in;
            assert!((fan_in - expected).abs() < 1e-3 * expected, "{pre} to {post}: {fan_in}");
        }
    }
}
