//! Thresholds and limits of the decision, and what is refused of them.
//!
//! Invariant: what passes `validate` needs no further check anywhere: every number is finite and in
//! its stated range, and SELL never starts over BUY.

use thiserror::Error;

use super::NS_PER_MS;

/// Most signals a second that may be configured.
pub const SIGNALS_PER_S_MAX: u32 = 1_000;
/// Longest time to live or age limit that may be configured: one hour.
pub const DURATION_MS_MAX: i64 = 3_600_000;

/// What a forecast must exceed to become a trade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// BUY needs a value over this; in [0, 1].
    pub buy_value: f64,
    /// SELL needs a value under this; in [0, `buy_value`].
    pub sell_value: f64,
    /// Either needs a confidence over this; in [0.5, 1].
    pub confidence: f64,
}

impl Default for Thresholds {
    /// 0.6, 0.4 and 0.7.
    fn default() -> Self {
        Self { buy_value: 0.6, sell_value: 0.4, confidence: 0.7 }
    }
}

/// Limits on what may be emitted, and for how long it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Oldest newest-input that may still be traded on, in milliseconds.
    pub stale_after_ms: i64,
    /// How long a signal holds, in milliseconds of cycle time.
    pub ttl_ms: i64,
    /// Most BUY and SELL signals of one instrument in any second.
    pub max_signals_per_s: u32,
}

impl Default for Limits {
    /// Three seconds, five seconds, ten signals a second.
    fn default() -> Self {
        Self { stale_after_ms: 3_000, ttl_ms: 5_000, max_signals_per_s: 10 }
    }
}

/// A refused setting.
#[derive(Clone, Debug, Error, PartialEq)]
#[error("{key} is {value}, expected {expected}")]
pub struct DecideError {
    /// Full name of the setting.
    pub key: &'static str,
    /// What it was set to.
    pub value: f64,
    /// What is allowed.
    pub expected: String,
}

fn check<V: PartialOrd + std::fmt::Display + Copy>(
    key: &'static str,
    value: V,
    (min, max): (V, V),
    as_f64: f64,
) -> Result<(), DecideError> {
    if value >= min && value <= max {
        return Ok(());
    }
    Err(DecideError { key, value: as_f64, expected: format!("{min} to {max}") })
}

impl Thresholds {
    /// Refuses a threshold that is out of range or not a number.
    ///
    /// # Errors
    /// Names the first such threshold.
    pub fn validate(&self) -> Result<(), DecideError> {
        let Self { buy_value: buy, sell_value: sell, confidence } = *self;
        check("thresholds.buy_value", buy, (0.0, 1.0), buy)?;
        check("thresholds.sell_value", sell, (0.0, 1.0), sell)?;
        if sell > buy {
            let expected = format!("at most thresholds.buy_value, which is {buy}");
            return Err(DecideError { key: "thresholds.sell_value", value: sell, expected });
        }
        check("thresholds.confidence", confidence, (0.5, 1.0), confidence)
    }
}

impl Limits {
    /// Refuses a limit that is out of range.
    ///
    /// # Errors
    /// Names the first such limit.
    pub fn validate(&self) -> Result<(), DecideError> {
        let Self { stale_after_ms: age, ttl_ms: ttl, max_signals_per_s: signals } = *self;
        check("pipeline.stale_after_ms", age, (1, DURATION_MS_MAX), age as f64)?;
        check("ttl_ms", ttl, (1, DURATION_MS_MAX), ttl as f64)?;
        let range = (1, SIGNALS_PER_S_MAX);
        check("max_signals_per_s", signals, range, f64::from(signals))
    }

    /// When a signal of the cycle at `ts_cycle_ns` lapses, in nanoseconds since the epoch.
    #[must_use]
    pub fn expires_at_ns(&self, ts_cycle_ns: i64) -> i64 {
        ts_cycle_ns.saturating_add(self.ttl_ms.saturating_mul(NS_PER_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_refused_with_key_value_and_expectation() {
        let (t, l) = (Thresholds::default(), Limits::default());
        let refused =
            |t: Thresholds, l: Limits| t.validate().and(l.validate()).unwrap_err().to_string();
        for (message, expected) in [
            (
                refused(Thresholds { buy_value: 1.5, ..t }, l),
                "thresholds.buy_value is 1.5, expected 0 to 1",
            ),
            (
                refused(Thresholds { sell_value: f64::NAN, ..t }, l),
                "thresholds.sell_value is NaN, expected 0 to 1",
            ),
            (
                refused(Thresholds { sell_value: 0.7, ..t }, l),
                "thresholds.sell_value is 0.7, expected at most thresholds.buy_value, which is 0.6",
            ),
            (
                refused(Thresholds { confidence: 0.4, ..t }, l),
                "thresholds.confidence is 0.4, expected 0.5 to 1",
            ),
            (
                refused(t, Limits { stale_after_ms: 0, ..l }),
                "pipeline.stale_after_ms is 0, expected 1 to 3600000",
            ),
            (refused(t, Limits { ttl_ms: -1, ..l }), "ttl_ms is -1, expected 1 to 3600000"),
            (
                refused(t, Limits { max_signals_per_s: 0, ..l }),
                "max_signals_per_s is 0, expected 1 to 1000",
            ),
        ] {
            assert_eq!(message, expected);
        }
    }

    #[test]
    fn the_defaults_and_the_ends_of_the_ranges_are_accepted() {
        let ends = Thresholds { buy_value: 1.0, sell_value: 1.0, confidence: 0.5 };
        let most = Limits {
            stale_after_ms: DURATION_MS_MAX,
            ttl_ms: DURATION_MS_MAX,
            max_signals_per_s: SIGNALS_PER_S_MAX,
        };
        assert_eq!(Thresholds::default().validate().and(ends.validate()), Ok(()));
        assert_eq!(Limits::default().validate().and(most.validate()), Ok(()));
    }
}
