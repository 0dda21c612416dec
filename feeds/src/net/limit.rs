//! A limit that several connections share, because the venue counts them together: connection
//! attempts from one address, client messages of one address.
//!
//! Invariants: in any window no more is taken than the limit, by all clones together; while the venue
//! has told one of them to stay away, none takes anything.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::budget::{Budget, BudgetError};

/// See the module. Clones share one count.
#[derive(Clone, Debug)]
pub struct SharedLimit(Arc<Mutex<Limit>>);

#[derive(Debug)]
struct Limit {
    budget: Budget,
    paused_until: Option<Instant>,
}

impl SharedLimit {
    /// At most `most` (at least 1) in any `window`.
    #[must_use]
    pub fn new(most: u32, window: Duration) -> Self {
        let budget = Budget::new(most.max(1), window);
        Self(Arc::new(Mutex::new(Limit { budget, paused_until: None })))
    }

    /// Takes one, or tells how long to wait before asking again.
    ///
    /// # Errors
    /// The wait.
    pub fn try_take(&self, now: Instant) -> Result<(), Duration> {
        let mut limit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = limit.paused_until.filter(|until| *until > now) {
            return Err(until - now);
        }
        limit.paused_until = None;
        match limit.budget.try_spend(now, 1) {
            Ok(()) => Ok(()),
            Err(BudgetError::Wait(wait)) => Err(wait),
            Err(BudgetError::NeverFits { window, .. }) => Err(window),
        }
    }

    /// Holds everybody back for so long from `now`, or longer if they already are.
    pub fn pause(&self, now: Instant, pause: Duration) {
        let mut limit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let until = now + pause;
        limit.paused_until = Some(limit.paused_until.map_or(until, |already| already.max(until)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_limit_is_shared_by_its_clones() {
        let (start, window) = (Instant::now(), Duration::from_mins(5));
        let limit = SharedLimit::new(2, window);
        let clone = limit.clone();
        assert_eq!(limit.try_take(start), Ok(()));
        assert_eq!(clone.try_take(start + SECOND), Ok(()));
        assert_eq!(limit.try_take(start + SECOND), Err(Duration::from_secs(299)));
        assert_eq!(clone.try_take(start + window), Ok(()));
    }

    #[test]
    fn a_pause_holds_all_clones_back_and_a_shorter_one_does_not_end_it() {
        let start = Instant::now();
        let limit = SharedLimit::new(10, SECOND);
        limit.clone().pause(start, 7 * SECOND);
        limit.pause(start + SECOND, SECOND);
        assert_eq!(limit.try_take(start + 2 * SECOND), Err(5 * SECOND));
        assert_eq!(limit.try_take(start + 7 * SECOND), Ok(()));
        assert_eq!(limit.try_take(start + 7 * SECOND), Ok(()), "a pause costs nothing itself");
    }
}
