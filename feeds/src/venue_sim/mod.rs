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

mod armed;
pub mod book;
mod client;
mod counters;
pub mod dialect;
pub mod dialects;
pub mod faults;
mod http;
mod hub;
pub mod load;
pub mod model;
pub mod request;
pub mod server;
pub mod text;
mod view;

pub use book::{ModelBook, TopOfBook};
pub use counters::{FiredFault, SimCounters};
pub use dialect::{
    BookFrame, Channel, Checksum, Dialect, Effect, Facts, Heartbeat, HeartbeatFrame, LeavingLevel,
    Notice, RestAnswer, RestView, Restart, ServerPing, Session, SnapshotSource, TopFrame, Topic,
    TradeFrame,
};
pub use faults::{Fault, Garbage, Garble, Script, Scripted, When};
pub use model::{Ids, LevelChange, Listing, Model, ModelConfig, ModelError, Trade, Update};
pub use server::{Handle, ServerConfig, ServerError, Timers, spawn};
