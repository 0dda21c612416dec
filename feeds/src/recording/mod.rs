//! Recordings and captures.

pub mod capture;
