//! Telling the format of a file nobody described, compressed or not, and reading it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use purkinje_feeds_fuzz::history;

fuzz_target!(|input: &[u8]| {
    history::run("history_any", input);
});
