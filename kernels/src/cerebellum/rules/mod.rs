//! Slow rules beside the gated plasticity of the parallel fibres: what keeps cells and weights in
//! their working range, and pair STDP.
//!
//! Each rule is O(cells), is called once a cycle with the cycle's rates or changes, may be switched
//! off, and reports what it did as a [`RuleEffect`]. Invariants: what a rule moves stays within its
//! stated bounds; an input that is not finite changes nothing and is counted; a rule that is off
//! changes nothing; no allocation after construction.

mod bcm;
mod intrinsic;
mod metaplasticity;
mod scaling;
mod stdp;

use serde::Serialize;
use thiserror::Error;

pub use bcm::{Bcm, BcmConfig};
pub use intrinsic::{Intrinsic, IntrinsicConfig};
pub use metaplasticity::{Metaplasticity, MetaplasticityConfig};
pub use scaling::{Scaling, ScalingConfig};
pub use stdp::{PairStdpConfig, PairTraces};

/// What a rule has done since it was made.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RuleEffect {
    /// The rule.
    pub name: &'static str,
    /// Whether it is on.
    pub enabled: bool,
    /// Quantities moved, summed over calls.
    pub updates: u64,
    /// Mean absolute change by such a move, in the unit of what the rule moves.
    pub mean_abs_change: f64,
    /// Moves that met a bound.
    pub bounded: u64,
    /// Inputs refused because they were not finite.
    pub rejected: u64,
}

/// A setting out of range.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error("{rule}: {name} is {value}, expected {expected}")]
pub struct RuleError {
    /// The rule.
    pub rule: &'static str,
    /// The setting.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// The range.
    pub expected: &'static str,
}

/// Counts what a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Meter {
    updates: u64,
    sum: f64,
    bounded: u64,
    rejected: u64,
}

impl Meter {
    /// Moves a value to `free`, held within the bounds.
    fn hold(&mut self, value: &mut f32, free: f32, (low, high): (f32, f32)) {
        let held = free.clamp(low, high);
        self.updates += 1;
        self.sum += f64::from((held - *value).abs());
        self.bounded += u64::from(held != free);
        *value = held;
    }

    /// Whether an input may be used; counts it where not.
    fn accepts(&mut self, input: f32) -> bool {
        let finite = input.is_finite();
        self.rejected += u64::from(!finite);
        finite
    }

    fn effect(&self, name: &'static str, enabled: bool) -> RuleEffect {
        RuleEffect {
            name,
            enabled,
            updates: self.updates,
            mean_abs_change: self.sum / self.updates.max(1) as f64,
            bounded: self.bounded,
            rejected: self.rejected,
        }
    }
}

/// Requires a finite number above 0.
fn positive(rule: &'static str, name: &'static str, value: f32) -> Result<(), RuleError> {
    require(rule, name, value, value > 0.0, "a finite number above 0")
}

/// Requires a finite number that meets a condition.
fn require(
    rule: &'static str,
    name: &'static str,
    value: f32,
    holds: bool,
    expected: &'static str,
) -> Result<(), RuleError> {
    if value.is_finite() && holds {
        return Ok(());
    }
    Err(RuleError { rule, name, value: f64::from(value), expected })
}

/// Share of the distance to its input that an exponential mean covers in `elapsed_ms`.
fn share(elapsed_ms: f32, tau_ms: f32) -> f32 {
    -(-elapsed_ms / tau_ms).exp_m1()
}
