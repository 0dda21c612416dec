//! Reader for the captures of public collectors: lines of text, compressed, one WebSocket frame each.
//!
//! Invariants: streaming (one line in memory), a line is at most [`MAX_LINE_BYTES`] long, every error
//! names file and line. A capture whose end was torn off (the collector was killed) yields every whole
//! line and then [`CaptureError::TornTail`], which is a warning: what was read is good.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::bufread::MultiGzDecoder;
use thiserror::Error;

mod line;
mod probe;

pub use line::CaptureFormat;
use line::{Body, Said, split, unescape};
pub use probe::{Probe, probe};

use crate::binance::decode::is_snapshot;

/// Longest line read; the same bound as a frame from the socket, plus its time.
pub const MAX_LINE_BYTES: usize = 16 * 1024 * 1024 + 32;

/// Most lines [`probe`] looks at.
pub const MAX_PROBE_LINES: usize = 10_000;

/// Most connections of one capture.
pub const MAX_CONNECTIONS: usize = 256;

/// What a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureKind {
    /// A WebSocket frame.
    Frame,
    /// The body of a REST depth request, where the format does not say for which address.
    Snapshot,
    /// A connection was opened.
    Connected,
    /// A text the collector sent.
    Sent,
    /// The body of a REST answer.
    Http,
}

/// One line of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureLine<'a> {
    /// The collector's receive time, ns since the epoch.
    pub ts_recv_ns: i64,
    /// What the bytes are.
    pub kind: CaptureKind,
    /// Which connection, counted in order of appearance; 0 where the format does not say.
    pub connection: u16,
    /// Where it went to or came from; empty where the line does not say.
    pub address: &'a [u8],
    /// The frame, request or answer; the address of a connection.
    pub bytes: &'a [u8],
}

/// Why a capture could not be read.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// The file could not be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The compressed data is damaged in the middle.
    #[error("{} line {line}: damaged compressed data: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line being read, counted from 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// A line that is not of the capture's format.
    #[error("{} line {line}: expected a line of a collector's capture (\"<receive time> <JSON>\"), found {found:?}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// How it begins.
        found: String,
    },
    /// More connections than [`MAX_CONNECTIONS`].
    #[error("{} line {line}: more than {MAX_CONNECTIONS} connections", path.display())]
    TooManyConnections {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
    },
    /// A line longer than [`MAX_LINE_BYTES`].
    #[error("{} line {line} is longer than {MAX_LINE_BYTES} bytes", path.display())]
    LineTooLong {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
    },
    /// The end of the file was torn off: a warning, every whole line before it was read.
    #[error("{}: torn after line {lines}, {lost_bytes} bytes of a further line dropped", path.display())]
    TornTail {
        /// The file.
        path: PathBuf,
        /// How many whole lines were read.
        lines: u64,
        /// Length of the part of a line that followed.
        lost_bytes: usize,
    },
    /// No line says which venue and instrument the capture is of.
    #[error("{}: no depth, top or trade frame in the first {MAX_PROBE_LINES} lines", path.display())]
    Unrecognised {
        /// The file.
        path: PathBuf,
    },
}

impl CaptureError {
    /// Whether everything that was read is good nevertheless.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        matches!(self, Self::TornTail { .. })
    }
}

/// Reads a capture line by line.
pub struct CaptureReader {
    path: PathBuf,
    input: BufReader<Counted>,
    bytes_total: u64,
    format: Option<CaptureFormat>,
    line: Vec<u8>,
    unescaped: Vec<u8>,
    /// Names of the connections seen.
    connections: Vec<Vec<u8>>,
    lines_read: u64,
    finished: bool,
}

/// A decompressor over a file whose compressed bytes are counted.
struct Counted {
    source: Box<dyn Read + Send>,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.source.read(buf)
    }
}

/// Counts the bytes taken from a file.
struct Counter {
    file: File,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counter {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(buf)?;
        self.bytes_read.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

impl Counted {
    /// Looks at the first bytes for the compression: gzip (several members), zstd or none.
    fn open(path: &Path) -> io::Result<Self> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let counter = Counter { file: File::open(path)?, bytes_read: Arc::clone(&bytes_read) };
        let mut input = BufReader::with_capacity(1 << 16, counter);
        let source: Box<dyn Read + Send> = match input.fill_buf()? {
            [0x1F, 0x8B, ..] => Box::new(MultiGzDecoder::new(input)),
            [0x28, 0xB5, 0x2F, 0xFD, ..] => {
                Box::new(zstd::stream::read::Decoder::with_buffer(input)?)
            }
            _ => Box::new(input),
        };
        Ok(Self { source, bytes_read })
    }
}

/// How far [`CaptureReader::fill_line`] came.
enum Fill {
    Line,
    End,
    Torn,
}

impl std::fmt::Debug for CaptureReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CaptureReader").finish_non_exhaustive()
    }
}

impl CaptureReader {
    /// Opens a capture.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let io_error = |source| CaptureError::Io { path: path.to_owned(), source };
        let source = Counted::open(path).map_err(io_error)?;
        let bytes_total = path.metadata().map_err(io_error)?.len();
        Ok(Self {
            path: path.to_owned(),
            input: BufReader::with_capacity(1 << 17, source),
            bytes_total,
            format: None,
            line: Vec::new(),
            unescaped: Vec::new(),
            connections: Vec::new(),
            lines_read: 0,
            finished: false,
        })
    }

    /// The next line, or `None` at the end. Headings are passed over.
    ///
    /// # Errors
    /// See [`CaptureError`]. After any of them the reader is at its end.
    pub fn next_line(&mut self) -> Result<Option<CaptureLine<'_>>, CaptureError> {
        if self.finished {
            return Ok(None);
        }
        self.finished = true;
        loop {
            match self.fill_line()? {
                Fill::End => return Ok(None),
                Fill::Torn => {
                    let (path, lines) = (self.path.clone(), self.lines_read);
                    return Err(CaptureError::TornTail {
                        path,
                        lines,
                        lost_bytes: self.line.len(),
                    });
                }
                Fill::Line => self.lines_read += 1,
            }
            let format = match self.format {
                Some(format) => format,
                None => CaptureFormat::of(&self.line).ok_or_else(|| self.malformed())?,
            };
            self.format = Some(format);
            match split(format, &self.line) {
                Some(Said::Heading) => {}
                Some(Said::Item(_)) => break,
                None => return Err(self.malformed()),
            }
        }
        // Split again: the loop cannot lend the line out.
        let Some((format, Said::Item(parts))) =
            self.format.and_then(|format| Some((format, split(format, &self.line)?)))
        else {
            return Err(self.malformed());
        };
        let known = self.connections.iter().position(|name| name == parts.connection);
        let connection = match known {
            Some(index) => index,
            None if self.connections.len() < MAX_CONNECTIONS => {
                self.connections.push(parts.connection.to_vec());
                self.connections.len() - 1
            }
            None => {
                let (path, line) = (self.path.clone(), self.lines_read);
                return Err(CaptureError::TooManyConnections { path, line });
            }
        };
        let bytes = match parts.body {
            Body::Plain(bytes) => bytes,
            Body::Escaped(raw) => {
                unescape(raw, &mut self.unescaped).ok_or_else(|| self.malformed())?;
                &self.unescaped
            }
        };
        self.finished = false;
        let is_body = format == CaptureFormat::Hftbacktest && is_snapshot(bytes);
        let kind = if is_body { CaptureKind::Snapshot } else { parts.kind };
        let (ts_recv_ns, address) = (parts.ts_recv_ns, parts.address);
        Ok(Some(CaptureLine { ts_recv_ns, kind, connection: connection as u16, address, bytes }))
    }

    /// The format, once a line was read.
    #[must_use]
    pub fn format(&self) -> Option<CaptureFormat> {
        self.format
    }

    /// Bytes of the compressed file taken so far, and in all.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.input.get_ref().bytes_read.load(Ordering::Relaxed), self.bytes_total)
    }

    fn malformed(&self) -> CaptureError {
        let head = &self.line[..self.line.len().min(40)];
        let found = String::from_utf8_lossy(head).into_owned();
        CaptureError::Malformed { path: self.path.clone(), line: self.lines_read, found }
    }

    /// How many whole lines were read.
    #[must_use]
    pub fn lines_read(&self) -> u64 {
        self.lines_read
    }

    /// Reads up to the next line feed into `self.line`, without it.
    fn fill_line(&mut self) -> Result<Fill, CaptureError> {
        self.line.clear();
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Fill::Torn),
                Err(source) => return Err(self.read_error(source)),
            };
            if chunk.is_empty() {
                // The collector ends every line, so an unfinished one was cut.
                let is_clean = self.line.is_empty();
                return Ok(if is_clean { Fill::End } else { Fill::Torn });
            }
            let newline = chunk.iter().position(|&byte| byte == b'\n');
            let taken = newline.unwrap_or(chunk.len());
            if self.line.len() + taken > MAX_LINE_BYTES {
                let line = self.lines_read + 1;
                return Err(CaptureError::LineTooLong { path: self.path.clone(), line });
            }
            self.line.extend_from_slice(&chunk[..taken]);
            self.input.consume(taken + usize::from(newline.is_some()));
            if newline.is_some() {
                return Ok(Fill::Line);
            }
        }
    }

    fn read_error(&self, source: io::Error) -> CaptureError {
        let path = self.path.clone();
        match source.kind() {
            ErrorKind::InvalidData | ErrorKind::InvalidInput => {
                CaptureError::Damaged { path, line: self.lines_read + 1, source }
            }
            _ => CaptureError::Io { path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::Venue;

    const TOP: &str =
        r#"{"stream":"x@bookTicker","data":{"u":1,"s":"X","b":"1","B":"1","a":"2","A":"1"}}"#;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    /// Times of the lines read, and the error that ended the reading.
    fn read_all(bytes: &[u8]) -> (Vec<i64>, Option<CaptureError>) {
        let file = file(bytes);
        let mut reader = CaptureReader::open(file.path()).unwrap();
        let mut times = Vec::new();
        loop {
            match reader.next_line() {
                Ok(Some(line)) => times.push(line.ts_recv_ns),
                Ok(None) => return (times, None),
                Err(error) => {
                    assert!(reader.next_line().unwrap().is_none(), "an error ends the reading");
                    return (times, Some(error));
                }
            }
        }
    }

    #[test]
    fn lines_are_read_across_gzip_members_and_told_apart() {
        let snapshot = r#"{"lastUpdateId":1,"bids":[],"asks":[]}"#;
        let bytes = [gzip(&format!("1 {TOP}\n")), gzip(&format!("2 {snapshot}\n"))].concat();
        let file = file(&bytes);
        let mut reader = CaptureReader::open(file.path()).unwrap();
        let first = reader.next_line().unwrap().unwrap();
        assert_eq!((first.ts_recv_ns, first.kind), (1, CaptureKind::Frame));
        assert_eq!(first.bytes, TOP.as_bytes());
        let second = reader.next_line().unwrap().unwrap();
        assert_eq!((second.ts_recv_ns, second.kind), (2, CaptureKind::Snapshot));
        assert!(reader.next_line().unwrap().is_none());
        assert_eq!(reader.lines_read(), 2);
    }

    #[test]
    fn a_capture_torn_at_any_byte_yields_its_whole_lines_and_a_warning() {
        // Incompressible enough that the lines spread over the file.
        let line = |i: u64| format!("{i} {{\"x\":{}}}\n", i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let text = (0..200).map(line).collect::<Vec<_>>().concat();
        let whole = gzip(&text);
        assert!(read_all(&whole).1.is_none());
        let mut most = 0;
        for end in (1..whole.len()).step_by(13) {
            let (times, error) = read_all(&whole[..end]);
            assert_eq!(times, (0..times.len() as i64).collect::<Vec<_>>());
            let error = error.unwrap();
            assert!(error.is_warning(), "{end}: {error}");
            assert!(
                matches!(error, CaptureError::TornTail { lines, .. } if lines == times.len() as u64)
            );
            most = most.max(times.len());
        }
        assert!(most > 100, "only {most} of 200 lines were ever recovered");
    }

    #[test]
    fn damage_and_foreign_lines_are_errors_that_name_the_line() {
        let error = read_all(&gzip(&format!("1 {TOP}\nnot a line\n"))).1.unwrap();
        assert!(!error.is_warning());
        assert!(error.to_string().contains("line 2"), "{error}");
        let mut bad = gzip(&format!("1 {TOP}\n"));
        bad[12] ^= 0xFF;
        let error = read_all(&bad).1.unwrap();
        assert!(matches!(error, CaptureError::Damaged { line: 1, .. }), "{error}");
        let error = read_all(b"plain text\n").1.unwrap();
        assert!(matches!(error, CaptureError::Malformed { line: 1, .. }), "{error}");
        assert!(matches!(
            CaptureReader::open(Path::new("/nonexistent/capture.gz")),
            Err(CaptureError::Io { .. })
        ));
    }

    #[test]
    fn the_symbol_tells_coin_margined_futures_from_the_others() {
        let top = |symbol: &str| {
            format!(
                r#"{{"e":"bookTicker","u":1,"s":"{symbol}","ps":"X","st":2,"b":"1","B":"1","a":"2","A":"1","T":1,"E":1}}"#
            )
        };
        for (symbol, venue) in [
            ("BTCUSD_PERP", Venue::BinanceCoinm),
            ("ETHUSD_260925", Venue::BinanceCoinm),
            ("BTCUSDT", Venue::BinanceUsdm),
            ("BTCUSDT_260925", Venue::BinanceUsdm),
            ("ETHUSDC", Venue::BinanceUsdm),
        ] {
            let found = probe(file(&gzip(&format!("1 {}\n", top(symbol)))).path()).unwrap();
            assert_eq!((found.venue, found.symbols), (venue, vec![symbol.to_owned()]));
        }
        let endless = file(&gzip(&format!("1 {}\n", top(&"X".repeat(65)))));
        assert!(matches!(probe(endless.path()), Err(CaptureError::Unrecognised { .. })));
    }

    #[test]
    fn a_capture_without_market_data_is_not_recognised() {
        let file = file(&gzip("1 {\"result\":null,\"id\":1}\n"));
        assert!(matches!(probe(file.path()), Err(CaptureError::Unrecognised { .. })));
    }
}
