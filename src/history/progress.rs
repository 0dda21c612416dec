//! Progress on a terminal for what takes longer than two seconds, and nothing anywhere else.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use crate::training::progress::Progress;

/// A task shorter than this shows nothing.
const LATE: Duration = Duration::from_secs(2);

/// Updates between two looks at the clock.
const EVERY: u32 = 256;

/// A progress bar that comes late.
#[derive(Debug)]
pub struct LateProgress {
    title: String,
    total_bytes: u64,
    begin: Instant,
    is_terminal: bool,
    calls: u32,
    bar: Option<Progress>,
}

impl LateProgress {
    /// Begins a task of so many bytes to read.
    #[must_use]
    pub fn new(title: &str, total_bytes: u64) -> Self {
        Self {
            title: title.to_owned(),
            total_bytes,
            begin: Instant::now(),
            is_terminal: std::io::stderr().is_terminal(),
            calls: 0,
            bar: None,
        }
    }

    /// Called as often as one likes; asks `state` for bytes read and a message now and then.
    pub fn tick(&mut self, state: impl FnOnce() -> (u64, String)) {
        self.calls = self.calls.wrapping_add(1);
        if !self.is_terminal || !self.calls.is_multiple_of(EVERY) {
            return;
        }
        if self.bar.is_none() && self.begin.elapsed() >= LATE {
            self.bar = Some(Progress::stderr(&self.title, "bytes", self.total_bytes));
        }
        if let Some(bar) = &mut self.bar {
            let (bytes, message) = state();
            bar.set(bytes, &message);
        }
    }

    /// Time since the task began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Ends the task.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish();
        }
    }
}
