//! What the service manager is told: that the daemon is ready, how it is, that it reloads, that it stops.
//!
//! The protocol of sd_notify(3). Invariants: outside of a service nothing is sent; READY comes once, after the first
//! decided cycle; WATCHDOG comes by cycles alone ([`super::watchdog`]); a manager that cannot be told does not keep
//! the daemon from anything, and is told of in the report. Cost: two loads a tick, a datagram where there is news.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use sd_notify::NotifyState;

use super::watchdog::Watchdog;

/// Time from one look at the status text to the next.
const STATUS_EVERY: Duration = Duration::from_secs(1);

/// Longest status text that is sent, bytes.
const STATUS_MAX_BYTES: usize = 256;

/// Sends messages; shared by all who have something to tell.
#[derive(Debug, Default)]
pub struct Notifier {
    /// Between the first decided cycle and the end. The manager takes no reload at other times, and a READY that ends one
    /// would say what is not so.
    is_ready: AtomicBool,
    failed: AtomicU64,
}

impl Notifier {
    fn send(&self, states: &[NotifyState<'_>]) {
        self.failed.fetch_add(u64::from(sd_notify::notify(states).is_err()), Relaxed);
    }

    /// A reload begins. The time in the same message tells the manager that this answers its request.
    pub fn reloading(&self) {
        if !self.is_ready.load(Relaxed) {
            return;
        }
        // Without the time the manager would end the service.
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.send(&[NotifyState::Reloading, now]);
        }
    }

    /// The reload that began has ended, and how.
    pub fn reloaded(&self, how: &str) {
        if !self.is_ready.load(Relaxed) {
            return;
        }
        self.send(&[NotifyState::Ready, NotifyState::Status(&one_line(how))]);
    }

    /// Messages that could not be sent.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }
}

/// The service manager's view of a run.
#[derive(Debug)]
pub struct Manager<'a> {
    notifier: &'a Notifier,
    watchdog: Option<Watchdog>,
    status: String,
    status_at: Option<Instant>,
}

impl<'a> Manager<'a> {
    /// With the watchdog that the environment of this process asks for, if it does.
    #[must_use]
    pub fn new(notifier: &'a Notifier, cycle: Duration) -> Self {
        let watchdog = sd_notify::watchdog_enabled().map(Watchdog::new);
        if let Some(timeout) = watchdog.as_ref().and_then(|watchdog| watchdog.too_short_for(cycle))
        {
            eprintln!(
                "purkinje: WatchdogSec= is {} ms, expected at least two cycles of {} ms (cycle.period_ms)",
                timeout.as_millis(),
                cycle.as_millis()
            );
        }
        Self { notifier, watchdog, status: String::new(), status_at: None }
    }

    /// Call often: tells what there is to tell after so many decided cycles.
    pub fn tick(&mut self, now: Instant, decided: u64, status: impl FnOnce() -> String) {
        if decided > 0 && !self.notifier.is_ready.swap(true, Relaxed) {
            self.notifier.send(&[NotifyState::Ready]);
        }
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.is_due(now, decided)) {
            self.notifier.send(&[NotifyState::Watchdog]);
        }
        if self.status_at.is_none_or(|at| now.saturating_duration_since(at) >= STATUS_EVERY) {
            self.status_at = Some(now);
            let status = one_line(&status());
            if status != self.status {
                self.notifier.send(&[NotifyState::Status(&status)]);
                self.status = status;
            }
        }
    }

    /// The run ends.
    pub fn stopping(self) {
        self.notifier.is_ready.store(false, Relaxed);
        let status = "stopping: feeds end, rings drain, what Kafka does not take is spilled";
        self.notifier.send(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }
}

/// A text as a field of a message takes it: without line ends, not too long.
fn one_line(text: &str) -> String {
    let mut line: String = text.lines().map(str::trim).collect::<Vec<_>>().join("; ");
    line.truncate(line.floor_char_boundary(STATUS_MAX_BYTES));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_begin_a_field_of_its_own_or_be_too_long() {
        assert_eq!(
            one_line("a refused file:\n  WATCHDOG=1\r\nb"),
            "a refused file:; WATCHDOG=1; b"
        );
        let long = one_line(&"µ".repeat(STATUS_MAX_BYTES));
        assert_eq!(long, "µ".repeat(STATUS_MAX_BYTES / 2));
    }
}
