//! A network's answers to rows, given as a daemon would give them: cycle by cycle, each instrument's stream
//! carried along.
//!
//! A row that does not follow the one before it (a cycle is missing) begins its stream anew, as after a
//! lost book: the file does not say whether the book was lost or only quiet, and what a stream has seen
//! must be its past. Invariants: an answer depends on rows up to its own only; changed inputs change
//! nothing but answers.

use std::ops::Range;

use purkinje_strategies::features::N as FEATURES;

use super::rows::Rows;
use crate::learning::network::Network;

/// Answers P(up) for each row of a range, in its order. `alter` may change the features of a row, given
/// its index, before the network sees them. Streams begin anew at the start of the range.
///
/// # Panics
/// Where the network was loaded for fewer instruments than the rows have.
pub fn forecasts(
    network: &mut Network,
    rows: &Rows,
    range: Range<usize>,
    mut alter: impl FnMut(usize, &mut [f32]),
) -> Vec<f64> {
    let instruments = rows.instruments.len();
    let mut features = vec![0.0; instruments * FEATURES];
    let mut active = vec![false; instruments];
    let mut before: Vec<Option<(u32, u64)>> = vec![None; instruments];
    for instrument in 0..instruments {
        network.reset(instrument);
    }
    let mut answers = Vec::with_capacity(range.len());
    let mut from = range.start;
    while from < range.end {
        let cycle = |row: usize| (rows.infos()[row].source, rows.infos()[row].cycle);
        let to = (from..range.end).find(|row| cycle(*row) != cycle(from)).unwrap_or(range.end);
        active.fill(false);
        for row in from..to {
            let instrument = rows.infos()[row].instrument as usize;
            let (source, number) = cycle(row);
            if before[instrument] != Some((source, number.wrapping_sub(1))) {
                network.reset(instrument);
            }
            before[instrument] = Some((source, number));
            let shown = &mut features[instrument * FEATURES..][..FEATURES];
            shown.copy_from_slice(rows.features_of(row));
            alter(row, shown);
            active[instrument] = true;
        }
        network.advance(&features, &active);
        answers.extend((from..to).map(|row| network.p_up(rows.infos()[row].instrument as usize)));
        from = to;
    }
    answers
}
