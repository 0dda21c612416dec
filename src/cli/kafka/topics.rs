//! `purkinje kafka topics`: the topics, made and compared by hand.

use std::{fmt::Write as _, process::ExitCode, time::Duration};

use anyhow::bail;
use clap::{Args, value_parser};
use serde_json::json;

use super::super::{ConfigSource, print};
use crate::signals::kafka::{
    client::KafkaClient,
    topics::{self, State, TopicOptions, TopicReport},
};

/// Some topic is missing or not as it should be.
const FINDINGS: u8 = 1;
/// The broker cannot be reached or refuses.
const REFUSED: u8 = 2;

/// What `kafka topics` takes.
#[derive(Args, Debug)]
pub(super) struct TopicsArgs {
    /// Create what is missing; what exists is compared, never altered
    #[arg(long, required_unless_present = "check", conflicts_with = "check")]
    create: bool,
    /// Compare only
    #[arg(long)]
    check: bool,
    /// Partitions of each topic but control, which has one [default: 12 for new topics; existing ones
    /// may have any number]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=10_000))]
    partitions: Option<u16>,
    /// Copies of each partition; from 3 on, two must be in sync [default: the broker's]
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..=100))]
    replication_factor: Option<u16>,
    /// How long to wait for each answer, ms
    #[arg(long, value_name = "MS", default_value_t = 10_000, value_parser = value_parser!(u64).range(100..=600_000))]
    timeout_ms: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: ConfigSource,
}

pub(super) fn topics(args: &TopicsArgs) -> anyhow::Result<ExitCode> {
    let loaded = args.source.load([])?;
    let kafka = &loaded.config.kafka;
    if kafka.brokers.is_empty() {
        bail!("kafka.brokers = \"\": expected host:port, separated by commas");
    }
    let client = KafkaClient::new(kafka)?;
    let options = TopicOptions {
        partitions: args.partitions,
        replication_factor: args.replication_factor,
        timeout: Duration::from_millis(args.timeout_ms),
    };
    let act = if args.create { topics::create } else { topics::check };
    let reports = match act(&client, &kafka.topic_prefix, &options) {
        Ok(reports) => reports,
        Err(error) => {
            eprintln!("purkinje: {error}");
            return Ok(ExitCode::from(REFUSED));
        }
    };
    let is_right = reports.iter().all(|r| matches!(r.state, State::Created | State::Ok));
    if args.json {
        let report = json!({"brokers": client.brokers(), "ok": is_right, "topics": reports});
        print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        print(text(&reports).trim_end())?;
    }
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::from(FINDINGS) })
}

/// One line a topic, and one a difference.
fn text(reports: &[TopicReport]) -> String {
    let mut text = String::new();
    for report in reports {
        let state = match report.state {
            State::Created => "created",
            State::Ok => "ok",
            State::Differs => "differs",
            State::Missing => "missing",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{state:<8} {}", report.topic);
        for difference in &report.differences {
            let value = difference.value.as_deref().unwrap_or("nothing");
            let (key, expected) = (difference.key, &difference.expected);
            let _ = writeln!(text, "         {key} = {value}, expected {expected}");
        }
    }
    text
}
