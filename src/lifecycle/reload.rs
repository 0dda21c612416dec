//! Another configuration for a running daemon: read, checked, compared, taken at a cycle's edge.
//!
//! Invariants: a configuration is taken whole or not at all, so what is in force is always what one load gave; one
//! that cannot be read, breaks a rule, or changes a key that needs a restart leaves everything as it was, and the
//! refusal names every such key. What is taken reaches the engine through the ring of commands, so it holds from one
//! cycle on and is part of every recording. One attempt at a time; none waits for a cycle.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use thiserror::Error;

use super::manager::Notifier;
use crate::{
    clock::wall_ns,
    config::{Change, Loaded, Problems},
    pipeline::{
        commands::Commands, live_settings::LiveSettings, live_stats::LiveStats,
        reload_counts::LastReload,
    },
};

/// Why the configuration in force stays.
#[derive(Debug, Error)]
pub enum Refusal {
    /// It does not load.
    #[error("the configuration is refused: {0}")]
    Problems(#[from] Problems),
    /// It changes keys that a running daemon cannot take anew.
    #[error("a restart is needed for {}", listed(.0))]
    Restart(Vec<Change>),
    /// The engine is behind.
    #[error("the engine has not taken earlier commands")]
    Busy,
}

/// What was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied(pub Vec<Change>);

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing has changed");
        }
        f.write_str(&listed(&self.0))
    }
}

/// Changes as one text.
fn listed(changes: &[Change]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Takes configurations.
#[derive(Debug)]
pub struct Reloader {
    in_force: Mutex<Loaded>,
    commands: Arc<Commands>,
    stats: Arc<LiveStats>,
    notifier: Arc<Notifier>,
}

impl Reloader {
    /// For a run that has begun with `loaded`, whose sources are read again at each reload.
    #[must_use]
    pub fn new(
        loaded: Loaded,
        commands: Arc<Commands>,
        stats: Arc<LiveStats>,
        notifier: Arc<Notifier>,
    ) -> Self {
        Self { in_force: Mutex::new(loaded), commands, stats, notifier }
    }

    /// Reads the configuration again and takes what has changed. The service manager, the log and the counters are
    /// told how it ended.
    ///
    /// # Errors
    /// The configuration in force stays, and why.
    pub fn reload(&self) -> Result<Applied, Refusal> {
        let mut in_force = self.in_force.lock().unwrap_or_else(PoisonError::into_inner);
        self.notifier.reloading();
        let result = self.take(&mut in_force);
        let what = match &result {
            Ok(applied) => applied.to_string(),
            Err(refusal) => refusal.to_string(),
        };
        let verdict = if result.is_ok() { "reloaded" } else { "reload refused" };
        let told = format!("{verdict}: {what}");
        eprintln!("purkinje: {told}");
        self.stats.reloads.tell(LastReload { ts_ns: wall_ns(), is_applied: result.is_ok(), what });
        self.notifier.reloaded(&told);
        result
    }

    fn take(&self, in_force: &mut Loaded) -> Result<Applied, Refusal> {
        let next = in_force.load_again()?;
        let changes = in_force.changes_to(&next);
        let fixed: Vec<Change> = changes.iter().filter(|change| !change.is_live).cloned().collect();
        if !fixed.is_empty() {
            return Err(Refusal::Restart(fixed));
        }
        let settings = LiveSettings::of(&next);
        if settings != LiveSettings::of(in_force) && !self.commands.change(settings) {
            return Err(Refusal::Busy);
        }
        *in_force = next;
        Ok(Applied(changes))
    }
}
