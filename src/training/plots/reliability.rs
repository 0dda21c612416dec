//! What was forecast against what happened, bin by bin.

use plotters::coord::Shift;
use plotters::prelude::{
    Circle, Color as _, DashedLineSeries, DrawingArea, DrawingBackend, PathElement, Rectangle,
    SeriesLabelPosition,
};

use super::chart::{Frame, colour, legend, tick};
use super::{Plot, PlotError};

/// How much of the plot's height the most frequent bin takes.
const COLUMN_HEIGHT: f64 = 0.2;

/// Forecasts of one range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReliabilityBin {
    /// Mean forecast, 0 to 1.
    pub forecast: f64,
    /// How often it came true, 0 to 1.
    pub frequency: f64,
    /// Interval of the frequency; NaN where there is none.
    pub interval: [f64; 2],
    /// Forecasts.
    pub count: f64,
}

/// A reliability diagram; bins of equal width over [0, 1], those without a forecast are left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reliability {
    /// Above the plot.
    pub title: String,
    /// What is forecast.
    pub event: String,
    /// From 0 to 1.
    pub bins: Vec<ReliabilityBin>,
}

impl Plot for Reliability {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), PlotError> {
        let failed = |e| PlotError::draw(&self.title, e);
        let format: &dyn Fn(&f64) -> String = &|value| tick(*value);
        let frame = Frame {
            title: &self.title,
            x_label: &format!("forecast probability of {}", self.event),
            y_label: &format!("observed frequency of {}", self.event),
            format_x: format,
            format_y: format,
        };
        let mut chart = frame.chart(area, 0.0..1.0, 0.0..1.0)?;
        let all: f64 = self.bins.iter().map(|bin| bin.count).sum();
        let most = self.bins.iter().map(|bin| bin.count).fold(0.0, f64::max);
        let grey = colour(7).mix(0.35).filled();
        let width = 1.0 / self.bins.len().max(1) as f64;
        let columns = self.bins.iter().enumerate().filter(|(_, bin)| bin.count > 0.0);
        let columns = columns.map(|(place, bin)| {
            let left = place as f64 * width;
            let top = COLUMN_HEIGHT * bin.count / most;
            Rectangle::new([(left, 0.0), (left + width, top)], grey)
        });
        chart
            .draw_series(columns)
            .map_err(failed)?
            .label(format!("share of forecasts, highest {:.1} %", 100.0 * most / all.max(1.0)))
            .legend(move |(x, y)| Rectangle::new([(x, y - 4), (x + 16, y + 4)], grey));
        let dashes = colour(7).stroke_width(2);
        let diagonal = (0..=50).map(|k| (f64::from(k) / 50.0, f64::from(k) / 50.0));
        chart
            .draw_series(DashedLineSeries::new(diagonal, 8, 6, dashes))
            .map_err(failed)?
            .label("as forecast")
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16, y)], dashes));
        let held: Vec<_> = self.bins.iter().filter(|bin| bin.count > 0.0).collect();
        let ink = colour(0).stroke_width(2);
        let bars = held.iter().filter(|bin| bin.interval.iter().all(|end| end.is_finite()));
        let bars = bars
            .map(|bin| PathElement::new(bin.interval.map(|end| (bin.forecast, end)).to_vec(), ink));
        chart.draw_series(bars).map_err(failed)?;
        let points = held.iter().map(|bin| (bin.forecast, bin.frequency));
        let line = PathElement::new(points.clone().collect::<Vec<_>>(), colour(0).mix(0.5));
        chart.draw_series([line]).map_err(failed)?;
        chart
            .draw_series(points.map(|point| Circle::new(point, 5, colour(0).filled())))
            .map_err(failed)?
            .label("observed, 95 % interval")
            .legend(|(x, y)| Circle::new((x + 8, y), 5, colour(0).filled()));
        legend(&mut chart, SeriesLabelPosition::UpperLeft).draw().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_affine, assert_texts, drawn};
    use super::*;

    #[test]
    fn frequencies_and_intervals_stand_over_their_forecasts() {
        let bin = |forecast: f64, frequency: f64, count: f64| ReliabilityBin {
            forecast,
            frequency,
            interval: [frequency - 0.1, frequency + 0.1],
            count,
        };
        let empty = bin(f64::NAN, f64::NAN, 0.0);
        let bins = vec![bin(0.1, 0.2, 10.0), empty, bin(0.6, 0.5, 20.0), bin(0.9, 0.8, 10.0)];
        let plot = Reliability { title: "Reliability".into(), event: "a rise".into(), bins };
        let drawn = drawn(&plot);
        assert_texts(
            &drawn,
            &["forecast probability of a rise", "share of forecasts, highest 50.0 %"],
        );
        let bars: Vec<_> = drawn
            .lines
            .iter()
            .filter(|(points, colour)| colour == "#0072B2" && points.len() == 2)
            .flat_map(|(points, _)| points.clone())
            .collect();
        let ends = [(0.1, 0.1), (0.1, 0.3), (0.6, 0.4), (0.6, 0.6), (0.9, 0.7), (0.9, 0.9)];
        assert_affine(&ends, &bars);
        let heights: Vec<f64> = drawn
            .rectangles
            .iter()
            .filter(|([_, _, width, _], fill)| fill == "#787878" && *width > 20.0)
            .map(|(place, _)| place[3])
            .collect();
        assert_eq!(heights.len(), 3, "a bin without forecasts has no column");
        assert!((heights[1] / heights[0] - 2.0).abs() < 0.1, "{heights:?}");
    }
}
