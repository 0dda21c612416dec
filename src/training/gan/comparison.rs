//! How alike generated windows are to real ones that the pair never saw, and the number to hold it against:
//! how alike the windows are that it learned from.
//!
//! Whoever knew the training part by heart would come out as the training part does. Invariants: as many
//! windows of each kind, drawn by the seed and kept in the order of time, so that the classifier learns from
//! the earlier test windows and is judged by the later ones; at most [`WINDOWS_MAX`] of them and
//! [`NUMBERS_MAX`] numbers of each kind.

use purkinje_kernels::{
    rng::Key,
    training::{
        data::Dataset,
        gan::{
            generator::Generator,
            likeness::{FeatureLikeness, Likeness, Pair, WINDOWS_MIN, compare},
        },
        trainer::TrainError,
    },
};
use serde::Serialize;
use thiserror::Error;

use crate::evaluation::tables::Table;

/// Most windows of a kind.
pub const WINDOWS_MAX: usize = 1_000;
/// Most numbers of the windows of a kind.
pub const NUMBERS_MAX: usize = 1 << 24;
/// What the seed's streams are for; those of the training are others.
const TRAINING: u64 = 16;
const TEST: u64 = 17;
const GENERATED: u64 = 18;

/// A part has too few windows.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{part} windows: {found}, expected {WINDOWS_MIN} or more to judge likeness by")]
pub struct TooFewWindows {
    part: &'static str,
    found: usize,
}

/// Real windows, `[windows][steps][features]`, of both parts.
#[derive(Clone, Debug)]
pub struct Real {
    names: Vec<String>,
    steps: usize,
    windows: usize,
    training: Vec<f32>,
    test: Vec<f32>,
}

impl Real {
    /// Draws windows that end with some rows of both parts; names are those of the features.
    ///
    /// # Errors
    /// A part has less than [`WINDOWS_MIN`].
    pub fn draw(
        data: &Dataset<'_>,
        names: &[&str],
        steps: usize,
        [training, test]: [&[usize]; 2],
        seed: u64,
    ) -> Result<Self, TooFewWindows> {
        let features = data.inputs();
        for (part, rows) in [("training", training), ("test", test)] {
            if rows.len() < WINDOWS_MIN {
                return Err(TooFewWindows { part, found: rows.len() });
            }
        }
        let most = WINDOWS_MAX.min(NUMBERS_MAX / (steps * features)).max(WINDOWS_MIN);
        let windows = training.len().min(test.len()).min(most);
        let draw = |rows: &[usize], stream| {
            let mut numbers = Vec::with_capacity(windows * steps * features);
            for row in drawn(rows, windows, Key::new(seed).fork(stream)) {
                data.window(row, steps, &mut numbers);
            }
            numbers
        };
        let (training, test) = (draw(training, TRAINING), draw(test, TEST));
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(Self { names, steps, windows, training, test })
    }

    /// Holds a generator's paths, and the training part, against the test part.
    ///
    /// # Errors
    /// A path holds what is no number.
    pub fn compare(&self, generator: &Generator, seed: u64) -> Result<Comparison, TrainError> {
        let seed = Key::new(seed).fork(GENERATED).word(0);
        let paths = generator.paths(self.windows, seed)?;
        let to_test = |other: &[f32]| compare(&self.test, other, self.steps, self.names.len());
        Ok(Comparison {
            windows: self.windows,
            steps: self.steps,
            names: self.names.clone(),
            generated: to_test(&paths)?,
            training: to_test(&self.training)?,
        })
    }
}

/// So many of the rows, each as likely as any other, in their order (Fisher and Yates, by Durstenfeld).
fn drawn(rows: &[usize], count: usize, key: Key) -> Vec<usize> {
    let mut all = rows.to_vec();
    for i in 0..count {
        let other = i + key.below(i as u64, (all.len() - i) as u32) as usize;
        all.swap(i, other);
    }
    all.truncate(count);
    all.sort_unstable();
    all
}

/// Likeness to the test windows.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Windows of each kind.
    pub windows: usize,
    /// Steps of a window.
    pub steps: usize,
    names: Vec<String>,
    /// Of generated windows.
    pub generated: Likeness,
    /// Of windows of the training part.
    pub training: Likeness,
}

/// One figure of three kinds of windows.
#[derive(Serialize)]
struct Three {
    test: f64,
    generated: f64,
    training: f64,
}

/// One figure of likeness to the test windows.
#[derive(Serialize)]
struct Two {
    generated: f64,
    training: f64,
}

#[derive(Serialize)]
struct Feature<'a> {
    name: &'a str,
    mean: Three,
    deviation: Three,
    autocorrelation: Three,
}

/// `likeness.json`.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    windows: usize,
    steps: usize,
    judged: usize,
    told_apart: Two,
    correlation_gap: Two,
    features: Vec<Feature<'a>>,
}

/// How far a feature of other windows is from that of the test windows.
type Gap = fn(&FeatureLikeness) -> f64;

impl Comparison {
    /// All figures.
    pub(super) fn report(&self) -> Report<'_> {
        let Self { generated, training, .. } = self;
        let two =
            |of: fn(&Likeness) -> f64| Two { generated: of(generated), training: of(training) };
        let feature = |n: usize| {
            let three = |of: fn(&FeatureLikeness) -> Pair| {
                let (made, learned) = (of(&generated.features[n]), of(&training.features[n]));
                Three { test: made.real, generated: made.generated, training: learned.generated }
            };
            Feature {
                name: &self.names[n],
                mean: three(|f| f.mean),
                deviation: three(|f| f.deviation),
                autocorrelation: three(|f| f.autocorrelation),
            }
        };
        Report {
            windows: self.windows,
            steps: self.steps,
            judged: generated.judged,
            told_apart: two(|likeness| likeness.accuracy),
            correlation_gap: two(|likeness| likeness.correlation_gap),
            features: (0..generated.features.len()).map(feature).collect(),
        }
    }

    /// The figures as lines for people. A feature that is constant in the test part has no scale to tell a
    /// gap by; it is left out and counted.
    #[must_use]
    pub fn text(&self) -> String {
        let kinds = [&self.generated, &self.training];
        let varied: Vec<usize> = (0..self.generated.features.len())
            .filter(|n| self.generated.features[*n].deviation.real > 0.0)
            .collect();
        let constant = self.generated.features.len() - varied.len();
        let one = |name: &str, of: &dyn Fn(&Likeness) -> String| {
            let [generated, training] = kinds.map(of);
            vec![name.to_owned(), generated, String::new(), training, String::new()]
        };
        let gap = |name: &str, of: Gap| {
            let cells = kinds.map(|likeness| {
                let mut gaps: Vec<(f64, usize)> =
                    varied.iter().map(|n| (of(&likeness.features[*n]), *n)).collect();
                gaps.sort_by(|a, b| a.0.total_cmp(&b.0));
                let Some((worst, feature)) = gaps.last() else {
                    return [String::new(), String::new()];
                };
                let median = gaps[gaps.len() / 2].0;
                [format!("{median:.2}"), format!("{worst:.2} {}", self.names[*feature])]
            });
            std::iter::once(name.to_owned()).chain(cells.into_iter().flatten()).collect()
        };
        let head = ["unlike the test part", "generated", "worst", "training part", "worst"];
        let table = Table {
            head: head.map(str::to_owned).to_vec(),
            rows: vec![
                one("windows told apart, %", &|l| format!("{:.1}", l.accuracy * 100.0)),
                gap("mean, standard deviations", |f| {
                    (f.mean.generated - f.mean.real).abs() / f.deviation.real
                }),
                gap("standard deviation, factor", |f| {
                    let factor = f.deviation.generated / f.deviation.real;
                    factor.max(1.0 / factor)
                }),
                gap("autocorrelation, difference", |f| {
                    (f.autocorrelation.generated - f.autocorrelation.real).abs()
                }),
                one("largest difference of correlations", &|l| format!("{:.2}", l.correlation_gap)),
            ],
            is_text: false,
        };
        let left_out = match constant {
            0 => String::new(),
            n => format!(", without {n} that are constant"),
        };
        format!(
            "{}[{} windows of {} steps of each kind; told apart by logistic regression, which guesses at 50, on \
             {} that it did not learn from; features: median and worst{left_out}]",
            table.text(),
            self.windows,
            self.steps,
            self.generated.judged,
        )
    }
}

#[cfg(test)]
mod tests {
    use purkinje_kernels::training::data::Rows;

    use super::*;

    #[test]
    fn drawn_rows_are_some_of_them_in_their_order_and_the_seed_decides_which() {
        let rows: Vec<usize> = (100..1_100).collect();
        let some = drawn(&rows, 50, Key::new(1));
        assert_eq!(some.len(), 50);
        assert!(some.is_sorted_by(|a, b| a < b) && some.iter().all(|row| rows.contains(row)));
        assert_eq!(drawn(&rows, 50, Key::new(1)), some);
        assert_ne!(drawn(&rows, 50, Key::new(2)), some);
        // Of all rows, and not of the first ones.
        assert!(some[0] < 300 && some[49] > 900, "{some:?}");
        assert_eq!(drawn(&rows, 1_000, Key::new(1)), rows);
    }

    #[test]
    fn a_part_with_too_few_windows_is_named() {
        let features = vec![0.5; 100];
        let (streams, labels) = (vec![0; 100], vec![None; 100]);
        let rows = Rows {
            inputs: 1,
            features: &features,
            streams: &streams,
            labels: &labels,
            weights: &[],
        };
        let data = Dataset::new(rows).unwrap();
        let [all, few] = [(5..95).collect::<Vec<_>>(), (5..15).collect()];
        let told = Real::draw(&data, &["spread"], 3, [&all, &few], 1).unwrap_err().to_string();
        assert_eq!(told, "test windows: 10, expected 20 or more to judge likeness by");
        let told = Real::draw(&data, &["spread"], 3, [&few, &all], 1).unwrap_err().to_string();
        assert!(told.starts_with("training windows: 10"), "{told}");
        assert_eq!(Real::draw(&data, &["spread"], 3, [&all, &all[..30]], 1).unwrap().windows, 30);
    }

    fn likeness(deviation: Pair, accuracy: f64) -> Likeness {
        let same = Pair { real: 2.0, generated: 2.0 };
        let feature = FeatureLikeness { mean: same, deviation, autocorrelation: same };
        let constant = Pair { real: 0.0, generated: 0.0 };
        let flat = FeatureLikeness { mean: same, deviation: constant, autocorrelation: constant };
        Likeness { features: vec![feature, flat], correlation_gap: 0.25, accuracy, judged: 40 }
    }

    #[test]
    fn the_table_tells_the_worst_feature_and_leaves_constant_ones_out() {
        let comparison = Comparison {
            windows: 40,
            steps: 5,
            names: vec!["spread".to_owned(), "depth".to_owned()],
            generated: likeness(Pair { real: 2.0, generated: 1.0 }, 0.775),
            training: likeness(Pair { real: 2.0, generated: 3.0 }, 0.5),
        };
        let text = comparison.text();
        for line in [
            "windows told apart, %                     77.5           50.0",
            "standard deviation, factor  2.00  2.00 spread  1.50  1.50 spread",
        ] {
            let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(squeezed(&text).contains(&squeezed(line)), "{line:?} is not in {text}");
        }
        assert!(text.contains("median and worst, without 1 that are constant]"), "{text}");
    }
}
