//! The model card of an evaluated network, as Markdown (after Mitchell et al., *Model Cards for Model
//! Reporting*, 2019).

use std::fmt::Write as _;

use super::{
    bootstrap::{MIN_UNITS, RESAMPLES},
    drift::SHIFTED,
    evaluate::Evaluation,
    latency::Latency,
    perturb::SHUFFLES,
    tables,
};

/// Features of a list that a card tells.
const FEATURES_TOLD: usize = 12;

/// In a sentence: whether the network has skill, and over what not.
#[must_use]
pub fn verdict(evaluation: &Evaluation) -> String {
    let name = &evaluation.network.name;
    let unbeaten = evaluation.unbeaten();
    if unbeaten.is_empty() {
        return format!(
            "{name} has skill: the 95 % interval of its gain in log loss is above 0 over every baseline"
        );
    }
    if evaluation.units < MIN_UNITS {
        return format!(
            "{name} has not been shown to have skill: {} horizons of {} ms were tested, fewer than the \
             {MIN_UNITS} that give an interval",
            evaluation.units, evaluation.network.horizon_ms
        );
    }
    let scores = evaluation.scores.iter().skip(1);
    let told: Vec<String> = scores
        .filter(|score| unbeaten.contains(&score.name.as_str()))
        .map(|score| format!("{}, gain {} mnat", score.name, tables::gain(&score.gain)))
        .collect();
    format!("{name} has no proven skill over: {}", told.join("; "))
}

/// The card. Latency is a measurement, and the only part that differs between two cards of one evaluation.
#[must_use]
pub fn markdown(evaluation: &Evaluation, latency: Option<&Latency>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut out, evaluation, latency);
    out
}

fn write(out: &mut String, evaluation: &Evaluation, latency: Option<&Latency>) -> std::fmt::Result {
    let network = &evaluation.network;
    writeln!(out, "# {}\n\n**{}.**\n", network.name, verdict(evaluation))?;
    writeln!(out, "## What it is\n\n{}", tables::network(evaluation).markdown())?;
    writeln!(
        out,
        "## What it was evaluated on\n\n{}: {} instruments, labels of column `{}`. Baselines learned from the \
         earlier rows; what the network was trained on, the card cannot know: if that includes tested rows, \
         its figures are not out of sample. Rows whose price stood still are not scored.\n\n{}",
        evaluation.title,
        evaluation.instruments,
        evaluation.label,
        tables::data(evaluation).markdown()
    )?;
    writeln!(out, "## Figures beside baselines\n\n{}", tables::scores(evaluation).markdown())?;
    writeln!(
        out,
        "Labels overlap, so intervals come from a circular block bootstrap (Politis and Romano 1992): {} \
         horizons with rows, drawn in runs of {}, {RESAMPLES} times, all instruments and forecasters together. \
         Gain is the log loss of the baseline less that of the network on the same rows.\n",
        evaluation.units, evaluation.run_units
    )?;
    writeln!(out, "Confusion:\n\n{}", tables::confusion(evaluation).markdown())?;
    writeln!(
        out,
        "## Calibration\n\nAnswers as the network gives them; the daemon recalibrates online.\n\n{}",
        tables::calibration(evaluation).markdown()
    )?;
    if evaluation.disturbed > 0 {
        writeln!(
            out,
            "## Robustness\n\nOn the latest {} tested rows. Noise is Gaussian, in standard deviations of each \
             input; a missing input is 0, as the daemon shows it.\n\n{}",
            evaluation.disturbed,
            tables::robustness(evaluation).markdown()
        )?;
        writeln!(
            out,
            "## Importance of inputs\n\nBy {SHUFFLES} shuffles of each on the same rows; inputs that say the \
             same share what they are worth.\n\n{}",
            tables::importance(evaluation, FEATURES_TOLD).markdown()
        )?;
    }
    let shifted =
        evaluation.drift.iter().filter(|drift| drift.distance.stability_index > SHIFTED).count();
    writeln!(
        out,
        "## Drift\n\n{shifted} of {} inputs have a stability index above {SHIFTED}, by convention a shift.\n\n{}",
        evaluation.drift.len(),
        tables::drift(evaluation, FEATURES_TOLD).markdown()
    )?;
    writeln!(out, "## Over time\n\n{}", tables::periods(evaluation).markdown())?;
    if let Some(latency) = latency {
        writeln!(
            out,
            "## Latency and memory\n\nMeasured on the machine that wrote this card; no two measurements are \
             alike. {}.\n\n{}",
            tables::memory(latency),
            tables::latency(latency).markdown()
        )?;
    }
    write!(
        out,
        "## Limits\n\n\
         * It answers with P(up | the price moves) at its own horizon and cycle, from the features it was \
         trained on; the daemon refuses it for others.\n\
         * It is shown one stretch of one material. Skill there says little of other regimes, venues or \
         instruments; drift and the figures over time say how even that stretch was.\n\
         * Log loss and hit rate know no fees, spread, latency or market impact: skill is not profit.\n\
         * An interval tells of the sampling of rows, not of the choice of this network among others that \
         were tried on the same rows.\n"
    )
}
