//! Signals for human eyes: a live table on a terminal, lines elsewhere.
//!
//! Runs on its own thread at a human pace; it sees the newest signal of each instrument and never
//! slows the sink down.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};

use purkinje_feeds::InstrumentTable;
use rtrb::Consumer;

use super::{Action, Signal};
use crate::pipeline::live_stats::{LiveStats, Snapshot};

const FRAME: Duration = Duration::from_millis(250);
const STATUS_LINE_EVERY: Duration = Duration::from_secs(5);

/// How signals are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A table that redraws itself in place.
    Table,
    /// One line per change of action, a status line every five seconds.
    Lines,
    /// Nothing.
    Off,
}

impl Mode {
    /// The mode of that configuration value; `auto` asks the terminal.
    #[must_use]
    pub fn from_name(name: &str) -> Self {
        match name {
            "table" => Self::Table,
            "lines" => Self::Lines,
            "off" => Self::Off,
            _ if std::io::stdout().is_terminal() => Self::Table,
            _ => Self::Lines,
        }
    }
}

/// What the terminal thread needs.
#[derive(Debug)]
pub struct Terminal {
    /// Table or lines.
    pub mode: Mode,
    /// Names of instruments and scale of their prices.
    pub table: Arc<InstrumentTable>,
    /// Names of the members, for the column heads.
    pub members: Vec<String>,
    /// What the daemon listens to.
    pub title: String,
    /// Counters of the hot threads.
    pub stats: Arc<LiveStats>,
}

impl Terminal {
    /// Shows signals until the sink is gone. Errors of the terminal end the show, nothing else.
    pub fn run(&self, mut signals: Consumer<Signal>) {
        let mut newest: Vec<Option<Signal>> = vec![None; self.table.len()];
        let started = Instant::now();
        let mut status_at = started + STATUS_LINE_EVERY;
        let mut drawn_lines = 0;
        loop {
            let finished = signals.is_abandoned();
            let mut out = String::new();
            while let Ok(signal) = signals.pop() {
                let slot = &mut newest[signal.instrument.index()];
                let before = slot.replace(signal).map_or(Action::Hold, |s| s.action);
                if self.mode == Mode::Lines && before != signal.action {
                    let _ = writeln!(out, "{}", self.line(&signal));
                }
            }
            match self.mode {
                Mode::Table => {
                    if drawn_lines > 0 {
                        let _ = write!(out, "\x1b[{drawn_lines}A");
                    }
                    let table = self.draw(&newest, started.elapsed());
                    drawn_lines = table.lines().count();
                    out.push_str(&table);
                }
                Mode::Lines if Instant::now() >= status_at => {
                    status_at += STATUS_LINE_EVERY;
                    let _ = writeln!(out, "{}", self.status(started.elapsed()));
                }
                _ => {}
            }
            let mut stdout = std::io::stdout().lock();
            if stdout.write_all(out.as_bytes()).and_then(|()| stdout.flush()).is_err() || finished {
                return;
            }
            drop(stdout);
            std::thread::sleep(FRAME);
        }
    }

    fn status(&self, elapsed: Duration) -> String {
        let Snapshot { events, cycles, missed, conflated, desyncs, ready, halted } =
            self.stats.snapshot();
        format!(
            "{:>5.0} s  {cycles} cycles ({missed} missed)  {events} events  {conflated} conflated  \
             {desyncs} desyncs  {ready}/{} ready{}",
            elapsed.as_secs_f64(),
            self.table.len(),
            if halted { "  HALTED" } else { "" }
        )
    }

    fn line(&self, s: &Signal) -> String {
        let instrument = self.table.get(s.instrument);
        format!(
            "{:<5} {:<24} value {:.3}  confidence {:.3}  agreement {:.2}  mid {}  {}",
            s.action.name(),
            instrument.key(),
            s.value,
            s.confidence,
            s.agreement,
            instrument.price(s.mid_x2) / 2.0,
            s.reason.name()
        )
    }

    fn draw(&self, newest: &[Option<Signal>], elapsed: Duration) -> String {
        let mut out = format!(
            "\x1b[K\x1b[1mpurkinje\x1b[0m  {}\n\x1b[K{}\n",
            self.title,
            self.status(elapsed)
        );
        let _ = write!(
            out,
            "\x1b[K\x1b[2m{:<24} {:>14}  {:<6} {:>6} {:>6} {:>6} {:>8}",
            "instrument", "mid", "signal", "value", "conf.", "agree", "age ms"
        );
        for name in &self.members {
            let _ = write!(out, "  {name:>16}");
        }
        out.push_str("  reason\x1b[0m\n");
        for signal in newest.iter().flatten() {
            let instrument = self.table.get(signal.instrument);
            let (colour, end) = match signal.action {
                Action::Buy => ("\x1b[1;32m", "\x1b[0m"),
                Action::Sell => ("\x1b[1;31m", "\x1b[0m"),
                Action::Hold => ("\x1b[2m", "\x1b[0m"),
            };
            let age_ms = (signal.ts_signal_ns - signal.ts_recv_ns) as f64 / 1e6;
            let _ = write!(
                out,
                "\x1b[K{:<24} {:>14.4}  {colour}{:<6}{end} {:>6.3} {:>6.3} {:>6.2} {:>8.2}",
                instrument.key(),
                instrument.price(signal.mid_x2) / 2.0,
                signal.action.name(),
                signal.value,
                signal.confidence,
                signal.agreement,
                if signal.ts_recv_ns == 0 { f64::NAN } else { age_ms },
            );
            for member in &signal.members[..usize::from(signal.member_count)] {
                let _ = write!(out, "  {:>8.3} w{:>5.1}%", member.value, member.weight * 100.0);
            }
            let _ = writeln!(out, "  {}", signal.reason.name());
        }
        out
    }
}
