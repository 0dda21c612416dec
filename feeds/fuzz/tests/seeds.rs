//! The seeds reach what they are meant to reach: a fuzzer that starts from frames nobody reads is slow.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

use std::path::PathBuf;

use purkinje_feeds_fuzz::{capture_lines, frames, history, json, recording};

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap())
    };
    let mut seeds: Vec<_> = files.map(read).collect();
    seeds.sort();
    assert!(!seeds.is_empty(), "{}", folder.display());
    seeds
}

#[test]
fn the_seeds_of_every_decoder_publish_a_book_a_top_and_a_trade() {
    for target in [
        "binance",
        "bitstamp",
        "bybit",
        "coinbase_advanced",
        "coinbase_exchange",
        "deribit",
        "kraken",
        "okx",
    ] {
        let mut heard = frames::Heard::default();
        for (name, seed) in seeds(target) {
            for session in frames::run_all(target, &seed) {
                println!("{target}/{name}: {session:?}");
                heard.commits += session.commits;
                heard.tops += session.tops;
                heard.trades += session.trades;
            }
        }
        assert!(heard.commits > 0 && heard.tops > 0 && heard.trades > 0, "{target}: {heard:?}");
    }
}

#[test]
fn the_seeds_of_every_reader_are_read_to_their_end() {
    for target in [
        "history_binance_trades",
        "history_bitstamp_log",
        "history_capture",
        "history_databento",
        "history_gdax",
        "history_gdax_export",
        "history_lean",
        "history_lobster",
        "history_tardis",
    ] {
        for (name, seed) in seeds(target) {
            let reading = history::run(target, &seed);
            assert!(reading.error.is_none(), "{target}/{name}: {reading:?}");
            assert!(reading.events > 0, "{target}/{name}: {reading:?}");
        }
    }
    for (_, seed) in seeds("history_any") {
        history::run("history_any", &seed);
    }
}

#[test]
fn the_other_seeds_hold_lines_records_and_texts() {
    for (name, seed) in seeds("capture_lines") {
        assert!(capture_lines::run(&seed) > 1, "{name}");
    }
    for (name, seed) in seeds("record") {
        assert!(purkinje_feeds::recording::decode(&seed).is_ok(), "{name}");
        recording::record(&seed);
    }
    for (name, seed) in seeds("recording") {
        assert!(recording::run(&seed) > 1, "{name}");
    }
    for (_, seed) in seeds("json") {
        json::run(&seed);
    }
}
