//! The one directory walk: names, sorted.

use std::path::Path;

/// Names in `directory`, sorted; names that are not UTF-8 are left out, for the kernel's file
/// systems have none. An absent directory has no entries.
///
/// # Errors
/// Any but `NotFound`.
#[expect(clippy::disallowed_methods, reason = "this is the sorted walk")]
pub(crate) fn names(directory: &Path) -> std::io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}
