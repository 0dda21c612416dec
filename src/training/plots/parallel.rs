//! Trials of a search as lines across one axis per parameter; the better, the darker.

use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, Color as _, DrawingArea, DrawingBackend, IntoTextStyle as _, PathElement, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::chart::{FONT, Frame, range_of, shade, tick};
use super::{Plot, PlotError};

/// Most axes, the score included.
pub const MAX_AXES: usize = 16;

/// Most trials drawn: of more, the best ones.
pub const MAX_TRIALS: usize = 500;

/// One parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Axis {
    /// Its name, with its unit.
    pub name: String,
    /// A logarithmic axis.
    pub log: bool,
}

/// One trial.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// A value per axis.
    pub values: Vec<f64>,
    /// The score; smaller is better. Trials without a finite one are left out and counted.
    pub score: f64,
}

/// Trials across parameters; the score is the last axis.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParallelCoordinates {
    /// Above the plot.
    pub title: String,
    /// What the score is, with its unit.
    pub score_label: String,
    /// The parameters.
    pub axes: Vec<Axis>,
    /// The trials.
    pub trials: Vec<Trial>,
}

impl ParallelCoordinates {
    /// Checks the shape of the data.
    fn check(&self) -> Result<(), PlotError> {
        let axes = self.axes.len();
        if !(1..MAX_AXES).contains(&axes) {
            let expected = format!("1 to {}", MAX_AXES - 1);
            return Err(PlotError::data(&self.title, "number of parameters", &axes, expected));
        }
        let uneven = self.trials.iter().map(|trial| trial.values.len()).find(|n| *n != axes);
        uneven.map_or(Ok(()), |found| {
            let what = "number of values of a trial";
            Err(PlotError::data(&self.title, what, &found, axes.to_string()))
        })
    }

    /// Coordinates and score of every trial that can be drawn, the best last.
    fn placed(&self) -> Vec<(Vec<f64>, f64)> {
        let coordinates = |trial: &Trial| {
            let values = self.axes.iter().zip(&trial.values);
            let place =
                |(axis, value): (&Axis, &f64)| if axis.log { value.log10() } else { *value };
            values.map(place).chain([trial.score]).collect::<Vec<f64>>()
        };
        let mut placed: Vec<_> = self.trials.iter().map(|t| (coordinates(t), t.score)).collect();
        placed.retain(|(values, _)| values.iter().all(|value| value.is_finite()));
        placed.sort_by(|a, b| b.1.total_cmp(&a.1));
        placed.split_off(placed.len().saturating_sub(MAX_TRIALS))
    }
}

impl Plot for ParallelCoordinates {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), PlotError> {
        self.check()?;
        let failed = |e| PlotError::draw(&self.title, e);
        let placed = self.placed();
        let (drawn, all) = (placed.len(), self.trials.len());
        let title = if drawn < all {
            format!("{}: {drawn} of {all} trials", self.title)
        } else {
            format!("{}: {all} trials", self.title)
        };
        let frame = Frame {
            title: &title,
            x_label: "parameters and score",
            y_label: "from least to most",
            format_x: &|_| String::new(),
            format_y: &|_| String::new(),
        };
        let last = self.axes.len();
        let mut chart = frame.chart(area, -0.4..last as f64 + 0.4, -0.12..1.15)?;
        let ranges: Vec<_> =
            (0..=last).map(|k| range_of(placed.iter().map(|(values, _)| values[k]), 0.0)).collect();
        for (rank, (values, _)) in placed.iter().enumerate() {
            let line = (0_u32..).zip(values.iter().zip(&ranges)).map(|(k, (value, range))| {
                (f64::from(k), (value - range.start) / (range.end - range.start))
            });
            let goodness = (rank + 1) as f64 / drawn as f64;
            let ink = shade(0.15 + 0.85 * goodness).stroke_width(1 + u32::from(rank + 1 == drawn));
            chart.draw_series([PathElement::new(line.collect::<Vec<_>>(), ink)]).map_err(failed)?;
        }
        let style = FONT.into_text_style(area);
        let score = Axis { name: self.score_label.clone(), log: false };
        for (k, (axis, range)) in self.axes.iter().chain([&score]).zip(&ranges).enumerate() {
            let x = k as f64;
            let stroke = BLACK.stroke_width(1);
            let line = PathElement::new(vec![(x, 0.0), (x, 1.0)], stroke);
            chart.draw_series([line]).map_err(failed)?;
            let number = |at: f64| tick(if axis.log { 10_f64.powf(at) } else { at });
            let (low, high) = (number(range.start), number(range.end));
            // Names alternate in height, so that long neighbours do not cover each other.
            let name_y = if k % 2 == 0 { 1.14 } else { 1.09 };
            for (text, y, v_pos) in [
                (axis.name.clone(), name_y, VPos::Top),
                (high, 1.0, VPos::Bottom),
                (low, -0.01, VPos::Top),
            ] {
                let style = style.pos(Pos::new(HPos::Center, v_pos));
                chart.draw_series([Text::new(text, (x, y), style)]).map_err(failed)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_affine, assert_texts, drawn};
    use super::*;

    fn plot(trials: Vec<Trial>) -> ParallelCoordinates {
        let axis = |name: &str, log| Axis { name: name.into(), log };
        ParallelCoordinates {
            title: "Search".into(),
            score_label: "log loss, nat".into(),
            axes: vec![axis("learning rate", true), axis("granule cells", false)],
            trials,
        }
    }

    fn trial(values: &[f64], score: f64) -> Trial {
        Trial { values: values.to_vec(), score }
    }

    #[test]
    fn a_trial_is_a_line_through_its_values_and_the_best_is_drawn_last_and_darkest() {
        let plot = plot(vec![
            trial(&[1e-3, 2000.0], 0.6),
            trial(&[1e-1, 4000.0], 0.7),
            trial(&[1e-5, 3000.0], 0.5),
            trial(&[0.0, 3000.0], 0.5),
            trial(&[1e-3, 3000.0], f64::NAN),
        ]);
        let drawn = drawn(&plot);
        let ends = ["1.0e-5", "0.1", "2000", "4000", "0.5", "0.7"];
        let names = ["Search: 3 of 5 trials", "learning rate", "granule cells", "log loss, nat"];
        assert_texts(&drawn, &[&ends[..], &names].concat());
        let lines: Vec<_> = drawn.lines.iter().filter(|(points, _)| points.len() == 3).collect();
        // From the worst to the best, each as a share of the axis.
        let shares = [[1.0, 1.0, 1.0], [0.5, 0.0, 0.5], [0.0, 0.5, 0.0]];
        let data: Vec<_> = shares
            .iter()
            .flat_map(|shares| (0..3).map(|k| (f64::from(k), shares[k as usize])))
            .collect();
        let pixels: Vec<_> = lines.iter().flat_map(|(points, _)| points.clone()).collect();
        assert_affine(&data, &pixels);
        assert_eq!(lines[2].1, "#08306B");
    }

    #[test]
    fn data_of_another_shape_are_refused_and_many_trials_thinned_to_the_best() {
        let error = plot(vec![trial(&[1.0], 0.0)]).svg().unwrap_err().to_string();
        assert_eq!(error, "plot \"Search\": number of values of a trial is 1, expected 2");
        let none = ParallelCoordinates::default().svg().unwrap_err().to_string();
        assert_eq!(none, "plot \"\": number of parameters is 0, expected 1 to 15");
        let many: Vec<_> =
            (1..=MAX_TRIALS + 9).map(|k| trial(&[k as f64, k as f64], k as f64)).collect();
        let plot = plot(many);
        let kept = plot.placed();
        assert_eq!((kept.len(), kept[0].1, kept[MAX_TRIALS - 1].1), (MAX_TRIALS, 500.0, 1.0));
        assert_texts(&drawn(&plot), &["Search: 500 of 509 trials"]);
    }
}
