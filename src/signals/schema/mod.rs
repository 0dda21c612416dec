//! The published schemas: of signals, and of what else travels over Kafka.
//!
//! Invariant: within version 1 they only grow. A field once published keeps its name, number, type and
//! meaning; `tests/schema_compatibility.rs` holds them against everything in `published/`.

/// JSON Schema 2020-12 of a signal in JSON.
pub const SIGNAL_JSON: &str = include_str!("signal.v1.json");

/// Protobuf definition of a signal, message `purkinje.v1.Signal`.
pub const SIGNAL_PROTO: &str = include_str!("signal.v1.proto");

/// JSON Schema of a record of the status topic.
pub const STATUS_JSON: &str = include_str!("status.v1.json");

/// JSON Schema of a record of the health topic.
pub const HEALTH_JSON: &str = include_str!("health.v1.json");

/// JSON Schema of a record of the control topic.
pub const COMMAND_JSON: &str = include_str!("command.v1.json");
