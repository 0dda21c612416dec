//! A transformer encoder over the feature window; the head reads the newest position.
//!
//! With `attention = "window"` every position sees the whole window, so that a step computes all of it
//! again; steps that a stream has not had yet count as rows of zeros. With `attention = "causal"` a position
//! sees itself and the `steps - 1` before it, and a step computes one position against what each block
//! remembers of the others. Invariants: windows and streams give the same bits where they see the same,
//! which for causal attention is a stream of at most `steps` steps; beyond, earlier blocks have seen
//! further back than a window goes. The last block computes nothing but the newest position.

use super::architecture::{self, TransformerArchitecture};
use super::attention::{Attention, AttentionWeights, Memory};
use super::cuda::{self, DeviceBuildError, Execution, Program};
use super::dense::Dense;
use super::encoder::{EncoderLayer, EncoderScratch};
use super::lanes::{LANES, Lanes};
use super::layer_norm::{EPSILON, LayerNorm};
use super::linear::Linear;
use super::panels::Precision;
use super::predictor::{BuildError, Predictor, Serving, batch_of, choose};
use super::stream;
use super::weights::{Tensors, WeightsError};
use crate::isa::Isa;

/// See the module.
#[derive(Clone, Debug)]
pub struct Transformer {
    pub(super) network: Network,
    max_batch: usize,
    streams: Streams,
    chosen: Box<[usize]>,
}

/// The weights and room to compute in.
#[derive(Clone, Debug)]
pub(super) struct Network {
    isa: Isa,
    steps: usize,
    pub(super) is_causal: bool,
    pub(super) input: Linear,
    /// `[steps][width]`, added to what comes in.
    pub(super) position: Option<Box<[Lanes]>>,
    pub(super) layers: Box<[EncoderLayer]>,
    pub(super) norm: Option<LayerNorm>,
    pub(super) head: Dense,
    vectors: Box<[Lanes]>,
    answers: Box<[Lanes]>,
    memory: Memory,
    scratch: EncoderScratch,
}

#[derive(Clone, Debug)]
enum Streams {
    /// `[instruments][2 · steps][inputs]`: each row is written twice, `steps` apart, so that the newest
    /// `steps` always lie side by side. `seen` counts steps.
    Window { rows: Box<[f32]>, seen: Box<[usize]> },
    /// A memory for each block and instrument.
    Causal { memories: Box<[Box<[Memory]>]> },
}

impl Transformer {
    /// From a description and its weights, none of which may be left over.
    ///
    /// # Errors
    /// [`BuildError`] where one does not fit the other or is out of bounds.
    pub fn new(
        architecture: &TransformerArchitecture,
        mut tensors: Tensors,
        serving: &Serving,
    ) -> Result<Self, BuildError> {
        architecture.validate()?;
        serving.validate()?;
        let network = Network::new(architecture, &mut tensors, serving)?;
        tensors.finish()?;
        let (instruments, steps) = (serving.instruments, architecture.steps);
        let streams = if network.is_causal {
            let memories = |layer: &EncoderLayer| vec![layer.attention.memory(steps); instruments];
            let memories = network.layers.iter().map(|layer| memories(layer).into()).collect();
            Streams::Causal { memories }
        } else {
            let rows = vec![0.0; instruments * 2 * steps * architecture.inputs].into();
            Streams::Window { rows, seen: vec![0; instruments].into() }
        };
        let chosen = vec![0; instruments].into();
        Ok(Self { network, max_batch: serving.max_batch, streams, chosen })
    }
}

impl Network {
    fn new(
        architecture: &TransformerArchitecture,
        tensors: &mut Tensors,
        serving: &Serving,
    ) -> Result<Self, WeightsError> {
        let TransformerArchitecture { inputs, outputs, steps, d_model: width, .. } = *architecture;
        let precision = serving.precision;
        let is_causal = architecture.attention == architecture::Attention::Causal;
        let input = Linear::take(tensors, "input", [inputs, width], precision)?;
        // A stream has no beginning, and so causal attention no table: one that is there is left over.
        let position = if is_causal {
            None
        } else {
            tensors.take_optional("position", &[steps, width])?.map(|table| padded(&table, width))
        };
        let layers = (0..architecture.layers)
            .map(|n| layer(tensors, architecture, n, precision))
            .collect::<Result<Box<[_]>, _>>()?;
        let norm = if tensors.contains("encoder.norm.weight") {
            Some(layer_norm(tensors, "encoder.norm", width)?)
        } else {
            None
        };
        let output = architecture.output.into();
        let head = Dense::take(tensors, "head", [width, outputs], output, precision)?;
        let vectors = if is_causal { steps.max(serving.instruments) } else { steps };
        // An architecture has at least one layer, and all are of the same sizes.
        let first = &layers[0];
        let (memory, scratch) = (first.attention.memory(steps), first.scratch(vectors, steps));
        Ok(Self {
            isa: serving.isa,
            steps,
            is_causal,
            position,
            norm,
            vectors: vec![Lanes::ZERO; vectors * input.groups()].into(),
            answers: vec![Lanes::ZERO; vectors * head.groups()].into(),
            memory,
            scratch,
            input,
            layers,
            head,
        })
    }

    /// Answers one window.
    fn window(&mut self, window: &[f32], answer: &mut [f32]) {
        let (isa, groups) = (self.isa, self.input.groups());
        let vectors = &mut self.vectors[..self.steps * groups];
        self.input.apply(isa, window, self.input.inputs(), vectors);
        if let Some(position) = &self.position {
            let numbers = Lanes::flat_mut(vectors).iter_mut();
            for (number, position) in numbers.zip(Lanes::flat(position)) {
                *number += position;
            }
        }
        for (n, layer) in self.layers.iter().enumerate() {
            let asking = if n + 1 == self.layers.len() { 1 } else { self.steps };
            let (memory, scratch) = (&mut self.memory, &mut self.scratch);
            layer.window(isa, vectors, asking, self.is_causal, memory, scratch);
        }
        let newest = (self.steps - 1) * groups;
        self.answer(newest..newest + groups);
        answer.copy_from_slice(&Lanes::flat(&self.answers)[..answer.len()]);
    }

    /// One new position for some streams; `rows` holds those of all instruments.
    fn step(&mut self, rows: &[f32], streams: &[usize], memories: &mut [Box<[Memory]>]) {
        let (isa, groups, inputs) = (self.isa, self.input.groups(), self.input.inputs());
        let vectors = &mut self.vectors[..streams.len() * groups];
        for (vector, stream) in vectors.chunks_exact_mut(groups).zip(streams) {
            self.input.apply(isa, &rows[stream * inputs..][..inputs], inputs, vector);
        }
        for (layer, memories) in self.layers.iter().zip(memories) {
            layer.step(isa, vectors, streams, memories, &mut self.scratch);
        }
        self.answer(0..streams.len() * groups);
    }

    /// The head over some vectors.
    fn answer(&mut self, range: std::ops::Range<usize>) {
        let groups = self.input.groups();
        let vectors = &mut self.vectors[range];
        if let Some(norm) = &self.norm {
            norm.apply_in_place(self.isa, vectors);
        }
        let answers = &mut self.answers[..vectors.len() / groups * self.head.groups()];
        self.head.apply(self.isa, Lanes::flat(vectors), groups * LANES, answers);
    }
}

impl Predictor for Transformer {
    fn inputs(&self) -> usize {
        self.network.input.inputs()
    }

    fn steps(&self) -> usize {
        self.network.steps
    }

    fn outputs(&self) -> usize {
        self.network.head.outputs()
    }

    fn infer(&mut self, windows: &[f32], outputs: &mut [f32]) {
        batch_of(self, self.max_batch, windows, outputs);
        let (window, answer) = (self.steps() * self.inputs(), self.outputs());
        for (window, answer) in windows.chunks_exact(window).zip(outputs.chunks_exact_mut(answer)) {
            self.network.window(window, answer);
        }
    }

    fn step(&mut self, rows: &[f32], active: &[bool], outputs: &mut [f32]) {
        let (inputs, steps, width) = (self.inputs(), self.steps(), self.outputs());
        assert_eq!(rows.len(), inputs * self.chosen.len(), "a row for each instrument");
        assert_eq!(outputs.len(), width * self.chosen.len(), "an answer for each instrument");
        let chosen = choose(active, &mut self.chosen);
        match &mut self.streams {
            Streams::Window { rows: held, seen } => {
                for &stream in chosen {
                    let held = &mut held[stream * 2 * steps * inputs..][..2 * steps * inputs];
                    let slot = seen[stream] % steps;
                    for slot in [slot, slot + steps] {
                        held[slot * inputs..][..inputs]
                            .copy_from_slice(&rows[stream * inputs..][..inputs]);
                    }
                    seen[stream] += 1;
                    let window = &held[(slot + 1) * inputs..][..steps * inputs];
                    self.network.window(window, &mut outputs[stream * width..][..width]);
                }
            }
            Streams::Causal { memories } => {
                self.network.step(rows, chosen, memories);
                let groups = self.network.head.groups();
                for (stream, answer) in chosen.iter().zip(self.network.answers.chunks_exact(groups))
                {
                    outputs[stream * width..][..width]
                        .copy_from_slice(&Lanes::flat(answer)[..width]);
                }
            }
        }
    }

    fn reset(&mut self, instrument: usize) {
        match &mut self.streams {
            Streams::Window { rows, seen } => {
                let len = rows.len() / seen.len();
                rows[instrument * len..][..len].fill(0.0);
                seen[instrument] = 0;
            }
            Streams::Causal { memories } => {
                for memories in memories {
                    memories[instrument].clear();
                }
            }
        }
    }

    fn stream_words(&self) -> usize {
        // Two of them count steps.
        2 + match &self.streams {
            Streams::Window { .. } => self.steps() * self.inputs(),
            Streams::Causal { memories } => {
                memories.iter().map(|memories| memories[0].words()).sum()
            }
        }
    }

    fn save_stream(&self, instrument: usize, words: &mut [u32]) {
        let mut words = stream::Writer::new(words);
        match &self.streams {
            Streams::Window { rows, seen } => {
                words.counter(seen[instrument]);
                let len = self.steps() * self.inputs();
                words.numbers(&rows[instrument * 2 * len..][..len]);
            }
            Streams::Causal { memories } => {
                words.counter(memories.first().map_or(0, |memories| memories[instrument].seen));
                for memories in memories {
                    memories[instrument].save(&mut words);
                }
            }
        }
        words.finish();
    }

    fn load_stream(&mut self, instrument: usize, words: &[u32]) {
        let mut words = stream::Reader::new(words);
        let len = self.steps() * self.inputs();
        let count = words.counter();
        match &mut self.streams {
            Streams::Window { rows, seen } => {
                seen[instrument] = count;
                let (first, second) = rows[instrument * 2 * len..][..2 * len].split_at_mut(len);
                words.numbers(first);
                second.copy_from_slice(first);
            }
            Streams::Causal { memories } => {
                for memories in memories {
                    memories[instrument].load(count, &mut words);
                }
            }
        }
        words.finish();
    }

    fn device_program(&self, _: Execution) -> Result<Program, DeviceBuildError> {
        Ok(cuda::transformer::program(self, self.chosen.len()))
    }

    fn weight_bytes(&self) -> usize {
        let network = &self.network;
        network.input.bytes()
            + network.position.as_ref().map_or(0, |table| size_of_val(&table[..]))
            + network.layers.iter().map(EncoderLayer::bytes).sum::<usize>()
            + network.norm.as_ref().map_or(0, LayerNorm::bytes)
            + network.head.bytes()
    }
}

/// Vectors of `width` numbers, each in whole groups of lanes.
fn padded(vectors: &[f32], width: usize) -> Box<[Lanes]> {
    vectors
        .chunks_exact(width)
        .flat_map(|vector| {
            let mut lanes = Lanes::zeros(width);
            Lanes::flat_mut(&mut lanes)[..width].copy_from_slice(vector);
            lanes
        })
        .collect()
}

fn layer_norm(tensors: &mut Tensors, name: &str, width: usize) -> Result<LayerNorm, WeightsError> {
    let weight = tensors.take(&format!("{name}.weight"), &[width])?;
    let bias = tensors.take(&format!("{name}.bias"), &[width])?;
    Ok(LayerNorm::new(&weight, &bias, EPSILON))
}

fn layer(
    tensors: &mut Tensors,
    architecture: &TransformerArchitecture,
    n: usize,
    precision: Precision,
) -> Result<EncoderLayer, WeightsError> {
    let TransformerArchitecture { d_model: width, heads, feed_forward, .. } = *architecture;
    let name = |rest: &str| format!("encoder.layers.{n}.{rest}");
    let in_proj_weight = tensors.take(&name("self_attn.in_proj_weight"), &[3 * width, width])?;
    let in_proj_bias = tensors.take(&name("self_attn.in_proj_bias"), &[3 * width])?;
    let out_weight = tensors.take(&name("self_attn.out_proj.weight"), &[width, width])?;
    let out_bias = tensors.take(&name("self_attn.out_proj.bias"), &[width])?;
    let weights = AttentionWeights {
        in_proj_weight: &in_proj_weight,
        in_proj_bias: &in_proj_bias,
        out_weight: &out_weight,
        out_bias: &out_bias,
    };
    let is_biased = architecture.bias == architecture::AttentionBias::Alibi;
    Ok(EncoderLayer {
        attention: Attention::new(weights, width, heads, is_biased, precision),
        linear1: Dense::take(
            tensors,
            &name("linear1"),
            [width, feed_forward],
            architecture.activation,
            precision,
        )?,
        linear2: Linear::take(tensors, &name("linear2"), [feed_forward, width], precision)?,
        norm1: layer_norm(tensors, &name("norm1"), width)?,
        norm2: layer_norm(tensors, &name("norm2"), width)?,
        is_norm_first: architecture.norm_first,
    })
}
