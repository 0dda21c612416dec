//! A wide network on a device: every array lives there, a decision cycle is one graph.
//!
//! ```text
//! host                              device
//! tick, features       ──copy──►    encode, granular (all steps), where weights learn expire,
//!                                   then by step: deliver, purkinje
//! spikes by population ◄──copy──    counts
//! ```
//!
//! Wiring, first weights and potentials are generated there. There is a graph of cycles that learn, one of cycles
//! that do not, and one of the first of these. Invariants: nothing is allocated and the device is called twice
//! (launch, wait) in a cycle; how a grid is cut to the device's multiprocessors changes no result.

use std::ops::Range;

use bytemuck::{Pod, bytes_of, cast_slice, cast_slice_mut};
use purkinje_cuda::driver::{Address, Driver, DriverError, Graph, Launch, Operation, Pinned};
use purkinje_cuda::sources::WIDE;

use super::arguments::{ARRAYS, WideArgument, WideTick};
use super::config::{DENDRITES, MOSSY_PER_GOLGI, NUCLEI_PER_PURKINJE, VECTOR, WideConfig};
use super::model::Model;
use super::state::{WideState, WideWiring};
use super::{Rows, Tick, WideError, WideReport};
use crate::cerebellum::device_twins::Fields;
use crate::rng::Key;

/// Threads of a block of the kernel that takes clusters, at most.
const CLUSTER_THREADS: usize = 512;
/// Threads of a block of those that take rows, at most: their registers let a multiprocessor have two such blocks.
const ROW_THREADS: usize = 384;
/// Threads of a block of the others.
const CELL_THREADS: usize = 256;
/// Blocks that a multiprocessor has of `wide_deliver` at once, for which words are shared out.
const BLOCKS_A_MULTIPROCESSOR: usize = 2;
/// Rows that `wide.cu` lists at once, and bytes of each.
const LIST_BYTES: usize = 1_024 * 16;
/// Bytes of a tick, and words of the results.
const TICK_BYTES: usize = size_of::<WideTick>();
const RESULT_WORDS: usize = 9;

/// The arrays, in the order of `WideArgument`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Array {
    Centres,
    Keep,
    Mossy,
    Fired,
    GranuleMossy,
    GolgiMossy,
    Gains,
    NuclearTargets,
    GranuleV,
    GranuleExc,
    GranuleDrive,
    ClusterInh,
    GolgiV,
    GolgiExc,
    Last,
    Trace,
    Weights,
    PurkinjeV,
    PurkinjeExc,
    Events,
    NuclearV,
    NuclearInh,
    NuclearCounts,
    Sums,
}

use Array as A;

/// How the work is cut into blocks.
#[derive(Clone, Copy, Debug)]
struct Grid {
    /// Clusters and threads of a block of `wide_granular`, and its blocks of a beam.
    block_clusters: usize,
    granular_threads: usize,
    granular_blocks: usize,
    /// Words of 64 granule cells of a beam, and of a block of `wide_deliver`, and its blocks of a beam.
    words: usize,
    block_words: usize,
    splits: usize,
    row_threads: usize,
    /// Blocks of a beam of `wide_expire`, and of `wide_init`.
    expire_blocks: usize,
    init_blocks: usize,
}

impl Grid {
    fn new(config: &WideConfig, multiprocessors: usize) -> Self {
        let each = config.granules_per_cluster;
        let block_clusters = (CLUSTER_THREADS / each).clamp(1, config.clusters_per_beam);
        let granular_threads = (block_clusters * each).next_multiple_of(64);
        let granular_blocks = config.clusters_per_beam.div_ceil(block_clusters);
        let words = granular_blocks * granular_threads / 64;
        let vectors = config.row() / VECTOR;
        let row_threads = (ROW_THREADS / vectors * vectors).next_multiple_of(32);
        let splits = (BLOCKS_A_MULTIPROCESSOR * multiprocessors).div_ceil(config.beams);
        let block_words = words.div_ceil(splits.max(1)).clamp(1, row_threads);
        let beam_granules = config.clusters_per_beam * each;
        Self {
            block_clusters,
            granular_threads,
            granular_blocks,
            words,
            block_words,
            splits: words.div_ceil(block_words),
            row_threads,
            expire_blocks: splits.clamp(1, beam_granules.div_ceil(row_threads)),
            init_blocks: 8 * multiprocessors.max(1),
        }
    }
}

impl Array {
    /// All of them.
    pub(super) const ALL: [Self; ARRAYS] = [
        A::Centres,
        A::Keep,
        A::Mossy,
        A::Fired,
        A::GranuleMossy,
        A::GolgiMossy,
        A::Gains,
        A::NuclearTargets,
        A::GranuleV,
        A::GranuleExc,
        A::GranuleDrive,
        A::ClusterInh,
        A::GolgiV,
        A::GolgiExc,
        A::Last,
        A::Trace,
        A::Weights,
        A::PurkinjeV,
        A::PurkinjeExc,
        A::Events,
        A::NuclearV,
        A::NuclearInh,
        A::NuclearCounts,
        A::Sums,
    ];

    /// Bytes of it.
    fn bytes(self, config: &WideConfig, grid: &Grid) -> usize {
        let (granules, clusters, cells) = (config.granules(), config.clusters(), config.cells());
        let (steps, nuclei) = (config.steps_per_cycle, 2 * config.nuclear_per_zone);
        match self {
            A::Centres => 4 * config.fibres_per_feature,
            A::Keep => 4 * config.steps(config.window_ms) as usize,
            A::Mossy => 4 * config.fibres() * steps.div_ceil(32),
            A::Fired => 8 * steps * config.beams * grid.words,
            A::GranuleMossy => 2 * DENDRITES * granules,
            A::GolgiMossy => 2 * MOSSY_PER_GOLGI * clusters,
            A::NuclearTargets => 2 * NUCLEI_PER_PURKINJE * cells,
            A::GranuleV | A::GranuleExc | A::GranuleDrive | A::Last | A::Trace => 4 * granules,
            A::ClusterInh | A::GolgiV | A::GolgiExc => 4 * clusters,
            A::Weights => 2 * granules * config.row(),
            A::Gains | A::PurkinjeV | A::PurkinjeExc => 4 * cells,
            A::Events => 8 * config.slots() * cells,
            A::NuclearV | A::NuclearInh => 4 * nuclei,
            A::NuclearCounts => 8 * nuclei,
            A::Sums => 4 * grid.splits * cells,
        }
    }
}

/// Places within the block that a cycle copies in.
#[derive(Clone, Copy, Debug)]
struct Input {
    features: usize,
    results: usize,
    bytes: usize,
}

impl Input {
    fn new(config: &WideConfig) -> Self {
        let results = TICK_BYTES + (4 * config.features).next_multiple_of(16);
        Self { features: TICK_BYTES, results, bytes: results + 4 * RESULT_WORDS }
    }
}

/// Bytes that a network takes of a device of so many multiprocessors.
pub(super) fn needed_bytes(config: &WideConfig, multiprocessors: usize) -> u64 {
    let grid = Grid::new(config, multiprocessors);
    // Memory is given in portions of at least 256 bytes.
    let portion = |bytes: usize| bytes.next_multiple_of(256) as u64;
    let arrays: u64 = Array::ALL.iter().map(|array| portion(array.bytes(config, &grid))).sum();
    arrays + portion(Input::new(config).bytes)
}

/// The network on the device.
pub(super) struct Device {
    driver: Box<dyn Driver>,
    config: WideConfig,
    grid: Grid,
    input: Input,
    places: [Address; ARRAYS],
    copied_in: Pinned,
    copied_out: Pinned,
    still: Graph,
    ceasing: Graph,
    learning: Graph,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("device", self.driver.device())
            .field("grid", &self.grid)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// Lays a network out on a device, and generates it there.
    pub(super) fn new(
        mut driver: Box<dyn Driver>,
        config: &WideConfig,
        model: &Model,
    ) -> Result<Self, WideError> {
        let multiprocessors = driver.device().multiprocessors as usize;
        let needed = needed_bytes(config, multiprocessors);
        let free = driver.free_bytes()?;
        if needed > free {
            let device = driver.device().name.clone();
            return Err(WideError::Memory { needed, free, device });
        }
        driver.load(&WIDE)?;
        let (grid, input) = (Grid::new(config, multiprocessors), Input::new(config));
        let block = driver.allocate(input.bytes)?;
        let mut places = [Address(0); ARRAYS];
        for array in Array::ALL {
            places[array as usize] = driver.allocate(array.bytes(config, &grid))?;
        }
        let encoder = config.encoder().map_err(crate::cerebellum::ConfigError::from)?;
        driver.write(places[A::Centres as usize], cast_slice(encoder.centres()))?;
        driver.write(places[A::Keep as usize], cast_slice(model.rule.keep()))?;

        let argument = argument(config, model, &grid, block, &input, &places);
        let launch = |kernel, grid: [usize; 2], threads: usize, shared: usize, step: usize| {
            Operation::Launch(Launch {
                kernel,
                grid: [grid[0] as u32, grid[1] as u32, 1],
                threads: threads as u32,
                shared_bytes: shared as u32,
                argument: argument.in_step(step),
            })
        };
        let init = launch("wide_init", [grid.init_blocks, 1], CELL_THREADS, 0, 0);
        let init = driver.graph(&[init])?;
        driver.launch(init)?;
        driver.wait()?;

        let copied_in = driver.pin(input.bytes)?;
        let copied_out = driver.pin(4 * RESULT_WORDS)?;
        let cycle = |learns: bool, expires: bool| {
            let cell_blocks = config.purkinje().div_ceil(CELL_THREADS) + 1;
            let fibre_blocks = config.fibres().div_ceil(CELL_THREADS);
            let clusters_bytes = (4 + 4 + 32) * grid.block_clusters + 8;
            let mut operations = vec![
                Operation::CopyIn { from: copied_in, to: block, bytes: input.bytes },
                launch("wide_encode", [fibre_blocks, 1], CELL_THREADS, 0, 0),
                launch(
                    "wide_granular",
                    [grid.granular_blocks, config.beams],
                    grid.granular_threads,
                    clusters_bytes,
                    0,
                ),
            ];
            if expires {
                operations.push(launch(
                    "wide_expire",
                    [grid.expire_blocks, config.beams],
                    grid.row_threads,
                    LIST_BYTES + 4,
                    0,
                ));
            }
            let [deliver, purkinje] = if learns {
                ["wide_deliver_learning", "wide_purkinje_learning"]
            } else {
                ["wide_deliver", "wide_purkinje"]
            };
            for step in 0..config.steps_per_cycle {
                operations.push(launch(
                    deliver,
                    [grid.splits, config.beams],
                    grid.row_threads,
                    LIST_BYTES + 4 + 4 * config.row(),
                    step,
                ));
                operations.push(launch(purkinje, [cell_blocks, 1], CELL_THREADS, 0, step));
            }
            operations.push(Operation::CopyOut {
                from: block.add(input.results),
                to: copied_out,
                bytes: 4 * RESULT_WORDS,
            });
            operations
        };
        let still = driver.graph(&cycle(false, false))?;
        let ceasing = driver.graph(&cycle(false, true))?;
        let learning = driver.graph(&cycle(true, true))?;
        let config = config.clone();
        Ok(Self {
            driver,
            config,
            grid,
            input,
            places,
            copied_in,
            copied_out,
            still,
            ceasing,
            learning,
        })
    }

    /// What the device is.
    pub(super) fn device(&self) -> &purkinje_cuda::driver::Device {
        self.driver.device()
    }

    /// Runs a cycle.
    pub(super) fn cycle(
        &mut self,
        tick: &Tick,
        features: &[f32],
    ) -> Result<WideReport, DriverError> {
        let block = self.driver.pinned(self.copied_in);
        let given = WideTick {
            cycle: tick.cycle,
            first_step: tick.first_step,
            potentiation: tick.potentiation,
            climbing: tick.climbing,
            intrinsic_rate: tick.intrinsic_rate,
            silence: tick.silence.unwrap_or(0),
        };
        block[..TICK_BYTES].copy_from_slice(bytes_of(&given));
        let features: &[u8] = cast_slice(features);
        block[self.input.features..][..features.len()].copy_from_slice(features);
        let graph = match (tick.plastic, tick.silence) {
            (true, _) => self.learning,
            (false, Some(_)) => self.ceasing,
            (false, None) => self.still,
        };
        self.driver.launch(graph)?;
        self.driver.wait()?;
        let words = self.driver.pinned(self.copied_out).as_chunks::<4>().0;
        let word = |k: usize| u64::from(u32::from_le_bytes(words[k]));
        Ok(WideReport {
            mossy: word(0),
            granule: word(1),
            golgi: word(2),
            purkinje: word(3),
            nuclear: word(4),
            counted: [word(5), word(6)],
            climbing: word(7),
            expired: word(8),
        })
    }

    /// Rows of granule cells as they lie there, and what they owe.
    pub(super) fn rows(&mut self, granules: Range<usize>) -> Result<Rows, DriverError> {
        let row = self.config.row();
        let (first, count) = (granules.start, granules.len());
        let mut rows = Rows {
            weights: vec![0; count * row],
            last: vec![0; count],
            trace: vec![0.0; count],
            events: vec![0; self.config.slots() * self.config.cells()],
        };
        self.read(A::Weights, first * row, &mut rows.weights)?;
        self.read(A::Last, first, &mut rows.last)?;
        self.read(A::Trace, first, &mut rows.trace)?;
        self.read(A::Events, 0, &mut rows.events)?;
        Ok(rows)
    }

    /// A copy of everything.
    pub(super) fn state(&mut self) -> Result<WideState, DriverError> {
        let mut state = WideState::zeros(&self.config);
        self.read(A::GranuleV, 0, &mut state.granule_v)?;
        self.read(A::GranuleExc, 0, &mut state.granule_exc)?;
        self.read(A::GranuleDrive, 0, &mut state.granule_drive)?;
        self.read(A::ClusterInh, 0, &mut state.cluster_inh)?;
        self.read(A::GolgiV, 0, &mut state.golgi_v)?;
        self.read(A::GolgiExc, 0, &mut state.golgi_exc)?;
        self.read(A::Last, 0, &mut state.last)?;
        self.read(A::Trace, 0, &mut state.trace)?;
        self.read(A::Weights, 0, &mut state.weights)?;
        self.read(A::PurkinjeV, 0, &mut state.purkinje_v)?;
        self.read(A::PurkinjeExc, 0, &mut state.purkinje_exc)?;
        self.read(A::Events, 0, &mut state.events)?;
        self.read(A::NuclearV, 0, &mut state.nuclear_v)?;
        self.read(A::NuclearInh, 0, &mut state.nuclear_inh)?;
        self.read(A::NuclearCounts, 0, &mut state.nuclear_counts)?;
        Ok(state)
    }

    /// A copy of the wiring.
    pub(super) fn wiring(&mut self) -> Result<WideWiring, DriverError> {
        let cells = self.config.cells();
        let mut wiring = WideWiring {
            granule_mossy: vec![0; DENDRITES * self.config.granules()],
            golgi_mossy: vec![0; MOSSY_PER_GOLGI * self.config.clusters()],
            gains: vec![0.0; cells],
            nuclear_targets: vec![0; NUCLEI_PER_PURKINJE * cells],
        };
        self.read(A::GranuleMossy, 0, &mut wiring.granule_mossy)?;
        self.read(A::GolgiMossy, 0, &mut wiring.golgi_mossy)?;
        self.read(A::Gains, 0, &mut wiring.gains)?;
        self.read(A::NuclearTargets, 0, &mut wiring.nuclear_targets)?;
        Ok(wiring)
    }

    fn read<T: Pod>(&mut self, array: Array, at: usize, into: &mut [T]) -> Result<(), DriverError> {
        let from = self.places[array as usize].add(at * size_of::<T>());
        self.driver.read(from, cast_slice_mut(into))
    }
}

/// What kernels are given in step 0.
fn argument(
    config: &WideConfig,
    model: &Model,
    grid: &Grid,
    block: Address,
    input: &Input,
    places: &[Address; ARRAYS],
) -> WideArgument {
    let (code, keys) = (config.code(), &model.keys);
    let a_step = |hz: f32| hz * config.step_ms * 1e-3;
    WideArgument {
        tick: block.0,
        features: block.add(input.features).0,
        results: block.add(input.results).0,
        arrays: places.map(|place| place.0),
        keys: [
            keys.granule_mossy,
            keys.golgi_mossy,
            keys.weights,
            keys.gains,
            keys.nuclear,
            keys.potentials,
            keys.mossy,
            keys.climbing,
            keys.dither,
        ]
        .map(Key::raw),
        granule: (&model.granule).into(),
        golgi: (&model.golgi).into(),
        purkinje: (&model.purkinje).into(),
        nuclear: (&model.nuclear).into(),
        fields: Fields {
            low: code.low,
            high: code.high,
            sd: code.sd,
            background: a_step(code.background_hz),
            peak: a_step(code.peak_hz),
        },
        mossy_to_granule: model.mossy_to_granule,
        mossy_to_golgi: model.mossy_to_golgi,
        golgi_to_granule: model.golgi_to_granule,
        granule_to_golgi: model.granule_to_golgi,
        purkinje_to_nuclear: model.purkinje_to_nuclear,
        gain: model.gain,
        depression: model.rule.depression(),
        wanted: model.wanted,
        fibres_each: config.fibres_per_feature as u32,
        fibres: config.fibres() as u32,
        steps: config.steps_per_cycle as u32,
        step_words: config.steps_per_cycle.div_ceil(32) as u32,
        settle_steps: config.settle_steps as u32,
        beams: config.beams as u32,
        clusters: config.clusters_per_beam as u32,
        granules_each: config.granules_per_cluster as u32,
        block_clusters: grid.block_clusters as u32,
        granular_threads: grid.granular_threads as u32,
        words: grid.words as u32,
        block_words: grid.block_words as u32,
        splits: grid.splits as u32,
        purkinje_each: config.purkinje_per_beam as u32,
        row: config.row() as u32,
        nuclear_each: config.nuclear_per_zone as u32,
        window: model.rule.window(),
        slots: config.slots() as u32,
        refractory: model.refractory,
        weight_low: model.weight_low,
        weight_span: model.weight_span,
        weight_cap: model.rule.cap.into(),
        step: 0,
    }
}
