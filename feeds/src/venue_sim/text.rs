//! Writing JSON by hand into reused buffers: numbers, decimals, RFC 3339 times.
//!
//! Invariant: nothing here allocates once the buffer has grown; strings are written as they are and
//! must need no escapes.

use crate::Side;
use crate::book::Level;
use std::io::Write;

/// Nanoseconds of a day.
const DAY_NS: i64 = 86_400_000_000_000;

/// Appends bytes.
pub fn put(out: &mut Vec<u8>, text: impl AsRef<[u8]>) {
    out.extend_from_slice(text.as_ref());
}

/// Appends an integer.
pub fn put_int(out: &mut Vec<u8>, value: impl Into<i128>) {
    // Writing into a Vec does not fail.
    let _ = write!(out, "{}", value.into());
}

/// Appends `key` as it stands, then an integer: `put_field(out, ",\"u\":", 7)`.
pub fn put_field(out: &mut Vec<u8>, key: &str, value: impl Into<i128>) {
    put(out, key);
    put_int(out, value);
}

/// Appends `mantissa` × 10^-`decimals` with all its decimals, trailing zeros included.
pub fn put_decimal(out: &mut Vec<u8>, mantissa: i64, decimals: u8) {
    let _ = write!(out, "{}", crate::fixed::Fixed { mantissa, decimals });
}

/// Appends the levels of a list with a comma in between, each written by `each`.
pub fn put_list<T>(out: &mut Vec<u8>, items: &[T], mut each: impl FnMut(&mut Vec<u8>, &T)) {
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        each(out, item);
    }
}

/// Appends `["price","qty"]` of every change of a side, with commas in between.
pub fn put_changes(
    out: &mut Vec<u8>,
    listing: &super::Listing,
    changes: &[super::LevelChange],
    side: Side,
) {
    let start = out.len();
    for change in changes.iter().filter(|change| change.side == side) {
        if out.len() > start {
            out.push(b',');
        }
        put_pair(out, listing, Level { price: change.price, qty: change.qty });
    }
}

/// Appends `["price","qty"]`.
pub fn put_pair(out: &mut Vec<u8>, listing: &super::Listing, level: Level) {
    put(out, "[\"");
    put_decimal(out, level.price, listing.price_decimals);
    put(out, "\",\"");
    put_decimal(out, level.qty, listing.qty_decimals);
    put(out, "\"]");
}

/// Appends a time as `2026-11-21T15:07:40.123456Z` with `decimals` (0 to 9) digits of the second.
pub fn put_rfc3339(out: &mut Vec<u8>, ns: i64, decimals: usize) {
    let (days, in_day) = (ns.div_euclid(DAY_NS), ns.rem_euclid(DAY_NS));
    let (year, month, day) = civil(days);
    let (seconds, fraction) = (in_day / 1_000_000_000, in_day % 1_000_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if let Some(decimals @ 1..) = Some(decimals.min(9)) {
        let shown = fraction / 10_i64.pow(9 - decimals as u32);
        let _ = write!(out, ".{shown:0decimals$}");
    }
    out.push(b'Z');
}

/// Year, month and day of a day counted from 1970-01-01 in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years start on 1 March here, so that the leap day is the last of its year; an era is the
    // 400 years after which the calendar repeats, 146 097 days.
    let since_march_0000 = days + 719_468;
    let (era, day_of_era) =
        (since_march_0000.div_euclid(146_097), since_march_0000.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_with_the_digits_asked_for() {
        let cases = [
            (0, 0, "1970-01-01T00:00:00Z"),
            (951_782_400_000_000_000, 3, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_999_999_999, 6, "2024-12-31T23:59:59.999999Z"),
            (1_795_273_660_123_456_789, 9, "2026-11-21T15:07:40.123456789Z"),
        ];
        for (ns, decimals, expected) in cases {
            let mut out = Vec::new();
            put_rfc3339(&mut out, ns, decimals);
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{ns}");
        }
    }

    #[test]
    fn decimals_keep_their_zeros() {
        let mut out = Vec::new();
        put_decimal(&mut out, 10_500, 4);
        put_field(&mut out, ",\"u\":", u64::MAX);
        assert_eq!(out, b"1.0500,\"u\":18446744073709551615");
    }
}
