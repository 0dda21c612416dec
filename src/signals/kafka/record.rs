//! A record of the signals topic as a consumer reads it: identity from the headers, signal from the value.

use std::ffi::CStr;

use rdkafka::message::{Headers as _, Message};
use thiserror::Error;

use super::contract::{Encoding, Identity, header};
use crate::signals::received::{ReadError, ReceivedSignal};

/// Why a record is not a signal.
#[derive(Debug, Error)]
pub enum RecordError {
    /// A header is missing, or is not what the contract says.
    #[error("header {name}: {found}, expected {expected}")]
    Header {
        /// Its name.
        name: &'static str,
        /// What stood there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// A tombstone.
    #[error("no value, expected a signal")]
    NoValue,
    /// The value cannot be read.
    #[error(transparent)]
    Value(#[from] ReadError),
}

/// A signal and which one of all it is.
#[derive(Clone, Debug)]
pub struct SignalRecord {
    /// For the drop rule.
    pub identity: Identity,
    /// What it says.
    pub signal: ReceivedSignal,
}

impl SignalRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// It is not a signal of this contract.
    pub fn read<M: Message>(message: &M) -> Result<Self, RecordError> {
        let identity = Identity {
            epoch: decimal(message, header::EPOCH)?,
            seq: decimal(message, header::SEQ)?,
        };
        let encoding = parsed(
            message,
            header::CONTENT_TYPE,
            "application/json or application/protobuf",
            Encoding::from_content_type,
        )?;
        let value = message.payload().ok_or(RecordError::NoValue)?;
        Ok(Self { identity, signal: ReceivedSignal::read(encoding, value)? })
    }
}

fn decimal<M: Message>(message: &M, name: &'static CStr) -> Result<u64, RecordError> {
    parsed(message, name, "a whole number", |text| text.parse().ok())
}

fn parsed<M: Message, T>(
    message: &M,
    name: &'static CStr,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<T, RecordError> {
    let name = name.to_str().unwrap_or_default();
    let value = message
        .headers()
        .and_then(|headers| headers.iter().find(|header| header.key == name))
        .and_then(|header| header.value);
    let parsed = value.and_then(|bytes| std::str::from_utf8(bytes).ok()).and_then(parse);
    parsed.ok_or_else(|| RecordError::Header {
        name,
        found: value.map_or("missing".to_owned(), |v| format!("{:?}", String::from_utf8_lossy(v))),
        expected,
    })
}

#[cfg(test)]
mod tests {
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage, Timestamp};

    use super::*;

    fn message(headers: &[(&str, &str)], value: Option<&str>) -> OwnedMessage {
        let add = |to: OwnedHeaders, &(key, value): &(&str, &str)| {
            to.insert(Header { key, value: Some(value) })
        };
        OwnedMessage::new(
            value.map(|v| v.as_bytes().to_vec()),
            None,
            "purkinje.signals.v1".into(),
            Timestamp::NotAvailable,
            0,
            0,
            Some(headers.iter().fold(OwnedHeaders::new(), add)),
        )
    }

    #[test]
    fn what_a_record_lacks_is_named() {
        let whole = [("pk_epoch", "5"), ("pk_seq", "7"), ("content-type", "application/json")];
        let error = |headers: &[(&str, &str)], value| {
            SignalRecord::read(&message(headers, value)).unwrap_err().to_string()
        };
        assert_eq!(
            error(&whole[..1], Some("{}")),
            "header pk_seq: missing, expected a whole number"
        );
        let negative = [("pk_epoch", "-5")];
        assert_eq!(
            error(&negative, Some("{}")),
            "header pk_epoch: \"-5\", expected a whole number"
        );
        let avro = [whole[0], whole[1], ("content-type", "avro/binary")];
        assert!(error(&avro, Some("{}")).contains("\"avro/binary\", expected application/json or"));
        assert_eq!(error(&whole, None), "no value, expected a signal");
        assert!(error(&whole, Some("{}")).contains("missing field"));
    }
}
