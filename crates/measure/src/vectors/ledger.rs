//! Keeps account of the vectors: which files were read, and what became of every value, that is of every leaf of every JSON.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

/// What became of a value. Where several things did, the last of this list counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// Skipped: belongs to a file of a Debian package that is absent or of another version.
    Debian,
    /// Skipped: says in words where other values come from.
    Prose,
    /// Skipped: signatures and certificates, which this crate does not verify.
    Signature,
    /// Skipped: belongs to files or kinds of launch of another project that are not at hand.
    Upstream,
    /// Used: other values were computed from it.
    Input,
    /// Computed here, and equal.
    Checked,
}

/// How many values had each fate.
pub(super) type Fates = BTreeMap<Fate, usize>;

/// The folder of vectors with the account of its values.
pub(super) struct Ledger {
    directory: PathBuf,
    all: usize,
    documents: BTreeMap<String, Value>,
    unread: RefCell<BTreeSet<String>>,
    fates: RefCell<BTreeMap<String, Option<Fate>>>,
}

/// A value or a group of values in a JSON of the vectors, by its file and path in it.
pub(super) struct Place<'a> {
    ledger: &'a Ledger,
    value: &'a Value,
    name: String,
}

impl Ledger {
    /// Lists every file below `directory` and every value of its JSONs.
    pub(super) fn open(directory: &Path) -> Ledger {
        let mut files = BTreeSet::new();
        walk(directory, "", &mut files);
        let documents: BTreeMap<String, Value> = files
            .iter()
            .filter(|name| name.ends_with(".json"))
            .map(|name| (name.clone(), super::json(directory, name)))
            .collect();
        let mut fates = BTreeMap::new();
        for (name, value) in &documents {
            leaves(value, name, &mut |leaf| {
                fates.insert(leaf, None);
            });
        }
        Ledger {
            directory: directory.to_owned(),
            all: files.len(),
            documents,
            unread: RefCell::new(files),
            fates: RefCell::new(fates),
        }
    }

    /// Returns whether the folder has this JSON.
    pub(super) fn has(&self, name: &str) -> bool {
        self.documents.contains_key(name)
    }

    /// Reads a file.
    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        self.unread.borrow_mut().remove(name);
        std::fs::read(self.directory.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Reads a JSON.
    pub(super) fn json(&self, name: &str) -> Place<'_> {
        self.unread.borrow_mut().remove(name);
        let value = &self.documents[name];
        Place {
            ledger: self,
            value,
            name: name.to_owned(),
        }
    }

    /// Names the files that nobody read and the values that nothing became of.
    pub(super) fn open_items(&self) -> Vec<String> {
        let fates = self.fates.borrow();
        let values = fates.iter().filter(|(_, fate)| fate.is_none());
        let values = values.map(|(name, _)| name.clone());
        self.unread.borrow().iter().cloned().chain(values).collect()
    }

    /// Counts the files that were read.
    pub(super) fn files(&self) -> usize {
        self.all - self.unread.borrow().len()
    }

    /// Counts the values of each JSON.
    pub(super) fn counts(&self) -> BTreeMap<&str, Fates> {
        let fates = self.fates.borrow();
        let count = |file: &String| {
            let mut counts = Fates::new();
            let path = format!("{file}/");
            let own = fates.iter().filter(|(name, _)| name.starts_with(&path));
            own.filter_map(|(_, fate)| *fate)
                .for_each(|fate| *counts.entry(fate).or_default() += 1);
            counts
        };
        let files = self.documents.keys();
        files.map(|file| (file.as_str(), count(file))).collect()
    }

    fn mark(&self, place: &Place<'_>, fate: Fate) {
        let mut fates = self.fates.borrow_mut();
        leaves(place.value, &place.name, &mut |leaf| {
            let known = fates.get_mut(&leaf).unwrap();
            *known = Some(fate).max(*known);
        });
    }
}

impl<'a> Place<'a> {
    /// Returns the group or value called `key`, if there is one.
    pub(super) fn find(&self, key: &str) -> Option<Place<'a>> {
        let name = format!("{}/{key}", self.name);
        self.value.get(key).map(|value| Place {
            ledger: self.ledger,
            value,
            name,
        })
    }

    /// Returns the group or value called `key`.
    pub(super) fn get(&self, key: &str) -> Place<'a> {
        self.find(key)
            .unwrap_or_else(|| panic!("{}: no {key}", self.name))
    }

    /// Returns the members of a list.
    pub(super) fn list(&self) -> Vec<Place<'a>> {
        let members = self.value.as_array().unwrap().iter().enumerate();
        let member = |(index, value)| Place {
            ledger: self.ledger,
            value,
            name: format!("{}/{index}", self.name),
        };
        members.map(member).collect()
    }

    /// Returns the members of an object with their names.
    pub(super) fn members(&self) -> Vec<(&'a str, Place<'a>)> {
        let names = self.value.as_object().unwrap().keys();
        names.map(|name| (name.as_str(), self.get(name))).collect()
    }

    /// Returns the value without deciding what becomes of it.
    pub(super) fn peek(&self) -> &'a Value {
        self.value
    }

    /// Returns a text without deciding what becomes of it.
    pub(super) fn peek_text(&self) -> &'a str {
        let text = self.value.as_str();
        text.unwrap_or_else(|| panic!("{} is no text", self.name))
    }

    /// Returns the value as something that others are computed from.
    pub(super) fn input(&self) -> &'a Value {
        self.ledger.mark(self, Fate::Input);
        self.value
    }

    /// Returns a text that others are computed from.
    pub(super) fn text(&self) -> &'a str {
        let text = self.input().as_str();
        text.unwrap_or_else(|| panic!("{} is no text", self.name))
    }

    /// Returns a number that others are computed from.
    pub(super) fn number(&self) -> u64 {
        let number = self.input().as_u64();
        number.unwrap_or_else(|| panic!("{} is no number", self.name))
    }

    /// Compares the value, or all values of the group, with what was computed.
    pub(super) fn equals(&self, found: impl Serialize) {
        let found = serde_json::to_value(found).unwrap();
        assert_eq!(found, *self.value, "{}", self.name);
        self.ledger.mark(self, Fate::Checked);
    }

    /// Leaves the value, or all values of the group, out.
    pub(super) fn skip(&self, why: Fate) {
        self.ledger.mark(self, why);
    }
}

fn leaves(value: &Value, name: &str, tell: &mut dyn FnMut(String)) {
    match value {
        Value::Object(members) if !members.is_empty() => members
            .iter()
            .for_each(|(key, value)| leaves(value, &format!("{name}/{key}"), tell)),
        Value::Array(members) if !members.is_empty() => members
            .iter()
            .enumerate()
            .for_each(|(index, value)| leaves(value, &format!("{name}/{index}"), tell)),
        _ => tell(name.to_owned()),
    }
}

#[expect(clippy::disallowed_methods, reason = "the set sorts")]
fn walk(directory: &Path, below: &str, files: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(directory.join(below)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let name = match below {
            "" => name,
            _ => format!("{below}/{name}"),
        };
        match entry.file_type().unwrap().is_dir() {
            true => walk(directory, &name, files),
            false => drop(files.insert(name)),
        }
    }
}
