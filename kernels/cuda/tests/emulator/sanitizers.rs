//! Everything once more under the sanitizers, and that they find what is wrong.

use purkinje_cuda::{
    driver::Launch,
    emulator::{Order, Variant, run_sanitized},
};

use crate::host::{argument, emulator, run, upload};

/// Runs a wrong kernel, in a process under the sanitizers alone.
fn trip(kernel: &'static str, threads: u32, n: u32) {
    if !Variant::of_environment().sanitize {
        eprintln!("skipped: runs in a process under the sanitizers");
        return;
    }
    let mut emulator = emulator(Order::Ascending);
    let out = upload(&mut emulator, &[0; 64], u32::to_le_bytes);
    let launch = Launch {
        kernel,
        grid: [1, 1, 1],
        threads,
        shared_bytes: 250,
        argument: argument(&[out], &[n, 0]),
    };
    run(&mut emulator, launch).unwrap();
}

mod trips {
    #[test]
    fn past_the_buffer() {
        super::trip("mistake_past_the_buffer", 96, 64);
    }

    #[test]
    fn past_shared_memory() {
        super::trip("mistake_past_shared_memory", 63, 0);
    }

    #[test]
    fn signed_overflow() {
        super::trip("mistake_signed_overflow", 64, i32::MAX as u32 - 62);
    }

    #[test]
    fn conversion() {
        super::trip("mistake_conversion", 64, (-1.0f32).to_bits());
    }

    #[test]
    fn alignment() {
        super::trip("mistake_alignment", 1, 0);
    }
}

#[test]
fn kernels_and_driver_are_clean_under_the_sanitizers() {
    let Some(run) = run_sanitized(&["--skip", "sanitizers::"]) else { return };
    assert!(run.success && run.passed > 20, "{}", run.output);
}

#[test]
fn the_sanitizers_find_what_a_kernel_does_wrong() {
    let cases = [
        ("past_the_buffer", "heap-buffer-overflow"),
        ("past_shared_memory", "heap-buffer-overflow"),
        ("signed_overflow", "signed integer overflow"),
        ("conversion", "is outside the range of representable values"),
        ("alignment", "misaligned address"),
    ];
    for (name, expected) in cases {
        let test = format!("sanitizers::trips::{name}");
        let Some(run) = run_sanitized(&["--exact", &test, "--nocapture"]) else { return };
        assert!(!run.success, "{test} passed\n{}", run.output);
        assert!(run.output.contains(expected), "{}", run.output);
        assert!(run.output.contains("mistakes.cu:"), "{}", run.output);
    }
}
