//! `Packages`: the index of one component of a suite.
//!
//! Format: control paragraphs separated by empty lines (Debian Policy, section 5.1). An index is tens of megabytes, so
//! paragraphs are split by hand and relations are read only where the resolver looks.

use std::collections::BTreeMap;

use debversion::Version;
use thiserror::Error;

use super::relation::{self, Relation};
use crate::cmd::Hinted;
use crate::digest::Digest;
use crate::suggest::nearest;

/// One binary package of an index.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    /// Name.
    pub(crate) name: String,
    /// Version.
    pub(crate) version: Version,
    /// `amd64` or `all`.
    pub(crate) architecture: String,
    /// Path below the archive's root.
    pub(crate) path: String,
    /// Length of the `.deb` in bytes.
    pub(crate) size: u64,
    /// Digest of the `.deb`.
    pub(crate) sha256: Digest,
    pre_depends: String,
    depends: String,
    conflicts: String,
    breaks: String,
    provides: String,
}

/// All packages of a suite, by name.
#[derive(Debug, Default)]
pub(crate) struct Index {
    packages: Vec<Package>,
    by_name: BTreeMap<String, Vec<usize>>,
    providers: BTreeMap<String, Vec<(usize, Option<Version>)>>,
}

/// Why an index cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum IndexError {
    /// The file is not UTF-8.
    #[error("package index is not UTF-8")]
    Text,
    /// A paragraph lacks a field or has one that cannot be read.
    #[error("package index: paragraph of `{package}`: field `{field}` is missing or malformed")]
    Field {
        /// The package, as far as it is known.
        package: String,
        /// The field.
        field: &'static str,
    },
}

impl Hinted for IndexError {}

impl Index {
    /// Adds the packages of an uncompressed `Packages` file.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> Result<(), IndexError> {
        let text = std::str::from_utf8(bytes).map_err(|_| IndexError::Text)?;
        for paragraph in text.split("\n\n").filter(|p| !p.trim().is_empty()) {
            self.insert(read(paragraph)?)?;
        }
        Ok(())
    }

    fn insert(&mut self, package: Package) -> Result<(), IndexError> {
        let id = self.packages.len();
        for clause in package.relations("Provides", &package.provides)? {
            for provided in clause {
                let version = provided.bound.map(|(_, version)| version);
                self.providers
                    .entry(provided.name)
                    .or_default()
                    .push((id, version));
            }
        }
        self.by_name
            .entry(package.name.clone())
            .or_default()
            .push(id);
        self.packages.push(package);
        Ok(())
    }

    /// The package with this id.
    pub(crate) fn get(&self, id: usize) -> Option<&Package> {
        self.packages.get(id)
    }

    /// Ids of the real packages of this name.
    pub(crate) fn named(&self, name: &str) -> &[usize] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// Ids of all packages that satisfy a relation: real ones first, then providers, each in the index's order.
    pub(crate) fn satisfying(&self, relation: &Relation) -> Vec<usize> {
        let real = self.named(&relation.name).iter().copied();
        let real = real.filter(|id| self.get(*id).is_some_and(|p| relation.admits(&p.version)));
        let provided = self.providers.get(&relation.name).into_iter().flatten();
        let provided = provided
            .filter(|(_, version)| relation.admits_provided(version.as_ref()))
            .map(|(id, _)| *id);
        let mut ids = Vec::new();
        for id in real.chain(provided) {
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids
    }

    /// The package name that differs least from `name`, for a suggestion.
    pub(crate) fn near(&self, name: &str) -> Option<&str> {
        nearest(name, self.by_name.keys().map(String::as_str))
    }
}

impl Package {
    /// Clauses of `Pre-Depends` and `Depends`.
    pub(crate) fn requirements(&self) -> Result<Vec<Vec<Relation>>, IndexError> {
        let mut clauses = self.relations("Pre-Depends", &self.pre_depends)?;
        clauses.extend(self.relations("Depends", &self.depends)?);
        Ok(clauses)
    }

    /// What must not be installed beside this package.
    pub(crate) fn refusals(&self) -> Result<Vec<Relation>, IndexError> {
        let mut clauses = self.relations("Conflicts", &self.conflicts)?;
        clauses.extend(self.relations("Breaks", &self.breaks)?);
        Ok(clauses.into_iter().flatten().collect())
    }

    fn relations(&self, field: &'static str, text: &str) -> Result<Vec<Vec<Relation>>, IndexError> {
        relation::parse(text).ok_or_else(|| IndexError::Field {
            package: self.name.clone(),
            field,
        })
    }
}

/// Reads one paragraph; folded lines occur only in fields that are not used.
fn read(paragraph: &str) -> Result<Package, IndexError> {
    let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
    for line in paragraph
        .lines()
        .filter(|line| !line.starts_with([' ', '\t']))
    {
        if let Some((name, value)) = line.split_once(':') {
            fields.insert(name, value.trim());
        }
    }
    let optional = |name: &str| fields.get(name).copied().unwrap_or_default().to_owned();
    let name = optional("Package");
    let bad = |field: &'static str| IndexError::Field {
        package: name.clone(),
        field,
    };
    let wanted = |field: &'static str| fields.get(field).copied().ok_or_else(|| bad(field));
    Ok(Package {
        version: wanted("Version")?.parse().map_err(|_| bad("Version"))?,
        architecture: wanted("Architecture")?.to_owned(),
        path: wanted("Filename")?.to_owned(),
        size: wanted("Size")?.parse().map_err(|_| bad("Size"))?,
        sha256: wanted("SHA256")?.parse().map_err(|_| bad("SHA256"))?,
        pre_depends: optional("Pre-Depends"),
        depends: optional("Depends"),
        conflicts: optional("Conflicts"),
        breaks: optional("Breaks"),
        provides: optional("Provides"),
        name: wanted("Package")?.to_owned(),
    })
}
