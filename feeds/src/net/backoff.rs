//! How long to wait before trying again, and what counts as having succeeded.
//!
//! [`Backoff`] grows the wait exponentially with the number of failures in a row and adds jitter, so
//! that many hosts cut off together do not return together. [`FlowWatch`] says when a connection has
//! earned a fresh start: not when it connects nor when a subscription is acknowledged, but when data
//! has flowed for a stated time. Invariants: no clock (time is the caller's) and no hidden randomness
//! (the jitter is a pure function of the seed and the number of calls).

use std::time::{Duration, Instant, SystemTime};

/// Bounds of the wait and the seed of its jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffConfig {
    /// Longest wait after the first failure.
    pub base: Duration,
    /// Longest wait after any number of failures.
    pub cap: Duration,
    /// Seed of the jitter; give every host and connection its own.
    pub seed: u64,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { base: Duration::from_millis(100), cap: Duration::from_secs(30), seed: 0 }
    }
}

/// Exponential backoff with "equal jitter": after failure `n` (from 1) the wait is uniform over the
/// upper half of `min(cap, base · 2^(n-1))`. Waits never shrink from one failure to the next until the
/// cap is reached, and half of every wait is random (M. Brooker, "Exponential Backoff And Jitter",
/// AWS Architecture Blog, 2015).
#[derive(Clone, Debug)]
pub struct Backoff {
    config: BackoffConfig,
    jitter_state: u64,
}

impl Backoff {
    /// A schedule whose jitter starts from the configured seed.
    #[must_use]
    pub fn new(config: BackoffConfig) -> Self {
        Self { config, jitter_state: config.seed }
    }

    /// The wait after the `failures`-th failure in a row; 0 is read as 1. Whole milliseconds, rounded
    /// down, so that a sum of waits can be counted exactly.
    pub fn delay(&mut self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(63);
        let ceiling_ms = u64::try_from(self.config.base.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_mul(1 << doublings)
            .min(u64::try_from(self.config.cap.as_millis()).unwrap_or(u64::MAX));
        let floor_ms = ceiling_ms / 2;
        let spread_ms = ceiling_ms - floor_ms;
        // Multiply-shift maps the 64 random bits to 0..=spread without a division bias worth naming.
        let jitter_ms = (u128::from(self.next_random()) * (u128::from(spread_ms) + 1)) >> 64;
        Duration::from_millis(floor_ms + jitter_ms as u64)
    }

    fn next_random(&mut self) -> u64 {
        split_mix(&mut self.jitter_state)
    }
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): one addition and a mix, every seed is good.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The planned life of the `nth` connection under a seed: the last sixteenth of `longest` is left to
/// chance, so that connections made together are not replaced together.
pub(crate) fn jittered_lifetime(longest: Duration, seed: u64, nth: u64) -> Duration {
    let mut state = seed ^ nth.rotate_left(32);
    let random = split_mix(&mut state);
    let most_ms = longest.as_millis() / 16;
    let cut_ms = (u128::from(random) * (most_ms + 1)) >> 64;
    longest.saturating_sub(Duration::from_millis(u64::try_from(cut_ms).unwrap_or(u64::MAX)))
}

/// Longest `Retry-After` that is honoured as sent: Binance's longest ban, three days.
const RETRY_AFTER_CAP: Duration = Duration::from_hours(72);

/// Reads a `Retry-After` header, a number of seconds or a date (RFC 9110, 10.2.3), as the wait from
/// `now`, at most three days; a date that has passed is no wait. `None` where it is absent or neither.
#[must_use]
pub(crate) fn retry_after(header: Option<&str>, now: SystemTime) -> Option<Duration> {
    let text = header?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_CAP))
}

/// Proof that a connection works: data has flowed, uninterrupted, for `hold`.
#[derive(Clone, Debug)]
pub struct FlowWatch {
    hold: Duration,
    flowing_since: Option<Instant>,
    proven: bool,
}

impl FlowWatch {
    /// A watch for one connection.
    #[must_use]
    pub fn new(hold: Duration) -> Self {
        Self { hold, flowing_since: None, proven: false }
    }

    /// Notes whether data flows at `now` and tells whether the connection is proven. Once proven it
    /// stays so; an interruption before that starts the hold again.
    pub fn observe(&mut self, now: Instant, is_flowing: bool) -> bool {
        if !is_flowing {
            self.flowing_since = None;
            return self.proven;
        }
        let since = *self.flowing_since.get_or_insert(now);
        self.proven |= now.saturating_duration_since(since) >= self.hold;
        self.proven
    }

    /// Whether the connection is proven.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.proven
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(seed: u64) -> BackoffConfig {
        BackoffConfig { seed, ..BackoffConfig::default() }
    }

    #[test]
    fn every_wait_lies_in_the_upper_half_of_a_doubling_and_capped_ceiling() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(config(seed));
            for failures in 1..=20u32 {
                let ceiling_ms = (100u64 << (failures - 1).min(20)).min(30_000);
                let wait_ms = backoff.delay(failures).as_millis() as u64;
                assert!(
                    (ceiling_ms / 2..=ceiling_ms).contains(&wait_ms),
                    "seed {seed}, failure {failures}: {wait_ms} ms of {ceiling_ms} ms"
                );
            }
        }
    }

    #[test]
    fn waits_never_shrink_before_the_cap() {
        let mut backoff = Backoff::new(config(7));
        let waits: Vec<Duration> = (1..=8).map(|failures| backoff.delay(failures)).collect();
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_waits_and_another_seed_gives_others() {
        let waits = |seed| {
            let mut backoff = Backoff::new(config(seed));
            (1..=12).map(|failures| backoff.delay(failures)).collect::<Vec<_>>()
        };
        assert_eq!(waits(3), waits(3));
        assert_ne!(waits(3), waits(4));
    }

    #[test]
    fn jitter_spreads_over_the_whole_upper_half() {
        let mut backoff = Backoff::new(config(1));
        let waits: Vec<u128> = (0..2_000).map(|_| backoff.delay(1).as_millis()).collect();
        assert_eq!(waits.iter().min(), Some(&50));
        assert_eq!(waits.iter().max(), Some(&100));
    }

    #[test]
    fn absurd_settings_and_counts_saturate() {
        let huge =
            BackoffConfig { base: Duration::from_secs(10), cap: Duration::from_mins(1), seed: 0 };
        assert!(Backoff::new(huge).delay(u32::MAX) <= Duration::from_mins(1));
        let zero = BackoffConfig { base: Duration::ZERO, cap: Duration::ZERO, seed: 0 };
        assert_eq!(Backoff::new(zero).delay(5), Duration::ZERO);
        assert!(Backoff::new(config(0)).delay(0) <= Duration::from_millis(100));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_anything_else_is_none() {
        // Sun, 06 Nov 1994 08:49:37 GMT.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (header, seconds) in [
            (Some("0"), Some(0)),
            (Some(" 17 "), Some(17)),
            (Some("18446744073709551615"), Some(259_200)),
            (Some("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60)),
            (Some("Sunday, 06-Nov-94 08:50:37 GMT"), Some(60)),
            (Some("Sun Nov  6 08:50:37 1994"), Some(60)),
            (Some("Sun, 06 Nov 1994 08:49:37 GMT"), Some(0)),
            (Some("Sat, 05 Nov 1994 08:49:37 GMT"), Some(0)),
            (Some("Wed, 21 Oct 2026 07:28:00 GMT"), Some(259_200)),
            (Some("-1"), None),
            (Some("1.5"), None),
            (Some("tomorrow"), None),
            (None, None),
        ] {
            assert_eq!(retry_after(header, now), seconds.map(Duration::from_secs), "{header:?}");
        }
    }

    #[test]
    fn lifetimes_differ_by_seed_and_number_within_the_last_sixteenth() {
        let day = Duration::from_hours(24);
        let lives: Vec<Duration> = (0..100)
            .flat_map(|seed| (0..10).map(move |nth| jittered_lifetime(day, seed, nth)))
            .collect();
        assert!(lives.iter().all(|life| (day * 15 / 16..=day).contains(life)));
        let mut distinct = lives.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > 990, "{} of 1000 differ", distinct.len());
        assert_eq!(jittered_lifetime(day, 3, 4), lives[34], "by seed and number alone");
        assert_eq!(jittered_lifetime(Duration::ZERO, 1, 1), Duration::ZERO);
    }

    #[test]
    fn flow_is_proven_only_after_it_has_held() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut watch = FlowWatch::new(Duration::from_secs(1));
        assert!(!watch.observe(at(0), false), "a connect is no success");
        assert!(!watch.observe(at(100), true));
        assert!(!watch.observe(at(900), true));
        assert!(!watch.observe(at(950), false), "an interruption starts the hold again");
        assert!(!watch.observe(at(1_200), true));
        assert!(!watch.observe(at(2_199), true));
        assert!(watch.observe(at(2_200), true));
        assert!(watch.observe(at(2_300), false), "a proof is kept");
        assert!(watch.is_proven());
    }
}
