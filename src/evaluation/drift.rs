//! How far the inputs, and the answers, of the tested span are from those of the earlier rows.
//!
//! * Population stability index over the deciles of the earlier rows, Σ (q - p) · ln(q / p); by convention
//!   below 0.1 is stable and above 0.25 is a shift (Siddiqi, *Credit Risk Scorecards*, 2006). A share that
//!   is empty counts as [`SHARE_MIN`].
//! * Kolmogorov–Smirnov distance, the largest gap between the two distribution functions, 0 to 1. Rows
//!   overlap, so it is shown as a distance and not as a test.

/// Bins of the index.
const BINS: usize = 10;
/// Least share of a bin.
const SHARE_MIN: f64 = 1e-4;
/// Index from which a feature counts as shifted.
pub const SHIFTED: f64 = 0.25;

/// Distances of two samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distance {
    /// Population stability index.
    pub stability_index: f64,
    /// Kolmogorov–Smirnov distance.
    pub kolmogorov_smirnov: f64,
}

/// From an earlier sample to a later one, both finite and not empty; NaN where one is empty.
#[must_use]
pub fn distance(earlier: impl Iterator<Item = f32>, later: impl Iterator<Item = f32>) -> Distance {
    let (earlier, later) = (sorted(earlier), sorted(later));
    if earlier.is_empty() || later.is_empty() {
        return Distance { stability_index: f64::NAN, kolmogorov_smirnov: f64::NAN };
    }
    Distance {
        stability_index: stability_index(&earlier, &later),
        kolmogorov_smirnov: kolmogorov_smirnov(&earlier, &later),
    }
}

fn sorted(values: impl Iterator<Item = f32>) -> Vec<f32> {
    let mut values: Vec<f32> = values.collect();
    values.sort_unstable_by(f32::total_cmp);
    values
}

fn stability_index(earlier: &[f32], later: &[f32]) -> f64 {
    let decile = |k: usize| earlier[k * (earlier.len() - 1) / BINS];
    let mut edges: Vec<f32> = (1..BINS).map(decile).collect();
    // A value that is more than a tenth of all is one bin, not several.
    edges.dedup();
    // Up to and including an edge; the last bin ends nowhere.
    let below = |sample: &[f32], edge: Option<&f32>| {
        let count = edge.map_or(sample.len(), |edge| sample.partition_point(|x| x <= edge));
        count as f64 / sample.len() as f64
    };
    let (mut index, mut before) = (0.0, [0.0; 2]);
    for edge in edges.iter().map(Some).chain([None]) {
        let now = [below(earlier, edge), below(later, edge)];
        let [p, q] = [0, 1].map(|k| (now[k] - before[k]).max(SHARE_MIN));
        index += (q - p) * (q / p).ln();
        before = now;
    }
    index
}

fn kolmogorov_smirnov(earlier: &[f32], later: &[f32]) -> f64 {
    let (mut a, mut b, mut widest) = (0, 0, 0.0_f64);
    while a < earlier.len() && b < later.len() {
        let value = earlier[a].min(later[b]);
        // Past all that equal the value, on both sides: between equals there is no gap.
        a += earlier[a..].partition_point(|x| *x <= value);
        b += later[b..].partition_point(|x| *x <= value);
        let gap = a as f64 / earlier.len() as f64 - b as f64 / later.len() as f64;
        widest = widest.max(gap.abs());
    }
    widest
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_kernels::rng::Key;

    fn normals(seed: u64, n: u64, mean: f32) -> impl Iterator<Item = f32> {
        let key = Key::new(seed);
        (0..n).map(move |k| key.normal(k) + mean)
    }

    #[test]
    fn a_sample_has_no_distance_from_itself_and_little_from_its_like() {
        let same = distance(normals(1, 500, 0.0), normals(1, 500, 0.0));
        assert_eq!(same, Distance { stability_index: 0.0, kolmogorov_smirnov: 0.0 });
        let alike = distance(normals(1, 20_000, 0.0), normals(2, 20_000, 0.0));
        assert!(alike.stability_index < 0.01 && alike.kolmogorov_smirnov < 0.02, "{alike:?}");
    }

    #[test]
    fn a_shift_by_one_deviation_has_the_distance_that_theory_gives() {
        let found = distance(normals(1, 50_000, 0.0), normals(2, 50_000, 1.0));
        // 2 Φ(1/2) - 1 at the middle between the means.
        assert!((found.kolmogorov_smirnov - 0.382_9).abs() < 0.01, "{found:?}");
        // Over deciles a little less than the continuous divergence, which is the shift squared: 1.
        assert!((0.85..1.0).contains(&found.stability_index), "{found:?}");
    }

    #[test]
    fn few_distinct_values_and_constants_are_no_shift() {
        let signs = |n: u32| (0..n).map(|k| if k % 2 == 0 { 1.0 } else { -1.0 });
        let found = distance(signs(1_000), signs(400));
        assert!(found.stability_index < 1e-9 && found.kolmogorov_smirnov < 1e-9, "{found:?}");
        let found = distance([0.0; 50].into_iter(), [0.0; 70].into_iter());
        assert!(found.stability_index < 1e-9 && found.kolmogorov_smirnov == 0.0, "{found:?}");
        let found = distance([0.0; 50].into_iter(), [1.0; 70].into_iter());
        assert!(found.stability_index > SHIFTED && found.kolmogorov_smirnov == 1.0, "{found:?}");
        assert!(distance([].into_iter(), [1.0].into_iter()).kolmogorov_smirnov.is_nan());
    }
}
