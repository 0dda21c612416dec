//! Waiting for something that may never come, within a limit.
//!
//! What ends soon is met at once: it is asked for without a pause at first. What takes longer leaves the core to
//! others, by yielding and then by sleeping. Invariant: the last question is asked at the limit or after, so that
//! what came while this slept is not given up.

use std::{
    hint, thread,
    time::{Duration, Instant},
};

/// Until then it is asked for without a pause; the shortest cycles end by then.
const SPIN: Duration = Duration::from_micros(100);
/// Until then with the core left to who wants it.
const YIELD: Duration = Duration::from_millis(1);
/// From then on at these intervals, a small share of what was waited by then.
const SLEEP: Duration = Duration::from_micros(50);

/// Asks until it is answered yes: `None`, or how long this waited when the limit had passed.
///
/// # Errors
/// The first that is answered.
pub(crate) fn wait<E>(
    limit: Duration,
    mut is_done: impl FnMut() -> Result<bool, E>,
) -> Result<Option<Duration>, E> {
    let begin = Instant::now();
    loop {
        let waited = begin.elapsed();
        if is_done()? {
            return Ok(None);
        }
        if waited >= limit {
            return Ok(Some(waited));
        }
        if waited < SPIN {
            hint::spin_loop();
        } else if waited < YIELD {
            thread::yield_now();
        } else {
            thread::sleep(SLEEP.min(limit.saturating_sub(waited)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_is_met_and_what_fails_is_told_whatever_the_limit() {
        let mut questions = 0;
        let third = || -> Result<bool, ()> {
            questions += 1;
            Ok(questions == 3)
        };
        assert_eq!(wait(Duration::from_hours(1), third), Ok(None));
        assert_eq!(questions, 3);
        assert_eq!(wait(Duration::ZERO, || Ok::<_, ()>(true)), Ok(None));
        assert_eq!(wait(Duration::ZERO, || Err("no")), Err("no"));
    }

    #[test]
    fn what_never_comes_is_given_up_at_the_limit_and_not_before() {
        for limit in [Duration::ZERO, Duration::from_micros(10), Duration::from_millis(5)] {
            let waited = wait(limit, || Ok::<_, ()>(false)).unwrap().unwrap();
            assert!(waited >= limit, "{waited:?} of {limit:?}");
        }
    }
}
