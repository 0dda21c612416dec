//! `purkinje run` and `purkinje record`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;

use super::{ConfigSource, kafka_outlet, outlets, print};
use crate::{
    control::default_path,
    run::{
        live::{LiveOptions, live},
        spine::OutletConfig,
        stop::{self, HangUp},
    },
    service::bind::{Bound, bind},
};

/// What `run` takes.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    #[command(flatten)]
    source: ConfigSource,
    /// End by itself after so many seconds (run.duration_s)
    #[arg(short, long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// auto, cpu or cuda (backend.kind)
    #[arg(short, long, value_name = "BACKEND")]
    backend: Option<String>,
    /// Record the run into this directory (record.dir)
    #[arg(short, long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Append signals to this JSON-Lines file (journal.path)
    #[arg(short, long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// What `record` takes.
#[derive(Args, Debug)]
pub(super) struct RecordArgs {
    /// Directory for the recording
    dir: PathBuf,
    #[command(flatten)]
    source: ConfigSource,
    /// End by itself after so many seconds (run.duration_s)
    #[arg(short, long, value_name = "SECONDS")]
    duration: Option<u64>,
    /// auto, cpu or cuda (backend.kind)
    #[arg(short, long, value_name = "BACKEND")]
    backend: Option<String>,
    /// Append signals to this JSON-Lines file (journal.path)
    #[arg(short, long, value_name = "FILE")]
    journal: Option<PathBuf>,
}

/// A path as a flag's value.
pub(super) fn path_text(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

pub(super) fn record(args: &RecordArgs) -> anyhow::Result<ExitCode> {
    run(&RunArgs {
        source: args.source.clone(),
        duration: args.duration,
        backend: args.backend.clone(),
        record: Some(args.dir.clone()),
        journal: args.journal.clone(),
    })
}

pub(super) fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let flags = [
        args.duration.map(|s| ("run.duration_s", s.to_string())),
        args.backend.clone().map(|kind| ("backend.kind", kind)),
        args.record.as_deref().map(|p| ("record.dir", path_text(p))),
        args.journal.as_deref().map(|p| ("journal.path", path_text(p))),
    ];
    let loaded = args.source.load(flags.into_iter().flatten())?;
    let stop = stop::on_signals().context("cannot handle signals")?;
    let feed = &loaded.config.feed.preset;
    let mut title = format!("feed {feed}, strategy {}", loaded.config.strategy.preset);
    let http = match bind(&loaded)? {
        Bound::At(endpoint) => {
            eprintln!("purkinje: dashboard and metrics at {}", endpoint.url());
            title = format!("{title}, {}", endpoint.url());
            Some(endpoint)
        }
        Bound::Taken(why) => {
            eprintln!("purkinje: {why}");
            None
        }
        Bound::Off => None,
    };
    let socket = &loaded.config.control.socket;
    let report = live(
        &loaded,
        LiveOptions {
            outlets: OutletConfig { kafka: kafka_outlet(&loaded)?, ..outlets(&loaded, title) },
            stop: stop.clone(),
            hang_up: HangUp::on_signal().context("cannot handle signals")?,
            control: if socket.as_os_str().is_empty() { default_path() } else { socket.clone() },
            http,
        },
    )?;
    print(&format!("\n{}", report.text()))?;
    Ok(if report.feeds.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
