//! A compiled network and its step.
//!
//! A [`Network`] is what never changes: plans of the populations and the wiring of the projections.
//! What moves is in a [`State`], of which there may be many on one network (one an instrument), and
//! what learns in [`Synapses`]. A step n does, in this order:
//!
//! 1. every population advances from its receptors' values, which then decay, and fires;
//! 2. projection by projection, the spikes of step n - delay act on plastic weights and are added to
//!    the receptors of their targets, to be seen in step n + 1.
//!
//! Invariants: a step depends on the state, the synapses, the injected spikes and the network alone;
//! results are bit-equal on every processor; no allocation after construction, except where a
//! function says so.

use super::adex::{self, AdExPlan};
use super::conductance::{self, ConductancePlan, ReceptorPlan, SharedConductance};
use super::current::{self, Inhibition, Propagator, TINY, Words};
use super::fanout::{Fanout, Weights};
use super::history::History;
use super::plastic::{Arrivals, Effect, Plastic};
use crate::cerebellum::connect::{Connections, connect, weights};
use crate::cerebellum::description::{
    Cell, Description, Model, Plasticity, Population, Port, Projection, Weight,
};
use crate::isa::Isa;
use crate::rng::Key;

/// Connections and initial weights of one projection, given instead of drawn.
#[derive(Clone, Debug)]
pub struct Explicit {
    /// Who reaches whom.
    pub connections: Connections,
    /// By synapse in the order of the rows; for blocks, row after row.
    pub weights: Vec<f32>,
}

/// How a population moves.
#[derive(Clone, Copy, Debug)]
enum Dynamics {
    Input,
    Current(Propagator),
    Conductance(ConductancePlan),
    AdEx(AdExPlan),
}

#[derive(Clone, Debug)]
struct PopulationPlan {
    cell: Cell,
    count: usize,
    cluster: usize,
    clusters: usize,
    dynamics: Dynamics,
    receptors: Vec<ReceptorPlan>,
    /// Steps of spikes kept beside the current one.
    history_steps: usize,
    noise_pa: f32,
    /// Where potentials start: uniform between these.
    start: (f32, f32),
    has_ahp: bool,
}

#[derive(Clone, Debug)]
struct ProjectionPlan {
    pre: usize,
    post: usize,
    ports: Vec<Port>,
    delay: usize,
    fanout: Fanout,
    /// The weights, or where a plastic projection's begin.
    weights: Weights,
    rule: Option<Plasticity>,
    /// The population of the climbing fibres.
    olive: Option<usize>,
}

/// A network ready to run.
#[derive(Clone, Debug)]
pub struct Network {
    step_ms: f32,
    populations: Vec<PopulationPlan>,
    projections: Vec<ProjectionPlan>,
    isa: Isa,
}

/// The cells of one network.
#[derive(Clone, Debug)]
pub struct State {
    cells: Vec<Cells>,
    step: u64,
    noise: Key,
}

#[derive(Clone, Debug)]
struct Cells {
    v: Vec<f32>,
    hold: Vec<u8>,
    /// After-hyperpolarisation in nS or adaptation in pA, where the model has one.
    slow: Vec<f32>,
    receptors: Vec<Vec<f32>>,
    /// Additional constant current by cell; empty until asked for.
    drive: Vec<f32>,
    /// The drive with this step's noise; empty where there is no noise.
    noisy: Vec<f32>,
    injected: Vec<u32>,
    /// The step in which a cell was last made to fire.
    forced_at: Option<u64>,
    /// Scratch of the sweep.
    words: Words,
    history: History,
}

/// The plastic weights of one network, by projection.
#[derive(Clone, Debug)]
pub struct Synapses {
    plastic: Vec<Option<Plastic>>,
}

impl Network {
    /// Compiles a description, drawing connections and weights from `key` except where `explicit`,
    /// by projection, gives them.
    ///
    /// # Panics
    /// When the description is not valid (`Description::validate`) or explicit connections do not
    /// fit their populations.
    pub(in crate::cerebellum) fn new(
        description: &Description,
        mut explicit: Vec<Option<Explicit>>,
        key: Key,
        isa: Isa,
    ) -> Self {
        explicit.resize(description.projections.len(), None);
        let index = |cell: Cell| {
            description.populations.iter().position(|p| p.cell == cell).expect("validated")
        };
        let mut populations: Vec<PopulationPlan> =
            description.populations.iter().map(|p| plan(p, description.step_ms)).collect();
        let projections: Vec<ProjectionPlan> = description
            .projections
            .iter()
            .zip(explicit)
            .enumerate()
            .map(|(k, (projection, given))| {
                let (pre, post) = (index(projection.pre), index(projection.post));
                let populations = &description.populations;
                let key = key.fork(k as u64);
                let given = given.unwrap_or_else(|| {
                    let connections =
                        connect(projection, &populations[pre], &populations[post], key.fork(0));
                    Explicit { connections, weights: Vec::new() }
                });
                compile(projection, given, [pre, post], populations[pre].count, &index, key)
            })
            .collect();
        for projection in &projections {
            let back = projection.delay
                + projection
                    .rule
                    .as_ref()
                    .map_or(0, |rule| Plastic::history_steps(rule, description.step_ms));
            let plan = &mut populations[projection.pre];
            plan.history_steps = plan.history_steps.max(back);
            if let Some(olive) = projection.olive {
                let plan = &mut populations[olive];
                plan.history_steps = plan.history_steps.max(projection.delay);
            }
            if projection.rule.is_some() {
                let plan = &mut populations[projection.post];
                plan.history_steps = plan.history_steps.max(1);
            }
        }
        Self { step_ms: description.step_ms, populations, projections, isa }
    }

    /// Cells at rest, their potentials spread by `key` so that they do not fire in step.
    pub fn state(&self, key: Key) -> State {
        let cells = self.populations.iter().enumerate().map(|(k, plan)| {
            let key = key.fork(k as u64);
            let moves = !matches!(plan.dynamics, Dynamics::Input);
            let n = if moves { plan.count } else { 0 };
            let (low, high) = plan.start;
            let units = |r: &ReceptorPlan| if r.by_cluster { plan.clusters } else { plan.count };
            Cells {
                v: (0..n).map(|c| low + (high - low) * key.uniform(c as u64)).collect(),
                hold: vec![0; if plan.counts_hold() { n } else { 0 }],
                slow: vec![0.0; if plan.has_ahp { n } else { 0 }],
                receptors: plan.receptors.iter().map(|r| vec![0.0; units(r)]).collect(),
                drive: Vec::new(),
                noisy: vec![0.0; if plan.noise_pa > 0.0 { n } else { 0 }],
                injected: Vec::with_capacity(plan.count),
                forced_at: None,
                words: Words::new(n),
                history: History::new(plan.count, plan.history_steps),
            }
        });
        State { cells: cells.collect(), step: 0, noise: key.fork(u64::MAX) }
    }

    /// The plastic weights as they are before any learning.
    pub fn synapses(&self) -> Synapses {
        let plastic = self.projections.iter().map(|p| {
            let rule = p.rule.as_ref()?;
            let w = match &p.weights {
                Weights::One(w) => p.fanout.store(&vec![*w; p.fanout.edges]),
                Weights::Each(w) => w.clone(),
            };
            let olives = p.olive.map_or(0, |k| self.populations[k].count);
            Some(Plastic::new(rule, &p.fanout, w, olives, p.ports[0].share, self.step_ms))
        });
        Synapses { plastic: plastic.collect() }
    }

    /// Advances one step, learning as the synapses' rules say.
    pub fn step(&self, state: &mut State, synapses: &mut Synapses) {
        self.advance(state);
        for (projection, plastic) in self.projections.iter().zip(&mut synapses.plastic) {
            let Some(plastic) = plastic else {
                self.deliver(projection, state, &projection.weights);
                continue;
            };
            let port = projection.ports[0];
            let mut onto =
                std::mem::take(&mut state.cells[projection.post].receptors[port.receptor]);
            let arrivals = projection.arrivals(state);
            plastic.step(self.isa, state.step, &projection.fanout, &arrivals, &mut onto);
            plastic.depress_window(&projection.fanout, &arrivals);
            state.cells[projection.post].receptors[port.receptor] = onto;
        }
        state.step += 1;
    }

    /// Advances one step without learning, on weights that others may be reading too.
    pub fn step_frozen(&self, state: &mut State, synapses: &Synapses) {
        self.advance(state);
        for (projection, plastic) in self.projections.iter().zip(&synapses.plastic) {
            let Some(plastic) = plastic else {
                self.deliver(projection, state, &projection.weights);
                continue;
            };
            let receptor = projection.ports[0].receptor;
            let mut onto = std::mem::take(&mut state.cells[projection.post].receptors[receptor]);
            let spikes = state.cells[projection.pre].history.ago(projection.delay);
            plastic.deliver(self.isa, &projection.fanout, spikes, &mut onto);
            state.cells[projection.post].receptors[receptor] = onto;
        }
        state.step += 1;
    }

    fn deliver(&self, projection: &ProjectionPlan, state: &mut State, weights: &Weights) {
        for port in &projection.ports {
            // Taken out while it is written: the spikes may be of the same population.
            let mut onto =
                std::mem::take(&mut state.cells[projection.post].receptors[port.receptor]);
            let spikes = state.cells[projection.pre].history.ago(projection.delay);
            projection.fanout.deliver(self.isa, weights, spikes, port.share, &mut onto);
            state.cells[projection.post].receptors[port.receptor] = onto;
        }
    }

    /// Advances the cells and files the spikes.
    fn advance(&self, state: &mut State) {
        for (k, (plan, cells)) in self.populations.iter().zip(&mut state.cells).enumerate() {
            let n = cells.noisy.len();
            if n > 0 {
                let key = state.noise.fork(k as u64).fork(state.step);
                for (c, noisy) in cells.noisy.iter_mut().enumerate() {
                    let drive = cells.drive.get(c).copied().unwrap_or(0.0);
                    *noisy = drive + plan.noise_pa * key.normal(c as u64);
                }
            }
            cells.advance(plan, self.isa, state.step);
        }
    }

    pub(in crate::cerebellum) fn position(&self, cell: Cell) -> Option<usize> {
        self.populations.iter().position(|p| p.cell == cell)
    }

    pub(in crate::cerebellum) fn projection(&self, pre: Cell, post: Cell) -> Option<usize> {
        self.projections.iter().position(|p| {
            self.populations[p.pre].cell == pre && self.populations[p.post].cell == post
        })
    }

    /// The populations' cell types, in the order in which a step advances them.
    pub fn cells(&self) -> impl Iterator<Item = Cell> + '_ {
        self.populations.iter().map(|p| p.cell)
    }

    /// Number of cells of a type; 0 when there are none.
    pub fn count(&self, cell: Cell) -> usize {
        self.position(cell).map_or(0, |k| self.populations[k].count)
    }

    /// Length of a step, ms.
    pub const fn step_ms(&self) -> f32 {
        self.step_ms
    }

    /// Synapses of all projections.
    pub fn synapse_count(&self) -> usize {
        self.projections.iter().map(|p| p.fanout.edges).sum()
    }

    /// The targets of a presynaptic cell, and where its weights begin in the projection's order.
    pub(in crate::cerebellum) fn row(&self, projection: usize, source: u32) -> (usize, Vec<u32>) {
        self.projections[projection].fanout.row(source)
    }

    /// The weights of a projection in the order of the rows. What is owed must have been settled.
    pub(in crate::cerebellum) fn weights(
        &self,
        synapses: &Synapses,
        projection: usize,
    ) -> Vec<f32> {
        let plan = &self.projections[projection];
        if let Some(plastic) = &synapses.plastic[projection] {
            return plastic.weights(&plan.fanout);
        }
        match &plan.weights {
            Weights::One(w) => vec![*w; plan.fanout.edges],
            Weights::Each(w) => plan.fanout.list(w),
        }
    }

    /// The weights of one source of a plastic projection, settled.
    ///
    /// # Panics
    /// When the projection is not plastic.
    pub(in crate::cerebellum) fn row_mut<'a>(
        &self,
        synapses: &'a mut Synapses,
        projection: usize,
        source: u32,
    ) -> &'a mut [f32] {
        let fanout = &self.projections[projection].fanout;
        let plastic = synapses.plastic[projection].as_mut().expect("a plastic projection");
        plastic.row_mut(self.isa, fanout, source)
    }

    /// The weights of one source of a plastic projection as they are stored, whatever they are owed.
    ///
    /// # Panics
    /// When the projection is not plastic.
    pub(in crate::cerebellum) fn stored_row_mut<'a>(
        &self,
        synapses: &'a mut Synapses,
        projection: usize,
        source: u32,
    ) -> &'a mut [f32] {
        let fanout = &self.projections[projection].fanout;
        let plastic = synapses.plastic[projection].as_mut().expect("a plastic projection");
        plastic.stored_row_mut(fanout, source)
    }

    /// Adds pre · post to the weights of a plastic projection, each held within its bounds.
    ///
    /// # Panics
    /// When the projection is not plastic, or there is not one factor a cell.
    pub(in crate::cerebellum) fn add_outer(
        &self,
        synapses: &mut Synapses,
        projection: usize,
        pre: &[f32],
        post: &[f32],
    ) {
        let fanout = &self.projections[projection].fanout;
        let plastic = synapses.plastic[projection].as_mut().expect("a plastic projection");
        plastic.add_outer(self.isa, fanout, pre, post);
    }

    /// The membrane's solution over a step; none unless the cells are current-based.
    pub(in crate::cerebellum) fn propagator(&self, population: usize) -> Option<&Propagator> {
        match &self.populations[population].dynamics {
            Dynamics::Current(p) => Some(p),
            _ => None,
        }
    }

    /// What a spike adds at each of its synapses; none where they have weights of their own.
    pub(in crate::cerebellum) fn jump(&self, projection: usize) -> Option<f32> {
        let plan = &self.projections[projection];
        match &plan.weights {
            Weights::One(w) if plan.rule.is_none() => Some(w * plan.ports[0].share),
            _ => None,
        }
    }

    pub(super) fn fanout(&self, projection: usize) -> &Fanout {
        &self.projections[projection].fanout
    }
}

impl PopulationPlan {
    /// Whether the model counts refractory steps by cell.
    const fn counts_hold(&self) -> bool {
        matches!(self.dynamics, Dynamics::Conductance(_) | Dynamics::AdEx(_))
    }
}

impl ProjectionPlan {
    fn arrivals<'a>(&self, state: &'a State) -> Arrivals<'a> {
        let history = &state.cells[self.pre].history;
        Arrivals {
            presynaptic: history.ago(self.delay),
            postsynaptic: state.cells[self.post].history.ago(1),
            climbing: self.olive.map_or(&[], |k| state.cells[k].history.ago(self.delay)),
            history,
            delay: self.delay,
        }
    }
}

impl Cells {
    fn advance(&mut self, plan: &PopulationPlan, isa: Isa, step: u64) {
        self.history.begin();
        if let Dynamics::Current(p) = &plan.dynamics {
            self.release(p, step);
        }
        let spikes = self.history.current();
        let extra = if self.noisy.is_empty() { &self.drive } else { &self.noisy };
        match &plan.dynamics {
            Dynamics::Input => {}
            Dynamics::Current(p) => {
                let [exc, inh] = &mut self.receptors[..] else { return };
                let words = &mut self.words;
                if plan.receptors[1].by_cluster {
                    for (k, shared) in inh.iter_mut().enumerate() {
                        let first = k * plan.cluster;
                        let to = plan.count.min(first + plan.cluster);
                        let push = Inhibition::Shared(p.inh_to_v * *shared);
                        *shared = p.keep_inh * *shared + TINY;
                        let extra = extra.get(first..to).unwrap_or(&[]);
                        let (v, exc) = (&mut self.v[first..to], &mut exc[first..to]);
                        current::sweep(isa, p, v, exc, push, extra, first, words, spikes);
                    }
                } else {
                    let own = Inhibition::Own(inh);
                    current::sweep(isa, p, &mut self.v, exc, own, extra, 0, words, spikes);
                }
            }
            Dynamics::Conductance(p) => {
                let shared = plan.receptors.iter().any(|r| r.by_cluster);
                let length = if shared { plan.cluster } else { plan.count };
                for (k, first) in (0..plan.count).step_by(length).enumerate() {
                    let to = plan.count.min(first + length);
                    let mut sum = SharedConductance::default();
                    for (r, values) in plan.receptors.iter().zip(&mut self.receptors) {
                        if r.by_cluster {
                            sum.g_ns += values[k];
                            sum.g_e_pa += values[k] * r.reversal_mv;
                            values[k] = r.keep * values[k] + TINY;
                        }
                    }
                    let ahp = self.slow.get_mut(first..to).unwrap_or(&mut []);
                    let extra = extra.get(first..to).unwrap_or(&[]);
                    let (v, hold) = (&mut self.v[first..to], &mut self.hold[first..to]);
                    conductance::sweep(
                        isa,
                        p,
                        &plan.receptors,
                        sum,
                        first,
                        v,
                        ahp,
                        hold,
                        &mut self.receptors,
                        extra,
                        spikes,
                    );
                }
            }
            Dynamics::AdEx(p) => adex::sweep(
                p,
                &plan.receptors,
                &mut self.v,
                &mut self.slow,
                &mut self.hold,
                &mut self.receptors,
                extra,
                spikes,
            ),
        }
        self.force(plan, step);
    }

    /// Ends the refractory period of the current-based cells whose time is over.
    fn release(&mut self, p: &Propagator, step: u64) {
        let back = p.hold as usize + 1;
        if p.hold == 0 || step < back as u64 {
            return;
        }
        // Only a cell that was made to fire can have done so again while it was refractory.
        let forced = self.forced_at.is_some_and(|at| step - at <= back as u64);
        for &cell in self.history.ago(back) {
            let again = || (1..back).any(|k| self.history.ago(k).binary_search(&cell).is_ok());
            if !forced || !again() {
                self.v[cell as usize] = p.reset;
            }
        }
    }

    /// Fires the injected cells.
    fn force(&mut self, plan: &PopulationPlan, step: u64) {
        if self.injected.is_empty() {
            return;
        }
        self.forced_at = Some(step);
        let spikes = self.history.current();
        self.injected.sort_unstable();
        self.injected.dedup();
        let own = spikes.len();
        for &cell in &self.injected {
            if spikes[..own].binary_search(&cell).is_ok() {
                continue;
            }
            let k = cell as usize;
            match &plan.dynamics {
                Dynamics::Input => {}
                Dynamics::Current(p) => {
                    self.v[k] = if p.hold == 0 { p.reset } else { f32::NAN };
                }
                Dynamics::Conductance(p) => {
                    let mut none = 0.0;
                    let ahp = self.slow.get_mut(k).unwrap_or(&mut none);
                    p.fire(&mut self.v[k], &mut self.hold[k], ahp);
                }
                Dynamics::AdEx(p) => {
                    p.fire(&mut self.v[k], &mut self.hold[k], &mut self.slow[k]);
                }
            }
            spikes.push(cell);
        }
        if own > 0 {
            spikes.sort_unstable();
        }
        self.injected.clear();
    }
}

impl State {
    /// Steps done.
    pub const fn step_count(&self) -> u64 {
        self.step
    }

    /// The count of steps, for another than this engine to set.
    pub(in crate::cerebellum) const fn step_count_mut(&mut self) -> &mut u64 {
        &mut self.step
    }

    /// Replaces the spikes of the last step, ascending.
    pub(in crate::cerebellum) fn set_spikes(
        &mut self,
        population: usize,
        spikes: impl IntoIterator<Item = u32>,
    ) {
        let last = self.cells[population].history.current();
        last.clear();
        last.extend(spikes);
    }

    /// Makes cells of a population fire in the coming step, whatever their potential: the way in for
    /// input populations.
    ///
    /// # Panics
    /// When a cell does not exist.
    pub(in crate::cerebellum) fn inject(
        &mut self,
        population: usize,
        count: usize,
        spikes: &[u32],
    ) {
        let injected = &mut self.cells[population].injected;
        for &cell in spikes {
            assert!((cell as usize) < count, "cell {cell} of {count}");
            if injected.len() == count {
                injected.sort_unstable();
                injected.dedup();
            }
            injected.push(cell);
        }
    }

    /// The spikes of the last step, ascending.
    pub(in crate::cerebellum) fn spikes(&self, population: usize) -> &[u32] {
        self.cells[population].history.ago(0)
    }

    /// The potentials; of a refractory current-based cell, not a number.
    pub(in crate::cerebellum) fn potentials_mut(&mut self, population: usize) -> &mut [f32] {
        &mut self.cells[population].v
    }

    /// The potentials and, by receptor, what its cells or clusters receive.
    pub(in crate::cerebellum) fn cells_mut(
        &mut self,
        population: usize,
    ) -> (&mut [f32], &mut [Vec<f32>]) {
        let cells = &mut self.cells[population];
        (&mut cells.v, &mut cells.receptors)
    }

    /// The additional current by cell, pA or thresholds. Allocates when first asked for.
    pub(in crate::cerebellum) fn drive_mut(&mut self, population: usize) -> &mut [f32] {
        let cells = &mut self.cells[population];
        cells.drive.resize(cells.v.len(), 0.0);
        &mut cells.drive
    }
}

impl Synapses {
    pub(in crate::cerebellum) fn plastic(&self, projection: usize) -> Option<&Plastic> {
        self.plastic[projection].as_ref()
    }

    pub(in crate::cerebellum) fn plastic_mut(&mut self, projection: usize) -> Option<&mut Plastic> {
        self.plastic[projection].as_mut()
    }

    /// Switches every rule on or off.
    pub fn set_plastic(&mut self, network: &Network, on: bool) {
        for (plan, plastic) in network.projections.iter().zip(&mut self.plastic) {
            if let Some(plastic) = plastic {
                plastic.switch(on, network.isa, &plan.fanout);
            }
        }
    }

    /// Settles what every synapse is owed, so that weights can be read.
    pub fn settle(&mut self, network: &Network) {
        for (plan, plastic) in network.projections.iter().zip(&mut self.plastic) {
            if let Some(plastic) = plastic {
                plastic.settle_all(network.isa, &plan.fanout);
            }
        }
    }

    /// What a plastic projection's weights are multiplied by when a spike is delivered: gain and the share of its
    /// port.
    pub(in crate::cerebellum) fn factor(&self, projection: usize) -> f32 {
        self.plastic(projection).map_or(1.0, Plastic::factor)
    }

    /// The gain of a projection; 1 unless it is plastic.
    pub(in crate::cerebellum) fn gain(&self, projection: usize) -> f32 {
        self.plastic(projection).map_or(1.0, |p| p.gain)
    }

    /// The gain of a plastic projection: synaptic scaling.
    ///
    /// # Panics
    /// When the projection is not plastic.
    pub(in crate::cerebellum) fn gain_mut(&mut self, projection: usize) -> &mut f32 {
        &mut self.plastic[projection].as_mut().expect("a plastic projection").gain
    }

    /// What the rules of a projection have done.
    pub(in crate::cerebellum) fn effect(&self, projection: usize) -> Option<Effect> {
        self.plastic(projection).map(|p| p.effect)
    }
}

fn plan(population: &Population, step_ms: f32) -> PopulationPlan {
    let (dynamics, noise_pa, start, has_ahp) = match &population.model {
        Model::Input => (Dynamics::Input, 0.0, (0.0, 0.0), false),
        Model::Current(lif) => {
            let p = Propagator::new(lif, &population.receptors, step_ms);
            (Dynamics::Current(p), 0.0, (0.0, 1.0), false)
        }
        Model::Conductance(lif) => {
            let start = (lif.leak_mv.min(lif.threshold_mv - 1.0), lif.threshold_mv);
            let p = ConductancePlan::new(lif, step_ms);
            (Dynamics::Conductance(p), lif.noise_pa, start, lif.ahp.is_some())
        }
        Model::AdEx(cell) => {
            let start = (cell.leak_mv.min(cell.threshold_mv - 1.0), cell.threshold_mv);
            (Dynamics::AdEx(AdExPlan::new(cell, step_ms)), cell.noise_pa, start, true)
        }
    };
    let receptors = population.receptors.iter().map(|r| ReceptorPlan {
        reversal_mv: r.reversal_mv,
        keep: (-step_ms / r.tau_ms).exp(),
        by_cluster: r.by_cluster,
    });
    PopulationPlan {
        cell: population.cell,
        count: population.count,
        cluster: population.cluster,
        clusters: population.clusters(),
        receptors: receptors.collect(),
        history_steps: match &dynamics {
            Dynamics::Current(p) if p.hold > 0 => p.hold as usize + 1,
            _ => 0,
        },
        dynamics,
        noise_pa,
        start,
        has_ahp,
    }
}

fn compile(
    projection: &Projection,
    given: Explicit,
    [pre, post]: [usize; 2],
    sources: usize,
    index: &impl Fn(Cell) -> usize,
    key: Key,
) -> ProjectionPlan {
    let edges = given.connections.edges();
    let fanout = Fanout::new(given.connections, sources);
    let values = match projection.weight {
        Weight::Constant { value } if given.weights.is_empty() => Weights::One(value),
        drawn if given.weights.is_empty() => {
            Weights::Each(fanout.store(&weights(drawn, edges, key.fork(1))))
        }
        _ => Weights::Each(fanout.store(&given.weights)),
    };
    let climbing = projection.plasticity.is_some_and(|p| p.climbing.is_some());
    ProjectionPlan {
        pre,
        post,
        ports: projection.onto.clone(),
        delay: projection.delay_steps,
        fanout,
        weights: values,
        rule: projection.plasticity,
        olive: climbing.then(|| index(Cell::Olive)),
    }
}
