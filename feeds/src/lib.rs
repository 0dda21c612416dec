//! Bytes from a venue, a file or the simulator become [`MarketEvent`]s and verified order books.
//!
//! The crate is a pipeline of small state machines that do no I/O, and two rooms that do:
//!
//! * [`fixed`], [`instrument`], [`event`], [`book`] — the vocabulary: fixed-point numbers, interned
//!   instruments, fixed-size events, an L2 book.
//! * [`protocol`] — what a venue's wire protocol is: messages, sequence rules, requests.
//! * [`binance`], [`bitstamp`], [`bybit`], [`coinbase`], [`deribit`], [`kraken`], [`okx`] — one folder a
//!   venue: a decoder (bytes → messages), its numbering, its requests.
//! * [`session`] — one connection: routes frames to sequencers, emits events and asks for repairs.
//! * [`topic`], [`venue_age`] — whether each subscribed stream is alive and in time.
//! * [`status`] — what happened to connections, topics and books, as events of fixed size.
//! * [`history`] — readers of historical files of other formats.
//! * [`recording`] — our own crash-safe recordings and readers of other people's captures.
//! * [`sim`] — a generative exchange with a planted, known signal, served in a venue's wire format.
//! * [`venue_sim`] — protocol simulators of the venues: a model book, dialects, scripted faults.
//! * [`net`] — sockets: WebSocket client, REST client with a rate budget, reconnection.

pub mod binance;
pub mod bitstamp;
pub mod book;
pub mod bybit;
pub mod coinbase;
pub mod deribit;
pub mod event;
pub mod fixed;
pub mod history;
pub mod instrument;
pub(crate) mod json;
pub mod kraken;
pub mod net;
pub mod okx;
pub mod protocol;
pub mod recording;
pub mod session;
pub mod sim;
pub mod status;
pub mod topic;
pub mod venue_age;
pub mod venue_sim;

pub use book::Book;
pub use event::{DesyncReason, EventBody, MarketEvent, Side};
pub use instrument::{Instrument, InstrumentError, InstrumentId, InstrumentTable, Venue};
