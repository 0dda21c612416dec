//! What the thread needs of a mode of delivery: [`Publisher`](super::publisher::Publisher) for `epoch`,
//! [`FencedPublisher`](super::fenced::FencedPublisher) for `fenced`.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{envelope::Envelope, overflow::ExpiredRange, publisher::Now, window::MAX_VALUE_BYTES};

/// Writes a value and returns its length; `None` where it does not fit.
pub type WriteValue<'a> = &'a mut dyn FnMut(&mut [u8; MAX_VALUE_BYTES]) -> Option<usize>;

/// Takes signals and settles each by exactly one outcome.
pub trait Delivery: Send {
    /// Takes a signal: its envelope, when it was made (monotonic ns), and what writes its value.
    fn offer(&mut self, envelope: &Envelope, made_mono_ns: u64, write: WriteValue<'_>, now: Now);

    /// Does what is due.
    fn pump(&mut self, now: Now);

    /// Sleeps until the client has something to report, or for so long; `false`, at once, if that is not what is
    /// waited for.
    fn wait_for_reports(&mut self, at_most: Duration) -> bool;

    /// Whether the client has met an error that only another client gets over.
    fn is_broken(&self) -> bool;

    /// Makes another client; `true` if that was done, and a new epoch is to begin.
    fn rebuild(&mut self, now: Now) -> bool;

    /// Whether nothing waits to be sent or acknowledged.
    fn is_idle(&mut self) -> bool;

    /// Whether the client has something under way.
    fn has_in_flight(&mut self) -> bool;

    /// Signals that expired since this was last asked for.
    fn take_expired(&mut self) -> Option<ExpiredRange>;

    /// What went wrong with the spill, in words, until there is nothing more to tell.
    fn next_fault(&mut self) -> Option<String>;

    /// From the making of a signal to its acknowledgement, µs; spilled ones are left out.
    fn latency(&self) -> Option<&Histogram<u64>>;

    /// Ends: what is not settled goes to the front of the spill. Returns what has expired on the way.
    fn end(self: Box<Self>, now: Now) -> Option<ExpiredRange>;
}
