//! One block of a transformer encoder: attention and two dense layers, each added to what came in.
//!
//! Invariant: formulas and names are those of PyTorch's `TransformerEncoderLayer`, dropout being nothing
//! once a network is trained. Sums are added where the vectors lie, so that a block copies nothing but
//! what it normalises.

use super::attention::{Attention, Memory, Scratch};
use super::dense::Dense;
use super::lanes::{LANES, Lanes};
use super::layer_norm::LayerNorm;
use super::linear::Linear;
use crate::isa::Isa;

/// See the module.
#[derive(Clone, Debug)]
pub struct EncoderLayer {
    /// Between the positions.
    pub attention: Attention,
    /// Into the wide layer, with its activation.
    pub linear1: Dense,
    /// Back from it.
    pub linear2: Linear,
    /// Of attention.
    pub norm1: LayerNorm,
    /// Of the dense layers.
    pub norm2: LayerNorm,
    /// Whether vectors are normalised before they go through attention and dense layers, and not after
    /// both have been added.
    pub is_norm_first: bool,
}

/// Room for a block to compute in; blocks of the same sizes share it.
#[derive(Clone, Debug)]
pub struct EncoderScratch {
    normal: Box<[Lanes]>,
    hidden: Box<[Lanes]>,
    attention: Scratch,
}

impl EncoderLayer {
    /// Room for so many vectors at once and so many positions.
    #[must_use]
    pub fn scratch(&self, vectors: usize, positions: usize) -> EncoderScratch {
        EncoderScratch {
            normal: vec![Lanes::ZERO; vectors * self.linear2.groups()].into(),
            hidden: vec![Lanes::ZERO; vectors * self.linear1.groups()].into(),
            attention: self.attention.scratch(vectors, positions),
        }
    }

    /// Bytes of weights that an answer reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.attention.bytes()
            + self.linear1.bytes()
            + self.linear2.bytes()
            + self.norm1.bytes()
            + self.norm2.bytes()
    }

    /// A whole window in `vectors`, of which the last `asking` become the block's answers; what then stands
    /// in the others means nothing.
    ///
    /// # Panics
    /// Where the window is longer than `memory`, or than the scratch was made for.
    pub fn window(
        &self,
        isa: Isa,
        vectors: &mut [Lanes],
        asking: usize,
        is_causal: bool,
        memory: &mut Memory,
        scratch: &mut EncoderScratch,
    ) {
        let first = vectors.len() - asking * self.linear2.groups();
        let seen = self.before_attention(isa, vectors, &mut scratch.normal);
        let answers = &mut vectors[first..];
        self.attention.window(isa, seen, is_causal, memory, &mut scratch.attention, answers);
        self.after_attention(isa, answers, scratch);
    }

    /// One new position for each of some streams; arguments are those of [`Attention::step`].
    ///
    /// # Panics
    /// As there.
    pub fn step(
        &self,
        isa: Isa,
        vectors: &mut [Lanes],
        streams: &[usize],
        memories: &mut [Memory],
        scratch: &mut EncoderScratch,
    ) {
        let seen = self.before_attention(isa, vectors, &mut scratch.normal);
        self.attention.step(isa, seen, streams, memories, &mut scratch.attention, vectors);
        self.after_attention(isa, vectors, scratch);
    }

    fn before_attention<'a>(
        &self,
        isa: Isa,
        vectors: &[Lanes],
        normal: &'a mut [Lanes],
    ) -> &'a [Lanes] {
        let normal = &mut normal[..vectors.len()];
        if self.is_norm_first {
            self.norm1.apply(isa, vectors, normal);
        } else {
            normal.copy_from_slice(vectors);
        }
        normal
    }

    fn after_attention(&self, isa: Isa, vectors: &mut [Lanes], scratch: &mut EncoderScratch) {
        let groups = self.linear2.groups();
        let hidden = &mut scratch.hidden[..vectors.len() / groups * self.linear1.groups()];
        let seen = if self.is_norm_first {
            let normal = &mut scratch.normal[..vectors.len()];
            self.norm2.apply(isa, vectors, normal);
            &*normal
        } else {
            self.norm1.apply_in_place(isa, vectors);
            &*vectors
        };
        self.linear1.apply(isa, Lanes::flat(seen), groups * LANES, hidden);
        let stride = self.linear1.groups() * LANES;
        self.linear2.add(isa, Lanes::flat(hidden), stride, vectors);
        if !self.is_norm_first {
            self.norm2.apply_in_place(isa, vectors);
        }
    }
}
