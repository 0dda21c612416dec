//! The replacement of an old link: its successor is dialled and followed while the old one goes on.
//!
//! ```text
//! Idle ──old──► Waiting ──limit, backoff──► Dialling ──► Open ──ready──► (takes over) Idle
//!                  ▲                           │          │
//!                  └──────────failed───────────┴──ended───┘
//! ```
//!
//! Invariants: attempts count against the shared limit on connections like all others and are spaced
//! by the same backoff; nothing here ends the old link: the owner does, when the successor is ready or
//! when [`Rotation::is_overdue`].

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::connection::{ConnectionSpec, Line};
use super::counters::NetCounters;
use super::dial::{DialError, Socket, Target, dial};
use super::open::Open;
use super::stamp::Stamp;

/// How a dial ended, and where the new stream leaves its stamps.
pub(super) type Dialled = (Arc<Stamp>, Result<Socket, DialError>);

/// A dial under way.
pub(super) type Dialling<'a> = Pin<Box<dyn Future<Output = Dialled> + Send + 'a>>;

/// Where the successor stands.
pub(super) enum Standby<'a> {
    /// None is wanted.
    Idle,
    /// To be dialled at this time.
    Waiting(Instant),
    /// Being dialled.
    Dialling(Dialling<'a>),
    /// Open and followed.
    Open(Box<Open>),
}

/// See the module.
pub(super) struct Rotation<'a> {
    spec: &'a ConnectionSpec,
    target: &'a Target,
    begun_at: Option<Instant>,
    failures: u32,
    backoff: Backoff,
    pub(super) standby: Standby<'a>,
}

impl<'a> Rotation<'a> {
    pub(super) fn new(spec: &'a ConnectionSpec, target: &'a Target) -> Self {
        let backoff = Backoff::new(spec.backoff);
        Self { spec, target, begun_at: None, failures: 0, backoff, standby: Standby::Idle }
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun_at.is_some()
    }

    pub(super) fn begin(&mut self, now: Instant) {
        self.begun_at = Some(now);
        self.standby = Standby::Waiting(now);
    }

    /// Whether the successor has had its time.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.begun_at.is_some_and(|begun_at| now - begun_at >= self.spec.rotation_timeout)
    }

    /// Takes the open successor out; the rotation is over.
    pub(super) fn finish(&mut self) -> Option<Open> {
        self.begun_at = None;
        self.failures = 0;
        self.backoff = Backoff::new(self.spec.backoff);
        match std::mem::replace(&mut self.standby, Standby::Idle) {
            Standby::Open(open) => Some(*open),
            _ => None,
        }
    }

    /// Dials, if it is time.
    pub(super) fn on_tick(&mut self, now: Instant, counters: &NetCounters) {
        let Standby::Waiting(until) = self.standby else {
            return;
        };
        if now < until {
            return;
        }
        if let Err(wait) = self.spec.connect_limit.try_take(now) {
            counters.connect_limit_ms_total.add(wait.as_millis() as u64);
            self.standby = Standby::Waiting(now + wait);
            return;
        }
        counters.dials.add(1);
        let (target, spec) = (self.target, self.spec);
        self.standby = Standby::Dialling(Box::pin(async move {
            let stamp = Arc::new(Stamp::default());
            let dialled = dial(target, spec, Arc::clone(&stamp)).await;
            (stamp, dialled)
        }));
    }

    /// A dial has ended: in an open successor, or in another attempt after a wait.
    pub(super) fn dialled<H>(
        &mut self,
        (stamp, dialled): Dialled,
        line: &mut Line<'_, H>,
    ) -> Option<&mut Open> {
        match dialled {
            Ok(socket) => {
                line.counters.connects.add(1);
                self.standby = Standby::Open(Box::new(Open::new(line, socket, stamp)));
                self.open()
            }
            Err(error) => {
                line.counters.disconnected(error.cause, &error.message);
                let pause = line.stay_away(&error);
                self.failed(pause, line.counters);
                None
            }
        }
    }

    /// The successor is gone or did not come about: another attempt, after a wait.
    pub(super) fn failed(&mut self, at_least: Duration, counters: &NetCounters) {
        self.failures = self.failures.saturating_add(1);
        let wait = self.backoff.delay(self.failures).max(at_least);
        counters.backoff_ms_total.add(wait.as_millis() as u64);
        self.standby = Standby::Waiting(Instant::now() + wait);
    }

    /// The open successor.
    pub(super) fn open(&mut self) -> Option<&mut Open> {
        match &mut self.standby {
            Standby::Open(open) => Some(open),
            _ => None,
        }
    }
}
