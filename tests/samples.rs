//! The sample sessions of `replay-data/` replay cleanly and to the same signals every time.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{path::PathBuf, sync::Arc};

use purkinje::{
    pipeline::replay_source::Speed,
    run::{replay::replay, report::Report},
};

fn run(name: &str) -> Report {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/replay-data")).join(name);
    // A smaller network than the default: this is about the data.
    let loaded = support::loaded(&[("strategy.cerebellum.granule_cells", "200")]);
    replay(&loaded, &[path], Speed::Max, &support::outlets(None), &Arc::default())
        .unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_sample_sessions_replay_without_a_gap_and_always_to_the_same_signals() {
    for name in ["planted", "unpredictable"] {
        let (first, second) = (run(name), run(name));
        assert_eq!(first.signals_sha256(), second.signals_sha256());
        assert!(first.feeds.warnings.is_empty(), "{:?}", first.feeds.warnings);
        let counts = first.spine.engine.counts;
        assert_eq!((counts.syncs, counts.desyncs, counts.crossed_commits), (2, 0, 0));
        assert!(first.feeds.sessions.iter().all(|s| s.gaps == 0 && s.bad_input.total() == 0));
        assert_eq!(first.spine.sink.0.counts.signals(), 2 * counts.cycles);
    }
}
