//! Statistics of the spike trains of Purkinje cells, taken as the spikes come.
//!
//! CV2 of a train is the mean of 2 |I' - I| / (I' + I) over adjacent intervals (Holt et al., J.
//! Neurophysiol. 75, 1996): 1 for a Poisson train, 0 for a regular one, and blind to slow changes of
//! the rate. The pause is how long after a climbing fibre's arrival simple spikes stay rare: the
//! time at which their peri-stimulus rate, once the complex spike is over, is back at half of its
//! value elsewhere. A cell that takes no notice has a pause of 0, however long its intervals.
//!
//! Invariants: spikes of the complex spike itself are no simple spikes, and an interval that a
//! climbing fibre interrupts is none of a simple-spike train; memory does not grow with the run.

/// How long a complex spike lasts, ms: the somatic burst of spikelets.
const COMPLEX_MS: f32 = 5.0;
/// How long after a climbing fibre's arrival spikes are counted by their age, ms.
const AFTER_MS: f32 = 100.0;
/// Width of the window in which the rate after a complex spike is taken, ms.
const WINDOW_MS: f32 = 5.0;
/// Spikes expected in that window without which no pause is told from chance.
const EXPECTED_MIN: f64 = 20.0;
/// Adjacent intervals without which a train has no CV2.
const PAIRS_MIN: u32 = 10;

/// The trains of one population.
#[derive(Clone, Debug)]
pub(super) struct Trains {
    step_ms: f32,
    cells: Vec<Train>,
    /// Simple spikes and steps by age of the last complex spike, in steps.
    after: Vec<Exposure>,
    elsewhere: Exposure,
    complex: u64,
    complex_steps: u64,
}

/// Spikes fired in so many steps of single cells.
#[derive(Clone, Copy, Debug, Default)]
struct Exposure {
    spikes: u64,
    steps: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Train {
    /// The last simple spike, and the interval before it, in steps.
    last: Option<u64>,
    interval: Option<u64>,
    cv2_sum: f64,
    pairs: u32,
    /// When a climbing fibre last arrived.
    complex_at: Option<u64>,
}

impl Trains {
    pub(super) fn new(cells: usize, step_ms: f32) -> Self {
        let steps = |ms: f32| (ms / step_ms).round().max(1.0) as usize;
        Self {
            step_ms,
            cells: vec![Train::default(); cells],
            after: vec![Exposure::default(); steps(AFTER_MS)],
            elsewhere: Exposure::default(),
            complex: 0,
            complex_steps: steps(COMPLEX_MS) as u64,
        }
    }

    /// Takes in one step: the `cells` that climbing fibres reached, felt in this step, and the
    /// ascending `spikes` fired in it.
    pub(super) fn step(&mut self, step: u64, climbing: &[u32], spikes: &[u32]) {
        for &cell in climbing {
            let train = &mut self.cells[cell as usize];
            (train.complex_at, train.last, train.interval) = (Some(step), None, None);
            self.complex += 1;
        }
        let mut spikes = spikes.iter().peekable();
        for (cell, train) in self.cells.iter_mut().enumerate() {
            let fired = spikes.next_if_eq(&&(cell as u32)).is_some();
            let age = train.complex_at.map(|at| step - at);
            let place = age.and_then(|age| self.after.get_mut(age as usize));
            let place = place.unwrap_or(&mut self.elsewhere);
            place.steps += 1;
            place.spikes += u64::from(fired);
            if fired && age.is_none_or(|age| age >= self.complex_steps) {
                train.simple_spike(step);
            }
        }
    }

    /// Mean rate of simple spikes, Hz.
    pub(super) fn simple_hz(&self) -> f64 {
        let complex = self.complex_steps as usize;
        let mut sum = self.elsewhere;
        for place in &self.after[complex.min(self.after.len())..] {
            sum.spikes += place.spikes;
            sum.steps += place.steps;
        }
        self.hz(sum)
    }

    /// Mean CV2 of the cells with enough spikes; none where no cell has.
    pub(super) fn cv2(&self) -> Option<f64> {
        let enough = self.cells.iter().filter(|t| t.pairs >= PAIRS_MIN);
        let (sum, n) = enough.fold((0.0, 0_u32), |(sum, n), train| {
            (sum + train.cv2_sum / f64::from(train.pairs), n + 1)
        });
        (n > 0).then(|| sum / f64::from(n))
    }

    /// The pause, ms; none where there are too few complex or simple spikes to tell.
    pub(super) fn pause_ms(&self) -> Option<f64> {
        let window = (WINDOW_MS / self.step_ms).round().max(1.0) as usize;
        let per_step = self.elsewhere.spikes as f64 / self.elsewhere.steps.max(1) as f64;
        if self.complex as f64 * per_step * (window as f64) < EXPECTED_MIN {
            return None;
        }
        let first = self.complex_steps as usize;
        let back = self.after[first.min(self.after.len())..].windows(window).position(|places| {
            let spikes: u64 = places.iter().map(|p| p.spikes).sum();
            let steps: u64 = places.iter().map(|p| p.steps).sum();
            spikes as f64 >= 0.5 * per_step * steps as f64
        });
        let steps = match back {
            Some(0) => return Some(0.0),
            Some(k) => (first + k) as f64 + 0.5 * window as f64,
            None => self.after.len() as f64,
        };
        Some(steps * f64::from(self.step_ms))
    }

    fn hz(&self, of: Exposure) -> f64 {
        of.spikes as f64 / (of.steps.max(1) as f64 * f64::from(self.step_ms) * 1e-3)
    }
}

impl Train {
    fn simple_spike(&mut self, step: u64) {
        let interval = self.last.map(|last| step - last);
        if let (Some(a), Some(b)) = (self.interval, interval) {
            self.cv2_sum += 2.0 * a.abs_diff(b) as f64 / (a + b) as f64;
            self.pairs += 1;
        }
        (self.last, self.interval) = (Some(step), interval);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    /// One cell that fires where `fires` says.
    fn train(steps: u64, climbing_every: u64, fires: impl Fn(u64) -> bool) -> Trains {
        let mut trains = Trains::new(1, 1.0);
        for step in 0..steps {
            let climbing: &[u32] =
                if climbing_every > 0 && step.is_multiple_of(climbing_every) { &[0] } else { &[] };
            trains.step(step, climbing, if fires(step) { &[0] } else { &[] });
        }
        trains
    }

    #[test]
    fn a_poisson_train_has_a_cv2_of_1() {
        let key = Key::new(1);
        let poisson = train(2_000_000, 0, |step| key.uniform(step) < 0.01);
        assert!((poisson.cv2().unwrap() - 1.0).abs() < 0.02, "{:?}", poisson.cv2());
        assert!((poisson.simple_hz() - 10.0).abs() < 0.2, "{}", poisson.simple_hz());
    }

    #[test]
    fn a_regular_train_has_a_cv2_of_0_and_alternating_intervals_theirs() {
        assert_eq!(train(1000, 0, |step: u64| step.is_multiple_of(10)).cv2(), Some(0.0));
        // 10 and 30 ms by turns: 2 · 20 / 40.
        let uneven = train(1000, 0, |step: u64| step.is_multiple_of(40) || step % 40 == 10);
        assert_eq!(uneven.cv2(), Some(1.0));
        assert_eq!(train(50, 0, |step: u64| step.is_multiple_of(10)).cv2(), None);
    }

    #[test]
    fn a_pause_is_measured_and_a_cell_that_takes_no_notice_has_none() {
        let key = Key::new(2);
        let fires = |step| key.uniform(step) < 0.08;
        let paused = train(1_000_000, 1000, |step| {
            let age = step % 1000;
            age < 3 || (age >= 25 && fires(step))
        });
        let pause = paused.pause_ms().unwrap();
        assert!((24.0..=26.5).contains(&pause), "{pause}");
        assert_eq!(train(1_000_000, 1000, fires).pause_ms(), Some(0.0));
        // The same with long regular intervals out of step with the climbing fibre.
        assert_eq!(
            train(1_000_000, 997, |step: u64| step.is_multiple_of(40)).pause_ms(),
            Some(0.0)
        );
        assert_eq!(train(10_000, 1000, fires).pause_ms(), None);
    }

    #[test]
    fn the_complex_spike_counts_for_nothing_else() {
        let fires = |step: u64| step % 1000 < 5 || step.is_multiple_of(10);
        let trains = train(100_000, 1000, fires);
        assert_eq!(trains.cv2(), Some(0.0));
        assert!((trains.simple_hz() - 100.0).abs() < 1.0, "{}", trains.simple_hz());
    }
}
