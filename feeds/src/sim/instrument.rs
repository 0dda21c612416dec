//! One simulated instrument: a hidden state, the price it drives, and a book that hints at both.
//!
//! What is known of the future is `x` alone. Moves of the price are drawn at the moment they
//! happen; sizes, trade signs and the order flow are drawn from `x` and the past, never from a
//! move that is still to come. An estimator of `x` is therefore all that a forecaster can be, and
//! [`Oracle`](super::Oracle) is the best one.
//!
//! Invariants: at most one event per call of [`SimInstrument::step`], in time order; a depth frame
//! holds exactly the difference between the ladder last published and the present one, so the
//! frames chain without a gap; the top of book is published with every change of it, and a depth
//! frame follows at once when the price moved.

use super::config::{Listing, MarketConfig};
use super::flow::Flow;
use super::ladder::{LEVELS, Ladder};
use super::oracle::{Oracle, logistic};
use super::regime::Regime;
use super::rng::Rng;
use super::wire::{self, DepthIds, Names, Outbox, Print, StreamKind};
use crate::Side;

/// Depth changes are published this often, as often as the recorded `@depth@0ms` stream does.
const DEPTH_PERIOD_NS: i64 = 50_000_000;

/// Forecasts are published this often.
const ORACLE_PERIOD_NS: i64 = 50_000_000;

/// Levels whose sizes lean with the hidden state.
const TILTED: usize = 10;

/// A unit of `x` multiplies bid sizes by e^TILT and divides ask sizes by it.
const TILT: f64 = 0.6;

/// Standard deviation of the log-size of the best level: alone it tells little about `x`.
const TOP_NOISE: f64 = 1.0;

/// Standard deviation of the log-size of the other tilted levels: together they tell much.
const NEAR_NOISE: f64 = 0.4;

/// Standard deviation of the log-size further out.
const FAR_NOISE: f64 = 0.9;

/// How much of a level's noise survives when orders there come and go.
const NOISE_KEPT: f64 = 0.8;

/// Orders among the tilted levels between two depth frames, beside those of the flow.
const NEAR_CHURN: usize = 12;

/// The same further out.
const FAR_CHURN: usize = 4;

/// Part of the levels further out that are empty.
const FAR_EMPTY: f64 = 0.15;

/// Log-odds of a buyer as aggressor, per unit of `x`.
const TRADE_LEAN: f64 = 0.8;

/// Part of the flow that trades; it takes a little from the best level.
const TRADE_PART: f64 = 0.3;

/// Part of the flow that changes the best level by a limit order; the rest changes a level behind.
const QUOTE_PART: f64 = 0.55;

/// Median trade, relative to the typical size of a level.
const TRADE_SIZE: f64 = 0.02;

/// The price is kept this far above zero; the listed prices are too far away to come here.
const FLOOR_TICK: i64 = 2 * LEVELS as i64;

/// State of one instrument.
#[derive(Clone, Debug)]
pub(crate) struct SimInstrument {
    pub(crate) names: Names,
    pub(crate) listing: Listing,
    strength: f64,
    memory_s: f64,
    move_rate_hz: f64,
    rng: Rng,
    activity: f64,
    flow: Flow,
    regime: Regime,
    next_flow_ns: i64,
    next_move_ns: i64,
    next_depth_ns: i64,
    next_oracle_ns: i64,
    x: f64,
    now_ns: i64,
    ladder: Ladder,
    /// Standardised log-size noise of every level, beside `ladder`.
    noise: [[f64; LEVELS]; 2],
    /// What a reader of the depth stream holds.
    published: Ladder,
    update_id: u64,
    published_id: u64,
    first_unpublished_id: Option<u64>,
    trade_id: u64,
}

impl SimInstrument {
    /// The instrument at that place of a valid configuration.
    pub(crate) fn new(config: &MarketConfig, index: usize, start_ns: i64) -> Self {
        let listing = Listing::of_symbol(index);
        let mut rng = Rng::new(config.seed, index as u64);
        let ladder = Ladder::new(listing.start_tick);
        // Periodic streams of the instruments are spread over the period.
        let stagger_ns = DEPTH_PERIOD_NS * (index as i64 + 1) / config.symbols.len() as i64;
        let mut new = Self {
            names: Names::new(&config.symbols[index]),
            listing,
            strength: config.strength,
            memory_s: f64::from(config.memory_ms) * 1e-3,
            move_rate_hz: config.move_rate_hz,
            x: rng.normal(),
            activity: config.activity,
            flow: Flow::new(config.activity, start_ns),
            regime: Regime::new(config.seed, index, config.regime_ms, start_ns),
            next_flow_ns: start_ns,
            next_move_ns: start_ns,
            next_depth_ns: start_ns + stagger_ns,
            next_oracle_ns: start_ns + stagger_ns,
            now_ns: start_ns,
            noise: [[0.0; LEVELS]; 2],
            published: ladder.clone(),
            ladder,
            update_id: 1_000_000_000,
            published_id: 0,
            first_unpublished_id: None,
            trade_id: 1_000_000,
            rng,
        };
        new.fill_book();
        new.next_flow_ns = new.flow.next_ns(&mut new.rng);
        new.next_move_ns = new.draw_move_ns();
        new
    }

    /// A stationary book, already published.
    fn fill_book(&mut self) {
        for (side, row) in [(Side::Bid, 0), (Side::Ask, 1)] {
            for distance in 0..LEVELS {
                self.noise[row][distance] = self.rng.normal();
                self.renew(side, distance);
            }
        }
        self.published.clone_from(&self.ladder);
        self.published_id = self.update_id;
        self.first_unpublished_id = None;
    }

    /// When the next event happens.
    pub(crate) fn next_ns(&self) -> i64 {
        let flow_or_move_ns = self.next_flow_ns.min(self.next_move_ns);
        let published_ns = self.next_depth_ns.min(self.next_oracle_ns);
        flow_or_move_ns.min(published_ns).min(self.regime.ends_ns())
    }

    /// The ladder last published and its update id.
    pub(crate) fn published(&self) -> (&Ladder, u64) {
        (&self.published, self.published_id)
    }

    /// The hidden state as of the last event.
    #[cfg(test)]
    pub(crate) fn hidden_state(&self) -> f64 {
        self.x
    }

    /// 1 where what is seen leans with the hidden state, -1 where against it.
    #[cfg(test)]
    pub(crate) fn regime_lean(&self) -> f64 {
        self.regime.lean()
    }

    /// The ladder as of the last event.
    #[cfg(test)]
    pub(crate) fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// Lets the next event happen and writes its frames, if it is a visible one.
    pub(crate) fn step(&mut self, oracle: &Oracle, out: &mut Outbox) {
        let now_ns = self.next_ns();
        self.drift_to(now_ns);
        if now_ns == self.next_move_ns {
            self.move_price(out);
            self.next_move_ns = self.draw_move_ns();
        } else if now_ns == self.regime.ends_ns() {
            self.turn_regime();
        } else if now_ns == self.next_flow_ns {
            self.take_order(out);
        } else if now_ns == self.next_depth_ns {
            self.churn(out);
            self.publish_depth(out);
            self.next_depth_ns += DEPTH_PERIOD_NS;
        } else {
            let p_up = oracle.p_up(self.x);
            out.push(&self.names, StreamKind::Oracle, |text, ms| {
                wire::oracle(text, ms, &self.names, oracle.horizon_ms(), p_up);
            });
            self.next_oracle_ns += ORACLE_PERIOD_NS;
        }
    }

    /// The flow has no memory but its rate, so its next order is drawn anew.
    fn turn_regime(&mut self) {
        self.regime.turn(self.now_ns);
        self.flow.turn(self.now_ns, self.activity * self.regime.flow());
        self.next_flow_ns = self.flow.next_ns(&mut self.rng);
    }

    /// Moves `x` to that time by the exact transition law of the Ornstein-Uhlenbeck process.
    fn drift_to(&mut self, now_ns: i64) {
        let memories = (now_ns - self.now_ns) as f64 * 1e-9 / self.memory_s;
        let spread = (-(-2.0 * memories).exp_m1()).sqrt();
        self.x = self.x * (-memories).exp() + spread * self.rng.normal();
        self.now_ns = now_ns;
    }

    fn draw_move_ns(&mut self) -> i64 {
        self.now_ns + (self.rng.waiting_s(self.move_rate_hz) * 1e9) as i64 + 1
    }

    /// A market order takes the whole best level and both ladders follow.
    fn move_price(&mut self, out: &mut Outbox) {
        let up = self.rng.uniform() < logistic(self.strength * self.x)
            || self.ladder.tick(Side::Bid, 0) <= FLOOR_TICK;
        let aggressor = if up { Side::Bid } else { Side::Ask };
        let eaten = aggressor.opposite();
        self.print_trade(aggressor, self.ladder.lots(eaten, 0), out);
        let (grows, shrinks) = if up { (0, 1) } else { (1, 0) };
        self.noise[grows].copy_within(0..LEVELS - 1, 1);
        self.noise[shrinks].copy_within(1.., 0);
        self.noise[grows][0] = self.rng.normal();
        self.noise[shrinks][LEVELS - 1] = self.rng.normal();
        self.ladder.shift(aggressor, 1, 1);
        self.renew(aggressor, 0);
        self.renew(eaten, 0);
        self.renew(eaten, TILTED - 1);
        self.renew(eaten, LEVELS - 1);
        self.publish_top(out);
        self.publish_depth(out);
        self.excite();
    }

    /// One order of the flow: a small trade, a quote at the best price, or one behind it.
    fn take_order(&mut self, out: &mut Outbox) {
        self.excite();
        let kind = self.rng.uniform();
        if kind < TRADE_PART {
            self.trade_at_best(out);
        } else if kind < TRADE_PART + QUOTE_PART {
            let side = self.either_side();
            self.renew(side, 0);
            self.publish_top(out);
        } else {
            let (side, distance) = (self.either_side(), 1 + self.rng.below(TILTED - 1));
            self.renew(side, distance);
        }
    }

    fn trade_at_best(&mut self, out: &mut Outbox) {
        let buys = self.rng.uniform() < logistic(TRADE_LEAN * self.x * self.regime.lean());
        let aggressor = if buys { Side::Bid } else { Side::Ask };
        let resting = self.ladder.lots(aggressor.opposite(), 0);
        let wanted = self.listing.typical_lots * TRADE_SIZE * self.rng.normal().exp();
        // A trade of the flow never empties the level: only a move of the price does.
        let lots = (wanted.round() as i64).clamp(1, (resting / 2).max(1));
        self.print_trade(aggressor, lots, out);
        self.change(aggressor.opposite(), 0, resting - lots);
        self.publish_top(out);
    }

    /// The flow was excited, so its next order is drawn anew (it has no memory but its rate).
    fn excite(&mut self) {
        self.flow.excite(self.now_ns, &mut self.rng);
        self.next_flow_ns = self.flow.next_ns(&mut self.rng);
    }

    /// Orders come and go without the flow: the book never goes stale.
    fn churn(&mut self, out: &mut Outbox) {
        let mut top_changed = false;
        for _ in 0..NEAR_CHURN {
            let (side, distance) = (self.either_side(), self.rng.below(TILTED));
            self.renew(side, distance);
            top_changed |= distance == 0;
        }
        for _ in 0..FAR_CHURN {
            let (side, distance) = (self.either_side(), TILTED + self.rng.below(LEVELS - TILTED));
            self.renew(side, distance);
        }
        if top_changed {
            self.publish_top(out);
        }
    }

    fn either_side(&mut self) -> Side {
        if self.rng.below(2) == 0 { Side::Bid } else { Side::Ask }
    }

    /// Draws the size of a level anew around what `x` makes of it.
    fn renew(&mut self, side: Side, distance: usize) {
        let (row, lean) = match side {
            Side::Bid => (0, self.x * self.regime.lean()),
            Side::Ask => (1, -self.x * self.regime.lean()),
        };
        let fresh = (1.0 - NOISE_KEPT * NOISE_KEPT).sqrt() * self.rng.normal();
        let noise = NOISE_KEPT * self.noise[row][distance] + fresh;
        self.noise[row][distance] = noise;
        let log_size = match distance {
            0 => TILT * lean + TOP_NOISE * noise,
            1..TILTED => TILT * lean + NEAR_NOISE * noise,
            _ => FAR_NOISE * noise,
        };
        let empty = distance >= TILTED && self.rng.uniform() < FAR_EMPTY;
        let lots = (self.listing.typical_lots * log_size.exp()).round() as i64;
        self.change(side, distance, if empty { 0 } else { lots.max(1) });
    }

    fn change(&mut self, side: Side, distance: usize, lots: i64) {
        self.ladder.set(side, distance, lots);
        // Ids are shared by all symbols of the venue, so those of one symbol have holes.
        self.update_id += 1 + (self.rng.next_u64() & 63);
        self.first_unpublished_id.get_or_insert(self.update_id);
    }

    fn print_trade(&mut self, aggressor: Side, lots: i64, out: &mut Outbox) {
        self.trade_id += 1;
        let tick = self.ladder.tick(aggressor.opposite(), 0);
        let print = Print { id: self.trade_id, aggressor, tick, lots };
        out.push(&self.names, StreamKind::Trade, |text, ms| {
            wire::trade(text, ms, &self.names, &self.listing, print);
        });
    }

    fn publish_top(&mut self, out: &mut Outbox) {
        out.push(&self.names, StreamKind::BookTicker, |text, ms| {
            wire::book_ticker(text, ms, &self.names, &self.listing, self.update_id, &self.ladder);
        });
    }

    /// Publishes what changed since the last depth frame; nothing when nothing did.
    fn publish_depth(&mut self, out: &mut Outbox) {
        let Some(first) = self.first_unpublished_id.take() else {
            return;
        };
        let ids = DepthIds { first, last: self.update_id, previous: self.published_id };
        out.push(&self.names, StreamKind::Depth, |text, ms| {
            let ladders = (&self.ladder, &self.published);
            wire::depth(text, ms, &self.names, &self.listing, ids, ladders);
        });
        self.published.clone_from(&self.ladder);
        self.published_id = self.update_id;
    }
}
