//! One large cerebellum: millions of granule cells, their parallel fibres in beams, on a CPU or a device.
//!
//! ```text
//! features ─► mossy fibres ─► granule cells ─(plastic, all of a beam to all of a beam)─► Purkinje cells
//!                    └──────► Golgi cells ◄┘ │                       ▲ climbing fibres        │
//!                                └───────────┘ one a cluster         error                    ▼
//!                                                              value ◄─────── nuclear cells, up and down
//! ```
//!
//! Where the trading network has one block of a device for each instrument, this one has the whole device for one
//! network: `weights[granule cell][Purkinje cell of its beam]`, u16 of fixed point without an index, read a row a
//! spike. [`WideConfig`] says how large it is, `model` what its cells compute with, `state` what it consists of,
//! `plastic` and `teacher` how it learns; `cpu` runs it on one thread and `device` on a GPU.
//!
//! Invariants: both give the same spikes, potentials and weights to the last bit, whatever the device and the order
//! in which its threads run, as all that is summed over cells is summed in integers; a network is a function of its
//! configuration and of what it was given.

mod arguments;
mod config;
mod cpu;
mod device;
#[cfg(test)]
mod eager;
mod model;
mod plastic;
mod state;
mod teacher;

use std::ops::Range;

use purkinje_cuda::driver::{Driver, DriverError};
use thiserror::Error;

pub use config::WideConfig;
pub use state::{WideState, WideWiring};

use super::ConfigError;
use cpu::Cpu;
use device::Device;
use model::Model;
use teacher::Teacher;

/// Why a wide network is not made, or a cycle not run.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum WideError {
    /// A setting is out of its range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device's memory is too small.
    #[error("the network needs {needed} bytes of device memory, {device} has {free} free")]
    Memory {
        /// Bytes needed.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// The device.
        device: String,
    },
    /// Not one value a feature.
    #[error("{given} features, expected {expected}")]
    Features {
        /// How many were given.
        given: usize,
        /// How many the network has.
        expected: usize,
    },
    /// A granule cell that there is not.
    #[error("granule cells {first} to {end}, expected at most {count}")]
    Granules {
        /// The first.
        first: usize,
        /// The one after the last.
        end: usize,
        /// How many there are.
        count: usize,
    },
    /// Steps are counted in 32 bits: 49 days of 1 ms.
    #[error("cycle {cycle}: a network runs for 2^32 steps")]
    Steps {
        /// The cycle that there is not.
        cycle: u64,
    },
    /// The driver refused, or the device is lost.
    #[error(transparent)]
    Driver(#[from] DriverError),
}

/// What changes from cycle to cycle.
#[derive(Clone, Copy, Debug)]
struct Tick {
    cycle: u64,
    first_step: u32,
    /// What a parallel-fibre spike adds to a weight, in 65,536ths of a unit.
    potentiation: u32,
    /// Probabilities of a climbing-fibre spike a step, of the up and of the down zone.
    climbing: [f32; 2],
    /// Change of a granule cell's drive by each spike that it was short of, thresholds.
    intrinsic_rate: f32,
    plastic: bool,
    /// Rows whose granule cell has been silent for so many steps are settled first, and are eligible no more.
    silence: Option<u32>,
}

/// Spikes of one cycle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WideReport {
    /// Of mossy fibres.
    pub mossy: u64,
    /// Of granule cells.
    pub granule: u64,
    /// Of Golgi cells.
    pub golgi: u64,
    /// Of Purkinje cells.
    pub purkinje: u64,
    /// Of nuclear cells.
    pub nuclear: u64,
    /// Of the up and of the down zone's nuclear cells, after the steps in which they are not counted.
    pub counted: [u64; 2],
    /// Of climbing fibres.
    pub climbing: u64,
    /// Rows of weights that were settled because their granule cell had been silent for a window, or because weights
    /// ceased to learn.
    pub expired: u64,
}

/// Rows of weights, and what decides what they owe.
struct Rows {
    weights: Vec<u16>,
    last: Vec<u32>,
    trace: Vec<f32>,
    events: Vec<u64>,
}

#[derive(Debug)]
enum Backend {
    Cpu(Box<Cpu>),
    Device(Box<Device>),
}

/// A wide network.
#[derive(Debug)]
pub struct WideCerebellum {
    config: WideConfig,
    model: Model,
    teacher: Teacher,
    backend: Backend,
    cycle: u64,
    plastic: bool,
    /// Whether weights may owe something.
    owing: bool,
}

impl WideCerebellum {
    /// A network on one thread of the CPU. It learns.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn on_cpu(config: &WideConfig) -> Result<Self, WideError> {
        Self::new(config, |model| {
            let cpu = Cpu::new(config, model).map_err(ConfigError::from)?;
            Ok(Backend::Cpu(Box::new(cpu)))
        })
    }

    /// A network on a device. It learns.
    ///
    /// # Errors
    /// A setting out of its range, a device with too little memory for it, and the driver's.
    pub fn on_device(config: &WideConfig, driver: Box<dyn Driver>) -> Result<Self, WideError> {
        Self::new(config, |model| {
            Ok(Backend::Device(Box::new(Device::new(driver, config, model)?)))
        })
    }

    fn new(
        config: &WideConfig,
        backend: impl FnOnce(&Model) -> Result<Backend, WideError>,
    ) -> Result<Self, WideError> {
        config.validate()?;
        let model = Model::new(config);
        Ok(Self {
            teacher: Teacher::new(config, &model),
            backend: backend(&model)?,
            config: config.clone(),
            model,
            cycle: 0,
            plastic: true,
            owing: false,
        })
    }

    /// Bytes that a network of this configuration takes of a device of so many multiprocessors, which share out some
    /// of its arrays.
    ///
    /// # Errors
    /// A setting out of its range.
    pub fn device_bytes(config: &WideConfig, multiprocessors: usize) -> Result<u64, WideError> {
        config.validate()?;
        Ok(device::needed_bytes(config, multiprocessors))
    }

    /// Its configuration.
    pub const fn config(&self) -> &WideConfig {
        &self.config
    }

    /// What it runs on; none for the CPU.
    pub fn device(&self) -> Option<&purkinje_cuda::driver::Device> {
        match &self.backend {
            Backend::Cpu(_) => None,
            Backend::Device(device) => Some(device.device()),
        }
    }

    /// Whether weights learn from the next cycle on. Where they cease to, they are settled first and eligibility ends.
    pub const fn set_plastic(&mut self, plastic: bool) {
        self.plastic = plastic;
    }

    /// Moves each granule cell's constant current against its excess of spikes while random features play, in steps
    /// that shrink as 1 / n (Robbins and Monro, 1951), as intrinsic plasticity does in the young animal: so that no
    /// cell is silent and none shouts. Weights learn nothing of it.
    ///
    /// # Errors
    /// Those of [`WideCerebellum::advance`].
    pub fn settle(&mut self, cycles: u64) -> Result<(), WideError> {
        let mut features = vec![0.0; self.config.features];
        for n in 0..cycles {
            let key = self.model.keys.settling.fork(self.cycle);
            for (k, feature) in features.iter_mut().enumerate() {
                *feature = key.normal(k as u64);
            }
            self.run(&features, 0.3 / (1.0 + n as f32 / 20.0), false)?;
        }
        Ok(())
    }

    /// Has the next cycle taught an error: target less output, held within -1 and 1. Climbing fibres depress what is
    /// still eligible of the cycles before, and so teach the cycle just run most.
    pub fn teach(&mut self, error: f32) {
        self.teacher.teach(error);
    }

    /// Runs a decision cycle. A feature that is no number is absent: its fibres fire in the background.
    ///
    /// # Errors
    /// [`WideError::Features`], [`WideError::Steps`], and the driver's, after which a network on a device is of no
    /// use.
    pub fn advance(&mut self, features: &[f32]) -> Result<WideReport, WideError> {
        self.run(features, 0.0, self.plastic)
    }

    fn run(
        &mut self,
        features: &[f32],
        intrinsic_rate: f32,
        plastic: bool,
    ) -> Result<WideReport, WideError> {
        let (given, expected) = (features.len(), self.config.features);
        if given != expected {
            return Err(WideError::Features { given, expected });
        }
        let tick = self.tick(intrinsic_rate, plastic)?;
        self.run_tick(&tick, features)
    }

    /// What the next cycle is given beside features.
    fn tick(&mut self, intrinsic_rate: f32, plastic: bool) -> Result<Tick, WideError> {
        let steps = self.config.steps_per_cycle as u64;
        let first_step =
            self.cycle.saturating_mul(steps).saturating_add(self.model.first_step.into());
        let first_step = u32::try_from(first_step)
            .ok()
            .filter(|step| step.checked_add(self.config.steps_per_cycle as u32).is_some())
            .ok_or(WideError::Steps { cycle: self.cycle })?;
        let silence = match (plastic, self.owing) {
            (true, _) => Some(self.model.rule.window()),
            (false, true) => Some(0),
            (false, false) => None,
        };
        self.owing = plastic;
        // What is not learned is not taught either: the error waits.
        let lesson = plastic.then(|| self.teacher.next(&self.model));
        Ok(Tick {
            cycle: self.cycle,
            first_step,
            potentiation: lesson.map_or(0, |lesson| lesson.potentiation),
            climbing: lesson.map_or([0.0; 2], |lesson| lesson.climbing),
            intrinsic_rate,
            plastic,
            silence,
        })
    }

    fn run_tick(&mut self, tick: &Tick, features: &[f32]) -> Result<WideReport, WideError> {
        let report = match &mut self.backend {
            Backend::Cpu(cpu) => cpu.cycle(tick, features),
            Backend::Device(device) => device.cycle(tick, features)?,
        };
        self.cycle += 1;
        Ok(report)
    }

    /// The value that a cycle stands for, in logits: the up nuclei's lead over the down nuclei.
    pub fn value(&self, report: &WideReport) -> f32 {
        let config = &self.config;
        let counted_s =
            (config.steps_per_cycle - config.settle_steps) as f32 * config.step_ms * 1e-3;
        let [up, down] = report.counted;
        (up as f32 - down as f32) / (config.nuclear_per_zone as f32 * counted_s * config.decode_hz)
    }

    /// Weights of some granule cells on the Purkinje cells of their beam, row by row, in initial weights, with all
    /// that they owe taken off. The network goes on as if nobody had looked.
    ///
    /// # Errors
    /// [`WideError::Granules`], and the driver's.
    pub fn weights(&mut self, granules: Range<usize>) -> Result<Vec<f32>, WideError> {
        let (config, rule) = (&self.config, &self.model.rule);
        let count = config.granules();
        let Range { start: first, end } = granules;
        if first > end || end > count {
            return Err(WideError::Granules { first, end, count });
        }
        let (row, cells) = (config.row(), config.cells());
        let mut rows = match &mut self.backend {
            Backend::Cpu(cpu) => Rows {
                weights: cpu.state.weights[first * row..end * row].to_vec(),
                last: cpu.state.last[first..end].to_vec(),
                trace: cpu.state.trace[first..end].to_vec(),
                events: cpu.state.events.clone(),
            },
            Backend::Device(device) => device.rows(granules)?,
        };
        let beam_granules = config.clusters_per_beam * config.granules_per_cluster;
        let mut weights = Vec::with_capacity((end - first) * config.purkinje_per_beam);
        for (k, weight_row) in rows.weights.chunks_exact_mut(row).enumerate() {
            let (granule, last) = (first + k, rows.last[k]);
            let counter = u64::from(last) * count as u64 + granule as u64;
            let debt = rule.debt(last, rows.trace[k], self.model.keys.dither.word(counter));
            cpu::settle(rule, weight_row, debt, &rows.events, cells, granule / beam_granules * row);
            let used = &weight_row[..config.purkinje_per_beam];
            weights.extend(used.iter().map(|&w| f32::from(w) / config::UNIT as f32));
        }
        Ok(weights)
    }

    /// A copy of the whole state: as large as the network.
    ///
    /// # Errors
    /// The driver's.
    pub fn state(&mut self) -> Result<WideState, WideError> {
        match &mut self.backend {
            Backend::Cpu(cpu) => Ok(cpu.state.clone()),
            Backend::Device(device) => Ok(device.state()?),
        }
    }

    /// A copy of the wiring.
    ///
    /// # Errors
    /// The driver's.
    pub fn wiring(&mut self) -> Result<WideWiring, WideError> {
        match &mut self.backend {
            Backend::Cpu(cpu) => Ok(cpu.wiring.clone()),
            Backend::Device(device) => Ok(device.wiring()?),
        }
    }
}
