//! Finds the shared measurement vectors, which lie outside the repository.

use std::path::{Path, PathBuf};

use serde_json::Value;

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

/// Reads a file of a Debian package by its path in the package, from the unpacked packages that the variable
/// `CLOISTER_DEBIAN_FILES` names.
pub(crate) fn debian_file(path: &str) -> Option<Vec<u8>> {
    let root = PathBuf::from(environment("CLOISTER_DEBIAN_FILES")?);
    std::fs::read(root.join(path)).ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "tests find their vectors by the environment"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
