//! Biological validation: a network is run for some seconds at rest, and what it does and how it is
//! wired is held against the ranges that recordings and anatomy give.
//!
//! [`validate`] runs any description on Poisson mossy and climbing fibres ([`Inputs`]);
//! [`validate_trading`] runs the trading network as the daemon does, on features. Both give a
//! [`Report`]: firing rates, sparseness of the granular layer, regularity of simple spikes and their
//! pause after a complex spike, convergences, plastic weights.
//!
//! Invariants: a report follows from the network, the options and nothing else; a check that fails
//! is reported as failed whatever its reason; what does not apply enters no score.

mod checks;
mod deviations;
mod inputs;
mod observe;
mod report;
mod trains;
mod wiring;

use thiserror::Error;

pub use inputs::Inputs;
pub use report::{Check, PlasticWeights, Report, Verdict};
pub use wiring::{Degrees, Moments};

use super::description::{Description, DescriptionError};
use super::engine::{Isa, Network, Synapses};
use super::trading::{CerebellumConfig, ConfigError, Probe};
use crate::rng::Key;
use checks::Findings;
use inputs::Source;
use observe::Observer;

/// Longest run, s of biological time.
pub const SECONDS_MAX: f64 = 3_600.0;
/// Shortest run, s of biological time.
pub const SECONDS_MIN: f64 = 0.1;
/// Weights up to this share of the greatest one allowed are silent.
const SILENT_SHARE: f64 = 1e-3;

/// How a network is run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Biological time measured, s: 0.1 to 3,600.
    pub seconds: f64,
    /// Biological time before that, s: 0 to 3,600.
    pub settle_seconds: f64,
    /// Seed of wiring and inputs.
    pub seed: u64,
    /// Rates of mossy and climbing fibres; none for [`Inputs::background`].
    pub inputs: Option<Inputs>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seconds: 5.0, settle_seconds: 1.0, seed: 1, inputs: None }
    }
}

/// Why a network was not validated.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ValidationError {
    /// The description is no network.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The trading configuration is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An option is out of range.
    #[error("{name} is {value}, expected {low} to {high}")]
    Option {
        /// The option.
        name: &'static str,
        /// Its value.
        value: f64,
        /// Least accepted.
        low: f64,
        /// Greatest accepted.
        high: f64,
    },
}

/// Runs `description`, its plasticity on, and judges it.
///
/// # Errors
/// [`ValidationError`] where the description is not valid or an option is out of range.
pub fn validate(description: &Description, options: &Options) -> Result<Report, ValidationError> {
    let inputs = options.inputs.unwrap_or_else(|| Inputs::background(&description.name));
    options.check(&inputs)?;
    description.validate()?;
    let key = Key::new(options.seed);
    let network = Network::new(description, Vec::new(), key.fork(0), Isa::best());
    let mut state = network.state(key.fork(1));
    let mut synapses = network.synapses();
    let sources = Source::all(description, &inputs, key.fork(2));
    let [settle, measured] = options.steps(description.step_ms);
    let mut observer = Observer::new(description, &network, settle);
    let longest = sources.iter().map(Source::fibres).max().unwrap_or(0);
    let mut spikes = Vec::with_capacity(longest);
    for step in 0..settle + measured {
        for source in &sources {
            source.draw(step, &mut spikes);
            state.inject(source.population, source.fibres(), &spikes);
        }
        network.step(&mut state, &mut synapses);
        observer.step(&state);
    }
    synapses.settle(&network);
    Ok(judge(description, &network, &synapses, &observer, options, Some(inputs)))
}

/// Runs one instrument's network of `config` on features that are drawn from N(0, 1) anew every
/// cycle, as the daemon would before it has learned anything, and judges it.
///
/// # Errors
/// [`ValidationError`] where the configuration or an option is out of range.
pub fn validate_trading(
    config: &CerebellumConfig,
    options: &Options,
) -> Result<Report, ValidationError> {
    options.check(&Inputs::background(""))?;
    let config = CerebellumConfig { seed: options.seed, ..config.clone() };
    let mut probe = Probe::new(&config)?;
    let description = super::Cerebellum::describe(&config);
    let [settle, measured] = options.steps(description.step_ms);
    let mut observer = Observer::new(&description, probe.network(), settle);
    for cycle in 0..(settle + measured).div_ceil(config.steps_per_cycle as u64) {
        probe.cycle(cycle, |state| observer.step(state));
    }
    Ok(judge(&description, probe.network(), probe.synapses(), &observer, options, None))
}

impl Options {
    fn check(&self, inputs: &Inputs) -> Result<(), ValidationError> {
        let range = |name, value, low, high| {
            let inside = (low..=high).contains(&value);
            inside.then_some(()).ok_or(ValidationError::Option { name, value, low, high })
        };
        let [low, high] = inputs.mossy_hz.map(f64::from);
        range("seconds", self.seconds, SECONDS_MIN, SECONDS_MAX)?;
        range("settle_seconds", self.settle_seconds, 0.0, SECONDS_MAX)?;
        range("mossy_hz[1]", high, 0.0, 1_000.0)?;
        range("mossy_hz[0]", low, 0.0, high)?;
        range("climbing_hz", f64::from(inputs.climbing_hz), 0.0, 1_000.0)
    }

    /// Steps of settling and of measuring.
    fn steps(&self, step_ms: f32) -> [u64; 2] {
        [self.settle_seconds, self.seconds].map(|s| (s * 1e3 / f64::from(step_ms)).round() as u64)
    }
}

fn judge(
    description: &Description,
    network: &Network,
    synapses: &Synapses,
    observer: &Observer,
    options: &Options,
    inputs: Option<Inputs>,
) -> Report {
    let weights = plastic_weights(description, network, synapses);
    let projections = wiring::degrees(description, network);
    let findings =
        Findings { description, observer, inputs, degrees: &projections, weights: &weights };
    let mut checks = findings.checks();
    for check in checks.iter_mut().filter(|c| c.verdict == Verdict::Fail) {
        check.remark = deviations::reason(&description.name, check.name);
    }
    let report = Report {
        name: description.name.clone(),
        source: description.source.clone(),
        seconds: options.seconds,
        settle_seconds: options.settle_seconds,
        seed: options.seed,
        inputs,
        passed: 0,
        applicable: 0,
        score: None,
        checks,
        weights,
        projections,
    };
    report.scored()
}

fn plastic_weights(
    description: &Description,
    network: &Network,
    synapses: &Synapses,
) -> Vec<PlasticWeights> {
    let places = description.projections.iter().enumerate();
    let plastic = places.filter_map(|(k, p)| {
        let rule = p.plasticity?;
        let weights = network.weights(synapses, k);
        let share = |of: &dyn Fn(f32) -> bool| {
            weights.iter().filter(|&&w| of(w)).count() as f64 / weights.len().max(1) as f64
        };
        let silent = SILENT_SHARE as f32 * rule.w_max;
        Some(PlasticWeights {
            pre: p.pre,
            post: p.post,
            count: weights.len(),
            silent_share: share(&|w| w <= silent),
            bounded_share: share(&|w| (rule.w_min..=rule.w_max).contains(&w)),
            weight: Moments::of(weights.iter().map(|&w| f64::from(w))),
        })
    });
    plastic.collect()
}
