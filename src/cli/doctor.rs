//! `purkinje doctor`.

use std::process::ExitCode;

use clap::Args;
use purkinje_cuda::probe::Probe;

use super::{ConfigSource, print};
use crate::{
    clock::Clock,
    config::{BackendKind, Loaded, Member},
    learning::{
        backend::BackendSettings,
        models::{CEREBELLUM, Models},
    },
    run::spine::networks,
};

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
    print(&models(&loaded))?;
    let is_asked_for = backend.kind == BackendKind::Cuda;
    Ok(if is_asked_for && missing.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The configured models for which there are kernels, and those that are for the CPU in any case.
fn models(loaded: &Loaded) -> String {
    let found = match networks(loaded, 1, Clock::Event) {
        Ok(found) => found,
        Err(error) => return format!("models    not to be loaded: {error}"),
    };
    let networks = found.members.into_iter().chain(found.challenger).collect();
    let plan = Models::new(None, networks, found.anomaly, 1).device_plan();
    let has_cerebellum = loaded.strategy.members.contains(&Member::Cerebellum);
    let mut there: Vec<&str> = has_cerebellum.then_some(CEREBELLUM).into_iter().collect();
    let mut here = Vec::new();
    for network in &plan.networks {
        match &network.program {
            Ok(_) => there.push(&network.name),
            Err(why) => here.push(format!("models    cpu: {}: {why}", network.name)),
        }
    }
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    [vec![format!("models    with kernels: {there}")], here].concat().join("\n")
}
