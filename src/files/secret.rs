//! Secrets from files or systemd credentials: one line each, of bounded length.
//!
//! Invariant: no message contains a secret, only the key and the file that should hold it.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::bounded_file::{BoundedFileError, BoundedFileFault, read_bytes};

/// What precedes the name of a systemd credential where a file is expected.
const CREDENTIAL: &str = "credential:";

/// A secret file may not be larger, bytes.
const MAX_SECRET_BYTES: usize = 4096;

/// Why there is no secret.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("{key} = {}: {source}", path.display())]
    Unreadable {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{key} = {}: expected one line of 1 to {MAX_SECRET_BYTES} bytes of UTF-8", path.display())]
    NotASecret {
        /// The key that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A credential is named, but the service manager gave none.
    #[error(
        "{key} = {CREDENTIAL}{name}: expected $CREDENTIALS_DIRECTORY, which LoadCredential= of the unit sets"
    )]
    NoCredentials {
        /// The key that names the credential.
        key: &'static str,
        /// The credential.
        name: String,
    },
}

/// The directory of this service's credentials, if the service manager made one.
#[must_use]
pub fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// The one line of a secret file, without its end; `credential:NAME` is a file in `credentials`.
///
/// # Errors
/// See [`SecretError`].
pub fn read_secret(
    key: &'static str,
    path: &Path,
    credentials: Option<&Path>,
) -> Result<String, SecretError> {
    let path = match path.to_str().and_then(|text| text.strip_prefix(CREDENTIAL)) {
        Some(name) => {
            let name = name.to_owned();
            credentials.ok_or(SecretError::NoCredentials { key, name: name.clone() })?.join(name)
        }
        None => path.to_owned(),
    };
    // One more for the end of the line.
    let bytes = match read_bytes(&path, MAX_SECRET_BYTES as u64 + 1) {
        Ok(bytes) => bytes,
        Err(BoundedFileError { path, fault: BoundedFileFault::Io(source) }) => {
            return Err(SecretError::Unreadable { key, path, source });
        }
        Err(BoundedFileError { path, .. }) => return Err(SecretError::NotASecret { key, path }),
    };
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let is_line = (1..=MAX_SECRET_BYTES).contains(&line.len()) && !line.contains(&b'\n');
    match std::str::from_utf8(line) {
        Ok(text) if is_line => Ok(text.to_owned()),
        _ => Err(SecretError::NotASecret { key, path }),
    }
}
