//! `purkinje kafka schema json|proto`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::{
    cli::print,
    signals::schema::{SIGNAL_JSON, SIGNAL_PROTO},
};

/// What `schema` takes.
#[derive(Args, Debug)]
pub(super) struct SchemaArgs {
    /// Language of the schema
    #[arg(value_enum)]
    language: Language,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    /// JSON Schema 2020-12
    Json,
    /// Protobuf, message purkinje.v1.Signal
    Proto,
}

pub(super) fn schema(args: &SchemaArgs) -> anyhow::Result<ExitCode> {
    let schema = match args.language {
        Language::Json => SIGNAL_JSON,
        Language::Proto => SIGNAL_PROTO,
    };
    print(schema.trim_end())?;
    Ok(ExitCode::SUCCESS)
}
