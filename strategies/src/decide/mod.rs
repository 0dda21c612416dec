//! Decision and risk: one forecast and the state of its instrument become BUY, SELL or HOLD.
//!
//! Guards are checked in the order of [`Reason`]: halt, book, age, warm-up, forecast, abstention,
//! thresholds, rate. Invariants: a guard that holds, or a number that is not a probability, never yields a
//! trade; every decision names its reason and is counted under it; the same inputs give the same
//! decision. Cost: O(1), no allocation after construction.

mod config;
mod limit;

use self::limit::RateLimit;
use crate::calibrate::{ConformalSet, is_probability};

pub use config::{DURATION_MS_MAX, DecideError, Limits, SIGNALS_PER_S_MAX, Thresholds};

const NS_PER_MS: i64 = 1_000_000;

/// What a signal says to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The price is expected to rise.
    Buy,
    /// The price is expected to fall.
    Sell,
    /// Do nothing.
    Hold,
}

impl Action {
    /// Name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Buy => "BUY",
            Self::Sell => "SELL",
            Self::Hold => "HOLD",
        }
    }
}

/// Why a decision is what it is; the first that holds, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The kill switch is on.
    Halted,
    /// The book is not synchronised with the venue.
    Unsynchronised,
    /// The best bid is at or over the best ask.
    CrossedBook,
    /// The newest input is older than the limit.
    StaleData,
    /// The model has not seen enough cycles.
    WarmingUp,
    /// No member of the ensemble is awake.
    NoForecast,
    /// The value or the recalibrated probability is not in [0, 1].
    InvalidForecast,
    /// The conformal set of directions holds both, or neither.
    Abstained,
    /// The value or the confidence is not over its threshold.
    BelowThreshold,
    /// The instrument has used up its signals of this second.
    RateLimited,
    /// Value and confidence are over their thresholds: a trade.
    ThresholdMet,
}

impl Reason {
    /// All reasons, in the order in which they are checked.
    pub const ALL: [Self; 11] = [
        Self::Halted,
        Self::Unsynchronised,
        Self::CrossedBook,
        Self::StaleData,
        Self::WarmingUp,
        Self::NoForecast,
        Self::InvalidForecast,
        Self::Abstained,
        Self::BelowThreshold,
        Self::RateLimited,
        Self::ThresholdMet,
    ];

    /// Stable name, for signals and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Halted => "halted",
            Self::Unsynchronised => "unsynchronised",
            Self::CrossedBook => "crossed_book",
            Self::StaleData => "stale_data",
            Self::WarmingUp => "warming_up",
            Self::NoForecast => "no_forecast",
            Self::InvalidForecast => "invalid_forecast",
            Self::Abstained => "abstained",
            Self::BelowThreshold => "below_threshold",
            Self::RateLimited => "rate_limited",
            Self::ThresholdMet => "threshold_met",
        }
    }
}

/// All that one decision depends on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Situation {
    /// The cycle, in nanoseconds since the epoch.
    pub ts_cycle_ns: i64,
    /// Age of the newest input at the cycle, in nanoseconds. Negative (a clock that disagrees) is
    /// fresh.
    pub age_ns: i64,
    /// The kill switch is on.
    pub halted: bool,
    /// The book is synchronised with the venue.
    pub synchronised: bool,
    /// The best bid is at or over the best ask.
    pub crossed: bool,
    /// The model has seen enough cycles.
    pub warm: bool,
    /// Members that took part in the forecast.
    pub members_awake: u32,
    /// Combined P(up).
    pub value: f64,
    /// Combined P(up) after recalibration.
    pub recalibrated: f64,
    /// Directions that conformal prediction leaves; `None` where it is not asked.
    pub conformal: Option<ConformalSet>,
}

/// What to do about one instrument in one cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// Recalibrated probability of the side that the value predicts. It is under 0.5 only when the
    /// recalibration contradicts the value; NaN when there is no usable forecast.
    pub confidence: f64,
    /// When this lapses, in nanoseconds since the epoch.
    pub expires_at_ns: i64,
}

/// Recalibrated probability of the side of 0.5 that `value` is on; NaN unless both are in [0, 1].
#[must_use]
pub fn confidence(value: f64, recalibrated: f64) -> f64 {
    if !is_probability(value) || !is_probability(recalibrated) {
        f64::NAN
    } else if value >= 0.5 {
        recalibrated
    } else {
        1.0 - recalibrated
    }
}

/// Decides for a fixed number of instruments.
#[derive(Clone, Debug)]
pub struct Decider {
    thresholds: Thresholds,
    limits: Limits,
    rate: RateLimit,
    counts: [u64; Reason::ALL.len()],
}

impl Decider {
    /// A decider with empty rate windows.
    ///
    /// # Errors
    /// When a threshold or a limit is refused.
    pub fn new(
        instruments: usize,
        thresholds: Thresholds,
        limits: Limits,
    ) -> Result<Self, DecideError> {
        thresholds.validate()?;
        limits.validate()?;
        Ok(Self {
            thresholds,
            limits,
            rate: RateLimit::new(instruments, limits.max_signals_per_s as usize),
            counts: [0; Reason::ALL.len()],
        })
    }

    /// Decides by other thresholds and limits from here on. What was admitted in the last second still counts.
    ///
    /// # Errors
    /// When a threshold or a limit is refused; then nothing has changed.
    pub fn change(&mut self, thresholds: Thresholds, limits: Limits) -> Result<(), DecideError> {
        thresholds.validate()?;
        limits.validate()?;
        self.rate.change(limits.max_signals_per_s as usize);
        (self.thresholds, self.limits) = (thresholds, limits);
        Ok(())
    }

    /// Decides for `instrument` (a dense index; an unknown one never trades), and counts the
    /// reason.
    pub fn decide(&mut self, instrument: usize, now: &Situation) -> Decision {
        let confidence = confidence(now.value, now.recalibrated);
        let (mut action, mut reason) = self.judge(now, confidence);
        if action != Action::Hold && !self.rate.admit(instrument, now.ts_cycle_ns) {
            (action, reason) = (Action::Hold, Reason::RateLimited);
        }
        self.counts[reason as usize] += 1;
        let expires_at_ns = self.limits.expires_at_ns(now.ts_cycle_ns);
        Decision { action, reason, confidence, expires_at_ns }
    }

    /// Everything but the rate limit.
    fn judge(&self, now: &Situation, confidence: f64) -> (Action, Reason) {
        if let Some(reason) = self.guard(now) {
            return (Action::Hold, reason);
        }
        if confidence.is_nan() {
            return (Action::Hold, Reason::InvalidForecast);
        }
        if now.conformal.is_some_and(|set| set.signal().is_none()) {
            return (Action::Hold, Reason::Abstained);
        }
        // Confidence speaks for the side the value is on, so with thresholds set across 0.5 a value
        // must also lean the way of the trade.
        let sure = confidence > self.thresholds.confidence;
        if sure && now.value > self.thresholds.buy_value && now.value >= 0.5 {
            (Action::Buy, Reason::ThresholdMet)
        } else if sure && now.value < self.thresholds.sell_value && now.value < 0.5 {
            (Action::Sell, Reason::ThresholdMet)
        } else {
            (Action::Hold, Reason::BelowThreshold)
        }
    }

    /// The first guard that holds.
    fn guard(&self, now: &Situation) -> Option<Reason> {
        let stale = now.age_ns > self.limits.stale_after_ms * NS_PER_MS;
        let guards = [
            (now.halted, Reason::Halted),
            (!now.synchronised, Reason::Unsynchronised),
            (now.crossed, Reason::CrossedBook),
            (stale, Reason::StaleData),
            (!now.warm, Reason::WarmingUp),
            (now.members_awake == 0, Reason::NoForecast),
        ];
        guards.into_iter().find_map(|(holds, reason)| holds.then_some(reason))
    }

    /// How often each reason was given, in the order of [`Reason::ALL`].
    pub fn counts(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.into_iter().zip(self.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BUY: Situation = Situation {
        ts_cycle_ns: 1_700_000_000_000_000_000,
        age_ns: 50_000_000,
        halted: false,
        synchronised: true,
        crossed: false,
        warm: true,
        members_awake: 3,
        value: 0.7,
        recalibrated: 0.8,
        conformal: None,
    };

    const UP: ConformalSet = ConformalSet { up: true, down: false };
    const BOTH: ConformalSet = ConformalSet { up: true, down: true };
    const NEITHER: ConformalSet = ConformalSet { up: false, down: false };

    fn decider() -> Decider {
        Decider::new(2, Thresholds::default(), Limits::default()).unwrap()
    }

    fn decide(now: Situation) -> (Action, Reason) {
        let decision = decider().decide(0, &now);
        (decision.action, decision.reason)
    }

    #[test]
    fn every_branch_has_its_action_and_its_reason() {
        use Action::{Buy, Hold, Sell};
        let nan = f64::NAN;
        let forecast = |value, recalibrated| Situation { value, recalibrated, ..BUY };
        let cases = [
            (BUY, Buy, "threshold_met"),
            (forecast(0.3, 0.2), Sell, "threshold_met"),
            (forecast(1.0, 1.0), Buy, "threshold_met"),
            (forecast(0.0, 0.0), Sell, "threshold_met"),
            (forecast(0.6, 0.9), Hold, "below_threshold"),
            (forecast(0.4, 0.1), Hold, "below_threshold"),
            (forecast(0.7, 0.7), Hold, "below_threshold"),
            (forecast(0.3, 0.3), Hold, "below_threshold"),
            (forecast(0.7, 0.1), Hold, "below_threshold"), // recalibration contradicts the value
            (forecast(0.3, 0.9), Hold, "below_threshold"),
            (forecast(0.5, 0.9), Hold, "below_threshold"),
            (forecast(nan, 0.9), Hold, "invalid_forecast"),
            (forecast(0.7, nan), Hold, "invalid_forecast"),
            (forecast(1.1, 0.9), Hold, "invalid_forecast"),
            (forecast(0.7, -0.1), Hold, "invalid_forecast"),
            (forecast(f64::INFINITY, 0.9), Hold, "invalid_forecast"),
            (Situation { conformal: Some(BOTH), ..BUY }, Hold, "abstained"),
            (Situation { conformal: Some(NEITHER), ..BUY }, Hold, "abstained"),
            (Situation { conformal: Some(UP), ..BUY }, Buy, "threshold_met"),
            (Situation { conformal: Some(UP), ..forecast(0.55, 0.9) }, Hold, "below_threshold"),
            (Situation { members_awake: 0, ..BUY }, Hold, "no_forecast"),
            (Situation { warm: false, ..BUY }, Hold, "warming_up"),
            (Situation { age_ns: 3_000_000_000, ..BUY }, Buy, "threshold_met"),
            (Situation { age_ns: 3_000_000_001, ..BUY }, Hold, "stale_data"),
            (Situation { age_ns: -5, ..BUY }, Buy, "threshold_met"),
            (Situation { crossed: true, ..BUY }, Hold, "crossed_book"),
            (Situation { synchronised: false, ..BUY }, Hold, "unsynchronised"),
            (Situation { halted: true, ..BUY }, Hold, "halted"),
        ];
        for (now, action, reason) in cases {
            let (got_action, got_reason) = decide(now);
            assert_eq!((got_action, got_reason.name()), (action, reason), "{now:?}");
        }
    }

    #[test]
    fn what_is_changed_holds_from_the_next_decision_and_what_is_refused_changes_nothing() {
        let mut decider = decider();
        let reason = |decider: &mut Decider| decider.decide(0, &BUY).reason;
        assert_eq!(reason(&mut decider), Reason::ThresholdMet);
        let (thresholds, limits) = (Thresholds::default(), Limits::default());
        let higher = Thresholds { buy_value: 0.75, ..thresholds };
        decider.change(higher, limits).unwrap();
        assert_eq!(reason(&mut decider), Reason::BelowThreshold);
        let wrong = Limits { max_signals_per_s: 0, ..limits };
        assert!(decider.change(thresholds, wrong).is_err());
        assert_eq!(reason(&mut decider), Reason::BelowThreshold);
        decider.change(thresholds, Limits { max_signals_per_s: 1, ..limits }).unwrap();
        assert_eq!(reason(&mut decider), Reason::RateLimited, "of this second one was admitted");
    }

    #[test]
    fn guards_are_named_in_their_order() {
        let mut now = Situation {
            age_ns: i64::MAX,
            halted: true,
            synchronised: false,
            crossed: true,
            warm: false,
            members_awake: 0,
            value: f64::NAN,
            conformal: Some(BOTH),
            ..BUY
        };
        assert_eq!(decide(now).1, Reason::Halted);
        now.halted = false;
        assert_eq!(decide(now).1, Reason::Unsynchronised);
        now.synchronised = true;
        assert_eq!(decide(now).1, Reason::CrossedBook);
        now.crossed = false;
        assert_eq!(decide(now).1, Reason::StaleData);
        now.age_ns = 0;
        assert_eq!(decide(now).1, Reason::WarmingUp);
        now.warm = true;
        assert_eq!(decide(now).1, Reason::NoForecast);
        now.members_awake = 1;
        assert_eq!(decide(now).1, Reason::InvalidForecast);
        now.value = 0.5;
        assert_eq!(decide(now).1, Reason::Abstained);
        now.conformal = Some(UP);
        assert_eq!(decide(now).1, Reason::BelowThreshold);
    }

    #[test]
    fn trades_over_the_rate_are_held_and_holds_do_not_use_the_rate() {
        let limits = Limits { max_signals_per_s: 2, ..Limits::default() };
        let mut decider = Decider::new(1, Thresholds::default(), limits).unwrap();
        let at = |i: i64| BUY.ts_cycle_ns + i * 100 * NS_PER_MS;
        let hold = Situation { value: 0.5, ..BUY };
        for i in 0..5 {
            decider.decide(0, &Situation { ts_cycle_ns: at(i), ..hold });
        }
        let reasons: Vec<_> = (5..16)
            .map(|i| decider.decide(0, &Situation { ts_cycle_ns: at(i), ..BUY }).reason)
            .collect();
        assert_eq!(reasons[..2], [Reason::ThresholdMet; 2]);
        assert_eq!(reasons[2..10], [Reason::RateLimited; 8]);
        assert_eq!(reasons[10], Reason::ThresholdMet);
        let counted: Vec<u64> = decider.counts().map(|(_, n)| n).collect();
        assert_eq!(counted, [0, 0, 0, 0, 0, 0, 0, 0, 5, 8, 3]);
        assert_eq!(decider.decide(9, &BUY).reason, Reason::RateLimited);
    }

    #[test]
    fn a_signal_expires_after_its_time_to_live() {
        let decision = decider().decide(0, &BUY);
        assert_eq!(decision.expires_at_ns, BUY.ts_cycle_ns + 5_000_000_000);
        let late = Situation { ts_cycle_ns: i64::MAX - 1, ..BUY };
        assert_eq!(decider().decide(0, &late).expires_at_ns, i64::MAX);
    }

    #[test]
    fn confidence_is_the_probability_of_the_predicted_side() {
        assert_eq!(confidence(0.7, 0.8), 0.8);
        assert!((confidence(0.3, 0.1) - 0.9).abs() < 1e-12);
        assert!(confidence(f64::NAN, 0.5).is_nan() && confidence(0.5, 2.0).is_nan());
    }

    #[test]
    fn reasons_are_counted_under_their_own_place() {
        for (i, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i);
        }
    }

    proptest! {
        #[test]
        fn no_trade_is_ever_made_against_a_guard_or_on_a_bad_number(
            flags in prop::array::uniform4(any::<bool>()),
            age_ns in prop_oneof![0..6_000_000_000i64, any::<i64>()],
            members_awake in 0..3u32,
            value in prop_oneof![0.0..1.0f64, any::<f64>()],
            recalibrated in prop_oneof![0.0..1.0f64, any::<f64>()],
            ts_cycle_ns in any::<i64>(),
            conformal in prop::option::of((any::<bool>(), any::<bool>())),
        ) {
            let [halted, synchronised, crossed, warm] = flags;
            let conformal = conformal.map(|(up, down)| ConformalSet { up, down });
            let now = Situation {
                ts_cycle_ns, age_ns, halted, synchronised, crossed, warm, members_awake, value,
                recalibrated, conformal,
            };
            let (action, reason) = decide(now);
            let guarded = halted || !synchronised || crossed || !warm || members_awake == 0
                || age_ns > 3_000_000_000 || conformal.is_some_and(|set| set.up == set.down);
            let usable = (0.0..=1.0).contains(&value) && (0.0..=1.0).contains(&recalibrated);
            let buy = value > 0.6 && recalibrated > 0.7;
            let sell = value < 0.4 && 1.0 - recalibrated > 0.7;
            let expected = match (!guarded && usable, buy, sell) {
                (true, true, _) => Action::Buy,
                (true, _, true) => Action::Sell,
                _ => Action::Hold,
            };
            prop_assert_eq!(action, expected);
            prop_assert_eq!(action != Action::Hold, reason == Reason::ThresholdMet);
        }
    }
}
