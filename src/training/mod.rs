//! What training needs around a network: rows from recordings, examples from files, checkpoints,
//! plots, event files and progress.
//!
//! ```text
//!  recordings, captures ─► cycles ─► dataset ─► split ─┐
//!  JSON files ─────────────────────► import ───────────┼─► trainer ─► checkpoints (best, last N)
//!                                                      │      ├─────► tensorboard, plots
//!                                                      │      └─────► progress
//!  Parquet data sets ──────────────► labelled_rows ─────┘
//! ```
//!
//! Features come from the live engine itself and labels from the rule that the live forecaster learns
//! by, so that what is trained here is what runs there.

pub mod cerebellum;
pub mod checkpoint;
pub mod checkpoint_store;
pub mod cycles;
pub mod dataset;
pub mod dataset_file;
#[cfg(feature = "train")]
pub mod gan;
pub mod histogram;
pub mod import;
pub mod labelled_rows;
#[cfg(feature = "train")]
pub mod network;
pub mod plots;
pub mod progress;
pub mod run_folder;
pub mod split;
pub mod tensorboard;
