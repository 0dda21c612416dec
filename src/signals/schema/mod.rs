//! The published schemas of a signal, as consumers get them.
//!
//! Invariant: within version 1 they only grow. A field once published keeps its name, number, type and
//! meaning; `tests/schema_compatibility.rs` holds them against everything in `published/`.

/// JSON Schema 2020-12 of a signal in JSON.
pub const SIGNAL_JSON: &str = include_str!("signal.v1.json");

/// Protobuf definition of a signal, message `purkinje.v1.Signal`.
pub const SIGNAL_PROTO: &str = include_str!("signal.v1.proto");
