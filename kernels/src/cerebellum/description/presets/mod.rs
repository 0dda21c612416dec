//! The named parameter sets, and the shorthand that they are written in.
//!
//! Invariants: every set is valid and says where its numbers come from; what a set adds to its
//! source is said in its file.

mod benchmark;
mod mouse_awake;
mod okr_2012;
mod scaffold;

pub use benchmark::{Rule, Size, benchmark};
pub use mouse_awake::mouse_awake;
pub use okr_2012::{okr_2012, okr_2012_of};
pub use scaffold::scaffold;

use super::{
    Cell, ConductanceLif, Description, Model, Pattern, Population, Port, Projection, Receptor,
    Weight,
};

/// The names that [`preset`] knows.
pub const NAMES: [&str; 6] =
    ["okr-2012", "mouse-awake", "scaffold", "benchmark-s", "benchmark-m", "benchmark-l"];

/// The parameter set of this name. The benchmarks come with climbing-fibre plasticity;
/// [`benchmark`] gives the others.
pub fn preset(name: &str) -> Option<Description> {
    Some(match name {
        "okr-2012" => okr_2012(),
        "mouse-awake" => mouse_awake(),
        "scaffold" => scaffold(),
        "benchmark-s" => benchmark(Size::S, Rule::Climbing),
        "benchmark-m" => benchmark(Size::M, Rule::Climbing),
        "benchmark-l" => benchmark(Size::L, Rule::Climbing),
        _ => return None,
    })
}

/// Cells that spikes are given to.
fn input(cell: Cell, count: usize) -> Population {
    Population { cell, count, cluster: 1, model: Model::Input, receptors: Vec::new() }
}

/// Cells without clusters.
fn cells(
    cell: Cell,
    count: usize,
    model: Model,
    receptors: impl IntoIterator<Item = Receptor>,
) -> Population {
    Population { cell, count, cluster: 1, model, receptors: receptors.into_iter().collect() }
}

fn receptor(name: &str, tau_ms: f32, reversal_mv: f32) -> Receptor {
    Receptor { name: name.to_owned(), tau_ms, reversal_mv, by_cluster: false }
}

/// A fixed projection of one weight onto one receptor. Others set what differs.
pub(in crate::cerebellum) fn projection(
    (pre, post): (Cell, Cell),
    receptor: usize,
    pattern: Pattern,
    weight: f32,
    delay_steps: usize,
) -> Projection {
    Projection {
        pre,
        pre_range: None,
        post,
        onto: vec![Port { receptor, share: 1.0 }],
        pattern,
        zones: 1,
        weight: Weight::Constant { value: weight },
        delay_steps,
        plasticity: None,
    }
}

/// The membrane of a conductance-based cell without after-hyperpolarisation or noise, as tables of
/// published sets list it.
#[derive(Clone, Copy)]
struct Membrane {
    c_pf: f32,
    leak_ns: f32,
    leak_mv: f32,
    refractory_ms: f32,
    reset_mv: f32,
    threshold_mv: f32,
    current_pa: f32,
}

impl Membrane {
    const fn lif(self) -> Model {
        Model::Conductance(ConductanceLif {
            c_pf: self.c_pf,
            leak_ns: self.leak_ns,
            leak_mv: self.leak_mv,
            threshold_mv: self.threshold_mv,
            reset_mv: Some(self.reset_mv),
            refractory_ms: self.refractory_ms,
            current_pa: self.current_pa,
            noise_pa: 0.0,
            ahp: None,
        })
    }
}

/// The conductance whose charge in steps of `step_ms`, within which it is held, is that of `ns`
/// decaying continuously: what a set made for shorter steps is corrected by.
fn held(ns: f32, tau_ms: f32, step_ms: f32) -> f32 {
    ns * tau_ms / step_ms * -(-step_ms / tau_ms).exp_m1()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_that_of_its_set() {
        for name in NAMES {
            assert_eq!(preset(name).unwrap().name, name);
        }
        assert_eq!(preset("okr-2013"), None);
    }

    #[test]
    fn a_held_conductance_carries_the_charge_of_a_decaying_one() {
        for tau in [0.23, 1.0, 10.0] {
            let steps: f32 = (0..1000).map(|k| (-k as f32 / tau).exp()).sum();
            assert!((held(2.0, tau, 1.0) * steps / (2.0 * tau) - 1.0).abs() < 1e-4);
        }
    }
}
