//! Readers of the raw JSON values that decoders collect: required and optional fields, integers, times.
//!
//! Invariants: nothing allocates or panics; a number that does not fit is a bad field, never wrapped.

use super::error::DecodeErrorKind;

/// The field's value, read.
///
/// # Errors
/// It is missing, or `read` refuses it.
pub(crate) fn required<'a, T>(
    raw: Option<&'a [u8]>,
    name: &'static str,
    read: impl Fn(&'a [u8]) -> Option<T>,
) -> Result<T, DecodeErrorKind> {
    let raw = raw.ok_or(DecodeErrorKind::MissingField(name))?;
    read(raw).ok_or(DecodeErrorKind::BadField(name))
}

/// The field's value, read, if it is there.
///
/// # Errors
/// `read` refuses it.
pub(crate) fn optional<'a, T>(
    raw: Option<&'a [u8]>,
    name: &'static str,
    read: impl Fn(&'a [u8]) -> Option<T>,
) -> Result<Option<T>, DecodeErrorKind> {
    raw.map(|raw| required(Some(raw), name, read)).transpose()
}

/// A non-negative integer in decimal digits.
pub(crate) fn uint(raw: &[u8]) -> Option<u64> {
    if raw.is_empty() {
        return None;
    }
    raw.iter().try_fold(0u64, |value, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// An integer in decimal digits, with or without a minus sign.
pub(crate) fn int(raw: &[u8]) -> Option<i64> {
    match raw.strip_prefix(b"-") {
        Some(digits) => 0i64.checked_sub_unsigned(uint(digits)?),
        None => i64::try_from(uint(raw)?).ok(),
    }
}

/// An integer, with or without quotes around it.
pub(crate) fn quoted_uint(raw: &[u8]) -> Option<u64> {
    uint(crate::json::scalar(raw)?)
}

/// A truth value.
pub(crate) fn boolean(raw: &[u8]) -> Option<bool> {
    match raw {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

/// A time in milliseconds since the epoch, as nanoseconds; with or without quotes.
pub(crate) fn millis(raw: &[u8]) -> Option<i64> {
    i64::try_from(quoted_uint(raw)?).ok()?.checked_mul(1_000_000)
}

/// A time in microseconds since the epoch, as nanoseconds; with or without quotes.
pub(crate) fn micros(raw: &[u8]) -> Option<i64> {
    i64::try_from(quoted_uint(raw)?).ok()?.checked_mul(1_000)
}

/// `2026-08-09T21:05:48.228568804Z` (or a space for the `T`, and any number of decimals) as nanoseconds
/// since the epoch; with or without quotes. Times outside 1970 to 2261 are refused.
pub(crate) fn rfc3339(raw: &[u8]) -> Option<i64> {
    let text = match raw.first()? {
        b'"' => raw.get(1..raw.len() - 1)?,
        _ => raw,
    };
    let number = |range: std::ops::Range<usize>| uint(text.get(range)?);
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if separators.iter().any(|&(at, byte)| text.get(at) != Some(&byte))
        || !matches!(text.get(10), Some(b'T' | b' '))
    {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let in_range = (1970..=2261).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    let (fraction_ns, rest) = fraction(text.get(19..)?)?;
    if !matches!(rest, b"Z" | b"+00:00") {
        return None;
    }
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    i64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(fraction_ns)
}

/// `.123…` as nanoseconds, digits beyond the ninth dropped, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let given = digits[..len].iter().map(|digit| i64::from(digit - b'0'));
    let ns = given.chain(std::iter::repeat(0)).take(9).fold(0, |ns, digit| ns * 10 + digit);
    (len > 0).then_some((ns, &digits[len..]))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar from 1970 on.
fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let past_february = u64::from(is_leap && month > 2);
    (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969)
        + BEFORE_MONTH[month as usize - 1]
        + past_february
        + day
        - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_nanoseconds() {
        let table: [(&str, Option<i64>); 13] = [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("\"2026-08-09T21:05:48.228568804Z\"", Some(1_786_309_548_228_568_804)),
            ("2026-08-09 21:05:48.5Z", Some(1_786_309_548_500_000_000)),
            ("2021-04-17T16:43:37.075687Z", Some(1_618_677_817_075_687_000)),
            ("2024-02-29T12:00:00+00:00", Some(1_709_208_000_000_000_000)),
            ("2024-03-01T00:00:00Z", Some(1_709_251_200_000_000_000)),
            ("2100-03-01T00:00:00Z", Some(4_107_542_400_000_000_000)),
            ("2026-08-09T21:05:48.2285688049Z", Some(1_786_309_548_228_568_804)),
            ("0001-01-01T00:00:00Z", None),
            ("2026-13-09T21:05:48Z", None),
            ("2026-08-09T21:05:48", None),
            ("2026-08-09T21:05:48.Z", None),
            ("", None),
        ];
        for (text, ns) in table {
            assert_eq!(rfc3339(text.as_bytes()), ns, "{text}");
        }
        assert_eq!(millis(b"\"1652459225464\""), Some(1_652_459_225_464_000_000));
        assert_eq!(micros(b"1641343691244908"), Some(1_641_343_691_244_908_000));
        assert_eq!(millis(b"99999999999999999"), None);
        assert_eq!((uint(b""), quoted_uint(b"\"\"")), (None, None));
    }

    #[test]
    fn signed_integers_are_read_to_their_bounds() {
        let table: [(&[u8], Option<i64>); 8] = [
            (b"-914047754", Some(-914_047_754)),
            (b"0", Some(0)),
            (b"9223372036854775807", Some(i64::MAX)),
            (b"-9223372036854775808", Some(i64::MIN)),
            (b"9223372036854775808", None),
            (b"-9223372036854775809", None),
            (b"-", None),
            (b"--1", None),
        ];
        for (text, value) in table {
            assert_eq!(int(text), value, "{}", String::from_utf8_lossy(text));
        }
    }
}
