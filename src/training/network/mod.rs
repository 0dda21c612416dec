//! Training of the conventional networks on a data set, up to a folder that the daemon serves.
//!
//! ```text
//!  DATA.parquet ─► labelled_rows ─► samples ─► session ─► checkpoints, history, loss curves
//!                                     │           └─────► output: model.toml, weights.safetensors
//!                                     └─► walk_forward ─► walk_forward.csv: networks beside baselines
//! ```
//!
//! The arithmetic is that of [`purkinje_kernels::training`]; here is what surrounds it: what rows are
//! learned from, what is kept on disk and when, and what a trained network is compared with.

pub mod baselines;
pub mod config;
pub mod output;
pub mod samples;
pub mod session;
pub mod skill;
pub mod walk_forward;
