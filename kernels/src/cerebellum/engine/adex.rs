//! Adaptive exponential integrate-and-fire cells (Brette and Gerstner, J. Neurophysiol. 94, 2005).
//!
//! C dV/dt = -g_L (V - E_L) + g_L Δ exp((V - V_T) / Δ) - w - Σ g_r (V - E_r) + I and
//! tau_w dw/dt = a (V - E_L) - w; V over V_T + 5 Δ fires. A step of 1 ms is too long for the
//! exponential, so it is cut into sub-steps in which the linear part relaxes exactly and the
//! exponential current is held (exponential Euler), its argument clipped at the firing potential.
//! Only the few Purkinje and nuclear cells are of this kind. Invariant: no allocation.

use super::conductance::ReceptorPlan;
use super::current::TINY;
use crate::cerebellum::description::AdEx;
use crate::exp;

/// What a step needs to know of the cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct AdExPlan {
    cell: AdEx,
    cut_mv: f32,
    hold: u8,
    substep_ms: f32,
    keep_w: f32,
}

impl AdExPlan {
    pub(super) fn new(cell: &AdEx, step_ms: f32) -> Self {
        let substep_ms = step_ms / cell.substeps as f32;
        Self {
            cell: *cell,
            cut_mv: cell.threshold_mv + 5.0 * cell.slope_mv,
            hold: (cell.refractory_ms / step_ms).round() as u8,
            substep_ms,
            keep_w: (-substep_ms / cell.tau_w_ms).exp(),
        }
    }

    /// What a spike does to a cell.
    pub(super) fn fire(&self, v: &mut f32, hold: &mut u8, w: &mut f32) {
        *v = self.cell.reset_mv;
        *hold = self.hold;
        *w += self.cell.b_pa;
    }
}

/// Advances the cells and appends the ones that fired, ascending. `w` is the adaptation in pA,
/// `extra` each cell's additional current in pA, or empty.
#[allow(clippy::too_many_arguments, reason = "the arrays of one population")]
pub(super) fn sweep(
    p: &AdExPlan,
    plans: &[ReceptorPlan],
    v: &mut [f32],
    w: &mut [f32],
    hold: &mut [u8],
    receptors: &mut [Vec<f32>],
    extra: &[f32],
    spikes: &mut Vec<u32>,
) {
    let c = &p.cell;
    for k in 0..v.len() {
        let (mut g, mut i) = (c.leak_ns, c.leak_ns * c.leak_mv + c.current_pa);
        for (plan, receptor) in plans.iter().zip(receptors.iter_mut()) {
            let value = &mut receptor[k];
            g += *value;
            i += *value * plan.reversal_mv;
            *value = plan.keep * *value + TINY;
        }
        i += extra.get(k).copied().unwrap_or(0.0);
        if hold[k] > 0 {
            hold[k] -= 1;
            continue;
        }
        let keep = exp::negative(-g * p.substep_ms / c.c_pf);
        for _ in 0..c.substeps {
            let over = ((v[k] - c.threshold_mv) / c.slope_mv).clamp(-80.0, 5.0);
            let upstroke = c.leak_ns * c.slope_mv * over.exp();
            let steady = (i + upstroke - w[k]) / g;
            v[k] = steady + (v[k] - steady) * keep;
            let goal = c.a_ns * (v[k] - c.leak_mv);
            w[k] = goal + (w[k] - goal) * p.keep_w;
            if v[k] >= p.cut_mv {
                p.fire(&mut v[k], &mut hold[k], &mut w[k]);
                spikes.push(k as u32);
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The Purkinje cell of a published Purkinje-nuclei-olive loop, without its synapses.
    fn cell(substeps: u32) -> AdEx {
        AdEx {
            c_pf: 75.0,
            leak_ns: 30.0,
            leak_mv: -70.6,
            threshold_mv: -50.4,
            slope_mv: 2.0,
            tau_w_ms: 144.0,
            a_ns: 4.0,
            b_pa: 80.5,
            reset_mv: -70.6,
            refractory_ms: 0.0,
            current_pa: 1_500.0,
            noise_pa: 0.0,
            substeps,
        }
    }

    fn spikes_in_2_s(substeps: u32) -> usize {
        let p = AdExPlan::new(&cell(substeps), 1.0);
        let (mut v, mut w, mut hold) = ([-70.6], [0.0], [0]);
        let mut spikes = Vec::new();
        for _ in 0..2_000 {
            sweep(&p, &[], &mut v, &mut w, &mut hold, &mut [], &[], &mut spikes);
        }
        spikes.len()
    }

    #[test]
    fn sub_steps_converge() {
        let fine = spikes_in_2_s(64);
        let coarse = spikes_in_2_s(8);
        assert!(fine > 50, "{fine} spikes");
        assert!(fine.abs_diff(coarse) * 20 <= fine, "{coarse} of 8 sub-steps, {fine} of 64");
    }

    #[test]
    fn adaptation_stretches_the_intervals() {
        let p = AdExPlan::new(&cell(16), 1.0);
        let (mut v, mut w, mut hold) = ([-70.6], [0.0], [0]);
        let (mut spikes, mut times) = (Vec::new(), Vec::new());
        for step in 0..500 {
            spikes.clear();
            sweep(&p, &[], &mut v, &mut w, &mut hold, &mut [], &[], &mut spikes);
            if !spikes.is_empty() {
                times.push(step);
            }
        }
        let first = times[1] - times[0];
        let last = times[times.len() - 1] - times[times.len() - 2];
        assert!(last > first, "{first} ms at first, {last} ms at last");
    }
}
