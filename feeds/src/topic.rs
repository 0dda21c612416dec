//! Liveness of each topic (one channel of one instrument) of a connection, as a pure state machine.
//!
//! ```text
//! Pending ──ack──► Confirmed ──data──► Flowing ──silence──► Stale ──data──► Flowing
//!    └──────────────data───────────────┘   (Pending and Confirmed turn Stale by silence too)
//!
//! Flowing ──data that is late──► Stale ──data in time──► Flowing
//! ```
//!
//! Invariants: only data counts as life, neither acknowledgements nor heartbeats nor transport pings
//! do (venues have acknowledged subscriptions and stayed mute, and kept sockets open for hours that
//! carried nothing). Quiet is not stale: a topic silent for longer than its threshold is stale only if
//! most topics of the connection are silent beyond *their* thresholds, or after
//! [`LONE_SILENCE_FACTOR`] thresholds. Data may also arrive and be old, queued somewhere before our
//! socket: its venue age is judged by how far it exceeds the smallest one seen lately (see
//! [`crate::venue_age`]), so that clocks that differ by a constant, in either direction, say nothing. Time
//! is an argument, never read; a clock that steps back makes
//! nothing stale and hides no silence that follows.

use crate::venue_age::{AgeFloor, VenueAge};

/// How many thresholds a topic must be silent before it is stale by itself.
pub const LONE_SILENCE_FACTOR: i64 = 3;

/// Updates in a row that must be late before their topic is stale: one that a lost packet held up says
/// little.
pub const LATE_UPDATES: u8 = 3;

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
    /// Silent for too long, or late: [`StaleReason`].
    Stale,
}

/// Why a topic is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StaleReason {
    /// No data for too long.
    Silent,
    /// Data arrives, but so late that it must have waited somewhere.
    Late,
}

impl StaleReason {
    /// Stable, lower-case name for reports and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Late => "late",
        }
    }
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

/// Silence after which a topic is suspected, by channel, in nanoseconds, and how late data may be.
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
    /// How late data may be.
    pub venue_age: VenueAge,
}

impl Default for Silence {
    fn default() -> Self {
        const SECOND_NS: i64 = 1_000_000_000;
        Self {
            depth_ns: 5 * SECOND_NS,
            book_ticker_ns: 10 * SECOND_NS,
            trade_ns: 60 * SECOND_NS,
            oracle_ns: 5 * SECOND_NS,
            venue_age: VenueAge::default(),
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
    /// Why, where `to` is [`TopicState::Stale`].
    pub stale: Option<StaleReason>,
    /// The time argument of the call that moved it, ns since the epoch.
    pub at_ns: i64,
}

#[derive(Clone, Copy, Debug)]
struct Topic {
    channel: Channel,
    state: TopicState,
    stale: Option<StaleReason>,
    /// The venue acknowledged it on this connection.
    acknowledged: bool,
    /// Last data, or the connection's start while there was none.
    alive_ns: i64,
    /// Outlives connections: what was normal on the last one is so on the next.
    floor: AgeFloor,
    /// Updates in a row that were late, up to [`LATE_UPDATES`].
    late: u8,
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
            .map(|channel| Topic {
                channel,
                state: TopicState::Pending,
                stale: None,
                acknowledged: false,
                alive_ns: 0,
                floor: AgeFloor::default(),
                late: 0,
            })
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

    /// Why a topic is stale; `None` where it is not, and for an id of no topic.
    #[must_use]
    pub fn stale_reason(&self, topic: TopicId) -> Option<StaleReason> {
        self.list.get(usize::from(topic.0)).and_then(|topic| topic.stale)
    }

    /// What a topic carries; `None` for an id of no topic.
    #[must_use]
    pub fn channel(&self, topic: TopicId) -> Option<Channel> {
        self.list.get(usize::from(topic.0)).map(|topic| topic.channel)
    }

    /// Whether the venue acknowledged a topic on this connection.
    #[must_use]
    pub fn is_acknowledged(&self, topic: TopicId) -> bool {
        self.list.get(usize::from(topic.0)).is_some_and(|topic| topic.acknowledged)
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
            let topic = &mut self.list[index];
            (topic.alive_ns, topic.acknowledged, topic.late) = (now_ns, false, 0);
            self.move_to(index, TopicState::Pending, None, now_ns, changes);
        }
    }

    /// The venue acknowledged a topic.
    pub fn acknowledged(&mut self, topic: TopicId, now_ns: i64, changes: &mut Vec<TopicChange>) {
        let index = usize::from(topic.0);
        let Some(topic) = self.list.get_mut(index) else { return };
        topic.acknowledged = true;
        if topic.state == TopicState::Pending {
            self.move_to(index, TopicState::Confirmed, None, now_ns, changes);
        }
    }

    /// Data of a topic arrived; of no consequence while there is no connection.
    pub fn data(&mut self, topic: TopicId, now_ns: i64, changes: &mut Vec<TopicChange>) {
        if !self.connected {
            return;
        }
        let index = usize::from(topic.0);
        let Some(topic) = self.list.get_mut(index) else { return };
        topic.alive_ns = now_ns;
        // Late data is no cure of lateness; data in time is, see `aged`.
        if topic.stale != Some(StaleReason::Late) {
            self.move_to(index, TopicState::Flowing, None, now_ns, changes);
        }
    }

    /// Says how old the data was that [`data`](Self::data) told of: received at `now_ns`, made by the
    /// venue at `venue_ns`, by the venue's clock. Not to be called where the venue does not say, nor for
    /// data that we ourselves kept waiting.
    pub fn aged(
        &mut self,
        topic: TopicId,
        now_ns: i64,
        venue_ns: i64,
        changes: &mut Vec<TopicChange>,
    ) {
        let index = usize::from(topic.0);
        let Some(topic) = self.list.get_mut(index).filter(|_| self.connected) else { return };
        let excess_ns = topic.floor.excess_ns(now_ns, now_ns.saturating_sub(venue_ns));
        if excess_ns <= self.silence.venue_age.of(topic.channel) {
            topic.late = 0;
            if topic.stale == Some(StaleReason::Late) {
                self.move_to(index, TopicState::Flowing, None, now_ns, changes);
            }
            return;
        }
        topic.late = topic.late.saturating_add(1).min(LATE_UPDATES);
        if topic.late == LATE_UPDATES {
            self.move_to(index, TopicState::Stale, Some(StaleReason::Late), now_ns, changes);
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
                let silent = Some(StaleReason::Silent);
                self.move_to(index, TopicState::Stale, silent, now_ns, changes);
            }
        }
    }

    fn is_silent(&self, index: usize, factor: i64, now_ns: i64) -> bool {
        let topic = &self.list[index];
        let threshold_ns = self.silence.of(topic.channel).saturating_mul(factor);
        now_ns.saturating_sub(topic.alive_ns) > threshold_ns
    }

    fn move_to(
        &mut self,
        index: usize,
        to: TopicState,
        stale: Option<StaleReason>,
        at_ns: i64,
        out: &mut Vec<TopicChange>,
    ) {
        let topic = &mut self.list[index];
        let from = std::mem::replace(&mut topic.state, to);
        // What was late and falls silent is silent, and told so.
        let was_stale = std::mem::replace(&mut topic.stale, stale);
        if (from, was_stale) != (to, stale) {
            out.push(TopicChange { topic: TopicId(index as u16), from, to, stale, at_ns });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Silence = Silence {
        depth_ns: 10,
        book_ticker_ns: 20,
        trade_ns: 100,
        oracle_ns: 10,
        venue_age: VenueAge { depth_ns: 5, book_ticker_ns: 5, trade_ns: 50, oracle_ns: 5 },
    };
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

    /// Data of a topic, received at a time and made by the venue at another.
    fn arrive(
        topics: &mut Topics,
        topic: TopicId,
        (now_ns, venue_ns): (i64, i64),
        changes: &mut Vec<TopicChange>,
    ) {
        topics.data(topic, now_ns, changes);
        topics.aged(topic, now_ns, venue_ns, changes);
    }

    #[test]
    fn data_that_waited_upstream_is_late_whatever_the_clocks_differ_by() {
        const HOUR_NS: i64 = 3_600_000_000_000;
        // The venue's clock behind ours, equal, and ahead of it.
        for offset_ns in [-HOUR_NS, 0, HOUR_NS] {
            let (mut topics, mut changes) = topics();
            for now_ns in 0..20 {
                arrive(&mut topics, DEPTH, (now_ns, now_ns - 2 + offset_ns), &mut changes);
            }
            assert_eq!(topics.state(DEPTH), Some(TopicState::Flowing), "offset {offset_ns}");
            changes.clear();
            // Five beyond the floor is allowed, six is late, and three in a row make it stale.
            arrive(&mut topics, DEPTH, (20, 13 + offset_ns), &mut changes);
            arrive(&mut topics, DEPTH, (21, 13 + offset_ns), &mut changes);
            arrive(&mut topics, DEPTH, (22, 14 + offset_ns), &mut changes);
            assert_eq!(changes, []);
            arrive(&mut topics, DEPTH, (23, 15 + offset_ns), &mut changes);
            let (from, to) = (TopicState::Flowing, TopicState::Stale);
            let stale = Some(StaleReason::Late);
            assert_eq!(changes, [TopicChange { topic: DEPTH, from, to, stale, at_ns: 23 }]);
            arrive(&mut topics, DEPTH, (24, 16 + offset_ns), &mut changes);
            assert_eq!(changes.len(), 1, "late data is no cure, and told once");
            assert_eq!(topics.stale_reason(DEPTH), stale);
            arrive(&mut topics, DEPTH, (25, 23 + offset_ns), &mut changes);
            assert_eq!(topics.state(DEPTH), Some(TopicState::Flowing));
            assert_eq!((changes.len(), topics.stale_reason(DEPTH)), (2, None));
        }
    }

    #[test]
    fn each_channel_has_its_own_limit_and_a_lone_late_update_is_forgiven() {
        let (mut topics, mut changes) = topics();
        for topic in [DEPTH, TRADE] {
            arrive(&mut topics, topic, (0, 0), &mut changes);
        }
        changes.clear();
        for now_ns in 1..100 {
            // Every third update of the book is in time; trades are 40 late throughout.
            let late_ns = if now_ns % 3 == 0 { 0 } else { 9 };
            arrive(&mut topics, DEPTH, (now_ns, now_ns - late_ns), &mut changes);
            arrive(&mut topics, TRADE, (now_ns, now_ns - 40), &mut changes);
        }
        assert_eq!(changes, []);
    }

    #[test]
    fn a_late_topic_that_falls_silent_is_silent() {
        let (mut topics, mut changes) = topics();
        for (now_ns, venue_ns) in [(0, 0), (10, 0), (11, 1), (12, 2)] {
            arrive(&mut topics, DEPTH, (now_ns, venue_ns), &mut changes);
        }
        assert_eq!(topics.stale_reason(DEPTH), Some(StaleReason::Late));
        topics.tick(200, &mut changes);
        assert_eq!(topics.stale_reason(DEPTH), Some(StaleReason::Silent));
        topics.data(DEPTH, 201, &mut changes);
        assert_eq!(topics.state(DEPTH), Some(TopicState::Flowing));
    }

    #[test]
    fn an_acknowledgement_is_remembered_for_the_connection() {
        let (mut topics, mut changes) = topics();
        assert!(!topics.is_acknowledged(DEPTH));
        topics.tick(31, &mut changes);
        topics.acknowledged(DEPTH, 32, &mut changes);
        assert_eq!(topics.state(DEPTH), Some(TopicState::Stale), "still without data");
        assert!(topics.is_acknowledged(DEPTH) && !topics.is_acknowledged(TRADE));
        topics.disconnected(33, &mut changes);
        assert!(!topics.is_acknowledged(DEPTH));
    }

    #[test]
    fn unknown_ids_are_ignored() {
        let (mut topics, mut changes) = topics();
        topics.data(TopicId(9), 50, &mut changes);
        topics.acknowledged(TopicId(9), 50, &mut changes);
        assert!(changes.is_empty() && topics.state(TopicId(9)).is_none());
    }
}
