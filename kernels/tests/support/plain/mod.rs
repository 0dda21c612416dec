//! A slow, plain simulator of current-based networks: what the fast engine must equal.
//!
//! One struct a population, one list of synapses a projection, eager plasticity: every spike of either
//! side changes the weights it concerns at once. All arithmetic is `f32`, without fused operations,
//! in the order written here. One step n:
//!
//! 1. Each population in order advances: V from the currents at the start of the step, then the
//!    currents decay, then cells at or over the threshold fire. A cell that fired in step n holds
//!    its reset in the steps n + 1 to n + hold. Injected spikes count as fired in step n.
//! 2. Each projection in order takes the spikes fired `delay_steps` ago: plasticity first, then
//!    delivery, by ascending source and then by ascending target.
//!
//! Plasticity, in the step in which presynaptic spikes arrive: traces decay; spikes that the
//! postsynaptic cells fired in step n - 1 add `a_plus` · x; climbing-fibre spikes take their share of
//! the eligibility off; the arriving presynaptic spikes add the potentiation and take `a_minus` · y
//! off; then all of these enter the traces. Weights are clipped after each change. Olive cell k
//! teaches the k-th of as many equal parts of the Purkinje cells as there are olive cells.
//!
//! Invariants: nothing is skipped, cached or reordered for speed; what is not supported (other cell
//! models, shared receptors, windows, proportional or blocked depression) is refused by a panic.

use purkinje_kernels::cerebellum::description::{
    Cell, Description, Kernel, Model, Plasticity, Population as PopulationSpec,
};
use std::collections::VecDeque;

/// A connection between two cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synapse {
    /// Presynaptic cell.
    pub pre: u32,
    /// Postsynaptic cell.
    pub post: u32,
    /// In thresholds.
    pub weight: f32,
}

/// The constants of one step of a current-based cell (Rotter and Diesmann, Biol. Cybern. 81, 1999).
#[derive(Clone, Copy, Debug)]
struct Propagator {
    keep_v: f32,
    exc_to_v: f32,
    inh_to_v: f32,
    keep_exc: f32,
    keep_inh: f32,
    drive: f32,
    reset: f32,
    hold_steps: u32,
}

impl Propagator {
    fn new(spec: &PopulationSpec, step_ms: f32) -> Option<Self> {
        let lif = match spec.model {
            Model::Input => return None,
            Model::Current(lif) => lif,
            other => panic!("{:?}: the plain reference has no {other:?}", spec.cell),
        };
        assert_eq!(spec.receptors.len(), 2, "{:?}: expected two receptors", spec.cell);
        assert!(spec.receptors.iter().all(|r| !r.by_cluster), "{:?}: shared receptor", spec.cell);
        let (dt, tau_m) = (step_ms as f64, lif.tau_m_ms as f64);
        let keep = |tau: f64| (-dt / tau).exp();
        let into_v = |tau: f64| {
            assert!((tau - tau_m).abs() > 1e-6, "{:?}: equal time constants", spec.cell);
            tau / (tau - tau_m) * (keep(tau) - keep(tau_m))
        };
        let (exc, inh) = (spec.receptors[0].tau_ms as f64, spec.receptors[1].tau_ms as f64);
        Some(Self {
            keep_v: keep(tau_m) as f32,
            exc_to_v: into_v(exc) as f32,
            inh_to_v: into_v(inh) as f32,
            keep_exc: keep(exc) as f32,
            keep_inh: keep(inh) as f32,
            drive: ((1.0 - keep(tau_m)) * lif.drive as f64) as f32,
            reset: lif.reset,
            hold_steps: (lif.refractory_ms / step_ms).round() as u32,
        })
    }
}

/// The state of a population.
#[derive(Debug)]
struct Population {
    cell: Cell,
    /// None for inputs.
    propagator: Option<Propagator>,
    v: Vec<f32>,
    exc: Vec<f32>,
    inh: Vec<f32>,
    hold: Vec<u32>,
    injected: Vec<u32>,
    /// Spikes of this step, then of the one before, and so on.
    fired: VecDeque<Vec<u32>>,
}

impl Population {
    fn advance(&mut self) {
        let mut fired = std::mem::take(&mut self.injected);
        if let Some(p) = self.propagator {
            for k in 0..self.v.len() {
                let x = p.keep_v * self.v[k] + p.exc_to_v * self.exc[k] - p.inh_to_v * self.inh[k]
                    + p.drive;
                if self.hold[k] > 0 {
                    self.v[k] = p.reset;
                    self.hold[k] -= 1;
                } else {
                    self.v[k] = x;
                }
                // The addend keeps silent currents out of the denormal range, as in the engine.
                self.exc[k] = p.keep_exc * self.exc[k] + 1e-20;
                self.inh[k] = p.keep_inh * self.inh[k] + 1e-20;
                if self.v[k] >= 1.0 {
                    fired.push(k as u32);
                }
            }
            for &k in &fired {
                self.v[k as usize] = p.reset;
                self.hold[k as usize] = p.hold_steps;
            }
        }
        fired.sort_unstable();
        fired.dedup();
        self.fired.pop_back();
        self.fired.push_front(fired);
    }
}

/// A decaying count of the spikes of each of some cells.
#[derive(Clone, Debug, Default)]
struct Trace {
    keep: f32,
    value: Vec<f32>,
}

impl Trace {
    fn new(cells: usize, tau_ms: f32, step_ms: f32) -> Self {
        Self { keep: (-step_ms as f64 / tau_ms as f64).exp() as f32, value: vec![0.0; cells] }
    }

    fn decay(&mut self) {
        for x in &mut self.value {
            *x *= self.keep;
        }
    }

    fn take(&mut self, spikes: &[u32]) {
        for &k in spikes {
            self.value[k as usize] += 1.0;
        }
    }
}

/// The traces and constants of a plastic projection.
#[derive(Debug)]
struct Learning {
    rule: Plasticity,
    /// Presynaptic and postsynaptic traces of pair STDP.
    stdp: Option<(Trace, Trace)>,
    /// Exponentials of the eligibility, each with its depression by a spike at a trace of 1.
    eligibility: Vec<(Trace, f32)>,
}

impl Learning {
    fn new(rule: Plasticity, pre: usize, post: usize, step_ms: f32) -> Self {
        let mut eligibility = Vec::new();
        if let Some(climbing) = rule.climbing {
            assert!(!climbing.proportional && climbing.block_steps == 0, "plain depression only");
            let amount = climbing.amount;
            match climbing.kernel {
                Kernel::Exponential { tau_ms } => {
                    eligibility.push((Trace::new(pre, tau_ms, step_ms), amount));
                }
                Kernel::Difference { slow_ms, fast_ms } => {
                    let (slow, fast) = (slow_ms as f64, fast_ms as f64);
                    let peak_ms = (slow / fast).ln() * slow * fast / (slow - fast);
                    let peak = (-peak_ms / slow).exp() - (-peak_ms / fast).exp();
                    let amount = (amount as f64 / peak) as f32;
                    eligibility.push((Trace::new(pre, slow_ms, step_ms), amount));
                    eligibility.push((Trace::new(pre, fast_ms, step_ms), -amount));
                }
                Kernel::Window { .. } => panic!("the plain reference has no window"),
            }
        }
        let stdp = rule.stdp.map(|s| {
            (Trace::new(pre, s.tau_pre_ms, step_ms), Trace::new(post, s.tau_post_ms, step_ms))
        });
        Self { rule, stdp, eligibility }
    }
}

/// The synapses of a projection.
#[derive(Debug)]
struct Projection {
    pre: usize,
    post: usize,
    delay_steps: usize,
    /// Receptor (0 excites, 1 inhibits) and share of the weight.
    onto: Vec<(usize, f32)>,
    /// By source, then by target.
    synapses: Vec<Synapse>,
    /// By source, where its synapses begin; one more entry at the end.
    start: Vec<usize>,
    /// By target, its synapses; only if plastic.
    into: Vec<Vec<u32>>,
    learning: Option<Learning>,
}

impl Projection {
    fn change(&mut self, synapse: usize, by: f32, rule: &Plasticity) {
        let w = &mut self.synapses[synapse].weight;
        *w = (*w + by).clamp(rule.w_min, rule.w_max);
    }

    fn learn(
        &mut self,
        presynaptic: &[u32],
        postsynaptic: &[u32],
        climbing: &[u32],
        olives: usize,
    ) {
        let Some(mut learning) = self.learning.take() else { return };
        let rule = learning.rule;
        if let (Some((x, y)), Some(stdp)) = (&mut learning.stdp, rule.stdp) {
            x.decay();
            y.decay();
            for &post in postsynaptic {
                for k in 0..self.into[post as usize].len() {
                    let synapse = self.into[post as usize][k] as usize;
                    let pre = self.synapses[synapse].pre as usize;
                    self.change(synapse, stdp.a_plus * x.value[pre], &rule);
                }
            }
        }
        for (trace, _) in &mut learning.eligibility {
            trace.decay();
        }
        if !learning.eligibility.is_empty() {
            for post in 0..self.into.len() {
                if climbing.contains(&((post * olives / self.into.len()) as u32)) {
                    for k in 0..self.into[post].len() {
                        let synapse = self.into[post][k] as usize;
                        let pre = self.synapses[synapse].pre as usize;
                        let mut by = 0.0;
                        for (trace, amount) in &learning.eligibility {
                            by -= amount * trace.value[pre];
                        }
                        self.change(synapse, by, &rule);
                    }
                }
            }
        }
        for &pre in presynaptic {
            for synapse in self.start[pre as usize]..self.start[pre as usize + 1] {
                let mut by = 0.0;
                if let Some(p) = rule.potentiation {
                    let room = 1.0 - self.synapses[synapse].weight / rule.w_max;
                    by += if p.soft { p.amount * room } else { p.amount };
                }
                if let (Some((_, y)), Some(stdp)) = (&learning.stdp, rule.stdp) {
                    by -= stdp.a_minus * y.value[self.synapses[synapse].post as usize];
                }
                self.change(synapse, by, &rule);
            }
        }
        if let Some((x, y)) = &mut learning.stdp {
            x.take(presynaptic);
            y.take(postsynaptic);
        }
        for (trace, _) in &mut learning.eligibility {
            trace.take(presynaptic);
        }
        self.learning = Some(learning);
    }

    fn deliver(&self, presynaptic: &[u32], post: &mut Population) {
        for &pre in presynaptic {
            for s in &self.synapses[self.start[pre as usize]..self.start[pre as usize + 1]] {
                for &(receptor, share) in &self.onto {
                    let current = if receptor == 0 { &mut post.exc } else { &mut post.inh };
                    current[s.post as usize] += s.weight * share;
                }
            }
        }
    }
}

/// A network and its state.
#[derive(Debug)]
pub struct Plain {
    populations: Vec<Population>,
    projections: Vec<Projection>,
    plastic: bool,
}

impl Plain {
    /// A network at rest with the synapses given, a list a projection, in any order.
    pub fn new(description: &Description, connections: Vec<Vec<Synapse>>) -> Self {
        assert_eq!(description.projections.len(), connections.len(), "a list a projection");
        let history = description.projections.iter().map(|p| p.delay_steps).max().unwrap_or(1) + 1;
        let step_ms = description.step_ms;
        let populations: Vec<_> = description
            .populations
            .iter()
            .map(|spec| Population {
                cell: spec.cell,
                propagator: Propagator::new(spec, step_ms),
                v: vec![0.0; spec.count],
                exc: vec![0.0; spec.count],
                inh: vec![0.0; spec.count],
                hold: vec![0; spec.count],
                injected: Vec::new(),
                fired: vec![Vec::new(); history].into(),
            })
            .collect();
        let at = |cell| {
            let found = populations.iter().position(|p| p.cell == cell);
            found.unwrap_or_else(|| panic!("{cell:?} is not described"))
        };
        let projections = description
            .projections
            .iter()
            .zip(connections)
            .map(|(spec, mut synapses)| {
                synapses.sort_by_key(|s| (s.pre, s.post));
                let (pre, post) = (at(spec.pre), at(spec.post));
                let (sources, targets) = (populations[pre].v.len(), populations[post].v.len());
                let mut start = vec![0; sources + 1];
                for s in &synapses {
                    start[s.pre as usize + 1] += 1;
                }
                for k in 0..sources {
                    start[k + 1] += start[k];
                }
                let mut into = Vec::new();
                if spec.plasticity.is_some() {
                    into.resize(targets, Vec::new());
                    for (k, s) in synapses.iter().enumerate() {
                        into[s.post as usize].push(k as u32);
                    }
                }
                Projection {
                    pre,
                    post,
                    delay_steps: spec.delay_steps,
                    onto: spec.onto.iter().map(|p| (p.receptor, p.share)).collect(),
                    synapses,
                    start,
                    into,
                    learning: spec
                        .plasticity
                        .map(|rule| Learning::new(rule, sources, targets, step_ms)),
                }
            })
            .collect();
        Self { populations, projections, plastic: true }
    }

    fn population(&self, cell: Cell) -> &Population {
        let found = self.populations.iter().find(|p| p.cell == cell);
        found.unwrap_or_else(|| panic!("{cell:?} is not described"))
    }

    fn population_mut(&mut self, cell: Cell) -> &mut Population {
        let found = self.populations.iter_mut().find(|p| p.cell == cell);
        found.unwrap_or_else(|| panic!("{cell:?} is not described"))
    }

    /// Makes cells fire in the coming step.
    pub fn inject(&mut self, cell: Cell, spikes: &[u32]) {
        self.population_mut(cell).injected.extend_from_slice(spikes);
    }

    /// Whether weights change. Traces stand still while they do not.
    pub fn set_plastic(&mut self, on: bool) {
        self.plastic = on;
    }

    /// Advances everything by one step.
    pub fn step(&mut self) {
        for population in &mut self.populations {
            population.advance();
        }
        for k in 0..self.projections.len() {
            let projection = &mut self.projections[k];
            let delay = projection.delay_steps;
            let arriving = self.populations[projection.pre].fired[delay].clone();
            if self.plastic {
                let olive = self.populations.iter().find(|p| p.cell == Cell::Olive);
                let climbing = olive.map_or(&[][..], |o| &o.fired[delay]);
                let olives = olive.map_or(0, |o| o.v.len());
                let back = &self.populations[projection.post].fired[1];
                projection.learn(&arriving, back, climbing, olives);
            }
            projection.deliver(&arriving, &mut self.populations[projection.post]);
        }
    }

    /// Cells that fired in the last step, ascending.
    pub fn spikes(&self, cell: Cell) -> &[u32] {
        &self.population(cell).fired[0]
    }

    /// Potentials, thresholds.
    pub fn v(&self, cell: Cell) -> &[f32] {
        &self.population(cell).v
    }

    /// Potentials, to set them.
    pub fn v_mut(&mut self, cell: Cell) -> &mut [f32] {
        &mut self.population_mut(cell).v
    }

    /// The synapses of the projection of this index, by source and then by target.
    pub fn synapses(&self, projection: usize) -> &[Synapse] {
        &self.projections[projection].synapses
    }

    /// Presynaptic and postsynaptic traces of pair STDP of the projection of this index.
    pub fn stdp_traces(&self, projection: usize) -> Option<(&[f32], &[f32])> {
        let learning = self.projections[projection].learning.as_ref()?;
        learning.stdp.as_ref().map(|(x, y)| (&x.value[..], &y.value[..]))
    }
}
