//! What is searched: named ranges over configuration keys, and their map to the unit interval.
//!
//! A range is over a key of the configuration that shapes the cerebellum's forecasts, or over a
//! derived name that stands for one (`sparsity`). Every range is checked against the key it sets by
//! loading the configuration at its ends, so a value that is proposed is one that `run` would take
//! too, as far as a single key decides that.
//!
//! Invariants: names are distinct and at most [`MAX_PARAMETERS`]; `low < high`, and `low > 0` on a log
//! scale; a value survives the way to the unit interval and back; at most [`SIGNIFICANT_DIGITS`]
//! digits make a proposed number, so that what is printed is what was run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::config::{Document, KeySpec, Kind, Loaded, nearest_name};

/// Most ranges of one space.
pub const MAX_PARAMETERS: usize = 64;
/// Most words of one choice.
pub const MAX_CHOICES: usize = 64;
/// Digits of a proposed number.
pub const SIGNIFICANT_DIGITS: usize = 6;
/// Largest space file, bytes.
pub const MAX_SPACE_BYTES: u64 = 1 << 16;

/// What keys begin with that may be searched: what shapes the cerebellum's forecasts. The horizon and
/// the cycle are not among them, as losses of different questions cannot be compared.
const TUNABLE: [&str; 3] = ["strategy.cerebellum.", "strategy.calibration.", "strategy.normaliser"];

/// Window over which the share of active granule cells is counted, s.
const SPARSITY_WINDOW_S: f64 = 0.1;

/// What a `[range.KEY]` table may hold.
const FIELDS: [&str; 5] = ["kind", "low", "high", "scale", "choices"];

/// A name of the search that is no key itself but sets one.
struct Derived {
    name: &'static str,
    key: &'static str,
    to_key: fn(f64) -> f64,
    low: f64,
    high: f64,
}

/// Derived names.
const DERIVED: &[Derived] = &[Derived {
    name: "sparsity",
    key: "strategy.cerebellum.granule_hz",
    to_key: granule_hz_of_sparsity,
    low: 0.01,
    high: 0.8,
}];

/// Mean granule rate (Hz) at which a share `sparsity` of the cells fires at least once in 100 ms,
/// if each is Poisson: s = 1 - exp(-rate · 0.1 s), so rate = -ln(1 - s) / 0.1 s.
#[must_use]
pub fn granule_hz_of_sparsity(sparsity: f64) -> f64 {
    -(-sparsity).ln_1p() / SPARSITY_WINDOW_S
}

/// A value of one parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ParameterValue {
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// One of a range's words.
    Choice(String),
}

impl std::fmt::Display for ParameterValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(n) => write!(f, "{n}"),
            Self::Float(x) => write!(f, "{x:?}"),
            Self::Choice(word) => f.write_str(word),
        }
    }
}

/// Values by parameter name.
pub type Parameters = BTreeMap<String, ParameterValue>;

/// How a number's range is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// Equal differences count equally.
    Linear,
    /// Equal ratios count equally.
    Log,
}

/// The values of one parameter; bounds are inclusive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Range {
    /// A number.
    Float {
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
        /// Scale.
        scale: Scale,
    },
    /// A whole number.
    Int {
        /// Smallest value.
        low: i64,
        /// Largest value.
        high: i64,
        /// Scale.
        scale: Scale,
    },
    /// One of these words, in the spelling that `--set` takes.
    Choice {
        /// The words, 2 to [`MAX_CHOICES`].
        choices: Vec<String>,
    },
}

/// One dimension of the search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// A configuration key, or a derived name.
    pub name: String,
    /// Its values.
    #[serde(flatten)]
    pub range: Range,
}

/// All dimensions, in the order in which they were given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Space(Vec<Parameter>);

/// A refused space.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SpaceError {
    /// The file is not TOML.
    #[error("{path}: not valid TOML: {reason}")]
    Syntax {
        /// The file.
        path: String,
        /// The parser's words.
        reason: String,
    },
    /// The file cannot be read.
    #[error("{path}: {reason}; expected a readable file of at most {MAX_SPACE_BYTES} bytes")]
    Unreadable {
        /// The file.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// Nothing to search, or too much.
    #[error(
        "{found} ranges, expected 1 to {MAX_PARAMETERS}: [range.KEY] with low and high, or choices"
    )]
    Size {
        /// Ranges found.
        found: usize,
    },
    /// A name that the configuration does not know.
    #[error("range {name}: unknown key{}", nearest.as_ref().map_or_else(String::new, |n| format!("; did you mean {n}?")))]
    Unknown {
        /// The name.
        name: String,
        /// The known name most like it.
        nearest: Option<String>,
    },
    /// A key that does not change what is measured.
    #[error("range {name}: does not shape the cerebellum's forecasts; expected sparsity or a key that begins with {}", TUNABLE.join(", "))]
    NotTunable {
        /// The key.
        name: String,
    },
    /// Two ranges that set one key.
    #[error("range {name} sets {key}, which another range sets too; expected each key once")]
    Twice {
        /// The second range.
        name: String,
        /// The key.
        key: String,
    },
    /// A field of a range is wrong.
    #[error("range {name}: {field} = {value}: expected {expected}")]
    Field {
        /// The range.
        name: String,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What was expected.
        expected: String,
    },
    /// An end of the range is refused by the configuration.
    #[error("range {name}: {reason}")]
    Refused {
        /// The range.
        name: String,
        /// The configuration's words.
        reason: String,
    },
}

impl Space {
    /// A space from parts that were checked, for objectives other than a replay. Nothing but the
    /// shape of each range is looked at.
    ///
    /// # Errors
    /// [`SpaceError::Size`], or the first range whose bounds are not in order.
    pub fn new(parameters: Vec<Parameter>) -> Result<Self, SpaceError> {
        if parameters.is_empty() || parameters.len() > MAX_PARAMETERS {
            return Err(SpaceError::Size { found: parameters.len() });
        }
        for (k, parameter) in parameters.iter().enumerate() {
            parameter.check_shape()?;
            if parameters[..k].iter().any(|p| p.name == parameter.name) {
                let name = parameter.name.clone();
                return Err(SpaceError::Twice { key: name.clone(), name });
            }
        }
        Ok(Self(parameters))
    }

    /// What is searched unless a file says otherwise: learning rate 1e-5 to 0.1 (log), 1,000 to
    /// 10,000 granule cells, sparsity 0.01 to 0.3.
    #[must_use]
    pub fn standard() -> Self {
        let of = |name: &str, range| Parameter { name: name.to_owned(), range };
        Self(vec![
            of(
                "strategy.cerebellum.learning_rate",
                Range::Float { low: 1e-5, high: 1e-1, scale: Scale::Log },
            ),
            of(
                "strategy.cerebellum.granule_cells",
                Range::Int { low: 1_000, high: 10_000, scale: Scale::Linear },
            ),
            of("sparsity", Range::Float { low: 0.01, high: 0.3, scale: Scale::Linear }),
        ])
    }

    /// Reads `[range.KEY]` tables: `low` and `high` with `scale = "linear"` (default) or `"log"`, or
    /// `choices`; `kind` (`float`, `int`, `choice`) is the key's own unless given. They replace the
    /// standard space.
    ///
    /// # Errors
    /// The file is not TOML, or a range is not well formed or not known; `path` is for messages.
    pub fn parse(path: &str, text: &str) -> Result<Self, SpaceError> {
        let syntax = |reason: String| SpaceError::Syntax {
            path: path.to_owned(),
            reason: one_line(&reason),
        };
        let root: toml::Table =
            text.parse().map_err(|e: toml::de::Error| syntax(e.message().to_owned()))?;
        if let Some(other) = root.keys().find(|key| *key != "range") {
            return Err(syntax(format!("{other} is unknown, expected [range.KEY] tables")));
        }
        let mut leaves = Vec::new();
        if let Some(ranges) = root.get("range") {
            let table = ranges.as_table();
            let table = table.ok_or_else(|| syntax("range is no table".to_owned()))?;
            flatten("", table, &mut leaves)
                .map_err(|name| syntax(format!("range.{name} is no table")))?;
        }
        let parameters = leaves
            .into_iter()
            .map(|(name, table)| parameter(name, table))
            .collect::<Result<_, _>>()?;
        Self::new(parameters)
    }

    /// Checks every name against the configuration and both ends of every range by setting them.
    ///
    /// # Errors
    /// The first range that is unknown, does not matter here, or is refused.
    pub fn check(&self, base: &Loaded) -> Result<(), SpaceError> {
        let mut keys: Vec<String> = Vec::new();
        for parameter in &self.0 {
            let name = &parameter.name;
            spec_of(name)?;
            let key = key_of(name);
            if keys.iter().any(|k| k == key) {
                return Err(SpaceError::Twice { name: name.clone(), key: key.to_owned() });
            }
            keys.push(key.to_owned());
            for value in parameter.range.ends() {
                let one = Parameters::from([(name.clone(), value)]);
                base.with_sets(&settings(&one)).map_err(|problems| SpaceError::Refused {
                    name: name.clone(),
                    reason: one_line(&problems.to_string()),
                })?;
            }
        }
        Ok(())
    }

    /// The dimensions.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.0
    }

    /// Why values do not belong to this space; `None` when they do.
    #[must_use]
    pub fn misfit(&self, parameters: &Parameters) -> Option<String> {
        for p in &self.0 {
            match parameters.get(&p.name) {
                None => return Some(format!("{} is missing", p.name)),
                Some(value) if p.range.unit(value).is_none() => {
                    return Some(format!("{} = {value} is outside its range", p.name));
                }
                Some(_) => {}
            }
        }
        let stranger = parameters.keys().find(|name| self.0.iter().all(|p| p.name != **name));
        stranger.map(|name| format!("{name} is no parameter of the study"))
    }
}

/// The `--set` assignments that values stand for.
#[must_use]
pub fn settings(parameters: &Parameters) -> Vec<(String, String)> {
    let setting = |(name, value): (&String, &ParameterValue)| {
        let derived = DERIVED.iter().find(|d| d.name == name);
        match (derived, value) {
            (Some(d), ParameterValue::Float(x)) => {
                (d.key.to_owned(), format!("{:?}", rounded((d.to_key)(*x))))
            }
            _ => (name.clone(), value.to_string()),
        }
    };
    parameters.iter().map(setting).collect()
}

impl Parameter {
    fn check_shape(&self) -> Result<(), SpaceError> {
        let refuse = |field, value: String, expected: &str| {
            let expected = expected.to_owned();
            Err(SpaceError::Field { name: self.name.clone(), field, value, expected })
        };
        let log_from = "above 0 on a log scale";
        match &self.range {
            Range::Float { low, high, .. }
                if !(low.is_finite() && high.is_finite() && low < high) =>
            {
                refuse("high", format!("{high:?}"), &format!("a number above low = {low:?}"))
            }
            Range::Float { low, scale: Scale::Log, .. } if *low <= 0.0 => {
                refuse("low", format!("{low:?}"), log_from)
            }
            Range::Int { low, high, .. } if low >= high => {
                refuse("high", high.to_string(), &format!("a whole number above low = {low}"))
            }
            // Beyond 2^53 neighbours cannot be told apart on the unit interval.
            Range::Int { low, high, .. }
                if low.unsigned_abs().max(high.unsigned_abs()) > 1 << 53 =>
            {
                refuse("high", high.to_string(), "bounds within 2^53 of zero")
            }
            Range::Int { low, scale: Scale::Log, .. } if *low <= 0 => {
                refuse("low", low.to_string(), log_from)
            }
            Range::Choice { choices } if !(2..=MAX_CHOICES).contains(&choices.len()) => {
                refuse("choices", format!("{} words", choices.len()), "2 to 64 words")
            }
            Range::Choice { choices } => {
                for (k, word) in choices.iter().enumerate() {
                    if choices[..k].contains(word) {
                        return refuse("choices", word.clone(), "each word once");
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Range {
    /// The value at `unit`, in [0, 1).
    #[must_use]
    pub fn value(&self, unit: f64) -> ParameterValue {
        match self {
            Self::Float { low, high, scale } => {
                let x = lerp(*low, *high, *scale, unit);
                ParameterValue::Float(rounded(x).clamp(*low, *high))
            }
            // A cell of equal size for every whole number: [n, n + 1).
            Self::Int { low, high, scale } => {
                let x = lerp(*low as f64, *high as f64 + 1.0, *scale, unit);
                ParameterValue::Int((x.floor() as i64).clamp(*low, *high))
            }
            Self::Choice { choices } => {
                let at = ((unit * choices.len() as f64) as usize).min(choices.len() - 1);
                ParameterValue::Choice(choices[at].clone())
            }
        }
    }

    /// Where a value lies in [0, 1]; `None` when it is not of this range. Whole numbers and words
    /// lie in the middle of their cells.
    #[must_use]
    pub fn unit(&self, value: &ParameterValue) -> Option<f64> {
        match (self, value) {
            (Self::Float { low, high, scale }, ParameterValue::Float(x)) => {
                (low..=high).contains(&x).then(|| inverse_lerp(*low, *high, *scale, *x))
            }
            (Self::Int { low, high, scale }, ParameterValue::Int(n)) => (low..=high)
                .contains(&n)
                .then(|| inverse_lerp(*low as f64, *high as f64 + 1.0, *scale, *n as f64 + 0.5)),
            (Self::Choice { choices }, ParameterValue::Choice(word)) => {
                let at = choices.iter().position(|choice| choice == word)?;
                Some((at as f64 + 0.5) / choices.len() as f64)
            }
            _ => None,
        }
    }

    /// The outermost values; of a choice, all.
    fn ends(&self) -> Vec<ParameterValue> {
        match self {
            Self::Float { low, high, .. } => {
                vec![low, high].into_iter().copied().map(ParameterValue::Float).collect()
            }
            Self::Int { low, high, .. } => {
                vec![low, high].into_iter().copied().map(ParameterValue::Int).collect()
            }
            Self::Choice { choices } => {
                choices.iter().cloned().map(ParameterValue::Choice).collect()
            }
        }
    }
}

fn lerp(low: f64, high: f64, scale: Scale, unit: f64) -> f64 {
    match scale {
        Scale::Linear => low + (high - low) * unit,
        Scale::Log => (low.ln() + (high.ln() - low.ln()) * unit).exp(),
    }
}

fn inverse_lerp(low: f64, high: f64, scale: Scale, x: f64) -> f64 {
    let unit = match scale {
        Scale::Linear => (x - low) / (high - low),
        Scale::Log => (x.ln() - low.ln()) / (high.ln() - low.ln()),
    };
    unit.clamp(0.0, 1.0)
}

/// `x` with [`SIGNIFICANT_DIGITS`] digits.
fn rounded(x: f64) -> f64 {
    // What a format makes of a finite number always parses.
    format!("{x:.*e}", SIGNIFICANT_DIGITS - 1).parse().unwrap_or(x)
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}

/// The key that a name sets.
fn key_of(name: &str) -> &str {
    DERIVED.iter().find(|d| d.name == name).map_or(name, |d| d.key)
}

/// Full paths of all keys with their descriptions.
fn keys() -> impl Iterator<Item = (String, &'static KeySpec)> {
    Document::ALL.into_iter().flat_map(|document| {
        document
            .keys()
            .iter()
            .map(move |spec| (format!("{}{}", document.prefix(), spec.path), spec))
    })
}

/// The description of the key that a name sets.
fn spec_of(name: &str) -> Result<&'static KeySpec, SpaceError> {
    let key = key_of(name);
    let Some((_, spec)) = keys().find(|(path, _)| path == key) else {
        let known: Vec<String> =
            keys().map(|(path, _)| path).chain(DERIVED.iter().map(|d| d.name.to_owned())).collect();
        let nearest = nearest_name(name, known.iter().map(String::as_str)).map(str::to_owned);
        return Err(SpaceError::Unknown { name: name.to_owned(), nearest });
    };
    if !TUNABLE.iter().any(|prefix| key.starts_with(prefix)) {
        return Err(SpaceError::NotTunable { name: name.to_owned() });
    }
    Ok(spec)
}

/// Finds the tables that hold something other than tables, whether their keys are quoted or not.
fn flatten<'a>(
    prefix: &str,
    table: &'a toml::Table,
    out: &mut Vec<(String, &'a toml::Table)>,
) -> Result<(), String> {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let Some(inner) = value.as_table() else { return Err(name) };
        if !inner.is_empty() && inner.values().all(toml::Value::is_table) {
            flatten(&name, inner, out)?;
        } else {
            out.push((name, inner));
        }
    }
    Ok(())
}

/// One `[range.KEY]` table.
fn parameter(name: String, table: &toml::Table) -> Result<Parameter, SpaceError> {
    let spec = spec_of(&name)?;
    let refuse = |field, value: Option<&toml::Value>, expected: &str| SpaceError::Field {
        name: name.clone(),
        field,
        value: value.map_or_else(|| "(absent)".to_owned(), |v| one_line(&v.to_string())),
        expected: expected.to_owned(),
    };
    if let Some(key) = table.keys().find(|key| !FIELDS.contains(&key.as_str())) {
        return Err(refuse("field", Some(&key.clone().into()), &FIELDS.join(", ")));
    }
    let own = match spec.kind {
        Kind::Int { .. } => "int",
        Kind::Float { .. } => "float",
        Kind::Bool | Kind::Choice(_) => "choice",
        _ => return Err(SpaceError::NotTunable { name: name.clone() }),
    };
    let kind = match table.get("kind") {
        None if table.contains_key("choices") => "choice",
        None => own,
        Some(given) => match given.as_str() {
            Some("choice") => "choice",
            Some(word) if word == own => own,
            _ => return Err(refuse("kind", Some(given), &format!("\"{own}\" or \"choice\""))),
        },
    };
    let scale = match table.get("scale").map(|v| (v, v.as_str())) {
        None | Some((_, Some("linear"))) => Scale::Linear,
        Some((_, Some("log"))) => Scale::Log,
        Some((other, _)) => return Err(refuse("scale", Some(other), "\"linear\" or \"log\"")),
    };
    let number = |field| {
        let value = table.get(field);
        let number = match value {
            Some(toml::Value::Float(x)) => Some(*x),
            Some(toml::Value::Integer(n)) => Some(*n as f64),
            _ => None,
        };
        number.ok_or_else(|| refuse(field, value, "a number"))
    };
    let whole = |field| {
        let value = table.get(field);
        value
            .and_then(toml::Value::as_integer)
            .ok_or_else(|| refuse(field, value, "a whole number"))
    };
    let foreign: &[&'static str] =
        if kind == "choice" { &["low", "high", "scale"] } else { &["choices"] };
    if let Some(field) = foreign.iter().find(|field| table.contains_key(**field)) {
        return Err(refuse(
            field,
            table.get(*field),
            &format!("no such field of a range of kind {kind}"),
        ));
    }
    let range = match kind {
        "int" => Range::Int { low: whole("low")?, high: whole("high")?, scale },
        "float" => {
            let (low, high) = (number("low")?, number("high")?);
            if let Some(d) = DERIVED.iter().find(|d| d.name == name)
                && !(d.low <= low && high <= d.high)
            {
                let (field, x) = if d.low <= low { ("high", high) } else { ("low", low) };
                let expected = format!("a number from {} to {}", d.low, d.high);
                return Err(refuse(field, Some(&x.into()), &expected));
            }
            Range::Float { low, high, scale }
        }
        _ => {
            let words = table.get("choices").and_then(toml::Value::as_array);
            let words = words.ok_or_else(|| refuse("choices", table.get("choices"), "a list"))?;
            let word = |value: &toml::Value| match value {
                toml::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            Range::Choice { choices: words.iter().map(word).collect() }
        }
    };
    Ok(Parameter { name, range })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn base() -> Loaded {
        load(&Sources { config_path: None, env: vec![], sets: vec![], search: vec![] }).unwrap()
    }

    #[test]
    fn the_standard_space_is_accepted_by_the_configuration() {
        Space::standard().check(&base()).unwrap();
    }

    #[test]
    fn a_sparsity_is_the_share_of_poisson_cells_that_fire_in_100_ms() {
        for s in [0.01, 0.1, 0.3] {
            let hz = granule_hz_of_sparsity(s);
            assert!((1.0 - (-hz * 0.1).exp() - s).abs() < 1e-12, "{s}: {hz} Hz");
        }
        let set = settings(&Parameters::from([("sparsity".into(), ParameterValue::Float(0.1))]));
        assert_eq!(set, [("strategy.cerebellum.granule_hz".into(), "1.05361".into())]);
    }

    #[test]
    fn a_value_survives_the_way_to_the_unit_interval_and_back() {
        let ranges = [
            Range::Float { low: 1e-5, high: 0.1, scale: Scale::Log },
            Range::Float { low: -3.0, high: 5.0, scale: Scale::Linear },
            Range::Int { low: 1, high: 9, scale: Scale::Linear },
            Range::Int { low: 1, high: 4_000, scale: Scale::Log },
            Range::Choice { choices: vec!["a".into(), "b".into(), "c".into()] },
        ];
        for range in ranges {
            for k in 0..1_000 {
                let value = range.value(f64::from(k) / 1_000.0);
                let unit = range.unit(&value).unwrap();
                match (&value, range.value(unit)) {
                    (ParameterValue::Float(x), ParameterValue::Float(y)) => {
                        assert!((x - y).abs() <= 2e-5 * x.abs(), "{x} {y}");
                    }
                    (x, y) => assert_eq!(*x, y),
                }
            }
        }
    }

    #[test]
    fn a_space_file_gives_ranges_over_quoted_and_bare_keys() {
        let text = "[range.strategy.cerebellum.fibres_per_feature]\nlow = 2\nhigh = 8\nscale = 'log'\n\
                    [range.\"strategy.cerebellum.shared_weights\"]\nkind = 'choice'\nchoices = [true, false]\n\
                    [range.sparsity]\nlow = 0.05\nhigh = 0.2\n";
        let space = Space::parse("s.toml", text).unwrap();
        space.check(&base()).unwrap();
        let find = |name: &str| &space.parameters().iter().find(|p| p.name == name).unwrap().range;
        assert_eq!(
            *find("strategy.cerebellum.fibres_per_feature"),
            Range::Int { low: 2, high: 8, scale: Scale::Log }
        );
        assert_eq!(
            *find("strategy.cerebellum.shared_weights"),
            Range::Choice { choices: vec!["true".into(), "false".into()] }
        );
        assert_eq!(*find("sparsity"), Range::Float { low: 0.05, high: 0.2, scale: Scale::Linear });
    }

    #[test]
    fn a_bad_range_is_refused_by_name_with_what_was_expected() {
        let cases = [
            (
                "strategy.cerebellum.granule_cell]\nlow=1\nhigh=2",
                "unknown key; did you mean strategy.cerebellum.granule_cells?",
            ),
            ("simulator.strength]\nlow=1\nhigh=2", "does not shape the cerebellum's forecasts"),
            ("sparsity]\nlow=0.1\nhigh=0.99", "high = 0.99: expected a number from 0.01 to 0.8"),
            ("sparsity]\nlow=0.3\nhigh=0.1", "high = 0.1: expected a number above low = 0.3"),
            ("sparsity]\nlow=0.1", "high = (absent): expected a number"),
            (
                "sparsity]\nlow=0.1\nhigh=0.2\nscale='cubic'",
                "scale = \"cubic\": expected \"linear\" or \"log\"",
            ),
            (
                "strategy.cerebellum.granule_cells]\nlow=1.5\nhigh=20",
                "low = 1.5: expected a whole number",
            ),
            (
                "strategy.cerebellum.granule_cells]\nlow=1\nhigh=2000",
                "expected an integer from 16 to 1000000",
            ),
            (
                "strategy.cerebellum.learning_rate]\nlow=0\nhigh=1\nscale='log'",
                "low = 0.0: expected above 0 on a log scale",
            ),
            (
                "strategy.cerebellum.shared_weights]\nchoices=[true]",
                "1 words: expected 2 to 64 words",
            ),
            (
                "strategy.cerebellum.shared_weights]\nchoices=[true, 'maybe']",
                "expected true or false",
            ),
            (
                "sparsity]\nlow=0.1\nhigh=0.2\n[range.strategy.cerebellum.granule_hz]\nlow=1\nhigh=2",
                "which another range sets too",
            ),
            (
                "sparsity]\nlow=0.1\nhigh=0.2\nstep=1",
                "field = \"step\": expected kind, low, high, scale, choices",
            ),
        ];
        for (text, message) in cases {
            let parsed = Space::parse("s.toml", &format!("[range.{text}\n"));
            let error = parsed.and_then(|space| space.check(&base())).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
