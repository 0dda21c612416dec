//! Reading what clients send: members of a JSON request by path, strings, query parameters.
//!
//! Invariants: nothing here copies or panics; escapes in strings are left unresolved, since no venue
//! has names that need them.

use crate::json::{Cursor, JsonError, scalar};

/// The raw JSON value at a path of member names: `member(text, &["params", "channel"])`. The first
/// of equal names counts.
#[must_use]
pub fn member<'a>(json: &'a str, path: &[&str]) -> Option<&'a str> {
    let Some((name, rest)) = path.split_first() else { return Some(json) };
    let mut found = None;
    let mut cursor = Cursor::new(json.as_bytes());
    cursor
        .object(|key, cursor| {
            let value = cursor.value()?;
            if key == name.as_bytes() && found.is_none() {
                found = Some(value);
            }
            Ok::<(), JsonError>(())
        })
        .ok()?;
    cursor.end().ok()?;
    member(std::str::from_utf8(found?).ok()?, rest)
}

/// What a raw JSON string says; `None` when it is no string.
#[must_use]
pub fn text(raw: &str) -> Option<&str> {
    if !raw.starts_with('"') {
        return None;
    }
    std::str::from_utf8(scalar(raw.as_bytes())?).ok()
}

/// The string at a path.
#[must_use]
pub fn text_at<'a>(json: &'a str, path: &[&str]) -> Option<&'a str> {
    member(json, path).and_then(text)
}

/// The raw elements of a raw JSON array; `None` when it is no array.
#[must_use]
pub fn elements(raw: &str) -> Option<Vec<&str>> {
    let mut cursor = Cursor::new(raw.as_bytes());
    let mut list = Vec::new();
    let mut more = cursor.enter_array().ok()?;
    while more {
        list.push(std::str::from_utf8(cursor.value().ok()?).ok()?);
        more = cursor.next_element().ok()?;
    }
    cursor.end().ok()?;
    Some(list)
}

/// What the strings of the array at a path say; `None` when one of them is no string.
#[must_use]
pub fn texts_at<'a>(json: &'a str, path: &[&str]) -> Option<Vec<&'a str>> {
    elements(member(json, path)?)?.into_iter().map(text).collect()
}

/// The value of a query parameter; the values served need no percent-decoding.
#[must_use]
pub fn parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(k, _)| *k == name).map(|p| p.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_path_and_types_are_kept_apart() {
        let json = r#"{"method":"subscribe","params":{"symbol":["A/B","C/D"],"depth":10},"id":3}"#;
        assert_eq!(text_at(json, &["method"]), Some("subscribe"));
        assert_eq!(texts_at(json, &["params", "symbol"]), Some(vec!["A/B", "C/D"]));
        assert_eq!(member(json, &["params", "depth"]), Some("10"));
        assert_eq!(text_at(json, &["id"]), None, "a number is no string");
        assert_eq!(member(json, &["params", "nothing"]), None);
        assert_eq!(member("[1]", &["params"]), None);
        assert_eq!(member(r#"{"a":1}}"#, &["a"]), None, "trailing bytes are refused");
        assert_eq!(texts_at(r#"{"a":["x",1]}"#, &["a"]), None);
    }

    #[test]
    fn query_parameters_are_found_by_their_whole_name() {
        let query = "limit=5&symbol=SIMA&xlimit=7&flag";
        assert_eq!(parameter(query, "symbol"), Some("SIMA"));
        assert_eq!(parameter(query, "limit"), Some("5"));
        assert_eq!(parameter(query, "flag"), None);
    }
}
