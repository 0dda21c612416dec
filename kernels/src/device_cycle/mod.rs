//! One decision cycle on a device: one copy in, the cerebellum and the networks side by side, one copy out, in one
//! graph.
//!
//! ```text
//! host                                     device
//! cerebellum: tick, outcomes, features ┐
//! flags of all instruments             ├─copy─►  cerebellum: learn, cycle
//! features of all instruments          ┘         network 0, network 1, ...
//! cerebellum's results, answers        ◄─copy──
//! ```
//!
//! A [`CyclePlan`] says what is to run; [`CyclePlan::prepare`] lays it out on a driver, which takes a while and may
//! be done on another thread. A cycle is then [`DeviceCycle::begin`], what stages inputs (`Cerebellum::begin`,
//! [`DeviceNetworks::stage`]), [`DeviceCycle::launch`], whatever the CPU has to do meanwhile,
//! [`DeviceCycle::wait`], and what takes results (`Cerebellum::finish`, [`DeviceNetworks::answers`]). The cerebellum
//! has its own part of the block, because it is shown fewer features than the networks; flags are everybody's.
//!
//! Invariants: the host computes and copies what it would on the CPU, so answers are the CPU's to the bit; nothing
//! allocates in a cycle; after the first error nobody is given the driver any more, so that all who were on the
//! device go on with the CPU in the same cycle, each from its own copy.

mod networks;
mod plan;
mod recent;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use networks::{CYCLES_MAX, DeviceNetworks, NetworkCounters};
pub(crate) use plan::of_cerebellum;
pub use plan::{CycleError, CyclePlan, PlannedNetwork, PreparedCycle};
use purkinje_cuda::{
    driver::{Address, Device, Driver, DriverError, Graph, Operation, Pinned},
    flags::{ACTIVE, RESET},
};

/// A driver with a cycle's graph and the blocks that it copies.
pub(crate) struct Session {
    driver: Box<dyn Driver>,
    graph: Graph,
    /// Where the device has the block that is copied in.
    input: Address,
    copied_in: Pinned,
    /// Where it has the block that is copied out.
    output: Address,
    copied_out: Pinned,
    /// Where the flags lie in the block that is copied in.
    flags_at: usize,
    fault: Option<DriverError>,
}

impl Session {
    pub(crate) fn driver(&mut self) -> &mut dyn Driver {
        &mut *self.driver
    }

    /// The block that a cycle copies in; the cerebellum's part comes first.
    pub(crate) fn input(&mut self) -> &mut [u8] {
        self.driver.pinned(self.copied_in)
    }

    /// Copies the first bytes of that block to the device, as a graph's first operation; and where they are then.
    pub(crate) const fn copy_in(&self, bytes: usize) -> (Operation, Address) {
        (Operation::CopyIn { from: self.copied_in, to: self.input, bytes }, self.input)
    }

    /// Copies the first bytes of the other block from the device, as a graph's last operation; and where they are
    /// before.
    pub(crate) const fn copy_out(&self, bytes: usize) -> (Operation, Address) {
        (Operation::CopyOut { from: self.output, to: self.copied_out, bytes }, self.output)
    }

    /// The block that a cycle copies out; the cerebellum's part comes first.
    pub(crate) fn output(&mut self) -> &[u8] {
        self.driver.pinned(self.copied_out)
    }
}

/// A device and the graph of its cycle, shared by all that run in it.
#[derive(Clone)]
pub struct DeviceCycle(Arc<Mutex<Session>>);

impl std::fmt::Debug for DeviceCycle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let session = self.lock();
        f.debug_struct("DeviceCycle")
            .field("device", session.driver.device())
            .field("fault", &session.fault)
            .finish_non_exhaustive()
    }
}

impl DeviceCycle {
    fn new(session: Session) -> Self {
        Self(Arc::new(Mutex::new(session)))
    }

    /// Says who takes part in the next cycle, and whose streams begin anew before that; without `begins`, nobody's.
    pub fn begin(&self, active: &[bool], begins: Option<&[bool]>) {
        // After a fault there is no cycle to begin.
        let _ = self.with(|session| {
            let at = session.flags_at;
            let flags = &mut session.input()[at..at + active.len()];
            for (instrument, (flags, active)) in flags.iter_mut().zip(active).enumerate() {
                let is_new = begins.is_some_and(|begins| begins[instrument]);
                *flags = u8::from(*active) * ACTIVE + u8::from(is_new) * RESET;
            }
            Ok(())
        });
    }

    /// Starts the cycle and returns; what goes wrong is told to those who take results.
    pub fn launch(&self) {
        let _ = self.with(|session| session.driver.launch(session.graph));
    }

    /// Waits for its end; what goes wrong is told to those who take results.
    pub fn wait(&self) {
        let _ = self.with(|session| session.driver.wait());
    }

    /// What it runs on.
    #[must_use]
    pub fn device(&self) -> Device {
        self.lock().driver.device().clone()
    }

    /// What went wrong first, after which nothing runs here.
    #[must_use]
    pub fn fault(&self) -> Option<DriverError> {
        self.lock().fault.clone()
    }

    /// Uses the device, unless something has gone wrong with it; notes if something does now.
    pub(crate) fn with<T>(
        &self,
        f: impl FnOnce(&mut Session) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let mut session = self.lock();
        if let Some(fault) = &session.fault {
            return Err(fault.clone());
        }
        let done = f(&mut session);
        if let Err(fault) = &done {
            session.fault = Some(fault.clone());
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, Session> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
