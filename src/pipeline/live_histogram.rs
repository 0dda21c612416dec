//! Durations counted by size while a run goes on: what slow threads see of a stage's latency.
//!
//! Buckets are fixed, four to an octave from [`FIRST_NS`] on, so that a quantile is known to a fourth of its value.
//! Invariants: one thread counts into a histogram, with two plain loads and stores; any thread reads, and may see a
//! duration in its bucket before it is in the sum; counts only grow.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The upper bound of the first bucket is a fourth more than this, ns.
pub const FIRST_NS: u64 = 256;

/// Buckets to a doubling.
pub const PER_OCTAVE: usize = 4;

const OCTAVES: usize = 26;

/// How many buckets there are; the last has no upper bound.
pub const BUCKETS: usize = OCTAVES * PER_OCTAVE + 1;

/// Upper bound of a bucket, inclusive, ns; `None` for the last.
#[must_use]
pub const fn upper_ns(bucket: usize) -> Option<u64> {
    if bucket + 1 >= BUCKETS {
        return None;
    }
    let (octave, part) = (bucket / PER_OCTAVE, (bucket % PER_OCTAVE) as u64);
    Some((FIRST_NS << octave) / PER_OCTAVE as u64 * (PER_OCTAVE as u64 + 1 + part))
}

/// The bucket of a duration.
fn bucket_of(ns: u64) -> usize {
    // Bounds are inclusive, so it is the integer below that says between which two powers a duration lies.
    let below = ns.saturating_sub(1).max(FIRST_NS);
    let power = below.ilog2();
    let part = (below >> (power - 2)) as usize % PER_OCTAVE;
    let bucket = (power - FIRST_NS.ilog2()) as usize * PER_OCTAVE + part;
    bucket.min(BUCKETS - 1)
}

/// See the module.
#[derive(Debug)]
pub struct LiveHistogram {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
}

impl Default for LiveHistogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_ns: AtomicU64::new(0) }
    }
}

impl LiveHistogram {
    /// Counts one duration. Only ever called by one thread.
    pub fn count(&self, ns: u64) {
        let add = |to: &AtomicU64, more| to.store(to.load(Relaxed).wrapping_add(more), Relaxed);
        add(&self.buckets[bucket_of(ns)], 1);
        add(&self.sum_ns, ns);
    }

    fn add_to(&self, counts: &mut Counts) {
        for (to, bucket) in counts.buckets.iter_mut().zip(&self.buckets) {
            *to += bucket.load(Relaxed);
        }
        counts.sum_ns += self.sum_ns.load(Relaxed);
    }
}

/// What one or several histograms of a stage have counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// By bucket.
    pub buckets: [u64; BUCKETS],
    /// Of all durations, ns.
    pub sum_ns: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum_ns: 0 }
    }
}

impl Counts {
    /// How many durations there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What was counted after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let buckets = std::array::from_fn(|k| self.buckets[k].saturating_sub(earlier.buckets[k]));
        Self { buckets, sum_ns: self.sum_ns.saturating_sub(earlier.sum_ns) }
    }

    /// The upper bound of the bucket that the share `q` of all durations ends in, ns; `None` where there are none.
    /// In the last bucket it is that of the one before.
    #[must_use]
    pub fn quantile_ns(&self, q: f64) -> Option<u64> {
        let count = self.count();
        let wanted = ((count as f64 * q).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|n| {
            seen += n;
            seen >= wanted
        })?;
        upper_ns(bucket.min(BUCKETS - 2))
    }
}

/// The histograms of all stages.
#[derive(Debug, Default)]
pub struct LiveLatency(Mutex<Vec<(&'static str, Arc<LiveHistogram>)>>);

impl LiveLatency {
    /// A new histogram for a stage; several threads in one stage have one each.
    #[must_use]
    pub fn histogram(&self, stage: &'static str) -> Arc<LiveHistogram> {
        let histogram = Arc::new(LiveHistogram::default());
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((stage, histogram.clone()));
        histogram
    }

    /// What was counted so far, by stage, in the order in which the stages came.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, Counts)> {
        let mut sums: Vec<(&'static str, Counts)> = Vec::new();
        for (stage, histogram) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            let at = sums.iter().position(|(name, _)| name == stage).unwrap_or_else(|| {
                sums.push((stage, Counts::default()));
                sums.len() - 1
            });
            histogram.add_to(&mut sums[at].1);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_within_the_bounds_of_its_bucket_and_bounds_rise_by_a_fourth_at_most() {
        let samples = (0..40).flat_map(|power| {
            let ns = 1u64 << power;
            [ns - 1, ns, ns + 1, ns + ns / 3, ns + ns / 2, ns + ns / 4, ns + ns / 4 + 1]
        });
        for ns in samples {
            let bucket = bucket_of(ns);
            assert!(upper_ns(bucket).is_none_or(|upper| ns <= upper), "{ns} in {bucket}");
            let lower = bucket.checked_sub(1).and_then(upper_ns);
            assert!(lower.is_none_or(|lower| ns > lower), "{ns} in {bucket}");
        }
        for bucket in 1..BUCKETS - 1 {
            let (lower, upper) = (upper_ns(bucket - 1).unwrap(), upper_ns(bucket).unwrap());
            assert!(lower < upper && upper <= lower + lower / 4, "{lower} {upper}");
        }
        assert_eq!(
            (upper_ns(3), upper_ns(7)),
            (Some(512), Some(1_024)),
            "powers of two are bounds"
        );
    }

    #[test]
    fn stages_are_summed_over_threads_and_quantiles_are_upper_bounds() {
        let latency = LiveLatency::default();
        let (a, b) = (latency.histogram("decode"), latency.histogram("decode"));
        let other = latency.histogram("model");
        for _ in 0..98 {
            a.count(1_000);
        }
        let earlier = latency.counts()[0].1.clone();
        b.count(1_000_000);
        b.count(u64::MAX >> 20);
        other.count(5);
        let counts = latency.counts();
        assert_eq!(counts.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["decode", "model"]);
        let decode = &counts[0].1;
        assert_eq!(decode.count(), 100);
        assert_eq!(decode.sum_ns, 98_000 + 1_000_000 + (u64::MAX >> 20));
        assert_eq!(decode.quantile_ns(0.5), Some(1_024));
        assert_eq!(decode.quantile_ns(0.99), Some(1_048_576));
        assert_eq!(decode.quantile_ns(1.0), upper_ns(BUCKETS - 2));
        assert_eq!(decode.since(&earlier).count(), 2);
        assert_eq!(Counts::default().quantile_ns(0.5), None);
    }
}
