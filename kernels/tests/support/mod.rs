//! What several tests and benches share: a plain reference simulator and the benchmark network.

#![allow(dead_code, unreachable_pub, reason = "not every user needs every item")]

pub mod exported;
pub mod plain;
