//! The cerebellum on a device: cells, counts and weights live there, one graph a cycle runs it.
//!
//! ```text
//! host                                  device
//! features, active, outcomes ──copy──►  learn (outcomes change weights)
//!                                       cycle (a block an instrument: all steps)
//! value, rates, teacher      ◄──copy──  spikes by population and Purkinje cell, sums of counts
//! ```
//!
//! What depends on an outcome alone (climbing fibres, balance, slow rules) stays with the teacher on the host;
//! it hands over how much a spike changes a weight. The kernels do the CPU's operations in the CPU's order
//! (`kernels/cuda/cerebellum.cu`), so all is equal to the bit. Every so many cycles the host takes a copy of
//! cells, counts and weights, from which the CPU goes on should the device be lost.
//!
//! Invariants: no allocation in a cycle; outcomes act in the order in which they came; at most `outcomes_max` of
//! them wait, more run a graph of their own at once and are counted.

use purkinje_cuda::argument::Argument;
use purkinje_cuda::driver::{Address, Driver, DriverError, Graph, Launch, Operation, Pinned};
use purkinje_cuda::sources::CEREBELLUM;
use thiserror::Error;

use super::circuit::{
    Activity, Circuit, GOLGI_AT, GOLGI_GRANULE_AT, GRANULE_AT, GRANULE_GOLGI_AT, MOSSY_GOLGI_AT,
    MOSSY_GRANULE_AT, NUCLEAR_AT, PARALLEL_AT, PURKINJE_AT, PURKINJE_NUCLEAR_AT, Spikes,
};
use super::config::{CerebellumConfig, Eligibility};
use super::memory::Kept;
use super::shard::{Shard, WeightSet};
use crate::cerebellum::description::Cell;
use crate::cerebellum::encode::PopulationCode;
use crate::cerebellum::engine::{Propagator, State, Synapses};
use crate::rng::Key;

/// Words of a result before the Purkinje cells' own: see `cerebellum.cu`.
const RESULT_WORDS: usize = 9;
/// A source that is none.
const NO_SOURCE: u16 = u16::MAX;
/// Bytes of a tick and of an outcome.
const TICK_BYTES: usize = 16;
const OUTCOME_BYTES: usize = 16;
/// Most granule cells for which a block of this many threads is used, then twice as many each.
const GRANULES_A_BLOCK_OF_256: usize = 2_048;

/// Why the cerebellum is not on a device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DeviceError {
    /// A rule or a size that the kernels do not have.
    #[error("{setting} is {value}, on a device expected {expected}")]
    Unsupported {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What there is.
        expected: String,
    },
    /// A network does not fit the shared memory of a block.
    #[error(
        "a network needs {needed} bytes of a block's shared memory, {device} has {found} \
         (granule_cells, fibres and steps_per_cycle decide)"
    )]
    Shared {
        /// Bytes needed.
        needed: usize,
        /// Bytes there are.
        found: usize,
        /// The device.
        device: String,
    },
    /// The device's memory is too small.
    #[error(
        "{instruments} instruments need {needed} bytes of device memory, {device} has {free} free"
    )]
    Memory {
        /// How many.
        instruments: usize,
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// The device.
        device: String,
    },
    /// The driver refused.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// What the device has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounters {
    /// Cycles run.
    pub cycles: u64,
    /// Outcomes handed over.
    pub outcomes: u64,
    /// Times that outcomes had to be learned between cycles because no more could wait.
    pub flushes: u64,
    /// Copies of the whole state taken back.
    pub synchronisations: u64,
    /// Outcomes that the host's copy does not know yet, which are lost should the device be.
    pub unsynchronised_outcomes: u64,
}

/// Places within the pinned block that a cycle copies in.
#[derive(Clone, Copy, Debug)]
struct Input {
    outcomes: usize,
    changes: usize,
    /// Bytes that a flush copies: what is before features.
    features: usize,
    active: usize,
    factors: usize,
    purkinje_drive: usize,
    bytes: usize,
}

/// Sizes that follow from the configuration.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    instruments: usize,
    sets: usize,
    features: usize,
    granules: usize,
    golgi: usize,
    purkinje: usize,
    nuclear: usize,
    pending: usize,
    /// Numbers of one instrument's cells.
    state: usize,
    shared_bytes: usize,
    threads: usize,
    driven: bool,
}

impl Sizes {
    fn new(config: &CerebellumConfig) -> Self {
        let (granules, golgi) = (config.granule_cells, config.golgi_cells());
        let (purkinje, nuclear) = (2 * config.purkinje_per_zone, 2 * config.nuclear_per_zone);
        let state = 2 * granules + 4 * golgi + 3 * purkinje + 3 * nuclear;
        let words = |cells: usize| cells.div_ceil(32);
        let bits = config.steps_per_cycle * words(config.fibres())
            + words(granules)
            + words(golgi)
            + words(purkinje)
            + words(nuclear);
        // As `cerebellum_cycle` lays shared memory out.
        let shared_bytes =
            4 * (state + bits + RESULT_WORDS + purkinje + 1) + 2 * granules + granules;
        let threads = match granules.div_ceil(GRANULES_A_BLOCK_OF_256) {
            0 | 1 => 256,
            2 => 512,
            _ => 1_024,
        };
        Self {
            instruments: config.instruments,
            sets: if config.shared_weights { 1 } else { config.instruments },
            features: config.features,
            granules,
            golgi,
            purkinje,
            nuclear,
            pending: config.pending_cycles,
            state,
            shared_bytes,
            threads,
            driven: config.plastic && config.rules.intrinsic.enabled,
        }
    }

    fn weights(&self) -> usize {
        self.granules * self.purkinje
    }

    fn input(&self, outcomes_max: usize) -> Input {
        let aligned = |bytes: usize| bytes.next_multiple_of(16);
        let outcomes = TICK_BYTES;
        let changes = outcomes + outcomes_max * OUTCOME_BYTES;
        let features = changes + aligned(outcomes_max * self.purkinje * 4);
        let active = features + aligned(self.instruments * self.features * 4);
        let factors = active + aligned(self.instruments * 4);
        let purkinje_drive = factors + aligned(self.sets * 4);
        let drives = if self.driven { self.instruments * self.purkinje } else { 0 };
        let bytes = purkinje_drive + aligned(drives * 4);
        Input { outcomes, changes, features, active, factors, purkinje_drive, bytes }
    }

    fn result_words(&self) -> usize {
        RESULT_WORDS + self.purkinje
    }
}

/// Where things lie on the device.
#[derive(Clone, Copy, Debug)]
struct Places {
    weights: Address,
    state: Address,
    counts: Address,
}

/// All instruments on one device.
pub(super) struct Device {
    driver: Box<dyn Driver>,
    sizes: Sizes,
    input: Input,
    places: Places,
    copied_in: Pinned,
    copied_out: Pinned,
    cycle_graph: Graph,
    learn_graph: Graph,
    outcomes_max: usize,
    waiting: usize,
    synchronise_every: u64,
    since_synchronised: u64,
    /// Whether the host's cells, counts and weights are newer than the device's.
    pub(super) host_is_newer: bool,
    last_cycle: Option<u64>,
    /// The last cycle that the host's copy knows of.
    pub(super) synchronised_cycle: Option<u64>,
    pub(super) counters: DeviceCounters,
    scratch: Vec<u8>,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("device", self.driver.device())
            .field("sizes", &self.sizes)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// Lays the networks of a configuration out on a device. Cells, counts and weights are copied there with the
    /// first cycle.
    pub(super) fn new(
        mut driver: Box<dyn Driver>,
        config: &CerebellumConfig,
        circuit: &Circuit,
        keys: Key,
        synchronise_every: u64,
    ) -> Result<Self, DeviceError> {
        supported(config)?;
        let sizes = Sizes::new(config);
        let found = driver.device().shared_bytes_max as usize;
        if sizes.shared_bytes > found {
            let device = driver.device().name.clone();
            return Err(DeviceError::Shared { needed: sizes.shared_bytes, found, device });
        }
        let outcomes_max = (2 * sizes.instruments).max(64);
        let input = sizes.input(outcomes_max);
        let needed = input.bytes
            + 4 * (sizes.sets * sizes.weights() + sizes.instruments * sizes.state)
            + sizes.instruments * (sizes.pending * sizes.granules + 4 * sizes.result_words());
        let free = driver.free_bytes()?;
        if needed as u64 > free {
            let device = driver.device().name.clone();
            let instruments = sizes.instruments;
            return Err(DeviceError::Memory { instruments, needed: needed as u64, free, device });
        }
        driver.load(&CEREBELLUM)?;
        let block = driver.allocate(input.bytes)?;
        let results_bytes = 4 * sizes.instruments * sizes.result_words();
        let results = driver.allocate(results_bytes)?;
        let places = Places {
            weights: driver.allocate(4 * sizes.sets * sizes.weights())?,
            state: driver.allocate(4 * sizes.instruments * sizes.state)?,
            counts: driver.allocate(sizes.instruments * sizes.pending * sizes.granules)?,
        };
        let wiring = Wiring::new(circuit, &sizes);
        let keys: Vec<u8> =
            (0..sizes.instruments as u64).flat_map(|k| keys.fork(k).raw().to_le_bytes()).collect();
        let mut upload = |bytes: Vec<u8>| -> Result<Address, DriverError> {
            let address = driver.allocate(bytes.len())?;
            driver.write(address, &bytes)?;
            Ok(address)
        };
        let (code, _) = config.code();
        let centres = upload(bytes_of(circuit.encoder.centres()))?;
        let drive = upload(bytes_of(&circuit.granule_drive))?;
        let keys = upload(keys)?;
        let argument = Argument::new()
            .address(block)
            .address(block.add(input.features))
            .address(block.add(input.active))
            .address(block.add(input.factors))
            .address(if sizes.driven { block.add(input.purkinje_drive) } else { Address(0) })
            .address(keys)
            .address(centres)
            .address(upload(wiring.granule_mossy.bytes())?)
            .address(upload(wiring.golgi_mossy.bytes())?)
            .address(upload(wiring.cluster_golgi.bytes())?)
            .address(upload(wiring.golgi_granule)?)
            .address(upload(wiring.nuclear_purkinje)?)
            .address(drive)
            .address(places.weights)
            .address(places.state)
            .address(places.counts)
            .address(results);
        let cells = [GRANULE_AT, GOLGI_AT, PURKINJE_AT, NUCLEAR_AT];
        let argument = cells.iter().fold(argument, |argument, &k| {
            argument.numbers(&propagator(circuit.network.propagator(k)))
        });
        let [mossy_granule, mossy_golgi, golgi_granule, granule_golgi, purkinje_nuclear] = [
            MOSSY_GRANULE_AT,
            MOSSY_GOLGI_AT,
            GOLGI_GRANULE_AT,
            GRANULE_GOLGI_AT,
            PURKINJE_NUCLEAR_AT,
        ]
        .map(|k| circuit.network.jump(k).unwrap_or(0.0));
        let rates = circuit.encoder.rates_a_step();
        let argument = argument
            .numbers(&fields(&code))
            .numbers(&rates)
            .numbers(&[mossy_granule, mossy_golgi, golgi_granule, granule_golgi, purkinje_nuclear])
            .count(sizes.features)
            .count(config.fibres_per_feature)
            .count(sizes.granules)
            .count(config.granule_per_golgi)
            .count(sizes.golgi)
            .count(sizes.purkinje)
            .count(sizes.nuclear)
            .count(wiring.granule_mossy.each)
            .count(wiring.golgi_mossy.each)
            .count(wiring.cluster_golgi.each)
            .count(config.steps_per_cycle)
            .count(config.settle_steps)
            .count(sizes.pending)
            .count(usize::from(!config.shared_weights))
            .count(sizes.state)
            .count(sizes.result_words());
        let cycle = Launch {
            kernel: "cerebellum_cycle",
            grid: [sizes.instruments as u32, 1, 1],
            threads: sizes.threads as u32,
            shared_bytes: sizes.shared_bytes as u32,
            argument: argument.finish(),
        };
        let argument = Argument::new()
            .address(block)
            .address(block.add(input.outcomes))
            .address(block.add(input.changes))
            .address(places.weights)
            .address(places.counts)
            .numbers(&[0.0, config.weight_cap])
            .count(sizes.granules)
            .count(sizes.purkinje)
            .count(sizes.pending)
            .count(0);
        let learn = Launch {
            kernel: "cerebellum_learn",
            grid: [sizes.weights().div_ceil(256) as u32, sizes.sets as u32, 1],
            threads: 256,
            shared_bytes: 0,
            argument: argument.finish(),
        };
        let copied_in = driver.pin(input.bytes)?;
        let copied_out = driver.pin(results_bytes)?;
        let copy_in = |bytes| Operation::CopyIn { from: copied_in, to: block, bytes };
        let learn_graph =
            driver.graph(&[copy_in(input.features), Operation::Launch(learn.clone())])?;
        let cycle_graph = driver.graph(&[
            copy_in(input.bytes),
            Operation::Launch(learn),
            Operation::Launch(cycle),
            Operation::CopyOut { from: results, to: copied_out, bytes: results_bytes },
        ])?;
        Ok(Self {
            driver,
            sizes,
            input,
            places,
            copied_in,
            copied_out,
            cycle_graph,
            learn_graph,
            outcomes_max,
            waiting: 0,
            synchronise_every: synchronise_every.max(1),
            since_synchronised: 0,
            host_is_newer: true,
            last_cycle: None,
            synchronised_cycle: None,
            counters: DeviceCounters::default(),
            scratch: Vec::new(),
        })
    }

    /// What the device is.
    pub(super) fn device(&self) -> &purkinje_cuda::driver::Device {
        self.driver.device()
    }

    /// Hands an outcome over: what a spike of a granule cell of `instrument` in the cycle kept in `slot` changes,
    /// by Purkinje cell.
    pub(super) fn push(
        &mut self,
        instrument: usize,
        slot: usize,
        change: &[f32],
    ) -> Result<(), DriverError> {
        if self.waiting == self.outcomes_max {
            self.flush()?;
        }
        let set = if self.sizes.sets == 1 { 0 } else { instrument };
        let n = self.waiting;
        let block = self.driver.pinned(self.copied_in);
        put(
            block,
            self.input.outcomes + n * OUTCOME_BYTES,
            [set as u32, instrument as u32, slot as u32, 0],
        );
        let row = self.input.changes + n * 4 * change.len();
        put(block, row, change.iter().map(|c| c.to_bits()));
        self.waiting += 1;
        self.counters.outcomes += 1;
        self.counters.unsynchronised_outcomes += 1;
        Ok(())
    }

    /// Learns the outcomes that wait, now.
    fn flush(&mut self) -> Result<(), DriverError> {
        self.tick(0);
        self.driver.launch(self.learn_graph)?;
        self.driver.wait()?;
        self.waiting = 0;
        self.counters.flushes += 1;
        Ok(())
    }

    /// Runs `cycle` of all instruments, whose features and flags lie in the shards, and leaves there what
    /// [`Shard::advance`] leaves.
    pub(super) fn advance(
        &mut self,
        circuit: &Circuit,
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&WeightSet>,
        cycle: u64,
    ) -> Result<(), DriverError> {
        if self.host_is_newer {
            self.upload(circuit, shards, shared)?;
        }
        let (sizes, input) = (self.sizes, self.input);
        let block = self.driver.pinned(self.copied_in);
        for shard in shards.iter_mut().flatten() {
            let first = shard.first;
            let at = input.features + 4 * first * sizes.features;
            put(block, at, shard.features.iter().map(|x| x.to_bits()));
            put(block, input.active + 4 * first, shard.active.iter().map(|&on| u32::from(on)));
            if shared.is_none() {
                let factors =
                    shard.own.iter().map(|set| set.synapses.factor(PARALLEL_AT).to_bits());
                put(block, input.factors + 4 * first, factors);
            }
            if sizes.driven {
                for k in 0..shard.len() {
                    let at = input.purkinje_drive + 4 * (first + k) * sizes.purkinje;
                    let drive = Circuit::purkinje_drive(shard.state_mut(k));
                    put(block, at, drive.iter().map(|x| x.to_bits()));
                }
            }
        }
        if let Some(set) = shared {
            put(block, input.factors, [set.synapses.factor(PARALLEL_AT).to_bits()]);
        }
        self.tick(cycle);
        self.driver.launch(self.cycle_graph)?;
        self.driver.wait()?;
        self.waiting = 0;
        let each = sizes.result_words();
        let results = self.driver.pinned(self.copied_out);
        let taken = |instrument: usize, activity: &mut Activity| -> Kept {
            let at = 4 * instrument * each;
            let (words, cells) =
                results[at..at + 4 * each].as_chunks::<4>().0.split_at(RESULT_WORDS);
            let word = |k: usize| u32::from_le_bytes(words[k]);
            activity.spikes = Spikes {
                mossy: word(0).into(),
                granule: word(1).into(),
                golgi: word(2).into(),
                purkinje: word(3).into(),
                nuclear: word(4).into(),
            };
            activity.nuclear = [word(5), word(6)];
            for (spikes, word) in activity.purkinje.iter_mut().zip(cells) {
                *spikes = u32::from_le_bytes(*word) as u16;
            }
            (word(7) as f32, word(8).into())
        };
        for shard in shards.iter_mut().flatten() {
            shard.take(circuit, shared, cycle, taken);
        }
        self.last_cycle = Some(cycle);
        self.counters.cycles += 1;
        self.since_synchronised += 1;
        Ok(())
    }

    /// Whether it is time for a copy of the state.
    pub(super) const fn is_due(&self) -> bool {
        self.since_synchronised >= self.synchronise_every
    }

    fn tick(&mut self, cycle: u64) {
        let slot = cycle % self.sizes.pending as u64;
        let block = self.driver.pinned(self.copied_in);
        put(block, 0, [cycle as u32, (cycle >> 32) as u32, slot as u32, self.waiting as u32]);
    }

    /// Copies cells, counts and weights from the host to the device.
    fn upload(
        &mut self,
        circuit: &Circuit,
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&WeightSet>,
    ) -> Result<(), DriverError> {
        let (sizes, places) = (self.sizes, self.places);
        for shard in shards.iter_mut().flatten() {
            for k in 0..shard.len() {
                let at = 4 * (shard.first + k) * sizes.state;
                self.scratch.clear();
                each_row(shard.state_mut(k), |row| {
                    self.scratch.extend(row.iter().flat_map(|x| x.to_le_bytes()));
                });
                self.driver.write(places.state.add(at), &self.scratch)?;
            }
            let at = shard.first * sizes.pending * sizes.granules;
            if let Some(counts) = shard.counts_mut() {
                self.driver.write(places.counts.add(at), counts)?;
            }
            for (k, set) in shard.own.iter().enumerate() {
                let at = 4 * (shard.first + k) * sizes.weights();
                let weights = bytes_of(&circuit.weights(&set.synapses));
                self.driver.write(places.weights.add(at), &weights)?;
            }
        }
        if let Some(set) = shared {
            self.driver.write(places.weights, &bytes_of(&circuit.weights(&set.synapses)))?;
        }
        self.host_is_newer = false;
        self.since_synchronised = 0;
        self.counters.unsynchronised_outcomes = 0;
        Ok(())
    }

    /// Copies cells, counts and weights from the device to the host, which are then as of the last cycle with all
    /// outcomes since.
    pub(super) fn download(
        &mut self,
        circuit: &Circuit,
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&mut WeightSet>,
    ) -> Result<(), DriverError> {
        if self.host_is_newer {
            return Ok(());
        }
        if self.waiting > 0 {
            self.flush()?;
        }
        let (sizes, places) = (self.sizes, self.places);
        // Everything is read before anything is written, so that a failure leaves the older copy whole.
        let all = 4 * (sizes.instruments * sizes.state + sizes.sets * sizes.weights());
        self.scratch.resize(all + sizes.instruments * sizes.pending * sizes.granules, 0);
        let (cells, rest) = self.scratch.split_at_mut(4 * sizes.instruments * sizes.state);
        let (weights, counts) = rest.split_at_mut(4 * sizes.sets * sizes.weights());
        self.driver.read(places.state, cells)?;
        self.driver.read(places.weights, weights)?;
        self.driver.read(places.counts, counts)?;
        for shard in shards.iter_mut().flatten() {
            for k in 0..shard.len() {
                let at = 4 * (shard.first + k) * sizes.state;
                let mut values = cells[at..].as_chunks::<4>().0.iter();
                let state = shard.state_mut(k);
                each_row(state, |row| {
                    for (x, bytes) in row.iter_mut().zip(&mut values) {
                        *x = f32::from_le_bytes(*bytes);
                    }
                });
            }
            let at = shard.first * sizes.pending * sizes.granules;
            if let Some(kept) = shard.counts_mut() {
                kept.copy_from_slice(&counts[at..at + kept.len()]);
            }
            let first = shard.first;
            for (k, set) in shard.own.iter_mut().enumerate() {
                let at = 4 * (first + k) * sizes.weights();
                let own = &weights[at..at + 4 * sizes.weights()];
                put_weights(circuit, &mut set.synapses, own, sizes.purkinje);
            }
        }
        if let Some(set) = shared {
            put_weights(circuit, &mut set.synapses, weights, sizes.purkinje);
        }
        self.synchronised_cycle = self.last_cycle;
        self.since_synchronised = 0;
        self.counters.synchronisations += 1;
        self.counters.unsynchronised_outcomes = 0;
        Ok(())
    }
}

/// Refuses what the kernels do not have.
fn supported(config: &CerebellumConfig) -> Result<(), DeviceError> {
    let refused = |setting, value: &str, expected: &str| {
        Err(DeviceError::Unsupported {
            setting,
            value: value.to_owned(),
            expected: expected.to_owned(),
        })
    };
    if config.eligibility == Eligibility::Kernel {
        return refused("eligibility", "kernel", "held");
    }
    if config.plastic && config.rules.stdp.enabled {
        return refused("rules.stdp", "true", "false");
    }
    for (setting, count, most) in [
        ("fibres of a network", config.fibres(), usize::from(NO_SOURCE)),
        ("granule_cells", config.granule_cells, usize::from(NO_SOURCE)),
        ("instruments", config.instruments, 65_535),
    ] {
        if count > most {
            return refused(setting, &count.to_string(), &format!("at most {most}"));
        }
    }
    Ok(())
}

/// Sources by target, each list ascending and filled up with [`NO_SOURCE`].
struct Sources {
    each: usize,
    list: Vec<u16>,
}

impl Sources {
    fn new(circuit: &Circuit, projection: usize, sources: usize, targets: usize) -> Self {
        let mut lists = vec![Vec::new(); targets];
        for source in 0..sources as u32 {
            for target in circuit.network.row(projection, source).1 {
                lists[target as usize].push(source as u16);
            }
        }
        let each = lists.iter().map(Vec::len).max().unwrap_or(0);
        let mut list = Vec::with_capacity(each * targets);
        for mut sources in lists {
            sources.resize(each, NO_SOURCE);
            list.extend(sources);
        }
        Self { each, list }
    }

    fn bytes(&self) -> Vec<u8> {
        self.list.iter().flat_map(|source| source.to_le_bytes()).collect()
    }
}

/// The fixed wiring as the kernels read it.
struct Wiring {
    granule_mossy: Sources,
    golgi_mossy: Sources,
    cluster_golgi: Sources,
    golgi_granule: Vec<u8>,
    nuclear_purkinje: Vec<u8>,
}

impl Wiring {
    fn new(circuit: &Circuit, sizes: &Sizes) -> Self {
        let fibres = circuit.network.count(Cell::Mossy);
        let sources =
            |projection, sources, targets| Sources::new(circuit, projection, sources, targets);
        let bits = |projection, sources: usize, targets: usize| {
            let words = targets.div_ceil(32);
            let mut rows = vec![0_u32; sources * words];
            for source in 0..sources {
                for target in circuit.network.row(projection, source as u32).1 {
                    rows[source * words + target as usize / 32] |= 1 << (target % 32);
                }
            }
            rows.iter().flat_map(|word| word.to_le_bytes()).collect()
        };
        Self {
            granule_mossy: sources(MOSSY_GRANULE_AT, fibres, sizes.granules),
            golgi_mossy: sources(MOSSY_GOLGI_AT, fibres, sizes.golgi),
            cluster_golgi: sources(GOLGI_GRANULE_AT, sizes.golgi, sizes.golgi),
            golgi_granule: bits(GRANULE_GOLGI_AT, sizes.granules, sizes.golgi),
            nuclear_purkinje: bits(PURKINJE_NUCLEAR_AT, sizes.purkinje, sizes.nuclear),
        }
    }
}

/// A propagator as the kernels have it.
fn propagator(p: Option<&Propagator>) -> [f32; 8] {
    p.map_or([0.0; 8], |p| {
        [p.keep_v, p.exc_to_v, p.inh_to_v, p.keep_exc, p.keep_inh, p.drive, p.unit, p.reset]
    })
}

fn fields(code: &PopulationCode) -> [f32; 3] {
    [code.low, code.high, code.sd]
}

/// Calls with each row of an instrument's cells in the order of `cerebellum_cycle`: of each population the
/// potentials, then its receptors.
fn each_row(state: &mut State, mut row: impl FnMut(&mut [f32])) {
    for population in [GRANULE_AT, GOLGI_AT, PURKINJE_AT, NUCLEAR_AT] {
        let (potentials, receptors) = state.cells_mut(population);
        row(potentials);
        for receptor in receptors {
            row(receptor);
        }
    }
}

fn bytes_of(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// Writes words from `at` on.
fn put(block: &mut [u8], at: usize, words: impl IntoIterator<Item = u32>) {
    for (place, word) in block[at..].as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
}

/// Puts the weights of one set, by granule cell, into synapses.
fn put_weights(circuit: &Circuit, synapses: &mut Synapses, bytes: &[u8], row: usize) {
    for (granule, given) in bytes.as_chunks::<4>().0.chunks_exact(row).enumerate() {
        let own = circuit.network.row_mut(synapses, PARALLEL_AT, granule as u32);
        own.iter_mut().zip(given).for_each(|(w, bytes)| *w = f32::from_le_bytes(*bytes));
    }
}
