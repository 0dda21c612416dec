//! The resident plan: networks laid out on a device, what a cycle writes and reads, and the operations between.
//!
//! It owns memory of a driver but no driver, no pinned block and no graph: those are had by who joins its
//! operations to others' in one graph. Such an owner
//!
//! 1. allocates [`ResidentPlan::input_bytes`], [`ResidentPlan::output_bytes`] and a byte of flags an instrument on
//!    the device, as parts of whatever blocks it copies, the input at a multiple of 16 bytes;
//! 2. builds a graph of a copy in, [`ResidentPlan::cycle_operations`] and a copy out, and one of a copy of
//!    [`ResidentPlan::learn_bytes`] and [`ResidentPlan::learn_operations`];
//! 3. before a launch, lets [`ResidentPlan::write_cycle`] or [`ResidentPlan::write_learn`] fill the plan's part of
//!    the pinned block; after the wait, calls [`ResidentPlan::outcomes_learned`] and
//!    [`ResidentPlan::read_cycle`].
//!
//! Invariants: operations do not change from one cycle to the next; nothing is allocated after construction but
//! for copies of the whole state; outcomes act in the order in which they came, and no more wait than
//! [`Sizes::outcomes_max`].

use bytemuck::{Pod, Zeroable};
use purkinje_cuda::driver::{Address, Driver, DriverError, Launch, Operation};
use purkinje_cuda::sources::CEREBELLUM;

use super::super::circuit::{
    Activity, Circuit, GOLGI_AT, GOLGI_GRANULE_AT, GRANULE_AT, GRANULE_GOLGI_AT, MOSSY_GOLGI_AT,
    MOSSY_GRANULE_AT, NUCLEAR_AT, PARALLEL_AT, PURKINJE_AT, PURKINJE_NUCLEAR_AT, Spikes,
};
use super::super::config::CerebellumConfig;
use super::super::memory::Kept;
use super::super::shard::{Shard, WeightSet};
use super::arguments::{CycleArgument, LearnArgument, Outcome, Propagator, Tick};
use super::error::DeviceError;
use super::sizes::{Input, LEARN_THREADS, RESULT_WORDS, Sizes};
use super::wiring::Wiring;
use crate::rng::Key;

/// Where things lie on the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) weights: Address,
    pub(super) state: Address,
    pub(super) counts: Address,
}

/// See the module.
#[derive(Debug)]
pub(in crate::cerebellum::trading) struct ResidentPlan {
    pub(super) sizes: Sizes,
    input: Input,
    pub(super) places: Places,
    /// Without the addresses that the owner of the blocks decides on.
    cycle: CycleArgument,
    learn: LearnArgument,
    /// Outcomes in the input that no launch has learned.
    waiting: usize,
    /// For copies of the whole state.
    pub(super) scratch: Vec<u8>,
}

impl ResidentPlan {
    /// Lays the networks of a configuration out on a device. Cells, counts and weights are copied there by
    /// [`ResidentPlan::upload`].
    ///
    /// # Errors
    /// [`DeviceError`] where sizes are not served or do not fit, or the driver refuses.
    pub(in crate::cerebellum::trading) fn new(
        driver: &mut dyn Driver,
        config: &CerebellumConfig,
        circuit: &Circuit,
        keys: Key,
    ) -> Result<Self, DeviceError> {
        let sizes = Sizes::new(config)?;
        let found = driver.device().shared_bytes_max as usize;
        if sizes.shared_bytes > found {
            let device = driver.device().name.clone();
            return Err(DeviceError::Shared { needed: sizes.shared_bytes, found, device });
        }
        let input = sizes.input();
        let needed = input.bytes
            + sizes.instruments
            + sizes.output_bytes()
            + sizes.weight_bytes()
            + sizes.state_bytes()
            + sizes.count_bytes();
        let free = driver.free_bytes()?;
        if needed as u64 > free {
            let device = driver.device().name.clone();
            let instruments = sizes.instruments;
            return Err(DeviceError::Memory { instruments, needed: needed as u64, free, device });
        }
        driver.load(&CEREBELLUM)?;
        let places = Places {
            weights: driver.allocate(sizes.weight_bytes())?,
            state: driver.allocate(sizes.state_bytes())?,
            counts: driver.allocate(sizes.count_bytes())?,
        };
        let cycle = cycle_argument(driver, config, circuit, keys, &sizes, &places)?;
        let learn = LearnArgument {
            weights: places.weights.0,
            counts: places.counts.0,
            least: 0.0,
            most: config.weight_cap,
            granules: sizes.granules as u32,
            purkinje_cells: sizes.purkinje as u32,
            pending: sizes.pending as u32,
            ..LearnArgument::zeroed()
        };
        Ok(Self { sizes, input, places, cycle, learn, waiting: 0, scratch: Vec::new() })
    }

    /// Bytes that a cycle copies in.
    pub(in crate::cerebellum::trading) const fn input_bytes(&self) -> usize {
        self.input.bytes
    }

    /// Bytes from the input's beginning that learning alone copies in.
    pub(in crate::cerebellum::trading) const fn learn_bytes(&self) -> usize {
        self.input.features
    }

    /// Bytes that a cycle copies out.
    pub(in crate::cerebellum::trading) fn output_bytes(&self) -> usize {
        self.sizes.output_bytes()
    }

    /// Learns the outcomes of the input at `input` and runs a cycle on it, which leaves its results at `output`.
    /// `flags` has a byte an instrument, of which this reads
    /// [`ACTIVE`](purkinje_cuda::flags::ACTIVE): others stand still and leave their results alone.
    pub(in crate::cerebellum::trading) fn cycle_operations(
        &self,
        input: Address,
        flags: Address,
        output: Address,
    ) -> Vec<Operation> {
        let (sizes, places) = (&self.sizes, &self.input);
        let drive = if sizes.driven { input.add(places.purkinje_drive) } else { Address(0) };
        let argument = CycleArgument {
            tick: input.0,
            features: input.add(places.features).0,
            flags: flags.0,
            factors: input.add(places.factors).0,
            purkinje_drive: drive.0,
            results: output.0,
            ..self.cycle
        };
        let cycle = Operation::Launch(Launch {
            kernel: "cerebellum_cycle",
            grid: [sizes.instruments as u32, 1, 1],
            threads: sizes.threads as u32,
            shared_bytes: sizes.shared_bytes as u32,
            argument: bytemuck::bytes_of(&argument).to_vec(),
        });
        let mut operations = self.learn_operations(input);
        operations.push(cycle);
        operations
    }

    /// Learns the outcomes of the input at `input`.
    pub(in crate::cerebellum::trading) fn learn_operations(&self, input: Address) -> Vec<Operation> {
        let sizes = &self.sizes;
        let argument = LearnArgument {
            tick: input.0,
            outcomes: input.add(self.input.outcomes).0,
            changes: input.add(self.input.changes).0,
            ..self.learn
        };
        vec![Operation::Launch(Launch {
            kernel: "cerebellum_learn",
            grid: [sizes.weights().div_ceil(LEARN_THREADS) as u32, sizes.sets as u32, 1],
            threads: LEARN_THREADS as u32,
            shared_bytes: 0,
            argument: bytemuck::bytes_of(&argument).to_vec(),
        })]
    }

    /// Outcomes that wait for a launch.
    pub(in crate::cerebellum::trading) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether the input has no room for another outcome: learning must be launched first.
    pub(in crate::cerebellum::trading) const fn is_full(&self) -> bool {
        self.waiting == self.sizes.outcomes_max
    }

    /// Puts an outcome into the input, which is not full: what a spike of a granule cell of `instrument` in the
    /// cycle kept in `slot` changes, by Purkinje cell.
    pub(in crate::cerebellum::trading) fn push(
        &mut self,
        input: &mut [u8],
        instrument: usize,
        slot: usize,
        change: &[f32],
    ) {
        let set = if self.sizes.sets == 1 { 0 } else { instrument as u32 };
        let (n, instrument, slot) = (self.waiting, instrument as u32, slot as u32);
        let outcome = Outcome { set, instrument, slot, unused: 0 };
        put(input, self.input.outcomes + n * size_of::<Outcome>(), &[outcome]);
        put(input, self.input.changes + n * size_of_val(change), change);
        self.waiting += 1;
    }

    /// Fills the part of the input that learning alone reads.
    pub(in crate::cerebellum::trading) fn write_learn(&self, input: &mut [u8]) {
        self.write_tick(input, 0);
    }

    /// Fills the input of `cycle` with what the shards hold.
    pub(in crate::cerebellum::trading) fn write_cycle(
        &self,
        input: &mut [u8],
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&WeightSet>,
        cycle: u64,
    ) {
        let (sizes, places) = (&self.sizes, &self.input);
        let factor = |set: &WeightSet| set.synapses.factor(PARALLEL_AT);
        self.write_tick(input, cycle);
        for shard in shards.iter_mut().flatten() {
            let first = shard.first;
            put(input, places.features + 4 * first * sizes.features, &shard.features);
            for (k, set) in shard.own.iter().enumerate() {
                put(input, places.factors + 4 * (first + k), &[factor(set)]);
            }
            if sizes.driven {
                for k in 0..shard.len() {
                    let at = places.purkinje_drive + 4 * (first + k) * sizes.purkinje;
                    put(input, at, Circuit::purkinje_drive(shard.state_mut(k)));
                }
            }
        }
        if let Some(set) = shared {
            put(input, places.factors, &[factor(set)]);
        }
    }

    fn write_tick(&self, input: &mut [u8], cycle: u64) {
        let slot = (cycle % self.sizes.pending as u64) as u32;
        put(input, 0, &[Tick { cycle, slot, outcomes: self.waiting as u32 }]);
    }

    /// Notes that a launch has learned all outcomes of the input.
    pub(in crate::cerebellum::trading) const fn outcomes_learned(&mut self) {
        self.waiting = 0;
    }

    /// Leaves in the shards what [`Shard::advance`] leaves, from the output of `cycle`.
    pub(in crate::cerebellum::trading) fn read_cycle(
        &self,
        output: &[u8],
        circuit: &Circuit,
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&WeightSet>,
        cycle: u64,
    ) {
        let each = 4 * self.sizes.result_words();
        let taken = |instrument: usize, activity: &mut Activity| -> Kept {
            let at = instrument * each;
            let (words, cells) = output[at..at + each].as_chunks::<4>().0.split_at(RESULT_WORDS);
            let word = |k: usize| u32::from_ne_bytes(words[k]);
            activity.spikes = Spikes {
                mossy: word(0).into(),
                granule: word(1).into(),
                golgi: word(2).into(),
                purkinje: word(3).into(),
                nuclear: word(4).into(),
            };
            activity.nuclear = [word(5), word(6)];
            for (spikes, word) in activity.purkinje.iter_mut().zip(cells) {
                *spikes = u32::from_ne_bytes(*word) as u16;
            }
            (word(7) as f32, word(8).into())
        };
        for shard in shards.iter_mut().flatten() {
            shard.take(circuit, shared, cycle, taken);
        }
    }
}

/// Puts wiring and constants on the device; what the owner of the blocks decides on is left 0.
fn cycle_argument(
    driver: &mut dyn Driver,
    config: &CerebellumConfig,
    circuit: &Circuit,
    keys: Key,
    sizes: &Sizes,
    places: &Places,
) -> Result<CycleArgument, DriverError> {
    let mut put = |bytes: &[u8]| -> Result<u64, DriverError> {
        let address = driver.allocate(bytes.len())?;
        driver.write(address, bytes)?;
        Ok(address.0)
    };
    let wiring = Wiring::new(circuit, sizes);
    let keys: Vec<u64> = (0..sizes.instruments as u64).map(|k| keys.fork(k).raw()).collect();
    let (code, _) = config.code();
    let [background, peak] = circuit.encoder.rates_a_step();
    let cells = |population| {
        circuit.network.propagator(population).map_or_else(Propagator::default, Into::into)
    };
    let jump = |projection| circuit.network.jump(projection).unwrap_or(0.0);
    Ok(CycleArgument {
        keys: put(bytemuck::cast_slice(&keys))?,
        centres: put(bytemuck::cast_slice(circuit.encoder.centres()))?,
        granule_mossy: put(bytemuck::cast_slice(&wiring.granule_mossy.list))?,
        golgi_mossy: put(bytemuck::cast_slice(&wiring.golgi_mossy.list))?,
        cluster_golgi: put(bytemuck::cast_slice(&wiring.cluster_golgi.list))?,
        golgi_granule: put(bytemuck::cast_slice(&wiring.golgi_granule))?,
        nuclear_purkinje: put(bytemuck::cast_slice(&wiring.nuclear_purkinje))?,
        granule_drive: put(bytemuck::cast_slice(&circuit.granule_drive))?,
        weights: places.weights.0,
        state: places.state.0,
        counts: places.counts.0,
        granule: cells(GRANULE_AT),
        golgi: cells(GOLGI_AT),
        purkinje: cells(PURKINJE_AT),
        nuclear: cells(NUCLEAR_AT),
        low: code.low,
        high: code.high,
        sd: code.sd,
        background,
        peak,
        mossy_to_granule: jump(MOSSY_GRANULE_AT),
        mossy_to_golgi: jump(MOSSY_GOLGI_AT),
        golgi_to_granule: jump(GOLGI_GRANULE_AT),
        granule_to_golgi: jump(GRANULE_GOLGI_AT),
        purkinje_to_nuclear: jump(PURKINJE_NUCLEAR_AT),
        features_each: sizes.features as u32,
        fibres_each: config.fibres_per_feature as u32,
        granules: sizes.granules as u32,
        granules_a_cluster: config.granule_per_golgi as u32,
        golgi_cells: sizes.golgi as u32,
        purkinje_cells: sizes.purkinje as u32,
        nuclear_cells: sizes.nuclear as u32,
        dendrites: wiring.granule_mossy.each as u32,
        mossy_per_golgi: wiring.golgi_mossy.each as u32,
        golgi_per_cluster: wiring.cluster_golgi.each as u32,
        steps: config.steps_per_cycle as u32,
        settle_steps: config.settle_steps as u32,
        pending: sizes.pending as u32,
        own_weights: u32::from(!config.shared_weights),
        state_floats: sizes.state as u32,
        result_words: sizes.result_words() as u32,
        ..CycleArgument::zeroed()
    })
}

/// Puts values into a block from byte `at` on.
fn put<T: Pod>(block: &mut [u8], at: usize, values: &[T]) {
    let bytes = bytemuck::cast_slice(values);
    block[at..at + bytes.len()].copy_from_slice(bytes);
}
