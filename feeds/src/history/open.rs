//! Which format a file has, told by how it begins; the name decides only where the content cannot.
//!
//! Order matters: magic numbers, then headings, then the shape of the first row.

use std::path::Path;
use std::sync::Arc;

use super::binance_trades::{self, BinanceTradesReader};
use super::bitstamp_log::{self, BitstampLogReader};
use super::capture::CaptureHistory;
use super::gdax::{self, GdaxReader};
use super::gdax_export::{self, GdaxExportReader};
use super::lean::{self, LeanReader};
use super::lobster::LobsterReader;
use super::tardis::{self, TardisReader};
use super::{HistoryError, HistoryReader, Progress, input, lines, name};
use crate::session::SessionCounters;
use crate::{InstrumentTable, MarketEvent, Venue};

/// What a file can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Tardis,
    Databento,
    Lobster,
    Lean(lean::Kind),
    BitstampLog,
    BinanceTrades,
    GdaxChanges,
    GdaxSnapshot,
    GdaxExport,
    /// A venue's own messages, as collectors of several kinds wrote them.
    Capture,
    /// Recognised, not read: what it is and why not.
    Refused(&'static str, &'static str),
}

/// Opens a historical file, whatever its format.
///
/// # Errors
/// The file cannot be read, is of no known format or of one that is not supported, or its head is not
/// what the format says.
pub fn open(path: &Path) -> Result<Box<dyn HistoryReader>, HistoryError> {
    let head = input::head(path)?;
    let Some(format) = tell(path, &head) else {
        return Err(HistoryError::Unrecognised {
            path: path.to_owned(),
            head: lines::shown(&head),
        });
    };
    Ok(match format {
        Format::Tardis => fuse(TardisReader::open(path)?),
        Format::Databento => databento(path)?,
        Format::Lobster => fuse(LobsterReader::open(path)?),
        Format::Lean(kind) => fuse(LeanReader::open(path, kind)?),
        Format::BitstampLog => fuse(BitstampLogReader::open(path)?),
        Format::BinanceTrades => fuse(BinanceTradesReader::open(path)?),
        Format::GdaxChanges => fuse(GdaxReader::open_changes(path)?),
        Format::GdaxSnapshot => fuse(GdaxReader::open_snapshot(path)?),
        Format::GdaxExport => fuse(GdaxExportReader::open(path)?),
        Format::Capture => fuse(CaptureHistory::open(path)?),
        Format::Refused(what, why) => {
            let what = what.to_owned();
            return Err(HistoryError::Unsupported { path: path.to_owned(), what, why });
        }
    })
}

#[cfg(feature = "databento")]
fn databento(path: &Path) -> Result<Box<dyn HistoryReader>, HistoryError> {
    Ok(fuse(super::databento::DatabentoReader::open(path)?))
}

#[cfg(not(feature = "databento"))]
fn databento(path: &Path) -> Result<Box<dyn HistoryReader>, HistoryError> {
    let (what, why) = ("Databento DBN".to_owned(), "it was built without the feature `databento`");
    Err(HistoryError::Unsupported { path: path.to_owned(), what, why })
}

/// The format of a file that begins with `head`.
fn tell(path: &Path, head: &[u8]) -> Option<Format> {
    if head.starts_with(b"DBN") {
        return Some(Format::Databento);
    }
    if head.starts_with(b"PKREC\0") {
        return Some(Format::Refused(
            "a recording of purkinje",
            "it is no foreign format: replay it",
        ));
    }
    let row = head.split(|&byte| byte == b'\n').next()?;
    let row = row.strip_suffix(b"\r").unwrap_or(row);
    if row.starts_with(tardis::HEADING.as_bytes()) {
        return Some(Format::Tardis);
    }
    if row == binance_trades::RECORDER_HEADING.as_bytes()
        || row.starts_with(binance_trades::VENUE_HEADING.as_bytes())
    {
        return Some(Format::BinanceTrades);
    }
    if row == gdax::CHANGES_HEADING.as_bytes() {
        return Some(Format::GdaxChanges);
    }
    if row == gdax::SNAPSHOT_HEADING.as_bytes() {
        return Some(Format::GdaxSnapshot);
    }
    if row == gdax_export::HEADING.as_bytes() {
        return Some(Format::GdaxExport);
    }
    match row.first()? {
        b'[' if contains(head, br#""event":"#) && contains(head, br#""prec": "R0""#) => {
            let why = "Bitfinex is not among the venues, and the messages have no times";
            return Some(Format::Refused("a raw order book of Bitfinex", why));
        }
        b'{' if row.starts_with(br#"{"t":"#) => {
            return Some(Format::Capture);
        }
        b'{' if row.starts_with(br#"{"venue":"#) && contains(row, br#""raw":"#) => {
            let why = "single messages without order or time are no recording";
            return Some(Format::Refused("a collection of single messages", why));
        }
        _ => {}
    }
    if row.starts_with(b"configuration: ") || contains(row, b" <-> ") {
        return Some(Format::Capture);
    }
    let mut words = row.splitn(3, |&byte| byte == b' ');
    if let (Some(time), Some(second)) = (words.next(), words.next()) {
        let is_time = !time.is_empty() && time.iter().all(u8::is_ascii_digit);
        if is_time && bitstamp_log::EVENTS.iter().any(|event| event.as_bytes() == second) {
            return Some(Format::BitstampLog);
        }
        if is_time && second.starts_with(b"{") {
            return Some(Format::Capture);
        }
    }
    tell_by_columns(path, row)
}

/// The format of a file without a heading, by its first row; the name tells LOBSTER's files apart.
fn tell_by_columns(path: &Path, row: &[u8]) -> Option<Format> {
    let fields: Vec<&[u8]> = row.split(|&byte| byte == b',').collect();
    let is_number = |text: &[u8]| {
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        digits.first().is_some_and(u8::is_ascii_digit)
            && digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.')
    };
    let is_letter = |text: &[u8]| text.len() == 1 && text[0].is_ascii_uppercase();
    let is_flag =
        |text: &[u8]| text.eq_ignore_ascii_case(b"true") || text.eq_ignore_ascii_case(b"false");
    let name = name::stem(path);
    match fields[..] {
        [time, bid, ask] if [time, bid, ask].into_iter().all(is_number) => {
            Some(Format::Lean(lean::Kind::ForexQuotes))
        }
        [.., exchange, _, _] if fields.len() == 6 && is_letter(exchange) => {
            Some(Format::Lean(lean::Kind::EquityTrades))
        }
        [.., exchange, _, _] if fields.len() == 8 && is_letter(exchange) => {
            Some(Format::Lean(lean::Kind::EquityQuotes))
        }
        [.., maker] if fields.len() == 6 && is_flag(maker) => Some(Format::BinanceTrades),
        [.., maker, best] if fields.len() == 7 && is_flag(maker) && is_flag(best) => {
            Some(Format::BinanceTrades)
        }
        [..] if fields.len() == 6 && name.contains("_message_") => Some(Format::Lobster),
        [..] if fields.len().is_multiple_of(4) && name.contains("_orderbook_") => {
            Some(Format::Lobster)
        }
        _ => None,
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// A reader that is at its end after an error.
struct Fused<R> {
    reader: R,
    is_over: bool,
}

fn fuse(reader: impl HistoryReader + 'static) -> Box<dyn HistoryReader> {
    Box::new(Fused { reader, is_over: false })
}

impl<R: HistoryReader> HistoryReader for Fused<R> {
    fn format(&self) -> &'static str {
        self.reader.format()
    }

    fn table(&self) -> &Arc<InstrumentTable> {
        self.reader.table()
    }

    fn next_batch(&mut self, out: &mut Vec<MarketEvent>) -> Result<bool, HistoryError> {
        if self.is_over {
            return Ok(false);
        }
        let more = self.reader.next_batch(out);
        self.is_over = !matches!(more, Ok(true));
        more
    }

    fn progress(&self) -> Progress {
        self.reader.progress()
    }

    fn notes(&self) -> Vec<String> {
        self.reader.notes()
    }

    fn sessions(&self) -> Vec<(Venue, SessionCounters)> {
        self.reader.sessions()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        self.reader.counters()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{file, refusal};
    use super::*;

    #[test]
    fn what_no_reader_reads_is_refused_with_its_name_and_a_reason() {
        for (text, says) in [
            ("[{\"event\": \"subscribed\", \"prec\": \"R0\"}]", "order book of Bitfinex"),
            ("{\"venue\":\"x\",\"path\":\"y\",\"raw\":\"z\"}\n", "single messages"),
            ("PKREC\0\u{1}", "a recording of purkinje"),
            ("Dear reader,\n", "not a format known here (its head: \"Dear reader,\\n\")"),
            ("", "not a format known here"),
            ("1,2,3,4,5,6\n", "not a format known here"),
        ] {
            let error = refusal(&file("file", text.as_bytes()));
            assert!(error.contains(says), "{error}");
        }
        let missing = open(Path::new("/nonexistent/file.csv")).err().unwrap();
        assert!(matches!(missing, HistoryError::Io { .. }));
    }

    #[test]
    fn the_content_decides_and_the_name_only_where_it_cannot() {
        let of = |name: &str, text: &[u8]| tell(Path::new(name), text);
        let quotes = Some(Format::Lean(lean::Kind::EquityQuotes));
        assert_eq!(of("x", b"14400152,0,0,494100,300,Q,1,0\n"), quotes);
        assert_eq!(of("AAPL_x_orderbook_2.csv", b"14400152,0,0,494100,300,Q,1,0"), quotes);
        let trades = Some(Format::Lean(lean::Kind::EquityTrades));
        assert_eq!(of("x", b"14400464,1674100,100,P,20002000,0\n"), trades);
        assert_eq!(
            of("x", b"292.5,1.38676,1.38686\n"),
            Some(Format::Lean(lean::Kind::ForexQuotes))
        );
        assert_eq!(of("x", b"1,1,1,1,1,True,True\n"), Some(Format::BinanceTrades));
        assert_eq!(of("A_2012-06-21_1_2_message_1.csv", b"1,1,1,1,1,1\n"), Some(Format::Lobster));
        assert_eq!(of("x", b"1,1,1,1,1,1\n"), None);
        assert_eq!(of("tardis.csv", b"DBN\x01"), Some(Format::Databento));
        for text in [
            "{\"t\":\"header\",\"exchange\":\"X\"}\n",
            "wss://x <-> 1.5\n",
            "configuration: {}\n",
            "1723161256000000000 {\"stream\":\"x\"}\n",
        ] {
            assert_eq!(of("x", text.as_bytes()), Some(Format::Capture), "{text}");
        }
        assert_eq!(
            of("x", b"id,price,qty,quote_qty,time,is_buyer_maker\r\n"),
            Some(Format::BinanceTrades)
        );
    }
}
