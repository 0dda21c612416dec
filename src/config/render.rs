//! The configuration as text: the effective dump, the reference, the example file.
//!
//! Invariant: all are made from the table of keys, so none can disagree with what `load` accepts;
//! the dump, loaded as `purkinje.toml`, gives the configuration it was made from.

use super::loaded::{Effective, Loaded};
use super::rules::RULES;
use super::spec::{Document, KeySpec, Kind, Literal, env_name};
use std::fmt::Write as _;
use toml::Value;

impl Loaded {
    /// The effective configuration of all three documents as one TOML text that `load` takes as a
    /// `purkinje.toml`, each value with its origin as a comment.
    #[must_use]
    pub fn show(&self) -> String {
        let mut out = String::from(
            "# Effective configuration of purkinje and the origin of every value.\n\
             # This text is itself a valid purkinje.toml.\n",
        );
        let mut sections: Vec<&str> = Vec::new();
        for value in &self.values {
            let section = split_path(&value.path).0;
            if !sections.contains(&section) {
                sections.push(section);
            }
        }
        // Keys outside a section must precede the first section header.
        sections.sort_by_key(|section| !section.is_empty());
        for section in sections {
            out.push('\n');
            if !section.is_empty() {
                let _ = writeln!(out, "[{section}]");
            }
            for value in self.values.iter().filter(|v| split_path(&v.path).0 == section) {
                let key = split_path(&value.path).1;
                let _ = writeln!(out, "{key} = {}  # {}", spread(value), value.origin);
            }
        }
        out
    }
}

/// A list of tables on a line each, anything else as it is.
fn spread(value: &Effective) -> String {
    match (&value.spec.kind, &value.value) {
        (Kind::Tables { .. }, Value::Array(rows)) if !rows.is_empty() && !value.spec.secret => {
            let mut out = String::from("[\n");
            for row in rows {
                let _ = writeln!(out, "  {row},");
            }
            out + "]"
        }
        _ => value.shown(),
    }
}

/// Section and last part of a path.
fn split_path(path: &str) -> (&str, &str) {
    path.rsplit_once('.').unwrap_or(("", path))
}

/// The reference documentation: a Markdown table per document and the refused combinations.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "Layers, weakest first: built-in default, preset, `purkinje.toml`, environment, \
         `--set key=value`.\nKeys of the presets can be overridden in `purkinje.toml`, the \
         environment and flags under `feed.` and `strategy.`. A key marked † can change signals \
         and enters the configuration hash, later ones only with another value than the default. A \
         key marked ‡ is taken by a running daemon at a reload; a change of any other needs a \
         restart.\n",
    );
    for document in Document::ALL {
        let title = match document {
            Document::Daemon => "`purkinje.toml`",
            Document::Feed => "Feed presets (`feeds/presets/*.toml`)",
            Document::Strategy => "Strategy presets (`strategies/presets/*.toml`)",
        };
        let _ = write!(
            out,
            "\n### {title}\n\n| Key | Default | Takes | Environment | Meaning |\n\
             |---|---|---|---|---|\n"
        );
        for spec in document.keys() {
            let env = env_name(&format!("{}{}", document.prefix(), spec.path));
            reference_row(&mut out, spec.path, spec, &env);
            if let Kind::Tables { keys, .. } = spec.kind {
                for inner in keys {
                    reference_row(&mut out, &format!("{}[].{}", spec.path, inner.path), inner, "");
                }
            }
        }
    }
    out.push_str(
        "\n### Refused combinations\n\n| Key | Together with | Expected |\n|---|---|---|\n",
    );
    for rule in RULES {
        let others: Vec<_> = rule.others.iter().map(|key| format!("`{key}`")).collect();
        let expected = cell(rule.expected);
        let _ = writeln!(out, "| `{}` | {} | {expected} |", rule.key, others.join(", "));
    }
    out
}

fn reference_row(out: &mut String, path: &str, spec: &KeySpec, env: &str) {
    let default = spec.default.value().map_or_else(|| "required".to_owned(), |v| format!("`{v}`"));
    let mark = match (spec.affects_signals, spec.is_live) {
        (true, true) => " †‡",
        (true, false) => " †",
        (false, true) => " ‡",
        (false, false) => "",
    };
    let env = if env.is_empty() { String::new() } else { format!("`{env}`") };
    let (takes, doc) = (cell(&spec.expected()), cell(spec.doc));
    let _ = writeln!(out, "| `{path}`{mark} | {default} | {takes} | {env} | {doc} |");
}

/// Text inside a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// A `purkinje.toml` with every key of the daemon at its default, commented out and explained.
#[must_use]
pub fn example() -> String {
    let mut out = String::from(
        "# purkinje.toml: every setting of the daemon, commented out at its default.\n\
         # Keys of the feed and the strategy preset can be overridden here too, for example\n\
         # [strategy.thresholds] and buy_value; `purkinje config reference` lists them.\n\
         # Stronger than this file: PURKINJE_SECTION_KEY in the environment, then --set key=value.\n\
         # `purkinje reload` or SIGHUP reads it again: a running daemon takes what is marked live, and\n\
         # refuses a file that changes anything else; `purkinje config diff` says which it is.\n",
    );
    let mut current = "";
    for spec in Document::Daemon.keys() {
        let (section, key) = split_path(spec.path);
        if section != current {
            let _ = write!(out, "\n[{section}]");
            current = section;
        }
        out.push('\n');
        let live = if spec.is_live { " Live." } else { "" };
        wrap_comment(&mut out, &format!("{} Takes {}.{live}", spec.doc, spec.expected()));
        let default = spec.default.value().unwrap_or(Value::String(String::new()));
        let required = if matches!(spec.default, Literal::Required) { "  # required" } else { "" };
        let _ = writeln!(out, "#{key} = {default}{required}");
    }
    out
}

/// `text` as comment lines of at most 100 columns.
fn wrap_comment(out: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count() + 1;
        if width == 0 || width + length > 100 {
            if width > 0 {
                out.push('\n');
            }
            out.push('#');
            width = 1;
        }
        let _ = write!(out, " {word}");
        width += length;
    }
    out.push('\n');
}
