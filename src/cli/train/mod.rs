//! `purkinje train`: one subcommand, one file.

mod cerebellum;
#[cfg(feature = "train")]
mod gan;
#[cfg(feature = "train")]
mod keeping;
#[cfg(feature = "train")]
mod network;

use std::process::ExitCode;

use clap::{Args, Subcommand};

#[cfg(not(feature = "train"))]
use super::{NotBuilt, refuse_not_built};

/// What `train` takes.
#[derive(Args, Debug)]
pub(super) struct TrainArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Train the cerebellum on recordings, a simulated market or examples; the daemon starts from the
    /// result with --set strategy.cerebellum.weights=DIR/checkpoints/best.pkckpt
    Cerebellum(Box<cerebellum::CerebellumArgs>),
    /// Train a conventional network on a data set of `purkinje dataset`; the daemon serves the folder that
    /// comes of it as one of strategy.networks; its report.html and card.md are of the test rows
    #[cfg(feature = "train")]
    Network(Box<network::NetworkArgs>),
    /// Train a conventional network: not in this build, see --help
    ///
    /// This purkinje was built without it: cargo build --release --features train
    #[cfg(not(feature = "train"))]
    Network(NotBuilt),
    /// Train a generator of feature paths on a data set of `purkinje dataset`, for augmentation and stress:
    /// what it learned, `purkinje generate` writes; how alike it is to rows left aside is printed
    #[cfg(feature = "train")]
    Gan(gan::GanArgs),
    /// Train a generator of feature paths: not in this build, see --help
    ///
    /// This purkinje was built without it: cargo build --release --features train
    #[cfg(not(feature = "train"))]
    Gan(NotBuilt),
}

pub(super) fn train(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    match &args.what {
        What::Cerebellum(args) => cerebellum::train(args),
        #[cfg(feature = "train")]
        What::Network(args) => network::train(args),
        #[cfg(feature = "train")]
        What::Gan(args) => gan::train(args),
        #[cfg(not(feature = "train"))]
        What::Network(_) => refuse_not_built("train network"),
        #[cfg(not(feature = "train"))]
        What::Gan(_) => refuse_not_built("train gan"),
    }
}
