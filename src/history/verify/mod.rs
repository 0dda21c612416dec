//! `purkinje verify`: what a history is worth, per instrument, in one pass.
//!
//! Latency is receive time minus venue time: negative means that a clock is wrong. Invariants: memory
//! depends on the number of instruments, not on the length of the file; what was found before a file
//! became unreadable is reported beside the reason.

mod instrument;
mod latency;
mod rates;
pub mod report;
mod spans;
mod text;

use purkinje_feeds::{EventBody, MarketEvent};

use self::instrument::InstrumentCheck;
pub use self::report::{ConnectionReport, FileReport, InstrumentReport, Report, Summary};
use super::{HistoryError, HistoryReader, progress::LateProgress, source::Source};

/// Verifies one history, telling `progress` on the way.
#[must_use]
pub fn verify(source: &Source, progress: &mut LateProgress, done_bytes: u64) -> FileReport {
    let mut report = FileReport::new(source);
    let mut reader = match source.open() {
        Ok(reader) => reader,
        Err(error) => {
            report.refuse(&error);
            return report;
        }
    };
    report.format = Some(reader.format());
    let begin = progress.elapsed();
    let mut check = Check::new(reader.as_ref());
    let outcome = check.run(reader.as_mut(), &mut |reader| {
        progress.tick(|| {
            let at = reader.progress();
            (done_bytes + at.bytes_read, format!("{} rows", at.rows))
        });
    });
    report.read_s = progress.elapsed().saturating_sub(begin).as_secs_f64();
    report.rows = reader.progress().rows;
    report.events = check.events;
    report.notes = reader.notes();
    let connections = reader.sessions();
    report.connections = connections.iter().map(|(v, c)| ConnectionReport::new(*v, c)).collect();
    report.counters = reader.counters().into_iter().collect();
    report.instruments = check.finish();
    if let Err(error) = outcome {
        report.refuse(&error);
    }
    report
}

/// All instruments of one history.
#[derive(Debug)]
pub struct Check {
    instruments: Vec<InstrumentCheck>,
    events: u64,
}

impl Check {
    /// Nothing checked yet.
    #[must_use]
    pub fn new(reader: &dyn HistoryReader) -> Self {
        let instruments =
            reader.table().iter().map(|(_, i)| InstrumentCheck::new(i.clone())).collect();
        Self { instruments, events: 0 }
    }

    /// Reads to the end, or to the first error.
    ///
    /// # Errors
    /// The reader's.
    pub fn run(
        &mut self,
        reader: &mut dyn HistoryReader,
        each: &mut dyn FnMut(&dyn HistoryReader),
    ) -> Result<(), HistoryError> {
        let mut events: Vec<MarketEvent> = Vec::new();
        loop {
            let outcome = reader.next_batch(&mut events);
            let row = reader.progress().rows;
            for event in events.drain(..) {
                self.events += u64::from(!matches!(event.body, EventBody::Oracle { .. }));
                if let Some(check) = self.instruments.get_mut(event.instrument.index()) {
                    check.take(&event, row);
                }
            }
            if !outcome? {
                return Ok(());
            }
            each(reader);
        }
    }

    /// What was found.
    #[must_use]
    pub fn finish(self) -> Vec<InstrumentReport> {
        self.instruments.into_iter().map(InstrumentCheck::finish).collect()
    }
}
