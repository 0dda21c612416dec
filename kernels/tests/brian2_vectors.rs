//! Single cells and pair STDP agree with Brian2, from vectors that `vectors/from_brian2.py` stored.
//!
//! Brian2 computes in f64 and we in f32, so potentials and traces agree to a tolerance and spike
//! times exactly.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is not as expected")]

mod support;

use purkinje_kernels::cerebellum::description::{
    Cell, CurrentLif, Description, Model, PairStdp, Pattern, Plasticity, Population, Port,
    Projection, Receptor, Weight,
};
use serde::Deserialize;
use support::plain::{Plain, Synapse};

/// Largest difference of a potential, thresholds.
const V_TOLERANCE: f64 = 2e-6;
/// Largest difference of a trace, spikes.
const TRACE_TOLERANCE: f64 = 2e-6;
/// Largest difference of a weight after 500 ms.
const WEIGHT_TOLERANCE: f64 = 2e-6;

#[derive(Deserialize)]
struct LifVectors {
    steps: usize,
    cells: Vec<LifCell>,
}

#[derive(Deserialize)]
struct LifCell {
    name: String,
    tau_m_ms: f32,
    tau_exc_ms: f32,
    tau_inh_ms: f32,
    refractory_ms: f32,
    drive: f32,
    v0: f32,
    exc: Vec<(usize, f32)>,
    inh: Vec<(usize, f32)>,
    spikes: Vec<usize>,
    v: Vec<f64>,
}

#[derive(Deserialize)]
struct StdpVectors {
    steps: usize,
    tau_pre_ms: f32,
    tau_post_ms: f32,
    a_plus: f64,
    a_minus: f64,
    rate: f64,
    pre: Vec<(usize, u32)>,
    post: Vec<(usize, u32)>,
    w0: Vec<f32>,
    at: Vec<usize>,
    x: Vec<Vec<f64>>,
    y: Vec<Vec<f64>>,
    w: Vec<Vec<f64>>,
}

fn input(cell: Cell, count: usize) -> Population {
    Population { cell, count, cluster: 1, model: Model::Input, receptors: Vec::new() }
}

fn current(
    cell: Cell,
    count: usize,
    lif: CurrentLif,
    tau_exc_ms: f32,
    tau_inh_ms: f32,
) -> Population {
    let receptors = [("exc", tau_exc_ms), ("inh", tau_inh_ms)].map(|(name, tau_ms)| Receptor {
        name: name.to_owned(),
        tau_ms,
        reversal_mv: 0.0,
        by_cluster: false,
    });
    Population { cell, count, cluster: 1, model: Model::Current(lif), receptors: receptors.into() }
}

fn projection(pre: Cell, post: Cell, receptor: usize, value: f32, share: f32) -> Projection {
    Projection {
        pre_range: None,
        pre,
        post,
        onto: vec![Port { receptor, share }],
        pattern: Pattern::AllToAll,
        zones: 1,
        weight: Weight::Constant { value },
        delay_steps: 1,
        plasticity: None,
    }
}

fn assert_close(what: &str, step: usize, got: f32, expected: f64, tolerance: f64) {
    let off = (got as f64 - expected).abs();
    assert!(
        off <= tolerance,
        "{what} after step {step}: {got}, Brian2 has {expected}, off {off:e}"
    );
}

#[test]
fn potentials_and_spike_times_of_single_cells_equal_those_of_brian2() {
    let vectors: LifVectors =
        serde_json::from_str(include_str!("vectors/brian2_lif.json")).unwrap();
    assert_eq!(vectors.cells.len(), 4);
    for cell in &vectors.cells {
        assert!(cell.spikes.len() >= 3, "{}: a vector that tests the reset", cell.name);
        let lif = CurrentLif {
            tau_m_ms: cell.tau_m_ms,
            refractory_ms: cell.refractory_ms,
            reset: 0.0,
            drive: cell.drive,
        };
        let description = Description {
            name: cell.name.clone(),
            source: "vectors/from_brian2.py".to_owned(),
            step_ms: 1.0,
            populations: vec![
                input(Cell::Mossy, 1),
                input(Cell::Golgi, 1),
                current(Cell::Granule, 1, lif, cell.tau_exc_ms, cell.tau_inh_ms),
            ],
            projections: vec![
                projection(Cell::Mossy, Cell::Granule, 0, cell.exc[0].1, 1.0),
                projection(Cell::Golgi, Cell::Granule, 1, cell.inh[0].1, 1.0),
            ],
        };
        let one = |weight| vec![Synapse { pre: 0, post: 0, weight }];
        let mut plain = Plain::new(&description, vec![one(cell.exc[0].1), one(cell.inh[0].1)]);
        plain.v_mut(Cell::Granule)[0] = cell.v0;
        let mut spikes = Vec::new();
        for step in 0..vectors.steps {
            for (source, train) in [(Cell::Mossy, &cell.exc), (Cell::Golgi, &cell.inh)] {
                if train.iter().any(|s| s.0 == step) {
                    plain.inject(source, &[0]);
                }
            }
            plain.step();
            spikes.extend(plain.spikes(Cell::Granule).iter().map(|_| step));
            assert_close(&cell.name, step, plain.v(Cell::Granule)[0], cell.v[step], V_TOLERANCE);
        }
        assert_eq!(spikes, cell.spikes, "{}: steps of its spikes", cell.name);
    }
}

#[test]
fn traces_and_weights_of_pair_stdp_equal_those_of_brian2() {
    let vectors: StdpVectors =
        serde_json::from_str(include_str!("vectors/brian2_stdp.json")).unwrap();
    // Spikes of the targets are given as well, so what reaches them must not move them.
    let lif = CurrentLif { tau_m_ms: 20.0, refractory_ms: 0.0, reset: 0.0, drive: 0.0 };
    let mut plastic = projection(Cell::Granule, Cell::Purkinje, 0, 0.5, 1e-6);
    plastic.plasticity = Some(Plasticity {
        w_min: 0.0,
        w_max: 1.0,
        potentiation: None,
        climbing: None,
        stdp: Some(PairStdp {
            tau_pre_ms: vectors.tau_pre_ms,
            tau_post_ms: vectors.tau_post_ms,
            a_plus: (vectors.rate * vectors.a_plus) as f32,
            a_minus: (vectors.rate * vectors.a_minus) as f32,
        }),
    });
    let description = Description {
        name: "pair STDP".to_owned(),
        source: "vectors/from_brian2.py".to_owned(),
        step_ms: 1.0,
        populations: vec![input(Cell::Granule, 5), current(Cell::Purkinje, 2, lif, 3.0, 10.0)],
        projections: vec![plastic],
    };
    let synapses = vectors.w0.iter().enumerate().map(|(k, &weight)| Synapse {
        pre: k as u32 / 2,
        post: k as u32 % 2,
        weight,
    });
    let mut plain = Plain::new(&description, vec![synapses.collect()]);
    let mut compared = 0;
    // Our synapses see a spike one step, the delay, after Brian2's, which have none here.
    for step in 0..=vectors.steps {
        for (cell, train) in [(Cell::Granule, &vectors.pre), (Cell::Purkinje, &vectors.post)] {
            let now: Vec<u32> = train.iter().filter(|s| s.0 == step).map(|s| s.1).collect();
            plain.inject(cell, &now);
        }
        plain.step();
        let Some(at) = vectors.at.iter().position(|&at| at + 1 == step) else { continue };
        let (x, y) = plain.stdp_traces(0).unwrap();
        for (&got, &expected) in x.iter().zip(&vectors.x[at]).chain(y.iter().zip(&vectors.y[at])) {
            assert_close("trace", step, got, expected, TRACE_TOLERANCE);
        }
        for (synapse, &expected) in plain.synapses(0).iter().zip(&vectors.w[at]) {
            assert_close("weight", step, synapse.weight, expected, WEIGHT_TOLERANCE);
        }
        compared += 1;
    }
    assert_eq!(compared, vectors.at.len());
}
