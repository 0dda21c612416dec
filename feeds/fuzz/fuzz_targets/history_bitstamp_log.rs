//! The reader of historical files `bitstamp_log`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use purkinje_feeds_fuzz::history;

fuzz_target!(|input: &[u8]| {
    history::run("history_bitstamp_log", input);
});
