//! What several kinds of files need: to be read within a bound, to be replaced whole, to have one owner, to
//! be a table that others read.

pub mod atomic_file;
pub mod bounded_file;
#[cfg(test)]
pub(crate) mod child_process;
pub mod secret;
pub mod sheet;

use std::{
    fs::{File, TryLockError},
    path::Path,
};

/// Locks a folder against other processes that do the same; the lock lasts as long as the file.
///
/// # Errors
/// `WouldBlock`: another process has it. Otherwise the folder cannot be opened or locked.
pub fn lock_folder(path: &Path) -> Result<File, TryLockError> {
    let folder = File::open(path).map_err(TryLockError::Error)?;
    folder.try_lock()?;
    Ok(folder)
}

/// Lets a write beyond `RLIMIT_FSIZE` fail with an error rather than end the process (SIGXFSZ), as a
/// write to a full disk does. For the whole process and its children: once, when the program starts.
pub fn fail_writes_beyond_the_size_limit() {
    // SAFETY: ignoring a signal installs no handler; the call has no other precondition.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}
