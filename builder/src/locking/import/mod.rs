//! Locks that Python's own tools write, as an input of `cloister lock`.
//!
//! Two forms are read: `pylock.toml` (PEP 751, version 1.0) and requirements with `--hash=sha256:` lines, as `uv pip
//! compile` and `pip-compile` write them. Names, versions, markers, file names, sizes and hashes are taken, in no
//! particular order; locations are passed over or refused. A whole file is judged before anything is asked for.

mod error;
mod pylock;
mod requirements;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use crate::digest::Digest;
use crate::source::normalised;
use crate::suggest::nearest;
use crate::wheel::{Environment, satisfies};

pub(crate) use error::{ImportError, Refusal, Refused};

/// An imported lock. Two files that say the same, in whatever order, have the same digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Imported {
    #[serde(skip)]
    file: String,
    requires_python: Option<String>,
    environments: BTreeSet<String>,
    /// Sorted.
    packages: Vec<Package>,
}

/// One package of an imported lock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Package {
    /// Normalised project name.
    pub(crate) name: String,
    /// Version.
    pub(crate) version: String,
    marker: String,
    requires_python: Option<String>,
    /// What the lock says about files.
    pub(crate) source: Source,
    #[serde(skip)]
    line: usize,
}

/// What a lock says about the files of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum Source {
    /// Their digests, without names.
    Hashes(BTreeSet<Digest>),
    /// Wheels.
    Wheels(BTreeSet<ListedWheel>),
    /// Files without a SHA-256.
    NoHash,
    /// An sdist and no wheel.
    Sdist,
    /// Something that no index has: `a directory`, `a repository`, `an archive`.
    Elsewhere(&'static str),
}

/// A wheel of a `pylock.toml`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct ListedWheel {
    /// File name.
    pub(crate) file: String,
    /// Digest of the file.
    pub(crate) sha256: Digest,
    /// Length in bytes, if the lock says it.
    pub(crate) size: Option<u64>,
}

/// The packages of a lock that are for an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Selected {
    /// Those that are taken, by name.
    pub(crate) taken: Vec<Package>,
    /// Those that `python.exclude` leaves out, by name.
    pub(crate) left_out: Vec<Package>,
}

/// Reads the lock `file` in the recipe's directory.
pub(crate) fn read(directory: &Path, file: &str) -> Result<Imported, ImportError> {
    let text =
        std::fs::read_to_string(directory.join(file)).map_err(|source| ImportError::Read {
            file: file.to_owned(),
            source,
        })?;
    parse(file, &text)
}

fn parse(file: &str, text: &str) -> Result<Imported, ImportError> {
    let mut imported = if file.ends_with(".toml") {
        pylock::parse(file, text)?
    } else {
        requirements::parse(file, text)?
    };
    imported.packages.sort();
    Ok(imported)
}

impl Imported {
    /// Name of the file, for messages.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }

    /// Digest of what the lock says: comments, blanks and order do not count.
    pub(crate) fn digest(&self) -> Result<Digest, serde_json::Error> {
        Ok(Digest::of(&serde_json::to_vec(self)?))
    }

    /// The packages whose markers apply, without what `exclude` names. Everything that cannot be taken is said at once.
    pub(crate) fn select(
        &self,
        environment: &Environment,
        exclude: &[String],
    ) -> Result<Selected, ImportError> {
        self.check_environment(environment)?;
        let excluded: BTreeSet<String> = exclude.iter().map(|name| normalised(name)).collect();
        let mut selected = Selected::default();
        let mut refused = Vec::new();
        let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
        for package in &self.packages {
            let left_out = excluded.contains(&package.name);
            match environment.evaluate(&package.marker) {
                Some(false) => continue,
                Some(true) if left_out => selected.left_out.push(package.clone()),
                _ if left_out => {}
                None => refused.push(package.refused(Refusal::Marker(package.marker.clone()))),
                Some(true) => match package.check(environment) {
                    Some(why) => refused.push(package.refused(why)),
                    None => match lines.insert(&package.name, package.line) {
                        Some(other) => refused.push(package.refused(Refusal::Twice(other))),
                        None => selected.taken.push(package.clone()),
                    },
                },
            }
        }
        if !refused.is_empty() {
            return Err(self.refuse(refused));
        }
        self.check_excluded(&excluded, &selected.left_out)?;
        Ok(selected)
    }

    /// An error that says everything in `refused`, in the order of the file.
    pub(crate) fn refuse(&self, mut refused: Vec<Refused>) -> ImportError {
        refused.sort_by_key(|refused| refused.line);
        ImportError::Refused {
            file: self.file.clone(),
            refused,
        }
    }

    fn check_environment(&self, environment: &Environment) -> Result<(), ImportError> {
        let python = environment.full();
        if let Some(wanted) = &self.requires_python
            && satisfies(wanted, python) == Some(false)
        {
            return Err(ImportError::Python {
                file: self.file.clone(),
                wanted: wanted.clone(),
                found: python.to_owned(),
            });
        }
        let applies = |marker: &String| environment.evaluate(marker) != Some(false);
        if self.environments.is_empty() || self.environments.iter().any(applies) {
            return Ok(());
        }
        Err(ImportError::Environments {
            file: self.file.clone(),
            listed: self.environments.iter().cloned().collect(),
            found: python.to_owned(),
        })
    }

    /// Every excluded name must have left something out.
    fn check_excluded(
        &self,
        excluded: &BTreeSet<String>,
        left_out: &[Package],
    ) -> Result<(), ImportError> {
        for name in excluded {
            if left_out.iter().any(|package| package.name == *name) {
                continue;
            }
            let names = || self.packages.iter().map(|package| package.name.as_str());
            return Err(ImportError::Exclude {
                file: self.file.clone(),
                name: name.clone(),
                listed: names().any(|known| known == name),
                near: nearest(name, names()).map(str::to_owned),
            });
        }
        Ok(())
    }
}

impl Package {
    /// What is wrong with it.
    pub(crate) fn refused(&self, why: Refusal) -> Refused {
        Refused {
            package: Some((self.name.clone(), self.version.clone())),
            line: self.line,
            why,
        }
    }

    fn check(&self, environment: &Environment) -> Option<Refusal> {
        match (&self.source, &self.requires_python) {
            (Source::NoHash, _) => Some(Refusal::NoHash),
            (Source::Sdist, _) => Some(Refusal::OnlySdist),
            (Source::Elsewhere(kind), _) => Some(Refusal::Elsewhere(kind)),
            (_, Some(wanted)) if satisfies(wanted, environment.full()) == Some(false) => {
                Some(Refusal::Python {
                    wanted: wanted.clone(),
                    found: environment.full().to_owned(),
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
