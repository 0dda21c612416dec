//! SIGTERM and SIGINT become a flag; a second one ends the process at once.

use std::sync::{Arc, atomic::AtomicBool};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
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
