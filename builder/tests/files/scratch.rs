//! Files that a test hands to the program.

/// Writes `name` into `directory`; gives its path.
pub(crate) fn put(directory: &tempfile::TempDir, name: &str, bytes: impl AsRef<[u8]>) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}
