//! `purkinje halt`, `resume`, `reload` and `status`: one line to a running daemon.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::{ConfigSource, print};
use crate::control::{default_path, send};

/// What the commands take.
#[derive(Args, Debug)]
pub(super) struct ControlArgs {
    #[command(flatten)]
    source: ConfigSource,
    /// The daemon's control socket (control.socket)
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

pub(super) fn command(args: &ControlArgs, command: &str) -> anyhow::Result<ExitCode> {
    let socket = match &args.socket {
        Some(socket) => socket.clone(),
        // A halt must not depend on a configuration that has since been broken by an edit.
        None => args
            .source
            .load([])
            .map(|loaded| loaded.config.control.socket)
            .ok()
            .filter(|socket| !socket.as_os_str().is_empty())
            .unwrap_or_else(default_path),
    };
    print(&send(&socket, command)?)?;
    Ok(ExitCode::SUCCESS)
}
