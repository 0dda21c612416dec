//! Gain adaptation of the optokinetic response, after Yamazaki and Nagao (PLoS ONE 7:e33319, 2012).
//!
//! A field of view that swings to and fro with a period of 2 s drives the mossy fibres at
//! 15 (1 - cos) Hz, and the slip of its image on the retina the inferior olive at 1.5 (1 - cos) Hz.
//! Where both are high, parallel fibre synapses on Purkinje cells depress; Purkinje cells come to
//! modulate against the stimulus and the vestibular nucleus, which they inhibit, with it: over 300
//! cycles the eye follows better. The response is the amplitude of the cosine of one period fitted
//! to the nucleus's spikes, and the gain is its ratio to that of the first ten cycles.
//!
//! Invariant: a run follows from the description and the seed.

use std::f64::consts::{PI, TAU};
use std::ops::Range;

use thiserror::Error;

use crate::cerebellum::description::{Cell, Description};
use crate::cerebellum::encode::fire_at_random;
use crate::cerebellum::engine::{BuildError, Simulation};
use crate::rng::Key;

/// Period of the stimulus, ms.
pub const PERIOD_MS: f32 = 2000.0;
/// Bins of the spike histogram of a cycle, 100 ms each.
pub const BINS: usize = 20;
/// Cycles that the paper fits one response to.
pub const CYCLES_PER_RESPONSE: usize = 10;

/// Peak rate of a mossy fibre that carries the stimulus, Hz.
const STIMULUS_PEAK_HZ: f64 = 30.0;
/// Rate of a granule cell's three other mossy fibres together, Hz.
const SPONTANEOUS_HZ: f64 = 15.0;
/// Peak rate of the olive's input, Hz.
const SLIP_PEAK_HZ: f64 = 3.0;
/// The cells whose rates are reported.
const REPORTED: [Cell; 6] =
    [Cell::Granule, Cell::Golgi, Cell::Purkinje, Cell::Basket, Cell::Nuclear, Cell::Olive];

/// Why the task could not be set up.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OkrError {
    /// The network could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The network lacks what the task needs.
    #[error("{name}: no {what}, which the optokinetic task needs")]
    Lacks {
        /// Name of the parameter set.
        name: String,
        /// What is missing.
        what: String,
    },
}

/// The network that follows the stimulus.
#[derive(Clone, Debug)]
pub struct Okr {
    simulation: Simulation,
    key: Key,
    /// Mossy fibres of the granule cells and of the nucleus.
    granular: Range<u32>,
    nuclear: Range<u32>,
    pre_olive: Range<u32>,
    steps: usize,
    cycles: u64,
    spikes: [u64; REPORTED.len()],
    scratch: Vec<u32>,
}

/// Spikes of one cycle by bin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Of all cells of the nucleus.
    pub nuclear: [u64; BINS],
    /// Of all Purkinje cells.
    pub purkinje: [u64; BINS],
}

/// A cosine of one period through a histogram, by least squares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// Amplitude, Hz a cell.
    pub amplitude_hz: f64,
    /// Mean, Hz a cell.
    pub mean_hz: f64,
}

/// The response over some cycles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Response {
    /// The cycle at whose end it was taken, from 1.
    pub cycle: u64,
    /// The nucleus, which moves the eye.
    pub nuclear: Fit,
    /// The Purkinje cells.
    pub purkinje: Fit,
}

impl Okr {
    /// Builds the network.
    ///
    /// # Errors
    /// [`OkrError::Lacks`] when there is no range of mossy fibres onto granule or nuclear cells, or
    /// a population is missing.
    pub fn new(description: &Description, seed: u64) -> Result<Self, OkrError> {
        let lacks = |what: String| OkrError::Lacks { name: description.name.clone(), what };
        let fibres = |post: Cell| {
            description
                .projections
                .iter()
                .find(|p| p.pre == Cell::Mossy && p.post == post)
                .and_then(|p| p.pre_range.clone())
                .map(|r| r.start as u32..r.end as u32)
                .ok_or_else(|| lacks(format!("range of mossy fibres onto {post} cells")))
        };
        let (granular, nuclear) = (fibres(Cell::Granule)?, fibres(Cell::Nuclear)?);
        for cell in REPORTED.into_iter().chain([Cell::PreOlive]) {
            if description.population(cell).is_none() {
                return Err(lacks(format!("{cell} population")));
            }
        }
        let simulation = Simulation::new(description, seed)?;
        Ok(Self {
            pre_olive: 0..simulation.network().count(Cell::PreOlive) as u32,
            scratch: Vec::with_capacity(simulation.network().count(Cell::Mossy)),
            key: Key::new(seed).fork(0x6f6b72),
            granular,
            nuclear,
            steps: (PERIOD_MS / description.step_ms).round() as usize,
            simulation,
            cycles: 0,
            spikes: [0; REPORTED.len()],
        })
    }

    /// Runs one cycle of the stimulus.
    pub fn cycle(&mut self) -> Histogram {
        let mut histogram = Histogram::default();
        let key = self.key.fork(self.cycles);
        for step in 0..self.steps {
            self.stimulate(step, key.fork(step as u64));
            self.simulation.step();
            let bin = step * BINS / self.steps;
            histogram.nuclear[bin] += self.simulation.spikes(Cell::Nuclear).len() as u64;
            histogram.purkinje[bin] += self.simulation.spikes(Cell::Purkinje).len() as u64;
            for (sum, cell) in self.spikes.iter_mut().zip(REPORTED) {
                *sum += self.simulation.spikes(cell).len() as u64;
            }
        }
        self.cycles += 1;
        histogram
    }

    /// Runs this many cycles and fits the response to them.
    pub fn response(&mut self, cycles: usize) -> Response {
        let mut sum = Histogram::default();
        for _ in 0..cycles {
            let cycle = self.cycle();
            let add = |to: &mut [u64; BINS], from: &[u64; BINS]| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            };
            add(&mut sum.nuclear, &cycle.nuclear);
            add(&mut sum.purkinje, &cycle.purkinje);
        }
        let count = |cell| cycles * self.simulation.network().count(cell);
        Response {
            cycle: self.cycles,
            nuclear: fit(&sum.nuclear, count(Cell::Nuclear)),
            purkinje: fit(&sum.purkinje, count(Cell::Purkinje)),
        }
    }

    /// Mean rates by cell type since the start, Hz.
    pub fn rates_hz(&self) -> [(Cell, f64); REPORTED.len()] {
        let seconds = self.cycles as f64 * f64::from(PERIOD_MS) * 1e-3;
        let mut rates = REPORTED.map(|cell| (cell, 0.0));
        for ((cell, hz), &spikes) in rates.iter_mut().zip(&self.spikes) {
            let cells = self.simulation.network().count(*cell) as f64;
            *hz = spikes as f64 / (cells * seconds).max(f64::MIN_POSITIVE);
        }
        rates
    }

    /// The network.
    pub const fn simulation(&mut self) -> &mut Simulation {
        &mut self.simulation
    }

    /// Fires the mossy fibres and the olive's input.
    fn stimulate(&mut self, step: usize, key: Key) {
        let step_s = f64::from(self.simulation.network().step_ms()) * 1e-3;
        let swing = 0.5 * (1.0 - (TAU * step as f64 / self.steps as f64).cos());
        let stimulus_hz = STIMULUS_PEAK_HZ * swing;
        self.scratch.clear();
        for (fibres, hz, tag) in
            [(&self.granular, stimulus_hz + SPONTANEOUS_HZ, 0), (&self.nuclear, stimulus_hz, 1)]
        {
            fire_at_random(fibres.clone(), hz * step_s, key.fork(tag), &mut self.scratch);
        }
        self.simulation.inject(Cell::Mossy, &self.scratch);
        self.scratch.clear();
        let slip = SLIP_PEAK_HZ * swing * step_s;
        fire_at_random(self.pre_olive.clone(), slip, key.fork(2), &mut self.scratch);
        self.simulation.inject(Cell::PreOlive, &self.scratch);
    }
}

/// The same network without depression by climbing fibres: the control.
#[must_use]
pub fn without_depression(description: &Description) -> Description {
    let mut control = description.clone();
    for projection in &mut control.projections {
        if let Some(plasticity) = &mut projection.plasticity {
            plasticity.climbing = None;
        }
    }
    control
}

/// Fits a cosine of one period to a histogram of the spikes of `cycles`, the number of cycles times
/// that of cells. Over a whole period cosine, sine and constant are orthogonal, so least squares is a
/// projection.
fn fit(histogram: &[u64; BINS], cycles: usize) -> Fit {
    let bin_s = f64::from(PERIOD_MS) * 1e-3 / BINS as f64;
    let to_hz = 1.0 / (bin_s * cycles as f64);
    let [mut cosine, mut sine, mut sum] = [0.0; 3];
    for (bin, &spikes) in histogram.iter().enumerate() {
        let (hz, phase) = (spikes as f64 * to_hz, bin as f64 * 2.0 * PI / BINS as f64);
        cosine += hz * phase.cos();
        sine += hz * phase.sin();
        sum += hz;
    }
    Fit { amplitude_hz: 2.0 * cosine.hypot(sine) / BINS as f64, mean_hz: sum / BINS as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cerebellum::description::preset;

    #[test]
    fn the_fit_finds_the_cosine_that_a_histogram_was_made_of() {
        let cycles = 40;
        let histogram: [u64; BINS] = std::array::from_fn(|bin| {
            let hz = 50.0 + 20.0 * (bin as f64 * TAU / BINS as f64 - 1.0).cos();
            (hz * 0.1 * cycles as f64).round() as u64
        });
        let fit = fit(&histogram, cycles);
        assert!((fit.amplitude_hz - 20.0).abs() < 0.1, "{fit:?}");
        assert!((fit.mean_hz - 50.0).abs() < 0.1, "{fit:?}");
    }

    #[test]
    fn a_network_without_an_olive_or_fibres_of_the_nucleus_is_refused() {
        let network = preset("benchmark-s").unwrap();
        let error = Okr::new(&network, 1).unwrap_err().to_string();
        assert!(error.starts_with("benchmark-s: no range of mossy fibres onto granule"), "{error}");
    }
}
