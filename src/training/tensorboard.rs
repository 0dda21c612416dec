//! TensorBoard event files: scalars and histograms over steps.
//!
//! Invariants: a file is a sequence of whole TFRecord frames (length, masked CRC-32C of the length,
//! data, masked CRC-32C of the data), the first of which says `brain.Event:2`; a failed write is cut
//! off again where the system lets it; an existing file is never written to; a file has at most
//! `max_bytes`, beyond which events are dropped and counted. No clock is read: the caller says when.
//!
//! The messages are `tensorflow.Event`, `Summary` and `HistogramProto` of TensorFlow's
//! `event.proto` and `summary.proto`, in protocol buffers' wire format. The fields used are few and
//! frozen, so they are encoded here.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::histogram::Histogram;

/// Longest tag, bytes.
pub const MAX_TAG_BYTES: usize = 1_024;

/// Files of one name and second tried before giving up.
const MAX_SAME_NAME: u32 = 1_000;

/// Why an event could not be written.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The system refused.
    #[error("{path}: cannot {action}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A tag is empty or too long.
    #[error("{path}: tag of {bytes} bytes, expected 1 to {MAX_TAG_BYTES}")]
    Tag {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: usize,
    },
    /// The first event does not fit.
    #[error("tensorboard: max_bytes = {max_bytes}, expected at least {least}")]
    MaxBytes {
        /// The bound.
        max_bytes: u64,
        /// What the first event needs.
        least: u64,
    },
}

/// What a writer has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EventCounters {
    /// Events on file, the first one aside.
    pub events: u64,
    /// Events for which the file's bound left no room.
    pub dropped: u64,
    /// Bytes on file.
    pub bytes: u64,
}

/// Writes one event file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
    max_bytes: u64,
    counters: EventCounters,
    /// A frame being built, kept for its memory.
    frame: Vec<u8>,
}

impl EventWriter {
    /// Creates `events.out.tfevents.SECONDS.purkinje` in `dir`, or `….purkinje.N` where there is one
    /// of that second already. `wall_ns` is nanoseconds since the epoch.
    ///
    /// # Errors
    /// The system refuses, or `max_bytes` has no room for the first event.
    pub fn create(dir: &Path, wall_ns: i64, max_bytes: u64) -> Result<Self, EventError> {
        let io = |path: &Path, action, source| EventError::Io { path: path.into(), action, source };
        std::fs::create_dir_all(dir).map_err(|e| io(dir, "create", e))?;
        let name =
            format!("events.out.tfevents.{:010}.purkinje", wall_ns.div_euclid(1_000_000_000));
        let mut path = dir.join(&name);
        let mut number = 0;
        let file = loop {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => break file,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists && number < MAX_SAME_NAME => {
                    number += 1;
                    path = dir.join(format!("{name}.{number}"));
                }
                Err(e) => return Err(io(&path, "create", e)),
            }
        };
        let counters = EventCounters::default();
        let mut writer = Self { path, file, max_bytes, counters, frame: Vec::new() };
        writer.write(|event| {
            put_f64(event, 1, seconds(wall_ns));
            put_bytes(event, 3, b"brain.Event:2");
        })?;
        if writer.counters.dropped > 0 {
            let least = writer.frame.len() as u64;
            // Best effort: an empty file is in nobody's way.
            let _ = std::fs::remove_file(&writer.path);
            return Err(EventError::MaxBytes { max_bytes, least });
        }
        writer.counters.events = 0;
        Ok(writer)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What has been done so far.
    #[must_use]
    pub fn counters(&self) -> EventCounters {
        self.counters
    }

    /// Writes the value of a scalar at a step; one that is not finite is shown as such.
    ///
    /// # Errors
    /// The tag is empty or too long, or the system refuses; the event is not on file then.
    pub fn scalar(
        &mut self,
        tag: &str,
        step: u64,
        wall_ns: i64,
        value: f32,
    ) -> Result<(), EventError> {
        self.summary(tag, step, wall_ns, |entry| put_f32(entry, 2, value))
    }

    /// Writes a histogram at a step.
    ///
    /// # Errors
    /// The tag is empty or too long, or the system refuses; the event is not on file then.
    pub fn histogram(
        &mut self,
        tag: &str,
        step: u64,
        wall_ns: i64,
        histogram: &Histogram,
    ) -> Result<(), EventError> {
        self.summary(tag, step, wall_ns, |entry| {
            put_message(entry, 5, |proto| {
                let total = histogram.total() as f64;
                let numbers =
                    [histogram.min, histogram.max, total, histogram.sum, histogram.sum_squares];
                for (field, number) in (1..).zip(numbers) {
                    put_f64(proto, field, number);
                }
                // Readers know the right ends of buckets only; the first begins at the minimum.
                put_doubles(proto, 6, histogram.edges.iter().skip(1).copied());
                put_doubles(proto, 7, histogram.counts.iter().map(|n| *n as f64));
            });
        })
    }

    /// Forces what was written to the device.
    ///
    /// # Errors
    /// The system refuses.
    pub fn sync(&mut self) -> Result<(), EventError> {
        self.file.sync_data().map_err(|e| self.io("sync", e))
    }

    fn summary(
        &mut self,
        tag: &str,
        step: u64,
        wall_ns: i64,
        value: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), EventError> {
        if !(1..=MAX_TAG_BYTES).contains(&tag.len()) {
            return Err(EventError::Tag { path: self.path.clone(), bytes: tag.len() });
        }
        self.write(|event| {
            put_f64(event, 1, seconds(wall_ns));
            put_key(event, 2, VARINT);
            put_varint(event, step);
            put_message(event, 5, |summary| {
                put_message(summary, 1, |entry| {
                    put_bytes(entry, 1, tag.as_bytes());
                    value(entry);
                });
            });
        })
    }

    /// Writes one frame, or drops it when the file is full.
    fn write(&mut self, build: impl FnOnce(&mut Vec<u8>)) -> Result<(), EventError> {
        self.frame.clear();
        self.frame.extend_from_slice(&[0; 12]);
        build(&mut self.frame);
        let (head, data) = self.frame.split_at_mut(12);
        let length = (data.len() as u64).to_le_bytes();
        head[..8].copy_from_slice(&length);
        head[8..].copy_from_slice(&masked_crc(&length).to_le_bytes());
        let crc = masked_crc(data).to_le_bytes();
        self.frame.extend_from_slice(&crc);
        let bytes = self.frame.len() as u64;
        if self.counters.bytes + bytes > self.max_bytes {
            self.counters.dropped += 1;
            return Ok(());
        }
        if let Err(source) = self.file.write_all(&self.frame) {
            // Best effort: readers stop at a torn frame and would not see what follows.
            let _ = self.file.set_len(self.counters.bytes);
            let _ = self.file.seek(SeekFrom::Start(self.counters.bytes));
            return Err(self.io("write", source));
        }
        self.counters.bytes += bytes;
        self.counters.events += 1;
        Ok(())
    }

    fn io(&self, action: &'static str, source: io::Error) -> EventError {
        EventError::Io { path: self.path.clone(), action, source }
    }
}

/// The checksum of TFRecord: CRC-32C, rotated and offset, so that data which hold their own checksum
/// do not confuse it.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

fn seconds(wall_ns: i64) -> f64 {
    wall_ns as f64 * 1e-9
}

// Wire types of protocol buffers.
const VARINT: u32 = 0;
const FIXED_64: u32 = 1;
const BYTES: u32 = 2;
const FIXED_32: u32 = 5;

fn put_key(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    put_varint(out, u64::from(field << 3 | wire_type));
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_f64(out: &mut Vec<u8>, field: u32, value: f64) {
    put_key(out, field, FIXED_64);
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_f32(out: &mut Vec<u8>, field: u32, value: f32) {
    put_key(out, field, FIXED_32);
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_key(out, field, BYTES);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A packed repeated double.
fn put_doubles(out: &mut Vec<u8>, field: u32, values: impl ExactSizeIterator<Item = f64>) {
    put_key(out, field, BYTES);
    put_varint(out, 8 * values.len() as u64);
    out.extend(values.flat_map(f64::to_le_bytes));
}

fn put_message(out: &mut Vec<u8>, field: u32, build: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    build(&mut inner);
    put_bytes(out, field, &inner);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WALL_NS: i64 = 1_700_000_000_500_000_000;

    /// The CRC-32C by its definition, a bit at a time (RFC 3720, appendix B.4).
    fn slow_crc32c(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }

    /// The data of every frame, checked as a reader does it.
    fn frames(mut bytes: &[u8]) -> Vec<&[u8]> {
        let unmask = |bytes: &[u8]| {
            let masked = u32::from_le_bytes(bytes.try_into().unwrap());
            masked.wrapping_sub(0xa282_ead8).rotate_left(15)
        };
        let mut frames = Vec::new();
        while !bytes.is_empty() {
            let (head, rest) = bytes.split_at(12);
            assert_eq!(unmask(&head[8..]), slow_crc32c(&head[..8]));
            let length = u64::from_le_bytes(head[..8].try_into().unwrap());
            let (data, rest) = rest.split_at(length as usize);
            let (crc, rest) = rest.split_at(4);
            assert_eq!(unmask(crc), slow_crc32c(data));
            frames.push(data);
            bytes = rest;
        }
        frames
    }

    /// One field of a message.
    #[derive(Debug, PartialEq)]
    enum Field<'a> {
        Varint(u64),
        F64(f64),
        F32(f32),
        Bytes(&'a [u8]),
    }

    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                break;
            }
        }
        value
    }

    fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let length = match key & 7 {
                0 => {
                    fields.push((key >> 3, Field::Varint(varint(&mut bytes))));
                    continue;
                }
                1 => 8,
                2 => varint(&mut bytes) as usize,
                5 => 4,
                other => panic!("wire type {other}"),
            };
            let (value, rest) = bytes.split_at(length);
            bytes = rest;
            let field = match key & 7 {
                1 => Field::F64(f64::from_le_bytes(value.try_into().unwrap())),
                5 => Field::F32(f32::from_le_bytes(value.try_into().unwrap())),
                _ => Field::Bytes(value),
            };
            fields.push((key >> 3, field));
        }
        fields
    }

    /// The step and the value's fields of a summary event.
    fn summary(frame: &[u8]) -> (u64, Vec<(u64, Field<'_>)>) {
        let event = fields(frame);
        let [(1, Field::F64(wall_s)), (2, Field::Varint(step)), (5, Field::Bytes(summary))] =
            event[..]
        else {
            panic!("{event:?}")
        };
        assert_eq!(wall_s, 1_700_000_000.5);
        let summary = fields(summary);
        let [(1, Field::Bytes(value))] = summary[..] else { panic!("{summary:?}") };
        (step, fields(value))
    }

    fn doubles(bytes: &[u8]) -> Vec<f64> {
        bytes.chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    }

    #[test]
    fn scalars_and_histograms_are_read_back_by_a_parser_of_frames_and_messages() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(dir.path(), WALL_NS, 1 << 20).unwrap();
        let histogram = Histogram::of(&[0.0, 0.5, 1.0, 1.0], 2);
        writer.scalar("loss/train", 300, WALL_NS, 0.25).unwrap();
        writer.histogram("weights", 1 << 40, WALL_NS, &histogram).unwrap();
        let bytes = std::fs::read(writer.path()).unwrap();
        assert_eq!((writer.counters().events, writer.counters().bytes), (2, bytes.len() as u64));
        let frames = frames(&bytes);
        let version = Field::Bytes(b"brain.Event:2");
        assert_eq!(fields(frames[0]), [(1, Field::F64(1_700_000_000.5)), (3, version)]);
        let tag = Field::Bytes(b"loss/train");
        assert_eq!(summary(frames[1]), (300, vec![(1, tag), (2, Field::F32(0.25))]));
        let (step, value) = summary(frames[2]);
        let [(1, Field::Bytes(b"weights")), (5, Field::Bytes(proto))] = value[..] else {
            panic!("{value:?}")
        };
        assert_eq!(step, 1 << 40);
        let proto = fields(proto);
        let numbers = [0.0, 1.0, 4.0, 2.5, 2.25];
        for (field, number) in numbers.into_iter().enumerate() {
            assert_eq!(proto[field], (field as u64 + 1, Field::F64(number)));
        }
        let [(6, Field::Bytes(limits)), (7, Field::Bytes(counts))] = proto[5..] else {
            panic!("{proto:?}")
        };
        assert_eq!((doubles(limits), doubles(counts)), (vec![0.5, 1.0], vec![1.0, 3.0]));
    }

    #[test]
    fn the_masked_checksum_is_the_published_one() {
        // RFC 3720, appendix B.4: 32 bytes of zeros.
        assert_eq!(slow_crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(
            masked_crc(&[0; 32]),
            0x8a91_36aa_u32.rotate_right(15).wrapping_add(0xa282_ead8)
        );
    }

    #[test]
    fn a_full_file_drops_events_and_counts_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(dir.path(), WALL_NS, 200).unwrap();
        for step in 0..10 {
            writer.scalar("a", step, WALL_NS, 1.0).unwrap();
        }
        let counters = writer.counters();
        assert!(counters.events > 0 && counters.events + counters.dropped == 10, "{counters:?}");
        let bytes = std::fs::read(writer.path()).unwrap();
        assert!(bytes.len() <= 200);
        assert_eq!(frames(&bytes).len() as u64, counters.events + 1);
        let error = EventWriter::create(dir.path(), WALL_NS, 10).unwrap_err().to_string();
        assert_eq!(error, "tensorboard: max_bytes = 10, expected at least 40");
    }

    #[test]
    fn two_writers_of_one_second_have_two_files_and_bad_tags_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(dir.path(), WALL_NS, 1 << 20).unwrap();
        let second = EventWriter::create(dir.path(), WALL_NS, 1 << 20).unwrap();
        assert_ne!(writer.path(), second.path());
        let name = second.path().file_name().unwrap().to_string_lossy().into_owned();
        assert!(name.contains("tfevents.1700000000."), "{name}");
        for tag in [String::new(), "t".repeat(MAX_TAG_BYTES + 1)] {
            let refused = writer.scalar(&tag, 0, WALL_NS, 0.0);
            assert!(matches!(refused, Err(EventError::Tag { bytes, .. }) if bytes == tag.len()));
        }
        assert_eq!(writer.counters().events, 0);
    }

    proptest! {
        #[test]
        fn any_varint_is_read_back(value: u64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(varint(&mut &out[..]), value);
        }
    }
}
