//! The trainable network and the engine fire the same spikes: what is trained is what runs.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod supervised;

use purkinje_kernels::cerebellum::connect::{Connections, Rows};
use purkinje_kernels::cerebellum::description::{
    Cell, Description, Model, Pattern, Population, Port, Projection, Receptor, Weight,
};
use purkinje_kernels::cerebellum::engine::{Explicit, Simulation};
use purkinje_kernels::rng::Key;
use purkinje_kernels::supervised::{Cells, MossyGain, Network, NetworkParts, Spiking, Workspace};
use supervised::{TINY, circuit, poisson};

fn population(cell: Cell, cells: &Cells<f32>, cluster: usize) -> Population {
    let receptor = |name: &str, tau_ms, by_cluster| Receptor {
        name: name.to_owned(),
        tau_ms,
        reversal_mv: 0.0,
        by_cluster,
    };
    Population {
        cell,
        count: cells.drive.len(),
        cluster,
        model: Model::Current(cells.lif),
        receptors: vec![
            receptor("AMPA", cells.tau_exc_ms, false),
            receptor("GABA", cells.tau_inh_ms, cluster > 1),
        ],
    }
}

/// The engine's network with the same connections, weights, drives and potentials.
fn engine(parts: &NetworkParts<f32>) -> Simulation {
    let cells = [
        (Cell::Granule, &parts.granule, parts.granule_cluster),
        (Cell::Golgi, &parts.golgi, 1),
        (Cell::Purkinje, &parts.purkinje, 1),
        (Cell::Nuclear, &parts.nuclear, 1),
    ];
    let mut populations = vec![Population {
        cell: Cell::Mossy,
        count: TINY.fibres,
        cluster: 1,
        model: Model::Input,
        receptors: Vec::new(),
    }];
    populations.extend(cells.map(|(cell, cells, cluster)| population(cell, cells, cluster)));
    let links = [
        (Cell::Mossy, Cell::Granule, &parts.mossy_granule, 0, 1.0, TINY.granule),
        (Cell::Mossy, Cell::Golgi, &parts.mossy_golgi, 0, 1.0, TINY.golgi),
        (Cell::Granule, Cell::Golgi, &parts.granule_golgi, 0, 1.0, TINY.golgi),
        (Cell::Golgi, Cell::Granule, &parts.golgi_granule, 1, 1.0, TINY.golgi),
        (Cell::Granule, Cell::Purkinje, &parts.parallel, 0, parts.parallel_unit, TINY.purkinje),
        (Cell::Purkinje, Cell::Nuclear, &parts.purkinje_nuclear, 1, 1.0, TINY.nuclear),
    ];
    let projections = links.map(|(pre, post, link, receptor, ..)| Projection {
        pre,
        pre_range: None,
        post,
        onto: vec![Port { receptor, share: 1.0 }],
        pattern: Pattern::AllToAll,
        zones: 1,
        weight: Weight::Constant { value: 1.0 },
        delay_steps: link.delay_steps,
        plasticity: None,
    });
    let explicit = links.map(|(_, _, link, _, unit, targets)| {
        let rows = Rows {
            sources: link.fan_out.sources(),
            targets,
            cells_per_source: 1,
            start: link.fan_out.starts.clone(),
            target: link.fan_out.targets.clone(),
        };
        let weights = link.fan_out.weights.iter().map(|w| unit * w).collect();
        Some(Explicit { connections: Connections::Sparse(rows), weights })
    });
    let description = Description {
        name: "trainable".to_owned(),
        source: "test".to_owned(),
        step_ms: parts.step_ms,
        populations,
        projections: projections.to_vec(),
    };
    let mut simulation = Simulation::with_connections(&description, explicit.to_vec(), 1).unwrap();
    for (cell, cells, _) in cells {
        simulation.drive_mut(cell).copy_from_slice(&cells.drive);
        simulation.potentials_mut(cell).copy_from_slice(&cells.start);
    }
    simulation
}

#[test]
fn the_trainable_network_fires_the_engines_spikes() {
    for refractory_ms in [0.0, 2.0] {
        let parts = circuit::<f32>(TINY, MossyGain::Fixed, refractory_ms);
        let mut simulation = engine(&parts);
        let network = Network::new(parts).unwrap();
        let mut work = Workspace::new(&network, Spiking::Hard);
        let mossy = poisson(&[90.0; TINY.fibres], TINY.steps, Key::new(1));
        network.forward(&network.initial_parameters(), &mossy, &mut work);
        let mut counts = [0; 4];
        for n in 0..TINY.steps {
            simulation.inject(Cell::Mossy, mossy.at(n));
            simulation.step();
            let by_layer = [
                (Cell::Granule, work.granule_spikes(n)),
                (Cell::Golgi, work.golgi_spikes(n)),
                (Cell::Purkinje, work.purkinje_spikes(n)),
                (Cell::Nuclear, work.nuclear_spikes(n)),
            ];
            for (count, (cell, spikes)) in counts.iter_mut().zip(by_layer) {
                assert_eq!(simulation.spikes(cell), spikes, "{cell:?}, step {n}");
                *count += spikes.len();
            }
        }
        assert!(counts.iter().all(|&n| n >= 5), "every population took part: {counts:?}");
    }
}
