//! Pair STDP's rule and state, for another than this engine to go on from: a device.
//!
//! Invariant: rule and parts are there for a projection whose only rule is pair STDP, and for no other.

use super::{Component, Effect, Events, Plastic, Source};

/// The rule in the engine's terms.
#[derive(Clone, Copy, Debug)]
pub(in crate::cerebellum) struct PairRule<'a> {
    /// Change of a weight by a postsynaptic spike at a presynaptic trace of 1.
    pub(in crate::cerebellum) potentiation: f32,
    /// What a presynaptic spike takes off at a postsynaptic trace of 1.
    pub(in crate::cerebellum) depression: f32,
    /// What the postsynaptic trace keeps over a step.
    pub(in crate::cerebellum) keep: f32,
    /// Bounds of a weight.
    pub(in crate::cerebellum) bounds: [f32; 2],
    /// Steps of an epoch, steps that the ledger answers, steps between looks for old sources.
    pub(in crate::cerebellum) epoch: u64,
    pub(in crate::cerebellum) span: u64,
    pub(in crate::cerebellum) scan: u64,
    /// What a presynaptic trace keeps after 0 to `span` steps, and the inverse for 0 to `epoch`.
    pub(in crate::cerebellum) decay: &'a [f32],
    pub(in crate::cerebellum) growth: &'a [f32],
}

/// Everything that the rule changes but the weights.
#[derive(Debug)]
pub(in crate::cerebellum) struct PairParts<'a> {
    pub(in crate::cerebellum) effect: &'a mut Effect,
    /// By target, its trace.
    pub(in crate::cerebellum) post: &'a mut [f32],
    /// The ledger's row last begun; by step of the span, its row; by row and target, running sums.
    pub(in crate::cerebellum) head: &'a mut u32,
    pub(in crate::cerebellum) row_at: &'a mut [u32],
    pub(in crate::cerebellum) rows: &'a mut [f32],
    now: &'a mut u64,
    head_step: &'a mut u64,
    sources: &'a mut [Source],
}

impl PairParts<'_> {
    /// By source, the low half of the step up to which its synapses are settled, and its trace then.
    pub(in crate::cerebellum) fn sources_mut(
        &mut self,
    ) -> impl Iterator<Item = (&mut u32, &mut f32)> {
        self.sources.iter_mut().map(|source| (&mut source.settled, &mut source.trace[0]))
    }

    /// The step last learned in.
    pub(in crate::cerebellum) const fn now(&self) -> u64 {
        *self.now
    }

    /// Goes on after step `now`, which the other parts are as of.
    pub(in crate::cerebellum) fn set_now(&mut self, now: u64) {
        *self.now = now;
        *self.head_step = now;
    }
}

impl Plastic {
    /// The rule, where it is pair STDP alone.
    pub(in crate::cerebellum) fn pair_rule(&self) -> Option<PairRule<'_>> {
        let [Component { events: Events::Postsynaptic, ledger, amplitude }] = &self.components[..]
        else {
            return None;
        };
        if self.potentiation != 0.0 || !self.climbing_of.is_empty() {
            return None;
        }
        let (epoch, span) = ledger.steps();
        let (decay, growth) = ledger.exponential();
        Some(PairRule {
            potentiation: *amplitude,
            depression: self.a_minus,
            keep: self.keep_y,
            bounds: [self.min, self.max],
            epoch,
            span,
            scan: self.scan_steps(),
            decay,
            growth,
        })
    }

    /// What the rule changes, where it is pair STDP alone.
    pub(in crate::cerebellum) fn pair_parts_mut(&mut self) -> Option<PairParts<'_>> {
        self.pair_rule()?;
        let ledger = self.components.first_mut()?.ledger.parts_mut();
        Some(PairParts {
            now: &mut self.now,
            effect: &mut self.effect,
            post: &mut self.y,
            head: ledger.head,
            head_step: ledger.head_step,
            row_at: ledger.row_at,
            rows: ledger.rows,
            sources: &mut self.sources,
        })
    }
}
