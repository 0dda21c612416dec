//! Tells, from inside the model thread, a member's loss so far at given cycle times.
//!
//! Invariants: looks at the first cycle at or after each time, so what it tells depends on the data
//! alone; never waits, as the channel has room for all; allocates nothing after construction.

use std::{collections::VecDeque, sync::mpsc::SyncSender};

use super::forecaster::Forecaster;

/// A member's losses on their way to another thread.
#[derive(Debug)]
pub struct LossProbe {
    member: &'static str,
    due_ns: VecDeque<i64>,
    tx: SyncSender<f64>,
}

impl LossProbe {
    /// Will send the mean log loss of `member` at each of `due_ns` (rising cycle times, ns); NaN
    /// where nothing of it is scored by then. `tx` must have room for all of them.
    #[must_use]
    pub fn new(member: &'static str, due_ns: &[i64], tx: SyncSender<f64>) -> Self {
        Self { member, due_ns: due_ns.iter().copied().collect(), tx }
    }

    /// Looks once a cycle.
    pub fn look(&mut self, forecaster: &Forecaster, ts_cycle_ns: i64) {
        while self.due_ns.front().is_some_and(|due| ts_cycle_ns >= *due) {
            self.due_ns.pop_front();
            let skill = forecaster.scorecard().skills().find(|skill| skill.name == self.member);
            let loss = skill.filter(|skill| skill.n > 0).map_or(f64::NAN, |skill| skill.log_loss);
            // Who no longer listens has heard enough.
            let _ = self.tx.try_send(loss);
        }
    }
}
