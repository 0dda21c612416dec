//! The simulators as a load generator: rendered frames sent round and round at a given rate.
//!
//! [`spawn_load`] serves a dialect whose market is a [`lap`] that ends where it began, so that its
//! frames can be rendered once and sent for ever; only their numbers are written anew ([`ring`]).
//! [`SendStamps`] tells a receiver when each update was handed to the socket.
//!
//! Invariant: what a client receives is a correct stream of the venue, without end; times of the
//! venue repeat lap after lap, numbers never do.

mod lap;
mod ring;
mod server;
mod stamps;

pub use server::{LoadConfig, LoadCounters, LoadHandle, spawn_load};
pub use stamps::SendStamps;
