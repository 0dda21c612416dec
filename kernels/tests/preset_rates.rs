//! The named parameter sets fire as their sources say: mean rates of every population at rest, or
//! under the source's own stimulus, with plasticity off.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::f64::consts::TAU;

use purkinje_kernels::cerebellum::description::presets::okr_2012;
use purkinje_kernels::cerebellum::description::{Cell, Description, Population, preset};
use purkinje_kernels::cerebellum::engine::Simulation;
use purkinje_kernels::rng::Key;

/// Poisson rates by population: Hz by cell and step.
type Drive<'a> = &'a dyn Fn(Cell, usize, usize) -> f64;

/// Mean rates after `settle` steps over the following `steps`, Hz.
fn rates(network: &Description, settle: usize, steps: usize, drive: Drive) -> Vec<(Cell, f64)> {
    let mut simulation = Simulation::new(network, 1).unwrap();
    simulation.set_plastic(false);
    let key = Key::new(2);
    let mut counts = vec![0; network.populations.len()];
    let mut spikes = Vec::new();
    for step in 0..settle + steps {
        for input in network.populations.iter().filter(|p| p.receptors.is_empty()) {
            let key = key.fork(input.cell as u64).fork(step as u64);
            spikes.clear();
            spikes.extend((0..input.count as u32).filter(|&i| {
                let hz = drive(input.cell, i as usize, step);
                f64::from(key.uniform(u64::from(i))) < hz * 1e-3
            }));
            simulation.inject(input.cell, &spikes);
        }
        simulation.step();
        if step >= settle {
            for (count, population) in counts.iter_mut().zip(&network.populations) {
                *count += simulation.spikes(population.cell).len();
            }
        }
    }
    let mean = |(&n, p): (&usize, &Population)| {
        (p.cell, n as f64 / (p.count as f64 * steps as f64 * 1e-3))
    };
    counts.iter().zip(&network.populations).map(mean).collect()
}

/// Fails, with all rates, unless each lies within its bounds, Hz.
fn assert_within(name: &str, rates: &[(Cell, f64)], bounds: &[(Cell, f64, f64)]) {
    for &(cell, low, high) in bounds {
        let hz = rates.iter().find(|r| r.0 == cell).unwrap().1;
        assert!(
            (low..=high).contains(&hz),
            "{name}: {cell} at {hz:.2} Hz, {low} to {high}\n{rates:.2?}"
        );
    }
    println!("{name}: {rates:.2?}");
}

#[test]
fn the_optokinetic_network_fires_as_in_the_paper() {
    // The paper's stimulus, on a granule cell's private fibre with the 5 Hz of three others; bounds
    // are a tenth about an independent program of the paper's equations: granule 5.1, Golgi 2.2,
    // basket 66, Purkinje 88, nuclear 44 Hz before learning.
    let phases: Vec<f64> =
        (0..2000).map(|step| 0.5 * (1.0 - (TAU * f64::from(step) / 2000.0).cos())).collect();
    let network = okr_2012();
    let granule_cells = network.population(Cell::Granule).unwrap().count;
    let drive = |cell, i, step: usize| {
        let phase = phases[step % 2000];
        match cell {
            // Behind the granule cells' own fibres are the nucleus's.
            Cell::Mossy if i >= granule_cells => 30.0 * phase,
            Cell::Mossy => 30.0 * phase + 15.0,
            _ => 3.0 * phase,
        }
    };
    let rates = rates(&network, 2000, 2000, &drive);
    assert_within(
        "okr-2012",
        &rates,
        &[
            (Cell::Granule, 4.6, 5.6),
            (Cell::Golgi, 1.9, 2.5),
            (Cell::Basket, 60.0, 73.0),
            (Cell::Purkinje, 80.0, 96.0),
            (Cell::Nuclear, 39.0, 49.0),
            (Cell::Olive, 0.2, 3.0),
        ],
    );
}

#[test]
fn the_awake_mouse_network_rests_at_the_rates_of_its_source() {
    // Granule 3.4 ± 3.4, Golgi 11 ± 5, Purkinje 91, basket 21, stellate 18, projecting 45 and
    // nucleo-olivary 13 Hz.
    let drive = |cell, _, _| if cell == Cell::Mossy { 4.0 } else { 0.0 };
    let rates = rates(&preset("mouse-awake").unwrap(), 500, 2000, &drive);
    assert_within(
        "mouse-awake",
        &rates,
        &[
            (Cell::Granule, 1.0, 6.0),
            (Cell::Golgi, 5.0, 16.0),
            (Cell::Purkinje, 75.0, 105.0),
            (Cell::Basket, 10.0, 30.0),
            (Cell::Stellate, 10.0, 30.0),
            (Cell::Nuclear, 30.0, 60.0),
            (Cell::NucleoOlivary, 8.0, 18.0),
        ],
    );
}

#[test]
fn the_scaffold_fires_at_rates_of_life() {
    // Glomeruli at 1 Hz; the ranges of awake recordings.
    let drive = |_, _, _| 1.0;
    let rates = rates(&preset("scaffold").unwrap(), 500, 1000, &drive);
    assert_within(
        "scaffold",
        &rates,
        &[
            (Cell::Granule, 0.3, 5.0),
            (Cell::Golgi, 5.0, 25.0),
            (Cell::Purkinje, 40.0, 95.0),
            (Cell::Basket, 5.0, 30.0),
            (Cell::Stellate, 5.0, 30.0),
            (Cell::Nuclear, 5.0, 90.0),
        ],
    );
}

#[test]
fn the_benchmark_fires_at_the_rates_all_simulators_agree_on() {
    let key = Key::new(3);
    let drive = |cell, i: usize, _| match cell {
        Cell::Mossy => 20.0 + 20.0 * f64::from(key.uniform(i as u64)),
        _ => 1.0,
    };
    for (name, granule, golgi, purkinje, nuclear) in [
        ("benchmark-s", 2.77, 8.2, 50.8, 47.7),
        ("benchmark-m", 3.04, 6.7, 57.9, 44.5),
        ("benchmark-l", 3.04, 6.4, 58.0, 44.0),
    ] {
        let rates = rates(&preset(name).unwrap(), 0, 1000, &drive);
        let near = |cell, hz| (cell, 0.9 * hz, 1.1 * hz);
        let bounds = [
            near(Cell::Granule, granule),
            near(Cell::Golgi, golgi),
            near(Cell::Purkinje, purkinje),
            near(Cell::Nuclear, nuclear),
        ];
        assert_within(name, &rates, &bounds);
    }
}
