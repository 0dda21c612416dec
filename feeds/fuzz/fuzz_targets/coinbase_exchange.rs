//! The decoder of coinbase_exchange and everything a session makes of its messages.

#![no_main]

use libfuzzer_sys::fuzz_target;
use purkinje_feeds_fuzz::frames;

fuzz_target!(|input: &[u8]| {
    frames::run_all("coinbase_exchange", input);
});
