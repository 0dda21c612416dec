//! What differs between two configurations, key by key.
//!
//! Invariant: values are compared, not where they come from; a secret is told to have changed and not how.

use std::fmt;

use super::loaded::Loaded;

/// One key whose value differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its full path.
    pub key: String,
    /// The value before, as TOML.
    pub old: String,
    /// The value after, as TOML.
    pub new: String,
    /// Whether a running daemon takes it; otherwise it needs a restart.
    pub is_live: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} (was {})", self.key, self.new, self.old)
    }
}

impl Loaded {
    /// The keys whose values `next` has otherwise, in the order of the table.
    #[must_use]
    pub fn changes_to(&self, next: &Self) -> Vec<Change> {
        let pairs = self.values.iter().filter_map(|old| {
            let new = next.values.iter().find(|new| new.path == old.path)?;
            (old.value != new.value).then_some((old, new))
        });
        pairs
            .map(|(old, new)| Change {
                key: old.path.clone(),
                old: old.shown(),
                new: new.shown(),
                is_live: old.spec.is_live,
            })
            .collect()
    }
}
