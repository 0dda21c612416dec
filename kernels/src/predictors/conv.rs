//! One-dimensional causal convolution: a column of channels out for each column in, from that column and
//! those before it.
//!
//! A window is convolved at once: with dilation 1 the columns that a kernel covers lie side by side, so
//! that the products read the window where it is; with another they are gathered first. A stream is
//! convolved column by column, from a ring of the columns that the kernel still reaches. Invariants: what
//! lies before the first column is zero; both ways give the same bits.

use super::activation::Activation;
use super::dense::Dense;
use super::lanes::Lanes;
use super::linear::Linear;
use super::panels::Precision;
use super::stream::{Reader, Writer};
use crate::isa::Isa;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels of a column that comes in.
    pub inputs: usize,
    /// Numbers from one column that comes in to the next; those beyond the channels do not count.
    pub stride: usize,
    /// Channels of a column that goes out.
    pub outputs: usize,
    /// Columns that one answer looks at.
    pub kernel: usize,
    /// Steps from one of them to the next.
    pub dilation: usize,
}

impl ConvShape {
    /// Steps before the present one of which a kernel knows.
    #[must_use]
    pub fn reach(self) -> usize {
        (self.kernel - 1) * self.dilation
    }

    /// Numbers that one column out is computed from.
    fn covered(self) -> usize {
        self.kernel * self.stride
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Conv {
    shape: ConvShape,
    /// From the columns that a kernel covers to the column that goes out.
    pub(super) dense: Dense,
}

impl Conv {
    /// From PyTorch's `[outputs][inputs][kernel]` weights and a bias for each output, none meaning zeros.
    ///
    /// # Panics
    /// Where the lengths do not fit the shape: shapes are checked when a model is loaded.
    #[must_use]
    pub fn new(
        weight: &[f32],
        bias: Option<&[f32]>,
        shape: ConvShape,
        activation: Activation,
        precision: Precision,
    ) -> Self {
        let ConvShape { inputs, stride, outputs, kernel, .. } = shape;
        assert_eq!(weight.len(), outputs * inputs * kernel, "weights of {shape:?}");
        let mut by_tap = vec![0.0; outputs * shape.covered()];
        for (row, weights) in
            by_tap.chunks_exact_mut(shape.covered()).zip(weight.chunks_exact(inputs * kernel))
        {
            for (channel, taps) in weights.chunks_exact(kernel).enumerate() {
                for (tap, weight) in taps.iter().enumerate() {
                    row[tap * stride + channel] = *weight;
                }
            }
        }
        let linear = Linear::new(&by_tap, bias, outputs, shape.covered(), precision);
        Self { shape, dense: Dense::new(linear, activation) }
    }

    /// Its sizes.
    #[must_use]
    pub fn shape(&self) -> ConvShape {
        self.shape
    }

    /// Groups of lanes of a column that goes out.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.dense.groups()
    }

    /// Bytes of weights that an answer reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.dense.bytes()
    }

    /// Numbers that [`window`](Self::window) gathers for so many steps.
    #[must_use]
    pub fn gathered(&self, steps: usize) -> usize {
        if self.shape.dilation == 1 { 0 } else { steps * self.shape.covered() }
    }

    /// Convolves a window: `padded` is [`reach`](ConvShape::reach) columns of zeros and the window's own,
    /// `columns` has room for as many as the window has.
    ///
    /// # Panics
    /// Where `padded` or `gathered` is too short.
    pub fn window(&self, isa: Isa, padded: &[f32], gathered: &mut [f32], columns: &mut [Lanes]) {
        let ConvShape { stride, kernel, dilation, .. } = self.shape;
        if dilation == 1 {
            self.dense.apply(isa, padded, stride, columns);
        } else {
            let covered = self.shape.covered();
            let steps = columns.len() / self.groups();
            for (step, covered) in gathered.chunks_exact_mut(covered).take(steps).enumerate() {
                for (tap, column) in covered.chunks_exact_mut(stride).enumerate().take(kernel) {
                    column.copy_from_slice(&padded[(step + tap * dilation) * stride..][..stride]);
                }
            }
            self.dense.apply(isa, gathered, covered, columns);
        }
    }
}

/// One convolution over the streams of several instruments.
#[derive(Clone, Debug)]
pub struct ConvStream {
    shape: ConvShape,
    /// `[instruments][reach][stride]`, a ring for each instrument.
    columns: Box<[f32]>,
    /// `[instruments][kernel][stride]`: what the columns of one step are computed from.
    gathered: Box<[f32]>,
}

impl ConvStream {
    /// Empty streams: zeros.
    #[must_use]
    pub fn new(shape: ConvShape, instruments: usize) -> Self {
        Self {
            shape,
            columns: vec![0.0; instruments * shape.reach() * shape.stride].into(),
            gathered: vec![0.0; instruments * shape.covered()].into(),
        }
    }

    /// Forgets what an instrument's stream held.
    pub fn reset(&mut self, instrument: usize) {
        let len = self.shape.reach() * self.shape.stride;
        self.columns[instrument * len..][..len].fill(0.0);
    }

    /// Writes an instrument's ring, channels only.
    pub(super) fn save(&self, instrument: usize, words: &mut Writer<'_>) {
        let ring = self.shape.reach() * self.shape.stride;
        for column in self.columns[instrument * ring..][..ring].chunks_exact(self.shape.stride) {
            words.numbers(&column[..self.shape.inputs]);
        }
    }

    /// Reads what [`save`](Self::save) wrote.
    pub(super) fn load(&mut self, instrument: usize, words: &mut Reader<'_>) {
        let ConvShape { inputs, stride, .. } = self.shape;
        let ring = self.shape.reach() * stride;
        for column in self.columns[instrument * ring..][..ring].chunks_exact_mut(stride) {
            words.numbers(&mut column[..inputs]);
            column[inputs..].fill(0.0);
        }
    }

    /// One new column for some instruments: `streams` says for each of them which it is and how many
    /// columns its stream has had; `inputs` and `outputs` hold their columns in the same order.
    ///
    /// # Panics
    /// Where an instrument is none of these, or `inputs` or `outputs` has no room for all of them.
    pub fn step(
        &mut self,
        isa: Isa,
        conv: &Conv,
        streams: &[Position],
        inputs: &[f32],
        outputs: &mut [Lanes],
    ) {
        let ConvShape { stride, kernel, dilation, .. } = self.shape;
        let (reach, covered) = (self.shape.reach(), self.shape.covered());
        for ((stream, new), covered) in streams
            .iter()
            .zip(inputs.chunks_exact(stride))
            .zip(self.gathered.chunks_exact_mut(covered))
        {
            let ring = &mut self.columns[stream.instrument * reach * stride..][..reach * stride];
            for (tap, column) in covered.chunks_exact_mut(stride).enumerate() {
                if tap + 1 == kernel {
                    column.copy_from_slice(new);
                } else {
                    // `reach` steps ago is the slot that the new column takes.
                    let slot = (stream.seen + tap * dilation) % reach;
                    column.copy_from_slice(&ring[slot * stride..][..stride]);
                }
            }
            if reach > 0 {
                ring[stream.seen % reach * stride..][..stride].copy_from_slice(new);
            }
        }
        let outputs = &mut outputs[..streams.len() * conv.groups()];
        conv.dense.apply(isa, &self.gathered, covered, outputs);
    }
}

/// Where a stream stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Whose stream it is.
    pub instrument: usize,
    /// Steps it has had since it began or was reset.
    pub seen: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    fn numbers(key: u64, len: usize) -> Vec<f32> {
        (0..len as u64).map(|i| Key::new(key).normal(i)).collect()
    }

    const STEPS: usize = 13;

    fn expected(shape: ConvShape, weight: &[f32], bias: &[f32], x: &[f32]) -> Vec<f64> {
        let mut all = Vec::new();
        for step in 0..STEPS {
            for (output, bias) in bias.iter().enumerate() {
                let mut sum = f64::from(*bias);
                for channel in 0..shape.inputs {
                    for tap in 0..shape.kernel {
                        let weight = weight[(output * shape.inputs + channel) * shape.kernel + tap];
                        let ago = (shape.kernel - 1 - tap) * shape.dilation;
                        if let Some(at) = step.checked_sub(ago) {
                            let x = x[at * shape.stride + channel];
                            sum += f64::from(weight) * f64::from(x);
                        }
                    }
                }
                all.push(sum);
            }
        }
        all
    }

    #[test]
    fn windows_and_streams_are_the_sum_over_the_kernel_with_the_same_bits() {
        for (kernel, dilation) in [(1, 1), (2, 1), (3, 1), (3, 2), (2, 5), (4, 7)] {
            let shape = ConvShape { inputs: 5, stride: 7, outputs: 18, kernel, dilation };
            let weight = numbers(1, 18 * 5 * kernel);
            let bias = numbers(2, 18);
            let x = numbers(3, STEPS * shape.stride);
            let conv = Conv::new(&weight, Some(&bias), shape, Activation::Identity, Precision::F32);
            let mut padded = vec![0.0; shape.reach() * shape.stride];
            padded.extend(&x);
            let mut gathered = vec![0.0; conv.gathered(STEPS)];
            let groups = conv.groups();
            let mut window = vec![Lanes::ZERO; STEPS * groups];
            conv.window(Isa::Portable, &padded, &mut gathered, &mut window);
            let expected = expected(shape, &weight, &bias, &x);
            for (step, got) in window.chunks_exact(groups).enumerate() {
                for (got, expected) in Lanes::flat(got)[..18].iter().zip(&expected[step * 18..]) {
                    assert!((f64::from(*got) - expected).abs() < 1e-5, "{got} {expected}");
                }
            }
            for isa in Isa::here() {
                let mut again = window.clone();
                conv.window(isa, &padded, &mut gathered, &mut again);
                assert_eq!(again, window, "{isa:?}");
                // Two instruments; the first starts three steps late and is reset once.
                let mut stream = ConvStream::new(shape, 2);
                let mut out = vec![Lanes::ZERO; 2 * groups];
                for warm in 0..3 {
                    let at = [Position { instrument: 0, seen: warm }];
                    stream.step(isa, &conv, &at, &x[..7], &mut out);
                }
                stream.reset(0);
                for step in 0..STEPS {
                    let at = [0, 1].map(|instrument| Position { instrument, seen: step });
                    let column = &x[step * 7..][..7];
                    stream.step(isa, &conv, &at, &[column, column].concat(), &mut out);
                    for out in out.chunks_exact(groups) {
                        assert_eq!(out, &window[step * groups..][..groups], "{isa:?} {step}");
                    }
                }
            }
        }
    }
}
