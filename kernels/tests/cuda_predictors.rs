//! The networks' kernels answer as the CPU does, to the last bit: on the emulator, in every order of threads,
//! from fresh windows and from streams, some of which pause, begin anew or hold what is no number.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod emulated;
mod random_weights;

use emulated::{Device, ORDERS, bits, emulator, serving};
use purkinje_cuda::driver::{Address, DriverError, Operation};
use purkinje_cuda::emulator::{Emulator, Order, Settings, run_sanitized};
use purkinje_kernels::predictors::architecture::Architecture;
use purkinje_kernels::predictors::autoencoder::Autoencoder;
use purkinje_kernels::predictors::cuda::{
    ACTIVE, DeviceBuildError, DevicePredictor, DeviceServing, Execution, RESET,
};
use purkinje_kernels::predictors::panels::Precision;
use purkinje_kernels::predictors::predictor::{Predictor, Serving};
use purkinje_kernels::predictors::weights::Tensors;
use purkinje_kernels::rng::Key;

/// A network with weights drawn from a seed.
#[derive(Clone)]
struct Case {
    toml: String,
    execution: Execution,
    shapes: Vec<(String, Vec<usize>)>,
}

impl Case {
    fn new(toml: &str, shapes: Vec<(String, Vec<usize>)>) -> Self {
        Self { toml: toml.to_owned(), execution: Execution::Auto, shapes }
    }

    fn architecture(&self) -> Architecture {
        Architecture::from_toml(&self.toml).unwrap()
    }

    fn tensors(&self) -> Tensors {
        random_weights::tensors(&self.shapes, 5)
    }

    fn cpu(&self, instruments: usize) -> Box<dyn Predictor> {
        self.architecture().build(self.tensors(), &Serving::new(instruments)).unwrap()
    }

    fn device(&self, inputs: usize, instruments: usize, order: Order) -> Device {
        let serving = DeviceServing { execution: self.execution, ..serving(inputs, instruments) };
        Device::new(&self.architecture(), self.tensors(), &serving, order)
    }
}

/// Every kind, in sizes that fill no warp, no group of lanes and no tile.
fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for activation in ["relu", "leaky-relu", "elu", "silu", "gelu", "sigmoid", "tanh", "identity"] {
        let toml = format!(
            "kind = 'feed-forward'\ninputs = 7\noutputs = 1\nhidden = [37, 5]\n\
             activation = '{activation}'\noutput = 'sigmoid'\n"
        );
        all.push(Case::new(&toml, random_weights::feed_forward(&[7, 37, 5, 1])));
    }
    all.push(Case::new(
        "kind = 'feed-forward'\ninputs = 3\noutputs = 2\nhidden = []\n",
        random_weights::feed_forward(&[3, 2]),
    ));
    all.push(Case::new(
        "kind = 'feed-forward'\ninputs = 9\noutputs = 1\nhidden = [600]\n",
        random_weights::feed_forward(&[9, 600, 1]),
    ));
    all.push(Case::new(
        "kind = 'autoencoder'\ninputs = 11\nencoder = [9, 3]\n",
        random_weights::autoencoder(11, &[9, 3]),
    ));
    for (inputs, hidden) in
        [(5, &[3][..]), (7, &[20, 20, 9]), (2, &[33, 1]), (3, &[140]), (70, &[9, 66])]
    {
        let toml = format!(
            "kind = 'lstm'\ninputs = {inputs}\noutputs = 1\nsteps = 6\nhidden = {hidden:?}\n\
             output = 'sigmoid'\n"
        );
        let case = Case::new(&toml, random_weights::lstm(inputs, hidden));
        let ways = [Execution::Resident, Execution::Wide];
        all.extend(ways.map(|execution| Case { execution, ..case.clone() }));
    }
    for (inputs, channels, kernel, rest) in [
        (5, &[6, 18][..], 3, "steps = 7"),
        (3, &[17], 1, "steps = 1\npooling = 'mean'"),
        (7, &[20, 3, 5], 2, "steps = 9\ndilations = [1, 3, 8]\npooling = 'mean'"),
        (4, &[16, 33], 4, "steps = 10\ndilations = [3, 2]\npooling = 'max'\nactivation = 'tanh'"),
    ] {
        let toml = format!(
            "kind = 'cnn'\ninputs = {inputs}\noutputs = 1\nchannels = {channels:?}\n\
             kernel = {kernel}\n{rest}\n"
        );
        all.push(Case::new(&toml, random_weights::cnn(inputs, channels, kernel)));
    }
    for (inputs, steps, width, layers, wide, rest) in [
        (5, 7, 12, 2, 19, "heads = 3"),
        (3, 1, 5, 1, 3, "heads = 1\nnorm_first = false\nactivation = 'gelu'"),
        (40, 18, 6, 3, 50, "heads = 2\nbias = 'alibi'\nnorm_first = false"),
        (5, 6, 36, 2, 19, "heads = 2\nattention = 'causal'"),
        (4, 19, 21, 3, 70, "heads = 3\nattention = 'causal'\nbias = 'alibi'\nnorm_first = false"),
        (2, 1, 4, 1, 9, "heads = 4\nattention = 'causal'"),
    ] {
        let toml = format!(
            "kind = 'transformer'\ninputs = {inputs}\noutputs = 1\nsteps = {steps}\n\
             d_model = {width}\nlayers = {layers}\nfeed_forward = {wide}\n{rest}\n"
        );
        let shapes = random_weights::transformer(inputs, width, layers, wide);
        all.push(Case::new(&toml, shapes.clone()));
        if !rest.contains("causal") {
            let last_norm = ["encoder.norm.weight", "encoder.norm.bias"];
            let named = last_norm.map(|name| (name.to_owned(), vec![width]));
            let table = ("position".to_owned(), vec![steps, width]);
            all.push(Case::new(&toml, [shapes, named.to_vec(), vec![table]].concat()));
        }
    }
    all
}

/// What each kind is where only its ends are named.
fn usual() -> Vec<Case> {
    let ends = |kind: &str| format!("kind = '{kind}'\ninputs = 56\noutputs = 1\n");
    vec![
        Case::new(&ends("feed-forward"), random_weights::feed_forward(&[56, 128, 64, 32, 1])),
        Case::new(&ends("lstm"), random_weights::lstm(56, &[64, 32])),
        Case::new(&ends("cnn"), random_weights::cnn(56, &[32, 32, 32], 3)),
        Case::new(
            "kind = 'autoencoder'\ninputs = 56\n",
            random_weights::autoencoder(56, &[32, 16, 8]),
        ),
        Case::new(&ends("transformer"), random_weights::transformer(56, 64, 2, 256)),
        Case::new(
            &(ends("transformer") + "attention = 'causal'\n"),
            random_weights::transformer(56, 64, 2, 256),
        ),
    ]
}

/// Rows and flags of one cycle: each instrument pauses at times, begins anew at times, with or without going
/// on, and one of several is fed a NaN.
fn cycle(key: Key, n: u64, inputs: usize, instruments: usize) -> (Vec<f32>, Vec<u8>) {
    let key = key.fork(n);
    let mut rows = random_weights::numbers(key, instruments * inputs, 2.0);
    let flags = (0..instruments as u64)
        .map(|instrument| {
            let draw = key.fork(1).below(instrument, 16);
            u8::from(draw >= 4) * ACTIVE + u8::from(draw % 7 == 3) * RESET
        })
        .collect();
    if instruments > 1 && n % 10 == 7 {
        rows[(instruments - 1) * inputs] = f32::NAN;
    }
    (rows, flags)
}

/// The same cycle on the CPU.
fn step_cpu(cpu: &mut dyn Predictor, rows: &[f32], flags: &[u8], answers: &mut [f32]) {
    for (instrument, flags) in flags.iter().enumerate() {
        if flags & RESET != 0 {
            cpu.reset(instrument);
        }
    }
    let active: Vec<bool> = flags.iter().map(|flags| flags & ACTIVE != 0).collect();
    cpu.step(rows, &active, answers);
}

fn assert_streams_equal(case: &Case, instruments: usize, cycles: u64, order: Order) {
    let mut cpu = case.cpu(instruments);
    let inputs = cpu.inputs();
    let mut device = case.device(inputs, instruments, order);
    assert_eq!(device.predictor.steps(), cpu.steps());
    let mut expected = vec![0.25; instruments * cpu.outputs()];
    device.set_answers(0.25);
    let key = Key::new(instruments as u64);
    for n in 0..cycles {
        let (rows, flags) = cycle(key, n, inputs, instruments);
        step_cpu(&mut *cpu, &rows, &flags, &mut expected);
        let got = device.step(&rows, &flags);
        let what = format!("{}{instruments} instruments, {order:?}, cycle {n}", case.toml);
        assert_eq!(bits(&got), bits(&expected), "{what}");
    }
    assert!(expected.iter().any(|answer| answer.is_finite()), "{}: {expected:?}", case.toml);
}

#[test]
fn streams_are_answered_as_on_the_cpu_whoever_pauses_or_begins_anew() {
    for case in cases() {
        for (instruments, order) in [1, 3, 16, 3].into_iter().zip(ORDERS) {
            assert_streams_equal(&case, instruments, 30, order);
        }
    }
}

#[test]
fn networks_of_the_usual_sizes_are_answered_as_on_the_cpu() {
    for case in usual() {
        assert_streams_equal(&case, 2, 8, Order::Random { seed: 9 });
        assert_windows_equal(&case, Order::Adversarial { seed: 9 });
    }
}

#[test]
fn a_network_of_the_usual_size_is_one_launch_a_cycle() {
    for case in usual() {
        let device = case.device(56, 16, Order::Ascending);
        let operations = device.predictor.operations(Address(0), Address(0), Address(0));
        assert_eq!(operations.len(), 1, "{}", case.toml);
        let Operation::Launch(launch) = &operations[0] else { panic!("{operations:?}") };
        assert_eq!(launch.grid, [16, 1, 1], "{}: a block an instrument", case.toml);
    }
}

#[test]
fn weights_of_sixteen_bits_are_rounded_as_on_the_cpu() {
    for case in usual() {
        let precision = Precision::Bf16;
        let serving = DeviceServing { precision, ..emulated::serving(56, 2) };
        let order = Order::Random { seed: 7 };
        let mut device = Device::new(&case.architecture(), case.tensors(), &serving, order);
        let serving = Serving { precision, ..Serving::new(2) };
        let mut half = case.architecture().build(case.tensors(), &serving).unwrap();
        let mut full = case.cpu(2);
        let rows = random_weights::numbers(Key::new(1), 2 * 56, 1.0);
        let mut expected = vec![0.0; 2 * half.outputs()];
        let mut unrounded = expected.clone();
        half.step(&rows, &[true; 2], &mut expected);
        full.step(&rows, &[true; 2], &mut unrounded);
        let got = device.step(&rows, &[ACTIVE; 2]);
        assert_eq!(bits(&got), bits(&expected), "{}", case.toml);
        assert_ne!(bits(&got), bits(&unrounded), "{}", case.toml);
    }
}

#[test]
fn a_large_lstm_is_shared_out_layer_by_layer_and_answers_as_on_the_cpu() {
    let toml = "kind = 'lstm'\ninputs = 56\noutputs = 1\nsteps = 3\nhidden = [230, 60]\n";
    let case = Case::new(toml, random_weights::lstm(56, &[230, 60]));
    let device = case.device(56, 5, Order::Ascending);
    let operations = device.predictor.operations(Address(0), Address(0), Address(0));
    assert_eq!(operations.len(), 3, "two layers and the head");
    assert_streams_equal(&case, 5, 6, Order::Random { seed: 5 });
    assert_windows_equal(&case, Order::Ascending);
}

fn assert_windows_equal(case: &Case, order: Order) {
    let mut cpu = case.cpu(3);
    let (inputs, steps, outputs) = (cpu.inputs(), cpu.steps(), cpu.outputs());
    let mut device = case.device(inputs, 3, order);
    for count in [1, 3] {
        let mut windows = random_weights::numbers(Key::new(4), count * steps * inputs, 2.0);
        if count == 3 {
            windows[steps * inputs] = f32::NAN;
        }
        let mut expected = vec![0.0; count * outputs];
        cpu.infer(&windows, &mut expected);
        let got = device.infer(&windows, count);
        assert_eq!(bits(&got), bits(&expected), "{}{order:?}", case.toml);
    }
}

#[test]
fn fresh_windows_are_answered_as_on_the_cpu_and_leave_streams_alone() {
    for case in cases() {
        for order in ORDERS {
            assert_windows_equal(&case, order);
        }
        let inputs = case.cpu(1).inputs();
        let [mut plain, mut disturbed] = [(); 2].map(|()| case.device(inputs, 1, Order::Ascending));
        for n in 0..5 {
            let rows = random_weights::numbers(Key::new(n), inputs, 1.0);
            let steps = disturbed.predictor.steps();
            disturbed.infer(&vec![0.5; steps * inputs], 1);
            let [a, b] = [&mut plain, &mut disturbed].map(|device| device.step(&rows, &[ACTIVE]));
            assert_eq!(bits(&a), bits(&b), "{}", case.toml);
        }
    }
}

#[test]
fn streams_change_sides_in_mid_run_without_a_bit_changing() {
    const INSTRUMENTS: usize = 3;
    for case in cases() {
        let (mut whole, mut part) = (case.cpu(INSTRUMENTS), case.cpu(INSTRUMENTS));
        let inputs = whole.inputs();
        let mut device = case.device(inputs, INSTRUMENTS, Order::Random { seed: 4 });
        let mut expected = vec![0.0; INSTRUMENTS * whole.outputs()];
        let (mut got, mut room) = (expected.clone(), Vec::new());
        for n in 0..40 {
            let (rows, flags) = cycle(Key::new(8), n, inputs, INSTRUMENTS);
            step_cpu(&mut *whole, &rows, &flags, &mut expected);
            // Thirteen cycles there, thirteen here.
            if n / 13 % 2 == 0 {
                device.set_answers(0.0);
                let answers = device.step(&rows, &flags);
                let width = answers.len() / INSTRUMENTS;
                for (at, answer) in answers.iter().enumerate() {
                    if flags[at / width] & ACTIVE != 0 {
                        got[at] = *answer;
                    }
                }
            } else {
                step_cpu(&mut *part, &rows, &flags, &mut got);
            }
            assert_eq!(bits(&got), bits(&expected), "{}cycle {n}", case.toml);
            let Device { driver, predictor, .. } = &mut device;
            match n % 26 {
                12 => predictor.save_streams(&mut **driver, &mut *part, &mut room).unwrap(),
                25 => predictor.load_streams(&mut **driver, &*part, &mut room).unwrap(),
                _ => {}
            }
        }
    }
}

#[test]
fn a_stream_that_is_reset_from_outside_begins_anew() {
    for case in cases() {
        let inputs = case.cpu(1).inputs();
        let mut device = case.device(inputs, 2, Order::Ascending);
        let rows = random_weights::numbers(Key::new(6), 2 * inputs, 1.0);
        let first = device.step(&rows, &[ACTIVE; 2]);
        device.step(&rows, &[ACTIVE; 2]);
        for instrument in 0..2 {
            device.predictor.reset(&mut *device.driver, instrument).unwrap();
        }
        assert_eq!(bits(&device.step(&rows, &[ACTIVE; 2])), bits(&first), "{}", case.toml);
    }
}

#[test]
fn inputs_are_taken_from_where_they_lie_in_a_wider_row() {
    const PLACES: [usize; 7] = [12, 0, 3, 3, 9, 1, 7];
    let case = &cases()[0];
    let serving =
        DeviceServing { row_stride: 13, places: Some(&PLACES), ..emulated::serving(7, 2) };
    let (architecture, order) = (case.architecture(), Order::Random { seed: 1 });
    let mut device = Device::new(&architecture, case.tensors(), &serving, order);
    let wide = random_weights::numbers(Key::new(3), 26, 1.0);
    let rows: Vec<f32> =
        wide.chunks_exact(13).flat_map(|row| PLACES.map(|place| row[place])).collect();
    let mut expected = [0.0; 2];
    case.cpu(2).step(&rows, &[true; 2], &mut expected);
    assert_eq!(bits(&device.step(&wide, &[ACTIVE; 2])), bits(&expected));
}

#[test]
fn an_autoencoders_errors_are_those_of_the_cpu() {
    let case = Case::new(
        "kind = 'autoencoder'\ninputs = 11\nencoder = [9, 3]\n",
        random_weights::autoencoder(11, &[9, 3]),
    );
    let Architecture::Autoencoder(architecture) = case.architecture() else { unreachable!() };
    let mut cpu = Autoencoder::new(&architecture, case.tensors(), &Serving::new(3)).unwrap();
    let mut device = case.device(11, 3, Order::Random { seed: 2 });
    assert!(device.errors().iter().all(|error| error.is_nan()), "no stream has had a step");
    for n in 0..40 {
        let (rows, flags) = cycle(Key::new(2), n, 11, 3);
        step_cpu(&mut cpu, &rows, &flags, &mut [0.0; 33]);
        device.step(&rows, &flags);
        assert_eq!(bits(&device.errors()), bits(cpu.errors()), "cycle {n}, {flags:?}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_what_it_needs_and_what_there_is() {
    let lstm = Case::new(
        "kind = 'lstm'\ninputs = 4\noutputs = 1\nhidden = [100]\n",
        random_weights::lstm(4, &[100]),
    );
    let built = |emulator: &mut Emulator, serving: &DeviceServing<'_>| {
        DevicePredictor::new(emulator, &lstm.architecture(), lstm.tensors(), serving).map(|_| ())
    };
    let small = Settings { shared_bytes_max: 2_000, ..Settings::default() };
    let mut small = Emulator::new(&small).unwrap();
    // A row, units and cells, and four gates of each in thirteen slices of eight.
    let (needed, available) = (4 * (4 + 200 + 416), 2_000);
    let error = DeviceBuildError::Shared { kernel: "lstm_steps", needed, available };
    assert_eq!(built(&mut small, &serving(4, 1)), Err(error.clone()));
    assert_eq!(
        error.to_string(),
        "lstm_steps: 2480 bytes of shared memory needed, the device has 2000"
    );

    let empty = Settings { memory_bytes: 100_000, ..Settings::default() };
    let mut empty = Emulator::new(&empty).unwrap();
    let refused = built(&mut empty, &serving(4, 1));
    let Err(DeviceBuildError::Driver(DriverError::OutOfMemory { asked, free })) = refused else {
        panic!("{refused:?}")
    };
    assert!(asked > 4 * 4 * 100 * 104 && free <= 100_000, "{asked} asked, {free} free");

    let mut device = emulator(Order::Ascending);
    let places = [0, 1, 2, 5];
    let serving = DeviceServing { row_stride: 5, places: Some(&places), ..serving(4, 1) };
    let error = built(&mut device, &serving).unwrap_err().to_string();
    assert_eq!(error, "input 3 at 5 of a row: expected less than 5");
    let serving = DeviceServing { places: Some(&places[..3]), ..serving };
    let error = built(&mut device, &serving).unwrap_err().to_string();
    assert_eq!(error, "3 places in a row of 5: expected 4, one for each input");
    let serving = DeviceServing { row_stride: 3, places: None, ..serving };
    let error = built(&mut device, &serving).unwrap_err().to_string();
    assert_eq!(error, "3 places in a row of 3: expected 4, one for each input");
    let serving = DeviceServing { instruments: 0, row_stride: 4, ..serving };
    let error = built(&mut device, &serving).unwrap_err().to_string();
    assert_eq!(error, "instruments = 0: expected 1 to 65536");
}

#[test]
fn no_kernel_reads_or_writes_what_is_not_its_own() {
    let tests = [
        "an_autoencoders_errors_are_those_of_the_cpu",
        "fresh_windows_are_answered_as_on_the_cpu_and_leave_streams_alone",
        "inputs_are_taken_from_where_they_lie_in_a_wider_row",
        "streams_change_sides_in_mid_run_without_a_bit_changing",
    ];
    let arguments = [&["--exact"], &tests[..]].concat();
    let Some(run) = run_sanitized(&arguments) else { return };
    assert!(run.success && run.passed == tests.len() as u64, "{}", run.output);
}
