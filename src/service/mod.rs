//! What watches a live run and serves it over HTTP: health, metrics, signals, a dashboard, a kill switch.
//!
//! ```text
//!  hot threads ─► boards, histograms, counters (pipeline)
//!       sink ─ring─► Watch ─► Snapshot ─► /readyz /statusz /metrics
//!                      │ 20 times a second
//!                      └─► Hub ─► /signals, /api/v1/frames (server-sent events)
//!  engine ◄─ring─ Commands ◄─ /api/v1/halt, /api/v1/resume (bearer token)
//! ```
//!
//! One thread, `pk-http`, does all of it. Invariant: it reads what hot threads publish and nothing that it does,
//! or that a client does, makes one of them wait.

mod access;
pub mod bind;
mod counters;
mod feed_states;
mod frames;
mod heat;
mod hub;
mod metrics;
mod page;
mod routes;
pub mod server;
mod skill;
pub mod snapshot;
mod stall;
pub mod watch;
