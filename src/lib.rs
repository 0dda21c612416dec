//! The daemon: pipeline threads, learning, signals, service and command line.

pub mod config;
