//! `purkinje doctor`.

use std::process::ExitCode;

use clap::Args;
use purkinje_cuda::probe::Probe;

use super::{ConfigSource, print};
use crate::learning::backend::BackendSettings;

/// What `doctor` takes.
#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    source: ConfigSource,
}

/// Looks, and changes nothing. Fails where the configuration asks for a GPU that cannot serve.
pub(super) fn doctor(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let loaded = args.source.load([])?;
    let backend = &loaded.config.backend;
    let probe = Probe::new(&BackendSettings::images(&backend.nvrtc, &backend.kernel_cache));
    print(probe.to_string().trim_end())?;
    let missing = probe.missing(backend.device);
    print(&match &missing {
        None => format!("backend   device {} can serve", backend.device),
        Some(what) => format!("backend   cpu: {what}"),
    })?;
    let is_asked_for = backend.kind == crate::config::BackendKind::Cuda;
    Ok(if is_asked_for && missing.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
