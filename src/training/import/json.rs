//! JSON values that know of duplicate keys, and the questions that the formats ask of them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::{Fault, shortened};

/// A JSON value; keys are in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    /// Also integers beyond `i64`.
    Float(f64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl fmt::Display for Json {
    /// Scalars as they are, the others by their kind and size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => write!(f, "null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "{:?}", shortened(text)),
            Self::List(items) => write!(f, "an array of {}", items.len()),
            Self::Object(_) => write!(f, "an object"),
        }
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::Float(value as f64), Json::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut entries: Vec<(String, Json)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Json>()? {
            entries.push((key, value));
        }
        // Sorted copies, so that an object of many keys costs n log n.
        let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(A::Error::custom(format!("duplicate key {:?}", shortened(pair[0]))));
        }
        Ok(Json::Object(entries))
    }
}

/// An object of which keys are taken out one after the other; what is left is unknown.
#[derive(Debug)]
pub(super) struct Fields {
    at: String,
    entries: Vec<(String, Json)>,
}

impl Fields {
    /// The fields of the object at a path.
    pub(super) fn of(at: &str, json: Json) -> Result<Self, Fault> {
        match json {
            Json::Object(entries) => Ok(Self { at: at.to_owned(), entries }),
            other => Err(Fault::value(at, other, "an object")),
        }
    }

    /// The path of one of its keys.
    pub(super) fn path(&self, key: &str) -> String {
        if self.at.is_empty() || self.at.ends_with(": ") {
            format!("{}{key}", self.at)
        } else {
            format!("{}.{key}", self.at)
        }
    }

    /// Takes out a value, if it is there.
    pub(super) fn take(&mut self, key: &str) -> Option<Json> {
        let index = self.entries.iter().position(|(k, _)| k == key)?;
        Some(self.entries.remove(index).1)
    }

    /// Takes out all that is left.
    pub(super) fn take_rest(&mut self) -> Vec<(String, Json)> {
        std::mem::take(&mut self.entries)
    }

    /// Takes out a number, or `default` where there is none; without a default it must be there.
    pub(super) fn number(
        &mut self,
        key: &str,
        default: Option<f64>,
        expected: &str,
        is_valid: impl Fn(f64) -> bool,
    ) -> Result<f64, Fault> {
        let path = self.path(key);
        let json = match (self.take(key), default) {
            (Some(json), _) => json,
            (None, Some(default)) => return Ok(default),
            (None, None) => return Err(Fault::new(path, "is missing", expected)),
        };
        number(&path, json, expected, is_valid)
    }

    /// Refuses keys that were not taken out.
    pub(super) fn finish(self, known: &str) -> Result<(), Fault> {
        match self.entries.first() {
            Some((key, _)) => {
                let path = self.path(&shortened(key));
                Err(Fault::new(path, "is not a key of the format", known))
            }
            None => Ok(()),
        }
    }
}

/// A finite number within limits.
pub(super) fn number(
    at: &str,
    json: Json,
    expected: &str,
    is_valid: impl Fn(f64) -> bool,
) -> Result<f64, Fault> {
    let value = match json {
        Json::Integer(value) => value as f64,
        Json::Float(value) => value,
        other => return Err(Fault::value(at, other, expected)),
    };
    if value.is_finite() && is_valid(value) {
        return Ok(value);
    }
    Err(Fault::value(at, json_number(value), expected))
}

/// A number as a file would have it.
fn json_number(value: f64) -> String {
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_in_order_and_duplicate_keys_are_refused() {
        let json: Json = serde_json::from_str(r#"{"b": [1, -2.5, null], "a": "x"}"#).unwrap();
        let list = Json::List(vec![Json::Integer(1), Json::Float(-2.5), Json::Null]);
        let entries = vec![("b".to_owned(), list), ("a".to_owned(), Json::Text("x".into()))];
        assert_eq!(json, Json::Object(entries));
        let error = serde_json::from_str::<Json>(r#"[{"a": {"k": 1, "j": 2, "k": 3}}]"#);
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("duplicate key \"k\" at line 1"), "{error}");
    }

    #[test]
    fn what_is_left_of_an_object_is_unknown() {
        let json: Json = serde_json::from_str(r#"{"x": 1, "y": 2}"#).unwrap();
        let mut fields = Fields::of("[3]", json).unwrap();
        assert_eq!(fields.number("x", None, "positive", |v| v > 0.0).unwrap(), 1.0);
        assert_eq!(fields.number("z", Some(9.0), "a number", |_| true).unwrap(), 9.0);
        let fault = fields.finish("x").unwrap_err();
        assert_eq!((&fault.at[..], &fault.expected[..]), ("[3].y", "x"));
    }
}
