//! Where the shipped sets are known to leave the ranges of life, and why.
//!
//! Invariant: every entry is a check that its set fails; the tests hold that, and that no set fails
//! one which is not here.

/// Set, check, reason.
pub(super) const KNOWN: &[(&str, &str, &str)] = &[];

/// Why the set of this name fails this check.
pub(super) fn reason(set: &str, check: &str) -> Option<&'static str> {
    KNOWN.iter().find(|known| (known.0, known.1) == (set, check)).map(|known| known.2)
}
