//! The networks of a cycle on a device, and what the CPU's need to go on in their place.
//!
//! Streams on the device are newer than the CPU's. They are copied back every so many cycles
//! ([`DeviceNetworks::is_due`]); meanwhile the rows and flags of the cycles since are kept, and a network that is
//! taken over is led through them on the CPU, which brings its streams, and the answers of the last of these cycles,
//! to where the device's were, to the bit. That costs as many CPU steps as cycles are kept, once in the cycle of the
//! loss.
//!
//! Invariants: no more than [`CYCLES_MAX`] cycles and [`BYTES_MAX`] bytes are kept; a network whose copy fails
//! keeps the older one, and the cycles since.

use purkinje_cuda::driver::DriverError;

use super::recent::{Kept, Recent};
use super::{DeviceCycle, Session};
use crate::predictors::cuda::DevicePredictor;
use crate::predictors::predictor::Predictor;

/// Most cycles from one copy of the streams to the next: what a loss costs is at most as many steps.
pub const CYCLES_MAX: u64 = 128;
/// Most bytes of rows that are kept, but for one cycle.
const BYTES_MAX: usize = 64 << 20;

/// What the device has done for the networks so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkCounters {
    /// Cycles staged.
    pub cycles: u64,
    /// Copies of the streams taken back.
    pub synchronisations: u64,
    /// Steps that networks on the CPU were led through after a loss, by network.
    pub replayed_steps: u64,
}

/// A network on the device.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) predictor: DevicePredictor,
    /// Where its inputs stand in a row.
    pub(super) places: Box<[usize]>,
    /// Where its answers, or its errors, lie in the block that is copied out, and how many numbers they are.
    pub(super) answers_at: usize,
    pub(super) answers: usize,
    /// Cycles that the CPU's streams have had.
    pub(super) known: u64,
}

impl Placed {
    fn has_streams(&self) -> bool {
        self.predictor.stream_bytes() > 0
    }
}

/// See the module. Networks have the numbers of the plan.
#[derive(Debug)]
pub struct DeviceNetworks {
    cycle: DeviceCycle,
    /// None where the device does not serve it.
    networks: Vec<Option<Placed>>,
    /// Where the rows lie in the block that is copied in.
    rows_at: usize,
    stride: usize,
    recent: Recent,
    counters: NetworkCounters,
    // Scratch.
    streams: Vec<u32>,
    rows: Box<[f32]>,
}

impl DeviceNetworks {
    pub(super) fn new(
        cycle: DeviceCycle,
        networks: Vec<Option<Placed>>,
        [rows_at, instruments, stride]: [usize; 3],
        synchronise_every: u64,
    ) -> Self {
        let placed = || networks.iter().flatten();
        let stream_bytes = placed().map(|on| on.predictor.stream_bytes()).max().unwrap_or(0);
        let widest = placed().map(|on| on.predictor.inputs()).max().unwrap_or(0);
        let cycle_bytes = instruments * (stride * size_of::<f32>() + 2);
        // Without streams the last row is all that is needed.
        let cycles = if stream_bytes == 0 { 1 } else { synchronise_every.min(CYCLES_MAX) };
        let cycles = (cycles as usize).min(BYTES_MAX / cycle_bytes.max(1)).max(1);
        Self {
            cycle,
            rows_at,
            stride,
            recent: Recent::new(cycles, instruments, stride),
            counters: NetworkCounters::default(),
            streams: Vec::with_capacity(stream_bytes / size_of::<u32>()),
            rows: vec![0.0; instruments * widest].into(),
            networks,
        }
    }

    /// Whether the device has this network.
    #[must_use]
    pub fn has(&self, network: usize) -> bool {
        self.networks.get(network).is_some_and(Option::is_some)
    }

    /// Whether the device has none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.iter().all(Option::is_none)
    }

    /// What the device has done.
    #[must_use]
    pub fn counters(&self) -> NetworkCounters {
        self.counters
    }

    /// Copies the CPU's streams of a network, which are to be gone on with, to the device.
    ///
    /// # Errors
    /// The driver's, after which the network is to be taken over.
    pub fn upload(&mut self, network: usize, cpu: &dyn Predictor) -> Result<(), DriverError> {
        let Self { cycle, networks, recent, streams, .. } = self;
        let Some(on) = networks[network].as_mut() else { return Ok(()) };
        on.known = recent.seen();
        cycle.with(|session| on.predictor.load_streams(session.driver(), cpu, streams))
    }

    /// Puts a cycle's rows, `[instruments][stride]`, where its launch finds them. `active` and `begins` are those
    /// of [`DeviceCycle::begin`].
    ///
    /// # Panics
    /// Where the streams were due to be copied back and were not.
    pub fn stage(&mut self, rows: &[f32], active: &[bool], begins: &[bool]) {
        if self.is_empty() {
            return;
        }
        self.recent.push(Kept { rows, active, begins });
        self.counters.cycles += 1;
        let at = self.rows_at;
        // What goes wrong is told to those who take results.
        let _ = self.cycle.with(|session| {
            let bytes: &[u8] = bytemuck::cast_slice(rows);
            session.input()[at..at + bytes.len()].copy_from_slice(bytes);
            Ok(())
        });
    }

    /// Takes a network's answers, of an autoencoder its errors, of those who took part in the cycle that was waited
    /// for; the others' are whatever they were before.
    ///
    /// # Errors
    /// What went wrong with the cycle: the network is to be taken over.
    pub fn answers(&mut self, network: usize, into: &mut [f32]) -> Result<(), DriverError> {
        let Some(on) = &self.networks[network] else { return Ok(()) };
        self.cycle.with(|session: &mut Session| {
            let bytes = &session.output()[on.answers_at..][..size_of::<f32>() * on.answers];
            bytemuck::cast_slice_mut(into).copy_from_slice(bytes);
            Ok(())
        })
    }

    /// Whether the streams are to be copied back before the next cycle.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.recent.is_full()
    }

    /// Copies the streams of a network back.
    ///
    /// # Errors
    /// The driver's, after which the network is to be taken over.
    pub fn synchronise(
        &mut self,
        network: usize,
        cpu: &mut dyn Predictor,
    ) -> Result<(), DriverError> {
        let Self { cycle, networks, recent, streams, .. } = self;
        let Some(on) = networks[network].as_mut() else { return Ok(()) };
        cycle.with(|session| on.predictor.save_streams(session.driver(), cpu, streams))?;
        on.known = recent.seen();
        Ok(())
    }

    /// Notes that the streams of all networks have been copied back.
    pub fn synchronised(&mut self) {
        self.recent.clear();
        let has_streams = self.networks.iter().flatten().any(Placed::has_streams);
        self.counters.synchronisations += u64::from(has_streams);
    }

    /// Leads a network on the CPU from its last copy through the cycles since, of which the last leaves its answers
    /// in `answers`. The device is not asked.
    pub fn take_over(&mut self, network: usize, cpu: &mut dyn Predictor, answers: &mut [f32]) {
        let Self { networks, recent, rows, stride, counters, .. } = self;
        let Some(on) = networks[network].as_mut() else { return };
        let last = recent.seen().saturating_sub(1);
        let from = if on.has_streams() { on.known } else { on.known.max(last) };
        for kept in recent.since(from) {
            let begins = kept.begins.iter().enumerate().filter(|(_, begins)| **begins);
            begins.for_each(|(instrument, _)| cpu.reset(instrument));
            let width = on.places.len();
            let rows = &mut rows[..kept.active.len() * width];
            for (to, from) in rows.chunks_exact_mut(width).zip(kept.rows.chunks_exact(*stride)) {
                to.iter_mut().zip(&on.places).for_each(|(to, place)| *to = from[*place]);
            }
            cpu.step(rows, kept.active, answers);
            counters.replayed_steps += 1;
        }
        on.known = recent.seen();
    }
}
