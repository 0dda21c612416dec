//! `purkinje kafka …`: what concerns the topics as such.

mod schema;

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
    /// Print the schema of signals as consumers need it
    Schema(schema::SchemaArgs),
}

pub(super) fn kafka(args: &KafkaArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        KafkaCommand::Schema(args) => schema::schema(args),
    }
}
