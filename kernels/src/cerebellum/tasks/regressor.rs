//! A cerebellum that learns a number: two microzones that push its output up and down.
//!
//! ```text
//! features ─► mossy fibres ─► granule cells ─(plastic)─► Purkinje up / down ─┤ nuclei up / down
//!                   └──► Golgi cells ◄─┘└─┤ granule cells
//! error ─► olive up / down ─► the Purkinje cells of the same microzone
//! ```
//!
//! A sample of features is held for 100 ms in Gaussian mossy fields; the output is the difference of
//! the nuclei's mean rates, which are counted from the 20th ms on. An error, known when the sample is
//! over, moves the climbing fibres of the microzone that would mend it from 1 Hz towards 10 Hz.
//! Parallel fibre synapses depress with the climbing fibre's spikes n and potentiate with their own,
//! so that a zone at rest stands still on average: with e the parallel fibre's spikes in the sample
//! that erred,
//!
//! ```text
//! dw = rate · e · (n0 - n),      0 <= w <= 8 w0,      n0 = 0.1 (1 Hz for 100 ms)
//! ```
//!
//! which is the least-mean-squares rule on granule activity (Fujita, Biol. Cybern. 45, 1982; Dean
//! and Porrill, Nat. Rev. Neurosci. 11, 2010). [`Teaching`] says how e is known. Errors of both
//! signs take weight off on the whole; synaptic scaling of both zones alike gives it back. Scaling
//! by zone would pin the output.
//!
//! Invariants: everything follows from the settings and the calls made, in order; no allocation
//! after construction.

use thiserror::Error;

use crate::cerebellum::description::{
    Cell, Climbing, CurrentLif, Description, Kernel, Model, Pattern, Plasticity, Population, Port,
    Potentiation, Projection, Receptor, Weight,
};
use crate::cerebellum::encode::{
    Cycle, CycleSpikes, Encode, EncodeError, Firing, PopulationCode, PopulationEncoder,
    fire_at_random,
};
use crate::cerebellum::engine::{BuildError, Simulation};
use crate::rng::Key;

/// Steps of 1 ms a sample.
const STEPS: usize = 100;
/// Steps at the start of a sample whose nuclear spikes are still the last one's.
const DRAIN_STEPS: usize = 20;
const PURKINJE_PER_ZONE: usize = 16;
const NUCLEAR_PER_ZONE: usize = 32;
const PURKINJE: usize = 2 * PURKINJE_PER_ZONE;

/// Rate of a climbing fibre without an error of its sign and at the greatest, Hz.
const CLIMBING_REST_HZ: f64 = 1.0;
const CLIMBING_PEAK_HZ: f64 = 10.0;
/// Spikes of a resting climbing fibre in a sample.
const REST: f32 = (CLIMBING_REST_HZ * STEPS as f64 * 1e-3) as f32;
/// Difference of the nuclei's rates that stands for an output of one, Hz.
const RANGE_HZ: f32 = 60.0;
/// Error at which the climbing fibres reach their peak.
const ERROR_MAX: f32 = 0.5;

/// Rate at which scaling holds the Purkinje cells, Hz.
const PURKINJE_HZ: f32 = 60.0;
/// Share of the relative rate error by which scaling moves the gain each sample.
const SCALING_RATE: f32 = 0.02;
/// Share by which the mean rate that scaling sees follows that of the last sample.
const SCALING_FOLLOWS: f32 = 0.05;
/// The gain stays within this factor of 1.
const GAIN_SPAN: f32 = 20.0;

/// How climbing-fibre spikes find the parallel fibres that were active when the error was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Teaching {
    /// The spikes of each parallel fibre in that sample are held until its error is known and act
    /// at once: the rule above, exactly.
    Held,
    /// Climbing fibres fire at their rate throughout the next sample, and this kernel, which should
    /// peak at 100 ms, picks out what fired one sample earlier: a rule that the engine runs.
    Late(Kernel),
}

impl Teaching {
    /// [`Teaching::Late`] with a difference of exponentials that peaks at 97 ms.
    pub const ONE_SAMPLE_LATE: Self =
        Self::Late(Kernel::Difference { slow_ms: 120.0, fast_ms: 80.0 });
}

/// Settings of a [`Regressor`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RegressorConfig {
    /// Features a sample.
    pub features: usize,
    /// Mossy fibres a feature; their centres lie evenly in 0 to 1.
    pub fibres_per_feature: usize,
    /// Standard deviation of a mossy field.
    pub field_sd: f32,
    /// Granule cells: 200 or more. A hundredth as many Golgi cells, but 20 at least.
    pub granule_cells: usize,
    /// Change of a synapse by a parallel fibre spike and a climbing-fibre spike, in initial weights.
    pub rate: f32,
    /// How an error finds its synapses.
    pub teaching: Teaching,
    /// What the network and its spikes are drawn from.
    pub seed: u64,
}

impl Default for RegressorConfig {
    fn default() -> Self {
        Self {
            features: 4,
            fibres_per_feature: 60,
            field_sd: 0.06,
            granule_cells: 10_000,
            rate: 0.012,
            teaching: Teaching::ONE_SAMPLE_LATE,
            seed: 1,
        }
    }
}

/// Why a [`Regressor`] could not be built.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum RegressorError {
    /// The mossy code is not valid.
    #[error(transparent)]
    Code(#[from] EncodeError),
    /// The network is not valid.
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// The network, its input and its teacher.
#[derive(Clone, Debug)]
pub struct Regressor {
    simulation: Simulation,
    encoder: PopulationEncoder,
    mossy: CycleSpikes,
    config: RegressorConfig,
    /// What the rule's constants are multiplied by.
    rate_scale: f32,
    learning: bool,
    key: Key,
    samples: u64,
    /// Spikes of each granule cell in the last sample.
    held: Vec<u16>,
    /// Climbing-fibre spikes to come, by step, ascending.
    climbing: Vec<(u32, u32)>,
    by_fibre: [u16; PURKINJE],
    scratch: Vec<u32>,
    /// Rate of the Purkinje cells in the last sample, and as scaling sees it, Hz.
    purkinje_hz: f32,
    followed_hz: f32,
    spikes: [u64; RATES.len()],
}

/// The cells whose rates are reported.
const RATES: [Cell; 4] = [Cell::Granule, Cell::Golgi, Cell::Purkinje, Cell::Nuclear];

impl Regressor {
    /// Builds the network.
    ///
    /// # Errors
    /// [`RegressorError`] names the setting that is out of its range.
    pub fn new(config: RegressorConfig) -> Result<Self, RegressorError> {
        let code = PopulationCode {
            fibres_per_feature: config.fibres_per_feature,
            low: 0.0,
            high: 1.0,
            sd: config.field_sd,
            peak_hz: 150.0,
            background_hz: 2.0,
            firing: Firing::Poisson,
        };
        let cycle = Cycle { steps: STEPS, step_ms: 1.0 };
        let encoder = PopulationEncoder::new(code, config.features, cycle)?;
        let simulation = Simulation::new(&describe(&config), config.seed)?;
        Ok(Self {
            mossy: CycleSpikes::new(encoder.fibres(), STEPS),
            encoder,
            held: vec![0; config.granule_cells],
            climbing: Vec::with_capacity(PURKINJE * STEPS),
            by_fibre: [0; PURKINJE],
            scratch: Vec::with_capacity(PURKINJE * STEPS),
            purkinje_hz: PURKINJE_HZ,
            followed_hz: PURKINJE_HZ,
            rate_scale: 1.0,
            learning: true,
            key: Key::new(config.seed).fork(0x726567),
            samples: 0,
            spikes: [0; RATES.len()],
            simulation,
            config,
        })
    }

    /// Holds `features`, each from 0 to 1, for a sample and returns the output, which is 0.5 when
    /// both zones are even. What was taught after the last sample acts meanwhile.
    ///
    /// # Panics
    /// When the number of features is not the configured one.
    pub fn present(&mut self, features: &[f32]) -> f32 {
        let key = self.key.fork(self.samples);
        self.samples += 1;
        self.encoder.encode(features, key.fork(0), &mut self.mossy);
        self.held.fill(0);
        let mut nuclear = [0_u32; 2];
        let mut purkinje = 0;
        let mut next = 0;
        for step in 0..STEPS {
            self.simulation.inject(Cell::Mossy, self.mossy.at(step));
            while let Some(&(_, fibre)) =
                self.climbing.get(next).filter(|&&(at, _)| at as usize == step)
            {
                self.simulation.inject(Cell::Olive, &[fibre]);
                next += 1;
            }
            self.simulation.step();
            for &cell in self.simulation.spikes(Cell::Granule) {
                let count = &mut self.held[cell as usize];
                *count = count.saturating_add(1);
            }
            purkinje += self.simulation.spikes(Cell::Purkinje).len();
            if step >= DRAIN_STEPS {
                for &cell in self.simulation.spikes(Cell::Nuclear) {
                    nuclear[cell as usize / NUCLEAR_PER_ZONE] += 1;
                }
            }
            for (sum, cell) in self.spikes.iter_mut().zip(RATES) {
                *sum += self.simulation.spikes(cell).len() as u64;
            }
        }
        self.climbing.clear();
        self.purkinje_hz = purkinje as f32 / (PURKINJE as f32 * STEPS as f32 * 1e-3);
        let counted_s = (STEPS - DRAIN_STEPS) as f32 * 1e-3;
        let apart_hz =
            (nuclear[0] as f32 - nuclear[1] as f32) / (NUCLEAR_PER_ZONE as f32 * counted_s);
        0.5 + apart_hz / RANGE_HZ
    }

    /// Tells the error of the last sample, target minus output.
    pub fn teach(&mut self, error: f32) {
        if !self.learning {
            return;
        }
        self.climb(error);
        if self.config.teaching == Teaching::Held {
            self.depress();
            self.climbing.clear();
        }
        self.scale();
    }

    /// Switches learning on or off.
    pub fn set_learning(&mut self, on: bool) {
        self.learning = on;
        self.simulation.set_plastic(on);
        self.climbing.clear();
    }

    /// Sets what the configured rate is multiplied by.
    pub fn set_rate_scale(&mut self, scale: f32) {
        let factor = scale / self.rate_scale;
        self.rate_scale = scale;
        self.simulation.scale_learning(Cell::Granule, Cell::Purkinje, factor);
    }

    /// Mean rates of granule, Golgi, Purkinje and nuclear cells since the start, Hz.
    pub fn rates_hz(&self) -> [(Cell, f64); RATES.len()] {
        let seconds = (self.samples as f64 * STEPS as f64 * 1e-3).max(f64::MIN_POSITIVE);
        let mut rates = RATES.map(|cell| (cell, 0.0));
        for ((cell, hz), &spikes) in rates.iter_mut().zip(&self.spikes) {
            *hz = spikes as f64 / (self.simulation.network().count(*cell) as f64 * seconds);
        }
        rates
    }

    /// Draws the climbing-fibre spikes that tell an error: each fibre's over a sample, by step in
    /// `climbing` and in sum in `by_fibre`.
    fn climb(&mut self, error: f32) {
        let key = self.key.fork(self.samples - 1).fork(1);
        self.climbing.clear();
        self.by_fibre.fill(0);
        for (zone, error) in [(0, error), (1, -error)] {
            let size = f64::from((error / ERROR_MAX).clamp(0.0, 1.0));
            let hz = CLIMBING_REST_HZ + (CLIMBING_PEAK_HZ - CLIMBING_REST_HZ) * size;
            let trials = (PURKINJE_PER_ZONE * STEPS) as u32;
            self.scratch.clear();
            fire_at_random(0..trials, hz * 1e-3, key.fork(zone), &mut self.scratch);
            for &trial in &self.scratch {
                let (step, place) =
                    (trial / PURKINJE_PER_ZONE as u32, trial % PURKINJE_PER_ZONE as u32);
                let fibre = zone as u32 * PURKINJE_PER_ZONE as u32 + place;
                self.climbing.push((step, fibre));
                self.by_fibre[fibre as usize] += 1;
            }
        }
        self.climbing.sort_unstable();
    }

    /// Applies the rule to the spikes held.
    fn depress(&mut self) {
        let rate = self.config.rate * self.rate_scale;
        let change = self.by_fibre.map(|n| rate * (REST - f32::from(n)));
        for granule in 0..self.held.len() {
            let spikes = f32::from(self.held[granule]);
            if spikes == 0.0 {
                continue;
            }
            let row = self.simulation.row_mut(Cell::Granule, Cell::Purkinje, granule as u32);
            for (w, change) in row.iter_mut().zip(&change) {
                *w = (*w + spikes * change).clamp(0.0, WEIGHT_MAX);
            }
        }
    }

    /// Moves the gain of both zones towards where their mean rate is held.
    fn scale(&mut self) {
        self.followed_hz += SCALING_FOLLOWS * (self.purkinje_hz - self.followed_hz);
        let apart = (PURKINJE_HZ - self.followed_hz) / PURKINJE_HZ;
        let gain = self.simulation.gain_mut(Cell::Granule, Cell::Purkinje);
        *gain = (*gain * (1.0 + SCALING_RATE * apart)).clamp(1.0 / GAIN_SPAN, GAIN_SPAN);
    }
}

/// Greatest weight of a parallel fibre, in initial weights.
const WEIGHT_MAX: f32 = 8.0;
/// Time constants of excitatory and inhibitory currents, ms.
const EXCITATORY_MS: f32 = 3.0;
const INHIBITORY_MS: f32 = 10.0;
/// Rate at which parallel fibres give their mean current, Hz.
const GRANULE_HZ: f32 = 3.0;

/// The network. Weights of parallel fibres are in units of the initial weight.
fn describe(config: &RegressorConfig) -> Description {
    use Cell::{Golgi, Granule, Mossy, Nuclear, Olive};
    let golgi = (config.granule_cells / 100).max(20);
    let fibres = config.features * config.fibres_per_feature;
    let input = |cell, count| Population {
        cell,
        count,
        cluster: 1,
        model: Model::Input,
        receptors: Vec::new(),
    };
    let lif = |cell, count, tau_m_ms, drive| Population {
        model: Model::Current(CurrentLif { tau_m_ms, refractory_ms: 2.0, reset: 0.0, drive }),
        receptors: [("excitatory", EXCITATORY_MS), ("inhibitory", INHIBITORY_MS)]
            .map(|(name, tau_ms)| Receptor {
                name: name.to_owned(),
                tau_ms,
                reversal_mv: 0.0,
                by_cluster: false,
            })
            .to_vec(),
        ..input(cell, count)
    };
    let drawn = |pre, post, receptor, sources: usize, of: usize, mean, delay_steps| Projection {
        pre,
        pre_range: None,
        post,
        onto: vec![Port { receptor, share: 1.0 }],
        pattern: Pattern::InDegree { sources: sources.min(of) },
        zones: 1,
        weight: Weight::Uniform { mean, jitter: 0.2 },
        delay_steps,
        plasticity: None,
    };
    Description {
        name: "regressor".to_owned(),
        source: "this project's benchmark network with two microzones".to_owned(),
        step_ms: 1.0,
        populations: vec![
            input(Mossy, fibres),
            lif(Granule, config.granule_cells, 8.0, 0.0),
            lif(Golgi, golgi, 20.0, 0.55),
            lif(Cell::Purkinje, PURKINJE, 15.0, 0.8),
            lif(Nuclear, 2 * NUCLEAR_PER_ZONE, 20.0, 2.0),
            input(Olive, PURKINJE),
        ],
        projections: vec![
            drawn(Mossy, Granule, 0, 4, fibres, 1.3, 0),
            drawn(Golgi, Granule, 1, 4, golgi, 1.1, 1),
            drawn(Granule, Golgi, 0, 200, config.granule_cells, 0.12, 1),
            drawn(Mossy, Golgi, 0, 20, fibres, 0.1, 0),
            parallel_fibres(config),
            output(),
        ],
    }
}

fn parallel_fibres(config: &RegressorConfig) -> Projection {
    let climbing = climbing(config.teaching, config.rate);
    let initial = 0.8 / (config.granule_cells as f32 * GRANULE_HZ * 1e-3 * EXCITATORY_MS);
    Projection {
        pre: Cell::Granule,
        pre_range: None,
        post: Cell::Purkinje,
        onto: vec![Port { receptor: 0, share: initial }],
        pattern: Pattern::AllToAll,
        zones: 1,
        weight: Weight::Constant { value: 1.0 },
        delay_steps: 1,
        plasticity: Some(Plasticity {
            w_min: 0.0,
            w_max: WEIGHT_MAX,
            potentiation: climbing
                .map(|c| Potentiation { amount: c.amount * at_rest(c.kernel), soft: false }),
            climbing,
            stdp: None,
        }),
    }
}

/// Each Purkinje cell inhibits half of the nuclear cells of its zone.
fn output() -> Projection {
    let sources = 0.5 * PURKINJE_PER_ZONE as f32;
    Projection {
        pre: Cell::Purkinje,
        pre_range: None,
        post: Cell::Nuclear,
        onto: vec![Port { receptor: 1, share: 1.0 }],
        pattern: Pattern::Probability { p: 0.5 },
        zones: 2,
        weight: Weight::Constant { value: 0.6 / (sources * PURKINJE_HZ * 1e-3 * INHIBITORY_MS) },
        delay_steps: 1,
        plasticity: None,
    }
}

/// The engine's rule for a way of teaching, such that a climbing-fibre spike takes on average
/// `rate` by spike of a parallel fibre in the sample that erred.
fn climbing(teaching: Teaching, rate: f32) -> Option<Climbing> {
    let Teaching::Late(kernel) = teaching else { return None };
    // Over all pairs of a step of one sample and a step of the next.
    let pairs = (1..2 * STEPS)
        .map(|age| (STEPS - age.abs_diff(STEPS)) as f32 * kernel.eligibility(age as f32));
    let mean = pairs.sum::<f32>() / (STEPS * STEPS) as f32;
    Some(Climbing { kernel, amount: rate / mean, proportional: false, block_steps: 0 })
}

/// Depressions, in units of the amount, that one parallel fibre spike earns of a climbing fibre at
/// rest.
fn at_rest(kernel: Kernel) -> f32 {
    let area_ms: f32 = (0..20 * STEPS).map(|age| kernel.eligibility(age as f32)).sum();
    CLIMBING_REST_HZ as f32 * 1e-3 * area_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small(teaching: Teaching) -> Regressor {
        let config = RegressorConfig {
            features: 1,
            granule_cells: 1_000,
            rate: 0.05,
            teaching,
            ..RegressorConfig::default()
        };
        Regressor::new(config).unwrap()
    }

    /// Mean weight of a zone over the granule cells that fired in the last sample, by spike.
    fn zone_means(net: &mut Regressor) -> [f32; 2] {
        let mut sums = [0.0; 2];
        let mut spikes = 0.0;
        for granule in 0..net.held.len() {
            let held = f32::from(net.held[granule]);
            let row = net.simulation.row_mut(Cell::Granule, Cell::Purkinje, granule as u32);
            for (sum, zone) in sums.iter_mut().zip(row.chunks(PURKINJE_PER_ZONE)) {
                *sum += held * zone.iter().sum::<f32>() / PURKINJE_PER_ZONE as f32;
            }
            spikes += held;
        }
        sums.map(|sum| sum / spikes)
    }

    #[test]
    fn an_error_depresses_the_zone_that_mends_it_and_the_output_follows() {
        for teaching in [Teaching::Held, Teaching::ONE_SAMPLE_LATE] {
            for sign in [1.0, -1.0] {
                let mut net = small(teaching);
                let mut first = 0.0;
                let mut last = 0.0;
                for sample in 0..40 {
                    last = net.present(&[0.4]);
                    if sample == 0 {
                        first = last;
                    }
                    net.teach(0.5 * sign);
                }
                let [up, down] = zone_means(&mut net);
                assert!(sign * (down - up) > 0.2, "{teaching:?} {sign}: {up} and {down}");
                assert!(sign * (last - first) > 0.3, "{teaching:?} {sign}: {first} to {last}");
            }
        }
    }

    #[test]
    fn without_an_error_neither_zone_gains_on_the_other_and_weights_stay_near_their_first() {
        for teaching in [Teaching::Held, Teaching::ONE_SAMPLE_LATE] {
            let mut net = small(teaching);
            net.set_rate_scale(0.2);
            for _ in 0..100 {
                net.present(&[0.4]);
                net.teach(0.0);
            }
            // A tenth is three deviations; without potentiation they would lose a quarter.
            let [up, down] = zone_means(&mut net);
            assert!((up - down).abs() < 0.15, "{teaching:?}: {up} and {down}");
            assert!((0.9..1.1).contains(&(0.5 * (up + down))), "{teaching:?}: {up} and {down}");
        }
    }

    #[test]
    fn with_learning_off_nothing_is_learned() {
        for teaching in [Teaching::Held, Teaching::ONE_SAMPLE_LATE] {
            let mut net = small(teaching);
            net.set_learning(false);
            for _ in 0..10 {
                net.present(&[0.4]);
                net.teach(0.5);
            }
            assert!(zone_means(&mut net).iter().all(|w| (w - 1.0).abs() < 1e-4));
        }
    }

    #[test]
    fn a_falling_rate_scales_what_either_rule_does() {
        for teaching in [Teaching::Held, Teaching::ONE_SAMPLE_LATE] {
            let depressed = |scale| {
                let mut net = small(teaching);
                net.set_rate_scale(scale);
                for _ in 0..5 {
                    net.present(&[0.4]);
                    net.teach(0.5);
                }
                1.0 - zone_means(&mut net)[0]
            };
            let ratio = depressed(0.1) / depressed(0.2);
            assert!((0.4..0.6).contains(&ratio), "{teaching:?}: {ratio}");
        }
    }

    #[test]
    fn equal_seeds_give_equal_outputs_and_others_do_not() {
        let run = |seed| {
            let config = RegressorConfig { seed, granule_cells: 500, ..RegressorConfig::default() };
            let mut net = Regressor::new(config).unwrap();
            (0..5)
                .map(|k| {
                    let output = net.present(&[0.2 * k as f32, 0.5, 0.1, 0.9]);
                    net.teach(0.5 - output);
                    output
                })
                .collect::<Vec<f32>>()
        };
        assert_eq!(run(4), run(4));
        assert_ne!(run(4), run(5));
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let refused = |config| Regressor::new(config).unwrap_err().to_string();
        let none = RegressorConfig { features: 0, ..RegressorConfig::default() };
        assert!(refused(none).starts_with("features is 0"), "{}", refused(none));
        let steep = RegressorConfig { rate: 9.0, ..RegressorConfig::default() };
        assert!(refused(steep).contains("plasticity.climbing.amount"), "{}", refused(steep));
    }
}
