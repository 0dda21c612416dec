//! The best levels of every book as slow threads may see them.
//!
//! After each cut the engine thread copies a few books, in turn, into blocks that readers read whole. Invariants: at
//! most [`LADDERS_PER_CYCLE`] books of [`LEVELS`] levels a side a cycle; nothing allocates after construction; a book
//! that is not verified is told as such, not shown.

use purkinje_feeds::{Book, Side, book::Level};

use super::seqlock::{SeqlockReader, SeqlockWriter, seqlock};

/// Levels shown a side.
pub const LEVELS: usize = 10;

/// Books copied a cycle; of more instruments, each is as old as the others take.
pub const LADDERS_PER_CYCLE: usize = 8;

/// Cycle, whether verified, levels of both sides.
const HEAD_WORDS: usize = 4;

const WORDS: usize = HEAD_WORDS + 2 * LEVELS * 2;

/// A book's best levels at a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// The cycle after whose cut they were copied.
    pub cycle: u64,
    /// Whether the book was verified; without it there are no levels.
    pub is_verified: bool,
    depths: [usize; 2],
    levels: [[Level; LEVELS]; 2],
}

impl Ladder {
    /// Levels of a side, best first; prices and quantities as mantissas.
    #[must_use]
    pub fn side(&self, side: Side) -> &[Level] {
        let at = usize::from(side == Side::Ask);
        &self.levels[at][..self.depths[at]]
    }
}

/// The engine thread's end.
#[derive(Debug)]
pub struct LadderWriter {
    slots: Vec<SeqlockWriter>,
    next: usize,
    words: [u64; WORDS],
}

/// The readers' end.
#[derive(Clone, Debug)]
pub struct Ladders(Vec<SeqlockReader>);

/// Both ends for so many instruments.
#[must_use]
pub fn ladders(instruments: usize) -> (LadderWriter, Ladders) {
    let (slots, readers) = (0..instruments).map(|_| seqlock(WORDS)).unzip();
    (LadderWriter { slots, next: 0, words: [0; WORDS] }, Ladders(readers))
}

impl LadderWriter {
    /// Copies the next few books; `book` gives that of an instrument, where it is verified.
    pub fn publish<'a>(&mut self, cycle: u64, book: impl Fn(usize) -> Option<&'a Book>) {
        for _ in 0..LADDERS_PER_CYCLE.min(self.slots.len()) {
            let at = self.next;
            self.next = (at + 1) % self.slots.len();
            let book = book(at);
            self.words[..HEAD_WORDS].copy_from_slice(&[cycle, u64::from(book.is_some()), 0, 0]);
            for (k, side) in [Side::Bid, Side::Ask].into_iter().enumerate() {
                let Some(book) = book else { continue };
                let slots = self.words[HEAD_WORDS + k * 2 * LEVELS..].chunks_exact_mut(2);
                let mut depth = 0;
                for (slot, level) in slots.take(LEVELS).zip(book.levels(side)) {
                    slot.copy_from_slice(&[level.price as u64, level.qty as u64]);
                    depth += 1;
                }
                self.words[2 + k] = depth;
            }
            self.slots[at].publish(self.words);
        }
    }
}

impl Ladders {
    /// An instrument's ladder; `None` where there is no such instrument, or none was copied yet.
    #[must_use]
    pub fn of(&self, instrument: usize) -> Option<Ladder> {
        let mut words = [0; WORDS];
        if !self.0.get(instrument)?.read(&mut words) {
            return None;
        }
        let [cycle, is_verified, bids, asks] = [words[0], words[1], words[2], words[3]];
        let level = |side: usize, k: usize| {
            let at = HEAD_WORDS + 2 * (side * LEVELS + k);
            Level { price: words[at] as i64, qty: words[at + 1] as i64 }
        };
        Some(Ladder {
            cycle,
            is_verified: is_verified == 1,
            depths: [bids as usize, asks as usize],
            levels: std::array::from_fn(|side| std::array::from_fn(|k| level(side, k))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_book_has_its_turn_and_one_that_is_lost_is_told_as_lost() {
        let mut book = Book::with_depth(50);
        for k in 0..20 {
            book.set(Side::Bid, -k, 5 + k);
        }
        book.set(Side::Ask, 3, 7);
        let (mut writer, ladders) = ladders(LADDERS_PER_CYCLE + 2);
        assert_eq!(ladders.of(0), None);
        writer.publish(1, |_| Some(&book));
        assert!(
            ladders.of(LADDERS_PER_CYCLE - 1).is_some() && ladders.of(LADDERS_PER_CYCLE).is_none()
        );
        let shown = ladders.of(0).unwrap();
        assert_eq!((shown.cycle, shown.is_verified), (1, true));
        let bids: Vec<_> = shown.side(Side::Bid).iter().map(|l| (l.price, l.qty)).collect();
        assert_eq!(bids, (0..LEVELS as i64).map(|k| (-k, 5 + k)).collect::<Vec<_>>());
        assert_eq!(shown.side(Side::Ask), [Level { price: 3, qty: 7 }]);
        writer.publish(2, |instrument| (instrument > 0).then_some(&book));
        let lost = ladders.of(0).unwrap();
        assert_eq!((lost.cycle, lost.is_verified, lost.side(Side::Bid).len()), (2, false, 0));
        assert!(ladders.of(LADDERS_PER_CYCLE + 1).unwrap().is_verified);
        assert_eq!(ladders.of(1_000), None);
    }
}
