//! `purkinje train gan`.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use purkinje_kernels::training::gan::config::GanConfig;

use super::keeping::KeepingArgs;
use crate::{
    cli::print,
    run::stop,
    training::{
        dataset::DatasetConfig,
        gan::{
            folder::config_of_file,
            session::{self, Settings, Trained},
        },
        labelled_rows::{LabelColumn, LabelledRows},
        network::samples::Samples,
    },
};

/// What `train gan` takes.
#[derive(Args, Debug)]
pub(super) struct GanArgs {
    /// Data set of `purkinje dataset`
    #[arg(value_name = "DATA.parquet")]
    data: PathBuf,
    /// Folder of the generator, its checkpoints, losses and likeness
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Sizes and rates of the pair instead of the defaults, as TOML; `features` must be there
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Features of a path: all, or names separated by commas
    #[arg(short, long, value_name = "NAMES", value_delimiter = ',', default_value = "all")]
    features: Vec<String>,
    /// Cycles of a path, instead of those of the configuration (`steps`)
    #[arg(short, long, value_name = "CYCLES")]
    window: Option<usize>,
    /// Share of the rows, the latest ones, that nothing is learned from; likeness is judged by them
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    test: f64,
    /// Epochs, instead of those of the configuration
    #[arg(short = 'n', long)]
    epochs: Option<u32>,
    /// Seed of first weights, order of windows and noise, instead of that of the configuration
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    keeping: KeepingArgs,
    /// Most rows held in memory
    #[arg(long, value_name = "ROWS", default_value_t = DatasetConfig::default().max_rows)]
    max_rows: usize,
}

pub(super) fn train(args: &GanArgs) -> anyhow::Result<ExitCode> {
    let stop = stop::on_signals().context("cannot handle signals")?;
    let rows = LabelledRows::read(&args.data, &args.features, args.max_rows)?;
    let features = rows.feature_names().len();
    let mut config = match &args.config {
        Some(path) => config_of_file(path, features)?,
        None => GanConfig::new(features),
    };
    config.steps = args.window.unwrap_or(config.steps);
    config.epochs = args.epochs.unwrap_or(config.epochs);
    config.seed = args.seed.unwrap_or(config.seed);
    let settings = Settings { config, test: args.test, keeping: args.keeping.into() };
    // Labels are not looked at.
    let samples = Samples::new(rows, LabelColumn::Move);
    let trained = session::train(&samples, &settings, &args.output, &stop)?;
    print(&summary(&samples, settings.config.steps, &args.output, &trained))?;
    Ok(ExitCode::SUCCESS)
}

fn summary(samples: &Samples, steps: usize, folder: &Path, trained: &Trained) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, samples, steps, folder, trained);
    text.trim_end().to_owned()
}

fn write(
    out: &mut String,
    samples: &Samples,
    steps: usize,
    folder: &Path,
    trained: &Trained,
) -> std::fmt::Result {
    let rows = samples.rows();
    let [training, test] = trained.windows;
    writeln!(out, "material      {}", rows.material)?;
    writeln!(
        out,
        "windows       {training} training, {test} test, of {steps} cycles; {} rows purged; {} instruments, {} \
         features",
        trained.purged,
        rows.instruments().len(),
        rows.feature_names().len()
    )?;
    writeln!(out, "epochs        {}", trained.epochs)?;
    if let Some(epoch) = trained.last {
        writeln!(
            out,
            "losses        discriminator {:.3}, generator {:.3}",
            epoch.discriminator_loss, epoch.generator_loss
        )?;
    }
    match &trained.comparison {
        None => writeln!(out, "stopped       the same command with --resume goes on"),
        Some(comparison) => {
            writeln!(out, "\n{}\n\ngenerator     {}", comparison.text(), folder.display())
        }
    }
}
