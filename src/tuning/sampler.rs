//! What to try next: a tree-structured Parzen estimator for each parameter.
//!
//! Two densities are fitted to the parameter's values, one to the best tenth of the trials and one to
//! the rest, and of some draws from the first the one with the largest ratio of the two is proposed
//! (Bergstra, Bardenet, Bengio and Kégl, NIPS 2011). The estimator uses the order of the losses only,
//! so a pruned trial ranks behind every complete one, by how far it came and then by its loss, and a
//! failed one behind these. Trials of the same batch, whose losses are not known yet, count as bad
//! (the constant liar of Ginsbourger, Le Riche and Carraro, 2010), so that a batch spreads out.
//!
//! Invariant: a proposal is a pure function of space, seed, trial number, history and the proposals
//! before it in its batch; nothing is carried from one to the next.

use std::convert::Infallible;

use purkinje_kernels::rng::Key;
use rand::{RngExt as _, rand_core::TryRng};
use tpe::{
    TpeOptimizerBuilder, categorical_range, density_estimation::DefaultEstimatorBuilder,
    histogram_estimator, parzen_estimator, range,
};

use super::{
    space::{Parameters, Range, Space},
    study::{State, Trial},
};

/// Trials that are drawn at random before there is an estimate.
pub const STARTUP_TRIALS: usize = 10;
/// Share of the trials that counts as good.
const GAMMA: f64 = 0.1;
/// Draws of which the most promising is proposed.
const CANDIDATES: usize = 24;

/// The estimator refused; a defect of this program, as spaces and histories are checked.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("the estimator refused parameter {name}: {reason}")]
pub struct SamplerError {
    /// The parameter.
    pub name: String,
    /// The estimator's words.
    pub reason: String,
}

/// The counter generator as a source for the estimator.
struct KeyRng {
    key: Key,
    counter: u64,
}

impl TryRng for KeyRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|word| (word >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let word = self.key.word(self.counter);
        self.counter += 1;
        Ok(word)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(8) {
            let word = self.try_next_u64()?.to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

/// Values drawn uniformly (on each range's scale) for trial `number`.
#[must_use]
pub fn random(space: &Space, seed: u64, number: u64) -> Parameters {
    let draw = |k: usize| rng(seed, number, k).random::<f64>();
    let named = space.parameters().iter().enumerate();
    named.map(|(k, p)| (p.name.clone(), p.range.value(draw(k)))).collect()
}

/// Values for trial `number`, given all trials of the batches before its own (in any order) and the
/// values proposed before it in its batch.
///
/// # Errors
/// See [`SamplerError`].
pub fn propose(
    space: &Space,
    seed: u64,
    number: u64,
    history: &[&Trial],
    batch: &[Parameters],
) -> Result<Parameters, SamplerError> {
    if history.len() < STARTUP_TRIALS {
        return Ok(random(space, seed, number));
    }
    let mut ranked: Vec<&Trial> = history.to_vec();
    ranked.sort_by(|a, b| order(a, b));
    let seen: Vec<&Parameters> = ranked.iter().map(|t| &t.parameters).chain(batch).collect();
    let mut proposal = Parameters::new();
    for (k, parameter) in space.parameters().iter().enumerate() {
        let refused = |reason: String| SamplerError { name: parameter.name.clone(), reason };
        // The unit interval, or the cells of a choice; half-open, so the upper end is kept inside.
        let (estimator, domain, cells) = match &parameter.range {
            Range::Choice { choices } => {
                (histogram_estimator(), categorical_range(choices.len()), choices.len() as f64)
            }
            Range::Float { .. } | Range::Int { .. } => (parzen_estimator(), range(0.0, 1.0), 1.0),
        };
        let domain = domain.map_err(|e| refused(e.to_string()))?;
        let mut optimizer = TpeOptimizerBuilder::new()
            .gamma(GAMMA)
            .candidates(CANDIDATES)
            .build::<DefaultEstimatorBuilder>(estimator, domain)
            .map_err(|e| refused(e.to_string()))?;
        for (rank, parameters) in seen.iter().enumerate() {
            let unit = parameters.get(&parameter.name).and_then(|v| parameter.range.unit(v));
            let unit = unit.ok_or_else(|| refused("a trial has no value of it".to_owned()))?;
            let at = (unit * cells).min(cells - f64::EPSILON * cells);
            optimizer.tell(at, rank as f64).map_err(|e| refused(e.to_string()))?;
        }
        let at = optimizer.ask(&mut rng(seed, number, k)).map_err(|e| refused(e.to_string()))?;
        // A choice comes back as the lower end of its cell.
        let unit = if cells > 1.0 { (at + 0.5) / cells } else { at };
        proposal.insert(parameter.name.clone(), parameter.range.value(unit));
    }
    Ok(proposal)
}

fn rng(seed: u64, number: u64, parameter: usize) -> KeyRng {
    KeyRng { key: Key::new(seed).fork(number).fork(parameter as u64), counter: 0 }
}

/// Better trials first; equal ones by number, so that the order is total.
#[must_use]
pub fn order(a: &Trial, b: &Trial) -> std::cmp::Ordering {
    let class = |t: &Trial| match t.state {
        State::Complete => 0,
        State::Pruned => 1,
        State::Failed => 2,
    };
    let reached = |t: &Trial| match t.state {
        State::Pruned => t.steps.len(),
        _ => 0,
    };
    let loss = |t: &Trial| t.value.unwrap_or(f64::INFINITY);
    class(a)
        .cmp(&class(b))
        .then(reached(b).cmp(&reached(a)))
        .then(loss(a).total_cmp(&loss(b)))
        .then(a.number.cmp(&b.number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::space::{Parameter, ParameterValue, Scale};

    fn space() -> Space {
        let float = |low, high| Range::Float { low, high, scale: Scale::Linear };
        let of = |name: &str, range| Parameter { name: name.into(), range };
        Space::new(vec![of("x", float(-5.0, 10.0)), of("y", float(0.0, 15.0))]).unwrap()
    }

    /// Branin's function (Dixon and Szegő, 1978): three minima of 0.397887.
    fn branin(p: &Parameters) -> f64 {
        let [ParameterValue::Float(x), ParameterValue::Float(y)] = [&p["x"], &p["y"]] else {
            panic!("{p:?}")
        };
        let pi = std::f64::consts::PI;
        let a = y - 5.1 / (4.0 * pi * pi) * x * x + 5.0 / pi * x - 6.0;
        a * a + 10.0 * (1.0 - 1.0 / (8.0 * pi)) * x.cos() + 10.0
    }

    fn trial(number: u64, parameters: Parameters, value: f64) -> Trial {
        Trial {
            number,
            state: State::Complete,
            value: Some(value),
            parameters,
            steps: vec![],
            error: None,
            duration_s: 0.0,
        }
    }

    fn best_of(trials: u64, next: impl Fn(u64, &[Trial]) -> Parameters) -> f64 {
        let mut history: Vec<Trial> = Vec::new();
        for number in 0..trials {
            let parameters = next(number, &history);
            let value = branin(&parameters);
            history.push(trial(number, parameters, value));
        }
        history.iter().filter_map(|t| t.value).fold(f64::INFINITY, f64::min)
    }

    #[test]
    fn the_estimator_beats_random_search_on_branins_function_over_twenty_seeds() {
        let space = space();
        let (mut estimated, mut random_search, mut wins) = (0.0, 0.0, 0);
        for seed in 0..20 {
            let tpe = best_of(60, |n, history| {
                propose(&space, seed, n, &history.iter().collect::<Vec<_>>(), &[]).unwrap()
            });
            let luck = best_of(60, |n, _| random(&space, seed, n));
            estimated += tpe / 20.0;
            random_search += luck / 20.0;
            wins += u32::from(tpe < luck);
        }
        println!(
            "mean best of 60: estimator {estimated:.4}, random {random_search:.4}; {wins} of 20 better"
        );
        // Distance to the minimum at most half that of random search.
        assert!(estimated - 0.397_887 < 0.5 * (random_search - 0.397_887));
        assert!(wins >= 14, "{wins}");
    }

    #[test]
    fn a_proposal_does_not_depend_on_the_order_of_the_history() {
        let space = space();
        let trials: Vec<Trial> = (0..30)
            .map(|n| {
                let p = random(&space, 9, n);
                let value = branin(&p);
                trial(n, p, value)
            })
            .collect();
        let forwards: Vec<&Trial> = trials.iter().collect();
        let backwards: Vec<&Trial> = trials.iter().rev().collect();
        let a = propose(&space, 1, 30, &forwards, &[]).unwrap();
        assert_eq!(a, propose(&space, 1, 30, &backwards, &[]).unwrap());
        assert_ne!(a, propose(&space, 2, 30, &forwards, &[]).unwrap());
    }

    #[test]
    fn a_choice_is_searched_too() {
        let words = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        let range = Range::Choice { choices: words };
        let space = Space::new(vec![Parameter { name: "word".into(), range }]).unwrap();
        let mut history: Vec<Trial> = Vec::new();
        for n in 0..60 {
            let p = propose(&space, 4, n, &history.iter().collect::<Vec<_>>(), &[]).unwrap();
            let ParameterValue::Choice(word) = &p["word"] else { panic!("{p:?}") };
            let value = f64::from(u8::from(word != "d"));
            history.push(trial(n, p, value));
        }
        let good = history[30..].iter().filter(|t| t.value == Some(0.0)).count();
        assert!(good > 15, "{good} of 30: chance is 6");
    }

    #[test]
    fn complete_trials_come_before_pruned_ones_and_these_before_failed_ones() {
        let of = |number, state, value, steps: usize| Trial {
            state,
            value,
            steps: (1..=steps as u32).map(|s| (s, 0.5)).collect(),
            ..trial(number, Parameters::new(), 0.0)
        };
        let mut trials = [
            of(0, State::Failed, None, 0),
            of(1, State::Pruned, Some(0.1), 1),
            of(2, State::Pruned, Some(0.2), 2),
            of(3, State::Complete, Some(0.9), 3),
            of(4, State::Complete, Some(0.8), 3),
        ];
        trials.sort_by(order);
        assert_eq!(trials.map(|t| t.number), [4, 3, 2, 1, 0]);
    }
}
