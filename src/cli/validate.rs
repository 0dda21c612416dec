//! `purkinje validate cerebellum`.

use std::{io::Read as _, path::Path, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use purkinje_kernels::cerebellum::{
    Cerebellum, CerebellumConfig,
    description::{Description, NAMES, preset},
    validation::{Inputs, Options, Report, validate as validate_network, validate_trading},
};

use super::{ConfigSource, print};
use crate::{clock::Clock, run::spine::forecaster};

/// The network of the configuration.
const TRADING: &str = "trading";
/// Largest parameter file, bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// What `validate` takes.
#[derive(Args, Debug)]
pub(super) struct ValidateArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Run a network of the cerebellum at rest and hold its firing and its wiring against the
    /// literature
    Cerebellum(CerebellumArgs),
}

#[derive(Args, Debug)]
struct CerebellumArgs {
    /// "trading" (that of the configuration, on random features), a parameter set (see --list) or a
    /// parameter file (*.toml)
    #[arg(default_value = TRADING)]
    network: String,
    #[command(flatten)]
    source: ConfigSource,
    /// Biological time measured
    #[arg(long, value_name = "SECONDS", default_value_t = Options::default().seconds)]
    seconds: f64,
    /// Biological time before that
    #[arg(long, value_name = "SECONDS", default_value_t = Options::default().settle_seconds)]
    settle: f64,
    /// Seed of wiring and inputs
    #[arg(long, default_value_t = Options::default().seed)]
    seed: u64,
    /// Rate of the mossy fibres [default: the background of the parameter set, or 4]
    #[arg(long, value_name = "HZ")]
    mossy_hz: Option<f32>,
    /// Rate of the climbing fibres [default: 1]
    #[arg(long, value_name = "HZ")]
    climbing_hz: Option<f32>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Exit with status 1 if any check fails
    #[arg(long)]
    strict: bool,
    /// Print the network as a table and do not run it
    #[arg(long, conflicts_with_all = ["json", "strict"])]
    table: bool,
    /// List the names of the networks
    #[arg(long, conflicts_with = "table")]
    list: bool,
}

/// A network to validate.
enum Subject {
    /// That of the daemon.
    Trading(CerebellumConfig),
    /// A parameter set or file.
    Described(Description),
}

pub(super) fn validate(args: &ValidateArgs) -> anyhow::Result<ExitCode> {
    let What::Cerebellum(args) = &args.what;
    if args.list {
        let names: Vec<&str> = std::iter::once(TRADING).chain(NAMES).collect();
        print(&names.join("\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let subject = subject(args)?;
    if args.table {
        let description = match subject {
            Subject::Trading(config) => Cerebellum::describe(&config),
            Subject::Described(description) => description,
        };
        print(&description.to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = report(args, &subject)?;
    if args.json {
        print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        print(&report.to_string())?;
    }
    let failed = report.failures().next().is_some();
    Ok(if args.strict && failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn report(args: &CerebellumArgs, subject: &Subject) -> anyhow::Result<Report> {
    let mut options = Options {
        seconds: args.seconds,
        settle_seconds: args.settle,
        seed: args.seed,
        inputs: None,
    };
    let given = args.mossy_hz.is_some() || args.climbing_hz.is_some();
    Ok(match subject {
        Subject::Trading(_) if given => {
            bail!("--mossy-hz and --climbing-hz: features drive the trading network")
        }
        Subject::Trading(config) => validate_trading(config, &options)?,
        Subject::Described(description) => {
            let mut inputs = Inputs::background(&description.name);
            inputs.mossy_hz = args.mossy_hz.map_or(inputs.mossy_hz, |hz| [hz; 2]);
            inputs.climbing_hz = args.climbing_hz.unwrap_or(inputs.climbing_hz);
            options.inputs = Some(inputs);
            validate_network(description, &options)?
        }
    })
}

fn subject(args: &CerebellumArgs) -> anyhow::Result<Subject> {
    let name = args.network.as_str();
    if name == TRADING {
        let loaded = args.source.load([])?;
        let forecaster = forecaster(&loaded, 1, Clock::Event)?;
        let cerebellum = forecaster
            .cerebellum()
            .context("strategy.members does not name the cerebellum, so there is none to run")?;
        return Ok(Subject::Trading(cerebellum.config().clone()));
    }
    if let Some(description) = preset(name) {
        return Ok(Subject::Described(description));
    }
    if Path::new(name).extension().is_none_or(|e| e != "toml") {
        bail!(
            "network is {name:?}, expected {TRADING:?}, one of {} or a parameter file *.toml",
            NAMES.join(", ")
        );
    }
    let mut text = String::new();
    std::fs::File::open(name)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
        .with_context(|| format!("cannot read {name}"))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        bail!(
            "{name} is larger than {} MiB, the most a parameter file may be",
            MAX_FILE_BYTES >> 20
        );
    }
    Ok(Subject::Described(Description::from_toml(&text, name)?))
}
