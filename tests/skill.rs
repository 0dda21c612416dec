//! Learning measured against what is possible: on the simulated market, whose best forecast is known,
//! the combination comes close to it; where nothing is predictable, nothing is found.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use purkinje::run::{report::Report, simulated_session};
use purkinje_strategies::score::Skill;
use support::{captures, loaded, replayed};

/// Simulated time in all, and the part of it that is for learning and not scored, s.
const TOTAL_S: u64 = 20 * 60;
const WARM_UP_S: &str = "600";

/// Fewer instruments than by default, as shared weights learn from all of them: the harder case.
const INSTRUMENTS: &str = "3";

fn run(seed: &str, strength: &str) -> Report {
    run_with(seed, strength, &[])
}

fn run_with(seed: &str, strength: &str, more: &[(&str, &str)]) -> Report {
    let mut sets = vec![
        ("simulator.seed", seed),
        ("simulator.strength", strength),
        ("simulator.instruments", INSTRUMENTS),
        ("report.warmup_s", WARM_UP_S),
    ];
    sets.extend_from_slice(more);
    let loaded = loaded(&sets);
    let dir = tempfile::tempdir().unwrap();
    simulated_session::write(&loaded, dir.path(), TOTAL_S).unwrap();
    replayed(&loaded, &[dir.path().to_owned()], None)
}

fn skill<'a>(report: &'a Report, name: &str) -> Skill<'a> {
    let card = report.spine.model.forecaster.scorecard();
    card.skills().find(|s| s.name == name).unwrap_or_else(|| panic!("no column {name}"))
}

fn assert_near_the_oracle(seed: &str) {
    let report = run(seed, "1.1");
    let oracle = skill(&report, "oracle");
    println!("seed {seed}:\n{}", report.spine.model.forecaster.scorecard().table());
    assert!(oracle.n > 10_000, "{oracle:?}");
    assert!(oracle.gain > 5.0 * oracle.gain_se, "there is something to find: {oracle:?}");
    assert!((0.70..0.80).contains(&oracle.hit_rate), "three in four: {oracle:?}");
    for name in ["combined", "recalibrated"] {
        let skill = skill(&report, name);
        assert!(skill.oracle_share >= 0.8, "seed {seed}: {skill:?}");
        // More than possible would be a leak of the future.
        assert!(skill.oracle_share <= 1.02, "seed {seed}: {skill:?}");
        assert_eq!(skill.invalid, 0);
    }
}

#[test]
fn the_combination_recovers_four_fifths_of_the_oracles_gain_with_seed_1() {
    assert_near_the_oracle("1");
}

#[test]
fn the_combination_recovers_four_fifths_of_the_oracles_gain_with_seed_2() {
    assert_near_the_oracle("2");
}

#[test]
fn the_combination_recovers_four_fifths_of_the_oracles_gain_with_seed_3() {
    assert_near_the_oracle("3");
}

#[test]
fn no_skill_is_found_where_none_is_planted() {
    let report = run("5", "0");
    println!("{}", report.spine.model.forecaster.scorecard().table());
    for name in ["combined", "recalibrated"] {
        let skill = skill(&report, name);
        assert!(skill.n > 10_000, "{skill:?}");
        assert!(skill.gain <= 3.0 * skill.gain_se, "skill out of nothing: {skill:?}");
        // The planted component is worth almost 0.2 nats; chasing noise must not cost much either.
        assert!(skill.gain.abs() < 0.005, "{skill:?}");
        assert!((skill.hit_rate - 0.5).abs() < 0.03, "{skill:?}");
    }
    let [buy, sell, _] = report.spine.sink.0.counts.actions;
    let signals = report.spine.sink.0.counts.signals();
    assert!((buy + sell) * 100 < signals, "{buy} BUY and {sell} SELL of {signals} on noise");
}

/// A cerebellum that must learn all it knows, and one that may not.
const FROZEN: (&str, &str) = ("strategy.cerebellum.plastic", "false");

/// A forecaster that knows nothing gains nothing but by chance, recalibration included; more would be
/// knowledge of the outcome that came by another way than plasticity.
fn assert_no_better_than_chance(report: &Report, what: &str) {
    let skill = skill(report, "cerebellum");
    assert!(skill.gain <= 2.0 * skill.gain_se, "{what}: a frozen cerebellum gains: {skill:?}");
    let learning = report.spine.model.forecaster.cerebellum().unwrap().learning();
    assert!(learning.rules.iter().all(|rule| rule.moves == 0), "{what}: {learning}");
    assert_eq!(learning.weights.sd, 0.0, "{what}: {learning}");
}

#[test]
fn the_cerebellum_alone_beats_persistence_and_frozen_it_is_no_better_than_chance() {
    let learned = run("1", "1.1");
    let alone = skill(&learned, "cerebellum");
    assert!(alone.gain > 5.0 * alone.gain_se, "{alone:?}");
    assert!(alone.oracle_share >= 0.75, "{alone:?}");
    let persistence = skill(&learned, "persistence");
    assert!(alone.log_loss < persistence.log_loss, "{alone:?} against {persistence:?}");
    let frozen = run_with("1", "1.1", &[FROZEN]);
    println!("frozen:\n{}", frozen.spine.model.forecaster.scorecard().table());
    assert_no_better_than_chance(&frozen, "simulated");
}

/// Recordings of ten minutes or less; the first minute is for learning and not scored.
const CAPTURES: [&str; 5] = [
    "usdm/btcusdt_20240808.gz",
    "usdm/ethusdt_20240808.gz",
    "cm/btcusd_perp_20240808.gz",
    "spot/btcusdt_20240808.gz",
    "spot/ethusdt_20240808.gz",
];

#[test]
fn on_recorded_markets_the_cerebellum_learns_to_forecast_and_frozen_it_does_not() {
    let Some(paths) = captures(&CAPTURES) else { return };
    let (mut gain, mut variance) = (0.0, 0.0);
    for path in paths {
        let one = [path.clone()];
        let learned = replayed(&loaded(&[("report.warmup_s", "60")]), &one, None);
        let frozen = replayed(&loaded(&[("report.warmup_s", "60"), FROZEN]), &one, None);
        let table = learned.spine.model.forecaster.scorecard().table();
        println!("{}, walk forward:\n{table}", path.display());
        let skill = skill(&learned, "cerebellum");
        assert!(skill.n > 500 && skill.invalid == 0, "{}: {skill:?}", path.display());
        gain += skill.gain;
        variance += skill.gain_se * skill.gain_se;
        assert_no_better_than_chance(&frozen, &path.display().to_string());
    }
    let mean = gain / CAPTURES.len() as f64;
    let error = variance.sqrt() / CAPTURES.len() as f64;
    println!("mean gain over the base rate {mean:.4} nat, s.e. {error:.4}");
    assert!(mean > 3.0 * error, "a gain of {mean:.4} nat, s.e. {error:.4}");
}
