//! The engine against the slow, plain reference: the same spikes in every population and step, and
//! the same weights but for the rounding of the lazy rules, on every instruction set.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is not as expected")]

mod support;

use purkinje_kernels::cerebellum::connect::{connect, weights};
use purkinje_kernels::cerebellum::description::presets::{Rule, Size, benchmark};
use purkinje_kernels::cerebellum::description::{Cell, Description, Kernel, Weight};
use purkinje_kernels::cerebellum::engine::{Explicit, Isa, Simulation};
use purkinje_kernels::rng::Key;
use std::path::Path;
use support::exported::{CELLS, Mode, load};
use support::plain::{Plain, Synapse};

/// Draws the connections of a description, for both simulators.
fn draw(description: &Description) -> (Vec<Vec<Synapse>>, Vec<Option<Explicit>>) {
    let mut plain = Vec::new();
    let mut explicit = Vec::new();
    for (k, projection) in description.projections.iter().enumerate() {
        let key = Key::new(11).fork(k as u64);
        let population = |cell| description.population(cell).unwrap();
        let (pre, post) = (population(projection.pre), population(projection.post));
        let connections = connect(projection, pre, post, key.fork(0));
        let weights = weights(projection.weight, connections.edges(), key.fork(1));
        let rows = connections.clone().into_rows();
        let synapses = (0..rows.sources).flat_map(|s| {
            let start = rows.start[s] as usize;
            rows.row(s).iter().enumerate().map(move |(j, &post)| (s as u32, post, start + j))
        });
        plain.push(
            synapses.map(|(pre, post, at)| Synapse { pre, post, weight: weights[at] }).collect(),
        );
        explicit.push(Some(Explicit { connections, weights }));
    }
    (plain, explicit)
}

/// Runs both and compares; returns how many Purkinje spikes there were and the largest difference of
/// a weight, in mean weights.
fn compare(
    isa: Isa,
    description: &Description,
    (synapses, explicit): (Vec<Vec<Synapse>>, Vec<Option<Explicit>>),
    v0: &dyn Fn(Cell, usize) -> Vec<f32>,
    input: &dyn Fn(usize) -> (Vec<u32>, Vec<u32>),
    steps: usize,
) -> (usize, f64) {
    let mut plain = Plain::new(description, synapses);
    let mut engine = Simulation::on(isa, description, explicit, 1).unwrap();
    for cell in CELLS {
        let v = v0(cell, plain.v(cell).len());
        plain.v_mut(cell).copy_from_slice(&v);
        engine.potentials_mut(cell).copy_from_slice(&v);
    }
    let mut purkinje = 0;
    for step in 0..steps {
        let (mossy, climbing) = input(step);
        plain.inject(Cell::Mossy, &mossy);
        plain.inject(Cell::Olive, &climbing);
        engine.inject(Cell::Mossy, &mossy);
        engine.inject(Cell::Olive, &climbing);
        plain.step();
        engine.step();
        for cell in CELLS {
            assert_eq!(engine.spikes(cell), plain.spikes(cell), "{isa:?}, {cell:?}, step {step}");
        }
        purkinje += plain.spikes(Cell::Purkinje).len();
    }
    let parallel = description
        .projections
        .iter()
        .position(|p| (p.pre, p.post) == (Cell::Granule, Cell::Purkinje))
        .unwrap();
    let expected = plain.synapses(parallel);
    let mean = expected.iter().map(|s| s.weight as f64).sum::<f64>() / expected.len() as f64;
    let settled = engine.weights(Cell::Granule, Cell::Purkinje);
    assert_eq!(settled.len(), expected.len());
    let off = expected
        .iter()
        .zip(settled)
        .map(|(s, w)| ((s.weight - w) as f64 / mean).abs())
        .fold(0.0, f64::max);
    (purkinje, off)
}

/// Fewer granule cells with stronger synapses: what is compared is every kind of population,
/// projection and rule, not the size.
fn shrink(description: &mut Description) {
    const GRANULE: usize = 2_000;
    let granule = description.population(Cell::Granule).unwrap().count;
    let factor = granule as f32 / GRANULE as f32;
    for population in &mut description.populations {
        population.count = match population.cell {
            Cell::Granule => GRANULE,
            Cell::Mossy => 120,
            Cell::Golgi => 20,
            _ => population.count,
        };
    }
    for projection in &mut description.projections {
        let Some(rule) = &mut projection.plasticity else {
            if (projection.pre, projection.post) == (Cell::Granule, Cell::Purkinje) {
                projection.weight = scaled(projection.weight, factor);
            }
            continue;
        };
        projection.weight = scaled(projection.weight, factor);
        rule.w_max *= factor;
        if let Some(potentiation) = &mut rule.potentiation {
            potentiation.amount *= factor;
        }
        if let Some(climbing) = &mut rule.climbing {
            climbing.amount *= factor;
        }
        if let Some(stdp) = &mut rule.stdp {
            (stdp.a_plus, stdp.a_minus) = (stdp.a_plus * factor, stdp.a_minus * factor);
        }
    }
}

fn scaled(weight: Weight, factor: f32) -> Weight {
    match weight {
        Weight::Constant { value } => Weight::Constant { value: factor * value },
        Weight::Uniform { mean, jitter } => Weight::Uniform { mean: factor * mean, jitter },
    }
}

fn drawn(mut description: Description, steps: usize, climbing_hz: f32) {
    shrink(&mut description);
    let count = |cell| description.population(cell).map_or(0, |p| p.count) as u32;
    let (mossy, olives) = (count(Cell::Mossy), count(Cell::Olive));
    let key = Key::new(5);
    let spikes = |tag: u64, cells: u32, hz: f32, step: usize| -> Vec<u32> {
        let key = key.fork(tag).fork(step as u64);
        (0..cells).filter(|&c| key.uniform(c as u64) < hz * 1e-3).collect()
    };
    for isa in Isa::here() {
        let v0 = |cell: Cell, n: usize| -> Vec<f32> {
            (0..n).map(|k| key.fork(9).fork(cell as u64).uniform(k as u64)).collect()
        };
        let input = |step| (spikes(1, mossy, 30.0, step), spikes(2, olives, climbing_hz, step));
        let (purkinje, off) = compare(isa, &description, draw(&description), &v0, &input, steps);
        println!(
            "{} {isa:?}: {purkinje} Purkinje spikes, weights off by {off:.2e}",
            description.name
        );
        assert!(purkinje > 500, "{purkinje} spikes");
        assert!(off < 1e-5, "weights differ by {off} of the mean");
    }
}

#[test]
fn static_dense_and_listed_networks_spike_alike() {
    drawn(benchmark(Size::S, Rule::Static), 600, 1.0);
    drawn(benchmark(Size::M, Rule::Static), 600, 1.0);
}

#[test]
fn lazy_pair_stdp_equals_the_eager_rule() {
    drawn(benchmark(Size::S, Rule::Stdp), 2_000, 1.0);
    drawn(benchmark(Size::M, Rule::Stdp), 2_000, 1.0);
}

#[test]
fn lazy_climbing_fibre_depression_equals_the_eager_rule() {
    drawn(benchmark(Size::S, Rule::Climbing), 2_000, 8.0);
    drawn(benchmark(Size::M, Rule::Climbing), 2_000, 8.0);
}

#[test]
fn a_kernel_that_peaks_late_equals_the_eager_rule() {
    let mut description = benchmark(Size::S, Rule::Climbing);
    for projection in &mut description.projections {
        if let Some(climbing) = projection.plasticity.as_mut().and_then(|p| p.climbing.as_mut()) {
            climbing.kernel = Kernel::Difference { slow_ms: 120.0, fast_ms: 80.0 };
        }
    }
    drawn(description, 2_000, 8.0);
}

#[test]
fn the_benchmark_network_spikes_alike_in_every_mode() {
    let Some(network) = load("S", Path::new(env!("CARGO_TARGET_TMPDIR"))) else { return };
    for mode in Mode::ALL {
        let description = network.description(mode);
        let v0 =
            |cell: Cell, _: usize| network.v0().into_iter().find(|(c, _)| *c == cell).unwrap().1;
        let input = |step: usize| (network.mossy[step].clone(), network.climbing[step].clone());
        let (purkinje, off) = compare(
            Isa::best(),
            &description,
            (network.connections(), network.explicit()),
            &v0,
            &input,
            network.steps,
        );
        println!("S {mode:?}: {purkinje} Purkinje spikes, weights off by {off:.2e}");
        assert!(off < 1e-5, "{mode:?}: weights differ by {off} of the mean");
    }
}
