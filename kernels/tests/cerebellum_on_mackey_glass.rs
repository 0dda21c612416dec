//! Mackey-Glass, tau 17, six samples ahead: the series by which adaptive filters and networks have
//! been compared since Jang, IEEE Trans. SMC 23, 1993. Four taps six apart predict the value six
//! ahead; 500 rows train, the next 500 test; the score is NDEI, the root mean square error over the
//! target's standard deviation.

use purkinje_kernels::cerebellum::{Cerebellum, CerebellumConfig};

const TAPS: [usize; 4] = [18, 12, 6, 0];
const AHEAD: usize = 6;
const ROWS: usize = 500;

/// x(t) at t = 0, 1, … by fourth-order Runge-Kutta steps of 0.1 on dx/dt = 0.2 x(t-17) / (1 +
/// x(t-17)^10) - 0.1 x, from x(0) = 1.2 after zeros.
fn mackey_glass(samples: usize) -> Vec<f64> {
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

/// The series moved to features of about unit variance, and to targets in [0.15, 0.85].
struct Task {
    features: Vec<[f32; 4]>,
    targets: Vec<f32>,
}

fn task() -> Task {
    let x = mackey_glass(1_200);
    let rows = 118..118 + 2 * ROWS;
    let used = &x[100..rows.end + AHEAD];
    let low = used.iter().copied().fold(f64::INFINITY, f64::min);
    let high = used.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let unit = |v: f64| (v - low) / (high - low);
    Task {
        features: rows
            .clone()
            .map(|t| TAPS.map(|lag| (5.0 * unit(x[t - lag]) - 2.5) as f32))
            .collect(),
        targets: rows.map(|t| (0.15 + 0.7 * unit(x[t + AHEAD])) as f32).collect(),
    }
}

fn ndei(forecasts: &[f32], targets: &[f32]) -> f32 {
    let n = targets.len() as f32;
    let mean = targets.iter().sum::<f32>() / n;
    let variance = targets.iter().map(|y| (y - mean).powi(2)).sum::<f32>();
    let error = forecasts.iter().zip(targets).map(|(p, y)| (p - y).powi(2)).sum::<f32>();
    (error / variance).sqrt()
}

/// Passes over the training rows, then scores the test rows with plasticity off. The outcome of a
/// row is told `label_delay` cycles after its forecast.
fn run(passes: usize, label_delay: usize) -> f32 {
    let config = CerebellumConfig {
        features: 4,
        fibres_per_feature: 60,
        field_sd: 0.3,
        learning_rate: 0.1,
        learning_decay: 300.0,
        learning_floor: 0.01,
        decode_hz: 20.0,
        ..CerebellumConfig::default()
    };
    let mut net = Cerebellum::new(config).expect("the settings are valid");
    let task = task();
    let mut cycle = 0;
    let mut present = |net: &mut Cerebellum, row: usize| {
        let mut value = [0.0];
        net.advance(cycle, &task.features[row], &[true], &mut value);
        cycle += 1;
        (cycle - 1, value[0])
    };
    for _ in 0..passes {
        let mut forecasts = Vec::new();
        for row in 0..ROWS {
            forecasts.push(present(&mut net, row));
            if row >= label_delay {
                let (made_at, forecast) = forecasts[row - label_delay];
                assert!(net.learn(0, made_at, task.targets[row - label_delay] - forecast));
            }
        }
    }
    let forecasts: Vec<f32> = (ROWS..2 * ROWS).map(|row| present(&mut net, row).1).collect();
    ndei(&forecasts, &task.targets[ROWS..])
}

#[test]
fn the_series_is_the_published_one() {
    let x = mackey_glass(1_200);
    assert!(x[118..].iter().all(|v| (0.2..1.4).contains(v)));
    let persistence: Vec<f32> = (618..1_118).map(|t| x[t] as f32).collect();
    let targets: Vec<f32> = (618..1_118).map(|t| x[t + AHEAD] as f32).collect();
    let score = ndei(&persistence, &targets);
    assert!((score - 0.813).abs() < 0.002, "persistence scores {score}, measured elsewhere 0.813");
}

#[test]
fn learning_predicts_the_series_whether_the_label_is_late_or_not() {
    let off = run(0, 0);
    println!("NDEI with learning off {off:.3}");
    assert!(off > 0.95, "without learning {off:.3}");
    for (passes, label_delay, most) in [(1, 0, 0.55), (4, 0, 0.40), (4, 6, 0.45)] {
        let score = run(passes, label_delay);
        println!("NDEI after {passes} passes, label {label_delay} cycles late: {score:.3}");
        assert!(score < most, "{passes} passes, delay {label_delay}: {score:.3}");
    }
}
