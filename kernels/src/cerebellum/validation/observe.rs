//! What is seen of a network while it runs: spikes by cell, active granule cells, the trains of
//! Purkinje cells.
//!
//! Invariants: nothing is counted before the settling time is over; memory follows from the number
//! of cells and not from the length of the run.

use super::trains::Trains;
use crate::cerebellum::description::{Cell, Description};
use crate::cerebellum::engine::{Network, State};

/// Length of the windows in which active granule cells are counted, ms.
const WINDOW_MS: f32 = 100.0;

/// A watched network.
#[derive(Debug)]
pub(super) struct Observer {
    step_ms: f32,
    settle_steps: u64,
    steps: u64,
    /// Spikes by population and cell.
    counts: Vec<Vec<u32>>,
    purkinje: Option<usize>,
    trains: Trains,
    climbing: Option<Climbing>,
    active: Option<Active>,
}

/// The climbing fibres' way to the Purkinje cells.
#[derive(Debug)]
struct Climbing {
    olive: usize,
    /// Purkinje cells by olive cell.
    targets: Vec<Vec<u32>>,
    /// The Purkinje cells reached, by step of arrival: a ring.
    due: Vec<Vec<u32>>,
}

/// Granule cells that fired in the current window, and the shares of the windows before.
#[derive(Debug)]
struct Active {
    granule: usize,
    window_steps: u64,
    seen: Vec<bool>,
    now: usize,
    least: f64,
    greatest: f64,
    windows: u64,
}

impl Observer {
    /// Watches `network`, which is that of `description`, once `settle_steps` are over.
    pub(super) fn new(description: &Description, network: &Network, settle_steps: u64) -> Self {
        let place = |cell| description.populations.iter().position(|p| p.cell == cell);
        let count = |cell| description.population(cell).map_or(0, |p| p.count);
        let step_ms = description.step_ms;
        let climbing = network.projection(Cell::Olive, Cell::Purkinje).and_then(|k| {
            let cells = 0..count(Cell::Olive) as u32;
            Some(Climbing {
                olive: place(Cell::Olive)?,
                targets: cells.map(|source| network.row(k, source).1).collect(),
                // Felt in the step after the one at whose end a spike arrives.
                due: vec![Vec::new(); description.projections[k].delay_steps + 2],
            })
        });
        let active = place(Cell::Granule).map(|granule| Active {
            granule,
            window_steps: (WINDOW_MS / step_ms).round().max(1.0) as u64,
            seen: vec![false; count(Cell::Granule)],
            now: 0,
            least: f64::INFINITY,
            greatest: 0.0,
            windows: 0,
        });
        Self {
            step_ms,
            settle_steps,
            steps: 0,
            counts: description.populations.iter().map(|p| vec![0; p.count]).collect(),
            purkinje: place(Cell::Purkinje),
            trains: Trains::new(count(Cell::Purkinje), step_ms),
            climbing,
            active,
        }
    }

    /// Takes in the spikes of the step just done.
    pub(super) fn step(&mut self, state: &State) {
        let step = self.steps;
        self.steps += 1;
        let arrived = self.climbing.as_mut().map(|c| c.step(step, state));
        if step < self.settle_steps {
            return;
        }
        for (k, counts) in self.counts.iter_mut().enumerate() {
            for &cell in state.spikes(k) {
                counts[cell as usize] += 1;
            }
        }
        if let Some(k) = self.purkinje {
            self.trains.step(step, arrived.unwrap_or(&[]), state.spikes(k));
        }
        if let Some(active) = &mut self.active {
            active.step(step - self.settle_steps, state);
        }
    }

    /// Mean rate of the cells of the population at `place`, Hz.
    pub(super) fn mean_hz(&self, place: usize) -> f64 {
        let sum: u64 = self.counts[place].iter().map(|&n| u64::from(n)).sum();
        sum as f64 / self.cell_seconds(place)
    }

    /// For how long the cells of the population at `place` were watched, together, s.
    pub(super) fn cell_seconds(&self, place: usize) -> f64 {
        self.counts[place].len().max(1) as f64 * self.seconds()
    }

    /// Median rate of the cells of the population at `place`, Hz; none where a cell fired less than
    /// twice on average, which leaves nothing between the counts. The median is taken within the
    /// middle count as if its cells lay evenly in it, and corrected by the sixth of a spike by
    /// which that of Poisson counts lies below their mean, so that cells which differ by chance
    /// alone have a median equal to the mean.
    pub(super) fn median_hz(&self, place: usize) -> Option<f64> {
        let mut counts = self.counts[place].clone();
        let n = counts.len();
        if self.mean_hz(place) * self.seconds() < 2.0 {
            return None;
        }
        counts.sort_unstable();
        let middle = counts[n / 2];
        let below = counts.partition_point(|&c| c < middle);
        let within = counts.partition_point(|&c| c <= middle) - below;
        let share = (0.5 * n as f64 - below as f64) / within as f64;
        Some((f64::from(middle) - 0.5 + share + 1.0 / 6.0) / self.seconds())
    }

    /// Least and greatest share of the granule cells that fired in a window of 100 ms; none without
    /// a whole window.
    pub(super) fn active_share(&self) -> Option<[f64; 2]> {
        let active = self.active.as_ref().filter(|a| a.windows > 0)?;
        Some([active.least, active.greatest])
    }

    /// Whether climbing fibres have synapses on the Purkinje cells.
    pub(super) const fn has_climbing(&self) -> bool {
        self.climbing.is_some()
    }

    /// The Purkinje cells' trains.
    pub(super) const fn trains(&self) -> &Trains {
        &self.trains
    }

    fn seconds(&self) -> f64 {
        let steps = self.steps.saturating_sub(self.settle_steps).max(1);
        steps as f64 * f64::from(self.step_ms) * 1e-3
    }
}

impl Climbing {
    /// Files the olive's spikes of `step` and returns the Purkinje cells that feel one in it.
    fn step(&mut self, step: u64, state: &State) -> &[u32] {
        let ring = self.due.len();
        let now = (step % ring as u64) as usize;
        let due = &mut self.due[(now + ring - 1) % ring];
        due.clear();
        for &cell in state.spikes(self.olive) {
            due.extend_from_slice(&self.targets[cell as usize]);
        }
        &self.due[now]
    }
}

impl Active {
    fn step(&mut self, step: u64, state: &State) {
        for &cell in state.spikes(self.granule) {
            let seen = &mut self.seen[cell as usize];
            self.now += usize::from(!*seen);
            *seen = true;
        }
        if (step + 1).is_multiple_of(self.window_steps) {
            let share = self.now as f64 / self.seen.len().max(1) as f64;
            self.least = self.least.min(share);
            self.greatest = self.greatest.max(share);
            self.windows += 1;
            self.now = 0;
            self.seen.fill(false);
        }
    }
}
