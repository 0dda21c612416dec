//! What is known about a signal on its way to the broker, beside its value: enough to send it, to spill
//! it and to send it again from the spill, in this run or the next.
//!
//! Invariant: plain data; making, copying, writing and reading one allocates nothing.

use std::{
    ffi::CStr,
    io::{Cursor, Write as _},
};

use super::contract::{Encoding, Identity, TYPE_SIGNAL, header};

/// Longest key, bytes.
pub const MAX_KEY_BYTES: usize = 96;

/// Digits of a model's version.
pub const MODEL_DIGITS: usize = 16;

/// Bytes that [`Headers::render`] needs at most, beside the source.
const MAX_HEADER_BYTES: usize = 512;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Names the signal.
    pub identity: Identity,
    /// The cycle that made it.
    pub cycle: u64,
    /// When it was made, ns since the epoch.
    pub ts_signal_ns: i64,
    /// When it is worth nothing any more, ns since the epoch.
    pub expires_ns: i64,
    /// Of the value.
    pub encoding: Encoding,
    /// Version of the model, hex digits.
    pub model: [u8; MODEL_DIGITS],
    key: [u8; MAX_KEY_BYTES],
    key_len: u8,
}

impl Envelope {
    /// An empty one, to be filled.
    pub const EMPTY: Self = Self {
        identity: Identity { epoch: 0, seq: 0 },
        cycle: 0,
        ts_signal_ns: 0,
        expires_ns: 0,
        encoding: Encoding::Json,
        model: [b'0'; MODEL_DIGITS],
        key: [0; MAX_KEY_BYTES],
        key_len: 0,
    };

    /// `venue:symbol`.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key[..usize::from(self.key_len)]
    }

    /// Sets the key; `false` if it is too long.
    #[must_use]
    pub fn set_key(&mut self, key: &[u8]) -> bool {
        let fits = key.len() <= MAX_KEY_BYTES;
        if fits {
            self.key[..key.len()].copy_from_slice(key);
            self.key_len = key.len() as u8;
        }
        fits
    }

    /// What is written in front of the value in the spill.
    #[must_use]
    pub fn to_bytes(&self) -> EnvelopeBytes {
        let mut bytes = [0; FIXED_BYTES + MAX_KEY_BYTES];
        let numbers = [
            self.identity.epoch,
            self.identity.seq,
            self.cycle,
            self.ts_signal_ns as u64,
            self.expires_ns as u64,
        ];
        bytes[0] = VERSION;
        bytes[1] = self.encoding as u8;
        bytes[2] = self.key_len;
        for (number, at) in numbers.iter().zip(bytes[3..].chunks_exact_mut(8)) {
            at.copy_from_slice(&number.to_le_bytes());
        }
        bytes[FIXED_BYTES - MODEL_DIGITS..FIXED_BYTES].copy_from_slice(&self.model);
        let len = FIXED_BYTES + usize::from(self.key_len);
        bytes[FIXED_BYTES..len].copy_from_slice(self.key());
        EnvelopeBytes { bytes, len }
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote and returns the value that follows; `None` where that
    /// is not what stands there.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (fixed, rest) = bytes.split_at_checked(FIXED_BYTES)?;
        let encoding = match fixed[1] {
            0 => Encoding::Json,
            1 => Encoding::Protobuf,
            _ => return None,
        };
        let (key, value) = rest.split_at_checked(usize::from(fixed[2]))?;
        let number = |i: usize| {
            let at = 3 + 8 * i;
            fixed[at..at + 8].try_into().map(u64::from_le_bytes)
        };
        let mut envelope = Self {
            identity: Identity { epoch: number(0).ok()?, seq: number(1).ok()? },
            cycle: number(2).ok()?,
            ts_signal_ns: number(3).ok()? as i64,
            expires_ns: number(4).ok()? as i64,
            encoding,
            model: fixed[FIXED_BYTES - MODEL_DIGITS..].try_into().ok()?,
            ..Self::EMPTY
        };
        (fixed[0] == VERSION && envelope.set_key(key)).then_some((envelope, value))
    }
}

/// Of the form of an envelope in the spill.
const VERSION: u8 = 1;

/// Version, encoding, length of the key, five numbers, model.
const FIXED_BYTES: usize = 3 + 5 * 8 + MODEL_DIGITS;

/// An envelope as it stands in the spill.
#[derive(Clone, Copy, Debug)]
pub struct EnvelopeBytes {
    bytes: [u8; FIXED_BYTES + MAX_KEY_BYTES],
    len: usize,
}

impl AsRef<[u8]> for EnvelopeBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Headers of one record: names and values.
pub type HeaderList<'a> = [(&'static CStr, &'a [u8]); 11];

/// Writes headers; holds what is the same for all.
#[derive(Clone, Debug)]
pub struct Headers {
    source: String,
    text: Vec<u8>,
}

impl Headers {
    /// Of a daemon with this `ce_source`.
    #[must_use]
    pub fn new(source: &str) -> Self {
        Self { source: source.to_owned(), text: vec![0; MAX_HEADER_BYTES] }
    }

    /// The headers of a signal; `None` only where its times lie outside of years that RFC 3339 can name.
    pub fn render(&mut self, envelope: &Envelope) -> Option<HeaderList<'_>> {
        let Envelope { identity, cycle, ts_signal_ns, .. } = *envelope;
        let time = jiff::Timestamp::from_nanosecond(i128::from(ts_signal_ns)).ok()?;
        let mut ends = [0; 6];
        let mut out = Cursor::new(&mut self.text[..]);
        let epoch = identity.epoch;
        let seq = identity.seq;
        write!(out, "{identity}").ok()?;
        ends[0] = out.position() as usize;
        write!(out, "{time:.9}").ok()?;
        ends[1] = out.position() as usize;
        // A trace id of zeros is not valid, and an epoch is never 0; nor is a sequence, the span.
        write!(out, "00-{epoch:016x}{cycle:016x}-{seq:016x}-01").ok()?;
        ends[2] = out.position() as usize;
        write!(out, "{epoch}").ok()?;
        ends[3] = out.position() as usize;
        write!(out, "{seq}").ok()?;
        ends[4] = out.position() as usize;
        out.write_all(envelope.key()).ok()?;
        ends[5] = out.position() as usize;
        out.write_all(&envelope.model).ok()?;
        let end = out.position() as usize;
        let text = &self.text;
        Some([
            (header::CONTENT_TYPE, envelope.encoding.content_type().as_bytes()),
            (header::CE_SPECVERSION, b"1.0"),
            (header::CE_ID, &text[..ends[0]]),
            (header::CE_SOURCE, self.source.as_bytes()),
            (header::CE_TYPE, TYPE_SIGNAL.as_bytes()),
            (header::CE_TIME, &text[ends[0]..ends[1]]),
            (header::CE_SUBJECT, &text[ends[4]..ends[5]]),
            (header::TRACEPARENT, &text[ends[1]..ends[2]]),
            (header::EPOCH, &text[ends[2]..ends[3]]),
            (header::SEQ, &text[ends[3]..ends[4]]),
            (header::MODEL, &text[ends[5]..end]),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope() -> Envelope {
        let mut envelope = Envelope {
            identity: Identity { epoch: 1_795_000_000_000, seq: 42 },
            cycle: 17,
            ts_signal_ns: 1_795_000_000_123_456_789,
            expires_ns: 1_795_000_005_123_456_789,
            encoding: Encoding::Protobuf,
            model: *b"0123456789abcdef",
            ..Envelope::EMPTY
        };
        assert!(envelope.set_key(b"binance-usdm:BTCUSDT"));
        envelope
    }

    #[test]
    fn an_envelope_survives_the_spill_and_nothing_shorter_is_one() {
        let mut record = envelope().to_bytes().as_ref().to_vec();
        let bare = record.len();
        record.extend(b"the value");
        assert_eq!(Envelope::from_bytes(&record), Some((envelope(), &b"the value"[..])));
        for len in 0..bare {
            assert_eq!(Envelope::from_bytes(&record[..len]), None, "{len}");
        }
        for (at, value) in [(0, VERSION + 1), (1, 2), (2, 255)] {
            let mut bad = record.clone();
            bad[at] = value;
            assert_eq!(Envelope::from_bytes(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn headers_name_the_signal_its_time_and_its_trace() {
        let mut headers = Headers::new("purkinje://host");
        let told: Vec<_> = headers
            .render(&envelope())
            .unwrap()
            .iter()
            .map(|(name, value)| format!("{}={}", name.to_str().unwrap(), value.escape_ascii()))
            .collect();
        let expected = [
            "content-type=application/protobuf",
            "ce_specversion=1.0",
            "ce_id=1795000000000-42",
            "ce_source=purkinje://host",
            "ce_type=purkinje.signal.v1",
            "ce_time=2026-11-18T11:06:40.123456789Z",
            "ce_subject=binance-usdm:BTCUSDT",
            "traceparent=00-000001a1ee565e000000000000000011-000000000000002a-01",
            "pk_epoch=1795000000000",
            "pk_seq=42",
            "pk_model=0123456789abcdef",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_key_that_is_too_long_is_refused() {
        let mut envelope = envelope();
        assert!(!envelope.set_key(&[b'k'; MAX_KEY_BYTES + 1]));
        assert_eq!(envelope.key(), b"binance-usdm:BTCUSDT");
    }
}
