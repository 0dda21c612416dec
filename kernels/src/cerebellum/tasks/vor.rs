//! The vestibulo-ocular reflex in closed loop: the eye learns to turn against the head.
//!
//! The task of Naveros et al. (Front. Neuroinform. 12, 2018) and Bogdan et al. (Front. Cell. Neurosci.
//! 15, 2021), with their populations and input code: the head turns as a sine of 1 Hz; 50 mossy
//! fibres code its position and 50 its velocity by Gaussian fields of 0.02 of the range and up to
//! 600 Hz; in every window of 10 ms the nuclear spikes of the left and the right microzone are
//! counted, and their difference pulls the eye; climbing fibres fire at 20 Hz in the microzone that
//! would correct the error and at 2 Hz in the other.
//!
//! ```text
//! head ─► mossy fibres ─► granule cells ─(plastic)─► Purkinje left / right ─┤ nuclei left / right
//!  │            └► Golgi cells ◄┘                         ▲                             │
//!  └► head + eye, [`FEEDBACK_MS`] ago ─► climbing fibres ─┘             eye ◄───────────┘
//! ```
//!
//! What differs from the papers: cells are current-based; the error is felt [`FEEDBACK_MS`] late, as
//! vision is; the eye lags behind the nuclei, as muscles do; only parallel fibres are plastic. Their
//! eligibility is a difference of exponentials whose mean age is that of the spikes that caused the
//! error. Potentiation balances depression at the initial weight and the mean of the two rates of
//! climbing fibres, so that an error which changes sign evenly moves no weight; it falls towards
//! the greatest weight, so that the two microzones together do not drift. Invariant: no allocation
//! after construction.

use super::super::description::{
    Cell, Climbing, CurrentLif, Description, Kernel, Model, Pattern, Plasticity, Population,
    Potentiation, Receptor, presets::projection,
};
use super::super::encode::{
    Cycle, CycleSpikes, Encode, EncodeError, Firing, PopulationCode, PopulationEncoder,
};
use super::super::engine::{BuildError, Simulation};
use crate::rng::Key;

/// Mossy fibres: half code the position of the head, half its velocity.
pub const MOSSY: usize = 100;
/// Granule cells.
pub const GRANULE: usize = 2_000;
/// Golgi cells.
pub const GOLGI: usize = 100;
/// Purkinje cells; the first half is the left microzone.
pub const PURKINJE: usize = 200;
/// Cells of the vestibular nucleus; the first half is the left microzone.
pub const NUCLEAR: usize = 200;
/// Climbing fibres, one a Purkinje cell.
pub const OLIVE: usize = 200;

/// Length of a step, ms.
const STEP_MS: f32 = 1.0;
/// Steps over which spikes are counted and the error holds.
const WINDOW_STEPS: usize = 10;
/// Windows of a second.
const WINDOWS_PER_S: usize = 100;
/// Rate at which the head turns, Hz.
const HEAD_HZ: f32 = 1.0;
/// Delay from the eye to the climbing fibres, ms.
pub const FEEDBACK_MS: usize = 100;
const FEEDBACK_WINDOWS: usize = FEEDBACK_MS / WINDOW_STEPS;
/// Climbing-fibre rates by the sign of the error, Hz.
const OLIVE_HZ: [f32; 2] = [2.0, 20.0];
/// Difference of the mean rates of the two nuclei that turns the eye by the amplitude of the head,
/// Hz.
const NUCLEAR_HZ_PER_AMPLITUDE: f32 = 40.0;
/// Lag of the eye behind the nuclei, ms: the shorter of the plant's two time constants (Robinson,
/// Annu. Rev. Neurosci. 4, 1981); brain-stem integrators cancel the longer one.
const PLANT_MS: f32 = 16.0;
/// Purkinje and nuclear cells differ in their currents by up to this share, as cells do; alike, those
/// of a microzone would fire in step.
const DRIVE_SPREAD: f32 = 0.4;

/// Time constants of the synaptic currents, ms.
const EXCITATORY_MS: f32 = 3.0;
const INHIBITORY_MS: f32 = 10.0;
/// Jump of a Purkinje cell's current by a parallel fibre of the initial weight, thresholds.
const PARALLEL_SHARE: f32 = 0.03;
/// Eligibility: slow and fast time constants, whose sum is its mean age: the feedback, and the way
/// from granule cells to the eye.
const ELIGIBILITY_MS: [f32; 2] = [70.0, 45.0];
/// Depression by one climbing-fibre spike at full eligibility, in initial weights.
const DEPRESSION: f32 = 0.005;
/// Greatest weight, in initial weights.
const WEIGHT_MAX: f32 = 8.0;

const GRANULE_CELL: CurrentLif =
    CurrentLif { tau_m_ms: 8.0, refractory_ms: 0.0, reset: -0.3, drive: 0.0 };
const GOLGI_CELL: CurrentLif =
    CurrentLif { tau_m_ms: 20.0, refractory_ms: 0.0, reset: -0.1, drive: 0.55 };
const PURKINJE_CELL: CurrentLif =
    CurrentLif { tau_m_ms: 15.0, refractory_ms: 0.0, reset: -0.1, drive: 0.8 };
const NUCLEAR_CELL: CurrentLif =
    CurrentLif { tau_m_ms: 20.0, refractory_ms: 0.0, reset: -0.1, drive: 2.2 };

/// The network: two microzones of Purkinje and nuclear cells on one granular layer.
pub fn description() -> Description {
    use Cell::{Golgi, Granule, Mossy, Nuclear, Olive, Purkinje};
    let (excite, inhibit) = (0, 1);
    let from = |sources| Pattern::InDegree { sources };
    let mut inhibited = lif(Granule, GRANULE, GRANULE_CELL);
    inhibited.cluster = GRANULE / GOLGI;
    inhibited.receptors[inhibit].by_cluster = true;
    let mut learned = projection((Granule, Purkinje), excite, Pattern::AllToAll, 1.0, 1);
    learned.onto[0].share = PARALLEL_SHARE;
    learned.plasticity = Some(plasticity());
    let mut nuclear = projection((Purkinje, Nuclear), inhibit, from(50), 0.03, 1);
    nuclear.zones = 2;
    Description {
        name: "vor".into(),
        source: "after Bogdan et al., Front. Cell. Neurosci. 15 (2021)".into(),
        step_ms: STEP_MS,
        populations: vec![
            input(Mossy, MOSSY),
            inhibited,
            lif(Golgi, GOLGI, GOLGI_CELL),
            lif(Purkinje, PURKINJE, PURKINJE_CELL),
            lif(Nuclear, NUCLEAR, NUCLEAR_CELL),
            input(Olive, OLIVE),
        ],
        projections: vec![
            projection((Mossy, Granule), excite, from(4), 0.7, 1),
            projection((Mossy, Golgi), excite, from(20), 0.15, 1),
            projection((Golgi, Granule), inhibit, from(4), 0.3, 1),
            projection((Granule, Golgi), excite, from(60), 0.3, 1),
            learned,
            nuclear,
            projection((Mossy, Nuclear), excite, Pattern::AllToAll, 0.01, 1),
        ],
    }
}

fn plasticity() -> Plasticity {
    let [slow_ms, fast_ms] = ELIGIBILITY_MS;
    let mean_olive_hz = 0.5 * (OLIVE_HZ[0] + OLIVE_HZ[1]);
    Plasticity {
        w_min: 0.0,
        w_max: WEIGHT_MAX,
        potentiation: Some(Potentiation {
            amount: DEPRESSION * mean_olive_hz * 1e-3 * kernel_area_ms(slow_ms, fast_ms)
                / (1.0 - 1.0 / WEIGHT_MAX),
            soft: true,
        }),
        climbing: Some(Climbing {
            kernel: Kernel::Difference { slow_ms, fast_ms },
            amount: DEPRESSION,
            proportional: false,
            block_steps: 0,
        }),
        stdp: None,
    }
}

/// The area under a difference of exponentials with a peak of 1, ms.
fn kernel_area_ms(slow_ms: f32, fast_ms: f32) -> f32 {
    let peak_ms = (slow_ms / fast_ms).ln() * slow_ms * fast_ms / (slow_ms - fast_ms);
    (slow_ms - fast_ms) / ((-peak_ms / slow_ms).exp() - (-peak_ms / fast_ms).exp())
}

fn input(cell: Cell, count: usize) -> Population {
    Population { cell, count, cluster: 1, model: Model::Input, receptors: Vec::new() }
}

fn lif(cell: Cell, count: usize, model: CurrentLif) -> Population {
    let receptor = |name: &str, tau_ms| Receptor {
        name: name.to_owned(),
        tau_ms,
        reversal_mv: 0.0,
        by_cluster: false,
    };
    Population {
        cell,
        count,
        cluster: 1,
        model: Model::Current(model),
        receptors: vec![
            receptor("excitatory", EXCITATORY_MS),
            receptor("inhibitory", INHIBITORY_MS),
        ],
    }
}

/// One window of the loop, in amplitudes of the head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Where the head stood.
    pub head: f32,
    /// Where the eye stood in the head; `-head` steadies the image.
    pub eye: f32,
}

impl Window {
    /// The slip of the image: positive when the eye should stand further to the right.
    pub fn error(self) -> f32 {
        self.head + self.eye
    }
}

/// The reflex.
#[derive(Clone, Debug)]
pub struct Vor {
    simulation: Simulation,
    encoder: PopulationEncoder,
    mossy: CycleSpikes,
    fibres: Vec<u32>,
    key: Key,
    window: u64,
    /// Where the eye stands, in amplitudes of the head.
    eye: f32,
    /// The errors of the last windows, the oldest at `window` modulo its length.
    errors: [f32; FEEDBACK_WINDOWS],
    /// Spikes so far by population, in the order of [`Rates`].
    counts: [u64; 4],
}

/// Mean rates since the start, Hz.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Granule cells.
    pub granule_hz: f32,
    /// Golgi cells.
    pub golgi_hz: f32,
    /// Purkinje cells, simple spikes.
    pub purkinje_hz: f32,
    /// Nuclear cells.
    pub nuclear_hz: f32,
}

const COUNTED: [(Cell, usize); 4] = [
    (Cell::Granule, GRANULE),
    (Cell::Golgi, GOLGI),
    (Cell::Purkinje, PURKINJE),
    (Cell::Nuclear, NUCLEAR),
];

impl Vor {
    /// An untrained reflex.
    ///
    /// # Errors
    /// [`VorError`] if the description or the code were not valid, which they are.
    pub fn new(seed: u64) -> Result<Self, VorError> {
        let key = Key::new(seed);
        let cycle = Cycle { steps: WINDOW_STEPS, step_ms: STEP_MS };
        let code = PopulationCode {
            fibres_per_feature: MOSSY / 2,
            low: -1.0,
            high: 1.0,
            sd: 0.04,
            peak_hz: 600.0,
            background_hz: 0.0,
            firing: Firing::Poisson,
        };
        let mut simulation = Simulation::new(&description(), key.word(0))?;
        for (cell, model) in [(Cell::Purkinje, PURKINJE_CELL), (Cell::Nuclear, NUCLEAR_CELL)] {
            let key = key.fork(2).fork(cell as u64);
            for (k, drive) in simulation.drive_mut(cell).iter_mut().enumerate() {
                *drive = DRIVE_SPREAD * model.drive * (2.0 * key.uniform(k as u64) - 1.0);
            }
        }
        Ok(Self {
            simulation,
            encoder: PopulationEncoder::new(code, 2, cycle)?,
            mossy: CycleSpikes::new(MOSSY, WINDOW_STEPS),
            fibres: Vec::with_capacity(OLIVE),
            key: key.fork(1),
            window: 0,
            eye: 0.0,
            errors: [0.0; FEEDBACK_WINDOWS],
            counts: [0; 4],
        })
    }

    /// Switches plasticity on or off.
    pub fn set_plastic(&mut self, on: bool) {
        self.simulation.set_plastic(on);
    }

    /// Runs for this many seconds; returns the mean absolute error of the eye's position in
    /// amplitudes of the head.
    pub fn run(&mut self, seconds: usize) -> f32 {
        let windows = seconds * WINDOWS_PER_S;
        (0..windows).map(|_| self.advance().error().abs()).sum::<f32>() / windows as f32
    }

    /// Runs one window of 10 ms.
    pub fn advance(&mut self) -> Window {
        let turn = self.window as f32 / WINDOWS_PER_S as f32 * HEAD_HZ;
        let (head, velocity) = (turn.fract() * std::f32::consts::TAU).sin_cos();
        let key = self.key.fork(self.window);
        self.encoder.encode(&[head, velocity], key.fork(0), &mut self.mossy);
        let felt = self.window as usize % FEEDBACK_WINDOWS;
        let error = self.errors[felt];
        let (mut left, mut right) = (0_i32, 0_i32);
        for step in 0..WINDOW_STEPS {
            self.climb(error, key.fork(1).fork(step as u64));
            self.simulation.inject(Cell::Mossy, self.mossy.at(step));
            self.simulation.inject(Cell::Olive, &self.fibres);
            self.simulation.step();
            let nuclear = self.simulation.spikes(Cell::Nuclear);
            let of_left = nuclear.iter().filter(|&&k| (k as usize) < NUCLEAR / 2).count();
            left += of_left as i32;
            right += (nuclear.len() - of_left) as i32;
            for (count, (cell, _)) in self.counts.iter_mut().zip(COUNTED) {
                *count += self.simulation.spikes(cell).len() as u64;
            }
        }
        let spikes_per_amplitude =
            NUCLEAR_HZ_PER_AMPLITUDE * (NUCLEAR / 2) as f32 / WINDOWS_PER_S as f32;
        let pull = (right - left) as f32 / spikes_per_amplitude;
        self.eye += (1.0 - (-(WINDOW_STEPS as f32) * STEP_MS / PLANT_MS).exp()) * (pull - self.eye);
        let window = Window { head, eye: self.eye };
        self.errors[felt] = window.error();
        self.window += 1;
        window
    }

    /// Draws the climbing-fibre spikes of a step. The microzone that would correct the error is
    /// the one that turns the eye against it.
    fn climb(&mut self, error: f32, key: Key) {
        let [low, high] = OLIVE_HZ.map(|hz| hz * STEP_MS * 1e-3);
        let (left, right) = if error > 0.0 { (high, low) } else { (low, high) };
        self.fibres.clear();
        for k in 0..OLIVE {
            let p = if k < OLIVE / 2 { left } else { right };
            if key.uniform(k as u64) < p {
                self.fibres.push(k as u32);
            }
        }
    }

    /// Mean rates since the start.
    pub fn rates(&self) -> Rates {
        let seconds = self.window.max(1) as f32 / WINDOWS_PER_S as f32;
        let mut of = self
            .counts
            .iter()
            .zip(COUNTED)
            .map(|(&n, (_, cells))| n as f32 / (cells as f32 * seconds));
        let mut next = || of.next().unwrap_or(0.0);
        Rates { granule_hz: next(), golgi_hz: next(), purkinje_hz: next(), nuclear_hz: next() }
    }

    /// The weights of parallel fibres on Purkinje cells, in initial weights.
    pub fn weights(&mut self) -> Vec<f32> {
        self.simulation.weights(Cell::Granule, Cell::Purkinje)
    }
}

/// Why a reflex could not be built.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum VorError {
    /// The network.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The code of the mossy fibres.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}
