//! Recorded frames of every venue, and three readers that make order books of them: purkinje,
//! `barter-data`, and a straightforward client on `serde_json`.
//!
//! Invariants: all readers get the same frames in the same order and keep the book between them; each
//! checks what it can of the venue's sequence and checksum and says how much that was; that the books they
//! end with are equal is checked before anything is timed.

pub mod barter;
pub mod ours;
pub mod owned;
pub mod recordings;
pub mod trades;

use purkinje_feeds::Side;
use recordings::Line;

/// Keeps books from the lines of a recording.
pub trait Reader {
    /// Takes one line.
    ///
    /// # Errors
    /// The line could not be read, or contradicts the book; in words.
    fn line(&mut self, line: &Line) -> Result<(), String>;

    /// At most `most` levels of a side of an instrument (by its place in the recording's list of
    /// symbols), best first: price and quantity.
    fn best(&self, symbol: usize, side: Side, most: usize) -> Vec<(f64, f64)>;

    /// How many updates were checked against a sequence number or a checksum, where it is known.
    fn verified(&self) -> Option<u64>;
}
