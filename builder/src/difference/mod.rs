//! Why two builds differ: from a changed register to the output, the file inside it, and the package it came from.
//!
//! A build is an output directory with its manifest; single files and reference values can be compared as well.
//! Everything is read from the two builds themselves: `manifest.json` holds the lock, `provenance.json` says which
//! package or file of the recipe every path of the root came from.

mod change;
mod file;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cloister_measure::reference::ReferenceValues;
use serde_json::Value as Json;
use thiserror::Error;

pub(crate) use change::{Change, render};

use crate::output::MANIFEST;
use crate::provenance::{Fact, Provenance};
use change::{changed, short};

/// Paths of the root that are listed one by one.
const LISTED: usize = 100;

/// Why two things could not be compared.
#[derive(Debug, Error)]
pub(crate) enum DifferenceError {
    /// A file could not be read.
    #[error("`{path}` could not be read")]
    Read {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// A JSON file of a build is damaged.
    #[error("`{path}` is not the JSON that a build writes")]
    Json {
        /// File.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// A directory and a file.
    #[error("`{directory}` is a directory and `{file}` is a file: compare two builds or two files")]
    Kinds {
        /// The directory.
        directory: PathBuf,
        /// The file.
        file: PathBuf,
    },
}

/// What differs between `a` and `b`, two output directories or two files; empty when they are equal.
pub(crate) fn compare(a: &Path, b: &Path) -> Result<Vec<Change>, DifferenceError> {
    match (a.is_dir(), b.is_dir()) {
        (true, true) => builds(&Build::read(a)?, &Build::read(b)?),
        (false, false) => file::compare(a, b).map_err(|source| {
            let path = if a.exists() { b } else { a };
            DifferenceError::Read {
                path: path.to_owned(),
                source,
            }
        }),
        (true, false) => Err(DifferenceError::Kinds {
            directory: a.to_owned(),
            file: b.to_owned(),
        }),
        (false, true) => Err(DifferenceError::Kinds {
            directory: b.to_owned(),
            file: a.to_owned(),
        }),
    }
}

/// An output directory.
struct Build {
    directory: PathBuf,
    manifest: Json,
}

impl Build {
    fn read(directory: &Path) -> Result<Self, DifferenceError> {
        let build = Self {
            directory: directory.to_owned(),
            manifest: Json::Null,
        };
        Ok(Self {
            manifest: build.json(MANIFEST)?,
            ..build
        })
    }

    fn json(&self, name: &str) -> Result<Json, DifferenceError> {
        let path = self.directory.join(name);
        let bytes = std::fs::read(&path).map_err(|source| DifferenceError::Read {
            path: path.clone(),
            source,
        })?;
        serde_json::from_slice(&bytes).map_err(|source| DifferenceError::Json { path, source })
    }

    /// SHA-256 of every output, by name.
    fn outputs(&self) -> BTreeMap<String, String> {
        let outputs = self
            .manifest
            .get("outputs")
            .and_then(Json::as_object)
            .into_iter()
            .flatten();
        outputs
            .map(|(name, output)| (name.clone(), text(output.get("sha256"))))
            .collect()
    }

    /// `name version` and SHA-256 of every locked input, by kind and name.
    fn inputs(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for kind in ["package", "wheel", "file"] {
            let list = self
                .manifest
                .pointer(&format!("/lock/{kind}"))
                .and_then(Json::as_array);
            for input in list.into_iter().flatten() {
                let name = text(input.get("name").or_else(|| input.get("url")));
                let value = format!(
                    "{} {}",
                    text(input.get("version")),
                    short(&text(input.get("sha256")))
                );
                found.insert(format!("{kind} {name}"), value.trim().to_owned());
            }
        }
        found
    }

    /// Names of the locked packages with `role`, as in [`Build::inputs`].
    fn packages_of(&self, role: &str) -> Vec<String> {
        let packages = self
            .manifest
            .pointer("/lock/package")
            .and_then(Json::as_array)
            .into_iter()
            .flatten();
        let has = |package: &&Json| {
            package
                .get("roles")
                .and_then(Json::as_array)
                .is_some_and(|r| r.contains(&role.into()))
        };
        packages
            .filter(has)
            .map(|package| format!("package {}", text(package.get("name"))))
            .collect()
    }

    fn reference(&self, name: &str) -> Option<ReferenceValues> {
        ReferenceValues::from_json(&std::fs::read(self.directory.join(name)).ok()?).ok()
    }
}

/// Names of the registers and launch digests that differ.
pub(crate) fn registers(a: &ReferenceValues, b: &ReferenceValues) -> Vec<String> {
    file::registers(a, b)
        .into_iter()
        .map(|change| change.what)
        .collect()
}

fn text(json: Option<&Json>) -> String {
    match json {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn builds(a: &Build, b: &Build) -> Result<Vec<Change>, DifferenceError> {
    let inputs = changed(&a.inputs(), &b.inputs(), Clone::clone);
    let mut outputs = Vec::new();
    let mut registers = Vec::new();
    for change in changed(&a.outputs(), &b.outputs(), |hash| short(hash)) {
        if change.what.starts_with("measurements/") {
            registers.extend(measurements(a, b, &change.what));
        } else {
            let because = explain(a, b, &change, &inputs)?;
            outputs.push(change.because(because));
        }
    }
    let guest = guest_inputs(a, b);
    Ok(registers
        .into_iter()
        .chain(outputs)
        .chain(inputs)
        .chain(guest)
        .collect())
}

/// Registers of one platform that differ, each with the outputs that explain it.
fn measurements(a: &Build, b: &Build, name: &str) -> Vec<Change> {
    let platform = name
        .trim_start_matches("measurements/")
        .trim_end_matches(".json");
    let (Some(values_a), Some(values_b)) = (a.reference(name), b.reference(name)) else {
        return vec![Change::new(
            name,
            a.outputs().remove(name),
            b.outputs().remove(name),
        )];
    };
    let mut changes = file::registers(&values_a, &values_b);
    for change in &mut changes {
        let measured = measured_files(&change.what);
        change
            .because
            .retain(|input| measured.contains(&input.what.as_str()));
        change.what = format!("{platform} {}", change.what);
    }
    changes
}

/// Inputs of the reference values that a register depends on.
fn measured_files(register: &str) -> &'static [&'static str] {
    match register {
        "pcr9" => &["initrd", "uki"],
        "pcr15" => &["guest-configuration"],
        _ if register.starts_with("launch-digest") => &["cmdline", "firmware", "initrd", "kernel"],
        _ => &["uki"],
    }
}

/// What made an output change.
fn explain(
    a: &Build,
    b: &Build,
    change: &Change,
    inputs: &[Change],
) -> Result<Vec<Change>, DifferenceError> {
    let role = |role: &str| -> Vec<Change> {
        let names = [a.packages_of(role), b.packages_of(role)].concat();
        inputs
            .iter()
            .filter(|input| names.contains(&input.what))
            .cloned()
            .collect()
    };
    let file = || {
        let (path_a, path_b) = (
            a.directory.join(&change.what),
            b.directory.join(&change.what),
        );
        if !path_a.exists() || !path_b.exists() {
            return Ok(Vec::new());
        }
        file::compare(&path_a, &path_b).map_err(|source| DifferenceError::Read {
            path: path_a,
            source,
        })
    };
    Ok(match change.what.as_str() {
        "root.erofs" => root(a, b, inputs)?
            .into_iter()
            .chain(role("erofs"))
            .collect(),
        "root.verity" => vec![Change::new("root.erofs", None, None)],
        "kernel" => role("kernel"),
        "initrd" => with_initrd_origins(file()?, guest_inputs(a, b), role("kernel")),
        "uki.efi" => file()?.into_iter().chain(role("stub")).collect(),
        "disk.raw" => partitions(a, b),
        name if name.starts_with("firmware/") => role("firmware"),
        "cmdline" => file()?,
        _ => Vec::new(),
    })
}

fn with_initrd_origins(
    mut entries: Vec<Change>,
    guest: Vec<Change>,
    kernel: Vec<Change>,
) -> Vec<Change> {
    for entry in &mut entries {
        if entry.what == "initrd entry init" {
            entry.because.extend(guest.clone());
        } else if entry.what.starts_with("initrd entry cloister/modules/") {
            entry.because.extend(kernel.clone());
        }
    }
    entries
}

/// Outputs inside `disk.raw` that differ.
fn partitions(a: &Build, b: &Build) -> Vec<Change> {
    let (a, b) = (a.outputs(), b.outputs());
    let inside = ["uki.efi", "root.erofs", "root.verity"];
    let differing = inside.iter().filter(|name| a.get(**name) != b.get(**name));
    differing
        .map(|name| Change::new(*name, None, None))
        .collect()
}

/// Sources and toolchain of the guest binary that differ.
fn guest_inputs(a: &Build, b: &Build) -> Vec<Change> {
    let flat = |build: &Build| {
        let mut found = BTreeMap::new();
        if let Some(inputs) = build.manifest.pointer("/guest-binary/inputs") {
            flatten("guest binary", inputs, &mut found);
        }
        found
    };
    changed(&flat(a), &flat(b), |value| {
        short(value.trim_start_matches("sha256:"))
    })
}

fn flatten(name: &str, json: &Json, found: &mut BTreeMap<String, String>) {
    match json {
        Json::Object(fields) => fields
            .iter()
            .for_each(|(key, value)| flatten(&format!("{name} {key}"), value, found)),
        value => {
            found.insert(name.to_owned(), text(Some(value)));
        }
    }
}

/// Paths of the root that differ, each with the package it came from.
fn root(a: &Build, b: &Build, inputs: &[Change]) -> Result<Vec<Change>, DifferenceError> {
    let (index_a, index_b) = (a.root()?, b.root()?);
    let mut changes = changed(&index_a, &index_b, |entry| entry.content.clone());
    let more = changes.len().saturating_sub(LISTED);
    changes.truncate(LISTED);
    for change in &mut changes {
        let path = change.what.clone();
        let origins = [index_a.get(&path), index_b.get(&path)]
            .map(|entry| entry.map(|entry| entry.origin.clone()));
        let [origin_a, origin_b] = origins;
        let named = [&origin_a, &origin_b]
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>();
        let known = inputs
            .iter()
            .filter(|input| named.iter().any(|origin| origin == &input.what));
        change.because = known.cloned().collect();
        if change.because.is_empty() {
            change.because.push(Change::new("from", origin_a, origin_b));
        }
    }
    if more > 0 {
        changes.push(Change::new(format!("{more} more paths"), None, None));
    }
    Ok(changes)
}

/// What the provenance index says of one path.
#[derive(PartialEq, Eq)]
struct Entry {
    /// Everything that is in the image: kind, mode, owner, SHA-256 or target.
    content: String,
    /// `package NAME`, `wheel NAME` or words.
    origin: String,
}

impl Build {
    /// What the provenance index says of every path of the root.
    fn root(&self) -> Result<BTreeMap<String, Entry>, DifferenceError> {
        let path = self.directory.join("provenance.json");
        let index: Provenance = serde_json::from_value(self.json("provenance.json")?)
            .map_err(|source| DifferenceError::Json { path, source })?;
        let entry = |fact: Fact| {
            let owner = format!("{} {} {}:{}", fact.kind, fact.mode, fact.uid, fact.gid);
            let sha256 = fact
                .sha256
                .map(|digest| format!(" {}", short(&digest.to_string())));
            let target = fact.target.map(|target| format!(" -> {target}"));
            let content = owner + &sha256.or(target).unwrap_or_default();
            Entry {
                content,
                origin: fact.origin,
            }
        };
        Ok(index
            .root
            .into_iter()
            .map(|(path, fact)| (path, entry(fact)))
            .collect())
    }
}
