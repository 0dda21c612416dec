//! When the service manager's watchdog is fed: half its time after the last meal, if cycles were decided since.
//!
//! Invariant: time alone never feeds it. The number it is shown counts cycles that the model has decided and whose
//! signals the sink has taken, so a daemon in which engine, model or sink is stuck starves it, whatever else runs.

use std::time::{Duration, Instant};

/// See the module.
#[derive(Clone, Debug)]
pub struct Watchdog {
    every: Duration,
    fed: Option<(Instant, u64)>,
}

impl Watchdog {
    /// For a manager that waits so long for a sign of life before it acts.
    #[must_use]
    pub fn new(timeout: Duration) -> Self {
        Self { every: timeout / 2, fed: None }
    }

    /// The manager's time, if two cycles of this length do not fit into it: the watchdog would bite a daemon that is
    /// well.
    #[must_use]
    pub fn too_short_for(&self, cycle: Duration) -> Option<Duration> {
        let timeout = 2 * self.every;
        (timeout < 2 * cycle).then_some(timeout)
    }

    /// Whether it is to be fed now, after so many decided cycles; if so, that counts as done.
    pub fn is_due(&mut self, now: Instant, decided: u64) -> bool {
        let is_due = match self.fed {
            None => decided > 0,
            Some((at, seen)) => decided > seen && now.saturating_duration_since(at) >= self.every,
        };
        if is_due {
            self.fed = Some((now, decided));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn cycles_feed_it_every_half_of_its_time_and_no_more_often() {
        let (mut watchdog, start) = (Watchdog::new(TIMEOUT), Instant::now());
        let fed: Vec<u64> = (0..200)
            .filter(|tick| watchdog.is_due(start + Duration::from_millis(100 * tick), *tick))
            .collect();
        assert_eq!(fed, [1, 51, 101, 151]);
    }

    #[test]
    fn time_without_cycles_never_feeds_it_and_one_cycle_feeds_it_once() {
        let (mut watchdog, start) = (Watchdog::new(TIMEOUT), Instant::now());
        let mut is_due =
            |after_s, decided| watchdog.is_due(start + Duration::from_secs(after_s), decided);
        assert!((0..1_000).all(|s| !is_due(s, 0)), "not even the first time");
        assert!(is_due(1_000, 7));
        assert!((1_000..2_000).all(|s| !is_due(s, 7)));
        assert!(is_due(2_000, 8) && !is_due(3_000, 8));
    }

    #[test]
    fn a_time_shorter_than_two_cycles_is_told() {
        let watchdog = Watchdog::new(TIMEOUT);
        assert_eq!(watchdog.too_short_for(Duration::from_secs(5)), None);
        assert_eq!(watchdog.too_short_for(Duration::from_secs(6)), Some(TIMEOUT));
    }
}
