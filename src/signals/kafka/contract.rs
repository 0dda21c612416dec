//! What consumers are promised: names of topics and headers, and their settings.
//!
//! Invariant: what stands here is version 1 of the contract and does not change its meaning. Topic names
//! use dots only: Kafka's metrics would confuse a dot with an underscore. README, "The Kafka contract", says the same to people.

use std::{ffi::CStr, fmt};

/// One of the daemon's topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Every signal.
    Signals,
    /// The newest signal of each instrument: the same records, compacted by key.
    SignalsLatest,
    /// What happens to feeds, trading and ownership, and signals that were not sent.
    Status,
    /// How the daemon is, once in a while.
    Health,
    /// Commands to the daemon.
    Control,
}

/// What a topic does with old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Deletes them after so many milliseconds.
    Delete {
        /// Age, ms.
        retention_ms: u64,
    },
    /// Keeps the newest of each key.
    Compact,
}

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Topic {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Signals, Self::SignalsLatest, Self::Status, Self::Health, Self::Control];

    /// The name without prefix.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Signals => "signals.v1",
            Self::SignalsLatest => "signals-latest.v1",
            Self::Status => "status.v1",
            Self::Health => "health.v1",
            Self::Control => "control.v1",
        }
    }

    /// The name as the broker knows it.
    #[must_use]
    pub fn name(self, prefix: &str) -> String {
        format!("{prefix}.{}", self.suffix())
    }

    /// What becomes of old records.
    #[must_use]
    pub const fn cleanup(self) -> Cleanup {
        match self {
            Self::Signals | Self::Control => Cleanup::Delete { retention_ms: 7 * DAY_MS },
            Self::SignalsLatest => Cleanup::Compact,
            Self::Status => Cleanup::Delete { retention_ms: 30 * DAY_MS },
            Self::Health => Cleanup::Delete { retention_ms: DAY_MS },
        }
    }

    /// Whether one partition must keep the order of all records.
    #[must_use]
    pub const fn is_single_partition(self) -> bool {
        matches!(self, Self::Control)
    }
}

/// Encoding of a signal's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The journal's line, see `signal.v1.json`.
    Json,
    /// Message `purkinje.v1.Signal`, see `signal.v1.proto`.
    Protobuf,
}

impl Encoding {
    /// The value of the `content-type` header.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Protobuf => "application/protobuf",
        }
    }

    /// The encoding that a `content-type` header names; parameters behind `;` do not matter.
    #[must_use]
    pub fn from_content_type(value: &str) -> Option<Self> {
        let name = value.split(';').next().unwrap_or_default().trim();
        [Self::Json, Self::Protobuf]
            .into_iter()
            .find(|encoding| name.eq_ignore_ascii_case(encoding.content_type()))
    }
}

/// Names a signal among all that were ever sent: per instrument, a consumer accepts a signal only if its
/// identity is greater than that of the last one it accepted. This is the drop rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// Grows with every start of the daemon and every rebuild of its producer.
    pub epoch: u64,
    /// Counts the signals of a run from 1.
    pub seq: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

/// Names of headers. CloudEvents 1.0 in binary mode, W3C trace context, and the project's own with `pk_`.
pub mod header {
    use super::CStr;

    /// Encoding of the value.
    pub const CONTENT_TYPE: &CStr = c"content-type";
    /// `1.0`.
    pub const CE_SPECVERSION: &CStr = c"ce_specversion";
    /// `EPOCH-SEQ`.
    pub const CE_ID: &CStr = c"ce_id";
    /// Who sent it.
    pub const CE_SOURCE: &CStr = c"ce_source";
    /// [`TYPE_SIGNAL`](super::TYPE_SIGNAL) and its like.
    pub const CE_TYPE: &CStr = c"ce_type";
    /// When the signal was made: RFC 3339, UTC, nanoseconds.
    pub const CE_TIME: &CStr = c"ce_time";
    /// `venue:symbol`.
    pub const CE_SUBJECT: &CStr = c"ce_subject";
    /// Trace of the cycle, span of the signal.
    pub const TRACEPARENT: &CStr = c"traceparent";
    /// Epoch, decimal.
    pub const EPOCH: &CStr = c"pk_epoch";
    /// Sequence, decimal.
    pub const SEQ: &CStr = c"pk_seq";
    /// Version of the model, 16 hex digits.
    pub const MODEL: &CStr = c"pk_model";
}

/// `ce_type` of a signal.
pub const TYPE_SIGNAL: &str = "purkinje.signal.v1";
/// `ce_type` of a record of the status topic.
pub const TYPE_STATUS: &str = "purkinje.status.v1";
/// `ce_type` of a record of the health topic.
pub const TYPE_HEALTH: &str = "purkinje.health.v1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_are_what_kafka_takes_without_collisions() {
        for topic in Topic::ALL {
            let name = topic.name("purkinje");
            let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
            assert!(name.bytes().all(allowed), "{name}");
            assert_eq!(name.rsplit_once('.').map(|(_, version)| version), Some("v1"));
        }
    }

    #[test]
    fn a_content_type_names_its_encoding_whatever_its_case_and_parameters() {
        let table = [
            ("application/json", Some(Encoding::Json)),
            ("Application/JSON; charset=utf-8", Some(Encoding::Json)),
            ("application/protobuf", Some(Encoding::Protobuf)),
            ("application/jsonl", None),
            ("", None),
        ];
        for (value, expected) in table {
            assert_eq!(Encoding::from_content_type(value), expected, "{value:?}");
        }
    }

    #[test]
    fn a_later_epoch_beats_any_sequence() {
        let id = |epoch, seq| Identity { epoch, seq };
        assert!(id(2, 1) > id(1, u64::MAX) && id(1, 2) > id(1, 1));
    }
}
