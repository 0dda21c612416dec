//! Online learning of the Mackey-Glass series six samples ahead by 10,000 granule cells. For
//! comparison, by NDEI on the same rows: the last value 0.81, least squares on the four taps 0.43,
//! and in Jang's table (IEEE Trans. SMC 23, 1993) an auto-regressive model 0.19.

#![allow(clippy::unwrap_used, reason = "a failed construction fails the test")]

use purkinje_kernels::cerebellum::tasks::mackey_glass::{Rows, learn, rows, test};
use purkinje_kernels::cerebellum::tasks::regressor::{Regressor, RegressorConfig, Teaching};

/// The rate falls with this power of the pass, so that late passes average what early ones found.
const FALL: f32 = 0.7;

/// Learns for some passes, and scores.
fn score_after(passes: u32, config: RegressorConfig, [train, held_out]: &[Rows; 2]) -> f32 {
    let mut regressor = Regressor::new(config).unwrap();
    for pass in 0..passes {
        regressor.set_rate_scale((1.0 + pass as f32).powf(-FALL));
        learn(&mut regressor, train);
    }
    let score = test(&mut regressor, held_out);
    println!("seed {} {:?}: NDEI {score:.3} after {passes} passes", config.seed, config.teaching);
    score
}

/// The rule with the spikes of the sample that erred held until it is taught, at its own best rate.
fn held(seed: u64) -> RegressorConfig {
    RegressorConfig { seed, teaching: Teaching::Held, rate: 0.03, ..RegressorConfig::default() }
}

#[test]
fn one_pass_learns_the_series_and_no_pass_does_not() {
    let (rows, config) = (rows(), RegressorConfig::default());
    let untaught = score_after(0, config, &rows);
    assert!(untaught >= 0.95, "without learning {untaught:.3}");
    let taught = score_after(1, config, &rows);
    assert!(taught <= 0.35, "after one pass {taught:.3}");
}

#[test]
fn one_pass_learns_the_series_with_spikes_held_too() {
    let taught = score_after(1, held(1), &rows());
    assert!(taught <= 0.40, "after one pass {taught:.3}");
}

#[test]
#[ignore = "long: half a minute of a free core"]
fn ten_passes_learn_the_series_from_any_seed_by_either_rule() {
    let rows = rows();
    for seed in [1, 2, 3] {
        let late = RegressorConfig { seed, ..RegressorConfig::default() };
        let untaught = score_after(0, late, &rows);
        assert!(untaught >= 0.95, "seed {seed}, without learning: {untaught:.3}");
        for (passes, most) in [(1, 0.35), (10, 0.22)] {
            let score = score_after(passes, late, &rows);
            assert!(score <= most, "seed {seed}, {passes} passes: {score:.3}");
        }
        let score = score_after(10, held(seed), &rows);
        assert!(score <= 0.22, "seed {seed}, spikes held: {score:.3}");
    }
}
