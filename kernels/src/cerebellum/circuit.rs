//! One network over one decision cycle: mossy fibre spikes in, a value and the granule cells' spike
//! counts out.
//!
//! ```text
//! mossy fibres ─► granule cells ─(plastic)─► Purkinje up / down ─┤ nuclei up / down ─► value
//!        └──────► Golgi cells ◄─┘ │
//!                      └──────────┴┤ granule cells of the neighbouring clusters
//! ```
//!
//! The circuit itself is fixed after construction and shared by all instruments; what moves is in
//! [`NetworkState`], one an instrument. During construction every granule cell's bias is set so
//! that the cell fires at the same mean rate on N(0, 1) features, as intrinsic plasticity does in
//! the young animal: no cell is silent and none shouts, whatever its four dendrites happened to
//! draw. Invariants: a cycle depends only on the state, the spikes and the weights; no allocation
//! after construction.

use super::config::CerebellumConfig;
use super::mossy::{FIELD_SPAN, MossyFibres};
use super::neuron::{Membrane, Population, Propagator, sweep};
use super::plasticity::Synapses;
use super::wiring::{DENDRITES, Wiring};
use crate::rng::Key;

// Time constants lie inside published spans (granule cells 2 ms in Casali et al. 2019 to 24 ms in
// Geminiani et al. 2024).
const GRANULE: Membrane =
    Membrane { tau_m_ms: 8.0, tau_exc_ms: 3.0, tau_inh_ms: 10.0, drive: 0.0, reset: -0.3 };
const GOLGI: Membrane =
    Membrane { tau_m_ms: 20.0, tau_exc_ms: 3.0, tau_inh_ms: 10.0, drive: 0.55, reset: -0.1 };
const PURKINJE: Membrane =
    Membrane { tau_m_ms: 15.0, tau_exc_ms: 3.0, tau_inh_ms: 10.0, drive: 0.8, reset: -0.1 };
const NUCLEAR: Membrane =
    Membrane { tau_m_ms: 20.0, tau_exc_ms: 3.0, tau_inh_ms: 10.0, drive: 2.0, reset: -0.1 };

// Mean synaptic currents at the mean rates, in thresholds.
const MOSSY_TO_GRANULE: f32 = 1.1;
const MOSSY_TO_GOLGI: f32 = 0.2;
const GRANULE_TO_GOLGI: f32 = 0.25;
const PARALLEL_TO_PURKINJE: f32 = 0.8;
const PURKINJE_TO_NUCLEAR: f32 = 0.6;

/// A mossy fibre's jump of the granule cell's current is at most this, so that no single spike
/// fires it.
const MOSSY_JUMP_MAX: f32 = 1.3;
/// A Golgi spike's jump of the inhibitory current of each cluster it reaches.
const GOLGI_JUMP: f32 = 1.1;
/// Neighbouring clusters that a Golgi axon reaches.
const GOLGI_REACH: usize = 4;
/// Rate at which synaptic scaling holds the Purkinje cells, Hz (in vivo 60 to 90).
pub(crate) const PURKINJE_HZ: f32 = 60.0;

/// Cycles of N(0, 1) features over which the granule cells' biases settle.
const SETTLING_CYCLES: u64 = 300;

/// The neurons of one instrument.
#[derive(Clone, Debug)]
pub(crate) struct NetworkState {
    granule_v: Vec<f32>,
    granule_exc: Vec<f32>,
    granule_spikes: Vec<u32>,
    /// The inhibitory current of each cluster.
    cluster_inh: Vec<f32>,
    golgi: Population,
    purkinje: Population,
    nuclear: Population,
}

/// Spikes of one cycle by population.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spikes {
    pub(crate) mossy: u64,
    pub(crate) granule: u64,
    pub(crate) golgi: u64,
    pub(crate) purkinje: u64,
    pub(crate) nuclear: u64,
}

impl Spikes {
    /// Adds another network's.
    pub(crate) fn add(&mut self, other: Self) {
        self.mossy += other.mossy;
        self.granule += other.granule;
        self.golgi += other.golgi;
        self.purkinje += other.purkinje;
        self.nuclear += other.nuclear;
    }
}

/// The fixed part of the network.
#[derive(Clone, Debug)]
pub(crate) struct Circuit {
    wiring: Wiring,
    granule: Propagator,
    golgi: Propagator,
    purkinje: Propagator,
    nuclear: Propagator,
    /// Each granule cell's constant push on its potential a step.
    granule_bias: Vec<f32>,
    mossy_granule_jump: f32,
    mossy_golgi_jump: f32,
    granule_golgi_jump: f32,
    /// By Purkinje cell of both zones and nuclear cell of its zone: half are connected.
    purkinje_nuclear: Vec<f32>,
    cluster: usize,
    clusters: usize,
    purkinje_per_zone: usize,
    nuclear_per_zone: usize,
    steps: usize,
    settle_steps: usize,
    decode_logits_per_spike: f32,
}

impl Circuit {
    /// Wires the network and settles it. Takes `SETTLING_CYCLES` cycles of one network.
    pub(crate) fn new(config: &CerebellumConfig, key: Key) -> Self {
        let wiring = Wiring::new(config, key.fork(0));
        let fibre_hz = mean_fibre_hz(config);
        let clusters = config.golgi_cells();
        let granules_seen = (3 * config.granule_per_golgi).min(config.granule_cells) as f32;
        let per_jump = |current: f32, sources: f32, hz: f32, tau_ms: f32| {
            current / (sources * hz * 1e-3 * tau_ms)
        };
        let counted_s =
            (config.steps_per_cycle - config.settle_steps) as f32 * config.step_ms * 1e-3;
        let mut circuit = Self {
            wiring,
            granule: Propagator::new(GRANULE, config.step_ms),
            golgi: Propagator::new(GOLGI, config.step_ms),
            purkinje: Propagator::new(PURKINJE, config.step_ms),
            nuclear: Propagator::new(NUCLEAR, config.step_ms),
            granule_bias: vec![0.0; config.granule_cells],
            mossy_granule_jump: per_jump(
                MOSSY_TO_GRANULE,
                DENDRITES as f32,
                fibre_hz,
                GRANULE.tau_exc_ms,
            )
            .min(MOSSY_JUMP_MAX),
            mossy_golgi_jump: per_jump(MOSSY_TO_GOLGI, 20.0, fibre_hz, GOLGI.tau_exc_ms),
            granule_golgi_jump: per_jump(
                GRANULE_TO_GOLGI,
                granules_seen,
                config.granule_hz,
                GOLGI.tau_exc_ms,
            ),
            purkinje_nuclear: purkinje_to_nuclear(config, key.fork(1)),
            cluster: config.granule_per_golgi,
            clusters,
            purkinje_per_zone: config.purkinje_per_zone,
            nuclear_per_zone: config.nuclear_per_zone,
            steps: config.steps_per_cycle,
            settle_steps: config.settle_steps,
            decode_logits_per_spike: 1.0
                / (config.nuclear_per_zone as f32 * counted_s * config.decode_hz),
        };
        circuit.settle(config, key.fork(2));
        circuit
    }

    /// A network at rest, its potentials spread by `key` so that the cells do not fire in step.
    pub(crate) fn state(&self, key: Key) -> NetworkState {
        let spread = |n: usize, tag: u64| -> Vec<f32> {
            (0..n).map(|k| key.fork(tag).uniform(k as u64)).collect()
        };
        let n = self.granule_bias.len();
        NetworkState {
            granule_v: spread(n, 0),
            granule_exc: vec![0.0; n],
            granule_spikes: Vec::with_capacity(n),
            cluster_inh: vec![0.0; self.clusters],
            golgi: Population::new(spread(self.clusters, 1)),
            purkinje: Population::new(spread(2 * self.purkinje_per_zone, 2)),
            nuclear: Population::new(spread(2 * self.nuclear_per_zone, 3)),
        }
    }

    /// Runs one cycle; returns the value in (0, 1) and the spikes. `counts` receives each granule
    /// cell's spikes, held at 255.
    pub(crate) fn cycle(
        &self,
        state: &mut NetworkState,
        mossy: &MossyFibres,
        synapses: &Synapses,
        counts: &mut [u8],
    ) -> (f32, Spikes) {
        counts.fill(0);
        let mut spikes = Spikes { mossy: mossy.total(), ..Spikes::default() };
        let (mut up, mut down) = (0_u32, 0_u32);
        for step in 0..self.steps {
            self.advance_cells(state);
            self.deliver(state, mossy.at(step), synapses);
            for &cell in &state.granule_spikes {
                let count = &mut counts[cell as usize];
                *count = count.saturating_add(1);
            }
            if step >= self.settle_steps {
                let split = self.nuclear_per_zone as u32;
                let in_up = state.nuclear.spikes.iter().filter(|&&k| k < split).count();
                up += in_up as u32;
                down += (state.nuclear.spikes.len() - in_up) as u32;
            }
            spikes.granule += state.granule_spikes.len() as u64;
            spikes.golgi += state.golgi.spikes.len() as u64;
            spikes.purkinje += state.purkinje.spikes.len() as u64;
            spikes.nuclear += state.nuclear.spikes.len() as u64;
        }
        let logit = (up as f32 - down as f32) * self.decode_logits_per_spike;
        (1.0 / (1.0 + (-logit).exp()), spikes)
    }

    fn advance_cells(&self, state: &mut NetworkState) {
        state.granule_spikes.clear();
        let clusters = state
            .granule_v
            .chunks_mut(self.cluster)
            .zip(state.granule_exc.chunks_mut(self.cluster))
            .zip(self.granule_bias.chunks(self.cluster))
            .zip(&mut state.cluster_inh);
        for (k, (((v, exc), bias), inh)) in clusters.enumerate() {
            let push = self.granule.shared_inhibition(inh);
            let first = k * self.cluster;
            sweep(&self.granule, v, exc, bias, push, first, &mut state.granule_spikes);
        }
        state.golgi.step(&self.golgi);
        state.purkinje.step(&self.purkinje);
        state.nuclear.step(&self.nuclear);
    }

    fn deliver(&self, state: &mut NetworkState, mossy: &[u32], synapses: &Synapses) {
        for &fibre in mossy {
            for &cell in self.wiring.mossy_to_granule.of(fibre) {
                state.granule_exc[cell as usize] += self.mossy_granule_jump;
            }
            for &cell in self.wiring.mossy_to_golgi.of(fibre) {
                state.golgi.exc[cell as usize] += self.mossy_golgi_jump;
            }
        }
        for &cell in &state.golgi.spikes {
            for k in 0..GOLGI_REACH {
                state.cluster_inh[(cell as usize + k) % self.clusters] += GOLGI_JUMP;
            }
        }
        for &cell in &state.granule_spikes {
            // A parallel fibre excites the Golgi cells of its own and both neighbouring clusters.
            let own = cell as usize / self.cluster + self.clusters;
            for golgi in [own - 1, own, own + 1] {
                state.golgi.exc[golgi % self.clusters] += self.granule_golgi_jump;
            }
            synapses.excite(cell, &mut state.purkinje.exc);
        }
        for &cell in &state.purkinje.spikes {
            let cell = cell as usize;
            let zone = usize::from(cell >= self.purkinje_per_zone) * self.nuclear_per_zone;
            let row = &self.purkinje_nuclear[cell * self.nuclear_per_zone..];
            let targets = &mut state.nuclear.inh[zone..zone + self.nuclear_per_zone];
            targets.iter_mut().zip(row).for_each(|(inh, jump)| *inh += jump);
        }
    }

    /// Moves each granule cell's bias against its excess of spikes, in steps that shrink as 1 / n
    /// (Robbins and Monro, 1951), while random features play.
    fn settle(&mut self, config: &CerebellumConfig, key: Key) {
        let mut mossy = MossyFibres::new(config);
        let mut state = self.state(key.fork(0));
        let mut counts = vec![0; config.granule_cells];
        let mut features = vec![0.0; config.features];
        let synapses = Synapses::new(config, initial_gain(config));
        let wanted = config.granule_hz * config.cycle_s();
        // The push on the potential by a constant current of one threshold.
        let unit = self.granule.constant(1.0);
        for cycle in 0..SETTLING_CYCLES {
            for (k, feature) in features.iter_mut().enumerate() {
                *feature = key.fork(1).fork(cycle).normal(k as u64);
            }
            mossy.encode(&features, key.fork(2).fork(cycle));
            let _ = self.cycle(&mut state, &mossy, &synapses, &mut counts);
            let step = 0.3 * unit / (1.0 + cycle as f32 / 20.0);
            for (bias, &count) in self.granule_bias.iter_mut().zip(&counts) {
                *bias += step * (wanted - count as f32);
            }
        }
    }
}

/// The gain that turns initial weights into the mean Purkinje current wanted.
pub(crate) fn initial_gain(config: &CerebellumConfig) -> f32 {
    let spikes_per_ms = config.granule_cells as f32 * config.granule_hz * 1e-3;
    PARALLEL_TO_PURKINJE / (spikes_per_ms * PURKINJE.tau_exc_ms)
}

/// Mean rate of a mossy fibre when its feature is N(0, 1), averaged over the row of fibres.
fn mean_fibre_hz(config: &CerebellumConfig) -> f32 {
    let n = config.fibres_per_feature;
    let variance = 1.0 + config.field_sd * config.field_sd;
    let field: f32 = (0..n)
        .map(|k| {
            let centre = 2.0 * FIELD_SPAN * k as f32 / (n - 1) as f32 - FIELD_SPAN;
            (-0.5 * centre * centre / variance).exp() * config.field_sd / variance.sqrt()
        })
        .sum();
    config.fibre_peak_hz * field / n as f32
}

/// Each nuclear cell listens to half of its zone's Purkinje cells, drawn at random.
fn purkinje_to_nuclear(config: &CerebellumConfig, key: Key) -> Vec<f32> {
    let sources = 0.5 * config.purkinje_per_zone as f32;
    let jump = PURKINJE_TO_NUCLEAR / (sources * PURKINJE_HZ * 1e-3 * NUCLEAR.tau_inh_ms);
    (0..2 * config.purkinje_per_zone * config.nuclear_per_zone)
        .map(|k| if key.word(k as u64) & 1 == 1 { jump } else { 0.0 })
        .collect()
}
