//! Histories: files of any known format verified, imported into recordings, exported as Parquet.
//!
//! Everything here reads through [`HistoryReader`], one pass, in memory that does not grow with the
//! files; recordings of this program are histories like any other ([`recording`]).

pub mod export;
pub mod import;
pub mod merge;
pub mod progress;
pub mod recording;
pub mod source;
pub(crate) mod table;
pub mod verify;

pub use purkinje_feeds::history::{HistoryError, HistoryReader, Progress};

use purkinje_feeds::{EventBody, MarketEvent};

/// Whether a message ends with this event: a book is complete, a quote or a trade was told, a book is
/// lost.
fn ends_message(body: EventBody) -> bool {
    !matches!(body, EventBody::BookBegin | EventBody::Level { .. })
}

/// The time that orders an event: its receive time, or its venue time where there is none; 0 where
/// there is neither.
fn time_ns(event: &MarketEvent) -> i64 {
    if event.ts_recv_ns == 0 { event.ts_venue_ns } else { event.ts_recv_ns }
}
