//! `purkinje verify`.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;

use super::print;
use crate::history::{
    progress::LateProgress,
    source::Source,
    verify::{Report, verify as verify_source},
};

/// Some history has findings.
const FINDINGS: u8 = 1;
/// Some history could not be read, or not to its end.
const UNREADABLE: u8 = 2;

/// What `verify` takes.
#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// Files of any known format, or folders of them, which are walked in the order of names
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Exit status: 0 clean, 1 findings, 2 something could not be read.
pub(super) fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let sources = match Source::list(&args.paths) {
        Ok(sources) => sources,
        Err(error) => {
            eprintln!("purkinje: {error}");
            return Ok(ExitCode::from(UNREADABLE));
        }
    };
    let total = sources.iter().map(Source::bytes).sum();
    let mut progress = LateProgress::new("verify", total);
    let (mut files, mut done) = (Vec::new(), 0);
    for source in &sources {
        let report = verify_source(source, &mut progress, done);
        done += report.bytes;
        if let Some(error) = &report.error {
            eprintln!("purkinje: {error}");
        }
        files.push(report);
    }
    progress.finish();
    let report = Report::new(files);
    if args.json {
        print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        print(report.text().trim_end())?;
    }
    Ok(if report.summary.unreadable > 0 {
        ExitCode::from(UNREADABLE)
    } else if report.summary.with_findings > 0 {
        ExitCode::from(FINDINGS)
    } else {
        ExitCode::SUCCESS
    })
}
