//! Where a value came from and what is wrong with it.
//!
//! Invariants: every message names the place, the key, the value as it was written (shortened to a
//! stated length) and what was expected; all problems of one load are reported together, in an order
//! that depends on the sources alone.

use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Longest piece of a written value that a message repeats, in characters.
const MAX_SHOWN_CHARS: usize = 60;

/// Where a value came from, weakest layer first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built-in default.
    Default,
    /// A line of a file or of a built-in preset.
    File {
        /// Path of the file; `builtin:feeds/NAME.toml` for a built-in preset.
        path: Arc<str>,
        /// Line, from 1.
        line: u32,
    },
    /// An environment variable.
    Env {
        /// Name of the variable.
        name: Arc<str>,
    },
    /// `--set` on the command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            // A path may hold anything; escaping keeps a message, and a comment, on its line.
            Self::File { path, line } => write!(f, "{}:{line}", path.escape_debug()),
            Self::Env { name } => write!(f, "env {}", name.escape_debug()),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A file that was asked for, or found, cannot be read.
    #[error("{path}: {reason}; expected a readable configuration file")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// A file is not TOML.
    #[error("{path}:{line}:{column}: not valid TOML: {reason}")]
    Syntax {
        /// The file.
        path: String,
        /// Line, from 1.
        line: u32,
        /// Column in characters, from 1.
        column: u32,
        /// The parser's words.
        reason: String,
    },
    /// A key that does not exist.
    #[error("{origin}: {key} = {value}: unknown key{}", did_you_mean(nearest.as_deref()))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// Its value as written.
        value: String,
        /// The known key most like it, if one is close.
        nearest: Option<String>,
    },
    /// A value of the wrong type or out of range.
    #[error("{origin}: {key} = {value}: expected {expected}")]
    Invalid {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// The value as written.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// A required key that no layer gives.
    #[error("{document}: {key} is missing: expected {expected}")]
    Missing {
        /// The document that must give it.
        document: String,
        /// The key.
        key: String,
        /// What was expected.
        expected: String,
    },
    /// Values that are each valid but not together.
    #[error("{origin}: {key} = {value} conflicts with {others}: expected {expected}")]
    Conflict {
        /// Where the first value stands.
        origin: Origin,
        /// Its key.
        key: String,
        /// The value.
        value: String,
        /// The other keys, their values and origins.
        others: String,
        /// What was expected.
        expected: String,
    },
    /// The table of keys and the typed structures differ: a defect of the program, not of input.
    #[error("the table of keys and its structures disagree ({0}): please report this defect")]
    Internal(String),
}

/// `; did you mean …?`, or nothing, for the message of an unknown name.
pub(crate) fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// `text` on one line and at most [`MAX_SHOWN_CHARS`] characters long.
pub(crate) fn shortened(text: &str) -> String {
    let mut shown: String = text.trim().chars().take(MAX_SHOWN_CHARS).collect();
    if text.trim().chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// All refusals of one load; never empty.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}
