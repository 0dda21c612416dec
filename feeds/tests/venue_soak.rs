//! A soak: all venues at once, each with random faults, for twenty minutes (`SOAK_S` seconds). At the end
//! every book is the venue's.
//!
//! `cargo test --release -p purkinje-feeds --test venue_soak -- --ignored --nocapture`

#![allow(clippy::unwrap_used, reason = "a test that fails at an unwrap says where")]

mod venue_support;

use std::time::{Duration, Instant};

use purkinje_feeds::venue_sim::{Handle, Script};
use venue_support::{Client, Patience, Subject, subjects};

/// Updates per second of each venue.
const RATE_HZ: f64 = 200.0;

/// Updates between two faults of a venue, on average.
const UPDATES_PER_FAULT: u64 = 1_000;

fn soak_time() -> Duration {
    let seconds = std::env::var("SOAK_S").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20 * 60))
}

/// One venue and its client.
struct Pair {
    subject: Subject,
    sim: Handle,
    client: Client,
}

fn start(subject: Subject, seed: u64, time: Duration) -> Pair {
    let sim = subject.serve(seed);
    let faults = (time.as_secs_f64() * RATE_HZ) as u64 / UPDATES_PER_FAULT;
    let instruments = subject.symbols.len();
    let script =
        Script::random(seed, faults as usize, UPDATES_PER_FAULT, instruments, &sim.facts());
    assert!(sim.add_script(&script));
    let client = Client::start(&subject, &sim, Patience::default());
    sim.set_rate(RATE_HZ);
    Pair { subject, sim, client }
}

impl Pair {
    fn report(&self) -> String {
        let shared = self.client.look();
        let mut recoveries: Vec<Duration> =
            shared.books.iter().flat_map(|b| b.recoveries.iter().copied()).collect();
        recoveries.sort_unstable();
        let at = |share: f64| {
            let index = ((recoveries.len() as f64 - 1.0) * share).max(0.0) as usize;
            recoveries.get(index).map_or(0.0, Duration::as_secs_f64)
        };
        let commits: u64 = shared.books.iter().map(|b| b.commits).sum();
        format!(
            "{:18} {:4} faults, {:7} commits, {:4} repairs: median {:.3} s, worst {:.3} s; {} connects, {} resubscriptions",
            self.subject.venue.name(),
            self.sim.counters().faults,
            commits,
            recoveries.len(),
            at(0.5),
            at(1.0),
            shared.connects,
            shared.resubscriptions
        )
    }
}

#[test]
#[ignore = "takes twenty minutes"]
fn every_book_is_the_venues_after_random_faults() {
    let time = soak_time();
    let pairs: Vec<Pair> =
        subjects().into_iter().zip(1..).map(|(subject, seed)| start(subject, seed, time)).collect();
    let end = Instant::now() + time;
    let mut next_report = Instant::now() + Duration::from_mins(5);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(200));
        if Instant::now() > next_report {
            next_report += Duration::from_mins(5);
            for pair in &pairs {
                println!("{}", pair.report());
            }
        }
    }
    // The last faults are repaired with the market still moving; then it stands still.
    std::thread::sleep(Duration::from_secs(20));
    for pair in &pairs {
        pair.sim.pause(true);
    }
    let mut wrong = Vec::new();
    for pair in &pairs {
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut different = pair.client.different(&pair.sim);
        while !different.is_empty() && Instant::now() < deadline {
            // A repair needs updates to bridge a snapshot to, and an audit one to be due at.
            pair.sim.step(3);
            std::thread::sleep(Duration::from_millis(200));
            different = pair.client.different(&pair.sim);
        }
        println!("{}", pair.report());
        if !different.is_empty() {
            let counters = pair.client.look().counters;
            wrong.push(format!("{}: {different:?} {counters:?}", pair.subject.venue.name()));
        }
        let shared = pair.client.look();
        assert!(shared.violations.is_empty(), "{}", shared.violations[0]);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for pair in pairs {
        pair.client.stop();
    }
}
