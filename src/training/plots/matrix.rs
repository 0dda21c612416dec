//! Who is connected with whom, as a heat map of at most [`MAX_MATRIX_CELLS`] cells a side.
//!
//! Synapses of large populations are summed into cells as they are added, so that memory does not
//! depend on their number.

use std::fmt::Write as _;

use plotters::coord::Shift;
use plotters::prelude::{Color as _, DrawingArea, DrawingBackend, Rectangle};

use super::chart::{Frame, shade, tick};
use super::{Plot, PlotError};

/// Cells of a side of the heat map.
pub const MAX_MATRIX_CELLS: usize = 96;

/// A connectivity matrix, coarse-grained.
#[derive(Clone, Debug, PartialEq)]
pub struct Connectivity {
    title: String,
    /// Name and size: presynaptic, postsynaptic.
    populations: [(String, u32); 2],
    /// Cells of each side.
    sides: [usize; 2],
    /// Summed magnitudes, presynaptic cell by presynaptic cell.
    sums: Vec<f64>,
    synapses: u64,
    left_out: u64,
}

impl Connectivity {
    /// Without synapses, from a population of a name and size to another.
    #[must_use]
    pub fn new(title: &str, pre: (&str, u32), post: (&str, u32)) -> Self {
        let populations = [pre, post].map(|(name, size)| (name.to_owned(), size));
        let sides = [pre.1, post.1].map(|size| (size as usize).clamp(1, MAX_MATRIX_CELLS));
        let sums = vec![0.0; sides[0] * sides[1]];
        Self { title: title.to_owned(), populations, sides, sums, synapses: 0, left_out: 0 }
    }

    /// Adds a synapse; one of neurons that do not exist, or without a finite weight, is counted only.
    pub fn add(&mut self, pre: u32, post: u32, weight: f32) {
        let [(_, pres), (_, posts)] = &self.populations;
        if pre >= *pres || post >= *posts || !weight.is_finite() {
            self.left_out += 1;
            return;
        }
        let cell = |neuron: u32, size: u32, cells: usize| {
            (u64::from(neuron) * cells as u64 / u64::from(size)) as usize
        };
        let row = cell(pre, *pres, self.sides[0]);
        let column = cell(post, *posts, self.sides[1]);
        self.sums[row * self.sides[1] + column] += f64::from(weight.abs());
        self.synapses += 1;
    }

    /// The mean magnitude of weights over all pairs of a cell, those without a synapse included.
    fn means(&self) -> Vec<f64> {
        let neurons = |side: usize, cell: usize| {
            // The first neuron of a cell is the first whose share reaches it.
            let size = u64::from(self.populations[side].1);
            let first = |cell: usize| (cell as u64 * size).div_ceil(self.sides[side] as u64);
            (first(cell + 1) - first(cell)) as f64
        };
        let columns = self.sides[1];
        let place = |(index, sum): (usize, &f64)| {
            let pairs = neurons(0, index / columns) * neurons(1, index % columns);
            if pairs > 0.0 { sum / pairs } else { 0.0 }
        };
        self.sums.iter().enumerate().map(place).collect()
    }
}

impl Plot for Connectivity {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), PlotError> {
        let means = self.means();
        let largest = means.iter().copied().fold(0.0, f64::max);
        let [(pre, pres), (post, posts)] = &self.populations;
        let mut title = format!(
            "{}: {} synapses, darkest = mean |weight| {}",
            self.title,
            self.synapses,
            tick(largest)
        );
        if self.left_out > 0 {
            // Writing to a String cannot fail.
            let _ = write!(title, " ({} cannot be shown)", self.left_out);
        }
        let frame = Frame {
            title: &title,
            x_label: &format!("postsynaptic neuron of {post}"),
            y_label: &format!("presynaptic neuron of {pre}"),
            format_x: &|x| tick(x.round()),
            format_y: &|y| tick(y.round()),
        };
        let (width, height) = (f64::from(*posts).max(1.0), f64::from(*pres).max(1.0));
        let mut chart = frame.chart(area, 0.0..width, 0.0..height)?;
        let [rows, columns] = self.sides.map(|side| side as f64);
        let cells = means.iter().enumerate().filter(|(_, mean)| **mean > 0.0);
        let cells = cells.map(|(index, mean)| {
            let row = (index / self.sides[1]) as f64;
            let column = (index % self.sides[1]) as f64;
            let corner = |row: f64, column: f64| (column / columns * width, row / rows * height);
            let corners = [corner(row, column), corner(row + 1.0, column + 1.0)];
            Rectangle::new(corners, shade(0.1 + 0.9 * mean / largest).filled())
        });
        chart.draw_series(cells).map(drop).map_err(|e| PlotError::draw(&self.title, e))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{assert_affine, assert_texts, drawn};
    use super::*;

    #[test]
    fn cells_lie_where_their_neurons_are_and_the_strongest_is_the_darkest() {
        let mut plot = Connectivity::new("Weights", ("granule", 4), ("purkinje", 3));
        for (pre, post, weight) in [(0, 0, 1.0), (2, 1, -2.0), (3, 2, 0.5)] {
            plot.add(pre, post, weight);
        }
        plot.add(4, 0, 1.0);
        plot.add(0, 0, f32::NAN);
        let title = "Weights: 3 synapses, darkest = mean |weight| 2 (2 cannot be shown)";
        let labels = ["postsynaptic neuron of purkinje", "presynaptic neuron of granule"];
        let drawn = drawn(&plot);
        assert_texts(&drawn, &[&[title][..], &labels].concat());
        let cells: Vec<_> = drawn.rectangles.iter().filter(|(_, c)| c != "#FFFFFF").collect();
        let middles: Vec<_> =
            cells.iter().map(|([x, y, w, h], _)| (x + w / 2.0, y + h / 2.0)).collect();
        assert_affine(&[(0.0, 0.0), (1.0, 2.0), (2.0, 3.0)], &middles);
        assert_eq!(cells[1].1, "#08306B");
        let red = |cell: &([f64; 4], String)| u8::from_str_radix(&cell.1[1..3], 16).unwrap();
        assert!(red(cells[1]) < red(cells[0]) && red(cells[0]) < red(cells[2]));
    }

    #[test]
    fn large_populations_are_averaged_over_all_pairs() {
        let (pres, posts) = (10_000, 100);
        let mut plot = Connectivity::new("All", ("a", pres), ("b", posts));
        for pre in 0..pres {
            for post in 0..posts {
                plot.add(pre, post, 0.25);
            }
        }
        let means = plot.means();
        assert_eq!(means.len(), MAX_MATRIX_CELLS * MAX_MATRIX_CELLS);
        assert!(means.iter().all(|mean| (mean - 0.25).abs() < 1e-9), "also where cells are uneven");
    }

    #[test]
    fn empty_populations_make_an_empty_picture() {
        assert!(Connectivity::new("None", ("a", 0), ("b", 0)).svg().is_ok());
    }
}
