//! What a training prints at its end.
//!
//! Invariant: every figure of the table is of the best epoch's frozen weights and of forecasters that
//! learned from the training part alone; the validation part has chosen the epoch, so only the test
//! part is out of sample.

use std::fmt::Write as _;

use super::{
    rows::Rows,
    score::Score,
    session::{Mode, Outcome},
};

/// The whole text.
#[must_use]
pub fn text(outcome: &Outcome, rows: &Rows, mode: Mode) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut out, outcome, rows, mode);
    out
}

fn write(out: &mut String, outcome: &Outcome, rows: &Rows, mode: Mode) -> std::fmt::Result {
    let unit = if mode == Mode::Hybrid { "cycles" } else { "epochs" };
    let end = match (outcome.is_stopped, outcome.has_converged) {
        (true, _) => ": stopped, --resume goes on",
        (false, true) => ": the loss no longer fell",
        (false, false) => "",
    };
    writeln!(out, "{unit:<14}{}{end}", outcome.epochs.len())?;
    writeln!(
        out,
        "rows          {} train, {} validation, {} test, {} purged; {} instruments, {} inputs, {} values absent",
        rows.train.rows().len(),
        rows.validation.rows().len(),
        rows.test.rows().len(),
        rows.purged,
        rows.instruments,
        rows.inputs.len(),
        rows.absent
    )?;
    if outcome.expired > 0 {
        writeln!(out, "expired       {} outcomes came too late to be learned", outcome.expired)?;
    }
    if !outcome.table.is_empty() {
        writeln!(
            out,
            "best          epoch {}: {}",
            outcome.best_epoch,
            outcome.best_path.display()
        )?;
        writeln!(
            out,
            "\n{:<12}{:>8}{:>19}{:>19}{:>19}",
            "", "", "base rate", "logistic", "cerebellum"
        )?;
        write!(out, "{:<12}{:>8}", "part", "moves")?;
        writeln!(
            out,
            "{:>11}{:>8}{:>11}{:>8}{:>11}{:>8}",
            "loss nat", "hit %", "loss nat", "hit %", "loss nat", "hit %"
        )?;
        for (name, _, scores) in &outcome.table {
            write!(out, "{name:<12}{:>8}", scores[0].rows)?;
            for score in scores {
                write!(out, "{:>11}{:>8}", figure(score.mean_loss(), 5), percent(score))?;
            }
            writeln!(out)?;
        }
    }
    write!(out, "\nweights sha256 {}", outcome.weights_sha256)
}

fn figure(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

fn percent(score: &Score) -> String {
    figure(score.accuracy().map(|share| 100.0 * share), 2)
}
