//! The contract of [`FeatureState`]: neutral values, no look-ahead, reset, clocks, bad input.

use super::*;

const CYCLE_NS: i64 = 100_000_000;
const START_NS: i64 = 1_722_816_000_000_000_000;
const BIDS: [(f64, f64); 3] = [(100.0, 3.0), (99.5, 4.0), (99.0, 5.0)];
const ASKS: [(f64, f64); 3] = [(100.5, 2.0), (101.0, 4.0), (101.5, 1.0)];

fn state() -> FeatureState {
    FeatureState::new(&FeatureConfig::default()).unwrap()
}

fn cut(state: &mut FeatureState, point: i64) -> [f32; N] {
    let mut out = [f32::NAN; N];
    state.cut(START_NS + point * CYCLE_NS, &mut out);
    assert!(out.iter().all(|value| value.is_finite()), "{out:?}");
    out
}

/// A market that moves and trades a little differently each cycle.
fn play_cycle(state: &mut FeatureState, point: i64) {
    let ts_ns = START_NS + point * CYCLE_NS - 1_000;
    let wave = (point * 7 % 11) as f64;
    state.on_top(ts_ns, 100.0 + 0.5 * wave, 1.0 + wave, 100.5 + 0.5 * wave, 3.0);
    let aggressor = if point % 3 == 0 { Side::Ask } else { Side::Bid };
    state.on_trade(ts_ns, aggressor, 100.0 + 0.5 * wave, 0.1 + wave, 2);
    state.on_book(ts_ns, &BIDS[..=(point % 3) as usize], &ASKS);
}

fn without_time(mut out: [f32; N]) -> [f32; N] {
    out[Feature::TimeOfDaySin as usize..].fill(0.0);
    out
}

#[test]
fn before_any_event_every_feature_but_the_time_is_neutral() {
    let mut state = state();
    for point in 0..400 {
        assert_eq!(without_time(cut(&mut state, point)), [0.0; N]);
    }
    assert!(!state.warm(), "without a mid nothing is warm");
}

#[test]
fn a_market_that_stands_still_shows_levels_but_no_flow_and_no_moves() {
    let mut state = state();
    state.on_book(START_NS, &BIDS, &ASKS);
    let mut out = [0.0; N];
    for point in 0..400 {
        out = cut(&mut state, point);
    }
    assert!(state.warm());
    for spec in TABLE.iter().filter(|spec| spec.window != "now") {
        let index = NAMES.iter().position(|name| *name == spec.name).unwrap();
        let expected = match spec.name {
            "queue_imbalance_mean_1s" => 0.2,
            "depth_imbalance_mean_1s" | "depth_imbalance_mean_5s" => 5.0 / 19.0,
            _ => 0.0,
        };
        assert!((out[index] - expected).abs() < 1e-6, "{} is {}", spec.name, out[index]);
    }
}

#[test]
fn features_are_warm_after_five_seconds_of_known_mid_and_settled_after_thirty() {
    let mut state = state();
    cut(&mut state, 0);
    state.on_book(START_NS, &BIDS, &ASKS);
    for point in 1..=50 {
        cut(&mut state, point);
        assert!(!state.warm(), "cycle {point}");
    }
    cut(&mut state, 51);
    assert!(state.warm());
    for point in 52..=300 {
        cut(&mut state, point);
        assert!(!state.settled(), "cycle {point}");
    }
    cut(&mut state, 301);
    assert!(state.settled());
    state.reset();
    assert!(!state.settled());
}

#[test]
fn what_follows_a_cut_never_changes_it() {
    let (mut one, mut other) = (state(), state());
    for point in 0..350 {
        play_cycle(&mut one, point);
        play_cycle(&mut other, point);
        assert_eq!(cut(&mut one, point), cut(&mut other, point), "cycle {point}");
        // The future differs: the features of the cut above must not have known.
        let mut fork = one.clone();
        fork.on_top(START_NS + point * CYCLE_NS, 500.0, 1.0, 501.0, 9.0);
        fork.on_trade(START_NS, Side::Ask, 499.0, 77.0, 5);
        assert_ne!(cut(&mut fork, point + 1), cut(&mut one.clone(), point + 1));
    }
}

#[test]
fn a_reset_state_behaves_like_a_new_one() {
    let (mut used, mut fresh) = (state(), state());
    for point in 0..120 {
        play_cycle(&mut used, point);
        cut(&mut used, point);
    }
    used.reset();
    assert!(!used.warm());
    for point in 120..480 {
        play_cycle(&mut used, point);
        play_cycle(&mut fresh, point);
        assert_eq!(cut(&mut used, point), cut(&mut fresh, point), "cycle {point}");
    }
    assert_eq!(used.counters().resets, 1);
    assert_eq!(used.counters().cuts, 480);
}

#[test]
fn a_backwards_clock_is_counted_and_poisons_nothing() {
    let (mut wild, mut steady) = (state(), state());
    for point in 0..200 {
        play_cycle(&mut wild, point);
        play_cycle(&mut steady, point);
        // From cycle 60 on the wild clock is an hour late, for good.
        let late = if point >= 60 { 36_000 } else { 0 };
        let (a, b) = (cut(&mut wild, point - late), cut(&mut steady, point));
        let age = Feature::LogMoveAge as usize;
        assert_eq!(without_time(a)[..age], without_time(b)[..age], "cycle {point}");
    }
    assert_eq!(wild.counters().clock_regressions, 140);
    assert_eq!(steady.counters().clock_regressions, 0);
}

#[test]
fn extreme_timestamps_do_not_panic() {
    let mut state = state();
    let mut out = [0.0; N];
    for ts_ns in [0, i64::MAX, i64::MIN, -1, i64::MAX - 1, 1] {
        state.on_top(ts_ns, 100.0, 1.0, 101.0, 1.0);
        state.on_top(ts_ns, 101.0, 1.0, 102.0, 1.0);
        state.cut(ts_ns, &mut out);
        assert!(out.iter().all(|value| value.is_finite()), "{ts_ns}: {out:?}");
    }
}

#[test]
fn late_cuts_count_the_missed_cycles_and_a_long_gap_restarts_the_windows() {
    let mut state = state();
    for point in 0..=60 {
        play_cycle(&mut state, point);
        cut(&mut state, point);
    }
    state.on_trade(START_NS, Side::Bid, 100.0, 4.0, 1);
    let late = cut(&mut state, 65);
    assert_eq!(state.counters().missed_cycles, 4);
    assert_eq!(late[Feature::TradeFlow500ms as usize], 4.0, "only the new flow is that young");
    assert!(state.warm());
    cut(&mut state, 65 + 301);
    assert_eq!(state.counters().gaps, 1);
    assert!(!state.warm());
}

#[test]
fn senseless_events_are_counted_and_change_nothing() {
    let mut state = state();
    for point in 0..60 {
        play_cycle(&mut state, point);
        cut(&mut state, point);
    }
    let mut spared = state.clone();
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300] {
        state.on_top(START_NS, bad, 1.0, 101.0, 1.0);
        state.on_trade(START_NS, Side::Bid, 100.0, bad, 1);
        state.on_book(START_NS, &[(100.0, bad)], &ASKS);
    }
    state.on_top(START_NS, 102.0, 1.0, 101.0, 1.0);
    state.on_book(START_NS, &[(200.0, 1.0)], &ASKS);
    assert_eq!(state.counters().rejected_events, 17);
    assert_eq!(cut(&mut state, 60), cut(&mut spared, 60));
}

#[test]
fn the_largest_accepted_inputs_give_finite_features() {
    let mut state = state();
    for point in 0..320 {
        let price = if point % 2 == 0 { 1e18 } else { 1e-9 };
        state.on_top(START_NS, price, 1e18, price, 1e-12);
        state.on_trade(START_NS, Side::Bid, 1e18, 1e18, u32::MAX);
        state.on_book(START_NS, &[(price, 1e18); 25], &[(price, 1e-300); 25]);
        cut(&mut state, point);
    }
    assert_eq!(state.counters().rejected_events, 0);
}

#[test]
fn level_one_comes_from_the_book_until_the_top_stream_speaks() {
    let mut state = state();
    state.on_book(START_NS, &BIDS, &ASKS);
    assert_eq!(cut(&mut state, 0)[Feature::QueueImbalance as usize], 0.2);
    state.on_top(START_NS, 100.0, 1.0, 100.5, 1.0);
    state.on_book(START_NS, &BIDS, &ASKS);
    assert_eq!(cut(&mut state, 1)[Feature::QueueImbalance as usize], 0.0);
}

#[test]
fn a_cycle_out_of_range_is_refused_by_name() {
    for cycle_ms in [0, 9, 10_001] {
        let error = FeatureState::new(&FeatureConfig { cycle_ms }).unwrap_err();
        assert_eq!(error.to_string(), format!("cycle_ms is {cycle_ms}: expected 10 to 10000"));
    }
    for cycle_ms in [10, 10_000] {
        assert!(FeatureState::new(&FeatureConfig { cycle_ms }).is_ok());
    }
}
