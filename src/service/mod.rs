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

pub mod access;
pub mod bind;
pub mod counters;
pub mod feed_states;
pub mod frames;
pub mod heat;
pub mod hub;
pub mod metrics;
pub mod page;
pub mod routes;
pub mod server;
pub mod skill;
pub mod snapshot;
pub mod stall;
pub mod watch;
