//! One network with its state and synapses, driven step by step: what tests, tasks and tools use.
//!
//! Invariant: everything follows from the description, the seed and the calls made, in order.

use thiserror::Error;

use super::network::{Explicit, Network, State, Synapses};
use super::plastic::Effect;
use super::recorder::Recorder;
use crate::cerebellum::description::{Cell, Description, DescriptionError};
use crate::isa::Isa;
use crate::rng::Key;

/// Why a network could not be built.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum BuildError {
    /// The description is not valid.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// Explicit connections do not fit.
    #[error("projection {projection}: {what}")]
    Connections {
        /// Its place in the description.
        projection: usize,
        /// What is wrong.
        what: String,
    },
}

/// A network, its cells and its synapses.
#[derive(Clone, Debug)]
pub struct Simulation {
    network: Network,
    state: State,
    synapses: Synapses,
    recorder: Option<Recorder>,
}

impl Simulation {
    /// Builds a network from a description and a seed.
    ///
    /// # Errors
    /// [`BuildError`] names what in the description is wrong.
    pub fn new(description: &Description, seed: u64) -> Result<Self, BuildError> {
        Self::with_connections(description, Vec::new(), seed)
    }

    /// The same with given connections and weights where `explicit`, by projection, has them.
    ///
    /// # Errors
    /// As [`Simulation::new`], and where connections do not fit their populations.
    pub fn with_connections(
        description: &Description,
        explicit: Vec<Option<Explicit>>,
        seed: u64,
    ) -> Result<Self, BuildError> {
        Self::on(Isa::best(), description, explicit, seed)
    }

    /// The same on an instruction set of one's choice.
    ///
    /// # Errors
    /// As [`Simulation::with_connections`].
    pub fn on(
        isa: Isa,
        description: &Description,
        explicit: Vec<Option<Explicit>>,
        seed: u64,
    ) -> Result<Self, BuildError> {
        description.validate()?;
        for (k, given) in explicit.iter().enumerate() {
            if let Some(given) = given {
                fits(description, k, given)
                    .map_err(|what| BuildError::Connections { projection: k, what })?;
            }
        }
        let key = Key::new(seed);
        let network = Network::new(description, explicit, key.fork(0), isa);
        let state = network.state(key.fork(1));
        let synapses = network.synapses();
        Ok(Self { network, state, synapses, recorder: None })
    }

    /// Makes cells of a population fire in the coming step, whatever their potential.
    ///
    /// # Panics
    /// When the population or a cell does not exist.
    pub fn inject(&mut self, cell: Cell, spikes: &[u32]) {
        let k = self.index(cell);
        self.state.inject(k, self.network.count(cell), spikes);
    }

    /// The additional constant current of each cell, pA or thresholds; allocates when first asked
    /// for.
    ///
    /// # Panics
    /// When the population does not exist.
    pub fn drive_mut(&mut self, cell: Cell) -> &mut [f32] {
        let k = self.index(cell);
        self.state.drive_mut(k)
    }

    /// The membrane potentials, mV or thresholds; of a refractory current-based cell, not a number.
    ///
    /// # Panics
    /// When the population does not exist.
    pub fn potentials_mut(&mut self, cell: Cell) -> &mut [f32] {
        let k = self.index(cell);
        self.state.potentials_mut(k)
    }

    /// Advances one step.
    pub fn step(&mut self) {
        self.network.step(&mut self.state, &mut self.synapses);
        if let Some(recorder) = &mut self.recorder {
            let step = self.state.step_count() - 1;
            for (k, cell) in self.network.cells().enumerate() {
                recorder.record(step, cell, self.state.spikes(k));
            }
        }
    }

    /// Records the spikes of the steps to come, of all populations.
    pub fn record(&mut self, recorder: Recorder) {
        self.recorder = Some(recorder);
    }

    /// What has been recorded, if anything is.
    pub const fn recorder(&self) -> Option<&Recorder> {
        self.recorder.as_ref()
    }

    /// The cells that fired in the last step, ascending; none when the population does not exist.
    pub fn spikes(&self, cell: Cell) -> &[u32] {
        self.network.position(cell).map_or(&[], |k| self.state.spikes(k))
    }

    /// Switches all plasticity on or off.
    pub fn set_plastic(&mut self, on: bool) {
        self.synapses.set_plastic(&self.network, on);
    }

    /// The weights of a projection, settled, in the order of [`Simulation::row`].
    ///
    /// # Panics
    /// When there is no such projection.
    pub fn weights(&mut self, pre: Cell, post: Cell) -> Vec<f32> {
        let k = self.projection(pre, post);
        self.synapses.settle(&self.network);
        self.network.weights(&self.synapses, k)
    }

    /// Replaces the weights of a plastic projection; each is held within its bounds.
    ///
    /// # Panics
    /// When there is no such plastic projection or the length differs.
    pub fn set_weights(&mut self, pre: Cell, post: Cell, weights: &[f32]) {
        let k = self.projection(pre, post);
        self.synapses.settle(&self.network);
        let plastic = self.synapses.plastic_mut(k).expect("a plastic projection");
        plastic.set_weights(self.network.fanout(k), weights);
    }

    /// The gain that the weights of a plastic projection are multiplied by: synaptic scaling.
    ///
    /// # Panics
    /// When there is no such plastic projection.
    pub fn gain_mut(&mut self, pre: Cell, post: Cell) -> &mut f32 {
        let k = self.projection(pre, post);
        self.synapses.gain_mut(k)
    }

    /// Multiplies every rate of learning of a plastic projection, for a rate that falls with time.
    ///
    /// # Panics
    /// When there is no such plastic projection.
    pub fn scale_learning(&mut self, pre: Cell, post: Cell, factor: f32) {
        let k = self.projection(pre, post);
        self.synapses.settle(&self.network);
        self.synapses.plastic_mut(k).expect("a plastic projection").scale_learning(factor);
    }

    /// The weights of one source of a plastic projection, settled.
    ///
    /// # Panics
    /// When there is no such plastic projection or source.
    pub fn row_mut(&mut self, pre: Cell, post: Cell, source: u32) -> &mut [f32] {
        let k = self.projection(pre, post);
        self.network.row_mut(&mut self.synapses, k, source)
    }

    /// The targets of a presynaptic cell, and where its weights begin.
    ///
    /// # Panics
    /// When there is no such projection or cell.
    pub fn row(&self, pre: Cell, post: Cell, source: u32) -> (usize, Vec<u32>) {
        self.network.row(self.projection(pre, post), source)
    }

    /// What the rules of a plastic projection have done so far.
    pub fn effect(&self, pre: Cell, post: Cell) -> Option<Effect> {
        self.network.projection(pre, post).and_then(|k| self.synapses.effect(k))
    }

    /// Steps done.
    pub const fn step_count(&self) -> u64 {
        self.state.step_count()
    }

    /// The network.
    pub const fn network(&self) -> &Network {
        &self.network
    }

    fn index(&self, cell: Cell) -> usize {
        self.network.position(cell).unwrap_or_else(|| panic!("no {cell:?} population"))
    }

    fn projection(&self, pre: Cell, post: Cell) -> usize {
        self.network
            .projection(pre, post)
            .unwrap_or_else(|| panic!("no projection of {pre:?} on {post:?}"))
    }
}

fn fits(description: &Description, k: usize, given: &Explicit) -> Result<(), String> {
    let projection = description
        .projections
        .get(k)
        .ok_or_else(|| format!("the description has {}", description.projections.len()))?;
    let count = |cell| description.population(cell).map_or(0, |p| p.count);
    let c = &given.connections;
    let sources = c.sources() * c.cells_per_source();
    if sources < count(projection.pre) {
        return Err(format!("{sources} sources, expected {}", count(projection.pre)));
    }
    if c.targets() > count(projection.post) {
        return Err(format!("{} targets, expected {}", c.targets(), count(projection.post)));
    }
    if given.weights.len() != c.edges() {
        return Err(format!("{} weights, expected {}", given.weights.len(), c.edges()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cerebellum::description::presets::{Rule, Size, benchmark};

    #[test]
    fn the_recorder_holds_the_spikes_of_every_population_that_it_has_room_for() {
        let mut simulation = Simulation::new(&benchmark(Size::S, Rule::Static), 1).unwrap();
        simulation.record(Recorder::new(100_000, 4));
        let mut expected = 0;
        for step in 0..60_u32 {
            simulation.inject(Cell::Mossy, &[4 * step % 200, 4 * step % 200 + 1]);
            simulation.step();
            for cell in [Cell::Mossy, Cell::Granule, Cell::Golgi, Cell::Purkinje, Cell::Nuclear] {
                expected += simulation.spikes(cell).iter().filter(|&&k| k % 4 == 0).count();
            }
        }
        let recorder = simulation.recorder().unwrap();
        assert_eq!((recorder.spikes().count(), recorder.dropped()), (expected, 0));
        assert!(recorder.spikes().any(|s| s.cell == Cell::Nuclear));
        assert!(recorder.spikes().is_sorted_by_key(|s| s.step));
        assert!(expected > 60, "{expected} spikes");
    }
}
