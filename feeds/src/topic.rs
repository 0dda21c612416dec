//! Liveness of each topic (one channel of one instrument) of a connection, as a pure state machine.
//!
//! ```text
//! Pending ──ack──► Confirmed ──data──► Flowing ──silence──► Stale ──data──► Flowing
//!    └──────────────data───────────────┘   (Pending and Confirmed turn Stale by silence too)
//! ```
//!
//! Invariants: only data counts as life, neither acknowledgements nor heartbeats nor transport pings
//! do (venues have acknowledged subscriptions and stayed mute, and kept sockets open for hours that
//! carried nothing). Quiet is not stale: a topic silent for longer than its threshold is stale only if
//! most topics of the connection are silent beyond *their* thresholds, or after
//! [`LONE_SILENCE_FACTOR`] thresholds. Time is an argument, never read; a clock that steps back makes
//! nothing stale and hides no silence that follows.

/// How many thresholds a topic must be silent before it is stale by itself.
pub const LONE_SILENCE_FACTOR: i64 = 3;

/// Kind of data a topic carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// Order book updates.
    Depth,
    /// Best bid and offer.
    BookTicker,
    /// Trades.
    Trade,
    /// The simulator's oracle.
    Oracle,
}

impl Channel {
    /// All channels, in a stable order.
    pub const ALL: [Self; 4] = [Self::Depth, Self::BookTicker, Self::Trade, Self::Oracle];

    /// Stable, lower-case name for reports and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Depth => "depth",
            Self::BookTicker => "book_ticker",
            Self::Trade => "trade",
            Self::Oracle => "oracle",
        }
    }
}

/// Where a topic stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TopicState {
    /// Asked for, or not connected.
    Pending,
    /// The venue acknowledged the subscription.
    Confirmed,
    /// Data arrives.
    Flowing,
    /// Silent for too long.
    Stale,
}

impl TopicState {
    /// Stable, lower-case name for reports and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Flowing => "flowing",
            Self::Stale => "stale",
        }
    }
}

/// Silence after which a topic is suspected, by channel, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Depth: venues send every 100 ms whenever anything changes.
    pub depth_ns: i64,
    /// Best bid and offer: only on change, so somewhat quieter than depth.
    pub book_ticker_ns: i64,
    /// Trades: minutes of quiet are normal in illiquid instruments.
    pub trade_ns: i64,
    /// The simulator's oracle, sent on a timer.
    pub oracle_ns: i64,
}

impl Default for Silence {
    fn default() -> Self {
        const SECOND_NS: i64 = 1_000_000_000;
        Self {
            depth_ns: 5 * SECOND_NS,
            book_ticker_ns: 10 * SECOND_NS,
            trade_ns: 60 * SECOND_NS,
            oracle_ns: 5 * SECOND_NS,
        }
    }
}

impl Silence {
    /// The threshold of a channel.
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

/// Index of a topic on its connection, in the order of subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(pub u16);

/// A topic moved to another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicChange {
    /// Which one.
    pub topic: TopicId,
    /// From where.
    pub from: TopicState,
    /// To where.
    pub to: TopicState,
    /// The time argument of the call that moved it, ns since the epoch.
    pub at_ns: i64,
}

#[derive(Clone, Copy, Debug)]
struct Topic {
    channel: Channel,
    state: TopicState,
    /// Last data, or the connection's start while there was none.
    alive_ns: i64,
}

/// All topics of one connection.
#[derive(Clone, Debug)]
pub struct Topics {
    list: Vec<Topic>,
    silence: Silence,
    connected: bool,
}

impl Topics {
    /// One topic per channel given, numbered in that order; all pending.
    #[must_use]
    pub fn new(channels: impl IntoIterator<Item = Channel>, silence: Silence) -> Self {
        let list = channels
            .into_iter()
            .map(|channel| Topic { channel, state: TopicState::Pending, alive_ns: 0 })
            .collect();
        Self { list, silence, connected: false }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Where a topic stands; `None` for an id of no topic.
    #[must_use]
    pub fn state(&self, topic: TopicId) -> Option<TopicState> {
        self.list.get(usize::from(topic.0)).map(|topic| topic.state)
    }

    /// Whether data flows on any topic.
    #[must_use]
    pub fn any_flowing(&self) -> bool {
        self.list.iter().any(|topic| topic.state == TopicState::Flowing)
    }

    /// A connection is up: every topic is pending and its silence counts from now.
    pub fn connected(&mut self, now_ns: i64, changes: &mut Vec<TopicChange>) {
        self.connected = true;
        self.reset(now_ns, changes);
    }

    /// The connection is gone: every topic is pending, and nothing turns stale until the next one.
    pub fn disconnected(&mut self, now_ns: i64, changes: &mut Vec<TopicChange>) {
        self.connected = false;
        self.reset(now_ns, changes);
    }

    fn reset(&mut self, now_ns: i64, changes: &mut Vec<TopicChange>) {
        for index in 0..self.list.len() {
            self.list[index].alive_ns = now_ns;
            self.move_to(index, TopicState::Pending, now_ns, changes);
        }
    }

    /// The venue acknowledged a topic.
    pub fn acknowledged(&mut self, topic: TopicId, now_ns: i64, changes: &mut Vec<TopicChange>) {
        let index = usize::from(topic.0);
        if self.list.get(index).is_some_and(|topic| topic.state == TopicState::Pending) {
            self.move_to(index, TopicState::Confirmed, now_ns, changes);
        }
    }

    /// Data of a topic arrived; of no consequence while there is no connection.
    pub fn data(&mut self, topic: TopicId, now_ns: i64, changes: &mut Vec<TopicChange>) {
        if !self.connected {
            return;
        }
        let index = usize::from(topic.0);
        if let Some(topic) = self.list.get_mut(index) {
            topic.alive_ns = now_ns;
            self.move_to(index, TopicState::Flowing, now_ns, changes);
        }
    }

    /// Looks for silence.
    pub fn tick(&mut self, now_ns: i64, changes: &mut Vec<TopicChange>) {
        if !self.connected {
            return;
        }
        // Where the clock stepped back, silence counts from now, not from a time yet to come.
        for topic in &mut self.list {
            topic.alive_ns = topic.alive_ns.min(now_ns);
        }
        let suspects = (0..self.list.len()).filter(|i| self.is_silent(*i, 1, now_ns)).count();
        if suspects == 0 {
            return;
        }
        let factor = if 2 * suspects > self.list.len() { 1 } else { LONE_SILENCE_FACTOR };
        for index in 0..self.list.len() {
            if self.is_silent(index, factor, now_ns) {
                self.move_to(index, TopicState::Stale, now_ns, changes);
            }
        }
    }

    fn is_silent(&self, index: usize, factor: i64, now_ns: i64) -> bool {
        let topic = &self.list[index];
        let threshold_ns = self.silence.of(topic.channel).saturating_mul(factor);
        now_ns.saturating_sub(topic.alive_ns) > threshold_ns
    }

    fn move_to(&mut self, index: usize, to: TopicState, at_ns: i64, out: &mut Vec<TopicChange>) {
        let from = std::mem::replace(&mut self.list[index].state, to);
        if from != to {
            out.push(TopicChange { topic: TopicId(index as u16), from, to, at_ns });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Silence =
        Silence { depth_ns: 10, book_ticker_ns: 20, trade_ns: 100, oracle_ns: 10 };
    const DEPTH: TopicId = TopicId(0);
    const TRADE: TopicId = TopicId(1);

    fn topics() -> (Topics, Vec<TopicChange>) {
        let mut topics = Topics::new([Channel::Depth, Channel::Trade], SILENCE);
        let mut changes = Vec::new();
        topics.connected(0, &mut changes);
        assert!(changes.is_empty(), "pending before, pending after");
        (topics, changes)
    }

    #[test]
    fn a_topic_goes_from_pending_over_confirmed_to_flowing() {
        use TopicState::{Confirmed, Flowing, Pending};
        let (mut topics, mut changes) = topics();
        topics.acknowledged(DEPTH, 1, &mut changes);
        topics.data(DEPTH, 2, &mut changes);
        topics.acknowledged(DEPTH, 3, &mut changes);
        topics.data(TRADE, 4, &mut changes);
        let seen: Vec<_> = changes.iter().map(|c| (c.topic, c.from, c.to, c.at_ns)).collect();
        assert_eq!(
            seen,
            [
                (DEPTH, Pending, Confirmed, 1),
                (DEPTH, Confirmed, Flowing, 2),
                (TRADE, Pending, Flowing, 4)
            ]
        );
    }

    #[test]
    fn quiet_beside_a_lively_sibling_is_not_stale_until_three_thresholds() {
        let (mut topics, mut changes) = topics();
        topics.data(DEPTH, 1, &mut changes);
        topics.data(TRADE, 1, &mut changes);
        changes.clear();
        topics.data(TRADE, 31, &mut changes);
        topics.tick(31, &mut changes);
        assert_eq!(topics.state(DEPTH), Some(TopicState::Flowing));
        topics.tick(32, &mut changes);
        assert_eq!(topics.state(DEPTH), Some(TopicState::Stale));
        assert_eq!(changes.len(), 1);
        topics.tick(33, &mut changes);
        assert_eq!(changes.len(), 1, "reported once");
        topics.data(DEPTH, 34, &mut changes);
        assert_eq!(topics.state(DEPTH), Some(TopicState::Flowing));
    }

    #[test]
    fn topics_that_fall_silent_together_are_stale_at_their_own_thresholds() {
        let (mut topics, mut changes) = topics();
        topics.data(DEPTH, 90, &mut changes);
        topics.data(TRADE, 0, &mut changes);
        topics.tick(100, &mut changes);
        assert_eq!(topics.state(TRADE), Some(TopicState::Flowing));
        topics.tick(101, &mut changes);
        assert_eq!(topics.state(DEPTH), Some(TopicState::Stale));
        assert_eq!(topics.state(TRADE), Some(TopicState::Stale));
    }

    #[test]
    fn an_acknowledged_topic_that_stays_mute_turns_stale() {
        let (mut topics, mut changes) = topics();
        topics.acknowledged(DEPTH, 30, &mut changes);
        topics.tick(31, &mut changes);
        assert_eq!(topics.state(DEPTH), Some(TopicState::Stale), "an acknowledgement is not data");
    }

    #[test]
    fn nothing_is_stale_while_there_is_no_connection() {
        let (mut topics, mut changes) = topics();
        topics.data(DEPTH, 1, &mut changes);
        topics.disconnected(2, &mut changes);
        assert_eq!(topics.state(DEPTH), Some(TopicState::Pending));
        changes.clear();
        topics.data(DEPTH, 3, &mut changes);
        topics.tick(1_000_000, &mut changes);
        assert!(changes.is_empty());
    }

    #[test]
    fn a_few_quiet_topics_among_many_are_not_stale_until_three_thresholds() {
        let channels = [Channel::Depth, Channel::Trade].repeat(3);
        let (mut topics, mut changes) = (Topics::new(channels, SILENCE), Vec::new());
        topics.connected(0, &mut changes);
        // Trades of two illiquid instruments and one depth fall silent; three topics flow on.
        for topic in [0, 2, 5] {
            topics.data(TopicId(topic), 295, &mut changes);
        }
        topics.tick(300, &mut changes);
        let stale = |topics: &Topics| -> Vec<u16> {
            let is_stale = |id: &u16| topics.state(TopicId(*id)) == Some(TopicState::Stale);
            (0..6).filter(is_stale).collect()
        };
        assert_eq!(stale(&topics), [4], "three thresholds of depth, not of trades");
        topics.tick(306, &mut changes);
        assert_eq!(stale(&topics), [0, 1, 2, 3, 4], "most are silent: each by its own threshold");
    }

    #[test]
    fn a_clock_that_steps_back_makes_nothing_stale_and_hides_no_silence() {
        let (mut topics, mut changes) = topics();
        topics.data(DEPTH, 1_000_000, &mut changes);
        topics.data(TRADE, 1_000_000, &mut changes);
        topics.tick(50, &mut changes);
        topics.tick(60, &mut changes);
        assert_eq!(topics.state(DEPTH), Some(TopicState::Flowing));
        topics.tick(81, &mut changes);
        assert_eq!(topics.state(DEPTH), Some(TopicState::Stale), "silent since the step");
        topics.data(DEPTH, 1_000_000, &mut changes);
        topics.data(DEPTH, 100, &mut changes);
        topics.tick(131, &mut changes);
        assert_eq!(topics.state(DEPTH), Some(TopicState::Stale), "silent since 100");
    }

    #[test]
    fn unknown_ids_are_ignored() {
        let (mut topics, mut changes) = topics();
        topics.data(TopicId(9), 50, &mut changes);
        topics.acknowledged(TopicId(9), 50, &mut changes);
        assert!(changes.is_empty() && topics.state(TopicId(9)).is_none());
    }
}
