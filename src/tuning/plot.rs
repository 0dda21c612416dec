//! A study as parallel coordinates: an axis a parameter, one for the loss, a line a trial.
//!
//! The drawing is [`ParallelCoordinates`]; here are its data. A parameter whose range is logarithmic
//! has a logarithmic axis; a word is drawn at its place among the range's words. Trials without a
//! loss are left out and counted by the drawing. Invariant: a function of the trials alone.

use super::{
    space::{Parameter, ParameterValue, Range, Scale},
    study::Study,
};
use crate::training::plots::{Axis, MAX_AXES, ParallelCoordinates, Trial};

/// The trials of a study. Of more parameters than fit, the first ones are shown, and the title says
/// so.
#[must_use]
pub fn parallel_coordinates(study: &Study) -> ParallelCoordinates {
    let all = study.header().space.parameters();
    let parameters = &all[..all.len().min(MAX_AXES - 1)];
    let axis = |parameter: &Parameter| Axis {
        // The section of a key is long and the same for most.
        name: match (&parameter.range, parameter.name.rsplit('.').next()) {
            (Range::Choice { choices }, Some(short)) => format!("{short}: {}", choices.join(", ")),
            (_, short) => short.unwrap_or(&parameter.name).to_owned(),
        },
        log: match parameter.range {
            Range::Float { scale, .. } | Range::Int { scale, .. } => scale == Scale::Log,
            Range::Choice { .. } => false,
        },
    };
    let trials = study.trials().map(|trial| Trial {
        values: parameters
            .iter()
            .map(|p| trial.parameters.get(&p.name).map_or(f64::NAN, |v| place(&p.range, v)))
            .collect(),
        score: trial.value.unwrap_or(f64::NAN),
    });
    let title = if parameters.len() < all.len() {
        format!("Study, {} of {} parameters", parameters.len(), all.len())
    } else {
        "Study".to_owned()
    };
    ParallelCoordinates {
        title,
        score_label: "log loss, nat".to_owned(),
        axes: parameters.iter().map(axis).collect(),
        trials: trials.collect(),
    }
}

/// Where a value lies on its axis.
fn place(range: &Range, value: &ParameterValue) -> f64 {
    match (range, value) {
        (_, ParameterValue::Float(x)) => *x,
        (_, ParameterValue::Int(n)) => *n as f64,
        (Range::Choice { choices }, ParameterValue::Choice(word)) => {
            choices.iter().position(|choice| choice == word).map_or(f64::NAN, |at| at as f64)
        }
        (_, ParameterValue::Choice(_)) => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::training::plots::Plot as _;
    use crate::tuning::{
        sampler::random,
        space::Space,
        study::{Header, ObjectiveId, State, Trial, VERSION},
        table::table,
    };

    fn study() -> Study {
        let mut study = Study::new(Header {
            version: VERSION,
            seed: 1,
            jobs: 1,
            objective: ObjectiveId {
                what: "test".into(),
                data_sha256: String::new(),
                config_sha256: String::new(),
            },
            space: Space::standard(),
        });
        for (number, value) in [(0, 0.69), (1, 0.61), (2, 0.65)] {
            let trial = Trial {
                number,
                state: State::Complete,
                value: Some(value),
                parameters: random(&Space::standard(), 1, number),
                steps: vec![],
                error: None,
                duration_s: number as f64,
            };
            study.add(trial).unwrap();
        }
        let failed = Trial {
            number: 3,
            state: State::Failed,
            value: None,
            parameters: random(&Space::standard(), 1, 3),
            steps: vec![],
            error: Some("no <memory>".into()),
            duration_s: 0.0,
        };
        study.add(failed).unwrap();
        study
    }

    #[test]
    fn every_trial_is_a_line_through_its_values_and_its_loss() {
        let study = study();
        let plot = parallel_coordinates(&study);
        let axes: Vec<(&str, bool)> = plot.axes.iter().map(|a| (a.name.as_str(), a.log)).collect();
        assert_eq!(axes[0], ("learning_rate", true));
        assert_eq!([axes[1].0, axes[2].0], ["granule_cells", "sparsity"]);
        let scores: Vec<f64> = plot.trials.iter().map(|t| t.score).collect();
        assert_eq!(scores[..3], [0.69, 0.61, 0.65]);
        assert!(scores[3].is_nan(), "the failed one has no loss");
        let rate = &study.best().unwrap().parameters["strategy.cerebellum.learning_rate"];
        assert_eq!(ParameterValue::Float(plot.trials[1].values[0]), *rate);
        let svg = plot.svg().unwrap();
        assert!(svg.contains("Study: 3 of 4 trials") && svg.contains("granule_cells"), "{svg}");
    }

    #[test]
    fn a_word_lies_at_its_place_among_the_words() {
        let range = Range::Choice { choices: vec!["a".into(), "b".into(), "c".into()] };
        assert_eq!(place(&range, &ParameterValue::Choice("c".into())), 2.0);
        assert!(place(&range, &ParameterValue::Choice("d".into())).is_nan());
    }

    #[test]
    fn the_table_has_the_best_trial_first_and_no_wall_time() {
        let text = table(&study(), 3);
        let rows: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(rows[0][..4], ["rank", "trial", "state", "loss"]);
        assert_eq!(rows[1][..4], ["1", "1", "complete", "0.610000"]);
        assert_eq!(rows[3][..4], ["3", "0", "complete", "0.690000"]);
        assert_eq!(rows[4], ["...", "1", "more"]);
        assert!(table(&study(), 9).contains("no <memory>"));
    }
}
