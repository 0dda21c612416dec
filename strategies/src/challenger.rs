//! A challenger runs in shadow of the champion and takes its place only on evidence.
//!
//! Both forecast the same labels. Evidence is the wealth of a gambler who bets that the challenger's
//! Brier loss is the lower one: each label multiplies a stake by `1 + λ · gain`, `gain` being the
//! champion's loss less the challenger's, in [-1, 1]. Stakes over a fixed grid of `λ` are summed, and
//! new capital, `1 / n(n + 1)` at label `n`, joins at each label, so that a challenger that was bad
//! for long may still win; capital not yet joined counts as wealth. If the challenger is not better
//! (the expected gain is at most 0 at every label, given the past), wealth is a non-negative
//! supermartingale that starts at 1, and by Ville's inequality it ever reaches `1 / α` with
//! probability at most `α`, however often one looks (Waudby-Smith and Ramdas, "Estimating means of
//! bounded random variables by betting", JRSS B 86, 2024; Shafer, JRSS A 184, 2021).
//!
//! Labels that overlap break "given the past": a label that matured tells of those still open. So
//! only one forecast a horizon counts, the first at least `horizon_ns` after the last that counted:
//! when it is made, every label that the stakes depend on is known.
//! Weighing every label by cycle / horizon instead would keep the mean but not the supermartingale;
//! averaging one gambler per offset is valid for each offset's own past only, not for one who looks
//! at all of them (Henzi and Ziegel, Biometrika 109, 2022).
//!
//! Demotion is the same test: after a [`Promotion`] the caller swaps who is passed as champion, and
//! the old champion has to earn its place back from a wealth of 1. `α` is per duel, that is from one
//! promotion to the next.
//!
//! Invariants: wealth is positive and finite in effect (a duel ends when it is large); the same
//! calls give the same bits. Cost: O(1) a label, no allocation, no clock.

use crate::learned::visit_count;
use thiserror::Error;

use crate::calibrate::is_probability;

/// Bets, as shares of a stake: one for a gain that is almost certain, halves for smaller ones. The
/// best bet on gains with mean `m` and variance `v` is about `m / v`.
const BETS: [f64; 8] =
    [0.8, 0.8 / 2.0, 0.8 / 4.0, 0.8 / 8.0, 0.8 / 16.0, 0.8 / 32.0, 0.8 / 64.0, 0.8 / 128.0];

/// Numbers of a [`Challenger`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChallengerConfig {
    /// Largest probability of a promotion in one duel where the challenger is not better.
    pub alpha: f64,
    /// Time from forecast to label, in nanoseconds: forecasts nearer to each other do not count.
    pub horizon_ns: i64,
    /// Labels that must have counted before a promotion.
    pub labels_min: u64,
}

/// A refused [`ChallengerConfig`].
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub enum ChallengerError {
    /// The level is no probability that can be tested.
    #[error("challenger.alpha is {alpha}, expected 1e-9 to 0.5")]
    Alpha {
        /// Level given.
        alpha: f64,
    },
    /// The horizon is not positive.
    #[error("challenger.horizon_ns is {horizon_ns}, expected above 0")]
    Horizon {
        /// Horizon given.
        horizon_ns: i64,
    },
}

/// The challenger has earned the champion's place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promotion {
    /// Time of the forecast whose label decided, in nanoseconds since the epoch.
    pub ts_ns: i64,
    /// Wealth: the evidence against "the challenger is not better", at least `1 / alpha`.
    pub wealth: f64,
    /// Labels that counted in this duel.
    pub labels: u64,
    /// Mean gain in Brier loss per label that counted.
    pub gain_mean: f64,
}

/// Compares two forecasters and says when the second should replace the first.
#[derive(Clone, Debug)]
pub struct Challenger {
    config: ChallengerConfig,
    stakes: [f64; BETS.len()],
    /// Time of the last forecast that counted.
    counted_ns: Option<i64>,
    labels: u64,
    gain: f64,
    overlapping: u64,
    rejected: u64,
    promotions: u64,
}

impl Challenger {
    /// A duel with no evidence yet.
    ///
    /// # Errors
    /// When the level or the horizon is out of its range.
    pub fn new(config: ChallengerConfig) -> Result<Self, ChallengerError> {
        let ChallengerConfig { alpha, horizon_ns, .. } = config;
        if !(1e-9..=0.5).contains(&alpha) {
            return Err(ChallengerError::Alpha { alpha });
        }
        if horizon_ns <= 0 {
            return Err(ChallengerError::Horizon { horizon_ns });
        }
        Ok(Self {
            config,
            stakes: [0.0; BETS.len()],
            counted_ns: None,
            labels: 0,
            gain: 0.0,
            overlapping: 0,
            rejected: 0,
            promotions: 0,
        })
    }

    /// Shows `visit` every learned number, in an order that the settings alone decide; what it changes is taken up.
    /// The time of the last forecast that counted is not among them.
    pub fn visit_learned(&mut self, visit: &mut dyn FnMut(&mut f64)) {
        self.stakes.iter_mut().chain([&mut self.gain]).for_each(&mut *visit);
        let counts = [&mut self.labels, &mut self.overlapping, &mut self.rejected];
        for count in counts.into_iter().chain([&mut self.promotions]) {
            visit_count(count, visit);
        }
    }

    /// Learns what happened after both forecast P(up) at `ts_ns`, in the order of the forecasts.
    /// After a promotion the caller passes the new champion's forecasts first. Where one of the two
    /// was absent (NaN) nothing is learned.
    pub fn observe(
        &mut self,
        champion_p: f64,
        challenger_p: f64,
        up: bool,
        ts_ns: i64,
    ) -> Option<Promotion> {
        if !is_probability(champion_p) || !is_probability(challenger_p) {
            self.rejected += 1;
            return None;
        }
        let near = |last: i64| ts_ns.saturating_sub(last) < self.config.horizon_ns;
        if self.counted_ns.is_some_and(near) {
            self.overlapping += 1;
            return None;
        }
        self.counted_ns = Some(ts_ns);
        self.labels += 1;
        let label = f64::from(u8::from(up));
        let gain = (champion_p - label).powi(2) - (challenger_p - label).powi(2);
        self.gain += gain;
        let n = self.labels as f64;
        let joining = 1.0 / (n * (n + 1.0) * BETS.len() as f64);
        for (stake, bet) in self.stakes.iter_mut().zip(BETS) {
            *stake = (*stake + joining) * (1.0 + bet * gain);
        }
        let wealth = self.wealth();
        if wealth < 1.0 / self.config.alpha || self.labels < self.config.labels_min {
            return None;
        }
        let promotion = Promotion { ts_ns, wealth, labels: self.labels, gain_mean: self.gain / n };
        self.stakes = [0.0; BETS.len()];
        self.labels = 0;
        self.gain = 0.0;
        self.promotions += 1;
        Some(promotion)
    }

    /// Evidence so far: 1 at the start, `1 / alpha` promotes.
    #[must_use]
    pub fn wealth(&self) -> f64 {
        // The shares 1 / n(n + 1) not yet joined sum to 1 / (labels + 1).
        self.stakes.iter().sum::<f64>() + 1.0 / (self.labels + 1) as f64
    }

    /// Labels that counted in this duel.
    #[must_use]
    pub fn labels(&self) -> u64 {
        self.labels
    }

    /// Labels passed over because they overlap one that counted.
    #[must_use]
    pub fn overlapping(&self) -> u64 {
        self.overlapping
    }

    /// Labels for which one of the two had no forecast.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Promotions so far.
    #[must_use]
    pub fn promotions(&self) -> u64 {
        self.promotions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::sigmoid;
    use crate::random::Random;

    const CYCLE_NS: i64 = 100_000_000;
    const HORIZON_CYCLES: usize = 10;

    fn challenger(alpha: f64, horizon_ns: i64, labels_min: u64) -> Challenger {
        Challenger::new(ChallengerConfig { alpha, horizon_ns, labels_min }).unwrap()
    }

    /// Whether a promotion came within `labels` labels that do not overlap. Truth is logistic; the
    /// two see it with noise of their own.
    fn duel(seed: u64, labels: usize, noise: [f64; 2], alpha: f64) -> Option<Promotion> {
        let mut rng = Random(seed);
        let mut duel = challenger(alpha, CYCLE_NS, 30);
        (0..labels).find_map(|i| {
            let x = 0.8 * rng.normal();
            let p = noise.map(|sd| sigmoid(x + sd * rng.normal()));
            let up = rng.uniform() < sigmoid(x);
            duel.observe(p[0], p[1], up, i as i64 * CYCLE_NS)
        })
    }

    #[test]
    fn equals_are_promoted_no_more_often_than_alpha_under_continuous_peeking() {
        const RUNS: u64 = 4_000;
        for (alpha, noise) in [(0.05, 0.6), (0.2, 0.6), (0.2, 2.0)] {
            let promoted =
                (0..RUNS).filter(|&seed| duel(seed, 1_000, [noise; 2], alpha).is_some()).count();
            let rate = promoted as f64 / RUNS as f64;
            println!("alpha {alpha}, noise {noise}: promoted {rate:.4}");
            // Three standard errors of a binomial share allow for chance.
            let chance = 3.0 * (alpha * (1.0 - alpha) / RUNS as f64).sqrt();
            assert!(rate <= alpha + chance, "{rate} over {alpha}");
        }
    }

    #[test]
    fn overlapping_labels_do_not_raise_the_rate_of_false_promotions() {
        // A random walk's sign over ten cycles; both forecast noise that is as slow as the labels.
        const RUNS: u64 = 2_000;
        const CYCLES: usize = 3_000;
        let (mut counted, mut all) = (0, 0);
        for seed in 0..RUNS {
            let mut rng = Random(seed);
            let steps: Vec<f64> = (0..CYCLES + HORIZON_CYCLES).map(|_| rng.normal()).collect();
            let mut honest = challenger(0.1, HORIZON_CYCLES as i64 * CYCLE_NS, 30);
            let mut naive = challenger(0.1, CYCLE_NS, 30);
            let (mut noise, mut promoted) = ([0.0; 2], [false; 2]);
            for i in 0..CYCLES {
                noise = noise.map(|n| 0.95 * n + 0.3 * rng.normal());
                let p = noise.map(sigmoid);
                let up = steps[i..i + HORIZON_CYCLES].iter().sum::<f64>() > 0.0;
                let ts_ns = i as i64 * CYCLE_NS;
                promoted[0] |= honest.observe(p[0], p[1], up, ts_ns).is_some();
                promoted[1] |= naive.observe(p[0], p[1], up, ts_ns).is_some();
            }
            counted += usize::from(promoted[0]);
            all += usize::from(promoted[1]);
        }
        let [counted, all] = [counted, all].map(|n| n as f64 / RUNS as f64);
        println!("alpha 0.1: one label a horizon {counted:.4}, every label {all:.4}");
        assert!(counted <= 0.1 + 3.0 * (0.09 / RUNS as f64).sqrt(), "{counted}");
        // The test is able to fail: every label, taken as if independent, promotes too often.
        assert!(all > 0.15, "{all}");
    }

    #[test]
    fn a_better_challenger_is_promoted_and_a_worse_one_is_not() {
        const RUNS: u64 = 300;
        for (noise, labels) in [([1.0, 0.3], 2_000), ([0.8, 0.0], 3_000)] {
            let won: Vec<Promotion> =
                (0..RUNS).filter_map(|seed| duel(seed, labels, noise, 0.05)).collect();
            let mut taken: Vec<u64> = won.iter().map(|promotion| promotion.labels).collect();
            taken.sort_unstable();
            println!("{noise:?}: {} of {RUNS}, median {} labels", won.len(), taken[won.len() / 2]);
            assert!(won.len() as f64 > 0.9 * RUNS as f64, "{noise:?}: {}", won.len());
            assert!(won.iter().all(|promotion| promotion.wealth >= 20.0));
            let lost =
                (0..RUNS).filter(|&seed| duel(seed, labels, [noise[1], noise[0]], 0.05).is_some());
            assert!(lost.count() as f64 <= 0.05 * RUNS as f64);
        }
    }

    #[test]
    fn a_challenger_that_was_bad_for_long_is_promoted_once_it_is_good() {
        let mut duel = challenger(0.05, 1, 30);
        for i in 0..5_000 {
            assert_eq!(duel.observe(0.6, 0.4, true, i), None);
        }
        assert!((5_000..6_000).any(|i| duel.observe(0.4, 0.8, true, i).is_some()));
    }

    #[test]
    fn after_a_promotion_the_old_champion_earns_its_place_back_in_the_same_way() {
        let mut duel = challenger(0.05, 1, 30);
        let forth = (0..).find_map(|i| duel.observe(0.4, 0.8, true, i)).unwrap();
        assert_eq!((duel.wealth(), duel.labels()), (1.0, 0));
        // The roles are swapped, and so is who is right.
        let start = forth.ts_ns + 1;
        let back = (start..).find_map(|i| duel.observe(0.4, 0.8, true, i)).unwrap();
        assert_eq!((forth.labels, forth.wealth), (back.labels, back.wealth));
        assert_eq!(duel.promotions(), 2);
    }

    #[test]
    fn no_evidence_promotes_before_the_least_number_of_labels() {
        for labels_min in [1, 100] {
            let mut duel = challenger(0.05, 1, labels_min);
            let promotion = (0..).find_map(|i| duel.observe(0.0, 1.0, true, i)).unwrap();
            assert!(promotion.labels >= labels_min);
            assert_eq!(promotion.labels == 100, labels_min == 100);
            assert_eq!(promotion.gain_mean, 1.0);
        }
    }

    #[test]
    fn overlapping_and_absent_forecasts_are_counted_and_change_nothing() {
        let mut duel = challenger(0.05, 10, 1);
        for ts_ns in 0..30 {
            duel.observe(0.5, 0.6, true, ts_ns);
        }
        assert_eq!((duel.labels(), duel.overlapping()), (3, 27));
        let before = duel.wealth();
        duel.observe(f64::NAN, 0.5, true, 100);
        duel.observe(0.5, 1.5, true, 100);
        assert_eq!((duel.wealth(), duel.rejected()), (before, 2));
    }

    #[test]
    fn two_runs_give_the_same_bits() {
        let bits = || duel(3, 2_000, [1.0, 0.3], 0.05).map(|p| (p.wealth.to_bits(), p.labels));
        assert!(bits().is_some());
        assert_eq!(bits(), bits());
    }

    #[test]
    fn bad_settings_are_refused_by_name() {
        let good = ChallengerConfig { alpha: 0.05, horizon_ns: 1, labels_min: 1 };
        for alpha in [0.0, 0.6, f64::NAN] {
            let error = Challenger::new(ChallengerConfig { alpha, ..good }).unwrap_err();
            assert!(error.to_string().starts_with("challenger.alpha is "), "{error}");
        }
        let error = Challenger::new(ChallengerConfig { horizon_ns: 0, ..good }).unwrap_err();
        assert_eq!(error, ChallengerError::Horizon { horizon_ns: 0 });
    }
}
