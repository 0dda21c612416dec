//! `purkinje train cerebellum`.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::AtomicBool,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use purkinje_kernels::{
    cerebellum::Cerebellum,
    supervised::{Loss, Method, Schedule, TrainerConfig, hybrid::HybridConfig},
};

use crate::{
    cli::{ConfigSource, print},
    config::Loaded,
    run::{simulated_session, stop},
    training::{
        cerebellum::{
            learners::MAX_EPOCHS,
            model,
            record::draw,
            report,
            rows::Rows,
            session::{Mode, Outcome, Settings, train as run_training},
            spikes::{MAX_STEPS, mossy_of, raster, rates},
        },
        checkpoint::Checkpoint,
        dataset::{Dataset, DatasetConfig},
        import::{read_examples, read_spike_trains},
    },
};

/// What `train cerebellum` takes.
#[derive(Args, Debug)]
pub(super) struct CerebellumArgs {
    /// Recordings of a session (*.pkrec or a directory of them), or captures, as for `replay`
    #[arg(required_unless_present_any = ["simulate", "examples"])]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    source: ConfigSource,
    /// Train on so many seconds of the simulated market instead
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..), conflicts_with_all = ["paths", "examples"])]
    simulate: Option<u64>,
    /// Train on a JSON file of examples instead (BUY is up, SELL down, HOLD even odds); few features
    /// need more of strategy.cerebellum.fibres_per_feature
    #[arg(long, value_name = "FILE.json", conflicts_with = "paths")]
    examples: Option<PathBuf>,
    /// Folder of checkpoints, plots and events
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Go on from the newest checkpoint in the output folder, if there is one
    #[arg(long)]
    resume: bool,
    /// online: the daemon's own rule; supervised: surrogate gradients through time; hybrid: both,
    /// blended
    #[arg(short, long, value_enum, default_value_t = ModeArg::Online)]
    mode: ModeArg,
    /// Most epochs; of the hybrid protocol, cycles (see --hybrid)
    #[arg(short = 'n', long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=MAX_EPOCHS))]
    epochs: u64,
    /// Supervised: how parameters follow the gradient (sgd has a momentum of 0.9)
    #[arg(long, value_enum, default_value_t = OptimiserArg::Adamw)]
    optimiser: OptimiserArg,
    /// Supervised: learning rate at the first update; the online rate is
    /// strategy.cerebellum.learning_rate
    #[arg(long, value_name = "RATE", default_value_t = 3e-3, value_parser = positive)]
    learning_rate: f64,
    /// Supervised: constant, cosine (down to 0 over all epochs) or step (halved every third of them)
    #[arg(long, value_enum, default_value_t = ScheduleArg::Constant)]
    schedule: ScheduleArg,
    /// Supervised: samples an update
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Supervised: loss that is lowered; reports are in log loss whatever this is
    #[arg(long, value_enum, default_value_t = LossArg::CrossEntropy)]
    loss: LossArg,
    /// Supervised: greatest norm of a batch's gradient
    #[arg(long, value_name = "NORM", default_value_t = 1.0, value_parser = positive)]
    clip: f64,
    /// Supervised: learn from every N-th training row; the labels of neighbours overlap
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    every: u32,
    /// Hybrid: online and supervised epochs of a cycle, then the shares of their changes
    #[arg(long, value_name = "N,N,SHARE,SHARE", default_value = "5,1,0.7,0.3", value_parser = hybrid)]
    hybrid: HybridConfig,
    /// Epochs without progress after which training ends
    #[arg(long, value_name = "EPOCHS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    patience: u64,
    /// Fall of the validation loss that counts as progress, nat
    #[arg(long, value_name = "NAT", default_value_t = 1e-4, value_parser = not_negative)]
    min_delta: f64,
    /// Share of the rows, the later ones, that chooses the epoch and stops the training
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    validation: f64,
    /// Share of the rows, the latest ones, that is scored once at the end
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    test: f64,
    /// Seed of the order of supervised samples; that of the network is strategy.cerebellum.seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Numbered checkpoints kept beside the best
    #[arg(long, value_name = "N", default_value_t = 3)]
    keep: usize,
    /// Most rows held in memory
    #[arg(long, value_name = "ROWS", default_value_t = DatasetConfig::default().max_rows)]
    max_rows: usize,
    /// After training, play the mossy fibres' spikes (layer "mossy" or "mf") of a JSON file on the
    /// best weights, print the rates and draw plots/spike-trains; two seconds at most
    #[arg(long, value_name = "FILE.json")]
    spike_trains: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    Online,
    Supervised,
    Hybrid,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum OptimiserArg {
    Adamw,
    Adam,
    Sgd,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScheduleArg {
    Constant,
    Cosine,
    Step,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LossArg {
    CrossEntropy,
    Mse,
}

fn number(text: &str, expected: &str, holds: impl Fn(f64) -> bool) -> Result<f64, String> {
    let value = text.parse().ok().filter(|value: &f64| value.is_finite() && holds(*value));
    value.ok_or_else(|| format!("{text:?}, expected {expected}"))
}

fn positive(text: &str) -> Result<f64, String> {
    number(text, "a number above 0", |value| value > 0.0)
}

fn not_negative(text: &str) -> Result<f64, String> {
    number(text, "a number, 0 or more", |value| value >= 0.0)
}

fn hybrid(text: &str) -> Result<HybridConfig, String> {
    let wrong = || format!("{text:?}, expected two numbers of epochs and two shares, 5,1,0.7,0.3");
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let [online, supervised, share_online, share_supervised] = parts[..] else {
        return Err(wrong());
    };
    let epochs = |part: &str| part.parse().ok().filter(|n| (1..=1_000).contains(n));
    let share = |part: &str| number(part, "a share", |x| (0.0..=1.0).contains(&x)).ok();
    Ok(HybridConfig {
        online_epochs: epochs(online).ok_or_else(wrong)?,
        supervised_epochs: epochs(supervised).ok_or_else(wrong)?,
        share_online: share(share_online).ok_or_else(wrong)?,
        share_supervised: share(share_supervised).ok_or_else(wrong)?,
    })
}

pub(super) fn train(args: &CerebellumArgs) -> anyhow::Result<ExitCode> {
    let loaded = args.source.load([("terminal", "off".to_owned())])?;
    let stop = stop::on_signals().context("cannot handle signals")?;
    // A file that cannot be read is told before hours of training.
    let trains = args.spike_trains.as_deref().map(read_spike_trains).transpose()?;
    let rows = rows(args, &loaded, &stop)?;
    let settings = settings(args, &rows);
    let outcome = run_training(&loaded, &rows, &settings, &args.output, args.resume, &stop)?;
    print(&report::text(&outcome, &rows, settings.mode))?;
    if let Some(trains) = trains.filter(|_| !outcome.is_stopped) {
        let mossy_fibres = rows.circuit.features * rows.circuit.fibres_per_feature;
        let mossy = mossy_of(&trains, mossy_fibres, rows.circuit.step_ms)?;
        play(&outcome, &rows, &mossy, &args.output, trains.duration_ms)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn rows(args: &CerebellumArgs, loaded: &Loaded, stop: &AtomicBool) -> anyhow::Result<Rows> {
    if let Some(path) = &args.examples {
        let examples = read_examples(path)?;
        return Ok(Rows::of_examples(loaded, &examples, args.validation, args.test)?);
    }
    let mut paths = args.paths.clone();
    // Removed when it goes out of scope: the rows are in memory by then.
    let mut _session = None;
    if let Some(seconds) = args.simulate {
        let dir = simulated_session::write_temporary(loaded, seconds)?;
        paths = vec![dir.path().to_owned()];
        _session = Some(dir);
    }
    let mut dataset = Dataset::new(DatasetConfig { max_rows: args.max_rows });
    let source = dataset.add(loaded, &paths, stop)?;
    for warning in &source.cycles.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(Rows::of_dataset(loaded, &dataset, args.validation, args.test)?)
}

fn settings(args: &CerebellumArgs, rows: &Rows) -> Settings {
    let method = match args.optimiser {
        OptimiserArg::Adamw => Method::ADAM_W,
        OptimiserArg::Adam => Method::ADAM,
        OptimiserArg::Sgd => Method::Sgd { momentum: 0.9, nesterov: false },
    };
    let mode = match args.mode {
        ModeArg::Online => Mode::Online,
        ModeArg::Supervised => Mode::Supervised,
        ModeArg::Hybrid => Mode::Hybrid,
    };
    let teaching = rows.train.rows().iter().filter(|row| rows.task(**row).target.is_some());
    let samples = (teaching.count() as u64).div_ceil(u64::from(args.every));
    let supervised_epochs = match mode {
        Mode::Hybrid => args.epochs * args.hybrid.supervised_epochs,
        Mode::Online | Mode::Supervised => args.epochs,
    };
    let updates = supervised_epochs * samples.div_ceil(u64::from(args.batch));
    let rate = args.learning_rate;
    let schedule = match args.schedule {
        ScheduleArg::Constant => Schedule::Constant { rate },
        ScheduleArg::Cosine => Schedule::Cosine { rate, floor: 0.0, updates },
        ScheduleArg::Step => Schedule::Step { rate, factor: 0.5, every: updates.div_ceil(3) },
    };
    Settings {
        mode,
        epochs: args.epochs,
        trainer: TrainerConfig {
            loss: match args.loss {
                LossArg::CrossEntropy => Loss::CrossEntropy,
                LossArg::Mse => Loss::MeanSquared,
            },
            method,
            schedule,
            batch: args.batch as usize,
            norm_max: args.clip,
            seed: args.seed,
            ..TrainerConfig::default()
        },
        every: args.every as usize,
        hybrid: args.hybrid,
        patience: args.patience,
        min_delta: args.min_delta,
        keep_last: args.keep,
    }
}

/// Plays imported spikes on the best weights.
fn play(
    outcome: &Outcome,
    rows: &Rows,
    mossy: &purkinje_kernels::supervised::MossySpikes,
    dir: &Path,
    duration_ms: f64,
) -> anyhow::Result<()> {
    let cerebellum = Cerebellum::new(rows.circuit.clone())?;
    let mut best = Checkpoint::read(&outcome.best_path)?;
    let count = rows.circuit.granule_cells * 2 * rows.circuit.purkinje_per_zone;
    let weights = model::take(&mut best, count)?;
    let raster = raster("Spikes on imported trains", &cerebellum, &weights, mossy)?;
    draw(&dir.join("plots"), "spike-trains", &raster)?;
    let played_ms = mossy.steps() as f64 * f64::from(rows.circuit.step_ms);
    let cut = if mossy.steps() == MAX_STEPS && played_ms < duration_ms {
        format!(" of {duration_ms} ms")
    } else {
        String::new()
    };
    print(&format!("spike trains  {played_ms} ms{cut} played: {}", rates(&raster)))
}
