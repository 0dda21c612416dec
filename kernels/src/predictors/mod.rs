//! Conventional networks that look at the same features as the cerebellum, written for one thread and small batches.
//!
//! Invariants: nothing allocates after construction; the instruction set and the number of instruments
//! computed at once change no bit of an answer, so that replays are equal on every processor.

#![allow(clippy::inline_always, reason = "see `dispatched`: the bodies of the hot loops")]

pub mod activation;
pub mod architecture;
pub mod attention;
pub mod autoencoder;
pub mod batch_norm;
pub mod cnn;
pub mod conv;
pub mod cuda;
pub mod dense;
pub mod encoder;
pub mod feed_forward;
pub mod lanes;
pub mod layer_norm;
pub mod linear;
pub mod lstm;
pub mod model;
pub mod onnx;
pub mod panels;
pub mod predictor;
mod stream;
pub mod transformer;
pub mod weights;
