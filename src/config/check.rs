//! One written value against the description of its key.
//!
//! Invariants: pure; what is returned is canonical (a whole number given for a float is a float, a
//! lone value given for a list is a list of one), so equal configurations compare and hash equal.

use super::problem::{Origin, Problem, did_you_mean, shortened};
use super::source::{Data, Node, parse_value};
use super::spec::{KeySpec, Kind, MAX_TEXT_BYTES};
use super::suggest::nearest;
use toml::Value;

/// The canonical value, or every problem with it. `key` is the path that messages name.
pub(crate) fn check(
    spec: &KeySpec,
    key: &str,
    origin: &Origin,
    node: &Node,
) -> Result<Value, Vec<Problem>> {
    match spec.kind {
        Kind::Tables { keys, max } => tables(spec, keys, max, key, origin, node),
        Kind::List { of, min, max } => list(spec, of, min, max, key, origin, node),
        kind => scalar(kind, spec.may_be_empty(), &node.data)
            .ok_or_else(|| vec![invalid(spec, key, origin, node, spec.expected())]),
    }
}

/// The node that an environment variable or a flag spells: raw text for text kinds, TOML for
/// numbers and truth values, and for lists either TOML or values separated by commas.
pub(crate) fn node_of_text(kind: Kind, text: &str) -> Node {
    let plain = |data| Node { line: 0, text: shortened(&format!("{text:?}")), data };
    match kind {
        Kind::Int { .. } | Kind::Float { .. } | Kind::Bool => match parse_value(text.trim()) {
            Some(node) => node,
            None => plain(Data::Text(text.to_owned())),
        },
        Kind::Text | Kind::Path | Kind::Url(_) | Kind::Choice(_) | Kind::Symbol { .. } => {
            plain(Data::Text(text.to_owned()))
        }
        Kind::List { .. } | Kind::Tables { .. } => match parse_value(text.trim()) {
            Some(node) if matches!(node.data, Data::Array(_)) => node,
            _ => plain(Data::Array(split(text))),
        },
    }
}

fn split(text: &str) -> Vec<Node> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let node = |part: &str| Node {
        line: 0,
        text: shortened(&format!("{part:?}")),
        data: Data::Text(part.to_owned()),
    };
    parts.map(node).collect()
}

fn invalid(spec: &KeySpec, key: &str, origin: &Origin, node: &Node, expected: String) -> Problem {
    let value = if spec.secret { "<redacted>".to_owned() } else { node.text.clone() };
    Problem::Invalid { origin: at(origin, node), key: key.to_owned(), value, expected }
}

/// The place of a part of a value: its own line where the value spans several.
fn at(origin: &Origin, node: &Node) -> Origin {
    match origin {
        Origin::File { path, .. } if node.line > 0 => {
            Origin::File { path: path.clone(), line: node.line }
        }
        other => other.clone(),
    }
}

fn scalar(kind: Kind, may_be_empty: bool, data: &Data) -> Option<Value> {
    match (kind, data) {
        (Kind::Int { min, max }, Data::Int(n)) => {
            (min..=max).contains(n).then_some(Value::Integer(*n))
        }
        (Kind::Float { min, max }, Data::Float(x)) => float(*x, min, max),
        (Kind::Float { min, max }, Data::Int(n)) => float(*n as f64, min, max),
        (Kind::Bool, Data::Bool(b)) => Some(Value::Boolean(*b)),
        (_, Data::Text(text)) => {
            text_is_valid(kind, may_be_empty, text).then(|| Value::String(text.clone()))
        }
        _ => None,
    }
}

/// Adding zero turns -0.0 into 0.0, so that both are one value.
fn float(x: f64, min: f64, max: f64) -> Option<Value> {
    (min..=max).contains(&x).then_some(Value::Float(x + 0.0))
}

fn text_is_valid(kind: Kind, may_be_empty: bool, text: &str) -> bool {
    if text.len() > MAX_TEXT_BYTES || text.chars().any(char::is_control) {
        return false;
    }
    if text.is_empty() {
        return may_be_empty;
    }
    match kind {
        Kind::Text | Kind::Path => true,
        Kind::Url(schemes) => schemes.iter().any(|scheme| is_url(text, scheme)),
        Kind::Choice(words) => words.contains(&text),
        Kind::Symbol { max, is_venues } => {
            let allowed = |b: u8| match b {
                b'A'..=b'Z' | b'0'..=b'9' => true,
                b'a'..=b'z' | b'_' | b'-' | b'/' | b'.' => is_venues,
                _ => false,
            };
            text.len() <= max && text.bytes().all(allowed)
        }
        Kind::Int { .. }
        | Kind::Float { .. }
        | Kind::Bool
        | Kind::List { .. }
        | Kind::Tables { .. } => false,
    }
}

/// Scheme, then a host; the connection finds out the rest.
fn is_url(text: &str, scheme: &str) -> bool {
    text.strip_prefix(scheme).is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
            && !rest.contains(char::is_whitespace)
    })
}

fn list(
    spec: &KeySpec,
    of: &Kind,
    min: usize,
    max: usize,
    key: &str,
    origin: &Origin,
    node: &Node,
) -> Result<Value, Vec<Problem>> {
    let items = match &node.data {
        Data::Array(items) => items.as_slice(),
        Data::Table(_) => &[],
        _ => std::slice::from_ref(node),
    };
    // The count comes first: it bounds the search for repeated values.
    if !(min..=max).contains(&items.len()) || matches!(node.data, Data::Table(_)) {
        return Err(vec![invalid(spec, key, origin, node, spec.expected())]);
    }
    let mut problems = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    for item in items {
        match scalar(*of, false, &item.data) {
            Some(value) if values.contains(&value) => {
                let expected = "each value once".to_owned();
                problems.push(invalid(spec, key, origin, item, expected));
            }
            Some(value) => values.push(value),
            None => problems.push(invalid(spec, key, origin, item, spec.expected())),
        }
    }
    if problems.is_empty() { Ok(Value::Array(values)) } else { Err(problems) }
}

fn tables(
    spec: &KeySpec,
    keys: &'static [KeySpec],
    max: usize,
    key: &str,
    origin: &Origin,
    node: &Node,
) -> Result<Value, Vec<Problem>> {
    let Data::Array(items) = &node.data else {
        return Err(vec![invalid(spec, key, origin, node, spec.expected())]);
    };
    if items.len() > max {
        return Err(vec![invalid(spec, key, origin, node, spec.expected())]);
    }
    let mut problems = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let mut seen = std::collections::BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let Data::Table(fields) = &item.data else {
            problems.push(invalid(spec, key, origin, item, spec.expected()));
            continue;
        };
        let path = format!("{key}[{index}]");
        match table(keys, &path, origin, item, fields) {
            Ok(row) => {
                let name = row[keys[0].path].to_string();
                let place = name_node(keys[0].path, fields).unwrap_or(item);
                if let Some(first) = seen.insert(name, at(origin, place)) {
                    let expected = format!("each {} once; it stands at {first}", keys[0].path);
                    let path = format!("{path}.{}", keys[0].path);
                    problems.push(invalid(spec, &path, origin, place, expected));
                }
                values.push(Value::Table(row));
            }
            Err(found) => problems.extend(found),
        }
    }
    if problems.is_empty() { Ok(Value::Array(values)) } else { Err(problems) }
}

fn name_node<'a>(name: &str, fields: &'a [(String, Node)]) -> Option<&'a Node> {
    fields.iter().find(|(key, _)| key == name).map(|(_, node)| node)
}

fn table(
    keys: &'static [KeySpec],
    path: &str,
    origin: &Origin,
    item: &Node,
    fields: &[(String, Node)],
) -> Result<toml::Table, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut row = toml::Table::new();
    for (name, node) in fields {
        let key = format!("{path}.{name}");
        let Some(spec) = keys.iter().find(|spec| spec.path == name) else {
            problems.push(Problem::UnknownKey {
                origin: at(origin, node),
                key,
                value: node.text.clone(),
                nearest: nearest(name, keys.iter().map(|spec| spec.path)).map(str::to_owned),
            });
            continue;
        };
        match check(spec, &key, origin, node) {
            Ok(value) => drop(row.insert(name.clone(), value)),
            Err(found) => problems.extend(found),
        }
    }
    for spec in keys {
        if name_node(spec.path, fields).is_none() {
            match spec.default.value() {
                Some(value) => drop(row.insert(spec.path.to_owned(), value)),
                None => problems.push(Problem::Missing {
                    document: at(origin, item).to_string(),
                    key: format!("{path}.{}", spec.path),
                    expected: spec.expected(),
                }),
            }
        }
    }
    if problems.is_empty() { Ok(row) } else { Err(problems) }
}

/// Refuses names outside `known`; used for names that only the caller knows, such as features.
pub(crate) fn unknown_name(key: &str, origin: &Origin, name: &str, known: &[&str]) -> Problem {
    let nearest = nearest(name, known.iter().copied());
    Problem::Invalid {
        origin: origin.clone(),
        key: key.to_owned(),
        value: shortened(&format!("{name:?}")),
        expected: format!("\"all\" or known names{}", did_you_mean(nearest)),
    }
}
