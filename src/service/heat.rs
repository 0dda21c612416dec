//! Latency over time: once a second, how many durations of each stage fell into which bucket.
//!
//! Invariant: at most [`COLUMNS`] seconds are kept, and of each only buckets that hold something.

use std::collections::{BTreeMap, VecDeque};

use crate::pipeline::live_histogram::Counts;

/// Seconds kept.
pub const COLUMNS: usize = 120;

/// Buckets that hold something, and how much.
pub type Column = Vec<(u8, u64)>;

#[derive(Debug, Default)]
struct StageHeat {
    total: Counts,
    columns: VecDeque<Column>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Heat {
    stages: BTreeMap<&'static str, StageHeat>,
}

impl Heat {
    /// Adds a second; `counts` are totals since the start.
    pub fn sample(&mut self, counts: Vec<(&'static str, Counts)>) {
        for (stage, total) in counts {
            let heat = self.stages.entry(stage).or_default();
            let new = total.since(&heat.total);
            heat.total = total;
            if heat.columns.len() == COLUMNS {
                heat.columns.pop_front();
            }
            let held = new.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
            heat.columns.push_back(held.map(|(bucket, count)| (bucket as u8, *count)).collect());
        }
    }

    /// The seconds kept of every stage, oldest first.
    pub fn columns(&self) -> impl Iterator<Item = (&'static str, &VecDeque<Column>)> {
        self.stages.iter().map(|(stage, heat)| (*stage, &heat.columns))
    }

    /// The newest second of every stage.
    pub fn newest(&self) -> impl Iterator<Item = (&'static str, &Column)> {
        self.stages.iter().filter_map(|(stage, heat)| Some((*stage, heat.columns.back()?)))
    }

    /// What every stage counted since the start, up to the newest second.
    pub fn totals(&self) -> impl Iterator<Item = (&'static str, &Counts)> {
        self.stages.iter().map(|(stage, heat)| (*stage, &heat.total))
    }

    /// What a stage counted within the seconds kept; their sum is not kept.
    #[must_use]
    pub fn window(&self, stage: &str) -> Counts {
        let mut counts = Counts::default();
        let columns = self.stages.get(stage).into_iter().flat_map(|heat| &heat.columns);
        for (bucket, more) in columns.flatten() {
            counts.buckets[usize::from(*bucket)] += more;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::live_histogram::LiveLatency;

    #[test]
    fn a_second_holds_what_was_counted_in_it_and_old_ones_make_room() {
        let (latency, mut heat) = (LiveLatency::default(), Heat::default());
        let histogram = latency.histogram("model");
        histogram.count(1_000);
        histogram.count(1_000);
        heat.sample(latency.counts());
        histogram.count(1_000_000);
        heat.sample(latency.counts());
        let (stage, columns) = heat.columns().next().unwrap();
        assert_eq!((stage, columns.len()), ("model", 2));
        assert_eq!(columns[0].iter().map(|(_, count)| *count).collect::<Vec<_>>(), [2]);
        assert_eq!(columns[1].iter().map(|(_, count)| *count).collect::<Vec<_>>(), [1]);
        assert!(columns[1][0].0 > columns[0][0].0, "and longer ones stand higher");
        assert_eq!((heat.window("model").count(), heat.window("none").count()), (3, 0));
        for _ in 0..COLUMNS - 1 {
            heat.sample(latency.counts());
        }
        assert_eq!(heat.columns().next().unwrap().1.len(), COLUMNS);
        assert_eq!(heat.window("model").count(), 1, "the first second has gone");
        assert_eq!(heat.totals().next().unwrap().1.count(), 3);
        assert!(heat.newest().next().unwrap().1.is_empty());
    }
}
