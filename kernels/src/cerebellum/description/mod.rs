//! What a spiking network is made of: populations, projections, units and plasticity, as data.
//!
//! A [`Description`] says everything that shapes a network except the seed; `Network` compiles one.
//! It is plain data: parameter files hold it, [`Description::validate`] checks it and its `Display`
//! is the table an operator reads.
//!
//! Units: ms, mV, pA, pF, nS, Hz. Current-based cells are normalised instead: rest 0, threshold 1,
//! currents and weights in thresholds. Invariants: a population is named by its cell type, which
//! occurs once; a projection names both of its ends, and only the first of a pair may be plastic;
//! nothing here is derived from anything else.

mod file;
pub mod presets;
mod size;
mod table;
mod validate;

use std::ops::Range;

use serde::{Deserialize, Serialize};

pub use file::FileError;
pub use presets::{NAMES, preset};
pub use size::Extent;
pub(in crate::cerebellum) use table::Columns;
pub use validate::{DescriptionError, GRANULE_MAX, Place};

/// The cell types of the cerebellar circuit: the name of a population.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cell {
    /// Mossy fibre: the input.
    Mossy,
    /// Granule cell, whose axon is a parallel fibre.
    Granule,
    /// Golgi cell.
    Golgi,
    /// Purkinje cell.
    Purkinje,
    /// Basket cell (molecular-layer interneuron near the Purkinje somata).
    Basket,
    /// Stellate cell (molecular-layer interneuron further out).
    Stellate,
    /// Projecting neuron of the deep nuclei (or of the vestibular nucleus): the output.
    Nuclear,
    /// Nucleo-olivary neuron of the deep nuclei.
    NucleoOlivary,
    /// Neuron of the inferior olive, whose axon is a climbing fibre.
    Olive,
    /// Input to the olive: what reports an error or an unconditioned stimulus.
    PreOlive,
}

/// A whole network but for its seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// Name of the parameter set.
    pub name: String,
    /// Where the numbers come from.
    pub source: String,
    /// Length of a step, ms.
    pub step_ms: f32,
    /// Populations, in the order in which a step advances them.
    pub populations: Vec<Population>,
    /// Projections, in the order in which a step delivers their spikes.
    pub projections: Vec<Projection>,
}

/// Cells of one type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Population {
    /// Their type, and the population's name.
    pub cell: Cell,
    /// How many.
    pub count: usize,
    /// Cells in a row that form a spatial cluster (for granule cells a glomerular neighbourhood, for
    /// others 1). The last cluster may be short.
    #[serde(default = "one")]
    pub cluster: usize,
    /// Their dynamics.
    pub model: Model,
    /// Where spikes arrive, in an order that projections refer to. Empty for inputs.
    #[serde(default)]
    pub receptors: Vec<Receptor>,
}

const fn one() -> usize {
    1
}

/// The dynamics of a population.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Model {
    /// Spikes are given from outside.
    Input,
    /// Leaky integrate-and-fire with exponential currents, by its exact propagator.
    Current(CurrentLif),
    /// Leaky integrate-and-fire with exponential conductances and an after-hyperpolarisation.
    Conductance(ConductanceLif),
    /// Adaptive exponential integrate-and-fire, sub-stepped.
    AdEx(AdEx),
}

/// tau_m dV/dt = -V + I_exc - I_inh + drive, dI/dt = -I / tau; V ≥ 1 fires, V = `reset`, and V holds
/// there for `refractory_ms`. Exact integration after Rotter and Diesmann (Biol. Cybern. 81, 1999).
/// Takes two receptors: excitatory, then inhibitory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CurrentLif {
    /// Membrane time constant, ms.
    pub tau_m_ms: f32,
    /// Refractory period, ms; rounded to steps.
    pub refractory_ms: f32,
    /// Potential after a spike, thresholds.
    pub reset: f32,
    /// Constant current, thresholds.
    pub drive: f32,
}

/// C dV/dt = -g_L (V - E_L) - Σ g_r (V - E_r) - g_ahp a (V - E_ahp) + I. Within a step every
/// conductance is held, so V relaxes exactly: V' = V∞ + (V - V∞) exp(-G dt / C).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConductanceLif {
    /// Capacitance, pF.
    pub c_pf: f32,
    /// Leak conductance, nS.
    pub leak_ns: f32,
    /// Leak reversal, mV.
    pub leak_mv: f32,
    /// Threshold, mV.
    pub threshold_mv: f32,
    /// Potential after a spike, mV; none leaves V to the after-hyperpolarisation.
    pub reset_mv: Option<f32>,
    /// Refractory period, ms; rounded to steps.
    pub refractory_ms: f32,
    /// Endogenous current, pA.
    pub current_pa: f32,
    /// Standard deviation of the current's white noise by step, pA.
    #[serde(default)]
    pub noise_pa: f32,
    /// After-hyperpolarisation.
    pub ahp: Option<AfterHyperpolarisation>,
}

/// A conductance of `g_ns` · a, where a is set to 1 by a spike and decays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfterHyperpolarisation {
    /// Peak conductance, nS.
    pub g_ns: f32,
    /// Reversal, mV.
    pub reversal_mv: f32,
    /// Decay, ms.
    pub tau_ms: f32,
}

/// C dV/dt = -g_L (V - E_L) + g_L Δ exp((V - V_T) / Δ) - w + I + synapses; tau_w dw/dt = a (V - E_L)
/// - w; V > V_T + 5 Δ fires: V = V_r, w += b (Brette and Gerstner, J. Neurophysiol. 94, 2005).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdEx {
    /// Capacitance, pF.
    pub c_pf: f32,
    /// Leak conductance, nS.
    pub leak_ns: f32,
    /// Leak reversal, mV.
    pub leak_mv: f32,
    /// Soft threshold V_T, mV.
    pub threshold_mv: f32,
    /// Slope factor Δ, mV.
    pub slope_mv: f32,
    /// Adaptation time constant, ms.
    pub tau_w_ms: f32,
    /// Sub-threshold adaptation a, nS.
    pub a_ns: f32,
    /// Spike-triggered adaptation b, pA.
    pub b_pa: f32,
    /// Potential after a spike, mV.
    pub reset_mv: f32,
    /// Refractory period, ms; rounded to steps.
    pub refractory_ms: f32,
    /// Endogenous current, pA.
    pub current_pa: f32,
    /// Standard deviation of the current's white noise by step, pA.
    #[serde(default)]
    pub noise_pa: f32,
    /// Sub-steps a step: 4 to 64.
    pub substeps: u32,
}

/// An exponentially decaying current or conductance that spikes add to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Receptor {
    /// What it is called: AMPA, NMDA, GABA.
    pub name: String,
    /// Decay, ms.
    pub tau_ms: f32,
    /// Reversal potential, mV; unused by current-based cells, whose first receptor excites and
    /// second inhibits.
    #[serde(default)]
    pub reversal_mv: f32,
    /// Whether the cells of a cluster share one: then projections on it address clusters.
    #[serde(default)]
    pub by_cluster: bool,
}

/// Synapses of one population on another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    /// Presynaptic population.
    pub pre: Cell,
    /// The cells of it that take part, `start..end`; none for all. Not with [`Pattern::Neighbours`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_range: Option<Range<usize>>,
    /// Postsynaptic population.
    pub post: Cell,
    /// The receptors that a spike reaches, each with the share of the weight it receives.
    pub onto: Vec<Port>,
    /// Who reaches whom.
    pub pattern: Pattern,
    /// Equal parts of both populations between which nothing crosses: microzones. 1 for none.
    #[serde(default = "one")]
    pub zones: usize,
    /// Initial weights: nS or thresholds.
    pub weight: Weight,
    /// Steps from the step in which the spike is fired to the one whose end it arrives at: 0 to
    /// 255. A spike is felt in the step after it arrives.
    pub delay_steps: usize,
    /// How the weights change; none for fixed ones.
    #[serde(default)]
    pub plasticity: Option<Plasticity>,
}

/// One receptor of a projection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Index into the postsynaptic population's receptors.
    pub receptor: usize,
    /// The receptor receives weight × share.
    pub share: f32,
}

/// Who reaches whom. Ends are cells, or clusters where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Pattern {
    /// Every cell reaches every cell.
    AllToAll,
    /// Both ends cut into as many equal parts as the smaller has cells; each part reaches its
    /// counterpart.
    OneToOne,
    /// Every target draws this many different sources (convergence).
    InDegree {
        /// Sources a target.
        sources: usize,
    },
    /// Every source draws this many different targets (divergence).
    OutDegree {
        /// Targets a source.
        targets: usize,
    },
    /// Every pair is connected with this probability.
    Probability {
        /// Probability of a connection.
        p: f32,
    },
    /// Clusters of both ends lie on the same square torus; a source cluster reaches the target
    /// clusters in a square around it, each with a probability. A population whose cluster is 1 has
    /// a cell at each place.
    Neighbours {
        /// Least offset in clusters along either axis.
        from: i32,
        /// Greatest offset in clusters along either axis.
        to: i32,
        /// Probability of each connection.
        p: f32,
        /// Every connection is a glomerulus which this many clusters along either axis read: the
        /// one it lies at and those before it. Above 1, two glomeruli of a source may reach the
        /// same target: it is then listed twice.
        #[serde(default = "one")]
        spread: usize,
    },
    /// Parallel-fibre stripes (beams): source cells lie in `columns` equal columns on a ring, and
    /// target t sits at column t · columns / targets and is reached by the columns within `reach`.
    Stripes {
        /// Columns of the ring.
        columns: usize,
        /// Columns on either side that reach a target.
        reach: usize,
    },
}

/// Initial weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Weight {
    /// All alike.
    Constant {
        /// The weight.
        value: f32,
    },
    /// Uniform in mean × (1 ± jitter).
    Uniform {
        /// The mean.
        mean: f32,
        /// Relative half-width, 0 to 1.
        jitter: f32,
    },
}

/// How the weights of a projection change. Every rule may be absent; those present add up, and
/// weights are held between the bounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plasticity {
    /// Least weight.
    pub w_min: f32,
    /// Greatest weight.
    pub w_max: f32,
    /// Non-associative change at every presynaptic spike.
    #[serde(default)]
    pub potentiation: Option<Potentiation>,
    /// Depression gated by climbing fibres.
    #[serde(default)]
    pub climbing: Option<Climbing>,
    /// Pair-based spike-timing dependence.
    #[serde(default)]
    pub stdp: Option<PairStdp>,
}

/// w += amount at every presynaptic spike; soft: w += amount · (1 - w / w_max).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Potentiation {
    /// Change by a spike, in the weight's unit.
    pub amount: f32,
    /// Whether it falls to nothing at the upper bound.
    #[serde(default)]
    pub soft: bool,
}

/// At a climbing-fibre spike: w -= amount · e, or, if proportional, w *= (1 - amount)^e, where e is
/// the presynaptic spikes weighed by the kernel of their age.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Climbing {
    /// Eligibility by the age of a presynaptic spike.
    pub kernel: Kernel,
    /// Depression by one climbing-fibre spike at e = 1.
    pub amount: f32,
    /// Whether `amount` is a share of the weight. Only with [`Kernel::Window`].
    #[serde(default)]
    pub proportional: bool,
    /// Steps after which a depression takes effect together with the others of its block; 0 for at
    /// once. Yamazaki and Nagao (2012) apply it at the end of a 2 s cycle. Only with
    /// [`Kernel::Window`].
    #[serde(default)]
    pub block_steps: usize,
}

/// Eligibility of a synapse as a function of the time since its presynaptic spike.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Kernel {
    /// exp(-s / tau).
    Exponential {
        /// Decay, ms.
        tau_ms: f32,
    },
    /// (exp(-s / slow) - exp(-s / fast)) scaled to a peak of 1, which lies at
    /// ln(slow / fast) · slow · fast / (slow - fast).
    Difference {
        /// The longer time constant, ms.
        slow_ms: f32,
        /// The shorter time constant, ms.
        fast_ms: f32,
    },
    /// 1 up to this age, then 0.
    Window {
        /// Length, ms.
        length_ms: f32,
    },
}

/// Pair STDP with all-to-all traces: a postsynaptic spike adds `a_plus` · x, a presynaptic one takes
/// `a_minus` · y off, where x and y are the exponential traces of the other side's earlier spikes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairStdp {
    /// Decay of the presynaptic trace, ms.
    pub tau_pre_ms: f32,
    /// Decay of the postsynaptic trace, ms.
    pub tau_post_ms: f32,
    /// Potentiation by a pair, in the weight's unit.
    pub a_plus: f32,
    /// Depression by a pair, in the weight's unit.
    pub a_minus: f32,
}

impl Kernel {
    /// What makes the peak of exp(-s / slow) - exp(-s / fast) one.
    pub(crate) fn difference_scale(slow_ms: f32, fast_ms: f32) -> f32 {
        let (slow, fast) = (slow_ms as f64, fast_ms as f64);
        let peak = (slow / fast).ln() * slow * fast / (slow - fast);
        (1.0 / ((-peak / slow).exp() - (-peak / fast).exp())) as f32
    }

    /// The eligibility that a spike of this age, ms, leaves; 0 of one to come.
    pub fn eligibility(self, age_ms: f32) -> f32 {
        if age_ms < 0.0 {
            return 0.0;
        }
        match self {
            Self::Exponential { tau_ms } => (-age_ms / tau_ms).exp(),
            Self::Difference { slow_ms, fast_ms } => {
                let difference = (-age_ms / slow_ms).exp() - (-age_ms / fast_ms).exp();
                Self::difference_scale(slow_ms, fast_ms) * difference
            }
            Self::Window { length_ms } => f32::from(u8::from(age_ms < length_ms)),
        }
    }
}

impl Description {
    /// The population of this type.
    pub fn population(&self, cell: Cell) -> Option<&Population> {
        self.populations.iter().find(|p| p.cell == cell)
    }
}

impl Population {
    /// Number of clusters.
    pub const fn clusters(&self) -> usize {
        self.count.div_ceil(self.cluster)
    }
}

#[cfg(test)]
mod tests {
    use super::Kernel;

    #[test]
    fn kernels_peak_at_one_where_they_say_and_owe_nothing_to_spikes_to_come() {
        let difference = Kernel::Difference { slow_ms: 120.0, fast_ms: 80.0 };
        // ln(1.5) · 120 · 80 / 40.
        for (kernel, peak_ms) in [
            (Kernel::Exponential { tau_ms: 50.0 }, 0.0),
            (difference, 97.3),
            (Kernel::Window { length_ms: 50.0 }, 20.0),
        ] {
            assert!((kernel.eligibility(peak_ms) - 1.0).abs() < 1e-5, "{kernel:?}");
            assert!((0..1000).all(|age| kernel.eligibility(age as f32) <= 1.000_01), "{kernel:?}");
            assert_eq!(kernel.eligibility(-1.0), 0.0);
        }
        assert_eq!(difference.eligibility(0.0), 0.0);
        assert_eq!(Kernel::Window { length_ms: 50.0 }.eligibility(50.0), 0.0);
        assert!((Kernel::Exponential { tau_ms: 50.0 }.eligibility(50.0) - 0.367_88).abs() < 1e-4);
    }
}
