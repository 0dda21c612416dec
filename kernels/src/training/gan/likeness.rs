//! How alike generated paths are to real ones.
//!
//! Of each feature mean, standard deviation and lag-1 autocorrelation beside one another; and whether a
//! fresh classifier can tell windows of the one from windows of the other (the discriminative score of Yoon,
//! Jarrett and van der Schaar, 2019, here by logistic regression over each window's summary). The classifier
//! learns from the first half of the windows of each kind and is judged by the second, which of overlapping
//! windows keeps the halves apart but for their border.

use super::super::data::DataError;
use crate::logistic::{FEATURES_MAX, LogisticConfig, OnlineLogistic};
use crate::predictors::architecture::STEPS_MAX;

/// Fewest windows of each kind.
pub const WINDOWS_MIN: usize = 20;
/// Passes of the classifier over what it learns from.
const PASSES: usize = 3;
/// Numbers of a feature in a window's summary: its mean, spread, autocorrelation and correlation with the
/// feature before, and the squares of these.
const SUMMARIES: usize = 8;
/// Added to a variance before it divides.
const EPSILON: f64 = 1e-12;

/// One number of real windows and of generated ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// Of the data.
    pub real: f64,
    /// Of the generator.
    pub generated: f64,
}

/// How alike a feature is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FeatureLikeness {
    /// Mean over all steps of all windows.
    pub mean: Pair,
    /// Standard deviation over all steps of all windows.
    pub deviation: Pair,
    /// Correlation of a step with the next one of its window, -1 to 1.
    pub autocorrelation: Pair,
}

/// How alike windows are.
#[derive(Clone, Debug, PartialEq)]
pub struct Likeness {
    /// By feature.
    pub features: Vec<FeatureLikeness>,
    /// Largest difference of a correlation of two features, 0 to 2; 0 where there is one feature.
    pub correlation_gap: f64,
    /// Share of windows that the classifier was right about: 0.5 where it cannot tell them apart, 1 where it
    /// always can.
    pub accuracy: f64,
    /// Windows that it was judged by, half of them generated.
    pub judged: usize,
}

/// Windows of one kind, `[windows][steps][features]`.
#[derive(Clone, Copy)]
struct Windows<'a> {
    numbers: &'a [f32],
    steps: usize,
    features: usize,
}

impl<'a> Windows<'a> {
    fn each(self) -> std::slice::ChunksExact<'a, f32> {
        self.numbers.chunks_exact(self.steps * self.features)
    }

    fn count(self) -> usize {
        self.numbers.len() / (self.steps * self.features)
    }

    /// A feature's numbers, window by window.
    fn column(self, feature: usize) -> impl Iterator<Item = f64> + Clone + 'a {
        let steps = self.numbers.chunks_exact(self.features);
        steps.map(move |step| f64::from(step[feature]))
    }
}

/// Compares windows, `[windows][steps][features]` both.
///
/// # Errors
/// [`DataError::Shape`] where a slice is no whole number of windows or of less than [`WINDOWS_MIN`], or a
/// window has a single step or too many features for the classifier; [`DataError::Value`] where a number is
/// not finite.
pub fn compare(
    real: &[f32],
    generated: &[f32],
    steps: usize,
    features: usize,
) -> Result<Likeness, DataError> {
    check("features of a step", features, 1, FEATURES_MAX / SUMMARIES)?;
    check("steps of a window", steps, 2, STEPS_MAX)?;
    let pair = [("real windows", real), ("generated windows", generated)];
    for (what, numbers) in pair {
        let window = steps * features;
        if !numbers.len().is_multiple_of(window) || numbers.len() / window < WINDOWS_MIN {
            let expected = format!("{WINDOWS_MIN} or more whole windows of {window}");
            return Err(DataError::Shape { what, found: numbers.len(), expected });
        }
        if let Some(at) = numbers.iter().position(|x| !x.is_finite()) {
            let what = format!("feature {} of {what}, step", at % features);
            let (row, value) = (at / features, numbers[at]);
            return Err(DataError::Value { what, row, value, expected: "a finite number" });
        }
    }
    let [real, generated] = pair.map(|(_, numbers)| Windows { numbers, steps, features });
    let both = |of: &dyn Fn(Windows<'_>) -> f64| Pair { real: of(real), generated: of(generated) };
    let of_feature = |feature: usize| FeatureLikeness {
        mean: both(&|windows| moments(windows.column(feature)).0),
        deviation: both(&|windows| moments(windows.column(feature)).1.sqrt()),
        autocorrelation: both(&|windows| autocorrelation(windows, feature)),
    };
    let mut correlation_gap = 0.0_f64;
    for a in 0..features {
        for b in a + 1..features {
            let of = |w: Windows<'_>| correlation(w.column(a), w.column(b));
            correlation_gap = correlation_gap.max((of(real) - of(generated)).abs());
        }
    }
    let (accuracy, judged) = tell_apart(real, generated)?;
    Ok(Likeness {
        features: (0..features).map(of_feature).collect(),
        correlation_gap,
        accuracy,
        judged,
    })
}

fn check(what: &'static str, found: usize, least: usize, most: usize) -> Result<(), DataError> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(DataError::Shape { what, found, expected: format!("{least} to {most}") })
}

/// Mean and variance.
fn moments(numbers: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = numbers.clone().count() as f64;
    let mean = numbers.clone().sum::<f64>() / count;
    (mean, numbers.map(|x| (x - mean).powi(2)).sum::<f64>() / count)
}

/// 0 where one of them is constant.
fn correlation(a: impl Iterator<Item = f64> + Clone, b: impl Iterator<Item = f64> + Clone) -> f64 {
    let ((mean_a, variance_a), (mean_b, variance_b)) = (moments(a.clone()), moments(b.clone()));
    let count = a.clone().count() as f64;
    let product = a.zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b)).sum::<f64>() / count;
    product / (variance_a * variance_b).sqrt().max(EPSILON)
}

fn autocorrelation(windows: Windows<'_>, feature: usize) -> f64 {
    let (mean, variance) = moments(windows.column(feature));
    let (mut product, mut count) = (0.0, 0.0);
    for window in windows.each() {
        let at = |step: usize| f64::from(window[step * windows.features + feature]) - mean;
        for step in 1..windows.steps {
            product += at(step - 1) * at(step);
            count += 1.0;
        }
    }
    product / (count * variance).max(EPSILON)
}

/// What the classifier sees of a window.
fn summary(windows: Windows<'_>, window: &[f32]) -> Vec<f64> {
    let one = Windows { numbers: window, ..windows };
    let mut all = Vec::with_capacity(windows.features * SUMMARIES);
    for feature in 0..windows.features {
        let (mean, variance) = moments(one.column(feature));
        all.extend([mean, (variance + EPSILON).ln(), autocorrelation(one, feature)]);
        if feature > 0 {
            all.push(correlation(one.column(feature - 1), one.column(feature)));
        }
    }
    all
}

/// Share of windows that the classifier is right about, and their number.
fn tell_apart(real: Windows<'_>, generated: Windows<'_>) -> Result<(f64, usize), DataError> {
    let count = real.count().min(generated.count());
    let learned = count / 2;
    // Kinds in turn, so that the classifier forgets neither.
    let pairs = real.each().zip(generated.each());
    let mut samples: Vec<Vec<f64>> =
        pairs.flat_map(|(a, b)| [summary(real, a), summary(generated, b)]).collect();
    let width = samples[0].len();
    for column in 0..width {
        let (mean, variance) = moments(samples[..2 * learned].iter().map(|s| s[column]));
        for sample in &mut samples {
            sample[column] = (sample[column] - mean) / (variance + EPSILON).sqrt();
        }
    }
    // With squares, so that too narrow a spread tells, too; cut, so that no window outweighs all others.
    let samples: Vec<Vec<f32>> = samples
        .iter()
        .map(|s| s.iter().chain(s).enumerate().map(|(n, x)| shaped(n >= width, *x)).collect())
        .collect();
    let config = LogisticConfig { memory: f64::INFINITY, ..LogisticConfig::new(2 * width) };
    let refused = |e: &dyn ToString| DataError::Shape {
        what: "summaries of a window",
        found: 2 * width,
        expected: e.to_string(),
    };
    let mut classifier = OnlineLogistic::new(config).map_err(|e| refused(&e))?;
    for _ in 0..PASSES {
        for (n, sample) in samples[..2 * learned].iter().enumerate() {
            classifier.learn(sample, (n % 2) as f64, 1.0 / PASSES as f64);
        }
    }
    let judged = &samples[2 * learned..];
    let is_right =
        |(n, sample): (usize, &Vec<f32>)| (classifier.predict(sample) > 0.5) == (n % 2 == 1);
    let right = judged.iter().enumerate().filter(|s| is_right(*s)).count();
    Ok((right as f64 / judged.len() as f64, judged.len()))
}

/// A summary's place in the sample, as it is or squared.
fn shaped(is_square: bool, x: f64) -> f32 {
    let cut = x.clamp(-4.0, 4.0);
    (if is_square { cut * cut - 1.0 } else { cut }) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    const STEPS: usize = 10;

    /// Windows of two features: the first a process with a memory, the second leaning on it.
    fn windows(seed: u64, count: usize, memory: f32, lean: f32) -> Vec<f32> {
        let key = Key::new(seed);
        let mut all = Vec::new();
        for window in 0..count as u64 {
            let key = key.fork(window);
            let mut x = key.normal(0) / (1.0 - memory * memory).sqrt();
            for step in 0..STEPS as u64 {
                all.extend([x, lean * x + key.normal(2 * step + 1)]);
                x = memory * x + key.normal(2 * step + 2);
            }
        }
        all
    }

    #[test]
    fn windows_of_one_process_cannot_be_told_apart() {
        let found =
            compare(&windows(1, 2_000, 0.7, 0.5), &windows(2, 2_000, 0.7, 0.5), STEPS, 2).unwrap();
        // 99.9 % of shares of fair coins.
        let chance = 3.29 * 0.5 / (found.judged as f64).sqrt();
        assert!((found.accuracy - 0.5).abs() < chance, "{} ± {chance}", found.accuracy);
        assert_eq!(found.judged, 2_000);
        let [first, _] = &found.features[..] else { panic!("two features") };
        let exact = 1.0 / (1.0_f64 - 0.49).sqrt();
        for (pair, expected) in
            [(first.mean, 0.0), (first.deviation, exact), (first.autocorrelation, 0.7)]
        {
            assert!((pair.real - expected).abs() < 0.05, "{pair:?}, expected {expected}");
            assert!((pair.generated - expected).abs() < 0.05, "{pair:?}, expected {expected}");
        }
        assert!(found.correlation_gap < 0.03, "{}", found.correlation_gap);
    }

    #[test]
    fn each_way_to_differ_is_told() {
        let real = windows(1, 1_000, 0.7, 0.5);
        let scaled: Vec<f32> = windows(2, 1_000, 0.7, 0.5).iter().map(|x| 1.5 * x).collect();
        for (name, generated, least) in [
            ("another memory", windows(2, 1_000, 0.1, 0.5), 0.65),
            ("another lean", windows(2, 1_000, 0.7, -0.5), 0.65),
            ("another scale", scaled, 0.65),
            ("always the same window", windows(2, 1, 0.7, 0.5).repeat(1_000), 0.9),
        ] {
            let found = compare(&real, &generated, STEPS, 2).unwrap();
            println!("{name}: {}", found.accuracy);
            assert!(found.accuracy > least, "{name}: {}", found.accuracy);
        }
    }

    #[test]
    fn windows_that_cannot_be_compared_are_refused() {
        let real = windows(1, 30, 0.7, 0.5);
        let told = |generated: &[f32], steps, features| {
            compare(&real, generated, steps, features).unwrap_err().to_string()
        };
        assert_eq!(
            told(&real[1..], STEPS, 2),
            "generated windows: 599 numbers, expected 20 or more whole windows of 20"
        );
        assert!(told(&real[..380], STEPS, 2).contains("generated windows: 380 numbers"));
        assert_eq!(told(&real, 1, 2), "steps of a window: 1 numbers, expected 2 to 4096");
        let mut odd = real.clone();
        odd[5] = f32::NAN;
        let expected =
            "feature 1 of generated windows, step of row 2 = NaN: expected a finite number";
        assert_eq!(told(&odd, STEPS, 2), expected);
    }
}
