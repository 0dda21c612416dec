//! The emulator against kernels whose results are known.
#![cfg(feature = "emulator")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use purkinje_cuda::{
    driver::{Driver, Launch, Operation},
    emulator::Emulator,
    sources::PROBE,
};

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn saxpy_equals_the_reference() {
    for seed in 0..4 {
        for n in [0, 1, 31, 257, 5000] {
            let mut emulator = Emulator::with_seed(seed).unwrap();
            emulator.load(&PROBE).unwrap();
            let x: Vec<f32> = (0..n).map(|k| k as f32 * 0.37 - 5.0).collect();
            let y: Vec<f32> = (0..n).map(|k| k as f32 * 1.3e-3 + 0.1).collect();
            let (device_x, device_y) =
                (emulator.allocate(4 * n).unwrap(), emulator.allocate(4 * n).unwrap());
            emulator.write(device_x, &bytes_of(&x)).unwrap();
            emulator.write(device_y, &bytes_of(&y)).unwrap();
            let mut argument = Vec::new();
            argument.extend(device_x.0.to_le_bytes());
            argument.extend(device_y.0.to_le_bytes());
            argument.extend((n as u32).to_le_bytes());
            argument.extend(1.7f32.to_le_bytes());
            let graph = emulator
                .graph(&[Operation::Launch(Launch {
                    kernel: "probe_saxpy",
                    grid: [3, 1, 1],
                    threads: 64,
                    shared_bytes: 0,
                    argument,
                })])
                .unwrap();
            emulator.launch(graph).unwrap();
            emulator.wait().unwrap();
            let mut found = vec![0; 4 * n];
            emulator.read(device_y, &mut found).unwrap();
            let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| y + 1.7 * x).collect();
            assert_eq!(found, bytes_of(&expected), "n {n}, seed {seed}");
        }
    }
}
