//! The resident plan: networks laid out on a device, and the operations of a cycle.
//!
//! It owns memory of a driver but no driver, no pinned block and no graph: those are had by who joins its
//! operations to others' in one graph. Such an owner
//!
//! 1. allocates [`ResidentPlan::input_bytes`], [`ResidentPlan::output_bytes`] and a byte of flags an instrument on
//!    the device, as parts of whatever blocks it copies, input and output at multiples of 16 bytes;
//! 2. builds a graph of a copy in, [`ResidentPlan::cycle_operations`] and a copy out, and one of a copy of
//!    [`ResidentPlan::learn_bytes`], [`ResidentPlan::learn_operations`] and a copy out of
//!    [`ResidentPlan::learn_output_bytes`];
//! 3. before a launch, lets [`ResidentPlan::write_cycle`] or [`ResidentPlan::write_learn`] fill the plan's part of
//!    the pinned block; after the wait, calls [`ResidentPlan::read_learn`] and, of a cycle,
//!    [`ResidentPlan::read_cycle`].
//!
//! Invariants: operations do not change from one cycle to the next; nothing is allocated after construction but
//! for copies of the whole state; outcomes act in the order in which they came, and no more wait than
//! [`Sizes::outcomes_max`].

use bytemuck::Zeroable;
use purkinje_cuda::driver::{Address, Driver, DriverError, Launch, Operation};
use purkinje_cuda::sources::CEREBELLUM;

use super::super::circuit::{
    Circuit, GOLGI_AT, GOLGI_GRANULE_AT, GRANULE_AT, GRANULE_GOLGI_AT, MOSSY_GOLGI_AT,
    MOSSY_GRANULE_AT, NUCLEAR_AT, PARALLEL_AT, PURKINJE_AT, PURKINJE_NUCLEAR_AT,
};
use super::super::config::CerebellumConfig;
use super::super::memory::Kernel;
use super::arguments::{
    CycleArgument, EligibilityArgument, Fields, LearnArgument, Memory, PairedCycleArgument, Pairs,
    Propagator, SettleArgument,
};
use super::error::DeviceError;
use super::pairs;
use super::sizes::{ELIGIBILITY_THREADS, Input, LEARN_THREADS, Sizes};
use super::traffic::Waiting;
use super::wiring::Wiring;
use crate::cerebellum::engine::Plastic;
use crate::rng::Key;

/// Where things lie on the device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) weights: Address,
    pub(super) state: Address,
    /// Counts or traces.
    pub(super) past: Address,
    /// What pair STDP keeps.
    pub(super) pairs: Address,
}

/// See the module.
#[derive(Debug)]
pub(in crate::cerebellum::trading) struct ResidentPlan {
    pub(super) sizes: Sizes,
    pub(super) input: Input,
    pub(super) places: Places,
    /// Without the addresses that the owner of the blocks decides on.
    cycle: CycleArgument,
    learn: LearnArgument,
    pairs: Option<Pairs>,
    /// The traces, where outcomes find traces, and by instrument the cycle at which they stand on the device.
    pub(super) kernel: Option<Kernel>,
    pub(super) at: Vec<u64>,
    pub(super) waiting: Waiting,
    /// For copies of the whole state.
    pub(super) scratch: Vec<u8>,
}

impl ResidentPlan {
    /// Lays the networks of a configuration out on a device. Cells, past and weights are copied there by
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
        let synapses = circuit.learns_by_spike().then(|| circuit.synapses());
        let plastic = synapses.as_ref().and_then(|synapses| synapses.plastic(PARALLEL_AT));
        let rule = plastic.and_then(Plastic::pair_rule);
        let sizes = Sizes::new(config, rule.as_ref())?;
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
            + sizes.past_bytes()
            + sizes.pair_bytes();
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
            past: driver.allocate(sizes.past_bytes())?,
            pairs: driver.allocate(sizes.pair_bytes())?,
        };
        let (counts, traces) = if sizes.traced { (0, places.past.0) } else { (places.past.0, 0) };
        let (granules, pending) = (sizes.granules as u32, sizes.pending as u32);
        let memory = Memory { counts, traces, granules, pending };
        let cycle = cycle_argument(driver, config, circuit, keys, &sizes)?;
        let pairs = match (&rule, sizes.pairs) {
            (Some(rule), Some(sizes)) => Some(pairs::constants(driver, rule, sizes, places.pairs)?),
            _ => None,
        };
        Ok(Self {
            cycle: CycleArgument {
                weights: places.weights.0,
                state: places.state.0,
                memory,
                ..cycle
            },
            learn: LearnArgument {
                weights: places.weights.0,
                memory,
                least: 0.0,
                most: config.weight_cap,
                purkinje_cells: sizes.purkinje as u32,
                ..LearnArgument::zeroed()
            },
            pairs,
            kernel: Kernel::of(config),
            at: vec![0; sizes.instruments],
            waiting: Waiting::new(&sizes),
            scratch: Vec::new(),
            sizes,
            input,
            places,
        })
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

    /// Bytes from the output's beginning that learning alone copies out.
    pub(in crate::cerebellum::trading) fn learn_output_bytes(&self) -> usize {
        self.sizes.learn_output_bytes()
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
        let cycle = CycleArgument {
            tick: input.0,
            features: input.add(places.features).0,
            flags: flags.0,
            factors: input.add(places.factors).0,
            purkinje_drive: drive.0,
            results: output.add(sizes.learn_output_bytes()).0,
            keeps: input.add(places.keeps).0,
            ..self.cycle
        };
        let (kernel, argument) = match self.pairs {
            None => ("cerebellum_cycle", bytemuck::bytes_of(&cycle).to_vec()),
            Some(pairs) => {
                let argument = PairedCycleArgument { cycle, pairs };
                ("cerebellum_paired_cycle", bytemuck::bytes_of(&argument).to_vec())
            }
        };
        let mut operations = self.learn_operations(input, output);
        operations.push(Operation::Launch(Launch {
            kernel,
            grid: [sizes.instruments as u32, 1, 1],
            threads: sizes.threads as u32,
            shared_bytes: sizes.shared_bytes as u32,
            argument,
        }));
        operations
    }

    /// Learns the outcomes of the input at `input`; what they found is left at `output`.
    pub(in crate::cerebellum::trading) fn learn_operations(
        &self,
        input: Address,
        output: Address,
    ) -> Vec<Operation> {
        let sizes = &self.sizes;
        let outcomes = input.add(self.input.outcomes).0;
        let memory = self.learn.memory;
        let mut operations = Vec::new();
        if sizes.traced {
            let argument =
                EligibilityArgument { tick: input.0, outcomes, totals: output.0, memory };
            operations.push(Operation::Launch(Launch {
                kernel: "cerebellum_eligibility",
                grid: [sizes.outcomes_max as u32, 1, 1],
                threads: ELIGIBILITY_THREADS as u32,
                shared_bytes: (size_of::<f32>() * ELIGIBILITY_THREADS) as u32,
                argument: bytemuck::bytes_of(&argument).to_vec(),
            }));
        }
        if let Some(pairs) = self.pairs {
            let (blocks, shared_bytes) = sizes.settling();
            let argument = SettleArgument {
                tick: input.0,
                outcomes,
                weights: self.learn.weights,
                memory,
                pairs,
                purkinje_cells: sizes.purkinje as u32,
                unused: 0,
            };
            operations.push(Operation::Launch(Launch {
                kernel: "cerebellum_settle",
                grid: [blocks as u32, sizes.sets as u32, 1],
                threads: LEARN_THREADS as u32,
                shared_bytes: shared_bytes as u32,
                argument: bytemuck::bytes_of(&argument).to_vec(),
            }));
        }
        let argument = LearnArgument {
            tick: input.0,
            outcomes,
            changes: input.add(self.input.changes).0,
            ..self.learn
        };
        operations.push(Operation::Launch(Launch {
            kernel: "cerebellum_learn",
            grid: [sizes.weights().div_ceil(LEARN_THREADS) as u32, sizes.sets as u32, 1],
            threads: LEARN_THREADS as u32,
            shared_bytes: 0,
            argument: bytemuck::bytes_of(&argument).to_vec(),
        }));
        operations
    }
}

/// Puts wiring and constants on the device; what is decided on elsewhere is left 0.
fn cycle_argument(
    driver: &mut dyn Driver,
    config: &CerebellumConfig,
    circuit: &Circuit,
    keys: Key,
    sizes: &Sizes,
) -> Result<CycleArgument, DriverError> {
    let mut put = |bytes: &[u8]| put(driver, bytes);
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
        granule: cells(GRANULE_AT),
        golgi: cells(GOLGI_AT),
        purkinje: cells(PURKINJE_AT),
        nuclear: cells(NUCLEAR_AT),
        fields: Fields { low: code.low, high: code.high, sd: code.sd, background, peak },
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
        own_weights: u32::from(!config.shared_weights),
        state_floats: sizes.state as u32,
        result_words: sizes.result_words() as u32,
        ..CycleArgument::zeroed()
    })
}

/// Puts constants on the device.
pub(super) fn put(driver: &mut dyn Driver, bytes: &[u8]) -> Result<u64, DriverError> {
    let address = driver.allocate(bytes.len())?;
    driver.write(address, bytes)?;
    Ok(address.0)
}
