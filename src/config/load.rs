//! The layers put on one another: built-in default < preset < file < environment < flag.
//!
//! Invariants: every value of every layer is checked, also those that a stronger layer hides; all
//! problems of a load come back together; a load without problems yields a value and an origin for
//! every key of the table. Deterministic given its sources: nothing is read that they do not name.

use super::check::{check, node_of_text};
use super::loaded::{Effective, Loaded};
use super::preset;
use super::problem::{Origin, Problem, Problems, shortened};
use super::rules::RULES;
use super::source::{Data, Entry, MAX_FILE_BYTES, parse_file};
use super::spec::{Document, KeySpec, env_name};
use super::suggest::nearest;
use crate::files::bounded_file::{BoundedFileError, read_text};
use purkinje_cuda::nvrtc::LIBRARY_VARIABLE;
use serde::de::DeserializeOwned;
use std::path::PathBuf;
use std::sync::Arc;
use toml::Value;

/// Names the configuration file.
const ENV_CONFIG: &str = "PURKINJE_CONFIG";

/// Unknown names for which the nearest known one is looked for; a file of nothing but unknown names
/// would otherwise take long to refuse.
const MAX_SUGGESTIONS: usize = 100;

/// What every variable of ours begins with.
const ENV_PREFIX: &str = "PURKINJE_";

/// Where a configuration comes from.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The file asked for on the command line; it must exist.
    pub config_path: Option<PathBuf>,
    /// Environment; only names that begin with `PURKINJE_` are looked at. `PURKINJE_CONFIG` names
    /// the file when `config_path` does not, and must then exist too.
    pub env: Vec<(String, String)>,
    /// `--set key=value`, in order; the last one of a key wins.
    pub sets: Vec<(String, String)>,
    /// Files to try when none is asked for; the first that exists is used.
    pub search: Vec<PathBuf>,
}

impl Sources {
    /// The given sources with the usual places of the file: `./purkinje.toml`, then
    /// `/etc/purkinje/purkinje.toml`.
    pub fn new(
        config_path: Option<PathBuf>,
        env: impl IntoIterator<Item = (String, String)>,
        sets: Vec<(String, String)>,
    ) -> Self {
        let search = vec!["purkinje.toml".into(), "/etc/purkinje/purkinje.toml".into()];
        Self { config_path, env: env.into_iter().collect(), sets, search }
    }

    /// The same with the environment of this process. A value that is not UTF-8 is taken with
    /// replacement characters, which no key but a path or a text accepts.
    #[must_use]
    pub fn of_process(config_path: Option<PathBuf>, sets: Vec<(String, String)>) -> Self {
        let env = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            name.starts_with(ENV_PREFIX).then(|| (name, value.to_string_lossy().into_owned()))
        });
        Self::new(config_path, env, sets)
    }
}

/// Loads, layers and checks a configuration.
///
/// # Errors
/// All problems found: files that cannot be read or are not TOML, unknown keys, values of the wrong
/// type or out of range, missing and conflicting values.
pub fn load(sources: &Sources) -> Result<Loaded, Problems> {
    let mut loader = Loader::new();
    let file = loader.read_file(sources);
    loader.read_environment(&sources.env);
    loader.read_flags(&sources.sets);
    loader.resolve(Document::Daemon, true);
    for document in [Document::Feed, Document::Strategy] {
        let found = loader.read_preset(document);
        loader.resolve(document, found);
    }
    loader.check_rules();
    loader.finish(file, sources.clone())
}

impl Loaded {
    /// This configuration with keys set as `--set` would, and nothing read anew: no file, no
    /// environment. A preset cannot be exchanged this way.
    ///
    /// # Errors
    /// As [`load`].
    pub fn with_sets(&self, sets: &[(String, String)]) -> Result<Self, Problems> {
        let mut loader = Loader::new();
        loader.values.clone_from(&self.values);
        loader.read_flags(sets);
        for entry in std::mem::take(&mut loader.entries) {
            let Some(at) = loader.values.iter().position(|value| value.path == entry.path) else {
                continue;
            };
            if entry.path.ends_with(".preset") {
                loader.problems.push(Problem::Invalid {
                    origin: entry.origin,
                    key: entry.shown,
                    value: entry.node.text,
                    expected: "a preset to be chosen when the configuration is loaded".to_owned(),
                });
                continue;
            }
            match check(loader.values[at].spec, &entry.shown, &entry.origin, &entry.node) {
                Ok(value) => {
                    loader.values[at].value = value;
                    loader.values[at].origin = entry.origin;
                }
                Err(found) => loader.problems.extend(found),
            }
        }
        loader.check_rules();
        let mut sources = self.sources.clone();
        sources.sets.extend_from_slice(sets);
        loader.finish(self.file.clone(), sources)
    }

    /// Reads its sources again: the same file, which must still exist, and presets that are files; the environment
    /// and flags are those that it was loaded with.
    ///
    /// # Errors
    /// As [`load`].
    pub fn load_again(&self) -> Result<Self, Problems> {
        let config_path = self.file.clone().or_else(|| self.sources.config_path.clone());
        load(&Sources { config_path, ..self.sources.clone() })
    }
}

/// One key of the whole name space.
struct Key {
    path: String,
    document: Document,
    spec: &'static KeySpec,
}

struct Loader {
    keys: Vec<Key>,
    /// Entries of all layers, weakest first; presets are put in front when they are known.
    entries: Vec<Entry>,
    values: Vec<Effective>,
    problems: Vec<Problem>,
}

impl Loader {
    fn new() -> Self {
        let keys = Document::ALL.into_iter().flat_map(|document| {
            document.keys().iter().map(move |spec| Key {
                path: format!("{}{}", document.prefix(), spec.path),
                document,
                spec,
            })
        });
        Self { keys: keys.collect(), entries: vec![], values: vec![], problems: vec![] }
    }

    fn key(&self, path: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.path == path)
    }

    fn value(&self, path: &str) -> Option<&Effective> {
        self.values.iter().find(|value| value.path == path)
    }

    /// Reads the first file that applies.
    fn read_file(&mut self, sources: &Sources) -> Option<PathBuf> {
        let named = sources.env.iter().rev().find(|(name, _)| name == ENV_CONFIG);
        let asked = sources.config_path.clone().or(named.map(|(_, path)| path.into()));
        let (candidates, must_exist) = match &asked {
            Some(path) => (std::slice::from_ref(path), true),
            None => (sources.search.as_slice(), false),
        };
        for path in candidates {
            match read_text(path, MAX_FILE_BYTES) {
                Ok(text) => {
                    let name: Arc<str> = path.to_string_lossy().into();
                    self.read_text(&name, &text, None);
                    return Some(path.clone());
                }
                Err(error) if error.is_not_found() && !must_exist => {}
                Err(error) => {
                    self.problems.push(unreadable(&error));
                    return None;
                }
            }
        }
        None
    }

    /// Adds the entries of a text that are known keys; `preset` limits them to one document.
    fn read_text(&mut self, name: &Arc<str>, text: &str, preset: Option<Document>) {
        let prefix = preset.map_or("", Document::prefix);
        let is_key = |path: &str| self.key(path).is_some();
        let parsed = match parse_file(name, text, prefix, &is_key) {
            Ok(parsed) => parsed,
            Err(problem) => return self.problems.push(problem),
        };
        let mut known = Vec::new();
        for mut entry in parsed {
            let is_table = matches!(entry.node.data, Data::Table(_));
            if preset.is_none() && !is_table {
                entry.path = expand_shorthand(&entry.path);
            }
            let key = self.key(&entry.path);
            if key.is_some_and(|key| preset.is_none_or(|document| key.document == document)) {
                known.push(entry);
            } else if !self.is_section(&entry.path) {
                let problem = self.unknown(&entry, preset);
                self.problems.push(problem);
            } else if !is_table {
                self.problems.push(Problem::Invalid {
                    origin: entry.origin,
                    value: entry.node.text,
                    expected: format!("a section, [{}]", entry.shown),
                    key: entry.shown,
                });
            }
        }
        // Presets are weaker than whatever was read before them.
        if preset.is_some() {
            self.entries.splice(0..0, known);
        } else {
            self.entries.extend(known);
        }
    }

    fn is_section(&self, path: &str) -> bool {
        let inside =
            |key: &Key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        self.keys.iter().any(inside)
    }

    fn unknown(&self, entry: &Entry, preset: Option<Document>) -> Problem {
        let in_reach = self.keys.iter().filter(|key| preset.is_none_or(|d| key.document == d));
        let names = in_reach.map(|key| if preset.is_some() { key.spec.path } else { &key.path });
        let near = if self.problems.len() < MAX_SUGGESTIONS {
            nearest(&entry.shown, names).map(str::to_owned)
        } else {
            None
        };
        Problem::UnknownKey {
            origin: entry.origin.clone(),
            key: shortened(&entry.shown),
            value: entry.node.text.clone(),
            nearest: near,
        }
    }

    fn read_environment(&mut self, env: &[(String, String)]) {
        for (name, value) in env {
            if !name.starts_with(ENV_PREFIX) || is_foreign_variable(name) {
                continue;
            }
            let names = |key: &Key| env_name(&key.path);
            let key = match name.as_str() {
                "PURKINJE_FEED" => self.key("feed.preset"),
                "PURKINJE_STRATEGY" => self.key("strategy.preset"),
                _ => self.keys.iter().find(|key| names(key) == *name),
            };
            let origin = Origin::Env { name: name.as_str().into() };
            if let Some(key) = key {
                let node = node_of_text(key.spec.kind, value);
                let (path, shown) = (key.path.clone(), key.path.clone());
                self.entries.push(Entry { path, shown, origin, node });
            } else {
                let known: Vec<String> = self.keys.iter().map(names).collect();
                self.problems.push(Problem::UnknownKey {
                    origin,
                    key: shortened(name),
                    value: shortened(&format!("{value:?}")),
                    nearest: nearest(name, known.iter().map(String::as_str)).map(str::to_owned),
                });
            }
        }
    }

    fn read_flags(&mut self, sets: &[(String, String)]) {
        for (name, value) in sets {
            let path = expand_shorthand(name.trim());
            let kind = self.key(&path).map(|key| key.spec.kind);
            let node = node_of_text(kind.unwrap_or(super::spec::Kind::Text), value);
            let entry = Entry { shown: path.clone(), path, origin: Origin::Flag, node };
            if kind.is_some() {
                self.entries.push(entry);
            } else {
                let problem = self.unknown(&entry, None);
                self.problems.push(problem);
            }
        }
    }

    /// Reads the preset in force for `document`; false if there is none to read.
    fn read_preset(&mut self, document: Document) -> bool {
        let key = format!("{}preset", document.prefix());
        let Some(chosen) = self.value(&key) else {
            return false;
        };
        let reference = chosen.value.as_str().unwrap_or_default();
        match preset::find(document, reference, &key, &chosen.origin) {
            Ok(found) => {
                let before = self.problems.len();
                self.read_text(&found.name, &found.text, Some(document));
                let broken = |p: &Problem| matches!(p, Problem::Syntax { .. });
                !self.problems[before..].iter().any(broken)
            }
            Err(problem) => {
                self.problems.push(problem);
                false
            }
        }
    }

    /// Checks the entries of one document and, if `complete`, puts its values in force.
    fn resolve(&mut self, document: Document, complete: bool) {
        for index in 0..self.keys.len() {
            let key = &self.keys[index];
            if key.document != document {
                continue;
            }
            let (path, spec) = (key.path.clone(), key.spec);
            let mut strongest = spec.default.value().map(|value| (value, Origin::Default));
            let mut refused = false;
            for entry in self.entries.iter().filter(|entry| entry.path == path) {
                match check(spec, &entry.shown, &entry.origin, &entry.node) {
                    Ok(value) => strongest = Some((value, entry.origin.clone())),
                    Err(found) => {
                        self.problems.extend(found);
                        refused = true;
                    }
                }
            }
            match strongest {
                _ if refused || !complete => {}
                Some((value, origin)) => {
                    let value = resolve_preset_path(&path, value, &origin);
                    self.values.push(Effective { path, spec, value, origin });
                }
                None => self.problems.push(Problem::Missing {
                    document: format!("{} preset", document.prefix().trim_end_matches('.')),
                    key: path,
                    expected: spec.expected(),
                }),
            }
        }
    }

    fn check_rules(&mut self) {
        for rule in RULES {
            let Some(blamed) = self.value(rule.key) else {
                continue;
            };
            let others: Vec<_> = rule.others.iter().filter_map(|key| self.value(key)).collect();
            if others.len() < rule.others.len() {
                continue;
            }
            let values: Vec<_> =
                std::iter::once(&blamed.value).chain(others.iter().map(|o| &o.value)).collect();
            if (rule.holds)(&values) {
                continue;
            }
            let spelled =
                |e: &&Effective| format!("{} = {} ({})", e.path, shortened(&e.shown()), e.origin);
            let others: Vec<_> = others.iter().map(spelled).collect();
            let others = if others.is_empty() { "itself".to_owned() } else { others.join(" and ") };
            self.problems.push(Problem::Conflict {
                origin: blamed.origin.clone(),
                key: rule.key.to_owned(),
                value: shortened(&blamed.shown()),
                others,
                expected: rule.expected.to_owned(),
            });
        }
    }

    fn finish(self, file: Option<PathBuf>, sources: Sources) -> Result<Loaded, Problems> {
        if !self.problems.is_empty() {
            return Err(Problems(self.problems));
        }
        let internal = |reason: String| Problems(vec![Problem::Internal(reason)]);
        Ok(Loaded {
            config: self.typed(Document::Daemon).map_err(internal)?,
            feed: self.typed(Document::Feed).map_err(internal)?,
            strategy: self.typed(Document::Strategy).map_err(internal)?,
            origins: self.values.iter().map(|v| (v.path.clone(), v.origin.clone())).collect(),
            file,
            sources,
            values: self.values,
        })
    }

    /// The values of one document as its structure.
    fn typed<T: DeserializeOwned>(&self, document: Document) -> Result<T, String> {
        let mut root = toml::Table::new();
        for value in &self.values {
            if self.key(&value.path).is_some_and(|key| key.document == document) {
                insert(&mut root, value.spec.path, value.value.clone())?;
            }
        }
        Value::Table(root).try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }
}

/// Puts `value` at a dotted path.
fn insert(root: &mut toml::Table, path: &str, value: Value) -> Result<(), String> {
    let mut parts: Vec<&str> = path.split('.').collect();
    let last = parts.pop().unwrap_or(path);
    let mut table = root;
    for part in parts {
        let slot = table.entry(part).or_insert_with(|| Value::Table(toml::Table::new()));
        table = slot.as_table_mut().ok_or_else(|| format!("{path} runs through a value"))?;
    }
    table.insert(last.to_owned(), value);
    Ok(())
}

/// `feed` and `strategy` alone stand for the name of the preset.
fn expand_shorthand(path: &str) -> String {
    match path {
        "feed" | "strategy" => format!("{path}.preset"),
        _ => path.to_owned(),
    }
}

/// Variables that begin like ours and are not keys: the file's name, where NVRTC and the kernels that a build
/// embeds are, and what Kubernetes sets in every container for a service called `purkinje`.
fn is_foreign_variable(name: &str) -> bool {
    let rest = name.strip_prefix(ENV_PREFIX).unwrap_or(name);
    [ENV_CONFIG, LIBRARY_VARIABLE, "PURKINJE_KERNELS"].contains(&name)
        || rest == "PORT"
        || rest.starts_with("PORT_")
        || rest.starts_with("SERVICE_")
}

fn resolve_preset_path(path: &str, value: Value, origin: &Origin) -> Value {
    let document = match path {
        "feed.preset" => Document::Feed,
        "strategy.preset" => Document::Strategy,
        _ => return value,
    };
    value.as_str().map(|name| preset::resolve(document, name, origin).into()).unwrap_or(value)
}

fn unreadable(error: &BoundedFileError) -> Problem {
    Problem::Unreadable {
        path: error.path.to_string_lossy().escape_debug().to_string(),
        reason: error.fault.to_string(),
    }
}
