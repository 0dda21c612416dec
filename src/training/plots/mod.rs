//! Plots of a training run as SVG or PNG, from plain data.
//!
//! Each kind of plot is a struct of data that can [`draw`](Plot::draw) itself on any back end; title,
//! axes with units and bounded detail are its own business. Invariants: the same data are the same
//! file; what is drawn of large data is thinned to a stated bound and the title or legend says so;
//! values that are not finite are left out and counted there, too; files are written atomically.

mod bands;
mod bars;
mod chart;
mod confusion;
mod curves;
mod histograms;
mod matrix;
mod parallel;
mod pixels;
mod raster;
mod reliability;

use std::fmt;
use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, DrawingBackend, IntoDrawingArea as _, SVGBackend, WHITE};

pub use bands::{QUANTILES, QuantileBands, quantiles};
pub use bars::{Bar, Bars, MAX_BARS};
pub use confusion::Confusion;
pub use curves::{Curve, Curves, MAX_CURVE_POINTS, MAX_CURVES};
pub use histograms::Histograms;
pub use matrix::{Connectivity, MAX_MATRIX_CELLS};
pub use parallel::{Axis, MAX_AXES, MAX_TRIALS, ParallelCoordinates, Trial};
pub use raster::{MAX_DRAWN_SPIKES, Population, Raster, Spike};
pub use reliability::{Reliability, ReliabilityBin};

use crate::files::atomic_file::{AtomicFileError, write_atomically};
use pixels::Pixels;

/// Size of a plot, pixels.
pub const SIZE: (u32, u32) = (960, 600);

/// Why a plot was not made.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// The drawing library refused.
    #[error("plot {title:?}: {what}")]
    Draw {
        /// Which plot.
        title: String,
        /// What it said.
        what: String,
    },
    /// The picture could not be encoded.
    #[error("plot: cannot encode PNG: {0}")]
    Png(#[from] png::EncodingError),
    /// The data do not make a plot.
    #[error("plot {title:?}: {what} is {value}, expected {expected}")]
    Data {
        /// Which plot.
        title: String,
        /// Which measure.
        what: &'static str,
        /// Its value.
        value: String,
        /// What would have been accepted.
        expected: String,
    },
    /// The name of the file does not say how to write it.
    #[error("{path}: expected a name that ends in .svg or .png")]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The file could not be written.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
}

impl PlotError {
    fn draw(title: &str, error: impl fmt::Display) -> Self {
        Self::Draw { title: title.to_owned(), what: error.to_string() }
    }

    fn data(title: &str, what: &'static str, value: &impl ToString, expected: String) -> Self {
        Self::Data { title: title.to_owned(), what, value: value.to_string(), expected }
    }
}

/// Something that can be drawn.
pub trait Plot {
    /// Draws on an area that is white.
    ///
    /// # Errors
    /// The data do not make a plot, or the back end refuses.
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Result<(), PlotError>;

    /// The plot as an SVG document.
    ///
    /// # Errors
    /// As for [`draw`](Self::draw).
    fn svg(&self) -> Result<String, PlotError> {
        let mut text = String::new();
        draw_on(self, SVGBackend::with_string(&mut text, SIZE))?;
        Ok(text)
    }

    /// The plot as a PNG picture.
    ///
    /// # Errors
    /// As for [`draw`](Self::draw).
    fn png(&self) -> Result<Vec<u8>, PlotError> {
        let (width, height) = SIZE;
        let mut rgb = vec![0; 3 * (width * height) as usize];
        draw_on(self, Pixels::new(&mut rgb, SIZE))?;
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&rgb)?;
        writer.finish()?;
        Ok(file)
    }

    /// Writes the plot as what the extension of the file says, `.svg` or `.png`.
    ///
    /// # Errors
    /// As for [`draw`](Self::draw), for another extension, and when the system refuses.
    fn write(&self, path: &Path) -> Result<(), PlotError> {
        let bytes = match path.extension().and_then(|e| e.to_str()) {
            Some("svg") => self.svg()?.into_bytes(),
            Some("png") => self.png()?,
            _ => return Err(PlotError::Extension { path: path.to_owned() }),
        };
        Ok(write_atomically(path, &[&bytes])?)
    }
}

fn draw_on<B: DrawingBackend>(plot: &(impl Plot + ?Sized), backend: B) -> Result<(), PlotError> {
    let area = backend.into_drawing_area();
    area.fill(&WHITE).map_err(|e| PlotError::draw("background", e))?;
    plot.draw(&area)?;
    area.present().map_err(|e| PlotError::draw("end", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a test looks for in a document: texts, polylines and filled rectangles.
    #[derive(Debug, Default)]
    pub(super) struct Drawn {
        pub(super) texts: Vec<String>,
        /// Points and colour.
        pub(super) lines: Vec<(Vec<(f64, f64)>, String)>,
        /// Left, top, width, height and colour.
        pub(super) rectangles: Vec<([f64; 4], String)>,
        /// Points.
        pub(super) polygons: Vec<Vec<(f64, f64)>>,
    }

    pub(super) fn drawn(plot: &impl Plot) -> Drawn {
        let svg = plot.svg().unwrap();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let mut drawn = Drawn::default();
        for node in document.descendants().filter(roxmltree::Node::is_element) {
            let text = |name| node.attribute(name).unwrap_or_default().to_owned();
            let number = |name| text(name).parse::<f64>().unwrap();
            let points = || {
                let pair = |pair: &str| {
                    let (x, y) = pair.split_once(',').unwrap();
                    (x.parse().unwrap(), y.parse().unwrap())
                };
                text("points").split_whitespace().map(pair).collect::<Vec<_>>()
            };
            match node.tag_name().name() {
                "text" => {
                    drawn.texts.push(node.text().unwrap_or_default().trim().to_owned());
                }
                "polyline" => drawn.lines.push((points(), text("stroke"))),
                "polygon" => drawn.polygons.push(points()),
                "rect" => {
                    let place = ["x", "y", "width", "height"].map(number);
                    drawn.rectangles.push((place, text("fill")));
                }
                _ => {}
            }
        }
        drawn
    }

    /// Asserts that drawn points are an affine image of data, to a pixel and a half.
    pub(super) fn assert_affine(data: &[(f64, f64)], pixels: &[(f64, f64)]) {
        assert_eq!(data.len(), pixels.len());
        for of in [|p: &(f64, f64)| p.0, |p: &(f64, f64)| p.1] {
            let pairs: Vec<(f64, f64)> = data.iter().map(of).zip(pixels.iter().map(of)).collect();
            let low = pairs.iter().copied().reduce(|a, b| if a.0 <= b.0 { a } else { b }).unwrap();
            let high = pairs.iter().copied().reduce(|a, b| if a.0 > b.0 { a } else { b }).unwrap();
            assert!(high.0 > low.0 && (high.1 - low.1).abs() > 50.0, "spread out: {pairs:?}");
            let slope = (high.1 - low.1) / (high.0 - low.0);
            for (value, pixel) in pairs {
                let expected = low.1 + slope * (value - low.0);
                assert!((pixel - expected).abs() <= 1.5, "{value} at {pixel}, not {expected}");
            }
        }
    }

    pub(super) fn assert_texts(drawn: &Drawn, expected: &[&str]) {
        for text in expected {
            assert!(drawn.texts.iter().any(|t| t == text), "{text:?} is not in {:?}", drawn.texts);
        }
    }

    fn curves() -> Curves {
        Curves {
            title: "Loss".into(),
            x_label: "epoch".into(),
            y_label: "cross-entropy, nat".into(),
            log_y: false,
            curves: vec![Curve::new("train", vec![(0.0, 0.7), (1.0, 0.6), (2.0, 0.55)])],
        }
    }

    #[test]
    fn a_plot_is_written_as_its_extension_says() {
        let dir = tempfile::tempdir().unwrap();
        let svg = dir.path().join("loss.svg");
        curves().write(&svg).unwrap();
        assert_eq!(std::fs::read_to_string(&svg).unwrap(), curves().svg().unwrap());
        let png = dir.path().join("loss.png");
        curves().write(&png).unwrap();
        let decoder = png::Decoder::new(std::io::Cursor::new(std::fs::read(&png).unwrap()));
        let mut reader = decoder.read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut rgb).unwrap();
        assert_eq!((info.width, info.height), SIZE);
        let colours: std::collections::BTreeSet<_> = rgb.chunks(3).collect();
        assert!(colours.contains(&[255; 3][..]) && colours.contains(&[0; 3][..]));
        assert!(colours.len() > 3, "white, black, mesh and a curve");
        let error = curves().write(&dir.path().join("loss.pdf")).unwrap_err().to_string();
        assert!(error.ends_with("loss.pdf: expected a name that ends in .svg or .png"), "{error}");
    }
}
