//! A block of numbers that one hot thread publishes and slow threads read whole: a sequence lock over atomic words.
//!
//! The writer makes the sequence odd, stores the words and makes it even again; a reader that saw it odd, or saw it
//! change, reads once more. Invariants: there is one writer, who never waits, locks or allocates; what a reader gets
//! was published together; a reader gives up after [`READ_ATTEMPTS`] and keeps what it had.

use std::sync::{
    Arc,
    atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
        fence,
    },
};

/// How often a reader tries. A writer is done within microseconds, a hundred of which fit in here.
pub const READ_ATTEMPTS: u32 = 1_000;

#[derive(Debug)]
struct Shared {
    sequence: AtomicU64,
    words: Box<[AtomicU64]>,
}

/// The writing end.
#[derive(Debug)]
pub struct SeqlockWriter(Arc<Shared>);

/// A reading end.
#[derive(Clone, Debug)]
pub struct SeqlockReader(Arc<Shared>);

/// A block of so many words, all zero, and nothing published yet.
#[must_use]
pub fn seqlock(words: usize) -> (SeqlockWriter, SeqlockReader) {
    let words = (0..words).map(|_| AtomicU64::new(0)).collect();
    let shared = Arc::new(Shared { sequence: AtomicU64::new(0), words });
    (SeqlockWriter(shared.clone()), SeqlockReader(shared))
}

impl SeqlockWriter {
    /// Publishes words from the first on. Those beyond the block are left out, and words that were not given
    /// keep their values.
    pub fn publish(&mut self, words: impl IntoIterator<Item = u64>) {
        let Shared { sequence, words: slots } = &*self.0;
        let before = sequence.load(Relaxed);
        sequence.store(before.wrapping_add(1), Relaxed);
        // No word may become visible before the sequence is odd.
        fence(Release);
        for (slot, word) in slots.iter().zip(words) {
            slot.store(word, Relaxed);
        }
        sequence.store(before.wrapping_add(2), Release);
    }
}

impl SeqlockReader {
    /// Reads what was published last into a slice of at most the block's length; `false`, with the slice in no
    /// particular state, where nothing was published yet or the writer was in the way all the time.
    #[must_use]
    pub fn read(&self, into: &mut [u64]) -> bool {
        let Shared { sequence, words } = &*self.0;
        for _ in 0..READ_ATTEMPTS {
            let before = sequence.load(Acquire);
            if before == 0 {
                return false;
            }
            if before % 2 == 1 {
                std::hint::spin_loop();
                continue;
            }
            for (to, word) in into.iter_mut().zip(words) {
                *to = word.load(Relaxed);
            }
            // No word may be read after the sequence is looked at again.
            fence(Acquire);
            if sequence.load(Relaxed) == before {
                return true;
            }
        }
        false
    }

    /// How many words there are.
    #[must_use]
    pub fn words(&self) -> usize {
        self.0.words.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn nothing_is_read_before_the_first_publication_and_the_newest_after_it() {
        let (mut writer, reader) = seqlock(3);
        let mut words = [7; 3];
        assert!(!reader.read(&mut words));
        writer.publish([1, 2, 3, 4]);
        assert!(reader.read(&mut words));
        assert_eq!(words, [1, 2, 3]);
        writer.publish([9]);
        assert!(reader.read(&mut words));
        assert_eq!((words, reader.words()), ([9, 2, 3], 3));
    }

    #[test]
    fn what_is_read_was_published_together() {
        let (mut writer, reader) = seqlock(16);
        writer.publish([0; 16]);
        let done = Arc::new(AtomicBool::new(false));
        let stop = done.clone();
        let writing = std::thread::spawn(move || {
            let mut k = 0;
            while !stop.load(Relaxed) {
                k += 1;
                writer.publish([k; 16]);
            }
            k
        });
        let (mut words, mut last, mut reads) = ([0; 16], 0, 0);
        while reads < 20_000 {
            if reader.read(&mut words) {
                assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
                assert!(words[0] >= last, "time runs backwards");
                (last, reads) = (words[0], reads + 1);
            }
        }
        done.store(true, Relaxed);
        assert!(writing.join().unwrap() >= last);
    }
}
