//! What the tests of the device path run on, and a network there beside the same on the CPU.

#![allow(dead_code, reason = "not every user needs every item")]

use bytemuck::cast_slice;
use purkinje_cuda::driver::{Address, Driver, Graph, Operation, Pinned};
use purkinje_cuda::emulator::{Emulator, Order, Settings};
use purkinje_cuda::images::{self, Images};
use purkinje_cuda::real::CudaDriver;
use purkinje_kernels::predictors::architecture::Architecture;
use purkinje_kernels::predictors::cuda::{DevicePredictor, DeviceServing, Execution};
use purkinje_kernels::predictors::panels::Precision;
use purkinje_kernels::predictors::weights::Tensors;

/// What the threads are run in.
pub(crate) const ORDERS: [Order; 4] = [
    Order::Ascending,
    Order::Random { seed: 1 },
    Order::Adversarial { seed: 2 },
    Order::Adversarial { seed: 3 },
];

/// A device with one network, whose cycle is one graph.
pub(crate) struct Device {
    pub(crate) driver: Box<dyn Driver>,
    pub(crate) predictor: DevicePredictor,
    instruments: usize,
    from_host: Pinned,
    to_host: Pinned,
    cycle: Graph,
    answers: Address,
}

/// Where `device`, the tests run on the first CUDA device in place of the emulator: `make gpu-test`.
const ON: &str = "CUDA_TESTS_ON";

/// The emulator, or the device that [`ON`] asks for, whose threads run in an order of their own.
pub(crate) fn driver(order: Order) -> Box<dyn Driver> {
    if std::env::var(ON).is_ok_and(|on| on == "device") {
        return Box::new(CudaDriver::open(0, Images::new(images::Settings::default())).unwrap());
    }
    Box::new(emulator(order))
}

pub(crate) fn emulator(order: Order) -> Emulator {
    Emulator::new(&Settings { order, ..Settings::default() }).unwrap()
}

/// As many instruments, each of whose rows is the network's inputs.
pub(crate) fn serving(inputs: usize, instruments: usize) -> DeviceServing<'static> {
    DeviceServing {
        instruments,
        precision: Precision::F32,
        row_stride: inputs,
        places: None,
        execution: Execution::Auto,
    }
}

impl Device {
    pub(crate) fn new(
        architecture: &Architecture,
        tensors: Tensors,
        serving: &DeviceServing<'_>,
        order: Order,
    ) -> Self {
        let mut driver = driver(order);
        let predictor = DevicePredictor::new(&mut *driver, architecture, tensors, serving).unwrap();
        let instruments = serving.instruments;
        // Rows, and behind them flags.
        let rows_bytes = 4 * instruments * serving.row_stride;
        let in_bytes = rows_bytes + instruments;
        let out_bytes = 4 * instruments * predictor.outputs();
        let rows = driver.allocate(in_bytes).unwrap();
        let answers = driver.allocate(out_bytes).unwrap();
        let (from_host, to_host) = (driver.pin(in_bytes).unwrap(), driver.pin(out_bytes).unwrap());
        let mut operations = vec![Operation::CopyIn { from: from_host, to: rows, bytes: in_bytes }];
        operations.extend(predictor.operations(rows, rows.add(rows_bytes), answers));
        operations.push(Operation::CopyOut { from: answers, to: to_host, bytes: out_bytes });
        let cycle = driver.graph(&operations).unwrap();
        Self { driver, predictor, instruments, from_host, to_host, cycle, answers }
    }

    /// A cycle; returns all answers as they stand.
    pub(crate) fn step(&mut self, rows: &[f32], flags: &[u8]) -> Vec<f32> {
        let block = self.driver.pinned(self.from_host);
        let rows: &[u8] = cast_slice(rows);
        block[..rows.len()].copy_from_slice(rows);
        block[rows.len()..].copy_from_slice(flags);
        self.driver.launch(self.cycle).unwrap();
        self.driver.wait().unwrap();
        numbers(self.driver.pinned(self.to_host))
    }

    /// Answers so many fresh windows.
    pub(crate) fn infer(&mut self, windows: &[f32], count: usize) -> Vec<f32> {
        let rows = self.driver.allocate(4 * windows.len()).unwrap();
        let outputs = 4 * count * self.predictor.outputs();
        let answers = self.driver.allocate(outputs).unwrap();
        self.driver.write(rows, cast_slice(windows)).unwrap();
        let operations = self.predictor.window_operations(rows, count, answers).unwrap();
        let graph = self.driver.graph(&operations).unwrap();
        self.driver.launch(graph).unwrap();
        self.driver.wait().unwrap();
        let mut bytes = vec![0; outputs];
        self.driver.read(answers, &mut bytes).unwrap();
        numbers(&bytes)
    }

    /// Puts the same number in place of all answers.
    pub(crate) fn set_answers(&mut self, number: f32) {
        let all = vec![number; self.instruments * self.predictor.outputs()];
        self.driver.write(self.answers, cast_slice(&all)).unwrap();
    }

    /// Each instrument's error.
    pub(crate) fn errors(&mut self) -> Vec<f32> {
        let mut bytes = vec![0; 4 * self.instruments];
        self.driver.read(self.predictor.errors().unwrap(), &mut bytes).unwrap();
        numbers(&bytes)
    }
}

pub(crate) fn numbers(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)).collect()
}

/// The bits of what is a number; any NaN is the same.
pub(crate) fn bits(numbers: &[f32]) -> Vec<u32> {
    numbers.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }).collect()
}
