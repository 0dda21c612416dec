//! `purkinje kafka schema json|proto|status|health|command`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::{
    cli::print,
    signals::schema::{COMMAND_JSON, HEALTH_JSON, SIGNAL_JSON, SIGNAL_PROTO, STATUS_JSON},
};

/// What `schema` takes.
#[derive(Args, Debug)]
pub(super) struct SchemaArgs {
    /// Which one
    #[arg(value_enum)]
    schema: Schema,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Schema {
    /// Signals in JSON: JSON Schema 2020-12
    Json,
    /// Signals in Protobuf: message purkinje.v1.Signal
    Proto,
    /// Records of the status topic: JSON Schema
    Status,
    /// Records of the health topic: JSON Schema
    Health,
    /// Records of the control topic: JSON Schema
    Command,
}

pub(super) fn schema(args: &SchemaArgs) -> anyhow::Result<ExitCode> {
    let schema = match args.schema {
        Schema::Json => SIGNAL_JSON,
        Schema::Proto => SIGNAL_PROTO,
        Schema::Status => STATUS_JSON,
        Schema::Health => HEALTH_JSON,
        Schema::Command => COMMAND_JSON,
    };
    print(schema.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
