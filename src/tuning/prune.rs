//! Median pruning: a trial that is worse than half of the others at the same step is given up.
//!
//! The rule is the median stopping rule of Golovin et al. (KDD 2017), on the loss at the step itself:
//! ours is already a running mean. It waits for [`WARMUP_TRIALS`] complete trials and never acts on
//! the first [`WARMUP_STEPS`] steps, where losses are mostly noise.
//!
//! Invariant: a pure function of the trials it is given, in any order.

use super::study::{State, Trial};

/// Complete trials before anything is pruned.
pub const WARMUP_TRIALS: usize = 5;
/// Steps at the start of a trial at which it is not pruned.
pub const WARMUP_STEPS: u32 = 1;

/// The loss at each step beyond which a trial of the next batch is pruned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Medians(Vec<(u32, f64)>);

impl Medians {
    /// The medians over the complete trials of `history`.
    #[must_use]
    pub fn new(history: &[&Trial]) -> Self {
        let mut by_step = std::collections::BTreeMap::<u32, Vec<f64>>::new();
        for trial in history.iter().filter(|trial| trial.state == State::Complete) {
            for (step, loss) in &trial.steps {
                by_step.entry(*step).or_default().push(*loss);
            }
        }
        by_step.retain(|step, losses| *step > WARMUP_STEPS && losses.len() >= WARMUP_TRIALS);
        Self(by_step.into_iter().map(|(step, losses)| (step, median(losses))).collect())
    }

    /// Whether a loss at a step (from 1) is worse than the median there. A loss that is not a number
    /// is no reason: what it means is for the end of the trial.
    #[must_use]
    pub fn prunes(&self, step: u32, loss: f64) -> bool {
        self.0.iter().any(|(at, median)| *at == step && loss > *median)
    }
}

/// The middle value, or the mean of the two; `losses` is not empty.
fn median(mut losses: Vec<f64>) -> f64 {
    losses.sort_by(f64::total_cmp);
    let (low, high) = ((losses.len() - 1) / 2, losses.len() / 2);
    f64::midpoint(losses[low], losses[high])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::space::Parameters;

    fn complete(number: u64, losses: &[f64]) -> Trial {
        Trial {
            number,
            state: State::Complete,
            value: losses.last().copied(),
            parameters: Parameters::new(),
            steps: (1..).zip(losses.iter().copied()).collect(),
            error: None,
            duration_s: 0.0,
        }
    }

    #[test]
    fn a_trial_worse_than_the_median_at_its_step_is_pruned_and_others_are_not() {
        let trials: Vec<Trial> =
            (0..6).map(|n| complete(n, &[9.0, n as f64, 2.0 * n as f64])).collect();
        let medians = Medians::new(&trials.iter().collect::<Vec<_>>());
        assert!(!medians.prunes(1, 100.0), "the first step never prunes");
        assert!(medians.prunes(2, 2.6) && !medians.prunes(2, 2.5));
        assert!(medians.prunes(3, 5.1) && !medians.prunes(3, 5.0));
        assert!(!medians.prunes(4, 100.0), "no trial has reached step 4");
        assert!(!medians.prunes(3, f64::NAN));
    }

    #[test]
    fn nothing_is_pruned_before_enough_trials_are_complete() {
        let mut trials: Vec<Trial> = (0..4).map(|n| complete(n, &[1.0, 1.0])).collect();
        trials.push(Trial { state: State::Pruned, ..complete(4, &[1.0, 1.0]) });
        assert!(!Medians::new(&trials.iter().collect::<Vec<_>>()).prunes(2, 9.0));
        trials.push(complete(5, &[1.0, 1.0]));
        assert!(Medians::new(&trials.iter().collect::<Vec<_>>()).prunes(2, 9.0));
    }
}
