//! Puts the cerebellum on a GPU where the configuration wants it there, and back on one after a loss.
//!
//! A loss shows in the cycle in which it happens, which the CPU then runs itself (`Cerebellum::move_to`). Devices are
//! opened on a thread of their own, so that no cycle waits for a driver; the model thread only takes up one that
//! is ready. Invariants: one attempt at a time, each a stated time after the loss or the last attempt; what a
//! cycle gives does not depend on where it runs.

use std::{
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
use purkinje_kernels::cerebellum::{Cerebellum, DeviceError, DevicePlan, PreparedDevice};
use thiserror::Error;

use crate::{config::BackendKind, pipeline::backend_state::BackendState};

/// What is said of the CPU where nobody asked for anything else.
const CPU: &str = "cpu";

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

/// Watches where the cerebellum runs.
#[derive(Debug)]
pub struct BackendWatch {
    settings: BackendSettings,
    state: Arc<BackendState>,
    /// Cycles until the next attempt, while a device is lost.
    wait: Option<u64>,
    attempt: Option<Receiver<Result<PreparedDevice, DeviceError>>>,
}

impl BackendWatch {
    /// Puts the cerebellum, if there is one, where the configuration wants it.
    ///
    /// # Errors
    /// It is to be on a GPU and cannot.
    pub fn begin(
        settings: BackendSettings,
        cerebellum: Option<&mut Cerebellum>,
        state: Arc<BackendState>,
    ) -> Result<Self, BackendError> {
        let place = match (settings.kind, cerebellum) {
            (BackendKind::Cpu, _) | (_, None) => CPU.to_owned(),
            (kind, Some(cerebellum)) => match prepare(&cerebellum.device_plan(), &settings) {
                Ok(prepared) => {
                    cerebellum.move_to(prepared);
                    named(cerebellum)
                }
                Err(error) => {
                    let what = missing(&settings).unwrap_or_else(|| error.to_string());
                    if kind == BackendKind::Cuda {
                        return Err(BackendError { what });
                    }
                    format!("{CPU} ({what})")
                }
            },
        };
        state.begin(place);
        Ok(Self { settings, state, wait: None, attempt: None })
    }

    /// To be called after every cycle: tells of a loss, and takes up a device that is back.
    pub fn look(&mut self, cerebellum: Option<&mut Cerebellum>) {
        let Some(cerebellum) = cerebellum else { return };
        if let Some(fault) = cerebellum.take_fault() {
            let what = format!("the cerebellum goes on with the CPU: {fault}");
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
            return self.try_again(cerebellum.device_plan());
        };
        let ended = match attempt.try_recv() {
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Err("the attempt to open it broke off".to_owned()),
            Ok(prepared) => prepared.map_err(|error| error.to_string()),
        };
        self.attempt = None;
        match ended {
            Ok(prepared) => {
                cerebellum.move_to(prepared);
                self.wait = None;
                let place = named(cerebellum);
                let what = format!("the cerebellum is back on {place}");
                self.state.returned(place, what);
            }
            Err(what) => {
                self.wait = Some(self.settings.retry_cycles);
                self.state.note(format!("no return to the device yet: {what}"));
            }
        }
    }

    /// Opens the device on a thread of its own.
    fn try_again(&mut self, plan: DevicePlan) {
        let (told, attempt) = sync_channel(1);
        let settings = self.settings.clone();
        let started = Builder::new().name("pk-backend".to_owned()).spawn(move || {
            // Nobody listens any more when the run has ended.
            let _ = told.send(prepare(&plan, &settings));
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

fn named(cerebellum: &Cerebellum) -> String {
    cerebellum.device().map_or_else(|| CPU.to_owned(), |device| format!("cuda ({})", device.name))
}

fn prepare(plan: &DevicePlan, settings: &BackendSettings) -> Result<PreparedDevice, DeviceError> {
    plan.prepare(open(settings)?, settings.synchronise_cycles)
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
