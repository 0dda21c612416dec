//! One line of a capture, in each of the formats that are read.
//!
//! Invariants: a line is split and unescaped without building a document; the times come out exactly;
//! anything else than the format says is `None`, and the caller names file and line.

use super::CaptureKind;
use crate::fixed;
use crate::json::{Cursor, JsonError, scalar};

/// Which collector wrote the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureFormat {
    /// hftbacktest: `<receive time, ns or µs> <JSON frame>`.
    Hftbacktest,
    /// cryptofeed, first format: `<receive time, s>: <frame>`, and lines for what was sent and fetched.
    CryptofeedText,
    /// cryptofeed, second format: JSON lines that hold the frames as strings.
    CryptofeedJson,
}

impl CaptureFormat {
    /// Stable name for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hftbacktest => "hftbacktest",
            Self::CryptofeedText => "cryptofeed-1",
            Self::CryptofeedJson => "cryptofeed-2",
        }
    }

    /// The format of a file that begins with this line.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        if line.starts_with(br#"{"t":"#) {
            Some(Self::CryptofeedJson)
        } else if stamped(line).is_some() {
            Some(Self::Hftbacktest)
        } else if line.starts_with(b"configuration: ") || text_line(line).is_some() {
            Some(Self::CryptofeedText)
        } else {
            None
        }
    }
}

/// The parts of a line; ranges count from its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts<'a> {
    pub(super) ts_recv_ns: i64,
    pub(super) kind: CaptureKind,
    /// The collector's name of the connection.
    pub(super) connection: &'a [u8],
    /// Where it went to or came from, when the line says so.
    pub(super) address: &'a [u8],
    /// The frame, request or answer.
    pub(super) body: Body<'a>,
}

/// The text a line carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    Plain(&'a [u8]),
    /// The inside of a JSON string, to be unescaped.
    Escaped(&'a [u8]),
}

/// What a line says.
pub(super) enum Said<'a> {
    Item(Parts<'a>),
    /// A heading: of no use here.
    Heading,
}

/// Splits a line; `None` when it is not of the format.
pub(super) fn split(format: CaptureFormat, line: &[u8]) -> Option<Said<'_>> {
    match format {
        CaptureFormat::Hftbacktest => stamped(line).map(Said::Item),
        // The collector leaves blank lines too.
        CaptureFormat::CryptofeedText
            if line.is_empty() || line.starts_with(b"configuration: ") =>
        {
            Some(Said::Heading)
        }
        CaptureFormat::CryptofeedText => text_line(line).map(Said::Item),
        CaptureFormat::CryptofeedJson => json_line(line),
    }
}

/// hftbacktest stamped microseconds until 2023 and nanoseconds since: read as nanoseconds, the
/// former would lie in 1970.
fn stamped(line: &[u8]) -> Option<Parts<'_>> {
    const LEAST_NANOSECONDS: i64 = 100_000_000_000_000_000;
    let space = line.iter().position(|&byte| byte == b' ')?;
    let time: i64 = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    let is_micros = (LEAST_NANOSECONDS / 1_000..LEAST_NANOSECONDS).contains(&time);
    let body = line.get(space + 1..)?;
    (body.first() == Some(&b'{')).then_some(Parts {
        ts_recv_ns: if is_micros { time.checked_mul(1_000)? } else { time },
        kind: CaptureKind::Frame,
        connection: b"",
        address: b"",
        body: Body::Plain(body),
    })
}

/// Seconds with a decimal point, as nanoseconds.
fn seconds(text: &[u8]) -> Option<i64> {
    fixed::parse(text, 9).ok().filter(|ns| *ns >= 0)
}

fn split_at<'a>(line: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = line.windows(mark.len()).position(|window| window == mark)?;
    Some((&line[..at], &line[at + mark.len()..]))
}

fn text_line(line: &[u8]) -> Option<Parts<'_>> {
    let item = |ts_recv_ns, kind, address, body| Parts {
        ts_recv_ns,
        kind,
        connection: b"",
        address,
        body: Body::Plain(body),
    };
    if line.first().is_some_and(u8::is_ascii_digit) {
        let (time, body) = split_at(line, b": ")?;
        return Some(item(seconds(time)?, CaptureKind::Frame, b"", body));
    }
    let (address, rest) = split_at(line, b" ")?;
    let (mark, rest) = split_at(rest, b" ")?;
    if mark == b"<->" {
        return Some(item(seconds(rest)?, CaptureKind::Connected, address, address));
    }
    let (time, body) = split_at(rest, b": ")?;
    let kind = match mark {
        b"<-" => CaptureKind::Sent,
        b"->" => CaptureKind::Http,
        _ => return None,
    };
    Some(item(seconds(time)?, kind, address, body))
}

fn json_line(line: &[u8]) -> Option<Said<'_>> {
    let (mut kind, mut connection, mut time) = (None, None, None);
    let (mut address, mut data) = (None, None);
    let mut cursor = Cursor::new(line);
    cursor
        .object(|key, cursor| {
            let value = cursor.value()?;
            match key {
                b"t" => kind = scalar(value),
                b"conn" => connection = scalar(value),
                b"ts" => time = scalar(value),
                b"addr" | b"url" => address = scalar(value),
                b"data" => data = scalar(value),
                _ => {}
            }
            Ok::<(), JsonError>(())
        })
        .ok()?;
    cursor.end().ok()?;
    let kind = match kind? {
        b"connect" => CaptureKind::Connected,
        b"send" => CaptureKind::Sent,
        b"recv" => CaptureKind::Frame,
        b"http" => CaptureKind::Http,
        _ => return Some(Said::Heading),
    };
    let address = address.unwrap_or(b"");
    let body =
        if kind == CaptureKind::Connected { Body::Plain(address) } else { Body::Escaped(data?) };
    Some(Said::Item(Parts {
        ts_recv_ns: seconds(time?)?,
        kind,
        connection: connection?,
        address,
        body,
    }))
}

/// Resolves the escapes of a JSON string; `None` when one is not of JSON.
pub(super) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|&byte| byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        let escape = *rest.get(at + 1)?;
        rest = &rest[at + 2..];
        match escape {
            b'"' | b'\\' | b'/' => out.push(escape),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'u' => {
                let mut code = u32::from(hex4(rest)?);
                rest = &rest[4..];
                if (0xD800..0xDC00).contains(&code) {
                    let low = u32::from(hex4(rest.strip_prefix(b"\\u")?)?);
                    rest = &rest[6..];
                    code = 0x1_0000 + ((code - 0xD800) << 10) + low.checked_sub(0xDC00)?;
                }
                let mut utf8 = [0; 4];
                out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut utf8).as_bytes());
            }
            _ => return None,
        }
    }
    out.extend_from_slice(rest);
    Some(())
}

fn hex4(text: &[u8]) -> Option<u16> {
    u16::from_str_radix(std::str::from_utf8(text.get(..4)?).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(format: CaptureFormat, line: &str) -> Parts<'_> {
        match split(format, line.as_bytes()) {
            Some(Said::Item(parts)) => parts,
            _ => panic!("{line}"),
        }
    }

    #[test]
    fn a_time_beyond_the_range_of_nanoseconds_is_no_line() {
        assert!(split(CaptureFormat::Hftbacktest, b"9223372036854776 {}").is_none());
        assert!(split(CaptureFormat::Hftbacktest, b"9223372036854775 {}").is_some());
    }

    #[test]
    fn every_kind_of_line_is_split_into_its_parts() {
        use CaptureFormat::{CryptofeedJson, CryptofeedText, Hftbacktest};
        let table = [
            (Hftbacktest, "1723161253000000001 {}", 1_723_161_253_000_000_001, CaptureKind::Frame),
            (Hftbacktest, "1676419207212527 {}", 1_676_419_207_212_527_000, CaptureKind::Frame),
            (
                CryptofeedText,
                "1618677817.061845: [1]",
                1_618_677_817_061_845_000,
                CaptureKind::Frame,
            ),
            (
                CryptofeedText,
                "wss://x/ <-> 1618677816.84",
                1_618_677_816_840_000_000,
                CaptureKind::Connected,
            ),
            (
                CryptofeedText,
                "wss://x/ <- 1618677816.84: {}",
                1_618_677_816_840_000_000,
                CaptureKind::Sent,
            ),
            (
                CryptofeedText,
                "https://x/a?b=1 -> 1618677816: {}",
                1_618_677_816_000_000_000,
                CaptureKind::Http,
            ),
            (
                CryptofeedJson,
                r#"{"t":"recv","conn":"X.ws.1","ts":1641343690.59,"data":"[\"1\"]"}"#,
                1_641_343_690_590_000_000,
                CaptureKind::Frame,
            ),
        ];
        for (format, line, ts_recv_ns, kind) in table {
            let parts = item(format, line);
            assert_eq!((parts.ts_recv_ns, parts.kind), (ts_recv_ns, kind), "{line}");
            assert_eq!(CaptureFormat::of(line.as_bytes()), Some(format), "{line}");
        }
        let answer = r#"{"t":"http","conn":"X.http.0","ts":1.5,"url":"https://x/","data":"{}"}"#;
        let parts = item(CryptofeedJson, answer);
        assert_eq!((parts.connection, parts.address), (&b"X.http.0"[..], &b"https://x/"[..]));
        assert!(matches!(split(CryptofeedJson, br#"{"t":"header"}"#), Some(Said::Heading)));
        for wrong in ["", "{", "[]", "no time", r#"{"t":"recv","conn":"x","data":"1"}"#] {
            assert!(split(CryptofeedJson, wrong.as_bytes()).is_none(), "{wrong}");
        }
        assert_eq!(CaptureFormat::of(b"plain text"), None);
    }

    #[test]
    fn escapes_are_resolved_as_a_reference_parser_does() {
        let mut out = Vec::new();
        for text in [r#"{\"a\":\"b\\c\"}"#, r"\u00e9\ud83d\ude00\n\t\/", "plain", ""] {
            unescape(text.as_bytes(), &mut out).unwrap();
            let reference: String = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            assert_eq!(out, reference.as_bytes());
        }
        for wrong in [r"\x", r"\", r"\u12", r"\ud800", r"\ud800\u0041"] {
            assert_eq!(unescape(wrong.as_bytes(), &mut out), None, "{wrong}");
        }
    }
}
