//! The operator's commands on their way to the engine, from whichever thread they come.

use std::sync::{Mutex, PoisonError};

use rtrb::Producer;

use super::{input::Input, live_settings::LiveSettings, waker::Waker};

/// The sending end, shared by the control socket, the control topic and whoever reloads. Bound: the ring's.
#[derive(Debug)]
pub struct Commands {
    ring: Mutex<Producer<Input>>,
    engine: Waker,
}

impl Commands {
    /// Into this ring, waking the engine.
    #[must_use]
    pub fn new(ring: Producer<Input>, engine: Waker) -> Self {
        Self { ring: Mutex::new(ring), engine }
    }

    /// Halts or resumes trading at the next cycle; `false` if the engine has not taken earlier commands.
    #[must_use]
    pub fn halt(&self, halt: bool) -> bool {
        self.send(Input::Halt(halt))
    }

    /// Settings that hold from the next cycle on; `false` if the engine has not taken earlier commands.
    #[must_use]
    pub fn change(&self, settings: LiveSettings) -> bool {
        self.send(Input::Settings(settings))
    }

    fn send(&self, input: Input) -> bool {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = ring.push(input).is_ok();
        if taken {
            self.engine.wake();
        }
        taken
    }
}
