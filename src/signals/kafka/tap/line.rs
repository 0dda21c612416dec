//! A tapped record as one line: aligned for people, or JSON for programs.
//!
//! Invariant: what a record contains cannot move the cursor or end the line; control characters are
//! replaced.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Tapped, Verdict};
use crate::{history::table::utc, signals::received::ReceivedSignal};

/// Columns and their least widths; the numbers stand to the right.
const COLUMNS: [(&str, usize, bool); 9] = [
    ("time, UTC", 23, false),
    ("instrument", 24, false),
    ("act", 4, false),
    ("reason", 16, false),
    ("value", 6, true),
    ("conf.", 6, true),
    ("age ms", 9, true),
    ("epoch-seq", 20, true),
    ("part@offset", 11, true),
];

fn row(cells: &[String; COLUMNS.len()], remark: &str) -> String {
    let mut row = String::new();
    for (cell, (_, width, is_right)) in cells.iter().zip(COLUMNS) {
        // Writing to a String cannot fail.
        let _ = if is_right {
            write!(row, "{cell:>width$}  ")
        } else {
            write!(row, "{cell:<width$}  ")
        };
    }
    row.push_str(remark);
    row.trim_end().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The heads of the columns.
#[must_use]
pub fn heads() -> String {
    row(&COLUMNS.map(|(head, ..)| head.to_owned()), "")
}

/// A record as an aligned line, without newline. Whatever is not to be obeyed is marked at its end.
#[must_use]
pub fn line(tapped: &Tapped) -> String {
    let dash = || "-".to_owned();
    let number = |n: Option<f64>| n.map_or_else(dash, |n| format!("{n:.3}"));
    let place = format!("{}@{}", tapped.partition, tapped.offset);
    match &tapped.content {
        Ok(judged) => {
            let signal = &judged.record.signal;
            let remark = match judged.verdict {
                Verdict::Accepted => String::new(),
                verdict => verdict.to_string(),
            };
            let cells = [
                utc(Some(signal.ts_signal_ns)),
                signal.instrument.clone(),
                signal.action.map_or("?", |a| a.name()).to_owned(),
                signal.reason.map_or("?", |r| r.name()).to_owned(),
                number(signal.value),
                number(signal.confidence),
                format!("{:.1}", judged.age_ns as f64 / 1e6),
                judged.record.identity.to_string(),
                place,
            ];
            row(&cells, &remark)
        }
        Err(error) => {
            let key = if tapped.key.is_empty() { dash() } else { tapped.key.clone() };
            let cells = [dash(), key, dash(), dash(), dash(), dash(), dash(), dash(), place];
            row(&cells, &format!("no signal: {error}"))
        }
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
    partition: i32,
    offset: i64,
    key: &'a str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<&'a ReceivedSignal>,
}

/// A record as a JSON object, without newline: `partition`, `offset`, `key`, `verdict` (`accepted`,
/// `dropped`, `expired`, `no signal`), `why`, `epoch`, `seq`, `age_ms` and `signal` in the JSON of its
/// schema whatever its encoding was.
///
/// # Errors
/// None that is known; the library's signature has one.
pub fn json(tapped: &Tapped) -> Result<String, serde_json::Error> {
    let mut line = JsonLine {
        partition: tapped.partition,
        offset: tapped.offset,
        key: &tapped.key,
        verdict: "no signal",
        why: None,
        epoch: None,
        seq: None,
        age_ms: None,
        signal: None,
    };
    match &tapped.content {
        Ok(judged) => {
            (line.verdict, line.why) = match judged.verdict {
                Verdict::Accepted => ("accepted", None),
                Verdict::Dropped(why) => ("dropped", Some(why.to_string())),
                Verdict::Expired => ("expired", None),
            };
            line.epoch = Some(judged.record.identity.epoch);
            line.seq = Some(judged.record.identity.seq);
            line.age_ms = Some(judged.age_ns as f64 / 1e6);
            line.signal = Some(&judged.record.signal);
        }
        Err(error) => line.why = Some(error.to_string()),
    }
    serde_json::to_string(&line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::kafka::{
        contract::{Encoding, Identity},
        drop_rule::Dropped,
        record::{RecordError, SignalRecord},
        tap::Judged,
    };

    fn tapped(instrument: &str, verdict: Verdict) -> Tapped {
        let value = format!(
            r#"{{"seq":7,"cycle":9,"instrument":"{instrument}","action":"SELL","reason":"threshold_met","mid":-0.5,"value":0.25,"confidence":null,"agreement":1.0,"horizon_ms":1000,"ttl_ms":5000,"members":[],"model":"ab","ts_venue_ns":1,"ts_recv_ns":2,"ts_cycle_ns":3,"ts_signal_ns":1723161255123000000}}"#
        );
        let signal = ReceivedSignal::read(Encoding::Json, value.as_bytes()).unwrap();
        let record = SignalRecord { identity: Identity { epoch: 5, seq: 7 }, signal };
        Tapped {
            partition: 2,
            offset: 41,
            key: instrument.to_owned(),
            content: Ok(Judged { record, verdict, age_ns: 12_345_678 }),
        }
    }

    #[test]
    fn a_line_stands_under_its_heads() {
        let (heads, line) = (heads(), line(&tapped("okx:BTC-USDT", Verdict::Accepted)));
        assert!(line.starts_with("2024-08-08 23:54:15.123  okx:BTC-USDT "), "{line}");
        let end = |text: &str, word: &str| text.find(word).unwrap() + word.len();
        assert_eq!(heads.find("act"), line.find("SELL"));
        assert_eq!(heads.find("reason"), line.find("threshold_met"));
        assert_eq!(end(&heads, "value"), end(&line, "0.250"));
        assert_eq!(end(&heads, "age ms"), end(&line, "12.3"));
        assert_eq!(end(&heads, "epoch-seq"), end(&line, "5-7"));
        assert!(line.ends_with("2@41") && heads.len() == line.len(), "{line}");
    }

    #[test]
    fn what_is_not_to_be_obeyed_is_marked() {
        let last = Identity { epoch: 6, seq: 1 };
        let dropped = Verdict::Dropped(Dropped::NotAfter { last });
        assert!(line(&tapped("okx:A", dropped)).ends_with("2@41  dropped: not after 6-1"));
        assert!(line(&tapped("okx:A", Verdict::Expired)).ends_with("2@41  expired"));
    }

    #[test]
    fn a_record_cannot_write_on_the_terminal_beside_its_line() {
        let mut hostile = tapped("okx:\\u001b[2J\\n", Verdict::Accepted);
        assert!(!line(&hostile).contains(char::is_control));
        hostile.key = "\x1b[2J".into();
        hostile.content = Err(RecordError::NoValue);
        let line = line(&hostile);
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.ends_with("2@41  no signal: no value, expected a signal"), "{line}");
        assert!(!json(&hostile).unwrap().contains(char::is_control));
    }

    #[test]
    fn the_json_line_has_the_signal_as_its_schema_has_it() {
        let json = json(&tapped("okx:A", Verdict::Expired)).unwrap();
        assert!(json.starts_with(r#"{"partition":2,"offset":41,"key":"okx:A","verdict":"expired","epoch":5,"seq":7,"age_ms":12.345678,"signal":{"seq":7,"#), "{json}");
        assert!(json.contains(r#""mid":-0.5,"value":0.25,"confidence":null"#), "{json}");
    }
}
