//! The ensemble under its default rule.

use super::*;
use crate::calibrate::{logit, sigmoid};

fn combiner(members: usize) -> Combiner {
    Combiner::new(members, CombinerConfig::default()).unwrap()
}

fn total(combiner: &Combiner) -> f64 {
    combiner.weights().sum()
}

#[test]
fn the_reported_weights_reproduce_the_forecast_exactly() {
    let mut combiner = combiner(3);
    for i in 0..500 {
        let p = [0.3 + 0.4 * f64::from(i % 2), 0.6, 0.2];
        let forecast = combiner.predict(&p);
        let mixed = (0..3).map(|k| forecast.weights[k] * logit(p[k])).sum::<f64>()
            + forecast.base_rate_weight * logit(forecast.base_rate);
        assert!((sigmoid(mixed) - forecast.p_up).abs() < 1e-12);
        let sum = forecast.weights.iter().sum::<f64>() + forecast.base_rate_weight;
        assert!((sum - 1.0).abs() < 1e-12 && (total(&combiner) - 1.0).abs() < 1e-12);
        combiner.learn(&forecast, i % 2 == 1);
    }
}

#[test]
fn absent_members_take_no_part_and_the_rest_is_renormalised() {
    let mut combiner = combiner(3);
    let forecast = combiner.predict(&[0.9, f64::NAN, 0.7]);
    assert_eq!(forecast.awake, 0b101);
    assert_eq!(forecast.weights[1], 0.0);
    assert!(forecast.members[1].is_nan());
    let sum = forecast.weights.iter().sum::<f64>() + forecast.base_rate_weight;
    assert!((sum - 1.0).abs() < 1e-12);
    // A member that slept must be judged as before when it returns.
    let before = combiner.clone();
    combiner.learn(&forecast, true);
    let (State::MlPoly(before), State::MlPoly(after)) = (&before.state, &combiner.state) else {
        panic!("ml-poly is the default rule");
    };
    assert_eq!(before.long_weights(1 << 1), after.long_weights(1 << 1));
    for bad in [-0.1, 1.1, f64::INFINITY] {
        assert_eq!(combiner.predict(&[bad]).awake, 0);
    }
    assert_eq!(combiner.predict(&[0.5; 5]).awake, 0b111);
}

#[test]
fn with_nobody_awake_the_base_rate_speaks_and_still_learns() {
    let mut combiner = combiner(2);
    for _ in 0..1_000 {
        let forecast = combiner.predict(&[]);
        assert_eq!((forecast.awake, forecast.base_rate_weight), (0, 1.0));
        assert!(forecast.agreement().is_nan());
        combiner.learn(&forecast, true);
    }
    assert!(combiner.predict(&[]).p_up > 0.95);
}

#[test]
fn a_member_that_was_useless_for_long_is_heard_again_when_it_is_right() {
    let mut combiner = combiner(2);
    let mut state = 1u32;
    let mut step = |combiner: &mut Combiner, good: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let up = state >> 31 == 1;
        let mut p = [if state >> 30 & 1 == 1 { 0.8 } else { 0.2 }; 2];
        p[good] = if up { 0.8 } else { 0.2 };
        let forecast = combiner.predict(&p);
        combiner.learn(&forecast, up);
    };
    for _ in 0..5_000 {
        step(&mut combiner, 0);
    }
    let early: Vec<f64> = combiner.weights().collect();
    assert!(early[0] > 0.95, "{early:?}");
    for _ in 0..2_000 {
        step(&mut combiner, 1);
    }
    let late: Vec<f64> = combiner.weights().collect();
    assert!(late[1] > 0.6, "{late:?}");
}

#[test]
fn agreement_is_the_weighted_share_on_the_predicted_side() {
    let combiner = combiner(4);
    let cases: [(&[f64], f64); 4] = [
        (&[0.9, 0.9, 0.9, 0.4], 0.75),
        (&[0.1, 0.2, 0.3, 0.4], 1.0),
        (&[0.9, 0.5, 0.9, 0.5], 0.75),
        (&[0.9, f64::NAN, 0.4, f64::NAN], 0.5),
    ];
    for (p, expected) in cases {
        let got = combiner.predict(p).agreement();
        assert!((got - expected).abs() < 1e-9, "{p:?}: {got}");
    }
}

#[test]
fn certain_members_that_fail_leave_finite_weights() {
    let mut combiner = combiner(3);
    for i in 0..2_000 {
        let forecast = combiner.predict(&[0.0, 1.0, f64::from(i % 2)]);
        assert!(is_probability(forecast.p_up) && forecast.p_up > 0.0 && forecast.p_up < 1.0);
        combiner.learn(&forecast, i % 2 == 0);
        assert!((total(&combiner) - 1.0).abs() < 1e-9);
    }
}

#[test]
fn bad_settings_are_refused_by_name() {
    let good = CombinerConfig::default();
    assert!(matches!(Combiner::new(0, good), Err(CombinerError::Members { members: 0 })));
    assert!(Combiner::new(MAX_MEMBERS, good).is_ok());
    assert!(Combiner::new(MAX_MEMBERS + 1, good).is_err());
    for (config, message) in [
        (CombinerConfig { share_floor: 0.6, ..good }, "combiner.share_floor is 0.6"),
        (
            CombinerConfig { tracking_memory_labels: f64::NAN, ..good },
            "combiner.tracking_memory_labels is NaN",
        ),
        (
            CombinerConfig { base_rate_memory_labels: 0.0, ..good },
            "combiner.base_rate_memory_labels is 0",
        ),
        (CombinerConfig { probability_clip: 0.5, ..good }, "combiner.probability_clip is 0.5"),
    ] {
        let error = Combiner::new(3, config).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}
