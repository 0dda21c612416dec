//! Conventional networks that look at the same features as the cerebellum, written for one thread and small batches.
//!
//! Invariants: nothing allocates after construction; the instruction set and the number of instruments
//! computed at once change no bit of an answer, so that replays are equal on every processor.

#![allow(
    clippy::inline_always,
    reason = "the bodies of loops that are compiled once for each instruction set"
)]

pub mod activation;
pub mod lanes;
pub mod panels;
