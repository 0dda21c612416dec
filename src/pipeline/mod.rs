//! The hot path: feed threads → engine thread → model thread → sink thread, joined by rings.
//!
//! ```text
//!  feed thread (one a connection)        engine thread            model thread     sink thread
//!  socket → Session → Conflator ─ring─►  Engine: books+features ─► Forecaster ─ring─► encode, hash
//!             │ taps                     cuts a CycleBatch ◄─ returns it           │
//!             ▼                               │ tap                                ▼
//!         recorder thread ◄──────────────────-┘                        journal, Kafka, terminal
//! ```
//!
//! The engine is a pure function of an ordered stream of [`input::Input`]s. Live, the only things
//! that are not determined by the bytes received are the order in which the engine took them from
//! several rings, when it cut a cycle, and what a full ring made the conflator do; a recording notes
//! exactly these three, and a replay feeds them back.

pub mod batch;
pub mod byte_ring;
pub mod conflate;
pub mod engine;
pub mod input;
pub mod latency;
pub mod waker;
