//! What a schema may not do to those published before it, within one version of the contract.
//!
//! Protobuf: a field keeps number, name, type and presence; an enum value keeps number and name; nothing
//! goes away. JSON: a property keeps its type, stays required if it was, and becomes required only if it
//! always was; a closed set of values stays closed and does not grow, because readers rely on it.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;

/// Compiles a definition.
pub(crate) fn compile(text: &str) -> DescriptorPool {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("signal.v1.proto"), text).unwrap();
    let set = protox::compile(["signal.v1.proto"], [dir.path()]).unwrap();
    DescriptorPool::from_file_descriptor_set(set).unwrap()
}

/// What readers of the definition `old` would suffer from `new`.
pub(crate) fn proto_breaks(old: &DescriptorPool, new: &DescriptorPool) -> Vec<String> {
    let mut breaks = Vec::new();
    for was in old.all_messages() {
        match new.get_message_by_name(was.full_name()) {
            Some(is) => message_breaks(&was, &is, &mut breaks),
            None => breaks.push(format!("message {} is gone", was.full_name())),
        }
    }
    for was in old.all_enums() {
        match new.get_enum_by_name(was.full_name()) {
            Some(is) => enum_breaks(&was, &is, &mut breaks),
            None => breaks.push(format!("enum {} is gone", was.full_name())),
        }
    }
    breaks
}

fn message_breaks(was: &MessageDescriptor, is: &MessageDescriptor, breaks: &mut Vec<String>) {
    for field in was.fields() {
        let (name, number) = (field.full_name(), field.number());
        let Some(now) = is.get_field(number) else {
            breaks.push(format!("{name} = {number} is gone"));
            continue;
        };
        if now.name() != field.name() {
            breaks.push(format!("{name} = {number} is {} now", now.name()));
        }
        if shape(&now) != shape(&field) {
            breaks.push(format!("{name} is {} now, was {}", shape(&now), shape(&field)));
        }
    }
}

fn shape(field: &FieldDescriptor) -> String {
    let kind = match field.kind() {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(enumeration) => enumeration.full_name().to_owned(),
        kind => format!("{kind:?}").to_lowercase(),
    };
    let presence = if field.supports_presence() { "optional " } else { "" };
    format!("{presence}{:?} {kind}", field.cardinality()).to_lowercase()
}

fn enum_breaks(was: &EnumDescriptor, is: &EnumDescriptor, breaks: &mut Vec<String>) {
    for value in was.values() {
        let (name, number) = (value.name(), value.number());
        match is.get_value(number) {
            Some(now) if now.name() == name => {}
            Some(now) => breaks.push(format!("{name} = {number} is {} now", now.name())),
            None => breaks.push(format!("{name} = {number} is gone")),
        }
    }
}

/// What readers of the JSON Schema `old` would suffer from `new`.
pub(crate) fn json_breaks(old: &Value, new: &Value) -> Vec<String> {
    let mut breaks = Vec::new();
    object_breaks("", old, new, &mut breaks);
    breaks
}

fn object_breaks(path: &str, old: &Value, new: &Value, breaks: &mut Vec<String>) {
    if texts(&old["type"]) != texts(&new["type"]) {
        breaks.push(format!("{path}: type {} now, was {}", new["type"], old["type"]));
    }
    if texts(&old["enum"]) != texts(&new["enum"]) {
        breaks.push(format!("{path}: one of {} now, was {}", new["enum"], old["enum"]));
    }
    if old["pattern"] != new["pattern"] {
        breaks.push(format!("{path}: pattern {} now, was {}", new["pattern"], old["pattern"]));
    }
    if texts(&old["required"]) != texts(&new["required"]) {
        breaks.push(format!("{path}: required {} now, was {}", new["required"], old["required"]));
    }
    if new["additionalProperties"] == false {
        breaks.push(format!("{path}: closed to further fields"));
    }
    for (name, was) in old["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        match new["properties"].get(name) {
            Some(is) => object_breaks(&path, was, is, breaks),
            None => breaks.push(format!("{path} is gone")),
        }
    }
    if old["items"].is_object() {
        object_breaks(&format!("{path}/items"), &old["items"], &new["items"], breaks);
    }
}

/// One text or a list of them, without order.
fn texts(value: &Value) -> BTreeSet<&str> {
    let list = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    list.iter().filter_map(Value::as_str).collect()
}
