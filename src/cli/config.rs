//! `purkinje config check|show|diff|reference|example`.|show|reference|example`.

use std::{fmt::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};

use super::{ConfigSource, print};
use crate::{
    config::{Change, example, reference},
    run::spine::{engine_config, forecaster, hex},
};

/// What `config` takes.
#[derive(Args, Debug)]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Load everything as `run` would and say whether it is accepted
    Check(ConfigSource),
    /// Print every value in force with its origin
    Show(ConfigSource),
    /// Print the keys that another file has otherwise, and whether a running daemon takes them. Exit status 0: it takes
    /// all of them, or there are none, 1: a restart is needed.
    Diff(DiffArgs),
    /// Print the reference of all keys as Markdown
    Reference,
    /// Print a configuration file with every key at its default, commented out
    Example,
}

/// What `config diff` takes.
#[derive(Args, Debug)]
struct DiffArgs {
    /// The file to compare, or the first of two
    file: PathBuf,
    /// The second; left out, the first is compared with the configuration that `run` would find
    with: Option<PathBuf>,
    /// Override one key in both, e.g. --set strategy.horizon_ms=500; may be repeated
    #[arg(short, long = "set", value_name = "KEY=VALUE", value_parser = super::key_value)]
    set: Vec<(String, String)>,
}

/// Columns: key, old, new, what it takes.
fn diff(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let of = |config| ConfigSource { config, set: args.set.clone() }.load([]);
    let (old, new) = match &args.with {
        Some(with) => (of(Some(args.file.clone()))?, of(Some(with.clone()))?),
        None => (of(None)?, of(Some(args.file.clone()))?),
    };
    let changes = old.changes_to(&new);
    if !changes.is_empty() {
        print(table(&changes).trim_end())?;
    }
    let needs_restart = changes.iter().any(|change| !change.is_live);
    Ok(if needs_restart { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(changes: &[Change]) -> String {
    let takes = |change: &Change| if change.is_live { "live" } else { "restart" };
    let rows = changes.iter().map(|c| [c.key.as_str(), &c.old, &c.new, takes(c)]);
    let rows: Vec<_> = std::iter::once(["key", "old", "new", "takes"]).chain(rows).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut out = String::new();
    for [key, old, new, takes] in &rows {
        let [a, b, c] = widths;
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{key:<a$}  {old:<b$}  {new:<c$}  {takes}");
    }
    out
}

pub(super) fn config(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Check(source) => {
            let loaded = source.load([])?;
            // What the table of keys cannot know, the parts that use the values do.
            forecaster(&loaded, 1, crate::clock::Clock::Event)?;
            crate::pipeline::engine::Engine::new(
                &purkinje_feeds::InstrumentTable::default(),
                &engine_config(&loaded),
            )?;
            print(&format!("accepted; sha256 {}", hex(&loaded.hash())))?;
        }
        Action::Show(source) => print(source.load([])?.show().trim_end())?,
        Action::Diff(args) => return diff(args),
        Action::Reference => print(reference().trim_end())?,
        Action::Example => print(example().trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}
