//! A network's answers to rows, given as a daemon would give them: cycle by cycle, each instrument's stream
//! carried along.
//!
//! A row that does not follow the one before it (a cycle is missing) begins a stream anew, as after a
//! lost book: the file does not say whether the book was lost or only quiet, and what a stream has seen
//! must be its past. Invariants: an answer depends on rows up to its own only; changed inputs change
//! nothing but answers.

use std::ops::Range;

use purkinje_strategies::features::N as FEATURES;

use super::rows::Rows;
use crate::learning::network::Network;

/// Answers P(up) for each row of a range, in its order. `alter` may change the inputs of a row, given its
/// index, before the network sees them. Streams begin anew at the start of the range.
///
/// # Panics
/// Where the network was loaded for fewer instruments than the rows have.
pub fn forecasts(
    network: &mut Network,
    rows: &Rows,
    range: Range<usize>,
    mut alter: impl FnMut(usize, &mut [f32]),
) -> Vec<f64> {
    let instruments = rows.data().instruments().len();
    let mut features = vec![0.0; instruments * FEATURES];
    let mut shown = vec![0.0; rows.inputs().len()];
    let mut active = vec![false; instruments];
    // None before an instrument's first row of the range.
    let mut streams = vec![None; instruments];
    let mut answers = Vec::with_capacity(range.len());
    for cycle in rows.rows()[range.clone()].chunk_by(|a, b| a.cycle == b.cycle) {
        active.fill(false);
        for (row, at) in (range.start + answers.len()..).zip(cycle) {
            let instrument = at.instrument as usize;
            let stream = Some(rows.streams()[row]);
            if streams[instrument] != stream {
                network.reset(instrument);
            }
            streams[instrument] = stream;
            shown.copy_from_slice(rows.features_of(row));
            alter(row, &mut shown);
            let to = &mut features[instrument * FEATURES..][..FEATURES];
            for (place, value) in rows.inputs().iter().zip(&shown) {
                to[*place] = *value;
            }
            active[instrument] = true;
        }
        network.advance(&features, &active);
        answers.extend(cycle.iter().map(|row| network.p_up(row.instrument as usize)));
    }
    answers
}
