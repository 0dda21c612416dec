//! `purkinje kafka …`: what concerns the topics as such.

mod schema;
mod topics;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// What `kafka` takes.
#[derive(Args, Debug)]
pub(super) struct KafkaArgs {
    #[command(subcommand)]
    command: KafkaCommand,
}

#[derive(Debug, Subcommand)]
enum KafkaCommand {
    /// Make the topics, or compare them with what the contract says. Exit status 0: all are as they
    /// should be, 1: some are not, 2: the broker cannot be reached or refuses
    Topics(topics::TopicsArgs),
    /// Print a schema as consumers need it
    Schema(schema::SchemaArgs),
}

pub(super) fn kafka(args: &KafkaArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        KafkaCommand::Topics(args) => topics::topics(args),
        KafkaCommand::Schema(args) => schema::schema(args),
    }
}
