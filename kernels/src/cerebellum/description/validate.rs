//! What makes a description a network that can be built: the only gate before one is compiled.
//!
//! Invariants: the first fault found is reported with its place, key, value and what was expected;
//! a description that passes can be connected and simulated without a panic or an allocation beyond
//! the stated bounds.

use std::fmt;

use thiserror::Error;

use super::size::Extent;
use super::{
    AdEx, AfterHyperpolarisation, Cell, Climbing, ConductanceLif, CurrentLif, Description, Kernel,
    Model, Pattern, Plasticity, Population, Projection, Receptor, Weight,
};
use crate::cerebellum::connect::{addresses_clusters, part};

/// Largest number of granule cells and of mossy fibres.
pub const GRANULE_MAX: usize = 4_000_000;
/// Mossy fibres beyond one for each granule cell, where these are private.
const MOSSY_MAX: usize = GRANULE_MAX + 100_000;
/// Largest number of cells of any other type.
const CELLS_MAX: usize = 1_000_000;
/// Largest number of plastic synapses of a network.
const PLASTIC_MAX: f64 = 2_147_483_648.0;
/// Receptors a population.
const RECEPTORS_MAX: usize = 8;
/// Largest delay, steps.
const DELAY_STEPS_MAX: usize = 255;

/// Largest time constant, ms.
const TAU_MS_MAX: f32 = 100_000.0;
/// Shortest time constant, steps.
const TAU_STEPS_MIN: f32 = 0.1;

/// A part of a description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The network itself.
    Network,
    /// A population.
    Population(Cell),
    /// The projection from one population to another.
    Projection(Cell, Cell),
}

/// What a description must not be.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{place}: {key} is {value}, expected {expected}")]
pub struct DescriptionError {
    /// Where.
    pub place: Place,
    /// The key, as a path within the place: `model.tau_m_ms`, `receptors[1].tau_ms`.
    pub key: String,
    /// Its value.
    pub value: String,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for Cell {
    /// The name that parameter files use.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mossy => "mossy",
            Self::Granule => "granule",
            Self::Golgi => "golgi",
            Self::Purkinje => "purkinje",
            Self::Basket => "basket",
            Self::Stellate => "stellate",
            Self::Nuclear => "nuclear",
            Self::NucleoOlivary => "nucleo-olivary",
            Self::Olive => "olive",
            Self::PreOlive => "pre-olive",
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network => f.write_str("network"),
            Self::Population(cell) => write!(f, "population {cell}"),
            Self::Projection(pre, post) => write!(f, "projection {pre} to {post}"),
        }
    }
}

impl Description {
    /// Checks that a network can be built from this.
    ///
    /// # Errors
    /// The first fault: a value out of its range, a population or receptor that does not exist, a
    /// fan-in that cannot be had, a rule that lacks what it needs, or too many synapses.
    pub fn validate(&self) -> Result<(), DescriptionError> {
        let at = At(Place::Network);
        at.range("step_ms", self.step_ms, 0.01, 2.0)?;
        at.require(!self.name.is_empty(), "name", "empty", "a name")?;
        at.require(!self.populations.is_empty(), "populations", "empty", "at least one")?;
        for (k, population) in self.populations.iter().enumerate() {
            let at = At(Place::Population(population.cell));
            let twice = self.populations[..k].iter().any(|p| p.cell == population.cell);
            at.require(!twice, "cell", population.cell, "each cell type once")?;
            population.validate(&at, self.step_ms)?;
        }
        let mut plastic = 0.0;
        for (k, projection) in self.projections.iter().enumerate() {
            let (pre, post) = (projection.pre, projection.post);
            let at = At(Place::Projection(pre, post));
            // Weights are asked for by the pair, which stands for the first of its projections.
            let first = !self.projections[..k].iter().any(|p| (p.pre, p.post) == (pre, post));
            at.require(
                first || projection.plasticity.is_none(),
                "plasticity",
                "given",
                "none but on the first projection of a pair of populations",
            )?;
            let extent = self.validate_projection(&at, projection)?;
            if projection.plasticity.is_some() {
                plastic += extent.edges;
                at.require(
                    plastic <= PLASTIC_MAX,
                    "plasticity",
                    format_args!("on {plastic:.0} synapses with those before it"),
                    format_args!("at most {PLASTIC_MAX:.0}"),
                )?;
            }
        }
        Ok(())
    }

    fn validate_projection(
        &self,
        at: &At,
        projection: &Projection,
    ) -> Result<Extent, DescriptionError> {
        let find = |key, cell| {
            self.population(cell).ok_or_else(|| at.fault(key, cell, "a population described here"))
        };
        let pre = find("pre", projection.pre)?;
        let post = find("post", projection.post)?;
        projection.validate_ports(at, post)?;
        at.count("delay_steps", projection.delay_steps, 0, DELAY_STEPS_MAX)?;
        projection.validate_pattern(at, pre, post)?;
        projection.weight.validate(at)?;
        let extent = Extent::new(projection, pre, post);
        // Six deviations: drawn patterns exceed their mean.
        let most = extent.edges + 6.0 * extent.edges.sqrt();
        at.require(
            extent.dense || most < f64::from(u32::MAX),
            "pattern",
            format_args!("{:.0} connections", extent.edges),
            format_args!("fewer than {}", u32::MAX),
        )?;
        if let Some(plasticity) = &projection.plasticity {
            let shared = addresses_clusters(projection, post)
                || matches!(projection.pattern, Pattern::Neighbours { .. }) && pre.cluster > 1;
            at.require(
                !shared,
                "plasticity",
                "given",
                "none where the cells of a cluster share a weight",
            )?;
            plasticity.validate(at, projection.weight, self.step_ms)?;
            if plasticity.climbing.is_some() {
                let key = "plasticity.climbing";
                at.require(post.cell == Cell::Purkinje, key, "given", "a purkinje target")?;
                let olive = self.population(Cell::Olive).is_some();
                at.require(olive, key, "given", "an olive population that it is gated by")?;
            }
        }
        Ok(extent)
    }
}

impl Population {
    fn validate(&self, at: &At, step_ms: f32) -> Result<(), DescriptionError> {
        let most = match self.cell {
            Cell::Granule => GRANULE_MAX,
            Cell::Mossy => MOSSY_MAX,
            _ => CELLS_MAX,
        };
        at.count("count", self.count, 1, most)?;
        at.count("cluster", self.cluster, 1, self.count)?;
        let receptors = self.receptors.len();
        match &self.model {
            Model::Input => {
                at.require(receptors == 0, "receptors", receptors, "none, as cells are inputs")?;
            }
            Model::Current(m) => {
                m.validate(at, step_ms)?;
                at.require(
                    receptors == 2,
                    "receptors",
                    format_args!("{receptors} long"),
                    "two for current-based cells: excitatory, then inhibitory",
                )?;
            }
            Model::Conductance(m) => m.validate(at, step_ms)?,
            Model::AdEx(m) => m.validate(at, step_ms)?,
        }
        at.count("number of receptors", receptors, 0, RECEPTORS_MAX)?;
        for (k, receptor) in self.receptors.iter().enumerate() {
            receptor.validate(at, &format!("receptors[{k}]"), step_ms)?;
        }
        Ok(())
    }
}

impl Receptor {
    fn validate(&self, at: &At, key: &str, step_ms: f32) -> Result<(), DescriptionError> {
        at.require(!self.name.is_empty(), &format!("{key}.name"), "empty", "a name")?;
        at.tau(&format!("{key}.tau_ms"), self.tau_ms, step_ms)?;
        at.potential(&format!("{key}.reversal_mv"), self.reversal_mv)
    }
}

impl CurrentLif {
    fn validate(&self, at: &At, step_ms: f32) -> Result<(), DescriptionError> {
        at.tau("model.tau_m_ms", self.tau_m_ms, step_ms)?;
        at.refractory(self.refractory_ms, step_ms)?;
        at.range("model.reset", self.reset, -100.0, 1.0)?;
        at.require(self.reset < 1.0, "model.reset", self.reset, "less than the threshold, 1")?;
        at.range("model.drive", self.drive, -1000.0, 1000.0)
    }
}

impl ConductanceLif {
    fn validate(&self, at: &At, step_ms: f32) -> Result<(), DescriptionError> {
        at.membrane(self.c_pf, self.leak_ns, self.leak_mv)?;
        at.potential("model.threshold_mv", self.threshold_mv)?;
        if let Some(reset) = self.reset_mv {
            at.below_threshold(reset, self.threshold_mv)?;
        }
        at.refractory(self.refractory_ms, step_ms)?;
        at.current(self.current_pa, self.noise_pa)?;
        self.ahp.map_or(Ok(()), |ahp| ahp.validate(at, step_ms))
    }
}

impl AfterHyperpolarisation {
    fn validate(&self, at: &At, step_ms: f32) -> Result<(), DescriptionError> {
        at.range("model.ahp.g_ns", self.g_ns, 0.0, 100_000.0)?;
        at.potential("model.ahp.reversal_mv", self.reversal_mv)?;
        at.tau("model.ahp.tau_ms", self.tau_ms, step_ms)
    }
}

impl AdEx {
    fn validate(&self, at: &At, step_ms: f32) -> Result<(), DescriptionError> {
        at.membrane(self.c_pf, self.leak_ns, self.leak_mv)?;
        at.potential("model.threshold_mv", self.threshold_mv)?;
        at.range("model.slope_mv", self.slope_mv, 0.1, 20.0)?;
        at.tau("model.tau_w_ms", self.tau_w_ms, step_ms)?;
        at.range("model.a_ns", self.a_ns, -1000.0, 1000.0)?;
        at.range("model.b_pa", self.b_pa, 0.0, 100_000.0)?;
        at.below_threshold(self.reset_mv, self.threshold_mv + 5.0 * self.slope_mv)?;
        at.refractory(self.refractory_ms, step_ms)?;
        at.current(self.current_pa, self.noise_pa)?;
        at.count("model.substeps", self.substeps as usize, 4, 64)
    }
}

impl Projection {
    fn validate_ports(&self, at: &At, post: &Population) -> Result<(), DescriptionError> {
        let input = matches!(post.model, Model::Input);
        at.require(!input, "post", post.cell, "a population that is no input")?;
        at.require(!self.onto.is_empty(), "onto", "empty", "at least one receptor")?;
        for (k, port) in self.onto.iter().enumerate() {
            let key = format!("onto[{k}].receptor");
            at.require(
                port.receptor < post.receptors.len(),
                &key,
                port.receptor,
                format_args!("one of the {} receptors of {}", post.receptors.len(), post.cell),
            )?;
            let twice = self.onto[..k].iter().any(|p| p.receptor == port.receptor);
            at.require(!twice, &key, port.receptor, "each receptor once")?;
            let shared = |receptor: usize| post.receptors[receptor].by_cluster;
            at.require(
                shared(port.receptor) == shared(self.onto[0].receptor),
                &key,
                port.receptor,
                "receptors that are all by cluster or all by cell",
            )?;
            let key = format!("onto[{k}].share");
            at.range(&key, port.share, 0.0, 1.0)?;
            at.require(port.share > 0.0, &key, port.share, "more than 0")?;
        }
        Ok(())
    }

    fn validate_pattern(
        &self,
        at: &At,
        pre: &Population,
        post: &Population,
    ) -> Result<(), DescriptionError> {
        let by_cluster = addresses_clusters(self, post);
        let targets = if by_cluster { post.clusters() } else { post.count };
        let mut sources = pre.count;
        if let Some(range) = &self.pre_range {
            at.require(
                range.start < range.end && range.end <= pre.count,
                "pre_range",
                format_args!("{}..{}", range.start, range.end),
                format_args!("cells of 0..{}, at least one", pre.count),
            )?;
            sources = range.len();
        }
        at.count("zones", self.zones, 1, sources.min(targets))?;
        // The first zone is the smallest: the last takes what is left over.
        let least_sources = part(sources, self.zones, 0).len();
        let least_targets = part(targets, self.zones, 0).len();
        let itself = usize::from(pre.cell == post.cell && !by_cluster);
        match self.pattern {
            Pattern::AllToAll => Ok(()),
            Pattern::OneToOne => {
                for z in 0..self.zones {
                    let (s, t) =
                        (part(sources, self.zones, z).len(), part(targets, self.zones, z).len());
                    at.require(
                        s.max(t).is_multiple_of(s.min(t)),
                        "pattern",
                        format_args!("one-to-one of {s} and {t}"),
                        "the larger end a multiple of the smaller",
                    )?;
                }
                Ok(())
            }
            Pattern::InDegree { sources } => {
                at.count("pattern.sources", sources, 1, least_sources - itself)
            }
            Pattern::OutDegree { targets } => {
                at.count("pattern.targets", targets, 1, least_targets - itself)
            }
            Pattern::Probability { p } => at.probability("pattern.p", p),
            Pattern::Stripes { columns, reach } => {
                at.count("pattern.columns", columns, 1, least_sources)?;
                at.count("pattern.reach", reach, 0, (columns - 1) / 2)
            }
            Pattern::Neighbours { from, to, p, spread } => {
                self.validate_lattice(at, pre, post)?;
                let side = pre.clusters().isqrt();
                at.probability("pattern.p", p)?;
                at.count("pattern.spread", spread, 1, side)?;
                let span = i64::from(to) - i64::from(from) + spread as i64;
                at.require(
                    from <= to && span <= side as i64,
                    "pattern.to",
                    to,
                    format_args!("{from} or more, and with spread at most {side} places apart"),
                )
            }
        }
    }

    fn validate_lattice(
        &self,
        at: &At,
        pre: &Population,
        post: &Population,
    ) -> Result<(), DescriptionError> {
        let (a, b) = (pre.clusters(), post.clusters());
        at.require(
            a == b && a.isqrt() * a.isqrt() == a,
            "pattern",
            format_args!("neighbours of {a} and {b} clusters"),
            "as many clusters at both ends, and a square number",
        )?;
        at.require(self.zones == 1, "zones", self.zones, "1 with neighbours")?;
        at.require(self.pre_range.is_none(), "pre_range", "given", "none with neighbours")
    }
}

impl Weight {
    /// Least and greatest initial weight.
    fn bounds(self) -> (f32, f32) {
        match self {
            Self::Constant { value } => (value, value),
            Self::Uniform { mean, jitter } => (mean * (1.0 - jitter), mean * (1.0 + jitter)),
        }
    }

    fn validate(self, at: &At) -> Result<(), DescriptionError> {
        match self {
            Self::Constant { value } => at.range("weight.value", value, 0.0, 1e6),
            Self::Uniform { mean, jitter } => {
                at.range("weight.mean", mean, 0.0, 1e6)?;
                at.range("weight.jitter", jitter, 0.0, 1.0)
            }
        }
    }
}

impl Plasticity {
    fn validate(&self, at: &At, initial: Weight, step_ms: f32) -> Result<(), DescriptionError> {
        at.range("plasticity.w_min", self.w_min, 0.0, 1e6)?;
        at.range("plasticity.w_max", self.w_max, self.w_min, 1e6)?;
        at.require(
            self.w_max > self.w_min,
            "plasticity.w_max",
            self.w_max,
            format_args!("more than w_min, {}", self.w_min),
        )?;
        let (low, high) = initial.bounds();
        // The bounds of a jittered weight are themselves rounded.
        let slack = 1e-5 * self.w_max;
        at.require(
            low >= self.w_min - slack && high <= self.w_max + slack,
            "weight",
            format_args!("{low} to {high}"),
            format_args!("within the plastic bounds, {} to {}", self.w_min, self.w_max),
        )?;
        if let Some(rule) = &self.potentiation {
            at.range("plasticity.potentiation.amount", rule.amount, 0.0, self.w_max)?;
        }
        if let Some(rule) = &self.climbing {
            rule.validate(at, self.w_max, step_ms)?;
        }
        if let Some(rule) = &self.stdp {
            at.tau("plasticity.stdp.tau_pre_ms", rule.tau_pre_ms, step_ms)?;
            at.tau("plasticity.stdp.tau_post_ms", rule.tau_post_ms, step_ms)?;
            at.range("plasticity.stdp.a_plus", rule.a_plus, 0.0, self.w_max)?;
            at.range("plasticity.stdp.a_minus", rule.a_minus, 0.0, self.w_max)?;
        }
        Ok(())
    }
}

impl Climbing {
    fn validate(&self, at: &At, w_max: f32, step_ms: f32) -> Result<(), DescriptionError> {
        match self.kernel {
            Kernel::Exponential { tau_ms } => {
                at.tau("plasticity.climbing.kernel.tau_ms", tau_ms, step_ms)?;
            }
            Kernel::Difference { slow_ms, fast_ms } => {
                at.tau("plasticity.climbing.kernel.fast_ms", fast_ms, step_ms)?;
                at.tau("plasticity.climbing.kernel.slow_ms", slow_ms, step_ms)?;
                at.require(
                    slow_ms > 1.001 * fast_ms,
                    "plasticity.climbing.kernel.slow_ms",
                    slow_ms,
                    format_args!("more than fast_ms, {fast_ms}, by a thousandth at least"),
                )?;
            }
            Kernel::Window { length_ms } => {
                at.range("plasticity.climbing.kernel.length_ms", length_ms, step_ms, 10_000.0)?;
            }
        }
        let window = matches!(self.kernel, Kernel::Window { .. });
        let most = if self.proportional { 1.0 } else { w_max };
        at.range("plasticity.climbing.amount", self.amount, 0.0, most)?;
        at.require(
            !self.proportional || self.amount < 1.0,
            "plasticity.climbing.amount",
            self.amount,
            "a share below 1",
        )?;
        at.require(
            window || !self.proportional,
            "plasticity.climbing.proportional",
            self.proportional,
            "false unless the kernel is a window",
        )?;
        at.require(
            window || self.block_steps == 0,
            "plasticity.climbing.block_steps",
            self.block_steps,
            "0 unless the kernel is a window",
        )?;
        at.count("plasticity.climbing.block_steps", self.block_steps, 0, 1_000_000)
    }
}

/// Checks of one place.
struct At(Place);

impl At {
    fn fault(
        &self,
        key: &str,
        value: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> DescriptionError {
        DescriptionError {
            place: self.0,
            key: key.to_owned(),
            value: value.to_string(),
            expected: expected.to_string(),
        }
    }

    fn require(
        &self,
        holds: bool,
        key: &str,
        value: impl fmt::Display,
        expected: impl fmt::Display,
    ) -> Result<(), DescriptionError> {
        if holds { Ok(()) } else { Err(self.fault(key, value, expected)) }
    }

    /// Not a number lies in no range.
    fn range(&self, key: &str, value: f32, low: f32, high: f32) -> Result<(), DescriptionError> {
        self.require((low..=high).contains(&value), key, value, format_args!("{low} to {high}"))
    }

    fn count(
        &self,
        key: &str,
        value: usize,
        low: usize,
        high: usize,
    ) -> Result<(), DescriptionError> {
        self.require((low..=high).contains(&value), key, value, format_args!("{low} to {high}"))
    }

    fn tau(&self, key: &str, tau_ms: f32, step_ms: f32) -> Result<(), DescriptionError> {
        self.range(key, tau_ms, TAU_STEPS_MIN * step_ms, TAU_MS_MAX)
    }

    fn potential(&self, key: &str, mv: f32) -> Result<(), DescriptionError> {
        self.range(key, mv, -200.0, 200.0)
    }

    fn probability(&self, key: &str, p: f32) -> Result<(), DescriptionError> {
        self.require(p > 0.0 && p <= 1.0, key, p, "more than 0 and at most 1")
    }

    fn refractory(&self, ms: f32, step_ms: f32) -> Result<(), DescriptionError> {
        self.range("model.refractory_ms", ms, 0.0, 255.0 * step_ms)
    }

    fn membrane(&self, c_pf: f32, leak_ns: f32, leak_mv: f32) -> Result<(), DescriptionError> {
        self.range("model.c_pf", c_pf, 0.01, 100_000.0)?;
        self.range("model.leak_ns", leak_ns, 1e-4, 10_000.0)?;
        self.potential("model.leak_mv", leak_mv)
    }

    fn below_threshold(&self, reset_mv: f32, threshold_mv: f32) -> Result<(), DescriptionError> {
        self.potential("model.reset_mv", reset_mv)?;
        self.require(
            reset_mv < threshold_mv,
            "model.reset_mv",
            reset_mv,
            format_args!("below the threshold, {threshold_mv}"),
        )
    }

    fn current(&self, current_pa: f32, noise_pa: f32) -> Result<(), DescriptionError> {
        self.range("model.current_pa", current_pa, -100_000.0, 100_000.0)?;
        self.range("model.noise_pa", noise_pa, 0.0, 100_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Potentiation;
    use super::super::presets::{NAMES, preset};
    use super::*;

    fn okr() -> Description {
        preset("okr-2012").unwrap()
    }

    fn population(network: &mut Description, cell: Cell) -> &mut Population {
        network.populations.iter_mut().find(|p| p.cell == cell).unwrap()
    }

    fn projection(network: &mut Description, pre: Cell, post: Cell) -> &mut Projection {
        network.projections.iter_mut().find(|p| (p.pre, p.post) == (pre, post)).unwrap()
    }

    fn conductance(network: &mut Description, cell: Cell) -> &mut ConductanceLif {
        match &mut population(network, cell).model {
            Model::Conductance(m) => m,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_preset_is_valid() {
        for name in NAMES {
            assert_eq!(preset(name).unwrap().validate(), Ok(()), "{name}");
        }
    }

    #[test]
    fn a_fault_is_reported_with_its_place_key_value_and_what_was_expected() {
        let mut network = okr();
        conductance(&mut network, Cell::Golgi).c_pf = -1.0;
        assert_eq!(
            network.validate().unwrap_err().to_string(),
            "population golgi: model.c_pf is -1, expected 0.01 to 100000"
        );
    }

    /// Each change, with the place and key that must be named.
    #[test]
    fn every_fault_is_found() {
        use Cell::{Basket, Golgi, Granule, Mossy, Nuclear, Olive, Purkinje};
        type Change = fn(&mut Description);
        let cases: Vec<(Change, &str)> = vec![
            (|n| n.step_ms = f32::NAN, "network: step_ms"),
            (|n| n.populations.clear(), "network: populations"),
            (|n| n.populations.push(n.populations[0].clone()), "population mossy: cell"),
            (|n| population(n, Granule).count = 4_000_001, "population granule: count"),
            (|n| population(n, Purkinje).count = 0, "population purkinje: count"),
            (|n| population(n, Granule).cluster = 0, "population granule: cluster"),
            (|n| population(n, Granule).receptors[1].tau_ms = 0.05, "granule: receptors[1].tau_ms"),
            (
                |n| population(n, Mossy).receptors = population(n, Golgi).receptors.clone(),
                "mossy: receptors",
            ),
            (
                |n| conductance(n, Granule).threshold_mv = f32::INFINITY,
                "granule: model.threshold_mv",
            ),
            (|n| conductance(n, Granule).reset_mv = Some(-30.0), "granule: model.reset_mv"),
            (|n| conductance(n, Olive).noise_pa = -1.0, "olive: model.noise_pa"),
            (
                |n| conductance(n, Olive).ahp.as_mut().unwrap().tau_ms = 0.0,
                "olive: model.ahp.tau_ms",
            ),
            (
                |n| {
                    population(n, Basket).model = Model::Current(CurrentLif {
                        tau_m_ms: 10.0,
                        refractory_ms: 1.0,
                        reset: 0.0,
                        drive: 0.0,
                    });
                },
                "basket: receptors is 1 long, expected two",
            ),
            (|n| n.populations.retain(|p| p.cell != Basket), "granule to basket: post is basket"),
            (
                |n| {
                    let again = projection(n, Granule, Purkinje).clone();
                    n.projections.push(again);
                },
                "granule to purkinje: plasticity is given, expected none but on the first",
            ),
            (|n| projection(n, Granule, Basket).post = Mossy, "granule to mossy: post"),
            (|n| projection(n, Granule, Purkinje).delay_steps = 256, "delay_steps is 256"),
            (|n| projection(n, Granule, Purkinje).onto[0].receptor = 2, "onto[0].receptor is 2"),
            (|n| projection(n, Mossy, Granule).onto[1].receptor = 0, "onto[1].receptor is 0"),
            (
                |n| projection(n, Mossy, Granule).onto[1].receptor = 2,
                "all by cluster or all by cell",
            ),
            (|n| projection(n, Mossy, Granule).onto[1].share = 0.0, "onto[1].share is 0"),
            (
                |n| projection(n, Mossy, Granule).pre_range = Some(0..200_000),
                "pre_range is 0..200000",
            ),
            (|n| projection(n, Mossy, Granule).pre_range = None, "one-to-one of 102500 and 102400"),
            (|n| projection(n, Granule, Purkinje).zones = 17, "zones is 17, expected 1 to 16"),
            (
                |n| projection(n, Basket, Purkinje).pattern = Pattern::InDegree { sources: 17 },
                "basket to purkinje: pattern.sources is 17, expected 1 to 16",
            ),
            (
                |n| projection(n, Basket, Purkinje).pattern = Pattern::OutDegree { targets: 0 },
                "pattern.targets is 0",
            ),
            (
                |n| projection(n, Basket, Purkinje).pattern = Pattern::Probability { p: 1.5 },
                "pattern.p is 1.5",
            ),
            (
                |n| {
                    projection(n, Granule, Purkinje).pattern =
                        Pattern::Stripes { columns: 8, reach: 4 };
                },
                "pattern.reach is 4, expected 0 to 3",
            ),
            (|n| population(n, Golgi).count = 1000, "neighbours of 1000 and 1024 clusters"),
            (
                |n| {
                    projection(n, Golgi, Granule).pattern =
                        Pattern::Neighbours { from: -20, to: 20, p: 0.1, spread: 2 };
                },
                "golgi to granule: pattern.to is 20",
            ),
            (
                |n| projection(n, Purkinje, Nuclear).weight = Weight::Constant { value: f32::NAN },
                "purkinje to nuclear: weight.value is NaN",
            ),
            (
                |n| projection(n, Granule, Purkinje).weight = Weight::Constant { value: 1.0 },
                "weight is 1 to 1, expected within the plastic bounds",
            ),
            (
                |n| {
                    let p = projection(n, Granule, Purkinje).plasticity;
                    projection(n, Golgi, Granule).plasticity = p;
                },
                "golgi to granule: plasticity is given",
            ),
            (
                |n| {
                    let p = projection(n, Granule, Purkinje).plasticity;
                    projection(n, Granule, Basket).plasticity = p;
                },
                "granule to basket: plasticity.climbing is given, expected a purkinje target",
            ),
            (
                |n| {
                    let p = projection(n, Granule, Purkinje).plasticity.as_mut().unwrap();
                    p.climbing.as_mut().unwrap().kernel = Kernel::Exponential { tau_ms: 50.0 };
                },
                "plasticity.climbing.proportional is true",
            ),
            (
                |n| {
                    let p = projection(n, Granule, Purkinje).plasticity.as_mut().unwrap();
                    p.climbing.as_mut().unwrap().kernel =
                        Kernel::Difference { slow_ms: 50.0, fast_ms: 50.0 };
                },
                "plasticity.climbing.kernel.slow_ms is 50",
            ),
            (
                |n| {
                    let p = projection(n, Granule, Purkinje).plasticity.as_mut().unwrap();
                    p.potentiation = Some(Potentiation { amount: -1.0, soft: false });
                },
                "plasticity.potentiation.amount is -1",
            ),
        ];
        for (change, expected) in cases {
            let mut network = okr();
            change(&mut network);
            let error = network.validate().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}\nwithout: {expected}");
        }
    }

    #[test]
    fn climbing_fibre_plasticity_needs_an_olive() {
        let mut network = preset("benchmark-s").unwrap();
        network.populations.retain(|p| p.cell != Cell::Olive);
        let error = network.validate().unwrap_err();
        assert_eq!(error.place, Place::Projection(Cell::Granule, Cell::Purkinje));
        assert_eq!(error.key, "plasticity.climbing");
    }

    #[test]
    fn more_plastic_synapses_than_the_bound_are_refused() {
        let mut network = preset("benchmark-l").unwrap();
        population(&mut network, Cell::Purkinje).count = 100_000;
        population(&mut network, Cell::Olive).count = 100_000;
        let error = network.validate().unwrap_err().to_string();
        assert!(error.contains("at most 2147483648"), "{error}");
    }
}
