//! The cerebellum on a device: cells, past and weights live there, one graph a cycle runs it.
//!
//! ```text
//! host                                  device
//! features, flags, outcomes  ──copy──►  learn (outcomes change weights)
//!                                       cycle (a block an instrument: all steps)
//! value, rates, teacher      ◄──copy──  spikes by population and Purkinje cell, sums of counts
//! ```
//!
//! What depends on an outcome alone (climbing fibres, balance, slow rules) stays with the teacher on the host;
//! it hands over how much a spike changes a weight. Where outcomes act on traces, the device alone knows how many
//! spikes they find, and tells with the results of the next cycle. The kernels do the CPU's operations in the CPU's order
//! (`kernels/cuda/cerebellum.cu`), so all is equal to the bit. Every so many cycles the host takes a copy of
//! cells, past and weights, from which the CPU goes on should the device be lost.
//!
//! [`ResidentPlan`] is what lies on the device and what runs there, for whose graph ever; [`Device`] is a plan in
//! the graph of a [`DeviceCycle`], which others may share, and the graph in which the plan learns by itself.
//!
//! Invariants: no allocation in a cycle; outcomes that find no room run a graph of their own at once and are
//! counted.

mod arguments;
mod error;
mod joining;
mod pairs;
mod plan;
mod sizes;
mod traffic;
mod transfer;
mod wiring;

pub use error::DeviceError;
pub(crate) use joining::LaidOut;
pub use joining::{DevicePlan, PreparedDevice};
pub(super) use traffic::Handover;

use purkinje_cuda::driver::{DriverError, Graph};

use super::circuit::Circuit;
use super::shard::{Shard, WeightSet};
use crate::device_cycle::DeviceCycle;
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
#[derive(Debug)]
pub(super) struct Device {
    cycle: DeviceCycle,
    /// Its part of the blocks that the cycle copies is their beginning.
    plan: ResidentPlan,
    learn_graph: Graph,
    synchronise_every: u64,
    since_synchronised: u64,
    /// Whether the host's cells, past and weights are newer than the device's.
    pub(super) host_is_newer: bool,
    last_cycle: Option<u64>,
    /// The last cycle that the host's copy knows of.
    pub(super) synchronised_cycle: Option<u64>,
    pub(super) counters: DeviceCounters,
}

impl Device {
    /// Networks laid out on the device of `cycle`, in whose graph they are; `learn_graph` has their learning alone.
    /// Cells, past and weights are copied there with the first cycle.
    pub(super) fn new(
        plan: ResidentPlan,
        cycle: DeviceCycle,
        learn_graph: Graph,
        synchronise_every: u64,
    ) -> Self {
        Self {
            cycle,
            plan,
            learn_graph,
            synchronise_every: synchronise_every.max(1),
            since_synchronised: 0,
            host_is_newer: true,
            last_cycle: None,
            synchronised_cycle: None,
            counters: DeviceCounters::default(),
        }
    }

    /// The cycle that the networks are part of.
    pub(super) const fn cycle(&self) -> &DeviceCycle {
        &self.cycle
    }

    /// Whether an outcome is accounted for when the device tells what it found, not by who hands it over.
    pub(super) const fn accounts(&self) -> bool {
        self.plan.accounts()
    }

    /// Sees to it that another outcome can be handed over: if there is no room, those that wait are learned now.
    pub(super) fn make_room(
        &mut self,
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&mut WeightSet>,
    ) -> Result<(), DriverError> {
        self.cycle.with(|_| Ok(()))?;
        if self.plan.is_full() { self.flush(shards, shared) } else { Ok(()) }
    }

    /// Hands an outcome over, for which there is room.
    pub(super) fn push(&mut self, outcome: Handover<'_>) {
        let Self { cycle, plan, counters, .. } = self;
        // There is, and so nothing has gone wrong.
        let _ = cycle.with(|session| {
            plan.push(session.input(), outcome);
            Ok(())
        });
        counters.outcomes += 1;
        counters.unsynchronised_outcomes += 1;
    }

    /// Learns the outcomes that wait, now.
    fn flush(
        &mut self,
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&mut WeightSet>,
    ) -> Result<(), DriverError> {
        let Self { cycle, plan, learn_graph, .. } = self;
        cycle.with(|session| {
            plan.write_learn(session.input());
            session.driver().launch(*learn_graph)?;
            session.driver().wait()?;
            plan.read_learn(session.output(), shards, shared);
            Ok(())
        })?;
        self.counters.flushes += 1;
        Ok(())
    }

    /// Puts the inputs of `cycle`, which lie in the shards, where its launch finds them.
    pub(super) fn stage(
        &mut self,
        circuit: &Circuit,
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&WeightSet>,
        cycle: u64,
    ) -> Result<(), DriverError> {
        let Self { plan, host_is_newer, since_synchronised, counters, .. } = self;
        self.cycle.with(|session| {
            if *host_is_newer {
                plan.upload(session.driver(), circuit, shards, shared)?;
                *host_is_newer = false;
                *since_synchronised = 0;
                counters.unsynchronised_outcomes = 0;
            }
            plan.write_cycle(session.input(), circuit, shards, shared, cycle);
            Ok(())
        })
    }

    /// Leaves in the shards what [`Shard::advance`] leaves, when `cycle` was launched and waited for.
    pub(super) fn collect(
        &mut self,
        circuit: &Circuit,
        shards: &mut [Option<Box<Shard>>],
        mut shared: Option<&mut WeightSet>,
        cycle: u64,
    ) -> Result<(), DriverError> {
        let plan = &mut self.plan;
        self.cycle.with(|session| {
            plan.read_learn(session.output(), shards, shared.as_deref_mut());
            plan.read_cycle(session.output(), circuit, shards, shared.as_deref(), cycle);
            Ok(())
        })?;
        self.last_cycle = Some(cycle);
        self.counters.cycles += 1;
        self.since_synchronised += 1;
        Ok(())
    }

    /// Whether it is time for a copy of the state.
    pub(super) const fn is_due(&self) -> bool {
        self.since_synchronised >= self.synchronise_every
    }

    /// Copies cells, past and weights from the device to the host, which are then as of the last cycle with all
    /// outcomes since.
    pub(super) fn download(
        &mut self,
        circuit: &Circuit,
        shards: &mut [Option<Box<Shard>>],
        mut shared: Option<&mut WeightSet>,
    ) -> Result<(), DriverError> {
        if self.host_is_newer {
            return Ok(());
        }
        if self.plan.waiting() > 0 {
            self.flush(shards, shared.as_deref_mut())?;
        }
        let plan = &mut self.plan;
        self.cycle.with(|session| plan.download(session.driver(), circuit, shards, shared))?;
        self.synchronised_cycle = self.last_cycle;
        self.since_synchronised = 0;
        self.counters.synchronisations += 1;
        self.counters.unsynchronised_outcomes = 0;
        Ok(())
    }
}
