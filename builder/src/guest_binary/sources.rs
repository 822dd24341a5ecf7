//! The source files that decide the bytes of the guest binary.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::store::Digest;

/// Crate folder of the guest binary, relative to the repository.
const GUEST_CRATE: &str = "init";
/// Files of the repository itself that decide how the guest binary is compiled.
const REPOSITORY_FILES: [&str; 3] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"];

/// Why the sources could not be read.
#[derive(Debug, Error)]
pub(crate) enum SourceError {
    /// No folder with `init/Cargo.toml` was found.
    #[error("no Cloister source tree (a folder with `init/Cargo.toml`) above {0}")]
    NoRepository(String),
    /// A file could not be read.
    #[error("source `{path}` could not be read")]
    Read {
        /// File, relative to the repository.
        path: String,
        /// Cause.
        source: io::Error,
    },
    /// A manifest is not TOML.
    #[error("`{path}` is not a Cargo manifest")]
    Manifest {
        /// File, relative to the repository.
        path: String,
        /// Cause.
        source: toml::de::Error,
    },
}

/// The folder at or above one of `starts` that holds the guest's sources.
pub(crate) fn repository(starts: &[PathBuf]) -> Result<PathBuf, SourceError> {
    let all = starts.iter().flat_map(|start| start.ancestors());
    let found = all
        .into_iter()
        .find(|dir| dir.join(GUEST_CRATE).join("Cargo.toml").is_file());
    let names = || {
        starts
            .iter()
            .map(|start| format!("`{}`", start.display()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    found
        .map(Path::to_path_buf)
        .ok_or_else(|| SourceError::NoRepository(names()))
}

/// SHA-256 over names and contents of everything that is compiled from `repository` for the program whose crate is in the folder
/// `program`.
pub(crate) fn digest(repository: &Path, program: &str) -> Result<Digest, SourceError> {
    let mut files: BTreeSet<String> = REPOSITORY_FILES.map(str::to_owned).into();
    for folder in crates(repository, program)? {
        files.insert(format!("{folder}/Cargo.toml"));
        for name in ["src", "build.rs"] {
            walk(repository, &format!("{folder}/{name}"), &mut files)?;
        }
    }
    let mut hash = Sha256::new();
    for path in files {
        let bytes = read(repository, &path)?;
        hash.update(format!("{path}\0{}\0", bytes.len()));
        hash.update(&bytes);
    }
    Ok(Digest(hash.finalize().into()))
}

/// Folders of a program's crate and of every workspace crate it depends on.
fn crates(repository: &Path, program: &str) -> Result<BTreeSet<String>, SourceError> {
    let workspace = manifest(repository, "Cargo.toml")?;
    let shared = table(&workspace, &["workspace", "dependencies"]);
    let paths: BTreeMap<&str, &str> = shared
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.get("path")?.as_str()?)))
        .collect();
    let mut found = BTreeSet::new();
    let mut open = vec![program.to_owned()];
    while let Some(folder) = open.pop() {
        let own = manifest(repository, &format!("{folder}/Cargo.toml"))?;
        let needed = ["dependencies", "build-dependencies"].map(|kind| table(&own, &[kind]));
        let names = needed
            .iter()
            .flat_map(|table| table.keys().map(String::as_str));
        open.extend(
            names
                .filter_map(|name| paths.get(name))
                .filter(|path| !found.contains(**path))
                .map(|path| (*path).to_owned()),
        );
        found.insert(folder);
    }
    Ok(found)
}

fn manifest(repository: &Path, path: &str) -> Result<toml::Table, SourceError> {
    let text = String::from_utf8_lossy(&read(repository, path)?).into_owned();
    toml::from_str(&text).map_err(|source| SourceError::Manifest {
        path: path.to_owned(),
        source,
    })
}

fn table(from: &toml::Table, keys: &[&str]) -> toml::Table {
    keys.iter().fold(from.clone(), |table, key| {
        table
            .get(*key)
            .and_then(toml::Value::as_table)
            .cloned()
            .unwrap_or_default()
    })
}

fn read(repository: &Path, path: &str) -> Result<Vec<u8>, SourceError> {
    std::fs::read(repository.join(path)).map_err(|source| SourceError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Adds the file `path`, or every file below the folder `path`.
fn walk(repository: &Path, path: &str, files: &mut BTreeSet<String>) -> Result<(), SourceError> {
    let full = repository.join(path);
    if full.is_file() {
        files.insert(path.to_owned());
    }
    if !full.is_dir() {
        return Ok(());
    }
    for name in names(&full).map_err(|source| SourceError::Read {
        path: path.to_owned(),
        source,
    })? {
        walk(repository, &format!("{path}/{name}"), files)?;
    }
    Ok(())
}

/// Names of everything in a folder.
#[expect(clippy::disallowed_methods, reason = "the names go into a sorted set")]
pub(super) fn names(folder: &Path) -> io::Result<BTreeSet<String>> {
    let entries = std::fs::read_dir(folder)?;
    entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository_with(extra: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            (
                "Cargo.toml",
                "[workspace.dependencies]\nown = { path = \"crates/own\" }\nserde = \"1\"\n",
            ),
            ("Cargo.lock", ""),
            ("rust-toolchain.toml", ""),
            (
                "init/Cargo.toml",
                "[dependencies]\nown.workspace = true\n[dev-dependencies]\nserde = \"1\"\n",
            ),
            ("init/src/main.rs", "fn main() {}"),
            ("crates/own/Cargo.toml", ""),
            ("crates/own/src/lib.rs", ""),
        ];
        for (path, text) in files.iter().chain(extra) {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        dir
    }

    #[test]
    fn digest_covers_the_guest_and_its_crates_only() {
        let plain = digest(repository_with(&[]).path(), "init").unwrap();
        assert_eq!(
            plain,
            digest(
                repository_with(&[
                    ("crates/other/src/lib.rs", "x"),
                    ("init/tests/t.rs", "x"),
                    ("gpu-helper/src/main.rs", "x")
                ])
                .path(),
                "init"
            )
            .unwrap()
        );
        for changed in [
            "init/src/main.rs",
            "init/src/sys/mount.rs",
            "crates/own/src/lib.rs",
            "init/build.rs",
            "Cargo.lock",
        ] {
            assert_ne!(
                plain,
                digest(repository_with(&[(changed, "// x")]).path(), "init").unwrap(),
                "{changed}"
            );
        }
    }

    #[test]
    fn repository_is_found_upward_or_named_as_missing() {
        let dir = repository_with(&[]);
        let deep = dir.path().join("init/src");
        assert_eq!(
            repository(&[PathBuf::from("/proc"), deep]).unwrap(),
            dir.path()
        );
        assert!(matches!(
            repository(&[PathBuf::from("/proc")]),
            Err(SourceError::NoRepository(_))
        ));
    }
}
