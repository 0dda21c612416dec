//! Members, their learning, and the forecaster that joins them.

pub mod forecaster;
pub mod pending;
