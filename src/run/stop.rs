//! SIGTERM and SIGINT become a flag, and a second one ends the process at once; SIGHUP has the configuration read again.

use std::{
    io::IsTerminal as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// A flag that is set by the first SIGTERM or SIGINT. A second signal exits with status 130.
///
/// # Errors
/// The system refuses the handler.
pub fn on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // Registered first, so that it acts on the flag as the previous signal left it.
        flag::register_conditional_shutdown(signal, 130, stop.clone())?;
        flag::register(signal, stop.clone())?;
    }
    Ok(stop)
}

/// What a SIGHUP asks for.
///
/// A terminal that goes away sends it to those who run in it, an operator to a service. The first ends a run, whose
/// screen is gone; any other has the configuration read again.
#[derive(Clone, Debug)]
pub struct HangUp {
    told: Arc<AtomicBool>,
    had_terminal: bool,
}

/// What is to be done about a SIGHUP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUpMeans {
    /// Read the configuration again.
    Reload,
    /// End the run.
    Stop,
}

impl HangUp {
    /// From now on a SIGHUP is only noted.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub fn on_signal() -> std::io::Result<Self> {
        let hang_up = Self::never();
        flag::register(SIGHUP, hang_up.told.clone())?;
        Ok(Self { had_terminal: std::io::stdin().is_terminal(), ..hang_up })
    }

    /// Without a handler: for runs inside of another program.
    #[must_use]
    pub fn never() -> Self {
        Self { told: Arc::default(), had_terminal: false }
    }

    /// What is to be done, if there was a SIGHUP since the last call.
    #[must_use]
    pub fn take(&self) -> Option<HangUpMeans> {
        let was_told = self.told.swap(false, Ordering::Relaxed);
        let is_gone = || self.had_terminal && !std::io::stdin().is_terminal();
        was_told.then(|| if is_gone() { HangUpMeans::Stop } else { HangUpMeans::Reload })
    }
}
