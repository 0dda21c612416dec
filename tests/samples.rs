//! The sample sessions of `replay-data/` replay cleanly and to the same signals every time.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use purkinje::{
    config::{Loaded, Sources, load},
    pipeline::replay_source::Speed,
    run::{
        replay::replay,
        report::Report,
        spine::OutletConfig,
    },
    signals::terminal::Mode,
};

fn loaded() -> Loaded {
    // A smaller network than the default: this is about the data.
    let sets = vec![("strategy.cerebellum.granule_cells".into(), "200".into())];
    load(&Sources { config_path: None, env: Vec::new(), sets, search: Vec::new() }).unwrap()
}

fn run(name: &str) -> Report {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/replay-data")).join(name);
    let outlets = OutletConfig {
        journal: None,
        kafka: None,
        terminal: Mode::Off,
        title: String::new(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    replay(&loaded(), &[path], Speed::Max, &outlets, &stop).unwrap()
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
