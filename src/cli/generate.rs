//! `purkinje generate`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;

use super::print;
use crate::{
    run::stop,
    training::gan::{folder, paths::write_paths},
};

/// What `generate` takes.
#[derive(Args, Debug)]
pub(super) struct GenerateArgs {
    /// Folder of `purkinje train gan`
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Paths to make; at most 10000000 rows, a row a step
    #[arg(short, long, value_name = "N")]
    paths: usize,
    /// Which paths: the same seed gives the same ones
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// File to write
    #[arg(short, long, value_name = "FILE.parquet")]
    output: PathBuf,
}

pub(super) fn generate(args: &GenerateArgs) -> anyhow::Result<ExitCode> {
    let stop = stop::on_signals().context("cannot handle signals")?;
    let stored = folder::read(&args.folder)?;
    let written = write_paths(&stored, args.paths, args.seed, &args.output, &stop)?;
    let description = &stored.description;
    let (paths, steps) = (args.paths, stored.generator.steps());
    print(&format!(
        "{}: {paths} paths of {steps} steps of {} ms, {} features, like {}",
        written.display(),
        description.cycle_ms,
        description.features.len(),
        description.material
    ))?;
    Ok(ExitCode::SUCCESS)
}
