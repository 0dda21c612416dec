//! One record of a recording, and its bytes.
//!
//! Invariants: encoding allocates nothing and has one form per record; [`decode`] accepts exactly
//! what [`encode`] makes, so that `decode(encode(r)) == r` and no other bytes decode to `r`. The
//! layout is the table in the [parent module](super).

use super::wire::{ENVELOPE_BYTES, Fields, Head, kind};
use crate::status::StatusEvent;

/// Longest record, its length field included.
pub const MAX_RECORD_BYTES: usize = 16 << 20;

/// In a [`Record::Hole`]: what is missing belongs to no connection, or to no single one.
pub const NO_CONNECTION: u8 = 255;

/// In the number of a connection: what is told came on the link that is to succeed the connection's
/// present one, not on that one itself. Connections are numbered below it.
pub const STANDBY: u8 = 0x80;

/// What happened, in the words of the thread that saw it.
///
/// `connection` may carry [`STANDBY`] in what comes off a socket: `Connected`, `Disconnected`, `Frame`
/// and `Snapshot`.
/// `generation` counts the times a connection was established, from 1 or as its owner counts; all
/// `ts_…_ns` are nanoseconds since the epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The first record of every file: what a reader needs to understand the others.
    SessionStart {
        /// Format version, wall time, hash of the effective configuration, instrument table,
        /// connections.
        json: &'a str,
    },
    /// A connection came up.
    Connected {
        /// Which connection.
        connection: u8,
        /// Its new generation.
        generation: u32,
        /// When it was established.
        ts_recv_ns: i64,
    },
    /// A connection went away.
    Disconnected {
        /// Which connection.
        connection: u8,
        /// The generation that ended.
        generation: u32,
        /// When it was noticed.
        ts_recv_ns: i64,
        /// Why, for people.
        reason: &'a str,
    },
    /// One data frame as it left the socket.
    Frame {
        /// Which connection.
        connection: u8,
        /// The time of the socket read that completed the frame.
        ts_recv_ns: i64,
        /// The payload, unchanged.
        bytes: &'a [u8],
    },
    /// One answer of the venue's REST interface.
    Snapshot {
        /// The connection that asked for it.
        connection: u8,
        /// The generation in which it was asked for.
        generation: u32,
        /// Index of the instrument in the session's table.
        instrument: u16,
        /// HTTP status.
        status: u16,
        /// When the body was complete.
        ts_recv_ns: i64,
        /// The body, unchanged.
        bytes: &'a [u8],
    },
    /// How much room a connection's ring had when that mattered: something did not fit, or was held
    /// back from before. It stands before the record whose events it was read for.
    Conflation {
        /// Which connection.
        connection: u8,
        /// Read without a record of its own, to pass on what was held back.
        idle: bool,
        /// Number of the reading, counted by the connection.
        offer: u64,
        /// Free slots read.
        free: u32,
    },
    /// The engine took items from a connection's ring.
    Consumed {
        /// Whose ring.
        connection: u8,
        /// How many items.
        items: u32,
    },
    /// The engine cut a cycle.
    Cut {
        /// Number of the cycle on the grid.
        cycle: u64,
        /// The grid time of the cycle.
        ts_cycle_ns: i64,
        /// Cycles before this one that an overrun made it miss.
        missed: u32,
    },
    /// A connection's standby link took over: from here on its records are the connection's own.
    Rotated {
        /// Which connection.
        connection: u8,
        /// When.
        ts_ns: i64,
    },
    /// Something that people and metrics follow; a replay does not need it.
    Status(StatusEvent),
    /// A person or a supervisor changed what the engine does.
    Control {
        /// When the engine saw it.
        ts_ns: i64,
        /// What was asked.
        command: Command,
    },
    /// An operator changed settings that take effect while the engine runs.
    Settings {
        /// When the engine saw it.
        ts_ns: i64,
        /// All such settings as they are from here on; what they are is the daemon's business.
        json: &'a str,
    },
    /// Records that the recorder itself had to drop at this place.
    Hole {
        /// Whose records, or [`NO_CONNECTION`].
        connection: u8,
        /// How many.
        records: u64,
        /// How many encoded bytes.
        bytes: u64,
    },
    /// Market events that were not made from frames of this recording: an imported history.
    Events {
        /// The connection that stands for their source.
        connection: u8,
        /// The receive time of the first of them.
        ts_recv_ns: i64,
        /// The events, as [`EventBatch`](super::EventBatch) writes them; they are checked by
        /// [`events`](super::events::events), not with the record.
        bytes: &'a [u8],
    },
    /// The session ended in order. Nothing follows.
    End {
        /// When.
        ts_ns: i64,
        /// Summary of the run: counters and the hash of its signals.
        json: &'a str,
    },
}

/// A command from outside the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Command {
    /// Publish HOLD only.
    Halt = 1,
    /// Publish signals again.
    Resume = 2,
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the record does.
    #[error("record needs {needed} bytes, there are {have}")]
    Truncated {
        /// Bytes the record needs, as far as can be told.
        needed: usize,
        /// Bytes there are.
        have: usize,
    },
    /// The kind is none of this format version.
    #[error("record kind {kind}, expected 1 to 15")]
    UnknownKind {
        /// The kind found.
        kind: u8,
    },
    /// The length field contradicts the kind or the bounds of the format.
    #[error("record of kind {kind} has length {len}, expected {min} to {max}")]
    BadLength {
        /// The kind found; 0 when the length leaves no room for one.
        kind: u8,
        /// The length field.
        len: usize,
        /// Smallest length allowed.
        min: usize,
        /// Largest length allowed.
        max: usize,
    },
    /// A one-byte choice has no such value.
    #[error("field {field} is {value}, expected 1 or 2")]
    BadChoice {
        /// Name of the field.
        field: &'static str,
        /// Its value.
        value: u8,
    },
    /// A status that is none.
    #[error("record of kind 13 holds bytes that are no status event")]
    BadStatus,
    /// A text is not UTF-8.
    #[error("record of kind {kind} has text that is not UTF-8 from byte {at} of it")]
    NotUtf8 {
        /// The kind of the record.
        kind: u8,
        /// First bad byte within the text.
        at: usize,
    },
}

impl<'a> Record<'a> {
    /// Bytes of the encoded record, its length field included.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let (head, tail) = self.parts();
        head.len + tail.len()
    }

    /// The connection that the record speaks of, if any.
    #[must_use]
    pub fn connection(&self) -> Option<u8> {
        match *self {
            Self::Connected { connection, .. }
            | Self::Disconnected { connection, .. }
            | Self::Frame { connection, .. }
            | Self::Events { connection, .. }
            | Self::Snapshot { connection, .. }
            | Self::Conflation { connection, .. }
            | Self::Consumed { connection, .. }
            | Self::Rotated { connection, .. }
            | Self::Status(StatusEvent { connection, .. })
            | Self::Hole { connection, .. } => Some(connection),
            Self::SessionStart { .. }
            | Self::Cut { .. }
            | Self::Control { .. }
            | Self::Settings { .. }
            | Self::End { .. } => None,
        }
    }

    /// The record's time, whichever clock of the session it was taken from, if it has one.
    #[must_use]
    pub fn ts_ns(&self) -> Option<i64> {
        match *self {
            Self::Connected { ts_recv_ns: ts, .. }
            | Self::Disconnected { ts_recv_ns: ts, .. }
            | Self::Frame { ts_recv_ns: ts, .. }
            | Self::Events { ts_recv_ns: ts, .. }
            | Self::Snapshot { ts_recv_ns: ts, .. }
            | Self::Cut { ts_cycle_ns: ts, .. }
            | Self::Rotated { ts_ns: ts, .. }
            | Self::Status(StatusEvent { ts_ns: ts, .. })
            | Self::Control { ts_ns: ts, .. }
            | Self::Settings { ts_ns: ts, .. }
            | Self::End { ts_ns: ts, .. } => Some(ts),
            Self::SessionStart { .. }
            | Self::Conflation { .. }
            | Self::Consumed { .. }
            | Self::Hole { .. } => None,
        }
    }

    /// Envelope with fixed fields, and tail.
    fn parts(&self) -> (Head, &'a [u8]) {
        let none: &[u8] = &[];
        let (head, tail) = match *self {
            Self::SessionStart { json } => (Head::new(kind::SESSION_START), json.as_bytes()),
            Self::Connected { connection, generation, ts_recv_ns } => {
                let head = Head::new(kind::CONNECTED).u8(connection).u32(generation);
                (head.i64(ts_recv_ns), none)
            }
            Self::Disconnected { connection, generation, ts_recv_ns, reason } => {
                let head = Head::new(kind::DISCONNECTED).u8(connection).u32(generation);
                (head.i64(ts_recv_ns), reason.as_bytes())
            }
            Self::Frame { connection, ts_recv_ns, bytes } => {
                (Head::new(kind::FRAME).u8(connection).i64(ts_recv_ns), bytes)
            }
            Self::Snapshot { connection, generation, instrument, status, ts_recv_ns, bytes } => {
                let head = Head::new(kind::SNAPSHOT).u8(connection).u32(generation);
                (head.u16(instrument).u16(status).i64(ts_recv_ns), bytes)
            }
            Self::Conflation { connection, idle, offer, free } => {
                let head = Head::new(kind::CONFLATION).u8(connection);
                (head.u8(1 + u8::from(idle)).u64(offer).u32(free), none)
            }
            Self::Consumed { connection, items } => {
                (Head::new(kind::CONSUMED).u8(connection).u32(items), none)
            }
            Self::Cut { cycle, ts_cycle_ns, missed } => {
                (Head::new(kind::CUT).u64(cycle).i64(ts_cycle_ns).u32(missed), none)
            }
            Self::Rotated { connection, ts_ns } => {
                (Head::new(kind::ROTATED).u8(connection).i64(ts_ns), none)
            }
            Self::Status(ref event) => (Head::new(kind::STATUS).status(event), none),
            Self::Control { ts_ns, command } => {
                (Head::new(kind::CONTROL).i64(ts_ns).u8(command as u8), none)
            }
            Self::Settings { ts_ns, json } => {
                (Head::new(kind::SETTINGS).i64(ts_ns), json.as_bytes())
            }
            Self::Hole { connection, records, bytes } => {
                (Head::new(kind::HOLE).u8(connection).u64(records).u64(bytes), none)
            }
            Self::Events { connection, ts_recv_ns, bytes } => {
                (Head::new(kind::EVENTS).u8(connection).i64(ts_recv_ns), bytes)
            }
            Self::End { ts_ns, json } => (Head::new(kind::END).i64(ts_ns), json.as_bytes()),
        };
        (head.sealed(tail.len()), tail)
    }
}

/// Writes `record` to the start of `out` and returns the bytes it took, or `None`, leaving `out` as
/// it was, when `out` is too short or the record is longer than [`MAX_RECORD_BYTES`].
#[must_use]
pub fn encode(record: &Record<'_>, out: &mut [u8]) -> Option<usize> {
    let (head, tail) = record.parts();
    let total = head.len + tail.len();
    if total > MAX_RECORD_BYTES || total > out.len() {
        return None;
    }
    out[..head.len].copy_from_slice(head.as_bytes());
    out[head.len..total].copy_from_slice(tail);
    Some(total)
}

/// Hands the bytes of `record` to `put` in order, in one or two pieces, without allocating, and
/// returns their sum; or `None`, having called nothing, when the record is longer than
/// [`MAX_RECORD_BYTES`]. A producer whose ring may be full asks [`Record::encoded_len`] first.
pub fn encode_into(record: &Record<'_>, put: &mut impl FnMut(&[u8])) -> Option<usize> {
    let (head, tail) = record.parts();
    let total = head.len + tail.len();
    if total > MAX_RECORD_BYTES {
        return None;
    }
    put(head.as_bytes());
    if !tail.is_empty() {
        put(tail);
    }
    Some(total)
}

/// The record at the start of `bytes` and the number of bytes it takes; more may follow it.
///
/// # Errors
/// When the bytes are not exactly what [`encode`] makes of a record.
pub fn decode(bytes: &[u8]) -> Result<(Record<'_>, usize), DecodeError> {
    let have = bytes.len();
    let Some((len_field, rest)) = bytes.split_first_chunk::<4>() else {
        return Err(DecodeError::Truncated { needed: ENVELOPE_BYTES, have });
    };
    let len = u32::from_le_bytes(*len_field) as usize;
    let max = MAX_RECORD_BYTES - 4;
    if !(1..=max).contains(&len) {
        return Err(DecodeError::BadLength { kind: 0, len, min: 1, max });
    }
    let Some(body) = rest.get(..len) else {
        return Err(DecodeError::Truncated { needed: 4 + len, have });
    };
    let record = decode_body(body[0], &body[1..])?;
    Ok((record, 4 + len))
}

/// The record of a kind from its fixed fields and tail.
fn decode_body(kind: u8, body: &[u8]) -> Result<Record<'_>, DecodeError> {
    let (fixed, has_tail) = kind::layout(kind).ok_or(DecodeError::UnknownKind { kind })?;
    if body.len() < fixed || (!has_tail && body.len() > fixed) {
        let max = if has_tail { MAX_RECORD_BYTES - 4 } else { 1 + fixed };
        return Err(DecodeError::BadLength { kind, len: 1 + body.len(), min: 1 + fixed, max });
    }
    let (fields, tail) = body.split_at(fixed);
    let mut fields = Fields(fields);
    let text = || {
        std::str::from_utf8(tail)
            .map_err(|error| DecodeError::NotUtf8 { kind, at: error.valid_up_to() })
    };
    // Struct fields are evaluated in the order they are written here, which is the layout's.
    Ok(match kind {
        kind::SESSION_START => Record::SessionStart { json: text()? },
        kind::CONNECTED => Record::Connected {
            connection: fields.u8(),
            generation: fields.u32(),
            ts_recv_ns: fields.i64(),
        },
        kind::DISCONNECTED => Record::Disconnected {
            connection: fields.u8(),
            generation: fields.u32(),
            ts_recv_ns: fields.i64(),
            reason: text()?,
        },
        kind::FRAME => {
            Record::Frame { connection: fields.u8(), ts_recv_ns: fields.i64(), bytes: tail }
        }
        kind::SNAPSHOT => Record::Snapshot {
            connection: fields.u8(),
            generation: fields.u32(),
            instrument: fields.u16(),
            status: fields.u16(),
            ts_recv_ns: fields.i64(),
            bytes: tail,
        },
        kind::CONFLATION => Record::Conflation {
            connection: fields.u8(),
            idle: fields.idle()?,
            offer: fields.u64(),
            free: fields.u32(),
        },
        kind::CONSUMED => Record::Consumed { connection: fields.u8(), items: fields.u32() },
        kind::CUT => {
            Record::Cut { cycle: fields.u64(), ts_cycle_ns: fields.i64(), missed: fields.u32() }
        }
        kind::ROTATED => Record::Rotated { connection: fields.u8(), ts_ns: fields.i64() },
        kind::STATUS => Record::Status(fields.status()?),
        kind::CONTROL => Record::Control { ts_ns: fields.i64(), command: fields.command()? },
        kind::SETTINGS => Record::Settings { ts_ns: fields.i64(), json: text()? },
        kind::HOLE => {
            Record::Hole { connection: fields.u8(), records: fields.u64(), bytes: fields.u64() }
        }
        kind::EVENTS => {
            Record::Events { connection: fields.u8(), ts_recv_ns: fields.i64(), bytes: tail }
        }
        kind::END => Record::End { ts_ns: fields.i64(), json: text()? },
        _ => return Err(DecodeError::UnknownKind { kind }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(record: &Record<'_>) -> Vec<u8> {
        let mut bytes = vec![0; record.encoded_len()];
        assert_eq!(encode(record, &mut bytes), Some(bytes.len()));
        bytes
    }

    /// One of each kind, with values that differ in every byte.
    fn one_of_each() -> Vec<Record<'static>> {
        let ts = 0x0102_0304_0506_0708;
        vec![
            Record::SessionStart { json: "{\"a\":1}" },
            Record::Connected { connection: 3, generation: 0x0a0b_0c0d, ts_recv_ns: ts },
            Record::Disconnected { connection: 3, generation: 7, ts_recv_ns: ts, reason: "µ" },
            Record::Frame { connection: 9, ts_recv_ns: -ts, bytes: b"{}" },
            Record::Snapshot {
                connection: 1,
                generation: 2,
                instrument: 0x0304,
                status: 429,
                ts_recv_ns: ts,
                bytes: b"",
            },
            Record::Conflation { connection: 2, idle: false, offer: 7, free: 8 },
            Record::Conflation { connection: 2, idle: true, offer: u64::MAX, free: 0 },
            Record::Consumed { connection: 2, items: 77 },
            Record::Cut { cycle: u64::MAX, ts_cycle_ns: i64::MIN, missed: 5 },
            Record::Rotated { connection: 2, ts_ns: ts },
            Record::Status(StatusEvent {
                ts_ns: ts,
                connection: 2,
                instrument: Some(crate::InstrumentId(0x0304)),
                what: crate::status::Status::BookSynced { recovery_ns: 0x0506_0708_090a_0b0c },
            }),
            Record::Control { ts_ns: ts, command: Command::Halt },
            Record::Control { ts_ns: ts, command: Command::Resume },
            Record::Settings { ts_ns: ts, json: "{\"a\":0.5}" },
            Record::Hole { connection: NO_CONNECTION, records: 1, bytes: u64::MAX },
            Record::End { ts_ns: ts, json: "" },
            Record::Events { connection: 4, ts_recv_ns: ts, bytes: b"\0\x01" },
        ]
    }

    #[test]
    fn every_kind_decodes_to_itself_and_says_its_length() {
        for record in one_of_each() {
            let mut bytes = encoded(&record);
            assert_eq!(decode(&bytes), Ok((record, bytes.len())));
            let len = bytes.len();
            bytes.push(0xee);
            assert_eq!(decode(&bytes), Ok((record, len)), "a follower is left alone");
        }
    }

    #[test]
    fn the_bytes_of_a_frame_and_a_cut_are_those_of_the_published_table() {
        let frame =
            Record::Frame { connection: 9, ts_recv_ns: 0x0102_0304_0506_0708, bytes: b"ab" };
        let expected = [12, 0, 0, 0, 4, 9, 8, 7, 6, 5, 4, 3, 2, 1, b'a', b'b'];
        assert_eq!(encoded(&frame), expected);
        let cut = Record::Cut { cycle: 1, ts_cycle_ns: 2, missed: 3 };
        let mut expected = vec![21, 0, 0, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
        expected.extend([3, 0, 0, 0]);
        assert_eq!(encoded(&cut), expected);
    }

    #[test]
    fn a_frame_costs_fourteen_bytes_beyond_its_payload() {
        let frame = Record::Frame { connection: 0, ts_recv_ns: 0, bytes: b"payload" };
        assert_eq!(frame.encoded_len() - b"payload".len(), 14);
    }

    #[test]
    fn every_shorter_prefix_is_truncated_and_encode_refuses_a_shorter_buffer() {
        for record in one_of_each() {
            let bytes = encoded(&record);
            for len in 0..bytes.len() {
                let error = decode(&bytes[..len]).expect_err("a prefix is not a record");
                assert!(matches!(error, DecodeError::Truncated { have, .. } if have == len));
                let mut short = vec![0xcc; len];
                assert_eq!(encode(&record, &mut short), None);
                assert!(short.iter().all(|&b| b == 0xcc), "a refused encode writes nothing");
            }
        }
    }

    #[test]
    fn what_encode_never_makes_is_refused_with_its_cause() {
        let cases: [(&[u8], DecodeError); 9] = [
            (&[1, 0, 0, 0, 0], DecodeError::UnknownKind { kind: 0 }),
            (&[1, 0, 0, 0, 16], DecodeError::UnknownKind { kind: 16 }),
            (
                &[
                    25, 0, 0, 0, 13, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0,
                    0, 0, 0, 0,
                ],
                DecodeError::BadStatus,
            ),
            (
                &[0, 0, 0, 0, 1],
                DecodeError::BadLength { kind: 0, len: 0, min: 1, max: MAX_RECORD_BYTES - 4 },
            ),
            (
                &[0xff, 0xff, 0xff, 0x7f, 1],
                DecodeError::BadLength {
                    kind: 0,
                    len: 0x7fff_ffff,
                    min: 1,
                    max: MAX_RECORD_BYTES - 4,
                },
            ),
            (&[2, 0, 0, 0, 6, 1], DecodeError::BadLength { kind: 6, len: 2, min: 15, max: 15 }),
            (
                &[4, 0, 0, 0, 6, 1, 1, 1],
                DecodeError::BadLength { kind: 6, len: 4, min: 15, max: 15 },
            ),
            (
                &[15, 0, 0, 0, 6, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                DecodeError::BadChoice { field: "idle", value: 3 },
            ),
            (&[3, 0, 0, 0, 1, b'a', 0xff], DecodeError::NotUtf8 { kind: 1, at: 1 }),
        ];
        for (bytes, expected) in cases {
            assert_eq!(decode(bytes), Err(expected), "{bytes:?}");
        }
    }

    #[test]
    fn a_record_over_the_bound_is_not_encoded() {
        let bytes = vec![0; MAX_RECORD_BYTES];
        let record = Record::Frame { connection: 0, ts_recv_ns: 0, bytes: &bytes };
        assert_eq!(encode(&record, &mut vec![0; MAX_RECORD_BYTES + 64]), None);
        let mut calls = 0;
        assert_eq!(encode_into(&record, &mut |_| calls += 1), None);
        assert_eq!(calls, 0);
    }

    #[test]
    fn encode_into_hands_out_the_same_bytes() {
        for record in one_of_each() {
            let mut bytes = Vec::new();
            let total = encode_into(&record, &mut |piece| bytes.extend_from_slice(piece));
            assert_eq!(total, Some(bytes.len()));
            assert_eq!(bytes, encoded(&record));
        }
    }
}
