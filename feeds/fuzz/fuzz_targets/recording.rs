//! Recordings of ours, whole files and sealed blocks.

#![no_main]

use libfuzzer_sys::fuzz_target;
use purkinje_feeds_fuzz::recording;

fuzz_target!(|input: &[u8]| {
    recording::run(input);
});
