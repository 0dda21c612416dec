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

use purkinje::{
    clock::Clock,
    config::Loaded,
    pipeline::sink::{Outlets, Sink, WhenFull},
    run::spine::{forecaster, hex, model_version},
    signals::encode::Encoder,
    training::{
        cycles::{Cycles, CyclesSummary},
        dataset::{Dataset, DatasetConfig, DatasetError},
        split::{SplitConfig, split_by_time},
    },
};
use purkinje_strategies::score::Outcome;
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
