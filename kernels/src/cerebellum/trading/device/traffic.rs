//! What goes to the device and back in a cycle: features, factors and outcomes, then spikes and what outcomes found.
//!
//! Invariant: blocks have the places of [`Sizes::input`](super::sizes::Sizes::input); outcomes wait in the input, in
//! the order in which they came, until a launch has learned them.

use bytemuck::Pod;

use super::super::circuit::{Activity, Circuit, PARALLEL_AT, Spikes};
use super::super::learning::Lesson;
use super::super::memory::Kept;
use super::super::shard::{Shard, WeightSet};
use super::arguments::{Outcome, Tick, Total};
use super::plan::ResidentPlan;
use super::sizes::{RESULT_WORDS, Sizes};

/// An outcome that is handed over.
#[derive(Clone, Copy, Debug)]
pub(in crate::cerebellum::trading) struct Handover<'a> {
    pub(in crate::cerebellum::trading) instrument: usize,
    /// The cycle that predicted, and its place in the ring of counts.
    pub(in crate::cerebellum::trading) cycle: u64,
    pub(in crate::cerebellum::trading) slot: usize,
    pub(in crate::cerebellum::trading) lesson: Lesson,
    /// What a spike of a granule cell changes, by Purkinje cell.
    pub(in crate::cerebellum::trading) change: &'a [f32],
}

/// The outcomes that no launch has learned.
#[derive(Debug)]
pub(super) struct Waiting {
    count: usize,
    /// Instruments, lessons and changes of those that are accounted for when it is known what they found.
    lessons: Vec<(usize, Lesson)>,
    changes: Vec<f32>,
}

impl Waiting {
    pub(super) fn new(sizes: &Sizes) -> Self {
        let lessons = if sizes.traced { sizes.outcomes_max } else { 0 };
        Self {
            count: 0,
            lessons: Vec::with_capacity(lessons),
            changes: Vec::with_capacity(lessons * sizes.purkinje),
        }
    }

    fn clear(&mut self) {
        self.count = 0;
        self.lessons.clear();
        self.changes.clear();
    }
}

impl ResidentPlan {
    /// Outcomes that wait for a launch.
    pub(in crate::cerebellum::trading) const fn waiting(&self) -> usize {
        self.waiting.count
    }

    /// Whether the input has no room for another outcome: learning must be launched first.
    pub(in crate::cerebellum::trading) const fn is_full(&self) -> bool {
        self.waiting.count == self.sizes.outcomes_max
    }

    /// Whether the device alone knows what an outcome finds, so that [`ResidentPlan::read_learn`] accounts for it.
    pub(in crate::cerebellum::trading) const fn accounts(&self) -> bool {
        self.sizes.traced
    }

    /// Puts an outcome into the input, which is not full.
    pub(in crate::cerebellum::trading) fn push(&mut self, input: &mut [u8], outcome: Handover<'_>) {
        let Handover { instrument, cycle, slot, lesson, change } = outcome;
        let n = self.waiting.count;
        let [slow, fast] =
            self.kernel.map_or([0.0; 2], |kernel| kernel.weights(self.at[instrument], cycle));
        let outcome = Outcome {
            set: if self.sizes.sets == 1 { 0 } else { instrument as u32 },
            instrument: instrument as u32,
            slot: slot as u32,
            slow,
            fast,
        };
        put(input, self.input.outcomes + n * size_of::<Outcome>(), &[outcome]);
        put(input, self.input.changes + n * size_of_val(change), change);
        self.waiting.count += 1;
        if self.accounts() {
            self.waiting.lessons.push((instrument, lesson));
            self.waiting.changes.extend_from_slice(change);
        }
    }

    /// Fills the part of the input that learning alone reads.
    pub(in crate::cerebellum::trading) fn write_learn(&self, input: &mut [u8]) {
        self.write_tick(input, 0, false);
    }

    /// Fills the input of `cycle` with what the shards hold.
    pub(in crate::cerebellum::trading) fn write_cycle(
        &self,
        input: &mut [u8],
        circuit: &Circuit,
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&WeightSet>,
        cycle: u64,
    ) {
        let (sizes, places) = (&self.sizes, &self.input);
        let factor = |set: &WeightSet| set.synapses.factor(PARALLEL_AT);
        let mut by_spike = false;
        for shard in shards.iter_mut().flatten() {
            let first = shard.first;
            by_spike = shard.learns_by_spike(circuit);
            put(input, places.features + 4 * first * sizes.features, &shard.features);
            for (k, set) in shard.own.iter().enumerate() {
                put(input, places.factors + 4 * (first + k), &[factor(set)]);
            }
            if let Some(kernel) = self.kernel {
                for k in first..first + shard.len() {
                    put(input, places.keeps + 8 * k, &kernel.kept(self.at[k], cycle));
                }
            }
            if sizes.driven {
                for k in 0..shard.len() {
                    let at = places.purkinje_drive + 4 * (first + k) * sizes.purkinje;
                    put(input, at, Circuit::purkinje_drive(shard.state_mut(k)));
                }
            }
        }
        if let Some(set) = shared {
            put(input, places.factors, &[factor(set)]);
        }
        self.write_tick(input, cycle, by_spike);
    }

    fn write_tick(&self, input: &mut [u8], cycle: u64, by_spike: bool) {
        let tick = Tick {
            cycle,
            slot: (cycle % self.sizes.pending as u64) as u32,
            outcomes: self.waiting.count as u32,
            by_spike: u32::from(by_spike),
            unused: 0,
        };
        put(input, 0, &[tick]);
    }

    /// Notes that a launch has learned all outcomes of the input, and accounts for them where they found traces.
    pub(in crate::cerebellum::trading) fn read_learn(
        &mut self,
        output: &[u8],
        shards: &mut [Option<Box<Shard>>],
        mut shared: Option<&mut WeightSet>,
    ) {
        let totals = output.chunks_exact(size_of::<Total>());
        let changes = self.waiting.changes.chunks_exact(self.sizes.purkinje);
        for ((total, change), &(instrument, lesson)) in
            totals.zip(changes).zip(&self.waiting.lessons)
        {
            let Total { sum, cells } = bytemuck::pod_read_unaligned(total);
            let teacher = match shared.as_deref_mut() {
                Some(set) => Some(&mut set.teacher),
                None => shards.iter_mut().flatten().find_map(|shard| shard.teacher_of(instrument)),
            };
            if let Some(teacher) = teacher {
                teacher.account(lesson, Some(change), (sum, cells.into()));
            }
        }
        self.waiting.clear();
    }

    /// Leaves in the shards what [`Shard::advance`] leaves, from the output of `cycle`.
    pub(in crate::cerebellum::trading) fn read_cycle(
        &mut self,
        output: &[u8],
        circuit: &Circuit,
        shards: &mut [Option<Box<Shard>>],
        shared: Option<&WeightSet>,
        cycle: u64,
    ) {
        let each = 4 * self.sizes.result_words();
        let results = &output[self.sizes.learn_output_bytes()..];
        let taken = |instrument: usize, activity: &mut Activity| -> Kept {
            let at = instrument * each;
            let (words, cells) = results[at..at + each].as_chunks::<4>().0.split_at(RESULT_WORDS);
            let word = |k: usize| u32::from_ne_bytes(words[k]);
            activity.spikes = Spikes {
                mossy: word(0).into(),
                granule: word(1).into(),
                golgi: word(2).into(),
                purkinje: word(3).into(),
                nuclear: word(4).into(),
            };
            activity.nuclear = [word(5), word(6)];
            for (spikes, word) in activity.purkinje.iter_mut().zip(cells) {
                *spikes = u32::from_ne_bytes(*word) as u16;
            }
            (word(7) as f32, word(8).into())
        };
        for shard in shards.iter_mut().flatten() {
            for (at, _) in
                self.at[shard.first..].iter_mut().zip(&shard.active).filter(|(_, active)| **active)
            {
                *at = cycle;
            }
            shard.take(circuit, shared, cycle, taken);
        }
    }
}

/// Puts values into a block from byte `at` on.
fn put<T: Pod>(block: &mut [u8], at: usize, values: &[T]) {
    let bytes = bytemuck::cast_slice(values);
    block[at..at + bytes.len()].copy_from_slice(bytes);
}
