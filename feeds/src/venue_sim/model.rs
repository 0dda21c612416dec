//! The market behind all dialects: the true books of several instruments, moved by a seed.
//!
//! Each step changes one instrument: a few absolute quantities near the top, inserts and deletes
//! among them, and now and then a trade that takes from the best level. Every numbering a venue may
//! use runs along ([`Ids`]).
//!
//! Invariants: a pure function of configuration and steps; no book is ever crossed or empty, prices
//! and quantities are positive multiples of the tick and the lot; a step's changes name each price
//! once, and applying them to the book before gives the book after.

use super::book::ModelBook;
use crate::Side;
use crate::sim::rng::Rng;
use thiserror::Error;

/// Most instruments of a model.
pub const MAX_INSTRUMENTS: usize = 1024;

/// An instrument as the simulated venue lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The venue's spelling.
    pub symbol: String,
    /// Prices are mantissas × 10^-`price_decimals`.
    pub price_decimals: u8,
    /// Quantities are mantissas × 10^-`qty_decimals`.
    pub qty_decimals: u8,
    /// Price step, as a price mantissa.
    pub tick: i64,
    /// Mid price at the start, as a price mantissa; at least 4 × levels ticks.
    pub start_price: i64,
}

impl Listing {
    /// A listing like that of a large perpetual: 2 price and 3 quantity decimals, price 60 000.00,
    /// tick 0.10.
    #[must_use]
    pub fn like_btc(symbol: &str) -> Self {
        Self {
            symbol: symbol.to_owned(),
            price_decimals: 2,
            qty_decimals: 3,
            tick: 10,
            start_price: 6_000_000,
        }
    }
}

/// What is simulated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelConfig {
    /// The instruments, 1 to 1024.
    pub listings: Vec<Listing>,
    /// Most levels per side, 8 to 5000; the book starts full. Default 100.
    pub levels: usize,
    /// Most changed levels in one step, 1 to 64. Default 6.
    pub max_changes: usize,
    /// One step in so many brings a trade, at least 1. Default 8.
    pub trade_one_in: u32,
    /// Model time between two steps, ns, at least 1. Default 1 ms.
    pub step_ns: i64,
    /// Model time at the start, ns since the epoch. Default 2026-01-01.
    pub start_ns: i64,
    /// What the randomness derives from.
    pub seed: u64,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            listings: vec![Listing::like_btc("BTCUSDT")],
            levels: 100,
            max_changes: 6,
            trade_one_in: 8,
            step_ns: 1_000_000,
            start_ns: 1_767_225_600_000_000_000,
            seed: 1,
        }
    }
}

/// Why a model was refused.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ModelError {
    /// A number is out of its range.
    #[error("model market: {key} is {found}, expected {expected}")]
    OutOfRange {
        /// Name of the field.
        key: &'static str,
        /// Its value.
        found: i128,
        /// What it may be.
        expected: &'static str,
    },
    /// A listing cannot be traded.
    #[error("model market: {symbol:?} has {key} {found}, expected {expected}")]
    Listing {
        /// Which listing.
        symbol: String,
        /// Name of the field.
        key: &'static str,
        /// Its value.
        found: i128,
        /// What it may be.
        expected: &'static str,
    },
    /// Two listings share a symbol.
    #[error("model market: symbol {symbol:?} is listed twice, expected distinct symbols")]
    Twice {
        /// The symbol.
        symbol: String,
    },
}

impl ModelConfig {
    /// Checks every value.
    ///
    /// # Errors
    /// The first value out of its range.
    pub fn validate(&self) -> Result<(), ModelError> {
        let checks = [
            ("listings", self.listings.len() as i128, 1, MAX_INSTRUMENTS as i128, "1 to 1024"),
            ("levels", self.levels as i128, 8, 5_000, "8 to 5000"),
            ("max_changes", self.max_changes as i128, 1, 64, "1 to 64"),
            ("trade_one_in", self.trade_one_in.into(), 1, u32::MAX.into(), "at least 1"),
            ("step_ns", self.step_ns.into(), 1, 86_400_000_000_000, "1 ns to a day"),
            ("start_ns", self.start_ns.into(), 0, 1 << 62, "0 to 2^62"),
        ];
        for (key, found, low, high, expected) in checks {
            if !(low..=high).contains(&found) {
                return Err(ModelError::OutOfRange { key, found, expected });
            }
        }
        for (at, listing) in self.listings.iter().enumerate() {
            let symbol = || listing.symbol.clone();
            if self.listings[..at].iter().any(|other| other.symbol == listing.symbol) {
                return Err(ModelError::Twice { symbol: symbol() });
            }
            let floor = i128::from(listing.tick) * 4 * self.levels as i128;
            let checks = [
                ("price_decimals", listing.price_decimals.into(), 0, 15, "0 to 15"),
                ("qty_decimals", listing.qty_decimals.into(), 0, 15, "0 to 15"),
                ("tick", listing.tick.into(), 1, 1 << 40, "1 to 2^40"),
                (
                    "start_price",
                    i128::from(listing.start_price),
                    floor,
                    1 << 58,
                    "4 x levels ticks to 2^58",
                ),
            ];
            for (key, found, low, high, expected) in checks {
                if !(low..=high).contains(&found) {
                    return Err(ModelError::Listing { symbol: symbol(), key, found, expected });
                }
            }
        }
        Ok(())
    }
}

/// The numbers of an update, in every style a venue may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// Dense ids of single changes: that of the first change (Binance spot `U`).
    pub first: u64,
    /// … of the last change (`u`); the next update's `first` is one more.
    pub last: u64,
    /// … of the last change of the update before.
    pub prev: u64,
    /// A sparse id, growing by 1 to 16 per update (USD-M `u`, OKX `seqId`, Deribit `change_id`).
    pub link: u64,
    /// The `link` of the update before.
    pub prev_link: u64,
    /// Updates of the instrument since its start or its last restart, from 1 (Bybit `u`).
    pub count: u64,
    /// Updates over all instruments, from 1 (Bybit `seq`).
    pub sequence: u64,
}

/// An absolute quantity at a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelChange {
    /// Side of the book.
    pub side: Side,
    /// Price mantissa.
    pub price: i64,
    /// Quantity mantissa from now on; 0: the level is deleted.
    pub qty: i64,
    /// Quantity mantissa before; 0: the level is new.
    pub qty_before: i64,
}

/// A trade at the best level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// Id, dense per instrument, from 1.
    pub id: u64,
    /// Price mantissa.
    pub price: i64,
    /// Quantity mantissa.
    pub qty: i64,
    /// Who crossed the spread.
    pub aggressor: Side,
}

/// What one step did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Which instrument.
    pub instrument: usize,
    /// When, ns since the epoch; grows strictly.
    pub venue_ns: i64,
    /// Its numbers.
    pub ids: Ids,
    /// Changed levels, each price once, at least one.
    pub changes: Vec<LevelChange>,
    /// A trade, already contained in `changes`.
    pub trade: Option<Trade>,
    /// The best level of a side changed.
    pub top_changed: bool,
}

/// One instrument.
#[derive(Clone, Debug)]
struct Instrument {
    book: ModelBook,
    rng: Rng,
    ids: Ids,
    /// The next link is small again.
    link_restarts: bool,
    trades: u64,
    updated_ns: i64,
}

/// The market.
#[derive(Clone, Debug)]
pub struct Model {
    config: ModelConfig,
    instruments: Vec<Instrument>,
    choice: Rng,
    now_ns: i64,
    sequence: u64,
    /// Reused for every step.
    update: Update,
}

impl Model {
    /// The market at its start: every book full, nothing numbered yet but one update each, which is
    /// the book itself.
    ///
    /// # Errors
    /// A value out of its range.
    pub fn new(config: ModelConfig) -> Result<Self, ModelError> {
        config.validate()?;
        let instruments = config
            .listings
            .iter()
            .enumerate()
            .map(|(at, listing)| Instrument::new(&config, listing, at as u64))
            .collect();
        let update = Update {
            instrument: 0,
            venue_ns: config.start_ns,
            ids: Ids::default(),
            changes: Vec::with_capacity(2 * config.max_changes + 2),
            trade: None,
            top_changed: false,
        };
        let (choice, now_ns) = (Rng::new(config.seed, 0), config.start_ns);
        Ok(Self { config, instruments, choice, now_ns, sequence: 0, update })
    }

    /// What is traded.
    #[must_use]
    pub fn listings(&self) -> &[Listing] {
        &self.config.listings
    }

    /// The true book of an instrument. `instrument` must be listed.
    #[must_use]
    pub fn book(&self, instrument: usize) -> &ModelBook {
        &self.instruments[instrument].book
    }

    /// Numbers of the last update of an instrument.
    #[must_use]
    pub fn ids(&self, instrument: usize) -> Ids {
        self.instruments[instrument].ids
    }

    /// Time of the last update of an instrument, ns since the epoch.
    #[must_use]
    pub fn updated_ns(&self, instrument: usize) -> i64 {
        self.instruments[instrument].updated_ns
    }

    /// Id of the last trade of an instrument, 0 before the first.
    #[must_use]
    pub fn last_trade_id(&self, instrument: usize) -> u64 {
        self.instruments[instrument].trades
    }

    /// Model time, ns since the epoch.
    #[must_use]
    pub fn now_ns(&self) -> i64 {
        self.now_ns
    }

    /// Time passes without an update; it never goes back.
    pub fn advance_to(&mut self, now_ns: i64) {
        self.now_ns = self.now_ns.max(now_ns);
    }

    /// Changes an instrument chosen at random.
    pub fn step(&mut self) -> &Update {
        let instrument = self.choice.below(self.instruments.len());
        self.step_instrument(instrument)
    }

    /// Changes that instrument, which must be listed.
    pub fn step_instrument(&mut self, instrument: usize) -> &Update {
        self.now_ns += self.config.step_ns;
        self.sequence += 1;
        let update = &mut self.update;
        let listing = &self.config.listings[instrument];
        let state = &mut self.instruments[instrument];
        let top = state.book.top();
        update.instrument = instrument;
        update.venue_ns = self.now_ns;
        update.changes.clear();
        state.change(&self.config, listing, update);
        state.number(update.changes.len() as u64, self.sequence);
        state.updated_ns = self.now_ns;
        update.ids = state.ids;
        update.top_changed = state.book.top() != top;
        update
    }

    /// The service restarts: [`Ids::count`] of the instrument is 1 again.
    pub fn restart_count(&mut self, instrument: usize) {
        self.instruments[instrument].ids.count = 1;
    }

    /// The service restarts: the next [`Ids::link`] of the instrument is small again, while
    /// [`Ids::prev_link`] still names the last one.
    pub fn restart_link(&mut self, instrument: usize) {
        self.instruments[instrument].link_restarts = true;
    }
}

/// The first link of an instrument.
const FIRST_LINK: u64 = 1_000_000;

impl Instrument {
    fn new(config: &ModelConfig, listing: &Listing, at: u64) -> Self {
        let mut rng = Rng::new(config.seed, at + 1);
        let mut book = ModelBook::default();
        let mid = listing.start_price / listing.tick * listing.tick;
        for depth in 0..config.levels as i64 {
            book.set(Side::Bid, mid - depth * listing.tick, quantity(&mut rng));
            book.set(Side::Ask, mid + (depth + 1) * listing.tick, quantity(&mut rng));
        }
        // As if one update had brought every level.
        let last = 2 * config.levels as u64;
        let ids =
            Ids { first: 1, last, prev: 0, link: FIRST_LINK, prev_link: 0, count: 1, sequence: 0 };
        Self { book, rng, ids, link_restarts: false, trades: 0, updated_ns: config.start_ns }
    }

    /// Numbers an update of `changes` levels.
    fn number(&mut self, changes: u64, sequence: u64) {
        let before = self.ids;
        let stride = 1 + self.rng.below(16) as u64;
        let restarts = std::mem::take(&mut self.link_restarts);
        let link = if restarts { stride } else { before.link + stride };
        self.ids = Ids {
            first: before.last + 1,
            last: before.last + changes,
            prev: before.last,
            link,
            prev_link: before.link,
            count: before.count + 1,
            sequence,
        };
    }

    /// Moves the book and writes what changed.
    fn change(&mut self, config: &ModelConfig, listing: &Listing, update: &mut Update) {
        let changes = &mut update.changes;
        update.trade = None;
        if self.rng.below(config.trade_one_in as usize) == 0 {
            update.trade = Some(self.trade(changes));
        }
        let wanted = 1 + self.rng.below(config.max_changes);
        for _ in 0..wanted {
            self.edit(config, listing, changes);
        }
        for side in [Side::Bid, Side::Ask] {
            self.bound(config, listing, changes, side);
        }
        // An insert and its delete within one step leave nothing to tell.
        changes.retain(|change| change.qty != change.qty_before);
        if changes.is_empty() {
            let best = self.book.levels(Side::Bid)[0];
            self.set(changes, Side::Bid, best.price, best.qty + 1);
        }
    }

    /// Takes from the best level, all of it one time in four.
    fn trade(&mut self, changes: &mut Vec<LevelChange>) -> Trade {
        let aggressor = if self.rng.below(2) == 0 { Side::Bid } else { Side::Ask };
        let hit = aggressor.opposite();
        let best = self.book.levels(hit)[0];
        let may_clear = self.book.levels(hit).len() > 1;
        let qty = if may_clear && (best.qty == 1 || self.rng.below(4) == 0) {
            best.qty
        } else {
            1 + self.rng.below((best.qty - 1).max(1) as usize) as i64
        };
        // The last level of a side is never taken whole.
        let left = if may_clear { best.qty - qty } else { (best.qty - qty).max(1) };
        self.set(changes, hit, best.price, left);
        self.trades += 1;
        Trade { id: self.trades, price: best.price, qty, aggressor }
    }

    /// One random edit near the top.
    fn edit(&mut self, config: &ModelConfig, listing: &Listing, changes: &mut Vec<LevelChange>) {
        let side = if self.rng.below(2) == 0 { Side::Bid } else { Side::Ask };
        let levels = self.book.levels(side);
        let held = levels.len();
        // The smallest of three: most edits are at the top, a few are deep.
        let depth = (0..3).map(|_| self.rng.below(held)).min().unwrap_or_default();
        let price = levels[depth].price;
        match self.rng.below(10) {
            0 | 1 if held > config.levels / 2 => self.set(changes, side, price, 0),
            // One step better than a level: into a hole, or inside the spread. Where the place is
            // taken, or belongs to the other side, the level itself changes.
            2..=4 => {
                let better = price + outward(side, -listing.tick);
                let price = if self.is_free(side, better) { better } else { price };
                let qty = quantity(&mut self.rng);
                self.set(changes, side, price, qty);
            }
            _ => {
                let qty = quantity(&mut self.rng);
                self.set(changes, side, price, qty);
            }
        }
    }

    /// Whether a price of that side is neither held nor at or beyond the other side's best.
    fn is_free(&self, side: Side, price: i64) -> bool {
        let best = self.book.levels(side.opposite()).first();
        let crosses = best.is_some_and(|best| match side {
            Side::Bid => price >= best.price,
            Side::Ask => price <= best.price,
        });
        !crosses && price > 0 && self.book.qty_at(side, price) == 0
    }

    /// Keeps a side between three quarters of its levels and all of them.
    fn bound(
        &mut self,
        config: &ModelConfig,
        listing: &Listing,
        changes: &mut Vec<LevelChange>,
        side: Side,
    ) {
        while let [.., worst] = self.book.levels(side)
            && self.book.levels(side).len() > config.levels
        {
            let price = worst.price;
            self.set(changes, side, price, 0);
        }
        if self.book.levels(side).len() < config.levels * 3 / 4
            && let [.., worst] = self.book.levels(side)
        {
            let price = worst.price + outward(side, listing.tick);
            if price > 0 {
                let qty = quantity(&mut self.rng);
                self.set(changes, side, price, qty);
            }
        }
    }

    /// Sets a level and notes it, once per price.
    fn set(&mut self, changes: &mut Vec<LevelChange>, side: Side, price: i64, qty: i64) {
        let qty_before = self.book.set(side, price, qty);
        match changes.iter_mut().find(|c| c.side == side && c.price == price) {
            Some(change) => change.qty = qty,
            None => changes.push(LevelChange { side, price, qty, qty_before }),
        }
    }
}

/// `step` away from the other side.
fn outward(side: Side, step: i64) -> i64 {
    if side == Side::Bid { -step } else { step }
}

/// A random quantity, 1 to 50 000 lots, small ones more often.
fn quantity(rng: &mut Rng) -> i64 {
    let scale = [50, 500, 5_000, 50_000][rng.below(4)];
    1 + rng.below(scale) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Naive = BTreeMap<i64, i64>;

    fn naive(book: &ModelBook, side: Side) -> Naive {
        book.levels(side).iter().map(|level| (level.price, level.qty)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn books_are_never_crossed_and_equal_a_replay_of_their_own_updates(
            seed in any::<u64>(),
            levels in 8_usize..200,
            max_changes in 1_usize..40,
            trade_one_in in 1_u32..20,
        ) {
            let listings = vec![Listing::like_btc("A"), Listing::like_btc("B")];
            let config =
                ModelConfig { listings, levels, max_changes, trade_one_in, seed, ..ModelConfig::default() };
            let mut model = Model::new(config).unwrap();
            let mut replay: Vec<[Naive; 2]> = (0..2)
                .map(|i| [Side::Bid, Side::Ask].map(|side| naive(model.book(i), side)))
                .collect();
            let mut before: Vec<Ids> = (0..2).map(|i| model.ids(i)).collect();
            for n in 1..=400 {
                let update = model.step().clone();
                let sides = &mut replay[update.instrument];
                prop_assert!(!update.changes.is_empty());
                for change in &update.changes {
                    let side = &mut sides[change.side as usize];
                    let old = if change.qty == 0 {
                        side.remove(&change.price)
                    } else {
                        side.insert(change.price, change.qty)
                    };
                    prop_assert_eq!(old.unwrap_or(0), change.qty_before);
                    prop_assert!(change.qty != change.qty_before && change.price > 0);
                }
                let book = model.book(update.instrument);
                prop_assert!(!book.is_crossed());
                for side in [Side::Bid, Side::Ask] {
                    prop_assert_eq!(&naive(book, side), &sides[side as usize]);
                    prop_assert!((1..=levels).contains(&book.levels(side).len()));
                }
                let (ids, last) = (update.ids, before[update.instrument]);
                prop_assert_eq!(ids.first, last.last + 1);
                prop_assert_eq!(ids.last, last.last + update.changes.len() as u64);
                prop_assert_eq!((ids.prev, ids.prev_link), (last.last, last.link));
                prop_assert_eq!((ids.count, ids.sequence), (last.count + 1, n));
                prop_assert!(ids.link > last.link);
                before[update.instrument] = ids;
            }
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_updates_and_another_does_not() {
        let run = |seed| {
            let mut model = Model::new(ModelConfig { seed, ..ModelConfig::default() }).unwrap();
            (0..200).map(|_| model.step().clone()).collect::<Vec<_>>()
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
        let updates = run(3);
        let trades = updates.iter().filter(|u| u.trade.is_some()).count();
        assert!((5..60).contains(&trades), "{trades} trades in 200 steps, one in 8 expected");
        assert!(updates.iter().any(|u| u.top_changed) && updates.iter().any(|u| !u.top_changed));
        assert!(updates.iter().flat_map(|u| &u.changes).any(|c| c.qty == 0), "no deletes");
        assert!(updates.iter().flat_map(|u| &u.changes).any(|c| c.qty_before == 0), "no inserts");
    }

    #[test]
    fn a_restart_begins_the_counts_anew_and_keeps_the_chain() {
        let mut model = Model::new(ModelConfig::default()).unwrap();
        let before = model.step().ids;
        model.restart_count(0);
        model.restart_link(0);
        assert_eq!(model.ids(0).count, 1);
        let after = model.step().ids;
        assert_eq!((after.count, after.prev_link), (2, before.link));
        assert!(after.link < before.link);
        let next = model.step().ids;
        assert!(next.link > after.link && next.prev_link == after.link);
    }

    #[test]
    fn every_refusal_names_the_value_and_what_was_expected() {
        type Change = fn(&mut ModelConfig);
        let cases: [(Change, &str); 5] = [
            (|c| c.listings.clear(), "listings is 0, expected 1 to 1024"),
            (|c| c.levels = 7, "levels is 7, expected 8 to 5000"),
            (|c| c.step_ns = 0, "step_ns is 0, expected 1 ns to a day"),
            (|c| c.listings[0].tick = 0, "\"BTCUSDT\" has tick 0, expected 1 to 2^40"),
            (|c| c.listings.push(Listing::like_btc("BTCUSDT")), "\"BTCUSDT\" is listed twice"),
        ];
        for (change, expected) in cases {
            let mut config = ModelConfig::default();
            change(&mut config);
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        }
    }
}
