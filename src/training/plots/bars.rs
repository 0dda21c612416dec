//! Named values as horizontal bars, from the top.

use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::prelude::{
    Color as _, DrawingArea, DrawingBackend, IntoSegmentedCoord as _, PathElement, Rectangle,
    SegmentValue,
};

use super::chart::{FONT, TITLE_FONT, colour, range_of, tick};
use super::{Plot, PlotError};

/// Most bars that are drawn; the title tells of how many.
pub const MAX_BARS: usize = 20;

/// One named value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bar {
    /// What stands beside it.
    pub name: String,
    /// Its length.
    pub value: f64,
    /// Half the length of the line that shows how sure it is; 0 for none.
    pub spread: f64,
}

/// Bars on a common axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bars {
    /// Above the plot.
    pub title: String,
    /// What the values are, with their unit.
    pub x_label: String,
    /// From the top.
    pub bars: Vec<Bar>,
}

impl Plot for Bars {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), PlotError> {
        let failed = |e| PlotError::draw(&self.title, e);
        let all = self.bars.len();
        let finite = self.bars.iter().filter(|bar| bar.value.is_finite() && bar.spread.is_finite());
        // The axis counts from the bottom.
        let mut drawn: Vec<&Bar> = finite.take(MAX_BARS).collect();
        drawn.reverse();
        let title = if drawn.len() < all {
            format!("{}: {} of {all}", self.title, drawn.len())
        } else {
            self.title.clone()
        };
        let ends =
            drawn.iter().flat_map(|bar| [bar.value - bar.spread, bar.value + bar.spread, 0.0]);
        let mut chart = ChartBuilder::on(area)
            .caption(&title, TITLE_FONT)
            .margin(12)
            .margin_right(32)
            .x_label_area_size(48)
            .y_label_area_size(220)
            .build_cartesian_2d(
                range_of(ends, 0.02),
                (0..drawn.len().max(1) as u32).into_segmented(),
            )
            .map_err(failed)?;
        let name = |place: &SegmentValue<u32>| match place {
            SegmentValue::CenterOf(place) => {
                drawn.get(*place as usize).map_or_else(String::new, |bar| bar.name.clone())
            }
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .x_desc(&self.x_label)
            .x_labels(9)
            .y_labels(MAX_BARS + 1)
            .max_light_lines(1)
            .disable_y_mesh()
            .label_style(FONT)
            .axis_desc_style(FONT)
            .x_label_formatter(&|x| tick(*x))
            .y_label_formatter(&name)
            .draw()
            .map_err(failed)?;
        let rows = || (0_u32..).zip(&drawn);
        let bars = rows().map(|(place, bar)| {
            let corners =
                [(0.0, SegmentValue::Exact(place)), (bar.value, SegmentValue::Exact(place + 1))];
            let mut bar = Rectangle::new(corners, colour(0).filled());
            bar.set_margin(3, 3, 0, 0);
            bar
        });
        chart.draw_series(bars).map_err(failed)?;
        let spreads = rows().filter(|(_, bar)| bar.spread > 0.0).map(|(place, bar)| {
            let end = |x: f64| (x, SegmentValue::CenterOf(place));
            let line = vec![end(bar.value - bar.spread), end(bar.value + bar.spread)];
            PathElement::new(line, colour(1).stroke_width(2))
        });
        chart.draw_series(spreads).map(drop).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_texts, drawn};
    use super::*;

    fn bar(name: &str, value: f64) -> Bar {
        Bar { name: name.into(), value, spread: 0.1 * value.abs() }
    }

    #[test]
    fn bars_are_as_long_as_their_values_and_named_from_the_top() {
        let bars = vec![bar("spread", 4.0), bar("imbalance", 2.0), bar("noise", -1.0)];
        let plot = Bars { title: "Importance".into(), x_label: "rise, mnat".into(), bars };
        let drawn = drawn(&plot);
        assert_texts(&drawn, &["Importance", "rise, mnat", "spread", "imbalance", "noise"]);
        let mut bars: Vec<_> =
            drawn.rectangles.iter().filter(|(_, fill)| fill == "#0072B2").collect();
        bars.sort_by(|a, b| a.0[1].total_cmp(&b.0[1]));
        let widths: Vec<f64> = bars.iter().map(|(place, _)| place[2]).collect();
        let [four, two, one] = widths[..] else { panic!("{widths:?}") };
        assert!((four / two - 2.0).abs() < 0.05 && (four / one - 4.0).abs() < 0.1, "{widths:?}");
    }

    #[test]
    fn many_bars_are_cut_and_told_and_none_are_no_error() {
        let bars = (0..50).map(|k| bar(&format!("f{k}"), f64::from(50 - k))).collect();
        let plot = Bars { title: "Importance".into(), x_label: "x".into(), bars };
        assert_texts(&drawn(&plot), &["Importance: 20 of 50", "f0", "f19"]);
        assert!(Bars::default().svg().is_ok());
    }
}
