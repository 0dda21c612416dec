//! Curves over steps or epochs: losses, metrics, learning rates.

use std::fmt::Write as _;

use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, Color as _, DrawingArea, DrawingBackend, LineSeries, PathElement, SeriesLabelPosition,
};

use super::chart::{Frame, colour, legend, log_tick, range_of, thinned, tick};
use super::{Plot, PlotError};

/// Most curves of a plot.
pub const MAX_CURVES: usize = 16;

/// Points of a curve that are drawn; of more, every k-th and the last.
pub const MAX_CURVE_POINTS: usize = 2_000;

/// One named curve.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// What the legend says.
    pub name: String,
    /// Points (x, y) in the order of x.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// A curve with a name.
    #[must_use]
    pub fn new(name: &str, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.to_owned(), points }
    }
}

/// Curves on common axes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// Above the plot.
    pub title: String,
    /// What x is, with its unit.
    pub x_label: String,
    /// What y is, with its unit.
    pub y_label: String,
    /// A logarithmic y axis; values that are not positive are left out and counted.
    pub log_y: bool,
    /// The curves.
    pub curves: Vec<Curve>,
}

impl Plot for Curves {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), PlotError> {
        let title = &self.title;
        if self.curves.len() > MAX_CURVES {
            let expected = format!("at most {MAX_CURVES}");
            return Err(PlotError::data(title, "number of curves", &self.curves.len(), expected));
        }
        // On a logarithmic axis the coordinate is the exponent, and only ticks tell.
        let place = |y: f64| if self.log_y { y.log10() } else { y };
        let placed: Vec<Vec<(f64, f64)>> = self
            .curves
            .iter()
            .map(|curve| {
                let points = curve.points.iter().map(|(x, y)| (*x, place(*y)));
                points.filter(|(x, y)| x.is_finite() && y.is_finite()).collect()
            })
            .collect();
        let all = || placed.iter().flatten();
        let frame = Frame {
            title,
            x_label: &self.x_label,
            y_label: &self.y_label,
            format_x: &|x| tick(*x),
            format_y: if self.log_y { &|y| log_tick(*y) } else { &|y| tick(*y) },
        };
        let x = range_of(all().map(|p| p.0), 0.02);
        let mut chart = frame.chart(area, x, range_of(all().map(|p| p.1), 0.05))?;
        for (index, (curve, points)) in self.curves.iter().zip(&placed).enumerate() {
            let style = colour(index).stroke_width(2);
            let drawn = thinned(points, MAX_CURVE_POINTS).copied();
            let left_out = curve.points.len() - points.len();
            let mut name = curve.name.clone();
            if left_out > 0 {
                // Writing to a String cannot fail.
                let _ = write!(name, " ({left_out} points cannot be shown)");
            }
            chart
                .draw_series(LineSeries::new(drawn, style))
                .map_err(|e| PlotError::draw(title, e))?
                .label(name)
                .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], style));
        }
        if self.curves.is_empty() {
            return Ok(());
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight)
            .border_style(BLACK)
            .draw()
            .map_err(|e| PlotError::draw(title, e))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_affine, assert_texts, drawn};
    use super::*;

    fn curves(log_y: bool, curves: Vec<Curve>) -> Curves {
        let (title, x_label, y_label) = ("Loss".into(), "epoch".into(), "loss, nat".into());
        Curves { title, x_label, y_label, log_y, curves }
    }

    fn stroked(plot: &Curves, index: usize) -> Vec<(f64, f64)> {
        let plotters::prelude::RGBColor(r, g, b) = colour(index);
        let stroke = format!("#{r:02X}{g:02X}{b:02X}");
        let lines = drawn(plot).lines;
        let of_colour = lines.into_iter().filter(|(_, colour)| *colour == stroke);
        // The longest is the curve; the other is its sample in the legend.
        of_colour.map(|(points, _)| points).max_by_key(Vec::len).unwrap()
    }

    #[test]
    fn every_point_of_every_curve_is_drawn_in_its_place() {
        let train: Vec<_> = (0..40).map(|k| (f64::from(k), 1.0 / f64::from(k + 1))).collect();
        let validation: Vec<_> = (0..40).map(|k| (f64::from(k), 1.5 / f64::from(k + 2))).collect();
        let both =
            [Curve::new("train", train.clone()), Curve::new("validation", validation.clone())];
        let plot = curves(false, both.into());
        assert_texts(&drawn(&plot), &["Loss", "epoch", "loss, nat", "train", "validation"]);
        let all = [train, validation].concat();
        let pixels = [stroked(&plot, 0), stroked(&plot, 1)].concat();
        assert_affine(&all, &pixels);
    }

    #[test]
    fn a_logarithmic_axis_has_equal_steps_for_equal_factors() {
        let points: Vec<_> = (0..6).map(|k| (f64::from(k), 10_f64.powi(-k))).collect();
        let plot = curves(true, vec![Curve::new("rate", points)]);
        let exponents: Vec<_> = (0..6).map(|k| (f64::from(k), f64::from(-k))).collect();
        assert_affine(&exponents, &stroked(&plot, 0));
    }

    #[test]
    fn long_curves_are_thinned_and_values_that_cannot_be_shown_are_counted() {
        let mut points: Vec<_> = (0..10_001).map(|k| (f64::from(k), f64::from(k % 7))).collect();
        points[5].1 = f64::NAN;
        let plot = curves(false, vec![Curve::new("train", points)]);
        assert_texts(&drawn(&plot), &["train (1 points cannot be shown)"]);
        assert!(stroked(&plot, 0).len() <= MAX_CURVE_POINTS);
        let plot = curves(false, vec![Curve::default(); MAX_CURVES + 1]);
        let error = plot.svg().unwrap_err().to_string();
        assert_eq!(error, "plot \"Loss\": number of curves is 17, expected at most 16");
        assert!(curves(true, Vec::new()).svg().is_ok(), "no data yet is no error");
    }
}
