//! Equal-width histograms of values, for plots and event files alike.
//!
//! Invariants: edges ascend strictly and are finite; every finite value is in exactly one bucket, the
//! largest in the last; values that are not finite are counted and are in none.

/// Most buckets of a histogram.
pub const MAX_BUCKETS: usize = 4_096;

/// Counts of values in equally wide buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Edges of the buckets, one more than there are buckets; empty if there was no finite value.
    /// A value on an edge is in the bucket that begins there.
    pub edges: Vec<f64>,
    /// Values in each bucket.
    pub counts: Vec<u64>,
    /// Smallest value, 0 if there is none.
    pub min: f64,
    /// Largest value, 0 if there is none.
    pub max: f64,
    /// Sum of the values.
    pub sum: f64,
    /// Sum of their squares.
    pub sum_squares: f64,
    /// Values that were NaN or infinite.
    pub not_finite: u64,
}

impl Histogram {
    /// The histogram of `values` in `buckets` (1 to [`MAX_BUCKETS`]; others are taken to the nearest)
    /// from the smallest to the largest. Equal values share a bucket around them.
    #[must_use]
    pub fn of(values: &[f32], buckets: usize) -> Self {
        let buckets = buckets.clamp(1, MAX_BUCKETS);
        let mut histogram = Self { min: f64::INFINITY, max: f64::NEG_INFINITY, ..Self::default() };
        for value in values.iter().copied().map(f64::from) {
            if value.is_finite() {
                histogram.min = histogram.min.min(value);
                histogram.max = histogram.max.max(value);
                histogram.sum += value;
                histogram.sum_squares += value * value;
            } else {
                histogram.not_finite += 1;
            }
        }
        if histogram.min > histogram.max {
            return Self { not_finite: histogram.not_finite, ..Self::default() };
        }
        let (low, high) = if histogram.min < histogram.max {
            (histogram.min, histogram.max)
        } else {
            let margin = 0.5 * histogram.min.abs().max(1e-6);
            (histogram.min - margin, histogram.max + margin)
        };
        // Values are f32, so that the width is far above the rounding of f64.
        let width = (high - low) / buckets as f64;
        histogram.edges = (0..=buckets).map(|k| low + k as f64 * width).collect();
        histogram.edges[buckets] = high;
        histogram.counts = vec![0; buckets];
        for value in values.iter().copied().map(f64::from).filter(|value| value.is_finite()) {
            let after = histogram.edges.partition_point(|edge| *edge <= value);
            histogram.counts[after.saturating_sub(1).min(buckets - 1)] += 1;
        }
        histogram
    }

    /// Finite values.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finite_value_is_in_the_bucket_between_its_edges() {
        let values = [-1.0, -0.5, 0.0, 0.25, 0.999, 1.0, f32::NAN, f32::INFINITY];
        let histogram = Histogram::of(&values, 4);
        assert_eq!(histogram.edges, [-1.0, -0.5, 0.0, 0.5, 1.0]);
        assert_eq!(histogram.counts, [1, 1, 2, 2]);
        assert_eq!((histogram.min, histogram.max, histogram.not_finite), (-1.0, 1.0, 2));
        assert!((histogram.sum - 0.749).abs() < 1e-6, "{}", histogram.sum);
        assert!((histogram.sum_squares - 3.310501).abs() < 1e-6, "{}", histogram.sum_squares);
    }

    #[test]
    fn equal_values_and_no_values_have_a_histogram_too() {
        for value in [0.0, 3.0, -1e30, f32::MAX, f32::MIN_POSITIVE] {
            let histogram = Histogram::of(&[value; 5], 3);
            assert_eq!(histogram.counts, [0, 5, 0], "{value}");
            assert!(histogram.edges.windows(2).all(|e| e[0] < e[1]), "{histogram:?}");
        }
        let none = Histogram::of(&[f32::NAN], 3);
        assert_eq!((none.edges.len(), none.total(), none.not_finite), (0, 0, 1));
        assert_eq!((none.min, none.max), (0.0, 0.0));
    }
}
