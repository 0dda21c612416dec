//! A driver that fails when a test says so, and counts what is asked of it.
//!
//! The test keeps [`Faults`]; every [`Faulty`] driver that is made with it counts into it and fails by its schedule,
//! so that counts go on over a driver that was lost and the one that takes its place. Invariants: a call that is
//! made to fail does not reach the driver beneath; after an error that [`DriverError::is_lost`] says of, every
//! call of the same driver fails with it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    driver::{Address, Device, Driver, DriverError, Graph, Operation, Pinned},
    sources::Module,
};

/// What can be asked of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// [`Driver::free_bytes`].
    FreeBytes,
    /// [`Driver::load`].
    Load,
    /// [`Driver::allocate`].
    Allocate,
    /// [`Driver::pin`].
    Pin,
    /// [`Driver::pinned`], which cannot fail.
    Pinned,
    /// [`Driver::write`].
    Write,
    /// [`Driver::read`].
    Read,
    /// [`Driver::graph`].
    Graph,
    /// [`Driver::launch`].
    Launch,
    /// [`Driver::wait`].
    Wait,
}

#[derive(Debug)]
struct Fault {
    call: Call,
    /// From this call on, counted from 1.
    first: u64,
    /// Up to this one.
    last: u64,
    error: DriverError,
}

#[derive(Debug, Default)]
struct Schedule {
    counts: BTreeMap<Call, u64>,
    faults: Vec<Fault>,
}

/// The schedule of faults and the counts, shared by all clones.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Schedule>>);

impl Faults {
    /// No faults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes the n-th call of a kind, counted from 1 since these faults were made, answer `error`.
    pub fn fail_at(&self, call: Call, n: u64, error: DriverError) {
        self.lock().faults.push(Fault { call, first: n, last: n, error });
    }

    /// Makes the n-th call of a kind and all later ones answer `error`.
    pub fn fail_from(&self, call: Call, n: u64, error: DriverError) {
        self.lock().faults.push(Fault { call, first: n, last: u64::MAX, error });
    }

    /// Ends all that was scheduled. Drivers that are lost stay so.
    pub fn clear(&self) {
        self.lock().faults.clear();
    }

    /// Calls of a kind so far, those that failed among them.
    pub fn count(&self, call: Call) -> u64 {
        self.lock().counts.get(&call).copied().unwrap_or(0)
    }

    /// All kinds that were called, with how often.
    pub fn counts(&self) -> BTreeMap<Call, u64> {
        self.lock().counts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Schedule> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call; what is to be wrong with it.
    fn enter(&self, call: Call) -> Option<DriverError> {
        let mut schedule = self.lock();
        let count = schedule.counts.entry(call).or_default();
        *count += 1;
        let n = *count;
        let due = |fault: &&Fault| fault.call == call && (fault.first..=fault.last).contains(&n);
        schedule.faults.iter().find(due).map(|fault| fault.error.clone())
    }
}

/// What a launch answers on a device that has fallen off the bus.
#[must_use]
pub fn lost() -> DriverError {
    DriverError::Lost {
        call: "cuGraphLaunch",
        code: 719,
        name: "CUDA_ERROR_LAUNCH_FAILED".to_owned(),
    }
}

/// A driver with faults.
#[derive(Debug)]
pub struct Faulty<D> {
    beneath: D,
    faults: Faults,
    lost: Option<DriverError>,
}

impl<D: Driver> Faulty<D> {
    /// `beneath`, with `faults`.
    pub const fn new(beneath: D, faults: Faults) -> Self {
        Self { beneath, faults, lost: None }
    }

    fn enter(&mut self, call: Call) -> Result<(), DriverError> {
        let fault = self.faults.enter(call);
        let Some(error) = self.lost.clone().or(fault) else { return Ok(()) };
        if error.is_lost() {
            self.lost = Some(error.clone());
        }
        Err(error)
    }
}

impl<D: Driver> Driver for Faulty<D> {
    fn device(&self) -> &Device {
        self.beneath.device()
    }

    fn free_bytes(&mut self) -> Result<u64, DriverError> {
        self.enter(Call::FreeBytes)?;
        self.beneath.free_bytes()
    }

    fn load(&mut self, module: &'static Module) -> Result<(), DriverError> {
        self.enter(Call::Load)?;
        self.beneath.load(module)
    }

    fn allocate(&mut self, bytes: usize) -> Result<Address, DriverError> {
        self.enter(Call::Allocate)?;
        self.beneath.allocate(bytes)
    }

    fn pin(&mut self, bytes: usize) -> Result<Pinned, DriverError> {
        self.enter(Call::Pin)?;
        self.beneath.pin(bytes)
    }

    fn pinned(&mut self, block: Pinned) -> &mut [u8] {
        self.faults.enter(Call::Pinned);
        self.beneath.pinned(block)
    }

    fn write(&mut self, to: Address, bytes: &[u8]) -> Result<(), DriverError> {
        self.enter(Call::Write)?;
        self.beneath.write(to, bytes)
    }

    fn read(&mut self, from: Address, into: &mut [u8]) -> Result<(), DriverError> {
        self.enter(Call::Read)?;
        self.beneath.read(from, into)
    }

    fn graph(&mut self, operations: &[Operation]) -> Result<Graph, DriverError> {
        self.enter(Call::Graph)?;
        self.beneath.graph(operations)
    }

    fn launch(&mut self, graph: Graph) -> Result<(), DriverError> {
        self.enter(Call::Launch)?;
        self.beneath.launch(graph)
    }

    fn wait(&mut self) -> Result<(), DriverError> {
        self.enter(Call::Wait)?;
        self.beneath.wait()
    }
}
