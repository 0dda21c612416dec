//! Conductance-based leaky integrate-and-fire cells with an after-hyperpolarisation.
//!
//! C dV/dt = -g_L (V - E_L) - Σ g_r (V - E_r) - g_ahp (V - E_ahp) + I. Every conductance is held
//! within a step, so V relaxes exactly towards V∞ = Σ g E / Σ g with rate G / C: one exponential a
//! cell, stable for any conductance, where Yamazaki and Nagao (PLoS ONE 7:e33319, 2012) take
//! Runge-Kutta steps. Receptors hold conductances in nS, and so does the after-hyperpolarisation,
//! which a spike sets to its peak.
//!
//! Invariants: the same operations in the same order for each cell on every instruction set,
//! exponential included; no allocation.

use super::current::TINY;
use crate::cerebellum::description::ConductanceLif;
use crate::exp;
use crate::isa::dispatched;

/// What a step needs to know of the cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConductancePlan {
    leak_ns: f32,
    leak_pa: f32,
    current_pa: f32,
    threshold_mv: f32,
    /// NaN where a spike leaves V alone.
    reset_mv: f32,
    hold: u8,
    ahp_ns: f32,
    ahp_mv: f32,
    keep_ahp: f32,
    /// ms over pF: what a conductance in nS is multiplied by to give the exponent.
    step_over_c: f32,
}

impl ConductancePlan {
    pub(super) fn new(lif: &ConductanceLif, step_ms: f32) -> Self {
        let (ahp_ns, ahp_mv, keep_ahp) = lif
            .ahp
            .map_or((0.0, 0.0, 0.0), |a| (a.g_ns, a.reversal_mv, (-step_ms / a.tau_ms).exp()));
        Self {
            leak_ns: lif.leak_ns,
            leak_pa: lif.leak_ns * lif.leak_mv,
            current_pa: lif.current_pa,
            threshold_mv: lif.threshold_mv,
            reset_mv: lif.reset_mv.unwrap_or(f32::NAN),
            hold: (lif.refractory_ms / step_ms).round() as u8,
            ahp_ns,
            ahp_mv,
            keep_ahp,
            step_over_c: step_ms / lif.c_pf,
        }
    }

    /// What a spike does to a cell's potential, hold and after-hyperpolarisation.
    #[inline]
    pub(super) fn fire(&self, v: &mut f32, hold: &mut u8, ahp: &mut f32) {
        if !self.reset_mv.is_nan() {
            *v = self.reset_mv;
        }
        *hold = self.hold;
        *ahp = self.ahp_ns;
    }
}

/// What a step needs to know of a receptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceptorPlan {
    pub(super) reversal_mv: f32,
    /// What it keeps over a step.
    pub(super) keep: f32,
    /// Whether it is shared by a cluster, and so not the sweep's business.
    pub(super) by_cluster: bool,
}

/// Sums over the receptors that a cluster shares: conductance and its product with the reversal.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SharedConductance {
    pub(super) g_ns: f32,
    pub(super) g_e_pa: f32,
}

/// Cells advanced together: the length of the scratch.
const GROUP: usize = 32;

dispatched!(
    /// Advances cells `first..first + v.len()` and appends the ones that fired, ascending. `receptors`
    /// are the population's, by receptor and cell; `ahp` is empty where there is none; `extra` is
    /// each cell's additional current in pA, or empty. `spikes` must have room for every cell.
    pub(super) fn sweep = sweep_body(p: &ConductancePlan, plans: &[ReceptorPlan], shared: SharedConductance, first: usize, v: &mut [f32], ahp: &mut [f32], hold: &mut [u8], receptors: &mut [Vec<f32>], extra: &[f32], spikes: &mut Vec<u32>)
);

#[allow(clippy::inline_always, clippy::too_many_arguments, reason = "see `dispatched`")]
#[inline(always)]
fn sweep_body(
    p: &ConductancePlan,
    plans: &[ReceptorPlan],
    shared: SharedConductance,
    first: usize,
    v: &mut [f32],
    ahp: &mut [f32],
    hold: &mut [u8],
    receptors: &mut [Vec<f32>],
    extra: &[f32],
    spikes: &mut Vec<u32>,
) {
    let n = v.len();
    let mut at = 0;
    while at < n {
        let length = GROUP.min(n - at);
        let mut g = [p.leak_ns + shared.g_ns; GROUP];
        let mut i = [p.leak_pa + shared.g_e_pa + p.current_pa; GROUP];
        for (plan, receptor) in plans.iter().zip(receptors.iter_mut()) {
            if plan.by_cluster {
                continue;
            }
            let values = &mut receptor[first + at..first + at + length];
            for ((value, g), i) in values.iter_mut().zip(&mut g).zip(&mut i) {
                *g += *value;
                *i += *value * plan.reversal_mv;
                *value = plan.keep * *value + TINY;
            }
        }
        if !ahp.is_empty() {
            let values = &mut ahp[at..at + length];
            for ((value, g), i) in values.iter_mut().zip(&mut g).zip(&mut i) {
                *g += *value;
                *i += *value * p.ahp_mv;
                *value = p.keep_ahp * *value + TINY;
            }
        }
        if !extra.is_empty() {
            for (i, extra) in i.iter_mut().zip(&extra[at..at + length]) {
                *i += *extra;
            }
        }
        let mut fired = 0_u32;
        let (cells, held) = (&mut v[at..at + length], &mut hold[at..at + length]);
        for (((v, hold), g), i) in cells.iter_mut().zip(held.iter_mut()).zip(&g).zip(&i) {
            let steady = *i / *g;
            let x = steady + (*v - steady) * exp::negative(-*g * p.step_over_c);
            *v = if *hold == 0 { x } else { *v };
            fired |= u32::from(*v >= p.threshold_mv && *hold == 0);
            *hold = hold.saturating_sub(1);
        }
        if fired != 0 {
            for k in 0..length {
                // A cell in its refractory period rests below threshold unless it has no reset, and
                // then its period is over when its counter is.
                if cells[k] >= p.threshold_mv && held[k] == 0 {
                    let mut none = 0.0;
                    let ahp = ahp.get_mut(at + k).unwrap_or(&mut none);
                    p.fire(&mut cells[k], &mut held[k], ahp);
                    spikes.push((first + at + k) as u32);
                }
            }
        }
        at += length;
    }
}
