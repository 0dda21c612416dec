//! CUDA's functions against their descriptions, in Rust.

use purkinje_cuda::driver::Launch;

use crate::host::{argument, download, emulator, orders, run, upload};

/// Pairs of bits, the edges of integers and floats first.
fn pairs(count: usize) -> Vec<[u32; 2]> {
    let edges = [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX, 0x0001_0000, 31, 32];
    let floats = [0.5f32, 1.5, 2.5, -0.5, -3.7, 3e9, 5e9, -3e9, f32::NAN, f32::INFINITY, 1e-40];
    let mut all: Vec<u32> = edges.into_iter().chain(floats.map(f32::to_bits)).collect();
    let mut state = 7u64;
    while all.len() < 2 * count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        all.push((state >> 32) as u32);
    }
    (0..count).map(|k| [all[k], all[2 * count - 1 - k]]).collect()
}

fn bytes_of(pair: [u32; 2]) -> [u8; 8] {
    (u64::from(pair[1]) << 32 | u64::from(pair[0])).to_le_bytes()
}

fn byte_permutation(x: u32, y: u32, selector: u32) -> u32 {
    let bytes = [x.to_le_bytes(), y.to_le_bytes()].concat();
    let chosen = |k: usize| {
        let choice = selector as usize >> (4 * k);
        let byte = bytes[choice & 7];
        if choice & 8 == 0 { byte } else { ((byte as i8) >> 7) as u8 }
    };
    u32::from_le_bytes(std::array::from_fn(chosen))
}

fn of_a_lane([x, y]: [u32; 2]) -> Vec<u32> {
    let both = u64::from(y) << 32 | u64::from(x);
    let (signed_x, signed_y) = (x as i32, y as i32);
    let (f, g) = (f32::from_bits(x), f32::from_bits(y));
    let first_bit = |zeros: u32, width: u32| if zeros == width { 0 } else { zeros + 1 };
    let products = |x: [i32; 4], y: [i32; 4]| x.iter().zip(y).map(|(x, y)| x * y).sum::<i32>();
    let signed = |x: u32| x.to_le_bytes().map(|byte| i32::from(byte as i8));
    let unsigned = |x: u32| x.to_le_bytes().map(i32::from);
    vec![
        x.count_ones(),
        both.count_ones(),
        first_bit(x.trailing_zeros(), 32),
        first_bit(both.trailing_zeros(), 64),
        x.leading_zeros(),
        both.leading_zeros(),
        x.reverse_bits(),
        (both.reverse_bits() >> 7) as u32,
        ((u64::from(x) * u64::from(y)) >> 32) as u32,
        ((i64::from(signed_x) * i64::from(signed_y)) >> 32) as u32,
        (((u128::from(both) * u128::from(both)) >> 64) as u64 >> 5) as u32,
        byte_permutation(x, y, 0x3715),
        byte_permutation(x, y, 0xe08c),
        (both << (y & 31) >> 32) as u32,
        (both >> (y & 31)) as u32,
        products(signed(x), signed(y)).wrapping_add(signed_x) as u32,
        x.wrapping_add(products(unsigned(x), unsigned(y)) as u32),
        signed_x.min(signed_y) as u32,
        x.max(y),
        f.mul_add(g, f).to_bits(),
        f.round_ties_even() as i32 as u32,
        f as u32,
        f.floor() as i32 as u32,
        if f.is_nan() { 0 } else { f.clamp(0.0, 1.0).abs().to_bits() },
    ]
}

/// NaNs differ in bits that nothing is said of.
fn comparable(mut results: Vec<u32>) -> Vec<u32> {
    for result in results.chunks_exact_mut(24) {
        if f32::from_bits(result[19]).is_nan() {
            result[19] = f32::NAN.to_bits();
        }
    }
    results
}

#[test]
fn functions_of_a_lane_are_as_described() {
    let pairs = pairs(256);
    let mut emulator = emulator(orders()[0]);
    let input = upload(&mut emulator, &pairs, bytes_of);
    let out = upload(&mut emulator, &vec![0; 24 * pairs.len()], u32::to_le_bytes);
    let launch = Launch {
        kernel: "intrinsics_of_a_lane",
        grid: [1, 1, 1],
        threads: 256,
        shared_bytes: 0,
        argument: argument(&[input, out], &[]),
    };
    run(&mut emulator, launch).unwrap();
    let found = comparable(download(&mut emulator, out, 24 * pairs.len()));
    let expected = comparable(pairs.iter().copied().flat_map(of_a_lane).collect());
    for (k, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "result {} of {:x?}", k % 24, pairs[k / 24]);
    }
}

fn of_a_warp(x: &[u32]) -> Vec<u32> {
    let third = |lane: usize| lane.is_multiple_of(3);
    let thirds =
        |turn: u32| (0..32).filter(|k| third(*k)).fold(0, |all, k| all ^ x[k].wrapping_add(turn));
    let thirds = (0..3).fold(0u32, |sum, turn| sum.wrapping_add(thirds(turn)));
    // Lane 16 is in the other part.
    let part = |lane: usize| if third(lane) { thirds } else { x[16] };
    let signed = x.iter().map(|x| *x as i32);
    let bits = |which: &dyn Fn(usize) -> bool| {
        (0..32).filter(|k| which(*k)).fold(0, |bits, k| bits | 1u32 << k)
    };
    (0..32)
        .flat_map(|lane| {
            [
                x[3],
                x[lane / 8 * 8 + lane * 7 % 8],
                x[if lane < 3 { lane } else { lane - 3 }],
                x[if lane % 16 < 3 { lane } else { lane - 3 }],
                x[if lane + 5 > 31 { lane } else { lane + 5 }],
                x[lane | 1],
                x[lane ^ 9],
                // To groups before its own, and not after.
                x[if lane ^ 9 > lane | 7 { lane } else { lane ^ 9 }],
                (u64::from(x[lane ^ 1]) << 20 >> 24) as u32,
                x[if lane + 2 > 31 { lane } else { lane + 2 }],
                bits(&|k| x[k].is_multiple_of(3)),
                u32::from(x.iter().any(|x| x % 31 == 0)),
                u32::from(x.iter().all(|x| x % 31 != 0)),
                bits(&|k| x[k] % 4 == x[lane] % 4),
                x.iter().fold(0, |sum, x| sum.wrapping_add(*x)),
                signed.clone().min().unwrap() as u32,
                signed.clone().max().unwrap() as u32,
                *x.iter().min().unwrap(),
                x.iter().fold(0, |all, x| all | x & 0x10101),
                part(lane),
                bits(&|k| part(k) & 1 != 0),
                lane as u32,
            ]
        })
        .collect()
}

#[test]
fn functions_of_a_warp_are_as_described_whatever_the_order() {
    let pairs: Vec<[u32; 2]> = pairs(160).split_off(64);
    let x: Vec<u32> = pairs.iter().map(|pair| pair[0]).collect();
    let expected: Vec<u32> = x.chunks_exact(32).flat_map(of_a_warp).collect();
    for order in orders() {
        let mut emulator = emulator(order);
        let input = upload(&mut emulator, &pairs, bytes_of);
        let out = upload(&mut emulator, &vec![0; 22 * pairs.len()], u32::to_le_bytes);
        let launch = Launch {
            kernel: "intrinsics_of_a_warp",
            grid: [1, 1, 1],
            threads: 96,
            shared_bytes: 0,
            argument: argument(&[input, out], &[]),
        };
        run(&mut emulator, launch).unwrap();
        let found = download(&mut emulator, out, 22 * pairs.len());
        for (k, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_eq!(found, expected, "result {} of thread {}, {order:?}", k % 22, k / 22);
        }
    }
}

#[test]
fn atomics_and_votes_of_a_block_are_as_described_whatever_the_order() {
    for threads in [1, 33, 256] {
        let pairs = pairs(threads);
        let x: Vec<u32> = pairs.iter().map(|pair| pair[0]).collect();
        let sum = x.iter().fold(0u32, |sum, x| sum.wrapping_add(*x));
        let mut expected = vec![
            sum,
            *x.iter().max().unwrap(),
            *x.iter().min().unwrap(),
            x.iter().fold(0, |all, x| all | x & 0x0f0f),
            x.iter().fold(0, |all, x| all ^ x),
            (0.25 * threads as f32).to_bits(),
            3 * threads as u32,
            sum,
        ];
        let votes = [
            x.iter().filter(|x| **x & 1 != 0).count() as u32,
            u32::from(x.iter().any(|x| x % 1000 == 7)),
            u32::from(x.iter().all(|x| *x > 3)),
        ];
        expected.extend(votes.repeat(threads));
        for order in orders() {
            let mut emulator = emulator(order);
            let input = upload(&mut emulator, &pairs, bytes_of);
            let out = upload(&mut emulator, &vec![0; expected.len()], u32::to_le_bytes);
            let launch = Launch {
                kernel: "intrinsics_of_a_block",
                grid: [1, 1, 1],
                threads: threads as u32,
                shared_bytes: 0,
                argument: argument(&[input, out], &[]),
            };
            run(&mut emulator, launch).unwrap();
            let found = download(&mut emulator, out, expected.len());
            assert_eq!(found, expected, "{threads} threads, {order:?}");
        }
    }
}
