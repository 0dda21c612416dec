//! The job the predictors are for, with a known best answer.
//!
//! Fifty features, each N(0, 1) and autocorrelated over about forty cycles; three of them add up to
//! a unit normal `u`; the label of a cycle is 1 with probability sigmoid(2 u). Labels of
//! neighbouring cycles overlap as outcomes over a ten-cycle horizon do: the uniform behind a label
//! is Φ of a ten-cycle moving sum of white noise, so each label is exactly Bernoulli yet only one
//! in ten is new. A label is known ten cycles later.

use purkinje_kernels::rng::Key;

pub(crate) const FEATURES: usize = 50;
pub(crate) const DELAY: u64 = 10;
const MEMORY_CYCLES: f64 = 40.0;
const LOADINGS: [(usize, f32); 3] = [(3, 0.7), (17, -0.5), (41, 0.509_902)];

/// One instrument's market.
pub(crate) struct Market {
    key: Key,
    cycle: u64,
    pub(crate) features: [f32; FEATURES],
    noise: [f32; DELAY as usize],
}

impl Market {
    pub(crate) fn new(seed: u64, instrument: u64) -> Self {
        let key = Key::new(seed).fork(instrument);
        let mut features = [0.0; FEATURES];
        for (k, feature) in features.iter_mut().enumerate() {
            *feature = key.fork(1).normal(k as u64);
        }
        let mut noise = [0.0; DELAY as usize];
        for (k, shock) in noise.iter_mut().enumerate() {
            *shock = key.fork(2).normal(k as u64);
        }
        Self { key, cycle: 0, features, noise }
    }

    /// Moves on one cycle; returns the true probability and the label.
    pub(crate) fn step(&mut self) -> (f64, f64) {
        self.cycle += 1;
        let keep = (-1.0 / MEMORY_CYCLES).exp() as f32;
        let fresh = (1.0 - keep * keep).sqrt();
        let draw = self.key.fork(3).fork(self.cycle);
        for (k, feature) in self.features.iter_mut().enumerate() {
            *feature = keep * *feature + fresh * draw.normal(k as u64);
        }
        self.noise[(self.cycle % DELAY) as usize] = draw.normal(1_000);
        let sum: f32 = self.noise.iter().sum();
        let u: f32 = LOADINGS.iter().map(|&(k, a)| a * self.features[k]).sum();
        let p = 1.0 / (1.0 + (-2.0 * u as f64).exp());
        let uniform = normal_cdf(sum as f64 / (DELAY as f64).sqrt());
        (p, f64::from(uniform < p))
    }
}

/// Φ by the logistic-free series of Abramowitz and Stegun 7.1.26 (absolute error below 1e-7).
fn normal_cdf(z: f64) -> f64 {
    let x = z.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736
                + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    let erf = 1.0 - poly * (-x * x).exp();
    if z < 0.0 { 0.5 * (1.0 - erf) } else { 0.5 * (1.0 + erf) }
}

/// Mean log loss of probabilities `p` against labels `y`.
pub(crate) fn log_loss(pairs: impl Iterator<Item = (f64, f64)>) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for (p, y) in pairs {
        let p = p.clamp(1e-9, 1.0 - 1e-9);
        sum -= y * p.ln() + (1.0 - y) * (1.0 - p).ln();
        n += 1.0;
    }
    sum / n
}

/// Refits slope and intercept of logit(p) by Newton's method and returns the log loss after it.
#[allow(dead_code)] // Each test binary uses its own part of this module.
pub(crate) fn recalibrated_log_loss(pairs: &[(f64, f64)]) -> f64 {
    let logit = |p: f64| {
        let p = p.clamp(1e-6, 1.0 - 1e-6);
        (p / (1.0 - p)).ln()
    };
    let apply = |a: f64, b: f64, p: f64| 1.0 / (1.0 + (-(a * logit(p) + b)).exp());
    let (mut a, mut b) = (0.0, 0.0);
    for _ in 0..20 {
        let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 1e-9, 0.0, 1e-9);
        for &(p, y) in pairs {
            let (x, q) = (logit(p), apply(a, b, p));
            ga += (y - q) * x;
            gb += y - q;
            let s = q * (1.0 - q);
            haa += s * x * x;
            hab += s * x;
            hbb += s;
        }
        let det = haa * hbb - hab * hab;
        a += (hbb * ga - hab * gb) / det;
        b += (haa * gb - hab * ga) / det;
    }
    log_loss(pairs.iter().map(|&(p, y)| (apply(a, b, p), y)))
}
