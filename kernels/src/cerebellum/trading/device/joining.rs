//! What joins the cerebellum to a device's cycle: a plan that can be laid out on any driver, networks laid out that
//! wait for a graph, and networks that have one.
//!
//! Invariant: the cerebellum's part of the blocks that a cycle copies is their beginning, because learning by itself
//! copies the first bytes alone.

use std::sync::Arc;

use purkinje_cuda::driver::{Address, Driver, DriverError, Operation};

use super::super::circuit::Circuit;
use super::super::config::CerebellumConfig;
use super::plan::ResidentPlan;
use super::{Device, DeviceError};
use crate::device_cycle::{self, DeviceCycle};
use crate::rng::Key;

/// What a device is laid out for: the networks without their state.
#[derive(Clone, Debug)]
pub struct DevicePlan {
    pub(in crate::cerebellum::trading) config: CerebellumConfig,
    pub(in crate::cerebellum::trading) circuit: Arc<Circuit>,
    pub(in crate::cerebellum::trading) keys: Key,
}

/// Networks that are laid out on a device and wait for a graph.
#[derive(Debug)]
pub(crate) struct LaidOut(ResidentPlan);

/// A device that is ready for the networks of one plan.
#[derive(Debug)]
pub struct PreparedDevice(pub(in crate::cerebellum::trading) Device);

impl DevicePlan {
    /// Lays the networks out on a device, in whose cycle they are alone. Every `synchronise_every` cycles the host
    /// will take a copy of them, from which the CPU goes on by itself should the device be lost.
    ///
    /// # Errors
    /// [`DeviceError`] where rules or sizes are not served there, or the driver refuses.
    pub fn prepare(
        &self,
        driver: Box<dyn Driver>,
        synchronise_every: u64,
    ) -> Result<PreparedDevice, DeviceError> {
        device_cycle::of_cerebellum(self, driver, synchronise_every)
    }

    /// Instruments.
    pub(crate) const fn instruments(&self) -> usize {
        self.config.instruments
    }

    /// Lays the networks out on a device, for a graph that others may share.
    pub(crate) fn lay_out(&self, driver: &mut dyn Driver) -> Result<LaidOut, DeviceError> {
        ResidentPlan::new(driver, &self.config, &self.circuit, self.keys).map(LaidOut)
    }
}

impl LaidOut {
    /// Bytes that a cycle copies in.
    pub(crate) const fn input_bytes(&self) -> usize {
        self.0.input_bytes()
    }

    /// Bytes that a cycle copies out.
    pub(crate) fn output_bytes(&self) -> usize {
        self.0.output_bytes()
    }

    /// What a cycle does with the blocks' beginnings.
    pub(crate) fn operations(
        &self,
        input: Address,
        flags: Address,
        output: Address,
    ) -> Vec<Operation> {
        self.0.cycle_operations(input, flags, output)
    }

    /// Makes the networks part of a cycle in whose graph their operations are.
    pub(crate) fn join(
        self,
        cycle: DeviceCycle,
        synchronise_every: u64,
    ) -> Result<PreparedDevice, DriverError> {
        let learn_graph = cycle.with(|session| {
            let (copy, input) = session.copy_in(self.0.learn_bytes());
            let (copy_out, output) = session.copy_out(self.0.learn_output_bytes());
            let mut operations = vec![copy];
            operations.extend(self.0.learn_operations(input, output));
            operations.push(copy_out);
            session.driver().graph(&operations)
        })?;
        Ok(PreparedDevice(Device::new(self.0, cycle, learn_graph, synchronise_every)))
    }
}
