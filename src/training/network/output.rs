//! What a training leaves in its folder beside checkpoints.
//!
//! `history.csv` has one line an epoch, `plots/` the loss curves; at the end `weights.safetensors` and then
//! `model.toml`, the form that the daemon serves. Invariants: each file is written atomically; `model.toml`
//! comes last, so that a folder which has it has everything; equal trainings leave equal bytes.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use purkinje_kernels::{predictors::architecture::Architecture, training::trainer::Epoch};
use purkinje_strategies::features::NAMES;
use thiserror::Error;

use crate::{
    evaluation::history::HISTORY,
    files::atomic_file::{AtomicFileError, write_atomically},
    learning::network::{DESCRIPTION, Description, WEIGHTS},
    training::{
        labelled_rows::LabelledRows,
        plots::{Curve, Curves, Plot as _, PlotError},
    },
};

/// Why something was not written.
#[derive(Debug, Error)]
pub enum OutputError {
    /// A file cannot be replaced.
    #[error(transparent)]
    Write(#[from] AtomicFileError),
    /// A folder cannot be created.
    #[error("{}: cannot create: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A plot cannot be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The description cannot be encoded.
    #[error("{DESCRIPTION}: {0}")]
    Encode(#[from] toml::ser::Error),
}

/// Writes the network for the daemon. `anomaly_scale` is an autoencoder's.
///
/// # Errors
/// The system refuses.
pub fn write_network(
    folder: &Path,
    rows: &LabelledRows,
    architecture: &Architecture,
    anomaly_scale: Option<f64>,
    weights: &[u8],
) -> Result<(), OutputError> {
    let names = rows.feature_names();
    let features = if *names == NAMES { &["all"] } else { names };
    let description = Description {
        features: features.iter().copied().map(str::to_owned).collect(),
        horizon_ms: rows.horizon_ms,
        cycle_ms: rows.cycle_ms,
        anomaly_scale,
        network: Some(architecture.clone()),
        onnx: None,
    };
    let text = toml::to_string(&description)?;
    write_atomically(&folder.join(WEIGHTS), &[weights])?;
    Ok(write_atomically(&folder.join(DESCRIPTION), &[text.as_bytes()])?)
}

/// Writes [`HISTORY`]: epochs counted from 1, losses in nats (of an autoencoder, squared differences).
///
/// # Errors
/// The system refuses.
pub fn write_history(folder: &Path, history: &[Epoch]) -> Result<(), OutputError> {
    let mut text = String::from("epoch,training_loss,validation_loss,learning_rate\n");
    for (number, epoch) in (1..).zip(history) {
        let Epoch { training_loss, validation_loss, learning_rate } = epoch;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{number},{training_loss},{validation_loss},{learning_rate}");
    }
    Ok(write_atomically(&folder.join(HISTORY), &[text.as_bytes()])?)
}

/// Draws losses and learning rates as SVG and PNG.
///
/// # Errors
/// The system refuses.
pub fn draw(folder: &Path, history: &[Epoch], unit: &str) -> Result<(), OutputError> {
    let plots = folder.join("plots");
    std::fs::create_dir_all(&plots)
        .map_err(|source| OutputError::Folder { path: plots.clone(), source })?;
    let curve = |name: &str, of: &dyn Fn(&Epoch) -> f32| {
        let points = (1..).zip(history).map(|(n, epoch)| (f64::from(n), f64::from(of(epoch))));
        Curve::new(name, points.collect())
    };
    let curves = |title: &str, y_label: &str, curves: Vec<Curve>| Curves {
        title: title.to_owned(),
        x_label: "epoch".to_owned(),
        y_label: y_label.to_owned(),
        log_y: false,
        curves,
    };
    let losses = vec![
        curve("training, as learned", &|epoch| epoch.training_loss),
        curve("validation", &|epoch| epoch.validation_loss),
    ];
    let rates = vec![curve("learning rate", &|epoch| epoch.learning_rate)];
    for (name, plot) in [
        ("loss", curves("Loss", unit, losses)),
        ("learning-rate", curves("Learning rate", "rate", rates)),
    ] {
        for extension in ["svg", "png"] {
            plot.write(&plots.join(format!("{name}.{extension}")))?;
        }
    }
    Ok(())
}
