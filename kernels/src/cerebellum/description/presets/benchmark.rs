//! "benchmark-s", "-m", "-l": one fixed cerebellum-like network in normalised units, made to be
//! simulated alike by every simulator it is compared with.
//!
//! Cells are current-based, every delay is one step of 1 ms, and weights are set so that the cells
//! fire at rates of life: granule cells at 3 Hz, Golgi at 6 to 8, Purkinje at 51 to 58, nuclear at
//! 44 to 48. Mossy fibres are to fire as Poisson processes, each at a rate of its own, uniform in 20
//! to 40 Hz, and climbing fibres at 1 Hz. Initial potentials are uniform in 0 to 1.

use super::super::{
    Cell, Climbing, CurrentLif, Description, Kernel, Model, PairStdp, Pattern, Plasticity,
    Population, Potentiation, Projection, Weight,
};
use super::{cells, input, projection, receptor};

/// How large the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 10,000 granule cells, all on 32 Purkinje cells.
    S,
    /// 100,000 granule cells, a tenth of them on each of 100 Purkinje cells.
    M,
    /// 100,000 granule cells, all on 100 Purkinje cells.
    L,
}

/// How the synapses of parallel fibres on Purkinje cells change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// They do not.
    Static,
    /// Pair STDP.
    Stdp,
    /// Potentiation by parallel fibres, depression by climbing fibres.
    Climbing,
}

const EXCITATORY_MS: f32 = 3.0;
const INHIBITORY_MS: f32 = 10.0;
/// Mean current by parallel fibres that fire at 3 Hz, thresholds.
const PARALLEL_DRIVE: f32 = 0.8;

/// The network of this size with this rule.
pub fn benchmark(size: Size, rule: Rule) -> Description {
    let (name, granule, purkinje, share) = match size {
        Size::S => ("benchmark-s", 10_000, 32, 1.0_f32),
        Size::M => ("benchmark-m", 100_000, 100, 0.1),
        Size::L => ("benchmark-l", 100_000, 100, 1.0),
    };
    let lif = |cell, count, tau_m_ms, drive| {
        let model = CurrentLif { tau_m_ms, refractory_ms: 2.0, reset: 0.0, drive };
        let receptors = [
            receptor("excitatory", EXCITATORY_MS, 0.0),
            receptor("inhibitory", INHIBITORY_MS, 0.0),
        ];
        cells(cell, count, Model::Current(model), receptors)
    };
    let populations = vec![
        input(Cell::Mossy, granule / 50),
        lif(Cell::Granule, granule, 8.0, 0.0),
        lif(Cell::Golgi, granule / 100, 20.0, 0.55),
        lif(Cell::Purkinje, purkinje, 15.0, 0.8),
        lif(Cell::Nuclear, (purkinje / 2).max(8), 20.0, 2.0),
        input(Cell::Olive, purkinje),
    ];
    Description {
        name: name.into(),
        source: "this project's benchmark network".into(),
        step_ms: 1.0,
        projections: projections(&populations, share, rule),
        populations,
    }
}

fn projections(populations: &[Population], share: f32, rule: Rule) -> Vec<Projection> {
    use Cell::{Golgi, Granule, Mossy, Nuclear, Purkinje};
    let (excite, inhibit) = (0, 1);
    let count = |cell| populations.iter().find(|p| p.cell == cell).map_or(0, |p| p.count);
    let drawn = |ends: (Cell, Cell), onto, sources: usize, mean| {
        let pattern = Pattern::InDegree { sources: sources.min(count(ends.0)) };
        let mut of = projection(ends, onto, pattern, mean, 1);
        of.weight = Weight::Uniform { mean, jitter: 0.2 };
        of
    };
    let pattern = if share < 1.0 { Pattern::Probability { p: share } } else { Pattern::AllToAll };
    let fan_in = (share * count(Granule) as f32).round();
    let w = PARALLEL_DRIVE / (fan_in * 3.0 * 1e-3 * EXCITATORY_MS);
    let mut learned = projection((Granule, Purkinje), excite, pattern, w, 1);
    learned.weight = Weight::Uniform { mean: w, jitter: 0.5 };
    learned.plasticity = plasticity(rule, w);
    // Three tenths of the Purkinje cells, which at 60 Hz give a mean current of 0.9.
    let purkinje = (0.3 * count(Purkinje) as f32).round();
    let w_nuclear = 0.9 / (purkinje * 60e-3 * INHIBITORY_MS);
    vec![
        drawn((Mossy, Granule), excite, 4, 1.3),
        drawn((Golgi, Granule), inhibit, 4, 1.1),
        drawn((Granule, Golgi), excite, 200, 0.12),
        drawn((Mossy, Golgi), excite, 20, 0.1),
        learned,
        drawn((Purkinje, Nuclear), inhibit, purkinje as usize, w_nuclear),
        drawn((Mossy, Nuclear), excite, 100, 0.05),
    ]
}

/// Constants in units of the mean initial weight `w`, or of the greatest for STDP.
fn plasticity(rule: Rule, w: f32) -> Option<Plasticity> {
    let w_max = 3.0 * w;
    let none = Plasticity { w_min: 0.0, w_max, potentiation: None, climbing: None, stdp: None };
    match rule {
        Rule::Static => None,
        Rule::Stdp => Some(Plasticity {
            stdp: Some(PairStdp {
                tau_pre_ms: 20.0,
                tau_post_ms: 20.0,
                a_plus: 2e-4 * w_max,
                a_minus: 2.1e-4 * w_max,
            }),
            ..none
        }),
        Rule::Climbing => Some(Plasticity {
            potentiation: Some(Potentiation { amount: 1e-3 * w, soft: false }),
            climbing: Some(Climbing {
                kernel: Kernel::Exponential { tau_ms: 100.0 },
                amount: 5e-3 * w,
                proportional: false,
                block_steps: 0,
            }),
            ..none
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_valid_with_every_rule() {
        for size in [Size::S, Size::M, Size::L] {
            for rule in [Rule::Static, Rule::Stdp, Rule::Climbing] {
                assert_eq!(benchmark(size, rule).validate(), Ok(()), "{size:?} {rule:?}");
            }
        }
    }

    #[test]
    fn parallel_fibres_at_their_rate_give_their_drive_at_every_size() {
        for (size, fan_in) in [(Size::S, 10_000.0), (Size::M, 10_000.0), (Size::L, 100_000.0)] {
            let network = benchmark(size, Rule::Static);
            let Weight::Uniform { mean, .. } = network.projections[4].weight else { panic!() };
            assert!((mean * fan_in * 3e-3 * 3.0 - 0.8).abs() < 1e-5);
        }
    }
}
