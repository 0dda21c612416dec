//! A simulated exchange whose best achievable forecast is known.
//!
//! [`Market`] generates order books, trades and tops for several instruments from one seed;
//! [`Oracle`] says how predictable the result is; [`SimHandle`] serves it on a socket in the wire
//! format of Binance USD-M futures, so that the rest of the daemon cannot tell it from the venue.
//!
//! Invariants: [`Market`] is a pure function of its configuration and start time (no clock, no
//! global randomness); only [`server`] knows of wall time and sockets.

mod config;
mod flow;
//HUB mod hub;
mod instrument;
mod ladder;
mod market;
mod oracle;
mod rng;
//HUB pub mod server;
mod wire;

pub use config::{MarketConfig, MarketError};
pub use market::Market;
pub use oracle::Oracle;
//HUB pub use server::{SimConfig, SimError, SimHandle, SimStats, spawn_thread, start};
pub use wire::{SimFrame, StreamKind};
