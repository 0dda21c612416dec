//! Events, cuts and normalisation allocate nothing after construction.
//!
//! The counting allocator counts the thread that asks, so that tests of other threads do not disturb.

use purkinje_feeds::Side;
use purkinje_strategies::features::{FeatureConfig, FeatureState, N, SCALES};
use purkinje_strategies::normalise::{Normaliser, NormaliserConfig, NormaliserKind};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is passed on unchanged to the system allocator; counting touches only a
// thread-local cell that needs neither allocation nor a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from the system allocator with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn the_counting_allocator_counts() {
    let before = ALLOCATIONS.get();
    let kept = std::hint::black_box(vec![1_u8; 64]);
    assert_eq!(ALLOCATIONS.get(), before + 1);
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
        let before = ALLOCATIONS.get();
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
        assert_eq!(ALLOCATIONS.get() - before, 0, "{kind:?}");
        assert!(normaliser.warm() && out.iter().any(|value| *value != 0.0));
        assert!(state.counters().gaps > 0 && state.counters().clock_regressions > 0);
    }
}
