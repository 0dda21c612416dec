//! Where HTTP is served: a socket that systemd passes, or one of `http.address`.
//!
//! Done before a run starts, so that it says its address at once and a wrong setting is refused at once. Two
//! runs side by side must not hinder each other: where the default address is taken, the second goes on without
//! HTTP; where an address was asked for, it must be had.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;
use thiserror::Error;

use crate::{
    config::{Loaded, Origin},
    files::secret::{SecretError, credentials_directory, read_secret},
};

const ADDRESS: &str = "http.address";

/// Why HTTP cannot be served as configured.
#[derive(Debug, Error)]
pub enum BindError {
    /// The address cannot be had.
    #[error(
        "http.address = {address} ({origin}): {source}; expected an address of this host that nobody else serves"
    )]
    Address {
        /// As configured.
        address: String,
        /// Who configured it.
        origin: Origin,
        /// What the system said.
        source: std::io::Error,
    },
    /// What systemd passed is no listening TCP socket.
    #[error(
        "LISTEN_FDS: the first socket that systemd passed: {source}; expected a listening TCP socket"
    )]
    Passed {
        /// What the system said.
        source: std::io::Error,
    },
    /// The token cannot be read.
    #[error(transparent)]
    Token(#[from] SecretError),
}

/// A socket that listens, and the token of those who may command.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) token: Option<String>,
}

impl Endpoint {
    /// Where the dashboard is.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Bound {
    /// It is served here.
    At(Endpoint),
    /// The default address is taken; the text says so.
    Taken(String),
    /// It is switched off.
    Off,
}

/// Binds what the configuration says.
///
/// # Errors
/// An address that was asked for cannot be had, or the token cannot be read.
pub fn bind(loaded: &Loaded) -> Result<Bound, BindError> {
    let http = &loaded.config.http;
    if !http.enabled {
        return Ok(Bound::Off);
    }
    let token = if http.token_file.as_os_str().is_empty() {
        None
    } else {
        let credentials = credentials_directory();
        Some(read_secret("http.token_file", &http.token_file, credentials.as_deref())?)
    };
    let passed = ListenFd::from_env().take_tcp_listener(0);
    let listener = match passed.map_err(|source| BindError::Passed { source })? {
        Some(listener) => listener,
        None => match TcpListener::bind(&http.address) {
            Ok(listener) => listener,
            Err(source) => {
                let origin = loaded.origins.get(ADDRESS).cloned().unwrap_or(Origin::Default);
                if origin == Origin::Default && source.kind() == ErrorKind::AddrInUse {
                    return Ok(Bound::Taken(format!(
                        "HTTP is not served: {ADDRESS} = {} (default) is taken; give this run its own, --set \
                         {ADDRESS}=127.0.0.1:0",
                        http.address
                    )));
                }
                return Err(BindError::Address { address: http.address.clone(), origin, source });
            }
        },
    };
    let told = |source| BindError::Address {
        address: http.address.clone(),
        origin: loaded.origins.get(ADDRESS).cloned().unwrap_or(Origin::Default),
        source,
    };
    listener.set_nonblocking(true).map_err(told)?;
    let address = listener.local_addr().map_err(told)?;
    Ok(Bound::At(Endpoint { listener, address, token }))
}
