//! `purkinje replay`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;

use super::{ConfigSource, outlets, print, run::path_text};
use crate::{
    pipeline::replay_source::Speed,
    run::{replay::replay as run_replay, stop},
};

/// What `replay` takes.
#[derive(Args, Debug)]
pub(super) struct ReplayArgs {
    /// Recordings (*.pkrec or a directory of them), or captures (`<receive ns> <json>` lines, gzip)
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    source: ConfigSource,
    /// max, 1x, or Nx: recorded seconds per second
    #[arg(long, default_value = "max", value_parser = speed)]
    speed: Speed,
    /// auto, cpu or cuda (backend.kind)
    #[arg(short, long, value_name = "BACKEND")]
    backend: Option<String>,
    /// Append signals to this JSON-Lines file (journal.path)
    #[arg(short, long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Show signals as configured for a live run; by default a replay prints its report only
    #[arg(long)]
    show: bool,
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    text.strip_suffix('x')
        .and_then(|n| n.parse::<f64>().ok())
        .filter(|n| n.is_finite() && *n > 0.0)
        .map(Speed::Times)
        .ok_or_else(|| format!("{text:?} is no speed, expected max, 1x or Nx with N above 0"))
}

pub(super) fn replay(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let mut flags = Vec::new();
    flags.extend(args.journal.as_deref().map(|p| ("journal.path", path_text(p))));
    flags.extend(args.backend.clone().map(|kind| ("backend.kind", kind)));
    if !args.show {
        flags.push(("terminal", "off".to_owned()));
    }
    let loaded = args.source.load(flags)?;
    let stop = stop::on_signals().context("cannot handle signals")?;
    let outlets = outlets(&loaded, "replay".into());
    if !loaded.config.kafka.brokers.is_empty() {
        eprintln!("purkinje: kafka.brokers is set, but a replay publishes nothing");
    }
    let report = run_replay(&loaded, &args.paths, args.speed, &outlets, &stop)?;
    print(&report.text())?;
    Ok(if report.feeds.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
