//! Where the models run, as slow threads may see it: the device by name, or the CPU and why.
//!
//! Invariants: the model thread writes, only when the place changes; news are kept until a bounded number of
//! later ones displaces them.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Most news kept.
const NEWS_MAX: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub struct BackendState {
    inner: Mutex<Inner>,
    losses: AtomicU64,
    returns: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    place: String,
    news: VecDeque<String>,
    /// News that were displaced.
    displaced: u64,
}

impl BackendState {
    /// The models run here from now on, without anything having happened.
    pub fn begin(&self, place: String) {
        self.inner().place = place;
    }

    /// A device was lost: the models run at `place` since.
    pub fn lost(&self, place: String, what: String) {
        self.losses.fetch_add(1, Relaxed);
        self.tell(Some(place), what);
    }

    /// A device is back.
    pub fn returned(&self, place: String, what: String) {
        self.returns.fetch_add(1, Relaxed);
        self.tell(Some(place), what);
    }

    /// Something happened that changes no place.
    pub fn note(&self, what: String) {
        self.tell(None, what);
    }

    /// Where the models run.
    #[must_use]
    pub fn place(&self) -> String {
        self.inner().place.clone()
    }

    /// Devices lost and devices gone back to.
    #[must_use]
    pub fn counts(&self) -> [u64; 2] {
        [self.losses.load(Relaxed), self.returns.load(Relaxed)]
    }

    /// The news that a reader has not read yet; `read` is the reader's own count of them.
    pub fn read_new(&self, read: &mut u64, mut each: impl FnMut(&str)) {
        let inner = self.inner();
        let kept = read.saturating_sub(inner.displaced) as usize;
        inner.news.iter().skip(kept).for_each(|what| each(what));
        *read = inner.displaced + inner.news.len() as u64;
    }

    fn tell(&self, place: Option<String>, what: String) {
        let mut inner = self.inner();
        if let Some(place) = place {
            inner.place = place;
        }
        if inner.news.len() == NEWS_MAX {
            inner.news.pop_front();
            inner.displaced += 1;
        }
        inner.news.push_back(what);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reader_reads_each_piece_of_news_once_and_old_ones_make_room() {
        let state = BackendState::default();
        state.begin("emulator".into());
        let mut read = 0;
        let mut told = Vec::new();
        state.read_new(&mut read, |what| told.push(what.to_owned()));
        assert!(told.is_empty());
        state.lost("cpu".into(), "gone".into());
        state.note("not yet".into());
        state.read_new(&mut read, |what| told.push(what.to_owned()));
        state.read_new(&mut read, |what| told.push(what.to_owned()));
        assert_eq!(told, ["gone", "not yet"]);
        assert_eq!((state.place(), state.counts()), ("cpu".to_owned(), [1, 0]));
        for k in 0..2 * NEWS_MAX {
            state.note(k.to_string());
        }
        told.clear();
        state.read_new(&mut read, |what| told.push(what.to_owned()));
        assert_eq!((told.len(), told[0].as_str()), (NEWS_MAX, "64"));
        state.returned("emulator".into(), "back".into());
        assert_eq!((state.place(), state.counts()), ("emulator".to_owned(), [1, 1]));
    }
}
