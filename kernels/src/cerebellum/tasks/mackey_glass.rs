//! The Mackey-Glass series six samples ahead: what adaptive filters and networks have been compared
//! by since Jang ("ANFIS: adaptive-network-based fuzzy inference system", IEEE Trans. Syst. Man
//! Cybern. 23, 1993).
//!
//! dx/dt = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x (Mackey and Glass, Science 197, 1977). Four taps
//! six apart predict the value six ahead; 500 rows train, the next 500 test. The score is the NDEI:
//! the root mean square error over the target's standard deviation, 1 for the mean of the target.

use super::regressor::Regressor;

/// Rows to train on, and as many to test on.
pub const ROWS: usize = 500;
/// Samples ahead.
pub const AHEAD: usize = 6;
/// Ages of the taps, samples.
pub const TAPS: [usize; 4] = [18, 12, 6, 0];
/// The sample of the first row's youngest tap.
const FIRST: usize = 118;

/// Rows of taps and what follows them, all scaled to [0, 1] by the range of the series.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Taps, oldest first.
    pub taps: Vec<[f32; 4]>,
    /// The values six ahead.
    pub targets: Vec<f32>,
}

/// x(t) for t = 0, 1, … `samples` by fourth-order Runge-Kutta steps of 0.1 from x(0) = 1.2 after
/// zeros.
pub fn series(samples: usize) -> Vec<f64> {
    let (h, lag) = (0.1, 170);
    let mut x = vec![0.0; lag];
    x.push(1.2);
    let slope = |x: f64, delayed: f64| 0.2 * delayed / (1.0 + delayed.powi(10)) - 0.1 * x;
    for k in lag..lag + 10 * samples {
        let (early, late) = (x[k - lag], x[k - lag + 1]);
        let middle = 0.5 * (early + late);
        let k1 = slope(x[k], early);
        let k2 = slope(x[k] + 0.5 * h * k1, middle);
        let k3 = slope(x[k] + 0.5 * h * k2, middle);
        let k4 = slope(x[k] + h * k3, late);
        x.push(x[k] + h / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4));
    }
    x.into_iter().skip(lag).step_by(10).collect()
}

/// The training rows, then the test rows.
pub fn rows() -> [Rows; 2] {
    let rows = FIRST..FIRST + 2 * ROWS;
    let x = series(rows.end + AHEAD);
    let used = &x[FIRST - TAPS[0]..rows.end + AHEAD];
    let low = used.iter().copied().fold(f64::INFINITY, f64::min);
    let high = used.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let unit = |t: usize| ((x[t] - low) / (high - low)) as f32;
    [rows.start..rows.start + ROWS, rows.start + ROWS..rows.end].map(|rows| Rows {
        taps: rows.clone().map(|t| TAPS.map(|age| unit(t - age))).collect(),
        targets: rows.map(|t| unit(t + AHEAD)).collect(),
    })
}

/// Root mean square error over the standard deviation of the targets.
///
/// # Panics
/// When there are not as many forecasts as targets.
pub fn ndei(forecasts: &[f32], targets: &[f32]) -> f32 {
    assert_eq!(forecasts.len(), targets.len(), "a forecast a target");
    let mean = targets.iter().sum::<f32>() / targets.len() as f32;
    let variance: f32 = targets.iter().map(|y| (y - mean).powi(2)).sum();
    let error: f32 = forecasts.iter().zip(targets).map(|(p, y)| (p - y).powi(2)).sum();
    (error / variance).sqrt()
}

/// One pass of online learning over the rows: each is forecast, then its outcome is told.
pub fn learn(regressor: &mut Regressor, rows: &Rows) {
    for (taps, target) in rows.taps.iter().zip(&rows.targets) {
        let forecast = regressor.present(taps);
        regressor.teach(target - forecast);
    }
}

/// The score on the rows with learning off.
pub fn test(regressor: &mut Regressor, rows: &Rows) -> f32 {
    regressor.set_learning(false);
    let forecasts: Vec<f32> = rows.taps.iter().map(|taps| regressor.present(taps)).collect();
    regressor.set_learning(true);
    ndei(&forecasts, &rows.targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn persistence_scores_what_it_was_measured_to_elsewhere() {
        let [_, test] = rows();
        let last: Vec<f32> = test.taps.iter().map(|taps| taps[3]).collect();
        let score = ndei(&last, &test.targets);
        assert!((score - 0.813).abs() < 0.002, "{score}");
    }

    #[test]
    fn targets_are_the_youngest_tap_six_rows_on() {
        let [train, test] = rows();
        for k in 0..ROWS - AHEAD {
            assert_eq!(train.targets[k], train.taps[k + AHEAD][3]);
            assert_eq!(test.targets[k], test.taps[k + AHEAD][3]);
        }
        assert_eq!(train.targets[ROWS - AHEAD], test.taps[0][3]);
    }

    #[test]
    fn the_mean_of_the_targets_scores_one() {
        assert_eq!(ndei(&[2.0; 4], &[1.0, 3.0, 1.0, 3.0]), 1.0);
    }
}
