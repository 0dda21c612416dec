//! A spending limit over a sliding window: the venue's request weight per minute, connection attempts
//! per five minutes, client messages per second.
//!
//! Invariants: in **any** window of the stated length, however the venue aligns its own, no more than
//! the limit is spent (a token bucket would let twice as much through across a refill); nothing is
//! spent before the caller is told that it may; no clock is read (time is the caller's); memory is
//! bounded by the limit, since every entry weighs at least 1.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use thiserror::Error;

/// Why a weight was not spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BudgetError {
    /// It fits after a wait.
    #[error("the budget has room for this in {0:?}")]
    Wait(Duration),
    /// It never fits.
    #[error("a weight of {weight} can never fit a budget of {limit} per {window:?}")]
    NeverFits {
        /// What was asked for.
        weight: u32,
        /// What a whole window may hold.
        limit: u32,
        /// The window's length.
        window: Duration,
    },
}

/// See the module's invariants.
#[derive(Clone, Debug)]
pub struct Budget {
    limit: u32,
    window: Duration,
    spent_in_window: u32,
    entries: VecDeque<(Instant, u32)>,
}

impl Budget {
    /// At most `limit` in any `window`.
    #[must_use]
    pub fn new(limit: u32, window: Duration) -> Self {
        Self { limit, window, spent_in_window: 0, entries: VecDeque::new() }
    }

    /// Keeps a reserve of the venue's published `limit` unspent: `usable_percent` of it may be used.
    /// The rest absorbs what the venue counts and we do not (other processes on the address, requests
    /// that arrive closer together than they left).
    #[must_use]
    pub fn with_reserve(limit: u32, usable_percent: u32, window: Duration) -> Self {
        let usable = u64::from(limit) * u64::from(usable_percent.min(100)) / 100;
        Self::new(usable as u32, window)
    }

    /// Spends `weight` (at least 1) at `now`.
    ///
    /// # Errors
    /// [`BudgetError::Wait`] tells after how long to ask again, [`BudgetError::NeverFits`] that
    /// waiting is of no use. Nothing is spent in either case.
    pub fn try_spend(&mut self, now: Instant, weight: u32) -> Result<(), BudgetError> {
        let weight = weight.max(1);
        if weight > self.limit {
            let Self { limit, window, .. } = *self;
            return Err(BudgetError::NeverFits { weight, limit, window });
        }
        self.expire(now);
        let mut excess = self.spent_in_window.saturating_add(weight).saturating_sub(self.limit);
        if excess == 0 {
            self.enter(now, weight);
            return Ok(());
        }
        let mut wait = self.window;
        for &(spent_at, spent) in &self.entries {
            wait = self.window.saturating_sub(now.saturating_duration_since(spent_at));
            excess = excess.saturating_sub(spent);
            if excess == 0 {
                break;
            }
        }
        Err(BudgetError::Wait(wait))
    }

    /// Takes the venue's own count of what was used: what it saw beyond our count is spent as well,
    /// up to the limit. A lower count is ignored, because the venue's window may have just restarted.
    pub fn observe_used(&mut self, now: Instant, used: u32) {
        self.expire(now);
        let unseen = used.min(self.limit).saturating_sub(self.spent_in_window);
        if unseen > 0 {
            self.enter(now, unseen);
        }
    }

    /// What is spent in the window that ends at `now`.
    pub fn spent(&mut self, now: Instant) -> u32 {
        self.expire(now);
        self.spent_in_window
    }

    fn enter(&mut self, now: Instant, weight: u32) {
        self.entries.push_back((now, weight));
        self.spent_in_window += weight;
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(spent_at, spent)) = self.entries.front() {
            if now.saturating_duration_since(spent_at) < self.window {
                break;
            }
            self.entries.pop_front();
            self.spent_in_window -= spent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn spends_up_to_the_limit_then_tells_how_long_to_wait() {
        let start = Instant::now();
        let mut budget = Budget::new(100, MINUTE);
        assert_eq!(budget.try_spend(start, 60), Ok(()));
        let later = start + Duration::from_secs(10);
        assert_eq!(budget.try_spend(later, 40), Ok(()));
        assert_eq!(budget.spent(later), 100);

        let now = start + Duration::from_secs(20);
        // 50 fit when the first 60 expire, 70 only when both entries have.
        assert_eq!(budget.try_spend(now, 50), Err(BudgetError::Wait(Duration::from_secs(40))));
        assert_eq!(budget.try_spend(now, 70), Err(BudgetError::Wait(Duration::from_secs(50))));
        assert_eq!(budget.try_spend(start + MINUTE, 50), Ok(()));
    }

    #[test]
    fn a_wait_that_is_honoured_is_enough() {
        let start = Instant::now();
        let mut budget = Budget::new(3, Duration::from_secs(1));
        for ms in [0, 100, 200] {
            assert_eq!(budget.try_spend(start + Duration::from_millis(ms), 1), Ok(()));
        }
        let now = start + Duration::from_millis(300);
        let Err(BudgetError::Wait(wait)) = budget.try_spend(now, 2) else { panic!("it is full") };
        assert_eq!(wait, Duration::from_millis(800));
        assert!(budget.try_spend(now + Duration::from_nanos(799_999_999), 2).is_err());
        assert_eq!(budget.try_spend(now + wait, 2), Ok(()));
    }

    #[test]
    fn a_weight_over_the_limit_is_refused_for_good() {
        let mut budget = Budget::with_reserve(2_400, 90, MINUTE);
        let refused = budget.try_spend(Instant::now(), 2_161);
        assert_eq!(
            refused,
            Err(BudgetError::NeverFits { weight: 2_161, limit: 2_160, window: MINUTE })
        );
        assert_eq!(
            refused.unwrap_err().to_string(),
            "a weight of 2161 can never fit a budget of 2160 per 60s"
        );
        assert_eq!(budget.try_spend(Instant::now(), 2_160), Ok(()));
    }

    #[test]
    fn what_the_venue_counted_beyond_us_is_spent_too() {
        let now = Instant::now();
        let mut budget = Budget::new(100, MINUTE);
        assert_eq!(budget.try_spend(now, 20), Ok(()));
        budget.observe_used(now, 90);
        assert_eq!(budget.spent(now), 90);
        budget.observe_used(now, 15);
        assert_eq!(budget.spent(now), 90, "a lower count gives nothing back");
        budget.observe_used(now, u32::MAX);
        assert_eq!(budget.spent(now), 100);
        assert_eq!(budget.spent(now + MINUTE), 0);
    }

    #[test]
    fn a_free_request_still_weighs_one() {
        let now = Instant::now();
        let mut budget = Budget::new(2, MINUTE);
        assert_eq!(budget.try_spend(now, 0), Ok(()));
        assert_eq!(budget.try_spend(now, 0), Ok(()));
        assert!(budget.try_spend(now, 0).is_err());
    }

    proptest! {
        /// Whatever is asked and whenever, no window of the stated length holds more than the limit.
        #[test]
        fn no_window_ever_holds_more_than_the_limit(
            asks in proptest::collection::vec((0u64..3_000, 1u32..40), 1..200),
        ) {
            let start = Instant::now();
            let window = Duration::from_secs(10);
            let mut budget = Budget::new(100, window);
            let mut granted: Vec<(u64, u32)> = Vec::new();
            let mut now_ms = 0;
            for (gap_ms, weight) in asks {
                now_ms += gap_ms;
                if budget.try_spend(start + Duration::from_millis(now_ms), weight).is_ok() {
                    granted.push((now_ms, weight));
                }
                let in_window: u32 = granted
                    .iter()
                    .filter(|(at_ms, _)| at_ms + 10_000 > now_ms)
                    .map(|(_, weight)| weight)
                    .sum();
                prop_assert!(in_window <= 100, "{} at {} ms", in_window, now_ms);
                prop_assert_eq!(in_window, budget.spent(start + Duration::from_millis(now_ms)));
            }
        }
    }
}
