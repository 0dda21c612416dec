//! A network on a device: its weights and streams there, and the operations that advance them.
//!
//! Invariants: everything is allocated when it is built; what does not fit is refused by then with the size
//! needed and the size there is; the operations do not change from one cycle to the next, because who takes part
//! and whose stream is forgotten travels in the flags.

use purkinje_cuda::driver::{Address, Driver, DriverError, Launch, Operation};
use thiserror::Error;

use super::program::{Batch, Plan, Program};
use crate::predictors::architecture::Architecture;
use crate::predictors::panels::Precision;
use crate::predictors::predictor::{BuildError, Predictor, Serving};
use crate::predictors::weights::Tensors;

/// How a network is run on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceServing<'a> {
    /// Instruments whose streams are carried: as of [`Serving::instruments`].
    pub instruments: usize,
    /// How weights are rounded. They take 32 bits on the device in any case.
    pub precision: Precision,
    /// Numbers of a row that steps are computed from: at least the network's inputs.
    pub row_stride: usize,
    /// Where each of the network's inputs lies in such a row; none where they are its beginning.
    pub places: Option<&'a [usize]>,
    /// How steps are shared out among the device's multiprocessors.
    pub execution: Execution,
}

/// How a step is shared out among the device's multiprocessors. It changes no bit of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Execution {
    /// By the size of the weights.
    #[default]
    Auto,
    /// One launch, in which each instrument has a multiprocessor.
    Resident,
    /// A launch a layer, each of whose slices has a multiprocessor. Only LSTMs can be, others are resident.
    Wide,
}

/// How the rows lie that a network's steps are computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows<'a> {
    /// Numbers from one instrument's row to the next: at least the network's inputs.
    pub stride: usize,
    /// Where each of the network's inputs lies in such a row; none where they are its beginning.
    pub places: Option<&'a [usize]>,
}

/// Why a network could not be built on a device.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum DeviceBuildError {
    /// It could not be built on the CPU either.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The device or its memory.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// A block's memory does not hold what it computes with.
    #[error("{kernel}: {needed} bytes of shared memory needed, the device has {available}")]
    Shared {
        /// What would compute it.
        kernel: &'static str,
        /// Bytes that it takes.
        needed: usize,
        /// Bytes that a block may have.
        available: usize,
    },
    /// Somebody else answers, for whom there are no kernels.
    #[error("there are no kernels for it: {by} answers")]
    NotServed {
        /// Who.
        by: &'static str,
    },
    /// An input lies outside a row.
    #[error("input {input} at {place} of a row: expected less than {row_stride}")]
    Place {
        /// Which input.
        input: usize,
        /// Where it should lie.
        place: usize,
        /// Numbers of a row.
        row_stride: usize,
    },
    /// Places for another number of inputs.
    #[error("{found} places in a row of {row_stride}: expected {inputs}, one for each input")]
    Inputs {
        /// As many as there are.
        found: usize,
        /// Numbers of a row.
        row_stride: usize,
        /// The network's inputs.
        inputs: usize,
    },
}

/// See the module.
#[derive(Debug)]
pub struct DevicePredictor {
    step: Vec<Plan>,
    window: Plan,
    inputs: usize,
    steps: usize,
    outputs: usize,
    instruments: usize,
    stream_words: usize,
    row_stride: usize,
    shared_bytes_max: usize,
    bytes: usize,
    weights: Address,
    places: Address,
    streams: Address,
    errors: Option<Address>,
    between: Address,
}

impl DevicePredictor {
    /// Builds a network from its description and weights, as the CPU's is built, and puts it on a device.
    ///
    /// # Errors
    /// [`DeviceBuildError`]: the network is refused, or what it needs is not there.
    pub fn new(
        driver: &mut dyn Driver,
        architecture: &Architecture,
        tensors: Tensors,
        serving: &DeviceServing<'_>,
    ) -> Result<Self, DeviceBuildError> {
        let DeviceServing { instruments, precision, row_stride, places, execution } = *serving;
        let cpu = Serving { precision, max_batch: 1, ..Serving::new(instruments) };
        let program = architecture.build(tensors, &cpu)?.device_program(execution)?;
        Self::load(driver, &program, &Rows { stride: row_stride, places })
    }

    /// Loads the kernels that a network takes, and puts its weights and empty streams on the device.
    ///
    /// # Errors
    /// [`DeviceBuildError`]: what it needs is not there.
    pub fn load(
        driver: &mut dyn Driver,
        program: &Program,
        rows: &Rows<'_>,
    ) -> Result<Self, DeviceBuildError> {
        let places = places(program, rows)?;
        let shared_bytes_max = driver.device().shared_bytes_max as usize;
        for plan in &program.step {
            fits(plan, shared_bytes_max)?;
        }

        let instruments = program.instruments;
        let words = instruments * program.stream_words;
        let errors = if program.has_errors { instruments } else { 0 };
        let between = instruments * program.between;
        let words_in_all = program.weights.len() + places.len() + words + errors + between;
        let bytes = size_of::<u32>() * words_in_all;
        let free = driver.free_bytes()?;
        if bytes as u64 > free {
            return Err(DriverError::OutOfMemory { asked: bytes as u64, free }.into());
        }
        driver.load(program.module)?;
        let mut put = |bytes: &[u8]| -> Result<Address, DriverError> {
            if bytes.is_empty() {
                return Ok(Address(0));
            }
            let address = driver.allocate(bytes.len())?;
            driver.write(address, bytes)?;
            Ok(address)
        };
        let weights = put(bytemuck::cast_slice(&program.weights))?;
        let places = put(bytemuck::cast_slice(&places))?;
        let streams = put(&vec![0; size_of::<u32>() * words])?;
        let errors = put(bytemuck::cast_slice(&vec![f32::NAN; errors]))?;
        let between = put(&vec![0; size_of::<f32>() * between])?;
        Ok(Self {
            inputs: program.inputs,
            steps: program.steps,
            outputs: program.outputs,
            instruments,
            stream_words: program.stream_words,
            row_stride: rows.stride,
            step: program.step.clone(),
            window: program.window.clone(),
            shared_bytes_max,
            bytes,
            weights,
            places,
            streams,
            errors: program.has_errors.then_some(errors),
            between,
        })
    }

    /// Features of one step.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Steps of a window; 1 for a network without memory.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Numbers in an answer.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Bytes of the device's memory that it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where an autoencoder leaves each instrument's error, `[instruments]` numbers; NaN where it had no step
    /// since it was reset.
    #[must_use]
    pub fn errors(&self) -> Option<Address> {
        self.errors
    }

    /// Bytes of all streams.
    #[must_use]
    pub fn stream_bytes(&self) -> usize {
        size_of::<u32>() * self.instruments * self.stream_words
    }

    /// What advances the streams by one step: `rows` is `[instruments]` rows as [`Rows`] says, `flags` a byte for
    /// each instrument of [`flags`](purkinje_cuda::flags), `answers` `[instruments][outputs]`, of which those of
    /// instruments that are not active are left alone.
    #[must_use]
    pub fn operations(&self, rows: Address, flags: Address, answers: Address) -> Vec<Operation> {
        self.operations_with_errors(rows, flags, answers, self.errors.unwrap_or_default())
    }

    /// As [`operations`](Self::operations), with each instrument's error of an autoencoder left at `errors`.
    #[must_use]
    pub fn operations_with_errors(
        &self,
        rows: Address,
        flags: Address,
        answers: Address,
        errors: Address,
    ) -> Vec<Operation> {
        let batch = Batch {
            rows: rows.0,
            places: self.places.0,
            flags: flags.0,
            answers: answers.0,
            streams: self.streams.0,
            errors: errors.0,
            between: self.between.0,
            row_stride: self.row_stride as u32,
            stream_words: self.stream_words as u32,
            steps: 1,
            ..self.batch()
        };
        self.step.iter().map(|plan| launch(plan, &batch, self.instruments)).collect()
    }

    /// What answers fresh windows, which leave the streams alone: `windows` is `[count][steps][inputs]`, oldest
    /// step first, and `answers` `[count][outputs]`.
    ///
    /// # Errors
    /// [`DeviceBuildError::Shared`] where a window does not fit.
    pub fn window_operations(
        &self,
        windows: Address,
        count: usize,
        answers: Address,
    ) -> Result<Vec<Operation>, DeviceBuildError> {
        fits(&self.window, self.shared_bytes_max)?;
        let batch = Batch {
            rows: windows.0,
            answers: answers.0,
            row_stride: self.inputs as u32,
            steps: self.steps as u32,
            ..self.batch()
        };
        Ok(if count == 0 { Vec::new() } else { vec![launch(&self.window, &batch, count)] })
    }

    fn batch(&self) -> Batch {
        Batch { weights: self.weights.0, inputs: self.inputs as u32, ..Batch::default() }
    }

    /// Forgets what an instrument's stream held, now: outside of a cycle, which has a flag for it.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Panics
    /// Where there is no such instrument.
    pub fn reset(&self, driver: &mut dyn Driver, instrument: usize) -> Result<(), DriverError> {
        assert!(instrument < self.instruments, "instrument {instrument} of {}", self.instruments);
        if let Some(errors) = self.errors {
            let place = errors.add(size_of::<f32>() * instrument);
            driver.write(place, &f32::NAN.to_ne_bytes())?;
        }
        let bytes = size_of::<u32>() * self.stream_words;
        if bytes == 0 {
            return Ok(());
        }
        driver.write(self.streams.add(bytes * instrument), &vec![0; bytes])
    }

    /// Takes over the streams of the same network on the CPU. `room` holds a copy of them meanwhile, and grows where
    /// it is too small.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Panics
    /// Where it is another network's, or one of fewer instruments.
    pub fn load_streams(
        &self,
        driver: &mut dyn Driver,
        from: &dyn Predictor,
        room: &mut Vec<u32>,
    ) -> Result<(), DriverError> {
        assert_eq!(from.stream_words(), self.stream_words, "words of a stream");
        if self.stream_words == 0 {
            return Ok(());
        }
        room.resize(self.instruments * self.stream_words, 0);
        for (instrument, words) in room.chunks_exact_mut(self.stream_words).enumerate() {
            from.save_stream(instrument, words);
        }
        driver.write(self.streams, bytemuck::cast_slice(room))
    }

    /// Hands the streams over to the same network on the CPU, as the device has them now; where it does not answer,
    /// those on the CPU are left as they were.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Panics
    /// As [`load_streams`](Self::load_streams).
    pub fn save_streams(
        &self,
        driver: &mut dyn Driver,
        to: &mut dyn Predictor,
        room: &mut Vec<u32>,
    ) -> Result<(), DriverError> {
        assert_eq!(to.stream_words(), self.stream_words, "words of a stream");
        if self.stream_words == 0 {
            return Ok(());
        }
        room.resize(self.instruments * self.stream_words, 0);
        driver.read(self.streams, bytemuck::cast_slice_mut(room))?;
        for (instrument, words) in room.chunks_exact(self.stream_words).enumerate() {
            to.load_stream(instrument, words);
        }
        Ok(())
    }
}

/// Places in a row as the kernels take them; none where the inputs are its beginning.
fn places(program: &Program, rows: &Rows<'_>) -> Result<Vec<u32>, DeviceBuildError> {
    let (inputs, row_stride) = (program.inputs, rows.stride);
    let found = rows.places.map_or(row_stride.min(inputs), <[usize]>::len);
    if found != inputs {
        return Err(DeviceBuildError::Inputs { found, row_stride, inputs });
    }
    let places = rows.places.unwrap_or_default();
    for (input, &place) in places.iter().enumerate() {
        if place >= row_stride {
            return Err(DeviceBuildError::Place { input, place, row_stride });
        }
    }
    Ok(places.iter().map(|place| *place as u32).collect())
}

fn fits(plan: &Plan, available: usize) -> Result<(), DeviceBuildError> {
    let (kernel, needed) = (plan.kernel, plan.shared_bytes);
    if needed > available {
        return Err(DeviceBuildError::Shared { kernel, needed, available });
    }
    Ok(())
}

fn launch(plan: &Plan, batch: &Batch, count: usize) -> Operation {
    Operation::Launch(Launch {
        kernel: plan.kernel,
        grid: plan.blocks.grid(count),
        threads: plan.threads,
        shared_bytes: plan.shared_bytes as u32,
        argument: [bytemuck::bytes_of(batch), &plan.sizes].concat(),
    })
}
