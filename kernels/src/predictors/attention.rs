//! Multi-head self-attention over a window, or over what a stream remembers.
//!
//! Keys and values lie in a [`Memory`], a ring over positions. Keys are kept transposed, sixteen positions
//! side by side, so that one pass scores sixteen of them and no sum goes across lanes; heads are padded to
//! whole groups of lanes. Invariants: scores, their exponentials and the sum of values are taken from the
//! oldest position to the newest, wherever the ring begins, so that a stream's answer does not depend on
//! when it began; exponents have the largest score taken off and cannot overflow.

use super::activation::exp_one;
use super::lanes::{LANES, Lanes};
use super::linear::Linear;
use super::panels::Precision;
use super::stream::{Reader, Writer};
use crate::isa::{Isa, dispatched};

/// Pairs of query and head computed side by side.
const BLOCK: usize = 4;
/// Groups of positions that a query is multiplied with at once, so that no sum waits for itself.
const SIDE_BY_SIDE: usize = 4;
/// The ages of a group's positions, counted from its first. Numbers, because turning sixteen counters
/// into numbers takes longer than the exponentials.
const AGES: Lanes = {
    let mut ages = [0.0; LANES];
    let mut lane = 1;
    while lane < LANES {
        ages[lane] = ages[lane - 1] + 1.0;
        lane += 1;
    }
    Lanes(ages)
};

/// The tensors of PyTorch's `MultiheadAttention`.
#[derive(Clone, Copy, Debug)]
pub struct AttentionWeights<'a> {
    /// `[3 · width][width]`: queries, keys, values.
    pub in_proj_weight: &'a [f32],
    /// `[3 · width]`.
    pub in_proj_bias: &'a [f32],
    /// `[width][width]`.
    pub out_weight: &'a [f32],
    /// `[width]`.
    pub out_bias: &'a [f32],
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Attention {
    pub(super) shape: Heads,
    /// Scaled by `1/√head`, so that scores need no factor.
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) out: Linear,
    /// What a score loses for each step between query and key, by head.
    pub(super) slopes: Box<[f32]>,
}

/// How a vector divides into heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heads {
    pub(super) count: usize,
    /// Numbers of a head.
    pub(super) width: usize,
}

impl Heads {
    /// Groups of lanes of a head.
    fn groups(self) -> usize {
        self.width.div_ceil(LANES)
    }

    /// Groups of lanes of all heads.
    fn all_groups(self) -> usize {
        self.count * self.groups()
    }
}

impl Attention {
    /// From weights of a vector of `width` numbers in `heads` heads; with `is_linearly_biased` each score
    /// loses a slope of its head for each step of distance (ALiBi).
    ///
    /// # Panics
    /// Where lengths do not fit, or `heads` does not divide `width`: checked when a model is loaded.
    #[must_use]
    pub fn new(
        weights: AttentionWeights<'_>,
        width: usize,
        heads: usize,
        is_linearly_biased: bool,
        precision: Precision,
    ) -> Self {
        assert_eq!(width % heads, 0, "{heads} heads of {width}");
        let shape = Heads { count: heads, width: width / heads };
        let padded = shape.all_groups() * LANES;
        let scale = 1.0 / (shape.width as f64).sqrt();
        let projection = |which: usize, factor: f64| {
            let (mut weight, mut bias) = (vec![0.0; padded * width], vec![0.0; padded]);
            for row in 0..width {
                let to = shape.padded(row);
                let from = which * width + row;
                let scaled = |x: f32| (f64::from(x) * factor) as f32;
                bias[to] = scaled(weights.in_proj_bias[from]);
                let row = &weights.in_proj_weight[from * width..][..width];
                for (to, from) in weight[to * width..][..width].iter_mut().zip(row) {
                    *to = scaled(*from);
                }
            }
            Linear::new(&weight, Some(&bias), padded, width, precision)
        };
        let mut out = vec![0.0; width * padded];
        for (to, from) in out.chunks_exact_mut(padded).zip(weights.out_weight.chunks_exact(width)) {
            for (column, weight) in from.iter().enumerate() {
                to[shape.padded(column)] = *weight;
            }
        }
        Self {
            shape,
            query: projection(0, scale),
            key: projection(1, 1.0),
            value: projection(2, 1.0),
            out: Linear::new(&out, Some(weights.out_bias), width, padded, precision),
            slopes: if is_linearly_biased { slopes(heads) } else { vec![0.0; heads] }.into(),
        }
    }

    /// Bytes of weights that an answer reads.
    #[must_use]
    pub fn bytes(&self) -> usize {
        [&self.query, &self.key, &self.value, &self.out].map(Linear::bytes).iter().sum()
    }

    /// An empty memory of so many positions.
    #[must_use]
    pub fn memory(&self, positions: usize) -> Memory {
        let keys = positions.div_ceil(LANES) * self.shape.count * self.shape.width;
        Memory {
            shape: self.shape,
            positions,
            keys: vec![Lanes::ZERO; keys].into(),
            values: vec![Lanes::ZERO; positions * self.shape.all_groups()].into(),
            seen: 0,
        }
    }

    /// Room to compute in, for so many vectors at once and so many positions.
    #[must_use]
    pub fn scratch(&self, vectors: usize, positions: usize) -> Scratch {
        let all = vec![Lanes::ZERO; vectors * self.shape.all_groups()].into_boxed_slice();
        Scratch {
            queries: all.clone(),
            keys: all.clone(),
            values: all.clone(),
            attended: all,
            scores: vec![Lanes::ZERO; 2 * BLOCK * positions.div_ceil(LANES)].into(),
        }
    }

    /// A whole window, which `memory` forgets what it held for: each vector of `inputs` is a position.
    /// The last `out.len()` vectors ask, and what they get is added to `out`. With `is_causal` each sees
    /// itself and those before it, otherwise all.
    ///
    /// # Panics
    /// Where the window is longer than the memory, or than the scratch was made for.
    pub fn window(
        &self,
        isa: Isa,
        inputs: &[Lanes],
        is_causal: bool,
        memory: &mut Memory,
        scratch: &mut Scratch,
        out: &mut [Lanes],
    ) {
        let (groups, width) = (self.out.groups(), self.shape.all_groups());
        let (positions, asking) = (inputs.len() / groups, out.len() / groups);
        let stride = groups * LANES;
        let keys = &mut scratch.keys[..positions * width];
        let values = &mut scratch.values[..positions * width];
        self.key.apply(isa, Lanes::flat(inputs), stride, keys);
        self.value.apply(isa, Lanes::flat(inputs), stride, values);
        memory.clear();
        for (key, value) in keys.chunks_exact(width).zip(values.chunks_exact(width)) {
            memory.push(key, value);
        }
        let queries = &mut scratch.queries[..asking * width];
        let asks = &inputs[(positions - asking) * groups..];
        self.query.apply(isa, Lanes::flat(asks), stride, queries);
        let attended = &mut scratch.attended[..asking * width];
        let sight = Sight { first: positions - asking, is_causal };
        attend(isa, memory, &self.slopes, queries, sight, &mut scratch.scores, attended);
        self.out.add(isa, Lanes::flat(attended), width * LANES, out);
    }

    /// One new position for each of some streams: `inputs` holds their vectors in the order of `streams`,
    /// which says whose memory each goes to. Each sees what its memory then holds, and what it gets is
    /// added to `out`.
    ///
    /// # Panics
    /// Where a slice is too short, or the scratch was made for fewer vectors.
    pub fn step(
        &self,
        isa: Isa,
        inputs: &[Lanes],
        streams: &[usize],
        memories: &mut [Memory],
        scratch: &mut Scratch,
        out: &mut [Lanes],
    ) {
        let (width, stride) = (self.shape.all_groups(), self.out.groups() * LANES);
        let len = streams.len() * width;
        for (linear, vectors) in [
            (&self.query, &mut scratch.queries),
            (&self.key, &mut scratch.keys),
            (&self.value, &mut scratch.values),
        ] {
            linear.apply(isa, Lanes::flat(inputs), stride, &mut vectors[..len]);
        }
        for (n, stream) in streams.iter().enumerate() {
            let at = n * width..(n + 1) * width;
            let memory = &mut memories[*stream];
            memory.push(&scratch.keys[at.clone()], &scratch.values[at.clone()]);
            let sight = Sight { first: memory.len() - 1, is_causal: true };
            let attended = &mut scratch.attended[at.clone()];
            let (queries, scores) = (&scratch.queries[at], &mut scratch.scores);
            attend(isa, memory, &self.slopes, queries, sight, scores, attended);
        }
        self.out.add(isa, Lanes::flat(&scratch.attended[..len]), width * LANES, out);
    }
}

impl Heads {
    /// Where a number of a vector lies once its heads are padded.
    pub(super) fn padded(self, number: usize) -> usize {
        number / self.width * self.groups() * LANES + number % self.width
    }
}

/// The slopes of "Train Short, Test Long" (Press et al., 2022): a geometric sequence that ends at 2⁻⁸ for
/// a power of two, otherwise that of the next smaller one and every other of twice as many.
pub(crate) fn slopes(heads: usize) -> Vec<f32> {
    let sequence = |n: usize| (1..=n).map(move |i| (-8.0 * i as f64 / n as f64).exp2() as f32);
    let whole = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    sequence(whole).chain(sequence(2 * whole).step_by(2)).take(heads).collect()
}

/// Keys and values of the newest positions.
#[derive(Clone, Debug)]
pub struct Memory {
    shape: Heads,
    positions: usize,
    /// `[heads][positions / 16][width of a head]`, sixteen positions in a group.
    keys: Box<[Lanes]>,
    /// `[positions][heads][groups of a head]`.
    values: Box<[Lanes]>,
    /// Positions since it was empty.
    pub(super) seen: usize,
}

impl Memory {
    /// Positions that it holds.
    fn len(&self) -> usize {
        self.seen.min(self.positions)
    }

    /// Slot of the oldest.
    fn oldest(&self) -> usize {
        if self.seen > self.positions { self.seen % self.positions } else { 0 }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        // What is left in the slots is selected away, not multiplied with zero.
        self.seen = 0;
    }

    /// Words that hold `positions` of `width` numbers.
    pub(super) fn words(&self) -> usize {
        2 * self.positions * self.shape.count * self.shape.width
    }

    /// Writes keys, all slots of a number side by side, and values, slot by slot.
    pub(super) fn save(&self, words: &mut Writer<'_>) {
        let Heads { count, width } = self.shape;
        for head in 0..count {
            for number in 0..width {
                for slot in 0..self.positions {
                    let (group, lane) = self.key(head, number, slot);
                    words.numbers(&[self.keys[group].0[lane]]);
                }
            }
        }
        let values = Lanes::flat(&self.values);
        for head in values.chunks_exact(self.shape.groups() * LANES) {
            words.numbers(&head[..width]);
        }
    }

    /// Reads what [`save`](Self::save) wrote, of a stream that has had so many positions.
    pub(super) fn load(&mut self, seen: usize, words: &mut Reader<'_>) {
        let Heads { count, width } = self.shape;
        self.seen = seen;
        for head in 0..count {
            for number in 0..width {
                for slot in 0..self.positions {
                    let (group, lane) = self.key(head, number, slot);
                    words.numbers(std::slice::from_mut(&mut self.keys[group].0[lane]));
                }
            }
        }
        let values = Lanes::flat_mut(&mut self.values);
        for head in values.chunks_exact_mut(self.shape.groups() * LANES) {
            words.numbers(&mut head[..width]);
        }
    }

    /// Group and lane of a number of a key.
    fn key(&self, head: usize, number: usize, slot: usize) -> (usize, usize) {
        let by_head = self.positions.div_ceil(LANES) * self.shape.width;
        (head * by_head + slot / LANES * self.shape.width + number, slot % LANES)
    }

    /// Puts a position in place of the oldest.
    fn push(&mut self, key: &[Lanes], value: &[Lanes]) {
        let (slot, groups) = (self.seen % self.positions, self.shape.groups());
        let (group, lane) = (slot / LANES, slot % LANES);
        let width = self.shape.width;
        let by_head = self.positions.div_ceil(LANES) * width;
        for (keys, key) in self.keys.chunks_exact_mut(by_head).zip(key.chunks_exact(groups)) {
            let keys = &mut keys[group * width..][..width];
            for (lanes, number) in keys.iter_mut().zip(Lanes::flat(key)) {
                lanes.0[lane] = *number;
            }
        }
        self.values[slot * value.len()..][..value.len()].copy_from_slice(value);
        self.seen += 1;
    }
}

/// See [`Attention::scratch`].
#[derive(Clone, Debug)]
pub struct Scratch {
    queries: Box<[Lanes]>,
    keys: Box<[Lanes]>,
    values: Box<[Lanes]>,
    attended: Box<[Lanes]>,
    /// By slot and by age, for [`BLOCK`] pairs.
    scores: Box<[Lanes]>,
}

/// What queries see: every position, or none behind their own.
#[derive(Clone, Copy, Debug)]
struct Sight {
    /// Position of the first of them, counted from the oldest that is remembered.
    first: usize,
    is_causal: bool,
}

dispatched! {
    wide fn attend = attend_all(
        memory: &Memory,
        slopes: &[f32],
        queries: &[Lanes],
        sight: Sight,
        scores: &mut [Lanes],
        out: &mut [Lanes],
    )
}

/// A query of one head, what it may see, and where its answer goes.
#[derive(Clone, Copy)]
struct Pair {
    head: usize,
    /// First group of lanes, in queries as in answers.
    at: usize,
    /// Its own position.
    own: usize,
    /// Positions it sees, from the oldest.
    sees: usize,
}

#[inline(always)]
fn attend_all(
    memory: &Memory,
    slopes: &[f32],
    queries: &[Lanes],
    sight: Sight,
    scores: &mut [Lanes],
    out: &mut [Lanes],
) {
    let shape = memory.shape;
    let asking = queries.len() / shape.all_groups();
    let pairs = asking * shape.count;
    let pair = |n: usize| {
        let (head, query) = (n / asking, n % asking);
        let own = sight.first + query;
        let sees = if sight.is_causal { own + 1 } else { memory.len() };
        Pair { head, at: query * shape.all_groups() + head * shape.groups(), own, sees }
    };
    let mut n = 0;
    while n + BLOCK <= pairs {
        let block = [pair(n), pair(n + 1), pair(n + 2), pair(n + 3)];
        attend_block(memory, slopes, queries, block, scores, out);
        n += BLOCK;
    }
    while n < pairs {
        attend_block(memory, slopes, queries, [pair(n)], scores, out);
        n += 1;
    }
}

#[inline(always)]
fn attend_block<const N: usize>(
    memory: &Memory,
    slopes: &[f32],
    queries: &[Lanes],
    pairs: [Pair; N],
    scratch: &mut [Lanes],
    out: &mut [Lanes],
) {
    let shape = memory.shape;
    let slot_groups = memory.positions.div_ceil(LANES);
    let (by_slot, by_age) = scratch.split_at_mut(BLOCK * slot_groups);
    // Slots in use are the first ones, because a memory fills from there.
    let used = memory.len().div_ceil(LANES);
    let query = pairs.map(|pair| &Lanes::flat(&queries[pair.at..])[..shape.width]);
    for (n, query) in query.into_iter().enumerate() {
        let keys = &memory.keys[pairs[n].head * slot_groups * shape.width..][..used * shape.width];
        score(keys, query, &mut by_slot[n * slot_groups..][..used]);
    }
    let mut totals = [0.0; N];
    for n in 0..N {
        let by_slot = &by_slot[n * slot_groups..][..slot_groups];
        let by_age = &mut by_age[n * slot_groups..][..slot_groups];
        in_order(memory, by_slot, by_age);
        let groups = pairs[n].sees.div_ceil(LANES);
        totals[n] = exponentials(&mut by_age[..groups], pairs[n], slopes[pairs[n].head]);
        by_age[groups..].fill(Lanes::ZERO);
    }
    let weights: [&[f32]; N] =
        std::array::from_fn(|n| Lanes::flat(&by_age[n * slot_groups..][..slot_groups]));
    let sees = pairs.iter().map(|pair| pair.sees).max().unwrap_or(0);
    for group in 0..shape.groups() {
        let mut sums = [Lanes::ZERO; N];
        let offsets = pairs.map(|pair| pair.head * shape.groups() + group);
        let (oldest, stride) = (memory.oldest(), shape.all_groups());
        let before_wrap = sees.min(memory.positions - oldest);
        let parts = [(oldest, 0..before_wrap), (0, before_wrap..sees)];
        for (slot, ages) in parts {
            let values = memory.values[slot * stride..].chunks_exact(stride);
            for (age, values) in ages.zip(values) {
                for n in 0..N {
                    sums[n].add_product(values[offsets[n]], weights[n][age]);
                }
            }
        }
        for n in 0..N {
            let out = &mut out[pairs[n].at + group];
            for lane in 0..LANES {
                out.0[lane] = sums[n].0[lane] / totals[n];
            }
        }
    }
}

/// Products of a query with the keys of some groups of positions.
#[inline(always)]
fn score(keys: &[Lanes], query: &[f32], scores: &mut [Lanes]) {
    let width = query.len();
    for (keys, scores) in keys.chunks(SIDE_BY_SIDE * width).zip(scores.chunks_mut(SIDE_BY_SIDE)) {
        if let [a, b, c, d] = scores {
            let [mut sum_a, mut sum_b, mut sum_c, mut sum_d] = [Lanes::ZERO; SIDE_BY_SIDE];
            let (ab, cd) = keys.split_at(2 * width);
            let ((key_a, key_b), (key_c, key_d)) = (ab.split_at(width), cd.split_at(width));
            let keys = key_a.iter().zip(key_b).zip(key_c.iter().zip(key_d));
            for (number, ((key_a, key_b), (key_c, key_d))) in query.iter().zip(keys) {
                sum_a.add_product(*key_a, *number);
                sum_b.add_product(*key_b, *number);
                sum_c.add_product(*key_c, *number);
                sum_d.add_product(*key_d, *number);
            }
            (*a, *b, *c, *d) = (sum_a, sum_b, sum_c, sum_d);
        } else {
            for (keys, score) in keys.chunks_exact(width).zip(scores) {
                let mut sum = Lanes::ZERO;
                for (key, number) in keys.iter().zip(query) {
                    sum.add_product(*key, *number);
                }
                *score = sum;
            }
        }
    }
}

/// Copies scores so that the oldest position comes first.
#[inline(always)]
fn in_order(memory: &Memory, by_slot: &[Lanes], by_age: &mut [Lanes]) {
    let oldest = memory.oldest();
    if oldest == 0 {
        by_age.copy_from_slice(by_slot);
    } else {
        let by_slot = &Lanes::flat(by_slot)[..memory.positions];
        let by_age = &mut Lanes::flat_mut(by_age)[..memory.positions];
        let (newer, older) = by_slot.split_at(oldest);
        by_age[..older.len()].copy_from_slice(older);
        by_age[older.len()..].copy_from_slice(newer);
    }
}

/// Replaces the scores of what a pair sees by exponentials of them less the largest, the others by zero.
/// Returns the sum.
#[inline(always)]
fn exponentials(scores: &mut [Lanes], pair: Pair, slope: f32) -> f32 {
    let mut largest = Lanes([f32::NEG_INFINITY; LANES]);
    let (own, newest) = (pair.own as f32, (pair.sees - 1) as f32);
    for (group, scores) in scores.iter_mut().enumerate() {
        let first = (group * LANES) as f32;
        for lane in 0..LANES {
            let age = first + AGES.0[lane];
            let score = (-slope).mul_add((age - own).abs(), scores.0[lane]);
            scores.0[lane] = if age <= newest { score } else { f32::NEG_INFINITY };
            let score = scores.0[lane];
            largest.0[lane] = if score > largest.0[lane] { score } else { largest.0[lane] };
        }
    }
    let largest = largest.0.iter().fold(f32::NEG_INFINITY, |a, b| if *b > a { *b } else { a });
    let mut sum = Lanes::ZERO;
    for (group, scores) in scores.iter_mut().enumerate() {
        let first = (group * LANES) as f32;
        for lane in 0..LANES {
            let age = first + AGES.0[lane];
            let exponential = exp_one(scores.0[lane] - largest);
            // The exponential is cut and so never quite zero.
            let weight = if age <= newest { exponential } else { 0.0 };
            scores.0[lane] = weight;
            sum.0[lane] += weight;
        }
    }
    sum.sum()
}
