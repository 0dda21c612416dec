//! `purkinje config check|show|reference|example`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{ConfigSource, print};
use crate::{
    config::{example, reference},
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
    /// Print the reference of all keys as Markdown
    Reference,
    /// Print a configuration file with every key at its default, commented out
    Example,
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
        Action::Reference => print(reference().trim_end())?,
        Action::Example => print(example().trim_end())?,
    }
    Ok(ExitCode::SUCCESS)
}
