//! The forecaster that the daemon runs, on the Mackey-Glass series six samples ahead (Jang, IEEE
//! Trans. SMC 23, 1993): its label may be late.

use purkinje_kernels::cerebellum::tasks::mackey_glass::{ROWS, ndei, rows};
use purkinje_kernels::cerebellum::{Cerebellum, CerebellumConfig};

/// The series moved to features of about unit variance, and to targets in [0.15, 0.85].
struct Task {
    features: Vec<[f32; 4]>,
    targets: Vec<f32>,
}

fn task() -> Task {
    let [train, test] = rows();
    let all = || train.taps.iter().chain(&test.taps);
    Task {
        features: all().map(|taps| taps.map(|tap| 5.0 * tap - 2.5)).collect(),
        targets: train.targets.iter().chain(&test.targets).map(|y| 0.15 + 0.7 * y).collect(),
    }
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
