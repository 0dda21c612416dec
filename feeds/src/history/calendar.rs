//! Dates and zones: what turns a time of day in a file into nanoseconds since the epoch.
//!
//! The zone rules are compiled in, so a host without a time-zone database reads the same times.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Where the times of day of a file count from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// Midnight UTC.
    Utc,
    /// Midnight in New York, where United States equities keep time.
    UsEastern,
}

/// Midnight of `date` in `zone`, ns since the epoch.
pub(super) fn midnight_ns(date: Date, zone: Zone) -> Option<i64> {
    let zone = match zone {
        Zone::Utc => TimeZone::UTC,
        Zone::UsEastern => TimeZone::get("America/New_York").ok()?,
    };
    let midnight = date.to_zoned(zone).ok()?.timestamp();
    i64::try_from(midnight.as_nanosecond()).ok()
}

/// The date in `YYYYMMDD` or `YYYY-MM-DD`.
pub(super) fn date(text: &str) -> Option<Date> {
    let digits: String = match text.len() {
        8 => text.to_owned(),
        10 if text.is_ascii() && text[4..5] == *"-" && text[7..8] == *"-" => {
            [&text[..4], &text[5..7], &text[8..]].concat()
        }
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| digits[range].parse::<i16>().ok();
    let (month, day) = (i8::try_from(part(4..6)?).ok()?, i8::try_from(part(6..8)?).ok()?);
    Date::new(part(0..4)?, month, day).ok()
}

/// An ISO 8601 time with its zone (`2018-04-24T03:52:17.202Z`), ns since the epoch.
pub(super) fn iso8601_ns(text: &[u8]) -> Option<i64> {
    let time: Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
    i64::try_from(time.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midnight_in_new_york_follows_daylight_saving() {
        let at = |text, zone| midnight_ns(date(text).unwrap(), zone).unwrap() / 1_000_000_000;
        assert_eq!(at("2012-06-21", Zone::Utc), 1_340_236_800);
        assert_eq!(at("2012-06-21", Zone::UsEastern), 1_340_236_800 + 4 * 3600);
        assert_eq!(at("20130107", Zone::UsEastern), at("20130107", Zone::Utc) + 5 * 3600);
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "2012-13-01",
            "20120230",
            "2012_06_21",
            "201206211",
            "２０１２０６２１",
            "abcdefgh",
        ] {
            assert_eq!(date(text), None, "{text}");
        }
    }

    #[test]
    fn iso_times_keep_their_digits() {
        assert_eq!(iso8601_ns(b"2018-04-24T03:52:17.202Z"), Some(1_524_541_937_202_000_000));
        assert_eq!(iso8601_ns(b"2018-04-17T00:54:57.887000Z"), Some(1_523_926_497_887_000_000));
        for text in
            ["", "2018-04-24", "2018-04-24T03:52:17.202", "9999999-01-01T00:00:00Z", "\u{ff}"]
        {
            assert_eq!(iso8601_ns(text.as_bytes()), None, "{text}");
        }
    }
}
