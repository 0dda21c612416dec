//! The JSON scanner against serde_json: both take the same texts.

#![no_main]

use libfuzzer_sys::fuzz_target;
use purkinje_feeds_fuzz::json;

fuzz_target!(|input: &[u8]| json::run(input));
