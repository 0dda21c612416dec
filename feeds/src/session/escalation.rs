//! What to do about stale topics: subscribe them again, a bounded number of times, or reconnect when
//! the whole connection is mute.
//!
//! Invariants: one instrument that went quiet (or was delisted) never costs the others their
//! connection; a topic is subscribed again at most [`MAX_RESUBSCRIPTIONS`] times in a row, at doubling
//! distances, and stays visibly stale after that; at most [`MAX_RESUBSCRIPTIONS_PER_TICK`] requests
//! are made per tick, since venues limit client messages; a reconnection is asked for once.

use super::outbox::{Action, ReconnectReason};
use crate::topic::{TopicId, TopicState, Topics};

/// Most resubscriptions of one topic without data in between.
pub const MAX_RESUBSCRIPTIONS: u8 = 5;

/// Most resubscriptions asked for in one tick.
pub const MAX_RESUBSCRIPTIONS_PER_TICK: usize = 2;

/// Distance between the first two resubscriptions of a topic; doubles each time.
const FIRST_RETRY_NS: i64 = 15_000_000_000;

#[derive(Clone, Copy, Debug, Default)]
struct Retry {
    attempts: u8,
    asked_ns: i64,
}

/// Escalation state of one connection.
#[derive(Debug)]
pub(crate) struct Escalation {
    retries: Vec<Retry>,
    reconnect_asked: bool,
}

impl Escalation {
    pub(crate) fn new(topics: usize) -> Self {
        Self { retries: vec![Retry::default(); topics], reconnect_asked: false }
    }

    pub(crate) fn connected(&mut self) {
        self.retries.fill(Retry::default());
        self.reconnect_asked = false;
    }

    pub(crate) fn tick(&mut self, topics: &Topics, now_ns: i64, actions: &mut Vec<Action>) {
        let ids = || (0..self.retries.len()).map(|index| TopicId(index as u16));
        let is_stale = |topic: TopicId| topics.state(topic) == Some(TopicState::Stale);
        if !self.retries.is_empty() && ids().all(is_stale) {
            if !std::mem::replace(&mut self.reconnect_asked, true) {
                actions.push(Action::Reconnect { reason: ReconnectReason::Silent });
            }
            return;
        }
        let mut budget = MAX_RESUBSCRIPTIONS_PER_TICK;
        for (index, retry) in self.retries.iter_mut().enumerate() {
            let topic = TopicId(index as u16);
            if !is_stale(topic) {
                *retry = Retry::default();
                continue;
            }
            // Where the clock stepped back the distance is unknown: better early than hours late.
            let since_ns = now_ns.saturating_sub(retry.asked_ns);
            let is_due = match retry.attempts.checked_sub(1) {
                None => true,
                Some(doublings) => since_ns < 0 || since_ns >= FIRST_RETRY_NS << doublings,
            };
            if budget > 0 && is_due && retry.attempts < MAX_RESUBSCRIPTIONS {
                budget -= 1;
                retry.asked_ns = now_ns;
                retry.attempts += 1;
                actions.push(Action::Resubscribe { topic });
            }
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
}
