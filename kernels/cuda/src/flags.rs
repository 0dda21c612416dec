//! Flags of an instrument in a cycle: one byte each, which all kernels read alike.
//!
//! Invariant: they are those of `prelude.cuh`, so that one block of flags serves all that runs in a graph.

/// The instrument takes part: its network or stream goes on by one step.
pub const ACTIVE: u8 = 1;
/// Its stream is forgotten, before it goes on if it does. Of predictors; the cerebellum does not read it.
pub const RESET: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::PRELUDE;

    #[test]
    fn flags_are_those_of_the_kernels() {
        for (name, flag) in [("ACTIVE", ACTIVE), ("RESET", RESET)] {
            let line = format!("#define FLAG_{name} {flag}");
            assert!(PRELUDE.lines().any(|found| found == line), "{line}");
        }
    }
}
