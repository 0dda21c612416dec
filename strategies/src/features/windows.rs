//! Sliding windows over closed cycles: order and trade flow, mids, squared returns.
//!
//! Invariants: an event costs one addition into the open bucket; window sums are taken afresh from
//! the closed buckets at each cut, nested in one pass, so that no running sum drifts or keeps the
//! rounding residue of a huge value that left. A window is absent until it is filled.

use super::quote::BPS;
use super::ring::Ring;

/// The windows of flows, ms.
pub(super) const FLOW_MS: [u32; 4] = [100, 500, 1_000, 5_000];
/// The windows of realised volatility, ms.
pub(super) const VOLATILITY_MS: [u32; 3] = [1_000, 5_000, 30_000];
/// The windows of returns, ms.
pub(super) const RETURN_MS: [u32; 5] = [100, 500, 1_000, 5_000, 30_000];
/// The longest window of all, ms. Recursive indicators remember, ever more faintly, beyond it.
pub const LONGEST_MS: u32 = 30_000;

/// A window in whole cycles, at least one.
pub(super) fn cycles_in(window_ms: u32, cycle_ms: u32) -> usize {
    ((window_ms + cycle_ms / 2) / cycle_ms).max(1) as usize
}

/// What happened in one cycle; also the sum of several.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    /// Order-flow imbalance Σ e_n, quantity.
    pub(super) order_flow: f64,
    /// Multi-level order-flow imbalance, quantity.
    pub(super) level_flow: f64,
    /// Quantity bought by aggressors.
    pub(super) bought: f64,
    /// Quantity sold by aggressors.
    pub(super) sold: f64,
    /// Σ price × quantity of trades.
    pub(super) notional: f64,
    /// Number of trades.
    pub(super) trades: f64,
    /// Number of quote updates.
    pub(super) quotes: f64,
    /// Queue imbalance at the cut.
    pub(super) queue_imbalance: f64,
    /// Ten-level depth imbalance at the cut.
    pub(super) depth_imbalance: f64,
}

impl Bucket {
    fn add(&mut self, other: &Self) {
        self.order_flow += other.order_flow;
        self.level_flow += other.level_flow;
        self.bought += other.bought;
        self.sold += other.sold;
        self.notional += other.notional;
        self.trades += other.trades;
        self.quotes += other.quotes;
        self.queue_imbalance += other.queue_imbalance;
        self.depth_imbalance += other.depth_imbalance;
    }

    pub(super) fn volume(&self) -> f64 {
        self.bought + self.sold
    }
}

/// The closed cycles.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    flow_cycles: [usize; FLOW_MS.len()],
    volatility_cycles: [usize; VOLATILITY_MS.len()],
    return_cycles: [usize; RETURN_MS.len()],
    buckets: Ring<Bucket>,
    /// Mid at each cut, 0 where none was known yet. One longer than the longest return.
    mids: Ring<f64>,
    /// Squared log return of each cycle.
    squares: Ring<f64>,
}

impl Windows {
    pub(super) fn new(cycle_ms: u32) -> Self {
        let flow_cycles = FLOW_MS.map(|window_ms| cycles_in(window_ms, cycle_ms));
        let longest = cycles_in(LONGEST_MS, cycle_ms);
        Self {
            flow_cycles,
            volatility_cycles: VOLATILITY_MS.map(|window_ms| cycles_in(window_ms, cycle_ms)),
            return_cycles: RETURN_MS.map(|window_ms| cycles_in(window_ms, cycle_ms)),
            buckets: Ring::new(flow_cycles[FLOW_MS.len() - 1]),
            mids: Ring::new(longest + 1),
            squares: Ring::new(longest),
        }
    }

    pub(super) fn clear(&mut self) {
        self.buckets.clear();
        self.mids.clear();
        self.squares.clear();
    }

    /// Opens the windows with the mid that the first return is measured from.
    pub(super) fn open(&mut self, mid: f64) {
        self.clear();
        self.mids.push(mid);
    }

    /// Closes one cycle. `mid` is 0 while none is known.
    pub(super) fn close(&mut self, bucket: Bucket, mid: f64) {
        let before = self.mid();
        let log_return = if before > 0.0 && mid > 0.0 { (mid / before).ln() } else { 0.0 };
        self.buckets.push(bucket);
        self.squares.push(log_return * log_return);
        self.mids.push(mid);
    }

    /// Closes a cycle in which nothing was seen: no flow, everything else as it was.
    pub(super) fn close_missed(&mut self) {
        let last = self.buckets.ago(0).unwrap_or_default();
        let held = Bucket {
            queue_imbalance: last.queue_imbalance,
            depth_imbalance: last.depth_imbalance,
            ..Bucket::default()
        };
        self.close(held, self.mid());
    }

    /// The mid at the latest cut, 0 while none is known.
    pub(super) fn mid(&self) -> f64 {
        self.mids.ago(0).unwrap_or(0.0)
    }

    /// Whether the longest flow window is filled and a mid was known when it began.
    pub(super) fn is_warm(&self) -> bool {
        self.mids.ago(self.flow_cycles[FLOW_MS.len() - 1]).is_some_and(|mid| mid > 0.0)
    }

    /// Whether every window is filled and a mid was known when the longest began.
    pub(super) fn is_full(&self) -> bool {
        self.mids.is_full() && self.mids.ago(self.mids.len() - 1).is_some_and(|mid| mid > 0.0)
    }

    /// Sums over the flow windows and the number of cycles in each; a window not yet filled is all
    /// zeros.
    pub(super) fn flows(&self) -> [(Bucket, f64); FLOW_MS.len()] {
        let mut sums = [(Bucket::default(), 1.0); FLOW_MS.len()];
        let mut running = Bucket::default();
        let mut window = 0;
        for (bucket, seen) in self.buckets.newest_first().zip(1..) {
            running.add(bucket);
            while window < FLOW_MS.len() && self.flow_cycles[window] == seen {
                sums[window] = (running, seen as f64);
                window += 1;
            }
        }
        sums
    }

    /// Realised volatility over its windows: √(Σ r²), bps; 0 until filled.
    pub(super) fn volatilities_bps(&self) -> [f64; VOLATILITY_MS.len()] {
        let mut volatilities = [0.0; VOLATILITY_MS.len()];
        let mut running = 0.0;
        let mut window = 0;
        for (square, seen) in self.squares.newest_first().zip(1..) {
            running += square;
            while window < VOLATILITY_MS.len() && self.volatility_cycles[window] == seen {
                volatilities[window] = BPS * running.sqrt();
                window += 1;
            }
        }
        volatilities
    }

    /// Log returns over their windows, bps; 0 until filled or while no mid was known.
    pub(super) fn returns_bps(&self) -> [f64; RETURN_MS.len()] {
        let now = self.mid();
        self.return_cycles.map(|cycles| match self.mids.ago(cycles) {
            Some(then) if then > 0.0 && now > 0.0 => BPS * (now / then).ln(),
            _ => 0.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_whole_cycles_and_never_empty() {
        assert_eq!(FLOW_MS.map(|window_ms| cycles_in(window_ms, 100)), [1, 5, 10, 50]);
        assert_eq!(FLOW_MS.map(|window_ms| cycles_in(window_ms, 10_000)), [1, 1, 1, 1]);
        assert_eq!(cycles_in(100, 30), 3);
    }

    #[test]
    fn windows_of_equal_length_are_all_filled() {
        let mut windows = Windows::new(10_000);
        windows.open(100.0);
        windows.close(Bucket { bought: 2.0, ..Bucket::default() }, 101.0);
        assert!(windows.flows().iter().all(|(sum, cycles)| sum.bought == 2.0 && *cycles == 1.0));
        assert!(windows.is_warm());
    }

    #[test]
    fn a_window_is_neutral_until_it_is_filled() {
        let mut windows = Windows::new(100);
        windows.open(100.0);
        for cycle in 1..=50 {
            windows.close(Bucket { bought: 1.0, ..Bucket::default() }, 100.0);
            let bought = windows.flows().map(|(sum, _)| sum.bought);
            let expected =
                [1, 5, 10, 50].map(|cycles| if cycle >= cycles { cycles as f64 } else { 0.0 });
            assert_eq!(bought, expected, "cycle {cycle}");
            assert_eq!(windows.is_warm(), cycle == 50);
        }
    }

    #[test]
    fn a_huge_value_leaves_no_residue() {
        let mut windows = Windows::new(100);
        windows.open(100.0);
        windows.close(Bucket { order_flow: 1e18, ..Bucket::default() }, 100.0);
        for _ in 0..50 {
            windows.close(Bucket { order_flow: 0.1, ..Bucket::default() }, 100.0);
        }
        assert!((windows.flows()[3].0.order_flow - 5.0).abs() < 1e-9);
    }

    #[test]
    fn a_missed_cycle_holds_the_mid_and_has_no_flow() {
        let mut windows = Windows::new(100);
        windows.open(100.0);
        let busy = Bucket { order_flow: 3.0, queue_imbalance: 0.5, ..Bucket::default() };
        windows.close(busy, 101.0);
        windows.close_missed();
        let (shortest, _) = windows.flows()[0];
        assert_eq!((shortest.order_flow, shortest.queue_imbalance), (0.0, 0.5));
        assert_eq!(windows.returns_bps()[0], 0.0);
    }
}
