//! Leaky integrate-and-fire cells, advanced by the exact solution of their equations over one step.
//!
//! tau_m dV/dt = -V + I_exc - I_inh + I_const and dI_x/dt = -I_x / tau_x, in units in which rest is
//! 0 and the threshold 1. A step moves V from the currents at its start, lets the currents decay,
//! and resets the cells at or over threshold; spikes delivered after it act from the next step on,
//! so every synaptic delay is one step. The reset lies below rest, which stands for the
//! after-hyperpolarisation and makes a refractory counter unnecessary. The
//! method is exact integration (Rotter and Diesmann, Biol. Cybern. 81, 1999).
//!
//! Invariants: no allocation, and the same operations in the same order for each cell whatever the
//! population's size.

/// Time constants of a population, in ms, and its constant drive, in thresholds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membrane {
    pub(crate) tau_m_ms: f32,
    pub(crate) tau_exc_ms: f32,
    pub(crate) tau_inh_ms: f32,
    pub(crate) drive: f32,
    pub(crate) reset: f32,
}

/// The membrane's solution over one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Propagator {
    keep_v: f32,
    exc_to_v: f32,
    inh_to_v: f32,
    keep_exc: f32,
    keep_inh: f32,
    drive: f32,
    reset: f32,
}

impl Propagator {
    pub(crate) fn new(m: Membrane, step_ms: f32) -> Self {
        let decay = |tau_ms: f32| (-step_ms / tau_ms).exp();
        let into_v = |tau: f32| tau / (tau - m.tau_m_ms) * (decay(tau) - decay(m.tau_m_ms));
        Self {
            keep_v: decay(m.tau_m_ms),
            exc_to_v: into_v(m.tau_exc_ms),
            inh_to_v: into_v(m.tau_inh_ms),
            keep_exc: decay(m.tau_exc_ms),
            keep_inh: decay(m.tau_inh_ms),
            drive: (1.0 - decay(m.tau_m_ms)) * m.drive,
            reset: m.reset,
        }
    }

    /// Lets an inhibitory current that a whole cluster shares decay; returns its push on V in this
    /// step.
    pub(crate) fn shared_inhibition(&self, current: &mut f32) -> f32 {
        let push = self.inh_to_v * *current;
        *current *= self.keep_inh;
        push
    }

    /// What a constant current adds to V each step.
    pub(crate) fn constant(&self, current: f32) -> f32 {
        (1.0 - self.keep_v) * current
    }
}

/// Cells advanced and tested together: a few registers wide, so the compiler vectorises the loop
/// and a group without a spike costs one branch.
const GROUP: usize = 16;

/// Keeps a silent cell's current out of the denormal range, where arithmetic is slow. Far below any
/// effect.
const TINY: f32 = 1e-20;

/// Advances the cells of one cluster, which have no inhibition of their own, and appends the
/// spikes.
///
/// `bias` is each cell's constant push on V a step; `inhibition` is the cluster's. The first cell's
/// id is `first`. `spikes` must have room for every cell.
#[inline]
pub(crate) fn sweep(
    p: &Propagator,
    v: &mut [f32],
    exc: &mut [f32],
    bias: &[f32],
    inhibition: f32,
    first: usize,
    spikes: &mut Vec<u32>,
) {
    let (v_groups, v_rest) = v.as_chunks_mut::<GROUP>();
    let (exc_groups, exc_rest) = exc.as_chunks_mut::<GROUP>();
    let (bias_groups, bias_rest) = bias.as_chunks::<GROUP>();
    let rest = first + v_groups.len() * GROUP;
    let groups = v_groups.iter_mut().zip(exc_groups).zip(bias_groups);
    for (k, ((v, exc), bias)) in groups.enumerate() {
        sweep_group(p, v, exc, bias, inhibition, first + k * GROUP, spikes);
    }
    sweep_group(p, v_rest, exc_rest, bias_rest, inhibition, rest, spikes);
}

/// Advances cells together, and looks for the ones that fired only when there are any. Inlined, so
/// that a full group's length is known where it is compiled.
#[allow(clippy::inline_always)] // Without the length the loop is not unrolled into vector code.
#[inline(always)]
fn sweep_group(
    p: &Propagator,
    v: &mut [f32],
    exc: &mut [f32],
    bias: &[f32],
    inhibition: f32,
    first: usize,
    spikes: &mut Vec<u32>,
) {
    let mut fired = 0;
    for ((v, exc), bias) in v.iter_mut().zip(exc).zip(bias) {
        *v = p.keep_v * *v + p.exc_to_v * *exc + (*bias - inhibition);
        *exc = p.keep_exc * *exc + TINY;
        fired |= u32::from(*v >= 1.0);
    }
    if fired != 0 {
        for (k, v) in v.iter_mut().enumerate() {
            if *v >= 1.0 {
                *v = p.reset;
                spikes.push((first + k) as u32);
            }
        }
    }
}

/// A small population whose cells have currents of both signs.
#[derive(Clone, Debug)]
pub(crate) struct Population {
    pub(crate) v: Vec<f32>,
    pub(crate) exc: Vec<f32>,
    pub(crate) inh: Vec<f32>,
    /// Cells that fired in the last step, in ascending order.
    pub(crate) spikes: Vec<u32>,
}

impl Population {
    /// A population at rest with the given potentials.
    pub(crate) fn new(v: Vec<f32>) -> Self {
        let n = v.len();
        Self { v, exc: vec![0.0; n], inh: vec![0.0; n], spikes: Vec::with_capacity(n) }
    }

    /// Advances one step.
    pub(crate) fn step(&mut self, p: &Propagator) {
        self.spikes.clear();
        let cells = self.v.iter_mut().zip(&mut self.exc).zip(&mut self.inh);
        for ((v, exc), inh) in cells {
            *v = p.keep_v * *v + p.exc_to_v * *exc - p.inh_to_v * *inh + p.drive;
            *exc = p.keep_exc * *exc + TINY;
            *inh = p.keep_inh * *inh + TINY;
        }
        for (k, v) in self.v.iter_mut().enumerate() {
            if *v >= 1.0 {
                *v = p.reset;
                self.spikes.push(k as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Membrane =
        Membrane { tau_m_ms: 20.0, tau_exc_ms: 3.0, tau_inh_ms: 10.0, drive: 0.0, reset: 0.0 };

    #[test]
    fn a_step_of_one_ms_lands_where_ten_thousand_tiny_euler_steps_do() {
        let p = Propagator::new(Membrane { drive: 0.3, ..PLAIN }, 1.0);
        let mut cell = Population::new(vec![0.1]);
        (cell.exc[0], cell.inh[0]) = (0.8, 0.4);
        let (mut v, mut exc, mut inh) = (0.1_f64, 0.8_f64, 0.4_f64);
        let dt = 1e-4;
        for _ in 0..5 {
            cell.step(&p);
            for _ in 0..10_000 {
                v += dt * (-v + exc - inh + 0.3) / 20.0;
                exc -= dt * exc / 3.0;
                inh -= dt * inh / 10.0;
            }
        }
        assert!((cell.v[0] as f64 - v).abs() < 1e-4, "{} against {v}", cell.v[0]);
    }

    #[test]
    fn constant_drive_gives_the_closed_form_rate() {
        // The interval is tau_m ln((I - reset) / (I - 1)), here 20 ln(2) = 13.9 ms: 71 Hz on 1 ms
        // steps.
        let p = Propagator::new(Membrane { drive: 2.0, ..PLAIN }, 1.0);
        let mut cell = Population::new(vec![0.0]);
        let mut spikes = 0;
        for _ in 0..10_000 {
            cell.step(&p);
            spikes += cell.spikes.len();
        }
        assert_eq!(spikes, 714, "one spike each 14 steps");
    }

    #[test]
    fn the_cluster_sweep_and_the_plain_step_agree() {
        let m = Membrane { reset: -0.5, ..PLAIN };
        let p = Propagator::new(m, 1.0);
        let n = 37;
        let mut plain = Population::new((0..n).map(|k| k as f32 / n as f32).collect());
        plain.exc = (0..n).map(|k| 4.0 * (k % 5) as f32).collect();
        plain.inh = vec![0.3; n];
        let (mut v, mut exc, mut shared) = (plain.v.clone(), plain.exc.clone(), 0.3);
        let bias = vec![0.0; n];
        let mut spikes = Vec::with_capacity(n);
        let mut fired = 0;
        for _ in 0..20 {
            plain.step(&p);
            spikes.clear();
            let inhibition = p.shared_inhibition(&mut shared);
            sweep(&p, &mut v, &mut exc, &bias, inhibition, 0, &mut spikes);
            assert_eq!(spikes, plain.spikes);
            fired += spikes.len();
        }
        assert!(fired > 5, "{fired} spikes");
    }
}
