//! The benchmark network of `benches/peers/snn_export.py`, read into a description and its synapses.
//!
//! The script runs with `python3`, or with what the environment variable `PYTHON` names, and needs
//! numpy and the folder `../shared/bench/snn` beside the checkout. Invariant: where one of them is
//! missing, [`load`] says which on standard error and gives `None`, and the caller skips.

use super::plain::Synapse;
use purkinje_kernels::cerebellum::connect::{Connections, Rows};
use purkinje_kernels::cerebellum::description::{
    Cell, Climbing, CurrentLif, Description, Kernel, Model, PairStdp, Pattern, Plasticity,
    Population, Port, Potentiation, Projection, Receptor, Weight,
};
use purkinje_kernels::cerebellum::engine::Explicit;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Exit status of the script when something it needs is missing.
const SKIPPED: i32 = 77;

/// The populations that have a published rate, in the order of [`RATES_HZ`].
pub const CELLS: [Cell; 4] = [Cell::Granule, Cell::Golgi, Cell::Purkinje, Cell::Nuclear];

/// Sizes of the network with their rates over the first second, by [`CELLS`], Hz: the README of
/// `../shared/bench/snn`, to its digits. NEST, Brian2, GeNN and numba agree on them.
pub const RATES_HZ: [(&str, [f64; 4]); 3] = [
    ("S", [2.77, 8.2, 50.8, 47.7]),
    ("M", [3.04, 6.7, 57.9, 44.5]),
    ("L", [3.04, 6.4, 58.0, 44.0]),
];

/// Says which rate is more than 1 %, and half of the last published digit, from the published one.
pub fn check_rates(size: &str, rates_hz: [f64; 4]) -> Result<(), String> {
    let known = RATES_HZ.iter().find(|r| r.0 == size);
    let expected = known.ok_or_else(|| format!("size {size}: expected S, M or L"))?.1;
    for k in 0..4 {
        let digit_hz = if k == 0 { 0.005 } else { 0.05 };
        if (rates_hz[k] - expected[k]).abs() > 0.01 * expected[k] + digit_hz {
            let (cell, rate_hz, expected_hz) = (CELLS[k], rates_hz[k], expected[k]);
            return Err(format!("{size}: {cell:?} at {rate_hz:.3} Hz, expected {expected_hz} Hz"));
        }
    }
    Ok(())
}

/// How the parallel-fibre synapses learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    Static,
    /// Pair STDP.
    Stdp,
    /// Climbing-fibre depression and non-associative potentiation.
    Climbing,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Static, Self::Stdp, Self::Climbing];

    /// Its name in `bench.py`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Stdp => "stdp",
            Self::Climbing => "cf",
        }
    }
}

/// The network and one second of its input.
pub struct Exported {
    /// Steps the input lasts.
    pub steps: usize,
    header: Header,
    data: Vec<u8>,
    /// By step, mossy fibres that fire.
    pub mossy: Vec<Vec<u32>>,
    /// By step, climbing fibres that fire.
    pub climbing: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct Header {
    steps: usize,
    step_ms: f32,
    populations: Vec<PopulationEntry>,
    inputs: Vec<InputEntry>,
    projections: Vec<ProjectionEntry>,
    rules: Rules,
    arrays: BTreeMap<String, ArrayEntry>,
}

#[derive(Deserialize)]
struct PopulationEntry {
    name: String,
    count: usize,
    tau_m_ms: f32,
    tau_exc_ms: f32,
    tau_inh_ms: f32,
    refractory_ms: f32,
    drive: f32,
}

#[derive(Deserialize)]
struct InputEntry {
    name: String,
    count: usize,
}

#[derive(Deserialize)]
struct ProjectionEntry {
    name: String,
    pre: String,
    post: String,
    channel: String,
}

#[derive(Deserialize)]
struct Rules {
    w_pf: f64,
    w_max: f64,
    stdp: StdpEntry,
    climbing: ClimbingEntry,
}

#[derive(Deserialize)]
struct StdpEntry {
    tau_plus: f32,
    tau_minus: f32,
    a_plus: f64,
    a_minus: f64,
}

#[derive(Deserialize)]
struct ClimbingEntry {
    tau: f32,
    a_ltp: f64,
    a_ltd: f64,
}

#[derive(Deserialize)]
struct ArrayEntry {
    dtype: String,
    count: usize,
    offset: usize,
}

fn cell(name: &str) -> Cell {
    match name {
        "mf" => Cell::Mossy,
        "gr" => Cell::Granule,
        "go" => Cell::Golgi,
        "pc" => Cell::Purkinje,
        "dcn" => Cell::Nuclear,
        "cf" => Cell::Olive,
        other => panic!("population {other:?}, expected one of mf, gr, go, pc, dcn, cf"),
    }
}

/// The interpreter the scripts run with.
pub fn python() -> String {
    std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// The script that exports the network and runs the peers.
pub fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/snn_export.py")
}

/// Builds the network of a size (S, M or L) under `folder`, unless it is there, and reads it.
pub fn load(size: &str, folder: &Path) -> Option<Exported> {
    let path = folder.join(format!("snn_{size}.bin"));
    let run = Command::new(python()).arg(script()).args(["network", size]).arg(&path).output();
    let run = match run {
        Ok(run) => run,
        Err(error) => {
            eprintln!("skipped: {} does not run: {error}", python());
            return None;
        }
    };
    if run.status.code() == Some(SKIPPED) {
        eprint!("{}", String::from_utf8_lossy(&run.stdout));
        return None;
    }
    assert!(run.status.success(), "snn_export.py: {}", String::from_utf8_lossy(&run.stderr));
    Some(Exported::parse(&std::fs::read(&path).expect("the file just written")))
}

impl Exported {
    fn parse(file: &[u8]) -> Self {
        assert_eq!(&file[..8], b"PKSNN001", "magic of the exported network");
        let length = u64::from_le_bytes(file[8..16].try_into().expect("eight bytes")) as usize;
        let header: Header = serde_json::from_slice(&file[16..16 + length]).expect("its header");
        let mut network = Self {
            steps: header.steps,
            header,
            data: file[16 + length..].to_vec(),
            mossy: Vec::new(),
            climbing: Vec::new(),
        };
        network.mossy = network.by_step("mf");
        network.climbing = network.by_step("cf");
        network
    }

    fn words(&self, name: &str, dtype: &str) -> impl Iterator<Item = [u8; 4]> {
        let entry = self.header.arrays.get(name).unwrap_or_else(|| panic!("no array {name}"));
        assert_eq!(entry.dtype, dtype, "type of {name}");
        self.data[entry.offset..].as_chunks().0[..entry.count].iter().copied()
    }

    fn integers(&self, name: &str) -> Vec<u32> {
        self.words(name, "<u4").map(u32::from_le_bytes).collect()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        self.words(name, "<f4").map(f32::from_le_bytes).collect()
    }

    fn by_step(&self, input: &str) -> Vec<Vec<u32>> {
        let mut lists = vec![Vec::new(); self.steps];
        let steps = self.integers(&format!("{input}.step"));
        for (step, cell) in steps.into_iter().zip(self.integers(&format!("{input}.cell"))) {
            lists[step as usize].push(cell);
        }
        lists
    }

    /// Initial potentials of each population that has any.
    pub fn v0(&self) -> Vec<(Cell, Vec<f32>)> {
        let named = self.header.populations.iter();
        named.map(|p| (cell(&p.name), self.floats(&format!("{}.v0", p.name)))).collect()
    }

    /// The synapses, a list a projection of [`Self::description`].
    pub fn connections(&self) -> Vec<Vec<Synapse>> {
        let named = self.header.projections.iter();
        named
            .map(|p| {
                let row = self.integers(&format!("{}.row", p.name));
                let targets = self.integers(&format!("{}.col", p.name));
                let weights = self.floats(&format!("{}.w", p.name));
                let sources = row.windows(2).enumerate().flat_map(|(pre, ends)| {
                    std::iter::repeat_n(pre as u32, (ends[1] - ends[0]) as usize)
                });
                sources
                    .zip(targets.into_iter().zip(weights))
                    .map(|(pre, (post, weight))| Synapse { pre, post, weight })
                    .collect()
            })
            .collect()
    }

    /// The same for the engine.
    pub fn explicit(&self) -> Vec<Option<Explicit>> {
        let named = self.header.projections.iter();
        named
            .map(|p| {
                let start = self.integers(&format!("{}.row", p.name));
                let target = self.integers(&format!("{}.col", p.name));
                let (sources, targets) = (self.count(&p.pre), self.count(&p.post));
                let connections = if target.len() == sources * targets {
                    Connections::Blocks { sources, targets, zones: 1 }
                } else {
                    Connections::Sparse(Rows {
                        sources,
                        targets,
                        cells_per_source: 1,
                        start,
                        target,
                    })
                };
                Some(Explicit { connections, weights: self.floats(&format!("{}.w", p.name)) })
            })
            .collect()
    }

    /// Cells of a population or input.
    fn count(&self, name: &str) -> usize {
        let mut all = self.header.inputs.iter().map(|p| (&p.name, p.count));
        let input = all.find(|p| p.0 == name);
        let mut all = self.header.populations.iter().map(|p| (&p.name, p.count));
        input.or_else(|| all.find(|p| p.0 == name)).expect("a population").1
    }

    /// Index of the parallel fibres' projection on Purkinje cells.
    pub fn parallel_fibres(&self) -> usize {
        let found = self.header.projections.iter().position(|p| p.name == "gr_pc");
        found.expect("a projection gr_pc")
    }

    /// The nominal mean of the initial parallel-fibre weights, thresholds.
    pub fn mean_weight(&self) -> f64 {
        self.header.rules.w_pf
    }

    /// The network as data. Patterns stand for lists of synapses and are right on average only.
    pub fn description(&self, mode: Mode) -> Description {
        let inputs = self.header.inputs.iter().map(|p| Population {
            cell: cell(&p.name),
            count: p.count,
            cluster: 1,
            model: Model::Input,
            receptors: Vec::new(),
        });
        let cells = self.header.populations.iter().map(|p| Population {
            cell: cell(&p.name),
            count: p.count,
            cluster: 1,
            model: Model::Current(CurrentLif {
                tau_m_ms: p.tau_m_ms,
                refractory_ms: p.refractory_ms,
                reset: 0.0,
                drive: p.drive,
            }),
            receptors: [("exc", p.tau_exc_ms), ("inh", p.tau_inh_ms)]
                .map(|(name, tau_ms)| Receptor {
                    name: name.to_owned(),
                    tau_ms,
                    reversal_mv: 0.0,
                    by_cluster: false,
                })
                .into(),
        });
        let populations: Vec<Population> = inputs.chain(cells).collect();
        let count = |name: &str| {
            let found = populations.iter().find(|p| p.cell == cell(name));
            found.map_or(0, |p| p.count)
        };
        let projections = self
            .header
            .projections
            .iter()
            .map(|p| {
                let synapses = self.header.arrays[&format!("{}.w", p.name)].count;
                let pairs = count(&p.pre) * count(&p.post);
                let weights = self.floats(&format!("{}.w", p.name));
                let sum: f64 = weights.iter().map(|&w| w as f64).sum();
                Projection {
                    pre_range: None,
                    pre: cell(&p.pre),
                    post: cell(&p.post),
                    onto: vec![Port { receptor: usize::from(p.channel == "inh"), share: 1.0 }],
                    pattern: if synapses == pairs {
                        Pattern::AllToAll
                    } else {
                        Pattern::Probability { p: (synapses as f64 / pairs as f64) as f32 }
                    },
                    zones: 1,
                    weight: Weight::Constant { value: (sum / synapses as f64) as f32 },
                    delay_steps: 1,
                    plasticity: if p.name == "gr_pc" { self.plasticity(mode) } else { None },
                }
            })
            .collect();
        Description {
            name: "benchmark".to_owned(),
            source: "exported by benches/peers/snn_export.py".to_owned(),
            step_ms: self.header.step_ms,
            populations,
            projections,
        }
    }

    fn plasticity(&self, mode: Mode) -> Option<Plasticity> {
        let rules = &self.header.rules;
        let mut plasticity = Plasticity {
            w_min: 0.0,
            w_max: rules.w_max as f32,
            potentiation: None,
            climbing: None,
            stdp: None,
        };
        match mode {
            Mode::Static => return None,
            Mode::Stdp => {
                plasticity.stdp = Some(PairStdp {
                    tau_pre_ms: rules.stdp.tau_plus,
                    tau_post_ms: rules.stdp.tau_minus,
                    a_plus: (rules.stdp.a_plus * rules.w_max) as f32,
                    a_minus: (rules.stdp.a_minus * rules.w_max) as f32,
                });
            }
            Mode::Climbing => {
                plasticity.potentiation = Some(Potentiation {
                    amount: (rules.climbing.a_ltp * rules.w_pf) as f32,
                    soft: false,
                });
                plasticity.climbing = Some(Climbing {
                    kernel: Kernel::Exponential { tau_ms: rules.climbing.tau },
                    amount: (rules.climbing.a_ltd * rules.w_pf) as f32,
                    proportional: false,
                    block_steps: 0,
                });
            }
        }
        Some(plasticity)
    }
}
