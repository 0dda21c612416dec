//! Convergence, robustness and bounds of the normaliser on seeded streams.

use super::*;
use crate::random::Random;

fn cauchy(rng: &mut Random) -> f64 {
    (std::f64::consts::PI * (rng.uniform() - 0.5)).tan()
}

/// Zero nine times in ten, else standard normal.
fn sparse(rng: &mut Random) -> f64 {
    if rng.uniform() < 0.9 { 0.0 } else { rng.normal() }
}

fn normaliser(kind: NormaliserKind) -> Normaliser {
    Normaliser::new(kind, 1, &NormaliserConfig::default()).unwrap()
}

fn feed(normaliser: &mut Normaliser, value: f64) -> f32 {
    let mut out = [f32::NAN];
    normaliser.apply(&[value as f32], &mut out);
    assert!(out[0].is_finite());
    out[0]
}

/// Mean estimates over the second half of 40,000 values.
fn converged(mut draw: impl FnMut() -> f64) -> (f64, f64) {
    let mut normaliser = normaliser(NormaliserKind::RobustZ);
    let (mut location, mut scale) = (0.0, 0.0);
    for step in 0..40_000 {
        feed(&mut normaliser, draw());
        if step >= 20_000 {
            let (m, s) = normaliser.location_and_scale(0).unwrap();
            location += m / 20_000.0;
            scale += s / 20_000.0;
        }
    }
    println!("location {location:.4} scale {scale:.4}");
    (location, scale)
}

const NORMAL_MAD: f64 = 0.674_489_75;

#[test]
fn median_and_mad_of_a_gaussian_are_found_within_three_percent_of_sigma() {
    let mut rng = Random(1);
    let (location, scale) = converged(|| 7.0 + 2.0 * rng.normal());
    assert!((location - 7.0).abs() < 0.06, "{location}");
    assert!((scale / (2.0 * NORMAL_MAD) - 1.0).abs() < 0.03, "{scale}");
}

#[test]
fn median_and_mad_of_a_cauchy_are_found_within_five_percent() {
    // No mean, no variance; median 0 and MAD 1.
    let mut rng = Random(2);
    let (location, scale) = converged(|| cauchy(&mut rng));
    assert!(location.abs() < 0.05, "{location}");
    assert!((scale - 1.0).abs() < 0.05, "{scale}");
}

#[test]
fn a_skewed_distribution_is_centred_on_its_median() {
    // Exponential: median ln 2; MAD solves sinh(s) = 1/2.
    let mut rng = Random(3);
    let (location, scale) = converged(|| -rng.uniform().ln());
    assert!((location - 2.0_f64.ln()).abs() < 0.05, "{location}");
    assert!((scale - 0.5_f64.asinh()).abs() < 0.03, "{scale}");
}

#[test]
fn the_scale_of_a_sparse_feature_is_that_of_its_excursions() {
    let mut rng = Random(4);
    let (location, scale) = converged(|| sparse(&mut rng));
    assert!(location.abs() < 0.01, "{location}");
    assert!((scale / NORMAL_MAD - 1.0).abs() < 0.1, "{scale}");
}

#[test]
fn even_one_excursion_in_a_hundred_keeps_its_scale() {
    let mut rng = Random(5);
    let (_, scale) = converged(|| if rng.uniform() < 0.99 { 0.0 } else { 4.0 * rng.normal() });
    assert!((scale / (4.0 * NORMAL_MAD) - 1.0).abs() < 0.25, "{scale}");
}

#[test]
fn normalised_gaussian_values_have_unit_spread() {
    let mut normaliser = normaliser(NormaliserKind::RobustZ);
    let mut rng = Random(6);
    let values: Vec<f64> =
        (0..20_000).map(|_| feed(&mut normaliser, 1e5 + 300.0 * rng.normal()).into()).collect();
    let warm = &values[2_000..];
    let mean = warm.iter().sum::<f64>() / warm.len() as f64;
    let variance = warm.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / warm.len() as f64;
    println!("mean {mean:.4} variance {variance:.4}");
    assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.08, "mean {mean} variance {variance}");
}

#[test]
fn a_drift_is_followed_at_the_lag_of_the_memory() {
    // One sigma each memory: the lag is about one sigma (see the step of the location).
    let mut normaliser = normaliser(NormaliserKind::RobustZ);
    let mut rng = Random(7);
    let memory = f64::from(NormaliserConfig::default().memory_cycles);
    let (mut lag, steps) = (0.0, 60_000);
    for step in 0..steps {
        let centre = f64::from(step) / memory;
        feed(&mut normaliser, centre + rng.normal());
        if step >= steps / 2 {
            lag += centre - normaliser.location_and_scale(0).unwrap().0;
        }
    }
    lag /= f64::from(steps / 2);
    println!("lag {lag:.3} sigma");
    assert!((0.5..1.5).contains(&lag), "{lag}");
}

#[test]
fn a_scale_that_falls_or_rises_a_hundredfold_is_found_again() {
    for factor in [0.01, 100.0] {
        let mut normaliser = normaliser(NormaliserKind::RobustZ);
        let mut rng = Random(8);
        for _ in 0..5_000 {
            feed(&mut normaliser, rng.normal());
        }
        for _ in 0..40_000 {
            feed(&mut normaliser, factor * rng.normal());
        }
        let (_, scale) = normaliser.location_and_scale(0).unwrap();
        assert!((scale / (factor * NORMAL_MAD) - 1.0).abs() < 0.15, "{scale} for {factor}");
    }
}

#[test]
fn one_outlier_does_not_break_what_follows() {
    for (kind, tolerance) in [(NormaliserKind::RobustZ, 0.1), (NormaliserKind::MinMax, 0.7)] {
        for at in [5_usize, 100, 128, 129, 1_000] {
            let (mut hit, mut spared) = (normaliser(kind), normaliser(kind));
            let (mut rng, mut worst) = (Random(9), 0.0_f32);
            for step in 0..3_000 {
                let value = rng.normal();
                let a = feed(&mut hit, if step == at { 1e9 } else { value });
                let b = feed(&mut spared, value);
                if step != at {
                    worst = worst.max((a - b).abs());
                }
                if step == at && step >= 128 {
                    assert_eq!(a, if kind == NormaliserKind::RobustZ { 5.0 } else { 1.0 });
                }
            }
            println!("{kind:?}, outlier at {at}: worst change {worst}");
            assert!(worst < tolerance, "{kind:?} at {at}: {worst}");
        }
    }
}

#[test]
fn min_max_fills_its_range_and_forgets_an_outlier() {
    let mut normaliser = normaliser(NormaliserKind::MinMax);
    let mut rng = Random(10);
    let mut reached = (0.0_f32, 0.0_f32);
    for step in 0..30_000 {
        let value = if step == 2_000 { 1e9 } else { 5.0 + rng.normal() };
        let place = feed(&mut normaliser, value);
        if step > 15_000 {
            reached = (reached.0.min(place), reached.1.max(place));
        }
    }
    assert!(reached.0 < -0.9 && reached.1 > 0.9, "{reached:?}");
}

#[test]
fn a_constant_feature_is_zero_even_when_its_first_excursion_is_absurd() {
    for kind in [NormaliserKind::RobustZ, NormaliserKind::MinMax] {
        let mut normaliser = normaliser(kind);
        for step in 0..1_000 {
            let value = if step == 500 { 1e9 } else { 42.0 };
            assert_eq!(feed(&mut normaliser, value), 0.0, "{kind:?} at {step}");
        }
    }
}

#[test]
fn a_breathing_tick_counts_as_constant() {
    // One tick in basis points, as the price wanders by a hundredth of a percent.
    let mut normaliser = normaliser(NormaliserKind::RobustZ);
    let mut rng = Random(11);
    for _ in 0..2_000 {
        let z = feed(&mut normaliser, 0.16 * (1.0 + 1e-4 * rng.normal()));
        assert!(z.abs() < 0.6, "{z}");
    }
}

#[test]
fn nothing_comes_out_before_the_warm_up_and_a_value_is_not_its_own_yardstick() {
    for kind in [NormaliserKind::RobustZ, NormaliserKind::MinMax] {
        let mut normaliser = normaliser(kind);
        let mut rng = Random(12);
        for step in 0..128 {
            assert!(!normaliser.warm());
            assert_eq!(feed(&mut normaliser, rng.normal()), 0.0, "{kind:?} at {step}");
        }
        assert!(normaliser.warm());
        // Every output follows from the location and scale as they were before the value came.
        for step in 0..2_000 {
            let (location, scale) = normaliser.location_and_scale(0).unwrap();
            let value = 3.0 * rng.normal() as f32;
            let (unit, clip) = match kind {
                NormaliserKind::RobustZ => (1.482_602_2 * scale, 5.0),
                NormaliserKind::MinMax => (scale, 1.0),
            };
            let expected = ((f64::from(value) - location) / unit).clamp(-clip, clip);
            let got = f64::from(feed(&mut normaliser, value.into()));
            assert!((got - expected).abs() < 1e-6, "{kind:?} at {step}: {got}, not {expected}");
        }
    }
}

#[test]
fn values_that_are_not_numbers_are_counted_and_not_learnt() {
    let (mut hit, mut spared) =
        (normaliser(NormaliserKind::RobustZ), normaliser(NormaliserKind::RobustZ));
    let mut rng = Random(13);
    for step in 0..1_000 {
        if step % 3 == 0 {
            assert_eq!(feed(&mut hit, f64::NAN), 0.0);
            assert_eq!(feed(&mut hit, f64::INFINITY), 0.0);
        }
        let value = rng.normal();
        assert_eq!(feed(&mut hit, value), feed(&mut spared, value));
    }
    assert_eq!(hit.rejected(), 668);
}

#[test]
fn the_widest_finite_values_stay_finite() {
    for kind in [NormaliserKind::RobustZ, NormaliserKind::MinMax] {
        let mut normaliser = normaliser(kind);
        for step in 0..1_000 {
            let value = f64::from([f32::MAX, f32::MIN, f32::MIN_POSITIVE, 0.0][step % 4]);
            assert!(feed(&mut normaliser, value).abs() <= 5.0);
        }
    }
}

#[test]
fn a_fixed_scale_works_from_the_first_value_on() {
    let scales = [Scale::Fixed { gain: 2.0 }, Scale::Adaptive];
    let config = NormaliserConfig::default();
    let mut out = [f32::NAN; 2];
    let mut z = Normaliser::with_scales(NormaliserKind::RobustZ, &scales, &config).unwrap();
    z.apply(&[0.5, 0.5], &mut out);
    assert_eq!(out, [1.0, 0.0]);
    z.apply(&[-100.0, 0.5], &mut out);
    assert_eq!(out, [-5.0, 0.0]);
    let mut place = Normaliser::with_scales(NormaliserKind::MinMax, &scales, &config).unwrap();
    place.apply(&[0.5, 0.5], &mut out);
    assert_eq!(out, [0.5, 0.0]);
    assert_eq!((place.location_and_scale(0), place.location_and_scale(9)), (None, None));
}

#[test]
fn time_constants_out_of_range_are_refused_by_name() {
    let build = |warm_up_cycles, memory_cycles| {
        let config = NormaliserConfig { warm_up_cycles, memory_cycles };
        Normaliser::new(NormaliserKind::MinMax, 3, &config).map(|_| ())
    };
    assert_eq!(build(80, 80), Ok(()));
    assert_eq!(
        build(79, 3_000).unwrap_err().to_string(),
        "warm_up_cycles is 79: expected 80 to 4096"
    );
    assert_eq!(
        build(100, 99).unwrap_err().to_string(),
        "memory_cycles is 99: expected at least warm_up_cycles, 100"
    );
}

#[test]
fn a_centred_feature_keeps_its_zero_and_learns_its_scale_under_a_lasting_tilt() {
    let config = NormaliserConfig { warm_up_cycles: 80, memory_cycles: 500 };
    for kind in [NormaliserKind::RobustZ, NormaliserKind::MinMax] {
        let mut normaliser =
            Normaliser::with_scales(kind, &[Scale::Centred, Scale::Adaptive], &config).unwrap();
        let mut out = [0.0; 2];
        // Ten thousand values between 0.5 and 0.7, then balance.
        for n in 0..10_000 {
            let value = 0.5 + 0.2 * (n % 11) as f32 / 10.0;
            normaliser.apply(&[value; 2], &mut out);
        }
        assert!(out[0] > 0.5, "{kind:?}: a tilt to the bid is one for good, {out:?}");
        let (location, scale) = normaliser.location_and_scale(0).unwrap();
        assert_eq!(location, 0.0);
        assert!((0.4..1.0).contains(&scale), "{kind:?}: {scale}");
        normaliser.apply(&[0.0; 2], &mut out);
        assert_eq!(out[0], 0.0, "{kind:?}");
        assert!(out[1] <= -1.0, "{kind:?}: what a learnt location makes of it, {out:?}");
    }
}
