//! The trading network: how it is described, settled and run over one decision cycle.
//!
//! ```text
//! mossy fibres ─► granule cells ─(plastic)─► Purkinje up / down ─┤ nuclei up / down ─► value
//!        └──────► Golgi cells ◄─┘ │
//!                      └──────────┴┤ clusters of granule cells
//! ```
//!
//! During construction every granule cell's constant current is set so that the cell fires at the
//! same mean rate on N(0, 1) features, as intrinsic plasticity does in the young animal: no cell is
//! silent and none shouts, whatever its four dendrites happened to draw. Invariants: a cycle depends
//! only on the state, the spikes and the weights; no allocation after construction.

use super::config::{CerebellumConfig, ConfigError, FIELD_SPAN};
use super::rules::PURKINJE_HZ;
use crate::cerebellum::description::{
    Cell, CurrentLif, Description, Model, Pattern, Plasticity, Population, Port, Projection,
    Receptor, Weight,
};
use crate::cerebellum::encode::{CycleSpikes, Encode, PopulationEncoder};
use crate::cerebellum::engine::{Isa, Network, State, Synapses};
use crate::rng::Key;

/// Dendrites of a granule cell, as in Yamazaki and Nagao (PLoS ONE 7:e33319, 2012).
const DENDRITES: usize = 4;
/// Mossy fibres that reach one Golgi cell directly.
const MOSSY_PER_GOLGI: usize = 20;
/// Golgi cells that inhibit one cluster of granule cells.
const GOLGI_PER_CLUSTER: usize = 4;
/// Parallel fibres that reach one Golgi cell, in clusters' worth.
const CLUSTERS_PER_GOLGI: usize = 3;

/// Time constants of the synaptic currents, ms.
const EXCITATORY_MS: f32 = 3.0;
const INHIBITORY_MS: f32 = 10.0;
// Membrane time constants lie inside published spans (granule cells 2 ms in Casali et al. 2019 to
// 24 ms in Geminiani et al. 2024). The reset lies below rest, which stands for the
// after-hyperpolarisation and makes a refractory period unnecessary.
const GRANULE: CurrentLif =
    CurrentLif { tau_m_ms: 8.0, refractory_ms: 0.0, reset: -0.3, drive: 0.0 };
const GOLGI: CurrentLif =
    CurrentLif { tau_m_ms: 20.0, refractory_ms: 0.0, reset: -0.1, drive: 0.55 };
const PURKINJE: CurrentLif =
    CurrentLif { tau_m_ms: 15.0, refractory_ms: 0.0, reset: -0.1, drive: 0.8 };
const NUCLEAR: CurrentLif =
    CurrentLif { tau_m_ms: 20.0, refractory_ms: 0.0, reset: -0.1, drive: 2.0 };

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
/// Cycles of N(0, 1) features over which the granule cells' currents settle.
const SETTLING_CYCLES: u64 = 300;

/// Spikes of one cycle by population.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spikes {
    pub(super) mossy: u64,
    pub(super) granule: u64,
    pub(super) golgi: u64,
    pub(super) purkinje: u64,
    pub(super) nuclear: u64,
}

impl Spikes {
    /// Adds another network's.
    pub(super) fn add(&mut self, other: Self) {
        self.mossy += other.mossy;
        self.granule += other.granule;
        self.golgi += other.golgi;
        self.purkinje += other.purkinje;
        self.nuclear += other.nuclear;
    }
}

/// What the cells of one network did in a cycle: scratch that every instrument uses in turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Activity {
    /// Spikes by granule cell, held at 255.
    pub(super) granule: Vec<u8>,
    /// Spikes by Purkinje cell, the up zone first.
    pub(super) purkinje: Vec<u16>,
    /// Counted spikes of the up and of the down zone's nuclei.
    pub(super) nuclear: [u32; 2],
    pub(super) spikes: Spikes,
}

impl Activity {
    pub(super) fn new(config: &CerebellumConfig) -> Self {
        Self {
            granule: vec![0; config.granule_cells],
            purkinje: vec![0; 2 * config.purkinje_per_zone],
            ..Self::default()
        }
    }

    fn clear(&mut self) {
        self.granule.fill(0);
        self.purkinje.fill(0);
        self.nuclear = [0; 2];
        self.spikes = Spikes::default();
    }
}

/// The weights a cycle runs on.
#[derive(Debug)]
pub(super) enum Wired<'a> {
    /// Weights that nothing changes within a cycle, which others may be reading too.
    Fixed(&'a Synapses),
    /// Weights that learn at every spike.
    Learning(&'a mut Synapses),
}

/// The network of the trading preset. Weights of parallel fibres are in units of the initial weight.
pub(super) fn describe(config: &CerebellumConfig) -> Description {
    let fibre_hz = mean_fibre_hz(config);
    let clusters = config.golgi_cells();
    let granules_seen = (CLUSTERS_PER_GOLGI * config.granule_per_golgi).min(config.granule_cells);
    let per_jump = |current: f32, sources: usize, hz: f32, tau_ms: f32| {
        current / (sources as f32 * hz * 1e-3 * tau_ms)
    };
    let population = |cell, count, cluster, model, inhibited_by_cluster| Population {
        cell,
        count,
        cluster,
        model: Model::Current(model),
        receptors: vec![
            receptor("excitatory", EXCITATORY_MS, false),
            receptor("inhibitory", INHIBITORY_MS, inhibited_by_cluster),
        ],
    };
    let projection = |pre, post, receptor, share, pattern, weight, zones| Projection {
        pre,
        post,
        pre_range: None,
        onto: vec![Port { receptor, share }],
        pattern,
        zones,
        weight: Weight::Constant { value: weight },
        delay_steps: 0,
        plasticity: None,
    };
    let fibres = config.fibres();
    let in_degree = |sources: usize, of: usize| Pattern::InDegree { sources: sources.min(of) };
    let mossy_granule = per_jump(MOSSY_TO_GRANULE, DENDRITES, fibre_hz, EXCITATORY_MS);
    let mossy_golgi = per_jump(MOSSY_TO_GOLGI, MOSSY_PER_GOLGI, fibre_hz, EXCITATORY_MS);
    let granule_golgi = per_jump(GRANULE_TO_GOLGI, granules_seen, config.granule_hz, EXCITATORY_MS);
    let granule_purkinje =
        per_jump(PARALLEL_TO_PURKINJE, config.granule_cells, config.granule_hz, EXCITATORY_MS);
    let purkinje_nuclear = PURKINJE_TO_NUCLEAR
        / (0.5 * config.purkinje_per_zone as f32 * PURKINJE_HZ * 1e-3 * INHIBITORY_MS);
    let mut parallel =
        projection(Cell::Granule, Cell::Purkinje, 0, granule_purkinje, Pattern::AllToAll, 1.0, 1);
    parallel.plasticity = Some(Plasticity {
        w_min: 0.0,
        w_max: config.weight_cap,
        potentiation: None,
        climbing: None,
        stdp: if config.plastic { config.rules.stdp.rule().stdp } else { None },
    });
    Description {
        name: "trading".to_owned(),
        source: "sized by measurement on simulated and recorded markets".to_owned(),
        step_ms: config.step_ms,
        populations: vec![
            Population {
                cell: Cell::Mossy,
                count: fibres,
                cluster: 1,
                model: Model::Input,
                receptors: Vec::new(),
            },
            population(
                Cell::Granule,
                config.granule_cells,
                config.granule_per_golgi,
                GRANULE,
                true,
            ),
            population(Cell::Golgi, clusters, 1, GOLGI, false),
            population(Cell::Purkinje, 2 * config.purkinje_per_zone, 1, PURKINJE, false),
            population(Cell::Nuclear, 2 * config.nuclear_per_zone, 1, NUCLEAR, false),
        ],
        projections: vec![
            projection(
                Cell::Mossy,
                Cell::Granule,
                0,
                1.0,
                in_degree(DENDRITES, fibres),
                mossy_granule.min(MOSSY_JUMP_MAX),
                1,
            ),
            projection(
                Cell::Mossy,
                Cell::Golgi,
                0,
                1.0,
                in_degree(MOSSY_PER_GOLGI, fibres),
                mossy_golgi,
                1,
            ),
            projection(
                Cell::Golgi,
                Cell::Granule,
                1,
                1.0,
                in_degree(GOLGI_PER_CLUSTER, clusters),
                GOLGI_JUMP,
                1,
            ),
            projection(
                Cell::Granule,
                Cell::Golgi,
                0,
                1.0,
                in_degree(granules_seen, config.granule_cells),
                granule_golgi,
                1,
            ),
            parallel,
            projection(
                Cell::Purkinje,
                Cell::Nuclear,
                1,
                1.0,
                Pattern::Probability { p: 0.5 },
                purkinje_nuclear,
                2,
            ),
        ],
    }
}

fn receptor(name: &str, tau_ms: f32, by_cluster: bool) -> Receptor {
    Receptor { name: name.to_owned(), tau_ms, reversal_mv: 0.0, by_cluster }
}

/// The places of the populations in the network.
pub(super) const MOSSY_AT: usize = 0;
pub(super) const GRANULE_AT: usize = 1;
pub(super) const GOLGI_AT: usize = 2;
pub(super) const PURKINJE_AT: usize = 3;
pub(super) const NUCLEAR_AT: usize = 4;
/// The place of the parallel fibres among the projections.
pub(super) const PARALLEL_AT: usize = 4;
/// The places of the others, whose weights are fixed.
pub(super) const MOSSY_GRANULE_AT: usize = 0;
pub(super) const MOSSY_GOLGI_AT: usize = 1;
pub(super) const GOLGI_GRANULE_AT: usize = 2;
pub(super) const GRANULE_GOLGI_AT: usize = 3;
pub(super) const PURKINJE_NUCLEAR_AT: usize = 5;

/// The compiled network, settled, and how its output is read.
#[derive(Clone, Debug)]
pub(super) struct Circuit {
    pub(super) network: Network,
    /// A fresh encoder of the features.
    pub(super) encoder: PopulationEncoder,
    /// Each granule cell's constant current, thresholds.
    pub(super) granule_drive: Vec<f32>,
    nuclear_per_zone: usize,
    steps: usize,
    settle_steps: usize,
    /// Whether Purkinje cells have a drive of their own, for intrinsic plasticity to move.
    driven: bool,
    /// Whether synapses learn at every spike.
    learns_by_spike: bool,
    contrast_per_spike: f32,
}

impl Circuit {
    /// Wires the network and settles it. Takes `SETTLING_CYCLES` cycles of one network.
    ///
    /// # Errors
    /// When the mossy fibres refuse the configuration.
    pub(super) fn new(config: &CerebellumConfig, key: Key) -> Result<Self, ConfigError> {
        let network = Network::new(&describe(config), Vec::new(), key.fork(0), Isa::best());
        let counted_s =
            (config.steps_per_cycle - config.settle_steps) as f32 * config.step_ms * 1e-3;
        let mut circuit = Self {
            encoder: config.encoder()?,
            network,
            granule_drive: vec![0.0; config.granule_cells],
            nuclear_per_zone: config.nuclear_per_zone,
            steps: config.steps_per_cycle,
            settle_steps: config.settle_steps,
            driven: config.plastic && config.rules.intrinsic.enabled,
            learns_by_spike: config.plastic && config.rules.stdp.enabled,
            contrast_per_spike: 1.0
                / (config.nuclear_per_zone as f32 * counted_s * config.decode_hz),
        };
        circuit.settle(config, key.fork(2));
        Ok(circuit)
    }

    /// The cells of one instrument.
    pub(super) fn state(&self, key: Key) -> State {
        let mut state = self.network.state(key);
        state.drive_mut(GRANULE_AT).copy_from_slice(&self.granule_drive);
        if self.driven {
            state.drive_mut(PURKINJE_AT);
        }
        state
    }

    /// The drive of the Purkinje cells, thresholds.
    pub(super) fn purkinje_drive(state: &mut State) -> &mut [f32] {
        state.drive_mut(PURKINJE_AT)
    }

    /// The parallel fibres' synapses, which change only when told to, between cycles, unless pair
    /// STDP is on.
    pub(super) fn synapses(&self) -> Synapses {
        let mut synapses = self.network.synapses();
        synapses.set_plastic(&self.network, self.learns_by_spike);
        synapses
    }

    /// Whether a cycle needs synapses that it may change.
    pub(super) const fn learns_by_spike(&self) -> bool {
        self.learns_by_spike
    }

    /// The weights of all parallel fibres, settled: by granule cell, then by Purkinje cell.
    pub(super) fn weights(&self, synapses: &Synapses) -> Vec<f32> {
        if self.learns_by_spike {
            let mut settled = synapses.clone();
            settled.settle(&self.network);
            return self.network.weights(&settled, PARALLEL_AT);
        }
        self.network.weights(synapses, PARALLEL_AT)
    }

    /// The contrast, in units of `decode_hz`, of so many counted spikes of the up and of the down zone's nuclei.
    pub(super) fn contrast(&self, [up, down]: [u32; 2]) -> f32 {
        (up as f32 - down as f32) * self.contrast_per_spike
    }

    /// Runs one cycle; returns the contrast: up rate less down rate, in units of `decode_hz`.
    pub(super) fn cycle(
        &self,
        state: &mut State,
        mossy: &CycleSpikes,
        mut synapses: Wired<'_>,
        activity: &mut Activity,
    ) -> f32 {
        activity.clear();
        let spikes = &mut activity.spikes;
        spikes.mossy = mossy.total();
        for step in 0..self.steps {
            self.present(state, mossy, step);
            match &mut synapses {
                Wired::Fixed(synapses) => self.network.step_frozen(state, synapses),
                Wired::Learning(synapses) => self.network.step(state, synapses),
            }
            for &cell in state.spikes(GRANULE_AT) {
                let count = &mut activity.granule[cell as usize];
                *count = count.saturating_add(1);
            }
            for &cell in state.spikes(PURKINJE_AT) {
                activity.purkinje[cell as usize] += 1;
            }
            let nuclear = state.spikes(NUCLEAR_AT);
            if step >= self.settle_steps {
                let split = self.nuclear_per_zone as u32;
                let up = nuclear.iter().filter(|&&k| k < split).count();
                activity.nuclear[0] += up as u32;
                activity.nuclear[1] += (nuclear.len() - up) as u32;
            }
            spikes.granule += state.spikes(GRANULE_AT).len() as u64;
            spikes.golgi += state.spikes(GOLGI_AT).len() as u64;
            spikes.purkinje += state.spikes(PURKINJE_AT).len() as u64;
            spikes.nuclear += nuclear.len() as u64;
        }
        self.contrast(activity.nuclear)
    }

    /// Gives the cells the mossy fibres' spikes of `step`.
    #[inline]
    pub(super) fn present(&self, state: &mut State, mossy: &CycleSpikes, step: usize) {
        state.inject(MOSSY_AT, self.network.count(Cell::Mossy), mossy.at(step));
    }

    /// Moves each granule cell's current against its excess of spikes, in steps that shrink as 1 / n
    /// (Robbins and Monro, 1951), while random features play.
    fn settle(&mut self, config: &CerebellumConfig, key: Key) {
        let mut encoder = self.encoder.clone();
        let mut mossy = CycleSpikes::new(encoder.fibres(), config.steps_per_cycle);
        let mut state = self.state(key.fork(0));
        let mut activity = Activity::new(config);
        let mut features = vec![0.0; config.features];
        let mut synapses = self.network.synapses();
        synapses.set_plastic(&self.network, false);
        let wanted = config.granule_hz * config.cycle_s();
        for cycle in 0..SETTLING_CYCLES {
            for (k, feature) in features.iter_mut().enumerate() {
                *feature = key.fork(1).fork(cycle).normal(k as u64);
            }
            encoder.encode(&features, key.fork(2).fork(cycle), &mut mossy);
            self.cycle(&mut state, &mossy, Wired::Fixed(&synapses), &mut activity);
            let step = 0.3 / (1.0 + cycle as f32 / 20.0);
            let drive = state.drive_mut(GRANULE_AT);
            for (drive, &count) in drive.iter_mut().zip(&activity.granule) {
                *drive += step * (wanted - count as f32);
            }
        }
        self.granule_drive.copy_from_slice(state.drive_mut(GRANULE_AT));
    }
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
