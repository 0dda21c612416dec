//! Forecast skill: baseline forecasters and calibration statistics.

mod base_rate;
mod persistence;
mod reliability;

pub use base_rate::BaseRate;
pub use persistence::{Direction, Persistence};
pub use reliability::Reliability;
