//! Distributions of weights or firing rates, one or several on common axes.

use std::fmt::Write as _;

use plotters::coord::Shift;
use plotters::prelude::{
    Color as _, DrawingArea, DrawingBackend, LineSeries, PathElement, Rectangle,
    SeriesLabelPosition,
};

use super::chart::{Frame, colour, legend, range_of, tick};
use super::{MAX_CURVES, Plot, PlotError};
use crate::training::histogram::Histogram;

/// Named histograms on common axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histograms {
    /// Above the plot.
    pub title: String,
    /// What the values are, with their unit.
    pub x_label: String,
    /// What is counted.
    pub y_label: String,
    /// The histograms and their names.
    pub histograms: Vec<(String, Histogram)>,
}

impl Plot for Histograms {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), PlotError> {
        let failed = |e| PlotError::draw(&self.title, e);
        let number = self.histograms.len();
        if number > MAX_CURVES {
            let expected = format!("at most {MAX_CURVES}");
            return Err(PlotError::data(&self.title, "number of histograms", &number, expected));
        }
        let all = || self.histograms.iter().map(|(_, histogram)| histogram);
        let x = range_of(all().flat_map(|h| h.edges.iter().copied()), 0.02);
        let largest = all().flat_map(|h| h.counts.iter().copied()).max().unwrap_or(1).max(1);
        let format: &dyn Fn(&f64) -> String = &|value| tick(*value);
        let frame = Frame {
            title: &self.title,
            x_label: &self.x_label,
            y_label: &self.y_label,
            format_x: format,
            format_y: format,
        };
        let mut chart = frame.chart(area, x, 0.0..1.05 * largest as f64)?;
        for (index, (name, histogram)) in self.histograms.iter().enumerate() {
            let columns = histogram.edges.windows(2).zip(&histogram.counts);
            let columns: Vec<_> = columns
                .filter_map(|(edges, count)| match *edges {
                    [left, right] => Some((left, right, *count as f64)),
                    _ => None,
                })
                .collect();
            let fill = colour(index).mix(0.35).filled();
            let areas = columns.iter().filter(|column| column.2 > 0.0);
            let areas = areas.map(|(l, r, n)| Rectangle::new([(*l, 0.0), (*r, *n)], fill));
            chart.draw_series(areas).map_err(failed)?;
            let outline = columns.iter().flat_map(|(l, r, n)| [(*l, *n), (*r, *n)]);
            let style = colour(index).stroke_width(2);
            let mut name = format!("{name}, {} values", histogram.total());
            if histogram.not_finite > 0 {
                // Writing to a String cannot fail.
                let _ = write!(name, " ({} not finite)", histogram.not_finite);
            }
            chart
                .draw_series(LineSeries::new(outline, style))
                .map_err(failed)?
                .label(name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], style));
        }
        if number == 0 {
            return Ok(());
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight).draw().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_texts, drawn};
    use super::*;

    #[test]
    fn columns_are_as_high_as_their_counts() {
        let values: Vec<f32> =
            [1.0_f32; 10].into_iter().chain([2.0; 40]).chain([3.0; 20]).collect();
        let plot = Histograms {
            title: "Rates".into(),
            x_label: "firing rate, Hz".into(),
            y_label: "neurons".into(),
            histograms: vec![("granule".into(), Histogram::of(&values, 3))],
        };
        let drawn = drawn(&plot);
        assert_texts(&drawn, &["Rates", "firing rate, Hz", "neurons", "granule, 70 values"]);
        let mut columns: Vec<_> = drawn
            .rectangles
            .iter()
            .filter(|(_, colour)| colour == "#0072B2")
            .map(|(place, _)| *place)
            .collect();
        columns.sort_by(|a, b| a[0].total_cmp(&b[0]));
        let heights: Vec<f64> = columns.iter().map(|place| place[3]).collect();
        let [ten, forty, twenty] = heights[..] else { panic!("{heights:?}") };
        assert!((forty / ten - 4.0).abs() < 0.1, "{heights:?}");
        assert!((twenty / ten - 2.0).abs() < 0.1, "{heights:?}");
        let feet: Vec<f64> = columns.iter().map(|place| place[1] + place[3]).collect();
        assert!(feet.iter().all(|foot| (foot - feet[0]).abs() < 1.5), "on one line: {feet:?}");
    }

    #[test]
    fn values_that_are_not_finite_are_told() {
        let histogram = Histogram::of(&[0.0, f32::NAN], 3);
        let plot =
            Histograms { histograms: vec![("w".into(), histogram)], ..Histograms::default() };
        assert_texts(&drawn(&plot), &["w, 1 values (1 not finite)"]);
    }
}
