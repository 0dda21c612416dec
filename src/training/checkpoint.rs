//! One checkpoint: everything a training run needs to go on as if it had never stopped.
//!
//! Invariants: [`Checkpoint::decode`] gives back what [`Checkpoint::encode`] was given, to the bit, or
//! an error; no damaged byte goes unnoticed (SHA-256 over all of them); nothing is allocated on the
//! word of a length that the file is too short for; the same checkpoint is the same bytes.
//!
//! ```text
//!  0  8  magic "PKCKPT\r\n"
//!  8  4  format version, u32
//! 12  4  length of the header, u32
//! 16  8  length of the whole file, u64
//! 24  …  header, JSON (UTF-8)
//!     …  sections: length of the name u16, kind u8 (0 bytes, 1 f32), payload bytes u64, name, payload
//! -32 32 SHA-256 of all bytes before
//! ```
//!
//! All integers and floats are little-endian. Numbers of the header that are floats are strings in
//! Rust's shortest exact notation (`"0.1"`, `"NaN"`), because JSON has no infinities and its readers
//! may round.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::run::spine::hex;

/// The version of the format that is written, and the only one that is read.
pub const FORMAT_VERSION: u32 = 1;

/// Largest file, bytes: the state of the largest network (1 M granule cells) is well below 1 GiB.
pub const MAX_FILE_BYTES: u64 = 4 << 30;

/// Largest header, bytes.
pub const MAX_HEADER_BYTES: usize = 1 << 20;

/// Most sections of a file.
pub const MAX_SECTIONS: usize = 4_096;

/// Longest name of a section, bytes.
pub const MAX_NAME_BYTES: usize = 256;

const MAGIC: &[u8; 8] = b"PKCKPT\r\n";
const PREAMBLE_BYTES: usize = 24;
const SECTION_BYTES: usize = 11;
const HASH_BYTES: usize = 32;

/// Differences of topologies told one by one.
const MAX_DIFFERENCES_TOLD: usize = 8;

/// Why a checkpoint cannot be written or used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
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
    /// The file is something else.
    #[error("{path}: not a checkpoint, expected it to start with \"PKCKPT\"")]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by another version of the format.
    #[error("{path}: format version {found}, expected {FORMAT_VERSION}")]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file ends too early.
    #[error("{path}: truncated at byte {bytes}, expected {expected}")]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes there are.
        bytes: u64,
        /// Bytes there should be; of a file shorter than its preamble, those of the preamble.
        expected: u64,
    },
    /// The file goes on after its end.
    #[error("{path}: {bytes} bytes, expected {expected}")]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes there are.
        bytes: u64,
        /// Bytes it says there should be.
        expected: u64,
    },
    /// The content is not what was written.
    #[error("{path}: SHA-256 {found}, expected {expected}: the file is damaged")]
    Hash {
        /// The file.
        path: PathBuf,
        /// Of the content.
        found: String,
        /// At the end of the file.
        expected: String,
    },
    /// The content is whole and yet against the format: its writer is wrong.
    #[error("{path}: {what}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        what: String,
    },
    /// The checkpoint is of another network or training.
    #[error("{path}: of another topology: {differences}")]
    Topology {
        /// The file.
        path: PathBuf,
        /// What differs.
        differences: String,
    },
    /// A section that is needed is not there or has another shape.
    #[error("{path}: section {name:?} {found}, expected {expected}")]
    Section {
        /// The file.
        path: PathBuf,
        /// Its name.
        name: String,
        /// What it is.
        found: String,
        /// What would have been accepted.
        expected: String,
    },
    /// A checkpoint is larger than the format allows.
    #[error("checkpoint: {what} is {value}, expected at most {max}")]
    Bound {
        /// Which measure.
        what: String,
        /// Its value.
        value: u64,
        /// Its bound.
        max: u64,
    },
}

/// What must be equal for a checkpoint to be taken up: sizes, seeds of the wiring, rules, presets.
/// Named values, so that a mismatch can say which of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Topology(BTreeMap<String, String>);

impl Topology {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more value; floats should be given with `{:?}`, which is exact.
    #[must_use]
    pub fn with(mut self, key: &str, value: &(impl ToString + ?Sized)) -> Self {
        self.0.insert(key.to_owned(), value.to_string());
        self
    }

    /// With every value of a configuration, nested tables under `prefix.key`.
    #[must_use]
    pub fn with_table(mut self, prefix: &str, table: &toml::Table) -> Self {
        for (key, value) in table {
            let key = format!("{prefix}.{key}");
            self = match value {
                toml::Value::Table(inner) => self.with_table(&key, inner),
                value => self.with(&key, &value.to_string()),
            };
        }
        self
    }

    /// The values whose keys begin with `prefix`.
    #[must_use]
    pub fn part(&self, prefix: &str) -> Self {
        let inside = self.0.iter().filter(|(key, _)| key.starts_with(prefix));
        Self(inside.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// With all values of another one.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// SHA-256 over keys and values with their lengths, as 64 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for text in self.0.iter().flat_map(|(key, value)| [key, value]) {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        hex(&hash.finalize())
    }

    /// What this one has otherwise than `expected`, in words; empty if they are equal.
    #[must_use]
    pub fn differences(&self, expected: &Self) -> String {
        let keys = self.0.keys().chain(expected.0.keys().filter(|k| !self.0.contains_key(*k)));
        let mut told = Vec::new();
        let mut more = 0;
        for key in keys {
            let difference = match (self.0.get(key), expected.0.get(key)) {
                (found, wanted) if found == wanted => continue,
                (Some(found), Some(wanted)) => format!("{key} is {found}, expected {wanted}"),
                (Some(found), None) => format!("{key} is {found}, expected none"),
                (_, wanted) => {
                    format!("{key} is absent, expected {}", wanted.map_or("", String::as_str))
                }
            };
            if told.len() < MAX_DIFFERENCES_TOLD {
                told.push(difference);
            } else {
                more += 1;
            }
        }
        if more > 0 {
            told.push(format!("and {more} more"));
        }
        told.join("; ")
    }
}

/// What a checkpoint says about itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Header {
    /// What the payload belongs to.
    pub topology: Topology,
    /// The seed of the run.
    pub seed: u64,
    /// Epochs completed.
    pub epoch: u64,
    /// Updates made.
    pub step: u64,
    /// Named figures, such as `validation.loss`; not finite ones are kept, too.
    pub metrics: BTreeMap<String, f64>,
}

/// The header as it is on file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredHeader {
    /// Of `topology`: for a reader that wants to compare and not to understand.
    fingerprint: String,
    topology: Topology,
    seed: u64,
    epoch: u64,
    step: u64,
    metrics: BTreeMap<String, String>,
}

/// One named part of the state.
#[derive(Clone, Debug, PartialEq)]
pub enum Section {
    /// Anything: states of generators, counters, other formats.
    Bytes(Vec<u8>),
    /// Weights, traces, moments of an optimiser. Bits are kept, those of a NaN included.
    F32(Vec<f32>),
}

impl Section {
    fn describe(&self) -> String {
        match self {
            Self::Bytes(bytes) => format!("is {} bytes", bytes.len()),
            Self::F32(values) => format!("is {} f32", values.len()),
        }
    }
}

/// A header and named sections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// What it says about itself.
    pub header: Header,
    sections: BTreeMap<String, Section>,
    /// Where it was read from, for messages.
    path: PathBuf,
}

impl Checkpoint {
    /// Without sections.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self { header, ..Self::default() }
    }

    /// Adds or replaces a section.
    pub fn put(&mut self, name: &str, section: Section) {
        self.sections.insert(name.to_owned(), section);
    }

    /// The names of the sections, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    /// Takes out a section of `len` floats.
    ///
    /// # Errors
    /// It is absent or something else.
    pub fn take_f32(&mut self, name: &str, len: usize) -> Result<Vec<f32>, CheckpointError> {
        match self.sections.remove(name) {
            Some(Section::F32(values)) if values.len() == len => Ok(values),
            other => Err(self.section_error(name, other.as_ref(), format!("{len} f32"))),
        }
    }

    /// Takes out a section of bytes.
    ///
    /// # Errors
    /// It is absent or something else.
    pub fn take_bytes(&mut self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        match self.sections.remove(name) {
            Some(Section::Bytes(bytes)) => Ok(bytes),
            other => Err(self.section_error(name, other.as_ref(), "bytes".into())),
        }
    }

    /// Takes out a section of exactly `N` bytes.
    ///
    /// # Errors
    /// It is absent or something else.
    pub fn take_bytes_of<const N: usize>(
        &mut self,
        name: &str,
    ) -> Result<[u8; N], CheckpointError> {
        let bytes = self.take_bytes(name)?;
        <[u8; N]>::try_from(bytes).map_err(|bytes| {
            self.section_error(name, Some(&Section::Bytes(bytes)), format!("{N} bytes"))
        })
    }

    /// Refuses a checkpoint of something else.
    ///
    /// # Errors
    /// The topologies differ; the message says in what.
    pub fn expect_topology(&self, expected: &Topology) -> Result<(), CheckpointError> {
        self.expect_part("", expected)
    }

    /// Refuses a checkpoint whose values under `prefix` are not those of `expected`.
    ///
    /// # Errors
    /// They differ; the message says in what.
    pub fn expect_part(&self, prefix: &str, expected: &Topology) -> Result<(), CheckpointError> {
        let differences = self.header.topology.part(prefix).differences(expected);
        if differences.is_empty() {
            return Ok(());
        }
        Err(CheckpointError::Topology { path: self.path.clone(), differences })
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// A bound of the format is exceeded.
    pub fn encode(&self) -> Result<Vec<u8>, CheckpointError> {
        let exact = |value: &f64| format!("{value:?}");
        let stored = StoredHeader {
            fingerprint: self.header.topology.fingerprint(),
            topology: self.header.topology.clone(),
            seed: self.header.seed,
            epoch: self.header.epoch,
            step: self.header.step,
            metrics: self.header.metrics.iter().map(|(k, v)| (k.clone(), exact(v))).collect(),
        };
        let header = serde_json::to_vec(&stored)
            .map_err(|e| self.malformed(format!("the header cannot be written: {e}")))?;
        bound("header bytes", header.len() as u64, MAX_HEADER_BYTES as u64)?;
        bound("number of sections", self.sections.len() as u64, MAX_SECTIONS as u64)?;
        let mut total = (PREAMBLE_BYTES + header.len() + HASH_BYTES) as u64;
        for (name, section) in &self.sections {
            bound("length of a section's name", name.len() as u64, MAX_NAME_BYTES as u64)?;
            total += SECTION_BYTES as u64 + name.len() as u64 + payload_bytes(section);
        }
        bound("file bytes", total, MAX_FILE_BYTES)?;

        let mut out = Vec::with_capacity(total as usize);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&(header.len() as u32).to_le_bytes());
        out.extend_from_slice(&total.to_le_bytes());
        out.extend_from_slice(&header);
        for (name, section) in &self.sections {
            out.extend_from_slice(&(name.len() as u16).to_le_bytes());
            out.push(u8::from(matches!(section, Section::F32(_))));
            out.extend_from_slice(&payload_bytes(section).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
            match section {
                Section::Bytes(bytes) => out.extend_from_slice(bytes),
                Section::F32(values) => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            }
        }
        let hash = Sha256::digest(&out);
        out.extend_from_slice(&hash);
        debug_assert_eq!(out.len() as u64, total);
        Ok(out)
    }

    /// The checkpoint that `bytes`, the content of `path`, hold.
    ///
    /// # Errors
    /// They are not all of a checkpoint of this version.
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let header_bytes = check_preamble(path, bytes, bytes.len() as u64)?;
        let (content, expected) = bytes.split_at(bytes.len() - HASH_BYTES);
        let found = Sha256::digest(content);
        if found[..] != *expected {
            return Err(CheckpointError::Hash {
                path: path.to_owned(),
                found: hex(&found),
                expected: hex(expected),
            });
        }
        let mut checkpoint = Self { path: path.to_owned(), ..Self::default() };
        let body = &content[PREAMBLE_BYTES..];
        let Some((header, mut rest)) = body.split_at_checked(header_bytes) else {
            let left = body.len();
            let what = format!("the header has {header_bytes} bytes, expected at most {left}");
            return Err(checkpoint.malformed(what));
        };
        checkpoint.header = checkpoint.read_header(header)?;
        while !rest.is_empty() {
            if checkpoint.sections.len() == MAX_SECTIONS {
                return Err(
                    checkpoint.malformed(format!("more than {MAX_SECTIONS} sections, its bound"))
                );
            }
            rest = checkpoint.read_section(rest)?;
        }
        Ok(checkpoint)
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// The system refuses, or the file is not all of a checkpoint of this version.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let io =
            |action| move |source| CheckpointError::Io { path: path.to_owned(), action, source };
        let mut file = std::fs::File::open(path).map_err(io("open"))?;
        let len = file.metadata().map_err(io("look at"))?.len();
        let mut bytes = Vec::new();
        file.by_ref().take(PREAMBLE_BYTES as u64).read_to_end(&mut bytes).map_err(io("read"))?;
        // What is no checkpoint is told without reading all of it.
        check_preamble(path, &bytes, len)?;
        bytes.reserve_exact(len as usize - bytes.len());
        // The length was looked at before: a file that grows meanwhile is read no further.
        file.take(len - bytes.len() as u64).read_to_end(&mut bytes).map_err(io("read"))?;
        Self::decode(path, &bytes)
    }

    fn read_header(&self, json: &[u8]) -> Result<Header, CheckpointError> {
        let stored: StoredHeader = serde_json::from_slice(json)
            .map_err(|e| self.malformed(format!("the header cannot be read: {e}")))?;
        let found = stored.topology.fingerprint();
        if found != stored.fingerprint {
            let expected = stored.fingerprint;
            return Err(self.malformed(format!("fingerprint {expected}, expected {found}")));
        }
        let metric = |(name, text): (String, String)| match text.parse() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(self.malformed(format!("metric {name} is {text:?}, expected a number"))),
        };
        Ok(Header {
            topology: stored.topology,
            seed: stored.seed,
            epoch: stored.epoch,
            step: stored.step,
            metrics: stored.metrics.into_iter().map(metric).collect::<Result<_, _>>()?,
        })
    }

    /// Reads one section off the front of `bytes` and returns what follows it.
    fn read_section<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], CheckpointError> {
        let number = self.sections.len() + 1;
        let short = || self.malformed(format!("section {number} goes beyond the end of the file"));
        let (frame, rest) = bytes.split_first_chunk::<SECTION_BYTES>().ok_or_else(short)?;
        let [n0, n1, kind, payload @ ..] = *frame;
        let name_bytes = usize::from(u16::from_le_bytes([n0, n1]));
        let payload_bytes = usize::try_from(u64::from_le_bytes(payload)).unwrap_or(usize::MAX);
        let (name, rest) = rest.split_at_checked(name_bytes).ok_or_else(short)?;
        let (payload, rest) = rest.split_at_checked(payload_bytes).ok_or_else(short)?;
        let name = String::from_utf8_lossy(name).into_owned();
        let section = match kind {
            0 => Section::Bytes(payload.to_vec()),
            1 if payload.len() % 4 == 0 => {
                let (values, _) = payload.as_chunks::<4>();
                Section::F32(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
            }
            1 => {
                let what = format!("section {name:?} of f32 has {payload_bytes} bytes");
                return Err(self.malformed(format!("{what}, expected a multiple of 4")));
            }
            other => {
                let what = format!("section {name:?} is of kind {other}, expected 0 or 1");
                return Err(self.malformed(what));
            }
        };
        if self.sections.insert(name.clone(), section).is_some() {
            return Err(self.malformed(format!("section {name:?} is there twice")));
        }
        Ok(rest)
    }

    fn malformed(&self, what: String) -> CheckpointError {
        CheckpointError::Malformed { path: self.path.clone(), what }
    }

    fn section_error(
        &self,
        name: &str,
        found: Option<&Section>,
        expected: String,
    ) -> CheckpointError {
        CheckpointError::Section {
            path: self.path.clone(),
            name: name.to_owned(),
            found: found.map_or_else(|| "is absent".into(), Section::describe),
            expected,
        }
    }
}

fn payload_bytes(section: &Section) -> u64 {
    match section {
        Section::Bytes(bytes) => bytes.len() as u64,
        Section::F32(values) => 4 * values.len() as u64,
    }
}

fn bound(what: &str, value: u64, max: u64) -> Result<(), CheckpointError> {
    if value > max {
        return Err(CheckpointError::Bound { what: what.to_owned(), value, max });
    }
    Ok(())
}

/// Judges the first bytes of a file of `len` bytes; returns the length of the header.
fn check_preamble(path: &Path, bytes: &[u8], len: u64) -> Result<usize, CheckpointError> {
    let path = || path.to_owned();
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        return Err(CheckpointError::NotACheckpoint { path: path() });
    }
    let truncated = |expected| CheckpointError::Truncated { path: path(), bytes: len, expected };
    let Some((preamble, _)) = bytes.split_first_chunk::<PREAMBLE_BYTES>() else {
        return Err(truncated(PREAMBLE_BYTES as u64));
    };
    let [_, _, _, _, _, _, _, _, v0, v1, v2, v3, h0, h1, h2, h3, total @ ..] = *preamble;
    let found = u32::from_le_bytes([v0, v1, v2, v3]);
    if found != FORMAT_VERSION {
        return Err(CheckpointError::Version { path: path(), found });
    }
    let header_bytes = u32::from_le_bytes([h0, h1, h2, h3]) as usize;
    let expected = u64::from_le_bytes(total);
    if len < expected {
        return Err(truncated(expected));
    }
    if len > expected {
        return Err(CheckpointError::TooLong { path: path(), bytes: len, expected });
    }
    let least = (PREAMBLE_BYTES + HASH_BYTES) as u64;
    let what = if expected < least {
        format!("says it has {expected} bytes, expected at least {least}")
    } else if expected > MAX_FILE_BYTES {
        format!("says it has {expected} bytes, expected at most {MAX_FILE_BYTES}")
    } else if header_bytes > MAX_HEADER_BYTES {
        format!("the header has {header_bytes} bytes, expected at most {MAX_HEADER_BYTES}")
    } else {
        return Ok(header_bytes);
    };
    Err(CheckpointError::Malformed { path: path(), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(in crate::training) fn topology() -> Topology {
        Topology::new().with("granule.cells", &4000).with("seed", &7).with("sparsity", "0.05")
    }

    fn small() -> Checkpoint {
        let metrics = [("loss", 0.1 + 0.2), ("best", f64::NEG_INFINITY)];
        let mut checkpoint = Checkpoint::new(Header {
            topology: topology(),
            seed: u64::MAX,
            epoch: 3,
            step: 1 << 60,
            metrics: metrics.map(|(k, v)| (k.to_owned(), v)).into(),
        });
        checkpoint.put("weights", Section::F32(vec![0.1, -0.0, f32::MIN_POSITIVE / 2.0, 1e38]));
        checkpoint.put("rng", Section::Bytes((0..=9).collect()));
        checkpoint.put("empty", Section::F32(Vec::new()));
        checkpoint
    }

    fn decode(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
        Checkpoint::decode(Path::new("c"), bytes)
    }

    #[test]
    fn what_is_read_is_what_was_written_to_the_bit() {
        let odd_nan = f32::from_bits(0x7fc0_1234);
        let mut checkpoint = small();
        checkpoint.put("nan", Section::F32(vec![odd_nan]));
        let bytes = checkpoint.encode().unwrap();
        let mut read = decode(&bytes).unwrap();
        assert_eq!(read.encode().unwrap(), bytes);
        assert_eq!(read.header, checkpoint.header);
        assert_eq!(read.names().collect::<Vec<_>>(), ["empty", "nan", "rng", "weights"]);
        assert_eq!(read.take_f32("nan", 1).unwrap()[0].to_bits(), 0x7fc0_1234);
        let weights = read.take_f32("weights", 4).unwrap();
        assert_eq!(weights[1].to_bits(), (-0.0_f32).to_bits());
        assert_eq!(weights[2], f32::MIN_POSITIVE / 2.0, "a subnormal number");
        assert_eq!(read.take_bytes("rng").unwrap(), (0..=9).collect::<Vec<_>>());
        assert!(read.take_f32("empty", 0).unwrap().is_empty());
        assert_eq!(read.header.metrics["loss"].to_bits(), (0.1_f64 + 0.2).to_bits());
    }

    #[test]
    fn a_file_cut_at_any_byte_is_refused_and_says_where() {
        let bytes = small().encode().unwrap();
        for n in 0..bytes.len() {
            let expected = if n < PREAMBLE_BYTES { PREAMBLE_BYTES } else { bytes.len() };
            let error = decode(&bytes[..n]).unwrap_err().to_string();
            assert_eq!(error, format!("c: truncated at byte {n}, expected {expected}"));
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(decode(&longer), Err(CheckpointError::TooLong { .. })));
    }

    #[test]
    fn a_flip_of_any_single_bit_is_noticed() {
        let bytes = small().encode().unwrap();
        for bit in 0..8 * bytes.len() {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = decode(&damaged).unwrap_err();
            let is_apt = match bit / 8 {
                0..8 => matches!(error, CheckpointError::NotACheckpoint { .. }),
                8..12 => matches!(error, CheckpointError::Version { .. }),
                12..16 => matches!(
                    error,
                    CheckpointError::Hash { .. } | CheckpointError::Malformed { .. }
                ),
                16..24 => matches!(
                    error,
                    CheckpointError::Truncated { .. } | CheckpointError::TooLong { .. }
                ),
                _ => matches!(error, CheckpointError::Hash { .. }),
            };
            assert!(is_apt, "bit {bit}: {error}");
        }
    }

    /// A file with a valid hash around this content.
    fn sealed(header: &[u8], sections: &[u8]) -> Vec<u8> {
        let total = (PREAMBLE_BYTES + header.len() + sections.len() + HASH_BYTES) as u64;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT_VERSION.to_le_bytes());
        bytes.extend((header.len() as u32).to_le_bytes());
        bytes.extend(total.to_le_bytes());
        bytes.extend_from_slice(header);
        bytes.extend_from_slice(sections);
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        bytes
    }

    #[test]
    fn whole_files_against_the_format_say_what_is_wrong() {
        let whole = small().encode().unwrap();
        let header_bytes = u32::from_le_bytes(whole[12..16].try_into().unwrap()) as usize;
        let header = &whole[PREAMBLE_BYTES..PREAMBLE_BYTES + header_bytes];
        assert!(decode(&sealed(header, &[])).is_ok(), "the rig makes valid files");
        let section = |kind: u8, payload_bytes: u64, payload: &[u8]| {
            let size = payload_bytes.to_le_bytes();
            [&[1, 0, kind][..], &size[..], b"w", payload].concat()
        };
        let twice = [section(0, 1, &[5]), section(0, 1, &[6])].concat();
        for (sections, expected) in [
            (section(2, 0, &[]), "c: section \"w\" is of kind 2, expected 0 or 1"),
            (
                section(1, 3, &[0; 3]),
                "c: section \"w\" of f32 has 3 bytes, expected a multiple of 4",
            ),
            (section(0, u64::MAX, &[]), "c: section 1 goes beyond the end of the file"),
            (vec![9; 5], "c: section 1 goes beyond the end of the file"),
            (twice, "c: section \"w\" is there twice"),
        ] {
            let error = decode(&sealed(header, &sections)).unwrap_err().to_string();
            assert_eq!(error, expected);
        }
        let error = decode(&sealed(b"{}", &[])).unwrap_err().to_string();
        assert!(error.starts_with("c: the header cannot be read: missing field"), "{error}");
        let text = String::from_utf8(header.to_vec()).unwrap();
        let error = decode(&sealed(text.replace("4000", "4001").as_bytes(), &[])).unwrap_err();
        assert!(error.to_string().starts_with("c: fingerprint "), "{error}");
    }

    #[test]
    fn another_topology_is_refused_with_the_names_of_what_differs() {
        let checkpoint = decode(&small().encode().unwrap()).unwrap();
        checkpoint.expect_topology(&topology()).unwrap();
        let other =
            Topology::new().with("granule.cells", &8000).with("seed", &7).with("rule", "STDP");
        assert_ne!(other.fingerprint(), topology().fingerprint());
        let error = checkpoint.expect_topology(&other).unwrap_err().to_string();
        assert_eq!(
            error,
            "c: of another topology: granule.cells is 4000, expected 8000; sparsity is 0.05, \
             expected none; rule is absent, expected STDP"
        );
    }

    #[test]
    fn a_section_of_another_shape_is_refused_by_name() {
        let mut checkpoint = decode(&small().encode().unwrap()).unwrap();
        let error = checkpoint.take_f32("weights", 5).unwrap_err().to_string();
        assert_eq!(error, "c: section \"weights\" is 4 f32, expected 5 f32");
        let error = checkpoint.take_bytes("absent").unwrap_err().to_string();
        assert_eq!(error, "c: section \"absent\" is absent, expected bytes");
        let error = checkpoint.take_f32("rng", 10).unwrap_err().to_string();
        assert_eq!(error, "c: section \"rng\" is 10 bytes, expected 10 f32");
    }

    #[test]
    fn a_checkpoint_beyond_a_bound_is_not_written() {
        let mut checkpoint = small();
        checkpoint.put(&"n".repeat(MAX_NAME_BYTES + 1), Section::Bytes(Vec::new()));
        let error = checkpoint.encode().unwrap_err().to_string();
        assert_eq!(error, "checkpoint: length of a section's name is 257, expected at most 256");
    }

    #[test]
    fn files_that_are_not_checkpoints_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let absent = Checkpoint::read(&path).unwrap_err();
        assert!(matches!(absent, CheckpointError::Io { action: "open", .. }), "{absent}");
        std::fs::write(&path, "{\"a\": 1}, which is JSON and long enough").unwrap();
        let other = Checkpoint::read(&path).unwrap_err();
        assert!(matches!(other, CheckpointError::NotACheckpoint { .. }), "{other}");
        let bytes = small().encode().unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let short = Checkpoint::read(&path).unwrap_err();
        assert!(matches!(short, CheckpointError::Truncated { .. }), "{short}");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Checkpoint::read(&path).unwrap().encode().unwrap(), bytes);
    }
}
