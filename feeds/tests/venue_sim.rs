//! The protocol simulators from the outside: a plain WebSocket client and plain HTTP requests on
//! real loopback sockets.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics, helpers included")]

#[path = "venue_sim/client.rs"]
mod client;
#[path = "venue_sim/coinbase.rs"]
mod coinbase;
#[path = "venue_sim/deribit_bitstamp.rs"]
mod deribit_bitstamp;
#[path = "venue_sim/faults.rs"]
mod faults;
#[path = "venue_sim/load.rs"]
mod load;
#[path = "venue_sim/protocols.rs"]
mod protocols;
