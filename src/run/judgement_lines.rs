//! The report's lines on how members were weighed and judged: combinations, duels, abstention, anomalies.

use std::fmt::Write as _;

use purkinje_strategies::calibrate::Conformal;

use crate::{
    learning::{
        forecaster::Forecaster,
        shadow::{Duel, Shadow},
    },
    signals::DecidedBy,
};

/// Writes them; `instruments` are their keys, in order. What was off has no line.
pub(super) fn judgement_lines(
    out: &mut String,
    forecaster: &Forecaster,
    instruments: &[String],
) -> std::fmt::Result {
    let names = forecaster.member_names();
    let judge = forecaster.judge();
    let weights: Vec<f64> = judge.weights().collect();
    writeln!(out, "  weights              {}", weighed(&names, &weights))?;
    if let Some(shadow) = judge.shadow() {
        let weights: Vec<f64> = shadow.weights().collect();
        writeln!(out, "  challenger           {}: {}", shadow.rule(), weighed(&names, &weights))?;
        duel_lines(out, shadow, instruments)?;
    }
    conformal_line(out, judge.conformal())?;
    if let Some(anomaly) = forecaster.models().anomaly() {
        let counts = anomaly.counts();
        writeln!(
            out,
            "  anomaly              {}: {} of {} forecasts lowered, greatest score {:.2}, {} at the limit",
            anomaly.name(),
            counts.unusual,
            counts.scored,
            counts.greatest,
            counts.maximal
        )?;
    }
    Ok(())
}

/// Members and their weights; the last weight is the base rate's, and of members only the first have one.
fn weighed(names: &[String], weights: &[f64]) -> String {
    let (base_rate, of_members) = weights.split_last().unwrap_or((&0.0, &[]));
    let members = names.iter().map(String::as_str).zip(of_members);
    let all = members.chain([("base rate", base_rate)]);
    let shares: Vec<String> = all.map(|(name, w)| format!("{name} {:.1} %", w * 100.0)).collect();
    shares.join(", ")
}

fn duel_lines(out: &mut String, shadow: &Shadow, instruments: &[String]) -> std::fmt::Result {
    let duels = shadow.duels();
    let promotions: u64 = duels.iter().map(Duel::promotions).sum();
    let by_challenger = duels.iter().filter(|duel| duel.decided_by() == DecidedBy::Challenger);
    writeln!(
        out,
        "  duels                {promotions} promotions; the challenger decides about {} of {} instruments",
        by_challenger.count(),
        duels.len()
    )?;
    for (key, duel) in instruments.iter().zip(duels) {
        write!(
            out,
            "  {key:<20} the {} decides; evidence 10^{:.2} against it over {} labels",
            duel.decided_by().name(),
            duel.evidence_log10(),
            duel.labels()
        )?;
        if let Some(last) = duel.last() {
            write!(
                out,
                "; {} promotions, the last on {} labels at 10^{:.2}",
                duel.promotions(),
                last.labels,
                last.wealth.log10()
            )?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn conformal_line(out: &mut String, conformal: &[Conformal]) -> std::fmt::Result {
    let Some(first) = conformal.first() else { return Ok(()) };
    let labels: u64 = conformal.iter().map(Conformal::learned).sum();
    let missed: u64 = conformal.iter().map(Conformal::missed).sum();
    write!(out, "  conformal sets       target {:.2} %; ", 100.0 * first.target())?;
    if labels == 0 {
        return writeln!(out, "no labels");
    }
    let rates = conformal.iter().filter(|one| one.learned() > 0).map(Conformal::miss_rate);
    let (least, most) = rates.fold((1.0f64, 0.0f64), |(a, b), rate| (a.min(rate), b.max(rate)));
    writeln!(
        out,
        "{missed} of {labels} labels missed, {:.2} % (by instrument {:.2} to {:.2} %)",
        100.0 * missed as f64 / labels as f64,
        100.0 * least,
        100.0 * most
    )
}
