//! What postsynaptic events owe to synapses that nobody has looked at since.
//!
//! An eager rule walks a whole column of synapses at each postsynaptic spike. Here the spike is only
//! noted, and a synapse settles when its own presynaptic spike reads it: with t0 its last
//! presynaptic spike and x its trace then, it is owed x · Σ exp(-(s - t0) / tau) over the events s in
//! (t0, n]. A ledger keeps running sums c(t) = Σ exp(-(s - E) / tau) by postsynaptic cell since the
//! start E of t's epoch, four tau long, so that the sum is a difference of two rows, plus one row for
//! each epoch passed; beyond three further epochs exp(-12) is owed nothing.
//!
//! Rows are kept only for steps with an event, so the ledger of climbing fibres, which fire about
//! once a second, stays in the nearest cache. Invariants: the steps of the last `span` are answered,
//! which callers ensure by settling older synapses in time; the sums differ from the eager rule's by
//! rounding alone; no allocation after construction.

/// Length of an epoch in time constants.
const EPOCH_TAUS: f32 = 4.0;
/// Epochs of the longest time constant that a ledger covers.
const SPAN_EPOCHS: usize = 8;

/// Events of all postsynaptic cells as one exponential sees them.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    /// Postsynaptic cells: the length of a row.
    cells: usize,
    /// Steps in an epoch.
    epoch: u64,
    /// Steps answered.
    span: u64,
    /// exp(-k / tau) for k steps, up to `span`.
    decay: Vec<f32>,
    /// exp(k / tau) for k steps, up to an epoch.
    growth: Vec<f32>,
    /// `span` rows of running sums, used in turn.
    rows: Vec<f32>,
    /// The row of each of the last `span` steps.
    row_at: Vec<u32>,
    /// The row last begun, the step in which it was, and the epoch it belongs to.
    head: u32,
    head_step: u64,
}

/// What changes in a ledger.
#[derive(Debug)]
pub(super) struct LedgerParts<'a> {
    /// The row last begun, and the step in which it was.
    pub(super) head: &'a mut u32,
    pub(super) head_step: &'a mut u64,
    /// By step of the span, its row.
    pub(super) row_at: &'a mut [u32],
    /// By row and cell, running sums.
    pub(super) rows: &'a mut [f32],
}

/// A synapse's debt: rows of the ledger, each with its coefficient.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Debt {
    /// c(end of t0's epoch or now) - c(t0).
    pub(super) own: f32,
    pub(super) own_until: u32,
    pub(super) own_since: u32,
    /// The three epochs after: coefficient and row; the coefficient is 0 where there is none.
    pub(super) later: [(f32, u32); 3],
}

/// Steps that a ledger of time constants up to `tau_steps` answers.
pub(super) fn span_steps(tau_steps: f32) -> u64 {
    (epoch_steps(tau_steps) as usize * SPAN_EPOCHS) as u64
}

fn epoch_steps(tau_steps: f32) -> u64 {
    (EPOCH_TAUS * tau_steps).ceil().max(1.0) as u64
}

impl Ledger {
    /// A ledger of `cells` postsynaptic cells and one time constant that answers `span` steps.
    pub(super) fn new(cells: usize, tau_steps: f32, span: u64) -> Self {
        let epoch = epoch_steps(tau_steps);
        let tau = tau_steps as f64;
        Self {
            cells,
            epoch,
            span,
            decay: (0..=span).map(|k| (-(k as f64) / tau).exp() as f32).collect(),
            growth: (0..=epoch).map(|k| (k as f64 / tau).exp() as f32).collect(),
            rows: vec![0.0; span as usize * cells],
            row_at: vec![0; span as usize],
            head: 0,
            head_step: 0,
        }
    }

    /// What an exponential trace keeps over so many steps.
    #[inline]
    pub(super) fn keep(&self, steps: u64) -> f32 {
        self.decay.get(steps as usize).copied().unwrap_or(0.0)
    }

    /// Begins step `n`, in which `events` fire. Steps must be given one by one.
    pub(super) fn begin(&mut self, n: u64, events: impl IntoIterator<Item = u32>) {
        let mut fresh = false;
        if n.is_multiple_of(self.epoch) {
            self.advance_row(false);
            fresh = true;
        }
        let inc = self.decay[(n % self.epoch) as usize];
        for cell in events {
            if !fresh {
                self.advance_row(true);
                fresh = true;
            }
            self.rows[self.head as usize * self.cells + cell as usize] += inc;
        }
        self.row_at[(n % self.span) as usize] = self.head;
        self.head_step = n;
    }

    /// Forgets the steps so far: goes on after step `n`, as if nothing had fired before.
    pub(super) fn restart(&mut self, n: u64) {
        self.row_at[(n % self.span) as usize] = self.head;
        self.head_step = n;
    }

    /// Begins a row: a copy of the last one, or zeros.
    fn advance_row(&mut self, copy: bool) {
        let next = (self.head + 1) % self.row_at.len() as u32;
        let (from, to) = (self.head as usize * self.cells, next as usize * self.cells);
        if copy {
            self.rows.copy_within(from..from + self.cells, to);
        } else {
            self.rows[to..to + self.cells].fill(0.0);
        }
        self.head = next;
    }

    /// What events in (t0, n] owe to a synapse of unit trace at t0, n being the step begun last;
    /// `None` for nothing. `t0` must be within the span.
    #[allow(clippy::inline_always, reason = "part of the pass over a row")]
    #[inline(always)]
    pub(super) fn debt(&self, t0: u64) -> Option<Debt> {
        let n = self.head_step;
        debug_assert!(t0 <= n && n - t0 < self.span, "step {t0} at {n} of span {}", self.span);
        let start = t0 - t0 % self.epoch;
        let since = self.row(t0);
        let until = self.row(n.min(start + self.epoch - 1));
        let into = (t0 - start) as usize;
        let growth = self.growth[into];
        let mut debt = Debt {
            own: if since == until { 0.0 } else { growth },
            own_until: until,
            own_since: since,
            later: [(0.0, 0); 3],
        };
        let mut owed = since != until;
        for (k, later) in debt.later.iter_mut().enumerate() {
            let begin = start + (k as u64 + 1) * self.epoch;
            if begin > n {
                break;
            }
            let row = self.row(n.min(begin + self.epoch - 1));
            *later = (self.decay[(begin - t0) as usize], row);
            owed = true;
        }
        owed.then_some(debt)
    }

    #[inline]
    fn row(&self, step: u64) -> u32 {
        self.row_at[(step % self.span) as usize]
    }

    /// Everything that changes, for another to go on from.
    pub(super) fn parts_mut(&mut self) -> LedgerParts<'_> {
        LedgerParts {
            head: &mut self.head,
            head_step: &mut self.head_step,
            row_at: &mut self.row_at,
            rows: &mut self.rows,
        }
    }

    /// Steps of an epoch, steps answered.
    pub(super) const fn steps(&self) -> (u64, u64) {
        (self.epoch, self.span)
    }

    /// What an exponential keeps after 0 to span steps, and its inverse for 0 to an epoch's.
    pub(super) fn exponential(&self) -> (&[f32], &[f32]) {
        (&self.decay, &self.growth)
    }

    /// The sums of one row.
    #[inline]
    pub(super) fn sums(&self, row: u32) -> &[f32] {
        let from = row as usize * self.cells;
        &self.rows[from..from + self.cells]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    #[test]
    fn the_debt_is_the_sum_over_the_events_since() {
        let (tau, cells) = (20.0_f32, 3);
        let span = span_steps(tau);
        let mut ledger = Ledger::new(cells, tau, span);
        let key = Key::new(3);
        let mut events: Vec<Vec<u32>> = Vec::new();
        let mut most = 0.0_f64;
        for n in 0..2_000_u64 {
            let fired: Vec<u32> = (0..cells as u32)
                .filter(|&c| key.fork(n).uniform(c as u64) < [0.0, 0.02, 0.2][c as usize])
                .collect();
            ledger.begin(n, fired.iter().copied());
            events.push(fired);
            for back in [0, 1, 7, 79, 80, 81, 200, 300, 500] {
                let Some(t0) = n.checked_sub(back) else { continue };
                for cell in 0..cells {
                    let exact: f64 = (t0 + 1..=n)
                        .filter(|&s| events[s as usize].contains(&(cell as u32)))
                        .map(|s| (-((s - t0) as f64) / tau as f64).exp())
                        .sum();
                    let owed = ledger.debt(t0).map_or(0.0, |d| {
                        let at = |row| ledger.sums(row)[cell];
                        let later: f32 = d.later.iter().map(|&(c, row)| c * at(row)).sum();
                        d.own * (at(d.own_until) - at(d.own_since)) + later
                    });
                    most = most.max((owed as f64 - exact).abs());
                }
            }
        }
        assert!(most < 1e-4, "off by {most}");
        assert!(most > 0.0);
    }
}
