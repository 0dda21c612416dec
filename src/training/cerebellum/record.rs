//! What a training leaves beside its checkpoints: event files by epoch and plots at its end.
//!
//! `events/` has one TensorBoard file a run of the program (a resumed training adds one), `plots/` each
//! plot as SVG and PNG, replaced when the training is resumed. Invariant: nothing here is read by the
//! training.

use std::path::{Path, PathBuf};

use purkinje_kernels::supervised::MossySpikes;
use thiserror::Error;

use super::{
    learners::Online,
    rows::Rows,
    session::Epoch,
    spikes::{MAX_STEPS, PlayError, raster},
};
use crate::{
    clock::wall_ns,
    training::{
        histogram::Histogram,
        plots::{Connectivity, Curve, Curves, Histograms, Plot, PlotError, QuantileBands},
        tensorboard::{EventError, EventWriter},
    },
};

/// Largest event file, bytes.
const MAX_EVENT_BYTES: u64 = 256 << 20;

/// Buckets of the histograms.
const BUCKETS: usize = 60;

/// Stretch of the raster, cycles.
const RASTER_CYCLES: usize = 10;

/// Why something could not be recorded.
#[derive(Debug, Error)]
pub enum RecordError {
    /// An event.
    #[error(transparent)]
    Event(#[from] EventError),
    /// A plot.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The spikes of the raster.
    #[error(transparent)]
    Play(#[from] PlayError),
    /// The folder of the plots.
    #[error("{path}: cannot create: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The event file and the folder of the plots.
#[derive(Debug)]
pub struct Record {
    events: EventWriter,
    plots: PathBuf,
}

impl Record {
    /// Creates an event file in `dir/events` and the folder `dir/plots`.
    ///
    /// # Errors
    /// The system refuses.
    pub fn create(dir: &Path) -> Result<Self, RecordError> {
        let events = EventWriter::create(&dir.join("events"), wall_ns(), MAX_EVENT_BYTES)?;
        let plots = dir.join("plots");
        std::fs::create_dir_all(&plots)
            .map_err(|source| RecordError::Folder { path: plots.clone(), source })?;
        Ok(Self { events, plots })
    }

    /// Writes the events of an epoch. `base` is the base rate's validation loss.
    ///
    /// # Errors
    /// The system refuses.
    pub fn epoch(
        &mut self,
        epoch: &Epoch,
        base: Option<f64>,
        weights: &[f32],
        granule_hz: &[f32],
    ) -> Result<(), RecordError> {
        let now_ns = wall_ns();
        let scalars = [
            ("loss/learning", epoch.learning_loss),
            ("loss/train", epoch.train.mean_loss()),
            ("loss/validation", epoch.validation.mean_loss()),
            ("loss/base rate on validation", base),
            ("accuracy/train", epoch.train.accuracy()),
            ("accuracy/validation", epoch.validation.accuracy()),
            ("learning rate", epoch.rate),
            ("gradient norm", epoch.gradient_norm),
        ];
        for (tag, value) in scalars {
            if let Some(value) = value {
                self.events.scalar(tag, epoch.number, now_ns, value as f32)?;
            }
        }
        for (tag, values) in [("weights/parallel", weights), ("rates/granule, Hz", granule_hz)] {
            let histogram = Histogram::of(values, BUCKETS);
            self.events.histogram(tag, epoch.number, now_ns, &histogram)?;
        }
        Ok(self.events.sync()?)
    }

    /// Draws the whole training. `weights` are the first and the last ones.
    ///
    /// # Errors
    /// The system refuses.
    pub fn plots(
        &self,
        rows: &Rows,
        online: &Online<'_>,
        epochs: &[Epoch],
        base: Option<f64>,
        weights: [&[f32]; 2],
    ) -> Result<(), RecordError> {
        let curve = |name: &str, of: &dyn Fn(&Epoch) -> Option<f64>| {
            let points = epochs.iter().filter_map(|e| of(e).map(|y| (e.number as f64, y)));
            Curve::new(name, points.collect())
        };
        let curves = |title: &str, y_label: &str, curves: Vec<Curve>| Curves {
            title: title.into(),
            x_label: "epoch".into(),
            y_label: y_label.into(),
            log_y: false,
            curves: curves.into_iter().filter(|curve| !curve.points.is_empty()).collect(),
        };
        let loss = vec![
            curve("train", &|e| e.train.mean_loss()),
            curve("validation", &|e| e.validation.mean_loss()),
            curve("as learned", &|e| e.learning_loss),
            curve("base rate on validation", &|_| base),
        ];
        self.draw("loss", &curves("Log loss", "log loss, nat", loss))?;
        let accuracy = vec![
            curve("train", &|e| e.train.accuracy()),
            curve("validation", &|e| e.validation.accuracy()),
        ];
        self.draw("accuracy", &curves("Accuracy", "share of sides forecast", accuracy))?;
        let rate = curves("Learning rate", "rate", vec![curve("supervised", &|e| e.rate)]);
        if !rate.curves.is_empty() {
            self.draw("learning-rate", &rate)?;
        }
        let bands = QuantileBands {
            title: "Parallel-fibre weights over epochs".into(),
            x_label: "epoch".into(),
            y_label: "effective weight, initial weights".into(),
            bands: epochs.iter().map(|e| (e.number as f64, e.weights)).collect(),
        };
        self.draw("weight-evolution", &bands)?;
        let [first, last] = weights.map(|values| Histogram::of(values, BUCKETS));
        let histograms = Histograms {
            title: "Parallel-fibre weights".into(),
            x_label: "effective weight, initial weights".into(),
            y_label: "synapses".into(),
            histograms: vec![("at the start".into(), first), ("at the end".into(), last)],
        };
        self.draw("weights", &histograms)?;
        self.connectivity(rows, weights[1])?;
        self.raster(rows, online, weights[1])
    }

    fn connectivity(&self, rows: &Rows, weights: &[f32]) -> Result<(), RecordError> {
        let c = &rows.circuit;
        let cells = 2 * c.purkinje_per_zone;
        let (pre, post) = (("granule", c.granule_cells as u32), ("Purkinje", cells as u32));
        let mut matrix = Connectivity::new("Parallel fibres on Purkinje cells", pre, post);
        for (k, weight) in weights.iter().enumerate() {
            matrix.add((k / cells) as u32, (k % cells) as u32, *weight);
        }
        self.draw("connectivity", &matrix)
    }

    /// The first cycles of the first instrument in the rows that were not learned from.
    fn raster(&self, rows: &Rows, online: &Online<'_>, weights: &[f32]) -> Result<(), RecordError> {
        let parts = [&rows.validation, &rows.train];
        let part = parts.into_iter().find(|p| !p.rows().is_empty()).unwrap_or(&rows.train);
        let mut encoder = online.cerebellum.mossy_encoder();
        let of_first = part.rows().iter().filter(|row| rows.info(**row).instrument == 0);
        let cycles = RASTER_CYCLES.min(MAX_STEPS / rows.circuit.steps_per_cycle).max(1);
        let played: Vec<MossySpikes> = (0..)
            .zip(of_first.take(cycles))
            .map(|(cycle, row)| encoder.encode(0, cycle, rows.features(*row)))
            .collect();
        let steps: Vec<&[u32]> =
            played.iter().flat_map(|mossy| (0..mossy.steps()).map(|n| mossy.at(n))).collect();
        if steps.is_empty() {
            return Ok(());
        }
        let mut learned = online.cerebellum.weights();
        learned.parallel.copy_from_slice(weights);
        let mossy = MossySpikes::from_steps(&steps);
        let raster = raster("Spikes on recorded rows", &online.cerebellum, &learned, &mossy)?;
        self.draw("raster", &raster)
    }

    fn draw(&self, name: &str, plot: &impl Plot) -> Result<(), RecordError> {
        draw(&self.plots, name, plot)
    }
}

/// Writes a plot as SVG and PNG into a folder.
///
/// # Errors
/// The plot cannot be drawn, or the system refuses.
pub fn draw(dir: &Path, name: &str, plot: &impl Plot) -> Result<(), RecordError> {
    for extension in ["svg", "png"] {
        plot.write(&dir.join(format!("{name}.{extension}")))?;
    }
    Ok(())
}
