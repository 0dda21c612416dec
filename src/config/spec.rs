//! What one configuration key is: its path, its kind with bounds, its default, unit and meaning.
//!
//! Everything else (validation, defaults, the effective dump, the reference, the example file) is
//! read off these descriptions, so a key exists once. Invariant: a description is `'static` data
//! and pure; nothing here looks at a file, a clock or the environment.

use std::fmt::Write as _;

/// One of the three documents a configuration is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Document {
    /// `purkinje.toml`, the daemon.
    Daemon,
    /// `feeds/presets/*.toml`: venue, addresses, channels, instruments.
    Feed,
    /// `strategies/presets/*.toml`: members, horizon, features, thresholds, risk.
    Strategy,
}

impl Document {
    /// The documents, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Daemon, Self::Feed, Self::Strategy];

    /// What precedes the keys of this document in the common name space of `purkinje.toml`.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Daemon => "",
            Self::Feed => "feed.",
            Self::Strategy => "strategy.",
        }
    }

    /// The keys of this document.
    #[must_use]
    pub fn keys(self) -> &'static [KeySpec] {
        match self {
            Self::Daemon => super::table::DAEMON,
            Self::Feed => super::table::FEED,
            Self::Strategy => super::table::STRATEGY,
        }
    }
}

/// What values a key takes. Bounds are inclusive.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A whole number.
    Int {
        /// Smallest value.
        min: i64,
        /// Largest value.
        max: i64,
    },
    /// A finite number; a whole number is taken as well.
    Float {
        /// Smallest value.
        min: f64,
        /// Largest value.
        max: f64,
    },
    /// `true` or `false`.
    Bool,
    /// Any text without control characters.
    Text,
    /// A file or directory; may be empty where the default is.
    Path,
    /// An address with one of these schemes, or empty.
    Url(&'static [&'static str]),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An instrument's symbol: `A-Z`, `0-9` and, in a venue's own spelling, `a-z`, `_`, `-`, `/` and `.`.
    Symbol {
        /// Most characters.
        max: usize,
        /// Whether it is a venue's own spelling.
        is_venues: bool,
    },
    /// Distinct values of one kind.
    List {
        /// Kind of each value.
        of: &'static Kind,
        /// Fewest values.
        min: usize,
        /// Most values.
        max: usize,
    },
    /// Tables with the given keys, told apart by the first of them.
    Tables {
        /// Keys of each table.
        keys: &'static [KeySpec],
        /// Most tables.
        max: usize,
    },
}

/// Longest text a key takes, in bytes.
pub(crate) const MAX_TEXT_BYTES: usize = 4096;

/// A default, in a form that a `static` can hold.
#[derive(Clone, Copy, Debug)]
pub enum Literal {
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text.
    Text(&'static str),
    /// A list of texts.
    Texts(&'static [&'static str]),
    /// No default: the document must give the key.
    Required,
}

impl Literal {
    /// The default as a TOML value; `None` when the key is required.
    pub(crate) fn value(self) -> Option<toml::Value> {
        match self {
            Self::Int(n) => Some(toml::Value::Integer(n)),
            Self::Float(x) => Some(toml::Value::Float(x)),
            Self::Bool(b) => Some(toml::Value::Boolean(b)),
            Self::Text(s) => Some(toml::Value::String(s.to_owned())),
            Self::Texts(list) => {
                Some(toml::Value::Array(list.iter().map(|s| (*s).into()).collect()))
            }
            Self::Required => None,
        }
    }
}

/// One key of one document.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Path inside its document, for example `cycle.period_ms`.
    pub path: &'static str,
    /// Values it takes.
    pub kind: Kind,
    /// Value when no layer gives one.
    pub default: Literal,
    /// Unit of the value; empty for plain numbers, words and names.
    pub unit: &'static str,
    /// Meaning, in one or two sentences.
    pub doc: &'static str,
    /// Whether the value can change the signals made from a given recorded input; only such keys
    /// enter the configuration hash.
    pub affects_signals: bool,
    /// Whether it enters the hash only with a value other than its default.
    pub is_later: bool,
    /// Whether a running daemon takes another value at a reload; otherwise that needs a restart.
    pub is_live: bool,
    /// Whether the value is never printed.
    pub secret: bool,
}

impl KeySpec {
    const fn new(path: &'static str, kind: Kind, default: Literal, doc: &'static str) -> Self {
        Self {
            path,
            kind,
            default,
            unit: "",
            doc,
            affects_signals: false,
            is_later: false,
            is_live: false,
            secret: false,
        }
    }

    /// A whole number in `min..=max`.
    pub(crate) const fn int(
        path: &'static str,
        default: i64,
        (min, max): (i64, i64),
        doc: &'static str,
    ) -> Self {
        Self::new(path, Kind::Int { min, max }, Literal::Int(default), doc)
    }

    /// A number in `min..=max`.
    pub(crate) const fn float(
        path: &'static str,
        default: f64,
        (min, max): (f64, f64),
        doc: &'static str,
    ) -> Self {
        Self::new(path, Kind::Float { min, max }, Literal::Float(default), doc)
    }

    /// A truth value.
    pub(crate) const fn bool(path: &'static str, default: bool, doc: &'static str) -> Self {
        Self::new(path, Kind::Bool, Literal::Bool(default), doc)
    }

    /// A text.
    pub(crate) const fn text(path: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self::new(path, Kind::Text, Literal::Text(default), doc)
    }

    /// A file or directory.
    pub(crate) const fn path(path: &'static str, default: &'static str, doc: &'static str) -> Self {
        Self::new(path, Kind::Path, Literal::Text(default), doc)
    }

    /// An address, empty by default.
    pub(crate) const fn url(
        path: &'static str,
        schemes: &'static [&'static str],
        doc: &'static str,
    ) -> Self {
        Self::new(path, Kind::Url(schemes), Literal::Text(""), doc)
    }

    /// One of `words`, the first of which is the default.
    pub(crate) const fn choice(
        path: &'static str,
        words: &'static [&'static str],
        doc: &'static str,
    ) -> Self {
        Self::new(path, Kind::Choice(words), Literal::Text(words[0]), doc)
    }

    /// Distinct values of one kind.
    pub(crate) const fn list(
        path: &'static str,
        of: &'static Kind,
        (min, max): (usize, usize),
        default: &'static [&'static str],
        doc: &'static str,
    ) -> Self {
        Self::new(path, Kind::List { of, min, max }, Literal::Texts(default), doc)
    }

    /// Tables, none by default.
    pub(crate) const fn tables(
        path: &'static str,
        keys: &'static [KeySpec],
        max: usize,
        doc: &'static str,
    ) -> Self {
        Self::new(path, Kind::Tables { keys, max }, Literal::Texts(&[]), doc)
    }

    /// A venue's symbol, without a default.
    pub(crate) const fn symbol(path: &'static str, doc: &'static str) -> Self {
        Self::new(path, Kind::Symbol { max: 48, is_venues: true }, Literal::Required, doc)
    }

    /// The same key without a default.
    pub(crate) const fn required(mut self) -> Self {
        self.default = Literal::Required;
        self
    }

    /// The same key with a unit.
    pub(crate) const fn unit(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self
    }

    /// The same key, entering the configuration hash.
    pub(crate) const fn signals(mut self) -> Self {
        self.affects_signals = true;
        self
    }

    /// The same key, entering the configuration hash only where it is not at its default: that of a key
    /// which came later is what was done before, so what is known under an older hash stays known.
    pub(crate) const fn later_signals(mut self) -> Self {
        self.is_later = true;
        self.signals()
    }

    /// The same key, taken by a running daemon at a reload.
    pub(crate) const fn live(mut self) -> Self {
        self.is_live = true;
        self
    }

    /// Whether `text` may stand for the key's value where it is empty: only if the default is.
    pub(crate) fn may_be_empty(&self) -> bool {
        matches!(self.default, Literal::Text(""))
    }

    /// What the key takes, as it ends a sentence that begins with "expected".
    #[must_use]
    pub fn expected(&self) -> String {
        let mut out = self.kind.expected();
        if !self.unit.is_empty() {
            let _ = write!(out, " ({})", self.unit);
        }
        if self.may_be_empty() && matches!(self.kind, Kind::Url(_)) {
            out.push_str(" or \"\"");
        }
        out
    }
}

impl Kind {
    fn expected(&self) -> String {
        match self {
            Self::Int { min, max: i64::MAX } => format!("an integer not below {min}"),
            Self::Int { min, max } => format!("an integer from {min} to {max}"),
            Self::Float { min, max } => format!("a number from {min} to {max}"),
            Self::Bool => "true or false".to_owned(),
            Self::Text => {
                format!("a text of at most {MAX_TEXT_BYTES} bytes without control characters")
            }
            Self::Path => "a path".to_owned(),
            Self::Url(schemes) => format!("an address that begins with {}", schemes.join(" or ")),
            Self::Choice(words) => format!("one of {}", quoted(words)),
            Self::Symbol { max, is_venues } => {
                let letters = if *is_venues { "A-Z, a-z, 0-9, _, -, / or ." } else { "A-Z or 0-9" };
                format!("a symbol of 1 to {max} characters {letters}")
            }
            Self::List { of, min, max } => {
                format!("a list of {min} to {max} distinct values, each {}", of.expected())
            }
            Self::Tables { keys, max } => {
                let names: Vec<_> = keys.iter().map(|k| k.path).collect();
                format!("a list of at most {max} tables with the keys {}", names.join(", "))
            }
        }
    }
}

/// `"a", "b" or "c"`.
pub(crate) fn quoted(words: &[&str]) -> String {
    let mut out = String::new();
    for (i, word) in words.iter().enumerate() {
        let joint = match i {
            0 => "",
            _ if i + 1 == words.len() => " or ",
            _ => ", ",
        };
        let _ = write!(out, "{joint}\"{word}\"");
    }
    out
}

/// The environment variable of a full path: `cycle.period_ms` is `PURKINJE_CYCLE_PERIOD_MS`.
#[must_use]
pub fn env_name(full_path: &str) -> String {
    format!("PURKINJE_{}", full_path.replace(['.', '-'], "_").to_ascii_uppercase())
}
