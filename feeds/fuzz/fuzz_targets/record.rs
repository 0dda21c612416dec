//! One record of a recording: what decodes encodes to the same bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use purkinje_feeds_fuzz::recording;

fuzz_target!(|input: &[u8]| recording::record(input));
