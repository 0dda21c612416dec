//! Protocol simulators: one model market, the dialects of many venues, scripted faults.
//!
//! [`Model`] moves the true order books of several instruments; a [`Dialect`] writes them in the
//! words of one venue; the server sends them over loopback, WebSocket and REST on one port, and
//! damages what a [`Fault`] says. What a client makes of it is compared with [`Model::book`].
//! A new venue is one file in [`dialects`].
//!
//! Invariants: the model and everything a dialect writes are functions of the seed, the requests
//! and the steps; only the server knows of sockets and wall time. [`crate::sim`] is something else:
//! a market with a planted signal, for learning rather than for protocols.

pub mod book;
pub mod dialect;
pub mod dialects;
pub mod model;
pub mod request;
pub mod text;

pub use book::{ModelBook, TopOfBook};
pub use dialect::{
    BookFrame, Channel, Checksum, Dialect, Effect, Facts, Heartbeat, HeartbeatFrame, LeavingLevel,
    Notice, RestAnswer, RestView, Restart, ServerPing, Session, SnapshotSource, TopFrame, Topic,
    TradeFrame,
};
pub use model::{Ids, LevelChange, Listing, Model, ModelConfig, ModelError, Trade, Update};
