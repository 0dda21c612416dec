//! The daemon's topics on a broker: what is missing is created, what exists is compared with the contract.
//!
//! Invariant: an existing topic is never altered. How many partitions and replicas a topic has is its
//! operator's decision and is compared only where a number was asked for; everything else is the contract's.

use std::time::Duration;

use rdkafka::{
    admin::{
        AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
    },
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode as E},
    metadata::Metadata,
};
use serde::Serialize;
use thiserror::Error;

use super::{
    client::KafkaClient,
    contract::{Cleanup, Topic},
    reach::{self, Unreachable, reach},
};

/// Partitions of a new topic, unless told otherwise.
pub const DEFAULT_PARTITIONS: u16 = 12;

/// Why topics could not be made or compared.
#[derive(Debug, Error)]
pub enum TopicsError {
    /// No broker answers.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// A broker refuses something about one topic.
    #[error("kafka.brokers = {brokers:?}: {what} topic {topic}: {reason}")]
    Refused {
        /// The brokers, as configured.
        brokers: String,
        /// What was asked.
        what: &'static str,
        /// Its name.
        topic: String,
        /// The broker's answer.
        reason: E,
    },
    /// The thread that waits for answers could not be set up.
    #[error("cannot wait for the broker: {0}")]
    Runtime(#[from] std::io::Error),
}

/// How topics are made, and what is compared beside the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicOptions {
    /// Partitions, [`DEFAULT_PARTITIONS`] if none; topics that need the order of all records have one.
    pub partitions: Option<u16>,
    /// Copies of each partition; none leaves it to the broker.
    pub replication_factor: Option<u16>,
    /// How long to wait for each answer.
    pub timeout: Duration,
}

/// What a topic is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Made just now.
    Created,
    /// There, and as the contract wants it.
    Ok,
    /// There, but not as the contract wants it.
    Differs,
    /// Not there.
    Missing,
}

/// A setting that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Kafka's name of the setting, or `partitions` or `replication.factor`.
    pub key: &'static str,
    /// Its value; none if the broker does not know the setting.
    pub value: Option<String>,
    /// What it should be.
    pub expected: String,
}

/// One topic and what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicReport {
    /// Its name.
    pub topic: String,
    /// What it is like.
    pub state: State,
    /// Empty unless the state is [`State::Differs`].
    pub differences: Vec<Difference>,
}

/// Compares what exists with the contract; changes nothing.
///
/// # Errors
/// The brokers cannot be reached, or refuse to tell.
pub fn check(
    client: &KafkaClient,
    prefix: &str,
    options: &TopicOptions,
) -> Result<Vec<TopicReport>, TopicsError> {
    let metadata = reach(client, options.timeout)?;
    let mut reports = named(prefix);
    compare(client, &metadata, &mut reports, options)?;
    Ok(reports.into_iter().map(|(_, report)| report).collect())
}

/// Creates what is missing and compares the rest.
///
/// # Errors
/// The brokers cannot be reached, or refuse. What was created before that stays.
pub fn create(
    client: &KafkaClient,
    prefix: &str,
    options: &TopicOptions,
) -> Result<Vec<TopicReport>, TopicsError> {
    let mut metadata = reach(client, options.timeout)?;
    let mut reports = named(prefix);
    if create_missing(client, &metadata, &mut reports, options)? {
        metadata = reach(client, options.timeout)?;
    }
    compare(client, &metadata, &mut reports, options)?;
    Ok(reports.into_iter().map(|(_, report)| report).collect())
}

fn named(prefix: &str) -> Vec<(Topic, TopicReport)> {
    let report = |topic: Topic| TopicReport {
        topic: topic.name(prefix),
        state: State::Missing,
        differences: Vec::new(),
    };
    Topic::ALL.into_iter().map(|topic| (topic, report(topic))).collect()
}

fn exists(metadata: &Metadata, name: &str) -> bool {
    metadata.topics().iter().any(|topic| topic.name() == name && topic.error().is_none())
}

/// Returns whether somebody else created one at the same time.
fn create_missing(
    client: &KafkaClient,
    metadata: &Metadata,
    reports: &mut [(Topic, TopicReport)],
    options: &TopicOptions,
) -> Result<bool, TopicsError> {
    let missing: Vec<(Topic, String)> = reports
        .iter()
        .filter(|(_, report)| !exists(metadata, &report.topic))
        .map(|(topic, report)| (*topic, report.topic.clone()))
        .collect();
    if missing.is_empty() {
        return Ok(false);
    }
    let settings: Vec<_> = missing.iter().map(|(topic, _)| settings(*topic, options)).collect();
    let new: Vec<NewTopic<'_>> = missing
        .iter()
        .zip(&settings)
        .map(|((topic, name), settings)| {
            let replication = options.replication_factor.map_or(-1, i32::from);
            let new = NewTopic::new(
                name,
                i32::from(partitions(*topic, options.partitions.unwrap_or(DEFAULT_PARTITIONS))),
                TopicReplication::Fixed(replication),
            );
            settings.iter().fold(new, |new, (key, value)| new.set(key, value))
        })
        .collect();
    let admin = Admin::new(client, options.timeout)?;
    let results = admin.ask(admin.client.create_topics(&new, &admin.options))?;
    let mut lost_a_race = false;
    for result in results {
        match result {
            Ok(name) => {
                for (_, report) in reports.iter_mut().filter(|(_, report)| report.topic == name) {
                    report.state = State::Created;
                }
            }
            Err((_, E::TopicAlreadyExists)) => lost_a_race = true,
            Err((topic, reason)) => {
                let brokers = client.brokers().to_owned();
                return Err(TopicsError::Refused { brokers, what: "creating", topic, reason });
            }
        }
    }
    Ok(lost_a_race)
}

/// Fills in the reports of topics that were there before.
fn compare(
    client: &KafkaClient,
    metadata: &Metadata,
    reports: &mut [(Topic, TopicReport)],
    options: &TopicOptions,
) -> Result<(), TopicsError> {
    let mut existing: Vec<&mut (Topic, TopicReport)> = reports
        .iter_mut()
        .filter(|(_, report)| report.state == State::Missing && exists(metadata, &report.topic))
        .collect();
    if existing.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = existing.iter().map(|(_, report)| report.topic.clone()).collect();
    let asked: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let admin = Admin::new(client, options.timeout)?;
    let described = admin.ask(admin.client.describe_configs(&asked, &admin.options))?;
    // Answers come in the order of the questions.
    for ((topic, report), described) in existing.iter_mut().zip(described) {
        let described = described.map_err(|reason| TopicsError::Refused {
            brokers: client.brokers().to_owned(),
            what: "describing",
            topic: report.topic.clone(),
            reason,
        })?;
        report.differences = differences(*topic, &described, options);
        if let Some(found) = metadata.topics().iter().find(|t| t.name() == report.topic) {
            let replicas = found.partitions().iter().map(|p| p.replicas().len()).min();
            let counts = Counts { partitions: found.partitions().len(), replicas };
            report.differences.extend(count_differences(*topic, counts, options));
        }
        report.state = if report.differences.is_empty() { State::Ok } else { State::Differs };
    }
    Ok(())
}

const fn partitions(topic: Topic, wanted: u16) -> u16 {
    if topic.is_single_partition() { 1 } else { wanted }
}

/// What the contract sets of a topic, in Kafka's names.
fn settings(topic: Topic, options: &TopicOptions) -> Vec<(&'static str, String)> {
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;
    const MINUTE_MS: u64 = 60 * 1000;

    let mut settings = vec![("message.timestamp.type", "CreateTime".to_owned())];
    match topic.cleanup() {
        Cleanup::Delete { retention_ms } => settings.extend([
            ("cleanup.policy", "delete".to_owned()),
            ("retention.ms", retention_ms.to_string()),
        ]),
        Cleanup::Compact => settings.extend([
            ("cleanup.policy", "compact".to_owned()),
            // Whatever can be compacted is, and nothing waits for longer than a minute: the broker begins
            // a new segment by then, because it never compacts the newest one.
            ("min.cleanable.dirty.ratio", "0.01".to_owned()),
            ("max.compaction.lag.ms", MINUTE_MS.to_string()),
            ("segment.ms", (10 * MINUTE_MS).to_string()),
            // A reader that needs less than a day for the topic sees every tombstone.
            ("delete.retention.ms", DAY_MS.to_string()),
        ]),
    }
    // acks=all means as many; of fewer copies the broker's operator knows how many may be missing.
    if options.replication_factor.is_some_and(|copies| copies >= 3) {
        settings.push(("min.insync.replicas", "2".to_owned()));
    }
    settings
}

fn differences(
    topic: Topic,
    described: &ConfigResource,
    options: &TopicOptions,
) -> Vec<Difference> {
    settings(topic, options)
        .into_iter()
        .filter_map(|(key, expected)| {
            let value = described.get(key).and_then(|entry| entry.value.clone());
            let is_same = value.as_deref().is_some_and(|value| is_same(value, &expected));
            (!is_same).then_some(Difference { key, value, expected })
        })
        .collect()
}

/// Whether two texts of a setting mean the same: numbers may be written differently.
fn is_same(a: &str, b: &str) -> bool {
    a == b || matches!((a.parse::<f64>(), b.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    partitions: usize,
    /// Of the partition with the fewest; none if there is no partition.
    replicas: Option<usize>,
}

fn count_differences(topic: Topic, found: Counts, options: &TopicOptions) -> Vec<Difference> {
    let difference = |key, value: usize, expected: u16| {
        (value != usize::from(expected)).then(|| Difference {
            key,
            value: Some(value.to_string()),
            expected: expected.to_string(),
        })
    };
    let wanted = if topic.is_single_partition() { Some(1) } else { options.partitions };
    let partitions = wanted.and_then(|wanted| difference("partitions", found.partitions, wanted));
    let replicas = options
        .replication_factor
        .and_then(|wanted| difference("replication.factor", found.replicas.unwrap_or(0), wanted));
    partitions.into_iter().chain(replicas).collect()
}

/// Asks a broker and waits.
struct Admin<'a> {
    connection: &'a KafkaClient,
    client: AdminClient<DefaultClientContext>,
    options: AdminOptions,
    runtime: tokio::runtime::Runtime,
}

impl<'a> Admin<'a> {
    fn new(connection: &'a KafkaClient, timeout: Duration) -> Result<Self, TopicsError> {
        let options =
            AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
        let client = reach::config(connection)
            .create()
            .map_err(|error| Unreachable::new(connection, &error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        Ok(Self { connection, client, options, runtime })
    }

    /// Waits for an answer; the request's own time-out bounds it.
    fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, KafkaError>>,
    ) -> Result<T, TopicsError> {
        let answer = self.runtime.block_on(request);
        answer.map_err(|error| Unreachable::new(self.connection, &error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: TopicOptions = TopicOptions {
        partitions: None,
        replication_factor: None,
        timeout: Duration::from_secs(1),
    };

    fn setting(topic: Topic, options: &TopicOptions, key: &str) -> Option<String> {
        settings(topic, options).into_iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    #[test]
    fn only_the_latest_signals_are_compacted() {
        for topic in Topic::ALL {
            let policy = setting(topic, &OPTIONS, "cleanup.policy");
            let expected = if topic == Topic::SignalsLatest { "compact" } else { "delete" };
            assert_eq!(policy.as_deref(), Some(expected), "{topic:?}");
            assert_eq!(
                setting(topic, &OPTIONS, "retention.ms").is_some(),
                topic != Topic::SignalsLatest
            );
        }
    }

    #[test]
    fn two_copies_must_be_in_sync_only_of_three_or_more() {
        for (copies, expected) in [(None, None), (Some(2), None), (Some(3), Some("2"))] {
            let options = TopicOptions { replication_factor: copies, ..OPTIONS };
            let value = setting(Topic::Signals, &options, "min.insync.replicas");
            assert_eq!(value.as_deref(), expected, "{copies:?}");
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert!(is_same("0.01", "0.010") && is_same("60000", "60000.0"));
        assert!(!is_same("60000", "60001") && !is_same("compact", "compact,delete"));
    }

    #[test]
    fn counts_are_compared_where_they_were_asked_for_and_control_has_one_partition() {
        let found = Counts { partitions: 5, replicas: Some(2) };
        assert_eq!(count_differences(Topic::Signals, found, &OPTIONS), []);
        let control = count_differences(Topic::Control, found, &OPTIONS);
        assert_eq!(control.len(), 1);
        assert_eq!((control[0].key, control[0].expected.as_str()), ("partitions", "1"));
        let asked = TopicOptions { partitions: Some(6), replication_factor: Some(3), ..OPTIONS };
        let keys: Vec<_> =
            count_differences(Topic::Signals, found, &asked).iter().map(|d| d.key).collect();
        assert_eq!(keys, ["partitions", "replication.factor"]);
    }
}
