//! `purkinje dataset`: labelled rows as one Parquet file, for any tool that trains.
//!
//! The rows are those of [`Labeller`]: features as the members of the daemon see them, row by row, and what
//! the mid price did. Invariants: rows leave in the order in which their labels became known; memory does
//! not grow with the material; the file has its name once it is complete, and the same material and
//! settings give the same bytes; a data set without rows is no file.

use std::{
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use parquet::data_type::ByteArray;
use purkinje_strategies::{
    features::{NAMES, TABLE},
    score::Outcome,
};
use thiserror::Error;

use super::{
    cycles::{Cycles, CyclesError},
    dataset::{Labeller, RowCounts, move_bps},
};
use crate::{
    config::Loaded,
    files::sheet::{Cell, Sheet, SheetError, place},
    run::spine::{RunError, hex},
};

/// Columns before those of the features, which are named as in the table of features, `float` each.
const HEAD: &str = "
    required binary instrument (STRING);
    required int64 cycle;
    required int64 ts_cycle_ns (TIMESTAMP(NANOS,true));
    required int64 ts_label_ns (TIMESTAMP(NANOS,true));
    required int64 mid_x2;
    required double move_bps;
    required double mean_move_bps;
    required int32 label (INTEGER(8,true));
    required int32 mean_label (INTEGER(8,true));
    optional double oracle;";

/// Why a data set was not written.
#[derive(Debug, Error)]
pub enum DatasetFileError {
    /// Moves that count as none cannot be less than none.
    #[error("--flat-bps is {0}, expected a number from 0 to 1000")]
    Flat(f64),
    /// The material cannot be replayed.
    #[error(transparent)]
    Cycles(#[from] CyclesError),
    /// A feature name is unknown.
    #[error(transparent)]
    Features(#[from] RunError),
    /// The file cannot be written.
    #[error(transparent)]
    Sheet(#[from] SheetError),
    /// There is nothing to train on.
    #[error(
        "{title}: no row: of {} instruments x cycles {} could be forecast, and no label became known",
        counts.ready + counts.not_ready, counts.ready
    )]
    Empty {
        /// The material.
        title: String,
        /// What became of what there was.
        counts: RowCounts,
    },
    /// Somebody stopped it.
    #[error("stopped before the material ended; nothing was written")]
    Stopped,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct DatasetFile {
    /// The file.
    pub path: PathBuf,
    /// What the material is.
    pub title: String,
    /// Rows, and what became of the others.
    pub counts: RowCounts,
    /// Rows by `label`: down, unchanged, up.
    pub labels: [u64; 3],
    /// Rows by `mean_label`.
    pub mean_labels: [u64; 3],
    /// Things to tell the user.
    pub warnings: Vec<String>,
}

/// Writes the rows of recordings of one session, or of captures, replayed together. A mean move of at most
/// `flat_bps` basis points has the `mean_label` 0.
///
/// # Errors
/// See [`DatasetFileError`]. No file is left then.
pub fn write_dataset(
    loaded: &Loaded,
    paths: &[PathBuf],
    path: &Path,
    flat_bps: f64,
    stop: &AtomicBool,
) -> Result<DatasetFile, DatasetFileError> {
    let (folder, name) = place(path)?;
    if !(0.0..=1_000.0).contains(&flat_bps) {
        return Err(DatasetFileError::Flat(flat_bps));
    }
    let cycles = Cycles::open(loaded, paths)?;
    let title = cycles.title().to_owned();
    let keys: Vec<ByteArray> =
        cycles.table().iter().map(|(_, i)| ByteArray::from(i.key().into_bytes())).collect();
    let mut labeller = Labeller::new(loaded, keys.len())?;
    std::fs::create_dir_all(folder)
        .map_err(|source: io::Error| SheetError::Io { path: folder.to_owned(), source })?;
    let metadata = [
        ("purkinje.material", title.clone()),
        ("purkinje.config_sha256", hex(&loaded.hash())),
        ("purkinje.horizon_ms", loaded.strategy.horizon_ms.to_string()),
        ("purkinje.cycle_ms", loaded.config.cycle.period_ms.to_string()),
        ("purkinje.flat_bps", flat_bps.to_string()),
    ];
    let mut sheet = Sheet::create(folder, name, &schema(), &metadata)?;
    let (mut labels, mut mean_labels) = ([0; 3], [0; 3]);
    let mut trouble = None;
    let summary = cycles.run(stop, |batch| {
        labeller.take(batch, &mut |info, features| {
            let mid = info.mid_x2 as f64;
            let mean_move_bps = move_bps(mid, info.mid_mean_x2);
            let label = match info.outcome {
                Outcome::Down => -1,
                Outcome::Unchanged => 0,
                Outcome::Up => 1,
            };
            let mean_label =
                i32::from(mean_move_bps > flat_bps) - i32::from(mean_move_bps < -flat_bps);
            labels[(label + 1) as usize] += 1;
            mean_labels[(mean_label + 1) as usize] += 1;
            let head = [
                Cell::Text(keys[info.instrument as usize].clone()),
                Cell::I64(info.cycle as i64),
                Cell::I64(info.ts_cycle_ns),
                Cell::I64(info.ts_label_ns),
                Cell::I64(info.mid_x2),
                Cell::F64(move_bps(mid, info.mid_label_x2 as f64)),
                Cell::F64(mean_move_bps),
                Cell::I32(label),
                Cell::I32(mean_label),
                if info.oracle.is_nan() { Cell::Null } else { Cell::F64(info.oracle) },
            ];
            let row = head.into_iter().chain(features.iter().map(|value| Cell::F32(*value)));
            if trouble.is_none() {
                trouble = sheet.push(row).err();
            }
        });
        if trouble.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if let Some(error) = trouble {
        return Err(error.into());
    }
    if stop.load(Ordering::Relaxed) {
        return Err(DatasetFileError::Stopped);
    }
    let counts = labeller.counts();
    if counts.moved + counts.unchanged == 0 {
        return Err(DatasetFileError::Empty { title, counts });
    }
    let (path, _) = sheet.finish()?;
    Ok(DatasetFile { path, title, counts, labels, mean_labels, warnings: summary.warnings })
}

fn schema() -> String {
    let features = NAMES.map(|name| format!("    required float {name};"));
    format!("message dataset {{{HEAD}\n{}\n}}", features.join("\n"))
}

/// What each column of the file is, for people: name, unit, meaning.
#[must_use]
pub fn columns() -> Vec<[String; 3]> {
    let head = [
        ("instrument", "", "venue:symbol"),
        ("cycle", "cycles", "counted from 1 within the material"),
        ("ts_cycle_ns", "ns UTC", "boundary of the cycle; every feature was known then"),
        ("ts_label_ns", "ns UTC", "boundary of the cycle at which the label became known"),
        ("mid_x2", "mantissa", "best bid plus best offer at the cycle"),
        ("move_bps", "bps", "mid price from ts_cycle_ns to ts_label_ns"),
        (
            "mean_move_bps",
            "bps",
            "from the mid price to its mean over the cycles up to ts_label_ns",
        ),
        ("label", "-1, 0, 1", "sign of move_bps, as the daemon learns it"),
        ("mean_label", "-1, 0, 1", "sign of mean_move_bps, 0 within --flat-bps"),
        ("oracle", "probability", "simulator only: best achievable P(up | moves)"),
    ];
    let head = head.map(|texts| [texts.0, texts.1, texts.2].map(str::to_owned));
    let features = TABLE.iter().map(|spec| {
        [
            spec.name.to_owned(),
            "normalised".to_owned(),
            format!("{} ({})", spec.formula, spec.window),
        ]
    });
    head.into_iter().chain(features).collect()
}
