//! Combining, recalibrating, deciding and scoring allocate nothing once they are constructed.

#[allow(unreachable_pub, reason = "the root crate exports it")]
#[path = "../../src/alloc.rs"]
mod alloc;

use std::alloc::System;

use purkinje_strategies::calibrate::{
    Calibration, Calibrator, Conformal, ConformalConfig, IsotonicConfig, Platt, PlattConfig,
};
use purkinje_strategies::challenger::{Challenger, ChallengerConfig};
use purkinje_strategies::combine::{CombineRule, Combiner, CombinerConfig, Forecast};
use purkinje_strategies::decide::{Decider, Limits, Situation, Thresholds};
use purkinje_strategies::score::{Outcome, Persistence, Sample, ScoreConfig, Scorecard};

use alloc::{CountingAllocator, thread_allocations};

#[global_allocator]
static ALLOCATOR: CountingAllocator<System> = CountingAllocator(System);

const CYCLE_NS: i64 = 100_000_000;
const DELAY: usize = 10;

#[test]
fn ten_thousand_cycles_allocate_nothing() {
    let mut combiner = Combiner::new(3, CombinerConfig::default()).unwrap();
    let mut platt = Platt::new(PlattConfig::default()).unwrap();
    let mut decider = Decider::new(1, Thresholds::default(), Limits::default()).unwrap();
    let mut persistence = Persistence::new(1, 20_000.0);
    let config = ScoreConfig { cycle_ns: CYCLE_NS, horizon_ns: 10 * CYCLE_NS, warm_until_ns: 0 };
    let mut card = Scorecard::new(config, &["combined", "persistence"], None).unwrap();
    let mut ring: [Option<Forecast>; DELAY] = [None; DELAY];

    let before = thread_allocations();
    for i in 0..10_000usize {
        let up = i * 7_919 % 13 < 6;
        persistence.observe(0, (i * 31 % 17) as i64);
        let ts_cycle_ns = i as i64 * CYCLE_NS;
        if let Some(old) = ring[i % DELAY] {
            combiner.learn(&old, up);
            platt.learn(old.p_up, up, 0.1);
            persistence.learn(0, persistence.last_move(0), up);
            let outcome = if up { Outcome::Up } else { Outcome::Down };
            let mut sample = Sample::new(ts_cycle_ns - DELAY as i64 * CYCLE_NS, outcome);
            sample.p_up[..2].copy_from_slice(&[old.p_up, old.members[2]]);
            card.record(&sample);
        }
        let first = if i % 5 == 0 { f64::NAN } else { (i % 11) as f64 / 10.0 };
        let forecast = combiner.predict(&[first, 0.6, persistence.p_up(0)]);
        decider.decide(
            0,
            &Situation {
                ts_cycle_ns,
                age_ns: 0,
                halted: false,
                synchronised: true,
                crossed: false,
                warm: true,
                members_awake: forecast.awake.count_ones(),
                value: forecast.p_up,
                recalibrated: platt.apply(forecast.p_up),
                conformal: None,
            },
        );
        ring[i % DELAY] = Some(forecast);
    }
    assert_eq!(thread_allocations() - before, 0);
    assert_eq!(card.labelled(), 10_000 - DELAY as u64);
    // The counter must be able to fail.
    let counted = thread_allocations();
    drop(std::hint::black_box(Box::new(1u64)));
    assert_eq!(thread_allocations() - counted, 1);
}

#[test]
fn no_rule_calibration_or_challenger_allocates() {
    let config = CombinerConfig::default();
    let mut combiners = CombineRule::ALL.map(|rule| Combiner::with_rule(3, config, rule).unwrap());
    let isotonic = Calibration::Isotonic(IsotonicConfig::default());
    let mut isotonic = Calibrator::new(isotonic).unwrap();
    let mut conformal = Conformal::new(ConformalConfig::default()).unwrap();
    let duel = ChallengerConfig { alpha: 0.05, horizon_ns: 10 * CYCLE_NS, labels_min: 10 };
    let mut challenger = Challenger::new(duel).unwrap();

    let before = thread_allocations();
    for i in 0..5_000usize {
        let up = i * 7_919 % 13 < 6;
        let first = if i % 5 == 0 { f64::NAN } else { (i % 11) as f64 / 10.0 };
        for combiner in &mut combiners {
            let forecast = combiner.predict(&[first, 0.6, (i % 7) as f64 / 6.0]);
            combiner.learn(&forecast, up);
            let p = isotonic.apply(forecast.p_up);
            isotonic.learn(forecast.p_up, up, 0.1);
            conformal.learn(conformal.predict(p), p, up);
            challenger.observe(forecast.p_up, p, up, i as i64 * CYCLE_NS);
        }
    }
    assert_eq!(thread_allocations() - before, 0);
    assert_eq!(combiners[0].learned(), 5_000);
}
