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

pub mod backend_state;
pub mod batch;
pub mod boards;
pub mod byte_ring;
pub mod commands;
pub mod conflate;
pub mod engine;
pub mod engine_thread;
pub mod event_clock;
pub mod event_feed;
pub mod feed_core;
pub mod grid;
pub mod input;
pub mod ladders;
pub mod latency;
pub mod live_histogram;
pub mod live_line;
pub mod live_settings;
pub mod live_stats;
pub mod model_board;
pub mod model_thread;
pub mod recorder;
pub mod reload_counts;
pub mod replay_source;
pub mod seqlock;
pub mod session_header;
pub mod sink;
pub mod status_logs;
pub mod threads;
pub mod waker;
pub mod warm;
