//! Spike trains: when which neurons of a network fired.
//!
//! A file is one JSON object:
//!
//! ```json
//! {"spike_trains": [{"neuron": 12, "layer": "granule", "times_ms": [3.5, 40, 81.25]},
//!                   {"neuron": 0, "layer": "purkinje", "times_ms": []}],
//!  "duration_ms": 100}
//! ```
//!
//! | key | value |
//! |---|---|
//! | `duration_ms` | required; above 0, at most 1e9 (11.5 days) |
//! | `spike_trains` | required; each neuron of a layer at most once |
//! | `neuron` | required; an integer from 0 to 4294967294 |
//! | `layer` | required; a name of 1 to 64 bytes: what it means is the network's business |
//! | `times_ms` | required; strictly ascending, from 0 to below `duration_ms` |

use std::collections::BTreeSet;
use std::path::Path;

use super::json::{Fields, Json, number};
use super::{Fault, ImportError, MAX_FILE_BYTES, syntax};
use crate::files::bounded_file::read_bytes;

/// Most trains of a file.
pub const MAX_TRAINS: usize = 1_000_000;

/// Most spikes of a file.
pub const MAX_SPIKES: usize = 50_000_000;

/// Longest duration, ms.
const MAX_DURATION_MS: f64 = 1e9;

const MAX_LAYER_BYTES: usize = 64;

/// The spikes of one neuron.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpikeTrain {
    /// Its number within the layer.
    pub neuron: u32,
    /// The population.
    pub layer: String,
    /// When it fired, ms, strictly ascending.
    pub times_ms: Vec<f64>,
}

/// The spike trains of a file, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpikeTrains {
    /// How long was recorded, ms.
    pub duration_ms: f64,
    /// The trains.
    pub trains: Vec<SpikeTrain>,
}

impl SpikeTrains {
    /// All spikes.
    #[must_use]
    pub fn spikes(&self) -> usize {
        self.trains.iter().map(|train| train.times_ms.len()).sum()
    }
}

/// Reads a file of spike trains.
///
/// # Errors
/// The file cannot be read, is too large, is not JSON, or is against the format; the message says
/// where.
pub fn read_spike_trains(path: &Path) -> Result<SpikeTrains, ImportError> {
    let bytes = read_bytes(path, MAX_FILE_BYTES)?;
    let json = serde_json::from_slice(&bytes).map_err(|e| syntax(path, &e, 0))?;
    drop(bytes);
    trains(json).map_err(|fault| fault.in_file(path))
}

fn trains(json: Json) -> Result<SpikeTrains, Fault> {
    let mut top = match json {
        Json::Object(_) => Fields::of("", json)?,
        other => return Err(Fault::value("the file", other, "an object")),
    };
    let is_duration = |v: f64| v > 0.0 && v <= MAX_DURATION_MS;
    let duration_ms = top.number("duration_ms", None, "above 0 and at most 1e9", is_duration)?;
    let list = match top.take("spike_trains") {
        Some(Json::List(list)) => list,
        Some(other) => return Err(Fault::value("spike_trains", other, "an array")),
        None => return Err(Fault::new("spike_trains", "is missing", "an array")),
    };
    top.finish("spike_trains and duration_ms")?;
    if list.len() > MAX_TRAINS {
        let found = format!("has {} trains", list.len());
        return Err(Fault::new("spike_trains", found, format!("at most {MAX_TRAINS}")));
    }
    let mut found = SpikeTrains { duration_ms, trains: Vec::with_capacity(list.len()) };
    let (mut seen, mut spikes) = (BTreeSet::new(), 0);
    for (index, json) in list.into_iter().enumerate() {
        let at = format!("spike_trains[{index}]");
        let train = train(&at, json, duration_ms)?;
        if !seen.insert((train.layer.clone(), train.neuron)) {
            let expected = format!("neuron {} of {:?} once", train.neuron, train.layer);
            return Err(Fault::new(at, "is a duplicate", expected));
        }
        spikes += train.times_ms.len();
        if spikes > MAX_SPIKES {
            let expected = format!("at most {MAX_SPIKES} in a file");
            return Err(Fault::new(at, "has one spike too many", expected));
        }
        found.trains.push(train);
    }
    Ok(found)
}

fn train(at: &str, json: Json, duration_ms: f64) -> Result<SpikeTrain, Fault> {
    let mut fields = Fields::of(at, json)?;
    let (neuron_at, layer_at) = (fields.path("neuron"), fields.path("layer"));
    let expected = "an integer from 0 to 4294967294";
    let neuron = match fields.take("neuron") {
        Some(Json::Integer(value)) => {
            u32::try_from(value).ok().filter(|neuron| *neuron < u32::MAX).ok_or(value.to_string())
        }
        Some(other) => Err(other.to_string()),
        None => return Err(Fault::new(neuron_at, "is missing", expected)),
    };
    let neuron = neuron.map_err(|value| Fault::value(neuron_at, value, expected))?;
    let expected = "a name of 1 to 64 bytes";
    let layer = match fields.take("layer") {
        Some(Json::Text(text)) if (1..=MAX_LAYER_BYTES).contains(&text.len()) => text,
        Some(other) => return Err(Fault::value(layer_at, other, expected)),
        None => return Err(Fault::new(layer_at, "is missing", expected)),
    };
    let times_at = fields.path("times_ms");
    let list = match fields.take("times_ms") {
        Some(Json::List(list)) => list,
        Some(other) => return Err(Fault::value(times_at, other, "an array")),
        None => return Err(Fault::new(times_at, "is missing", "an array")),
    };
    fields.finish("one of neuron, layer, times_ms")?;
    let mut times_ms: Vec<f64> = Vec::with_capacity(list.len());
    for (index, json) in list.into_iter().enumerate() {
        let at = format!("{times_at}[{index}]");
        let expected = format!("a time from 0 to below duration_ms, {duration_ms}");
        let time = number(&at, json, &expected, |v| (0.0..duration_ms).contains(&v))?;
        if let Some(before) = times_ms.last().filter(|before| time <= **before) {
            let expected = format!("later than the spike before, {before}");
            return Err(Fault::value(at, time, expected));
        }
        times_ms.push(time);
    }
    Ok(SpikeTrain { neuron, layer, times_ms })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"spike_trains": [
        {"neuron": 12, "layer": "granule", "times_ms": [3.5, 40, 81.25]},
        {"neuron": 12, "layer": "purkinje", "times_ms": []}], "duration_ms": 100}"#;

    fn import(text: &str) -> Result<SpikeTrains, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f.json");
        std::fs::write(&path, text).unwrap();
        read_spike_trains(&path).map_err(|e| {
            let text = e.to_string();
            text.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
        })
    }

    #[test]
    fn trains_are_read_in_the_order_of_the_file() {
        let found = import(FILE).unwrap();
        let train = |layer: &str, times_ms: &[f64]| SpikeTrain {
            neuron: 12,
            layer: layer.into(),
            times_ms: times_ms.to_vec(),
        };
        assert_eq!(found.trains, [train("granule", &[3.5, 40.0, 81.25]), train("purkinje", &[])]);
        assert_eq!((found.duration_ms, found.spikes()), (100.0, 3));
    }

    #[test]
    fn every_fault_says_where_it_is_and_what_was_expected() {
        let times = "spike_trains[0].times_ms";
        for (from, to, expected) in [
            ("40", "100", format!("{times}[1] is 100, expected a time from 0 to below duration_ms, 100")),
            ("3.5", "-1", format!("{times}[0] is -1, expected a time from 0 to below duration_ms, 100")),
            ("40", "3.5", format!("{times}[1] is 3.5, expected later than the spike before, 3.5")),
            ("40", "2", format!("{times}[1] is 2, expected later than the spike before, 3.5")),
            ("40", "null", format!("{times}[1] is null, expected a time from 0 to below duration_ms, 100")),
            ("[3.5, 40, 81.25]", "5", format!("{times} is 5, expected an array")),
            ("\"duration_ms\": 100", "\"duration_ms\": 0", "duration_ms is 0, expected above 0 and at most 1e9".into()),
            (", \"duration_ms\": 100", "", "duration_ms is missing, expected above 0 and at most 1e9".into()),
            ("purkinje", "granule", "spike_trains[1] is a duplicate, expected neuron 12 of \"granule\" once".into()),
            ("\"granule\"", "\"\"", "spike_trains[0].layer is \"\", expected a name of 1 to 64 bytes".into()),
            ("\"neuron\": 12", "\"neuron\": -1", "spike_trains[0].neuron is -1, expected an integer from 0 to 4294967294".into()),
            ("\"neuron\": 12", "\"neuron\": 1.5", "spike_trains[0].neuron is 1.5, expected an integer from 0 to 4294967294".into()),
            ("\"neuron\": 12,", "", "spike_trains[0].neuron is missing, expected an integer from 0 to 4294967294".into()),
            ("\"neuron\": 12", "\"neuron\": 12, \"gid\": 3", "spike_trains[0].gid is not a key of the format, expected one of neuron, layer, times_ms".into()),
            ("\"duration_ms\"", "\"dt\": 1, \"duration_ms\"", "dt is not a key of the format, expected spike_trains and duration_ms".into()),
        ] {
            assert!(FILE.contains(from), "{from}");
            assert_eq!(import(&FILE.replacen(from, to, 1)).unwrap_err(), expected);
        }
        assert_eq!(import("[1]").unwrap_err(), "the file is an array of 1, expected an object");
        let error = import(&FILE.replace("40", "NaN")).unwrap_err();
        assert!(error.starts_with("line 2, column "), "{error}");
    }
}
