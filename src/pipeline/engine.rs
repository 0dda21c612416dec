//! Books and features of every instrument: a pure function of the ordered stream of inputs.
//!
//! Invariants: no clock is read, nothing allocates after [`Engine::new`]; nothing is read from a book
//! between the first level of a message and its commit; an instrument without a verified book
//! contributes no feature and is never `Ready`.

use purkinje_feeds::{Book, EventBody, InstrumentTable, MarketEvent, Side, book::Shape};
use purkinje_strategies::{
    features::{FeatureConfig, FeatureError, FeatureState, N as FEATURES, SCALES},
    normalise::{Normaliser, NormaliserConfig, NormaliserError, NormaliserKind},
};
use thiserror::Error;

use super::{
    batch::{CycleBatch, Row, Status},
    input::Cut,
    live_settings::LiveSettings,
};

/// Book levels that features look at, a side.
const FEATURE_LEVELS: usize = 20;

/// What the engine needs to know.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Cycle period, ms.
    pub cycle_ms: u32,
    /// Levels kept a side.
    pub levels: usize,
    /// An instrument whose book has not changed for longer than this is stale.
    pub stale_after_ns: i64,
    /// How features are brought to scale.
    pub normaliser: NormaliserKind,
    /// Its warm-up and memory.
    pub normaliser_config: NormaliserConfig,
}

/// Why an engine could not be built.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The features refuse the cycle.
    #[error(transparent)]
    Features(#[from] FeatureError),
    /// The normaliser refuses its settings.
    #[error(transparent)]
    Normaliser(#[from] NormaliserError),
}

/// Everything counted by the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounts {
    /// Events applied.
    pub events: u64,
    /// Complete book messages.
    pub commits: u64,
    /// Books that came through a full ring as one newest state.
    pub conflated_books: u64,
    /// Trades beyond the first in a summed trade event.
    pub conflated_trades: u64,
    /// Books lost (gap, bad message, disconnect, crossed).
    pub desyncs: u64,
    /// Books (re)built from a snapshot.
    pub syncs: u64,
    /// Commits after which the best bid was above the best offer.
    pub crossed_commits: u64,
    /// Commits after which the best bid equalled the best offer.
    pub locked_commits: u64,
    /// Cycles cut.
    pub cycles: u64,
    /// Cycles that could not be cut in time.
    pub missed_cycles: u64,
    /// Instruments published as ready with a crossed or locked book. Zero, or a bug.
    pub crossed_published: u64,
}

#[derive(Debug)]
struct Market {
    book: Book,
    synced: bool,
    /// A snapshot is being written into the book.
    filling: bool,
    shape: Shape,
    top: Option<Top>,
    price_scale: f64,
    qty_scale: f64,
    features: FeatureState,
    normaliser: Normaliser,
    ts_venue_ns: i64,
    ts_recv_ns: i64,
    /// When the book last changed. Never later than the newest cut, so that a clock that jumps back
    /// does not leave a mute book looking fresh until it has caught up.
    ts_book_ns: i64,
    recv_mono_ns: u64,
    oracle: f64,
}

/// The newest top of book, from the book itself or from the venue's faster stream.
#[derive(Clone, Copy, Debug)]
struct Top {
    update_id: u64,
    bid_price: i64,
    ask_price: i64,
    imbalance: f64,
}

/// The engine's whole state.
#[derive(Debug)]
pub struct Engine {
    markets: Vec<Market>,
    counts: EngineCounts,
    stale_after_ns: i64,
    halted: bool,
    settings: Option<LiveSettings>,
    /// The instrument of the frame that is being applied.
    current: usize,
    raw: [f32; FEATURES],
    ladder: [[(f64, f64); FEATURE_LEVELS]; 2],
}

impl Engine {
    /// Empty books for every instrument of the table.
    ///
    /// # Errors
    /// Features or normaliser refuse their settings.
    pub fn new(table: &InstrumentTable, config: &EngineConfig) -> Result<Self, EngineError> {
        let market = |i: &purkinje_feeds::Instrument| -> Result<Market, EngineError> {
            let (kind, numbers) = (config.normaliser, &config.normaliser_config);
            Ok(Market {
                book: Book::with_depth(config.levels),
                synced: false,
                filling: false,
                shape: Shape::Empty,
                top: None,
                price_scale: i.price(1),
                qty_scale: i.qty(1),
                features: FeatureState::new(&FeatureConfig { cycle_ms: config.cycle_ms })?,
                normaliser: Normaliser::with_scales(kind, &SCALES, numbers)?,
                ts_venue_ns: 0,
                ts_recv_ns: 0,
                ts_book_ns: i64::MIN,
                recv_mono_ns: 0,
                oracle: f64::NAN,
            })
        };
        Ok(Self {
            markets: table.iter().map(|(_, i)| market(i)).collect::<Result<_, _>>()?,
            counts: EngineCounts::default(),
            stale_after_ns: config.stale_after_ns,
            halted: false,
            settings: None,
            current: 0,
            raw: [0.0; FEATURES],
            ladder: [[(0.0, 0.0); FEATURE_LEVELS]; 2],
        })
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> EngineCounts {
        self.counts
    }

    /// An instrument's book; `None` while it is not verified, or where there is no such instrument.
    #[must_use]
    pub fn verified_book(&self, instrument: usize) -> Option<&Book> {
        self.markets
            .get(instrument)
            .filter(|market| market.synced && !market.filling)
            .map(|market| &market.book)
    }

    /// Halts or resumes: a halted cycle is cut as usual and yields HOLD only.
    pub fn set_halted(&mut self, halted: bool) {
        self.halted = halted;
    }

    /// Other settings from the next cycle on, here and in what is behind.
    pub fn change(&mut self, settings: &LiveSettings) {
        self.stale_after_ns = settings.stale_after_ms.saturating_mul(1_000_000);
        self.settings = Some(*settings);
    }

    /// Applies one event.
    pub fn apply(&mut self, event: &MarketEvent) {
        self.counts.events += 1;
        self.current = event.instrument.index();
        let Some(market) = self.markets.get_mut(self.current) else { return };
        if event.ts_venue_ns != 0 {
            market.ts_venue_ns = event.ts_venue_ns;
        }
        match event.body {
            EventBody::BookBegin => {
                market.book.clear();
                market.filling = true;
            }
            EventBody::Level { side, price, qty } => {
                market.book.set(side, price, qty);
            }
            EventBody::BookCommit { conflated } => {
                market.ts_recv_ns = event.ts_recv_ns;
                market.ts_book_ns = event.ts_recv_ns;
                self.counts.commits += 1;
                self.counts.conflated_books += u64::from(conflated);
                if market.filling {
                    market.filling = false;
                    market.book.mark_truncated();
                    // A conflated book is a whole one, too, but it was never lost.
                    self.counts.syncs += u64::from(!market.synced);
                    market.synced = true;
                }
                market.shape = market.book.shape();
                self.counts.crossed_commits += u64::from(market.shape == Shape::Crossed);
                self.counts.locked_commits += u64::from(market.shape == Shape::Locked);
                market.top_from_book(event);
            }
            EventBody::Top { bid_price, bid_qty, ask_price, ask_qty } => {
                market.ts_recv_ns = event.ts_recv_ns;
                market.take_top(event, [bid_price, bid_qty, ask_price, ask_qty]);
            }
            EventBody::Trade { side, price, qty, count } => {
                market.ts_recv_ns = event.ts_recv_ns;
                self.counts.conflated_trades += u64::from(count.saturating_sub(1));
                if market.synced {
                    let (price, qty) =
                        (price as f64 * market.price_scale, qty as f64 * market.qty_scale);
                    market.features.on_trade(event.ts_recv_ns, side, price, qty, count);
                }
            }
            EventBody::Desync { .. } => {
                self.counts.desyncs += 1;
                market.synced = false;
                market.filling = false;
                market.top = None;
                market.features.reset();
            }
            EventBody::Oracle { p_up_ppb, .. } => {
                market.oracle = f64::from(p_up_ppb) * 1e-9;
            }
        }
    }

    /// The events of one frame are complete; its bytes left the socket at `recv_mono_ns`.
    pub fn frame_end(&mut self, recv_mono_ns: u64) {
        if let Some(market) = self.markets.get_mut(self.current) {
            market.recv_mono_ns = recv_mono_ns;
        }
    }

    /// Cuts a cycle: closes the feature windows and fills the batch.
    pub fn cut(&mut self, cut: Cut, batch: &mut CycleBatch) {
        self.counts.cycles += 1;
        self.counts.missed_cycles += u64::from(cut.missed);
        batch.cut = cut;
        (batch.halted, batch.settings) = (self.halted, self.settings);
        let rows = batch.rows.iter_mut().zip(batch.features.chunks_exact_mut(FEATURES));
        for (market, (row, features)) in self.markets.iter_mut().zip(rows) {
            market.ts_book_ns = market.ts_book_ns.min(cut.ts_cycle_ns);
            market.show_book(&mut self.ladder, cut.ts_cycle_ns);
            // The buckets close in every cycle, so that windows mean the same for all instruments.
            market.features.cut(cut.ts_cycle_ns, &mut self.raw);
            *row = market.row(cut.ts_cycle_ns, self.stale_after_ns);
            if row.status == Status::Ready {
                market.normaliser.apply(&self.raw, features);
                self.counts.crossed_published += u64::from(market.shape != Shape::Normal);
            } else {
                features.fill(0.0);
            }
        }
    }
}

impl Market {
    fn top_from_book(&mut self, event: &MarketEvent) {
        if !self.synced {
            return;
        }
        if let (Some(bid), Some(ask)) = (self.book.best(Side::Bid), self.book.best(Side::Ask)) {
            self.take_top(event, [bid.price, bid.qty, ask.price, ask.qty]);
        }
    }

    /// Accepts a top of book that is not older than the one held.
    fn take_top(&mut self, event: &MarketEvent, [bid, bid_qty, ask, ask_qty]: [i64; 4]) {
        if !self.synced || self.top.is_some_and(|top| top.update_id > event.update_id) {
            return;
        }
        let (b, a) = (bid_qty as f64 * self.qty_scale, ask_qty as f64 * self.qty_scale);
        let total = b + a;
        self.top = Some(Top {
            update_id: event.update_id,
            bid_price: bid,
            ask_price: ask,
            imbalance: if total > 0.0 { (b - a) / total } else { 0.0 },
        });
        let (bid, ask) = (bid as f64 * self.price_scale, ask as f64 * self.price_scale);
        self.features.on_top(event.ts_recv_ns, bid, b, ask, a);
    }

    /// Shows the features the first levels of a verified book.
    fn show_book(&mut self, ladder: &mut [[(f64, f64); FEATURE_LEVELS]; 2], ts_cycle_ns: i64) {
        if !self.synced {
            return;
        }
        let mut depth = [0; 2];
        for (side, (out, n)) in
            [Side::Bid, Side::Ask].into_iter().zip(ladder.iter_mut().zip(&mut depth))
        {
            for (level, slot) in self.book.levels(side).zip(out.iter_mut()) {
                *slot = (level.price as f64 * self.price_scale, level.qty as f64 * self.qty_scale);
                *n += 1;
            }
        }
        let [bids, asks] = ladder;
        self.features.on_book(ts_cycle_ns, &bids[..depth[0]], &asks[..depth[1]]);
    }

    fn row(&self, ts_cycle_ns: i64, stale_after_ns: i64) -> Row {
        let book_age_ns = ts_cycle_ns.saturating_sub(self.ts_book_ns);
        let base = Row {
            ts_venue_ns: self.ts_venue_ns,
            ts_recv_ns: self.ts_recv_ns,
            book_age_ns,
            recv_mono_ns: self.recv_mono_ns,
            oracle: self.oracle,
            ..Row::EMPTY
        };
        let Some(top) = self.top.filter(|_| self.synced) else { return base };
        let status = if self.shape != Shape::Normal || top.bid_price >= top.ask_price {
            Status::Crossed
        } else if book_age_ns > stale_after_ns {
            Status::Stale
        } else if self.features.warm() {
            Status::Ready
        } else {
            Status::WarmingUp
        };
        Row {
            status,
            // Two prices near the end of the range are input, too.
            mid_x2: top.bid_price.saturating_add(top.ask_price),
            queue_imbalance: [top.imbalance as f32, self.depth_imbalance(5) as f32],
            ..base
        }
    }

    fn depth_imbalance(&self, levels: usize) -> f64 {
        let sum = |side| self.book.levels(side).take(levels).map(|l| l.qty as f64).sum::<f64>();
        let (bid, ask) = (sum(Side::Bid), sum(Side::Ask));
        if bid + ask > 0.0 { (bid - ask) / (bid + ask) } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_feeds::{Instrument, InstrumentId, Venue};

    const CYCLE_NS: i64 = 100_000_000;
    const STALE_AFTER_NS: i64 = 2_000_000_000;
    const START_NS: i64 = 1_700_000_000_000_000_000;

    fn engine() -> (Engine, CycleBatch) {
        let table = InstrumentTable::new(vec![Instrument {
            venue: Venue::BinanceUsdm,
            symbol: "SIMA".into(),
            price_decimals: 2,
            qty_decimals: 2,
        }])
        .unwrap();
        let config = EngineConfig {
            cycle_ms: 100,
            levels: 10,
            stale_after_ns: STALE_AFTER_NS,
            normaliser: NormaliserKind::RobustZ,
            normaliser_config: NormaliserConfig::default(),
        };
        (Engine::new(&table, &config).unwrap(), CycleBatch::new(1))
    }

    fn apply(engine: &mut Engine, ts_recv_ns: i64, bodies: &[EventBody]) {
        for &body in bodies {
            engine.apply(&MarketEvent {
                ts_venue_ns: ts_recv_ns,
                ts_sent_ns: ts_recv_ns,
                ts_recv_ns,
                update_id: 1,
                instrument: InstrumentId(0),
                body,
            });
        }
    }

    fn book(bid: i64, ask: i64) -> [EventBody; 4] {
        [
            EventBody::BookBegin,
            EventBody::Level { side: Side::Bid, price: bid, qty: 100 },
            EventBody::Level { side: Side::Ask, price: ask, qty: 100 },
            EventBody::BookCommit { conflated: false },
        ]
    }

    fn cut(engine: &mut Engine, batch: &mut CycleBatch, cycle: u64, ts_cycle_ns: i64) -> Row {
        engine.cut(Cut { cycle, ts_cycle_ns, missed: 0 }, batch);
        batch.rows[0]
    }

    #[test]
    fn trades_alone_do_not_keep_a_book_fresh() {
        let (mut engine, mut batch) = engine();
        apply(&mut engine, START_NS, &book(9_999, 10_001));
        let trade = EventBody::Trade { side: Side::Bid, price: 10_001, qty: 1, count: 1 };
        let mut last = Status::Unsynchronised;
        for cycle in 1..=30 {
            let now = START_NS + cycle * CYCLE_NS;
            apply(&mut engine, now, &[trade]);
            let row = cut(&mut engine, &mut batch, cycle as u64, now);
            assert_eq!(row.ts_recv_ns, now, "the newest input is the trade");
            last = row.status;
        }
        assert_eq!(last, Status::Stale);
    }

    #[test]
    fn a_clock_that_jumps_back_does_not_make_a_mute_book_fresh_for_the_length_of_the_jump() {
        let (mut engine, mut batch) = engine();
        apply(&mut engine, START_NS, &book(9_999, 10_001));
        cut(&mut engine, &mut batch, 1, START_NS + CYCLE_NS);
        let back_ns = START_NS - 3_600_000_000_000;
        let fresh = cut(&mut engine, &mut batch, 2, back_ns);
        assert_ne!(fresh.status, Status::Stale);
        let mute = cut(&mut engine, &mut batch, 3, back_ns + STALE_AFTER_NS + 1);
        assert_eq!(mute.status, Status::Stale);
    }

    #[test]
    fn prices_at_the_end_of_the_range_do_not_overflow_the_mid_price() {
        let (mut engine, mut batch) = engine();
        apply(&mut engine, START_NS, &book(i64::MAX - 1, i64::MAX));
        let row = cut(&mut engine, &mut batch, 1, START_NS + CYCLE_NS);
        assert_eq!(row.mid_x2, i64::MAX);
    }
}
