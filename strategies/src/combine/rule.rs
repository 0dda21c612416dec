//! The rules an ensemble may combine by: names for the configuration, settings, guarantees.

use std::str::FromStr;

use thiserror::Error;

use super::{Checked, CombinerError, MAX_MEMBERS, check};

/// How members become one probability. What is said of the regret (the loss over that of the best
/// choice in hindsight) is for any sequence of forecasts and labels where each label comes before
/// the next forecast; each rule's file gives the bound, its source and what late labels do to it,
/// and `tests/combiner_guarantees.rs` holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum CombineRule {
    /// Two ML-Poly mixes of log odds under a third: second-order regret to the best convex mix.
    #[default]
    MlPoly,
    /// Weighted mean of the probabilities: never loses more than the members' weighted mean loss.
    Mean {
        /// Weight of each member, not negative; only their ratios matter.
        weights: [f64; MAX_MEMBERS],
    },
    /// Weighted share of the members above one half: on the wrong side only where at least half of
    /// the weight is. Not a calibrated probability.
    Vote {
        /// Weight of each member, not negative; only their ratios matter.
        weights: [f64; MAX_MEMBERS],
    },
    /// Median of the probabilities: while fewer than half of the members are wild, it lies between
    /// two that are not.
    Median,
    /// Online logistic regression on the members' log odds around their uniform average: `O(n ln
    /// T)` nats to the best coefficients (see `stacking.rs` for what is proved).
    Stacking {
        /// Prior standard deviation of a coefficient around the uniform average's, in (0, 100].
        prior_sd: f64,
        /// Labels after which it forgets by a factor of e, 1 to 1e12.
        memory_labels: f64,
        /// Independent labels that one label is worth, in (0, 1]: cycle / horizon for one a cycle.
        label_weight: f64,
    },
    /// Bayesian mixture of probabilities with sharing: `ln n + m · ln(n / rate) + rate · T` nats,
    /// about, to the best sequence of experts with `m` switches.
    FixedShare {
        /// Share of the weight dealt out anew at each label, 1e-9 to 0.5.
        switches_per_label: f64,
    },
    /// Bernstein online aggregation of log odds: second-order regret to the best convex mix.
    Boa,
}

/// Every member counts alike.
const EQUAL: [f64; MAX_MEMBERS] = [1.0; MAX_MEMBERS];

impl CombineRule {
    /// Every rule with its default settings, the default rule first. Stacking: 1 around the average,
    /// 20,000 labels, each worth a tenth; fixed share: a switch in 1,000 labels.
    pub const ALL: [Self; 7] = [
        Self::MlPoly,
        Self::Mean { weights: EQUAL },
        Self::Vote { weights: EQUAL },
        Self::Median,
        Self::Stacking { prior_sd: 1.0, memory_labels: 20_000.0, label_weight: 0.1 },
        Self::FixedShare { switches_per_label: 1e-3 },
        Self::Boa,
    ];

    /// Name of the rule in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::MlPoly => "ml-poly",
            Self::Mean { .. } => "mean",
            Self::Vote { .. } => "vote",
            Self::Median => "median",
            Self::Stacking { .. } => "stacking",
            Self::FixedShare { .. } => "fixed-share",
            Self::Boa => "boa",
        }
    }

    /// Refuses settings out of their ranges.
    pub(super) fn check(&self, members: usize) -> Checked {
        match *self {
            Self::MlPoly | Self::Median | Self::Boa => Ok(()),
            Self::Mean { weights } | Self::Vote { weights } => check_weights(&weights[..members]),
            Self::Stacking { prior_sd, memory_labels, label_weight } => {
                let sd_ok = prior_sd > 0.0 && prior_sd <= 100.0;
                check("prior_sd", prior_sd, sd_ok, "above 0, at most 100")?;
                let memory_ok = (1.0..=1e12).contains(&memory_labels);
                check("memory_labels", memory_labels, memory_ok, "1 to 1e12")?;
                let worth_ok = label_weight > 0.0 && label_weight <= 1.0;
                check("label_weight", label_weight, worth_ok, "above 0, at most 1")
            }
            Self::FixedShare { switches_per_label: rate } => {
                let ok = (1e-9..=0.5).contains(&rate);
                check("switches_per_label", rate, ok, "1e-9 to 0.5")
            }
        }
    }
}

fn check_weights(weights: &[f64]) -> Result<(), CombinerError> {
    for &weight in weights {
        check("weights", weight, (0.0..=1e12).contains(&weight), "0 to 1e12 for each member")?;
    }
    let sum: f64 = weights.iter().sum();
    check("weights", sum, sum >= 1e-12, "a sum of at least 1e-12")
}

/// A name that is no rule's.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "combiner.rule is {name:?}, expected ml-poly, mean, vote, median, stacking, fixed-share or boa"
)]
pub struct UnknownRule {
    /// What was asked for.
    pub name: String,
}

impl FromStr for CombineRule {
    type Err = UnknownRule;

    /// The rule of that name with its default settings.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|rule| rule.name() == name);
        found.ok_or_else(|| UnknownRule { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::combine::{Combiner, CombinerConfig};

    #[test]
    fn every_rule_is_found_by_its_name_and_a_strange_name_is_refused() {
        for rule in CombineRule::ALL {
            assert_eq!(rule.name().parse(), Ok(rule));
        }
        assert_eq!(CombineRule::default(), CombineRule::ALL[0]);
        let error = "boosting".parse::<CombineRule>().unwrap_err().to_string();
        assert!(error.starts_with("combiner.rule is \"boosting\", expected ml-poly, "), "{error}");
        for rule in CombineRule::ALL {
            assert!(error.contains(rule.name()), "{error}");
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let mut negative = EQUAL;
        negative[1] = -1.0;
        let stacking = |prior_sd, memory_labels, label_weight| CombineRule::Stacking {
            prior_sd,
            memory_labels,
            label_weight,
        };
        for (rule, message) in [
            (CombineRule::Mean { weights: negative }, "combiner.weights is -1"),
            (CombineRule::Vote { weights: [0.0; MAX_MEMBERS] }, "combiner.weights is 0"),
            (stacking(0.0, 1e4, 1.0), "combiner.prior_sd is 0"),
            (stacking(1.0, f64::NAN, 1.0), "combiner.memory_labels is NaN"),
            (stacking(1.0, 1e4, 1.5), "combiner.label_weight is 1.5"),
            (
                CombineRule::FixedShare { switches_per_label: 0.0 },
                "combiner.switches_per_label is 0",
            ),
        ] {
            let refused = Combiner::with_rule(3, CombinerConfig::default(), rule);
            let error = refused.unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        // What lies beyond the members is not read.
        let mut beyond = EQUAL;
        beyond[3] = f64::NAN;
        let rule = CombineRule::Mean { weights: beyond };
        assert!(Combiner::with_rule(3, CombinerConfig::default(), rule).is_ok());
    }
}
