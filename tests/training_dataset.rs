//! Training rows are what the live members see: the cycles cut for training drive a forecaster to the
//! very signals of a replay, and the rows are the forecasts it made and learned from.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    collections::HashMap,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::atomic::AtomicBool,
};

use parquet::{
    file::reader::{FileReader as _, SerializedFileReader},
    record::RowAccessor as _,
};
use purkinje::{
    clock::Clock,
    config::Loaded,
    pipeline::sink::{Outlets, Sink, WhenFull},
    run::{
        simulated_session,
        spine::{forecaster, hex, model_version},
    },
    signals::encode::Encoder,
    training::{
        cycles::{Cycles, CyclesSummary},
        dataset::{Dataset, DatasetConfig, DatasetError},
        dataset_file::write_dataset,
        labelled_rows::{LabelColumn, LabelledRow, LabelledRows},
        split::{SplitConfig, split_by_time},
    },
};
use purkinje_strategies::{features::NAMES, score::Outcome};
use support::{captures, loaded, replayed};

static GO_ON: AtomicBool = AtomicBool::new(false);

/// Fewer granule cells than by default: these tests are about features, not skill.
fn few_cells() -> Loaded {
    loaded(&[("strategy.cerebellum.granule_cells", "200")])
}

fn planted() -> Vec<PathBuf> {
    vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("replay-data/planted")]
}

/// What each instrument showed in each cycle: its features and mid price.
type Seen = HashMap<(u32, u64), (Vec<f32>, i64)>;

/// SHA-256 of the signals that a forecaster makes of the cycles, and the cycles themselves.
fn signals_of_cycles(loaded: &Loaded, paths: &[PathBuf]) -> (String, Seen, CyclesSummary) {
    let cycles = Cycles::open(loaded, paths).unwrap();
    let table = cycles.table().clone();
    let mut model = forecaster(loaded, table.len(), Clock::Event).unwrap();
    let version = model_version(loaded, &model);
    let (horizon_ms, ttl_ms) = (loaded.strategy.horizon_ms as u32, loaded.strategy.ttl_ms as u32);
    let encoder = Encoder::new(&table, &model.member_names(), horizon_ms, ttl_ms, &version);
    let mut sink = Sink::new(encoder, Outlets::default(), WhenFull::Wait);
    let mut seen = Seen::new();
    let summary = cycles
        .run(&GO_ON, |batch| {
            model.think(batch);
            model.decide(batch, &mut |output| sink.take(&output));
            for (instrument, row) in (0..).zip(&batch.rows) {
                let features = batch.features_of(instrument as usize).to_vec();
                seen.insert((instrument, batch.cut.cycle), (features, row.mid_x2));
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    (hex(&sink.finish().sha256), seen, summary)
}

/// Checks the rows of some material against its replay; returns how many rows moved.
fn assert_rows_are_the_forecasts_of_a_replay(loaded: &Loaded, paths: &[PathBuf]) -> u64 {
    let report = replayed(loaded, paths, None);
    let (sha256, seen, summary) = signals_of_cycles(loaded, paths);
    assert_eq!(sha256, hex(&report.spine.sink.0.sha256), "other cycles than a replay's");
    assert_eq!(summary.engine, report.spine.engine.counts);
    assert!(!summary.broke_off, "{:?}", summary.warnings);

    let mut dataset = Dataset::new(DatasetConfig::default());
    let counts = dataset.add(loaded, paths, &GO_ON).unwrap().counts;
    let learned = report.spine.model.forecaster.counts();
    assert_eq!(
        (counts.ready, counts.moved, counts.unchanged, counts.discarded, counts.displaced),
        (learned.forecasts, learned.moved, learned.unchanged, learned.discarded, learned.displaced)
    );
    assert_eq!(dataset.rows().len() as u64, counts.moved + counts.unchanged);
    let horizon_ns = loaded.strategy.horizon_ms as i64 * 1_000_000;
    let period_ns = i64::from(loaded.config.cycle.period_ms) * 1_000_000;
    for (index, row) in dataset.rows().iter().enumerate() {
        let (features, mid_x2) = &seen[&(row.instrument, row.cycle)];
        assert_eq!(dataset.features_of(index), features);
        let age_ns = row.ts_label_ns - row.ts_cycle_ns;
        assert!((horizon_ns..=2 * horizon_ns).contains(&age_ns), "{row:?}");
        let label_cycle = row.cycle + (age_ns / period_ns) as u64;
        let (_, later_x2) = seen[&(row.instrument, label_cycle)];
        let expected = match later_x2.cmp(mid_x2) {
            std::cmp::Ordering::Greater => Outcome::Up,
            std::cmp::Ordering::Less => Outcome::Down,
            std::cmp::Ordering::Equal => Outcome::Unchanged,
        };
        assert_eq!(row.outcome, expected, "{row:?}");
    }
    counts.moved
}

#[test]
fn rows_of_a_simulated_session_are_the_forecasts_of_its_replay() {
    let moved = assert_rows_are_the_forecasts_of_a_replay(&few_cells(), &planted());
    assert!(moved > 500, "{moved}");
}

#[test]
fn rows_of_a_real_capture_are_the_forecasts_of_its_replay() {
    let Some(paths) = captures(&["usdm/btcusdt_20240808.gz"]) else { return };
    let moved = assert_rows_are_the_forecasts_of_a_replay(&few_cells(), &paths);
    assert!(moved > 500, "{moved}");
}

#[test]
fn sources_share_instruments_and_rows_split_by_time_without_an_overlap() {
    let loaded = few_cells();
    let mut dataset = Dataset::new(DatasetConfig::default());
    let first = dataset.add(&loaded, &planted(), &GO_ON).unwrap().counts;
    let second = dataset.add(&loaded, &planted(), &GO_ON).unwrap().counts;
    assert_eq!(first, second, "the same material is the same rows");
    assert_eq!(dataset.instruments().len(), 2, "{:?}", dataset.instruments());
    let half = dataset.rows().len() / 2;
    for row in 0..half {
        assert_eq!(dataset.features_of(row), dataset.features_of(half + row));
        assert_eq!(dataset.rows()[half + row].source, 1);
    }
    let split = split_by_time(dataset.rows(), &SplitConfig::new(0.3, 0.3)).unwrap();
    let rows = |part: &[u32]| part.iter().map(|i| dataset.rows()[*i as usize]).collect::<Vec<_>>();
    let window_ns = 30_000_000_000;
    for (early, late) in [(&split.train, &split.validation), (&split.validation, &split.test)] {
        let newest_ns = rows(early).iter().map(|row| row.ts_label_ns).max().unwrap();
        let oldest_ns = rows(late).iter().map(|row| row.ts_cycle_ns).min().unwrap();
        assert!(newest_ns + window_ns <= oldest_ns);
    }
    assert!(split.purged > 0);
}

#[test]
fn the_file_has_the_features_of_every_cycle_bit_for_bit_and_the_moves_of_its_prices() {
    let loaded = few_cells();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.parquet");
    let written = write_dataset(&loaded, &planted(), &path, 0.05, &GO_ON).unwrap();
    let (_, seen, _) = signals_of_cycles(&loaded, &planted());
    let keys: Vec<String> =
        Cycles::open(&loaded, &planted()).unwrap().table().iter().map(|(_, i)| i.key()).collect();
    let mut dataset = Dataset::new(DatasetConfig::default());
    dataset.add(&loaded, &planted(), &GO_ON).unwrap();

    let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
    let head = 10;
    let names: Vec<_> = reader
        .metadata()
        .file_metadata()
        .schema_descr()
        .columns()
        .iter()
        .map(|c| c.name().to_owned())
        .collect();
    assert_eq!(names[head..], NAMES.map(str::to_owned));
    let mut rows = 0;
    let mut labels = [0; 3];
    for (row, info) in reader.get_row_iter(None).unwrap().map(Result::unwrap).zip(dataset.rows()) {
        rows += 1;
        let instrument = keys.iter().position(|key| key == row.get_string(0).unwrap()).unwrap();
        let cycle = row.get_long(1).unwrap() as u64;
        assert_eq!((instrument as u32, cycle), (info.instrument, info.cycle));
        let (features, mid_x2) = &seen[&(info.instrument, cycle)];
        for (k, feature) in features.iter().enumerate() {
            assert_eq!(
                row.get_float(head + k).unwrap().to_bits(),
                feature.to_bits(),
                "{}",
                NAMES[k]
            );
        }
        assert_eq!(row.get_long(4).unwrap(), *mid_x2);
        let later = (cycle + 1..)
            .map_while(|later| seen.get(&(info.instrument, later)))
            .map(|(_, mid_x2)| *mid_x2 as f64);
        let period_ns = i64::from(loaded.config.cycle.period_ms) * 1_000_000;
        let until_label = (info.ts_label_ns - info.ts_cycle_ns) / period_ns;
        let later: Vec<f64> = later.take(until_label as usize).collect();
        let bps = |to: f64| (to / *mid_x2 as f64 - 1.0) * 1e4;
        let mean = later.iter().sum::<f64>() / later.len() as f64;
        assert!((row.get_double(5).unwrap() - bps(later[later.len() - 1])).abs() < 1e-9);
        assert!((row.get_double(6).unwrap() - bps(mean)).abs() < 1e-9);
        let label = row.get_byte(7).unwrap();
        assert_eq!(f64::from(label), row.get_double(5).unwrap().signum() * f64::from(label.abs()));
        assert_eq!(label == 0, row.get_double(5).unwrap() == 0.0);
        let mean_label = row.get_byte(8).unwrap();
        assert_eq!(mean_label == 0, row.get_double(6).unwrap().abs() <= 0.05);
        labels[(mean_label + 1) as usize] += 1;
    }
    assert_eq!(rows, dataset.rows().len());
    assert_eq!(written.counts.moved + written.counts.unchanged, rows as u64);
    assert_eq!(written.mean_labels, labels);
    assert!(labels.iter().all(|n| *n > 100), "{labels:?}");

    let again = dir.path().join("again.parquet");
    write_dataset(&loaded, &planted(), &again, 0.05, &GO_ON).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());
}

#[test]
fn a_data_set_that_was_written_is_read_back_row_by_row() {
    let loaded = few_cells();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rows.parquet");
    write_dataset(&loaded, &planted(), &path, 0.05, &GO_ON).unwrap();
    let mut dataset = Dataset::new(DatasetConfig::default());
    dataset.add(&loaded, &planted(), &GO_ON).unwrap();
    let mut expected: Vec<_> = dataset.rows().iter().enumerate().collect();
    expected.sort_by_key(|(_, info)| info.ts_cycle_ns);

    let read = LabelledRows::read(&path, &["all".to_owned()], 1 << 20).unwrap();
    assert_eq!(read.rows().len(), expected.len());
    assert_eq!((read.horizon_ms, read.cycle_ms), (loaded.strategy.horizon_ms, 100));
    assert_eq!(read.feature_names(), NAMES);
    for (row, (index, info)) in expected.into_iter().enumerate() {
        let found = read.rows()[row];
        let instrument = &read.instruments()[found.instrument as usize];
        assert_eq!(*instrument, dataset.instruments()[info.instrument as usize]);
        let mid = info.mid_x2 as f64;
        let bps = |to: f64| (to - mid) / mid * 1e4;
        let mean_move_bps = bps(info.mid_mean_x2);
        let wanted = LabelledRow {
            instrument: found.instrument,
            cycle: info.cycle,
            ts_cycle_ns: info.ts_cycle_ns,
            ts_label_ns: info.ts_label_ns,
            mid_x2: info.mid_x2,
            move_bps: bps(info.mid_label_x2 as f64),
            mean_move_bps,
            label: (info.mid_label_x2 - info.mid_x2).signum() as i8,
            mean_label: i8::from(mean_move_bps > 0.05) - i8::from(mean_move_bps < -0.05),
            oracle: info.oracle,
        };
        assert_eq!(format!("{found:?}"), format!("{wanted:?}"), "an oracle may be NaN");
        let bits = |features: &[f32]| features.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(read.features_of(row)), bits(dataset.features_of(index)));
    }
    read.check_classes(LabelColumn::Move).unwrap();
    read.check_classes(LabelColumn::Mean).unwrap();

    // Some features, in the order asked for.
    let some = [NAMES[5].to_owned(), NAMES[0].to_owned()];
    let fewer = LabelledRows::read(&path, &some, 1 << 20).unwrap();
    for row in [0, 100, read.rows().len() - 1] {
        let all = read.features_of(row);
        assert_eq!(fewer.features_of(row), [all[5], all[0]]);
    }
}

#[test]
fn a_data_set_that_cannot_be_written_is_refused_by_name_and_leaves_nothing() {
    let loaded = few_cells();
    let dir = tempfile::tempdir().unwrap();
    let refusal = |name: &str, flat_bps: f64, paths: &[PathBuf], stop: &AtomicBool| {
        let path = dir.path().join(name);
        write_dataset(&loaded, paths, &path, flat_bps, stop).unwrap_err().to_string()
    };
    let never = |text: String, part: &str| assert!(text.contains(part), "{text}");
    never(
        refusal("rows.csv", 0.0, &planted(), &GO_ON),
        "rows.csv: expected a file named NAME.parquet",
    );
    never(refusal("rows.parquet", f64::NAN, &planted(), &GO_ON), "--flat-bps is NaN");
    never(refusal("rows.parquet", -1.0, &planted(), &GO_ON), "--flat-bps is -1");
    never(refusal("rows.parquet", 0.0, &planted(), &AtomicBool::new(true)), "stopped");
    // A session that ends before its first forecast could be made.
    let short = simulated_session::write_temporary(&loaded, 2).unwrap();
    never(refusal("rows.parquet", 0.0, &[short.path().to_owned()], &GO_ON), "no row: of ");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing half-written");
    std::fs::write(dir.path().join("rows.parquet"), "mine").unwrap();
    never(refusal("rows.parquet", 0.0, &planted(), &GO_ON), "exists already");
    assert_eq!(std::fs::read_to_string(dir.path().join("rows.parquet")).unwrap(), "mine");
}

#[test]
fn a_data_set_that_is_full_says_so_and_stays_as_it_was() {
    let loaded = few_cells();
    let mut dataset = Dataset::new(DatasetConfig { max_rows: 100 });
    let error = dataset.add(&loaded, &planted(), &GO_ON).unwrap_err();
    assert!(matches!(error, DatasetError::TooManyRows { max_rows: 100, .. }), "{error}");
    assert!(error.to_string().contains("planted"), "{error}");
    assert!(dataset.rows().is_empty() && dataset.sources().is_empty());
    assert!(dataset.instruments().is_empty());
}

#[test]
fn a_pass_over_the_material_ends_when_it_is_told_to() {
    let loaded = few_cells();
    let mut cycles = 0;
    let opened = Cycles::open(&loaded, &planted()).unwrap();
    let summary = opened
        .run(&GO_ON, |_| {
            cycles += 1;
            if cycles == 50 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(cycles, 50);
    assert!(summary.engine.cycles < 1_700, "not the whole material: {:?}", summary.engine);
    let opened = Cycles::open(&loaded, &planted()).unwrap();
    let stopped = AtomicBool::new(true);
    let summary = opened.run(&stopped, |_| panic!("stopped before the first cycle")).unwrap();
    assert!(summary.engine.cycles < 1_700);
}

#[test]
fn material_that_is_not_there_is_an_error_that_names_it() {
    let absent = PathBuf::from("/no/such/recording.pkrec");
    let error = Cycles::open(&few_cells(), &[absent]).unwrap_err().to_string();
    assert!(error.contains("/no/such/recording.pkrec"), "{error}");
}
