//! Conventional networks that look at the same features as the cerebellum, written for one thread and small batches.
//!
//! Invariants: nothing allocates after construction; the instruction set and the number of instruments
//! computed at once change no bit of an answer, so that replays are equal on every processor.

pub mod activation;
pub mod attention;
pub mod batch_norm;
pub mod cnn;
pub mod conv;
pub mod lanes;
pub mod layer_norm;
pub mod linear;
pub mod panels;
pub mod transformer;
