//! `purkinje import`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::print;
use crate::history::{
    import::{Imported, import as run_import},
    merge::MergeConfig,
    source::Source,
};

/// What `import` takes.
#[derive(Args, Debug)]
pub(super) struct ImportArgs {
    /// Files of any known format, or folders of them; those named together are merged by time
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Directory for the recording
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Name of the recording's files
    #[arg(short, long, default_value = "import")]
    name: String,
    /// Keep this instrument only (SYMBOL or VENUE:SYMBOL); may be repeated
    #[arg(short, long, value_name = "SYMBOL")]
    instrument: Vec<String>,
    /// Sort messages of a file that are late by less than this; without it the order of each file is
    /// kept, and violations are counted
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=60_000))]
    sort_window_ms: u32,
}

pub(super) fn import(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let sources = Source::list(&args.paths)?;
    let config = MergeConfig {
        instruments: args.instrument.clone(),
        window_ns: i64::from(args.sort_window_ms) * 1_000_000,
        fill_receive: true,
    };
    let imported = run_import(&sources, &args.out, &args.name, &config)?;
    print(text(&imported).trim_end())?;
    Ok(ExitCode::SUCCESS)
}

fn text(imported: &Imported) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    // Writing to a String cannot fail.
    for file in &imported.files {
        let (path, format) = (file.path.display(), file.format);
        let _ = writeln!(out, "{path}: {format}, {} rows, {} events", file.rows, file.events);
        if file.out_of_order > 0 {
            let sorted = file.out_of_order.saturating_sub(file.left_out_of_order);
            let _ = writeln!(
                out,
                "  order: {} messages earlier than one before them, {sorted} sorted in, {} left",
                file.out_of_order, file.left_out_of_order
            );
        }
        if file.without_receive_time > 0 {
            let _ = writeln!(
                out,
                "  times: {} events have no receive time, the venue's stands in for it",
                file.without_receive_time
            );
        }
        for note in &file.notes {
            let _ = writeln!(out, "  note: {note}");
        }
    }
    let _ = writeln!(
        out,
        "{}: {} events of {}, {} bytes in {} files",
        imported.path.display(),
        imported.events,
        imported.instruments.join(", "),
        imported.written_bytes,
        imported.written_files
    );
    out
}
