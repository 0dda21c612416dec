//! Adaptive conformal inference on the direction: when to abstain, with a bound that needs no model.
//!
//! A forecast P(up) becomes a set of directions, those whose nonconformity `1 - P(direction)` is at
//! most the `1 - a` quantile of the realised nonconformities in a sliding window. When labels come,
//! `a += rate · (target - miss)` (Gibbs and Candès, "Adaptive conformal inference under distribution
//! shift", NeurIPS 2021). One direction in the set is a signal; both or none mean abstain.
//!
//! What is covered: over `T` labelled forecasts, *all* of them and not only the signals, the share
//! whose set lacks what happened differs from the target by at most `(max(a_1, 1 - a_1) + (d + 1) ·
//! rate) / (rate · T)`, where a label arrives after at most `d` later sets were made (their
//! proposition 4.1 is `d = 0`; each set still unlabelled may push `a` one step further). It holds for
//! every sequence of forecasts and labels, also overlapping or adversarial. Not covered: the miss
//! rate given that there is a signal. An abstention with both directions is never a miss, so a
//! signal may miss more often than the target; where the set is empty it always is one.
//!
//! Invariants: everything is in the set at `a <= 0`, nothing at `a >= 1`; `a` stays within `(d + 1) ·
//! rate` of [0, 1]. Memory is fixed. Cost: O(log window) a forecast, O(window) moves a label, no
//! allocation after construction.

use super::{CalibrationError, is_probability};
use crate::learned::visit_count;

/// Largest window, in labels.
const WINDOW_MAX: usize = 65_536;

/// Numbers of a [`Conformal`] rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConformalConfig {
    /// Share of labels that the set may miss, in (0, 1).
    pub target: f64,
    /// Step of the adaptation, in (0, 1].
    pub rate: f64,
    /// Realised nonconformities that the quantile is taken over, 1 to 65,536.
    pub window_labels: usize,
}

impl Default for ConformalConfig {
    /// Target 0.3, rate 0.005 (the paper's), 1,000 labels.
    fn default() -> Self {
        Self { target: 0.3, rate: 0.005, window_labels: 1_000 }
    }
}

/// Directions that a forecast does not exclude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConformalSet {
    /// An up move is in the set.
    pub up: bool,
    /// A down move is in the set.
    pub down: bool,
}

impl ConformalSet {
    /// Every set.
    pub const ALL: [Self; 4] = [
        Self { up: true, down: false },
        Self { up: false, down: true },
        Self { up: true, down: true },
        Self { up: false, down: false },
    ];

    /// The one direction left, true for up; `None` means abstain.
    #[must_use]
    pub fn signal(self) -> Option<bool> {
        (self.up != self.down).then_some(self.up)
    }

    /// Stable name, for signals: `up`, `down`, `both` or `none`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match (self.up, self.down) {
            (true, false) => "up",
            (false, true) => "down",
            (true, true) => "both",
            (false, false) => "none",
        }
    }

    /// Whether the set holds what happened.
    #[must_use]
    pub fn covers(self, up: bool) -> bool {
        if up { self.up } else { self.down }
    }
}

/// Sets of directions with a long-run share of misses. Not `Clone`: the copy of a buffer has no room
/// to spare, so a clone would allocate as it learns.
#[derive(Debug)]
pub struct Conformal {
    level: f64,
    target: f64,
    rate: f64,
    /// Nonconformities in the order in which they came, a ring, and sorted.
    ring: Vec<f64>,
    sorted: Vec<f64>,
    next: usize,
    window: usize,
    learned: u64,
    missed: u64,
    rejected: u64,
}

impl Conformal {
    /// Starts at the target level.
    ///
    /// # Errors
    /// When a setting is out of its range.
    pub fn new(config: ConformalConfig) -> Result<Self, CalibrationError> {
        let ConformalConfig { target, rate, window_labels: window } = config;
        let check = |key, value: f64, ok: bool, expected| {
            if ok { Ok(()) } else { Err(CalibrationError { key, value, expected }) }
        };
        check("target", target, target > 0.0 && target < 1.0, "above 0 and under 1")?;
        check("rate", rate, rate > 0.0 && rate <= 1.0, "above 0, at most 1")?;
        let fits = (1..=WINDOW_MAX).contains(&window);
        check("window_labels", window as f64, fits, "from 1 to 65536")?;
        Ok(Self {
            level: target,
            target,
            rate,
            ring: Vec::with_capacity(window),
            sorted: Vec::with_capacity(window),
            next: 0,
            window,
            learned: 0,
            missed: 0,
            rejected: 0,
        })
    }

    /// Directions that forecast `p_up` does not exclude; both where it is no probability.
    #[must_use]
    pub fn predict(&self, p_up: f64) -> ConformalSet {
        if self.level <= 0.0 || !is_probability(p_up) {
            return ConformalSet { up: true, down: true };
        }
        if self.level >= 1.0 {
            return ConformalSet { up: false, down: false };
        }
        let limit = self.quantile();
        ConformalSet { up: 1.0 - p_up <= limit, down: p_up <= limit }
    }

    /// The smallest nonconformity that at least `(1 - a)(n + 1)` of the window are at or below;
    /// infinite where the window is too short.
    fn quantile(&self) -> f64 {
        let rank = ((1.0 - self.level) * (self.sorted.len() + 1) as f64).ceil() as usize;
        self.sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::INFINITY)
    }

    /// Learns what happened after forecast `p_up`, for which `set` was made, maybe many cycles ago.
    pub fn learn(&mut self, set: ConformalSet, p_up: f64, up: bool) {
        if !is_probability(p_up) {
            self.rejected += 1;
            return;
        }
        let missed = !set.covers(up);
        self.learned += 1;
        self.missed += u64::from(missed);
        self.level += self.rate * (self.target - f64::from(u8::from(missed)));
        let nonconformity = if up { 1.0 - p_up } else { p_up };
        if self.ring.len() < self.window {
            self.ring.push(nonconformity);
        } else {
            let old = std::mem::replace(&mut self.ring[self.next], nonconformity);
            let place = self.sorted.partition_point(|&other| other < old);
            self.sorted.remove(place);
        }
        self.next = (self.next + 1) % self.window;
        let place = self.sorted.partition_point(|&other| other < nonconformity);
        self.sorted.insert(place, nonconformity);
    }

    /// Shows `visit` every learned number, in an order that the settings alone decide; what it changes is taken up.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        visit(&mut self.level);
        let mut len = self.ring.len() as u64;
        visit_count(&mut len, visit);
        // As much as was taken when the window was made.
        self.ring.resize((len as usize).min(self.window), 0.0);
        self.ring.iter_mut().for_each(&mut *visit);
        self.sorted.clear();
        self.sorted.extend_from_slice(&self.ring);
        self.sorted.sort_unstable_by(f64::total_cmp);
        let mut next = self.next as u64;
        visit_count(&mut next, visit);
        self.next = next as usize % self.window;
        for count in [&mut self.learned, &mut self.missed, &mut self.rejected] {
            visit_count(count, visit);
        }
    }

    /// Share of labels that the set may miss.
    #[must_use]
    pub fn target(&self) -> f64 {
        self.target
    }

    /// The level `a` of the next set.
    #[must_use]
    pub fn level(&self) -> f64 {
        self.level
    }

    /// Share of the labels that their set missed; NaN before the first.
    #[must_use]
    pub fn miss_rate(&self) -> f64 {
        self.missed as f64 / self.learned as f64
    }

    /// Labels learned from.
    #[must_use]
    pub fn learned(&self) -> u64 {
        self.learned
    }

    /// Labels that their set missed.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Labels refused because the forecast was not usable.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(state: &mut u64) -> f64 {
        *state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Plays `labels` forecasts, each label `late` sets later, and checks the bound at every label
    /// from the hundredth on. `nature` gives the forecast and picks the label knowing the set.
    fn play(
        config: ConformalConfig,
        labels: usize,
        late: usize,
        mut nature: impl FnMut(usize, &Conformal) -> (f64, Box<dyn Fn(ConformalSet) -> bool>),
    ) -> Conformal {
        let mut rule = Conformal::new(config).unwrap();
        let mut pending = std::collections::VecDeque::new();
        for i in 0..labels {
            if pending.len() > late {
                let (set, p, up) = pending.pop_front().unwrap();
                rule.learn(set, p, up);
                let a1 = config.target;
                let allowed = (a1.max(1.0 - a1) + (late + 1) as f64 * config.rate)
                    / (config.rate * rule.learned() as f64);
                let off = (rule.miss_rate() - config.target).abs();
                assert!(off <= allowed + 1e-12, "label {i}, {late} late: {off} over {allowed}");
            }
            let (p, label) = nature(i, &rule);
            let set = rule.predict(p);
            pending.push_back((set, p, label(set)));
        }
        rule
    }

    #[test]
    fn the_share_of_misses_is_within_its_bound_on_adversarial_sequences() {
        for rate in [0.005, 0.05, 0.5] {
            for target in [0.05, 0.3, 0.5] {
                let config = ConformalConfig { target, rate, window_labels: 200 };
                for late in [0, 10] {
                    // Always the direction that is missed, if any.
                    let worst = |i: usize, _: &Conformal| {
                        let p = (i * 37 % 100) as f64 / 99.0;
                        let pick: Box<dyn Fn(ConformalSet) -> bool> = Box::new(|set| !set.up);
                        (p, pick)
                    };
                    play(config, 20_000, late, worst);
                    // Never a miss while it can be helped.
                    let kind = |i: usize, _: &Conformal| {
                        let p = (i * 61 % 100) as f64 / 99.0;
                        let pick: Box<dyn Fn(ConformalSet) -> bool> = Box::new(|set| set.up);
                        (p, pick)
                    };
                    play(config, 20_000, late, kind);
                    // Forecasts that turn from right to wrong, with noise, over several seeds.
                    for seed in 1..=5 {
                        let mut state = seed;
                        let turning = move |i: usize, _: &Conformal| {
                            let p = draw(&mut state);
                            let truth = if (i / 1_000).is_multiple_of(2) { p } else { 1.0 - p };
                            let up = draw(&mut state) < truth;
                            let pick: Box<dyn Fn(ConformalSet) -> bool> = Box::new(move |_| up);
                            (p, pick)
                        };
                        play(config, 20_000, late, turning);
                    }
                }
            }
        }
    }

    #[test]
    fn it_signals_where_the_forecast_is_strong_and_abstains_where_it_is_not() {
        let mut state = 7;
        let mut signals = [0u32; 2];
        let mut seen = [0u32; 2];
        let rule = play(ConformalConfig::default(), 20_000, 10, |_, rule| {
            let strong = draw(&mut state) < 0.5;
            let p = if strong { 0.95 } else { 0.5 + 0.1 * draw(&mut state) };
            let up = draw(&mut state) < p;
            seen[usize::from(strong)] += 1;
            signals[usize::from(strong)] += u32::from(rule.predict(p).signal().is_some());
            (p, Box::new(move |_| up))
        });
        let share = |k: usize| f64::from(signals[k]) / f64::from(seen[k]);
        assert!(share(1) > 0.9 && share(0) < share(1), "{} and {}", share(0), share(1));
        assert!((rule.miss_rate() - 0.3).abs() < 0.02, "{}", rule.miss_rate());
    }

    #[test]
    fn before_any_label_it_abstains_and_unusable_input_is_counted() {
        let mut rule = Conformal::new(ConformalConfig::default()).unwrap();
        assert_eq!(rule.predict(0.99).signal(), None);
        let set = rule.predict(f64::NAN);
        assert_eq!((set.up, set.down), (true, true));
        rule.learn(set, f64::NAN, true);
        assert_eq!((rule.learned(), rule.rejected()), (0, 1));
        assert_eq!(rule.level(), 0.3);
    }

    #[test]
    fn the_window_holds_the_latest_labels_and_no_more() {
        let config = ConformalConfig { window_labels: 3, ..ConformalConfig::default() };
        let mut rule = Conformal::new(config).unwrap();
        for p in [0.1, 0.9, 0.2, 0.8, 0.3] {
            let set = rule.predict(p);
            rule.learn(set, p, true);
        }
        assert_eq!(rule.sorted, [1.0 - 0.8, 1.0 - 0.3, 1.0 - 0.2]);
    }

    #[test]
    fn bad_settings_are_refused_by_name() {
        let good = ConformalConfig::default();
        for (config, key) in [
            (ConformalConfig { target: 1.0, ..good }, "target"),
            (ConformalConfig { rate: 0.0, ..good }, "rate"),
            (ConformalConfig { window_labels: 0, ..good }, "window_labels"),
            (ConformalConfig { window_labels: WINDOW_MAX + 1, ..good }, "window_labels"),
        ] {
            assert_eq!(Conformal::new(config).unwrap_err().key, key);
        }
    }
}
