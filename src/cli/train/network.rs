//! `purkinje train network`.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::AtomicBool,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use purkinje_kernels::training::config::TrainConfig;

use super::keeping::KeepingArgs;
use crate::{
    cli::{model::LatePasses, print},
    evaluation::{
        evaluate::{self, EvaluationError, evaluate},
        history::History,
        report::{self, REPORT},
        rows::{Rows, Span},
    },
    run::stop,
    training::{
        dataset::DatasetConfig,
        labelled_rows::{LabelColumn, LabelledRows},
        network::{
            config::{Kind, of_file, of_kind},
            samples::Samples,
            session::{self, Trained},
            skill::table,
            walk_forward,
        },
    },
};

/// Rows that are disturbed for the page of a training, which costs a transformer most of a minute; `purkinje
/// model validate` takes five times as many.
const REPORT_DISTURBED_ROWS: usize = 2_000;

/// What `train network` takes.
#[derive(Args, Debug)]
pub(super) struct NetworkArgs {
    /// Data set of `purkinje dataset`
    #[arg(value_name = "DATA.parquet")]
    data: PathBuf,
    /// Folder of the network, its checkpoints, plots and report; its name is the member's. With --walk-forward, of
    /// walk_forward.csv alone
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Train this network: TOML of optimiser, schedule, loss and [architecture]
    #[arg(long, value_name = "FILE.toml", value_delimiter = ',', required_unless_present = "kind")]
    network: Vec<PathBuf>,
    /// Train the default network of a kind; several, separated by commas, with --walk-forward
    #[arg(short, long, value_enum, value_delimiter = ',')]
    kind: Vec<KindArg>,
    /// Features that the network reads: all, or names separated by commas
    #[arg(short, long, value_name = "NAMES", value_delimiter = ',', default_value = "all")]
    features: Vec<String>,
    /// What a row is labelled with: the move up to the horizon, as the daemon learns it, or to the mean
    /// price on the way there
    #[arg(short, long, value_enum, default_value_t = LabelArg::Move)]
    label: LabelArg,
    /// Share of the rows, the later ones, that chooses the epoch and stops the training
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    validation: f64,
    /// Share of the rows, the latest ones, that is scored once at the end
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    test: f64,
    /// Most epochs, instead of those of the network
    #[arg(short = 'n', long)]
    epochs: Option<u32>,
    /// Seed of first weights, order of rows and dropout, instead of that of the network
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    keeping: KeepingArgs,
    /// Train on every one of so many folds in the order of time instead, and compare with base rate,
    /// persistence and logistic regression on what comes after
    #[arg(long, value_name = "FOLDS", conflicts_with = "resume")]
    walk_forward: Option<usize>,
    /// Deal the labels out anew first: who then scores better than chance knows what it must not
    #[arg(long, value_name = "SEED")]
    shuffle_labels: Option<u64>,
    /// Most rows held in memory
    #[arg(long, value_name = "ROWS", default_value_t = DatasetConfig::default().max_rows)]
    max_rows: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KindArg {
    FeedForward,
    Lstm,
    Cnn,
    Transformer,
    Autoencoder,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LabelArg {
    Move,
    Mean,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::FeedForward => Self::FeedForward,
            KindArg::Lstm => Self::Lstm,
            KindArg::Cnn => Self::Cnn,
            KindArg::Transformer => Self::Transformer,
            KindArg::Autoencoder => Self::Autoencoder,
        }
    }
}

pub(super) fn train(args: &NetworkArgs) -> anyhow::Result<ExitCode> {
    let stop = stop::on_signals().context("cannot handle signals")?;
    let rows = LabelledRows::read(&args.data, &args.features, args.max_rows)?;
    let networks = networks(args, rows.feature_names().len())?;
    let by = match args.label {
        LabelArg::Move => LabelColumn::Move,
        LabelArg::Mean => LabelColumn::Mean,
    };
    let mut samples = Samples::new(rows, by);
    if let Some(seed) = args.shuffle_labels {
        samples = samples.with_shuffled_labels(seed);
    }
    match (args.walk_forward, networks) {
        (Some(folds), networks) => compare(args, &samples, folds, networks, &stop),
        (None, mut networks) => match (networks.pop(), networks.len()) {
            (Some(config), 0) => one(args, samples, config, by, &stop),
            _ => anyhow::bail!("--network, --kind: several without --walk-forward, expected one"),
        },
    }
}

/// The networks asked for, with what flags set.
fn networks(args: &NetworkArgs, inputs: usize) -> anyhow::Result<Vec<TrainConfig>> {
    let files = args.network.iter().map(|path| of_file(path, inputs));
    let kinds = args.kind.iter().map(|kind| of_kind((*kind).into(), inputs));
    let mut configs = files.chain(kinds).collect::<Result<Vec<_>, _>>()?;
    for config in &mut configs {
        config.epochs = args.epochs.unwrap_or(config.epochs);
        config.seed = args.seed.unwrap_or(config.seed);
        config.validate()?;
    }
    Ok(configs)
}

fn one(
    args: &NetworkArgs,
    samples: Samples,
    config: TrainConfig,
    by: LabelColumn,
    stop: &AtomicBool,
) -> anyhow::Result<ExitCode> {
    let forecasts = config.needs_labels();
    let settings = session::Settings {
        config,
        validation: args.validation,
        test: args.test,
        keeping: args.keeping.into(),
    };
    // Names like `.` and a trailing slash are no names of members.
    let folder = std::path::absolute(&args.output).context("--output")?;
    let trained = session::train(&samples, &settings, &folder, stop)?;
    print(&summary(&samples, &args.output, &trained))?;
    if forecasts && !trained.is_stopped {
        let page = match trained.test_begin_ns {
            None => "none: no rows were left aside, --test is 0".to_owned(),
            Some(_) if args.shuffle_labels.is_some() => {
                "none: the labels were dealt out anew".to_owned()
            }
            Some(from_ns) => judge(args, &folder, &Rows::new(samples.into_rows(), by), from_ns)?,
        };
        print(&format!("report        {page}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes what the network is worth on the rows that the training left aside. Too few rows are no failure:
/// the network is there.
fn judge(args: &NetworkArgs, folder: &Path, rows: &Rows, from_ns: i64) -> anyhow::Result<String> {
    let span = Span::Times { from_ns, to_ns: i64::MAX };
    let settings = evaluate::Settings { span, disturbed_rows: REPORT_DISTURBED_ROWS };
    let mut progress = LatePasses::new(&args.output);
    let evaluation = evaluate(folder, rows, &settings, &mut |done, all| progress.show(done, all));
    progress.finish();
    match evaluation {
        Ok(evaluation) => {
            report::write(folder, &evaluation, None, History::read(folder)?.as_ref())?;
            Ok(args.output.join(REPORT).display().to_string())
        }
        Err(EvaluationError::Rows(error)) => Ok(format!("none: {error}")),
        Err(error) => Err(error.into()),
    }
}

fn summary(samples: &Samples, folder: &Path, trained: &Trained) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut text, samples, folder, trained);
    text.trim_end().to_owned()
}

fn write(
    out: &mut String,
    samples: &Samples,
    folder: &Path,
    trained: &Trained,
) -> std::fmt::Result {
    let rows = samples.rows();
    let [train, validation, test, purged] = trained.rows;
    writeln!(out, "material      {}", rows.material)?;
    writeln!(
        out,
        "rows          {train} train, {validation} validation, {test} test, {purged} purged; {} \
         instruments, {} features",
        rows.instruments().len(),
        rows.feature_names().len()
    )?;
    writeln!(out, "epochs        {}", trained.epochs)?;
    if let Some((epoch, loss)) = trained.best {
        writeln!(out, "best          epoch {epoch}, validation loss {loss:.5}")?;
    }
    if trained.is_stopped {
        return writeln!(out, "stopped       the same command with --resume goes on");
    }
    if let Some(scale) = trained.anomaly_scale {
        writeln!(out, "anomaly scale {scale:.5}, 99 % of validation rows are below")?;
    }
    for (part, skills) in &trained.skills {
        writeln!(out, "\n{part}\n{}", table(skills))?;
    }
    writeln!(out, "\nnetwork       {}", folder.display())
}

fn compare(
    args: &NetworkArgs,
    samples: &Samples,
    folds: usize,
    networks: Vec<TrainConfig>,
    stop: &AtomicBool,
) -> anyhow::Result<ExitCode> {
    let settings = walk_forward::Settings { folds, validation: args.validation, networks };
    let comparison = walk_forward::compare(samples, &settings, stop)?;
    std::fs::create_dir_all(&args.output)
        .with_context(|| format!("{}: cannot create", args.output.display()))?;
    let path = args.output.join("walk_forward.csv");
    walk_forward::write(&path, &comparison)?;
    print(&format!(
        "{}: {folds} folds\n{}\n{}",
        samples.rows().material,
        table(&comparison.all),
        path.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
