//! Signals to Kafka.
//!
//! The sink thread puts each signal into a ring and goes on; the thread `pk-kafka` ([`run`]) encodes it,
//! hands it to the client library ([`native`]) by address and sees to it that it ends in exactly one counted
//! [`Outcome`](outcome::Outcome) ([`publisher`], [`fenced`]), through a bounded spill on disk ([`spill`]) where the broker cannot take it.
//! Status and health go through a producer of their own ([`bulk`]), commands come in through [`control`].
//! What consumers are promised stands in [`contract`].

pub mod bulk;
pub mod client;
pub mod contract;
pub mod control;
pub mod delivery;
pub mod drop_rule;
pub mod envelope;
pub mod epoch;
pub mod fenced;
pub mod native;
pub mod outcome;
pub mod overflow;
pub mod producer;
pub mod publisher;
pub mod reach;
pub mod record;
pub mod run;
pub mod spill;
pub mod status;
pub mod tap;
pub mod topics;
pub mod window;
