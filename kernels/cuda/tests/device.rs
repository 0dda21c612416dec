//! The real driver on a real device, held against the same sums in Rust. Where there is no device, the tests say so
//! and pass; the last one then passes them all on a library that stands in for NVIDIA's.

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod support;

use std::{
    env,
    path::Path,
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use purkinje_cuda::{
    driver::{Address, Driver, DriverError, Launch, Operation},
    images::{Images, Origin, Settings},
    probe::Probe,
    real::CudaDriver,
    sources::PROBE,
};

/// One test at a time: some count the device's free memory, one loses the device.
static TURN: Mutex<()> = Mutex::new(());

/// Runs with the first device, if there is one that can be used, and a cache of the test's own.
fn with_device(test: impl FnOnce(CudaDriver, &Settings)) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let cache = tempfile::tempdir().unwrap();
    let settings = Settings {
        nvrtc: support::library().map(Path::to_owned),
        cache: Some(cache.path().join("kernels")),
    };
    match Probe::new(&settings).missing(0) {
        Some(missing) => eprintln!("skipped: {missing}"),
        None => test(CudaDriver::open(0, Images::new(settings.clone())).unwrap(), &settings),
    }
}

fn bytes_of(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn floats_of(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()
}

/// Values of both signs and many sizes, the same every time.
fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 65_536.0 - 128.0
    };
    (0..count).map(|_| next()).collect()
}

/// As `SaxpyArgument` of `probe.cu`.
fn saxpy(x: Address, y: Address, count: u32, factor: f32) -> Launch {
    let mut argument = Vec::new();
    argument.extend(x.0.to_le_bytes());
    argument.extend(y.0.to_le_bytes());
    argument.extend(count.to_le_bytes());
    argument.extend(factor.to_le_bytes());
    Launch { kernel: "probe_saxpy", grid: [7, 1, 1], threads: 64, shared_bytes: 0, argument }
}

/// As `StatisticsArgument` of `probe.cu`.
fn statistics(x: Address, out: Address, count: u32, threads: u32, shared_bytes: u32) -> Launch {
    let mut argument = Vec::new();
    argument.extend(x.0.to_le_bytes());
    argument.extend(out.0.to_le_bytes());
    argument.extend(count.to_le_bytes());
    argument.extend(0_u32.to_le_bytes());
    let grid = [count.div_ceil(threads), 1, 1];
    Launch { kernel: "probe_block_statistics", grid, threads, shared_bytes, argument }
}

/// What `probe_block_statistics` says of a block: its sum in the kernel's order, its greatest, its count above zero.
fn expected_statistics(x: &[f32], threads: usize) -> Vec<u32> {
    let mut out = Vec::new();
    for block in x.chunks(threads) {
        let at = |thread: usize| block.get(thread).copied().unwrap_or(0.0);
        let (mut total, mut top, mut above) = (0.0_f32, f32::NEG_INFINITY, 0);
        for warp in (0..threads).step_by(32) {
            let mut lanes: [f32; 32] = std::array::from_fn(|lane| at(warp + lane));
            top = lanes.iter().fold(top, |most, value| most.max(*value));
            above += lanes.iter().filter(|value| **value > 0.0).count() as u32;
            for apart in [16, 8, 4, 2, 1] {
                let before = lanes;
                for lane in 0..32 {
                    lanes[lane] = before[lane] + before[lane ^ apart];
                }
            }
            total += lanes[0];
        }
        out.extend([total.to_bits(), top.to_bits(), above]);
    }
    out
}

#[test]
fn a_graph_of_copies_and_kernels_computes_what_the_cpu_computes() {
    with_device(|mut driver, _| {
        println!("{:?}", driver.device());
        driver.load(&PROBE).unwrap();
        for (count, threads) in [(1, 32), (1000, 256), (4096, 1024), (65_537, 128)] {
            let bytes = 4 * count;
            let (x, y) = (driver.allocate(bytes).unwrap(), driver.allocate(bytes).unwrap());
            let blocks = count.div_ceil(threads);
            let out = driver.allocate(12 * blocks).unwrap();
            let (input, output) =
                (driver.pin(bytes).unwrap(), driver.pin(bytes + 12 * blocks).unwrap());
            let summed = driver.pin(12 * blocks).unwrap();
            // More dynamic shared memory than a kernel has unasked, which makes no difference to the sums.
            let shared_bytes = driver.device().shared_bytes_max.min(64 * 1024);
            let graph = driver
                .graph(&[
                    Operation::CopyIn { from: input, to: x, bytes },
                    Operation::Launch(saxpy(x, y, count as u32, 0.3)),
                    Operation::Launch(statistics(
                        y,
                        out,
                        count as u32,
                        threads as u32,
                        shared_bytes,
                    )),
                    Operation::CopyOut { from: y, to: output, bytes },
                    Operation::CopyOut { from: out, to: summed, bytes: 12 * blocks },
                ])
                .unwrap();
            let mut expected = vec![0.0_f32; count];
            for cycle in 0..3 {
                let input_values = values(count, 7 + cycle);
                driver.pinned(input).copy_from_slice(&bytes_of(&input_values));
                driver.launch(graph).unwrap();
                driver.wait().unwrap();
                for (sum, value) in expected.iter_mut().zip(&input_values) {
                    *sum += 0.3 * value;
                }
                assert_eq!(floats_of(&driver.pinned(output)[..bytes]), expected, "{count}");
                let found: Vec<u32> = driver
                    .pinned(summed)
                    .as_chunks()
                    .0
                    .iter()
                    .map(|chunk| u32::from_le_bytes(*chunk))
                    .collect();
                assert_eq!(found, expected_statistics(&expected, threads), "{count}");
            }
        }
    });
}

#[test]
fn branches_begin_after_what_comes_before_them_and_end_before_what_comes_next() {
    with_device(|mut driver, _| {
        driver.load(&PROBE).unwrap();
        let (count, bytes) = (1000_u32, 4000);
        let [x, y, z, sum] = [(); 4].map(|()| driver.allocate(bytes).unwrap());
        let (input, output) = (driver.pin(bytes).unwrap(), driver.pin(bytes).unwrap());
        let add = |from, to, factor| Operation::Launch(saxpy(from, to, count, factor));
        for branches in [
            vec![vec![add(x, y, 2.0), add(y, y, 1.0)], vec![add(x, z, 3.0)], Vec::new()],
            vec![vec![add(x, z, 3.0), add(x, y, 4.0)]],
        ] {
            let zero = vec![0; bytes];
            for address in [y, z, sum] {
                driver.write(address, &zero).unwrap();
            }
            let graph = driver
                .graph(&[
                    Operation::CopyIn { from: input, to: x, bytes },
                    Operation::Branches(branches),
                    add(y, sum, 1.0),
                    add(z, sum, 1.0),
                    Operation::CopyOut { from: sum, to: output, bytes },
                ])
                .unwrap();
            let given = values(count as usize, 5);
            driver.pinned(input).copy_from_slice(&bytes_of(&given));
            driver.launch(graph).unwrap();
            driver.wait().unwrap();
            let expected: Vec<f32> = given.iter().map(|value| 4.0 * value + 3.0 * value).collect();
            assert_eq!(floats_of(driver.pinned(output)), expected);
        }
        let nested = Operation::Branches(vec![vec![Operation::Branches(Vec::new())]]);
        let error = driver.graph(&[nested]).unwrap_err().to_string();
        assert!(error.contains("branches within a branch"), "{error}");
    });
}

#[test]
fn memory_is_zero_at_first_and_keeps_what_is_written() {
    with_device(|mut driver, _| {
        let address = driver.allocate(1001).unwrap();
        assert_eq!(address.0 % 256, 0);
        let mut found = vec![1; 1001];
        driver.read(address, &mut found).unwrap();
        assert!(found.iter().all(|byte| *byte == 0));
        let written: Vec<u8> = (0..1001_u32).map(|byte| byte as u8).collect();
        driver.write(address, &written).unwrap();
        driver.read(address.add(500), &mut found[500..]).unwrap();
        assert_eq!(found[500..], written[500..]);
        let block = driver.pin(64).unwrap();
        assert!(driver.pinned(block).iter().all(|byte| *byte == 0));
    });
}

#[test]
fn a_driver_serves_on_another_thread() {
    with_device(|mut driver, _| {
        driver.load(&PROBE).unwrap();
        let (x, y) = (driver.allocate(12).unwrap(), driver.allocate(12).unwrap());
        driver.write(x, &bytes_of(&[1.0, 2.0, -3.0])).unwrap();
        let graph = driver.graph(&[Operation::Launch(saxpy(x, y, 3, 2.0))]).unwrap();
        let found = thread::spawn(move || {
            driver.launch(graph).unwrap();
            driver.wait().unwrap();
            let mut found = [0; 12];
            driver.read(y, &mut found).unwrap();
            floats_of(&found)
        });
        assert_eq!(found.join().unwrap(), [2.0, 4.0, -6.0]);
    });
}

#[test]
fn what_a_driver_had_is_free_again_when_it_is_dropped() {
    with_device(|mut first, settings| {
        let before = first.free_bytes().unwrap();
        let mut second = CudaDriver::open(0, Images::new(settings.clone())).unwrap();
        second.allocate(256 << 20).unwrap();
        assert!(first.free_bytes().unwrap() + (200 << 20) < before);
        drop(second);
        assert!(first.free_bytes().unwrap() + (100 << 20) > before);
    });
}

#[test]
fn more_memory_than_there_is_is_refused_and_the_driver_serves_on() {
    with_device(|mut driver, _| {
        let asked = driver.device().memory_bytes as usize * 2;
        let error = driver.allocate(asked).unwrap_err();
        assert!(matches!(error, DriverError::OutOfMemory { free, .. } if free > 0), "{error}");
        driver.allocate(1024).unwrap();
    });
}

#[test]
fn a_graph_that_is_wrong_is_refused_and_the_next_one_is_built() {
    with_device(|mut driver, _| {
        let (x, y) = (driver.allocate(400).unwrap(), driver.allocate(400).unwrap());
        let block = driver.pin(400).unwrap();
        let launch = saxpy(x, y, 100, 1.0);
        let error = driver.graph(&[Operation::Launch(launch.clone())]).unwrap_err();
        assert!(error.to_string().contains("was not loaded"), "{error}");
        driver.load(&PROBE).unwrap();
        let short = Launch { argument: vec![0; 8], ..launch.clone() };
        let error = driver.graph(&[Operation::Launch(short)]).unwrap_err();
        assert!(error.to_string().contains("8 bytes, expected 24"), "{error}");
        let error =
            driver.graph(&[Operation::CopyIn { from: block, to: x, bytes: 401 }]).unwrap_err();
        assert!(error.to_string().contains("401 bytes"), "{error}");
        let graph = driver.graph(&[Operation::Launch(launch)]).unwrap();
        driver.launch(graph).unwrap();
        driver.wait().unwrap();
    });
}

#[test]
fn an_access_that_is_illegal_loses_the_device_until_it_is_opened_again() {
    with_device(|mut driver, settings| {
        driver.load(&PROBE).unwrap();
        let nowhere = Address(0x10);
        let graph = driver.graph(&[Operation::Launch(saxpy(nowhere, nowhere, 100, 1.0))]).unwrap();
        driver.launch(graph).unwrap();
        let error = driver.wait().unwrap_err();
        assert!(error.is_lost(), "{error}");
        assert!(driver.allocate(4).is_err());
        drop(driver);
        // The last to hold the primary context is gone, and it with it: the next one is whole.
        let mut next = CudaDriver::open(0, Images::new(settings.clone())).unwrap();
        let address = next.allocate(4).unwrap();
        next.write(address, &[1, 2, 3, 4]).unwrap();
    });
}

#[test]
fn an_image_that_was_compiled_is_found_at_the_next_start() {
    with_device(|mut driver, settings| {
        driver.load(&PROBE).unwrap();
        driver.load(&PROBE).unwrap();
        let [first] = driver.loaded() else { panic!("loaded once: {:?}", driver.loaded()) };
        let mut next = CudaDriver::open(0, Images::new(settings.clone())).unwrap();
        next.load(&PROBE).unwrap();
        let second = next.loaded()[0];
        assert_eq!(second.target, first.target);
        // A build that carries images needs no cache.
        if first.origin == Origin::Compiled {
            assert_eq!(second.origin, Origin::Cached);
            assert_eq!(next.images().cache_counters().hits, 1);
        } else {
            assert_eq!((first.origin, second.origin), (Origin::Embedded, Origin::Embedded));
        }
    });
}

const HANG: &str = "a_kernel_that_does_not_end_is_given_up_at_the_limit_and_its_device_is_lost";

/// In a process of its own, because what is lost so is kept for good.
#[test]
fn a_kernel_that_does_not_end_is_given_up_at_the_limit_and_its_device_is_lost() {
    with_device(|mut driver, _| {
        if driver.device().name != "stand-in" {
            eprintln!("left out: only the stand-in has a kernel that does not end");
            return;
        }
        driver.load(&PROBE).unwrap();
        let (x, input) = (driver.allocate(64).unwrap(), driver.pin(64).unwrap());
        let endless = driver
            .graph(&[
                Operation::CopyIn { from: input, to: x, bytes: 64 },
                Operation::Launch(saxpy(x, x, 16, f32::INFINITY)),
            ])
            .unwrap();
        driver.set_wait_limit(Duration::from_millis(20));
        driver.launch(endless).unwrap();
        let error = driver.wait().unwrap_err();
        let DriverError::Hung { waited_ms } = error else { panic!("{error}") };
        assert!(waited_ms >= 20 && error.is_lost(), "{error}");
        let expected = format!("what was started has not ended in {waited_ms} ms");
        assert!(error.to_string().contains(&expected), "{error}");
        // The device is not asked again, and dropping its driver does not wait for it.
        assert_eq!(driver.wait(), Err(error.clone()));
        assert_eq!(driver.launch(endless), Err(error.clone()));
        assert_eq!(driver.read(x, &mut [0; 4]), Err(error.clone()));
        assert_eq!(driver.allocate(4), Err(error));
    });
}

#[test]
fn all_of_these_pass_on_a_library_that_stands_in_for_the_driver() {
    if support::library().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stand_in/libcuda.c");
    let made = Command::new("cc")
        .args(["-O1", "-ffp-contract=off", "-shared", "-fPIC", "-o"])
        .arg(folder.path().join("libcuda.so"))
        .args([source, "-lm"])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // Every other test of this file, on that library and no other.
    let run = |version: &str, tests: &[&str]| {
        let output = Command::new(env::current_exe().unwrap())
            .arg("--nocapture")
            .args(tests)
            .env("LD_LIBRARY_PATH", folder.path())
            .env("STAND_IN_VERSION", version)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let others = ["--skip", "all_of_these_pass", "--skip", HANG];
    let (passed, said) = run("12040", &["--exact", HANG]);
    assert!(passed && said.contains("1 passed") && !said.contains("left out"), "{said}");
    let (passed, said) = run("12040", &others);
    assert!(passed && said.contains("stand-in") && !said.contains("skipped"), "{said}");
    let (passed, said) = run("12010", &others);
    let expected = "skipped: the NVIDIA driver serves CUDA 12010, expected 12020 or later";
    assert!(passed && said.contains(expected), "{said}");
}
