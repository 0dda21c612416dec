//! When a forecast may be judged and what became of it: one rule for learning live and for training sets.
//!
//! A forecast made at a cycle is judged at the first cycle at least one horizon later at which the book
//! has a trustworthy mid price, unless the book was lost in between or the horizon has passed twice.

use purkinje_strategies::score::Outcome;

use crate::pipeline::batch::Status;

/// Forecasts kept beyond those a horizon needs, so that a few late cycles lose none.
const PENDING_SLACK: usize = 16;

/// Cycles of a horizon, at least one.
#[must_use]
pub fn horizon_cycles(horizon_ns: i64, period_ns: i64) -> usize {
    (horizon_ns / period_ns).max(1) as usize
}

/// Forecasts of an instrument that may wait at once.
#[must_use]
pub fn pending_slots(horizon_ns: i64, period_ns: i64) -> usize {
    horizon_cycles(horizon_ns, period_ns) + PENDING_SLACK
}

/// What the state of an instrument's book means to the forecasts that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The book was lost: what its price will be compared with is not known to be its past.
    Discard,
    /// A crossed book has no mid price, and that of a mute one may be of the past: what matures now
    /// waits for the next good one, or is discarded.
    Wait,
    /// What is due is judged.
    Judge,
}

impl Waiting {
    /// For a book in this state.
    #[must_use]
    pub fn on(status: Status) -> Self {
        match status {
            Status::Unsynchronised => Self::Discard,
            Status::Crossed | Status::Stale => Self::Wait,
            Status::Ready | Status::WarmingUp => Self::Judge,
        }
    }
}

/// Where a forecast stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// Its horizon has not passed.
    Open,
    /// Its horizon has passed.
    Due,
    /// It is from the future, or so late that the price is that of another horizon.
    Lost,
}

impl Age {
    /// Of a forecast made at `made_ns`, seen at `now_ns`.
    #[must_use]
    pub fn of(made_ns: i64, now_ns: i64, horizon_ns: i64) -> Self {
        let age_ns = now_ns.saturating_sub(made_ns);
        if (0..horizon_ns).contains(&age_ns) {
            Self::Open
        } else if age_ns < 0 || age_ns > 2 * horizon_ns {
            Self::Lost
        } else {
            Self::Due
        }
    }
}

/// What the mid price did between two moments, each given as best bid plus best offer.
#[must_use]
pub fn outcome(made_mid_x2: i64, now_mid_x2: i64) -> Outcome {
    match now_mid_x2.cmp(&made_mid_x2) {
        std::cmp::Ordering::Greater => Outcome::Up,
        std::cmp::Ordering::Less => Outcome::Down,
        std::cmp::Ordering::Equal => Outcome::Unchanged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_is_due_from_one_horizon_to_two_and_lost_before_and_after() {
        let age = |now_ns| Age::of(1_000, now_ns, 100);
        assert_eq!([999, 1_000, 1_099].map(age), [Age::Lost, Age::Open, Age::Open]);
        assert_eq!([1_100, 1_200, 1_201].map(age), [Age::Due, Age::Due, Age::Lost]);
        assert_eq!(age(i64::MAX), Age::Lost);
    }

    #[test]
    fn a_horizon_shorter_than_a_cycle_is_one_cycle() {
        assert_eq!(horizon_cycles(1, 100), 1);
        assert_eq!(horizon_cycles(1_000, 100), 10);
        assert_eq!(pending_slots(1_000, 100), 10 + PENDING_SLACK);
    }
}
