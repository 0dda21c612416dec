//! `purkinje dataset`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;

use super::{ConfigSource, print};
use crate::{
    run::{simulated_session, stop},
    training::dataset_file::{columns, write_dataset},
};

/// What `dataset` takes.
#[derive(Args, Debug)]
pub(super) struct DatasetArgs {
    /// Recordings of a session (*.pkrec or a directory of them), or captures, as for `replay`
    #[arg(required_unless_present_any = ["simulate", "columns"])]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    source: ConfigSource,
    /// Use so many seconds of the simulated market instead
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "paths")]
    simulate: Option<u64>,
    /// File to write
    #[arg(short, long, value_name = "FILE.parquet", required_unless_present = "columns")]
    output: Option<PathBuf>,
    /// Mean moves of at most so many basis points are no move (column mean_label)
    #[arg(long, value_name = "BPS", default_value_t = 0.0)]
    flat_bps: f64,
    /// Say what the columns are, and do nothing else
    #[arg(long)]
    columns: bool,
}

pub(super) fn dataset(args: &DatasetArgs) -> anyhow::Result<ExitCode> {
    let (Some(output), false) = (&args.output, args.columns) else {
        let lines =
            columns().into_iter().map(|[name, unit, what]| format!("{name:<24} {unit:<12} {what}"));
        print(&lines.collect::<Vec<_>>().join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    };
    let loaded = args.source.load(None)?;
    let stop = stop::on_signals().context("cannot handle signals")?;
    let seconds = args.simulate;
    let simulated =
        seconds.map(|seconds| simulated_session::write_temporary(&loaded, seconds)).transpose()?;
    let of_simulator = simulated.as_ref().map(|dir| vec![dir.path().to_owned()]);
    let paths = of_simulator.as_ref().unwrap_or(&args.paths);
    let written = write_dataset(&loaded, paths, output, args.flat_bps, &stop)?;
    for warning in &written.warnings {
        eprintln!("warning: {warning}");
    }
    let shares = |[down, flat, up]: [u64; 3]| {
        let all = (down + flat + up).max(1) as f64;
        let share = |n: u64| n as f64 / all * 100.0;
        format!("down {:.1} %, unchanged {:.1} %, up {:.1} %", share(down), share(flat), share(up))
    };
    let counts = written.counts;
    print(&format!(
        "{}: {} rows of {}\n  label       {}\n  mean_label  {}\n  left out    {} not ready, {} \
         discarded, {} displaced, {} without a label at the end",
        written.path.display(),
        counts.moved + counts.unchanged,
        written.title,
        shares(written.labels),
        shares(written.mean_labels),
        counts.not_ready,
        counts.discarded,
        counts.displaced,
        counts.open(),
    ))?;
    Ok(ExitCode::SUCCESS)
}
