//! Current-based leaky integrate-and-fire cells, advanced by the exact solution over one step.
//!
//! tau_m dV/dt = -V + I_exc - I_inh + I_const and dI_x/dt = -I_x / tau_x, in units in which rest is
//! 0 and the threshold 1 (exact integration: Rotter and Diesmann, Biol. Cybern. 81, 1999). A step
//! moves V from the currents at its start, lets the currents decay, and resets the cells at or over
//! threshold, which then hold for the refractory period.
//!
//! The sweep over a large population is bound by memory traffic, so a cell is 12 bytes (potential and
//! two currents), or 8 where its cluster shares the inhibition. Spikes are added to the currents
//! directly, with no accumulator between, and a refractory cell needs no counter: its potential is
//! not a number, which no current changes and which is never over threshold, until the population's
//! spike history says that its time is over. Invariants: the same operations in the same order for
//! each cell whatever the instruction set or the population's size; no allocation.

use crate::cerebellum::description::{CurrentLif, Receptor};
use crate::isa::Isa;

/// Added to a current at each step: keeps a silent cell's current, and so its potential, out of the
/// denormal range, where arithmetic is slow. Far below any effect.
pub(crate) const TINY: f32 = 1e-20;

/// The coefficients of the exact solution over one step, before they are rounded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exact {
    pub(crate) tau_m_ms: f64,
    pub(crate) step_ms: f64,
}

impl Exact {
    /// What an exponential of this time constant keeps.
    pub(crate) fn keep(self, tau_ms: f64) -> f64 {
        (-self.step_ms / tau_ms).exp()
    }

    /// What the potential keeps.
    pub(crate) fn keep_v(self) -> f64 {
        self.keep(self.tau_m_ms)
    }

    /// What a current of this time constant adds to the potential, by its value at the start.
    pub(crate) fn into_v(self, tau_ms: f64) -> f64 {
        let m = self.tau_m_ms;
        if (tau_ms - m).abs() < 1e-9 * m {
            self.step_ms / m * self.keep_v() // The limit of the other branch.
        } else {
            tau_ms / (tau_ms - m) * (self.keep(tau_ms) - self.keep_v())
        }
    }
}

/// The membrane's solution over one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Propagator {
    pub(crate) keep_v: f32,
    pub(crate) exc_to_v: f32,
    pub(crate) inh_to_v: f32,
    pub(crate) keep_exc: f32,
    pub(crate) keep_inh: f32,
    /// What the constant current adds to V.
    pub(crate) drive: f32,
    /// What a constant current of one threshold adds to V.
    pub(crate) unit: f32,
    pub(crate) reset: f32,
    /// Steps that a cell holds after a spike.
    pub(crate) hold: u8,
}

impl Propagator {
    pub(crate) fn new(lif: &CurrentLif, receptors: &[Receptor], step_ms: f32) -> Self {
        let exact = Exact { tau_m_ms: lif.tau_m_ms as f64, step_ms: step_ms as f64 };
        let (exc, inh) = (receptors[0].tau_ms as f64, receptors[1].tau_ms as f64);
        let unit = 1.0 - exact.keep_v();
        Self {
            keep_v: exact.keep_v() as f32,
            exc_to_v: exact.into_v(exc) as f32,
            inh_to_v: exact.into_v(inh) as f32,
            keep_exc: exact.keep(exc) as f32,
            keep_inh: exact.keep(inh) as f32,
            drive: (unit * lif.drive as f64) as f32,
            unit: unit as f32,
            reset: lif.reset,
            hold: (lif.refractory_ms / step_ms).round() as u8,
        }
    }
}

/// Cells whose firing is noted in one word.
const WORD: usize = 64;

/// The inhibitory current of the cells in a sweep.
pub(super) enum Inhibition<'a> {
    /// One a cell.
    Own(&'a mut [f32]),
    /// One for all: what it takes off V in this step.
    Shared(f32),
}

/// Scratch of a sweep: one bit a cell that fired and the number of the word's first cell.
#[derive(Clone, Debug)]
pub(super) struct Words(Vec<(u64, u32)>);

impl Words {
    /// Room for a sweep over so many cells.
    pub(super) fn new(cells: usize) -> Self {
        Self(vec![(0, 0); cells / WORD + 2])
    }
}

/// Advances cells `first..first + v.len()` and appends the ones that fired, ascending; they are left
/// refractory, or at reset where there is no refractory period. `extra` is each cell's additional
/// constant current in thresholds, or empty. `spikes` must have room for every cell.
#[allow(clippy::too_many_arguments, reason = "the arrays of one population")]
pub(super) fn sweep(
    isa: Isa,
    p: &Propagator,
    v: &mut [f32],
    exc: &mut [f32],
    inhibition: Inhibition<'_>,
    extra: &[f32],
    first: usize,
    words: &mut Words,
    spikes: &mut Vec<u32>,
) {
    let n = v.len();
    assert!(exc.len() == n && words.0.len() > n / WORD + 1, "arrays of one population");
    assert!(extra.is_empty() || extra.len() == n, "no or one extra current a cell");
    let w = &mut words.0[..];
    let used = match inhibition {
        Inhibition::Own(inh) => {
            assert_eq!(inh.len(), n, "arrays of one population");
            if extra.is_empty() {
                note::<true, false>(isa, p, v, exc, inh, 0.0, extra, w)
            } else {
                note::<true, true>(isa, p, v, exc, inh, 0.0, extra, w)
            }
        }
        Inhibition::Shared(push) if extra.is_empty() => {
            note::<false, false>(isa, p, v, exc, &mut [], push, extra, w)
        }
        Inhibition::Shared(push) => note::<false, true>(isa, p, v, exc, &mut [], push, extra, w),
    };
    let after = if p.hold == 0 { p.reset } else { f32::NAN };
    for &(mut bits, base) in &words.0[..used] {
        while bits != 0 {
            let cell = base as usize + bits.trailing_zeros() as usize;
            v[cell] = after;
            spikes.push((first + cell) as u32);
            bits &= bits - 1;
        }
    }
}

/// Advances the cells and notes, for each word with a cell that fired, its bits. Returns how many.
#[allow(clippy::too_many_arguments, reason = "the arrays of one population")]
fn note<const OWN: bool, const EXTRA: bool>(
    isa: Isa,
    p: &Propagator,
    v: &mut [f32],
    exc: &mut [f32],
    inh: &mut [f32],
    push: f32,
    extra: &[f32],
    words: &mut [(u64, u32)],
) -> usize {
    match isa {
        Isa::Portable => note_portable::<OWN, EXTRA>(p, v, exc, inh, push, extra, words),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: these are only made where the processor has AVX2; `sweep` has checked that the
        // arrays are as long as each other and the words enough.
        Isa::Avx2 | Isa::Avx512 => unsafe {
            note_avx2::<OWN, EXTRA>(p, v, exc, inh, push, extra, words)
        },
    }
}

/// One cell; whether it fired. Every version of the sweep does these operations in this order.
#[allow(clippy::inline_always, reason = "the body of the loops below")]
#[inline(always)]
fn advance<const OWN: bool, const EXTRA: bool>(
    p: &Propagator,
    v: &mut f32,
    exc: &mut f32,
    inh: &mut f32,
    push: f32,
    extra: f32,
) -> bool {
    let inhibition = if OWN { p.inh_to_v * *inh } else { push };
    let mut x = p.keep_v * *v + p.exc_to_v * *exc - inhibition + p.drive;
    if EXTRA {
        x += p.unit * extra;
    }
    *v = x;
    *exc = p.keep_exc * *exc + TINY;
    if OWN {
        *inh = p.keep_inh * *inh + TINY;
    }
    x >= 1.0
}

#[allow(clippy::inline_always, reason = "the body of the loops below")]
#[inline(always)]
fn advance_at<const OWN: bool, const EXTRA: bool>(
    p: &Propagator,
    v: &mut [f32],
    exc: &mut [f32],
    inh: &mut [f32],
    push: f32,
    extra: &[f32],
    k: usize,
) -> bool {
    let inh = if OWN { &mut inh[k] } else { &mut 0.0 };
    let extra = if EXTRA { extra[k] } else { 0.0 };
    advance::<OWN, EXTRA>(p, &mut v[k], &mut exc[k], inh, push, extra)
}

fn note_portable<const OWN: bool, const EXTRA: bool>(
    p: &Propagator,
    v: &mut [f32],
    exc: &mut [f32],
    inh: &mut [f32],
    push: f32,
    extra: &[f32],
    words: &mut [(u64, u32)],
) -> usize {
    let mut used = 0;
    for from in (0..v.len()).step_by(WORD) {
        let mut bits = 0;
        for k in from..v.len().min(from + WORD) {
            let fired = advance_at::<OWN, EXTRA>(p, v, exc, inh, push, extra, k);
            bits |= u64::from(fired) << (k - from);
        }
        words[used] = (bits, from as u32);
        used += usize::from(bits != 0);
    }
    used
}

/// Eight cells an instruction. Whether a word is kept is arithmetic, not a branch: at a few spikes a
/// word the branch would be mispredicted about twice a spike.
///
/// # Safety
/// The processor must have AVX2; `exc`, and `inh` and `extra` where used, must be as long as `v`, and
/// there must be a word for each 64 cells begun and one more.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn note_avx2<const OWN: bool, const EXTRA: bool>(
    p: &Propagator,
    v: &mut [f32],
    exc: &mut [f32],
    inh: &mut [f32],
    push: f32,
    extra: &[f32],
    words: &mut [(u64, u32)],
) -> usize {
    use std::arch::x86_64::{
        _CMP_GE_OQ, _mm256_add_ps, _mm256_cmp_ps, _mm256_loadu_ps, _mm256_movemask_ps,
        _mm256_mul_ps, _mm256_set1_ps, _mm256_storeu_ps, _mm256_sub_ps,
    };
    let keep_v = _mm256_set1_ps(p.keep_v);
    let exc_to_v = _mm256_set1_ps(p.exc_to_v);
    let inh_to_v = _mm256_set1_ps(p.inh_to_v);
    let keep_exc = _mm256_set1_ps(p.keep_exc);
    let keep_inh = _mm256_set1_ps(p.keep_inh);
    let (push_8, drive) = (_mm256_set1_ps(push), _mm256_set1_ps(p.drive));
    let (unit, tiny, one) = (_mm256_set1_ps(p.unit), _mm256_set1_ps(TINY), _mm256_set1_ps(1.0));
    let n = v.len();
    let mut used = 0;
    for from in (0..n).step_by(WORD) {
        let to = n.min(from + WORD);
        let mut bits = 0_u64;
        let mut k = from;
        while k + 8 <= to {
            // SAFETY: k + 8 is at most the length of every array used.
            let fired = unsafe {
                let (at_v, at_exc) = (v.as_mut_ptr().add(k), exc.as_mut_ptr().add(k));
                let e = _mm256_loadu_ps(at_exc);
                let excited = _mm256_add_ps(
                    _mm256_mul_ps(keep_v, _mm256_loadu_ps(at_v)),
                    _mm256_mul_ps(exc_to_v, e),
                );
                let inhibition = if OWN {
                    let at_inh = inh.as_mut_ptr().add(k);
                    let i = _mm256_loadu_ps(at_inh);
                    _mm256_storeu_ps(at_inh, _mm256_add_ps(_mm256_mul_ps(keep_inh, i), tiny));
                    _mm256_mul_ps(inh_to_v, i)
                } else {
                    push_8
                };
                let mut x = _mm256_add_ps(_mm256_sub_ps(excited, inhibition), drive);
                if EXTRA {
                    let more = _mm256_loadu_ps(extra.as_ptr().add(k));
                    x = _mm256_add_ps(x, _mm256_mul_ps(unit, more));
                }
                _mm256_storeu_ps(at_exc, _mm256_add_ps(_mm256_mul_ps(keep_exc, e), tiny));
                _mm256_storeu_ps(at_v, x);
                _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GE_OQ>(x, one))
            };
            bits |= (fired as u32 as u64) << (k - from);
            k += 8;
        }
        for k in k..to {
            let fired = advance_at::<OWN, EXTRA>(p, v, exc, inh, push, extra, k);
            bits |= u64::from(fired) << (k - from);
        }
        // SAFETY: one word at most is used for each 64 cells begun.
        unsafe { *words.get_unchecked_mut(used) = (bits, from as u32) };
        used += usize::from(bits != 0);
    }
    used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    fn propagator(drive: f32, refractory_ms: f32) -> Propagator {
        let receptor =
            |tau_ms| Receptor { name: String::new(), tau_ms, reversal_mv: 0.0, by_cluster: false };
        let lif = CurrentLif { tau_m_ms: 20.0, refractory_ms, reset: 0.0, drive };
        Propagator::new(&lif, &[receptor(3.0), receptor(10.0)], 1.0)
    }

    #[test]
    fn a_step_of_one_ms_lands_where_ten_thousand_tiny_euler_steps_do() {
        let p = propagator(0.3, 0.0);
        let (mut v, mut exc, mut inh) = ([0.1_f32], [0.8_f32], [0.4_f32]);
        let (mut v64, mut exc64, mut inh64) = (0.1_f64, 0.8_f64, 0.4_f64);
        let dt = 1e-4;
        let mut words = Words::new(1);
        for _ in 0..5 {
            let own = Inhibition::Own(&mut inh);
            sweep(Isa::best(), &p, &mut v, &mut exc, own, &[], 0, &mut words, &mut Vec::new());
            for _ in 0..10_000 {
                v64 += dt * (-v64 + exc64 - inh64 + 0.3) / 20.0;
                exc64 -= dt * exc64 / 3.0;
                inh64 -= dt * inh64 / 10.0;
            }
        }
        assert!((v[0] as f64 - v64).abs() < 1e-4, "{} against {v64}", v[0]);
    }

    #[test]
    fn equal_time_constants_take_the_limit_of_the_propagator() {
        let receptor =
            |tau_ms| Receptor { name: String::new(), tau_ms, reversal_mv: 0.0, by_cluster: false };
        let lif = CurrentLif { tau_m_ms: 10.0, refractory_ms: 0.0, reset: 0.0, drive: 0.0 };
        let near = Propagator::new(&lif, &[receptor(10.01), receptor(10.0)], 1.0);
        assert!((near.exc_to_v - near.inh_to_v).abs() < 1e-4);
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let key = Key::new(4);
        for n in [1, 7, 8, 63, 64, 65, 100, 1_000] {
            for own in [true, false] {
                for with_extra in [true, false] {
                    let run = |isa| {
                        let p = propagator(0.2, 2.0);
                        let draw = |tag| -> Vec<f32> {
                            (0..n).map(|k| key.fork(tag).uniform(k as u64)).collect()
                        };
                        let (mut v, mut exc, mut inh) = (draw(0), draw(1), draw(2));
                        let extra = if with_extra { draw(3) } else { Vec::new() };
                        for e in &mut exc {
                            *e *= 40.0;
                        }
                        let mut words = Words::new(n);
                        let mut spikes = Vec::with_capacity(n);
                        for step in 0..30 {
                            let inh = if own {
                                Inhibition::Own(&mut inh)
                            } else {
                                Inhibition::Shared(0.01 * step as f32)
                            };
                            sweep(
                                isa,
                                &p,
                                &mut v,
                                &mut exc,
                                inh,
                                &extra,
                                0,
                                &mut words,
                                &mut spikes,
                            );
                        }
                        let bits: Vec<u32> =
                            v.iter().chain(&exc).chain(&inh).map(|x| x.to_bits()).collect();
                        (bits, spikes)
                    };
                    let portable = run(Isa::Portable);
                    assert!(n < 8 || !portable.1.is_empty());
                    assert_eq!(run(Isa::best()), portable, "{n} cells");
                }
            }
        }
    }
}
