//! Training examples: a market state and what should have been done in it.
//!
//! A file is a JSON array of examples, or JSON Lines: one example a line, blank lines aside. An
//! example has its inputs at the top or in an object `features`, and its targets at the top or in an
//! object `target`:
//!
//! ```json
//! {"price": 100.5, "volume": 12.0, "bid": 100.4, "ask": 100.6, "timestamp": 1700000000000,
//!  "features": [0.1, null, -0.3],
//!  "action": "BUY", "confidence": 0.8, "quantity": 2.0, "expected_return": 0.0004, "weight": 1.0}
//! ```
//!
//! ```json
//! {"features": {"price": 100.5, "volume": 12.0, "bid": 100.4, "ask": 100.6,
//!               "timestamp": 1700000000000, "spread_z": -0.3, "queue_imbalance": null},
//!  "target": {"action": "HOLD", "confidence": 0.5}}
//! ```
//!
//! | key | value |
//! |---|---|
//! | `price`, `bid`, `ask` | required; above 0; bid at most ask |
//! | `volume` | required; at least 0 |
//! | `timestamp` | required; milliseconds since 1970-01-01 UTC, from 2000 to 2100 (seconds and nanoseconds are told by this), not before the example before |
//! | `features` | optional array of numbers; or, as an object, every key but the five above is a feature by that name. `null` is a missing value. All examples have the same features |
//! | `action` | required; `BUY`, `SELL` or `HOLD` |
//! | `confidence` | 0 to 1; 1 if absent |
//! | `quantity` | at least 0; 0 if absent |
//! | `expected_return` | a fraction of the price, -1 to 1000; 0 if absent |
//! | `weight` | of the example in the loss, 0 to 1e6; 1 if absent |

use std::fmt;
use std::path::Path;

use serde::de::{Deserializer as _, Error as _, SeqAccess, Visitor};

use super::json::{Fields, Json, number};
use super::{Fault, ImportError, MAX_FILE_BYTES, syntax};
use crate::files::bounded_file::read_bytes;
use crate::signals::Action;

/// Most examples of a file.
pub const MAX_EXAMPLES: usize = 5_000_000;

/// Most features of an example.
pub const MAX_FEATURES: usize = 4_096;

/// 2000-01-01 and 2100-01-01, ms since 1970.
const TIMESTAMPS_MS: (f64, f64) = (946_684_800_000.0, 4_102_444_800_000.0);

const ACTIONS: &str = "\"BUY\", \"SELL\" or \"HOLD\"";

const KEYS: &str = "one of price, volume, bid, ask, timestamp, features, target, action, \
                    confidence, quantity, expected_return, weight";

/// One example without its features.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Example {
    /// Last price, quote currency.
    pub price: f64,
    /// Volume, base currency.
    pub volume: f64,
    /// Best bid, quote currency.
    pub bid: f64,
    /// Best offer, quote currency.
    pub ask: f64,
    /// When, ns since the epoch.
    pub timestamp_ns: i64,
    /// What should have been done.
    pub action: Action,
    /// How sure that is, in [0, 1].
    pub confidence: f32,
    /// How much of it, base currency.
    pub quantity: f64,
    /// What it would have returned, as a fraction of the price.
    pub expected_return: f64,
    /// Weight in the loss.
    pub weight: f32,
}

/// The examples of a file, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// The examples.
    pub examples: Vec<Example>,
    /// `[examples × width]`; NaN where the file says `null`.
    pub features: Vec<f32>,
    /// Features of an example.
    pub width: usize,
    /// Names of the features, in ascending order; empty where the file has an array.
    pub names: Vec<String>,
    /// Values that were `null`.
    pub absent: u64,
}

/// Reads a file of examples.
///
/// # Errors
/// The file cannot be read, is too large, is not JSON, or an example is against the format; the
/// message says which and where.
pub fn read_examples(path: &Path) -> Result<Examples, ImportError> {
    let bytes = read_bytes(path, MAX_FILE_BYTES)?;
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    let mut reader = Reader::default();
    if first == Some(&b'[') {
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let outcome = json.deserialize_seq(&mut reader).and_then(|()| json.end());
        // A value against the format comes first: it made the parser stop.
        match (reader.fault.take(), outcome) {
            (Some(fault), _) => return Err(fault.in_file(path)),
            (None, outcome) => outcome.map_err(|e| syntax(path, &e, 0))?,
        }
    } else {
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let json = serde_json::from_slice(line).map_err(|e| syntax(path, &e, index))?;
            let at = format!("line {}: ", index + 1);
            reader.take(&at, json).map_err(|fault| fault.in_file(path))?;
        }
    }
    if reader.found.examples.is_empty() {
        let fault = Fault::new("the file", "has no examples", "at least one");
        return Err(fault.in_file(path));
    }
    Ok(reader.found)
}

/// Examples as they come.
#[derive(Debug, Default)]
struct Reader {
    found: Examples,
    fault: Option<Fault>,
}

impl<'de> Visitor<'de> for &mut Reader {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of examples")
    }

    /// One example at a time, so that only one is in memory as JSON.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(json) = seq.next_element()? {
            let at = format!("[{}]", self.found.examples.len());
            if let Err(fault) = self.take(&at, json) {
                self.fault = Some(fault);
                return Err(A::Error::custom("an example is against the format"));
            }
        }
        Ok(())
    }
}

impl Reader {
    /// Takes the example at a path.
    fn take(&mut self, at: &str, json: Json) -> Result<(), Fault> {
        if self.found.examples.len() == MAX_EXAMPLES {
            let expected = format!("at most {MAX_EXAMPLES} examples in a file");
            return Err(Fault::new(at, "is one too many", expected));
        }
        let mut top = Fields::of(at, json)?;
        let features_at = top.path("features");
        let target_at = top.path("target");
        let (mut nested, mut unnamed) = (None, Vec::new());
        match top.take("features") {
            None => {}
            Some(Json::List(items)) => unnamed = items,
            Some(json @ Json::Object(_)) => nested = Some(Fields::of(&features_at, json)?),
            Some(other) => return Err(Fault::value(features_at, other, "an array or an object")),
        }
        let is_named = nested.is_some();
        let mut targets = match top.take("target") {
            Some(json) => Some(Fields::of(&target_at, json)?),
            None => None,
        };
        let inputs = nested.as_mut().unwrap_or(&mut top);
        let example = Inputs::read(inputs, self.found.examples.last())?;
        let named = if is_named { inputs.take_rest() } else { Vec::new() };
        let example = example.with_targets(targets.as_mut().unwrap_or(&mut top))?;
        top.finish(KEYS)?;
        if let Some(targets) = targets {
            targets.finish("one of action, confidence, quantity, expected_return, weight")?;
        }
        self.take_features(&features_at, is_named, named, unnamed)?;
        self.found.examples.push(example);
        Ok(())
    }

    /// Takes the features, which must be the same as before by name or number.
    fn take_features(
        &mut self,
        at: &str,
        is_named: bool,
        mut named: Vec<(String, Json)>,
        unnamed: Vec<Json>,
    ) -> Result<(), Fault> {
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let names: Vec<String> = named.iter().map(|(name, _)| name.clone()).collect();
        let width = names.len() + unnamed.len();
        if width > MAX_FEATURES {
            let expected = format!("at most {MAX_FEATURES}");
            return Err(Fault::new(at, format!("has {width} features"), expected));
        }
        if self.found.examples.is_empty() {
            (self.found.names, self.found.width) = (names, width);
        } else if names != self.found.names {
            // The first name that only one of them has.
            let odd = |a: &[String], b: &[String]| a.iter().find(|n| !b.contains(n)).cloned();
            return Err(match odd(&names, &self.found.names) {
                Some(new) => Fault::new(
                    format!("{at}.{new}"),
                    "is not a feature of the first example",
                    "the same features in all examples",
                ),
                None => Fault::new(
                    format!("{at}.{}", odd(&self.found.names, &names).unwrap_or_default()),
                    "is missing",
                    "the same features in all examples",
                ),
            });
        } else if width != self.found.width {
            let expected = format!("{}, as in the first example", self.found.width);
            return Err(Fault::new(at, format!("has {width} values"), expected));
        }
        let values = named.into_iter().map(|(_, json)| json).chain(unnamed);
        for (index, json) in values.enumerate() {
            if json == Json::Null {
                self.found.absent += 1;
                self.found.features.push(f32::NAN);
                continue;
            }
            let path = match self.found.names.get(index) {
                Some(name) if is_named => format!("{at}.{name}"),
                _ => format!("{at}[{index}]"),
            };
            let limit = f64::from(f32::MAX);
            let value = number(&path, json, "a number within the range of f32, or null", |v| {
                v.abs() <= limit
            })?;
            self.found.features.push(value as f32);
        }
        Ok(())
    }
}

/// The market's part of an example.
struct Inputs {
    price: f64,
    volume: f64,
    bid: f64,
    ask: f64,
    timestamp_ns: i64,
}

impl Inputs {
    fn read(fields: &mut Fields, before: Option<&Example>) -> Result<Self, Fault> {
        let mut price = |key| fields.number(key, None, "a price above 0", |v| v > 0.0);
        let (last, bid, ask) = (price("price")?, price("bid")?, price("ask")?);
        if bid > ask {
            let expected = format!("at most the ask, {ask}");
            return Err(Fault::value(fields.path("bid"), bid, expected));
        }
        let volume = fields.number("volume", None, "a volume of at least 0", |v| v >= 0.0)?;
        let (from, to) = TIMESTAMPS_MS;
        let expected = format!("milliseconds since 1970, from {from} to {to}");
        let ms = fields.number("timestamp", None, &expected, |v| (from..=to).contains(&v))?;
        // Milliseconds are exact as f64 to the microsecond until 2255.
        let timestamp_ns = (ms * 1e3).round() as i64 * 1_000;
        if let Some(before) = before.filter(|before| timestamp_ns < before.timestamp_ns) {
            let expected =
                format!("at least that of the example before, {}", before.timestamp_ns / 1_000_000);
            return Err(Fault::value(fields.path("timestamp"), ms, expected));
        }
        Ok(Self { price: last, volume, bid, ask, timestamp_ns })
    }

    fn with_targets(self, fields: &mut Fields) -> Result<Example, Fault> {
        let path = fields.path("action");
        let action = match fields.take("action") {
            Some(Json::Text(text)) if text == "BUY" => Action::Buy,
            Some(Json::Text(text)) if text == "SELL" => Action::Sell,
            Some(Json::Text(text)) if text == "HOLD" => Action::Hold,
            Some(other) => return Err(Fault::value(path, other, ACTIONS)),
            None => return Err(Fault::new(path, "is missing", ACTIONS)),
        };
        let unit = |v: f64| (0.0..=1.0).contains(&v);
        let confidence = fields.number("confidence", Some(1.0), "0 to 1", unit)?;
        let quantity = fields.number("quantity", Some(0.0), "at least 0", |v| v >= 0.0)?;
        let is_return = |v: f64| (-1.0..=1000.0).contains(&v);
        let expected_return =
            fields.number("expected_return", Some(0.0), "a fraction, -1 to 1000", is_return)?;
        let is_weight = |v: f64| (0.0..=1e6).contains(&v);
        let weight = fields.number("weight", Some(1.0), "0 to 1e6", is_weight)?;
        Ok(Example {
            price: self.price,
            volume: self.volume,
            bid: self.bid,
            ask: self.ask,
            timestamp_ns: self.timestamp_ns,
            action,
            confidence: confidence as f32,
            quantity,
            expected_return,
            weight: weight as f32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAT: &str = r#"{"price": 100.5, "volume": 12, "bid": 100.4, "ask": 100.6,
        "timestamp": 1700000000000.25, "features": [0.1, null, -0.3], "action": "BUY",
        "confidence": 0.8, "quantity": 2.0, "expected_return": 0.0004, "weight": 0.5}"#;

    const NESTED: &str = r#"{"features": {"price": 100.5, "volume": 12, "bid": 100.4, "ask": 100.6,
        "timestamp": 1700000000000, "z": 3, "imbalance": null}, "target": {"action": "HOLD"}}"#;

    fn import(text: &str) -> Result<Examples, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.json");
        std::fs::write(&path, text).unwrap();
        read_examples(&path).map_err(|e| {
            let text = e.to_string();
            text.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
        })
    }

    fn one_line(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_flat_example_is_read_with_all_its_fields() {
        let found = import(&format!("[{FLAT}]")).unwrap();
        let expected = Example {
            price: 100.5,
            volume: 12.0,
            bid: 100.4,
            ask: 100.6,
            timestamp_ns: 1_700_000_000_000_250_000,
            action: Action::Buy,
            confidence: 0.8,
            quantity: 2.0,
            expected_return: 0.0004,
            weight: 0.5,
        };
        assert_eq!(found.examples, [expected]);
        assert_eq!((found.width, found.absent, found.names.len()), (3, 1, 0));
        assert_eq!((found.features[0], found.features[2]), (0.1, -0.3));
        assert!(found.features[1].is_nan());
    }

    #[test]
    fn a_nested_example_has_named_features_and_defaults() {
        let found = import(&format!("[{NESTED}, {NESTED}]")).unwrap();
        let second = found.examples[1];
        assert_eq!(found.names, ["imbalance", "z"]);
        assert_eq!((found.features[1], found.features[3], found.absent), (3.0, 3.0, 2));
        assert_eq!((second.action, second.confidence, second.weight), (Action::Hold, 1.0, 1.0));
        assert_eq!((second.quantity, second.expected_return), (0.0, 0.0));
    }

    #[test]
    fn lines_are_the_same_as_an_array_and_blank_ones_are_passed_over() {
        let line = one_line(NESTED);
        let lines = import(&format!("{line}\r\n\n{line}\n")).unwrap();
        // A missing value is not equal to itself.
        let array = import(&format!("[{line},{line}]")).unwrap();
        assert_eq!((lines.examples, lines.names), (array.examples, array.names));
    }

    #[test]
    fn every_fault_says_where_it_is_and_what_was_expected() {
        for (from, to, expected) in [
            (
                "\"bid\": 100.4",
                "\"bid\": 100.7",
                "[1].bid is 100.7, expected at most the ask, 100.6",
            ),
            (
                "\"volume\": 12",
                "\"volume\": -1",
                "[1].volume is -1, expected a volume of at least 0",
            ),
            ("\"price\": 100.5", "\"price\": 0", "[1].price is 0, expected a price above 0"),
            ("\"price\": 100.5,", "", "[1].price is missing, expected a price above 0"),
            (
                "\"price\": 100.5",
                "\"price\": \"1\"",
                "[1].price is \"1\", expected a price above 0",
            ),
            ("\"BUY\"", "\"buy\"", "[1].action is \"buy\", expected \"BUY\", \"SELL\" or \"HOLD\""),
            (
                "\"confidence\": 0.8",
                "\"confidence\": 1.5",
                "[1].confidence is 1.5, expected 0 to 1",
            ),
            ("\"weight\": 0.5", "\"weight\": -0.5", "[1].weight is -0.5, expected 0 to 1e6"),
            (
                "1700000000000.25",
                "1700000000",
                "[1].timestamp is 1700000000, expected milliseconds since 1970, from 946684800000 \
                 to 4102444800000",
            ),
            (
                "1700000000000.25",
                "1699999999999",
                "[1].timestamp is 1699999999999, expected at least that of the example before, \
                 1700000000000",
            ),
            (
                "[0.1, null, -0.3]",
                "[0.1, null]",
                "[1].features has 2 values, expected 3, as in the first example",
            ),
            (
                "[0.1, null, -0.3]",
                "[0.1, true, 0]",
                "[1].features[1] is true, expected a number within the range of f32, or null",
            ),
            (
                "[0.1, null, -0.3]",
                "[0.1, 1e300, 0]",
                "[1].features[1] is 100000000000000000000000000000000000000000000000000000000000…, \
                 expected a number within the range of f32, or null",
            ),
            ("[0.1, null, -0.3]", "7", "[1].features is 7, expected an array or an object"),
        ] {
            assert!(FLAT.contains(from), "{from}");
            let text = format!("[{FLAT}, {}]", FLAT.replace(from, to));
            assert_eq!(import(&text).unwrap_err(), expected);
        }
        let unknown = format!("[{}]", FLAT.replace("\"quantity\"", "\"qty\""));
        let error = import(&unknown).unwrap_err();
        assert!(
            error.starts_with("[0].qty is not a key of the format, expected one of"),
            "{error}"
        );
        let target = NESTED.replace("\"HOLD\"", "\"HOLD\", \"sure\": 1");
        let error = import(&format!("[{target}]")).unwrap_err();
        assert!(error.starts_with("[0].target.sure is not a key of the format"), "{error}");
        for (second, expected) in [
            (NESTED.replace("\"z\"", "\"y\""), "[1].features.y is not a feature of the first"),
            (NESTED.replace("\"z\": 3,", ""), "[1].features.z is missing"),
        ] {
            let error = import(&format!("[{NESTED}, {second}]")).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn faults_in_lines_name_the_line_and_what_is_no_json_its_place() {
        let line = one_line(FLAT);
        let error = import(&format!("{line}\n\n{}\n", line.replace("BUY", "WAIT"))).unwrap_err();
        assert!(error.starts_with("line 3: action is \"WAIT\", expected"), "{error}");
        let error = import(&format!("{line}\n{}", line.replace("0.8", "NaN"))).unwrap_err();
        assert!(
            error.starts_with("line 2, column ") && error.contains("expected value"),
            "{error}"
        );
        let error = import(&format!("[\n{FLAT},\n{{\"price\": 1, \"price\": 2}}]")).unwrap_err();
        assert!(error.contains("line 5") && error.contains("duplicate key \"price\""), "{error}");
        let error = import(&format!("[{FLAT}] x")).unwrap_err();
        assert!(error.contains("trailing characters"), "{error}");
        let error = import(&format!("[{FLAT}, 5]")).unwrap_err();
        assert_eq!(error, "[1] is 5, expected an object");
        for empty in ["", "[]", " \n"] {
            assert_eq!(
                import(empty).unwrap_err(),
                "the file has no examples, expected at least one"
            );
        }
    }
}
