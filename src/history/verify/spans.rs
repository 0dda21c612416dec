//! Stretches of time in which something holds, such as a crossed book.

use serde::Serialize;

/// Stretches so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spans {
    since_ns: Option<i64>,
    newest_ns: i64,
    report: SpanReport,
}

/// Stretches of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SpanReport {
    /// How many began.
    pub count: u64,
    /// Their lengths together, ns.
    pub total_ns: i64,
    /// The longest, ns.
    pub longest_ns: i64,
    /// Whether the last one went on at the end of the history.
    pub open_at_end: bool,
}

impl Spans {
    /// It holds, or not, from this time on.
    pub(super) fn set(&mut self, at_ns: i64, holds: bool) {
        self.newest_ns = self.newest_ns.max(at_ns);
        match (self.since_ns, holds) {
            (None, true) => {
                self.since_ns = Some(at_ns);
                self.report.count += 1;
            }
            (Some(since_ns), false) => {
                self.close(since_ns, at_ns);
                self.since_ns = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// The history ends at this time.
    pub(super) fn finish(mut self, end_ns: i64) -> SpanReport {
        if let Some(since_ns) = self.since_ns {
            self.close(since_ns, end_ns.max(self.newest_ns));
            self.report.open_at_end = true;
        }
        self.report
    }

    fn close(&mut self, since_ns: i64, at_ns: i64) {
        let ns = at_ns.saturating_sub(since_ns).max(0);
        self.report.total_ns = self.report.total_ns.saturating_add(ns);
        self.report.longest_ns = self.report.longest_ns.max(ns);
    }
}

impl SpanReport {
    /// Two kinds together; the longest of both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            total_ns: self.total_ns.saturating_add(other.total_ns),
            longest_ns: self.longest_ns.max(other.longest_ns),
            open_at_end: self.open_at_end || other.open_at_end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_counted_measured_and_the_last_may_be_open() {
        let mut spans = Spans::default();
        for (at, holds) in [(1, false), (10, true), (12, true), (15, false), (20, true)] {
            spans.set(at, holds);
        }
        let report = SpanReport { count: 2, total_ns: 15, longest_ns: 10, open_at_end: true };
        assert_eq!(spans.finish(30), report);
        spans.set(21, false);
        let report = SpanReport { count: 2, total_ns: 6, longest_ns: 5, open_at_end: false };
        assert_eq!(spans.finish(30), report);
    }

    #[test]
    fn a_clock_that_runs_back_makes_no_negative_span() {
        let mut spans = Spans::default();
        spans.set(10, true);
        spans.set(5, false);
        assert_eq!(spans.finish(5).total_ns, 0);
    }
}
