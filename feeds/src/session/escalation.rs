//! What to do about stale topics: subscribe them again, a bounded number of times, or reconnect when
//! that cannot help or did not.
//!
//! ```text
//! one topic   stale ──► resubscribe, 5 times at doubling distances ──► stays visibly stale
//!                                       └─ a book that the venue never confirmed ──► reconnect
//! all topics  silent ──► reconnect
//!             stale, some late ──► reconnect, at doubling distances
//! ```
//!
//! Invariants: only data ends an escalation, never an acknowledgement; one instrument that went quiet
//! (or was delisted) costs the others their connection only where the venue confirmed nothing, and then at
//! most `MAX_UNCONFIRMED_RECONNECTS` times in a row; a topic is subscribed again at most
//! [`MAX_RESUBSCRIPTIONS`] times in a row on a connection, and stays visibly stale after that; at most
//! [`MAX_RESUBSCRIPTIONS_PER_TICK`] requests are made per tick, since venues limit client messages; a
//! reconnection is asked for once per connection, and for lateness, which a new connection may share, at
//! doubling distances from one connection to the next.

use super::outbox::{Action, ReconnectReason};
use crate::topic::{Channel, StaleReason, TopicId, TopicState, Topics};

/// Most resubscriptions of one topic without data in between.
pub const MAX_RESUBSCRIPTIONS: u8 = 5;

/// Most resubscriptions asked for in one tick.
pub const MAX_RESUBSCRIPTIONS_PER_TICK: usize = 2;

/// Most reconnections in a row for one topic that the venue never confirms.
const MAX_UNCONFIRMED_RECONNECTS: u8 = 3;

/// Distance between the first two resubscriptions of a topic; doubles each time.
const FIRST_RETRY_NS: i64 = 15_000_000_000;

/// How long all topics must be late before a connection is made anew, and the least distance between two
/// such reconnections; doubles each time up to [`LATE_DOUBLINGS`] times (about two hours).
const FIRST_LATE_NS: i64 = 15_000_000_000;

const LATE_DOUBLINGS: u32 = 9;

/// How long no topic must be late before earlier lateness is forgotten.
const IN_TIME_NS: i64 = 60_000_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Retry {
    /// Resubscriptions on this connection.
    attempts: u8,
    asked_ns: i64,
    /// Reconnections for want of a confirmation since the last data; outlives connections.
    reconnects: u8,
}

/// Lateness of a whole connection; outlives connections.
#[derive(Clone, Copy, Debug, Default)]
struct Lateness {
    /// Since when all topics are stale and some late.
    since_ns: Option<i64>,
    /// When a reconnection was last asked for because of it.
    asked_ns: Option<i64>,
    reconnects: u32,
    /// Since when no topic is late.
    in_time_ns: Option<i64>,
}

impl Lateness {
    /// Not all topics are stale, or none is late.
    fn is_not_all(&mut self, any_late: bool, now_ns: i64) {
        self.since_ns = None;
        if any_late {
            self.in_time_ns = None;
        } else if now_ns.saturating_sub(*self.in_time_ns.get_or_insert(now_ns)) >= IN_TIME_NS {
            *self = Self { in_time_ns: self.in_time_ns, ..Self::default() };
        }
    }

    fn is_due(&mut self, now_ns: i64) -> bool {
        let since_ns = *self.since_ns.get_or_insert(now_ns);
        // Where the clock stepped back, the wait starts anew.
        let since_ns = since_ns.min(now_ns);
        (self.since_ns, self.in_time_ns) = (Some(since_ns), None);
        let distance_ns = FIRST_LATE_NS << self.reconnects.min(LATE_DOUBLINGS);
        let is_far = self.asked_ns.is_none_or(|asked_ns| {
            now_ns < asked_ns || now_ns.saturating_sub(asked_ns) >= distance_ns
        });
        let is_due = is_far && now_ns.saturating_sub(since_ns) >= FIRST_LATE_NS;
        if is_due {
            self.asked_ns = Some(now_ns);
            self.reconnects += 1;
        }
        is_due
    }
}

/// Escalation state of one connection.
#[derive(Debug)]
pub(crate) struct Escalation {
    retries: Vec<Retry>,
    lateness: Lateness,
    reconnect_asked: bool,
}

impl Escalation {
    pub(crate) fn new(topics: usize) -> Self {
        Self {
            retries: vec![Retry::default(); topics],
            lateness: Lateness::default(),
            reconnect_asked: false,
        }
    }

    pub(crate) fn connected(&mut self) {
        for retry in &mut self.retries {
            *retry = Retry { reconnects: retry.reconnects, ..Retry::default() };
        }
        self.lateness.since_ns = None;
        self.reconnect_asked = false;
    }

    pub(crate) fn tick(&mut self, topics: &Topics, now_ns: i64, actions: &mut Vec<Action>) {
        let ids = || (0..self.retries.len()).map(|index| TopicId(index as u16));
        let is_stale = |topic: TopicId| topics.state(topic) == Some(TopicState::Stale);
        let is_late = |topic: TopicId| topics.stale_reason(topic) == Some(StaleReason::Late);
        if !self.retries.is_empty() && ids().all(is_stale) {
            let reason = if ids().any(is_late) {
                self.lateness.is_due(now_ns).then_some(ReconnectReason::Late)
            } else {
                Some(ReconnectReason::Silent)
            };
            if let Some(reason) = reason {
                self.reconnect(reason, actions);
            }
            return;
        }
        self.lateness.is_not_all(ids().any(is_late), now_ns);
        let mut budget = MAX_RESUBSCRIPTIONS_PER_TICK;
        let mut is_unconfirmed = false;
        for (index, retry) in self.retries.iter_mut().enumerate() {
            let topic = TopicId(index as u16);
            if !is_stale(topic) {
                // Pending and confirmed topics have not shown yet that they work.
                if topics.state(topic) == Some(TopicState::Flowing) {
                    *retry = Retry::default();
                }
                continue;
            }
            // Where the clock stepped back the distance is unknown: better early than hours late.
            let since_ns = now_ns.saturating_sub(retry.asked_ns);
            let is_due = match retry.attempts.checked_sub(1) {
                None => true,
                Some(doublings) => since_ns < 0 || since_ns >= FIRST_RETRY_NS << doublings,
            };
            if !is_due {
                continue;
            }
            if retry.attempts < MAX_RESUBSCRIPTIONS {
                if budget > 0 {
                    budget -= 1;
                    retry.asked_ns = now_ns;
                    retry.attempts += 1;
                    actions.push(Action::Resubscribe { topic });
                }
            } else if topics.channel(topic) == Some(Channel::Depth)
                && !topics.is_acknowledged(topic)
                && retry.reconnects < MAX_UNCONFIRMED_RECONNECTS
                && !self.reconnect_asked
                && !is_unconfirmed
            {
                retry.reconnects += 1;
                is_unconfirmed = true;
            }
        }
        if is_unconfirmed {
            self.reconnect(ReconnectReason::Unconfirmed, actions);
        }
    }

    fn reconnect(&mut self, reason: ReconnectReason, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.reconnect_asked, true) {
            actions.push(Action::Reconnect { reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::{Channel, Silence};

    const SECOND_NS: i64 = 1_000_000_000;

    fn connected(count: usize) -> (Topics, Escalation) {
        let mut topics = Topics::new(vec![Channel::Depth; count], Silence::default());
        topics.connected(0, &mut Vec::new());
        (topics, Escalation::new(count))
    }

    #[test]
    fn a_mute_connection_is_made_anew_and_asked_for_once() {
        let (mut topics, mut escalation) = connected(2);
        let mut actions = Vec::new();
        for second in 0..60 {
            topics.tick(second * SECOND_NS, &mut Vec::new());
            escalation.tick(&topics, second * SECOND_NS, &mut actions);
        }
        assert_eq!(actions, [Action::Reconnect { reason: ReconnectReason::Silent }]);
        escalation.connected();
        escalation.tick(&topics, 60 * SECOND_NS, &mut actions);
        assert_eq!(actions.len(), 2, "asked again after a connection was made");
    }

    #[test]
    fn a_lone_stale_topic_is_resubscribed_at_doubling_distances_and_never_reconnects() {
        let (mut topics, mut escalation) = connected(2);
        topics.acknowledged(TopicId(1), 0, &mut Vec::new());
        let mut asked_at = Vec::new();
        for second in 0..2000 {
            let now_ns = second * SECOND_NS;
            topics.data(TopicId(0), now_ns, &mut Vec::new());
            topics.tick(now_ns, &mut Vec::new());
            let mut actions = Vec::new();
            escalation.tick(&topics, now_ns, &mut actions);
            for action in actions {
                assert_eq!(action, Action::Resubscribe { topic: TopicId(1) });
                asked_at.push(second);
            }
        }
        // Stale after three thresholds of 5 s, then 15, 30, 60, 120 s apart.
        assert_eq!(asked_at, [16, 31, 61, 121, 241]);
    }

    #[test]
    fn a_clock_that_steps_back_does_not_put_a_resubscription_off() {
        let (mut topics, mut escalation) = connected(2);
        let hour_ns = 3_600 * SECOND_NS;
        let mut actions = Vec::new();
        for now_ns in [hour_ns, hour_ns + SECOND_NS, SECOND_NS] {
            topics.data(TopicId(0), now_ns, &mut Vec::new());
            topics.tick(now_ns, &mut Vec::new());
            escalation.tick(&topics, now_ns, &mut actions);
        }
        assert_eq!(actions, [Action::Resubscribe { topic: TopicId(1) }; 2]);
    }

    #[test]
    fn requests_per_tick_are_bounded_and_the_rest_follow() {
        let (mut topics, mut escalation) = connected(6);
        let now_ns = 16 * SECOND_NS;
        topics.data(TopicId(0), now_ns, &mut Vec::new());
        topics.tick(now_ns, &mut Vec::new());
        let mut asked = Vec::new();
        for tick in 1..=4 {
            let before = asked.len();
            escalation.tick(&topics, now_ns + tick, &mut asked);
            assert!(asked.len() - before <= MAX_RESUBSCRIPTIONS_PER_TICK);
        }
        let all: Vec<_> = (1..6).map(|i| Action::Resubscribe { topic: TopicId(i) }).collect();
        assert_eq!(asked, all);
    }

    /// Second by second: topic 0 flows, the others do as `step` says; the actions with their seconds.
    fn play(
        (topics, escalation): &mut (Topics, Escalation),
        seconds: std::ops::Range<i64>,
        mut step: impl FnMut(&mut Topics, i64),
    ) -> Vec<(i64, Action)> {
        let (mut actions, mut all) = (Vec::new(), Vec::new());
        for second in seconds {
            let now_ns = second * SECOND_NS;
            step(topics, now_ns);
            topics.tick(now_ns, &mut Vec::new());
            escalation.tick(topics, now_ns, &mut actions);
            all.extend(actions.drain(..).map(|action| (second, action)));
        }
        all
    }

    fn reconnects(actions: &[(i64, Action)]) -> Vec<(i64, ReconnectReason)> {
        let reason = |&(second, action): &(i64, Action)| match action {
            Action::Reconnect { reason } => Some((second, reason)),
            _ => None,
        };
        actions.iter().filter_map(reason).collect()
    }

    #[test]
    fn a_book_that_the_venue_never_confirmed_costs_a_reconnection_after_all_resubscriptions() {
        let mut state = connected(2);
        let mut from = 0;
        // Three connections in a row, and then the topic is left stale for all to see.
        for connection in 0..5 {
            let actions = play(&mut state, from..from + 1_000, |topics, now_ns| {
                topics.data(TopicId(0), now_ns, &mut Vec::new());
            });
            let asked = actions.iter().filter(|(_, a)| matches!(a, Action::Resubscribe { .. }));
            assert_eq!(asked.count(), usize::from(MAX_RESUBSCRIPTIONS));
            // 15 << 4 seconds after the last resubscription, which is 225 s after the first.
            let expected = [(from + 16 + 225 + 240, ReconnectReason::Unconfirmed)];
            let is_left = connection >= i64::from(MAX_UNCONFIRMED_RECONNECTS);
            assert_eq!(reconnects(&actions), if is_left { vec![] } else { expected.to_vec() });
            assert_eq!(state.0.state(TopicId(1)), Some(TopicState::Stale));
            from += 1_000;
            state.0.connected(from * SECOND_NS, &mut Vec::new());
            state.1.connected();
        }
    }

    #[test]
    fn neither_a_confirmed_book_nor_a_mute_trade_topic_ever_costs_a_reconnection() {
        let channels = [Channel::Depth, Channel::Depth, Channel::Trade];
        let mut topics = Topics::new(channels, Silence::default());
        topics.connected(0, &mut Vec::new());
        // The confirmation of a resubscription counts, too.
        let mut state = (topics, Escalation::new(3));
        let actions = play(&mut state, 0..3_000, |topics, now_ns| {
            topics.data(TopicId(0), now_ns, &mut Vec::new());
            if now_ns == 100 * SECOND_NS {
                topics.acknowledged(TopicId(1), now_ns, &mut Vec::new());
            }
        });
        assert_eq!(actions.len(), 2 * usize::from(MAX_RESUBSCRIPTIONS));
        assert_eq!(reconnects(&actions), []);
    }

    #[test]
    fn data_after_a_reconnection_starts_the_escalation_afresh() {
        let mut state = connected(2);
        let lively = |topics: &mut Topics, now_ns: i64| {
            topics.data(TopicId(0), now_ns, &mut Vec::new());
        };
        assert_eq!(reconnects(&play(&mut state, 0..600, lively)).len(), 1);
        for from in [1_000, 2_000, 3_000, 4_000, 5_000] {
            state.0.connected(from * SECOND_NS, &mut Vec::new());
            state.1.connected();
            state.0.data(TopicId(1), from * SECOND_NS, &mut Vec::new());
            let actions = play(&mut state, from..from + 600, lively);
            assert_eq!(reconnects(&actions).len(), 1, "not one of three in a row");
        }
    }

    #[test]
    fn a_connection_whose_data_is_late_is_made_anew_at_doubling_distances() {
        let mut state = connected(2);
        // In time for a while, then 10 s late on every connection that follows, and in time at last.
        let step = |late: i64| {
            move |topics: &mut Topics, now_ns: i64| {
                for topic in [TopicId(0), TopicId(1)] {
                    topics.data(topic, now_ns, &mut Vec::new());
                    topics.aged(topic, now_ns, now_ns - late * SECOND_NS, &mut Vec::new());
                }
            }
        };
        assert_eq!(play(&mut state, 0..20, step(0)), []);
        let mut asked_at = Vec::new();
        for second in 20..400 {
            let actions = play(&mut state, second..second + 1, step(10));
            if !actions.is_empty() {
                assert_eq!(reconnects(&actions), [(second, ReconnectReason::Late)]);
                asked_at.push(second);
                state.0.connected(second * SECOND_NS, &mut Vec::new());
                state.1.connected();
            }
        }
        let distances: Vec<i64> = asked_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!((asked_at[0], distances), (37, vec![30, 60, 120]));
        assert_eq!(play(&mut state, 400..600, step(0)), []);
        assert_eq!(state.1.lateness.reconnects, 0, "forgotten once data is in time");
    }
}
