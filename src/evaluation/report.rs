//! `card.md` and `report.html` in a network's folder.
//!
//! The page needs nothing but itself: its pictures are SVG within it, its colours follow the reader's light
//! or dark setting. Invariants: each file is whole or as it was; the same evaluation gives the same page,
//! and the same card but for latency, which is not on the page.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::{
    baselines::BASELINES,
    card,
    evaluate::Evaluation,
    history::History,
    latency::Latency,
    perturb::Level,
    tables::{self, Table, escape},
};
use crate::{
    files::atomic_file::{AtomicFileError, write_atomically},
    training::plots::{
        Bar, Bars, Confusion, Curve, Curves, Plot, PlotError, Reliability, ReliabilityBin,
    },
};

/// The model card.
pub const CARD: &str = "card.md";
/// The page.
pub const REPORT: &str = "report.html";

/// Colours and type; what plots draw in white and black follows the page.
const STYLE: &str = "
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1f24; --faint: #6a737d; --line: #d8dee4; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181d; --ink: #e3e8ee; --faint: #98a2ad; --line: #343b44; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 62rem; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; }
p.verdict { border-left: 4px solid #0072b2; padding: .5rem 1rem; } p.verdict.none { border-color: #d55e00; }
div.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; white-space: nowrap; }
table.facts td, table.facts th { text-align: left; overflow-wrap: anywhere; }
figure { margin: 1.5rem 0; } figcaption { color: var(--faint); font-size: .9rem; }
svg { max-width: 100%; height: auto; display: block; }
svg text { fill: var(--ink); font-family: system-ui, sans-serif; }
svg [fill='#FFFFFF'] { fill: var(--paper); } svg [stroke='#000000'] { stroke: var(--ink); }
";

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    /// A picture cannot be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// A file cannot be written.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
}

/// Writes card and page into the folder of the network; returns where they are.
///
/// # Errors
/// A picture cannot be drawn, in which case nothing is written, or the system refuses.
pub fn write(
    folder: &Path,
    evaluation: &Evaluation,
    latency: Option<&Latency>,
    history: Option<&History>,
) -> Result<[PathBuf; 2], ReportError> {
    let files = [
        (folder.join(CARD), card::markdown(evaluation, latency)),
        (folder.join(REPORT), html(evaluation, history)?),
    ];
    for (path, text) in &files {
        write_atomically(path, &[text.as_bytes()])?;
    }
    Ok(files.map(|(path, _)| path))
}

/// The page.
///
/// # Errors
/// A picture cannot be drawn.
pub fn html(evaluation: &Evaluation, history: Option<&History>) -> Result<String, PlotError> {
    let mut page = Page(String::new());
    let name = escape(&evaluation.network.name);
    page.add(&format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n"
    ));
    let class = if evaluation.unbeaten().is_empty() { "verdict" } else { "verdict none" };
    page.add(&format!("<p class=\"{class}\">{}.</p>\n", escape(&card::verdict(evaluation))));
    page.section("What it is");
    page.table(&tables::network(evaluation));
    page.section("Rows");
    page.paragraph(&format!(
        "{}: {} instruments, labels of column {}.",
        evaluation.title, evaluation.instruments, evaluation.label
    ));
    page.table(&tables::data(evaluation));
    page.section("Figures beside baselines");
    page.table(&tables::scores(evaluation));
    page.paragraph(&format!(
        "Intervals of 95 % from a circular block bootstrap of {} horizons in runs of {}. Gain: log loss of the \
         baseline less that of the network on the same rows.",
        evaluation.units, evaluation.run_units
    ));
    page.section("Calibration");
    page.figure(
        &reliability(evaluation),
        "Points on the diagonal: what is said happens as often as said.",
    )?;
    page.figure(&confusion(evaluation), "An answer above one half is a forecast of a rise.")?;
    page.section("Over time");
    page.figure(&over_time(evaluation), "Each point is a stretch with equally many moves.")?;
    if evaluation.disturbed > 0 {
        page.section("Robustness");
        let rows = format!(
            "On the latest {} tested rows; at 0 the network is no better than the base rate.",
            evaluation.disturbed
        );
        let noise = ("Gain under noise", "noise, standard deviations of each input");
        page.figure(&levels(noise, &evaluation.noise, evaluation), &rows)?;
        let missing = ("Gain with inputs missing", "share of inputs that are missing");
        page.figure(&levels(missing, &evaluation.missing, evaluation), &rows)?;
        page.table(&tables::robustness(evaluation));
        page.section("Importance of inputs");
        page.figure(
            &importance(evaluation),
            "Rise of the log loss when the values of one input are shuffled; lines: standard deviation of shuffles.",
        )?;
    }
    page.section("Drift");
    page.figure(
        &drift(evaluation),
        "From the earlier to the tested rows; by convention 0.1 is noticeable and 0.25 a shift.",
    )?;
    page.table(&tables::drift(evaluation, usize::MAX));
    if let Some(history) = history {
        page.section("Training");
        page.figure(&history.plot(), "As the training left it.")?;
    }
    page.add("</body>\n</html>\n");
    Ok(page.0)
}

struct Page(String);

impl Page {
    fn add(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn section(&mut self, title: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "<h2>{}</h2>", escape(title));
    }

    fn paragraph(&mut self, text: &str) {
        let _ = writeln!(self.0, "<p>{}</p>", escape(text));
    }

    fn table(&mut self, table: &Table) {
        let _ = writeln!(self.0, "<div class=\"wide\">{}</div>", table.html());
    }

    fn figure(&mut self, plot: &impl Plot, caption: &str) -> Result<(), PlotError> {
        let caption = escape(caption);
        let svg = plot.svg()?.replacen(
            "<svg ",
            &format!("<svg role=\"img\" aria-label=\"{caption}\" "),
            1,
        );
        let _ = writeln!(self.0, "<figure>\n{svg}<figcaption>{caption}</figcaption>\n</figure>");
        Ok(())
    }
}

fn reliability(evaluation: &Evaluation) -> Reliability {
    let bins = evaluation.own().tally.bins.iter().zip(&evaluation.frequencies);
    let bins = bins.map(|(bin, frequency)| ReliabilityBin {
        forecast: bin.forecast / bin.count,
        frequency: frequency.value,
        interval: [frequency.low, frequency.high],
        count: bin.count,
    });
    Reliability {
        title: "Reliability".to_owned(),
        event: "a rise".to_owned(),
        bins: bins.collect(),
    }
}

fn confusion(evaluation: &Evaluation) -> Confusion {
    let tally = &evaluation.own().tally;
    Confusion {
        title: "Confusion".to_owned(),
        classes: ["up", "down"].map(str::to_owned),
        counts: [[tally.up_as_up, tally.up_as_down], [tally.down_as_up, tally.down_as_down]],
    }
}

fn over_time(evaluation: &Evaluation) -> Curves {
    let start_ns = evaluation.tested.from_ns;
    let minutes = |ts_ns: i64| (ts_ns - start_ns) as f64 / 60e9;
    let names = std::iter::once(evaluation.network.name.as_str()).chain(BASELINES);
    let curve = |(place, name): (usize, &str)| {
        let point =
            |period: &super::evaluate::Period| (minutes(period.from_ns), period.log_loss[place]);
        Curve::new(name, evaluation.periods.iter().map(point).collect())
    };
    Curves {
        title: "Log loss over the tested rows".to_owned(),
        x_label: format!("minutes since {}", tables::time(start_ns)),
        y_label: "log loss, nat".to_owned(),
        log_y: false,
        curves: names.enumerate().map(curve).collect(),
    }
}

fn levels((title, x_label): (&str, &str), levels: &[Level], evaluation: &Evaluation) -> Curves {
    let curve = |name: &str, gain: &dyn Fn(&Level) -> f64| {
        let points = levels.iter().map(|level| (level.amount, 1e3 * gain(level)));
        Curve::new(name, points.collect())
    };
    let gain = |level: &Level| evaluation.disturbed_base_loss - level.log_loss;
    Curves {
        title: title.to_owned(),
        x_label: x_label.to_owned(),
        y_label: "gain over the base rate, mnat".to_owned(),
        log_y: false,
        curves: vec![curve("network", &gain), curve("base rate", &|_| 0.0)],
    }
}

fn importance(evaluation: &Evaluation) -> Bars {
    let bar = |found: &super::perturb::Importance| Bar {
        name: found.name.to_owned(),
        value: 1e3 * found.loss_rise,
        spread: 1e3 * found.loss_rise_sd,
    };
    Bars {
        title: "Importance by permutation".to_owned(),
        x_label: "rise of the log loss, mnat".to_owned(),
        bars: evaluation.importance.iter().map(bar).collect(),
    }
}

fn drift(evaluation: &Evaluation) -> Bars {
    let bar = |drift: &super::evaluate::FeatureDrift| Bar {
        name: drift.name.to_owned(),
        value: drift.distance.stability_index,
        spread: 0.0,
    };
    Bars {
        title: "Inputs that moved most".to_owned(),
        x_label: "population stability index".to_owned(),
        bars: evaluation.drift.iter().map(bar).collect(),
    }
}
