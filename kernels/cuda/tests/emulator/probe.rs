//! The probe's kernels against the same in Rust.

use purkinje_cuda::{driver::Launch, emulator::Order};

use crate::host::{argument, download, emulator, orders, run, upload};

/// Numbers between -1 and 1 that look like noise.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(step).collect()
}

#[test]
fn saxpy_equals_the_reference_whatever_the_size_and_the_order() {
    for order in orders() {
        let mut emulator = emulator(order);
        for n in [0, 1, 31, 32, 33, 191, 192, 193, 5000] {
            let (x, y) = (noise(n), noise(2 * n).split_off(n));
            let device_x = upload(&mut emulator, &x, f32::to_le_bytes);
            let device_y = upload(&mut emulator, &y, f32::to_le_bytes);
            let launch = Launch {
                kernel: "probe_saxpy",
                grid: [3, 1, 1],
                threads: 64,
                shared_bytes: 0,
                argument: argument(&[device_x, device_y], &[n as u32, 1.7f32.to_bits()]),
            };
            run(&mut emulator, launch).unwrap();
            let expected: Vec<u32> =
                x.iter().zip(&y).map(|(x, y)| (y + 1.7 * x).to_bits()).collect();
            assert_eq!(download(&mut emulator, device_y, n), expected, "n {n}, {order:?}");
        }
    }
}

/// Sum, greatest and how many are above zero, of a block's values, in the kernel's order.
fn statistics(values: &[f32], threads: usize) -> [u32; 3] {
    let mut values = values.to_vec();
    values.resize(threads, 0.0);
    let mut sum = 0.0;
    for warp in values.chunks_exact(32) {
        let mut lanes = warp.to_vec();
        for apart in [16, 8, 4, 2, 1] {
            lanes = (0..32).map(|lane| lanes[lane] + lanes[lane ^ apart]).collect();
        }
        sum += lanes[0];
    }
    let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let above = values.iter().filter(|value| **value > 0.0).count();
    [sum.to_bits(), greatest.to_bits(), above as u32]
}

#[test]
fn statistics_of_blocks_equal_the_reference_whatever_the_size_and_the_order() {
    for order in orders() {
        let mut emulator = emulator(order);
        for (n, threads) in [(0, 32), (1, 32), (63, 64), (1000, 96), (1024, 1024), (3001, 256)] {
            let x = noise(n);
            let blocks = n.div_ceil(threads) + 1;
            let device_x = upload(&mut emulator, &x, f32::to_le_bytes);
            let out = upload(&mut emulator, &vec![0; 3 * blocks], u32::to_le_bytes);
            let launch = Launch {
                kernel: "probe_block_statistics",
                grid: [blocks as u32, 1, 1],
                threads: threads as u32,
                shared_bytes: 12 * threads as u32 / 32,
                argument: argument(&[device_x, out], &[n as u32, 0]),
            };
            run(&mut emulator, launch).unwrap();
            let shares = (0..blocks).map(|block| {
                let share = block * threads..((block + 1) * threads).min(n);
                x.get(share).unwrap_or_default()
            });
            let expected: Vec<u32> = shares.flat_map(|share| statistics(share, threads)).collect();
            let found = download(&mut emulator, out, 3 * blocks);
            assert_eq!(found, expected, "n {n}, {threads} threads, {order:?}");
        }
    }
}

#[test]
fn several_threads_of_the_host_run_kernels_at_once() {
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || {
                let mut emulator = emulator(Order::Random { seed });
                let x = noise(700);
                let device_x = upload(&mut emulator, &x, f32::to_le_bytes);
                for _ in 0..20 {
                    let out = upload(&mut emulator, &[0; 3], u32::to_le_bytes);
                    let launch = Launch {
                        kernel: "probe_block_statistics",
                        grid: [1, 1, 1],
                        threads: 704,
                        shared_bytes: 12 * 22,
                        argument: argument(&[device_x, out], &[700, 0]),
                    };
                    run(&mut emulator, launch).unwrap();
                    assert_eq!(download(&mut emulator, out, 3), statistics(&x, 704));
                }
            });
        }
    });
}
