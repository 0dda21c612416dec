//! The driver around the kernels: memory, limits, graphs.

use std::collections::BTreeSet;

use purkinje_cuda::{
    driver::{Address, Driver, DriverError, Launch, Operation},
    emulator::{Emulator, Object, Order, Settings, Variant},
    sources::{MODULES, Module, PROBE},
};

use crate::host::{INTRINSICS, MISTAKES, argument, download, emulator, named, object, run, upload};

fn saxpy(x: Address, y: Address, n: u32, factor: f32) -> Launch {
    Launch {
        kernel: "probe_saxpy",
        grid: [1, 1, 1],
        threads: 32,
        shared_bytes: 0,
        argument: argument(&[x, y], &[n, factor.to_bits()]),
    }
}

#[test]
fn memory_is_zeros_and_aligned_and_its_limit_is_kept() {
    let settings = Settings { memory_bytes: 1000, ..Settings::default() };
    let mut emulator = Emulator::with_object(object(), &settings);
    let first = emulator.allocate(600).unwrap();
    assert_eq!(first.0 % 256, 0);
    assert_eq!(download(&mut emulator, first, 150), [0; 150]);
    assert_eq!(emulator.allocate(401), Err(DriverError::OutOfMemory { asked: 401, free: 400 }));
    assert_ne!(emulator.allocate(0).unwrap(), first);
    assert_eq!(emulator.free_bytes(), Ok(400));
    emulator.allocate(400).unwrap();
    assert_eq!(emulator.free_bytes(), Ok(0));
    assert_eq!(
        emulator.allocate(usize::MAX),
        Err(DriverError::OutOfMemory { asked: u64::MAX, free: 0 })
    );
}

#[test]
fn what_goes_past_an_allocation_is_refused() {
    let mut emulator = emulator(Order::Ascending);
    let address = emulator.allocate(16).unwrap();
    let pinned = emulator.pin(8).unwrap();
    emulator.write(address.add(8), &[1; 8]).unwrap();
    let error = emulator.write(address.add(9), &[1; 8]).unwrap_err().to_string();
    let expected = format!(
        "cuMemcpyHtoD answered 1 (CUDA_ERROR_INVALID_VALUE: 8 bytes at {:#x}, which no allocation \
         holds)",
        address.0 + 9
    );
    assert_eq!(error, expected);
    assert!(emulator.read(address, &mut [0; 17]).is_err());
    assert!(emulator.read(Address(8), &mut [0; 1]).is_err());
    let copy = |bytes| Operation::CopyOut { from: address, to: pinned, bytes };
    assert!(emulator.graph(&[copy(8)]).is_ok());
    let error = emulator.graph(&[copy(9)]).unwrap_err().to_string();
    assert!(error.contains("9 bytes of a pinned block of 8 bytes"), "{error}");
}

#[test]
fn operations_of_a_graph_run_in_their_order_and_every_time_anew() {
    let mut emulator = emulator(Order::Random { seed: 3 });
    let (input, output) = (emulator.pin(32).unwrap(), emulator.pin(32).unwrap());
    let (x, y) = (emulator.allocate(16).unwrap(), emulator.allocate(16).unwrap());
    let graph = emulator
        .graph(&[
            Operation::CopyIn { from: input, to: x, bytes: 16 },
            Operation::Launch(saxpy(x, y, 4, 1.0)),
            Operation::Launch(saxpy(y, x, 4, 10.0)),
            Operation::CopyOut { from: x, to: output, bytes: 16 },
        ])
        .unwrap();
    let mut y = 0.0f32;
    for round in 1..=3 {
        let x = round as f32 * 0.5;
        emulator.pinned(input).fill(0xee);
        for four in emulator.pinned(input)[..16].chunks_exact_mut(4) {
            four.copy_from_slice(&x.to_le_bytes());
        }
        emulator.launch(graph).unwrap();
        emulator.wait().unwrap();
        y += x;
        let expected = (x + 10.0 * y).to_le_bytes().repeat(4);
        assert_eq!(emulator.pinned(output)[..16], expected, "round {round}");
        assert_eq!(emulator.pinned(output)[16..], [0; 16]);
    }
}

#[test]
fn a_launch_beyond_the_limits_of_a_device_is_refused() {
    let mut emulator = emulator(Order::Ascending);
    let x = upload(&mut emulator, &[0; 4], u32::to_le_bytes);
    let right = saxpy(x, x, 4, 1.0);
    let cases = [
        (Launch { threads: 0, ..right.clone() }, "0 threads a block, expected 1 to 1024"),
        (Launch { threads: 1025, ..right.clone() }, "1025 threads a block, expected 1 to 1024"),
        (Launch { grid: [1, 0, 1], ..right.clone() }, "a grid of [1, 0, 1] blocks"),
        (Launch { grid: [1, 1, 65_536], ..right.clone() }, "a grid of [1, 1, 65536] blocks"),
        (
            Launch { shared_bytes: 232_449, ..right.clone() },
            "232449 bytes of shared memory, expected at most 232448",
        ),
        (
            Launch { argument: vec![0; 20], ..right.clone() },
            "probe_saxpy is given an argument of 20 bytes, expected 24",
        ),
        (Launch { kernel: "probe_nothing", ..right.clone() }, "there is no kernel probe_nothing"),
    ];
    for (launch, what) in cases {
        let error = emulator.graph(&[Operation::Launch(launch)]).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    run(&mut emulator, Launch { threads: 1024, shared_bytes: 232_448, ..right }).unwrap();
}

#[test]
fn a_kernel_runs_once_its_module_is_loaded() {
    static OTHER: Module = Module { name: "other", text: "", kernels: &[named("other_kernel")] };
    let mut emulator = Emulator::with_object(object(), &Settings::default());
    let x = upload(&mut emulator, &[0; 4], u32::to_le_bytes);
    let operations = [Operation::Launch(saxpy(x, x, 4, 1.0))];
    assert!(matches!(emulator.graph(&operations), Err(DriverError::Kernel { .. })));
    emulator.load(&PROBE).unwrap();
    emulator.graph(&operations).unwrap();
    let error = emulator.load(&OTHER).unwrap_err().to_string();
    assert!(error.starts_with("kernels of other: "), "{error}");
    assert!(error.ends_with("holds no kernel other_kernel"), "{error}");
}

#[test]
fn an_object_lists_its_kernels_and_refuses_what_it_cannot_run() {
    let object = object();
    let listed: BTreeSet<&str> = object.kernels().keys().map(String::as_str).collect();
    let modules = MODULES.into_iter().chain([&INTRINSICS, &MISTAKES]);
    assert_eq!(
        listed,
        modules.flat_map(|module| module.kernels.iter().map(|kernel| kernel.name)).collect()
    );
    assert_eq!(object.kernels()["probe_saxpy"], 24);

    let right = saxpy(Address(0), Address(0), 0, 1.0);
    let cases = [
        (Launch { kernel: "no_such", ..right.clone() }, "no kernel no_such"),
        (
            Launch { argument: vec![0; 16], ..right.clone() },
            "kernel probe_saxpy: an argument of 16 bytes, expected 24",
        ),
        (
            Launch { grid: [1 << 20, 65_535, 1], ..right },
            "kernel probe_saxpy: 32 threads, a grid of 1048576 x 65535 x 1 blocks, order 0: \
             expected 1 to 1024 threads, 1 to 67108864 blocks, order 0 to 2",
        ),
    ];
    for (launch, what) in cases {
        // SAFETY: it is refused, and of no elements besides.
        assert_eq!(unsafe { object.run(&launch, Order::Ascending) }, Err(what.to_owned()));
    }
}

#[test]
fn kernels_that_do_not_compile_are_refused_with_what_the_compiler_says() {
    static WRONG: Module = Module {
        name: "wrong",
        text: "struct Nothing { u32 n; };\nKERNEL(wrong, Nothing) { a.m; }\n",
        kernels: &[named("wrong")],
    };
    let built = Object::of(&[&WRONG], Variant::default());
    let error = built.unwrap_err().to_string();
    assert!(error.contains("wrong.cu:2"), "{error}");
}

#[test]
fn after_a_kernel_that_failed_every_call_answers_that_the_device_is_lost() {
    let mut emulator = emulator(Order::Ascending);
    let out = upload(&mut emulator, &[0; 64], u32::to_le_bytes);
    let operation = Operation::Launch(Launch {
        kernel: "mistake_half_a_shuffle",
        grid: [1, 1, 1],
        threads: 64,
        shared_bytes: 0,
        argument: argument(&[out], &[0, 0]),
    });
    let graph = emulator.graph(&[operation]).unwrap();
    emulator.launch(graph).unwrap();
    let lost = emulator.wait().unwrap_err();
    assert!(lost.is_lost());
    assert_eq!(emulator.wait(), Err(lost.clone()));
    assert_eq!(emulator.launch(graph), Err(lost.clone()));
    assert_eq!(emulator.allocate(1), Err(lost.clone()));
    assert_eq!(emulator.write(out, &[0]), Err(lost.clone()));
    assert_eq!(emulator.load(&PROBE), Err(lost));
}
