//! A study as parallel coordinates: an axis a parameter, one for the loss, a line a trial.
//!
//! [`ParallelCoordinates`] is the data alone; [`draw_svg`] draws it. Invariants: every height is in
//! [0, 1] or absent; rows go from the worst to the best, so that the best are drawn on top; at most
//! [`MAX_ROWS`] rows, the best ones.

use std::path::{Path, PathBuf};

use plotters::prelude::*;
use thiserror::Error;

use super::{
    space::Range,
    study::{State, Study},
};

/// Most trials drawn.
pub const MAX_ROWS: usize = 2_000;

/// Room left and right of the axes, pixels.
const MARGIN: i32 = 90;
/// Room above the axes, pixels.
const TOP: i32 = 60;
/// Length of an axis, pixels.
const HEIGHT: i32 = 420;
/// From one axis to the next, pixels.
const AXIS: i32 = 190;

/// One axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The parameter, or `loss`.
    pub name: String,
    /// Heights in [0, 1] with what stands there.
    pub ticks: Vec<(f64, String)>,
}

/// One trial.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The trial.
    pub trial: u64,
    /// How it ended.
    pub state: State,
    /// Height on each axis, in [0, 1]; absent where it has no value.
    pub values: Vec<Option<f64>>,
}

/// A study as heights on axes.
#[derive(Clone, Debug, PartialEq)]
pub struct ParallelCoordinates {
    /// The axes: the parameters in the order of the space, then the loss.
    pub columns: Vec<Column>,
    /// The trials, worst first.
    pub rows: Vec<Row>,
}

/// Why there is no plot.
#[derive(Debug, Error)]
#[error("{path}: cannot draw: {reason}")]
pub struct PlotError {
    /// The file.
    pub path: PathBuf,
    /// The words of the system, or of the drawing library.
    pub reason: String,
}

/// The heights of all trials. Parameters lie on the scale of their range; the loss is linear between
/// the least and the largest of the complete trials, and a worse one of a pruned trial lies at 1.
#[must_use]
pub fn parallel_coordinates(study: &Study) -> ParallelCoordinates {
    let parameters = study.header().space.parameters();
    let losses: Vec<f64> =
        study.trials().filter(|t| t.state == State::Complete).filter_map(|t| t.value).collect();
    let low = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let high = losses.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let loss_height = |loss: f64| {
        // Without a complete trial, or with equal ones, there is no scale.
        let width = high - low;
        (width >= 0.0)
            .then(|| if width > 0.0 { ((loss - low) / width).clamp(0.0, 1.0) } else { 0.5 })
    };
    let mut columns: Vec<Column> = parameters
        .iter()
        .map(|p| Column { name: p.name.clone(), ticks: ticks(&p.range) })
        .collect();
    let loss_ticks = [0.0, 0.25, 0.5, 0.75, 1.0];
    columns.push(Column {
        name: "loss".to_owned(),
        ticks: if low < high {
            loss_ticks.map(|h| (h, format!("{:.5}", low + h * (high - low)))).to_vec()
        } else {
            losses.first().map(|loss| (0.5, format!("{loss:.5}"))).into_iter().collect()
        },
    });
    let mut rows: Vec<Row> = study
        .ranked()
        .into_iter()
        .take(MAX_ROWS)
        .map(|trial| {
            let heights = parameters
                .iter()
                .map(|p| trial.parameters.get(&p.name).and_then(|v| p.range.unit(v)));
            let values = heights.chain([trial.value.and_then(loss_height)]).collect();
            Row { trial: trial.number, state: trial.state, values }
        })
        .collect();
    rows.reverse();
    ParallelCoordinates { columns, rows }
}

/// Five heights of a number, every word of a choice.
fn ticks(range: &Range) -> Vec<(f64, String)> {
    let at: Vec<f64> = match range {
        Range::Choice { choices } => {
            (0..choices.len()).map(|k| (k as f64 + 0.5) / choices.len() as f64).collect()
        }
        Range::Float { .. } | Range::Int { .. } => vec![0.0, 0.25, 0.5, 0.75, 1.0],
    };
    at.into_iter().map(|height| (height, range.value(height).to_string())).collect()
}

/// Draws to an SVG file: complete trials from blue (worst) to red (best), the others grey.
///
/// # Errors
/// The file cannot be written.
pub fn draw_svg(plot: &ParallelCoordinates, path: &Path) -> Result<(), PlotError> {
    let failed = |reason: String| PlotError { path: path.to_owned(), reason };
    let mut svg = String::new();
    draw(plot, &mut svg).map_err(|e| failed(e.to_string()))?;
    std::fs::write(path, svg).map_err(|e| failed(e.to_string()))
}

fn draw(plot: &ParallelCoordinates, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let width = 2 * MARGIN + AXIS * (plot.columns.len() as i32 - 1).max(0);
    let size = (width as u32, (TOP + HEIGHT + MARGIN / 2) as u32);
    let area = SVGBackend::with_string(svg, size).into_drawing_area();
    area.fill(&WHITE)?;
    let point =
        |k: usize, h: f64| (MARGIN + AXIS * k as i32, TOP + ((1.0 - h) * f64::from(HEIGHT)) as i32);
    let complete = plot.rows.iter().filter(|row| row.state == State::Complete).count();
    let mut drawn = 0;
    for row in &plot.rows {
        let style = if row.state == State::Complete {
            drawn += 1;
            // From blue (hue 2/3) to red (hue 0) by rank.
            let share = f64::from(drawn) / complete as f64;
            HSLColor(2.0 / 3.0 * (1.0 - share), 0.85, 0.45).mix(0.35 + 0.6 * share).stroke_width(2)
        } else {
            RGBColor(150, 150, 150).mix(0.35).stroke_width(1)
        };
        let points: Vec<(i32, i32)> =
            row.values.iter().enumerate().filter_map(|(k, h)| h.map(|h| point(k, h))).collect();
        area.draw(&PathElement::new(points, style))?;
    }
    let centred = |size: u32| {
        let anchor = plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Center,
            plotters::style::text_anchor::VPos::Bottom,
        );
        ("sans-serif", size).into_font().color(&BLACK).pos(anchor)
    };
    for (k, column) in plot.columns.iter().enumerate() {
        area.draw(&PathElement::new(vec![point(k, 0.0), point(k, 1.0)], BLACK.stroke_width(1)))?;
        // The section of a key is long and the same for most.
        let short = column.name.rsplit('.').next().unwrap_or(&column.name);
        let (x, y) = point(k, 1.0);
        area.draw(&Text::new(short.to_owned(), (x, y - 14), centred(15)))?;
        for (height, text) in &column.ticks {
            let (x, y) = point(k, *height);
            area.draw(&PathElement::new(vec![(x - 4, y), (x + 4, y)], BLACK.stroke_width(1)))?;
            area.draw(&Text::new(text.clone(), (x + 7, y - 5), ("sans-serif", 12).into_font()))?;
        }
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::{
        sampler::random,
        space::{ParameterValue, Space},
        study::{Header, ObjectiveId, Trial, VERSION},
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
    fn every_trial_is_a_row_with_heights_on_the_scales_of_its_ranges_and_the_best_is_last() {
        let study = study();
        let plot = parallel_coordinates(&study);
        let names: Vec<&str> = plot.columns.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names[1..], ["strategy.cerebellum.granule_cells", "sparsity", "loss"]);
        assert_eq!(plot.rows.iter().map(|r| r.trial).collect::<Vec<_>>(), [3, 0, 2, 1]);
        assert_eq!(plot.rows[0].values[3], None, "the failed one has no loss");
        assert_eq!((plot.rows[1].values[3], plot.rows[3].values[3]), (Some(1.0), Some(0.0)));
        let ParameterValue::Float(rate) =
            study.best().unwrap().parameters["strategy.cerebellum.learning_rate"]
        else {
            panic!()
        };
        let height = plot.rows[3].values[0].unwrap();
        assert!((height - (rate.log10() + 5.0) / 4.0).abs() < 1e-9, "a log scale");
    }

    #[test]
    fn the_drawing_has_a_line_a_trial_and_an_axis_a_column() {
        let mut svg = String::new();
        let plot = parallel_coordinates(&study());
        draw(&plot, &mut svg).unwrap();
        let ticks: usize = plot.columns.iter().map(|c| c.ticks.len()).sum();
        assert_eq!(svg.matches("<polyline").count(), 4 + 4 + ticks, "{svg}");
        assert!(svg.contains("granule_cells") && svg.trim_end().ends_with("</svg>"));
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
