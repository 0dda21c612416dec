//! What became of attempts to take another configuration, for status, report and metrics.
//!
//! Invariants: written by one attempt at a time, never by a hot thread; only the last attempt's words are kept.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

/// See the module.
#[derive(Debug, Default)]
pub struct ReloadCounts {
    applied: AtomicU64,
    refused: AtomicU64,
    /// When the last one that was taken was, ns since the epoch; 0 before the first.
    applied_at_ns: AtomicI64,
    last: Mutex<Option<LastReload>>,
}

/// How the last attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastReload {
    /// When, ns since the epoch.
    pub ts_ns: i64,
    /// Whether the configuration was taken.
    pub is_applied: bool,
    /// What was changed, or why it was refused.
    pub what: String,
}

impl ReloadCounts {
    /// Another attempt has ended.
    pub fn tell(&self, last: LastReload) {
        if last.is_applied {
            self.applied.fetch_add(1, Relaxed);
            self.applied_at_ns.store(last.ts_ns, Relaxed);
        } else {
            self.refused.fetch_add(1, Relaxed);
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    /// Configurations that were taken, and that were refused.
    #[must_use]
    pub fn counts(&self) -> [u64; 2] {
        [self.applied.load(Relaxed), self.refused.load(Relaxed)]
    }

    /// When the last one that was taken was, ns since the epoch; 0 before the first.
    #[must_use]
    pub fn applied_at_ns(&self) -> i64 {
        self.applied_at_ns.load(Relaxed)
    }

    /// How the last attempt ended; `None` before the first.
    #[must_use]
    pub fn last(&self) -> Option<LastReload> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
