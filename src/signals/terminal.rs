//! Signals for human eyes: a live table on a terminal, lines elsewhere.
//!
//! Runs on its own thread at a human pace; it sees the newest signal of each instrument and never
//! slows the sink down. Invariants: no line is longer than the terminal is wide and no table is
//! higher, because a line that wraps would leave its remains behind at every redraw; each frame is
//! one write that overwrites the one before in place; colours only where they are wanted
//! (`NO_COLOR` unset or empty).

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    sync::Arc,
    time::{Duration, Instant},
};

use purkinje_feeds::{Instrument, InstrumentTable};
use rtrb::Consumer;

use super::{Action, MAX_MEMBERS, Signal};
use crate::pipeline::live_stats::{LiveStats, Snapshot};

const FRAME: Duration = Duration::from_millis(250);
const STATUS_LINE_EVERY: Duration = Duration::from_secs(5);

/// Decimals of a price shown at most.
const PRICE_DECIMALS: u8 = 6;

/// Lines of the table that are not instruments: title, status, two of column heads, the line of the cursor.
const OTHER_LINES: usize = 5;

const BOLD: &str = "1";
const DIM: &str = "2";
const GREEN: &str = "1;32";
const RED: &str = "1;31";
const PLAIN: &str = "";

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
        let is_dumb = || std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        match name {
            "table" => Self::Table,
            "lines" => Self::Lines,
            "off" => Self::Off,
            _ if std::io::stdout().is_terminal() && !is_dumb() => Self::Table,
            _ => Self::Lines,
        }
    }
}

/// What there is to draw on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Screen {
    columns: usize,
    rows: usize,
    colours: bool,
}

impl Screen {
    /// Standard output as it is now; a size that it does not tell counts as unlimited.
    fn of_stdout() -> Self {
        // SAFETY: winsize is plain numbers, for which zero is a value.
        let mut size: libc::winsize = unsafe { std::mem::zeroed() };
        // SAFETY: the request writes one winsize to where it is told.
        let known =
            unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, &raw mut size) == 0 };
        let or_any = |n: u16| if known && n > 0 { usize::from(n) } else { usize::MAX };
        Self {
            columns: or_any(size.ws_col),
            rows: or_any(size.ws_row),
            colours: std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        }
    }

    /// Appends one line of styled parts, cut at the right edge, and clears what stood behind it.
    fn line(&self, out: &mut String, parts: &[(&str, &str)]) {
        let mut left = self.columns;
        for (style, text) in parts {
            let shown: String = text.chars().take(left).collect();
            left -= shown.chars().count();
            if self.colours && !style.is_empty() && !shown.is_empty() {
                let _ = write!(out, "\x1b[{style}m{shown}\x1b[0m");
            } else {
                out.push_str(&shown);
            }
        }
        out.push_str("\x1b[K\n");
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
                        let _ = write!(out, "\r\x1b[{drawn_lines}A");
                    }
                    let table = self.draw(&newest, started.elapsed(), Screen::of_stdout());
                    drawn_lines = table.lines().count();
                    out.push_str(&table);
                    // The table before may have been higher.
                    out.push_str("\x1b[J");
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
        let Snapshot { events, cycles, missed, conflated, desyncs, ready, halted, stale_topics } =
            self.stats.snapshot();
        let mut text = format!(
            "{:>5.0} s  {ready}/{} ready  {cycles} cycles ({missed} missed)  {events} events  \
             {conflated} conflated  {desyncs} desyncs",
            elapsed.as_secs_f64(),
            self.table.len(),
        );
        if stale_topics > 0 {
            let _ = write!(text, "  {stale_topics} topics stale");
        }
        if halted {
            text.push_str("  HALTED");
        }
        if let Some(trouble) = self.stats.trouble() {
            let _ = write!(text, "  {trouble}");
        }
        text
    }

    /// Names of the instruments; without the venue where there is only one.
    fn names(&self) -> Vec<String> {
        let mut venues = self.table.iter().map(|(_, i)| i.venue);
        let first = venues.next();
        let one_venue = venues.all(|v| Some(v) == first);
        let name = |i: &Instrument| if one_venue { i.symbol.clone() } else { i.key() };
        self.table.iter().map(|(_, i)| name(i)).collect()
    }

    fn mid(&self, signal: &Signal) -> String {
        let instrument = self.table.get(signal.instrument);
        if signal.mid_x2 == 0 {
            return "-".into();
        }
        // A mid price may lie between two steps.
        let decimals = (instrument.price_decimals + 1).min(PRICE_DECIMALS);
        format!("{:.*}", usize::from(decimals), instrument.price(signal.mid_x2) / 2.0)
    }

    fn line(&self, s: &Signal) -> String {
        format!(
            "{:<5} {:<24} value {:.3}  confidence {:.3}  agreement {:.2}  mid {}  {}",
            s.action.name(),
            self.table.get(s.instrument).key(),
            s.value,
            s.confidence,
            s.agreement,
            self.mid(s),
            s.reason.name()
        )
    }

    fn draw(&self, newest: &[Option<Signal>], elapsed: Duration, screen: Screen) -> String {
        let keys = self.names();
        let name_width = keys.iter().map(|k| k.chars().count()).max().unwrap_or(0).max(10);
        let fixed = name_width + NUMBERS_WIDTH + REASON_WIDTH;
        let room = screen.columns.saturating_sub(fixed) / MEMBER_WIDTH;
        let newest_signal = newest.iter().flatten().max_by_key(|s| s.seq);
        let weights = newest_signal.map_or([0.0; MAX_MEMBERS], |s| s.members.map(|m| m.weight));
        let members = heaviest(&weights[..self.members.len().min(MAX_MEMBERS)], room);
        let mut out = String::new();
        screen.line(&mut out, &[(BOLD, "purkinje"), (PLAIN, "  "), (PLAIN, &self.title)]);
        screen.line(&mut out, &[(PLAIN, &self.status(elapsed))]);
        let mut heads = format!(
            "{:<name_width$}{:>15}  {:<4}  {:>6}  {:>6}  {:>5}  {:>8}",
            "instrument", "mid", "act", "value", "conf.", "agree", "age ms"
        );
        let mut shares = format!("{:>width$}", "weight", width = name_width + NUMBERS_WIDTH);
        for &k in &members {
            let name: String = self.members[k].chars().take(MEMBER_WIDTH - 2).collect();
            let _ = write!(heads, "  {name:>10}");
            let _ = write!(shares, "  {:>8.1} %", weights[k] * 100.0);
        }
        heads.push_str("  reason");
        screen.line(&mut out, &[(DIM, &heads)]);
        screen.line(&mut out, &[(DIM, if members.is_empty() { "" } else { &shares })]);
        let room = screen.rows.saturating_sub(OTHER_LINES).max(1);
        let shown = if newest.len() > room { room - 1 } else { newest.len() };
        for (key, signal) in keys.iter().zip(newest).take(shown) {
            if let Some(signal) = signal {
                self.row(&mut out, screen, (key, name_width), signal, &members);
            } else {
                let waiting = format!("{key:<name_width$}{:>15}", "-");
                screen.line(&mut out, &[(PLAIN, &waiting)]);
            }
        }
        if shown < newest.len() {
            let more = format!("and {} more", newest.len() - shown);
            screen.line(&mut out, &[(DIM, &more)]);
        }
        out
    }

    fn row(
        &self,
        out: &mut String,
        screen: Screen,
        (key, name_width): (&str, usize),
        signal: &Signal,
        members: &[usize],
    ) {
        let style = match signal.action {
            Action::Buy => GREEN,
            Action::Sell => RED,
            Action::Hold => DIM,
        };
        let before = format!("{key:<name_width$}{:>15}  ", self.mid(signal));
        let action = format!("{:<4}", signal.action.name());
        let age = if signal.ts_recv_ns == 0 {
            "-".to_owned()
        } else {
            format!("{:.1}", signal.ts_signal_ns.saturating_sub(signal.ts_recv_ns) as f64 / 1e6)
        };
        let mut after = format!(
            "  {:>6.3}  {:>6.3}  {:>5.2}  {age:>8}",
            signal.value, signal.confidence, signal.agreement
        );
        for &k in members {
            let p = signal.members[k].value;
            let value = if p.is_nan() { "-".to_owned() } else { format!("{p:.3}") };
            let _ = write!(after, "  {value:>10}");
        }
        let _ = write!(after, "  {}", signal.reason.name());
        screen.line(out, &[(PLAIN, &before), (style, &action), (PLAIN, &after)]);
    }
}

/// The members with the largest weights, at most `room` of them, in their own order.
fn heaviest(weights: &[f32], room: usize) -> Vec<usize> {
    let mut members: Vec<usize> = (0..weights.len()).collect();
    members.sort_by(|a, b| weights[*b].total_cmp(&weights[*a]));
    members.truncate(room);
    members.sort_unstable();
    members
}

/// Columns from the mid price to the age, and of one member and the longest reason.
const NUMBERS_WIDTH: usize = 15 + 6 + 8 + 8 + 7 + 10;
const MEMBER_WIDTH: usize = 12;
const REASON_WIDTH: usize = 18;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signals::{MemberView, Reason};
    use purkinje_feeds::{InstrumentId, Venue};

    fn terminal(instruments: usize) -> (Terminal, Vec<Option<Signal>>) {
        let instrument = |i| Instrument {
            venue: Venue::BinanceUsdm,
            symbol: format!("SIM{i}"),
            price_decimals: 4,
            qty_decimals: 3,
        };
        let table = InstrumentTable::new((0..instruments).map(instrument).collect()).unwrap();
        let signal = |(id, _): (InstrumentId, &Instrument)| {
            Some(Signal {
                seq: 1,
                cycle: 1,
                instrument: id,
                action: if id.0 % 2 == 0 { Action::Buy } else { Action::Hold },
                reason: Reason::InvalidForecast,
                value: 0.7,
                confidence: 0.8,
                mid_x2: 6_180_001,
                agreement: 1.0,
                decided_by: None,
                challenger_evidence_log10: f32::NAN,
                conformal_set: None,
                anomaly: f32::NAN,
                ts_venue_ns: 1,
                ts_recv_ns: 2,
                ts_cycle_ns: 3,
                ts_signal_ns: 4_000_000,
                recv_mono_ns: 5,
                made_mono_ns: 6,
                members: [MemberView { value: f32::NAN, weight: 0.0 }; MAX_MEMBERS],
                member_count: 4,
            })
        };
        let newest = table.iter().map(signal).collect();
        let names = ["cerebellum", "logistic", "queue-imbalance", "persistence"];
        let terminal = Terminal {
            mode: Mode::Table,
            table: Arc::new(table),
            members: names.map(str::to_owned).to_vec(),
            title: "a rather long title of what the daemon listens to and how".into(),
            stats: Arc::default(),
        };
        (terminal, newest)
    }

    fn widths(drawn: &str) -> Vec<usize> {
        drawn.lines().map(|l| l.replace("\x1b[K", "").chars().count()).collect()
    }

    #[test]
    fn where_not_all_members_fit_the_ones_that_matter_are_shown() {
        assert_eq!(heaviest(&[0.1, 0.5, 0.0, 0.4], 2), [1, 3]);
        assert_eq!(heaviest(&[0.1, 0.5], 9), [0, 1]);
        assert_eq!(heaviest(&[0.1, 0.5], 0), [] as [usize; 0]);
    }

    #[test]
    fn no_line_is_wider_and_no_table_higher_than_the_terminal() {
        let (terminal, newest) = terminal(30);
        for (columns, rows) in [(40, 10), (80, 24), (100, 24), (132, 50), (400, 5), (1, 1)] {
            let screen = Screen { columns, rows, colours: false };
            let drawn = terminal.draw(&newest, Duration::from_secs(3), screen);
            let widths = widths(&drawn);
            assert!(widths.iter().all(|&w| w <= columns), "{columns} columns:\n{drawn}");
            assert!(widths.len() <= rows.max(OTHER_LINES), "{rows} rows:\n{drawn}");
        }
    }

    #[test]
    fn a_row_stands_under_its_heads_and_nothing_is_lost_on_a_wide_terminal() {
        let (terminal, newest) = terminal(2);
        let screen = Screen { columns: 200, rows: 50, colours: false };
        let drawn = terminal.draw(&newest, Duration::ZERO, screen);
        let lines: Vec<&str> = drawn.lines().collect();
        let at = |line: &str, word| line.find(word).unwrap();
        assert_eq!(at(lines[2], "act"), at(lines[4], "BUY"));
        assert_eq!(at(lines[2], "act"), at(lines[5], "HOLD"));
        assert_eq!(at(lines[2], "reason"), at(lines[4], "invalid_forecast"));
        assert!(lines[4].contains("309.00005"), "{}", lines[4]);
        assert!(lines[2].contains("persistenc") && lines[3].contains("weight"));
    }

    #[test]
    fn colours_come_only_where_they_are_wanted() {
        let (terminal, newest) = terminal(2);
        let draw = |colours| {
            let screen = Screen { columns: 200, rows: 50, colours };
            terminal.draw(&newest, Duration::ZERO, screen)
        };
        assert!(draw(true).contains("\x1b[1;32mBUY"));
        assert!(!draw(false).replace("\x1b[K", "").contains('\x1b'));
    }
}
