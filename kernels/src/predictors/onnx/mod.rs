//! Networks that come as ONNX files (<https://onnx.ai>).
//!
//! A file is read and checked here, whoever runs it ([`model`]). A graph that is one of our networks is
//! served by our own kernels ([`known`]); every other one by ONNX Runtime, which is looked up on the host
//! when it is asked for and not linked.

pub mod known;
mod layers;
mod messages;
pub mod model;
mod operators;
mod value;
pub mod wire;
