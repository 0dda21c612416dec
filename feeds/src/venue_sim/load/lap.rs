//! A market that ends where it began: some updates forward, then the same ones undone in reverse.
//!
//! Every book passes through true states only, so it is never crossed, and the sizes of updates are
//! those of the model. Numbers start at 10^15, so that their width never changes.
//!
//! Invariants: the books after a lap are those before it; the numbers of a lap are those of the lap
//! before plus a constant per instrument.

use crate::venue_sim::book::ModelBook;
use crate::venue_sim::model::{Ids, LevelChange, Listing, Model, ModelConfig, ModelError};

/// Where all numbers start.
pub(crate) const FIRST_NUMBER: u64 = 1_000_000_000_000_000;

/// One update of a lap; its numbers are those of lap 0.
#[derive(Debug)]
pub(crate) struct LapUpdate {
    pub(crate) instrument: usize,
    pub(crate) changes: Vec<LevelChange>,
    pub(crate) venue_ns: i64,
    ids: Ids,
}

/// The whole round.
#[derive(Debug)]
pub(crate) struct Lap {
    pub(crate) listings: Vec<Listing>,
    pub(crate) updates: Vec<LapUpdate>,
    books: Vec<ModelBook>,
    start_ns: i64,
    /// What a lap adds to the numbers of each instrument.
    spans: Vec<Ids>,
}

/// A book with its numbers and time, at one moment of the round.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    pub(crate) book: ModelBook,
    pub(crate) ids: Ids,
    pub(crate) venue_ns: i64,
}

impl Lap {
    /// `updates` steps of the model and the same number back.
    pub(crate) fn new(config: &ModelConfig, updates: usize) -> Result<Self, ModelError> {
        let mut model = Model::new(config.clone())?;
        let listings = model.listings().to_vec();
        let books = (0..listings.len()).map(|i| model.book(i).clone()).collect();
        let mut steps: Vec<(usize, Vec<LevelChange>)> = Vec::with_capacity(2 * updates);
        for _ in 0..updates {
            let update = model.step();
            steps.push((update.instrument, update.changes.clone()));
        }
        for at in (0..updates).rev() {
            let (instrument, changes) = &steps[at];
            let undo = |c: &LevelChange| LevelChange { qty: c.qty_before, qty_before: c.qty, ..*c };
            steps.push((*instrument, changes.iter().map(undo).collect()));
        }
        let mut present = vec![start(); listings.len()];
        let updates: Vec<_> = steps
            .into_iter()
            .enumerate()
            .map(|(at, (instrument, changes))| {
                let ids = next(present[instrument], changes.len() as u64, at as u64);
                present[instrument] = ids;
                let venue_ns = config.start_ns + (at as i64 + 1) * config.step_ns;
                LapUpdate { instrument, changes, venue_ns, ids }
            })
            .collect();
        let total = updates.len() as u64;
        let spans = present.iter().map(|end| Ids { sequence: total, ..minus(end, &start()) });
        let spans = spans.collect();
        Ok(Self { listings, updates, books, start_ns: config.start_ns, spans })
    }

    /// The update at a place of the endless round.
    pub(crate) fn at(&self, place: u64) -> &LapUpdate {
        &self.updates[(place % self.updates.len() as u64) as usize]
    }

    /// The numbers of that update.
    pub(crate) fn ids_at(&self, place: u64) -> Ids {
        let update = self.at(place);
        self.in_lap(update.ids, update.instrument, place / self.updates.len() as u64)
    }

    /// The state of an instrument before the update at `place`.
    pub(crate) fn before(&self, place: u64, instrument: usize) -> Moment {
        let (lap, within) =
            (place / self.updates.len() as u64, (place % self.updates.len() as u64) as usize);
        let mut moment = Moment {
            book: self.books[instrument].clone(),
            ids: self.in_lap(start(), instrument, lap),
            venue_ns: self.start_ns,
        };
        for update in self.updates[..within].iter().filter(|u| u.instrument == instrument) {
            for change in &update.changes {
                moment.book.set(change.side, change.price, change.qty);
            }
            moment.ids = self.in_lap(update.ids, instrument, lap);
            moment.venue_ns = update.venue_ns;
        }
        moment
    }

    fn in_lap(&self, ids: Ids, instrument: usize, lap: u64) -> Ids {
        let span = &self.spans[instrument];
        Ids {
            first: ids.first + lap * span.first,
            last: ids.last + lap * span.last,
            prev: ids.prev + lap * span.prev,
            link: ids.link + lap * span.link,
            prev_link: ids.prev_link + lap * span.prev_link,
            count: ids.count + lap * span.count,
            sequence: ids.sequence + lap * span.sequence,
        }
    }
}

/// Numbers before the first update.
fn start() -> Ids {
    let n = FIRST_NUMBER;
    Ids { first: n, last: n, prev: n - 1, link: n, prev_link: n - 1, count: n, sequence: n }
}

/// Numbers of the update that follows, the `at`th of the lap over all instruments.
fn next(before: Ids, changes: u64, at: u64) -> Ids {
    Ids {
        first: before.last + 1,
        last: before.last + changes,
        prev: before.last,
        link: before.link + 1 + changes,
        prev_link: before.link,
        count: before.count + 1,
        sequence: FIRST_NUMBER + at + 1,
    }
}

/// How much each kind of number grew: that of the last update, so that chains hold across laps.
fn minus(end: &Ids, start: &Ids) -> Ids {
    let (last, link) = (end.last - start.last, end.link - start.link);
    Ids {
        first: last,
        last,
        prev: last,
        link,
        prev_link: link,
        count: end.count - start.count,
        sequence: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lap_returns_to_its_start_uncrossed_and_its_numbers_chain_into_the_next() {
        let listings = vec![Listing::like_btc("A"), Listing::like_btc("B")];
        let config = ModelConfig { listings, ..ModelConfig::default() };
        let lap = Lap::new(&config, 300).unwrap();
        let length = lap.updates.len() as u64;
        assert_eq!(length, 600);
        let mut last = [lap.before(0, 0), lap.before(0, 1)];
        for place in 0..2 * length {
            let (update, ids) = (lap.at(place), lap.ids_at(place));
            let moment = &mut last[update.instrument];
            for change in &update.changes {
                assert_eq!(
                    moment.book.set(change.side, change.price, change.qty),
                    change.qty_before
                );
            }
            assert!(!moment.book.is_crossed());
            assert_eq!(ids.first, moment.ids.last + 1);
            assert_eq!((ids.prev_link, ids.count), (moment.ids.link, moment.ids.count + 1));
            assert_eq!(ids.sequence, FIRST_NUMBER + place + 1);
            moment.ids = ids;
            if place % 97 == 0 || place % length == length - 1 {
                let now = lap.before(place + 1, update.instrument);
                assert_eq!((&now.book, now.ids.last), (&moment.book, ids.last), "{place}");
            }
        }
    }
}
