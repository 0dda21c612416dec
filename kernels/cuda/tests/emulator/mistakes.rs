//! Kernels with a known mistake: what shows as a result that depends on the order, and what as an error.

use std::collections::BTreeSet;

use purkinje_cuda::{
    driver::{Address, DriverError, Launch},
    emulator::{Object, Order, Variant},
    sources::MODULES,
};

use crate::host::{
    INTRINSICS, MISTAKES, argument, download, emulator, orders, run, upload, with_object,
};

fn launch(kernel: &'static str, out: Address, n: u32) -> Launch {
    Launch {
        kernel,
        grid: [1, 1, 1],
        threads: 64,
        shared_bytes: 256,
        argument: argument(&[out], &[n, 0]),
    }
}

fn result(kernel: &'static str, order: Order, blocks: u32) -> Vec<u32> {
    let mut emulator = emulator(order);
    let out = upload(&mut emulator, &[0; 64], u32::to_le_bytes);
    run(&mut emulator, Launch { grid: [blocks, 1, 1], ..launch(kernel, out, 0) }).unwrap();
    download(&mut emulator, out, 64)
}

fn results(kernel: &'static str, orders: impl IntoIterator<Item = Order>) -> BTreeSet<Vec<u32>> {
    orders.into_iter().map(|order| result(kernel, order, 4)).collect()
}

/// What is wrong, of a kernel that is said to be lost for it.
fn failure(kernel: &'static str, order: Order, n: u32) -> String {
    let mut emulator = emulator(order);
    let out = upload(&mut emulator, &[0; 64], u32::to_le_bytes);
    let answer = run(&mut emulator, Launch { grid: [4, 1, 1], ..launch(kernel, out, n) });
    match answer {
        Err(DriverError::Lost { name, .. }) => name,
        other => panic!("{kernel}: {other:?}"),
    }
}

fn random(seeds: u64) -> impl Iterator<Item = Order> {
    (1..=seeds).map(|seed| Order::Random { seed })
}

#[test]
fn a_kernel_with_its_barrier_has_one_result_in_every_order() {
    let expected: Vec<u32> = (1..=64).rev().collect();
    assert_eq!(results("mistake_none", orders()), BTreeSet::from([expected]));
}

#[test]
fn a_missing_barrier_shows_in_results_that_differ_from_seed_to_seed() {
    for kernel in ["mistake_no_barrier", "mistake_no_second_barrier", "mistake_no_barrier_of_warp"]
    {
        let found = results(kernel, random(6));
        assert!(found.len() > 3, "{kernel}: {} results of 6", found.len());
    }
}

#[test]
fn shared_memory_that_was_not_written_holds_nan() {
    let found = result("mistake_no_barrier", Order::Ascending, 4);
    assert_eq!(found[..32], [u32::MAX; 32]);
    assert!(f32::from_bits(found[0]).is_nan());
    let written: Vec<u32> = (1..=32).rev().collect();
    assert_eq!(found[32..], written);
}

#[test]
fn an_update_in_two_steps_is_lost_under_the_adversarial_order_alone() {
    let all = |order| result("mistake_read_then_write", order, 1)[0];
    assert!(random(6).all(|order| all(order) == 64));
    assert!((1..=6).all(|seed| all(Order::Adversarial { seed }) < 64));
}

#[test]
fn blocks_run_in_an_order_of_the_seed() {
    let last = |order| result("mistake_order_of_blocks", order, 16)[0];
    assert_eq!(last(Order::Ascending), 15);
    let found: BTreeSet<u32> = random(8).map(last).collect();
    assert!(found.len() > 2, "{found:?}");
}

#[test]
fn one_seed_gives_one_result() {
    for kernel in ["mistake_no_barrier", "mistake_read_then_write"] {
        for order in orders() {
            assert_eq!(result(kernel, order, 4), result(kernel, order, 4), "{kernel}, {order:?}");
        }
    }
}

#[test]
fn an_operation_that_some_of_its_threads_never_reach_is_an_error_that_names_them() {
    let cases = [
        (
            "mistake_half_a_shuffle",
            0,
            "block (0, 0, 0): __shfl_xor_sync with mask 0xffffffff: threads 0-15 wait for ever; \
             threads 16-31 have ended",
        ),
        (
            "mistake_shuffle_and_vote",
            0,
            "block (0, 0, 0): __shfl_sync with mask 0xffffffff: threads 0, 2, 4, 6, 8, 10, 12, 14, \
             16, 18, 20, 22, 24, 26, 28, 30 wait for ever; threads 1, 3, 5, 7, 9, 11, 13, 15, 17, \
             19, 21, 23, 25, 27, 29, 31 wait at another operation of the warp or with another mask",
        ),
        (
            "mistake_ended_before_barrier",
            40,
            "block (0, 0, 0): __syncthreads: threads 0-39 wait for ever; threads 40-63 have ended",
        ),
        (
            "mistake_two_barriers",
            32,
            "block (0, 0, 0): __syncthreads: threads 0-31 wait for ever; threads 32-63 wait at \
             another barrier",
        ),
        (
            "mistake_warp_and_block",
            0,
            "block (0, 0, 0): __syncwarp with mask 0xffffffff: threads 0-4, 6-31 wait for ever; \
             threads 5 wait for the block",
        ),
    ];
    for (kernel, n, what) in cases {
        let expected = format!("CUDA_ERROR_LAUNCH_FAILED: kernel {kernel}, {what}");
        assert_eq!(failure(kernel, Order::Ascending, n), expected);
        for order in orders() {
            let found = failure(kernel, order, n);
            assert!(found.contains("wait for ever; threads"), "{kernel}, {order:?}: {found}");
        }
    }
}

#[test]
fn a_call_that_is_wrong_in_itself_is_an_error_that_names_its_thread() {
    let cases = [
        (
            "mistake_caller_not_in_mask",
            0,
            "block (0, 0, 0), thread 16: __any_sync with mask 0x0000ffff leaves its caller out",
        ),
        (
            "mistake_width",
            12,
            "block (0, 0, 0), thread 0: __shfl_sync with width 12, expected a power of two up to 32",
        ),
        ("mistake_trap", 33, "block (2, 0, 0), thread 33: __trap()"),
    ];
    for (kernel, n, what) in cases {
        let expected = format!("CUDA_ERROR_LAUNCH_FAILED: kernel {kernel}, {what}");
        assert_eq!(failure(kernel, Order::Ascending, n), expected);
    }
}

#[test]
fn a_mask_with_lanes_that_the_block_does_not_have_is_an_error() {
    let mut emulator = emulator(Order::Ascending);
    let out = upload(&mut emulator, &[0; 64], u32::to_le_bytes);
    let short = Launch { threads: 40, ..launch("mistake_no_barrier_of_warp", out, 0) };
    assert_eq!(
        run(&mut emulator, short).unwrap_err().to_string(),
        "the device is lost: cuStreamSynchronize answered 719 (CUDA_ERROR_LAUNCH_FAILED: kernel \
         mistake_no_barrier_of_warp, block (0, 0, 0): __syncwarp with mask 0xffffffff: threads \
         32-39 wait for ever; the block has 40 threads, and the mask names lanes past them)"
    );
}

#[test]
fn after_a_kernel_that_failed_another_driver_runs_the_next() {
    let kernels = [
        "mistake_half_a_shuffle",
        "mistake_warp_and_block",
        "mistake_two_barriers",
        "mistake_trap",
    ];
    for kernel in kernels {
        failure(kernel, Order::Ascending, 32);
        a_kernel_with_its_barrier_has_one_result_in_every_order();
    }
}

#[test]
fn fibers_of_the_system_do_as_our_own() {
    let variant = Variant { portable_fibers: true, ..Variant::of_environment() };
    let modules: Vec<_> = MODULES.into_iter().chain([&INTRINSICS, &MISTAKES]).collect();
    let object = Object::of(&modules, variant).unwrap();
    for order in orders() {
        let mut emulator = with_object(object.clone(), order);
        let out = upload(&mut emulator, &[0; 64], u32::to_le_bytes);
        run(&mut emulator, launch("mistake_no_second_barrier", out, 0)).unwrap();
        let found = download(&mut emulator, out, 64);
        assert_eq!(found, result("mistake_no_second_barrier", order, 1), "{order:?}");
        let error = run(&mut emulator, launch("mistake_half_a_shuffle", out, 0)).unwrap_err();
        assert!(error.to_string().contains("wait for ever; threads"), "{error}");
    }
}
