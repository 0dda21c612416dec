//! The command line: one subcommand, one file.

mod config;
mod control;
mod dataset;
mod doctor;
mod export;
#[cfg(feature = "train")]
mod generate;
mod import;
mod kafka;
mod model;
mod replay;
mod run;
mod simulate;
mod tap;
mod train;
mod tune;
mod validate;
mod verify;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::{
    config::{JournalFsync, Loaded, Sources, load},
    run::spine::{JournalOutlet, OutletConfig},
    signals::{
        journal::{JournalConfig, JournalFsync as FileFsync},
        kafka::run::KafkaOutlet,
        terminal::Mode,
    },
};

/// Low-latency streaming inference for trading hosts: market feeds in, learned BUY / SELL / HOLD
/// signals out.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run live: connect, learn, publish. Without a configuration: on a simulated exchange inside
    /// this process.
    Run(run::RunArgs),
    /// Run live and record everything needed to replay the run byte for byte.
    Record(run::RecordArgs),
    /// Replay recordings (*.pkrec, or a directory of them) or captures through the same code.
    Replay(replay::ReplayArgs),
    /// Report what historical files are worth: order, latency, gaps, crossed books, rates. Exit status
    /// 0: clean, 1: findings, 2: something could not be read.
    Verify(verify::VerifyArgs),
    /// Turn historical files of any known format into a recording that can be replayed.
    Import(import::ImportArgs),
    /// Write recordings or historical files as Parquet: trades, quotes, depth.
    Export(export::ExportArgs),
    /// Serve the simulated exchange alone, or write a session of it to disk.
    Simulate(simulate::SimulateArgs),
    /// Say what this host has for a GPU to serve: driver, devices, compiler, images of the kernels.
    Doctor(doctor::DoctorArgs),
    /// Search the cerebellum's hyper-parameters on a recording or a simulated market. Ctrl-C stops;
    /// the study goes on when asked again.
    Tune(tune::TuneArgs),
    /// Hold a model against the literature.
    Validate(validate::ValidateArgs),
    /// Write what the members see in each cycle, and what the price did, as a Parquet file to train on.
    Dataset(dataset::DatasetArgs),
    /// Train a model from data that has been recorded.
    Train(train::TrainArgs),
    /// Write feature paths that a trained generator makes, as a Parquet file with the data set's columns.
    #[cfg(feature = "train")]
    Generate(generate::GenerateArgs),
    /// Write feature paths that a trained generator makes: not in this build, see --help
    ///
    /// This purkinje was built without it: cargo build --release --features train
    #[cfg(not(feature = "train"))]
    Generate(NotBuilt),
    /// List, show, judge and time trained networks.
    Model(model::ModelArgs),
    /// Check, show and explain the configuration.
    Config(config::ConfigArgs),
    /// Kafka: make or check the topics, print the schemas.
    Kafka(kafka::KafkaArgs),
    /// Print the topic of signals as it flows, with their age, and mark what consumers drop.
    Tap(tap::TapArgs),
    /// Stop trading: a running daemon publishes HOLD until resumed.
    Halt(control::ControlArgs),
    /// Trade again after a halt.
    Resume(control::ControlArgs),
    /// Have a running daemon read its configuration again: it takes changes of live keys at its next cycle, and refuses
    /// a file that is wrong or changes any other.
    Reload(control::ControlArgs),
    /// Ask a running daemon how it is.
    Status(control::ControlArgs),
}

/// How every command finds its configuration.
#[derive(Args, Clone, Debug)]
struct ConfigSource {
    /// Configuration file [default: $PURKINJE_CONFIG, ./purkinje.toml, /etc/purkinje/purkinje.toml]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override one key, e.g. --set strategy.horizon_ms=500; may be repeated
    #[arg(short, long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    set: Vec<(String, String)>,
}

impl ConfigSource {
    /// Loads it, with what other flags of the command stand for set last.
    fn load(
        &self,
        flags: impl IntoIterator<Item = (&'static str, String)>,
    ) -> anyhow::Result<Loaded> {
        let mut sets = self.set.clone();
        sets.extend(flags.into_iter().map(|(key, value)| (key.to_owned(), value)));
        load(&Sources::of_process(self.config.clone(), sets))
            .context("the configuration is refused")
    }
}

/// What a command of the feature `train` takes in a build without it: anything, so that it is the feature
/// that is told.
#[cfg(not(feature = "train"))]
#[derive(Args, Debug)]
struct NotBuilt {
    #[allow(dead_code, reason = "taken and not looked at")]
    #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[cfg(not(feature = "train"))]
fn refuse_not_built(command: &str) -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "{command}: this purkinje was built without it, expected one of cargo build --release \
         --features train"
    )
}

fn key_value(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} has no '=', expected KEY=VALUE"))?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

/// Where the configuration sends signals beside Kafka.
fn outlets(loaded: &Loaded, title: String) -> OutletConfig {
    let journal = &loaded.config.journal;
    let terminal = match loaded.config.terminal {
        crate::config::Terminal::Auto => "auto",
        crate::config::Terminal::Table => "table",
        crate::config::Terminal::Lines => "lines",
        crate::config::Terminal::Off => "off",
    };
    OutletConfig {
        journal: (!journal.path.as_os_str().is_empty()).then(|| JournalOutlet {
            path: journal.path.clone(),
            config: JournalConfig {
                max_bytes: journal.max_mb << 20,
                fsync: FileFsync::Never,
                ..JournalConfig::default()
            },
            sync: journal.fsync == JournalFsync::Second,
        }),
        kafka: None,
        terminal: Mode::from_name(terminal),
        title,
    }
}

/// How the configuration publishes to Kafka, if it does. Only live runs do: signals about the past must never reach those
/// who trade on the present.
fn kafka_outlet(loaded: &Loaded) -> anyhow::Result<Option<KafkaOutlet>> {
    let kafka = &loaded.config.kafka;
    let outlet = (!kafka.brokers.is_empty())
        .then(|| KafkaOutlet::new(kafka, loaded.strategy.ttl_ms))
        .transpose()?;
    Ok(outlet)
}

/// Prints a text and a newline. Who has closed the other end (`| head`) has read enough.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(e).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Parses the command line and runs the command. Failures go to standard error with their causes.
#[must_use]
pub fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Record(args) => run::record(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Import(args) => import::import(&args),
        Command::Export(args) => export::export(&args),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::Tune(args) => tune::tune(&args),
        Command::Validate(args) => validate::validate(&args),
        Command::Dataset(args) => dataset::dataset(&args),
        Command::Train(args) => train::train(&args),
        #[cfg(feature = "train")]
        Command::Generate(args) => generate::generate(&args),
        #[cfg(not(feature = "train"))]
        Command::Generate(_) => refuse_not_built("generate"),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Model(args) => Ok(model::model(&args)),
        Command::Config(args) => config::config(&args),
        Command::Kafka(args) => kafka::kafka(&args),
        Command::Tap(args) => tap::tap(&args),
        Command::Halt(args) => control::command(&args, "halt"),
        Command::Resume(args) => control::command(&args, "resume"),
        Command::Reload(args) => control::command(&args, "reload"),
        Command::Status(args) => control::command(&args, "status"),
    };
    match result {
        Ok(code) => code,
        Err(e) => {
            eprintln!("purkinje: {}", with_causes(&e));
            ExitCode::FAILURE
        }
    }
}

/// An error with its causes; one that an outer message already quotes is not said again.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let inner = std::io::Error::other("disk on fire");
        let error = anyhow::Error::new(inner).context("saving x: disk on fire").context("stopping");
        assert_eq!(with_causes(&error), "stopping: saving x: disk on fire");
    }
}
