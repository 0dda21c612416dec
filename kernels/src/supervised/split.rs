//! Training, validation and test sets by time, with a gap between them.
//!
//! A sample's label looks ahead, so samples just before a boundary already know what lies beyond
//! it. They are purged (López de Prado, Advances in Financial Machine Learning, Wiley 2018, chapter
//! 7). Invariants: the sets are ranges in order of time; the last time of one set and the first of
//! the next are at least the gap apart; no set is empty.

use std::ops::Range;

use thiserror::Error;

/// Indices of samples by set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The oldest.
    pub train: Range<usize>,
    /// Between.
    pub validation: Range<usize>,
    /// The newest.
    pub test: Range<usize>,
    /// Samples left out at the two boundaries.
    pub purged: usize,
}

/// Why samples cannot be split.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SplitError {
    /// The shares leave a set without samples.
    #[error(
        "shares are {train} to train and {validation} to validate, expected above 0 and together below 1"
    )]
    Shares {
        /// Share to train.
        train: f64,
        /// Share to validate.
        validation: f64,
    },
    /// Time runs backwards.
    #[error("sample {index} is earlier than the one before it, expected samples in order of time")]
    Order {
        /// The later of the two.
        index: usize,
    },
    /// The gap is negative.
    #[error("the gap is {0} ns, expected 0 or more")]
    Gap(i64),
    /// A set would be empty.
    #[error("the {set} set is empty with {samples} samples and a gap of {gap_ns} ns")]
    Empty {
        /// Which.
        set: &'static str,
        /// All samples.
        samples: usize,
        /// The gap.
        gap_ns: i64,
    },
}

/// Cuts samples at the given shares of their number and purges, before each cut, those less than
/// `gap_ns` older than the first sample after it. `gap_ns` is the label's horizon.
///
/// # Errors
/// [`SplitError`] when shares or gap make no sense, samples are out of order, or a set is empty.
pub fn split_by_time(
    times_ns: &[i64],
    train_share: f64,
    validation_share: f64,
    gap_ns: i64,
) -> Result<Split, SplitError> {
    if !(train_share > 0.0 && validation_share > 0.0 && train_share + validation_share < 1.0) {
        return Err(SplitError::Shares { train: train_share, validation: validation_share });
    }
    if gap_ns < 0 {
        return Err(SplitError::Gap(gap_ns));
    }
    if let Some(k) = times_ns.windows(2).position(|pair| pair[0] > pair[1]) {
        return Err(SplitError::Order { index: k + 1 });
    }
    let n = times_ns.len();
    let cut = |share: f64| ((n as f64 * share).round() as usize).min(n);
    let (first, second) = (cut(train_share), cut(train_share + validation_share));
    // Where a set that starts at `from` and is followed by `next` has to end.
    let end = |from: usize, next: usize| match times_ns.get(next) {
        Some(&t) => times_ns[..next].partition_point(|&s| t.saturating_sub(s) >= gap_ns).max(from),
        None => next,
    };
    let split = Split {
        train: 0..end(0, first),
        validation: first..end(first, second),
        test: second..n,
        purged: first - end(0, first) + second - end(first, second),
    };
    let sets =
        [("training", &split.train), ("validation", &split.validation), ("test", &split.test)];
    let empty = sets.into_iter().find(|(_, range)| range.is_empty()).map(|(set, _)| set);
    match empty {
        Some(set) => Err(SplitError::Empty { set, samples: n, gap_ns }),
        None => Ok(split),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn samples_within_the_gap_before_a_boundary_are_purged() {
        let times: Vec<i64> = (0..10).map(|k| 100 * k).collect();
        let split = split_by_time(&times, 0.5, 0.3, 250).unwrap();
        // 250 ns before 500 ns leaves 0 to 200; before 800 ns leaves 500.
        assert_eq!((split.train, split.validation, split.test), (0..3, 5..6, 8..10));
        assert_eq!(split.purged, 4);
    }

    #[test]
    fn what_cannot_be_split_is_refused_with_its_reason() {
        let times: Vec<i64> = (0..10).collect();
        let error = |times: &[i64], train, gap| split_by_time(times, train, 0.2, gap).unwrap_err();
        assert_eq!(error(&times, 0.9, 0), SplitError::Shares { train: 0.9, validation: 0.2 });
        assert_eq!(error(&[3, 1], 0.5, 0), SplitError::Order { index: 1 });
        assert_eq!(error(&times, 0.5, -1), SplitError::Gap(-1));
        let empty = SplitError::Empty { set: "training", samples: 10, gap_ns: 50 };
        assert_eq!(error(&times, 0.5, 50), empty);
        assert!(split_by_time(&[], 0.5, 0.2, 0).is_err());
    }

    proptest! {
        #[test]
        fn sets_never_overlap_or_come_closer_than_the_gap(
            mut times in prop::collection::vec(0_i64..10_000, 3..200),
            train in 0.1_f64..0.6,
            gap_ns in 0_i64..500,
        ) {
            times.sort_unstable();
            if let Ok(s) = split_by_time(&times, train, 0.2, gap_ns) {
                prop_assert!(s.train.end <= s.validation.start && s.validation.end <= s.test.start);
                prop_assert!(times[s.validation.start] - times[s.train.end - 1] >= gap_ns);
                prop_assert!(times[s.test.start] - times[s.validation.end - 1] >= gap_ns);
                let kept = s.train.len() + s.validation.len() + s.test.len();
                prop_assert_eq!(kept + s.purged, times.len());
            }
        }
    }
}
