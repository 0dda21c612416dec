//! A transformer.
