//! Parameter files: a description as TOML, whole or as changes to a named set.
//!
//! A whole file holds `name`, `source`, `step_ms`, `[[populations]]` and `[[projections]]`, as
//! [`Description::to_toml`] writes them. A file of changes names its base and what differs:
//!
//! ```toml
//! base = "okr-2012"
//! name = "okr-weak-brake"          # optional, as are source and step_ms
//!
//! [population.granule]
//! count = 51_200
//! model.ahp.g_ns = 0.5
//!
//! [projection.nuclear.olive]       # from nuclear to olive
//! weight = { kind = "constant", value = 0.02 }
//!
//! [projection.granule.purkinje]    # the first, where a pair has several
//! plasticity = "none"              # takes an optional part, or a population, out
//! ```
//!
//! Tables are merged with the base's; other values replace them, and so does a table whose `kind` is
//! not the base's. A population or projection that the base lacks is added after its own.
//!
//! Invariants: no key is ignored; a fault names the file, the line where one can be told, the key
//! and what was expected; what is returned is valid.

use std::ops::Range;

use serde::de::DeserializeOwned;
use thiserror::Error;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::presets::{NAMES, preset};
use super::{Description, DescriptionError, Place, Population, Projection};

/// Why a parameter file was refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum FileError {
    /// It is not TOML, or a key is unknown, missing or of the wrong type.
    #[error("{file}:{line}: {key}{message}")]
    Syntax {
        /// The file's name.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Path of the key followed by a colon and a space, or empty where none can be told.
        key: String,
        /// What is wrong and what was expected.
        message: String,
    },
    /// The description it makes is not valid.
    #[error("{file}{}: {fault}", line.map_or(String::new(), |line| format!(":{line}")))]
    Invalid {
        /// The file's name.
        file: String,
        /// Line of the value, from 1; none where it is the base's.
        line: Option<usize>,
        /// The fault.
        fault: DescriptionError,
    },
}

impl Description {
    /// Reads a parameter file's `text`. `file` is its name, for messages.
    ///
    /// # Errors
    /// [`FileError`] where the text is not TOML, holds an unknown key or a value of the wrong type,
    /// names no known base, or makes a network that is not valid.
    pub fn from_toml(text: &str, file: &str) -> Result<Self, FileError> {
        let source = Source::parse(text, file)?;
        let description = if source.values.contains_key("base") {
            source.changed()?
        } else {
            toml::from_str(text).map_err(|e| source.misfit(&e, &[], &source.values))?
        };
        description.validate().map_err(|fault| source.invalid(&description, fault))?;
        Ok(description)
    }

    /// The whole description as TOML, from which [`Description::from_toml`] makes an equal one.
    ///
    /// # Errors
    /// Where a count is beyond what TOML can hold, 2^63.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// A file's text, read twice: for its values and for where they are.
struct Source<'a> {
    file: &'a str,
    text: &'a str,
    values: Table,
    spans: DeTable<'a>,
}

impl<'a> Source<'a> {
    fn parse(text: &'a str, file: &'a str) -> Result<Self, FileError> {
        let syntax = |e: toml::de::Error| {
            let line = line_of(text, e.span().map_or(0, |s| s.start));
            let message = e.message().trim().to_owned();
            FileError::Syntax { file: file.to_owned(), line, key: String::new(), message }
        };
        let spans = DeTable::parse(text).map_err(syntax)?.into_inner();
        let values = text.parse().map_err(syntax)?;
        Ok(Self { file, text, values, spans })
    }

    fn fault(&self, path: &[&str], message: impl Into<String>) -> FileError {
        FileError::Syntax {
            file: self.file.to_owned(),
            line: self.line(path).unwrap_or(1),
            key: if path.is_empty() { String::new() } else { format!("{}: ", path.join(".")) },
            message: message.into(),
        }
    }

    /// The line of the deepest key of `path` that the file holds; none where not even the first is.
    fn line(&self, path: &[&str]) -> Option<usize> {
        let mut found = None;
        let mut table = Some(&self.spans);
        for part in path {
            let Some((key, value)) = table.and_then(|t| t.get_key_value(*part)) else { break };
            found = Some(line_of(self.text, key.span().start));
            table = value.get_ref().as_table();
        }
        found
    }

    /// The base with this file's changes.
    fn changed(&self) -> Result<Description, FileError> {
        let name = self.values["base"].as_str().unwrap_or_default();
        let Some(mut network) = preset(name) else {
            let known = NAMES.join(", ");
            let given = &self.values["base"];
            return Err(
                self.fault(&["base"], format!("{given} is no set, expected one of {known}"))
            );
        };
        for (key, value) in &self.values {
            match key.as_str() {
                "base" => {}
                "name" => network.name = self.scalar(key, value)?,
                "source" => network.source = self.scalar(key, value)?,
                "step_ms" => network.step_ms = self.scalar(key, value)?,
                "population" => {
                    for (cell, changes) in self.table(&[key], value)? {
                        self.change_population(&mut network, cell, changes)?;
                    }
                }
                "projection" => {
                    for (pre, posts) in self.table(&[key], value)? {
                        for (post, changes) in self.table(&[key, pre], posts)? {
                            self.change_projection(&mut network, pre, post, changes)?;
                        }
                    }
                }
                _ => {
                    let known = "base, name, source, step_ms, population or projection";
                    return Err(self.fault(&[key], format!("unknown key, expected {known}")));
                }
            }
        }
        Ok(network)
    }

    fn change_population(
        &self,
        network: &mut Description,
        cell: &str,
        changes: &Value,
    ) -> Result<(), FileError> {
        let path = ["population", cell];
        let at = network.populations.iter().position(|p| p.cell.to_string() == cell);
        let Some(base) = self.merged(&path, at.map(|k| &network.populations[k]), changes)? else {
            at.map(|k| network.populations.remove(k));
            return Ok(());
        };
        let population: Population = self.typed(&path, base, &[("cell", cell)])?;
        match at {
            Some(k) => network.populations[k] = population,
            None => network.populations.push(population),
        }
        Ok(())
    }

    fn change_projection(
        &self,
        network: &mut Description,
        pre: &str,
        post: &str,
        changes: &Value,
    ) -> Result<(), FileError> {
        let path = ["projection", pre, post];
        let at = network
            .projections
            .iter()
            .position(|p| p.pre.to_string() == pre && p.post.to_string() == post);
        let Some(base) = self.merged(&path, at.map(|k| &network.projections[k]), changes)? else {
            at.map(|k| network.projections.remove(k));
            return Ok(());
        };
        let projection: Projection = self.typed(&path, base, &[("pre", pre), ("post", post)])?;
        match at {
            Some(k) => network.projections[k] = projection,
            None => network.projections.push(projection),
        }
        Ok(())
    }

    /// The base's part with the changes made to it; none if it is taken out.
    fn merged<T: serde::Serialize>(
        &self,
        path: &[&str],
        base: Option<&T>,
        changes: &Value,
    ) -> Result<Option<Table>, FileError> {
        if is_none(changes) {
            let known = base.is_some();
            let absent = || self.fault(path, "taken out, but the base has none");
            return if known { Ok(None) } else { Err(absent()) };
        }
        let mut table = match base.map(Table::try_from).transpose() {
            Ok(table) => table.unwrap_or_default(),
            Err(e) => return Err(self.fault(path, e.to_string())),
        };
        merge(&mut table, self.table(path, changes)?);
        Ok(Some(table))
    }

    /// Reads a merged part, whose `names` are its path and may not be given again.
    fn typed<T: DeserializeOwned>(
        &self,
        path: &[&str],
        mut table: Table,
        names: &[(&str, &str)],
    ) -> Result<T, FileError> {
        let given = path.iter().try_fold(&self.values, |t, part| t.get(*part)?.as_table());
        for &(key, name) in names {
            if given.is_some_and(|t| t.contains_key(key)) {
                return Err(
                    self.fault(&[path, &[key]].concat(), "unknown key: the section says it")
                );
            }
            table.insert(key.to_owned(), name.into());
        }
        Value::Table(table.clone())
            .try_into()
            .map_err(|e: toml::de::Error| self.misfit(&e, path, given.unwrap_or(&table)))
    }

    /// The fault of values that do not fit: at the key that the message names, if the section
    /// holds one, or else where the reader stopped.
    fn misfit(&self, error: &toml::de::Error, path: &[&str], given: &Table) -> FileError {
        let message = error.message().trim();
        let unknown = message.strip_prefix("unknown field `").and_then(|m| m.split('`').next());
        let named = unknown.and_then(|key| {
            let section =
                path.iter().try_fold(&self.spans, |t, part| t.get(*part)?.get_ref().as_table())?;
            find_key(section, key)
        });
        let stopped = error.span().map(|s| line_of(self.text, s.start));
        let line = named.map(|span| line_of(self.text, span.start)).or(stopped);
        let culprit = || wrong_type(message, given, &mut Vec::new());
        let mut key: Vec<String> = path.iter().map(|&p| p.to_owned()).collect();
        key.extend(unknown.map(|u| vec![u.to_owned()]).or_else(culprit).unwrap_or_default());
        let parts: Vec<&str> = key.iter().map(String::as_str).collect();
        let fault = self.fault(&parts, message);
        match (fault, line) {
            (FileError::Syntax { file, key, message, .. }, Some(line)) => {
                FileError::Syntax { file, line, key, message }
            }
            (fault, _) => fault,
        }
    }

    fn table<'t>(&self, path: &[&str], value: &'t Value) -> Result<&'t Table, FileError> {
        let kind = value.type_str();
        value.as_table().ok_or_else(|| self.fault(path, format!("{kind}, expected a table")))
    }

    fn scalar<T: DeserializeOwned>(&self, key: &str, value: &Value) -> Result<T, FileError> {
        let misfit = |e: toml::de::Error| self.fault(&[key], e.message().trim());
        value.clone().try_into().map_err(misfit)
    }

    fn invalid(&self, network: &Description, fault: DescriptionError) -> FileError {
        let line = self.line_of_fault(network, &fault);
        FileError::Invalid { file: self.file.to_owned(), line, fault }
    }

    /// Where the file gives the value that a fault names.
    fn line_of_fault(&self, network: &Description, fault: &DescriptionError) -> Option<usize> {
        let keys = || fault.key.split(['.', '[']).map(|k| k.trim_end_matches(']'));
        let (section, at): (Vec<String>, _) = match fault.place {
            Place::Network => return self.line(&[&fault.key]),
            Place::Population(cell) => (
                vec!["population".into(), cell.to_string()],
                network.populations.iter().position(|p| p.cell == cell),
            ),
            Place::Projection(pre, post) => (
                vec!["projection".into(), pre.to_string(), post.to_string()],
                network.projections.iter().position(|p| (p.pre, p.post) == (pre, post)),
            ),
        };
        if self.values.contains_key("base") {
            let section = section.iter().map(String::as_str);
            let path: Vec<&str> = section.clone().chain(keys()).collect();
            let given = path.iter().try_fold(None, |t, part| {
                let table: &DeTable<'_> = match t {
                    None => &self.spans,
                    Some(value) => DeValue::as_table(Spanned::get_ref(value))?,
                };
                table.get(*part).map(Some)
            });
            return given.flatten().map(|value| line_of(self.text, value.span().start));
        }
        let list = if section[0] == "population" { "populations" } else { "projections" };
        let mut value = self.spans.get(list)?.get_ref().as_array()?.get(at?)?;
        let mut line = line_of(self.text, value.span().start);
        for key in keys() {
            let next = match value.get_ref() {
                DeValue::Table(t) => t.get(key),
                DeValue::Array(a) => key.parse().ok().and_then(|k: usize| a.get(k)),
                _ => None,
            };
            let Some(next) = next else { break };
            value = next;
            line = line_of(self.text, value.span().start);
        }
        Some(line)
    }
}

/// Whether a value stands for the absence of one.
fn is_none(value: &Value) -> bool {
    value.as_str() == Some("none")
}

/// Makes `changes` to `base`.
fn merge(base: &mut Table, changes: &Table) {
    for (key, value) in changes {
        match (base.get_mut(key), value) {
            (_, value) if is_none(value) => {
                base.remove(key);
            }
            (Some(Value::Table(old)), Value::Table(new))
                if !new.contains_key("kind") || new.get("kind") == old.get("kind") =>
            {
                merge(old, new);
            }
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The place of the first key of this name in a table or those in it.
fn find_key(table: &DeTable<'_>, name: &str) -> Option<Range<usize>> {
    table.iter().find_map(|(key, value)| {
        if key.get_ref() == name { Some(key.span()) } else { find_key_in(value.get_ref(), name) }
    })
}

fn find_key_in(value: &DeValue<'_>, name: &str) -> Option<Range<usize>> {
    match value {
        DeValue::Table(table) => find_key(table, name),
        DeValue::Array(list) => list.iter().find_map(|v| find_key_in(v.get_ref(), name)),
        _ => None,
    }
}

/// The path of the first value of the type that a message on types complains of.
fn wrong_type(message: &str, table: &Table, path: &mut Vec<String>) -> Option<Vec<String>> {
    let complaint = message.strip_prefix("invalid type: ")?;
    for (key, value) in table {
        path.push(key.clone());
        let matches = match value {
            Value::Table(inner) => {
                if let Some(found) = wrong_type(message, inner, path) {
                    return Some(found);
                }
                complaint.starts_with("map")
            }
            Value::String(s) => complaint.starts_with(&format!("string {s:?}")),
            Value::Integer(i) => complaint.starts_with(&format!("integer `{i}`")),
            Value::Float(x) => complaint.starts_with(&format!("floating point `{x:?}`")),
            Value::Boolean(b) => complaint.starts_with(&format!("boolean `{b}`")),
            Value::Array(_) => complaint.starts_with("sequence"),
            Value::Datetime(_) => false,
        };
        if matches {
            return Some(path.clone());
        }
        path.pop();
    }
    None
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.char_indices().filter(|&(k, c)| k < offset && c == '\n').count()
}

#[cfg(test)]
mod tests {
    use super::super::{Cell, Model, Weight};
    use super::*;

    fn refused(text: &str) -> String {
        Description::from_toml(text, "net.toml").expect_err(text).to_string()
    }

    #[test]
    fn every_preset_survives_being_written_and_read() {
        for name in NAMES {
            let network = preset(name).unwrap();
            let text = network.to_toml().unwrap();
            assert_eq!(Description::from_toml(&text, "net.toml"), Ok(network), "{name}");
        }
    }

    #[test]
    fn a_base_alone_is_that_set() {
        for name in NAMES {
            let text = format!("base = \"{name}\"\n");
            assert_eq!(Description::from_toml(&text, "net.toml").unwrap(), preset(name).unwrap());
        }
    }

    #[test]
    fn changes_replace_what_they_name_and_nothing_else() {
        let text = r#"
            base = "okr-2012"
            name = "changed"
            [population.granule]
            model.ahp.g_ns = 0.5
            [population.golgi]
            model.ahp = "none"
            [projection.nuclear.olive]
            weight = { kind = "uniform", mean = 0.02, jitter = 0.5 }
            [projection.granule.purkinje]
            plasticity.climbing.amount = 0.01
        "#;
        let mut expected = preset("okr-2012").unwrap();
        expected.name = "changed".into();
        for p in &mut expected.populations {
            if let Model::Conductance(m) = &mut p.model {
                match p.cell {
                    Cell::Granule => m.ahp.as_mut().unwrap().g_ns = 0.5,
                    Cell::Golgi => m.ahp = None,
                    _ => {}
                }
            }
        }
        for p in &mut expected.projections {
            if p.post == Cell::Olive && p.pre == Cell::Nuclear {
                p.weight = Weight::Uniform { mean: 0.02, jitter: 0.5 };
            }
            if let Some(climbing) = p.plasticity.as_mut().and_then(|p| p.climbing.as_mut()) {
                climbing.amount = 0.01;
            }
        }
        assert_eq!(Description::from_toml(text, "net.toml"), Ok(expected));
    }

    #[test]
    fn populations_and_projections_can_be_taken_out_and_added() {
        let text = r#"
            base = "okr-2012"
            [population]
            basket = "none"
            [population.stellate]
            count = 16
            receptors = [{ name = "AMPA", tau_ms = 8.3 }]
            [population.stellate.model]
            kind = "conductance"
            c_pf = 106.0
            leak_ns = 2.3
            leak_mv = -68.0
            threshold_mv = -55.0
            reset_mv = -68.0
            refractory_ms = 1.0
            current_pa = 0.0
            [projection]
            granule.basket = "none"
            basket.purkinje = "none"
            [projection.granule.stellate]
            onto = [{ receptor = 0, share = 1.0 }]
            pattern = { kind = "in-degree", sources = 100 }
            weight = { kind = "constant", value = 0.01 }
            delay_steps = 5
        "#;
        let network = Description::from_toml(text, "net.toml").unwrap();
        assert!(network.population(Cell::Basket).is_none());
        assert_eq!(network.population(Cell::Stellate).unwrap().count, 16);
        assert!(network.projections.iter().any(|p| p.post == Cell::Stellate));
        assert_eq!(network.projections.len(), 9);
    }

    #[test]
    fn unknown_keys_are_refused_with_their_line_and_what_was_expected() {
        for (text, place, expected) in [
            ("base = \"okr-2012\"\nfoo = 1\n", "net.toml:2: foo: ", "base, name, source"),
            (
                "base = \"okr-2012\"\n[population.golgi]\n\ncuont = 5\n",
                "net.toml:4: population.golgi.cuont: ",
                "`count`",
            ),
            (
                "base = \"okr-2012\"\n[population.golgi]\nmodel.c_nf = 5\n",
                "net.toml:3: population.golgi.c_nf: ",
                "`c_pf`",
            ),
            (
                "base = \"okr-2012\"\n[population.glogi]\ncount = 5\n",
                "net.toml:2: population.glogi",
                "`golgi`",
            ),
            ("base = \"okr\"\n", "net.toml:1: base: ", "okr-2012, mouse-awake"),
            ("name = \"x\"\nfoo = 1\n", "net.toml:2: foo: ", "`populations`"),
            ("base = 1 1\n", "net.toml:1: ", ""),
        ] {
            let message = refused(text);
            assert!(message.starts_with(place), "{message}\nexpected {place}");
            assert!(message.contains(expected), "{message}\nexpected {expected}");
        }
        let whole = preset("benchmark-s").unwrap().to_toml().unwrap();
        let line = 1 + whole.lines().position(|l| l.starts_with("tau_m_ms")).unwrap();
        let message = refused(&whole.replacen("tau_m_ms", "tau_ms", 1));
        assert!(message.contains("tau_m_ms") || message.contains("tau_ms"), "{message}");
        let message = refused(&whole.replacen("tau_m_ms", "tau_mm", 1));
        assert!(message.starts_with(&format!("net.toml:{line}: tau_mm: ")), "{message}");
    }

    #[test]
    fn values_of_the_wrong_type_are_refused_where_they_stand() {
        let message = refused("base = \"okr-2012\"\n[population.golgi]\nmodel.c_pf = \"big\"\n");
        assert!(message.starts_with("net.toml:3: population.golgi.model.c_pf: "), "{message}");
        let message = refused("base = \"okr-2012\"\npopulation = 5\n");
        assert!(message.starts_with("net.toml:2: population: integer"), "{message}");
    }

    #[test]
    fn networks_that_are_not_valid_are_refused_at_the_line_of_the_value() {
        let message = refused("base = \"okr-2012\"\n[population.golgi]\nmodel.c_pf = -5\n");
        assert_eq!(
            message,
            "net.toml:3: population golgi: model.c_pf is -5, expected 0.01 to 100000"
        );
        // The file gives the count; the fault shows in the base's pattern.
        let message = refused("base = \"okr-2012\"\n[population.golgi]\ncount = 1000\n");
        assert!(message.starts_with("net.toml: projection golgi to granule: pattern"), "{message}");
        let whole = preset("benchmark-s").unwrap().to_toml().unwrap();
        let line = 1 + whole.lines().position(|l| l.starts_with("tau_m_ms")).unwrap();
        let message = refused(&whole.replacen("tau_m_ms = 8", "tau_m_ms = -8", 1));
        assert!(message.starts_with(&format!("net.toml:{line}: population granule")), "{message}");
    }
}
