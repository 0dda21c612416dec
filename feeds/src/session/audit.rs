//! The check of a book whose stream proves nothing: now and then a REST snapshot is compared with it.
//!
//! Some venues number their updates by time alone, or not at all, so that a lost one leaves no trace. An
//! audit asks for a snapshot while the stream goes on, brings it up to date with the updates that are
//! newer than it, and compares the best levels. Invariants: nothing is compared before an update newer
//! than the snapshot was applied to both, since the stream may lag behind REST; a single difference is
//! no verdict (a venue that batches its updates may show a state that the stream never does), two in a
//! row are; when to ask depends on receive times of updates only, so a replay asks at the same places;
//! allocates nothing after construction.

use super::buffer::{DiffBuffer, DiffHeader, LevelUpdate};
use crate::{Book, Side};

/// Best levels a side that are compared.
const COMPARED_LEVELS: usize = 20;

/// Levels a side that are kept, so that deletes of the best leave enough to compare.
const KEPT_LEVELS: usize = 200;

/// Updates, and levels in them, that may come between question and answer.
const BUFFER: (usize, usize) = (1_024, 16_384);

/// Differences in a row that are a verdict.
const STRIKES: u8 = 2;

/// What an audit wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Nothing.
    None,
    /// A REST snapshot.
    Snapshot,
    /// It was compared, and was the same.
    Passed,
    /// It was compared, and the book is another one.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Asked,
    /// The answer waits for an update newer than it.
    Held {
        id: u64,
    },
}

/// The audit of one instrument.
#[derive(Debug)]
pub(crate) struct Audit {
    every_ns: i64,
    /// When to ask; `None` counts from the next update on.
    due_ns: Option<i64>,
    state: State,
    strikes: u8,
    /// What the stream says.
    book: Book,
    /// What REST says.
    shadow: Book,
    buffer: DiffBuffer,
}

impl Audit {
    pub(crate) fn new(every_ns: i64) -> Self {
        let book = || Book::with_depth(KEPT_LEVELS);
        let buffer = DiffBuffer::new(BUFFER.0, BUFFER.1);
        let (due_ns, strikes) = (None, 0);
        Self { every_ns, due_ns, state: State::Idle, strikes, book: book(), shadow: book(), buffer }
    }

    /// Whether a snapshot that arrives now is the answer.
    pub(crate) fn is_asked(&self) -> bool {
        self.state == State::Asked
    }

    /// The book was published anew.
    pub(crate) fn begin(&mut self, levels: &[LevelUpdate], now_ns: i64) {
        self.end();
        self.strikes = 0;
        self.due_ns = Some(now_ns.saturating_add(self.every_ns));
        load(&mut self.book, levels);
    }

    /// The book was given up, or the question came to nothing.
    pub(crate) fn end(&mut self) {
        self.state = State::Idle;
        self.buffer.clear();
    }

    /// The question came to nothing; another follows in due time.
    pub(crate) fn failed(&mut self) {
        self.end();
        self.due_ns = None;
    }

    /// Levels that belong to the book as it was published.
    pub(crate) fn seed(&mut self, levels: impl Iterator<Item = LevelUpdate>) {
        apply(&mut self.book, levels);
    }

    /// An update was applied to the published book.
    pub(crate) fn update(
        &mut self,
        header: DiffHeader,
        levels: &[LevelUpdate],
        now_ns: i64,
    ) -> Wish {
        self.seed(levels.iter().copied());
        let due_ns = *self.due_ns.get_or_insert(now_ns.saturating_add(self.every_ns));
        match self.state {
            State::Idle if now_ns >= due_ns => {
                self.state = State::Asked;
                Wish::Snapshot
            }
            State::Asked => {
                let dropped = self.buffer.dropped();
                if !self.buffer.push(header, levels) || self.buffer.dropped() > dropped {
                    // Too slow an answer to be brought up to date.
                    self.failed();
                }
                Wish::None
            }
            State::Held { id } if header.ids.last > id => {
                apply(&mut self.shadow, levels.iter().copied());
                self.compare(now_ns)
            }
            _ => Wish::None,
        }
    }

    /// The answer.
    pub(crate) fn answer(&mut self, id: u64, levels: &[LevelUpdate], now_ns: i64) -> Wish {
        load(&mut self.shadow, levels);
        let mut is_reached = false;
        for (header, levels) in self.buffer.iter() {
            if header.ids.last > id {
                is_reached = true;
                apply(&mut self.shadow, levels);
            }
        }
        self.buffer.clear();
        self.state = State::Held { id };
        if is_reached { self.compare(now_ns) } else { Wish::None }
    }

    fn compare(&mut self, now_ns: i64) -> Wish {
        self.state = State::Idle;
        if [Side::Bid, Side::Ask].into_iter().all(|side| is_same(&self.book, &self.shadow, side)) {
            self.strikes = 0;
            self.due_ns = Some(now_ns.saturating_add(self.every_ns));
            return Wish::Passed;
        }
        self.strikes += 1;
        if self.strikes < STRIKES {
            self.due_ns = Some(now_ns);
            return Wish::None;
        }
        Wish::Failed
    }
}

fn load(book: &mut Book, levels: &[LevelUpdate]) {
    book.clear();
    apply(book, levels.iter().copied());
}

fn apply(book: &mut Book, levels: impl Iterator<Item = LevelUpdate>) {
    for LevelUpdate { side, price, qty, .. } in levels {
        book.set(side, price, qty);
    }
}

/// Whether the best levels are the same, as far as both books are complete.
fn is_same(a: &Book, b: &Book, side: Side) -> bool {
    let is_known = |price: i64| {
        [a, b].iter().all(|book| {
            book.complete_to(side).is_none_or(|limit| match side {
                Side::Bid => price >= limit,
                Side::Ask => price <= limit,
            })
        })
    };
    let known = |book: &Book| {
        COMPARED_LEVELS.min(book.levels(side).take_while(|l| is_known(l.price)).count())
    };
    known(a) == known(b) && a.levels(side).take(known(a)).eq(b.levels(side).take(known(b)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::UpdateIds;

    fn level(side: Side, price: i64, qty: i64) -> LevelUpdate {
        LevelUpdate { side, price, qty, digits: [0; 2] }
    }

    fn header(last: u64) -> DiffHeader {
        let ids = UpdateIds::unlinked(last);
        DiffHeader { ids, ts_venue_ns: 0, ts_sent_ns: 0, checksum: None }
    }

    /// Published at time 0 with one bid and one offer; an audit is due every 100.
    fn published() -> (Audit, Vec<LevelUpdate>) {
        let levels = vec![level(Side::Bid, 10, 1), level(Side::Ask, 11, 1)];
        let mut audit = Audit::new(100);
        audit.begin(&levels, 0);
        (audit, levels)
    }

    #[test]
    fn a_book_that_is_the_same_passes_once_an_update_is_newer_than_the_snapshot() {
        let (mut audit, mut levels) = published();
        assert_eq!(audit.update(header(50), &[], 99), Wish::None);
        assert_eq!(audit.update(header(51), &[], 100), Wish::Snapshot);
        let new = [level(Side::Bid, 9, 5)];
        assert_eq!(audit.update(header(52), &new, 101), Wish::None);
        levels.extend(new);
        // The snapshot is ahead of the stream.
        levels.push(level(Side::Bid, 10, 7));
        assert_eq!(audit.answer(60, &levels, 102), Wish::None);
        let catches_up = [level(Side::Bid, 10, 7), level(Side::Ask, 11, 2)];
        assert_eq!(audit.update(header(61), &catches_up, 103), Wish::Passed);
        assert_eq!(audit.update(header(62), &[], 202), Wish::None);
        assert_eq!(audit.update(header(63), &[], 203), Wish::Snapshot);
    }

    #[test]
    fn two_differences_in_a_row_are_a_verdict_and_one_is_not() {
        let (mut audit, levels) = published();
        let mut other = levels.clone();
        other.push(level(Side::Bid, 9, 5));
        let mut wishes = Vec::new();
        for (round, answer) in [&other, &levels, &other, &other].into_iter().enumerate() {
            let at = 1_000 * (round as i64 + 1);
            let id = at as u64;
            assert_eq!(audit.update(header(id), &[], at), Wish::Snapshot);
            assert_eq!(audit.update(header(id + 2), &[], at + 1), Wish::None);
            wishes.push(audit.answer(id + 1, answer, at + 2));
        }
        assert_eq!(wishes, [Wish::None, Wish::Passed, Wish::None, Wish::Failed]);
    }

    #[test]
    fn an_answer_that_comes_too_late_is_given_up() {
        let (mut audit, levels) = published();
        assert_eq!(audit.update(header(1), &[], 100), Wish::Snapshot);
        for id in 2..2_000 {
            audit.update(header(id), &levels, 101);
        }
        assert!(!audit.is_asked());
        assert_eq!(audit.update(header(2_000), &[], 300), Wish::Snapshot);
    }

    #[test]
    fn levels_that_one_of_the_books_let_go_are_not_compared() {
        let many: Vec<_> = (0..300).map(|i| level(Side::Bid, 1_000 - i, 1)).collect();
        let mut audit = Audit::new(100);
        audit.begin(&many, 0);
        let deletes: Vec<_> = (0..190).map(|i| level(Side::Bid, 1_000 - i, 0)).collect();
        assert_eq!(audit.update(header(1), &deletes, 100), Wish::Snapshot);
        assert_eq!(audit.update(header(3), &[], 101), Wish::None);
        // The snapshot has levels that were evicted from our book, which knows no better.
        let rest: Vec<_> = (190..300).map(|i| level(Side::Bid, 1_000 - i, 1)).collect();
        assert_eq!(audit.answer(2, &rest, 102), Wish::Passed);
    }
}
