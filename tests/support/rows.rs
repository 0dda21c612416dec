//! Programs run to their end, and data sets as `purkinje dataset` writes them.

use std::{
    path::Path,
    process::{Command, Output},
};

use parquet::data_type::ByteArray;
use purkinje::files::sheet::{Cell, Sheet};
use purkinje_strategies::features::NAMES;

/// Runs a program and shows and returns what it said, on standard output and on standard error.
pub(crate) fn ran(mut command: Command) -> (Output, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    println!("{errors}{out}");
    (output, out, errors)
}

/// Writes `rows.parquet` by hand: labels by row, and the features of the last row.
pub(crate) fn by_hand(dir: &Path, labels: &[i32], last_feature: f32) {
    let rows: Vec<(i64, i32)> = (1..).zip(labels.iter().copied()).collect();
    by_hand_at(dir, &rows, last_feature);
}

/// The same of cycles, ascending from 1, and labels.
pub(crate) fn by_hand_at(dir: &Path, rows: &[(i64, i32)], last_feature: f32) {
    let features = NAMES.map(|name| format!("required float {name};"));
    let schema = format!(
        "message dataset {{ required binary instrument (STRING); required int64 cycle;
         required int64 ts_cycle_ns; required int64 ts_label_ns; required int64 mid_x2;
         required double move_bps; required double mean_move_bps; required int32 label;
         required int32 mean_label; optional double oracle; {} }}",
        features.join(" ")
    );
    let metadata =
        [("purkinje.horizon_ms", "1000".to_owned()), ("purkinje.cycle_ms", "100".to_owned())];
    let path = dir.join("rows.parquet");
    let _ = std::fs::remove_file(&path);
    let mut sheet = Sheet::create(dir, "rows", &schema, &metadata).unwrap();
    for (at, (cycle, label)) in rows.iter().enumerate() {
        let ts_ns = cycle * 100_000_000;
        let head = [
            Cell::Text(ByteArray::from("sim:A")),
            Cell::I64(*cycle),
            Cell::I64(ts_ns),
            Cell::I64(ts_ns + 1_000_000_000),
            Cell::I64(1_000),
            Cell::F64(f64::from(*label)),
            Cell::F64(f64::from(*label)),
            Cell::I32(*label),
            Cell::I32(*label),
            Cell::Null,
        ];
        let value = if at + 1 == rows.len() { last_feature } else { 0.5 };
        let features = NAMES.iter().map(|_| Cell::F32(value));
        sheet.push(head.into_iter().chain(features)).unwrap();
    }
    sheet.finish().unwrap();
}
