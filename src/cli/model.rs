//! `purkinje model`.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::{print, with_causes};
use crate::{
    evaluation::{
        card::verdict,
        catalogue::{Entry, folders, table, tensors},
        evaluate::{DISTURBED_ROWS, Settings, evaluate},
        folder::Folder,
        history::History,
        latency::{Calls, measure},
        report,
        rows::{Rows, Span},
        tables,
    },
    training::{
        labelled_rows::{LabelColumn, LabelledRows},
        progress::Progress,
    },
};

/// A network has no skill, or one of those listed has a problem.
const NO_SKILL: u8 = 1;
/// The command could not do what it was asked for.
const FAILED: u8 = 2;
/// What `validate` measures of latency for the card.
const CARD_CALLS: Calls = Calls { warm: 20_000, cold: 1_000 };
/// Directory that is listed without another.
const MODELS: &str = "models";

/// What `model` takes.
#[derive(Args, Debug)]
pub(super) struct ModelArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List networks: kind, inputs, parameters, bytes, horizon, cycle, hash, problems. Exit status 0: all
    /// can be served, 1: some cannot, 2: a directory could not be read
    List(ListArgs),
    /// Show a network: description, architecture, every tensor with its shape and norm
    Show(ShowArgs),
    /// Hold networks against base rate, persistence and logistic regression on a data set, and write
    /// card.md and report.html into their folders. Exit status 0: all have skill, 1: some have none over
    /// a baseline, 2: something could not be run
    Validate(ValidateArgs),
    /// Time a network's step on this machine, with warm and cold caches
    Bench(BenchArgs),
}

#[derive(Args, Debug)]
struct ListArgs {
    /// Folders of networks, or directories of such folders [default: models]
    directories: Vec<PathBuf>,
}

#[derive(Args, Debug)]
struct ShowArgs {
    /// Folder of a network
    folder: PathBuf,
}

#[derive(Args, Debug)]
struct ValidateArgs {
    /// Folders of networks
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Data set of `purkinje dataset`
    #[arg(long, value_name = "FILE.parquet")]
    data: PathBuf,
    /// Test on the latest share of the rows
    #[arg(long, value_name = "SHARE", default_value_t = 0.3, conflicts_with_all = ["from", "to"])]
    share: f64,
    /// Test on rows from this time on, e.g. 2024-08-08T12:00:00Z; baselines learn from those before
    #[arg(long, value_name = "TIME", value_parser = nanoseconds)]
    from: Option<i64>,
    /// Test on rows before this time [default: to the end]
    #[arg(long, value_name = "TIME", requires = "from", value_parser = nanoseconds)]
    to: Option<i64>,
    /// What a row is judged by: the move of the mid price, or that to its mean over the horizon
    #[arg(long, value_enum, default_value_t = LabelArg::Move)]
    label: LabelArg,
    /// Score noise, missing inputs and importance on at most so many rows, the latest; 0 leaves them out
    #[arg(long, value_name = "ROWS", default_value_t = DISTURBED_ROWS)]
    disturbed_rows: usize,
    /// Most rows held in memory
    #[arg(long, value_name = "ROWS", default_value_t = 2_000_000)]
    max_rows: usize,
    /// Print the figures and write no files
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LabelArg {
    Move,
    Mean,
}

impl From<LabelArg> for LabelColumn {
    fn from(label: LabelArg) -> Self {
        match label {
            LabelArg::Move => Self::Move,
            LabelArg::Mean => Self::Mean,
        }
    }
}

#[derive(Args, Debug)]
struct BenchArgs {
    /// Folder of a network
    folder: PathBuf,
    /// Instruments of a step
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    instruments: u32,
    /// Steps timed with warm caches
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    calls: u32,
    /// Steps timed with cold caches, about a millisecond each
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1_000..=1_000_000))]
    cold_calls: u32,
}

/// A time with its offset from UTC, as ns since the epoch.
fn nanoseconds(text: &str) -> Result<i64, String> {
    let expected =
        || format!("{text:?}, expected a time like 2024-08-08T12:00:00Z, from 1678 to 2262");
    let time: Timestamp = text.parse().map_err(|_| expected())?;
    i64::try_from(time.as_nanosecond()).map_err(|_| expected())
}

pub(super) fn model(args: &ModelArgs) -> ExitCode {
    let outcome = match &args.what {
        What::List(args) => list(args),
        What::Show(args) => show(args).map(|()| 0),
        What::Validate(args) => Ok(validate(args)),
        What::Bench(args) => bench(args).map(|()| 0),
    };
    let status = outcome.unwrap_or_else(|error| {
        eprintln!("purkinje: {}", with_causes(&error));
        FAILED
    });
    ExitCode::from(status)
}

fn list(args: &ListArgs) -> anyhow::Result<u8> {
    let by_default = [PathBuf::from(MODELS)];
    let directories =
        if args.directories.is_empty() { &by_default[..] } else { &args.directories[..] };
    let mut entries = Vec::new();
    for directory in directories {
        entries.extend(folders(directory)?.iter().map(|folder| Entry::of(folder)));
    }
    let is_faulty = entries.iter().any(|entry| entry.problem.is_some());
    print(table(&entries).text().trim_end())?;
    Ok(if is_faulty { NO_SKILL } else { 0 })
}

fn show(args: &ShowArgs) -> anyhow::Result<()> {
    let entry = Entry::of(&args.folder);
    if let Some(problem) = entry.problem {
        return Err(problem.into());
    }
    let description = Folder::read(&args.folder)?;
    // An ONNX file keeps its own.
    let tensors = match entry.parameters {
        Some(_) => tensors(&args.folder)?.text(),
        None => String::new(),
    };
    let (weight_bytes, sha256) = entry.loaded.unwrap_or_default();
    print(&format!(
        "{}\n\nfeatures     {}\nhorizon      {} ms\ncycle        {} ms\nparameters   {}\nweights      \
         {weight_bytes} bytes read by an answer\nsha256       {sha256}\n\n[{}]\n{}\n{}",
        args.folder.display(),
        description.features.join(", "),
        description.horizon_ms,
        description.cycle_ms,
        entry.parameters.map_or_else(|| "-".to_owned(), |n| n.to_string()),
        if description.kind == "onnx" { "onnx" } else { "network" },
        description.architecture,
        tensors.trim_end()
    ))
}

fn validate(args: &ValidateArgs) -> u8 {
    let span = match args.from {
        None => Span::Share(args.share),
        Some(from_ns) => Span::Times { from_ns, to_ns: args.to.unwrap_or(i64::MAX) },
    };
    let settings = Settings { span, disturbed_rows: args.disturbed_rows };
    let mut status = 0;
    for folder in &args.folders {
        match validate_one(args, folder, &settings) {
            Ok(true) => {}
            Ok(false) => status = status.max(NO_SKILL),
            Err(error) => {
                eprintln!("purkinje: {}", with_causes(&error));
                status = FAILED;
            }
        }
    }
    status
}

/// Whether it has skill.
fn validate_one(args: &ValidateArgs, folder: &Path, settings: &Settings) -> anyhow::Result<bool> {
    // Small files first: what is wrong with them need not wait for the rows.
    let history = History::read(folder)?;
    if let Some(problem) = Entry::of(folder).problem {
        return Err(problem.into());
    }
    let features = Folder::read(folder)?.features;
    let data = LabelledRows::read(&args.data, &features, args.max_rows)?;
    data.check_classes(args.label.into())?;
    let rows = Rows::new(data, args.label.into());
    let mut progress = LatePasses::new(folder);
    let evaluation = evaluate(folder, &rows, settings, &mut |done, all| progress.show(done, all));
    progress.finish();
    let evaluation = evaluation.with_context(|| format!("{}", args.data.display()))?;
    let mut text = tables::data(&evaluation).text();
    text = format!("{text}\n{}", tables::scores(&evaluation).text());
    if evaluation.disturbed > 0 {
        text = format!("{text}\n{}", tables::robustness(&evaluation).text());
    }
    text = format!("{text}\n{}.", verdict(&evaluation));
    if !args.dry_run {
        let mut latency = measure(folder, evaluation.instruments, CARD_CALLS)?;
        // This process has had the rows in memory.
        latency.resident_bytes = None;
        let [card, page] = report::write(folder, &evaluation, Some(&latency), history.as_ref())?;
        text = format!("{text}\n{}\n{}", card.display(), page.display());
    }
    print(&text)?;
    Ok(evaluation.unbeaten().is_empty())
}

/// A bar on a terminal for an evaluation that takes longer than two seconds.
pub(super) struct LatePasses {
    title: String,
    begin: Instant,
    bar: Option<Progress>,
}

impl LatePasses {
    pub(super) fn new(folder: &Path) -> Self {
        Self { title: folder.display().to_string(), begin: Instant::now(), bar: None }
    }

    pub(super) fn show(&mut self, done: u64, all: u64) {
        let is_late = self.begin.elapsed() >= Duration::from_secs(2);
        if self.bar.is_none() && is_late && std::io::stderr().is_terminal() {
            self.bar = Some(Progress::stderr(&self.title, "passes", all));
        }
        if let Some(bar) = &mut self.bar {
            bar.set(done, "");
        }
    }

    pub(super) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish();
        }
    }
}

fn bench(args: &BenchArgs) -> anyhow::Result<()> {
    let calls = Calls { warm: args.calls as usize, cold: args.cold_calls as usize };
    let latency = measure(&args.folder, args.instruments as usize, calls)?;
    let table = tables::latency(&latency).text();
    print(&format!("{}\n\n{}", tables::memory(&latency), table.trim_end()))
}
