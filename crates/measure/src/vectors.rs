//! The shared measurement vectors, which lie outside the repository, and the one test that reads every value of them.
//!
//! Each part of the folder has a module that reads its files and compares its values; [`ledger`] keeps the account. A file that
//! nobody reads fails the test, and so does a value that is not compared, used for others, or left out for a stated reason.

use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

mod azure;
mod eventlogs;
mod firmware;
mod ledger;
mod pe;
mod snp;
mod tdx;
mod tests;

/// Returns the directory `measurement` of the vectors. Without vectors, prints why the test is skipped and
/// returns `None`; with the variable `CI` set, fails.
pub(crate) fn directory() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut candidates = vec![
        workspace.join("../shared/vectors"),
        workspace.join("../../shared/vectors"),
    ];
    candidates.extend(environment("CLOISTER_VECTORS").map(PathBuf::from));
    let found = candidates
        .iter()
        .rev()
        .map(|path| path.join("measurement"))
        .find(|path| path.is_dir());
    if found.is_none() {
        assert!(environment("CI").is_none(), "no vectors, and CI is set");
        println!("skipped: no measurement vectors; set CLOISTER_VECTORS");
    }
    found
}

/// Reads a JSON file below `directory`.
pub(crate) fn json(directory: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(directory.join(name)).unwrap()).unwrap()
}

/// Reads the file at `path` in a Debian package from the unpacked packages that the variable `CLOISTER_DEBIAN_FILES` names
/// (`scripts/debian-files.sh`). `None` without the variable, and in words where the file is absent.
pub(crate) fn debian_file(package: &str, path: &str) -> Option<Vec<u8>> {
    let root = environment("CLOISTER_DEBIAN_FILES")?;
    let bytes = std::fs::read(Path::new(&root).join(package).join(path));
    if bytes.is_err() {
        println!("skipped: no {path} of {package} in {root}");
    }
    bytes.ok()
}

/// Reads the version of a file of a Debian package that has this SHA-256. `None`, in words, where the archive has another.
fn debian_version(package: &str, path: &str, sha256: &str) -> Option<Vec<u8>> {
    let bytes = debian_file(package, path)?;
    let same = hex::encode(Sha256::digest(&bytes)) == sha256;
    if !same {
        println!("skipped: {path} of {package} is another version than the one measured");
    }
    same.then_some(bytes)
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests find their vectors by the environment"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
