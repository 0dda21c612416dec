//! The trainable cerebellar circuit as plain arrays, and its parameters.
//!
//! ```text
//! mossy fibres ─(gain)─► granule cells ─(plastic)─► Purkinje up / down ─┤ nuclei up / down ─► output
//!       └──────────────► Golgi cells ◄─┘ │
//!                              └─────────┤ granule clusters
//! ```
//!
//! Trained are the gains of the mossy fibres on granule cells (by fibre, by synapse or not at all),
//! the weights of the parallel fibres on Purkinje cells, and the read-out. The rest is given. The
//! output is `gain` · c + `bias`, where c is the mean rate of the first half of the nuclear cells
//! (up) less that of the second (down) over the read-out window, in units of `decode_hz`.
//!
//! [`Parameters`] is one vector in a fixed order: mossy gains, parallel-fibre weights in the order
//! of their rows, read-out gain, read-out bias. All are of order 1: weights are in units of
//! `parallel_unit`, so one learning rate suits them. Invariants: a [`Network`] exists only if all
//! its parts fit and its tape is at most [`TAPE_BYTES_MAX`]; it does not change.

use std::ops::Range;

use thiserror::Error;

use super::fan_out::FanOut;
use super::layer::Layer;
use super::real::Real;
use super::surrogate::{FastSigmoid, Spiking};
use crate::cerebellum::description::CurrentLif;

/// Most memory that the potentials and spikes of one pass may take, bytes: 2 GiB.
pub const TAPE_BYTES_MAX: usize = 1 << 31;
/// Longest sample, steps.
const STEPS_MAX: usize = 65_536;
/// Longest delay, steps: as in a description.
const DELAY_MAX: usize = 255;

/// One population of current-based cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Cells<R> {
    /// Membrane.
    pub lif: CurrentLif,
    /// Decay of the excitatory current, ms.
    pub tau_exc_ms: f32,
    /// Decay of the inhibitory current, ms.
    pub tau_inh_ms: f32,
    /// Constant current of each cell in addition to the membrane's drive, thresholds. Its length is
    /// the number of cells.
    pub drive: Vec<R>,
    /// Potential of each cell at the start of a sample, thresholds. Currents start at 0.
    pub start: Vec<R>,
}

/// Synapses and their delay.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection<R> {
    /// Who reaches whom.
    pub fan_out: FanOut<R>,
    /// Steps from the step in which a spike is fired to the one at whose end it arrives, 0 to 255;
    /// it moves the potential one step later.
    pub delay_steps: usize,
}

/// What of the mossy fibre's action on granule cells is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MossyGain {
    /// Nothing: the reverse pass then stops at the Purkinje cells and costs granule spikes × targets.
    Fixed,
    /// One factor a fibre.
    Fibre,
    /// One factor a synapse.
    Synapse,
}

/// Everything a network is built from.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkParts<R> {
    /// Length of a step, ms.
    pub step_ms: f32,
    /// Steps of a sample.
    pub steps: usize,
    /// Steps at its start whose nuclear spikes are not read.
    pub settle_steps: usize,
    /// Granule cells.
    pub granule: Cells<R>,
    /// Granule cells in a row that share one inhibitory current.
    pub granule_cluster: usize,
    /// Golgi cells; there may be none.
    pub golgi: Cells<R>,
    /// Purkinje cells of both microzones.
    pub purkinje: Cells<R>,
    /// Nuclear cells: the first half codes up, the second down.
    pub nuclear: Cells<R>,
    /// Mossy fibres on granule cells, weights in thresholds at a gain of 1. Its number of rows is
    /// the number of fibres.
    pub mossy_granule: Projection<R>,
    /// Mossy fibres on Golgi cells.
    pub mossy_golgi: Projection<R>,
    /// Granule cells on Golgi cells.
    pub granule_golgi: Projection<R>,
    /// Golgi cells on clusters of granule cells, inhibiting.
    pub golgi_granule: Projection<R>,
    /// Parallel fibres on Purkinje cells: initial weights in units of `parallel_unit`.
    pub parallel: Projection<R>,
    /// What a parallel-fibre spike over a weight of 1 adds to the current, thresholds.
    pub parallel_unit: R,
    /// Bounds of the parallel-fibre weights.
    pub parallel_bounds: (R, R),
    /// Purkinje cells on nuclear cells, inhibiting.
    pub purkinje_nuclear: Projection<R>,
    /// What of the mossy fibres is trained.
    pub mossy_gain: MossyGain,
    /// Bounds of the mossy gains.
    pub mossy_gain_bounds: (R, R),
    /// Rate difference that counts as 1 before the read-out gain, Hz.
    pub decode_hz: R,
    /// Initial read-out gain.
    pub readout_gain: R,
    /// Initial read-out bias.
    pub readout_bias: R,
    /// Surrogate derivative.
    pub sigmoid: FastSigmoid,
}

/// Why a network could not be built.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{part}: {what}")]
pub struct NetworkError {
    /// The part that does not fit.
    pub part: &'static str,
    /// Its value and what was expected.
    pub what: String,
}

fn wrong(part: &'static str, what: String) -> NetworkError {
    NetworkError { part, what }
}

/// A projection's synapses as they run.
pub(super) type Links<R> = Projection<R>;

/// The fixed part of a trainable network.
#[derive(Clone, Debug)]
pub struct Network<R> {
    pub(super) steps: usize,
    pub(super) settle_steps: usize,
    pub(super) granule: Layer<R>,
    pub(super) golgi: Layer<R>,
    pub(super) purkinje: Layer<R>,
    pub(super) nuclear: Layer<R>,
    pub(super) mossy_granule: Links<R>,
    pub(super) mossy_golgi: Links<R>,
    pub(super) granule_golgi: Links<R>,
    pub(super) golgi_granule: Links<R>,
    pub(super) parallel: Links<R>,
    pub(super) parallel_unit: R,
    pub(super) purkinje_nuclear: Links<R>,
    pub(super) mossy_gain: MossyGain,
    /// c by a spike of an up cell.
    pub(super) contrast_per_spike: R,
    pub(super) sigmoid: FastSigmoid,
    parallel_bounds: (R, R),
    mossy_gain_bounds: (R, R),
    start: Parameters<R>,
}

/// What is trained, as one vector: also the shape of its gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameters<R> {
    /// Mossy gains, parallel-fibre weights, read-out gain, read-out bias.
    pub values: Vec<R>,
    mossy: usize,
}

impl<R: Real> Parameters<R> {
    /// Where the mossy gains are.
    pub const fn mossy_range(&self) -> Range<usize> {
        0..self.mossy
    }

    /// Where the parallel-fibre weights are.
    pub const fn parallel_range(&self) -> Range<usize> {
        self.mossy..self.values.len() - 2
    }

    /// The mossy gains, by fibre or synapse; empty when fixed.
    pub fn mossy_gain(&self) -> &[R] {
        &self.values[self.mossy_range()]
    }

    /// The parallel-fibre weights.
    pub fn parallel(&self) -> &[R] {
        &self.values[self.parallel_range()]
    }

    /// The parallel-fibre weights, to replace.
    pub fn parallel_mut(&mut self) -> &mut [R] {
        let range = self.parallel_range();
        &mut self.values[range]
    }

    /// The read-out gain.
    pub fn readout_gain(&self) -> R {
        self.values[self.values.len() - 2]
    }

    /// The read-out bias.
    pub fn readout_bias(&self) -> R {
        self.values[self.values.len() - 1]
    }

    /// The gradient's groups at once, to add to: mossy gains, parallel-fibre weights, read-out.
    pub(super) fn groups_mut(&mut self) -> (&mut [R], &mut [R], &mut [R]) {
        let parallel = self.values.len() - 2 - self.mossy;
        let (mossy, rest) = self.values.split_at_mut(self.mossy);
        let (parallel, readout) = rest.split_at_mut(parallel);
        (mossy, parallel, readout)
    }
}

impl<R: Real> Network<R> {
    /// Checks the parts and builds the network.
    ///
    /// # Errors
    /// [`NetworkError`] names the part, its value and what was expected.
    pub fn new(parts: NetworkParts<R>) -> Result<Self, NetworkError> {
        check(&parts)?;
        let layer = |cells, cluster| Layer::new(cells, cluster, parts.step_ms);
        let fibres = parts.mossy_granule.fan_out.sources();
        let mossy = match parts.mossy_gain {
            MossyGain::Fixed => 0,
            MossyGain::Fibre => fibres,
            MossyGain::Synapse => parts.mossy_granule.fan_out.synapses(),
        };
        let mut values = vec![R::one(); mossy];
        values.extend_from_slice(&parts.parallel.fan_out.weights);
        values.extend([parts.readout_gain, parts.readout_bias]);
        let half = parts.nuclear.drive.len() / 2;
        let read_s = (parts.steps - parts.settle_steps) as f64 * f64::from(parts.step_ms) * 1e-3;
        let network = Self {
            steps: parts.steps,
            settle_steps: parts.settle_steps,
            granule: layer(&parts.granule, parts.granule_cluster),
            golgi: layer(&parts.golgi, 1),
            purkinje: layer(&parts.purkinje, 1),
            nuclear: layer(&parts.nuclear, 1),
            mossy_granule: parts.mossy_granule,
            mossy_golgi: parts.mossy_golgi,
            granule_golgi: parts.granule_golgi,
            golgi_granule: parts.golgi_granule,
            parallel: parts.parallel,
            parallel_unit: parts.parallel_unit,
            purkinje_nuclear: parts.purkinje_nuclear,
            mossy_gain: parts.mossy_gain,
            contrast_per_spike: R::one() / (R::of(half as f64 * read_s) * parts.decode_hz),
            sigmoid: parts.sigmoid,
            parallel_bounds: parts.parallel_bounds,
            mossy_gain_bounds: parts.mossy_gain_bounds,
            start: Parameters { values, mossy },
        };
        let bytes = network.tape_bytes(Spiking::Hard);
        if bytes > TAPE_BYTES_MAX {
            let what = format!("{bytes} bytes of tape a sample, expected at most {TAPE_BYTES_MAX}");
            return Err(wrong("steps", what));
        }
        Ok(network)
    }

    /// The parameters that training starts from: mossy gains of 1 and the rest as given.
    pub fn initial_parameters(&self) -> Parameters<R> {
        self.start.clone()
    }

    /// A gradient of zero.
    pub fn zero_gradient(&self) -> Parameters<R> {
        let mossy = self.start.mossy;
        Parameters { values: vec![R::zero(); self.start.values.len()], mossy }
    }

    /// Holds mossy gains and parallel-fibre weights within their bounds; returns how many were
    /// outside.
    ///
    /// # Panics
    /// When the parameters are another network's.
    pub fn clip(&self, parameters: &mut Parameters<R>) -> usize {
        assert_eq!(parameters.values.len(), self.start.values.len(), "this network's parameters");
        let (mossy, parallel, _) = parameters.groups_mut();
        clip(mossy, self.mossy_gain_bounds) + clip(parallel, self.parallel_bounds)
    }

    /// The bounds of the parallel-fibre weights.
    pub const fn parallel_bounds(&self) -> (R, R) {
        self.parallel_bounds
    }

    /// Steps of a sample.
    pub const fn steps(&self) -> usize {
        self.steps
    }

    /// Mossy fibres.
    pub fn fibres(&self) -> usize {
        self.mossy_granule.fan_out.sources()
    }

    /// Bytes that the potentials and spikes of one pass take.
    pub fn tape_bytes(&self, spiking: Spiking) -> usize {
        [&self.granule, &self.golgi, &self.purkinje, &self.nuclear]
            .iter()
            .map(|layer| {
                layer.cells() * self.steps * R::BYTES
                    + layer.events_max(self.steps, spiking) * size_of::<u32>()
            })
            .sum()
    }

    /// The factor on a mossy synapse.
    #[inline]
    pub(super) fn gain_index(&self, fibre: usize, synapse: usize) -> Option<usize> {
        match self.mossy_gain {
            MossyGain::Fixed => None,
            MossyGain::Fibre => Some(fibre),
            MossyGain::Synapse => Some(synapse),
        }
    }
}

fn clip<R: Real>(values: &mut [R], (low, high): (R, R)) -> usize {
    let mut outside = 0;
    for value in values {
        let held = value.max(low).min(high);
        outside += usize::from(held != *value);
        *value = held;
    }
    outside
}

fn check<R: Real>(parts: &NetworkParts<R>) -> Result<(), NetworkError> {
    if !(parts.step_ms.is_finite() && parts.step_ms > 0.0) {
        return Err(wrong("step_ms", format!("{}, expected above 0", parts.step_ms)));
    }
    if !(1..=STEPS_MAX).contains(&parts.steps) {
        return Err(wrong("steps", format!("{}, expected 1 to {STEPS_MAX}", parts.steps)));
    }
    if parts.settle_steps >= parts.steps {
        let what = format!("{}, expected below {}", parts.settle_steps, parts.steps);
        return Err(wrong("settle_steps", what));
    }
    let populations = [
        ("granule", &parts.granule, 1),
        ("golgi", &parts.golgi, 0),
        ("purkinje", &parts.purkinje, 1),
        ("nuclear", &parts.nuclear, 2),
    ];
    for (name, cells, least) in populations {
        check_cells(cells, parts.step_ms, least).map_err(|what| wrong(name, what))?;
    }
    let (granule, golgi) = (parts.granule.drive.len(), parts.golgi.drive.len());
    let (purkinje, nuclear) = (parts.purkinje.drive.len(), parts.nuclear.drive.len());
    if nuclear % 2 != 0 {
        return Err(wrong("nuclear", format!("{nuclear} cells, expected an even number")));
    }
    if parts.granule_cluster == 0 {
        return Err(wrong("granule_cluster", "0, expected at least 1".to_owned()));
    }
    let fibres = parts.mossy_granule.fan_out.sources();
    let clusters = granule.div_ceil(parts.granule_cluster);
    let projections = [
        ("mossy_granule", &parts.mossy_granule, fibres, granule),
        ("mossy_golgi", &parts.mossy_golgi, fibres, golgi),
        ("granule_golgi", &parts.granule_golgi, granule, golgi),
        ("golgi_granule", &parts.golgi_granule, golgi, clusters),
        ("parallel", &parts.parallel, granule, purkinje),
        ("purkinje_nuclear", &parts.purkinje_nuclear, purkinje, nuclear),
    ];
    for (name, projection, sources, targets) in projections {
        projection.fan_out.check(sources, targets).map_err(|what| wrong(name, what))?;
        if projection.delay_steps > DELAY_MAX {
            let what = format!("delay of {} steps", projection.delay_steps);
            return Err(wrong(name, format!("{what}, expected at most {DELAY_MAX}")));
        }
    }
    let one = R::one();
    check_bounds(parts.mossy_gain_bounds, &[one]).map_err(|w| wrong("mossy_gain_bounds", w))?;
    check_bounds(parts.parallel_bounds, &parts.parallel.fan_out.weights)
        .map_err(|what| wrong("parallel_bounds", what))?;
    let positive = [
        ("parallel_unit", parts.parallel_unit.wide()),
        ("decode_hz", parts.decode_hz.wide()),
        ("sigmoid.beta", parts.sigmoid.beta),
        ("sigmoid.peak", parts.sigmoid.peak),
    ];
    for (name, value) in positive {
        if !(value.is_finite() && value > 0.0) {
            return Err(wrong(name, format!("{value}, expected a finite number above 0")));
        }
    }
    for (name, value) in
        [("readout_gain", parts.readout_gain), ("readout_bias", parts.readout_bias)]
    {
        if !value.is_finite() {
            return Err(wrong(name, format!("{value}, expected a finite number")));
        }
    }
    Ok(())
}

fn check_cells<R: Real>(cells: &Cells<R>, step_ms: f32, least: usize) -> Result<(), String> {
    let n = cells.drive.len();
    if n < least {
        return Err(format!("{n} cells, expected at least {least}"));
    }
    if cells.start.len() != n {
        return Err(format!("{} initial potentials, expected {n}", cells.start.len()));
    }
    let taus = [
        ("tau_m_ms", cells.lif.tau_m_ms),
        ("tau_exc_ms", cells.tau_exc_ms),
        ("tau_inh_ms", cells.tau_inh_ms),
    ];
    if let Some((name, tau)) = taus.iter().find(|(_, t)| !(t.is_finite() && *t > 0.0)) {
        return Err(format!("{name} is {tau}, expected a finite number above 0"));
    }
    let hold = cells.lif.refractory_ms / step_ms;
    if !(0.0..=255.0).contains(&hold) {
        return Err(format!(
            "refractory_ms is {}, expected 0 to 255 steps",
            cells.lif.refractory_ms
        ));
    }
    if !(cells.lif.reset.is_finite() && cells.lif.reset < 1.0) {
        return Err(format!("reset is {}, expected below the threshold of 1", cells.lif.reset));
    }
    let numbers = cells.drive.iter().chain(&cells.start);
    if !cells.lif.drive.is_finite() || numbers.into_iter().any(|x| !x.is_finite()) {
        return Err("a drive or an initial potential is not finite".to_owned());
    }
    Ok(())
}

fn check_bounds<R: Real>((low, high): (R, R), values: &[R]) -> Result<(), String> {
    if !(low.is_finite() && high.is_finite() && low < high) {
        return Err(format!("{low} to {high}, expected finite numbers in ascending order"));
    }
    match values.iter().position(|w| !(low..=high).contains(w)) {
        Some(k) => Err(format!("value {k} is {}, expected {low} to {high}", values[k])),
        None => Ok(()),
    }
}
