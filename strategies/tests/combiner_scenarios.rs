//! The combiner against the average, the best member and the best fixed mix, on seeded scenarios.
//!
//! Six members and 36,000 cycles (an hour at 100 ms), labels learned ten cycles late. Each scenario
//! is run with independent labels and with labels that overlap ten-fold, as they do for a
//! one-second horizon. Every loss is a mean log loss in nats over the whole run, the first cycles
//! included, and a mean over three seeds. Run with `--nocapture` for the table.

mod random;

use std::collections::VecDeque;

use purkinje_strategies::calibrate::{Platt, PlattConfig, logit, sigmoid};
use purkinje_strategies::combine::{CombineRule, Combiner, CombinerConfig, Forecast};
use random::Random;

const MEMBERS: usize = 6;
const CYCLES: usize = 36_000;
const DELAY: usize = 10;
const SEEDS: u64 = 3;

/// AR(1) coefficient of the drift of the overlapping market, a cycle.
const RHO: f64 = 0.95;
/// Standard deviation of its drift, in units of that of one cycle's noise.
const DRIFT: f64 = 0.25;

#[derive(Clone, Copy, Debug)]
enum Scenario {
    /// Member 0 knows the truth, the others are noise.
    OneGood,
    /// The good member changes every 3,000 cycles (five minutes).
    Switching,
    /// Every member is the truth plus noise of its own.
    Alike,
    /// Member 0 knows the truth until half time; then member 1 knows part of it.
    Breaking,
    /// Members 0 and 1 see half of the signal each; the others are noise.
    Complementary,
    /// Every member is noise.
    Noise,
}

#[derive(Clone, Copy)]
struct Cycle {
    truth: f64,
    members: [f64; MEMBERS],
    up: bool,
}

/// Log odds and labels: independent draws, or a price whose drift is an AR(1) with a memory of 20
/// cycles and whose move over the next [`DELAY`] cycles is the label.
fn market(rng: &mut Random, overlapping: bool) -> Vec<(f64, bool)> {
    if !overlapping {
        return (0..CYCLES)
            .map(|_| {
                let x = 0.8 * rng.normal();
                (x, rng.uniform() < sigmoid(x))
            })
            .collect();
    }
    let innovation = (1.0 - RHO * RHO).sqrt();
    let (mut drift, mut steps) = (vec![0.0], vec![0.0]);
    for i in 1..=CYCLES + DELAY {
        drift.push(RHO * drift[i - 1] + innovation * rng.normal());
        steps.push(DRIFT * drift[i] + rng.normal());
    }
    let powers = |n: usize| (0..n).map(|j| RHO.powi(j as i32)).sum::<f64>();
    let mean = DRIFT * RHO * powers(DELAY);
    let spread = (1..=DELAY).map(|n| (DRIFT * innovation * powers(n)).powi(2)).sum::<f64>();
    let sd = (DELAY as f64 + spread).sqrt();
    // 1.702 · z: the logistic approximation of the normal distribution, within 0.0095 of it
    // (Camilli 1994).
    (0..CYCLES)
        .map(|i| (1.702 * mean * drift[i] / sd, steps[i + 1..=i + DELAY].iter().sum::<f64>() > 0.0))
        .collect()
}

fn generate(scenario: Scenario, seed: u64, overlapping: bool) -> Vec<Cycle> {
    let mut rng = Random(seed);
    let truth = market(&mut rng, overlapping);
    let memory: f64 = if overlapping { 0.95 } else { 0.0 };
    let mut noise = [0.0; MEMBERS];
    let cycles = truth.into_iter().enumerate().map(|(i, (x, up))| {
        for n in &mut noise {
            *n = memory * *n + (1.0 - memory * memory).sqrt() * rng.normal();
        }
        let half_time = i >= CYCLES / 2;
        let log_odds = |k: usize| match (scenario, k) {
            (Scenario::OneGood, 0) => x,
            (Scenario::Switching, k) if k == i / 3_000 % MEMBERS => x,
            (Scenario::Alike, k) => x + 0.75 * noise[k],
            (Scenario::Breaking, 0) if !half_time => x,
            (Scenario::Breaking, 1) if half_time => 0.7 * x + 0.4 * noise[1],
            // The truth is the sum of the two halves.
            (Scenario::Complementary, 0) => 0.5 * x + 0.55 * noise[5],
            (Scenario::Complementary, 1) => 0.5 * x - 0.55 * noise[5],
            (Scenario::Complementary, k) => 0.5 * noise[k - 2],
            (_, k) => 0.75 * noise[k],
        };
        Cycle { truth: sigmoid(x), members: std::array::from_fn(|k| sigmoid(log_odds(k))), up }
    });
    cycles.collect()
}

fn log_loss(p: f64, up: bool) -> f64 {
    -(if up { p } else { 1.0 - p }).ln()
}

fn mean_loss(cycles: &[Cycle], p_up: impl Fn(&Cycle) -> f64) -> f64 {
    cycles.iter().map(|c| log_loss(p_up(c), c.up)).sum::<f64>() / cycles.len() as f64
}

/// Runs the combiner with delayed labels and hands every forecast, as it is made, to `visit`.
fn play(cycles: &[Cycle], visit: impl FnMut(usize, &Forecast, Option<(&Forecast, bool)>)) {
    play_rule(CombineRule::default(), cycles, visit);
}

/// As [`play`] under another rule.
fn play_rule(
    rule: CombineRule,
    cycles: &[Cycle],
    mut visit: impl FnMut(usize, &Forecast, Option<(&Forecast, bool)>),
) {
    let mut combiner = Combiner::with_rule(MEMBERS, CombinerConfig::default(), rule)
        .expect("the defaults are valid");
    let mut pending: VecDeque<(Forecast, bool)> = VecDeque::with_capacity(DELAY + 1);
    for (i, cycle) in cycles.iter().enumerate() {
        let matured = if pending.len() == DELAY { pending.pop_front() } else { None };
        if let Some((forecast, up)) = &matured {
            combiner.learn(forecast, *up);
        }
        let forecast = combiner.predict(&cycle.members);
        visit(i, &forecast, matured.as_ref().map(|(f, up)| (f, *up)));
        pending.push_back((forecast, cycle.up));
    }
}

fn combined_loss(cycles: &[Cycle]) -> f64 {
    rule_loss(CombineRule::default(), cycles)
}

fn rule_loss(rule: CombineRule, cycles: &[Cycle]) -> f64 {
    let mut sum = 0.0;
    play_rule(rule, cycles, |i, forecast, _| {
        sum += log_loss(forecast.p_up, cycles[i].up);
    });
    sum / cycles.len() as f64
}

/// The decay rule `w *= 1 - 0.1 · |p - label|` with a floor of 0.1 (the flaw not to rebuild).
fn decay_rule_loss(cycles: &[Cycle]) -> f64 {
    let (mut weights, mut sum) = ([1.0f64; MEMBERS], 0.0);
    for cycle in cycles {
        let mixed = weights.iter().zip(&cycle.members).map(|(w, p)| w * p).sum::<f64>()
            / weights.iter().sum::<f64>();
        sum += log_loss(mixed, cycle.up);
        for (w, p) in weights.iter_mut().zip(&cycle.members) {
            *w = (*w * (1.0 - 0.1 * (p - f64::from(u8::from(cycle.up))).abs())).max(0.1);
        }
    }
    sum / cycles.len() as f64
}

/// Loss of the best fixed mix in hindsight, of probabilities or of log odds: exponentiated gradient
/// on the whole run, which is convex in the weights in both cases.
fn best_mix_loss(cycles: &[Cycle], in_log_odds: bool) -> f64 {
    let value = |p: f64| if in_log_odds { logit(p) } else { p };
    let inputs: Vec<[f64; MEMBERS]> = cycles.iter().map(|c| c.members.map(value)).collect();
    let (mut weights, mut best) = ([1.0 / MEMBERS as f64; MEMBERS], f64::INFINITY);
    for step in 0..50 {
        let (mut gradient, mut loss) = ([0.0; MEMBERS], 0.0);
        for (cycle, x) in cycles.iter().zip(&inputs) {
            let mixed = weights.iter().zip(x).map(|(w, x)| w * x).sum::<f64>();
            let p = if in_log_odds { sigmoid(mixed) } else { mixed };
            loss += log_loss(p, cycle.up);
            let error = p - f64::from(u8::from(cycle.up));
            let slope = if in_log_odds { error } else { error / (p * (1.0 - p)) };
            gradient.iter_mut().zip(x).for_each(|(g, x)| *g += slope * x);
        }
        best = best.min(loss / cycles.len() as f64);
        let rate = if step < 25 { 30.0 } else { 6.0 } / cycles.len() as f64;
        weights.iter_mut().zip(gradient).for_each(|(w, g)| *w *= (-rate * g).exp());
        let sum: f64 = weights.iter().sum();
        weights = weights.map(|w| w / sum);
    }
    best
}

/// Mean losses of one scenario over the seeds.
#[derive(Default)]
struct Losses {
    average: f64,
    decay: f64,
    single: f64,
    mix: f64,
    log_odds_mix: f64,
    combined: f64,
    truth: f64,
}

fn measure(scenario: Scenario, overlapping: bool) -> Losses {
    let mut got = Losses::default();
    let share = 1.0 / SEEDS as f64;
    for seed in 1..=SEEDS {
        let cycles = generate(scenario, 1_000 * seed, overlapping);
        let average = |c: &Cycle| c.members.iter().sum::<f64>() / MEMBERS as f64;
        let single = |k: usize| mean_loss(&cycles, |c| c.members[k]);
        got.average += share * mean_loss(&cycles, average);
        got.decay += share * decay_rule_loss(&cycles);
        got.single += share * (0..MEMBERS).map(single).fold(f64::INFINITY, f64::min);
        got.mix += share * best_mix_loss(&cycles, false);
        got.log_odds_mix += share * best_mix_loss(&cycles, true);
        got.combined += share * combined_loss(&cycles);
        got.truth += share * mean_loss(&cycles, |c| c.truth);
    }
    println!(
        "{scenario:?}{}: average {:.4} decay {:.4} best single {:.4} best mix {:.4} \
         best log-odds mix {:.4} combined {:.4} truth {:.4}",
        if overlapping { " (overlapping)" } else { "" },
        got.average,
        got.decay,
        got.single,
        got.mix,
        got.log_odds_mix,
        got.combined,
        got.truth,
    );
    got
}

impl Losses {
    fn best_mix(&self) -> f64 {
        self.mix.min(self.log_odds_mix)
    }
}

/// What learning may cost over an hour against the best fixed mix in hindsight: labels that overlap
/// ten-fold carry a tenth of the information.
fn learning_cost(overlapping: bool) -> f64 {
    if overlapping { 0.004 } else { 0.002 }
}

#[test]
fn with_one_good_member_it_is_as_good_as_that_member() {
    for overlapping in [false, true] {
        let got = measure(Scenario::OneGood, overlapping);
        assert!(got.combined < got.best_mix() + learning_cost(overlapping));
        assert!(got.combined < got.average - 0.04);
        assert!(got.combined < got.decay - 0.04);
    }
}

#[test]
fn when_the_good_member_changes_it_beats_every_fixed_mix() {
    for overlapping in [false, true] {
        let got = measure(Scenario::Switching, overlapping);
        assert!(got.combined < got.best_mix() - 0.035);
        assert!(got.combined < got.single - 0.08);
        assert!(got.combined < got.decay - 0.035);
    }
}

#[test]
fn when_all_are_alike_it_is_as_good_as_the_average() {
    for overlapping in [false, true] {
        let got = measure(Scenario::Alike, overlapping);
        assert!(got.combined < got.average + 0.002);
        assert!(got.combined < got.best_mix() + learning_cost(overlapping));
        assert!(got.combined < got.single - 0.03);
    }
}

#[test]
fn when_the_best_breaks_it_finds_the_next_best() {
    for overlapping in [false, true] {
        let got = measure(Scenario::Breaking, overlapping);
        assert!(got.combined < got.best_mix() - 0.015);
        assert!(got.combined < got.average - 0.035);
        assert!(got.combined < got.decay - 0.035);
    }
}

#[test]
fn complementary_members_are_mixed_and_not_selected() {
    for overlapping in [false, true] {
        let got = measure(Scenario::Complementary, overlapping);
        assert!(got.combined < got.best_mix() + learning_cost(overlapping));
        assert!(got.combined < got.single - 0.02);
    }
}

#[test]
fn on_pure_noise_it_falls_back_to_the_base_rate() {
    for overlapping in [false, true] {
        let got = measure(Scenario::Noise, overlapping);
        // A coin costs ln 2 = 0.6931 nats.
        assert!(got.combined < std::f64::consts::LN_2 + 0.004);
        assert!(got.combined < got.best_mix());
    }
}

#[test]
fn recalibration_restores_what_mixing_two_halves_leaves_timid() {
    for overlapping in [false, true] {
        let (mut mixed_gain, mut final_gain, mut best_gain) = (0.0, 0.0, 0.0);
        for seed in 1..=SEEDS {
            let cycles = generate(Scenario::Complementary, 77 * seed, overlapping);
            let mut platt = Platt::new(PlattConfig::default()).expect("the defaults are valid");
            let weight = if overlapping { 1.0 / DELAY as f64 } else { 1.0 };
            play(&cycles, |i, forecast, matured| {
                if let Some((old, up)) = matured {
                    platt.learn(old.p_up, up, weight);
                }
                if i >= CYCLES / 6 {
                    let up = cycles[i].up;
                    mixed_gain += std::f64::consts::LN_2 - log_loss(forecast.p_up, up);
                    final_gain += std::f64::consts::LN_2 - log_loss(platt.apply(forecast.p_up), up);
                    best_gain += std::f64::consts::LN_2 - log_loss(cycles[i].truth, up);
                }
            });
            println!("slope {:.2}, offset {:.2}", platt.slope(), platt.offset());
        }
        let (mixed, recalibrated) = (mixed_gain / best_gain, final_gain / best_gain);
        println!("share of the truth's gain: mixed {mixed:.3}, recalibrated {recalibrated:.3}");
        assert!(mixed < 0.85, "the mixture alone is timid: {mixed}");
        assert!(recalibrated > if overlapping { 0.9 } else { 0.95 }, "{recalibrated}");
    }
}

#[test]
fn after_ten_minutes_it_is_near_the_truth_even_with_overlapping_labels() {
    // Minutes ten to twenty, recalibrated, as the daemon runs it; 6,000 labels are 600 independent
    // ones.
    for scenario in [Scenario::OneGood, Scenario::Complementary] {
        let (mut gain, mut best_gain) = (0.0, 0.0);
        for seed in 1..=2 * SEEDS {
            let cycles = generate(scenario, 501 * seed, true);
            let mut platt = Platt::new(PlattConfig::default()).expect("the defaults are valid");
            play(&cycles[..12_000], |i, forecast, matured| {
                if let Some((old, up)) = matured {
                    platt.learn(old.p_up, up, 1.0 / DELAY as f64);
                }
                if i >= 6_000 {
                    let up = cycles[i].up;
                    gain += std::f64::consts::LN_2 - log_loss(platt.apply(forecast.p_up), up);
                    best_gain += std::f64::consts::LN_2 - log_loss(cycles[i].truth, up);
                }
            });
        }
        let share = gain / best_gain;
        println!("{scenario:?}: share of the truth's gain, minutes 10 to 20: {share:.3}");
        assert!(share > 0.8, "{scenario:?}: {share}");
    }
}

#[test]
fn recalibration_of_calibrated_forecasts_costs_less_than_its_stated_bound() {
    for seed in 1..=5 {
        let cycles = generate(Scenario::Noise, 31 * seed, true);
        let mut platt = Platt::new(PlattConfig::default()).expect("the defaults are valid");
        let mut excess = 0.0;
        for (i, cycle) in cycles.iter().enumerate() {
            if i >= DELAY {
                let old = &cycles[i - DELAY];
                platt.learn(old.truth, old.up, 1.0 / DELAY as f64);
            }
            let p = platt.apply(cycle.truth);
            excess += log_loss(p, cycle.up) - log_loss(cycle.truth, cycle.up);
        }
        // ln(m) nats for each of m independent labels' worth, and one for chance, as in
        // `calibrate`.
        let independent = (CYCLES / DELAY) as f64;
        let bound = (independent.ln() + 1.0) / independent;
        let mean = excess / CYCLES as f64;
        println!("excess over the identity {mean:.5}, bound {bound:.5}");
        assert!(mean < bound);
    }
}

#[test]
fn members_that_sleep_cost_no_more_than_what_they_know() {
    // The good member is absent a third of the time, in spells of 100 cycles.
    let mut cycles = generate(Scenario::OneGood, 5, false);
    for (i, cycle) in cycles.iter_mut().enumerate() {
        if i / 100 % 3 == 0 {
            cycle.members[0] = f64::NAN;
        }
    }
    let awake = |c: &&Cycle| !c.members[0].is_nan();
    let known: Vec<Cycle> = cycles.iter().filter(awake).copied().collect();
    let (mut sums, mut counts) = ([0.0; 2], [0.0; 2]);
    play(&cycles, |i, forecast, _| {
        let present = usize::from(!cycles[i].members[0].is_nan());
        sums[present] += log_loss(forecast.p_up, cycles[i].up);
        counts[present] += 1.0;
        assert!(present == 1 || forecast.weights[0] == 0.0);
    });
    let (asleep, present) = (sums[0] / counts[0], sums[1] / counts[1]);
    println!("good member absent {asleep:.4}, present {present:.4}");
    assert!(present < mean_loss(&known, |c| c.truth) + 0.003);
    assert!(asleep < std::f64::consts::LN_2 + 0.006);
}

#[test]
fn each_rule_is_good_at_what_it_is_for() {
    const SCENARIOS: [Scenario; 6] = [
        Scenario::OneGood,
        Scenario::Switching,
        Scenario::Alike,
        Scenario::Breaking,
        Scenario::Complementary,
        Scenario::Noise,
    ];
    let rules = CombineRule::ALL;
    let column = |name: &str| rules.iter().position(|rule| rule.name() == name);
    let column = |name: &str| column(name).expect("a known name");
    let [ml_poly, mean, vote, median, stacking, fixed_share, boa] =
        ["ml-poly", "mean", "vote", "median", "stacking", "fixed-share", "boa"].map(column);
    println!("{:<28}{}", "", rules.map(|rule| format!("{:>12}", rule.name())).concat());
    for overlapping in [false, true] {
        for scenario in SCENARIOS {
            let mut loss = [0.0; CombineRule::ALL.len()];
            for seed in 1..=SEEDS {
                let cycles = generate(scenario, 1_000 * seed, overlapping);
                for (loss, rule) in loss.iter_mut().zip(rules) {
                    *loss += rule_loss(rule, &cycles) / SEEDS as f64;
                }
            }
            let name = format!("{scenario:?}{}", if overlapping { " (overlapping)" } else { "" });
            println!("{name:<28}{}", loss.map(|loss| format!("{loss:>12.4}")).concat());
            // Votes are no probabilities: unanimous ones that fail cost what the clip allows.
            assert!(loss[vote] > loss[mean], "{name}");
            match scenario {
                Scenario::OneGood => {
                    // Every rule that learns finds the one that knows; those that do not cannot.
                    for rule in [ml_poly, stacking, boa] {
                        assert!(loss[rule] < loss[mean] - 0.03, "{name}");
                        assert!(loss[rule] < loss[median] - 0.03, "{name}");
                    }
                }
                Scenario::Switching => {
                    assert!(loss[ml_poly] < loss[mean] - 0.03, "{name}");
                    // Sharing is made for switches; it takes prompt and independent labels.
                    assert!(overlapping || loss[fixed_share] < loss[boa] - 0.02, "{name}");
                }
                Scenario::Alike => {
                    // The best convex mix of equals is their average.
                    assert!(loss[ml_poly] < loss[mean] + 0.002, "{name}");
                    assert!(loss[boa] < loss[mean] + 0.004, "{name}");
                }
                Scenario::Breaking => {
                    assert!(loss[ml_poly] < loss[mean] - 0.03, "{name}");
                }
                Scenario::Complementary => {
                    // Evidence that adds up: no convex mix reaches coefficients that may exceed 1.
                    assert!(loss[stacking] < loss[ml_poly] - 0.005, "{name}");
                    assert!(loss[stacking] < loss[boa] - 0.005, "{name}");
                }
                Scenario::Noise => {
                    for rule in [ml_poly, boa, stacking] {
                        assert!(loss[rule] < loss[mean], "{name}");
                    }
                }
            }
        }
    }
}

#[test]
fn two_runs_give_the_same_bits() {
    let bits = || {
        let cycles = generate(Scenario::Switching, 11, true);
        let mut bits = Vec::with_capacity(CYCLES);
        play(&cycles, |_, forecast, _| bits.push(forecast.p_up.to_bits()));
        bits
    };
    assert_eq!(bits(), bits());
}
