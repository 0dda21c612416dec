//! What each rule guarantees, on random and adversarial sequences, several seeds, prompt and late
//! labels.
//!
//! Bounds are proved for prompt labels. For labels `d` forecasts late they are compared with `d + 1`
//! times the bound of a run of `T / (d + 1)` labels, what `d + 1` interleaved copies would reach
//! (Joulani, György, Szepesvári, ICML 2013). Losses are log losses in nats, summed over the run.

mod random;

use std::collections::VecDeque;

use purkinje_strategies::calibrate::{logit, sigmoid};
use purkinje_strategies::combine::{CombineRule, Combiner, CombinerConfig, Forecast, MAX_MEMBERS};
use random::Random;

const MEMBERS: usize = 5;
/// Members, uniform average and base rate.
const EXPERTS: usize = MEMBERS + 2;
const LABELS: usize = 4_000;
const SEEDS: u64 = 4;
const LATE: [usize; 2] = [0, 10];
/// How often the best expert changes in the switching sequences, in labels.
const SPELL: usize = 500;

#[derive(Clone, Copy, Debug)]
enum Nature {
    /// Labels from a truth that each member sees with noise of its own.
    Noisy,
    /// One member knows the truth, another one every [`SPELL`] labels.
    Switching,
    /// Members at the ends of the clipped range, right and wrong by turns of different lengths.
    Extreme,
    /// The label is always the one that the combined forecast thinks less likely.
    Spiteful,
}

const NATURES: [Nature; 4] = [Nature::Noisy, Nature::Switching, Nature::Extreme, Nature::Spiteful];

fn log_loss(p: f64, up: bool) -> f64 {
    -(if up { p } else { 1.0 - p }).ln()
}

/// Plays one sequence and returns every forecast with its label. With `sleep`, members are absent in
/// spells.
fn play(
    rule: CombineRule,
    nature: Nature,
    seed: u64,
    late: usize,
    sleep: bool,
) -> Vec<(Forecast, bool)> {
    let mut rng = Random(seed);
    let mut combiner = Combiner::with_rule(MEMBERS, CombinerConfig::default(), rule)
        .expect("the default settings are valid");
    let mut pending: VecDeque<(Forecast, bool)> = VecDeque::with_capacity(late + 1);
    let mut played = Vec::with_capacity(LABELS);
    for i in 0..LABELS {
        if pending.len() > late
            && let Some((forecast, up)) = pending.pop_front()
        {
            combiner.learn(&forecast, up);
        }
        let truth = 3.0 * (rng.uniform() - 0.5);
        let label = rng.uniform() < sigmoid(truth);
        let mut p = [0.0; MEMBERS];
        for (k, p) in p.iter_mut().enumerate() {
            let noise = 3.0 * (rng.uniform() - 0.5);
            *p = match nature {
                Nature::Noisy | Nature::Spiteful => sigmoid(truth + 0.5 * k as f64 * noise),
                Nature::Switching if k == i / SPELL % MEMBERS => sigmoid(truth),
                Nature::Switching => sigmoid(noise),
                Nature::Extreme => f64::from(u8::from(label == (i / (7 << k)).is_multiple_of(2))),
            };
            if sleep && (i / 40 + k).is_multiple_of(3) {
                *p = f64::NAN;
            }
        }
        let forecast = combiner.predict(&p);
        let up = if matches!(nature, Nature::Spiteful) { forecast.p_up < 0.5 } else { label };
        played.push((forecast, up));
        pending.push_back((forecast, up));
    }
    played
}

/// Plays every sequence under `rule` with everybody awake.
fn each(rule: CombineRule, mut visit: impl FnMut(&str, usize, Nature, &[(Forecast, bool)])) {
    for nature in NATURES {
        for late in LATE {
            for seed in 1..=SEEDS {
                let name = format!("{} {nature:?} seed {seed} late {late}", rule.name());
                visit(&name, late, nature, &play(rule, nature, seed, late, false));
            }
        }
    }
}

/// P(up) of the experts: members, uniform average, base rate.
fn experts(forecast: &Forecast, in_log_odds: bool) -> [f64; EXPERTS] {
    let mut all = [0.0; EXPERTS];
    let value = |p: f64| if in_log_odds { logit(p) } else { p };
    for (expert, &p) in all.iter_mut().zip(&forecast.members[..MEMBERS]) {
        *expert = value(p);
    }
    all[MEMBERS] = all[..MEMBERS].iter().sum::<f64>() / MEMBERS as f64;
    all[MEMBERS + 1] = value(forecast.base_rate);
    all
}

fn total_loss(played: &[(Forecast, bool)]) -> f64 {
    played.iter().map(|(forecast, up)| log_loss(forecast.p_up, *up)).sum()
}

#[test]
fn the_mean_never_loses_more_than_its_members_do_on_average() {
    for nature in NATURES {
        let mut weights = [1.0; MAX_MEMBERS];
        weights[..3].copy_from_slice(&[3.0, 0.0, 0.5]);
        for (forecast, up) in play(CombineRule::Mean { weights }, nature, 1, 0, true) {
            let awake = (0..MEMBERS).filter(|k| forecast.awake >> k & 1 == 1);
            let (mut loss, mut total) = (0.0, 0.0);
            for k in awake {
                loss += weights[k] * log_loss(forecast.members[k], up);
                total += weights[k];
            }
            assert!(log_loss(forecast.p_up, up) <= loss / total + 1e-12);
        }
    }
}

#[test]
fn the_vote_errs_at_most_twice_as_often_as_its_members_do_on_average() {
    let rule: CombineRule = "vote".parse().expect("a known name");
    for nature in NATURES {
        for (forecast, up) in play(rule, nature, 1, 0, true) {
            // On the wrong side or at one half counts as an error, for a member half at one half.
            let wrong = |p: f64| p == 0.5 || (p > 0.5) != up;
            let mut against = 0.0;
            for k in (0..MEMBERS).filter(|k| forecast.awake >> k & 1 == 1) {
                let p = forecast.members[k];
                let share = if p == 0.5 { 0.5 } else { f64::from(u8::from(wrong(p))) };
                against += forecast.weights[k] * share;
            }
            assert!(f64::from(u8::from(wrong(forecast.p_up))) <= 2.0 * against + 1e-9);
        }
    }
}

#[test]
fn the_median_stays_among_the_sane_while_they_are_the_majority() {
    let combiner = Combiner::with_rule(MEMBERS, CombinerConfig::default(), CombineRule::Median)
        .expect("the default settings are valid");
    let mut rng = Random(3);
    for i in 0..10_000 {
        let mut p = [0.0; MEMBERS].map(|_: f64| 0.4 + 0.2 * rng.uniform());
        let (low, high) = (p[2..].iter().copied().fold(1.0, f64::min), p[2..].iter().copied());
        let high = high.fold(0.0, f64::max);
        for wild in &mut p[..2] {
            *wild = if i % 3 == 0 { rng.uniform() } else { f64::from(i % 2) };
        }
        let forecast = combiner.predict(&p);
        assert!((low..=high).contains(&forecast.p_up));
        let mixed: f64 = (0..MEMBERS).map(|k| forecast.weights[k] * forecast.members[k]).sum();
        assert!((mixed - forecast.p_up).abs() < 1e-12);
        assert!((forecast.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

#[test]
fn fixed_share_keeps_its_bound_against_the_best_expert_and_every_number_of_switches() {
    // No single copy can keep it where a member is right and wrong by turns as long as the delay:
    // the last test of this file holds that this is so.
    const RATE: f64 = 1e-3;
    // The smallest loss of a sequence of experts with m switches, for m up to this.
    const SWITCHES: usize = 12;
    let rule = CombineRule::FixedShare { switches_per_label: RATE };
    each(rule, |name, late, nature, played| {
        if late > 0 && matches!(nature, Nature::Extreme | Nature::Spiteful) {
            return;
        }
        let mut best = [[0.0; EXPERTS]; SWITCHES + 1];
        for (forecast, up) in played {
            let before = best;
            let p = experts(forecast, false);
            for m in 0..=SWITCHES {
                let least = |m: usize| before[m].iter().copied().fold(f64::INFINITY, f64::min);
                let switched = if m == 0 { f64::INFINITY } else { least(m - 1) };
                for k in 0..EXPERTS {
                    best[m][k] = before[m][k].min(switched) + log_loss(p[k], *up);
                }
            }
        }
        let loss = total_loss(played);
        let n = EXPERTS as f64;
        let copies = (late + 1) as f64;
        for (m, losses) in best.iter().enumerate() {
            let least = losses.iter().copied().fold(f64::INFINITY, f64::min);
            let kept = (LABELS as f64 / copies - 1.0 - m as f64).max(0.0);
            let bound = n.ln() + m as f64 * (n / RATE).ln() - kept * (1.0 - RATE).ln();
            let regret = loss - least;
            assert!(regret <= copies * bound, "{name}, {m} switches: {regret} over {bound}");
            if m == 0 || m == SWITCHES {
                println!("{name}, {m} switches: regret {regret:.1}, bound {:.1}", copies * bound);
            }
        }
    });
}

/// Loss of the best convex mix of the experts' log odds in hindsight: exponentiated gradient.
fn best_mix_loss(played: &[(Forecast, bool)]) -> f64 {
    let inputs: Vec<_> = played.iter().map(|(forecast, _)| experts(forecast, true)).collect();
    let (mut weights, mut best) = ([1.0 / EXPERTS as f64; EXPERTS], f64::INFINITY);
    for step in 0..200 {
        let (mut gradient, mut loss) = ([0.0; EXPERTS], 0.0);
        for (x, (_, up)) in inputs.iter().zip(played) {
            let p = sigmoid(weights.iter().zip(x).map(|(w, x)| w * x).sum());
            loss += log_loss(p, *up);
            let slope = p - f64::from(u8::from(*up));
            gradient.iter_mut().zip(x).for_each(|(g, x)| *g += slope * x);
        }
        best = best.min(loss);
        let size = gradient.iter().fold(1.0f64, |a, g| a.max(g.abs()));
        let rate = 2.0 / (size * (1.0 + f64::from(step)).sqrt());
        weights.iter_mut().zip(gradient).for_each(|(w, g)| *w *= (-rate * g).exp());
        let sum: f64 = weights.iter().sum();
        weights = weights.map(|w| w / sum);
    }
    best
}

#[test]
fn boa_and_the_default_keep_a_second_order_bound_against_the_best_convex_mix() {
    // The bound is boa's; that the layers of the default keep it, too, is measured, not proved.
    const FIRST_RANGE: f64 = 0.5;
    let hold = |name: &str, late: usize, nature: Nature, played: &[(Forecast, bool)]| {
        let (mut energy, mut range) = ([0.0; EXPERTS], FIRST_RANGE);
        for (forecast, up) in played {
            let gradient = forecast.p_up - f64::from(u8::from(*up));
            let mixed = logit(forecast.p_up);
            for (energy, x) in energy.iter_mut().zip(experts(forecast, true)) {
                let gain = gradient * (mixed - x);
                *energy += gain * gain;
                range = range.max(gain.abs());
            }
        }
        let (n, copies) = (EXPERTS as f64, (late + 1) as f64);
        let growth = 1.0 + (LABELS as f64 + 1.0).ln() + 2.0 * range / FIRST_RANGE;
        let c = 3.0 * n.ln() + (1.0 + n / (2.0 * std::f64::consts::E) * growth).ln();
        let largest = energy.iter().copied().fold(0.0, f64::max);
        // Interleaved copies share the squares; the sum of their roots is largest when it is even.
        let second_order = c / n.ln().sqrt() * (copies * (copies * range * range + largest)).sqrt();
        let bound = second_order + copies * (2.0 * c + 1.0) * range;
        let regret = total_loss(played) - best_mix_loss(played);
        println!("{name}: regret {regret:.1}, bound {bound:.1}");
        assert!(regret <= bound, "{name}: {regret} over {bound}");
        // The bound is loose on benign sequences; there the rule does far better.
        assert!(!matches!(nature, Nature::Noisy) || regret < 0.01 * LABELS as f64, "{name}");
    };
    each(CombineRule::Boa, hold);
    each(CombineRule::MlPoly, hold);
}

/// Loss of the best fixed deviations from the average, with their prior's penalty, in hindsight:
/// projected gradient descent with backtracking.
fn best_stack_loss(played: &[(Forecast, bool)], prior_sd: f64) -> f64 {
    const INPUTS: usize = MEMBERS + 1;
    let inputs: Vec<_> = played.iter().map(|(forecast, _)| experts(forecast, true)).collect();
    let evaluate = |d: &[f64; INPUTS]| {
        let mut gradient = d.map(|d| d / (prior_sd * prior_sd));
        let mut loss = d.map(|d| d * d / (2.0 * prior_sd * prior_sd)).iter().sum::<f64>();
        for (x, (_, up)) in inputs.iter().zip(played) {
            let input = |k: usize| if k == MEMBERS { x[MEMBERS + 1] } else { x[k] };
            let z = x[MEMBERS] + (0..INPUTS).map(|k| d[k] * input(k)).sum::<f64>();
            let margin = if *up { z } else { -z };
            loss += (-margin.abs()).exp().ln_1p() + (-margin).max(0.0);
            let slope = sigmoid(z) - f64::from(u8::from(*up));
            gradient.iter_mut().enumerate().for_each(|(k, g)| *g += slope * input(k));
        }
        (loss, gradient)
    };
    let (mut d, mut rate) = ([0.0; INPUTS], 1e-2);
    let (mut loss, mut gradient) = evaluate(&d);
    for _ in 0..150 {
        let mut next = d;
        for k in 0..INPUTS {
            next[k] = (d[k] - rate * gradient[k]).clamp(-10.0, 10.0);
        }
        let (found, slope) = evaluate(&next);
        if found < loss {
            (d, loss, gradient, rate) = (next, found, slope, 1.5 * rate);
        } else {
            rate *= 0.3;
        }
    }
    loss
}

#[test]
fn stacking_keeps_the_bound_of_the_bayesian_mixture_against_the_best_coefficients() {
    const PRIOR_SD: f64 = 1.0;
    let rule = CombineRule::Stacking { prior_sd: PRIOR_SD, memory_labels: 1e12, label_weight: 1.0 };
    each(rule, |name, late, _, played| {
        let squares = |(forecast, _): &(Forecast, bool)| {
            let x = experts(forecast, true);
            x[..MEMBERS].iter().map(|x| x * x).sum::<f64>() + x[MEMBERS + 1] * x[MEMBERS + 1]
        };
        let inputs = (MEMBERS + 1) as f64;
        let copies = (late + 1) as f64;
        let energy = played.iter().map(squares).sum::<f64>() / copies;
        let complexity = 0.5 * inputs * (1.0 + PRIOR_SD * PRIOR_SD * energy / (4.0 * inputs)).ln();
        // The penalty is part of the comparator's loss.
        let regret = total_loss(played) - best_stack_loss(played, PRIOR_SD);
        println!("{name}: regret {regret:.1}, bound {:.1}", copies * complexity);
        assert!(regret <= copies * complexity, "{name}: {regret} over {complexity}");
    });
}

#[test]
fn under_every_rule_sleepers_take_no_part_and_forecasts_are_probabilities() {
    for rule in CombineRule::ALL {
        let stacks = matches!(rule, CombineRule::Stacking { .. });
        for nature in NATURES {
            for late in LATE {
                for (forecast, _) in play(rule, nature, 9, late, true) {
                    assert!(forecast.p_up > 0.0 && forecast.p_up < 1.0, "{}", rule.name());
                    let mut sum = forecast.base_rate_weight;
                    for k in 0..MAX_MEMBERS {
                        let awake = forecast.awake >> k & 1 == 1;
                        assert!(awake || forecast.weights[k] == 0.0);
                        assert!(stacks || forecast.weights[k] >= 0.0);
                        sum += forecast.weights[k];
                    }
                    assert!(stacks || (sum - 1.0).abs() < 1e-9, "{}: {sum}", rule.name());
                }
            }
        }
    }
}

#[test]
fn under_every_rule_a_label_that_nobody_forecast_teaches_the_base_rate_alone() {
    for rule in CombineRule::ALL {
        let mut combiner = Combiner::with_rule(3, CombinerConfig::default(), rule)
            .expect("the default settings are valid");
        let mut rng = Random(17);
        for _ in 0..500 {
            let p = [0; 3].map(|_| rng.uniform());
            let forecast = combiner.predict(&p);
            combiner.learn(&forecast, rng.uniform() < p[0]);
        }
        let state = |combiner: &Combiner| {
            let forecast = combiner.predict(&[0.9, f64::NAN, 0.4]);
            // Moderation depends on the base rate, the ratio of coefficients does not.
            (forecast.weights[0] / forecast.weights[2], forecast.base_rate, combiner.learned())
        };
        let before = state(&combiner);
        combiner.learn(&combiner.predict(&[]), true);
        let after = state(&combiner);
        assert!((before.0 - after.0).abs() <= 1e-12 * before.0.abs(), "{}", rule.name());
        assert!(after.1 > before.1 && after.2 == before.2 + 1, "{}", rule.name());
    }
}

#[test]
fn under_every_rule_two_runs_give_the_same_bits() {
    for rule in CombineRule::ALL {
        let bits = || {
            let played = play(rule, Nature::Switching, 5, 10, true);
            played.iter().map(|(forecast, _)| forecast.p_up.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(bits(), bits(), "{}", rule.name());
    }
}

#[test]
fn late_labels_defeat_fixed_share_where_boa_and_the_default_hold() {
    // Members right and wrong by turns, some as long as the delay. A limitation, stated in the docs
    // of the rule: its update multiplies likelihoods, and stale ones point the wrong way.
    let excess = |rule: &str| {
        let rule = rule.parse().expect("a known name");
        let played = play(rule, Nature::Extreme, 1, 10, false);
        total_loss(&played) - LABELS as f64 * std::f64::consts::LN_2
    };
    let (share, boa, default) = (excess("fixed-share"), excess("boa"), excess("ml-poly"));
    println!("nats over a coin: fixed-share {share:.0}, boa {boa:.0}, ml-poly {default:.0}");
    assert!(share > 1_000.0);
    assert!(boa < 400.0 && default < 400.0);
}
