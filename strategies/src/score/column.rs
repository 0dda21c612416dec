//! Running skill of one forecaster, and of its log-loss gain over the base rate.
//!
//! The gain is paired: base rate and forecaster on the same samples. Its standard error comes from
//! sums over blocks one horizon long. Labels of one block reach into the next and no further, so
//! the covariance of neighbouring blocks is added (batch means with the lag-one term of Newey and
//! West, Econometrica 1987, untapered because a block-MA(1) is exact here); a negative one is
//! ignored, to stay on the safe side. Forecast errors correlated beyond a horizon are not accounted
//! for.
//!
//! Cost: O(1) a sample, no allocation.

use super::Reliability;

/// Probabilities are clipped to `[LOSS_CLIP, 1 - LOSS_CLIP]` in the log loss: at most 13.8 nats.
const LOSS_CLIP: f64 = 1e-6;

/// Sums over the samples on which the forecaster was present.
#[derive(Clone, Debug, Default)]
pub(super) struct Column {
    pub(super) count: u64,
    pub(super) clipped: u64,
    pub(super) invalid: u64,
    hits: f64,
    brier: f64,
    log_loss: f64,
    pub(super) reliability: Reliability,
    blocks: Blocks,
    /// Gains of this forecaster and of the oracle over the base rate where all three were present.
    gain_beside_oracle: f64,
    oracle_gain: f64,
}

/// Log loss in nats of forecast `p_up`, and whether it had to be clipped.
pub(super) fn log_loss(p_up: f64, up: bool) -> (f64, bool) {
    let clipped = p_up.clamp(LOSS_CLIP, 1.0 - LOSS_CLIP);
    let p = if up { clipped } else { 1.0 - clipped };
    (-p.ln(), clipped != p_up)
}

impl Column {
    /// Adds a valid forecast. `block` is the index of the horizon-long block of the sample.
    pub(super) fn add(&mut self, p_up: f64, up: bool, base_loss: f64, block: i64) {
        let (loss, clipped) = log_loss(p_up, up);
        let label = f64::from(u8::from(up));
        self.count += 1;
        self.clipped += u64::from(clipped);
        self.hits += if p_up == 0.5 { 0.5 } else { f64::from(u8::from((p_up > 0.5) == up)) };
        self.brier += (p_up - label) * (p_up - label);
        self.log_loss += loss;
        self.reliability.add(p_up, up);
        self.blocks.add(base_loss - loss, block);
    }

    /// Adds what this forecaster and the oracle gained over the base rate on one common sample.
    pub(super) fn add_beside_oracle(&mut self, gain: f64, oracle_gain: f64) {
        self.gain_beside_oracle += gain;
        self.oracle_gain += oracle_gain;
    }

    pub(super) fn hit_rate(&self) -> f64 {
        self.hits / self.count as f64
    }

    pub(super) fn brier(&self) -> f64 {
        self.brier / self.count as f64
    }

    pub(super) fn log_loss(&self) -> f64 {
        self.log_loss / self.count as f64
    }

    pub(super) fn gain(&self) -> f64 {
        self.blocks.mean()
    }

    pub(super) fn gain_se(&self) -> f64 {
        self.blocks.standard_error()
    }

    /// NaN unless the oracle gained something.
    pub(super) fn oracle_share(&self) -> f64 {
        if self.oracle_gain > 0.0 { self.gain_beside_oracle / self.oracle_gain } else { f64::NAN }
    }
}

/// Block sums of a sequence, for the mean and its standard error.
#[derive(Clone, Debug, Default)]
struct Blocks {
    open: Block,
    previous: Option<Block>,
    closed: u64,
    /// Over all samples.
    sum: f64,
    count: f64,
    /// Over closed blocks: Σs², Σs·n, Σn².
    within: [f64; 3],
    /// Over neighbouring closed blocks: Σs·s', Σ(s·n' + n·s'), Σn·n'.
    across: [f64; 3],
}

#[derive(Clone, Copy, Debug, Default)]
struct Block {
    index: i64,
    sum: f64,
    count: f64,
}

impl Blocks {
    fn add(&mut self, value: f64, index: i64) {
        if self.open.count > 0.0 && index != self.open.index {
            self.close();
        }
        self.open.index = index;
        self.open.sum += value;
        self.open.count += 1.0;
        self.sum += value;
        self.count += 1.0;
    }

    fn close(&mut self) {
        let Block { index, sum: s, count: n } = std::mem::take(&mut self.open);
        accumulate(&mut self.within, [s * s, s * n, n * n]);
        if let Some(before) = self.previous
            && before.index.checked_add(1) == Some(index)
        {
            let cross = s * before.count + n * before.sum;
            accumulate(&mut self.across, [s * before.sum, cross, n * before.count]);
        }
        self.previous = Some(Block { index, sum: s, count: n });
        self.closed += 1;
    }

    fn mean(&self) -> f64 {
        self.sum / self.count
    }

    /// NaN with fewer than two whole blocks.
    fn standard_error(&self) -> f64 {
        if self.closed < 2 {
            return f64::NAN;
        }
        let closed_count = self.count - self.open.count;
        let m = (self.sum - self.open.sum) / closed_count;
        let variance = self.within[0] - 2.0 * m * self.within[1] + m * m * self.within[2];
        let covariance = self.across[0] - m * self.across[1] + m * m * self.across[2];
        let blocks = self.closed as f64;
        let total = (variance + 2.0 * covariance.max(0.0)).max(0.0) * blocks / (blocks - 1.0);
        // Samples of the open block count like the others once the blocks before gave the variance.
        total.sqrt() / closed_count * (closed_count / self.count).sqrt()
    }
}

fn accumulate(sums: &mut [f64; 3], terms: [f64; 3]) {
    for (sum, term) in sums.iter_mut().zip(terms) {
        *sum += term;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_forecasts_give_known_scores() {
        let mut column = Column::default();
        let base = std::f64::consts::LN_2;
        for (p, up) in [(0.8, true), (0.8, false), (0.5, true), (0.1, false)] {
            column.add(p, up, base, 0);
        }
        assert_eq!(column.hit_rate(), 2.5 / 4.0);
        assert!((column.brier() - (0.04 + 0.64 + 0.25 + 0.01) / 4.0).abs() < 1e-12);
        let loss = -(0.8f64.ln() + 0.2f64.ln() + 0.5f64.ln() + 0.9f64.ln()) / 4.0;
        assert!((column.log_loss() - loss).abs() < 1e-12);
        assert!((column.gain() - (base - loss)).abs() < 1e-12);
        assert!(column.gain_se().is_nan() && column.oracle_share().is_nan());
    }

    #[test]
    fn certainty_is_clipped_and_counted() {
        let mut column = Column::default();
        column.add(1.0, false, 0.5, 0);
        column.add(0.0, false, 0.5, 0);
        assert_eq!(column.clipped, 2);
        assert!((column.log_loss() - 0.5 * (1e6f64.ln() + 1e-6)).abs() < 1e-5);
    }

    #[test]
    fn the_standard_error_of_blocks_of_one_is_the_textbook_one() {
        let mut blocks = Blocks::default();
        // Alternating signs have a negative lag-one covariance, which is ignored.
        for i in 0..101 {
            blocks.add(if i % 2 == 0 { 1.0 } else { -1.0 }, i);
        }
        let expected = (100.0f64 / 99.0).sqrt() / 101f64.sqrt();
        assert!((blocks.standard_error() - expected).abs() < 1e-3, "{}", blocks.standard_error());
    }

    #[test]
    fn the_standard_error_is_that_of_overlapping_sums() {
        // Moving sums of ten independent ±1 steps: the mean of n of them has variance near 100 / n.
        let (mut state, mut errors, mut means) = (7u64, 0.0, 0.0);
        let runs = 200;
        for _ in 0..runs {
            let steps: Vec<f64> = (0..2_010)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if state >> 63 == 1 { 1.0 } else { -1.0 }
                })
                .collect();
            let mut blocks = Blocks::default();
            for (i, window) in steps.windows(10).take(2_000).enumerate() {
                blocks.add(window.iter().sum(), i as i64 / 10);
            }
            errors += blocks.standard_error().powi(2) / f64::from(runs);
            means += blocks.mean().powi(2) / f64::from(runs);
        }
        let ratio = (errors / means).sqrt();
        println!("block standard error over the true one: {ratio:.3}");
        assert!((0.9..1.15).contains(&ratio), "{ratio}");
        assert!(((errors * 2_000.0 / 100.0).sqrt() - 1.0).abs() < 0.1);
    }

    #[test]
    fn blocks_apart_are_not_neighbours() {
        let mut near = Blocks::default();
        let mut far = Blocks::default();
        for i in 0..100 {
            let value = f64::from(u8::from(i % 20 < 10));
            near.add(value, i);
            far.add(value, 2 * i);
        }
        assert!(near.standard_error() > 1.5 * far.standard_error());
    }
}
