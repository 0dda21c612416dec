//! What the plots have in common: colours, fonts, ranges, labels of ticks, thinning.

use std::ops::Range;

use plotters::chart::{ChartBuilder, ChartContext, SeriesLabelPosition, SeriesLabelStyle};
use plotters::coord::{Shift, types::RangedCoordf64};
use plotters::prelude::{Cartesian2d, Color as _, DrawingArea, DrawingBackend, RGBColor, WHITE};

use super::PlotError;

/// Text of axes.
pub(super) const FONT: (&str, u32) = ("sans-serif", 16);

/// Text of titles.
pub(super) const TITLE_FONT: (&str, u32) = ("sans-serif", 20);

/// Eight colours that the colour-blind can tell apart (Okabe and Ito, *Color Universal Design*, 2008).
pub(super) const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
    RGBColor(120, 120, 120),
];

/// The colour of the `index`-th thing.
pub(super) fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// A colour between white (0) and dark blue (1).
pub(super) fn shade(share: f64) -> RGBColor {
    let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
    let mix = |from: f64, to: f64| (from + share * (to - from)).round() as u8;
    RGBColor(mix(255.0, 8.0), mix(255.0, 48.0), mix(255.0, 107.0))
}

/// A chart with title, labelled axes and room around it.
pub(super) type Chart<'a, B> = ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Names of what is drawn, on a ground that lets the chart through.
pub(super) type Legend<'a, 'b, B> =
    SeriesLabelStyle<'a, 'b, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Title, axis descriptions and how ticks are written.
pub(super) struct Frame<'a> {
    pub(super) title: &'a str,
    pub(super) x_label: &'a str,
    pub(super) y_label: &'a str,
    pub(super) format_x: &'a dyn Fn(&f64) -> String,
    pub(super) format_y: &'a dyn Fn(&f64) -> String,
}

impl Frame<'_> {
    /// Draws everything but the data.
    pub(super) fn chart<'a, B: DrawingBackend>(
        &self,
        area: &'a DrawingArea<B, Shift>,
        x: Range<f64>,
        y: Range<f64>,
    ) -> Result<Chart<'a, B>, PlotError> {
        let mut chart = ChartBuilder::on(area)
            .caption(self.title, TITLE_FONT)
            .margin(12)
            // Half of the last label of x.
            .margin_right(32)
            .x_label_area_size(48)
            .y_label_area_size(88)
            .build_cartesian_2d(x, y)
            .map_err(|e| PlotError::draw(self.title, e))?;
        chart
            .configure_mesh()
            .x_desc(self.x_label)
            .y_desc(self.y_label)
            .x_labels(9)
            .y_labels(9)
            .max_light_lines(1)
            .label_style(FONT)
            .axis_desc_style(FONT)
            .x_label_formatter(self.format_x)
            .y_label_formatter(self.format_y)
            .draw()
            .map_err(|e| PlotError::draw(self.title, e))?;
        Ok(chart)
    }
}

/// The legend of what has been drawn with a label; still to be drawn itself.
pub(super) fn legend<'a, 'b, B: DrawingBackend + 'a>(
    chart: &'b mut Chart<'a, B>,
    position: SeriesLabelPosition,
) -> Legend<'a, 'b, B> {
    let mut legend = chart.configure_series_labels();
    legend.position(position).background_style(WHITE.mix(0.8)).label_font(FONT);
    legend
}

/// From the smallest to the largest finite value, with a margin; around a single value, and 0 to 1
/// without any.
pub(super) fn range_of(values: impl Iterator<Item = f64>, margin: f64) -> Range<f64> {
    let finite = values.filter(|v| v.is_finite());
    let (low, high) =
        finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let span = high - low;
    // Also where the span is lost in rounding: the axis needs distinct ends.
    let pad = if span > 1e-9 * high.abs().max(low.abs()) {
        margin * span
    } else {
        (0.1 * high.abs()).max(1e-6)
    };
    low - pad..high + pad
}

/// A number of a tick: short, and exponential where plain digits would not be.
pub(super) fn tick(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (size < 1e-12) {
        "0".into()
    } else if (1e-3..1e5).contains(&size) {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.1e}")
    }
}

/// A number of a tick on a logarithmic axis, of which `exponent` is the decimal logarithm.
pub(super) fn log_tick(exponent: f64) -> String {
    tick(10_f64.powf(exponent))
}

/// Every k-th item so that at most `max` are left; the last is among them.
pub(super) fn thinned<T>(items: &[T], max: usize) -> impl Iterator<Item = &T> {
    let step = items.len().div_ceil(max.max(1)).max(1);
    let offset = items.len().saturating_sub(1) % step;
    items.iter().skip(offset).step_by(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_last_item_and_the_bound() {
        let items: Vec<usize> = (0..1000).collect();
        for max in [1, 3, 7, 999, 1000, 5000] {
            let kept: Vec<_> = thinned(&items, max).copied().collect();
            assert!(kept.len() <= max, "{max}");
            assert_eq!(kept.last(), Some(&999), "{max}");
        }
        assert_eq!(thinned(&items, 1000).count(), 1000);
        assert_eq!(thinned::<usize>(&[], 5).count(), 0);
    }

    #[test]
    fn ranges_have_distinct_ends_whatever_the_values() {
        for values in [&[][..], &[5.0], &[f64::NAN], &[0.0, 0.0], &[-1e300, 1e300], &[1.0, 1.0]] {
            let range = range_of(values.iter().copied(), 0.05);
            assert!(range.start < range.end && range.end.is_finite(), "{values:?}: {range:?}");
        }
        assert_eq!(range_of([1.0, 3.0].into_iter(), 0.5), 0.0..4.0);
    }

    #[test]
    fn ticks_are_short() {
        let written = [0.0, 0.25, 1.0, 1500.0, 1e-5, 2.5e7, -0.3].map(tick);
        assert_eq!(written, ["0", "0.25", "1", "1500", "1.0e-5", "2.5e7", "-0.3"]);
        assert_eq!(log_tick(-2.0), "0.01");
    }
}
