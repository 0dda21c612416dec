//! Train, validation and test rows by time, with nothing known in one part that the next is judged by.
//!
//! A row's label is made of prices up to one horizon (or two, should a book be crossed) after it, and
//! its features of those up to the longest feature window before. Around each boundary rows are purged
//! whose label ends after it, or whose features begin before it (purging as by López de Prado,
//! *Advances in Financial Machine Learning*, 2018, chapter 7). Invariants: every row is in at most one
//! part; no label of an earlier part uses a price after the boundary, no feature window of a later part
//! one from before it; within a part rows are in the order of time.
//!
//! Running statistics (normaliser, recursive indicators) carry on across boundaries, as they do live:
//! they look back only.

use purkinje_strategies::features::LONGEST_MS;
use thiserror::Error;

use super::{dataset::RowInfo, labelled_rows::LabelledRow};

/// What is known of a row's times.
pub trait Timed {
    /// When its features were known, ns since the epoch.
    fn ts_cycle_ns(&self) -> i64;
    /// When its label was, ns since the epoch.
    fn ts_label_ns(&self) -> i64;
}

impl Timed for RowInfo {
    fn ts_cycle_ns(&self) -> i64 {
        self.ts_cycle_ns
    }
    fn ts_label_ns(&self) -> i64 {
        self.ts_label_ns
    }
}

impl Timed for LabelledRow {
    fn ts_cycle_ns(&self) -> i64 {
        self.ts_cycle_ns
    }
    fn ts_label_ns(&self) -> i64 {
        self.ts_label_ns
    }
}

/// Why rows cannot be split.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum SplitError {
    /// The shares leave nothing to train on.
    #[error(
        "split: validation = {validation}, test = {test}, expected each in [0, 1) and their sum below 1"
    )]
    Shares {
        /// Of validation.
        validation: f64,
        /// Of test.
        test: f64,
    },
    /// A part that was asked for is empty.
    #[error(
        "split: no rows are left for {part}: {rows} rows over {span_s} s, with {window_s} s of purge"
    )]
    Empty {
        /// Which part.
        part: &'static str,
        /// Rows in all.
        rows: usize,
        /// Time from the first to the last.
        span_s: f64,
        /// The feature window.
        window_s: f64,
    },
}

/// How rows are split.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplitConfig {
    /// Share of rows for validation, before the purge; 0 for none.
    pub validation: f64,
    /// Share of rows for the test, before the purge; 0 for none. They are the latest.
    pub test: f64,
    /// How far features look back, ns.
    pub window_ns: i64,
}

impl SplitConfig {
    /// Shares for rows of the live features, with their longest window.
    #[must_use]
    pub fn new(validation: f64, test: f64) -> Self {
        Self { validation, test, window_ns: i64::from(LONGEST_MS) * 1_000_000 }
    }
}

/// Indices of rows by part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Split {
    /// The earliest.
    pub train: Vec<u32>,
    /// Those after.
    pub validation: Vec<u32>,
    /// The latest.
    pub test: Vec<u32>,
    /// Rows in none of them.
    pub purged: usize,
    /// When validation and test begin, ns since the epoch; equal where there is no validation, the
    /// end of time where nothing follows.
    pub boundaries_ns: [i64; 2],
}

/// Splits rows by the time of their cycles.
///
/// # Errors
/// The shares are senseless, or a part that was asked for would be empty.
pub fn split_by_time<R: Timed>(rows: &[R], config: &SplitConfig) -> Result<Split, SplitError> {
    let SplitConfig { validation, test, window_ns } = *config;
    let is_share = |share: f64| (0.0..1.0).contains(&share);
    if !(is_share(validation) && is_share(test) && validation + test < 1.0) {
        return Err(SplitError::Shares { validation, test });
    }
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    // Stable, so that rows of one time keep their order.
    order.sort_by_key(|row| rows[*row as usize].ts_cycle_ns());
    let begin_of = |share_after: f64| {
        let rows_before = ((1.0 - share_after) * order.len() as f64).round() as usize;
        order.get(rows_before).map_or(i64::MAX, |row| rows[*row as usize].ts_cycle_ns())
    };
    let boundaries_ns = [begin_of(validation + test), begin_of(test)];
    let [first, second] = boundaries_ns;
    let mut split = Split { boundaries_ns, ..Split::default() };
    for index in order {
        let row = &rows[index as usize];
        let features_from_ns = row.ts_cycle_ns().saturating_sub(window_ns);
        let fits = |from: i64, to: i64| {
            let is_inside = (from..to).contains(&row.ts_cycle_ns());
            is_inside && features_from_ns >= from && row.ts_label_ns() <= to
        };
        if row.ts_cycle_ns() < first && row.ts_label_ns() <= first {
            split.train.push(index);
        } else if fits(first, second) {
            split.validation.push(index);
        } else if fits(second, i64::MAX) {
            split.test.push(index);
        } else {
            split.purged += 1;
        }
    }
    let parts = [
        ("training", split.train.is_empty()),
        ("validation", split.validation.is_empty() && validation > 0.0),
        ("the test", split.test.is_empty() && test > 0.0),
    ];
    if let Some((part, _)) = parts.into_iter().find(|(_, is_missing)| *is_missing) {
        let times = || rows.iter().map(Timed::ts_cycle_ns);
        let span_ns = times().max().unwrap_or(0).saturating_sub(times().min().unwrap_or(0));
        let (span_s, window_s) = (span_ns as f64 * 1e-9, window_ns as f64 * 1e-9);
        return Err(SplitError::Empty { part, rows: rows.len(), span_s, window_s });
    }
    Ok(split)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use purkinje_strategies::score::Outcome;

    fn row(ts_cycle_ns: i64, ts_label_ns: i64) -> RowInfo {
        RowInfo {
            source: 0,
            instrument: 0,
            cycle: 0,
            ts_cycle_ns,
            ts_label_ns,
            outcome: Outcome::Up,
            mid_x2: 0,
            mid_label_x2: 0,
            mid_mean_x2: f64::NAN,
            oracle: f64::NAN,
        }
    }

    #[test]
    fn rows_around_the_boundaries_are_purged() {
        let rows: Vec<_> = (0..100).map(|t| row(t, t + 5)).collect();
        let config = SplitConfig { validation: 0.2, test: 0.2, window_ns: 3 };
        let split = split_by_time(&rows, &config).unwrap();
        assert_eq!(split.boundaries_ns, [60, 80]);
        assert_eq!(split.train, (0..=55).collect::<Vec<_>>());
        assert_eq!(split.validation, (63..=75).collect::<Vec<_>>());
        assert_eq!(split.test, (83..100).collect::<Vec<_>>());
        assert_eq!(split.purged, 4 + 3 + 4 + 3);
    }

    #[test]
    fn parts_may_be_left_out_and_what_cannot_be_had_is_refused() {
        let rows: Vec<_> = (0..100).map(|t| row(t, t + 5)).collect();
        let mut config = SplitConfig { validation: 0.0, test: 0.0, window_ns: 3 };
        let all = split_by_time(&rows, &config).unwrap();
        assert_eq!((all.train.len(), all.purged), (100, 0));
        config.test = 0.1;
        let split = split_by_time(&rows, &config).unwrap();
        assert_eq!((split.validation.len(), split.test.len()), (0, 7));
        config.window_ns = 1_000_000_000;
        let error = split_by_time(&rows, &config).unwrap_err().to_string();
        assert_eq!(
            error,
            "split: no rows are left for the test: 100 rows over 0.000000099 s, with 1 s of purge"
        );
        for (validation, test) in [(0.5, 0.5), (-0.1, 0.1), (f64::NAN, 0.1), (0.1, 1.0)] {
            let config = SplitConfig { validation, test, window_ns: 0 };
            assert!(matches!(split_by_time(&rows, &config), Err(SplitError::Shares { .. })));
        }
        assert!(split_by_time::<RowInfo>(&[], &config).is_err());
    }

    proptest! {
        #[test]
        fn nothing_of_a_later_part_is_known_in_an_earlier_one(
            times in prop::collection::vec((0_i64..1000, 1_i64..20), 50..300),
            window_ns in 0_i64..30,
        ) {
            let rows: Vec<_> = times.iter().map(|(t, label)| row(*t, t + label)).collect();
            let config = SplitConfig { validation: 0.25, test: 0.25, window_ns };
            let Ok(split) = split_by_time(&rows, &config) else { return Ok(()) };
            let parts = [&split.train, &split.validation, &split.test];
            let kept: usize = parts.iter().map(|part| part.len()).sum();
            prop_assert_eq!(kept + split.purged, rows.len());
            let of = |part: &[u32]| -> Vec<RowInfo> {
                part.iter().map(|i| rows[*i as usize]).collect()
            };
            for pair in parts.windows(2) {
                let newest = of(pair[0]).iter().map(|r| r.ts_label_ns).max().unwrap();
                let oldest = of(pair[1]).iter().map(|r| r.ts_cycle_ns - window_ns).min().unwrap();
                prop_assert!(newest <= oldest, "{} > {}", newest, oldest);
            }
            for part in parts {
                prop_assert!(of(part).is_sorted_by_key(|r| r.ts_cycle_ns));
            }
        }
    }
}
