//! Features of one instrument: from quotes, trades and books to a vector of [`N`] numbers a cycle.
//!
//! Job: [`FeatureState`] takes events as plain values in natural units, O(1) each, and
//! [`FeatureState::cut`] closes a cycle and writes the raw features of [`TABLE`]; normalising them is
//! [`crate::normalise`]'s job.
//!
//! Invariants:
//! * no allocation after construction; time comes only from the arguments;
//! * every feature is finite, always, and has a stated neutral value until its window is filled;
//! * a cut depends only on the calls before it: an event belongs to the cycle of the first cut after
//!   it, whatever its own timestamp says;
//! * windows are whole cycles, at least one: with a cycle of 10 s the window of 0.1 s is 10 s long.
//!
//! Rules a reader will ask for:
//! * **Level one** comes from [`FeatureState::on_book`] until the first [`FeatureState::on_top`] after
//!   a start or reset, and from `on_top` alone from then on: two streams that tell of the same change
//!   at different times would count its order flow twice.
//! * **The mid** of a cut is the last one known since the start or reset; a book that lost a side
//!   keeps it.
//! * **The first cut** after a start, reset or gap opens the windows: what happened before it has no
//!   known duration and enters no window.
//! * **Missed cycles** (the cut came late) are closed as cycles without flow that keep the mid; all the
//!   flow since the last cut belongs to the cycle that is cut. After more missed cycles than the
//!   longest window holds, the windows restart.
//! * **A clock that steps back**: the cut counts as one cycle, and is counted in
//!   [`Counters::clock_regressions`]; see the cycle grid for the details.

mod bars;
mod clock;
mod depth;
mod quote;
mod ring;
mod table;
mod windows;

pub use table::{Feature, MIRRORS, Mirror, N, NAMES, SCALES, Spec, TABLE};

use bars::{BAR_MS, Bars};
use clock::{Grid, Step, day_phase, week_phase};
use depth::{Depth, LEVELS};
use purkinje_feeds::Side;
use quote::{BPS, MidMoves, Quote, is_usable, ratio_or_zero};
pub use windows::LONGEST_MS;
use windows::{Bucket, FLOW_MS, Windows, cycles_in};

/// Largest magnitude written; keeps sums of senseless inputs finite as `f32`.
const MAX_FEATURE: f64 = 1e30;

/// Configuration of the features of one instrument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureConfig {
    /// Length of a cycle, ms, 10 to 10,000; every window is a whole number of these.
    pub cycle_ms: u32,
}

impl Default for FeatureConfig {
    /// The daemon's cycle of 100 ms.
    fn default() -> Self {
        Self { cycle_ms: 100 }
    }
}

/// Why features cannot be configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// The cycle is too short or too long.
    #[error("cycle_ms is {cycle_ms}: expected 10 to 10000")]
    CycleOutOfRange {
        /// The value given.
        cycle_ms: u32,
    },
}

/// What one instrument's features have seen since construction; a reset keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Quotes, trades and books taken in.
    pub events: u64,
    /// Events ignored: a number that is not finite, negative or absurd, or a crossed book.
    pub rejected_events: u64,
    /// Cuts made.
    pub cuts: u64,
    /// Grid points that passed without a cut.
    pub missed_cycles: u64,
    /// Cuts whose time was not later than the latest cut's.
    pub clock_regressions: u64,
    /// Cuts so late that the windows restarted.
    pub gaps: u64,
    /// Resets asked for.
    pub resets: u64,
}

/// The features of one instrument.
#[derive(Clone, Debug)]
pub struct FeatureState {
    grid: Grid,
    /// `on_top` has been called since the start or reset and rules level one.
    top_rules: bool,
    /// Last quote, `None` before the first.
    quote: Option<Quote>,
    /// Last mid known, 0 before the first.
    mid: f64,
    moves: MidMoves,
    depth: Depth,
    /// The open cycle.
    bucket: Bucket,
    windows: Windows,
    bars: Bars,
    /// Seconds in each flow window.
    flow_window_s: [f64; FLOW_MS.len()],
    counters: Counters,
}

impl FeatureState {
    /// Allocates everything the state will ever need (about 9 kB at 100 ms cycles).
    ///
    /// # Errors
    ///
    /// When the configured cycle is out of range.
    pub fn new(config: &FeatureConfig) -> Result<Self, FeatureError> {
        let cycle_ms = config.cycle_ms;
        if !(10..=10_000).contains(&cycle_ms) {
            return Err(FeatureError::CycleOutOfRange { cycle_ms });
        }
        let cycle_s = f64::from(cycle_ms) * 1e-3;
        Ok(Self {
            grid: Grid::new(i64::from(cycle_ms) * 1_000_000, cycles_in(LONGEST_MS, cycle_ms)),
            top_rules: false,
            quote: None,
            mid: 0.0,
            moves: MidMoves::default(),
            depth: Depth::EMPTY,
            bucket: Bucket::default(),
            windows: Windows::new(cycle_ms),
            bars: Bars::new(cycles_in(BAR_MS, cycle_ms)),
            flow_window_s: FLOW_MS.map(|window_ms| cycles_in(window_ms, cycle_ms) as f64 * cycle_s),
            counters: Counters::default(),
        })
    }

    /// Takes in the best bid and offer. A price or quantity of 0 says that the side is empty.
    pub fn on_top(
        &mut self,
        ts_ns: i64,
        bid_price: f64,
        bid_qty: f64,
        ask_price: f64,
        ask_qty: f64,
    ) {
        let quote = Quote::new((bid_price, bid_qty), (ask_price, ask_qty));
        if !self.count(quote.is_some()) {
            return;
        }
        self.top_rules = true;
        self.on_quote(ts_ns, quote.unwrap_or(Quote::EMPTY));
    }

    /// Takes in a trade, or `count` trades of one aggressor summed; `aggressor` is [`Side::Bid`] when
    /// the buyer took. Its time is not looked at: a trade belongs to the cycle in which it arrives.
    pub fn on_trade(&mut self, _ts_ns: i64, aggressor: Side, price: f64, qty: f64, count: u32) {
        if !self.count(is_usable(price) && is_usable(qty)) {
            return;
        }
        match aggressor {
            Side::Bid => self.bucket.bought += qty,
            Side::Ask => self.bucket.sold += qty,
        }
        self.bucket.notional += price * qty;
        self.bucket.trades += f64::from(count);
    }

    /// Takes in a committed book: `(price, quantity)` best first, of which the best 20 are kept. Costs
    /// one copy of them and the flow of five ranks.
    pub fn on_book(&mut self, ts_ns: i64, bids: &[(f64, f64)], asks: &[(f64, f64)]) {
        let flow = self.depth.replace(bids, asks);
        if !self.count(flow.is_some()) {
            return;
        }
        self.bucket.level_flow += flow.unwrap_or(0.0);
        if !self.top_rules {
            self.on_quote(ts_ns, self.depth.quote());
        }
    }

    /// Forgets everything but the counters: after a desync the windows start afresh, and features are
    /// neutral until they are filled again.
    pub fn reset(&mut self) {
        self.counters.resets += 1;
        self.grid.reset();
        self.top_rules = false;
        self.quote = None;
        self.mid = 0.0;
        self.moves = MidMoves::default();
        self.depth = Depth::EMPTY;
        self.restart_windows();
    }

    /// Closes the cycle that ends at `ts_cycle_ns` and writes its raw features in the order of
    /// [`TABLE`].
    pub fn cut(&mut self, ts_cycle_ns: i64, out: &mut [f32; N]) {
        self.counters.cuts += 1;
        match self.grid.advance(ts_cycle_ns) {
            Step::First => self.open_windows(),
            Step::Gap => {
                self.counters.gaps += 1;
                self.restart_windows();
                self.open_windows();
            }
            Step::Backwards => {
                self.counters.clock_regressions += 1;
                self.close_cycle();
            }
            Step::Cycle { missed } => {
                self.counters.missed_cycles += missed as u64;
                self.close_missed_cycles(missed);
                self.close_cycle();
            }
        }
        self.write(ts_cycle_ns, out);
    }

    /// Whether the windows of up to 5 s are filled and a mid was known when they began. The features
    /// of 30 s and of bars stay neutral for longer; see [`Self::settled`].
    #[must_use]
    pub fn warm(&self) -> bool {
        self.windows.is_warm()
    }

    /// Whether every window and every bar indicator is filled: 30 s after the first cut at the usual
    /// cycle. Until then the unfilled ones give neutral values, which a normaliser would learn.
    #[must_use]
    pub fn settled(&self) -> bool {
        self.windows.is_full() && self.bars.are_filled()
    }

    /// What has been seen since construction.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn count(&mut self, accepted: bool) -> bool {
        if accepted {
            self.counters.events += 1;
        } else {
            self.counters.rejected_events += 1;
        }
        accepted
    }

    fn on_quote(&mut self, ts_ns: i64, quote: Quote) {
        if let Some(before) = self.quote {
            self.bucket.order_flow += before.flow_to(&quote);
        }
        self.bucket.quotes += 1.0;
        self.quote = Some(quote);
        if let Some(mid) = quote.mid() {
            self.mid = mid;
            self.moves.on_mid(ts_ns, mid);
        }
    }

    fn restart_windows(&mut self) {
        self.bucket = Bucket::default();
        self.windows.clear();
        self.bars.clear();
    }

    fn open_windows(&mut self) {
        self.bucket = Bucket::default();
        self.windows.open(self.mid);
    }

    fn close_missed_cycles(&mut self, missed: usize) {
        for _ in 0..missed {
            self.windows.close_missed();
            self.bars.cycle(self.windows.mid(), 0.0);
        }
    }

    fn close_cycle(&mut self) {
        let mut bucket = std::mem::take(&mut self.bucket);
        bucket.queue_imbalance = self.quote.unwrap_or(Quote::EMPTY).imbalance();
        bucket.depth_imbalance = self.depth.imbalance(10);
        self.bars.cycle(self.mid, bucket.volume());
        self.windows.close(bucket, self.mid);
    }

    fn write(&self, ts_cycle_ns: i64, out: &mut [f32; N]) {
        self.write_book(out);
        self.write_flows(out);
        self.write_prices(out);
        let moves = &self.moves;
        let (day_sin, day_cos) = day_phase(ts_cycle_ns);
        let (week_sin, week_cos) = week_phase(ts_cycle_ns);
        put(out, Feature::LastMoveSign, moves.sign());
        put(out, Feature::MovePersistence, moves.persistence());
        put(out, Feature::LogMoveAge, moves.log_age(ts_cycle_ns));
        put(out, Feature::TimeOfDaySin, day_sin);
        put(out, Feature::TimeOfDayCos, day_cos);
        put(out, Feature::DayOfWeekSin, week_sin);
        put(out, Feature::DayOfWeekCos, week_cos);
    }

    fn write_book(&self, out: &mut [f32; N]) {
        let quote = self.quote.unwrap_or(Quote::EMPTY);
        put(out, Feature::MicropriceDeviation, quote.microprice_deviation_bps());
        put(out, Feature::Spread, quote.spread_bps());
        put(out, Feature::QueueImbalance, quote.imbalance());
        put(out, Feature::DepthImbalance3, self.depth.imbalance(3));
        put(out, Feature::DepthImbalance5, self.depth.imbalance(5));
        put(out, Feature::DepthImbalance10, self.depth.imbalance(10));
        put(out, Feature::DepthImbalance20, self.depth.imbalance(LEVELS));
        put(out, Feature::WeightedDepthImbalance, self.depth.weighted_imbalance());
        put(out, Feature::BookPressure, self.depth.pressure());
        put(out, Feature::DepthSlope, self.depth.log_slope_ratio());
        put(out, Feature::LogDepth, self.depth.log_depth());
    }

    fn write_flows(&self, out: &mut [f32; N]) {
        use Feature as F;
        const PLACES: [[Feature; 4]; FLOW_MS.len()] = [
            [F::OrderFlow100ms, F::LevelFlow100ms, F::TradeFlow100ms, F::TradeImbalance100ms],
            [F::OrderFlow500ms, F::LevelFlow500ms, F::TradeFlow500ms, F::TradeImbalance500ms],
            [F::OrderFlow1s, F::LevelFlow1s, F::TradeFlow1s, F::TradeImbalance1s],
            [F::OrderFlow5s, F::LevelFlow5s, F::TradeFlow5s, F::TradeImbalance5s],
        ];
        let flows = self.windows.flows();
        for ((sum, _), [order, level, trade, imbalance]) in flows.iter().zip(PLACES) {
            put(out, order, sum.order_flow);
            put(out, level, sum.level_flow);
            put(out, trade, sum.bought - sum.sold);
            put(out, imbalance, ratio_or_zero(sum.bought - sum.sold, sum.volume()));
        }
        let [_, _, (second, second_cycles), (five, five_cycles)] = flows;
        let [_, _, second_s, five_s] = self.flow_window_s;
        put(out, F::QueueImbalanceMean1s, second.queue_imbalance / second_cycles);
        put(out, F::DepthImbalanceMean1s, second.depth_imbalance / second_cycles);
        put(out, F::DepthImbalanceMean5s, five.depth_imbalance / five_cycles);
        put(out, F::TradeRate1s, (second.trades / second_s).ln_1p());
        put(out, F::TradeRate5s, (five.trades / five_s).ln_1p());
        put(out, F::QuoteRate1s, (second.quotes / second_s).ln_1p());
        put(out, F::Volume1s, second.volume());
        put(out, F::VwapDeviation1s, self.vwap_deviation_bps(&second));
        put(out, F::VwapDeviation5s, self.vwap_deviation_bps(&five));
    }

    fn write_prices(&self, out: &mut [f32; N]) {
        use Feature as F;
        let returns = [F::Return100ms, F::Return500ms, F::Return1s, F::Return5s, F::Return30s];
        for (place, value) in returns.into_iter().zip(self.windows.returns_bps()) {
            put(out, place, value);
        }
        let volatilities =
            [F::RealisedVolatility1s, F::RealisedVolatility5s, F::RealisedVolatility30s];
        for (place, value) in volatilities.into_iter().zip(self.windows.volatilities_bps()) {
            put(out, place, value);
        }
        put(out, F::SmaDeviation10, self.bars.sma_deviation_bps(self.mid));
        put(out, F::EmaDeviation21, self.bars.ema_deviation_bps(self.mid));
        put(out, F::Rsi14, self.bars.centred_rsi());
        put(out, F::VolumeSma10, self.bars.mean_volume());
        put(out, F::VolumeRatio, self.bars.centred_volume_ratio());
    }

    fn vwap_deviation_bps(&self, sum: &Bucket) -> f64 {
        let vwap = ratio_or_zero(sum.notional, sum.volume());
        if vwap > 0.0 && self.mid > 0.0 { BPS * (self.mid - vwap) / vwap } else { 0.0 }
    }
}

/// Writes one feature; what is not a number becomes 0 and what is too large is clamped.
fn put(out: &mut [f32; N], feature: Feature, value: f64) {
    out[feature as usize] =
        if value.is_nan() { 0.0 } else { value.clamp(-MAX_FEATURE, MAX_FEATURE) as f32 };
}

#[cfg(test)]
mod tests;
