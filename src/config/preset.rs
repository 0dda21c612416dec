//! Presets: the built-in ones, compiled into the program, and those of files.
//!
//! Invariant: a preset obeys the same rules whether it is built in or read from a path.

use super::problem::{Origin, Problem};
use super::source::MAX_FILE_BYTES;
use super::spec::{Document, quoted};
use super::suggest::nearest;
use crate::files::bounded_file::read_text;
use std::path::Path;
use std::sync::Arc;

/// Built-in feed presets: name and text.
pub static FEEDS: &[(&str, &str)] = &[
    ("simulated", include_str!("../../feeds/presets/simulated.toml")),
    ("binance-spot", include_str!("../../feeds/presets/binance-spot.toml")),
    ("binance-usdm", include_str!("../../feeds/presets/binance-usdm.toml")),
    ("binance-coinm", include_str!("../../feeds/presets/binance-coinm.toml")),
    ("coinbase-advanced", include_str!("../../feeds/presets/coinbase-advanced.toml")),
    ("coinbase-exchange", include_str!("../../feeds/presets/coinbase-exchange.toml")),
    ("kraken", include_str!("../../feeds/presets/kraken.toml")),
    ("bybit-spot", include_str!("../../feeds/presets/bybit-spot.toml")),
    ("bybit-linear", include_str!("../../feeds/presets/bybit-linear.toml")),
    ("okx", include_str!("../../feeds/presets/okx.toml")),
    ("bitstamp", include_str!("../../feeds/presets/bitstamp.toml")),
    ("deribit", include_str!("../../feeds/presets/deribit.toml")),
];

/// Built-in strategy presets: name and text.
pub static STRATEGIES: &[(&str, &str)] = &[
    ("default", include_str!("../../strategies/presets/default.toml")),
    ("conservative", include_str!("../../strategies/presets/conservative.toml")),
];

/// A preset's text and the name its lines are known by.
#[derive(Debug)]
pub(crate) struct PresetText {
    pub(crate) name: Arc<str>,
    pub(crate) text: String,
}

/// What a preset reference means: a built-in name stays, a path is resolved against the directory
/// of the file that names it.
pub(crate) fn resolve(document: Document, reference: &str, origin: &Origin) -> String {
    if !is_path(document, reference) {
        return reference.to_owned();
    }
    let base = match origin {
        Origin::File { path, .. } => Path::new(&**path).parent(),
        _ => None,
    };
    base.map_or_else(
        || reference.to_owned(),
        |base| base.join(reference).to_string_lossy().into_owned(),
    )
}

fn is_path(document: Document, reference: &str) -> bool {
    let builtin = builtins(document).iter().any(|(name, _)| *name == reference);
    !builtin
        && (reference.contains('/')
            || Path::new(reference).extension().is_some_and(|e| e == "toml"))
}

fn builtins(document: Document) -> &'static [(&'static str, &'static str)] {
    match document {
        Document::Feed => FEEDS,
        Document::Strategy => STRATEGIES,
        Document::Daemon => &[],
    }
}

/// The preset that a resolved `reference` names. `key` and `origin` say who asked for it.
pub(crate) fn find(
    document: Document,
    reference: &str,
    key: &str,
    origin: &Origin,
) -> Result<PresetText, Problem> {
    let known = builtins(document);
    if let Some((name, text)) = known.iter().find(|(name, _)| *name == reference) {
        let folder = if document == Document::Feed { "feeds" } else { "strategies" };
        return Ok(PresetText {
            name: format!("builtin:{folder}/{name}.toml").into(),
            text: (*text).to_owned(),
        });
    }
    let invalid = |detail: String| {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        Problem::Invalid {
            origin: origin.clone(),
            key: key.to_owned(),
            value: format!("{reference:?}"),
            expected: format!("{} or the path of a .toml file{detail}", quoted(&names)),
        }
    };
    if !is_path(document, reference) {
        let near = nearest(reference, known.iter().map(|(name, _)| *name));
        return Err(invalid(super::problem::did_you_mean(near)));
    }
    match read_text(Path::new(reference), MAX_FILE_BYTES) {
        Ok(text) => Ok(PresetText { name: reference.into(), text }),
        Err(error) => Err(invalid(format!(" ({})", error.fault))),
    }
}
