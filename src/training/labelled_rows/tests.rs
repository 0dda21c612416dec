//! What is read of data sets, and what is refused of files that are none.

use parquet::data_type::ByteArray;
use purkinje_strategies::features::NAMES;

use super::*;
use crate::files::sheet::{Cell, Sheet};

const HEAD: [(&str, &str); 10] = [
    ("instrument", "required binary instrument (STRING);"),
    ("cycle", "required int64 cycle;"),
    ("ts_cycle_ns", "required int64 ts_cycle_ns;"),
    ("ts_label_ns", "required int64 ts_label_ns;"),
    ("mid_x2", "required int64 mid_x2;"),
    ("move_bps", "required double move_bps;"),
    ("mean_move_bps", "required double mean_move_bps;"),
    ("label", "required int32 label;"),
    ("mean_label", "required int32 mean_label;"),
    ("oracle", "optional double oracle;"),
];

/// File, change of the schema, horizon, rows, and what is told.
type Case<'a> = (&'a str, &'a dyn Fn(&str, &str) -> String, &'a str, Vec<Vec<Cell>>, &'a str);

fn row(instrument: &str, cycle: i64, label: i32, feature: f32) -> Vec<Cell> {
    vec![
        Cell::Text(ByteArray::from(instrument)),
        Cell::I64(cycle),
        Cell::I64(cycle * 100),
        Cell::I64(cycle * 100 + 1_000),
        Cell::I64(7),
        Cell::F64(f64::from(label) * 0.5),
        Cell::F64(0.25),
        Cell::I32(label),
        Cell::I32(1),
        Cell::Null,
        Cell::F32(feature),
    ]
}

/// A file of one feature; `edit` changes the schema's columns.
fn file_with(
    dir: &Path,
    name: &str,
    edit: &dyn Fn(&str, &str) -> String,
    horizon: &str,
    rows: Vec<Vec<Cell>>,
) -> PathBuf {
    let head: Vec<String> = HEAD.iter().map(|(name, text)| edit(name, text)).collect();
    let schema = format!("message d {{ {} required float {}; }}", head.join(" "), NAMES[0]);
    let metadata =
        [("purkinje.horizon_ms", horizon.to_owned()), ("purkinje.cycle_ms", "100".to_owned())];
    let mut sheet = Sheet::create(dir, name, &schema, &metadata).unwrap();
    for row in rows {
        sheet.push(row).unwrap();
    }
    sheet.finish().unwrap().0
}

fn as_is(_: &str, text: &str) -> String {
    text.to_owned()
}

fn first_feature() -> Vec<String> {
    vec![NAMES[0].to_owned()]
}

fn read(path: &Path) -> Result<LabelledRows, LabelledRowsError> {
    LabelledRows::read(path, &first_feature(), 100)
}

#[test]
fn rows_come_in_the_order_of_time_and_streams_end_at_a_missing_cycle() {
    let dir = tempfile::tempdir().unwrap();
    let rows = [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("a", 4), ("a", 5)];
    let rows = rows.map(|(key, cycle)| row(key, cycle, 1, cycle as f32));
    let path = file_with(dir.path(), "rows", &as_is, "1000", rows.to_vec());
    let read = read(&path).unwrap();
    let found: Vec<_> = read.rows().iter().map(|row| (row.instrument, row.cycle)).collect();
    assert_eq!(found, [(0, 1), (1, 1), (0, 2), (1, 2), (0, 4), (0, 5)]);
    assert_eq!(read.features(), [1.0, 1.0, 2.0, 2.0, 4.0, 5.0]);
    assert_eq!(read.streams(), [0, 1, 0, 1, 2, 2]);
    assert_eq!((read.horizon_ms, read.cycle_ms), (1000, 100));
    assert_eq!(read.instruments(), ["a", "b"]);
    let told = read.check_classes(LabelColumn::Move).unwrap_err().to_string();
    assert!(told.ends_with("column label: 6 rows up and 0 down, expected both classes"));
}

#[test]
fn what_is_not_a_data_set_is_refused_by_file_column_row_and_value() {
    let dir = tempfile::tempdir().unwrap();
    let good = || vec![row("a", 1, 1, 0.5), row("a", 2, -1, 0.5)];
    let set = |column: usize, cell: Cell| {
        let mut rows = good();
        rows[1][column] = cell;
        rows
    };
    let without = |name: &str, text: &str| match name {
        "label" => "required int32 move_label;".to_owned(),
        _ => text.to_owned(),
    };
    let optional = |name: &str, text: &str| match name {
        "mid_x2" => "optional int64 mid_x2;".to_owned(),
        _ => text.to_owned(),
    };
    let of_type = |name: &str, text: &str| match name {
        "mid_x2" => "required double mid_x2;".to_owned(),
        _ => text.to_owned(),
    };
    let typed = set(4, Cell::F64(7.0))
        .into_iter()
        .map(|mut row| {
            row[4] = Cell::F64(7.0);
            row
        })
        .collect();
    let cases: [Case<'_>; 11] = [
        ("a", &without, "1000", good(), "column label is missing, expected INT32"),
        ("b", &of_type, "1000", typed, "column mid_x2 is DOUBLE, expected INT64"),
        ("c", &optional, "1000", set(4, Cell::Null), "mid_x2 of row 1 = null: expected a"),
        ("d", &as_is, "1000", Vec::new(), "the data set is empty"),
        ("e", &as_is, "soon", good(), "purkinje.horizon_ms is \"soon\", expected 1 to"),
        ("f", &as_is, "1000", set(7, Cell::I32(2)), "label of row 1 = 2: expected -1, 0 or 1"),
        ("g", &as_is, "1000", set(3, Cell::I64(5)), "ts_label_ns of row 1 = 5: expected later"),
        ("h", &as_is, "1000", set(5, Cell::F64(f64::NAN)), "move_bps of row 1 = NaN"),
        ("i", &as_is, "1000", set(10, Cell::F32(f32::NAN)), "of row 1 = NaN: expected a fin"),
        ("j", &as_is, "1000", set(1, Cell::I64(0)), "cycle of row 1 = 0: expected 1 or more"),
        ("k", &as_is, "1000", vec![row("a", 1, 1, 0.0); 101], "101 rows, expected at most"),
    ];
    for (name, edit, horizon, rows, told) in cases {
        let path = file_with(dir.path(), name, edit, horizon, rows);
        let error = read(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: ", path.display())), "{error}");
        assert!(error.contains(told), "{told:?} is not in {error:?}");
    }
}

#[test]
fn a_file_that_is_cut_or_absent_and_a_feature_that_nobody_computes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let rows = vec![row("a", 1, 1, 0.5), row("a", 2, -1, 0.5)];
    let path = file_with(dir.path(), "whole", &as_is, "1000", rows);
    let whole = read(&path).unwrap();
    whole.check_classes(LabelColumn::Move).unwrap();
    whole.check_classes(LabelColumn::Mean).unwrap_err();
    let bytes = std::fs::read(&path).unwrap();
    let cut = dir.path().join("cut.parquet");
    for length in [0, 3, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&cut, &bytes[..length]).unwrap();
        let error = read(&cut).unwrap_err().to_string();
        assert!(error.contains("cut.parquet: not a whole Parquet file: "), "{error}");
    }
    let error = read(&dir.path().join("none.parquet")).unwrap_err().to_string();
    assert!(error.contains("none.parquet: No such file"), "{error}");
    for names in [&["spraed"][..], &[]] {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let error = LabelledRows::read(&path, &names, 100).unwrap_err().to_string();
        assert!(error.contains("expected \"all\" or names"), "{error}");
    }
    let error = LabelledRows::read(&path, &["all".to_owned()], 100).unwrap_err().to_string();
    assert!(error.contains(&format!("column {} is missing", NAMES[1])), "{error}");
}
