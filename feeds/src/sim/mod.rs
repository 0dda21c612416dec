//! A simulated exchange whose best achievable forecast is known.
//!
//! [`Market`] generates order books, trades and tops for several instruments from one seed;
//! [`Oracle`] says how predictable the result is; [`spawn_thread`] serves it on a socket in the wire
//! format of Binance USD-M futures, so that the rest of the daemon cannot tell it from the venue.
//!
//! Invariants: [`Market`] is a pure function of its configuration and start time (no clock, no
//! global randomness); only the server and its sessions know of wall time and sockets.

mod client;
mod config;
mod flow;
mod hub;
mod instrument;
mod ladder;
mod market;
mod oracle;
mod regime;
mod rest;
pub(crate) mod rng;
mod server;
mod wire;

pub use config::{MarketConfig, MarketError};
pub use hub::SimStats;
pub use market::Market;
pub use oracle::Oracle;
pub use server::{SimConfig, SimError, SimHandle, spawn_thread, start};
pub use wire::{SimFrame, StreamKind};
