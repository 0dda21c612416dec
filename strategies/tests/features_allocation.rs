//! Events, cuts and normalisation allocate nothing after construction.
//!
//! The counting allocator counts the thread that asks, so that tests of other threads do not disturb.

#[allow(unreachable_pub, reason = "the root crate exports it")]
#[path = "../../src/alloc.rs"]
mod alloc;

use purkinje_feeds::Side;
use purkinje_strategies::features::{FeatureConfig, FeatureState, N, SCALES};
use purkinje_strategies::normalise::{Normaliser, NormaliserConfig, NormaliserKind};
use std::alloc::System;

use alloc::{CountingAllocator, thread_allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator<System> = CountingAllocator(System);

#[test]
fn the_counting_allocator_counts() {
    let before = thread_allocations();
    let kept = std::hint::black_box(vec![1_u8; 64]);
    assert_eq!(thread_allocations(), before + 1);
    drop(kept);
}

#[test]
fn ten_thousand_cycles_allocate_nothing() {
    for kind in [NormaliserKind::RobustZ, NormaliserKind::MinMax] {
        let mut state = FeatureState::new(&FeatureConfig::default()).unwrap();
        let mut normaliser =
            Normaliser::with_scales(kind, &SCALES, &NormaliserConfig::default()).unwrap();
        let (mut raw, mut out) = ([0.0; N], [0.0; N]);
        let mut levels = [(0.0, 0.0); 20];
        let before = thread_allocations();
        for cycle in 0..10_000_i64 {
            let ts_ns = cycle * 100_000_000;
            let price = 100.0 + 0.01 * (cycle * 7 % 31) as f64;
            for (level, below) in levels.iter_mut().zip(0..) {
                *level = (price - f64::from(below) * 0.01, 1.0 + (cycle % 13) as f64);
            }
            state.on_top(ts_ns, price, 1.0 + (cycle % 5) as f64, price + 0.01, 2.0);
            state.on_trade(ts_ns, Side::Ask, price, 0.5, 1);
            state.on_book(ts_ns, &levels, &[(price + 0.01, 2.0)]);
            state.on_top(ts_ns, f64::NAN, 1.0, price, 1.0);
            if cycle % 3_000 == 2_999 {
                state.reset();
            }
            // Every thousandth cut jumps: a late one, a gap, a clock that steps back.
            let jump = if cycle % 1_000 == 0 { (cycle % 3_000 - 1_000) * 50_000_000 } else { 0 };
            state.cut(ts_ns + jump, &mut raw);
            normaliser.apply(&raw, &mut out);
        }
        assert_eq!(thread_allocations() - before, 0, "{kind:?}");
        assert!(normaliser.warm() && out.iter().any(|value| *value != 0.0));
        assert!(state.counters().gaps > 0 && state.counters().clock_regressions > 0);
    }
}
