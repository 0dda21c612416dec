//! A signal as one Protobuf message, written into the caller's buffer without allocating.
//!
//! The encoder keeps one message whose texts have room for every instrument of the run; a signal
//! overwrites its fields. Numbers are those of the JSON line, not rounded; what is not finite is absent.

pub mod message;

use std::{fmt::Write as _, sync::Arc};

use prost::Message as _;

use super::{
    Signal,
    run_constants::{Mid, RunConstants},
};

/// Writes signals as `purkinje.v1.Signal`.
#[derive(Clone, Debug)]
pub struct ProtobufEncoder {
    run: Arc<RunConstants>,
    message: message::Signal,
}

/// What is not finite has no value.
fn finite(number: f32) -> Option<f32> {
    number.is_finite().then_some(number)
}

impl ProtobufEncoder {
    /// An encoder for the signals of that run.
    #[must_use]
    pub fn new(run: Arc<RunConstants>) -> Self {
        let longest_key = run.keys().iter().map(String::len).max().unwrap_or(0);
        let members = run
            .member_names()
            .iter()
            .map(|name| message::Member { name: name.clone(), ..message::Member::default() });
        let message = message::Signal {
            instrument: String::with_capacity(longest_key),
            mid: String::with_capacity(Mid::MAX_BYTES),
            horizon_ms: run.horizon_ms(),
            ttl_ms: run.ttl_ms(),
            members: members.collect(),
            model: run.model().to_owned(),
            ..message::Signal::default()
        };
        Self { run, message }
    }

    /// `venue:symbol` of the signal's instrument.
    #[must_use]
    pub fn key(&self, signal: &Signal) -> &str {
        self.run.key(signal)
    }

    /// Encodes one signal into `buffer`; `None` if it does not fit, and then the buffer is as it was.
    pub fn message<'a>(&mut self, s: &Signal, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let to = &mut self.message;
        to.seq = s.seq;
        to.cycle = s.cycle;
        to.instrument.clear();
        to.instrument.push_str(self.run.key(s));
        to.set_action(s.action.into());
        to.set_reason(s.reason.into());
        to.mid.clear();
        write!(to.mid, "{}", self.run.mid(s)).ok()?;
        to.value = finite(s.value);
        to.confidence = finite(s.confidence);
        to.agreement = finite(s.agreement);
        for (member, said) in to.members.iter_mut().zip(&s.members) {
            member.value = finite(said.value);
            member.weight = finite(said.weight);
        }
        to.ts_venue_ns = s.ts_venue_ns;
        to.ts_recv_ns = s.ts_recv_ns;
        to.ts_cycle_ns = s.ts_cycle_ns;
        to.ts_signal_ns = s.ts_signal_ns;
        to.decided_by = s.decided_by.map(|by| message::Decider::from(by).into());
        to.challenger_evidence_log10 = finite(s.challenger_evidence_log10);
        to.conformal_set = s.conformal_set.map(|set| message::Directions::from(set).into());
        to.anomaly = finite(s.anomaly);
        let mut rest = &mut buffer[..];
        to.encode(&mut rest).ok()?;
        let left = rest.len();
        let len = buffer.len() - left;
        Some(&buffer[..len])
    }
}

#[cfg(test)]
mod tests {
    use purkinje_feeds::{Instrument, InstrumentId, InstrumentTable, Venue};

    use super::*;
    use crate::signals::{Action, ConformalSet, DecidedBy, MAX_MEMBERS, MemberView, Reason};

    fn encoder() -> ProtobufEncoder {
        let table = InstrumentTable::new(vec![Instrument {
            venue: Venue::CmeGlobex,
            symbol: "ESZ6-ESH7".into(),
            price_decimals: 2,
            qty_decimals: 0,
        }])
        .unwrap();
        let run = RunConstants::new(&table, &["cerebellum", "logistic"], 1000, 5000, "abcd");
        ProtobufEncoder::new(Arc::new(run))
    }

    fn signal() -> Signal {
        Signal {
            seq: 7,
            cycle: 9,
            instrument: InstrumentId(0),
            action: Action::Buy,
            reason: Reason::ThresholdMet,
            value: 0.75,
            confidence: f32::NAN,
            mid_x2: -1,
            agreement: 1.0,
            decided_by: Some(DecidedBy::Challenger),
            challenger_evidence_log10: -0.25,
            conformal_set: Some(ConformalSet { up: true, down: true }),
            anomaly: 1.5,
            ts_venue_ns: 0,
            ts_recv_ns: 2,
            ts_cycle_ns: 3,
            ts_signal_ns: 4,
            recv_mono_ns: 5,
            made_mono_ns: 6,
            members: [MemberView { value: f32::NEG_INFINITY, weight: 0.5 }; MAX_MEMBERS],
            member_count: 2,
        }
    }

    #[test]
    fn a_message_says_what_the_signal_says_and_absent_what_is_no_number() {
        let mut buffer = [0; 512];
        let mut encoder = encoder();
        let bytes = encoder.message(&signal(), &mut buffer).unwrap();
        let read = message::Signal::decode(bytes).unwrap();
        let member =
            |name: &str| message::Member { name: name.into(), value: None, weight: Some(0.5) };
        let expected = message::Signal {
            seq: 7,
            cycle: 9,
            instrument: "cme-globex:ESZ6-ESH7".into(),
            action: message::Action::Buy.into(),
            reason: message::Reason::ThresholdMet.into(),
            mid: "-0.005".into(),
            value: Some(0.75),
            confidence: None,
            agreement: Some(1.0),
            horizon_ms: 1000,
            ttl_ms: 5000,
            members: vec![member("cerebellum"), member("logistic")],
            model: "abcd".into(),
            ts_venue_ns: 0,
            ts_recv_ns: 2,
            ts_cycle_ns: 3,
            ts_signal_ns: 4,
            decided_by: Some(message::Decider::Challenger.into()),
            challenger_evidence_log10: Some(-0.25),
            conformal_set: Some(message::Directions::Both.into()),
            anomaly: Some(1.5),
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn nothing_of_one_signal_stays_for_the_next() {
        let (mut a, mut b) = ([0; 512], [0; 512]);
        let mut used = encoder();
        used.message(&signal(), &mut a).unwrap();
        let other = Signal {
            mid_x2: 0,
            action: Action::Hold,
            value: f32::NAN,
            decided_by: None,
            challenger_evidence_log10: f32::NAN,
            conformal_set: None,
            anomaly: f32::NAN,
            ..signal()
        };
        assert_eq!(used.message(&other, &mut a), encoder().message(&other, &mut b));
    }

    #[test]
    fn a_buffer_that_is_too_small_by_one_byte_is_refused() {
        let mut encoder = encoder();
        let len = encoder.message(&signal(), &mut [0; 512]).unwrap().len();
        assert!(encoder.message(&signal(), &mut vec![0; len]).is_some());
        assert_eq!(encoder.message(&signal(), &mut vec![0; len - 1]), None);
    }

    #[test]
    fn every_word_has_a_number_of_its_own() {
        for reason in Reason::ALL {
            assert_eq!(message::Reason::from(reason).known(), Some(reason));
        }
        for action in [Action::Buy, Action::Sell, Action::Hold] {
            assert_eq!(message::Action::from(action).known(), Some(action));
        }
        for by in DecidedBy::ALL {
            assert_eq!(message::Decider::from(by).known(), Some(by));
        }
        for set in ConformalSet::ALL {
            assert_eq!(message::Directions::from(set).known(), Some(set));
        }
        assert_eq!(
            (message::Reason::Unspecified.known(), message::Action::Unspecified.known()),
            (None, None)
        );
    }
}
