//! Recordings and captures.
