//! The scanner takes exactly the texts that `serde_json` takes, less those nested too deep.

use serde::de::IgnoredAny;

/// The scanner itself is private to the crate: its file is compiled here a second time.
#[allow(dead_code, reason = "decoders use more of it than this")]
#[path = "../../src/json.rs"]
mod scanner;

use scanner::{Cursor, JsonError, scalar};

/// Scans a text in both ways.
///
/// # Panics
/// They differ, or a value is not a part of the text.
pub fn run(text: &[u8]) {
    let mut cursor = Cursor::new(text);
    let scanned = cursor.value().and_then(|value| cursor.end().map(|()| value));
    let is_json = serde_json::from_slice::<IgnoredAny>(text).is_ok();
    match scanned {
        Ok(value) => {
            assert!(is_json, "the scanner takes what is no JSON");
            assert_eq!(value, text.trim_ascii());
            assert!(scalar(value).is_none_or(|inner| inner.len() <= value.len()));
        }
        Err(JsonError::TooDeep) => {}
        Err(error) => assert!(!is_json, "the scanner refuses JSON: {error}"),
    }
}
