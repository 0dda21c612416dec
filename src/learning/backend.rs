//! Puts the models on a GPU where the configuration wants them there, and back on one after a loss.
//!
//! A loss shows in the cycle in which it happens, which the CPU then runs itself ([`Models`]). Devices are opened on a
//! thread of their own, so that no cycle waits for a driver; the model thread only takes up one that is ready.
//! Invariants: one attempt at a time, each a stated time after the loss or the last attempt; what a cycle gives does
//! not depend on where it runs.

use std::{
    fmt::Display,
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError, sync_channel},
    },
    thread::Builder,
};

use purkinje_cuda::{
    driver::{Driver, DriverError},
    images::{Images, Settings as ImageSettings},
    probe::Probe,
    real::CudaDriver,
};
use purkinje_kernels::device_cycle::{CycleError, CyclePlan, PreparedCycle};
use thiserror::Error;

use super::models::{CPU, Loss, Models, told_of};
use crate::{config::BackendKind, pipeline::backend_state::BackendState};

/// What the configuration says.
#[derive(Clone, Debug)]
pub struct BackendSettings {
    /// Where to run.
    pub kind: BackendKind,
    /// Number of the device.
    pub device: u32,
    /// Cycles from one copy of the device's state to the next.
    pub synchronise_cycles: u64,
    /// Cycles from a loss to each attempt to return.
    pub retry_cycles: u64,
    /// Where NVRTC and its results are; the usual places where there is none.
    pub images: ImageSettings,
}

impl BackendSettings {
    /// Places from text that may be empty.
    #[must_use]
    pub fn images(nvrtc: &PathBuf, cache: &PathBuf) -> ImageSettings {
        let named = |path: &PathBuf| (!path.as_os_str().is_empty()).then(|| path.clone());
        ImageSettings { nvrtc: named(nvrtc), cache: named(cache) }
    }
}

/// Why `cuda` cannot be had.
#[derive(Debug, Error)]
#[error("backend.kind = cuda: {what} (`purkinje doctor` tells what there is)")]
pub struct BackendError {
    /// What is missing.
    what: String,
}

/// Watches where the models run.
#[derive(Debug)]
pub struct BackendWatch {
    settings: BackendSettings,
    state: Arc<BackendState>,
    /// What a device is given, also one that is gone back to; none where the models are not on one.
    plan: Option<Arc<CyclePlan>>,
    /// Cycles until the next attempt, while a device is lost.
    wait: Option<u64>,
    attempt: Option<Receiver<Result<PreparedCycle, String>>>,
}

impl BackendWatch {
    /// Puts the models, if a device can have any, where the configuration wants them.
    ///
    /// # Errors
    /// They are to be on a GPU and cannot.
    pub fn begin(
        settings: BackendSettings,
        models: &mut Models,
        state: Arc<BackendState>,
    ) -> Result<Self, BackendError> {
        let mut watch = Self { settings, state, plan: None, wait: None, attempt: None };
        let place = match watch.settings.kind {
            BackendKind::Cpu => CPU.to_owned(),
            _ if !models.is_any() => CPU.to_owned(),
            kind => match watch.put_on_a_device(models) {
                Ok(place) => place,
                Err(what) if kind == BackendKind::Cuda => return Err(BackendError { what }),
                Err(what) => format!("{CPU} ({what})"),
            },
        };
        watch.state.begin(place);
        Ok(watch)
    }

    /// Where the models are then, or why they are not on a device.
    fn put_on_a_device(&mut self, models: &mut Models) -> Result<String, String> {
        let settings = &self.settings;
        let told = |error: &dyn Display| missing(settings).unwrap_or_else(|| error.to_string());
        let driver = open(settings).map_err(|error| told(&error))?;
        let plan = Arc::new(models.device_plan());
        let prepared =
            plan.prepare(driver, settings.synchronise_cycles).map_err(|error| told(&error))?;
        if settings.kind == BackendKind::Cuda
            && let Some(why) = prepared.refused.iter().find(|why| !why.is_without_kernels())
        {
            return Err(why.to_string());
        }
        if prepared.is_empty() {
            return Ok(format!("{CPU} ({})", told_of(&prepared.refused)));
        }
        models.move_to(prepared);
        self.plan = Some(plan);
        Ok(models.place())
    }

    /// To be called after every cycle: tells of a loss, and takes up a device that is back.
    pub fn look(&mut self, models: &mut Models) {
        let Some(plan) = &self.plan else { return };
        if let Some(Loss { fault, replayed_steps }) = models.take_loss() {
            let what = format!(
                "the models go on with the CPU: {fault}; networks made {replayed_steps} steps again"
            );
            self.state.lost(format!("{CPU} ({fault})"), what);
            self.wait = Some(self.settings.retry_cycles);
        }
        match &mut self.wait {
            None => return,
            Some(0) => {}
            Some(cycles) => {
                *cycles -= 1;
                return;
            }
        }
        let Some(attempt) = &self.attempt else {
            let plan = plan.clone();
            return self.try_again(plan);
        };
        let ended = match attempt.try_recv() {
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Err("the attempt to open it broke off".to_owned()),
            Ok(prepared) => prepared,
        };
        self.attempt = None;
        match ended {
            Ok(prepared) => {
                models.move_to(prepared);
                self.wait = None;
                let place = models.place();
                let what = format!("the models are back on {place}");
                self.state.returned(place, what);
            }
            Err(what) => {
                self.wait = Some(self.settings.retry_cycles);
                self.state.note(format!("no return to the device yet: {what}"));
            }
        }
    }

    /// Opens the device on a thread of its own.
    fn try_again(&mut self, plan: Arc<CyclePlan>) {
        let (told, attempt) = sync_channel(1);
        let settings = self.settings.clone();
        let started = Builder::new().name("pk-backend".to_owned()).spawn(move || {
            let prepared = open(&settings)
                .map_err(CycleError::from)
                .and_then(|driver| plan.prepare(driver, settings.synchronise_cycles));
            // Nobody listens any more when the run has ended.
            let _ = told.send(prepared.map_err(|error| error.to_string()));
        });
        match started {
            Ok(_) => self.attempt = Some(attempt),
            Err(error) => {
                self.wait = Some(self.settings.retry_cycles);
                self.state.note(format!("no return to the device yet: no thread: {error}"));
            }
        }
    }
}

/// What stands between this program and the device, in the words of the probe.
fn missing(settings: &BackendSettings) -> Option<String> {
    Probe::new(&settings.images).missing(settings.device)
}

#[cfg(not(feature = "emulator"))]
fn open(settings: &BackendSettings) -> Result<Box<dyn Driver>, DriverError> {
    device(settings)
}

fn device(settings: &BackendSettings) -> Result<Box<dyn Driver>, DriverError> {
    Ok(Box::new(CudaDriver::open(settings.device, Images::new(settings.images.clone()))?))
}

/// Makes the emulator stand in for the device, in builds for tests: `1`, or `lost-at-N` for one whose N-th
/// launch ends with a loss and which is whole again the next time.
#[cfg(feature = "emulator")]
pub const EMULATED: &str = "EMULATED_CUDA_DEVICE";

#[cfg(feature = "emulator")]
fn open(settings: &BackendSettings) -> Result<Box<dyn Driver>, DriverError> {
    use std::sync::atomic::{AtomicBool, Ordering};

    use purkinje_cuda::{
        emulator::Emulator,
        faults::{self, Call, Faults, Faulty},
    };

    static WAS_LOST: AtomicBool = AtomicBool::new(false);
    let Ok(how) = std::env::var(EMULATED) else { return device(settings) };
    let built = Emulator::with_seed(0);
    let emulator = built.map_err(|error| DriverError::NoDriver { library: error.to_string() })?;
    let at = how.strip_prefix("lost-at-").and_then(|n| n.parse().ok());
    match at {
        Some(n) if !WAS_LOST.swap(true, Ordering::Relaxed) => {
            let faults = Faults::new();
            faults.fail_at(Call::Launch, n, faults::lost());
            Ok(Box::new(Faulty::new(emulator, faults)))
        }
        _ => Ok(Box::new(emulator)),
    }
}
