//! The tables of an evaluation, each as text, as Markdown and as HTML.
//!
//! Invariant: what a terminal, a model card and a report page say comes from the same cells.

use std::fmt::Write as _;

use super::{
    bootstrap::Estimate,
    evaluate::{Evaluation, PartFacts},
    latency::{Latency, Quantiles},
    metrics::{BINS, Metric},
    perturb::Level,
};

/// Rows of cells under a header; the first cell of a row is text, the others are figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Titles of the columns.
    pub head: Vec<String>,
    /// As many cells as titles each.
    pub rows: Vec<Vec<String>>,
    /// Whether all cells are text.
    pub is_text: bool,
}

impl Table {
    fn new<const N: usize>(head: [&str; N]) -> Self {
        Self { head: head.map(str::to_owned).to_vec(), rows: Vec::new(), is_text: false }
    }

    fn push<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.into());
    }

    /// Aligned by blanks.
    #[must_use]
    pub fn text(&self) -> String {
        let lines = || std::iter::once(&self.head).chain(&self.rows);
        let width = |column: usize| {
            let cells = lines().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let mut out = String::new();
        for line in lines() {
            let mut text = String::new();
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                // Writing to a String cannot fail.
                let _ = if column == 0 {
                    write!(text, "{cell:<width$}")
                } else {
                    write!(text, "  {cell:>width$}")
                };
            }
            let _ = writeln!(out, "{}", text.trim_end());
        }
        out
    }

    /// As a Markdown table.
    #[must_use]
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| {
            let escaped: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
            format!("| {} |\n", escaped.join(" | "))
        };
        let marks: Vec<String> = (0..self.head.len())
            .map(|column| if column == 0 || self.is_text { "---" } else { "--:" }.to_owned())
            .collect();
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        format!("{}{}{rows}", line(&self.head), line(&marks))
    }

    /// As an HTML table.
    #[must_use]
    pub fn html(&self) -> String {
        let line = |cells: &[String], tag: &str| {
            let cells = cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        };
        let rows: String = self.rows.iter().map(|row| line(row, "td")).collect();
        let class = if self.is_text { " class=\"facts\"" } else { "" };
        format!(
            "<table{class}>\n<thead>{}</thead>\n<tbody>\n{rows}</tbody>\n</table>\n",
            line(&self.head, "th")
        )
    }
}

/// Text as HTML shows it.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A time as people read it, UTC.
#[must_use]
pub fn time(ts_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(i128::from(ts_ns))
        .map_or_else(|_| format!("{ts_ns} ns"), |time| format!("{time:.3}"))
}

fn number(value: f64, decimals: usize) -> String {
    if value.is_finite() { format!("{value:.decimals$}") } else { "-".to_owned() }
}

fn percent(value: f64, decimals: usize) -> String {
    number(100.0 * value, decimals)
}

/// A figure with its interval, if it has one.
#[must_use]
pub fn with_interval(estimate: &Estimate, text: impl Fn(f64) -> String) -> String {
    let Estimate { value, low, high } = *estimate;
    if low.is_finite() && high.is_finite() {
        format!("{} ({} to {})", text(value), text(low), text(high))
    } else {
        text(value)
    }
}

/// What a gain of log loss is, with its interval, in thousandths of a nat.
#[must_use]
pub fn gain(estimate: &Estimate) -> String {
    with_interval(estimate, |nat| number(1e3 * nat, 2))
}

/// What the network is.
#[must_use]
pub fn network(evaluation: &Evaluation) -> Table {
    let network = &evaluation.network;
    let mut table = Table { is_text: true, ..Table::new(["network", network.name.as_str()]) };
    let architecture: Vec<&str> = network.architecture.lines().map(str::trim).collect();
    for (key, value) in [
        ("kind", network.kind.clone()),
        ("architecture", architecture.join("; ")),
        ("inputs", format!("{}: {}", network.inputs.len(), network.inputs.join(", "))),
        ("window", format!("{} steps", network.steps)),
        ("answer", format!("P(up | the price moves) in {} ms", network.horizon_ms)),
        ("cycle", format!("{} ms", network.cycle_ms)),
        ("parameters", network.parameters.map_or_else(|| "-".to_owned(), |n| n.to_string())),
        ("weights read by an answer", format!("{} bytes", network.weight_bytes)),
        ("sha256", network.sha256.clone()),
    ] {
        table.push([key.to_owned(), value]);
    }
    table
}

/// What it was evaluated on.
#[must_use]
pub fn data(evaluation: &Evaluation) -> Table {
    let mut table =
        Table::new(["rows", "from (UTC)", "to (UTC)", "rows", "rose", "fell", "stood still"]);
    for (name, part) in
        [("earlier: baselines learn", &evaluation.earlier), ("tested", &evaluation.tested)]
    {
        let PartFacts { rows, classes: [ups, downs], from_ns, to_ns } = *part;
        let still = rows - ups - downs;
        let counts = [rows, ups, downs, still].map(|count| count.to_string());
        let [rows, ups, downs, still] = counts;
        table.push([name.to_owned(), time(from_ns), time(to_ns), rows, ups, downs, still]);
    }
    table
}

/// All figures of all forecasters.
#[must_use]
pub fn scores(evaluation: &Evaluation) -> Table {
    let names = evaluation.scores.iter().map(|score| score.name.clone());
    let mut table = Table {
        head: std::iter::once("figure (95 % interval)".to_owned()).chain(names).collect(),
        rows: Vec::new(),
        is_text: false,
    };
    for metric in Metric::ALL {
        let cells = evaluation.scores.iter().map(|score| {
            with_interval(&score.figures[metric as usize], |value| metric.text(value))
        });
        table.rows.push(std::iter::once(metric.title().to_owned()).chain(cells).collect());
    }
    let gains = evaluation
        .scores
        .iter()
        .enumerate()
        .map(|(place, score)| if place == 0 { String::new() } else { gain(&score.gain) });
    let title = "gain of the network, mnat".to_owned();
    table.rows.push(std::iter::once(title).chain(gains).collect());
    table
}

/// Answers by bin.
#[must_use]
pub fn calibration(evaluation: &Evaluation) -> Table {
    let mut table = Table::new(["answers", "rows", "mean answer, %", "rose, % (95 % interval)"]);
    let bins = evaluation.own().tally.bins;
    for (place, (bin, frequency)) in bins.iter().zip(&evaluation.frequencies).enumerate() {
        let range =
            format!("{:.1} to {:.1}", place as f64 / BINS as f64, (place + 1) as f64 / BINS as f64);
        table.push([
            range,
            number(bin.count, 0),
            percent(bin.forecast / bin.count, 2),
            with_interval(frequency, |share| percent(share, 2)),
        ]);
    }
    table
}

/// Confusion of the network's answers.
#[must_use]
pub fn confusion(evaluation: &Evaluation) -> Table {
    let tally = &evaluation.own().tally;
    let mut table = Table::new(["", "forecast up", "forecast down"]);
    table.push(["rose".to_owned(), number(tally.up_as_up, 1), number(tally.up_as_down, 1)]);
    table.push(["fell".to_owned(), number(tally.down_as_up, 1), number(tally.down_as_down, 1)]);
    table
}

/// Under noise and with inputs missing.
#[must_use]
pub fn robustness(evaluation: &Evaluation) -> Table {
    let mut table = Table::new(["disturbance", "accuracy, %", "log loss, nat", "ECE, %"]);
    let mut rows = |levels: &[Level], text: &dyn Fn(f64) -> String| {
        for level in levels {
            table.push([
                text(level.amount),
                percent(level.accuracy, 2),
                number(level.log_loss, 4),
                percent(level.calibration_error, 2),
            ]);
        }
    };
    rows(evaluation.noise.get(..1).unwrap_or_default(), &|_| "none".to_owned());
    rows(evaluation.noise.get(1..).unwrap_or_default(), &|amount| format!("noise of {amount} sd"));
    rows(evaluation.missing.get(1..).unwrap_or_default(), &|share| {
        format!("{:.0} % of inputs missing", 100.0 * share)
    });
    table
}

/// The first features by importance.
#[must_use]
pub fn importance(evaluation: &Evaluation, rows: usize) -> Table {
    let mut table =
        Table::new(["shuffled input", "rise of log loss, mnat", "sd of shuffles, mnat"]);
    for found in evaluation.importance.iter().take(rows) {
        table.push([
            found.name.to_owned(),
            number(1e3 * found.loss_rise, 2),
            number(1e3 * found.loss_rise_sd, 2),
        ]);
    }
    table
}

/// The answers, then the features that moved most.
#[must_use]
pub fn drift(evaluation: &Evaluation, rows: usize) -> Table {
    let mut table =
        Table::new(["of earlier to tested rows", "stability index", "Kolmogorov–Smirnov"]);
    let own = ("the network's answers", evaluation.answer_drift);
    let features = evaluation.drift.iter().map(|drift| (drift.name, drift.distance));
    for (name, distance) in std::iter::once(own).chain(features.take(rows)) {
        table.push([
            name.to_owned(),
            number(distance.stability_index, 3),
            number(distance.kolmogorov_smirnov, 3),
        ]);
    }
    table
}

/// Figures by period.
#[must_use]
pub fn periods(evaluation: &Evaluation) -> Table {
    let mut table = Table::new([
        "from (UTC)",
        "moves",
        "accuracy, %",
        "log loss, nat",
        "base rate",
        "persistence",
        "logistic regression",
    ]);
    for period in &evaluation.periods {
        let [own, base, persistence, logistic] = period.log_loss.map(|loss| number(loss, 4));
        table.push([
            time(period.from_ns),
            period.rows.to_string(),
            percent(period.accuracy, 2),
            own,
            base,
            persistence,
            logistic,
        ]);
    }
    table
}

/// What a step takes.
#[must_use]
pub fn latency(latency: &Latency) -> Table {
    let mut table = Table::new(["µs", "p50", "p99", "p99.9", "steps"]);
    let us = |ns: u64| format!("{:.2}", ns as f64 * 1e-3);
    for (name, quantiles) in [
        ("step, warm", &latency.warm),
        ("step, cold caches", &latency.cold),
        ("the clock alone", &latency.clock),
    ] {
        let Quantiles { calls, p50_ns, p99_ns, p999_ns } = *quantiles;
        let [p50, p99, p999] = [p50_ns, p99_ns, p999_ns].map(us);
        table.push([name.to_owned(), p50, p99, p999, calls.to_string()]);
    }
    table
}

/// Where [`latency`] was measured, and what is held in memory.
#[must_use]
pub fn memory(latency: &Latency) -> String {
    let grown = latency.resident_bytes.map_or_else(String::new, |bytes| {
        format!("; loading and a first step let the process grow by {} KiB", bytes >> 10)
    });
    format!(
        "{} instruments a step, {}, {} bytes of weights{grown}",
        latency.instruments, latency.isa, latency.weight_bytes
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["name", "value"]);
        table.push(["a <b> | c".to_owned(), "1.50".to_owned()]);
        table.push(["é".to_owned(), "12.25".to_owned()]);
        table
    }

    #[test]
    fn a_table_is_the_same_cells_in_three_notations() {
        assert_eq!(table().text(), "name       value\na <b> | c   1.50\né          12.25\n");
        let markdown = "| name | value |\n| --- | --: |\n| a <b> \\| c | 1.50 |\n| é | 12.25 |\n";
        assert_eq!(table().markdown(), markdown);
        let html = table().html();
        assert!(html.contains("<tr><td>a &lt;b&gt; | c</td><td>1.50</td></tr>"), "{html}");
        assert!(roxmltree::Document::parse(&html).is_ok());
    }

    #[test]
    fn intervals_are_told_where_there_are_any_and_times_in_utc() {
        let sure = Estimate { value: 0.004, low: -0.001, high: 0.0121 };
        assert_eq!(gain(&sure), "4.00 (-1.00 to 12.10)");
        assert_eq!(gain(&Estimate { low: f64::NAN, ..sure }), "4.00");
        assert_eq!(time(1_723_075_200_123_000_000), "2024-08-08T00:00:00.123Z");
    }
}
