//! Plastic synapses of one projection: parallel fibres on Purkinje cells.
//!
//! Everything a synapse is owed is settled when its own presynaptic spike reads it, in the pass over
//! the row that also delivers the spike, so plasticity costs one more read of a row that is in cache.
//! In the step n in which a presynaptic spike arrives, in this order and with one clip at the end,
//!
//! ```text
//! w += a_plus · x · events of the postsynaptic cell since      (pair STDP)
//! w -= amount · e · climbing-fibre spikes since                 (depression, gated)
//! w += potentiation, w -= a_minus · y                           (at this spike)
//! ```
//!
//! where the traces x, e and y do not yet hold the spikes of this very step. The eager form of the
//! same rule walks a column at each postsynaptic spike; `kernels/tests` holds the two together. A
//! [`Kernel::Window`] has no recursion, so a climbing-fibre spike walks the parallel fibres that
//! fired within the window instead: also a cost by event.
//!
//! Postsynaptic spikes count from the step after they are fired, climbing-fibre spikes after the same
//! delay as presynaptic ones. Invariants: weights stay within their bounds; no allocation after
//! construction; nothing depends on the instruction set.

mod pairs;

pub(in crate::cerebellum) use pairs::{PairParts, PairRule};

use super::debt::{Ledger, span_steps};
use super::fanout::{AHEAD, Fanout, Layout, prefetch, run};
use super::history::History;
use super::lines::Lines;
use crate::cerebellum::description::{Kernel, Plasticity};
use crate::isa::{Isa, dispatched};

/// A trace below this is nothing: its synapses are owed less than the rounding of a weight.
const TRACE_MIN: f32 = 1e-9;

/// One source in so many is looked at closely for [`Effect`].
const SAMPLE: u32 = 64;

/// What the rules of a projection have done, in events and in summed weight. Sums are estimated from
/// one source in 64 and are before clipping.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effect {
    /// Presynaptic spikes that arrived while learning.
    pub presynaptic_spikes: u64,
    /// Postsynaptic spikes seen by pair STDP.
    pub postsynaptic_spikes: u64,
    /// Climbing-fibre spikes seen.
    pub climbing_spikes: u64,
    /// Weight added at presynaptic spikes, non-associatively.
    pub potentiated: f64,
    /// Weight taken off by climbing fibres.
    pub depressed: f64,
    /// Weight added by pair STDP.
    pub paired_up: f64,
    /// Weight taken off by pair STDP.
    pub paired_down: f64,
    /// Rows settled because their ledger was about to forget them.
    pub settled_early: u64,
}

/// Whose events a ledger holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Events {
    Postsynaptic,
    Climbing,
}

/// One exponential of the rules.
#[derive(Clone, Debug)]
struct Component {
    events: Events,
    ledger: Ledger,
    /// Change of a weight by an event at a trace of 1.
    amplitude: f32,
}

/// Exponentials that the rules of one projection can need: pair STDP and the two of a difference.
const COMPONENTS_MAX: usize = 3;

/// What is remembered of a presynaptic cell. A quarter of a cache line, so that it costs one.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(16))]
struct Source {
    /// The low half of the step up to which its synapses are settled; never further back than the
    /// span of the ledgers.
    settled: u32,
    /// By component, its trace at that step.
    trace: [f32; COMPONENTS_MAX],
}

/// Rows that a weight's change can be the weighted sum of: five a component, and the postsynaptic
/// trace.
const TERMS_MAX: usize = 5 * COMPONENTS_MAX + 1;

/// Weighted rows by target, whose sum is a change of weights.
struct Terms<'a> {
    rows: [(f32, &'a [f32]); TERMS_MAX],
    used: usize,
}

impl<'a> Terms<'a> {
    #[allow(clippy::inline_always, reason = "see `dispatched`")]
    #[inline(always)]
    fn push(&mut self, weight: f32, row: &'a [f32]) {
        self.rows[self.used] = (weight, row);
        self.used += 1;
    }

    #[allow(clippy::inline_always, reason = "see `dispatched`")]
    #[inline(always)]
    fn all(&self) -> &[(f32, &'a [f32])] {
        &self.rows[..self.used]
    }

    /// What a source is owed by the events since it was settled.
    #[allow(clippy::inline_always, reason = "see `dispatched`")]
    #[inline(always)]
    fn owed(components: &'a [Component], source: &Source, now: u64) -> Self {
        let mut terms = Self { rows: [(0.0, &[]); TERMS_MAX], used: 0 };
        let elapsed = source.elapsed(now);
        for (component, &trace) in components.iter().zip(&source.trace) {
            if trace == 0.0 {
                continue;
            }
            let Some(debt) = component.ledger.debt(now - elapsed) else { continue };
            let scale = component.amplitude * trace;
            if debt.own != 0.0 {
                terms.push(scale * debt.own, component.ledger.sums(debt.own_until));
                terms.push(-scale * debt.own, component.ledger.sums(debt.own_since));
            }
            for (c, row) in debt.later {
                if c != 0.0 {
                    terms.push(scale * c, component.ledger.sums(row));
                }
            }
        }
        terms
    }
}

impl Source {
    #[allow(clippy::inline_always, reason = "see `dispatched`")]
    #[inline(always)]
    const fn elapsed(&self, now: u64) -> u64 {
        (now as u32).wrapping_sub(self.settled) as u64
    }

    /// Lets the traces decay to now and, if the cell fired, takes its spike in.
    #[allow(clippy::inline_always, reason = "see `dispatched`")]
    #[inline(always)]
    fn refresh(&mut self, components: &[Component], now: u64, fired: bool) {
        let elapsed = self.elapsed(now);
        for (component, trace) in components.iter().zip(&mut self.trace) {
            let kept = *trace * component.ledger.keep(elapsed);
            *trace = if fired { kept + 1.0 } else { kept };
        }
        self.settled = now as u32;
    }
}

/// What the presynaptic spike itself does to a weight, and the bounds.
#[derive(Clone, Copy, Debug)]
struct AtSpike {
    plus: f32,
    /// What `plus` loses by unit of weight.
    soft: f32,
    min: f32,
    max: f32,
    gain: f32,
}

/// Depression within a window, which climbing fibres apply themselves.
#[derive(Clone, Debug)]
struct Window {
    /// Steps of presynaptic spikes that a climbing-fibre spike reaches.
    steps: usize,
    amount: f32,
    proportional: bool,
    block_steps: u64,
    /// By climbing fibre and source: depressions that await the end of the block.
    pending: Vec<u16>,
}

/// The state of a plastic projection.
#[derive(Clone, Debug)]
pub(in crate::cerebellum) struct Plastic {
    /// By synapse, as [`Fanout::store`] lays them out.
    w: Lines,
    /// What a weight is multiplied by when a spike is delivered: synaptic scaling.
    pub(in crate::cerebellum) gain: f32,
    /// What it is multiplied by besides: the share of the projection's port.
    share: f32,
    pub(in crate::cerebellum) effect: Effect,
    on: bool,
    min: f32,
    max: f32,
    potentiation: f32,
    /// What potentiation loses by unit of weight.
    softness: f32,
    a_minus: f32,
    keep_y: f32,
    y: Vec<f32>,
    components: Vec<Component>,
    window: Option<Window>,
    /// By target, its climbing fibre; empty without climbing fibres.
    climbing_of: Vec<u32>,
    /// Empty where no rule looks back.
    sources: Vec<Source>,
    span: u64,
    /// The step last begun.
    now: u64,
    scratch: Vec<u32>,
}

/// The spikes that concern a projection in one step.
pub(super) struct Arrivals<'a> {
    pub(super) presynaptic: &'a [u32],
    pub(super) postsynaptic: &'a [u32],
    pub(super) climbing: &'a [u32],
    /// The presynaptic population's history and the projection's delay, for windows.
    pub(super) history: &'a History,
    pub(super) delay: usize,
}

impl Plastic {
    /// Plastic synapses of `fanout` with the weights `w`; `climbing_cells` olive cells, of which cell
    /// k teaches the k-th of as many equal parts of the targets.
    pub(super) fn new(
        rule: &Plasticity,
        fanout: &Fanout,
        w: Lines,
        climbing_cells: usize,
        share: f32,
        step_ms: f32,
    ) -> Self {
        let (sources, targets) = (fanout.sources, fanout.targets);
        let mut parts = Vec::new();
        if let Some(stdp) = &rule.stdp {
            parts.push((Events::Postsynaptic, stdp.tau_pre_ms / step_ms, stdp.a_plus));
        }
        let mut window = None;
        if let Some(climbing) = &rule.climbing {
            match climbing.kernel {
                Kernel::Exponential { tau_ms } => {
                    parts.push((Events::Climbing, tau_ms / step_ms, -climbing.amount));
                }
                Kernel::Difference { slow_ms, fast_ms } => {
                    let amount = climbing.amount * Kernel::difference_scale(slow_ms, fast_ms);
                    parts.push((Events::Climbing, slow_ms / step_ms, -amount));
                    parts.push((Events::Climbing, fast_ms / step_ms, amount));
                }
                Kernel::Window { length_ms } => {
                    window = Some(Window {
                        steps: (length_ms / step_ms).round() as usize,
                        amount: climbing.amount,
                        proportional: climbing.proportional,
                        block_steps: climbing.block_steps as u64,
                        pending: if climbing.block_steps == 0 {
                            Vec::new()
                        } else {
                            vec![0; sources * climbing_cells]
                        },
                    });
                }
            }
        }
        let span = parts.iter().map(|p| span_steps(p.1)).max().unwrap_or(1);
        let components: Vec<Component> = parts
            .into_iter()
            .map(|(events, tau_steps, amplitude)| Component {
                events,
                ledger: Ledger::new(targets, tau_steps, span),
                amplitude,
            })
            .collect();
        let (a_minus, keep_y) = rule
            .stdp
            .as_ref()
            .map_or((0.0, 0.0), |s| (s.a_minus, (-step_ms / s.tau_post_ms).exp()));
        let (potentiation, softness) = rule
            .potentiation
            .as_ref()
            .map_or((0.0, 0.0), |p| (p.amount, if p.soft { p.amount / rule.w_max } else { 0.0 }));
        Self {
            w,
            gain: 1.0,
            share,
            effect: Effect::default(),
            on: true,
            min: rule.w_min,
            max: rule.w_max,
            potentiation,
            softness,
            a_minus,
            keep_y,
            y: vec![0.0; targets],
            sources: vec![Source::default(); if components.is_empty() { 0 } else { sources }],
            components,
            window,
            climbing_of: if rule.climbing.is_some() {
                (0..targets).map(|t| (t * climbing_cells / targets) as u32).collect()
            } else {
                Vec::new()
            },
            span,
            now: 0,
            scratch: Vec::with_capacity(targets),
        }
    }

    /// Steps of presynaptic history that the rule needs beyond the delay.
    pub(super) fn history_steps(rule: &Plasticity, step_ms: f32) -> usize {
        match rule.climbing.map(|c| c.kernel) {
            Some(Kernel::Window { length_ms }) => (length_ms / step_ms).round() as usize,
            _ => 0,
        }
    }

    /// Switches learning on or off. What is owed is settled first; traces start anew.
    pub(super) fn switch(&mut self, on: bool, isa: Isa, fanout: &Fanout) {
        if self.on == on {
            return;
        }
        if self.on {
            self.settle_all(isa, fanout);
        } else {
            self.components.iter_mut().for_each(|c| c.ledger.restart(self.now));
            self.sources.fill(Source { settled: self.now as u32, ..Source::default() });
            self.y.fill(0.0);
        }
        self.on = on;
    }

    /// Step `n`: lets what arrives act on the weights, and delivers presynaptic spikes to `onto`.
    pub(super) fn step(
        &mut self,
        isa: Isa,
        n: u64,
        fanout: &Fanout,
        arrivals: &Arrivals<'_>,
        onto: &mut [f32],
    ) {
        assert_eq!(onto.len(), fanout.targets, "one value a target");
        self.now = n;
        if !self.on {
            self.deliver(isa, fanout, arrivals.presynaptic, onto);
            return;
        }
        self.effect.presynaptic_spikes += arrivals.presynaptic.len() as u64;
        self.effect.climbing_spikes += arrivals.climbing.len() as u64;
        self.begin(n, arrivals);
        self.settle_old(isa, n, fanout);
        match &fanout.layout {
            Layout::Blocks(_) => learn_blocks(isa, self, fanout, arrivals.presynaptic, true, onto),
            Layout::Rows(_) => learn_rows(isa, self, fanout, arrivals.presynaptic, true, onto),
        }
        if self.a_minus != 0.0 {
            self.effect.postsynaptic_spikes += arrivals.postsynaptic.len() as u64;
            arrivals.postsynaptic.iter().for_each(|&t| self.y[t as usize] += 1.0);
        }
    }

    /// Delivers spikes without learning. What is owed must have been settled.
    pub(super) fn deliver(&self, isa: Isa, fanout: &Fanout, spikes: &[u32], onto: &mut [f32]) {
        fanout.deliver_each(isa, &self.w, spikes, self.factor(), onto);
    }

    /// What weights are multiplied by when a spike is delivered.
    pub(super) fn factor(&self) -> f32 {
        self.gain * self.share
    }

    /// Replaces the weights, each held within its bounds.
    pub(super) fn set_weights(&mut self, fanout: &Fanout, weights: &[f32]) {
        self.w = fanout.store(weights);
        self.w.iter_mut().for_each(|w| *w = w.max(self.min).min(self.max));
    }

    /// Multiplies the constants of every rule. What is owed must have been settled.
    pub(super) fn scale_learning(&mut self, factor: f32) {
        self.potentiation *= factor;
        self.softness *= factor;
        self.a_minus *= factor;
        self.components.iter_mut().for_each(|c| c.amplitude *= factor);
        if let Some(window) = &mut self.window {
            window.amount *= factor;
        }
    }

    /// The weights of one source, settled.
    pub(super) fn row_mut(&mut self, isa: Isa, fanout: &Fanout, source: u32) -> &mut [f32] {
        if self.on && !self.components.is_empty() {
            self.settle(isa, fanout, source);
        }
        &mut self.w[fanout.places_of(source as usize)]
    }

    /// The weights of one source as they are stored, whatever they are owed.
    pub(super) fn stored_row_mut(&mut self, fanout: &Fanout, source: u32) -> &mut [f32] {
        &mut self.w[fanout.places_of(source as usize)]
    }

    /// Adds pre · post to every weight, held within its bounds: a rule that acts between steps, with
    /// one factor by source (0 changes nothing) and one by target.
    ///
    /// # Panics
    /// When there is not one factor a source and a target.
    pub(super) fn add_outer(&mut self, isa: Isa, fanout: &Fanout, pre: &[f32], post: &[f32]) {
        assert_eq!((pre.len(), post.len()), (fanout.sources, fanout.targets), "one factor each");
        if self.on && !self.components.is_empty() {
            for source in (0..fanout.sources).filter(|&source| pre[source] != 0.0) {
                self.settle(isa, fanout, source as u32);
            }
        }
        match &fanout.layout {
            Layout::Blocks(_) => add_blocks(isa, self, fanout, pre, post),
            Layout::Rows(_) => {
                let (min, max) = (self.min, self.max);
                for (source, &e) in pre.iter().enumerate().filter(|(_, e)| **e != 0.0) {
                    for_each_synapse(fanout, source as u32, |edge, target| {
                        self.w[edge] = (self.w[edge] + e * post[target]).max(min).min(max);
                    });
                }
            }
        }
    }

    /// The weights in the order of the rows. What is owed must have been settled.
    pub(super) fn weights(&self, fanout: &Fanout) -> Vec<f32> {
        fanout.list(&self.w)
    }

    /// Notes the events of step `n` and lets the postsynaptic trace decay.
    fn begin(&mut self, n: u64, arrivals: &Arrivals<'_>) {
        if self.a_minus != 0.0 {
            self.y.iter_mut().for_each(|y| *y *= self.keep_y);
        }
        if !self.climbing_of.is_empty() {
            self.scratch.clear();
            if !arrivals.climbing.is_empty() {
                for (target, fibre) in self.climbing_of.iter().enumerate() {
                    if arrivals.climbing.binary_search(fibre).is_ok() {
                        self.scratch.push(target as u32);
                    }
                }
            }
        }
        for component in &mut self.components {
            let events = match component.events {
                Events::Postsynaptic => arrivals.postsynaptic,
                Events::Climbing => &self.scratch,
            };
            component.ledger.begin(n, events.iter().copied());
        }
    }

    /// Settles, every eighth of the span, the sources that would otherwise fall out of it.
    fn settle_old(&mut self, isa: Isa, n: u64, fanout: &Fanout) {
        let scan = self.scan_steps();
        if self.components.is_empty() || !n.is_multiple_of(scan) {
            return;
        }
        for k in 0..self.sources.len() {
            if self.sources[k].elapsed(n) + 2 * scan < self.span {
                continue;
            }
            if self.sources[k].trace != [0.0; COMPONENTS_MAX] {
                self.effect.settled_early += 1;
                self.settle(isa, fanout, k as u32);
                for trace in &mut self.sources[k].trace {
                    if *trace < TRACE_MIN {
                        *trace = 0.0;
                    }
                }
            }
            self.sources[k].settled = n as u32;
        }
    }

    /// Steps between looks for sources that would fall out of the span.
    fn scan_steps(&self) -> u64 {
        (self.span / 8).max(1)
    }

    /// Settles every synapse as of the step last begun.
    pub(super) fn settle_all(&mut self, isa: Isa, fanout: &Fanout) {
        if !self.on {
            return;
        }
        for source in 0..self.sources.len() {
            self.settle(isa, fanout, source as u32);
        }
    }

    /// Settles one source without a spike of its own.
    fn settle(&mut self, isa: Isa, fanout: &Fanout, source: u32) {
        match &fanout.layout {
            Layout::Blocks(_) => learn_blocks(isa, self, fanout, &[source], false, &mut []),
            Layout::Rows(_) => learn_rows(isa, self, fanout, &[source], false, &mut []),
        }
    }

    /// Lets climbing-fibre spikes depress the parallel fibres that fired within the window.
    pub(super) fn depress_window(&mut self, fanout: &Fanout, arrivals: &Arrivals<'_>) {
        let Some(mut window) = self.window.take() else { return };
        if self.on {
            for &fibre in arrivals.climbing {
                for back in 0..window.steps {
                    for &source in arrivals.history.ago(arrivals.delay + back) {
                        if window.block_steps == 0 {
                            self.depress(fanout, &window, source, fibre, 1);
                        } else {
                            let place = fibre as usize * fanout.sources + source as usize;
                            window.pending[place] = window.pending[place].saturating_add(1);
                        }
                    }
                }
            }
            if window.block_steps > 0 && (self.now + 1).is_multiple_of(window.block_steps) {
                for place in 0..window.pending.len() {
                    let count = std::mem::take(&mut window.pending[place]);
                    if count > 0 {
                        let source = (place % fanout.sources) as u32;
                        let fibre = (place / fanout.sources) as u32;
                        self.depress(fanout, &window, source, fibre, count);
                    }
                }
            }
        }
        self.window = Some(window);
    }

    fn depress(&mut self, fanout: &Fanout, window: &Window, source: u32, fibre: u32, count: u16) {
        let factor = (1.0 - window.amount).powi(count as i32);
        let less = window.amount * count as f32;
        let sample = source.is_multiple_of(SAMPLE);
        for_each_synapse(fanout, source, |edge, target| {
            if self.climbing_of[target] == fibre {
                let w = self.w[edge];
                let next = if window.proportional { w * factor } else { w - less };
                self.w[edge] = next.max(self.min).min(self.max);
                if sample {
                    self.effect.depressed += (w - next) as f64 * SAMPLE as f64;
                }
            }
        });
    }

    /// What a presynaptic spike does, or nothing where none arrives.
    fn at_spike(&self, arrive: bool) -> AtSpike {
        let (plus, soft) = if arrive { (self.potentiation, self.softness) } else { (0.0, 0.0) };
        AtSpike { plus, soft, min: self.min, max: self.max, gain: self.factor() }
    }

    /// Adds up what one source's synapses change by, for one source in 64.
    #[cold]
    fn account(&mut self, source: u32, targets: &dyn Fn(&[f32]) -> f32, width: usize, spike: bool) {
        let times = SAMPLE as f64;
        let state = self.sources.get(source as usize).copied().unwrap_or_default();
        for (k, component) in self.components.iter().enumerate() {
            let mut alone = Source { settled: state.settled, ..Source::default() };
            alone.trace[0] = state.trace[k];
            let owed = Terms::owed(std::slice::from_ref(component), &alone, self.now);
            let sum: f32 = owed.all().iter().map(|(c, row)| c * targets(row)).sum();
            match component.events {
                Events::Postsynaptic => self.effect.paired_up += sum as f64 * times,
                Events::Climbing => self.effect.depressed -= sum as f64 * times,
            }
        }
        if spike {
            self.effect.potentiated += (self.potentiation * width as f32) as f64 * times;
            self.effect.paired_down += (self.a_minus * targets(&self.y)) as f64 * times;
        }
    }
}

/// Calls with each synapse of a source and its target.
fn for_each_synapse(fanout: &Fanout, source: u32, mut each: impl FnMut(usize, usize)) {
    match &fanout.layout {
        Layout::Blocks(blocks) => {
            let (from, first, width) = run(blocks, source);
            (0..width).for_each(|k| each(from + k, first + k));
        }
        Layout::Rows(rows) => {
            let r = source as usize / rows.cells_per_source;
            for edge in rows.start[r] as usize..rows.start[r + 1] as usize {
                each(edge, rows.target[edge] as usize);
            }
        }
    }
}

dispatched!(
    /// Settles the rows of `spikes`; if they `arrive`, also lets them act and delivers them.
    pub(super) fn learn_blocks = learn_blocks_body(p: &mut Plastic, fanout: &Fanout, spikes: &[u32], arrive: bool, onto: &mut [f32])
);

#[allow(clippy::inline_always, reason = "see `dispatched`")]
#[inline(always)]
fn learn_blocks_body(
    p: &mut Plastic,
    fanout: &Fanout,
    spikes: &[u32],
    arrive: bool,
    onto: &mut [f32],
) {
    let Layout::Blocks(blocks) = &fanout.layout else { return };
    let at_spike = p.at_spike(arrive);
    for (k, &source) in spikes.iter().enumerate() {
        if let Some(&next) = spikes.get(k + AHEAD) {
            let (from, _, width) = run(blocks, next);
            prefetch(&p.w, from, width);
            prefetch(&p.sources, next as usize, 1);
        }
        let (from, first, width) = run(blocks, source);
        if source.is_multiple_of(SAMPLE) {
            let sum = |row: &[f32]| row[first..first + width].iter().sum();
            p.account(source, &sum, width, arrive);
        }
        let mut none = Source::default();
        let state = p.sources.get_mut(source as usize).unwrap_or(&mut none);
        let mut terms = Terms::owed(&p.components, state, p.now);
        if arrive && p.a_minus != 0.0 {
            terms.push(-p.a_minus, &p.y);
        }
        let row = &mut p.w[from..from + width];
        let onto = if arrive { &mut onto[first..first + width] } else { &mut [] };
        change_row(row, terms.all(), first, at_spike, onto);
        state.refresh(&p.components, p.now, arrive);
    }
}

/// Weights changed together: a cache line of them.
const CHUNK: usize = 16;

/// Adds the terms, which are by target, and what the spike does to the weights of targets from
/// `first` on, and the weights' worth to `onto` unless that is empty.
#[allow(clippy::inline_always, reason = "see `dispatched`")]
#[inline(always)]
fn change_row(
    row: &mut [f32],
    terms: &[(f32, &[f32])],
    first: usize,
    at_spike: AtSpike,
    onto: &mut [f32],
) {
    let (chunks, rest) = row.as_chunks_mut::<CHUNK>();
    let whole = chunks.len() * CHUNK;
    for (k, w) in chunks.iter_mut().enumerate() {
        let at = k * CHUNK;
        let mut x = *w;
        for (c, values) in terms {
            let values = &values[first + at..first + at + CHUNK];
            for (x, value) in x.iter_mut().zip(values) {
                *x += c * value;
            }
        }
        for (w, x) in w.iter_mut().zip(x) {
            *w = at_spike.apply(*w, x);
        }
        if let Some(onto) = onto.get_mut(at..).and_then(<[f32]>::first_chunk_mut::<CHUNK>) {
            let mut sum = *onto;
            for (sum, w) in sum.iter_mut().zip(w) {
                *sum += at_spike.gain * *w;
            }
            *onto = sum;
        }
    }
    for (k, w) in rest.iter_mut().enumerate() {
        let mut x = *w;
        for (c, values) in terms {
            x += c * values[first + whole + k];
        }
        *w = at_spike.apply(*w, x);
        if !onto.is_empty() {
            onto[whole + k] += at_spike.gain * *w;
        }
    }
}

impl AtSpike {
    /// The new weight, `changed` being the old one `w` with what it was owed.
    #[allow(clippy::inline_always, reason = "see `dispatched`")]
    #[inline(always)]
    fn apply(self, w: f32, changed: f32) -> f32 {
        let x = changed + (self.plus - self.soft * w);
        // Not `f32::max` and `min`, whose care for what is not a number costs three instructions each.
        let x = if x > self.min { x } else { self.min };
        if x < self.max { x } else { self.max }
    }
}

dispatched!(
    /// [`Plastic::add_outer`] for targets that lie side by side.
    pub(super) fn add_blocks = add_blocks_body(p: &mut Plastic, fanout: &Fanout, pre: &[f32], post: &[f32])
);

#[allow(clippy::inline_always, reason = "see `dispatched`")]
#[inline(always)]
fn add_blocks_body(p: &mut Plastic, fanout: &Fanout, pre: &[f32], post: &[f32]) {
    let Layout::Blocks(blocks) = &fanout.layout else { return };
    let (min, max) = (p.min, p.max);
    for (source, &e) in pre.iter().enumerate() {
        if e == 0.0 {
            continue;
        }
        let (from, first, width) = run(blocks, source as u32);
        let row = p.w[from..from + width].iter_mut();
        for (w, post) in row.zip(&post[first..first + width]) {
            *w = (*w + e * post).max(min).min(max);
        }
    }
}

dispatched!(
    /// The same as `learn_blocks` for listed targets.
    pub(super) fn learn_rows = learn_rows_body(p: &mut Plastic, fanout: &Fanout, spikes: &[u32], arrive: bool, onto: &mut [f32])
);

#[allow(clippy::inline_always, reason = "see `dispatched`")]
#[inline(always)]
fn learn_rows_body(
    p: &mut Plastic,
    fanout: &Fanout,
    spikes: &[u32],
    arrive: bool,
    onto: &mut [f32],
) {
    let Layout::Rows(rows) = &fanout.layout else { return };
    let at_spike = p.at_spike(arrive);
    for (k, &source) in spikes.iter().enumerate() {
        if let Some(&next) = spikes.get(k + AHEAD) {
            let (from, to) = rows.bounds(next);
            prefetch(&p.w, from, to - from);
            prefetch(&rows.target, from, to - from);
            prefetch(&p.sources, next as usize, 1);
        }
        let (from, to) = rows.bounds(source);
        let targets = &rows.target[from..to];
        if source.is_multiple_of(SAMPLE) {
            let sum = |row: &[f32]| targets.iter().map(|&t| row[t as usize]).sum();
            p.account(source, &sum, targets.len(), arrive);
        }
        let mut none = Source::default();
        let state = p.sources.get_mut(source as usize).unwrap_or(&mut none);
        let mut terms = Terms::owed(&p.components, state, p.now);
        if arrive && p.a_minus != 0.0 {
            terms.push(-p.a_minus, &p.y);
        }
        for (w, &target) in p.w[from..to].iter_mut().zip(targets) {
            let t = target as usize;
            let mut x = *w;
            for (c, values) in terms.all() {
                x += c * values[t];
            }
            *w = at_spike.apply(*w, x);
            if arrive {
                onto[t] += at_spike.gain * *w;
            }
        }
        state.refresh(&p.components, p.now, arrive);
    }
}
