//! A signal as a consumer reads it: JSON or Protobuf, by the record's content type.
//!
//! Tolerant as the contract asks of readers: unknown fields are ignored, and an action or a reason of
//! a later version is `None`, which a consumer treats as HOLD. Bounded: a value over
//! [`MAX_VALUE_BYTES`] is refused unread.

use prost::Message as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use thiserror::Error;

use super::{
    Action, ConformalSet, DecidedBy, Reason, kafka::contract::Encoding, protobuf::message,
};

/// Longest value that is read.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// Why a value is not a signal.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Too long to be one.
    #[error("a value of {bytes} bytes, expected at most {MAX_VALUE_BYTES}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not the JSON object expected.
    #[error("not a signal in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Not the Protobuf message expected.
    #[error("not a signal in Protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// A price that is no number.
    #[error("mid = {mid:?}, expected a decimal number such as -1.25")]
    Mid {
        /// What stood there.
        mid: String,
    },
}

/// What one member said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReceivedMember {
    /// Its name.
    pub name: String,
    /// Its calibrated probability; `None` when it took no part.
    pub value: Option<f64>,
    /// Its weight in the combination.
    pub weight: Option<f64>,
}

/// A signal; fields as in [`super`]. Serialises to the same JSON, but for members unknown here.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReceivedSignal {
    /// Counts from 1.
    pub seq: u64,
    /// The cycle that made it.
    pub cycle: u64,
    /// `venue:symbol`.
    pub instrument: String,
    /// What to do; `None` is a value of a later version.
    #[serde(serialize_with = "action_name", deserialize_with = "action")]
    pub action: Option<Action>,
    /// Why; `None` is a value of a later version.
    #[serde(serialize_with = "reason_name", deserialize_with = "reason")]
    pub reason: Option<Reason>,
    /// Mid price: the decimal number as it was written.
    pub mid: Box<RawValue>,
    /// P(up | moves).
    pub value: Option<f64>,
    /// Recalibrated probability of the predicted side.
    pub confidence: Option<f64>,
    /// Weighted share of members on the predicted side.
    pub agreement: Option<f64>,
    /// Forecast horizon, ms.
    pub horizon_ms: u32,
    /// Validity after `ts_signal_ns`, ms.
    pub ttl_ms: u32,
    /// What the members said.
    pub members: Vec<ReceivedMember>,
    /// Who decided; `None` without a challenger, or a value of a later version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "decider_name", deserialize_with = "decider")]
    pub decided_by: Option<DecidedBy>,
    /// log10 of the evidence that who did not decide is better; `None` without a challenger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub challenger_evidence_log10: Option<f64>,
    /// Directions that the forecast does not exclude; `None` where nobody asked, or a value of a
    /// later version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(serialize_with = "set_name", deserialize_with = "set")]
    pub conformal_set: Option<ConformalSet>,
    /// How unusual the features are; `None` where nobody says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anomaly: Option<f64>,
    /// Version of the model.
    pub model: String,
    /// Venue time of the newest input, ns; 0 where unknown.
    pub ts_venue_ns: i64,
    /// Receive time of the newest input, ns.
    pub ts_recv_ns: i64,
    /// Cycle boundary, ns.
    pub ts_cycle_ns: i64,
    /// When it was made, ns.
    pub ts_signal_ns: i64,
}

impl ReceivedSignal {
    /// Reads a record's value.
    ///
    /// # Errors
    /// It is not a signal in that encoding.
    pub fn read(encoding: Encoding, value: &[u8]) -> Result<Self, ReadError> {
        if value.len() > MAX_VALUE_BYTES {
            return Err(ReadError::TooLong { bytes: value.len() });
        }
        let signal = match encoding {
            Encoding::Json => serde_json::from_slice(value)?,
            Encoding::Protobuf => Self::from_message(message::Signal::decode(value)?)?,
        };
        if is_decimal(signal.mid.get()) {
            Ok(signal)
        } else {
            Err(ReadError::Mid { mid: signal.mid.get().to_owned() })
        }
    }

    fn from_message(from: message::Signal) -> Result<Self, ReadError> {
        let (action, reason) = (from.action().known(), from.reason().known());
        let (decided_by, set) = (from.decided_by().known(), from.conformal_set().known());
        let mid = RawValue::from_string(from.mid.clone())
            .map_err(|_| ReadError::Mid { mid: from.mid })?;
        let member = |m: message::Member| ReceivedMember {
            name: m.name,
            value: m.value.map(f64::from),
            weight: m.weight.map(f64::from),
        };
        Ok(Self {
            seq: from.seq,
            cycle: from.cycle,
            instrument: from.instrument,
            action,
            reason,
            mid,
            value: from.value.map(f64::from),
            confidence: from.confidence.map(f64::from),
            agreement: from.agreement.map(f64::from),
            horizon_ms: from.horizon_ms,
            ttl_ms: from.ttl_ms,
            members: from.members.into_iter().map(member).collect(),
            decided_by,
            challenger_evidence_log10: from.challenger_evidence_log10.map(f64::from),
            conformal_set: set,
            anomaly: from.anomaly.map(f64::from),
            model: from.model,
            ts_venue_ns: from.ts_venue_ns,
            ts_recv_ns: from.ts_recv_ns,
            ts_cycle_ns: from.ts_cycle_ns,
            ts_signal_ns: from.ts_signal_ns,
        })
    }

    /// How long ago it was made, ns; negative where the clocks of the two hosts disagree.
    #[must_use]
    pub fn age_ns(&self, now_ns: i64) -> i64 {
        now_ns.saturating_sub(self.ts_signal_ns)
    }

    /// Whether it is too old to act on.
    #[must_use]
    pub fn is_expired(&self, now_ns: i64) -> bool {
        self.age_ns(now_ns) > i64::from(self.ttl_ms) * 1_000_000
    }
}

/// `-?digits(.digits)?`.
fn is_decimal(text: &str) -> bool {
    let magnitude = text.strip_prefix('-').unwrap_or(text);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    match magnitude.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(magnitude),
    }
}

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn action_name<S: Serializer>(action: &Option<Action>, to: S) -> Result<S::Ok, S::Error> {
    action.map(Action::name).serialize(to)
}

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn reason_name<S: Serializer>(reason: &Option<Reason>, to: S) -> Result<S::Ok, S::Error> {
    reason.map(Reason::name).serialize(to)
}

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn decider_name<S: Serializer>(by: &Option<DecidedBy>, to: S) -> Result<S::Ok, S::Error> {
    by.map(DecidedBy::name).serialize(to)
}

#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn set_name<S: Serializer>(set: &Option<ConformalSet>, to: S) -> Result<S::Ok, S::Error> {
    set.map(ConformalSet::name).serialize(to)
}

fn decider<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DecidedBy>, D::Error> {
    let name = Option::<String>::deserialize(from)?;
    Ok(DecidedBy::ALL.into_iter().find(|by| name.as_deref() == Some(by.name())))
}

fn set<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ConformalSet>, D::Error> {
    let name = Option::<String>::deserialize(from)?;
    Ok(ConformalSet::ALL.into_iter().find(|set| name.as_deref() == Some(set.name())))
}

fn action<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Action>, D::Error> {
    let name = Option::<String>::deserialize(from)?;
    let known = [Action::Buy, Action::Sell, Action::Hold];
    Ok(known.into_iter().find(|action| name.as_deref() == Some(action.name())))
}

fn reason<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Reason>, D::Error> {
    let name = Option::<String>::deserialize(from)?;
    Ok(Reason::ALL.into_iter().find(|reason| name.as_deref() == Some(reason.name())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"seq":7,"cycle":9,"instrument":"okx:BTC-USDT","action":"BUY","reason":"threshold_met","mid":61800.000000005,"value":0.750000,"confidence":0.800000,"agreement":null,"horizon_ms":1000,"ttl_ms":5000,"members":[{"name":"logistic","value":null,"weight":0.5000}],"model":"ab","ts_venue_ns":1,"ts_recv_ns":2,"ts_cycle_ns":3,"ts_signal_ns":4}"#;

    fn read(line: &str) -> Result<ReceivedSignal, ReadError> {
        ReceivedSignal::read(Encoding::Json, line.as_bytes())
    }

    #[test]
    fn a_price_keeps_all_its_digits() {
        let signal = read(LINE).unwrap();
        assert_eq!(signal.mid.get(), "61800.000000005");
        assert!(serde_json::to_string(&signal).unwrap().contains("\"mid\":61800.000000005,"));
    }

    #[test]
    fn what_is_switched_on_is_read_and_written_again_and_what_is_off_stays_absent() {
        let on = LINE.replace(
            ",\"model\"",
            ",\"decided_by\":\"challenger\",\"challenger_evidence_log10\":-0.25,\"conformal_set\":\"both\",\
             \"anomaly\":1.5,\"model\"",
        );
        let signal = read(&on).unwrap();
        assert_eq!(signal.decided_by, Some(DecidedBy::Challenger));
        assert_eq!(signal.conformal_set, Some(ConformalSet { up: true, down: true }));
        assert_eq!(signal.challenger_evidence_log10.zip(signal.anomaly), Some((-0.25, 1.5)));
        let numbers = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        assert_eq!(numbers(&serde_json::to_string(&signal).unwrap()), numbers(&on));
        let off = read(LINE).unwrap();
        assert_eq!(numbers(&serde_json::to_string(&off).unwrap()), numbers(LINE));
    }

    #[test]
    fn what_a_later_version_adds_is_ignored_and_what_it_renames_is_none() {
        let later = LINE.replace("\"seq\":7", "\"seq\":7,\"news\":[1]").replace("BUY", "TWICE");
        let signal = read(&later.replace("threshold_met", "full_moon")).unwrap();
        assert_eq!((signal.action, signal.reason), (None, None));
        let later = LINE.replace("\"model\"", "\"decided_by\":\"dice\",\"model\"");
        assert_eq!(read(&later).unwrap().decided_by, None);
        let message =
            message::Signal { action: 17, reason: 99, mid: "1.5".into(), ..Default::default() };
        let mut bytes = message.encode_to_vec();
        // Field 500, a varint: nobody knows it.
        bytes.extend_from_slice(&[0xa0, 0x1f, 0x01]);
        let signal = ReceivedSignal::read(Encoding::Protobuf, &bytes).unwrap();
        assert_eq!((signal.action, signal.reason), (None, None));
    }

    #[test]
    fn a_value_that_is_no_signal_is_refused_with_its_reason() {
        let table = [
            (LINE.replace("61800.000000005", "\"1\""), "mid"),
            (LINE.replace("61800.000000005", "1e3"), "mid"),
            (LINE.replace("\"seq\":7,", ""), "seq"),
            (LINE.replace("\"seq\":7", "\"seq\":-7"), "invalid value"),
            (LINE[..40].to_owned(), "EOF"),
            (" ".repeat(MAX_VALUE_BYTES + 1), "65537"),
        ];
        for (line, expected) in table {
            let error = read(&line).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let no_price = message::Signal { mid: "1,5".into(), ..Default::default() }.encode_to_vec();
        let error = ReceivedSignal::read(Encoding::Protobuf, &no_price).unwrap_err();
        assert_eq!(error.to_string(), r#"mid = "1,5", expected a decimal number such as -1.25"#);
        assert!(ReceivedSignal::read(Encoding::Protobuf, b"\xff").is_err());
    }

    #[test]
    fn a_signal_expires_after_its_time_to_live_and_not_at_it() {
        let signal = read(LINE).unwrap();
        assert!(!signal.is_expired(5_000_000_004));
        assert!(signal.is_expired(5_000_000_005));
        assert_eq!(signal.age_ns(3), -1);
    }
}
