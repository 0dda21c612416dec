//! How late data is: receive time minus venue time, beyond its smallest value of late.
//!
//! The difference of two clocks says nothing by itself: recorders' clocks have run more than a second
//! behind the venue's. Its growth does: data that arrives while that difference grows is waiting in a
//! queue before our socket, where no receive stamp can see it. Invariants: a constant offset of the
//! clocks, of either sign, makes nothing late; the floor forgets within two [`FLOOR_WINDOW_NS`], so that
//! a clock that was stepped forwards is right again by itself and drift (50 ppm are 60 ms in that time) stays
//! small; a receive clock that steps back starts the floor anew. What it cannot see: a delay that was
//! there from the start, or one that stays the same for longer than two windows.

use crate::topic::Channel;

/// How long one half of the floor's memory is.
pub const FLOOR_WINDOW_NS: i64 = 600_000_000_000;

/// How far beyond its floor the age of data may go, by channel, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VenueAge {
    /// Depth.
    pub depth_ns: i64,
    /// Best bid and offer.
    pub book_ticker_ns: i64,
    /// Trades.
    pub trade_ns: i64,
    /// The simulator's oracle.
    pub oracle_ns: i64,
}

impl Default for VenueAge {
    /// Two seconds for what describes the present, five for trades, which venues batch under load.
    fn default() -> Self {
        const SECOND_NS: i64 = 1_000_000_000;
        Self {
            depth_ns: 2 * SECOND_NS,
            book_ticker_ns: 2 * SECOND_NS,
            trade_ns: 5 * SECOND_NS,
            oracle_ns: 2 * SECOND_NS,
        }
    }
}

impl VenueAge {
    /// The limit of a channel.
    #[must_use]
    pub fn of(&self, channel: Channel) -> i64 {
        match channel {
            Channel::Depth => self.depth_ns,
            Channel::BookTicker => self.book_ticker_ns,
            Channel::Trade => self.trade_ns,
            Channel::Oracle => self.oracle_ns,
        }
    }
}

/// The smallest age of the present window and of the one before it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AgeFloor {
    window: Option<Window>,
    before_ns: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_field_names, reason = "the postfix is the unit")]
struct Window {
    begun_ns: i64,
    newest_ns: i64,
    floor_ns: i64,
}

impl AgeFloor {
    /// Takes an age seen at `now_ns` and tells how far it is beyond the floor; 0 or more.
    pub(crate) fn excess_ns(&mut self, now_ns: i64, age_ns: i64) -> i64 {
        let fresh = Window { begun_ns: now_ns, newest_ns: now_ns, floor_ns: age_ns };
        let window = self.window.get_or_insert(fresh);
        if now_ns < window.newest_ns {
            *self = Self { window: Some(fresh), before_ns: None };
            return 0;
        }
        let span_ns = now_ns.saturating_sub(window.begun_ns);
        if span_ns >= FLOOR_WINDOW_NS {
            // After a longer pause the window is from too long ago.
            self.before_ns = (span_ns < 2 * FLOOR_WINDOW_NS).then_some(window.floor_ns);
            *window = fresh;
        }
        window.newest_ns = now_ns;
        window.floor_ns = window.floor_ns.min(age_ns);
        let floor_ns = self.before_ns.map_or(window.floor_ns, |ns| ns.min(window.floor_ns));
        age_ns.saturating_sub(floor_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;

    #[test]
    fn an_excess_is_counted_from_the_smallest_age_of_the_last_two_windows() {
        let mut floor = AgeFloor::default();
        assert_eq!(floor.excess_ns(0, -1_270), 0, "a clock behind the venue's");
        assert_eq!(floor.excess_ns(1, -1_200), 70);
        assert_eq!(floor.excess_ns(2, -1_300), 0);
        assert_eq!(floor.excess_ns(FLOOR_WINDOW_NS, -1_250), 50, "the window before counts");
        assert_eq!(floor.excess_ns(2 * FLOOR_WINDOW_NS - 1, -1_250), 50);
        assert_eq!(floor.excess_ns(2 * FLOOR_WINDOW_NS, -1_240), 10, "and is forgotten in the end");
    }

    #[test]
    fn steps_of_the_receive_clock_are_survived() {
        let mut floor = AgeFloor::default();
        assert_eq!(floor.excess_ns(1_000 * SECOND_NS, 5), 0);
        // Back by 500 s: ages are 500 s smaller, which is no new normal.
        assert_eq!(floor.excess_ns(500 * SECOND_NS, 5 - 500 * SECOND_NS), 0);
        // And forward again: late until the window has passed, then right by itself.
        let mut now_ns = 1_001 * SECOND_NS;
        assert_eq!(floor.excess_ns(now_ns, 5), 500 * SECOND_NS);
        let mut late = 0;
        while floor.excess_ns(now_ns, 5) > 0 {
            now_ns += SECOND_NS;
            late += 1;
        }
        assert!(late <= 2 * FLOOR_WINDOW_NS / SECOND_NS, "{late} s");
    }

    #[test]
    fn slow_drift_is_no_lateness_and_a_growing_queue_is() {
        let (mut drifting, mut queueing) = (AgeFloor::default(), AgeFloor::default());
        let limit_ns = VenueAge::default().depth_ns;
        let mut noticed_s = None;
        for second in 0..86_400 {
            let now_ns = second * SECOND_NS;
            // 50 ppm for a day, and a queue that grows by 10 ms every second.
            assert!(drifting.excess_ns(now_ns, second * 50_000) <= 60_000_000);
            if queueing.excess_ns(now_ns, second * 10_000_000) > limit_ns {
                noticed_s.get_or_insert(second);
            }
        }
        assert_eq!(noticed_s, Some(201));
    }

    #[test]
    fn absurd_times_do_not_overflow() {
        let mut floor = AgeFloor::default();
        for (now_ns, age_ns) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (0, i64::MAX)] {
            assert!(floor.excess_ns(now_ns, age_ns) >= 0);
        }
    }
}
