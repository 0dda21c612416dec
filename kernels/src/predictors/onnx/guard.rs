//! Cuts a call off that runs longer than it may.
//!
//! A thread looks four times per budget whether a call is still running whose budget is spent, and asks ONNX
//! Runtime to end it, which it does before the next operator of the graph. What cannot be cut is a single
//! operator. So a step ends at most a quarter of its budget, at least [`LOOK_MIN`], and one operator later
//! than its budget.
//!
//! Invariant: a call is never cut for what another one took.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, park_timeout};
use std::time::{Duration, Instant};

use ort::session::RunOptions;

use super::runtime::RuntimeError;

/// Least time between two looks.
pub(super) const LOOK_MIN: Duration = Duration::from_millis(1);

struct Watched {
    options: RunOptions,
    budget: Duration,
    /// Of the call that runs; held for a few instructions by either side.
    call: Mutex<Call>,
    is_over: AtomicBool,
}

#[derive(Debug, Default)]
struct Call {
    /// When the step began; `None` between calls.
    since: Option<Instant>,
    is_cut: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Guard {
    watched: Arc<Watched>,
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    /// Options without a watch.
    pub(super) fn unwatched(options: RunOptions) -> Self {
        let (call, is_over) = (Mutex::default(), AtomicBool::new(false));
        let budget = Duration::MAX;
        Self { watched: Arc::new(Watched { options, budget, call, is_over }), thread: None }
    }

    /// Begins to watch calls with these options.
    pub(super) fn watch(&mut self, budget: Duration) -> Result<(), RuntimeError> {
        let message = "the options of its calls are shared".to_owned();
        let watched = Arc::get_mut(&mut self.watched).ok_or(RuntimeError::Session { message })?;
        watched.budget = budget;
        let watched = Arc::clone(&self.watched);
        let thread = Builder::new().name("pk-onnx-guard".to_owned());
        self.thread = Some(
            thread
                .spawn(move || watched.look())
                .map_err(|source| RuntimeError::Thread { source })?,
        );
        Ok(())
    }

    pub(super) fn options(&self) -> &RunOptions {
        &self.watched.options
    }

    /// A call of the step that began at this instant begins.
    pub(super) fn begin(&self, step: Instant) {
        if self.thread.is_none() {
            return;
        }
        let mut call = self.watched.call();
        if std::mem::take(&mut call.is_cut) {
            // It can only fail where there are no options.
            drop(self.watched.options.unterminate());
        }
        call.since = Some(step);
    }

    /// The call has ended; whether it was told to.
    pub(super) fn end(&self) -> bool {
        if self.thread.is_none() {
            return false;
        }
        let mut call = self.watched.call();
        call.since = None;
        call.is_cut
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl Watched {
    fn call(&self) -> MutexGuard<'_, Call> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self) {
        while !self.is_over.load(Ordering::Acquire) {
            park_timeout((self.budget / 4).max(LOOK_MIN));
            let mut call = self.call();
            if !call.is_cut && call.since.is_some_and(|since| since.elapsed() >= self.budget) {
                call.is_cut = self.options.terminate().is_ok();
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.watched.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A panic of it has been told already.
            drop(thread.join());
        }
    }
}
