//! The signals topic as it flows, for people who look: every record, judged as a consumer would.
//!
//! Reads all partitions without joining a group and commits nothing, so it disturbs nobody; a partition
//! added later is not read. Survives the loss of brokers: the client reconnects and goes on where it was.
//! Records of open or aborted transactions are not shown, which is the client's default.

mod line;

use std::{fmt, time::Duration};

use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    client::ClientContext,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
};
use thiserror::Error;

use super::{
    drop_rule::{DropRule, Dropped},
    record::{RecordError, SignalRecord},
};
use crate::clock::wall_ns;

pub use line::{heads, json, line};

/// How long the brokers may take to say what partitions there are.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is nothing to tap.
#[derive(Debug, Error)]
pub enum TapError {
    /// The client cannot be made or started.
    #[error("cannot read {topic}: {source}")]
    Client {
        /// The topic.
        topic: String,
        /// What the client said.
        source: KafkaError,
    },
    /// No broker answers.
    #[error("no broker told the partitions of {topic}: {}", reasons.join("; "))]
    Unreachable {
        /// The topic.
        topic: String,
        /// What the client said.
        reasons: Vec<String>,
    },
    /// The topic does not exist, or may not be read.
    #[error("topic {topic}: {reason}")]
    NoTopic {
        /// The topic.
        topic: String,
        /// What the broker said.
        reason: String,
    },
}

/// Where to begin in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// With the oldest record that is kept.
    Beginning,
    /// With the next record that arrives.
    Now,
}

/// What a consumer should do with a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Obey it.
    Accepted,
    /// Nothing: see the drop rule.
    Dropped(Dropped),
    /// Nothing: it is older than its time to live.
    Expired,
}

impl Verdict {
    /// Judges a signal. The drop rule comes first: an expired signal has its place in the order, too.
    pub fn of(record: &SignalRecord, rule: &mut DropRule, now_ns: i64) -> Self {
        match rule.accept(&record.signal.instrument, record.identity) {
            Err(dropped) => Self::Dropped(dropped),
            Ok(()) if record.signal.is_expired(now_ns) => Self::Expired,
            Ok(()) => Self::Accepted,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Dropped(why) => write!(f, "dropped: {why}"),
            Self::Expired => f.write_str("expired"),
        }
    }
}

/// A signal and what to do with it.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The signal.
    pub record: SignalRecord,
    /// What to do.
    pub verdict: Verdict,
    /// Its age when it arrived here, ns.
    pub age_ns: i64,
}

/// A record of the topic.
#[derive(Debug)]
pub struct Tapped {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Its key; empty where there is none.
    pub key: String,
    /// The signal in it.
    pub content: Result<Judged, RecordError>,
}

/// Keeps the client's own log off the screen; errors come with the records.
struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Quiet {}

/// A reader of the whole topic.
pub struct Tap {
    consumer: BaseConsumer<Quiet>,
    rule: DropRule,
    instrument: Option<String>,
    partitions: usize,
}

impl Tap {
    /// Finds the topic's partitions and begins to read. With an `instrument`, `venue:symbol`, only
    /// records of that key are shown. `client` says how to reach the brokers.
    ///
    /// # Errors
    /// No broker answers, or the topic cannot be read.
    pub fn open(
        mut client: ClientConfig,
        topic: &str,
        from: From,
        instrument: Option<String>,
    ) -> Result<Self, TapError> {
        let (offset, reset) = match from {
            From::Beginning => (Offset::Beginning, "earliest"),
            From::Now => (Offset::End, "latest"),
        };
        client
            // The library wants a group's name to read at all; nothing joins it.
            .set("group.id", "purkinje-tap")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", reset)
            .set("queued.max.messages.kbytes", "16384")
            .set("reconnect.backoff.max.ms", "1000");
        let client_error = |source| TapError::Client { topic: topic.to_owned(), source };
        let consumer: BaseConsumer<Quiet> =
            client.create_with_context(Quiet).map_err(client_error)?;
        let metadata = consumer.fetch_metadata(Some(topic), METADATA_TIMEOUT).map_err(|error| {
            let mut reasons = vec![error.to_string()];
            // Why a connection failed has been queued for the application meanwhile.
            while let Some(Err(error)) = consumer.poll(Duration::ZERO) {
                let reason = error.to_string();
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
            TapError::Unreachable { topic: topic.to_owned(), reasons }
        })?;
        let no_topic = |reason: String| TapError::NoTopic { topic: topic.to_owned(), reason };
        let found = metadata.topics().iter().find(|t| t.name() == topic);
        let found = found.ok_or_else(|| no_topic("the broker does not know it".to_owned()))?;
        if let Some(error) = found.error() {
            return Err(no_topic(rdkafka::types::RDKafkaErrorCode::from(error).to_string()));
        }
        let mut all = TopicPartitionList::new();
        for partition in found.partitions() {
            all.add_partition_offset(topic, partition.id(), offset).map_err(client_error)?;
        }
        consumer.assign(&all).map_err(client_error)?;
        Ok(Self { consumer, rule: DropRule::default(), instrument, partitions: all.count() })
    }

    /// How many partitions are read.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// The next record to show; `None` if there was none within `timeout`, or sooner if what came was
    /// another instrument's.
    ///
    /// # Errors
    /// What the client complains about. Unless it is a fatal error, reading goes on by itself.
    pub fn next(&mut self, timeout: Duration) -> Option<Result<Tapped, KafkaError>> {
        let message = match self.consumer.poll(timeout)? {
            Ok(message) => message,
            Err(error) => return Some(Err(error)),
        };
        let now_ns = wall_ns();
        let key = String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned();
        if self.instrument.as_ref().is_some_and(|wanted| *wanted != key) {
            return None;
        }
        let judged = |record: SignalRecord| Judged {
            verdict: Verdict::of(&record, &mut self.rule, now_ns),
            age_ns: record.signal.age_ns(now_ns),
            record,
        };
        Some(Ok(Tapped {
            partition: message.partition(),
            offset: message.offset(),
            key,
            content: SignalRecord::read(&message).map(judged),
        }))
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}
