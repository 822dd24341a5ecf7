//! What two builds are compared by: manifest, provenance index, reference values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cloister_measure::reference::ReferenceValues;
use serde_json::Value as Json;

use super::DifferenceError;
use super::change::short;
use crate::output::MANIFEST;
use crate::provenance::{Fact, Provenance};

/// Name of the root image among the outputs that are compared.
pub(super) const ROOT: &str = "partition root";
/// Name of its hash tree.
pub(super) const ROOT_VERITY: &str = "partition root-verity";

/// An output directory.
pub(super) struct Build {
    pub(super) directory: PathBuf,
    pub(super) manifest: Json,
}

impl Build {
    pub(super) fn read(directory: &Path) -> Result<Self, DifferenceError> {
        let build = Self {
            directory: directory.to_owned(),
            manifest: Json::Null,
        };
        Ok(Self {
            manifest: build.json(MANIFEST)?,
            ..build
        })
    }

    pub(super) fn json(&self, name: &str) -> Result<Json, DifferenceError> {
        let path = self.directory.join(name);
        let bytes = std::fs::read(&path).map_err(|source| DifferenceError::Read {
            path: path.clone(),
            source,
        })?;
        serde_json::from_slice(&bytes).map_err(|source| DifferenceError::Json { path, source })
    }

    /// SHA-256 of every output, and of the root and its hash tree on the disk, by name.
    pub(super) fn outputs(&self) -> BTreeMap<String, String> {
        let outputs = self
            .manifest
            .get("outputs")
            .and_then(Json::as_object)
            .into_iter()
            .flatten();
        let outputs = outputs.map(|(name, output)| (name.clone(), output.get("sha256")));
        let parts = [(ROOT, "data-sha256"), (ROOT_VERITY, "hash-sha256")];
        let verity = self.manifest.get("verity");
        let parts = parts.map(|(name, key)| (name.to_owned(), verity.and_then(|it| it.get(key))));
        outputs
            .chain(parts)
            .filter_map(|(name, digest)| Some((name, text(Some(digest?)))))
            .collect()
    }

    /// `name version` and SHA-256 of every locked input, by kind and name.
    pub(super) fn inputs(&self) -> BTreeMap<String, String> {
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
    pub(super) fn packages_of(&self, role: &str) -> Vec<String> {
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

    pub(super) fn reference(&self, name: &str) -> Option<ReferenceValues> {
        ReferenceValues::from_json(&std::fs::read(self.directory.join(name)).ok()?).ok()
    }
}

/// What the provenance index says of one path.
#[derive(PartialEq, Eq)]
pub(super) struct Entry {
    /// Everything that is in the image: kind, mode, owner, SHA-256 or target.
    pub(super) content: String,
    /// `package NAME`, `wheel NAME` or words.
    pub(super) origin: String,
}

impl Build {
    /// What the provenance index says of every path of the root.
    pub(super) fn root(&self) -> Result<BTreeMap<String, Entry>, DifferenceError> {
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

/// Text as it is, anything else as JSON, nothing for null.
pub(super) fn text(json: Option<&Json>) -> String {
    match json {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}
