//! Reader for the captures of a public collector: gzip text, one `<receive ns> <JSON>` per line.
//!
//! Invariants: streaming (one line in memory), a line is at most [`MAX_LINE_BYTES`] long, every error
//! names file and line. A capture whose end was torn off (the collector was killed) yields every whole
//! line and then [`CaptureError::TornTail`], which is a warning: what was read is good.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use thiserror::Error;

use crate::Venue;
use crate::binance::decode::{decode, is_snapshot};
use crate::binance::message::Message;

/// Longest line read; the same bound as a frame from the socket, plus its time.
pub const MAX_LINE_BYTES: usize = 16 * 1024 * 1024 + 32;

/// Most lines [`probe`] looks at.
pub const MAX_PROBE_LINES: usize = 10_000;

/// What a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureKind {
    /// A WebSocket frame.
    Frame,
    /// The body of a REST depth request.
    Snapshot,
}

/// One line of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureLine<'a> {
    /// The collector's receive time, ns since the epoch.
    pub ts_recv_ns: i64,
    /// What the bytes are.
    pub kind: CaptureKind,
    /// The JSON text.
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
    #[error("{} line {line}: damaged gzip data: {source}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line being read, counted from 1.
        line: u64,
        /// Why.
        source: io::Error,
    },
    /// A line without a receive time or without JSON.
    #[error("{} line {line}: expected \"<receive ns> <JSON object>\", found {found:?}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// How it begins.
        found: String,
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
    input: BufReader<MultiGzDecoder<BufReader<File>>>,
    line: Vec<u8>,
    lines_read: u64,
    finished: bool,
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
        let file = File::open(path)
            .map_err(|source| CaptureError::Io { path: path.to_owned(), source })?;
        let input = BufReader::with_capacity(1 << 17, MultiGzDecoder::new(BufReader::new(file)));
        Ok(Self { path: path.to_owned(), input, line: Vec::new(), lines_read: 0, finished: false })
    }

    /// The next line, or `None` at the end.
    ///
    /// # Errors
    /// See [`CaptureError`]. After any of them the reader is at its end.
    pub fn next_line(&mut self) -> Result<Option<CaptureLine<'_>>, CaptureError> {
        if self.finished {
            return Ok(None);
        }
        self.finished = true;
        match self.fill_line()? {
            Fill::End => return Ok(None),
            Fill::Torn => {
                let (path, lines) = (self.path.clone(), self.lines_read);
                return Err(CaptureError::TornTail { path, lines, lost_bytes: self.line.len() });
            }
            Fill::Line => self.lines_read += 1,
        }
        let Some((ts_recv_ns, start)) = split_time(&self.line) else {
            let head = &self.line[..self.line.len().min(40)];
            let found = String::from_utf8_lossy(head).into_owned();
            return Err(CaptureError::Malformed {
                path: self.path.clone(),
                line: self.lines_read,
                found,
            });
        };
        self.finished = false;
        let bytes = &self.line[start..];
        let kind = if is_snapshot(bytes) { CaptureKind::Snapshot } else { CaptureKind::Frame };
        Ok(Some(CaptureLine { ts_recv_ns, kind, bytes }))
    }

    /// How many whole lines were read.
    #[must_use]
    pub fn lines_read(&self) -> u64 {
        self.lines_read
    }

    /// Bytes of the compressed file read so far, ahead of the lines by a buffer.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        use std::io::Seek as _;
        let mut file = self.input.get_ref().get_ref().get_ref();
        file.stream_position().unwrap_or_default()
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

/// Receive time of a line and where its JSON starts.
fn split_time(line: &[u8]) -> Option<(i64, usize)> {
    let space = line.iter().position(|&byte| byte == b' ')?;
    let time = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    (line.get(space + 1) == Some(&b'{')).then_some((time, space + 1))
}

/// Longest symbol that [`probe`] believes; the venue's have under 40 bytes.
const MAX_SYMBOL_BYTES: usize = 64;

/// What a capture is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The venue, told by its frames: the times that depth updates and tops carry on futures only, and
    /// the form of COIN-M symbols. (The `ps` field tells nothing: since 2026 USD-M carries it too.)
    pub venue: Venue,
    /// The symbols seen, sorted.
    pub symbols: Vec<String>,
}

/// Tells venue and symbols of a capture from its first [`MAX_PROBE_LINES`] lines.
///
/// # Errors
/// The file cannot be read, or no line says what it is of. A torn tail is no error here.
pub fn probe(path: &Path) -> Result<Probe, CaptureError> {
    let mut reader = CaptureReader::open(path)?;
    let mut venue = Venue::BinanceSpot;
    let mut symbols: Vec<String> = Vec::new();
    for _ in 0..MAX_PROBE_LINES {
        let line = match reader.next_line() {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) if error.is_warning() => break,
            Err(error) => return Err(error),
        };
        let Some((line_venue, symbol)) = identify(line.bytes) else {
            continue;
        };
        if symbol.len() > MAX_SYMBOL_BYTES {
            continue;
        }
        // Every venue shows fewer of the telling fields on some frames, never more.
        venue = venue.max(line_venue);
        if let Err(at) = symbols.binary_search_by(|known| known.as_bytes().cmp(symbol)) {
            symbols.insert(at, String::from_utf8_lossy(symbol).into_owned());
        }
    }
    if symbols.is_empty() {
        return Err(CaptureError::Unrecognised { path: path.to_owned() });
    }
    Ok(Probe { venue, symbols })
}

/// Venue, as far as one frame tells it, and symbol.
fn identify(frame: &[u8]) -> Option<(Venue, &[u8])> {
    let (symbol, is_futures) = match decode(Venue::BinanceSpot, frame).ok()? {
        Message::Depth(depth) => (depth.symbol, depth.transact_ms.is_some()),
        Message::BookTicker(top) => (top.symbol, top.transact_ms.is_some()),
        Message::Trade(trade) => (trade.symbol, false),
        Message::Oracle(_) | Message::Ack(_) | Message::Ignored(_) => return None,
    };
    let venue = match (is_futures, is_coinm(symbol)) {
        (true, true) => Venue::BinanceCoinm,
        (true, false) => Venue::BinanceUsdm,
        (false, _) => Venue::BinanceSpot,
    };
    Some((venue, symbol))
}

/// COIN-M quotes in plain USD and names the contract: `BTCUSD_PERP`, `ETHUSD_260925`. USD-M delivery
/// contracts have a date too, but quote in a coin: `BTCUSDT_260925`.
fn is_coinm(symbol: &[u8]) -> bool {
    let underscore = symbol.iter().position(|&byte| byte == b'_');
    underscore.is_some_and(|at| symbol[..at].ends_with(b"USD"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

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
        let error = read_all(b"plain text, not gzip").1.unwrap();
        assert!(matches!(error, CaptureError::Damaged { line: 1, .. }), "{error}");
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
