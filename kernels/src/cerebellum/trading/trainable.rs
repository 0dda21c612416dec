//! The trading circuit as supervised learning takes it: same wiring, same settled currents, same
//! spikes.
//!
//! A sample of supervised training is one decision cycle from rest. Invariants: on the same mossy
//! fibre spikes and weights the trainable network fires the engine's spikes, all of them; its
//! parallel-fibre weights are those of [`LearnedWeights`](super::LearnedWeights), in the same order
//! and unit. Synaptic scaling is not part of it: its gain is in the effective weights.

use super::Cerebellum;
use super::circuit::{GOLGI_AT, GRANULE_AT, NUCLEAR_AT, PARALLEL_AT, PURKINJE_AT, describe};
use crate::cerebellum::description::{Cell, Description, Model, Projection as Described, Weight};
use crate::cerebellum::encode::{CycleSpikes, Encode, PopulationEncoder};
use crate::cerebellum::engine::Network;
use crate::rng::Key;
use crate::supervised::{
    Cells, FanOut, FastSigmoid, MossyGain, MossySpikes, NetworkParts, Projection,
};

/// Draws the mossy fibre spikes that [`Cerebellum::advance`] would.
#[derive(Clone, Debug)]
pub struct MossyEncoder {
    encoder: PopulationEncoder,
    spikes: CycleSpikes,
    steps: usize,
    features: usize,
    key: Key,
}

impl MossyEncoder {
    /// The spikes of an instrument's features in a cycle.
    ///
    /// # Panics
    /// When the number of features is another.
    pub fn encode(&mut self, instrument: usize, cycle: u64, features: &[f32]) -> MossySpikes {
        assert_eq!(features.len(), self.features, "this cerebellum's features");
        let key = self.key.fork(instrument as u64).fork(cycle);
        self.encoder.encode(features, key, &mut self.spikes);
        let steps: Vec<&[u32]> = (0..self.steps).map(|n| self.spikes.at(n)).collect();
        MossySpikes::from_steps(&steps)
    }
}

impl Cerebellum {
    /// What draws this cerebellum's mossy fibre spikes.
    pub fn mossy_encoder(&self) -> MossyEncoder {
        let encoder = self.circuit.encoder.clone();
        MossyEncoder {
            spikes: CycleSpikes::new(encoder.fibres(), self.config.steps_per_cycle),
            encoder,
            steps: self.config.steps_per_cycle,
            features: self.config.features,
            key: self.key.fork(2),
        }
    }

    /// The circuit with its learned weights, as the parts of a trainable network whose sample is one
    /// cycle from rest. Mossy gains are fixed, because the engine has none; effective weights above
    /// the cap are held at it.
    pub fn trainable(&self) -> NetworkParts<f32> {
        let c = &self.config;
        let description = describe(c);
        let network = &self.circuit.network;
        let learned = self.weights();
        let mut state = self.circuit.state(self.key.fork(1).fork(0));
        let mut cells = |cell: Cell, at: usize| {
            let start = state.potentials_mut(at).to_vec();
            let drive = match cell {
                Cell::Granule => self.circuit.granule_drive.clone(),
                _ => vec![0.0; start.len()],
            };
            population(&description, cell, drive, start)
        };
        let links = |pre: Cell, post: Cell| {
            let projection = described(&description, pre, post);
            let Weight::Constant { value } = projection.weight else {
                unreachable!("the trading circuit's weights are constant")
            };
            let weight = value * projection.onto[0].share;
            let fan_out = fan_out(network, pre, post, |_| weight);
            Projection { fan_out, delay_steps: projection.delay_steps }
        };
        let parallel = described(&description, Cell::Granule, Cell::Purkinje);
        NetworkParts {
            step_ms: c.step_ms,
            steps: c.steps_per_cycle,
            settle_steps: c.settle_steps,
            granule: cells(Cell::Granule, GRANULE_AT),
            granule_cluster: c.granule_per_golgi,
            golgi: cells(Cell::Golgi, GOLGI_AT),
            purkinje: cells(Cell::Purkinje, PURKINJE_AT),
            nuclear: cells(Cell::Nuclear, NUCLEAR_AT),
            mossy_granule: links(Cell::Mossy, Cell::Granule),
            mossy_golgi: links(Cell::Mossy, Cell::Golgi),
            granule_golgi: links(Cell::Granule, Cell::Golgi),
            golgi_granule: links(Cell::Golgi, Cell::Granule),
            parallel: Projection {
                fan_out: fan_out(network, Cell::Granule, Cell::Purkinje, |k| {
                    learned.parallel[k].clamp(0.0, c.weight_cap)
                }),
                delay_steps: parallel.delay_steps,
            },
            parallel_unit: parallel.onto[0].share,
            parallel_bounds: (0.0, c.weight_cap),
            purkinje_nuclear: links(Cell::Purkinje, Cell::Nuclear),
            mossy_gain: MossyGain::Fixed,
            mossy_gain_bounds: (0.0, 2.0),
            decode_hz: c.decode_hz,
            readout_gain: learned.readout_gain,
            readout_bias: learned.readout_bias,
            sigmoid: FastSigmoid::default(),
        }
    }
}

fn described(description: &Description, pre: Cell, post: Cell) -> &Described {
    let mut all = description.projections.iter();
    all.find(|p| p.pre == pre && p.post == post).expect("a projection of the trading circuit")
}

fn population(
    description: &Description,
    cell: Cell,
    drive: Vec<f32>,
    start: Vec<f32>,
) -> Cells<f32> {
    let population = description.population(cell).expect("a population of the trading circuit");
    let Model::Current(lif) = population.model else {
        unreachable!("the trading circuit's cells are current-based")
    };
    let [excitatory, inhibitory] = &population.receptors[..] else {
        unreachable!("current-based cells have two receptors")
    };
    let (tau_exc_ms, tau_inh_ms) = (excitatory.tau_ms, inhibitory.tau_ms);
    Cells { lif, tau_exc_ms, tau_inh_ms, drive, start }
}

/// A projection's synapses, with weights by their place in the order of the rows.
fn fan_out(network: &Network, pre: Cell, post: Cell, weight: impl Fn(usize) -> f32) -> FanOut<f32> {
    let projection = network.projection(pre, post).expect("a projection of the trading circuit");
    debug_assert!(post != Cell::Purkinje || projection == PARALLEL_AT);
    let mut fan_out = FanOut::none(0);
    for source in 0..network.count(pre) {
        let (from, targets) = network.row(projection, source as u32);
        fan_out.weights.extend((from..from + targets.len()).map(&weight));
        fan_out.targets.extend(targets);
        fan_out.starts.push(fan_out.targets.len() as u32);
    }
    fan_out
}

#[cfg(test)]
mod tests {
    use super::super::CerebellumConfig;
    use super::super::circuit::MOSSY_AT;
    use super::super::weights::Readout;
    use super::*;
    use crate::supervised::{Spiking, Workspace};

    /// Clusters of unequal size, and weights that learning and scaling have moved.
    fn taught() -> Cerebellum {
        let config = CerebellumConfig {
            features: 6,
            granule_cells: 500,
            granule_per_golgi: 90,
            ..CerebellumConfig::default()
        };
        let mut net = Cerebellum::new(config).unwrap();
        let mut value = [0.0];
        for cycle in 0..60 {
            let key = Key::new(5).fork(cycle);
            let features: Vec<f32> = (0..6).map(|k| key.normal(k)).collect();
            net.advance(cycle, &features, &[true], &mut value);
            net.learn(0, cycle, features[0].signum() * 0.5);
        }
        net
    }

    #[test]
    fn a_cycle_from_rest_fires_the_engines_spikes_and_gives_its_value() {
        let mut net = taught();
        // The effective weights, so that both multiply the same numbers.
        net.set_weights(&net.weights()).unwrap();
        net.set_plastic(false);
        let network = crate::supervised::Network::new(net.trainable()).unwrap();
        let parameters = network.initial_parameters();
        assert_eq!(parameters.parallel(), net.weights().parallel);
        let mut work = Workspace::new(&network, Spiking::Hard);
        let mut encoder = net.mossy_encoder();
        let synapses = {
            let set = net.shared.as_ref().unwrap().read().unwrap();
            set.synapses.clone()
        };
        let mut counts = [0; 4];
        for cycle in 0..20_u64 {
            let key = Key::new(9).fork(cycle);
            let features: Vec<f32> = (0..6).map(|k| key.normal(k)).collect();
            let mossy = encoder.encode(0, cycle, &features);
            let forward = network.forward(&parameters, &mossy, &mut work);
            let mut state = net.circuit.state(net.key.fork(1).fork(0));
            for n in 0..network.steps() {
                state.inject(MOSSY_AT, network.fibres(), mossy.at(n));
                net.circuit.network.step_frozen(&mut state, &synapses);
                let pairs = [
                    (GRANULE_AT, work.granule_spikes(n)),
                    (GOLGI_AT, work.golgi_spikes(n)),
                    (PURKINJE_AT, work.purkinje_spikes(n)),
                    (NUCLEAR_AT, work.nuclear_spikes(n)),
                ];
                for (count, (at, spikes)) in counts.iter_mut().zip(pairs) {
                    assert_eq!(state.spikes(at), spikes, "population {at}, step {n}, {cycle}");
                    *count += spikes.len();
                }
            }
            let mut value = [0.0];
            net.rest();
            net.advance(cycle, &features, &[true], &mut value);
            let expected = Readout::value(forward.output);
            assert!((value[0] - expected).abs() < 1e-6, "{} against {expected}", value[0]);
        }
        assert!(counts.iter().all(|&n| n > 50), "every population took part: {counts:?}");
    }

    #[test]
    fn weights_trained_there_act_here() {
        let mut net = taught();
        let network = crate::supervised::Network::new(net.trainable()).unwrap();
        let mut parameters = network.initial_parameters();
        // The up zone's Purkinje cells are released from half of their input.
        let row = 2 * net.config.purkinje_per_zone;
        for (k, w) in parameters.parallel_mut().iter_mut().enumerate() {
            *w *= if k % row < row / 2 { 0.5 } else { 1.0 };
        }
        let mut work = Workspace::new(&network, Spiking::Hard);
        let features = [0.3; 6];
        let mossy = net.mossy_encoder().encode(0, 3, &features);
        let output = network.forward(&parameters, &mossy, &mut work).output;
        let mut learned = net.weights();
        learned.parallel.copy_from_slice(parameters.parallel());
        net.set_weights(&learned).unwrap();
        net.rest();
        let mut value = [0.0];
        net.advance(3, &features, &[true], &mut value);
        assert!((value[0] - Readout::value(output)).abs() < 1e-6);
        assert!(value[0] > 0.6, "the up nuclei are free: {}", value[0]);
    }
}
