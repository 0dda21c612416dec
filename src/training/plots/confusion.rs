//! What was forecast, by what happened, as a table of shaded cells.

use plotters::coord::Shift;
use plotters::prelude::{
    Color as _, DrawingArea, DrawingBackend, IntoTextStyle as _, Rectangle, Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::chart::{Frame, TITLE_FONT, colour};
use super::{Plot, PlotError};

/// A confusion matrix of two classes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confusion {
    /// Above the plot.
    pub title: String,
    /// Names of the classes.
    pub classes: [String; 2],
    /// Rows by what happened, then by what was forecast.
    pub counts: [[f64; 2]; 2],
}

impl Plot for Confusion {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), PlotError> {
        let failed = |e| PlotError::draw(&self.title, e);
        // The first class is left and on top; ticks stand in the middle of cells only.
        let class = |at: f64, classes: [&str; 2]| {
            let names = [(0.5, classes[0]), (1.5, classes[1])];
            let found = names.into_iter().find(|(middle, _)| (at - middle).abs() < 1e-6);
            found.map_or_else(String::new, |(_, name)| name.to_owned())
        };
        let [first, second] = [self.classes[0].as_str(), self.classes[1].as_str()];
        let frame = Frame {
            title: &self.title,
            x_label: "forecast",
            y_label: "what happened",
            format_x: &|x| class(*x, [first, second]),
            format_y: &|y| class(*y, [second, first]),
        };
        let mut chart = frame.chart(area, 0.0..2.0, 0.0..2.0)?;
        let style = TITLE_FONT.into_text_style(area).pos(Pos::new(HPos::Center, VPos::Center));
        for (row, counts) in self.counts.iter().enumerate() {
            let all: f64 = counts.iter().sum();
            for (column, count) in counts.iter().enumerate() {
                let share = if all > 0.0 { count / all } else { 0.0 };
                let (x, y) = (column as f64, 1.0 - row as f64);
                // Light enough for the text on it, whatever the page behind.
                let fill = colour(0).mix(0.05 + 0.5 * share).filled();
                let corners = [(x, y), (x + 1.0, y + 1.0)];
                // The grid does not show through.
                let cells = [WHITE.filled(), fill].map(|style| Rectangle::new(corners, style));
                chart.draw_series(cells).map_err(failed)?;
                for (text, height) in [
                    (format!("{count:.0}"), 0.56),
                    (format!("{:.1} % of {}", 100.0 * share, self.classes[row]), 0.44),
                ] {
                    let text = Text::new(text, (x + 0.5, y + height), style.clone());
                    chart.draw_series([text]).map_err(failed)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_texts, drawn};
    use super::*;

    #[test]
    fn cells_tell_counts_and_shares_of_what_happened_and_the_fuller_is_the_darker() {
        let plot = Confusion {
            title: "Confusion".into(),
            classes: ["up".into(), "down".into()],
            counts: [[30.0, 10.0], [5.0, 15.0]],
        };
        let drawn = drawn(&plot);
        let texts = ["forecast", "what happened", "up", "down", "30", "75.0 % of up", "5"];
        assert_texts(&drawn, &[&texts[..], &["25.0 % of down", "15", "75.0 % of down"]].concat());
        let cells: Vec<_> = drawn.rectangles.iter().filter(|(_, fill)| fill == "#0072B2").collect();
        assert_eq!(cells.len(), 4);
        let place = |text: &str| drawn.texts.iter().position(|t| t == text).unwrap();
        assert!(place("30") < place("10") && place("10") < place("5"), "up comes first");
        let empty = Confusion { counts: [[0.0; 2]; 2], ..plot };
        assert!(!empty.svg().unwrap().contains("NaN"));
    }
}
