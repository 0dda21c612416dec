//! `purkinje simulate`: the exchange alone, served or written to disk.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::atomic::Ordering,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;

use super::ConfigSource;
use crate::run::{live::market_config, simulated_session, stop};

/// What `simulate` takes.
#[derive(Args, Debug)]
pub(super) struct SimulateArgs {
    #[command(flatten)]
    source: ConfigSource,
    /// Serve on this loopback port (simulator.port; 0 takes a free one)
    #[arg(short, long)]
    port: Option<u16>,
    /// Instead of serving, write a session into this directory
    #[arg(short, long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// Length of the written session, seconds of market time
    #[arg(short, long, value_name = "SECONDS", default_value_t = 60, requires = "write")]
    duration: u64,
}

pub(super) fn simulate(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    let port = args.port.map(|p| ("simulator.port", p.to_string()));
    let loaded = args.source.load(port)?;
    if let Some(dir) = &args.write {
        let written = simulated_session::write(&loaded, dir, args.duration)?;
        println!("{}: {} frames, {} bytes", written.path.display(), written.frames, written.bytes);
        return Ok(ExitCode::SUCCESS);
    }
    let stop = stop::on_signals().context("cannot handle signals")?;
    let config = purkinje_feeds::sim::SimConfig {
        market: market_config(&loaded),
        ..purkinje_feeds::sim::SimConfig::default()
    };
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, loaded.config.simulator.port));
    let sim = purkinje_feeds::sim::spawn_thread(&config, addr)?;
    let addr = sim.local_addr();
    println!("simulated exchange: ws://{addr}/stream, http://{addr}/fapi/v1/depth");
    println!("symbols: {}", config.market.symbols.join(" "));
    let oracle = sim.oracle();
    println!(
        "best possible at {} ms: hit rate {:.4}, log loss {:.4} nats (on moves)",
        oracle.horizon_ms(),
        oracle.best_hit_rate(),
        oracle.best_log_loss()
    );
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("{:?}", sim.stats());
    sim.stop();
    Ok(ExitCode::SUCCESS)
}
