//! Busy and quiet regimes: whether what can be seen leans to where the price goes, or away from it.
//!
//! In a busy regime sizes and trades lean with the hidden state; in a quiet one the flow has a fraction of
//! its base rate and everything leans the other way. Regimes take turns and last exponential times of one
//! mean. A lean says something only together with the rate of the flow over the last seconds: a
//! product of two things seen, one of them over many steps, of which a linear function of either knows nothing.
//!
//! Invariants: regimes have random numbers of their own, so that a market without them is the same market;
//! they are independent of the hidden state.

use super::rng::Rng;

/// Part of the flow's base rate that is left in a quiet regime.
const QUIET: f64 = 0.15;

/// Keeps a regime's numbers apart from those of the instrument of that number.
const STREAM: u64 = 1 << 32;

/// State of one instrument's regime.
#[derive(Clone, Debug)]
pub(super) struct Regime {
    rng: Rng,
    mean_s: f64,
    is_busy: bool,
    ends_ns: i64,
}

impl Regime {
    /// Busy at that time. A mean of zero is a regime without end.
    pub(super) fn new(seed: u64, instrument: usize, mean_ms: u32, start_ns: i64) -> Self {
        let rng = Rng::new(seed, STREAM + instrument as u64);
        let mean_s = f64::from(mean_ms) * 1e-3;
        let mut regime = Self { rng, mean_s, is_busy: true, ends_ns: i64::MAX };
        if mean_ms > 0 {
            regime.draw_end(start_ns);
        }
        regime
    }

    /// When the next one begins.
    pub(super) fn ends_ns(&self) -> i64 {
        self.ends_ns
    }

    /// The next one begins.
    pub(super) fn turn(&mut self, now_ns: i64) {
        self.is_busy = !self.is_busy;
        self.draw_end(now_ns);
    }

    fn draw_end(&mut self, now_ns: i64) {
        self.ends_ns = now_ns + (self.rng.waiting_s(1.0 / self.mean_s) * 1e9) as i64 + 1;
    }

    /// 1 where what is seen leans with the hidden state, -1 where against it.
    pub(super) fn lean(&self) -> f64 {
        if self.is_busy { 1.0 } else { -1.0 }
    }

    /// Base rate of the flow, relative to that of a busy regime.
    pub(super) fn flow(&self) -> f64 {
        if self.is_busy { 1.0 } else { QUIET }
    }
}
