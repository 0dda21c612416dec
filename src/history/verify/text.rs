//! What `verify` says, as tables for people.

use std::fmt::Write as _;

use super::{FileReport, InstrumentReport, Report, rates::BurstReport};
use crate::history::table::{aligned, ms, utc};

const CONTENTS: [&str; 12] = [
    "instrument",
    "first (UTC)",
    "span s",
    "trades",
    "quotes",
    "books",
    "levels",
    "snapshots",
    "events/s",
    "10 ms p50/p99/max",
    "100 ms p50/p99/max",
    "1 s p50/p99/max",
];

const CHECKS: [&str; 15] = [
    "instrument",
    "latency ms min",
    "p50",
    "p99",
    "max",
    "negative",
    "p50 ms",
    "recv back",
    "venue back",
    "desyncs",
    "for ms",
    "crossed",
    "longest ms",
    "locked",
    "longest ms",
];

impl Report {
    /// The whole text: every file with its two tables, then the summary.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for file in &self.files {
            file.write(&mut out);
            out.push('\n');
        }
        let s = &self.summary;
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{} files, {} rows, {} events: {} clean, {} with findings, {} could not be read",
            s.files, s.rows, s.events, s.clean, s.with_findings, s.unreadable
        );
        for file in self.files.iter().filter(|file| file.error.is_some()) {
            let _ = writeln!(out, "  not read: {}", file.error.as_deref().unwrap_or_default());
        }
        out
    }
}

impl FileReport {
    fn write(&self, out: &mut String) {
        let format = self.format.unwrap_or("unknown format");
        let parts =
            if self.parts > 1 { format!(" and {} more", self.parts - 1) } else { String::new() };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{}{parts}: {format}, {} bytes, {} rows, {} events",
            self.path.display(),
            self.bytes,
            self.rows,
            self.events
        );
        for note in &self.notes {
            let _ = writeln!(out, "  note: {note}");
        }
        for c in &self.connections {
            let _ = writeln!(
                out,
                "  {}: {} frames, {} book updates, {} sequence breaks, {} of {} checksums and {} of {} \
                 audits differ, {} trades lost, {} frames unreadable",
                c.venue,
                c.frames,
                c.book_updates,
                c.sequence_breaks + c.connection_breaks,
                c.checksum_mismatches,
                c.checksums,
                c.audit_mismatches,
                c.audits,
                c.trades_lost,
                c.bad_frames
            );
        }
        if let Some(error) = &self.error {
            let _ = writeln!(out, "  not read to its end: {error}");
        }
        let live: Vec<&InstrumentReport> =
            self.instruments.iter().filter(|i| i.counts.messages > 0).collect();
        if live.len() < self.instruments.len() {
            let silent = self.instruments.len() - live.len();
            let _ = writeln!(out, "  {silent} instruments without an event are left out");
        }
        if live.is_empty() {
            return;
        }
        let table = |heading: &[&str], row: fn(&InstrumentReport) -> Vec<String>| {
            let heading = heading.iter().map(|&cell| cell.to_owned()).collect();
            let rows: Vec<Vec<String>> =
                std::iter::once(heading).chain(live.iter().map(|i| row(i))).collect();
            aligned(&rows, 1)
        };
        for text in [table(&CONTENTS, contents), table(&CHECKS, checks)] {
            for line in text.lines() {
                let _ = writeln!(out, "  {line}");
            }
        }
        for instrument in live {
            for seen in &instrument.first_desyncs {
                let at = utc(Some(seen.at_ns));
                let (name, row, reason) = (&instrument.instrument, seen.row, seen.reason);
                let _ = writeln!(out, "  {name}: book lost at row {row}, {at}: {reason}");
            }
            if !instrument.findings.is_empty() {
                let findings = instrument.findings.join(", ");
                let _ = writeln!(out, "  {}: {findings}", instrument.instrument);
            }
        }
    }
}

fn contents(i: &InstrumentReport) -> Vec<String> {
    let burst = |b: Option<&BurstReport>| {
        b.map_or("-".to_owned(), |b| format!("{}/{}/{}", b.p50, b.p99, b.max))
    };
    vec![
        i.instrument.clone(),
        utc(i.first_ns),
        format!("{:.3}", i.span_ns as f64 * 1e-9),
        i.counts.trades.to_string(),
        i.counts.quotes.to_string(),
        i.counts.books.to_string(),
        i.counts.levels.to_string(),
        i.counts.snapshots.to_string(),
        i.events_per_s.map_or("-".to_owned(), |rate| format!("{rate:.1}")),
        burst(i.bursts.first()),
        burst(i.bursts.get(1)),
        burst(i.bursts.get(2)),
    ]
}

fn checks(i: &InstrumentReport) -> Vec<String> {
    let latency = |of: fn(&super::latency::LatencyReport) -> i64| {
        i.latency.as_ref().map_or("-".to_owned(), |l| ms(of(l)))
    };
    let crossed = i.crossed_books.with(i.crossed_quotes);
    let locked = i.locked_books.with(i.locked_quotes);
    let negative_p50 = i.latency.and_then(|l| l.negative_p50_ns);
    vec![
        i.instrument.clone(),
        latency(|l| l.min_ns),
        latency(|l| l.p50_ns),
        latency(|l| l.p99_ns),
        latency(|l| l.max_ns),
        i.latency.map_or("-".to_owned(), |l| l.negative_count.to_string()),
        negative_p50.map_or("-".to_owned(), ms),
        i.receive_order.backwards.to_string(),
        i.venue_backwards().to_string(),
        i.counts.desyncs.to_string(),
        ms(i.unsynchronised.total_ns),
        crossed.count.to_string(),
        ms(crossed.longest_ns),
        locked.count.to_string(),
        ms(locked.longest_ns),
    ]
}
