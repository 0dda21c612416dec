//! The cerebellum on a device: cells, counts and weights live there, one graph a cycle runs it.
//!
//! ```text
//! host                                  device
//! features, flags, outcomes  ──copy──►  learn (outcomes change weights)
//!                                       cycle (a block an instrument: all steps)
//! value, rates, teacher      ◄──copy──  spikes by population and Purkinje cell, sums of counts
//! ```
//!
//! What depends on an outcome alone (climbing fibres, balance, slow rules) stays with the teacher on the host;
//! it hands over how much a spike changes a weight. The kernels do the CPU's operations in the CPU's order
//! (`kernels/cuda/cerebellum.cu`), so all is equal to the bit. Every so many cycles the host takes a copy of
//! cells, counts and weights, from which the CPU goes on should the device be lost.
//!
//! [`ResidentPlan`] is what lies on the device and what runs there, for whose graph ever; [`Device`] is a driver,
//! a plan and the graphs of the plan alone.
//!
//! Invariants: no allocation in a cycle; outcomes that find no room run a graph of their own at once and are
//! counted.

mod arguments;
mod error;
mod plan;
mod sizes;
mod transfer;
mod wiring;

pub use error::DeviceError;

use purkinje_cuda::driver::{Driver, DriverError, Graph, Operation, Pinned};
use purkinje_cuda::flags::ACTIVE;

use super::circuit::Circuit;
use super::config::CerebellumConfig;
use super::shard::{Shard, WeightSet};
use crate::rng::Key;
use plan::ResidentPlan;

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

/// All instruments on one device.
pub(super) struct Device {
    driver: Box<dyn Driver>,
    plan: ResidentPlan,
    /// The plan's input, then the flags.
    copied_in: Pinned,
    copied_out: Pinned,
    cycle_graph: Graph,
    learn_graph: Graph,
    synchronise_every: u64,
    since_synchronised: u64,
    /// Whether the host's cells, counts and weights are newer than the device's.
    pub(super) host_is_newer: bool,
    last_cycle: Option<u64>,
    /// The last cycle that the host's copy knows of.
    pub(super) synchronised_cycle: Option<u64>,
    pub(super) counters: DeviceCounters,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("device", self.driver.device())
            .field("plan", &self.plan)
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
        let plan = ResidentPlan::new(&mut *driver, config, circuit, keys)?;
        let (in_bytes, out_bytes) =
            (plan.input_bytes() + config.instruments, plan.output_bytes());
        let (input, output) = (driver.allocate(in_bytes)?, driver.allocate(out_bytes)?);
        let flags = input.add(plan.input_bytes());
        let (copied_in, copied_out) = (driver.pin(in_bytes)?, driver.pin(out_bytes)?);
        let copy_in = |bytes| Operation::CopyIn { from: copied_in, to: input, bytes };
        let mut learn = vec![copy_in(plan.learn_bytes())];
        learn.extend(plan.learn_operations(input));
        let mut cycle = vec![copy_in(in_bytes)];
        cycle.extend(plan.cycle_operations(input, flags, output));
        cycle.push(Operation::CopyOut { from: output, to: copied_out, bytes: out_bytes });
        Ok(Self {
            learn_graph: driver.graph(&learn)?,
            cycle_graph: driver.graph(&cycle)?,
            driver,
            plan,
            copied_in,
            copied_out,
            synchronise_every: synchronise_every.max(1),
            since_synchronised: 0,
            host_is_newer: true,
            last_cycle: None,
            synchronised_cycle: None,
            counters: DeviceCounters::default(),
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
        if self.plan.is_full() {
            self.flush()?;
        }
        self.plan.push(self.driver.pinned(self.copied_in), instrument, slot, change);
        self.counters.outcomes += 1;
        self.counters.unsynchronised_outcomes += 1;
        Ok(())
    }

    /// Learns the outcomes that wait, now.
    fn flush(&mut self) -> Result<(), DriverError> {
        self.plan.write_learn(self.driver.pinned(self.copied_in));
        self.driver.launch(self.learn_graph)?;
        self.driver.wait()?;
        self.plan.outcomes_learned();
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
            self.plan.upload(&mut *self.driver, circuit, shards, shared)?;
            self.host_is_newer = false;
            self.since_synchronised = 0;
            self.counters.unsynchronised_outcomes = 0;
        }
        let block = self.driver.pinned(self.copied_in);
        let (input, flags) = block.split_at_mut(self.plan.input_bytes());
        self.plan.write_cycle(input, shards, shared, cycle);
        for shard in shards.iter().flatten() {
            for (flags, &active) in flags[shard.first..].iter_mut().zip(&shard.active) {
                *flags = if active { ACTIVE } else { 0 };
            }
        }
        self.driver.launch(self.cycle_graph)?;
        self.driver.wait()?;
        self.plan.outcomes_learned();
        let output = self.driver.pinned(self.copied_out);
        self.plan.read_cycle(output, circuit, shards, shared, cycle);
        self.last_cycle = Some(cycle);
        self.counters.cycles += 1;
        self.since_synchronised += 1;
        Ok(())
    }

    /// Whether it is time for a copy of the state.
    pub(super) const fn is_due(&self) -> bool {
        self.since_synchronised >= self.synchronise_every
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
        if self.plan.waiting() > 0 {
            self.flush()?;
        }
        self.plan.download(&mut *self.driver, circuit, shards, shared)?;
        self.synchronised_cycle = self.last_cycle;
        self.since_synchronised = 0;
        self.counters.synchronisations += 1;
        self.counters.unsynchronised_outcomes = 0;
        Ok(())
    }
}
