//! How a distribution moves: quantile bands over epochs, for weights and rates.

use plotters::coord::Shift;
use plotters::prelude::{
    Color as _, DrawingArea, DrawingBackend, LineSeries, PathElement, Polygon, SeriesLabelPosition,
};

use super::chart::{Frame, colour, legend, range_of, thinned, tick};
use super::{MAX_CURVE_POINTS, Plot, PlotError};

/// The quantiles of a band, in order.
pub const QUANTILES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

/// Quantiles over epochs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuantileBands {
    /// Above the plot.
    pub title: String,
    /// What x is, with its unit.
    pub x_label: String,
    /// What y is, with its unit.
    pub y_label: String,
    /// Epochs (or steps) with the [`QUANTILES`] of that time, in ascending order.
    pub bands: Vec<(f64, [f64; QUANTILES.len()])>,
}

/// The [`QUANTILES`] of the finite values, by linear interpolation between order statistics
/// (definition 7 of Hyndman and Fan, *The American Statistician* 50, 1996); `None` without any.
/// `values` are sorted in the course.
pub fn quantiles(values: &mut [f32]) -> Option<[f64; QUANTILES.len()]> {
    values.sort_by(f32::total_cmp);
    // Total order: not finite values are at the two ends.
    let from = values.iter().position(|v| v.is_finite())?;
    let to = values.iter().rposition(|v| v.is_finite())?;
    let finite = &values[from..=to];
    Some(QUANTILES.map(|share| {
        let place = share * (finite.len() - 1) as f64;
        let (below, above) = (finite[place as usize], finite[place.ceil() as usize]);
        f64::from(below) + place.fract() * (f64::from(above) - f64::from(below))
    }))
}

impl Plot for QuantileBands {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), PlotError> {
        let failed = |e| PlotError::draw(&self.title, e);
        let is_finite = |band: &&(f64, [f64; 5])| {
            band.0.is_finite() && band.1.iter().all(|quantile| quantile.is_finite())
        };
        let finite: Vec<_> = self.bands.iter().filter(is_finite).copied().collect();
        let bands: Vec<_> = thinned(&finite, MAX_CURVE_POINTS).copied().collect();
        let x = range_of(bands.iter().map(|band| band.0), 0.02);
        let y = range_of(bands.iter().flat_map(|band| band.1), 0.05);
        let format: &dyn Fn(&f64) -> String = &|value| tick(*value);
        let frame = Frame {
            title: &self.title,
            x_label: &self.x_label,
            y_label: &self.y_label,
            format_x: format,
            format_y: format,
        };
        let mut chart = frame.chart(area, x, y)?;
        let edge = |quantile: usize| bands.iter().map(move |band| (band.0, band.1[quantile]));
        for (low, high, opacity, name) in [(0, 4, 0.2, "5 – 95 %"), (1, 3, 0.4, "25 – 75 %")] {
            let outline: Vec<_> = edge(low).chain(edge(high).rev()).collect();
            let style = colour(0).mix(opacity).filled();
            chart
                .draw_series((outline.len() > 2).then(|| Polygon::new(outline, style)))
                .map_err(failed)?
                .label(name)
                .legend(move |(x, y)| {
                    let corners = [(x, y - 4), (x + 16, y - 4), (x + 16, y + 4), (x, y + 4)];
                    Polygon::new(corners, style)
                });
        }
        let style = colour(0).stroke_width(2);
        chart
            .draw_series(LineSeries::new(edge(2), style))
            .map_err(failed)?
            .label("median")
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], style));
        legend(&mut chart, SeriesLabelPosition::UpperLeft).draw().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_affine, assert_texts, drawn};
    use super::*;

    #[test]
    fn quantiles_interpolate_and_leave_out_what_is_not_finite() {
        let mut values: Vec<f32> = (0..=100).rev().map(|k| k as f32).collect();
        values.extend([f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN]);
        assert_eq!(quantiles(&mut values).unwrap(), [5.0, 25.0, 50.0, 75.0, 95.0]);
        let two = quantiles(&mut [3.0, 1.0]).unwrap();
        for (found, expected) in two.into_iter().zip([1.1, 1.5, 2.0, 2.5, 2.9]) {
            assert!((found - expected).abs() < 1e-12, "{two:?}");
        }
        assert_eq!(quantiles(&mut [7.0]).unwrap(), [7.0; 5]);
        assert_eq!(quantiles(&mut [f32::NAN]), None);
    }

    #[test]
    fn bands_are_areas_between_quantiles_and_the_median_is_a_line() {
        let band = |k: u32| (f64::from(k), [0.0, 1.0, 2.0, 4.0, 8.0].map(|q| q + f64::from(k)));
        let mut bands: Vec<_> = (0..10).map(band).collect();
        bands.push((10.0, [f64::NAN; 5]));
        let plot = QuantileBands {
            title: "Weights".into(),
            x_label: "epoch".into(),
            y_label: "weight, nS".into(),
            bands: bands.clone(),
        };
        let drawn = drawn(&plot);
        let texts = ["Weights", "epoch", "weight, nS", "5 – 95 %", "25 – 75 %", "median"];
        assert_texts(&drawn, &texts);
        bands.pop();
        let edge = |quantile: usize| bands.iter().map(move |b| (b.0, b.1[quantile]));
        let largest = drawn.polygons.iter().filter(|p| p.len() == 20).collect::<Vec<_>>();
        let data: Vec<_> =
            [(0, 4), (1, 3)].iter().flat_map(|(l, h)| edge(*l).chain(edge(*h).rev())).collect();
        let pixels: Vec<_> = largest.into_iter().flatten().copied().collect();
        assert_affine(&data, &pixels);
        let median = drawn.lines.iter().filter(|(points, _)| points.len() == 10);
        assert_eq!(median.count(), 1);
    }
}
