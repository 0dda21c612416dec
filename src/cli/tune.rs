//! `purkinje tune`.

use std::{io::Read as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;

use super::{ConfigSource, print};
use crate::{
    run::{simulated_session, stop},
    training::plots::Plot as _,
    tuning::{
        Header, ObjectiveId, Space, SpaceError, StudyFile, Trial, parallel_coordinates,
        replay_objective::ReplayObjective,
        run,
        space::{MAX_SPACE_BYTES, settings},
        study::{MAX_JOBS, MAX_TRIALS, VERSION},
        table::table,
    },
};

/// Rows of the printed table.
const TABLE_ROWS: usize = 20;

/// What `tune` takes.
#[derive(Args, Debug)]
pub(super) struct TuneArgs {
    /// Recordings (*.pkrec or a directory of them), or captures, as for `replay`
    #[arg(required_unless_present = "simulate", conflicts_with = "simulate")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    source: ConfigSource,
    /// Tune on so many seconds of the simulated market instead
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    simulate: Option<u64>,
    /// Trials in the study when it ends, those of earlier runs included
    #[arg(short = 'n', long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=MAX_TRIALS))]
    trials: u64,
    /// Trials at a time; the study depends on it [default: that of the study, or 1]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_JOBS as u64))]
    jobs: Option<u64>,
    /// Seed of the proposals [default: that of the study, or 1]
    #[arg(long)]
    seed: Option<u64>,
    /// TOML file of [range.KEY] tables (low, high, scale = "log", or choices) that replace the
    /// default: learning rate, granule cells and sparsity of the cerebellum
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,
    /// Journal of the study; an interrupted or shorter one goes on
    #[arg(long, value_name = "FILE")]
    study: PathBuf,
    /// Draw the trials as parallel coordinates, as .svg or .png
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

pub(super) fn tune(args: &TuneArgs) -> anyhow::Result<ExitCode> {
    let loaded = args.source.load([("terminal", "off".to_owned())])?;
    let known = StudyFile::header_of(&args.study)?;
    let space = match (&args.space, &known) {
        (Some(path), _) => read_space(path)?,
        (None, Some(header)) => header.space.clone(),
        (None, None) => Space::standard(),
    };
    space.check(&loaded)?;
    let stop = stop::on_signals().context("cannot handle signals")?;
    let mut paths = args.paths.clone();
    // Removed when it goes out of scope, also after a first Ctrl-C.
    let mut _session = None;
    if let Some(seconds) = args.simulate {
        let dir = tempfile::tempdir().context("cannot make a directory for the session")?;
        simulated_session::write(&loaded, dir.path(), seconds)?;
        paths = vec![dir.path().to_owned()];
        _session = Some(dir);
    }
    let objective = ReplayObjective::new(&loaded, &paths, stop.clone())?;
    let header = Header {
        version: VERSION,
        seed: args.seed.or(known.as_ref().map(|h| h.seed)).unwrap_or(1),
        jobs: args.jobs.map(|j| j as usize).or(known.as_ref().map(|h| h.jobs)).unwrap_or(1),
        objective: ObjectiveId::clone(objective.id()),
        space,
    };
    let (mut file, opened) = StudyFile::open(&args.study, &header)?;
    eprintln!("study {}: {}", args.study.display(), header.objective.what);
    if opened.torn_bytes > 0 {
        eprintln!("{} bytes of a torn last line were cut off", opened.torn_bytes);
    }
    if opened.trials > 0 {
        eprintln!("going on after {} trials", opened.trials);
    }
    let progress = run(&mut file, &objective, args.trials, &stop, &mut tell)?;
    let study = file.study();
    if let Some(path) = &args.plot {
        parallel_coordinates(study).write(path)?;
    }
    print(table(study, TABLE_ROWS).trim_end())?;
    if let Some(best) = study.best() {
        let flags: Vec<String> = settings(&best.parameters)
            .iter()
            .map(|(key, value)| format!("--set {key}={value}"))
            .collect();
        print(&format!("\nbest: {}", flags.join(" ")))?;
    }
    if progress.is_stopped {
        eprintln!("stopped after {} trials; the same command goes on", study.len());
    }
    Ok(if study.best().is_some() || progress.is_stopped {
        ExitCode::SUCCESS
    } else {
        eprintln!("purkinje: no trial was evaluated to its end");
        ExitCode::FAILURE
    })
}

/// One line a trial, as it ends.
fn tell(trial: &Trial) {
    let values: Vec<String> =
        trial.parameters.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    eprintln!(
        "trial {}: {} {} in {:.1} s; {}{}",
        trial.number,
        trial.state.name(),
        trial.value.map_or_else(String::new, |v| format!("{v:.6}")),
        trial.duration_s,
        values.join(", "),
        trial.error.as_ref().map_or_else(String::new, |e| format!(": {e}"))
    );
}

fn read_space(path: &std::path::Path) -> Result<Space, SpaceError> {
    let name = path.display().to_string();
    let unreadable = |reason: String| SpaceError::Unreadable { path: name.clone(), reason };
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_SPACE_BYTES + 1).read_to_string(&mut text))
        .map_err(|e| unreadable(e.to_string()))?;
    if text.len() as u64 > MAX_SPACE_BYTES {
        return Err(unreadable("it is larger".to_owned()));
    }
    Space::parse(&name, &text)
}
