//! Holds the schemas and encoders of signals against everything that was published before.
//!
//! A change of a schema is published as the next minor revision:
//! `PURKINJE_PUBLISH=1.2 cargo test --test schema_compatibility -- --ignored publish`, after which a person
//! reads the samples it wrote.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod material;
mod rules;

use std::{
    alloc::System,
    collections::{BTreeMap, BTreeSet},
    fs,
};

use proptest::prelude::*;
use prost_reflect::{
    DescriptorPool, DynamicMessage, Kind, MessageDescriptor, ReflectMessage as _,
    Value as ProtoValue,
};
use purkinje::{
    alloc::{CountingAllocator, thread_allocations},
    signals::{
        encode::MAX_LINE_BYTES,
        kafka::contract::Encoding,
        received::ReceivedSignal,
        schema::{SIGNAL_JSON, SIGNAL_PROTO},
    },
};
use serde_json::{Value, value::RawValue};

use material::{any_signal, encoded, encoders, meaning, published, published_dir, samples};
use rules::{compile, json_breaks, proto_breaks};

#[global_allocator]
static ALLOCATOR: CountingAllocator<System> = CountingAllocator(System);

fn parse(schema: &str) -> Value {
    serde_json::from_str(schema).unwrap()
}

fn validator(schema: &str) -> jsonschema::Validator {
    jsonschema::draft202012::new(&parse(schema)).unwrap()
}

/// Why a JSON text breaks a schema; empty where it does not.
fn complaints(validator: &jsonschema::Validator, json: &str) -> Vec<String> {
    let instance = parse(json);
    validator.iter_errors(&instance).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

fn signal_of(pool: &DescriptorPool) -> MessageDescriptor {
    pool.get_message_by_name("purkinje.v1.Signal").unwrap()
}

/// Compares a message with the JSON object of the same signal, field by field of the definition, and
/// says which fields it knew.
fn same_values(message: &DynamicMessage, json: &str) -> Result<BTreeSet<String>, TestCaseError> {
    let object: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).unwrap();
    for field in message.descriptor().fields() {
        let in_json = object.get(field.name()).map_or("absent", |raw| raw.get());
        let value = message.get_field(&field);
        let as_json = match (&*value, field.kind()) {
            _ if field.supports_presence() && !message.has_field(&field) => {
                // What can be switched off is absent in both.
                (if object.contains_key(field.name()) { "null" } else { "absent" }).to_owned()
            }
            (ProtoValue::String(text), _) if field.name() == "mid" => text.clone(),
            (ProtoValue::String(text), _) => Value::from(text.as_str()).to_string(),
            (ProtoValue::U64(n), _) => n.to_string(),
            (ProtoValue::U32(n), _) => n.to_string(),
            (ProtoValue::I64(n), _) => n.to_string(),
            (ProtoValue::F32(n), _) => match field.name() {
                "agreement" | "weight" | "challenger_evidence_log10" | "anomaly" => {
                    format!("{n:.4}")
                }
                _ => format!("{n:.6}"),
            },
            (ProtoValue::EnumNumber(n), Kind::Enum(kind)) => {
                // A reason of a later version is nothing to an older reader.
                let Some(value) = kind.get_value(*n) else { continue };
                let name = value.name().split_once('_').unwrap().1.to_owned();
                let name = if field.name() == "action" { name } else { name.to_lowercase() };
                format!("{name:?}")
            }
            (ProtoValue::List(members), _) => {
                let list: Vec<Box<RawValue>> = serde_json::from_str(in_json).unwrap();
                prop_assert_eq!(list.len(), members.len());
                for (member, json) in members.iter().zip(&list) {
                    same_values(member.as_message().unwrap(), json.get())?;
                }
                in_json.to_owned()
            }
            other => panic!("{}: {other:?} is not compared", field.full_name()),
        };
        prop_assert_eq!(&as_json, in_json, "{}", field.full_name());
    }
    Ok(message.descriptor().fields().map(|field| field.name().to_owned()).collect())
}

#[test]
fn the_newest_revision_is_the_current_schema() {
    let newest = published().pop().unwrap();
    assert_eq!(newest.json, SIGNAL_JSON, "publish the JSON Schema, {} is newest", newest.name);
    assert_eq!(newest.proto, SIGNAL_PROTO, "publish the definition, {} is newest", newest.name);
}

#[test]
fn no_revision_takes_back_what_an_older_one_promised() {
    let revisions = published();
    for (i, old) in revisions.iter().enumerate() {
        for new in &revisions[i..] {
            let json = json_breaks(&parse(&old.json), &parse(&new.json));
            let proto = proto_breaks(&compile(&old.proto), &compile(&new.proto));
            assert!(
                json.is_empty() && proto.is_empty(),
                "{} → {}: {json:?} {proto:?}",
                old.name,
                new.name
            );
        }
    }
}

#[test]
fn every_published_sample_is_valid_today_and_means_what_it_meant() {
    let today = validator(SIGNAL_JSON);
    for revision in published() {
        for sample in revision.samples {
            let name = format!("{}/{}", revision.name, sample.name);
            assert_eq!(complaints(&today, &sample.json), [] as [&str; 0], "{name}");
            let json = ReceivedSignal::read(Encoding::Json, sample.json.as_bytes()).unwrap();
            let protobuf = ReceivedSignal::read(Encoding::Protobuf, &sample.protobuf).unwrap();
            for (encoding, read) in [("JSON", json), ("Protobuf", protobuf)] {
                let means = meaning(&read);
                for fact in sample.meaning.lines() {
                    assert!(
                        means.lines().any(|is| is == fact),
                        "{name} in {encoding}: {fact}\n{means}"
                    );
                }
            }
        }
    }
}

#[test]
fn both_schemas_have_the_same_fields() {
    let json = parse(SIGNAL_JSON);
    let signal = signal_of(&compile(SIGNAL_PROTO));
    let member = signal.get_field_by_name("members").unwrap().kind();
    let member = member.as_message().unwrap().clone();
    for (message, object) in [(signal, &json), (member, &json["properties"]["members"]["items"])] {
        let fields: BTreeSet<String> = message.fields().map(|f| f.name().to_owned()).collect();
        let properties: BTreeSet<String> =
            object["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(fields, properties);
    }
}

proptest! {
    #[test]
    fn what_is_written_today_is_valid_under_every_published_schema_and_the_same_in_both_encodings(
        signals in proptest::collection::vec(any_signal(), 1..40)
    ) {
        thread_local! {
            static READERS: Vec<(jsonschema::Validator, MessageDescriptor, bool)> = {
                let revisions = published();
                let last = revisions.len() - 1;
                let reader = |(i, revision): (usize, &material::Revision)| {
                    let message = signal_of(&compile(&revision.proto));
                    (validator(&revision.json), message, i == last)
                };
                revisions.iter().enumerate().map(reader).collect()
            };
        }
        let mut encoders = encoders();
        for signal in signals {
            let (json, protobuf) = encoded(&signal, &mut encoders);
            READERS.with(|readers| {
                for (validator, descriptor, is_newest) in readers {
                    prop_assert_eq!(complaints(validator, &json), [] as [&str; 0]);
                    let message = DynamicMessage::decode(descriptor.clone(), &protobuf[..]).unwrap();
                    let known = same_values(&message, &json)?;
                    if *is_newest {
                        let object: BTreeMap<String, Value> = serde_json::from_str(&json).unwrap();
                        let fields: BTreeSet<_> = object.into_keys().collect();
                        prop_assert!(fields.is_subset(&known), "{:?}", fields);
                        let is_set = |name: &&String| message.has_field_by_name(name);
                        let only_here = known.difference(&fields).find(is_set);
                        prop_assert_eq!(only_here, None);
                        prop_assert_eq!(message.unknown_fields().count(), 0);
                    }
                }
                Ok(())
            })?;
            let json = ReceivedSignal::read(Encoding::Json, json.as_bytes()).unwrap();
            let protobuf = ReceivedSignal::read(Encoding::Protobuf, &protobuf).unwrap();
            prop_assert_eq!(meaning(&json), meaning(&protobuf));
        }
    }
}

#[test]
fn encoders_allocate_nothing_from_their_first_signal_on() {
    let (json, mut protobuf) = encoders();
    let mut buffer = [0; MAX_LINE_BYTES];
    let signals = samples().map(|(_, signal)| signal);
    let before = thread_allocations();
    for signal in &signals {
        assert!(json.line(signal, &mut buffer).is_some());
        assert!(protobuf.message(signal, &mut buffer).is_some());
    }
    assert_eq!(thread_allocations() - before, 0);
}

#[test]
fn the_check_of_definitions_notices_what_would_break_readers() {
    let table = [
        ("string instrument = 3;", "string symbol = 3;", "is symbol now"),
        ("string instrument = 3;", "string instrument = 30;", "= 3 is gone"),
        ("uint32 ttl_ms = 11;", "uint64 ttl_ms = 11;", "required uint64 now"),
        ("optional float confidence", "float confidence", "was optional"),
        ("repeated Member members", "Member members", "was repeated"),
        ("ACTION_BUY = 1;", "ACTION_BUY = 4;", "ACTION_BUY = 1 is gone"),
        ("REASON_HALTED = 1;", "REASON_STOPPED = 1;", "is REASON_STOPPED now"),
        ("package purkinje.v1;", "package purkinje.v2;", "message purkinje.v1.Member is gone"),
    ];
    let current = compile(SIGNAL_PROTO);
    for (from, to, expected) in table {
        let changed = SIGNAL_PROTO.replacen(from, to, 1);
        assert_ne!(changed, SIGNAL_PROTO, "{from}");
        let breaks = proto_breaks(&current, &compile(&changed)).join("\n");
        let expected = expected.replace("required uint64", "uint64");
        assert!(breaks.contains(&expected), "{from} → {to}: {breaks:?}");
    }
    let grown = SIGNAL_PROTO.replacen("uint64 cycle = 2;", "uint64 cycle = 2; bool new = 999;", 1);
    assert_eq!(proto_breaks(&current, &compile(&grown)), [] as [&str; 0], "growth is allowed");
}

/// An edit of a JSON Schema.
type Change = fn(&mut Value);

#[test]
fn the_check_of_json_schemas_notices_what_would_break_readers() {
    let current = parse(SIGNAL_JSON);
    let changed = |change: Change| {
        let mut schema = current.clone();
        change(&mut schema);
        assert_ne!(schema, current);
        json_breaks(&current, &schema).join("\n")
    };
    let table: [(Change, &str); 7] = [
        (|s| s["properties"]["seq"]["type"] = "string".into(), "/seq: type \"string\" now"),
        (|s| s["properties"]["value"]["type"] = "number".into(), "/value: type \"number\" now"),
        (|s| drop(s["properties"].as_object_mut().unwrap().remove("mid")), "/mid is gone"),
        (|s| drop(s["required"].as_array_mut().unwrap().pop()), ": required"),
        (|s| s["required"].as_array_mut().unwrap().push("new".into()), ": required"),
        (
            |s| s["properties"]["action"]["enum"].as_array_mut().unwrap().push("X".into()),
            "/action: one of",
        ),
        (
            |s| s["properties"]["members"]["items"]["additionalProperties"] = false.into(),
            "/members/items: closed",
        ),
    ];
    for (change, expected) in table {
        let breaks = changed(change);
        assert!(breaks.contains(expected), "{expected}: {breaks:?}");
    }
    let grown = changed(|s| s["properties"]["new"]["type"] = "string".into());
    assert_eq!(grown, "", "growth is allowed");
}

#[test]
#[ignore = "writes into the source tree; see the head of this file"]
fn publish() {
    let Some(name) = std::env::var("PURKINJE_PUBLISH").ok().filter(|name| !name.is_empty()) else {
        eprintln!("skipped: PURKINJE_PUBLISH names no revision");
        return;
    };
    let dir = published_dir().join(&name);
    assert!(!dir.exists(), "{} is there already, and what is published stays", dir.display());
    fs::create_dir_all(dir.join("samples")).unwrap();
    fs::write(dir.join("signal.v1.json"), SIGNAL_JSON).unwrap();
    fs::write(dir.join("signal.v1.proto"), SIGNAL_PROTO).unwrap();
    let mut encoders = encoders();
    for (sample, signal) in samples() {
        let (json, protobuf) = encoded(&signal, &mut encoders);
        let read = ReceivedSignal::read(Encoding::Json, json.as_bytes()).unwrap();
        let path = dir.join("samples").join(sample);
        fs::write(path.with_extension("json"), json).unwrap();
        fs::write(path.with_extension("pb"), protobuf).unwrap();
        fs::write(path.with_extension("txt"), meaning(&read)).unwrap();
    }
}
