//! The thread `pk-kafka-control`: commands from the control topic to the engine.
//!
//! A command is a JSON object: `{"command": "halt" | "resume" | "reload", "id": "…"}`; its result appears on the
//! status topic. Only what is written after the start is obeyed. Invariant: a command is obeyed or its
//! refusal is told; nothing else of a record is interpreted. Who may write to the topic is the broker's business.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaError,
    metadata::MetadataTopic,
};
use serde::Deserialize;

use super::{
    bulk::BulkSender,
    contract::Topic,
    run::{KafkaOutlet, KafkaSetupError},
    status::Note,
};
use crate::lifecycle::Operator;

/// Longest command, bytes.
const MAX_COMMAND_BYTES: usize = 4096;

const POLL: Duration = Duration::from_millis(200);

/// How long the topic's partitions are looked up before that is tried again.
const LOOK_UP: Duration = Duration::from_secs(1);

struct Quiet;

impl ClientContext for Quiet {
    // The publisher of signals tells what is wrong with the broker.
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ConsumerContext for Quiet {}

/// A thread that has not started to run.
pub struct ControlThread {
    consumer: BaseConsumer<Quiet>,
    topic: String,
    operator: Operator,
    bulk: BulkSender,
}

#[derive(Debug, Deserialize)]
struct Command {
    command: String,
    #[serde(default)]
    id: String,
}

impl ControlThread {
    /// Makes the consumer; does not wait for a broker.
    ///
    /// # Errors
    /// The client library refuses the configuration.
    pub fn new(
        outlet: &KafkaOutlet,
        operator: Operator,
        bulk: BulkSender,
    ) -> Result<Self, KafkaSetupError> {
        let consumer = outlet
            .client
            .config()
            // Required by the library; without a subscription no group is joined.
            .set("group.id", "purkinje-control")
            .set("enable.auto.commit", "false")
            .create_with_context(Quiet)
            .map_err(|source| KafkaSetupError::Binding {
                brokers: outlet.client.brokers().to_owned(),
                source,
            })?;
        Ok(Self { consumer, topic: outlet.topic(Topic::Control), operator, bulk })
    }

    /// Runs until `stop`.
    pub fn run(self, stop: &AtomicBool) {
        while !stop.load(Relaxed) && !self.assign() {}
        while !stop.load(Relaxed) {
            if let Some(Ok(message)) = self.consumer.poll(POLL) {
                self.obey(message.payload().unwrap_or_default());
            }
        }
    }

    /// Begins at the end of every partition; `false` while the broker does not tell of any.
    fn assign(&self) -> bool {
        let Ok(metadata) = self.consumer.fetch_metadata(Some(&self.topic), LOOK_UP) else {
            return false;
        };
        let mut partitions = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(MetadataTopic::partitions) {
            // The offset is looked up now: what is written from here on is obeyed.
            let Ok((_, end)) = self.consumer.fetch_watermarks(&self.topic, partition.id(), LOOK_UP)
            else {
                return false;
            };
            if partitions
                .add_partition_offset(&self.topic, partition.id(), Offset::Offset(end))
                .is_err()
            {
                return false;
            }
        }
        if partitions.count() == 0 {
            std::thread::sleep(POLL);
            return false;
        }
        self.consumer.assign(&partitions).is_ok()
    }

    fn obey(&self, value: &[u8]) {
        let parsed = if value.len() > MAX_COMMAND_BYTES {
            Err(format!("{} bytes, expected at most {MAX_COMMAND_BYTES}", value.len()))
        } else {
            serde_json::from_slice::<Command>(value).map_err(|error| {
                format!("{error}, expected {{\"command\": \"halt\", \"id\": \"…\"}}")
            })
        };
        let (command, id, result) = match parsed {
            Err(why) => {
                (String::from_utf8_lossy(&value[..value.len().min(64)]).into(), String::new(), why)
            }
            Ok(Command { command, id }) => {
                let halt = |halt| {
                    if self.operator.commands.halt(halt) {
                        "obeyed".to_owned()
                    } else {
                        "refused: the engine has not taken earlier commands".to_owned()
                    }
                };
                let result = match command.as_str() {
                    "halt" => halt(true),
                    "resume" => halt(false),
                    "reload" => match self.operator.reloader.reload() {
                        Ok(applied) => format!("obeyed: {applied}"),
                        Err(refusal) => format!("refused: {refusal}"),
                    },
                    _ => "refused: unknown command, expected halt, resume or reload".to_owned(),
                };
                (command, id, result)
            }
        };
        self.bulk.send(Note::Command { command, id, result });
    }
}
