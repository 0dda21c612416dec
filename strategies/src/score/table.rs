//! The skill table of the report: aligned text, one row per forecaster, units in the header.

use std::fmt::{Error, Write};

use super::{Scorecard, Skill};

const NS_PER_S: f64 = 1e9;

impl Scorecard {
    /// The skill of every forecaster as aligned text. A value that is not defined is a dash.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail; the type of `write!` says that it might.
        match self.write_table(&mut out) {
            Ok(()) | Err(Error) => out,
        }
    }

    fn write_table(&self, out: &mut String) -> Result<(), Error> {
        let horizon_s = self.config.horizon_ns as f64 / NS_PER_S;
        writeln!(
            out,
            "P(up) over {horizon_s} s: {} labelled samples ({:.0} independent), {} unchanged, \
             {} in warm-up",
            self.labelled,
            self.independent(self.labelled),
            self.unchanged,
            self.warming_up,
        )?;
        if self.dropped_pending > 0 {
            writeln!(out, "{} labels never reached the base rate", self.dropped_pending)?;
        }
        let width = self.skills().map(|s| s.name.chars().count()).max().unwrap_or(0).max(10);
        writeln!(
            out,
            "{:<width$} {:>8} {:>7} {:>7} {:>9} {:>7} {:>10} {:>8} {:>7} {:>7} {:>7}",
            "forecaster",
            "n",
            "hit %",
            "Brier",
            "loss nat",
            "ECE %",
            "gain mnat",
            "± s.e.",
            "oracle%",
            "clipped",
            "invalid",
        )?;
        self.skills().try_for_each(|skill| write_row(out, width, &skill))
    }
}

fn write_row(out: &mut String, width: usize, skill: &Skill<'_>) -> Result<(), Error> {
    writeln!(
        out,
        "{:<width$} {:>8} {:>7} {:>7} {:>9} {:>7} {:>10} {:>8} {:>7} {:>7} {:>7}",
        skill.name,
        skill.n,
        number(100.0 * skill.hit_rate, 2),
        number(skill.brier, 4),
        number(skill.log_loss, 5),
        number(100.0 * skill.ece, 2),
        number(1e3 * skill.gain, 2),
        number(1e3 * skill.gain_se, 2),
        number(100.0 * skill.oracle_share, 1),
        skill.clipped,
        skill.invalid,
    )
}

fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "-".to_owned() }
}

#[cfg(test)]
mod tests {
    use crate::score::{Outcome, Sample, ScoreConfig, Scorecard};

    #[test]
    fn the_table_is_aligned_and_carries_the_numbers() {
        let config =
            ScoreConfig { cycle_ns: 100_000_000, horizon_ns: 1_000_000_000, warm_until_ns: 0 };
        let names = ["a forecaster with a long name", "absent"];
        let mut card = Scorecard::new(config, &names, Some(0)).unwrap();
        for i in 0..100 {
            let outcome = if i % 4 == 3 { Outcome::Down } else { Outcome::Up };
            let mut sample = Sample::new(i * config.cycle_ns, outcome);
            sample.p_up[0] = if outcome == Outcome::Up { 0.75 } else { 0.25 };
            card.record(&sample);
        }
        let table = card.table();
        let lines: Vec<&str> = table.lines().collect();
        let first =
            "P(up) over 1 s: 100 labelled samples (10 independent), 0 unchanged, 0 in warm-up";
        assert_eq!(lines[0], first);
        assert_eq!(lines.len(), 5);
        let widths: Vec<usize> = lines[1..].iter().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|w| *w == widths[0]), "{widths:?}");
        assert!(lines[3].contains(" 100.00 ") && lines[3].contains(" 0.28768 "), "{table}");
        assert!(lines[3].contains(" 100.0 ") && lines[4].contains(" - "), "{table}");
    }

    #[test]
    fn an_empty_scorecard_prints_dashes() {
        let config = ScoreConfig { cycle_ns: 1, horizon_ns: 1, warm_until_ns: 0 };
        let table = Scorecard::new(config, &["model"], None).unwrap().table();
        assert!(!table.contains("NaN"), "{table}");
        assert_eq!(table.lines().count(), 4);
    }
}
