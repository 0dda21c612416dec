//! The daemon as a service: what its manager is told, what feeds the watchdog, how it takes another configuration, what it
//! keeps of what it learned.
//!
//! Nothing here is on the hot path: it reads counters and puts commands into the ring that halts travel through.

pub mod learned;
pub mod manager;
pub mod reload;
pub mod watchdog;

use std::sync::Arc;

use self::reload::Reloader;
use crate::pipeline::commands::Commands;

/// Whom those ask who may give commands.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Halt and resume.
    pub commands: Arc<Commands>,
    /// Another configuration.
    pub reloader: Arc<Reloader>,
}
