//! `purkinje tap`.

use std::{
    io::{ErrorKind, Write as _},
    process::ExitCode,
    sync::atomic::Ordering,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;

use super::ConfigSource;
use crate::{
    run::stop,
    signals::kafka::{
        client::KafkaClient,
        contract::Topic,
        tap::{From, Tap, heads, json, line},
    },
};

/// How soon Ctrl-C is noticed.
const POLL: Duration = Duration::from_millis(100);

/// What `tap` takes.
#[derive(Args, Debug)]
pub(super) struct TapArgs {
    #[command(flatten)]
    source: ConfigSource,
    /// Bootstrap servers (kafka.brokers)
    #[arg(short, long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,
    /// Show one instrument only
    #[arg(short, long, value_name = "VENUE:SYMBOL")]
    instrument: Option<String>,
    /// Begin with the oldest signal that the topic keeps, not with the next one
    #[arg(long)]
    from_beginning: bool,
    /// Print a JSON object per record
    #[arg(long)]
    json: bool,
    /// End after so many records
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

pub(super) fn tap(args: &TapArgs) -> anyhow::Result<ExitCode> {
    let brokers = args.brokers.clone().map(|brokers| ("kafka.brokers", brokers));
    let kafka = args.source.load(brokers)?.config.kafka;
    anyhow::ensure!(
        !kafka.brokers.is_empty(),
        "kafka.brokers is empty, expected host:port; set it there or with --brokers"
    );
    let stop = stop::on_signals().context("cannot handle signals")?;
    let topic = Topic::Signals.name(&kafka.topic_prefix);
    let from = if args.from_beginning { From::Beginning } else { From::Now };
    let client = KafkaClient::new(&kafka)?;
    let mut tap = Tap::open(client.config(), &topic, from, args.instrument.clone())?;
    let partitions = tap.partitions();
    eprintln!("{topic}: {partitions} partitions at {}; Ctrl-C ends", kafka.brokers);
    if !args.json && !put(&heads())? {
        return Ok(ExitCode::SUCCESS);
    }
    let (mut shown, mut trouble) = (0, String::new());
    while !stop.load(Ordering::Relaxed) && args.count.is_none_or(|count| shown < count) {
        match tap.next(POLL) {
            None => {}
            Some(Ok(tapped)) => {
                shown += 1;
                trouble.clear();
                let text = if args.json { json(&tapped)? } else { line(&tapped) };
                if !put(&text)? {
                    break;
                }
            }
            // The client goes on by itself; told once, not at each of its attempts.
            Some(Err(error)) => {
                let text = error.to_string();
                if text != trouble {
                    eprintln!("purkinje: {topic}: {text}");
                    trouble = text;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a line at once; `false` when nobody reads any more (`| head`).
fn put(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(e).context("cannot write to standard output"),
    }
}
