//! Lines of captures: splitting, unescaping, telling what the capture is of.

#![no_main]

use libfuzzer_sys::fuzz_target;
use purkinje_feeds_fuzz::capture_lines;

fuzz_target!(|input: &[u8]| {
    capture_lines::run(input);
});
