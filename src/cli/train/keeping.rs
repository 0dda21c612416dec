//! What every training by epochs says of its checkpoints on the command line.

use clap::Args;

use crate::training::run_folder::Keeping;

/// Flags of a training that has checkpoints.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct KeepingArgs {
    /// Go on from the newest checkpoint in the output folder, if there is one
    #[arg(long)]
    resume: bool,
    /// Numbered checkpoints kept
    #[arg(long, value_name = "N", default_value_t = 3)]
    keep: usize,
    /// Epochs from one checkpoint to the next
    #[arg(long, value_name = "N", default_value_t = 1)]
    every: u32,
}

impl From<KeepingArgs> for Keeping {
    fn from(args: KeepingArgs) -> Self {
        Self { keep_last: args.keep, every: args.every, resume: args.resume }
    }
}
