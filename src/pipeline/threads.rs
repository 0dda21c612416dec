//! Named, optionally pinned threads.

use std::thread::{Builder, JoinHandle};

use thiserror::Error;

/// Why a thread is not as wanted.
#[derive(Debug, Error)]
pub enum ThreadError {
    /// The system has no room for it.
    #[error("cannot start thread {name}: {source}")]
    Spawn {
        /// Its name.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended by a panic.
    #[error("thread {name} panicked: {message}")]
    Panicked {
        /// Its name.
        name: String,
        /// The panic's message.
        message: String,
    },
}

/// A thread with a name, and a core if one is given. A core that does not exist leaves it unpinned
/// and says so on standard error: latency suffers, correctness does not.
///
/// # Errors
/// The system cannot start a thread.
pub fn spawn<T: Send + 'static>(
    name: &str,
    core: Option<usize>,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ThreadError> {
    let owned = name.to_owned();
    Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            if let Some(core) = core
                && let Err(e) = pin(core)
            {
                eprintln!("purkinje: cannot pin {owned} to core {core}: {e}");
            }
            run()
        })
        .map_err(|source| ThreadError::Spawn { name: name.to_owned(), source })
}

/// Waits for a thread's result.
///
/// # Errors
/// It panicked.
pub fn join<T>(handle: JoinHandle<T>) -> Result<T, ThreadError> {
    let name = handle.thread().name().unwrap_or("?").to_owned();
    handle.join().map_err(|panic| {
        let message = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
            .unwrap_or_default();
        ThreadError::Panicked { name, message }
    })
}

fn pin(core: usize) -> std::io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(std::io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: a zeroed cpu_set_t is an empty set; `core` is within its bounds; pid 0 is the caller.
    let status = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if status == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
