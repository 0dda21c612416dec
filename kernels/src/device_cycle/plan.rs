//! What is to run in a cycle, and how it is laid out on a driver.
//!
//! Invariants: what the kernels do not serve (a kind, a size) is left out and named, for the CPU to run; what the
//! device does not hold, and any error of its driver, refuses the whole cycle. The cerebellum's parts lie at the
//! blocks' beginnings, answers one behind the other in the networks' order.

use std::sync::Arc;

use purkinje_cuda::driver::{Driver, DriverError, Operation};
use thiserror::Error;

use super::networks::{DeviceNetworks, Placed};
use super::{DeviceCycle, Session};
use crate::cerebellum::{DeviceError, DevicePlan, LaidOut, PreparedDevice};
use crate::predictors::cuda::{DeviceBuildError, DevicePredictor, Program, Rows};

/// Rows lie at multiples of so many bytes.
const ALIGNMENT_BYTES: usize = 256;
/// Bytes of a number.
const NUMBER: usize = size_of::<f32>();

/// Why something, or all of a cycle, is not on a device.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum CycleError {
    /// The cerebellum.
    #[error("cerebellum: {0}")]
    Cerebellum(DeviceError),
    /// A network.
    #[error("{name}: {source}")]
    Network {
        /// Its name.
        name: String,
        /// Why.
        source: DeviceBuildError,
    },
    /// The driver refused what all share.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

impl CycleError {
    /// Whether it is for the CPU in any case: there are no kernels for it.
    #[must_use]
    pub const fn is_without_kernels(&self) -> bool {
        matches!(self, Self::Network { source: DeviceBuildError::NotServed { .. }, .. })
    }

    /// Whether only one is concerned, which the CPU may run beside the device.
    const fn leaves_the_others(&self) -> bool {
        match self {
            Self::Cerebellum(why) => {
                matches!(why, DeviceError::Unsupported { .. } | DeviceError::Shared { .. })
            }
            Self::Network { source, .. } => !matches!(source, DeviceBuildError::Driver(_)),
            Self::Driver(_) => false,
        }
    }
}

/// A network that is to run.
#[derive(Clone, Debug)]
pub struct PlannedNetwork {
    /// Its name, in errors.
    pub name: String,
    /// What a device runs in its place, or why none can.
    pub program: Result<Arc<Program>, DeviceBuildError>,
    /// Where its inputs stand in a row of features.
    pub places: Vec<usize>,
}

/// What is to run in a cycle.
#[derive(Clone, Debug)]
pub struct CyclePlan {
    /// Instruments.
    pub instruments: usize,
    /// Numbers of an instrument's row of features, of which networks pick theirs.
    pub row_stride: usize,
    /// The cerebellum, if there is one.
    pub cerebellum: Option<DevicePlan>,
    /// The networks, by number.
    pub networks: Vec<PlannedNetwork>,
}

/// A cycle that is laid out, ready to be joined by those that it was laid out for.
#[derive(Debug)]
pub struct PreparedCycle {
    /// The cycle.
    pub cycle: DeviceCycle,
    /// For the cerebellum to move to, unless it is refused.
    pub cerebellum: Option<PreparedDevice>,
    /// Those of the networks that are not refused.
    pub networks: DeviceNetworks,
    /// What is left to the CPU, and why.
    pub refused: Vec<CycleError>,
}

impl PreparedCycle {
    /// Whether everything is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cerebellum.is_none() && self.networks.is_empty()
    }
}

impl CyclePlan {
    /// Lays everything out on a device. Every `synchronise_every` cycles the host will take a copy of what has
    /// changed there, of networks every [`CYCLES_MAX`](super::CYCLES_MAX) at the latest.
    ///
    /// # Errors
    /// [`CycleError`] where the device does not hold it or the driver refuses.
    pub fn prepare(
        &self,
        mut driver: Box<dyn Driver>,
        synchronise_every: u64,
    ) -> Result<PreparedCycle, CycleError> {
        let on = &mut *driver;
        let mut refused = Vec::new();
        let laid_out = match &self.cerebellum {
            Some(plan) => kept(plan.lay_out(on).map_err(CycleError::Cerebellum), &mut refused)?,
            None => None,
        };
        let mut predictors = Vec::new();
        for network in &self.networks {
            predictors.push(kept(self.load(on, network), &mut refused)?);
        }

        let has_networks = predictors.iter().any(Option::is_some);
        let stride = if has_networks { self.row_stride } else { 0 };
        let sizes = Sizes::new(self.instruments, stride, laid_out.as_ref());
        let mut out_bytes = sizes.results_bytes;
        let mut networks = Vec::new();
        for (predictor, planned) in predictors.into_iter().zip(&self.networks) {
            networks.push(predictor.map(|predictor| {
                // Of an autoencoder the errors, of which each instrument has one.
                let width = if predictor.errors().is_some() { 1 } else { predictor.outputs() };
                let (answers_at, answers) = (out_bytes, self.instruments * width);
                out_bytes += NUMBER * answers;
                let places = planned.places.clone().into();
                Placed { predictor, places, answers_at, answers, known: 0 }
            }));
        }
        let cycle = build(driver, &sizes, out_bytes, laid_out.as_ref(), &networks)?;
        let joined = laid_out.map(|laid| laid.join(cycle.clone(), synchronise_every));
        let rows = [sizes.rows_at, self.instruments, stride];
        Ok(PreparedCycle {
            cerebellum: joined.transpose()?,
            networks: DeviceNetworks::new(cycle.clone(), networks, rows, synchronise_every),
            cycle,
            refused,
        })
    }

    fn load(
        &self,
        driver: &mut dyn Driver,
        network: &PlannedNetwork,
    ) -> Result<DevicePredictor, CycleError> {
        let rows = Rows { stride: self.row_stride, places: Some(&network.places) };
        let loaded = network
            .program
            .as_ref()
            .map_err(Clone::clone)
            .and_then(|program| DevicePredictor::load(driver, program, &rows));
        loaded.map_err(|source| CycleError::Network { name: network.name.clone(), source })
    }
}

/// Where things lie in the blocks that a cycle copies.
struct Sizes {
    instruments: usize,
    flags_at: usize,
    rows_at: usize,
    in_bytes: usize,
    /// Of the cerebellum.
    results_bytes: usize,
}

impl Sizes {
    fn new(instruments: usize, stride: usize, cerebellum: Option<&LaidOut>) -> Self {
        let flags_at = cerebellum.map_or(0, LaidOut::input_bytes);
        let rows_at = (flags_at + instruments).next_multiple_of(ALIGNMENT_BYTES);
        Self {
            instruments,
            flags_at,
            rows_at,
            in_bytes: rows_at + NUMBER * instruments * stride,
            results_bytes: cerebellum.map_or(0, LaidOut::output_bytes),
        }
    }
}

/// Blocks and graph of a cycle.
fn build(
    mut driver: Box<dyn Driver>,
    sizes: &Sizes,
    out_bytes: usize,
    cerebellum: Option<&LaidOut>,
    networks: &[Option<Placed>],
) -> Result<DeviceCycle, DriverError> {
    let on = &mut *driver;
    let in_bytes = sizes.in_bytes;
    let (input, output) = (on.allocate(in_bytes)?, on.allocate(out_bytes)?);
    let (copied_in, copied_out) = (on.pin(in_bytes)?, on.pin(out_bytes)?);
    let (flags, rows) = (input.add(sizes.flags_at), input.add(sizes.rows_at));
    let mut branches = Vec::new();
    if let Some(laid_out) = cerebellum {
        branches.push(laid_out.operations(input, flags, output));
    }
    for Placed { predictor, answers_at, .. } in networks.iter().flatten() {
        let answers = output.add(*answers_at);
        branches.push(if predictor.errors().is_some() {
            let rebuilt = on.allocate(NUMBER * sizes.instruments * predictor.outputs())?;
            predictor.operations_with_errors(rows, flags, rebuilt, answers)
        } else {
            predictor.operations(rows, flags, answers)
        });
    }
    let graph = on.graph(&[
        Operation::CopyIn { from: copied_in, to: input, bytes: in_bytes },
        Operation::Branches(branches),
        Operation::CopyOut { from: output, to: copied_out, bytes: out_bytes },
    ])?;
    let flags_at = sizes.flags_at;
    let session =
        Session { driver, graph, input, copied_in, output, copied_out, flags_at, fault: None };
    Ok(DeviceCycle::new(session))
}

/// The cerebellum of a plan in a cycle of its own.
///
/// # Errors
/// [`DeviceError`] where the device does not hold it or the driver refuses.
pub(crate) fn of_cerebellum(
    plan: &DevicePlan,
    mut driver: Box<dyn Driver>,
    synchronise_every: u64,
) -> Result<PreparedDevice, DeviceError> {
    let laid_out = plan.lay_out(&mut *driver)?;
    let sizes = Sizes::new(plan.instruments(), 0, Some(&laid_out));
    let cycle = build(driver, &sizes, sizes.results_bytes, Some(&laid_out), &[])?;
    Ok(laid_out.join(cycle, synchronise_every)?)
}

/// What went well; what did not is noted if it concerns nobody else.
fn kept<T>(
    done: Result<T, CycleError>,
    refused: &mut Vec<CycleError>,
) -> Result<Option<T>, CycleError> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(why) if why.leaves_the_others() => {
            refused.push(why);
            Ok(None)
        }
        Err(why) => Err(why),
    }
}
