//! Where the time goes: one fixed-size histogram per stage, owned by the thread that records it.
//!
//! Recording never allocates or locks; threads hand their histograms over when they end. A stage that is watched
//! counts into a coarser histogram as well, which slow threads may read meanwhile.

use std::sync::Arc;

use hdrhistogram::Histogram;

use super::live_histogram::LiveHistogram;

/// Longest latency told apart; longer ones count as this.
const MAX_NS: u64 = 60_000_000_000;

/// One stage's latency distribution in nanoseconds, three significant digits.
#[derive(Debug)]
pub struct Stage {
    name: &'static str,
    histogram: Histogram<u64>,
    live: Option<Arc<LiveHistogram>>,
}

impl Clone for Stage {
    /// A copy is not watched: one thread counts.
    fn clone(&self) -> Self {
        Self { name: self.name, histogram: self.histogram.clone(), live: None }
    }
}

impl Stage {
    /// An empty histogram for the stage.
    ///
    /// # Panics
    /// Never: the bounds are constants within the library's limits.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        #[allow(clippy::expect_used, reason = "constant bounds, checked by every test that runs")]
        let histogram =
            Histogram::new_with_bounds(1, MAX_NS, 3).expect("constant bounds are valid");
        Self { name, histogram, live: None }
    }

    /// The same stage, watched: `live` counts what is recorded from now on.
    #[must_use]
    pub fn watched(mut self, live: Arc<LiveHistogram>) -> Self {
        self.live = Some(live);
        self
    }

    /// Notes one duration.
    pub fn record(&mut self, ns: u64) {
        self.histogram.saturating_record(ns.max(1));
        if let Some(live) = &self.live {
            live.count(ns);
        }
    }

    /// Adds another thread's recordings of the same stage.
    pub fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so nothing can be out of range.
        let _ = self.histogram.add(&other.histogram);
    }

    /// The stage's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The duration below which the share `q` of all lies, in ns.
    #[must_use]
    pub fn quantile_ns(&self, q: f64) -> u64 {
        if self.histogram.is_empty() { 0 } else { self.histogram.value_at_quantile(q) }
    }

    /// The longest duration, in ns.
    #[must_use]
    pub fn max_ns(&self) -> u64 {
        if self.histogram.is_empty() { 0 } else { self.histogram.max() }
    }
}
