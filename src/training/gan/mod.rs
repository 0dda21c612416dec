//! Training of a generator of feature paths on a data set, and the paths that it makes.
//!
//! ```text
//!  DATA.parquet ─► labelled_rows ─► samples ─► session ─► checkpoints, history.csv
//!                                                 ├─────► comparison: likeness.json
//!                                                 └─────► folder: gan.toml, generator.safetensors
//!                                                            └─► paths ─► PATHS.parquet
//! ```
//!
//! The arithmetic is that of [`purkinje_kernels::training::gan`]; here is what surrounds it: what windows are
//! learned from and which are left aside, what is kept on disk and when, and how paths become a file.

pub mod comparison;
pub mod folder;
pub mod paths;
pub mod session;
