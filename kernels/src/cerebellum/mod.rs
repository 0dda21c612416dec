//! The cerebellar circuit.
