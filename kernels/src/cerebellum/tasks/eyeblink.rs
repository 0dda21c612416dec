//! Delay eyeblink conditioning: a tone comes to move the eyelid before the puff of air.
//!
//! The protocol of Geminiani et al. (PLOS Comput. Biol. 20:e1011277, 2024): trials of 1,260 ms with
//! all mossy fibres at 4 Hz; the conditioned stimulus (CS) is spikes at 40 Hz, the same in every
//! trial, on the fibres of one volume of the granular layer from 500 to 760 ms; the unconditioned
//! stimulus (US) is five spikes at 500 Hz to one half of the olive, at 750 to 760 ms. Olive cells fire
//! at 1 Hz besides. The response is read from the projecting nuclear cells of the US's microzone.
//!
//! A climbing fibre depresses the parallel fibres that fired some 30 ms before it, and each spike of a
//! parallel fibre brings its synapse back towards the initial weight, as in Yamazaki and Nagao (PLoS
//! ONE 7:e33319, 2012). As the response grows, nucleo-olivary cells inhibit the olive, fewer
//! climbing-fibre spikes are left of the US, and learning stops (Medina, Nores and Mauk, Nature 416,
//! 2002). The response lasts about as long as the CS: granule cells that fire again and again in it
//! tell its time only coarsely. Invariants: trials follow one another without a pause or a reset; no allocation after
//! construction.

mod network;

pub use network::{Learning, description};

use self::network::{MOSSY, NUCLEAR, OLIVE, PURKINJE, VOLUMES, ZONES};
use super::super::description::Cell;
use super::super::engine::{BuildError, Simulation};
use crate::rng::Key;

/// Length of a trial, ms; a step is 1 ms.
pub const TRIAL_MS: usize = 1_260;
/// Onset and end of the conditioned stimulus, ms.
pub const CS_MS: [usize; 2] = [500, 760];
/// Onset and end of the unconditioned stimulus, ms.
pub const US_MS: [usize; 2] = [750, 760];
/// Length of a bin of the counts, ms.
pub const BIN_MS: usize = 10;
/// Bins of a trial.
pub const BINS: usize = TRIAL_MS / BIN_MS;

const BACKGROUND_HZ: f32 = 4.0;
const CS_HZ: f32 = 40.0;
const OLIVE_HZ: f32 = 1.0;
/// Between spikes of the unconditioned stimulus, ms: 500 Hz.
const US_EVERY_MS: usize = 2;
/// What a trial is compared with, ms.
const BASELINE_MS: [usize; 2] = [100, 500];
/// Where a response counts, ms: the last 100 ms before the US.
const RESPONSE_MS: [usize; 2] = [650, 750];
/// When an olive cell's answer to the US is over, ms.
const US_ANSWER_END_MS: usize = 780;

/// A conditioned response is a nuclear rate in the last 100 ms before the US of at least this many
/// times that of the same trial before the CS. Without learning the ratio is 1.00 to 1.15, depending
/// on the seed, with a standard deviation of 0.2; learned, 1.6.
pub const CRITERION: f32 = 1.45;

/// Spikes of one kind of cell by bin.
pub type Counts = [u16; BINS];

/// What was seen in a trial, in the microzone of the US unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Projecting nuclear cells.
    pub nuclear: Counts,
    /// Projecting nuclear cells of the other microzone.
    pub nuclear_elsewhere: Counts,
    /// Purkinje cells, simple spikes.
    pub purkinje: Counts,
    /// Olive cells.
    pub olive: Counts,
}

impl Trial {
    /// Nuclear rate before the US over that before the CS; 0 where the latter is none.
    pub fn response(&self) -> f32 {
        ratio(&self.nuclear)
    }

    /// The same in the other microzone.
    pub fn response_elsewhere(&self) -> f32 {
        ratio(&self.nuclear_elsewhere)
    }

    /// Whether there was a conditioned response.
    pub fn conditioned(&self) -> bool {
        self.response() >= CRITERION
    }

    /// Climbing-fibre spikes on the US by olive cell.
    pub fn us_spikes(&self) -> f32 {
        total(&self.olive, [US_MS[0], US_ANSWER_END_MS]) as f32 / (OLIVE / ZONES) as f32
    }

    /// Mean rate of the microzone's nuclear cells from `from_ms` to `to_ms`, in whole bins, Hz.
    pub fn nuclear_hz(&self, [from_ms, to_ms]: [usize; 2]) -> f32 {
        hz(&self.nuclear, [from_ms, to_ms], NUCLEAR / ZONES)
    }

    /// Mean rate of the microzone's Purkinje cells from `from_ms` to `to_ms`, in whole bins, Hz.
    pub fn purkinje_hz(&self, [from_ms, to_ms]: [usize; 2]) -> f32 {
        hz(&self.purkinje, [from_ms, to_ms], PURKINJE / ZONES)
    }
}

fn total(counts: &Counts, [from_ms, to_ms]: [usize; 2]) -> u32 {
    counts[from_ms / BIN_MS..to_ms / BIN_MS].iter().map(|&n| u32::from(n)).sum()
}

fn hz(counts: &Counts, span_ms: [usize; 2], cells: usize) -> f32 {
    total(counts, span_ms) as f32 * 1e3 / (cells * (span_ms[1] - span_ms[0])) as f32
}

fn ratio(counts: &Counts) -> f32 {
    let before = hz(counts, BASELINE_MS, 1);
    if before > 0.0 { hz(counts, RESPONSE_MS, 1) / before } else { 0.0 }
}

/// A network in training.
#[derive(Clone, Debug)]
pub struct Eyeblink {
    simulation: Simulation,
    /// Of parallel fibres on Purkinje cells, nS.
    initial_weight: f32,
    /// The fibres of the conditioned stimulus by step.
    cs: Vec<Vec<u32>>,
    key: Key,
    trial: u64,
    fibres: Vec<u32>,
}

impl Eyeblink {
    /// A naive network.
    ///
    /// # Errors
    /// [`BuildError`] names a learning rate out of its range.
    pub fn new(learning: Learning, seed: u64) -> Result<Self, BuildError> {
        let key = Key::new(seed);
        let pattern = key.fork(2);
        let cs = (0..CS_MS[1] - CS_MS[0])
            .map(|t| {
                let mut fibres = Vec::new();
                draw(pattern.fork(t as u64), MOSSY / VOLUMES, CS_HZ, &mut fibres);
                fibres
            })
            .collect();
        let mut simulation = Simulation::new(&description(learning), key.word(0))?;
        // All start alike.
        let initial_weight = simulation.weights(Cell::Granule, Cell::Purkinje)[0];
        Ok(Self {
            simulation,
            initial_weight,
            cs,
            key: key.fork(1),
            trial: 0,
            fibres: Vec::with_capacity(MOSSY),
        })
    }

    /// Runs a trial with the conditioned stimulus, followed by the unconditioned one if `us`.
    pub fn trial(&mut self, us: bool) -> Trial {
        let key = self.key.fork(self.trial);
        self.trial += 1;
        let none = [0; BINS];
        let mut seen =
            Trial { nuclear: none, nuclear_elsewhere: none, purkinje: none, olive: none };
        for t_ms in 0..TRIAL_MS {
            self.stimulate(t_ms, us, key.fork(t_ms as u64));
            self.simulation.step();
            let bin = t_ms / BIN_MS;
            let count = |cell, cells| {
                let spikes = self.simulation.spikes(cell);
                let here = spikes.partition_point(|&k| (k as usize) < cells / ZONES);
                (here as u16, (spikes.len() - here) as u16)
            };
            let (here, elsewhere) = count(Cell::Nuclear, NUCLEAR);
            seen.nuclear[bin] += here;
            seen.nuclear_elsewhere[bin] += elsewhere;
            seen.purkinje[bin] += count(Cell::Purkinje, PURKINJE).0;
            seen.olive[bin] += count(Cell::Olive, OLIVE).0;
        }
        seen
    }

    fn stimulate(&mut self, t_ms: usize, us: bool, key: Key) {
        let Self { simulation, fibres, .. } = self;
        draw(key.fork(0), MOSSY, BACKGROUND_HZ, fibres);
        simulation.inject(Cell::Mossy, fibres);
        if (CS_MS[0]..CS_MS[1]).contains(&t_ms) {
            simulation.inject(Cell::Mossy, &self.cs[t_ms - CS_MS[0]]);
        }
        draw(key.fork(1), OLIVE, OLIVE_HZ, fibres);
        simulation.inject(Cell::Olive, fibres);
        if us && (US_MS[0]..US_MS[1]).contains(&t_ms) && t_ms.is_multiple_of(US_EVERY_MS) {
            fibres.clear();
            fibres.extend(0..(OLIVE / ZONES) as u32);
            simulation.inject(Cell::PreOlive, fibres);
        }
    }

    /// Mean weights on the Purkinje cells of the US's microzone of the parallel fibres of the CS's
    /// volume, and of all others, in initial weights.
    pub fn mean_weights(&mut self) -> [f32; 2] {
        let weights = self.simulation.weights(Cell::Granule, Cell::Purkinje);
        let granules = self.simulation.network().count(Cell::Granule);
        let mut sums = [(0.0_f64, 0_u32); 2];
        for source in 0..granules {
            let (first, targets) =
                self.simulation.row(Cell::Granule, Cell::Purkinje, source as u32);
            let here = targets.partition_point(|&target| (target as usize) < PURKINJE / ZONES);
            let (sum, synapses) = &mut sums[usize::from(source >= granules / VOLUMES)];
            *sum += weights[first..first + here].iter().map(|&w| f64::from(w)).sum::<f64>();
            *synapses += here as u32;
        }
        sums.map(|(sum, synapses)| (sum / f64::from(synapses.max(1))) as f32 / self.initial_weight)
    }
}

/// The first `cells` cells that fire in a step at a rate, as Poisson processes.
fn draw(key: Key, cells: usize, hz: f32, fibres: &mut Vec<u32>) {
    fibres.clear();
    fibres.extend((0..cells as u32).filter(|&f| key.uniform(u64::from(f)) < hz * 1e-3));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_the_rate_before_the_us_over_that_before_the_cs() {
        let mut trial = Trial {
            nuclear: [10; BINS],
            nuclear_elsewhere: [10; BINS],
            purkinje: [0; BINS],
            olive: [0; BINS],
        };
        assert!((trial.response() - 1.0).abs() < 1e-6 && !trial.conditioned());
        trial.nuclear[65..75].fill(15);
        assert!((trial.response() - 1.5).abs() < 1e-6 && trial.conditioned());
        trial.nuclear[75..].fill(100);
        assert!((trial.response() - 1.5).abs() < 1e-6, "what the US does is no response");
        assert!((trial.response_elsewhere() - 1.0).abs() < 1e-6);
        trial.nuclear.fill(0);
        assert!(!trial.conditioned(), "silence is no response");
    }

    #[test]
    fn the_conditioned_stimulus_is_the_same_in_every_trial_and_stays_in_its_volume() {
        let a = Eyeblink::new(Learning::default(), 1).unwrap();
        assert!(a.cs.iter().flatten().all(|&f| (f as usize) < MOSSY / VOLUMES));
        let hz = a.cs.iter().flatten().count() as f32 / (60.0 * 0.26);
        assert!((hz - CS_HZ).abs() < 8.0, "{hz} Hz");
    }
}
