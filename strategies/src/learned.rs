//! Counts among learned numbers.
//!
//! What has learned shows every number of it to a visitor, as an `f64` that the visitor may replace: one walk both
//! writes a state and takes one up, so that the two cannot differ.

/// Shows a count: exact up to 2^53.
pub(crate) fn visit_count(count: &mut u64, visit: &mut dyn FnMut(&mut f64)) {
    let mut number = *count as f64;
    visit(&mut number);
    *count = number as u64;
}
