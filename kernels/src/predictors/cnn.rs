//! A convolutional network over the feature window: causal convolutions, one pooling over time, a head.
//!
//! Streaming computes one new column in each layer from rings of the columns before, and pools over the
//! last layer's newest `steps` columns. Invariants: a stream of `steps` steps answers as a window of them
//! does, bit for bit; beyond, `last` still does where `steps` covers the receptive field, while a mean or
//! maximum knows true earlier columns where a window begins with zeros; before `steps` steps are seen, a
//! stream pools over those it has.

use super::architecture::{CnnArchitecture, Pooling};
use super::batch_norm;
use super::conv::{Conv, ConvShape, ConvStream, Position};
use super::cuda::{self, DeviceBuildError, Execution, Program};
use super::dense::Dense;
use super::lanes::{LANES, Lanes};
use super::panels::Precision;
use super::predictor::{BuildError, Predictor, Serving, batch_of, choose};
use super::stream;
use super::weights::{Tensors, WeightsError};
use crate::isa::Isa;

/// See the module.
#[derive(Clone, Debug)]
pub struct Cnn {
    isa: Isa,
    inputs: usize,
    steps: usize,
    pub(super) convs: Box<[Conv]>,
    pub(super) pooling: Pooling,
    max_batch: usize,
    pub(super) head: Dense,
    /// What each convolution reads of a window, `[reach + steps][stride]` with zeros in the first `reach`
    /// columns; behind them what the last one gives.
    windows: Box<[Box<[Lanes]>]>,
    /// See [`Conv::window`].
    gathered: Box<[f32]>,
    /// `[instruments][groups]`: what the head reads.
    pooled: Box<[Lanes]>,
    /// `[instruments][groups]`: what the head gives.
    answers: Box<[Lanes]>,
    streams: Streams,
}

/// What streaming needs besides.
#[derive(Clone, Debug)]
struct Streams {
    convs: Box<[ConvStream]>,
    /// Steps of each instrument since it began or was reset.
    seen: Box<[usize]>,
    /// `[instruments][steps][groups]`: rings of the last layer's columns; none where the last is pooled.
    recent: Box<[Lanes]>,
    chosen: Box<[usize]>,
    positions: Box<[Position]>,
    /// `[instruments][inputs]`: rows of those that take part.
    rows: Box<[f32]>,
    /// Columns that go into a layer and out of it, of those that take part.
    columns: [Box<[Lanes]>; 2],
}

impl Cnn {
    /// From a description and its weights, none of which may be left over.
    ///
    /// # Errors
    /// [`BuildError`] where one does not fit the other or is out of bounds.
    pub fn new(
        architecture: &CnnArchitecture,
        mut tensors: Tensors,
        serving: &Serving,
    ) -> Result<Self, BuildError> {
        architecture.validate()?;
        serving.validate()?;
        let CnnArchitecture { inputs, outputs, steps, pooling, .. } = *architecture;
        let Serving { instruments, precision, max_batch, .. } = *serving;
        let convs = convolutions(architecture, &mut tensors, precision)?;
        let channels = convs.last().map_or(inputs, |conv| conv.shape().outputs);
        let output = architecture.output.into();
        let head = Dense::take(&mut tensors, "head", [channels, outputs], output, precision)?;
        tensors.finish()?;
        let last = channels.div_ceil(LANES);
        let read = convs.iter().map(|conv| {
            let shape = conv.shape();
            Lanes::zeros((shape.reach() + steps) * shape.stride).into_boxed_slice()
        });
        let given = vec![Lanes::ZERO; steps * last].into_boxed_slice();
        let windows = read.chain(std::iter::once(given)).collect();
        let gathered = convs.iter().map(|conv| conv.gathered(steps)).max().unwrap_or(0);
        let widest = convs.iter().map(Conv::groups).max().unwrap_or(0);
        let recent = if pooling == Pooling::Last { 0 } else { instruments * steps * last };
        let streams = Streams {
            convs: convs.iter().map(|conv| ConvStream::new(conv.shape(), instruments)).collect(),
            seen: vec![0; instruments].into(),
            recent: vec![Lanes::ZERO; recent].into(),
            chosen: vec![0; instruments].into(),
            positions: vec![Position::default(); instruments].into(),
            rows: vec![0.0; instruments * inputs].into(),
            columns: [(); 2].map(|()| vec![Lanes::ZERO; instruments * widest].into()),
        };
        Ok(Self {
            isa: serving.isa,
            inputs,
            steps,
            pooling,
            max_batch,
            windows,
            gathered: vec![0.0; gathered].into(),
            pooled: vec![Lanes::ZERO; instruments * last].into(),
            answers: vec![Lanes::ZERO; instruments * head.groups()].into(),
            streams,
            convs,
            head,
        })
    }

    /// Convolves and pools one window.
    fn window(&mut self, window: &[f32]) {
        let (isa, steps) = (self.isa, self.steps);
        let first = self.convs[0].shape();
        Lanes::flat_mut(&mut self.windows[0])[first.reach() * first.stride..][..window.len()]
            .copy_from_slice(window);
        for (n, conv) in self.convs.iter().enumerate() {
            let (read, given) = self.windows.split_at_mut(n + 1);
            let reach = self.convs.get(n + 1).map_or(0, |next| next.shape().reach());
            let columns = &mut given[0][reach * conv.groups()..][..steps * conv.groups()];
            conv.window(isa, Lanes::flat(&read[n]), &mut self.gathered, columns);
        }
        let columns = &self.windows[self.convs.len()];
        let pooled = &mut self.pooled[..columns.len() / steps];
        pool(self.pooling, columns.chunks_exact(pooled.len()), pooled);
    }

    /// The head over the first so many pooled columns.
    fn answer(&mut self, count: usize) {
        let stride = self.head.inputs().div_ceil(LANES);
        let answers = &mut self.answers[..count * self.head.groups()];
        self.head.apply(self.isa, Lanes::flat(&self.pooled), stride * LANES, answers);
    }
}

impl Streams {
    /// Convolves a new row of those that take part; returns how many they are.
    fn step(&mut self, isa: Isa, convs: &[Conv], rows: &[f32], active: &[bool]) -> usize {
        let inputs = rows.len() / self.seen.len();
        let chosen = choose(active, &mut self.chosen);
        for ((position, row), &instrument) in
            self.positions.iter_mut().zip(self.rows.chunks_exact_mut(inputs)).zip(chosen)
        {
            *position = Position { instrument, seen: self.seen[instrument] };
            row.copy_from_slice(&rows[instrument * inputs..][..inputs]);
            self.seen[instrument] += 1;
        }
        let positions = &self.positions[..chosen.len()];
        let [given, read] = &mut self.columns;
        for (n, (stream, conv)) in self.convs.iter_mut().zip(convs).enumerate() {
            std::mem::swap(given, read);
            let inputs = if n == 0 { &self.rows } else { Lanes::flat(read) };
            stream.step(isa, conv, positions, inputs, given);
        }
        chosen.len()
    }

    /// Pools what [`step`](Self::step) gave of so many instruments.
    fn pool(
        &mut self,
        pooling: Pooling,
        steps: usize,
        groups: usize,
        count: usize,
        to: &mut [Lanes],
    ) {
        let columns = self.columns[0].chunks_exact(groups).take(count);
        let to = to.chunks_exact_mut(groups);
        for ((column, position), to) in columns.zip(&self.positions).zip(to) {
            if pooling == Pooling::Last {
                to.copy_from_slice(column);
                continue;
            }
            let len = steps * groups;
            let ring = &mut self.recent[position.instrument * len..][..len];
            let slot = position.seen % steps;
            ring[slot * groups..][..groups].copy_from_slice(column);
            let (newer, older) = ring.split_at((slot + 1) * groups);
            let older = if position.seen < steps { &[] } else { older };
            let columns = older.chunks_exact(groups).chain(newer.chunks_exact(groups));
            pool(pooling, columns, to);
        }
    }
}

/// Makes one column of all, the oldest of which comes first.
fn pool<'a>(
    pooling: Pooling,
    mut columns: impl DoubleEndedIterator<Item = &'a [Lanes]> + Clone,
    pooled: &mut [Lanes],
) {
    if pooling == Pooling::Last {
        columns.next_back().into_iter().for_each(|last| pooled.copy_from_slice(last));
        return;
    }
    columns.next().into_iter().for_each(|first| pooled.copy_from_slice(first));
    let pooled = Lanes::flat_mut(pooled);
    let mut count = 1.0;
    for column in columns {
        count += 1.0;
        for (pooled, new) in pooled.iter_mut().zip(Lanes::flat(column)) {
            *pooled = match pooling {
                // So that NaN stays one, whichever of both it is.
                Pooling::Max if *pooled >= *new || pooled.is_nan() => *pooled,
                Pooling::Max | Pooling::Last => *new,
                Pooling::Mean => *pooled + new,
            };
        }
    }
    if pooling == Pooling::Mean {
        for pooled in pooled {
            *pooled /= count;
        }
    }
}

impl Predictor for Cnn {
    fn inputs(&self) -> usize {
        self.inputs
    }

    fn steps(&self) -> usize {
        self.steps
    }

    fn outputs(&self) -> usize {
        self.head.outputs()
    }

    fn infer(&mut self, windows: &[f32], outputs: &mut [f32]) {
        batch_of(self, self.max_batch, windows, outputs);
        let (window, answer) = (self.steps * self.inputs, self.outputs());
        for (window, answer) in windows.chunks_exact(window).zip(outputs.chunks_exact_mut(answer)) {
            self.window(window);
            self.answer(1);
            answer.copy_from_slice(&Lanes::flat(&self.answers)[..answer.len()]);
        }
    }

    fn step(&mut self, rows: &[f32], active: &[bool], outputs: &mut [f32]) {
        let (instruments, width) = (self.streams.seen.len(), self.outputs());
        assert_eq!(rows.len(), self.inputs * instruments, "a row for each instrument");
        assert_eq!(outputs.len(), width * instruments, "an answer for each instrument");
        let count = self.streams.step(self.isa, &self.convs, rows, active);
        let groups = self.head.inputs().div_ceil(LANES);
        self.streams.pool(self.pooling, self.steps, groups, count, &mut self.pooled);
        self.answer(count);
        let answers = self.answers.chunks_exact(self.head.groups());
        for (instrument, answer) in self.streams.chosen[..count].iter().zip(answers) {
            outputs[instrument * width..][..width].copy_from_slice(&Lanes::flat(answer)[..width]);
        }
    }

    fn reset(&mut self, instrument: usize) {
        for conv in &mut self.streams.convs {
            conv.reset(instrument);
        }
        self.streams.seen[instrument] = 0;
    }

    fn stream_words(&self) -> usize {
        let rings: usize =
            self.convs.iter().map(|conv| conv.shape().reach() * conv.shape().inputs).sum();
        let is_last = self.pooling == Pooling::Last;
        // Two of them count steps.
        2 + rings + if is_last { 0 } else { self.steps * self.head.inputs() }
    }

    fn save_stream(&self, instrument: usize, words: &mut [u32]) {
        let mut words = stream::Writer::new(words);
        words.counter(self.streams.seen[instrument]);
        for conv in &self.streams.convs {
            conv.save(instrument, &mut words);
        }
        let recent = Lanes::flat(&self.streams.recent);
        let len = recent.len() / self.streams.seen.len();
        let channels = self.head.inputs();
        let stride = channels.next_multiple_of(LANES);
        for column in recent[instrument * len..][..len].chunks_exact(stride) {
            words.numbers(&column[..channels]);
        }
        words.finish();
    }

    fn load_stream(&mut self, instrument: usize, words: &[u32]) {
        let mut words = stream::Reader::new(words);
        self.streams.seen[instrument] = words.counter();
        for conv in &mut self.streams.convs {
            conv.load(instrument, &mut words);
        }
        let len = self.streams.recent.len() * LANES / self.streams.seen.len();
        let recent = Lanes::flat_mut(&mut self.streams.recent);
        let channels = self.head.inputs();
        let stride = channels.next_multiple_of(LANES);
        for column in recent[instrument * len..][..len].chunks_exact_mut(stride) {
            words.numbers(&mut column[..channels]);
        }
        words.finish();
    }

    fn device_program(&self, _: Execution) -> Result<Program, DeviceBuildError> {
        Ok(cuda::cnn::program(self, self.streams.seen.len()))
    }

    fn weight_bytes(&self) -> usize {
        self.convs.iter().map(Conv::bytes).sum::<usize>() + self.head.bytes()
    }
}

/// `convs.N`, each with the batch norm `norms.N` folded in if there is one.
fn convolutions(
    architecture: &CnnArchitecture,
    tensors: &mut Tensors,
    precision: Precision,
) -> Result<Box<[Conv]>, WeightsError> {
    let CnnArchitecture { kernel, activation, .. } = *architecture;
    let (mut inputs, mut stride) = (architecture.inputs, architecture.inputs);
    let mut convs = Vec::with_capacity(architecture.channels.len());
    for (n, &outputs) in architecture.channels.iter().enumerate() {
        let dilation = architecture.dilations.get(n).copied().unwrap_or(1);
        let mut weight = tensors.take(&format!("convs.{n}.weight"), &[outputs, inputs, kernel])?;
        let bias = tensors.take_optional(&format!("convs.{n}.bias"), &[outputs])?;
        let mut bias = bias.unwrap_or_else(|| vec![0.0; outputs]);
        batch_norm::fold(tensors, &format!("norms.{n}"), &mut weight, &mut bias)?;
        let shape = ConvShape { inputs, stride, outputs, kernel, dilation };
        let conv = Conv::new(&weight, Some(&bias), shape, activation, precision);
        (inputs, stride) = (outputs, conv.groups() * LANES);
        convs.push(conv);
    }
    Ok(convs.into())
}
