//! Plain text for reports: aligned columns, dates, durations, counts.

/// Columns aligned by their widest cell: the first `left` of them to the left, the others to the right.
pub(super) fn aligned(rows: &[Vec<String>], left: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|c| c.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            if column > 0 {
                line.push_str("  ");
            }
            let padding = " ".repeat(width - cell.chars().count());
            let (before, behind) = if column < left {
                (cell.as_str(), padding.as_str())
            } else {
                (padding.as_str(), cell.as_str())
            };
            line.push_str(before);
            line.push_str(behind);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `2024-08-08 23:54:15.123`, UTC; a dash for no time.
pub(crate) fn utc(ts_ns: Option<i64>) -> String {
    let Some(ts_ns) = ts_ns else { return "-".to_owned() };
    let seconds = ts_ns.div_euclid(1_000_000_000);
    let (day, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, date) = civil(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let ms = ts_ns.rem_euclid(1_000_000_000) / 1_000_000;
    format!("{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02}.{ms:03}")
}

/// Year, month and day of a day counted from 1970-01-01 in the Gregorian calendar.
///
/// The year begins in March here, so that the leap day is its last.
fn civil(day: i64) -> (i64, i64, i64) {
    let day = day + 719_468;
    let era = day.div_euclid(146_097);
    let of_era = day.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, date)
}

/// Nanoseconds as milliseconds, with as many decimals as a table has room for.
pub(super) fn ms(ns: i64) -> String {
    let ms = ns as f64 * 1e-6;
    if ms.abs() >= 1_000.0 { format!("{ms:.0}") } else { format!("{ms:.3}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["name", "n"], ["a", "1000"], ["long name", "7"]];
        let rows = rows.map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(aligned(&rows, 1), "name          n\na          1000\nlong name     7\n");
    }

    #[test]
    fn times_are_dates_of_the_calendar() {
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00.000"),
            (951_782_400, "2000-02-29 00:00:00.000"),
            (1_723_161_255, "2024-08-08 23:54:15.000"),
            (4_102_444_799, "2099-12-31 23:59:59.000"),
            (-1, "1969-12-31 23:59:59.000"),
        ] {
            assert_eq!(utc(Some(seconds * 1_000_000_000)), date);
        }
        assert_eq!(utc(None), "-");
    }
}
