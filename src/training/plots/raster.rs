//! Spikes over time, population above population.

use plotters::coord::Shift;
use plotters::prelude::IntoTextStyle as _;
use plotters::prelude::{
    BLACK, Color as _, DrawingArea, DrawingBackend, PathElement, Rectangle, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::chart::{FONT, Frame, colour, thinned, tick};
use super::{Plot, PlotError};

/// Spikes of a population that are drawn; of more, every k-th and the last.
pub const MAX_DRAWN_SPIKES: usize = 20_000;

/// Populations of a raster.
const MAX_POPULATIONS: usize = 16;

/// Part of a population's strip that is left free.
const GAP: f64 = 0.1;

/// One spike.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spike {
    /// When, ms.
    pub time_ms: f32,
    /// Which neuron of the population.
    pub neuron: u32,
}

/// The spikes of one population.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Population {
    /// Its name.
    pub name: String,
    /// How many neurons it has (or were recorded).
    pub neurons: u32,
    /// Its spikes; those of neurons beyond and of times outside are not drawn.
    pub spikes: Vec<Spike>,
}

/// Spikes of populations, the first at the top; every population's strip is as high as the others'.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Raster {
    /// Above the plot.
    pub title: String,
    /// The stretch shown, ms.
    pub span_ms: (f64, f64),
    /// The populations.
    pub populations: Vec<Population>,
}

impl Plot for Raster {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), PlotError> {
        let failed = |e| PlotError::draw(&self.title, e);
        let number = self.populations.len();
        if !(1..=MAX_POPULATIONS).contains(&number) {
            let expected = format!("1 to {MAX_POPULATIONS}");
            return Err(PlotError::data(&self.title, "number of populations", &number, expected));
        }
        let (from_ms, to_ms) = self.span_ms;
        if !(from_ms.is_finite() && to_ms.is_finite() && from_ms < to_ms) {
            let value = format!("{from_ms} to {to_ms} ms");
            let expected = "an ascending and finite one".into();
            return Err(PlotError::data(&self.title, "the stretch shown", &value, expected));
        }
        let frame = Frame {
            title: &self.title,
            x_label: "time, ms",
            y_label: "neurons by population",
            format_x: &|x| tick(*x),
            // A strip stands for a population, not for a number.
            format_y: &|_| String::new(),
        };
        let mut chart = frame.chart(area, from_ms..to_ms, 0.0..number as f64)?;
        let name_style = FONT.into_text_style(area).pos(Pos::new(HPos::Left, VPos::Top));
        for (index, population) in self.populations.iter().enumerate() {
            let floor = (number - 1 - index) as f64;
            let height = (1.0 - 2.0 * GAP) / f64::from(population.neurons.max(1));
            let is_shown = |spike: &&Spike| {
                let is_inside = (from_ms..to_ms).contains(&f64::from(spike.time_ms));
                is_inside && spike.neuron < population.neurons
            };
            let shown: Vec<Spike> = population.spikes.iter().filter(is_shown).copied().collect();
            let ticks: Vec<_> = thinned(&shown, MAX_DRAWN_SPIKES).copied().collect();
            let drawn = ticks.len();
            let ink = colour(index).stroke_width(1);
            let marks = ticks.into_iter().map(|Spike { time_ms, neuron }| {
                // Neuron 0 is at the bottom of its strip.
                let y = floor + GAP + f64::from(neuron) * height;
                let x = f64::from(time_ms);
                PathElement::new(vec![(x, y), (x, y + height)], ink)
            });
            chart.draw_series(marks).map_err(failed)?;
            let name = format!(
                "{}: {} neurons, {} spikes{}",
                population.name,
                population.neurons,
                shown.len(),
                if drawn < shown.len() { format!(", {drawn} drawn") } else { String::new() }
            );
            let text = Text::new(name, (from_ms, floor + 1.0), name_style.clone());
            chart.draw_series([text]).map_err(failed)?;
            let line = [(from_ms, floor), (to_ms, floor)];
            chart.draw_series([Rectangle::new(line, BLACK.mix(0.5))]).map_err(failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_affine, assert_texts, drawn};
    use super::*;

    fn raster(populations: Vec<Population>) -> Raster {
        Raster { title: "Spikes".into(), span_ms: (0.0, 100.0), populations }
    }

    fn population(name: &str, neurons: u32, spikes: &[(f32, u32)]) -> Population {
        let spikes =
            spikes.iter().map(|(time_ms, neuron)| Spike { time_ms: *time_ms, neuron: *neuron });
        Population { name: name.into(), neurons, spikes: spikes.collect() }
    }

    /// The lower ends of the marks of one colour.
    fn marks(plot: &Raster, stroke: &str) -> Vec<(f64, f64)> {
        let lines = drawn(plot).lines.into_iter();
        lines.filter(|(_, colour)| colour == stroke).map(|(points, _)| points[0]).collect()
    }

    #[test]
    fn every_spike_has_a_mark_at_its_time_and_neuron() {
        let spikes = [(0.0, 0), (25.0, 3), (50.0, 1), (99.0, 2), (75.0, 3)];
        let outside = [(100.0, 0), (50.0, 4), (-1.0, 0)];
        let plot = raster(vec![
            population("granule", 4, &[&spikes[..], &outside].concat()),
            population("purkinje", 1, &[(10.0, 0)]),
        ]);
        let texts = ["Spikes", "time, ms", "neurons by population", "granule: 4 neurons, 5 spikes"];
        assert_texts(&drawn(&plot), &texts);
        let data = spikes.map(|(time, neuron)| (f64::from(time), f64::from(neuron)));
        let granule = marks(&plot, "#0072B2");
        assert_affine(&data, &granule);
        let purkinje = marks(&plot, "#D55E00");
        assert_eq!(purkinje.len(), 1);
        assert!(granule.iter().all(|(_, y)| *y < purkinje[0].1), "the first is at the top");
    }

    #[test]
    fn many_spikes_are_thinned_and_the_number_is_told() {
        let spikes: Vec<_> = (0..=MAX_DRAWN_SPIKES).map(|k| (k as f32 % 100.0, 0)).collect();
        let plot = raster(vec![population("g", 1, &spikes)]);
        let told = format!("g: 1 neurons, {} spikes, 10001 drawn", spikes.len());
        assert_texts(&drawn(&plot), &[&told]);
        assert!(marks(&plot, "#0072B2").len() <= MAX_DRAWN_SPIKES);
    }

    #[test]
    fn senseless_stretches_and_numbers_of_populations_are_refused() {
        let error = raster(Vec::new()).svg().unwrap_err().to_string();
        assert_eq!(error, "plot \"Spikes\": number of populations is 0, expected 1 to 16");
        let mut plot = raster(vec![Population::default()]);
        plot.span_ms = (5.0, 5.0);
        assert!(matches!(plot.svg(), Err(PlotError::Data { what: "the stretch shown", .. })));
    }
}
