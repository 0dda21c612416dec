//! The benchmark network fires at its published rates in every mode of plasticity.
//!
//! The network and its inputs are those of `../shared/bench/snn`, on which NEST, Brian2, GeNN and
//! numba agree; tests skip, saying so, where it or numpy is absent. Sizes M and L take half a minute
//! and are ignored unless asked for.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is not as expected")]

mod support;

use purkinje_kernels::cerebellum::description::Cell;
use std::path::Path;
use support::exported::{CELLS, Exported, Mode, check_rates, load};
use support::plain::Plain;

/// Mean parallel-fibre weight after the second, of the nominal one: what the numba loops of
/// `../shared/bench/snn/ref_numba.py` arrive at on size S, by mode.
const MEAN_WEIGHTS_S: [(Mode, f64); 3] =
    [(Mode::Static, 0.9996), (Mode::Stdp, 0.9997), (Mode::Climbing, 1.0012)];

fn network(size: &str) -> Option<Exported> {
    load(size, Path::new(env!("CARGO_TARGET_TMPDIR")))
}

/// Runs the second of input; gives the simulator and the rates.
fn run(network: &Exported, mode: Mode) -> (Plain, [f64; 4]) {
    let mut plain = Plain::new(&network.description(mode), network.connections());
    for (cell, v0) in network.v0() {
        plain.v_mut(cell).copy_from_slice(&v0);
    }
    let mut spikes = [0_usize; 4];
    for step in 0..network.steps {
        plain.inject(Cell::Mossy, &network.mossy[step]);
        plain.inject(Cell::Olive, &network.climbing[step]);
        plain.step();
        for (count, cell) in spikes.iter_mut().zip(CELLS) {
            *count += plain.spikes(cell).len();
        }
    }
    let seconds = network.steps as f64 * 1e-3;
    let rates =
        std::array::from_fn(|k| spikes[k] as f64 / seconds / plain.v(CELLS[k]).len() as f64);
    (plain, rates)
}

fn holds_the_rates(size: &str) {
    let Some(network) = network(size) else { return };
    for mode in Mode::ALL {
        let (plain, rates) = run(&network, mode);
        if let Err(fault) = check_rates(size, rates) {
            panic!("{mode:?}: {fault}");
        }
        let weights = plain.synapses(network.parallel_fibres());
        let mean: f64 = weights.iter().map(|s| s.weight as f64).sum::<f64>() / weights.len() as f64;
        let relative = mean / network.mean_weight();
        if size == "S" {
            let expected = MEAN_WEIGHTS_S.iter().find(|m| m.0 == mode).unwrap().1;
            assert!(
                (relative - expected).abs() < 1e-4,
                "{mode:?}: {relative}, expected {expected}"
            );
        }
        println!("{size} {mode:?}: {rates:.3?} Hz, mean weight {relative:.6} of its nominal value");
    }
}

#[test]
fn size_s_fires_at_the_published_rates() {
    holds_the_rates("S");
}

#[test]
#[ignore = "long: run by make test-long"]
fn size_m_fires_at_the_published_rates() {
    holds_the_rates("M");
}

#[test]
#[ignore = "long, 600 MB: run by make test-long"]
fn size_l_fires_at_the_published_rates() {
    holds_the_rates("L");
}
