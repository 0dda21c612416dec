//! What happens when a feed ring is full: market data is conflated per instrument, never lost.
//!
//! Beside the ring the feed thread keeps a shadow of every instrument: the book as the venue has it,
//! the last top of book, the trades not yet passed on. While there is room, events pass through and
//! the shadow only follows. When the events of a message do not fit, the instrument is *held*: its
//! events change the shadow alone. As soon as the ring has room for it, the instrument is passed on
//! as its newest self: trades summed per side, the newest top, the whole book (`conflated` is set).
//!
//! The same shadows carry a connection over to its successor: the successor's events change its shadows
//! alone until it takes over, and then every instrument is passed on as its newest self
//! ([`Conflator::inherit`]).
//!
//! Invariants: for any sequence of free-slot readings, the engine's book after the last flush equals
//! the venue's; an instrument never overtakes itself; output depends on the events and on the
//! readings of free slots alone, which is why a recording notes those readings whenever they matter.

use purkinje_feeds::{Book, DesyncReason, EventBody, InstrumentId, MarketEvent, Side, book::Shape};

/// Events of a flush that are not levels: desync, begin, commit, two trades, top, oracle.
const FLUSH_EXTRAS: usize = 7;

#[derive(Debug)]
struct Shadow {
    book: Book,
    /// The last commit or desync: the state of the book and its timestamps.
    state: Option<MarketEvent>,
    /// A desync that was held back: told before the book that has replaced it since, because what was
    /// derived from the old book must not be carried over to the new one.
    lost: Option<MarketEvent>,
    top: Option<MarketEvent>,
    oracle: Option<MarketEvent>,
    /// Pending trades by aggressor: bid, ask.
    trades: [Option<MarketEvent>; 2],
    held: bool,
    /// The venue time that a book must have reached before it is passed on: the engine's is as new.
    floor_ns: i64,
}

impl Shadow {
    fn has_book(&self) -> bool {
        self.state.is_some_and(|event| matches!(event.body, EventBody::BookCommit { .. }))
    }

    /// Whether the engine's book is newer than this one.
    fn is_behind(&self) -> bool {
        let is_older = |event: MarketEvent| (1..self.floor_ns).contains(&event.ts_venue_ns);
        self.has_book() && self.state.is_some_and(is_older)
    }

    /// Becomes the shadow of an instrument that another has followed so far; the change of its book's
    /// state, as events, goes to `changes`.
    fn inherit(&mut self, old: &Self, changes: &mut Vec<MarketEvent>) {
        for (trade, earlier) in self.trades.iter_mut().zip(&old.trades) {
            *trade = *earlier;
        }
        if old.held {
            self.top = self.top.or(old.top);
            self.oracle = self.oracle.or(old.oracle);
        }
        // Of a book that this one lost on the way the engine has never heard.
        self.lost = old.lost;
        match (old.state.filter(|_| old.has_book()), self.state.filter(|_| self.has_book())) {
            (Some(had), Some(_)) => self.floor_ns = had.ts_venue_ns,
            (Some(had), None) => {
                let reason = DesyncReason::Disconnected;
                let desync = MarketEvent { body: EventBody::Desync { reason }, ..had };
                (self.state, self.lost) = (Some(desync), Some(desync));
                changes.push(desync);
            }
            (None, Some(state)) => {
                changes.extend([MarketEvent { body: EventBody::BookBegin, ..state }, state]);
            }
            (None, None) => {}
        }
        let has_trade = self.trades.iter().any(Option::is_some);
        self.held = has_trade
            || [self.top, self.oracle, self.lost].iter().any(Option::is_some)
            || self.has_book();
    }
    fn follow(&mut self, event: &MarketEvent) {
        match event.body {
            EventBody::BookBegin => self.book.clear(),
            EventBody::Level { side, price, qty } => {
                self.book.set(side, price, qty);
            }
            EventBody::BookCommit { .. } | EventBody::Desync { .. } => self.state = Some(*event),
            EventBody::Top { .. } => self.top = Some(*event),
            EventBody::Oracle { .. } => self.oracle = Some(*event),
            EventBody::Trade { .. } => {}
        }
    }

    fn absorb(&mut self, event: &MarketEvent) {
        self.follow(event);
        if let EventBody::Desync { .. } = event.body {
            self.lost = Some(*event);
        }
        if let EventBody::Trade { side, price, qty, count } = event.body {
            let slot = &mut self.trades[usize::from(side == Side::Ask)];
            let (sum, trades) = match slot.map(|held| held.body) {
                Some(EventBody::Trade { qty, count, .. }) => (qty, count),
                _ => (0, 0),
            };
            *slot = Some(MarketEvent {
                body: EventBody::Trade {
                    side,
                    price,
                    qty: qty.saturating_add(sum),
                    count: count.saturating_add(trades),
                },
                ..*event
            });
        }
    }

    /// How many slots `flush` needs at most.
    fn flush_slots(&self) -> usize {
        self.book.levels(Side::Bid).len() + self.book.levels(Side::Ask).len() + FLUSH_EXTRAS
    }

    fn flush(&mut self, emit: &mut impl FnMut(&MarketEvent)) {
        self.held = false;
        for trade in &mut self.trades {
            if let Some(event) = trade.take() {
                emit(&event);
            }
        }
        for event in self.top.iter().chain(&self.oracle) {
            emit(event);
        }
        if let Some(lost) = self.lost.take() {
            emit(&lost);
        }
        let synced = |event: &MarketEvent| matches!(event.body, EventBody::BookCommit { .. });
        let Some(state) = self.state.filter(synced) else { return };
        emit(&MarketEvent { body: EventBody::BookBegin, ..state });
        for side in [Side::Bid, Side::Ask] {
            for level in self.book.levels(side) {
                let body = EventBody::Level { side, price: level.price, qty: level.qty };
                emit(&MarketEvent { body, ..state });
            }
        }
        emit(&MarketEvent { body: EventBody::BookCommit { conflated: true }, ..state });
    }
}

/// One connection's conflation state.
#[derive(Debug)]
pub struct Conflator {
    /// The connection's instruments, ascending.
    instruments: Vec<InstrumentId>,
    /// In the order of `instruments`.
    shadows: Vec<Shadow>,
    held: usize,
    /// Events that were merged instead of passed on.
    conflated_events: u64,
    /// Times an instrument was passed on as its newest self.
    flushes: u64,
}

impl Conflator {
    /// Shadows for the books of these instruments, of `levels` a side.
    #[must_use]
    pub fn new(instruments: &[InstrumentId], levels: usize) -> Self {
        let mut instruments = instruments.to_vec();
        instruments.sort_unstable();
        let shadow = || Shadow {
            book: Book::with_depth(levels),
            state: None,
            lost: None,
            top: None,
            oracle: None,
            trades: [None; 2],
            held: false,
            floor_ns: i64::MIN,
        };
        Self {
            shadows: instruments.iter().map(|_| shadow()).collect(),
            instruments,
            held: 0,
            conflated_events: 0,
            flushes: 0,
        }
    }

    /// Free slots that a ring must be able to offer so that every instrument can be flushed.
    #[must_use]
    pub fn min_ring_items(levels: usize) -> usize {
        2 * levels + FLUSH_EXTRAS
    }

    /// Whether `offer` with that many events would simply pass them all on.
    #[must_use]
    pub fn passes(&self, events: usize, free: usize) -> bool {
        self.held == 0 && events <= free
    }

    /// Whether some instrument waits for room.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.held > 0
    }

    /// An instrument among those of these events whose newest state is a crossed book. A venue's book
    /// is never crossed after a complete message, so one that is has missed something.
    #[must_use]
    pub fn crossed(&self, events: &[MarketEvent]) -> Option<InstrumentId> {
        let last = events.last().filter(|e| matches!(e.body, EventBody::BookCommit { .. }))?;
        let shadow = &self.shadows[self.slot(last.instrument)?];
        (shadow.book.shape() == Shape::Crossed).then_some(last.instrument)
    }

    /// Books there are.
    #[must_use]
    pub fn books(&self) -> usize {
        self.shadows.iter().filter(|shadow| shadow.has_book()).count()
    }

    /// Whether this one, which has been offered no room, has a book wherever `old` has one.
    #[must_use]
    pub fn covers(&self, old: &Self) -> bool {
        let pairs = self.shadows.iter().zip(&old.shadows);
        pairs.into_iter().all(|(new, old)| new.has_book() || !old.has_book())
    }

    /// Takes the place of the conflator of the same instruments that has fed the ring so far, and its
    /// counts. Everything is held and goes out with the next offers, a book only once it is no older
    /// than the one that the engine has; books that `old` had and this one has not are given up.
    /// Returns the events in which books changed their state, to be told to those who watch.
    pub fn inherit(&mut self, old: &Self) -> Vec<MarketEvent> {
        let mut changes = Vec::new();
        for (shadow, before) in self.shadows.iter_mut().zip(&old.shadows) {
            shadow.inherit(before, &mut changes);
        }
        self.held = self.shadows.iter().filter(|shadow| shadow.held).count();
        (self.conflated_events, self.flushes) = old.counts();
        changes
    }

    fn slot(&self, instrument: InstrumentId) -> Option<usize> {
        self.instruments.binary_search(&instrument).ok()
    }

    /// Events merged so far, and flushes made.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.conflated_events, self.flushes)
    }

    /// Takes the events of one message when the ring has `free` slots; emits at most `free` events.
    pub fn offer(
        &mut self,
        events: &[MarketEvent],
        free: usize,
        emit: &mut impl FnMut(&MarketEvent),
    ) {
        let mut free = self.flush(free, emit);
        for group in events.chunk_by(|a, b| a.instrument == b.instrument) {
            // A session speaks of its own instruments only.
            let Some(slot) = self.slot(group[0].instrument) else { continue };
            let shadow = &mut self.shadows[slot];
            if !shadow.held && group.len() <= free {
                free -= group.len();
                for event in group {
                    shadow.follow(event);
                    emit(event);
                }
            } else {
                self.held += usize::from(!shadow.held);
                shadow.held = true;
                self.conflated_events += group.len() as u64;
                for event in group {
                    shadow.absorb(event);
                }
            }
        }
    }

    /// Passes on what is held, as far as `free` slots go; returns the slots left.
    pub fn flush(&mut self, mut free: usize, emit: &mut impl FnMut(&MarketEvent)) -> usize {
        if self.held == 0 {
            return free;
        }
        for shadow in self.shadows.iter_mut().filter(|s| s.held && !s.is_behind()) {
            if shadow.flush_slots() > free {
                break;
            }
            shadow.flush(&mut |event| {
                free -= 1;
                emit(event);
            });
            self.held -= 1;
            self.flushes += 1;
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use purkinje_feeds::{DesyncReason, InstrumentId};

    const LEVELS: usize = 8;

    fn event(instrument: u16, id: u64, body: EventBody) -> MarketEvent {
        MarketEvent {
            ts_venue_ns: 1,
            ts_sent_ns: 2,
            ts_recv_ns: 3,
            update_id: id,
            instrument: InstrumentId(instrument),
            body,
        }
    }

    fn level(instrument: u16, id: u64, price: i64, qty: i64) -> Vec<MarketEvent> {
        let side = if price < 100 { Side::Bid } else { Side::Ask };
        vec![
            event(instrument, id, EventBody::Level { side, price, qty }),
            event(instrument, id, EventBody::BookCommit { conflated: false }),
        ]
    }

    /// Side, price and quantity of every level; none while the book is lost.
    type Levels = Option<Vec<(Side, i64, i64)>>;

    /// What an engine would know after a stream of events.
    #[derive(Default)]
    struct View {
        books: std::collections::BTreeMap<u16, Levels>,
        traded: std::collections::BTreeMap<(u16, bool), (i64, u32)>,
    }

    fn view(events: &[MarketEvent]) -> View {
        let mut view = View::default();
        let mut books: std::collections::BTreeMap<u16, Book> = std::collections::BTreeMap::new();
        for e in events {
            let book = books.entry(e.instrument.0).or_insert_with(|| Book::with_depth(LEVELS));
            match e.body {
                EventBody::BookBegin => book.clear(),
                EventBody::Level { side, price, qty } => {
                    book.set(side, price, qty);
                }
                EventBody::BookCommit { .. } => {
                    let all = [Side::Bid, Side::Ask]
                        .iter()
                        .flat_map(|s| book.levels(*s).map(|l| (*s, l.price, l.qty)))
                        .collect();
                    view.books.insert(e.instrument.0, Some(all));
                }
                EventBody::Desync { .. } => {
                    view.books.insert(e.instrument.0, None);
                }
                EventBody::Trade { side, qty, count, .. } => {
                    let sum = view.traded.entry((e.instrument.0, side == Side::Bid)).or_default();
                    *sum = (sum.0 + qty, sum.1 + count);
                }
                _ => {}
            }
        }
        view
    }

    proptest! {
        #[test]
        fn whatever_the_room_the_engine_ends_up_with_the_venues_books_and_all_traded_volume(
            steps in prop::collection::vec((0..2u16, 95..105i64, 0..5i64, 0..4u8, 0..40usize), 1..60)
        ) {
            let mut conflator = Conflator::new(&[InstrumentId(1), InstrumentId(0)], LEVELS);
            let (mut all, mut passed) = (Vec::new(), Vec::new());
            // As a session does: a book that is lost comes back with a `BookBegin`.
            let mut lost = [true; 2];
            for (id, (instrument, price, qty, kind, free)) in steps.into_iter().enumerate() {
                let id = id as u64;
                let side = if price % 2 == 0 { Side::Bid } else { Side::Ask };
                let mut message = match kind {
                    0 => vec![event(instrument, id, EventBody::Trade { side, price, qty, count: 1 })],
                    1 if qty == 0 => vec![event(
                        instrument,
                        id,
                        EventBody::Desync { reason: DesyncReason::SequenceGap },
                    )],
                    _ => level(instrument, id, price, qty),
                };
                let lost = &mut lost[usize::from(instrument)];
                match message[0].body {
                    EventBody::Desync { .. } => *lost = true,
                    EventBody::Level { .. } if std::mem::take(lost) => {
                        message.insert(0, event(instrument, id, EventBody::BookBegin));
                    }
                    _ => {}
                }
                all.extend_from_slice(&message);
                let before = passed.len();
                conflator.offer(&message, free, &mut |e| passed.push(*e));
                prop_assert!(passed.len() - before <= free);
            }
            conflator.flush(usize::MAX, &mut |e| passed.push(*e));
            prop_assert!(!conflator.is_holding());
            let (want, got) = (view(&all), view(&passed));
            prop_assert_eq!(want.books, got.books);
            prop_assert_eq!(want.traded, got.traded);
        }
    }

    #[test]
    fn a_book_that_was_lost_and_replaced_while_held_is_told_as_lost_first() {
        let mut conflator = Conflator::new(&[InstrumentId(0)], LEVELS);
        let mut passed = Vec::new();
        let gap = EventBody::Desync { reason: DesyncReason::SequenceGap };
        let mut message = vec![event(0, 1, gap), event(0, 2, EventBody::BookBegin)];
        message.extend(level(0, 2, 99, 3));
        conflator.offer(&message, 0, &mut |e| passed.push(*e));
        assert!(passed.is_empty() && conflator.is_holding());
        conflator.flush(usize::MAX, &mut |e| passed.push(*e));
        assert_eq!(passed[0].body, gap);
        assert_eq!(passed.last().unwrap().body, EventBody::BookCommit { conflated: true });
        let free = passed.len();
        assert!(free <= Conflator::min_ring_items(1));
    }

    /// A whole book of one level as of a venue time.
    fn book(instrument: u16, ts_venue_ns: i64, price: i64) -> Vec<MarketEvent> {
        let mut message = vec![event(instrument, 1, EventBody::BookBegin)];
        message.extend(level(instrument, 1, price, 1));
        for event in &mut message {
            event.ts_venue_ns = ts_venue_ns;
        }
        message
    }

    fn bodies(events: &[MarketEvent]) -> Vec<(u16, EventBody)> {
        events.iter().map(|event| (event.instrument.0, event.body)).collect()
    }

    #[test]
    fn a_successor_passes_its_books_on_and_gives_up_what_it_has_not() {
        let ids = [InstrumentId(0), InstrumentId(1), InstrumentId(2)];
        let (mut old, mut new) = (Conflator::new(&ids, LEVELS), Conflator::new(&ids, LEVELS));
        let nowhere = &mut |_: &MarketEvent| {};
        // The old one has books of 0 and 1, the new one of 0 (lost and found on the way) and 2.
        old.offer(&book(0, 10, 98), usize::MAX, nowhere);
        old.offer(&book(1, 10, 98), usize::MAX, nowhere);
        new.offer(&book(0, 10, 98), 0, &mut |_| unreachable!("no room"));
        assert!(!new.covers(&old));
        let gap = EventBody::Desync { reason: DesyncReason::SequenceGap };
        new.offer(&[event(0, 2, gap)], 0, nowhere);
        new.offer(&book(0, 12, 99), 0, nowhere);
        new.offer(&book(2, 12, 99), 0, nowhere);

        let changes = new.inherit(&old);
        assert_eq!(new.counts(), (0, 0), "waiting for its turn was no conflation");
        let lost = EventBody::Desync { reason: DesyncReason::Disconnected };
        let (begin, commit) = (EventBody::BookBegin, EventBody::BookCommit { conflated: false });
        assert_eq!(bodies(&changes), [(1, lost), (2, begin), (2, commit)]);
        let mut passed = Vec::new();
        new.flush(usize::MAX, &mut |e| passed.push(*e));
        let level = EventBody::Level { side: Side::Bid, price: 99, qty: 1 };
        let whole = EventBody::BookCommit { conflated: true };
        assert_eq!(
            bodies(&passed),
            [(0, begin), (0, level), (0, whole), (1, lost), (2, begin), (2, level), (2, whole)]
        );
        assert!(!new.is_holding());
    }

    #[test]
    fn a_successor_that_is_behind_holds_its_book_until_it_is_not() {
        let ids = [InstrumentId(0)];
        let (mut old, mut new) = (Conflator::new(&ids, LEVELS), Conflator::new(&ids, LEVELS));
        old.offer(&book(0, 20, 97), usize::MAX, &mut |_| {});
        new.offer(&book(0, 10, 97), 0, &mut |_| {});
        assert!(new.covers(&old));
        assert_eq!(new.inherit(&old), []);
        let mut passed = Vec::new();
        new.flush(usize::MAX, &mut |e| passed.push(*e));
        assert_eq!(passed, []);
        for ts_venue_ns in [19, 20] {
            let mut update = level(0, 3, 98, 1);
            for event in &mut update {
                event.ts_venue_ns = ts_venue_ns;
            }
            new.offer(&update, usize::MAX, &mut |e| passed.push(*e));
            assert_eq!(passed, []);
        }
        new.flush(usize::MAX, &mut |e| passed.push(*e));
        assert_eq!(passed.len(), 4, "both levels, the newest state");
        new.offer(&level(0, 4, 99, 1), usize::MAX, &mut |e| passed.push(*e));
        assert_eq!(passed.len(), 6, "and from there on everything passes");
    }

    #[test]
    fn with_room_everything_passes_untouched() {
        let mut conflator = Conflator::new(&[InstrumentId(0)], LEVELS);
        let message = level(0, 1, 99, 3);
        let mut passed = Vec::new();
        assert!(conflator.passes(message.len(), 2));
        conflator.offer(&message, 2, &mut |e| passed.push(*e));
        assert_eq!(passed, message);
        assert_eq!(conflator.counts(), (0, 0));
    }
}
