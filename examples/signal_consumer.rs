//! Reads signals as a trading system should: drops what the drop rule drops, refuses what has expired,
//! and says how old everything was.
//!
//! `cargo run --example signal_consumer -- localhost:9092 [--prefix purkinje] [--fenced]`
//!
//! The same in Python: `signal_consumer.py`.

use std::{fmt, process::ExitCode, sync::atomic::Ordering, time::Duration};

use clap::Parser;
use purkinje::{
    clock::wall_ns,
    run::stop,
    signals::kafka::{contract::Topic, drop_rule::DropRule, record::SignalRecord},
};
use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};

/// Consume purkinje's signals.
#[derive(Parser)]
struct Args {
    /// Bootstrap servers
    brokers: String,
    /// What the topics' names begin with (kafka.topic_prefix of the daemon)
    #[arg(long, default_value = "purkinje")]
    prefix: String,
    /// The daemon publishes in the mode `fenced`: wait for its transactions
    #[arg(long)]
    fenced: bool,
    /// Consumers of one group share the partitions
    #[arg(long, default_value = "signal-consumer")]
    group: String,
}

/// What became of the records.
#[derive(Default)]
struct Summary {
    obeyed: u64,
    dropped: u64,
    expired: u64,
    refused: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { obeyed, dropped, expired, refused } = self;
        write!(f, "{obeyed} obeyed, {dropped} dropped, {expired} expired, {refused} not signals")
    }
}

fn consumer(args: &Args) -> Result<BaseConsumer, KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &args.brokers)
        .set("group.id", &args.group)
        // Old signals are no use: begin with what comes next.
        .set("auto.offset.reset", "latest")
        .set("isolation.level", if args.fenced { "read_committed" } else { "read_uncommitted" })
        // After the loss of a broker, try again soon.
        .set("reconnect.backoff.max.ms", "1000")
        .create()?;
    consumer.subscribe(&[&Topic::Signals.name(&args.prefix)])?;
    Ok(consumer)
}

/// What to do about one record, as a line to print.
fn obey<M: rdkafka::Message>(message: &M, rule: &mut DropRule, summary: &mut Summary) -> String {
    let place = format!("{}@{}", message.partition(), message.offset());
    let SignalRecord { identity, signal } = match SignalRecord::read(message) {
        Ok(record) => record,
        Err(error) => {
            summary.refused += 1;
            return format!("{place} is no signal: {error}");
        }
    };
    let now_ns = wall_ns();
    // Only as good as the agreement of the two hosts' clocks.
    let age_ms = signal.age_ns(now_ns) as f64 / 1e6;
    let name = format!("{} {identity} age {age_ms:.1} ms", signal.instrument);
    // The rule comes before the clock: an expired signal, too, outdates all that were made before it.
    if let Err(why) = rule.accept(&signal.instrument, identity) {
        summary.dropped += 1;
        return format!("{name} dropped: {why}");
    }
    if signal.is_expired(now_ns) {
        summary.expired += 1;
        return format!("{name} expired: its time to live was {} ms", signal.ttl_ms);
    }
    summary.obeyed += 1;
    // An action of a later version is not understood, so nothing is done.
    let action = signal.action.map_or("HOLD (unknown action)", |action| action.name());
    let confidence = signal.confidence.map_or("-".to_owned(), |c| format!("{c:.3}"));
    format!("{name} {action} at {} confidence {confidence}", signal.mid)
}

fn main() -> ExitCode {
    let args = Args::parse();
    let stop = match stop::on_signals() {
        Ok(stop) => stop,
        Err(error) => {
            eprintln!("cannot handle Ctrl-C: {error}");
            return ExitCode::FAILURE;
        }
    };
    let consumer = match consumer(&args) {
        Ok(consumer) => consumer,
        Err(error) => {
            eprintln!("{}: {error}", args.brokers);
            return ExitCode::FAILURE;
        }
    };
    // Kept in memory: after a restart, signals that are repeated could count again, but only for as long
    // as they live. Who cannot bear that stores the rule's places with what was done.
    let mut rule = DropRule::default();
    let mut summary = Summary::default();
    while !stop.load(Ordering::Relaxed) {
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(message)) => println!("{}", obey(&message, &mut rule, &mut summary)),
            // The client reconnects by itself and goes on where it was.
            Some(Err(error)) => eprintln!("{error}"),
        }
    }
    eprintln!("{summary}");
    ExitCode::SUCCESS
}
