//! The prevalence of up moves: the forecast that knows nothing but how often the price rose.
//!
//! Invariant: the probability is strictly inside of (0, 1) whatever was learned. Cost: O(1).

/// Labels that the fresh 50:50 counts are worth; with ten overlapping labels a horizon, two
/// independent ones, as in Laplace's rule of succession.
const PRIOR_LABELS: f64 = 20.0;

/// Running frequency of up moves (Beta counts), with or without forgetting.
#[derive(Clone, Debug)]
pub struct BaseRate {
    up: f64,
    total: f64,
    keep: f64,
}

impl BaseRate {
    /// Counts everything for ever.
    #[must_use]
    pub fn new() -> Self {
        Self { up: 0.0, total: 0.0, keep: 1.0 }
    }

    /// Counts that fade by `e` after `memory_labels` labels; a memory under one label is taken as
    /// one.
    #[must_use]
    pub fn forgetting(memory_labels: f64) -> Self {
        Self { keep: (-1.0 / memory_labels.max(1.0)).exp(), ..Self::new() }
    }

    /// P(up) from what was learned so far.
    #[must_use]
    pub fn p_up(&self) -> f64 {
        (self.up + 0.5 * PRIOR_LABELS) / (self.total + PRIOR_LABELS)
    }

    /// Shows `visit` every learned number, in an order that the settings alone decide; what it changes is taken up.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        visit(&mut self.up);
        visit(&mut self.total);
    }

    /// Counts one move.
    pub fn learn(&mut self, up: bool) {
        self.up = self.keep * self.up + f64::from(u8::from(up));
        self.total = self.keep * self.total + 1.0;
    }
}

impl Default for BaseRate {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_one_half_and_converges_to_the_frequency() {
        let mut rate = BaseRate::new();
        assert_eq!(rate.p_up(), 0.5);
        for i in 0..10_000 {
            rate.learn(i % 10 < 3);
        }
        assert!((rate.p_up() - 0.3).abs() < 0.001);
    }

    #[test]
    fn it_never_becomes_certain() {
        let mut rate = BaseRate::forgetting(100.0);
        for _ in 0..1_000_000 {
            rate.learn(true);
        }
        assert!(rate.p_up() < 0.95);
    }

    #[test]
    fn forgetting_follows_a_change() {
        let (mut kept, mut faded) = (BaseRate::new(), BaseRate::forgetting(500.0));
        for i in 0..10_000 {
            kept.learn(i < 5_000);
            faded.learn(i < 5_000);
        }
        assert!((kept.p_up() - 0.5).abs() < 0.01);
        assert!(faded.p_up() < 0.05);
    }
}
