//! A wide network on one thread of the CPU, against which the device is proven.
//!
//! The kernels do the same operations on every number, with other loops around them: `kernels/cuda/wide.cu`. A
//! cluster runs all steps of a cycle at once, as its granule cells depend on the mossy fibres and on its own Golgi cell
//! alone; so its cells stay in the nearest cache. Spikes are a bit a cell and step, then walked step by step.
//! Invariants: sums over cells are integers until they are whole; no allocation in a cycle.

use super::config::{DENDRITES, MOSSY_PER_GOLGI, NUCLEI_PER_PURKINJE, WideConfig};
use super::model::Model;
use super::plastic::{Debt, Rule, added, event, less, step_of};
use super::state::{WideState, WideWiring};
use super::{Tick, WideReport};
use crate::cerebellum::encode::{CycleSpikes, Encode, EncodeError, PopulationEncoder};
use crate::cerebellum::engine::Propagator;
use crate::cerebellum::engine::current::TINY;

/// Steps whose mossy-fibre spikes lie in one word.
const WORD_STEPS: usize = 32;

/// The network and its scratch.
#[derive(Clone, Debug)]
pub(super) struct Cpu {
    config: WideConfig,
    model: Model,
    pub(super) wiring: WideWiring,
    pub(super) state: WideState,
    encoder: PopulationEncoder,
    mossy: CycleSpikes,
    /// Spikes of each mossy fibre, a bit a step.
    heard: Vec<u32>,
    /// Those that reach each granule cell of a cluster in the steps of one word.
    dendrites: [Vec<u32>; DENDRITES],
    /// Granule spikes, a bit a cell: by step and beam so many words.
    fired: Vec<u64>,
    words: usize,
    /// Sum of the weights' units that reach each Purkinje cell in a step.
    sums: Vec<u64>,
    /// Spikes of each granule cell of a cluster in a cycle.
    counts: Vec<u32>,
}

/// One step of a cell from its currents at the step's start; `inhibition` is what it takes off.
fn advanced(p: &Propagator, v: f32, exc: f32, inhibition: f32) -> f32 {
    p.keep_v * v + p.exc_to_v * exc - inhibition + p.drive
}

/// One step of the granule cells of a cluster, whose resets are left to the caller. Returns whether any is to be.
#[allow(clippy::too_many_arguments, reason = "the arrays of one cluster")]
fn sweep(
    p: &Propagator,
    jump: f32,
    push: f32,
    bit: usize,
    v: &mut [f32],
    exc: &mut [f32],
    drive: &[f32],
    dendrites: &[Vec<u32>; DENDRITES],
) -> bool {
    // Slices of one length, so that the loop is one of vectors.
    let n = v.len();
    let (exc, drive) = (&mut exc[..n], &drive[..n]);
    let [a, b, c, d] = dendrites.each_ref().map(|dendrite| &dendrite[..n]);
    let mut any = 0;
    for k in 0..n {
        let mut x = advanced(p, v[k], exc[k], push);
        x += p.unit * drive[k];
        let spikes = (a[k] >> bit & 1) + (b[k] >> bit & 1) + (c[k] >> bit & 1) + (d[k] >> bit & 1);
        let decayed = p.keep_exc * exc[k] + TINY;
        exc[k] = decayed + jump * spikes as i32 as f32;
        v[k] = x;
        any |= u32::from(x >= 1.0);
    }
    any != 0
}

/// Takes off a row what its granule cell's last spike still owes; `first` is the place of the first Purkinje cell.
pub(super) fn settle(
    rule: &Rule,
    row: &mut [u16],
    debt: Debt,
    events: &[u64],
    cells: usize,
    first: usize,
) {
    for (weight, place) in row.iter_mut().zip(first..) {
        if step_of(events[place]) >= debt.last {
            let of_cell = events[place..].iter().step_by(cells).copied();
            *weight = less(*weight, rule.owed(debt, of_cell));
        }
    }
}

impl Cpu {
    /// The network at the start.
    pub(super) fn new(config: &WideConfig, model: &Model) -> Result<Self, EncodeError> {
        let beam_granules = config.clusters_per_beam * config.granules_per_cluster;
        let words = beam_granules.div_ceil(64);
        let step_words = config.steps_per_cycle.div_ceil(WORD_STEPS);
        Ok(Self {
            wiring: WideWiring::generate(config, model),
            state: WideState::generate(config, model),
            encoder: config.encoder()?,
            mossy: CycleSpikes::new(config.fibres(), config.steps_per_cycle),
            heard: vec![0; config.fibres() * step_words],
            dendrites: [(); DENDRITES].map(|()| vec![0; config.granules_per_cluster]),
            fired: vec![0; config.steps_per_cycle * config.beams * words],
            words,
            sums: vec![0; config.cells()],
            counts: vec![0; config.granules_per_cluster],
            config: config.clone(),
            model: model.clone(),
        })
    }

    /// Runs a cycle.
    pub(super) fn cycle(&mut self, tick: &Tick, features: &[f32]) -> WideReport {
        let mut report = WideReport { mossy: self.encode(tick, features), ..WideReport::default() };
        self.fired.fill(0);
        for cluster in 0..self.config.clusters() {
            self.cluster(cluster, tick, &mut report);
        }
        if let Some(silence) = tick.silence {
            report.expired = self.expire(tick.first_step, silence);
        }
        for step in 0..self.config.steps_per_cycle {
            self.deliver(tick, step);
            self.nuclear(tick, step, &mut report);
            self.purkinje(tick, step, &mut report);
        }
        report
    }

    fn encode(&mut self, tick: &Tick, features: &[f32]) -> u64 {
        let key = self.model.keys.mossy.fork(tick.cycle);
        self.encoder.encode(features, key, &mut self.mossy);
        self.heard.fill(0);
        let step_words = self.config.steps_per_cycle.div_ceil(WORD_STEPS);
        for step in 0..self.config.steps_per_cycle {
            for &fibre in self.mossy.at(step) {
                let word = fibre as usize * step_words + step / WORD_STEPS;
                self.heard[word] |= 1 << (step % WORD_STEPS);
            }
        }
        self.mossy.total()
    }

    /// All steps of one cluster.
    fn cluster(&mut self, cluster: usize, tick: &Tick, report: &mut WideReport) {
        let (config, model, state) = (&self.config, &self.model, &mut self.state);
        let each = config.granules_per_cluster;
        let first = cluster * each;
        let v = &mut state.granule_v[first..first + each];
        let exc = &mut state.granule_exc[first..first + each];
        let drive = &mut state.granule_drive[first..first + each];
        let (mut golgi_v, mut golgi_exc) = (state.golgi_v[cluster], state.golgi_exc[cluster]);
        let mut inh = state.cluster_inh[cluster];
        let golgi_mossy = &self.wiring.golgi_mossy[cluster * MOSSY_PER_GOLGI..][..MOSSY_PER_GOLGI];
        let granule_mossy = &self.wiring.granule_mossy[first * DENDRITES..][..each * DENDRITES];
        let (p, g) = (&model.granule, &model.golgi);
        let steps = config.steps_per_cycle;
        let step_words = steps.div_ceil(WORD_STEPS);
        let beam = cluster / config.clusters_per_beam;
        let in_beam = first - beam * config.clusters_per_beam * each;
        self.counts.fill(0);
        for step in 0..steps {
            let (word, bit) = (step / WORD_STEPS, step % WORD_STEPS);
            if bit == 0 {
                for (k, sources) in granule_mossy.as_chunks::<DENDRITES>().0.iter().enumerate() {
                    for (dendrite, &fibre) in self.dendrites.iter_mut().zip(sources) {
                        dendrite[k] = self.heard[usize::from(fibre) * step_words + word];
                    }
                }
            }
            let push = p.inh_to_v * inh;
            let mut fired = 0_u32;
            let any = sweep(p, model.mossy_to_granule, push, bit, v, exc, drive, &self.dendrites);
            for k in (0..each).filter(|_| any) {
                if v[k] >= 1.0 {
                    v[k] = p.reset;
                    fired += 1;
                    self.counts[k] += 1;
                    let at = in_beam + k;
                    let words = (step * config.beams + beam) * self.words;
                    self.fired[words + at / 64] |= 1 << (at % 64);
                }
            }
            let spikes: u32 = golgi_mossy
                .iter()
                .map(|&fibre| self.heard[usize::from(fibre) * step_words + word] >> bit & 1)
                .sum();
            let x = advanced(g, golgi_v, golgi_exc, 0.0);
            let inhibits = x >= 1.0;
            golgi_v = if inhibits { g.reset } else { x };
            golgi_exc = g.keep_exc * golgi_exc + TINY;
            golgi_exc += model.mossy_to_golgi * spikes as f32;
            golgi_exc += model.granule_to_golgi * fired as f32;
            inh = p.keep_inh * inh + TINY;
            if inhibits {
                inh += model.golgi_to_granule;
            }
            report.granule += u64::from(fired);
            report.golgi += u64::from(inhibits);
        }
        if tick.intrinsic_rate != 0.0 {
            for (drive, &count) in drive.iter_mut().zip(&self.counts) {
                *drive += tick.intrinsic_rate * (model.wanted - count as f32);
            }
        }
        (state.golgi_v[cluster], state.golgi_exc[cluster]) = (golgi_v, golgi_exc);
        state.cluster_inh[cluster] = inh;
    }

    /// The random word of a granule cell's spike.
    fn word(&self, step: u32, granule: usize) -> u64 {
        let counter = u64::from(step) * self.config.granules() as u64 + granule as u64;
        self.model.keys.dither.word(counter)
    }

    /// Settles the rows whose granule cells have been silent so long, and ends their eligibility. Returns how many.
    fn expire(&mut self, now: u32, silence: u32) -> u64 {
        let row = self.config.row();
        let beam_granules = self.config.clusters_per_beam * self.config.granules_per_cluster;
        let mut expired = 0;
        for granule in 0..self.config.granules() {
            let (last, trace) = (self.state.last[granule], self.state.trace[granule]);
            if trace > 0.0 && now - last >= silence {
                let debt = self.model.rule.debt(last, trace, self.word(last, granule));
                let weights = &mut self.state.weights[granule * row..][..row];
                let first = granule / beam_granules * row;
                let cells = self.config.cells();
                settle(&self.model.rule, weights, debt, &self.state.events, cells, first);
                self.state.trace[granule] = 0.0;
                expired += 1;
            }
        }
        expired
    }

    /// Brings the granule spikes of a step to the Purkinje cells.
    fn deliver(&mut self, tick: &Tick, step: usize) {
        let now = tick.first_step + step as u32;
        let (row, cells) = (self.config.row(), self.config.cells());
        let beam_granules = self.config.clusters_per_beam * self.config.granules_per_cluster;
        self.sums.fill(0);
        for beam in 0..self.config.beams {
            let words = (step * self.config.beams + beam) * self.words;
            for word in 0..self.words {
                let mut bits = self.fired[words + word];
                while bits != 0 {
                    let granule = beam * beam_granules + 64 * word + bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    let sums = &mut self.sums[beam * row..][..row];
                    let weights = &self.state.weights[granule * row..][..row];
                    if !tick.plastic {
                        sums.iter_mut().zip(weights).for_each(|(sum, &w)| *sum += u64::from(w));
                        continue;
                    }
                    let (last, trace) = (self.state.last[granule], self.state.trace[granule]);
                    let rule = &self.model.rule;
                    let debt = rule.debt(last, trace, self.word(last, granule));
                    let more = added(tick.potentiation, self.word(now, granule));
                    let weights = &mut self.state.weights[granule * row..][..row];
                    settle(rule, weights, debt, &self.state.events, cells, beam * row);
                    for (sum, weight) in self.sums[beam * row..].iter_mut().zip(weights) {
                        *sum += u64::from(*weight);
                        let raised = u32::from(*weight) + more;
                        *weight = raised.min(rule.cap.into()) as u16;
                    }
                    self.state.trace[granule] = rule.raised(trace, now - last);
                    self.state.last[granule] = now;
                }
            }
        }
    }

    /// A step of the Purkinje cells and, where weights learn, of their climbing fibres.
    fn purkinje(&mut self, tick: &Tick, step: usize, report: &mut WideReport) {
        let (config, model, state) = (&self.config, &self.model, &mut self.state);
        let now = tick.first_step + step as u32;
        let (row, cells) = (config.row(), config.cells());
        let p = &model.purkinje;
        let nuclei = 2 * config.nuclear_per_zone;
        let coming = &mut state.nuclear_counts[now as usize % 2 * nuclei..][..nuclei];
        for beam in 0..config.beams {
            for column in 0..config.purkinje_per_beam {
                let at = beam * row + column;
                let zone = usize::from(column >= config.purkinje_per_beam / 2);
                let exc = state.purkinje_exc[at];
                let x = advanced(p, state.purkinje_v[at], exc, 0.0);
                let fires = x >= 1.0;
                state.purkinje_v[at] = if fires { p.reset } else { x };
                let exc = p.keep_exc * exc + TINY;
                state.purkinje_exc[at] = exc + self.wiring.gains[at] * self.sums[at] as f32;
                if fires {
                    report.purkinje += 1;
                    let targets = &self.wiring.nuclear_targets[at * NUCLEI_PER_PURKINJE..];
                    for &target in &targets[..NUCLEI_PER_PURKINJE] {
                        coming[zone * config.nuclear_per_zone + usize::from(target)] += 1;
                    }
                }
                if !tick.plastic {
                    continue;
                }
                let counter = u64::from(now) * cells as u64 + at as u64;
                let chance = model.keys.climbing.uniform(counter);
                let since = now - step_of(state.events[at]);
                if since >= model.refractory && chance < tick.climbing[zone] {
                    for slot in (1..config.slots()).rev() {
                        state.events[slot * cells + at] = state.events[(slot - 1) * cells + at];
                    }
                    state.events[at] = event(now, model.keys.climbing.word(counter));
                    report.climbing += 1;
                }
            }
        }
    }

    /// A step of the nuclear cells, which the Purkinje spikes of the step before reach.
    fn nuclear(&mut self, tick: &Tick, step: usize, report: &mut WideReport) {
        let (config, model, state) = (&self.config, &self.model, &mut self.state);
        let now = tick.first_step as usize + step;
        let p = &model.nuclear;
        let nuclei = 2 * config.nuclear_per_zone;
        let due = &mut state.nuclear_counts[(now + 1) % 2 * nuclei..][..nuclei];
        for (k, due) in due.iter_mut().enumerate() {
            let inh = state.nuclear_inh[k];
            let x = advanced(p, state.nuclear_v[k], 0.0, p.inh_to_v * inh);
            let fires = x >= 1.0;
            state.nuclear_v[k] = if fires { p.reset } else { x };
            let inh = p.keep_inh * inh + TINY;
            state.nuclear_inh[k] = inh + model.purkinje_to_nuclear * *due as f32;
            *due = 0;
            if fires {
                report.nuclear += 1;
                let zone = usize::from(k >= config.nuclear_per_zone);
                report.counted[zone] += u64::from(step >= config.settle_steps);
            }
        }
    }
}
