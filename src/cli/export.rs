//! `purkinje export`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::print;
use crate::history::{export::export as run_export, merge::MergeConfig, source::Source};

/// What `export` takes.
#[derive(Args, Debug)]
pub(super) struct ExportArgs {
    /// Recordings or files of any known format, or folders of them, merged by time
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Directory for trades.parquet, quotes.parquet and depth.parquet
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Keep this instrument only (SYMBOL or VENUE:SYMBOL); may be repeated
    #[arg(short, long, value_name = "SYMBOL")]
    instrument: Vec<String>,
}

pub(super) fn export(args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let sources = Source::list(&args.paths)?;
    let config =
        MergeConfig { instruments: args.instrument.clone(), window_ns: 0, fill_receive: false };
    let exported = run_export(&sources, &args.out, &config)?;
    for file in &exported.files {
        if file.out_of_order > 0 {
            let path = file.path.display();
            eprintln!("{path}: {} messages earlier than one before them", file.out_of_order);
        }
        for note in &file.notes {
            eprintln!("{}: {note}", file.path.display());
        }
    }
    if exported.empty_books > 0 {
        eprintln!("{} book messages changed nothing and have no row", exported.empty_books);
    }
    let lines: Vec<String> = exported
        .written
        .iter()
        .map(|(path, rows)| format!("{}: {rows} rows", path.display()))
        .collect();
    print(&lines.join("\n"))?;
    Ok(ExitCode::SUCCESS)
}
