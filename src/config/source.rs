//! Text to entries: every key and value of a TOML text, an environment or a flag, with its place.
//!
//! Invariants: nothing is judged here beyond being TOML; no text panics; a file over
//! [`MAX_FILE_BYTES`] is refused before it is parsed (nesting is bounded by the parser).

use super::problem::{Origin, Problem, shortened};
use std::sync::Arc;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Largest configuration file, in bytes.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 20;

/// A value as it was written.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Line of the value, from 1; 0 outside files.
    pub(crate) line: u32,
    /// The text of the value, shortened, for messages.
    pub(crate) text: String,
    /// The value.
    pub(crate) data: Data,
}

/// The value itself.
#[derive(Clone, Debug)]
pub(crate) enum Data {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Array(Vec<Node>),
    Table(Vec<(String, Node)>),
    /// A date, a time, or an integer beyond 64 bits: what no key takes.
    Foreign,
}

/// One key of one layer.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Full path, document prefix included.
    pub(crate) path: String,
    /// The path as its own document spells it, for messages.
    pub(crate) shown: String,
    pub(crate) origin: Origin,
    pub(crate) node: Node,
}

/// The keys of a TOML text, each under `prefix`. A table is descended into unless `is_key` says
/// that its path is itself a key.
pub(crate) fn parse_file(
    name: &Arc<str>,
    text: &str,
    prefix: &str,
    is_key: &dyn Fn(&str) -> bool,
) -> Result<Vec<Entry>, Problem> {
    let lines = Lines::new(text);
    let root = DeTable::parse(text).map_err(|error| {
        let (line, column) = lines.position(error.span().map_or(text.len(), |span| span.start));
        Problem::Syntax { path: name.to_string(), line, column, reason: reason(&error) }
    })?;
    let mut entries = Vec::new();
    let walk = Walk { name, lines: &lines, prefix, is_key };
    walk.table(root.get_ref(), "", &mut entries);
    entries.sort_by_key(|entry| match entry.origin {
        Origin::File { line, .. } => line,
        _ => 0,
    });
    Ok(entries)
}

fn reason(error: &toml::de::Error) -> String {
    let message = shortened(error.message());
    if message.is_empty() { "the text is malformed".to_owned() } else { message }
}

/// A TOML value alone, as a flag or an environment variable may hold it.
pub(crate) fn parse_value(text: &str) -> Option<Node> {
    if text.len() as u64 > MAX_FILE_BYTES {
        return None;
    }
    let value = DeValue::parse(text).ok()?;
    Some(Node { line: 0, ..node(&value, &Lines::new(text)) })
}

struct Walk<'a> {
    name: &'a Arc<str>,
    lines: &'a Lines<'a>,
    prefix: &'a str,
    is_key: &'a dyn Fn(&str) -> bool,
}

impl Walk<'_> {
    fn table(&self, table: &DeTable<'_>, section: &str, entries: &mut Vec<Entry>) {
        for (key, value) in table {
            let shown = if section.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{section}.{}", key.get_ref())
            };
            let path = format!("{}{shown}", self.prefix);
            match value.get_ref() {
                DeValue::Table(inner) if !inner.is_empty() && !(self.is_key)(&path) => {
                    self.table(inner, &shown, entries);
                }
                _ => {
                    let (line, _) = self.lines.position(key.span().start);
                    let origin = Origin::File { path: Arc::clone(self.name), line };
                    entries.push(Entry { path, shown, origin, node: node(value, self.lines) });
                }
            }
        }
    }
}

fn node(value: &Spanned<DeValue<'_>>, lines: &Lines<'_>) -> Node {
    let span = value.span();
    let (line, _) = lines.position(span.start);
    let written = lines.text.get(span).unwrap_or_default();
    let data = match value.get_ref() {
        DeValue::String(text) => Data::Text(text.to_string()),
        DeValue::Integer(n) => {
            i64::from_str_radix(n.as_str(), n.radix()).map_or(Data::Foreign, Data::Int)
        }
        DeValue::Float(x) => x.as_str().parse().map_or(Data::Foreign, Data::Float),
        DeValue::Boolean(b) => Data::Bool(*b),
        DeValue::Datetime(_) => Data::Foreign,
        DeValue::Array(items) => Data::Array(items.iter().map(|v| node(v, lines)).collect()),
        DeValue::Table(table) => Data::Table(
            table.iter().map(|(k, v)| (k.get_ref().to_string(), node(v, lines))).collect(),
        ),
    };
    Node { line, text: shortened(written), data }
}

/// Byte offsets to lines and columns.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        Self { text, starts: std::iter::once(0).chain(breaks).collect() }
    }

    /// Line and column in characters, both from 1.
    fn position(&self, offset: usize) -> (u32, u32) {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        let start = self.starts[line - 1];
        let before = self.text.get(start..offset.min(self.text.len())).unwrap_or_default();
        (line as u32, before.chars().count() as u32 + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(text: &str) -> Vec<(String, u32, String)> {
        let parsed = parse_file(&"a.toml".into(), text, "", &|path| path == "list").unwrap();
        parsed
            .into_iter()
            .map(|e| match e.origin {
                Origin::File { line, .. } => (e.path, line, e.node.text),
                other => panic!("{other}"),
            })
            .collect()
    }

    #[test]
    fn every_form_of_a_key_has_its_line_and_its_written_value() {
        let text = "top = 1_000\n\n[a]\nb.c = 'x' # note\n\"d\" = [1,\n 2]\n[e]\n";
        let expected = [("top", 1, "1_000"), ("a.b.c", 4, "'x'"), ("a.d", 5, "[1,  2]")];
        let found = entries(text);
        for (want, got) in expected.iter().zip(&found) {
            assert_eq!((want.0, want.1, want.2), (got.0.as_str(), got.1, got.2.as_str()));
        }
        assert_eq!((found[3].0.as_str(), found[3].1), ("e", 7), "an empty table is an entry");
    }

    #[test]
    fn a_syntax_error_has_line_and_column() {
        let error = parse_file(&"a.toml".into(), "'é' = 1\n[a]\n'é' = = 2\n", "", &|_| false);
        let Err(Problem::Syntax { path, line, column, .. }) = error else { panic!("{error:?}") };
        assert_eq!(path, "a.toml");
        assert_eq!((line, column), (3, 7), "columns count characters, not bytes");
    }

    #[test]
    fn integers_beyond_64_bits_are_foreign_and_not_wrapped() {
        let node = parse_value("9223372036854775808").unwrap();
        assert!(matches!(node.data, Data::Foreign));
        assert!(matches!(parse_value("-0x1").map(|n| n.data), None | Some(Data::Foreign)));
        assert!(matches!(parse_value("0xff").unwrap().data, Data::Int(255)));
    }
}
