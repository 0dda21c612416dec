//! Networks that come as ONNX files (<https://onnx.ai>).
//!
//! A file is read and checked here, whoever runs it ([`model`]). A graph that is one of our networks is
//! served by our own kernels ([`known`]); every other one by ONNX Runtime, which is looked up on the host
//! when it is asked for and not linked ([`runtime`]).

mod call;
mod guard;
pub mod known;
mod layers;
pub mod library;
mod messages;
pub mod model;
mod operators;
pub mod runtime;
mod value;
pub mod wire;
