//! How far a long task is: a bar on a terminal, plain lines anywhere else.
//!
//! Invariants: a pipe or file gets printable text and newlines only, whatever messages hold, and at
//! most [`LINES`] + 1 lines of progress beside the notes; on a terminal the bar is redrawn at most
//! twenty times a second; what cannot be shown is dropped: progress never fails a task.

use std::fmt::{self, Write as _};
use std::io::{self, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Lines into a pipe from start to end.
pub const LINES: u64 = 10;

/// Longest message shown, characters.
const MAX_MESSAGE_CHARS: usize = 160;

/// Progress of one task.
pub struct Progress {
    title: String,
    unit: &'static str,
    total: u64,
    done: u64,
    message: String,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    Lines { out: Box<dyn Write + Send>, next: u64 },
}

impl Progress {
    /// Progress on standard error, up to `total` of `unit` (plural).
    #[must_use]
    pub fn stderr(title: &str, unit: &'static str, total: u64) -> Self {
        let target = ProgressDrawTarget::stderr();
        if target.is_hidden() {
            Self::lines(title, unit, total, Box::new(io::stderr()))
        } else {
            Self::bar(title, unit, total, target)
        }
    }

    /// Progress as plain lines, one a tenth.
    #[must_use]
    pub fn lines(title: &str, unit: &'static str, total: u64, out: Box<dyn Write + Send>) -> Self {
        Self::new(title, unit, total, Shown::Lines { out, next: 1 })
    }

    fn bar(title: &str, unit: &'static str, total: u64, target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), target);
        let template = "{prefix} {bar:30} {pos}/{len} {eta_precise} left {msg}";
        // The template is a constant, so that it is either always accepted or never.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(printable(title));
        Self::new(title, unit, total, Shown::Bar(bar))
    }

    fn new(title: &str, unit: &'static str, total: u64, shown: Shown) -> Self {
        let (title, message) = (printable(title), String::new());
        Self { title, unit, total, done: 0, message, shown }
    }

    /// So much is done, in all; `message` is shown beside it.
    pub fn set(&mut self, done: u64, message: &str) {
        self.done = done.min(self.total);
        self.message = printable(message);
        match &mut self.shown {
            Shown::Bar(bar) => {
                bar.set_message(self.message.clone());
                bar.set_position(self.done);
            }
            Shown::Lines { next, .. } => {
                let tenths = u128::from(self.done) * u128::from(LINES);
                let reached = tenths.checked_div(u128::from(self.total)).unwrap_or(0) as u64;
                if reached >= *next {
                    *next = reached + 1;
                    self.line();
                }
            }
        }
    }

    /// Says something that stays, on a line of its own.
    pub fn note(&mut self, text: &str) {
        let text = printable(text);
        match &mut self.shown {
            Shown::Bar(bar) => bar.println(text),
            Shown::Lines { out, .. } => drop(writeln!(out, "{text}")),
        }
    }

    /// The task is over, be it done or stopped early: the last state stays on the screen.
    pub fn finish(mut self) {
        match &self.shown {
            Shown::Bar(bar) => bar.abandon(),
            Shown::Lines { next, .. } if *next > LINES => {}
            Shown::Lines { .. } => self.line(),
        }
    }

    fn line(&mut self) {
        let Self { title, unit, total, done, message, shown } = self;
        let Shown::Lines { out, .. } = shown else { return };
        let mut text = format!("{title}: {done} of {total} {unit}");
        if !message.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(text, ", {message}");
        }
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, done, total, .. } = self;
        f.debug_struct("Progress")
            .field("title", title)
            .field("done", done)
            .field("total", total)
            .finish_non_exhaustive()
    }
}

/// The text as one line without control characters, cut to a length.
fn printable(text: &str) -> String {
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(MAX_MESSAGE_CHARS).map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::sync::{Arc, Mutex};

    /// What was written, be it by lines or by a bar.
    #[derive(Clone, Debug, Default)]
    struct Sheet(Arc<Mutex<String>>);

    impl Sheet {
        fn text(&self) -> String {
            self.0.lock().unwrap().clone()
        }
    }

    impl Write for Sheet {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl TermLike for Sheet {
        fn width(&self) -> u16 {
            120
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.clone().write_all(format!("{text}\n").as_bytes())
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.clone().write_all(text.as_bytes())
        }
        fn clear_line(&self) -> io::Result<()> {
            Ok(())
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_pipe_gets_one_plain_line_a_tenth_and_the_notes() {
        let sheet = Sheet::default();
        let mut progress = Progress::lines("epoch 1", "rows", 1000, Box::new(sheet.clone()));
        for done in 1..=1000 {
            progress.set(done, &format!("loss {:.3}", 1.0 / f64::from(done as u32)));
        }
        progress.note("best so far\u{1b}[31m\r\nsaved");
        progress.finish();
        let text = sheet.text();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), LINES as usize + 1, "{text}");
        assert_eq!(lines[0], "epoch 1: 100 of 1000 rows, loss 0.010");
        assert_eq!(lines[9], "epoch 1: 1000 of 1000 rows, loss 0.001");
        assert_eq!(lines[10], "best so far [31m  saved");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }

    #[test]
    fn a_task_that_stops_early_says_where_and_nothing_of_nothing_is_fine() {
        let sheet = Sheet::default();
        let mut progress = Progress::lines("train", "epochs", 100, Box::new(sheet.clone()));
        progress.set(42, "stopped");
        progress.set(43, "stopped");
        progress.finish();
        let told = "train: 42 of 100 epochs, stopped\ntrain: 43 of 100 epochs, stopped\n";
        assert_eq!(sheet.text(), told);

        let sheet = Sheet::default();
        let mut progress = Progress::lines("nothing", "rows", 0, Box::new(sheet.clone()));
        progress.set(5, "");
        progress.finish();
        assert_eq!(sheet.text(), "nothing: 0 of 0 rows\n");
    }

    #[test]
    fn a_terminal_gets_a_bar_with_counts_and_message() {
        let sheet = Sheet::default();
        let target = ProgressDrawTarget::term_like(Box::new(sheet.clone()));
        let mut progress = Progress::bar("epoch 2", "rows", 10, target);
        progress.set(5, "loss 0.5");
        progress.note("a note");
        progress.finish();
        let text = sheet.text();
        for part in ["epoch 2", "5/10", "loss 0.5", "a note", "===="] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
    }
}
