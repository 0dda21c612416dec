//! A status event as the fixed bytes that recordings carry.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `ts_ns`, little-endian like all that follows |
//! | 8 | 1 | connection |
//! | 9 | 2 | instrument, 65535 for none |
//! | 11 | 1 | kind, from 0 in the order of [`Status`] |
//! | 12 | 4 | particulars that are choices, one byte each; 0 where there is none |
//! | 16 | 8 | the particular that is a number; 0 where there is none |
//!
//! Choices are numbered from 0 in the order of their declaration (causes, states, channels, reasons); a
//! stale reason is 0 for none, 1 for silent, 2 for late.

use super::{Status, StatusEvent};
use crate::net::DisconnectCause;
use crate::session::ReconnectReason;
use crate::topic::{Channel, StaleReason, TopicState};
use crate::{DesyncReason, InstrumentId};

/// No instrument.
const NONE: u16 = u16::MAX;

const STATES: [TopicState; 4] =
    [TopicState::Pending, TopicState::Confirmed, TopicState::Flowing, TopicState::Stale];

impl StatusEvent {
    /// Bytes of an event.
    pub const BYTES: usize = 24;

    /// The event as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let (choices, number) = particulars(&self.what);
        let instrument = self.instrument.map_or(NONE, |id| id.0);
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.ts_ns.to_le_bytes());
        bytes[8] = self.connection;
        bytes[9..11].copy_from_slice(&instrument.to_le_bytes());
        bytes[11] = self.what.kind() as u8;
        bytes[12..16].copy_from_slice(&choices);
        bytes[16..].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    /// The event that [`to_bytes`](Self::to_bytes) made these of; `None` if it made none such.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            eight
        };
        let instrument = u16::from_le_bytes([bytes[9], bytes[10]]);
        let choices = [bytes[12], bytes[13], bytes[14], bytes[15]];
        let event = Self {
            ts_ns: i64::from_le_bytes(number(0)),
            connection: bytes[8],
            instrument: (instrument != NONE).then_some(InstrumentId(instrument)),
            what: status(bytes[11], choices, u64::from_le_bytes(number(16)))?,
        };
        // Bytes that are of no meaning to the kind must be zero.
        (event.to_bytes() == *bytes).then_some(event)
    }
}

fn particulars(what: &Status) -> ([u8; 4], u64) {
    match *what {
        Status::Connected { standby, generation } => ([standby.into(), 0, 0, 0], generation.into()),
        Status::Disconnected { standby, cause } => ([standby.into(), cause as u8, 0, 0], 0),
        Status::Rotated { books_kept, books_lost } => {
            ([0; 4], u64::from(books_kept) | u64::from(books_lost) << 16)
        }
        Status::TopicState { channel, from, to, stale } => {
            let stale = stale.map_or(0, |reason| 1 + reason as u8);
            ([channel as u8, from as u8, to as u8, stale], 0)
        }
        Status::BookDesync { reason } => ([reason as u8, 0, 0, 0], 0),
        Status::BookSynced { recovery_ns } => ([0; 4], recovery_ns),
        Status::Resubscribed { channel } => ([channel as u8, 0, 0, 0], 0),
        Status::ReconnectAsked { reason } => ([reason as u8, 0, 0, 0], 0),
        Status::RestRefused { status } => ([0; 4], status.into()),
        Status::Hole { lost } => ([0; 4], lost),
        Status::Exhausted { attempts } => ([0; 4], attempts.into()),
    }
}

fn status(kind: u8, choices: [u8; 4], number: u64) -> Option<Status> {
    let [first, second, third, fourth] = choices.map(usize::from);
    let channel = Channel::ALL.get(first).copied();
    Some(match kind {
        0 => Status::Connected { standby: first == 1, generation: u32::try_from(number).ok()? },
        1 => {
            Status::Disconnected { standby: first == 1, cause: *DisconnectCause::ALL.get(second)? }
        }
        2 => Status::Rotated { books_kept: number as u16, books_lost: (number >> 16) as u16 },
        3 => Status::TopicState {
            channel: channel?,
            from: *STATES.get(second)?,
            to: *STATES.get(third)?,
            stale: *[None, Some(StaleReason::Silent), Some(StaleReason::Late)].get(fourth)?,
        },
        4 => Status::BookDesync { reason: *DesyncReason::ALL.get(first)? },
        5 => Status::BookSynced { recovery_ns: number },
        6 => Status::Resubscribed { channel: channel? },
        7 => Status::ReconnectAsked { reason: *ReconnectReason::ALL.get(first)? },
        8 => Status::RestRefused { status: u16::try_from(number).ok()? },
        9 => Status::Hole { lost: number },
        10 => Status::Exhausted { attempts: u32::try_from(number).ok()? },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each kind, each choice of each kind.
    fn all() -> Vec<Status> {
        let mut all = vec![
            Status::Rotated { books_kept: 1, books_lost: 0x0203 },
            Status::BookSynced { recovery_ns: u64::MAX },
            Status::RestRefused { status: 429 },
            Status::Hole { lost: 7 },
            Status::Exhausted { attempts: u32::MAX },
        ];
        for standby in [false, true] {
            all.push(Status::Connected { standby, generation: 9 });
            all.extend(DisconnectCause::ALL.map(|cause| Status::Disconnected { standby, cause }));
        }
        for channel in Channel::ALL {
            all.push(Status::Resubscribed { channel });
            for stale in [None, Some(StaleReason::Silent), Some(StaleReason::Late)] {
                let from = TopicState::Pending;
                all.extend(STATES.map(|to| Status::TopicState { channel, from, to, stale }));
            }
        }
        all.extend(DesyncReason::ALL.map(|reason| Status::BookDesync { reason }));
        all.extend(ReconnectReason::ALL.map(|reason| Status::ReconnectAsked { reason }));
        all
    }

    #[test]
    fn every_status_survives_its_bytes_and_no_two_share_them() {
        let mut seen = std::collections::BTreeSet::new();
        let mut kinds = [false; Status::KINDS];
        for what in all() {
            for instrument in [None, Some(InstrumentId(0)), Some(InstrumentId(0x0102))] {
                let event = StatusEvent { ts_ns: -5, connection: 3, instrument, what };
                let bytes = event.to_bytes();
                assert_eq!(StatusEvent::from_bytes(&bytes), Some(event));
                assert!(seen.insert(bytes), "{event:?}");
            }
            kinds[what.kind()] = true;
            assert!(what.to_string().starts_with(what.name()));
        }
        assert_eq!(kinds, [true; Status::KINDS]);
    }

    #[test]
    fn bytes_that_no_event_makes_are_refused() {
        for what in all() {
            let event = StatusEvent { ts_ns: 1, connection: 0, instrument: None, what };
            for (at, value) in (11..24).flat_map(|at| [(at, 0x55), (at, 0xff), (at, 0)]) {
                let mut bytes = event.to_bytes();
                bytes[at] = value;
                if let Some(read) = StatusEvent::from_bytes(&bytes) {
                    assert_eq!(read.to_bytes(), bytes, "one form only");
                }
            }
        }
        let mut bytes = [0; StatusEvent::BYTES];
        bytes[11] = Status::KINDS as u8;
        assert_eq!(StatusEvent::from_bytes(&bytes), None);
    }

    #[test]
    fn the_numbers_of_choices_are_those_of_their_declaration() {
        for (number, state) in STATES.into_iter().enumerate() {
            assert_eq!(state as usize, number);
        }
        for (number, reason) in DesyncReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
        for (number, reason) in ReconnectReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
        // A reason that is added fails to compile here, and belongs into `ALL` too.
        for reason in DesyncReason::ALL {
            let number = match reason {
                DesyncReason::Disconnected => 0,
                DesyncReason::SequenceGap => 1,
                DesyncReason::BadMessage => 2,
                DesyncReason::Crossed => 3,
                DesyncReason::ChecksumMismatch => 4,
                DesyncReason::AuditMismatch => 5,
            };
            assert_eq!(DesyncReason::ALL.get(number), Some(&reason));
        }
        for reason in ReconnectReason::ALL {
            let number = match reason {
                ReconnectReason::Silent => 0,
                ReconnectReason::Late => 1,
                ReconnectReason::Unconfirmed => 2,
                ReconnectReason::SequenceGap => 3,
                ReconnectReason::Requested => 4,
            };
            assert_eq!(ReconnectReason::ALL.get(number), Some(&reason));
        }
        for (number, channel) in Channel::ALL.into_iter().enumerate() {
            assert_eq!(channel as usize, number);
        }
    }
}
