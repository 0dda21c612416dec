//! One population as the trainer sees it: a step of its equations, and the step's reverse.
//!
//! tau_m dV/dt = -V + I_exc - I_inh + drive and dI/dt = -I / tau, with rest 0 and threshold 1, by
//! their exact solution over a step (Rotter and Diesmann, Biol. Cybern. 81, 1999). With U the
//! potential before firing and S the spike,
//!
//! ```text
//! U[n] = k V[n] + a E[n] - b I[n] + d        V[n+1] = (1 - S[n]) U[n] + S[n] reset
//! E[n+1] = k_e E[n] + spikes arriving        S[n] = [U[n] >= 1]
//! ```
//!
//! The tape holds U by step and cell: everything the reverse needs. Where a cell is refractory the
//! tape holds NaN, V is the reset and no gradient passes. Cells of a cluster may share their
//! inhibitory current. Invariants: the same operations in the same order for each cell; no
//! allocation.

use super::network::Cells;
use super::real::Real;
use super::surrogate::{FastSigmoid, Spiking};
use crate::cerebellum::engine::Exact;

/// The equations of one population over one step.
#[derive(Clone, Debug)]
pub(super) struct Layer<R> {
    keep_v: R,
    exc_to_v: R,
    inh_to_v: R,
    keep_exc: R,
    keep_inh: R,
    reset: R,
    hold_steps: u16,
    /// What the constant current of each cell adds to V.
    push: Vec<R>,
    start: Vec<R>,
    /// Cells that share an inhibitory current.
    cluster: usize,
}

/// Potentials and currents at the start of a step.
#[derive(Clone, Debug)]
pub(super) struct LayerState<R> {
    pub(super) v: Vec<R>,
    pub(super) exc: Vec<R>,
    /// By cluster.
    pub(super) inh: Vec<R>,
    hold: Vec<u16>,
}

/// What a pass leaves for its reverse.
#[derive(Clone, Debug)]
pub(super) struct Tape<R> {
    cells: usize,
    /// U by step and cell; NaN where refractory.
    u: Vec<R>,
    /// Cells that sent something on, step after step, ascending within a step.
    events: Vec<u32>,
    /// Where the events of each step end.
    ends: Vec<usize>,
}

impl<R: Real> Tape<R> {
    pub(super) fn potentials(&self, step: usize) -> &[R] {
        &self.u[step * self.cells..(step + 1) * self.cells]
    }

    pub(super) fn events(&self, step: usize) -> &[u32] {
        let start = if step == 0 { 0 } else { self.ends[step - 1] };
        &self.events[start..self.ends[step]]
    }

    fn clear(&mut self) {
        self.events.clear();
        self.ends.clear();
    }
}

impl<R: Real> Layer<R> {
    pub(super) fn new(cells: &Cells<R>, cluster: usize, step_ms: f32) -> Self {
        let exact = Exact { tau_m_ms: f64::from(cells.lif.tau_m_ms), step_ms: f64::from(step_ms) };
        let (exc, inh) = (f64::from(cells.tau_exc_ms), f64::from(cells.tau_inh_ms));
        let unit = R::of(1.0 - exact.keep_v());
        let common = R::of(f64::from(cells.lif.drive));
        Self {
            keep_v: R::of(exact.keep_v()),
            exc_to_v: R::of(exact.into_v(exc)),
            inh_to_v: R::of(exact.into_v(inh)),
            keep_exc: R::of(exact.keep(exc)),
            keep_inh: R::of(exact.keep(inh)),
            reset: R::of(f64::from(cells.lif.reset)),
            hold_steps: (cells.lif.refractory_ms / step_ms).round() as u16,
            push: cells.drive.iter().map(|&drive| unit * (common + drive)).collect(),
            start: cells.start.clone(),
            cluster,
        }
    }

    pub(super) fn cells(&self) -> usize {
        self.push.len()
    }

    pub(super) fn clusters(&self) -> usize {
        self.cells().div_ceil(self.cluster)
    }

    /// Most events of a pass over so many steps.
    pub(super) fn events_max(&self, steps: usize, spiking: Spiking) -> usize {
        match spiking {
            Spiking::Hard => self.cells() * steps.div_ceil(usize::from(self.hold_steps) + 1),
            Spiking::Smooth => self.cells() * steps,
        }
    }

    pub(super) fn state(&self) -> LayerState<R> {
        LayerState {
            v: self.start.clone(),
            exc: vec![R::zero(); self.cells()],
            inh: vec![R::zero(); self.clusters()],
            hold: vec![0; self.cells()],
        }
    }

    pub(super) fn tape(&self, steps: usize, spiking: Spiking) -> Tape<R> {
        Tape {
            cells: self.cells(),
            u: vec![R::zero(); self.cells() * steps],
            events: Vec::with_capacity(self.events_max(steps, spiking)),
            ends: Vec::with_capacity(steps),
        }
    }

    /// Back to the start of a sample.
    pub(super) fn restart(&self, state: &mut LayerState<R>, tape: &mut Tape<R>) {
        state.v.copy_from_slice(&self.start);
        state.exc.fill(R::zero());
        state.inh.fill(R::zero());
        state.hold.fill(0);
        tape.clear();
    }

    /// Advances the cells one step and notes it on the tape.
    pub(super) fn advance(
        &self,
        state: &mut LayerState<R>,
        tape: &mut Tape<R>,
        spiking: Spiking,
        sigmoid: &FastSigmoid,
    ) {
        let step = tape.ends.len();
        let u_row = &mut tape.u[step * tape.cells..(step + 1) * tape.cells];
        let LayerState { v, exc, inh, hold } = state;
        let mut pull = R::zero();
        let cells = v.iter_mut().zip(exc).zip(hold).zip(u_row).zip(&self.push);
        for (cell, ((((v, exc), hold), tape_u), &push)) in cells.enumerate() {
            if cell % self.cluster == 0 {
                let inh = &mut inh[cell / self.cluster];
                pull = self.inh_to_v * *inh;
                *inh *= self.keep_inh;
            }
            let u = self.keep_v * *v + self.exc_to_v * *exc - pull + push;
            *exc *= self.keep_exc;
            if *hold > 0 {
                *hold -= 1;
                (*v, *tape_u) = (self.reset, R::nan());
                continue;
            }
            *tape_u = u;
            let crossed = u >= R::one();
            if crossed {
                *hold = self.hold_steps;
            }
            match spiking {
                Spiking::Hard if crossed => {
                    *v = self.reset;
                    tape.events.push(cell as u32);
                }
                Spiking::Hard => *v = u,
                Spiking::Smooth => {
                    let s = sigmoid.value(u - R::one());
                    *v = u * (R::one() - s) + self.reset * s;
                    tape.events.push(cell as u32);
                }
            }
        }
        tape.ends.push(tape.events.len());
    }

    /// Takes one step back. On entry `v`, `exc_next` and `inh_next` are the loss's derivatives by the
    /// state after step n, and `spikes` those by S[n]; on exit `v`, `exc` and `inh` are those by the
    /// state before it.
    #[allow(clippy::too_many_arguments, reason = "the adjoints of one population")]
    pub(super) fn retreat(
        &self,
        u_row: &[R],
        rule: &Reverse,
        spikes: &[R],
        v: &mut [R],
        (exc_next, exc): (&[R], &mut [R]),
        (inh_next, inh): (&[R], &mut [R]),
    ) {
        for (now, next) in inh.iter_mut().zip(inh_next) {
            *now = self.keep_inh * *next;
        }
        for (cell, &u) in u_row.iter().enumerate() {
            exc[cell] = self.keep_exc * exc_next[cell];
            if u.is_nan() {
                v[cell] = R::zero();
                continue;
            }
            let excess = u - R::one();
            let slope = rule.sigmoid.slope(excess);
            let spike = match rule.spiking {
                Spiking::Hard if u >= R::one() => R::one(),
                Spiking::Hard => R::zero(),
                Spiking::Smooth => rule.sigmoid.value(excess),
            };
            let mut by_u = v[cell] * (R::one() - spike) + spikes[cell] * slope;
            if rule.through_reset {
                by_u += v[cell] * (self.reset - u) * slope;
            }
            v[cell] = self.keep_v * by_u;
            exc[cell] += self.exc_to_v * by_u;
            inh[cell / self.cluster] -= self.inh_to_v * by_u;
        }
    }
}

/// How the reverse treats a spike.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reverse {
    pub(super) sigmoid: FastSigmoid,
    pub(super) spiking: Spiking,
    /// Whether the gradient also flows through the reset.
    pub(super) through_reset: bool,
}
