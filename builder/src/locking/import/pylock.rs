//! `pylock.toml`.
//!
//! Spec: PEP 751 and PyPA "pylock.toml specification", lock-version 1.0. Read: `requires-python`, `environments`, and of
//! each package its name, version, marker, `requires-python` and wheels. URLs, paths and indexes are passed over: bytes
//! are found by their hash. Unknown keys are passed over, as the specification has it for later minor versions.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::{ImportError, Imported, ListedWheel, Package, Refusal, Refused, Source};
use crate::source::normalised;

#[derive(Deserialize)]
struct VersionOnly {
    #[serde(rename = "lock-version")]
    lock_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    requires_python: Option<String>,
    #[serde(default)]
    environments: Vec<String>,
    #[serde(default)]
    packages: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Entry {
    name: Spanned<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    marker: Option<String>,
    #[serde(default)]
    requires_python: Option<String>,
    #[serde(default)]
    wheels: Vec<WheelEntry>,
    #[serde(default)]
    sdist: Option<toml::Table>,
    #[serde(default)]
    directory: Option<toml::Table>,
    #[serde(default)]
    vcs: Option<toml::Table>,
    #[serde(default)]
    archive: Option<toml::Table>,
}

#[derive(Deserialize)]
struct WheelEntry {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    hashes: BTreeMap<String, String>,
}

/// Reads a whole file; every package that is malformed is named.
pub(super) fn parse(file: &str, text: &str) -> Result<Imported, ImportError> {
    let wrong = |source| ImportError::Toml {
        file: file.to_owned(),
        source: Box::new(source),
    };
    let version: VersionOnly = toml::from_str(text).map_err(wrong)?;
    if version.lock_version != "1.0" {
        return Err(ImportError::Version {
            file: file.to_owned(),
            found: version.lock_version,
        });
    }
    let read: File = toml::from_str(text).map_err(wrong)?;
    let file = file.to_owned();
    if read.packages.is_empty() {
        return Err(ImportError::Empty { file });
    }
    let mut packages = Vec::new();
    let mut refused = Vec::new();
    for entry in read.packages {
        match package(text, entry) {
            Ok(package) => packages.push(package),
            Err(why) => refused.push(why),
        }
    }
    if !refused.is_empty() {
        return Err(ImportError::Refused { file, refused });
    }
    Ok(Imported {
        file,
        requires_python: read.requires_python,
        environments: read.environments.into_iter().collect(),
        packages,
    })
}

fn package(text: &str, entry: Entry) -> Result<Package, Refused> {
    let before = text.get(..entry.name.span().start).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let name = normalised(entry.name.get_ref());
    let source = source(&entry).map_err(|why| Refused {
        package: Some((
            name.clone(),
            entry.version.as_deref().unwrap_or_default().to_owned(),
        )),
        line,
        why,
    })?;
    let told = match &source {
        Source::Wheels(wheels) => wheels
            .first()
            .and_then(|wheel| wheel.file.split('-').nth(1)),
        // They are refused for what they are.
        Source::Elsewhere(_) => Some(""),
        _ => None,
    };
    let version = entry.version.or_else(|| told.map(str::to_owned));
    let version = version.ok_or_else(|| Refused {
        package: Some((name.clone(), String::new())),
        line,
        why: Refusal::NoVersion,
    })?;
    Ok(Package {
        name,
        version,
        marker: entry.marker.unwrap_or_default(),
        requires_python: entry.requires_python,
        source,
        line,
    })
}

fn source(entry: &Entry) -> Result<Source, Refusal> {
    let elsewhere = [
        (&entry.directory, "a directory"),
        (&entry.vcs, "a repository"),
        (&entry.archive, "an archive"),
    ];
    if let Some((_, kind)) = elsewhere.iter().find(|(table, _)| table.is_some()) {
        return Ok(Source::Elsewhere(kind));
    }
    if entry.wheels.is_empty() {
        return Ok(match &entry.sdist {
            Some(_) => Source::Sdist,
            None => Source::NoHash,
        });
    }
    let mut wheels = std::collections::BTreeSet::new();
    for wheel in &entry.wheels {
        let Some(digits) = wheel.hashes.get("sha256") else {
            continue;
        };
        let sha256 = digits
            .parse()
            .map_err(|_| Refusal::Hash(format!("sha256:{digits}")))?;
        wheels.insert(ListedWheel {
            file: file_name(wheel),
            sha256,
            size: wheel.size,
        });
    }
    Ok(match wheels.is_empty() {
        true => Source::NoHash,
        false => Source::Wheels(wheels),
    })
}

/// `name`, or the last part of the address or path.
fn file_name(wheel: &WheelEntry) -> String {
    let place = wheel.name.as_ref().or(wheel.url.as_ref());
    let place = place.or(wheel.path.as_ref()).map_or("", String::as_str);
    let place = place.split(['#', '?']).next().unwrap_or_default();
    let name = place.rsplit(['/', '\\']).next().unwrap_or_default();
    name.replace("%2B", "+").replace("%2b", "+")
}
