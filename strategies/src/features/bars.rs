//! One-second bars of mid and volume, and the classical indicators on their closes.
//!
//! Invariants: a bar is a whole number of cycles, counted from the first cut; bars that end before
//! any mid is known are dropped; each indicator is absent (0) until it has the bars it is named for.

use super::quote::{BPS, ratio_or_zero};
use super::ring::Ring;

/// Length of a bar, ms.
pub(super) const BAR_MS: u32 = 1_000;
const SMA_BARS: usize = 10;
const EMA_BARS: u32 = 21;
const RSI_CHANGES: u32 = 14;
/// Average gains and losses under this fraction of the price are rounding, not moves.
const NO_CHANGE: f64 = 1e-12;

/// The bars and the state of their indicators.
#[derive(Clone, Debug)]
pub(super) struct Bars {
    cycles_per_bar: usize,
    cycles_in_bar: usize,
    open_volume: f64,
    closes: Ring<f64>,
    volumes: Ring<f64>,
    /// Closed bars, saturating.
    closed: u32,
    ema: f64,
    average_gain: f64,
    average_loss: f64,
}

impl Bars {
    pub(super) fn new(cycles_per_bar: usize) -> Self {
        Self {
            cycles_per_bar: cycles_per_bar.max(1),
            cycles_in_bar: 0,
            open_volume: 0.0,
            closes: Ring::new(SMA_BARS),
            volumes: Ring::new(SMA_BARS),
            closed: 0,
            ema: 0.0,
            average_gain: 0.0,
            average_loss: 0.0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.cycles_in_bar = 0;
        self.open_volume = 0.0;
        self.closes.clear();
        self.volumes.clear();
        self.closed = 0;
        self.ema = 0.0;
        self.average_gain = 0.0;
        self.average_loss = 0.0;
    }

    /// Takes in one cycle. `mid` is 0 while none is known.
    pub(super) fn cycle(&mut self, mid: f64, volume: f64) {
        self.open_volume += volume;
        self.cycles_in_bar += 1;
        if self.cycles_in_bar < self.cycles_per_bar {
            return;
        }
        if mid > 0.0 {
            self.close(mid, self.open_volume);
        }
        self.cycles_in_bar = 0;
        self.open_volume = 0.0;
    }

    fn close(&mut self, close: f64, volume: f64) {
        if let Some(before) = self.closes.ago(0) {
            self.average_change(close - before);
            self.ema += 2.0 / f64::from(EMA_BARS + 1) * (close - self.ema);
        } else {
            self.ema = close;
        }
        self.closes.push(close);
        self.volumes.push(volume);
        self.closed = self.closed.saturating_add(1);
    }

    /// Wilder's averages: the plain mean of the first fourteen changes, then a fourteenth of each.
    fn average_change(&mut self, change: f64) {
        let weight = 1.0 / f64::from(self.closed.min(RSI_CHANGES));
        self.average_gain += weight * (change.max(0.0) - self.average_gain);
        self.average_loss += weight * ((-change).max(0.0) - self.average_loss);
    }

    /// Whether every indicator has its bars.
    pub(super) fn are_filled(&self) -> bool {
        self.closed >= EMA_BARS
    }

    /// Deviation of the mid from the mean of the last ten closes, bps.
    pub(super) fn sma_deviation_bps(&self, mid: f64) -> f64 {
        if !self.closes.is_full() || mid <= 0.0 {
            return 0.0;
        }
        deviation_bps(mid, mean(&self.closes))
    }

    /// Deviation of the mid from the exponential average of closes, bps; seeded by the first close,
    /// absent until 21 bars closed.
    pub(super) fn ema_deviation_bps(&self, mid: f64) -> f64 {
        if !self.are_filled() || mid <= 0.0 {
            return 0.0;
        }
        deviation_bps(mid, self.ema)
    }

    /// (RSI − 50) / 50 = (gain − loss) / (gain + loss), in [−1, 1]; 0 in a market that stands still.
    pub(super) fn centred_rsi(&self) -> f64 {
        let total = self.average_gain + self.average_loss;
        if self.closed <= RSI_CHANGES || total <= NO_CHANGE * self.ema {
            return 0.0;
        }
        (self.average_gain - self.average_loss) / total
    }

    /// Mean volume of the last ten bars; 0 until there are ten.
    pub(super) fn mean_volume(&self) -> f64 {
        if self.volumes.is_full() { mean(&self.volumes) } else { 0.0 }
    }

    /// Volume of the last bar over the mean of the last ten, minus one; 0 until there are ten.
    pub(super) fn centred_volume_ratio(&self) -> f64 {
        let mean_volume = self.mean_volume();
        if mean_volume <= 0.0 {
            return 0.0;
        }
        ratio_or_zero(self.volumes.ago(0).unwrap_or(0.0), mean_volume) - 1.0
    }
}

fn mean(ring: &Ring<f64>) -> f64 {
    ring.newest_first().sum::<f64>() / ring.len().max(1) as f64
}

fn deviation_bps(mid: f64, average: f64) -> f64 {
    BPS * (mid - average) / average
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(closes: impl IntoIterator<Item = f64>) -> Bars {
        let mut bars = Bars::new(1);
        for close in closes {
            bars.cycle(close, 1.0);
        }
        bars
    }

    /// Closes of the worked example of Wilder's RSI in the StockCharts ChartSchool article.
    const WORKED: [f64; 16] = [
        44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826,
        45.8931, 46.0328, 45.6140, 46.2820, 46.2820, 46.0028,
    ];

    #[test]
    fn the_rsi_matches_the_published_worked_example() {
        for (bars, expected) in [(15, 70.53), (16, 66.32)] {
            let rsi = 50.0 + 50.0 * run(WORKED[..bars].iter().copied()).centred_rsi();
            assert!((rsi - expected).abs() < 0.01, "RSI after {bars} closes is {rsi}");
        }
        assert_eq!(run(WORKED[..14].iter().copied()).centred_rsi(), 0.0, "one change short");
    }

    #[test]
    fn averages_wait_for_the_bars_they_are_named_for() {
        assert_eq!(run((1..=9).map(f64::from)).sma_deviation_bps(5.0), 0.0);
        assert!((run((1..=10).map(f64::from)).sma_deviation_bps(11.0) - BPS).abs() < 1e-9);
        assert_eq!(run([7.0; 20]).ema_deviation_bps(8.0), 0.0);
        assert!((run([7.0; 21]).ema_deviation_bps(14.0) - BPS).abs() < 1e-9);
    }

    #[test]
    fn a_market_that_stands_still_or_only_rises_has_a_defined_rsi() {
        assert_eq!(run([7.0; 40]).centred_rsi(), 0.0);
        assert_eq!(run((1..40).map(f64::from)).centred_rsi(), 1.0);
    }

    #[test]
    fn bars_before_the_first_mid_are_dropped() {
        let mut bars = Bars::new(2);
        for _ in 0..40 {
            bars.cycle(0.0, 5.0);
        }
        assert_eq!(bars.mean_volume(), 0.0);
        for _ in 0..20 {
            bars.cycle(100.0, 5.0);
        }
        assert_eq!(bars.mean_volume(), 10.0);
        assert_eq!(bars.centred_volume_ratio(), 0.0);
    }
}
