//! Removing what no lock needs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Digest, Store, StoreError};

/// What `gc` did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Collected {
    /// Number of contents removed.
    pub(crate) removed: u64,
    /// Their bytes.
    pub(crate) removed_bytes: u64,
    /// Number of contents kept.
    pub(crate) kept: u64,
    /// Their bytes.
    pub(crate) kept_bytes: u64,
}

impl Store {
    /// Removes every content that is neither in `keep` nor derived, and all leftovers of interrupted runs.
    ///
    /// With `derived`, derived data, unpacked tools and caches go as well.
    ///
    /// # Errors
    /// [`StoreError::InUse`] while any other process uses the store.
    pub(crate) fn gc(
        &self,
        keep: &BTreeSet<Digest>,
        derived: bool,
    ) -> Result<Collected, StoreError> {
        // Our own shared lock becomes exclusive, if nobody else holds one.
        self.guard
            .try_lock()
            .map_err(|_| StoreError::InUse(self.dir.clone()))?;
        for leftovers in ["tmp", "partial"] {
            empty_directory(&self.dir.join(leftovers))?;
        }
        if derived {
            for rebuilt in ["derived", "tools", "cache"] {
                empty_directory(&self.dir.join(rebuilt))?;
            }
        }
        let mut keep = keep.clone();
        keep.extend(self.derived_values()?);
        let collected = self.sweep(&keep);
        let shared = self.guard.lock_shared();
        shared.map_err(|error| StoreError::io(&self.dir, error))?;
        collected
    }

    /// Every content: digest and size in bytes, sorted.
    pub(crate) fn contents(&self) -> Result<Vec<(Digest, u64)>, StoreError> {
        let mut contents = Vec::new();
        for shard in sorted(&self.dir.join("sha256"))? {
            for path in sorted(&shard)? {
                let name = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .unwrap_or_default();
                if let Ok(digest) = name.parse() {
                    let size = fs::metadata(&path)
                        .map_err(|error| StoreError::io(&path, error))?
                        .len();
                    contents.push((digest, size));
                }
            }
        }
        Ok(contents)
    }

    fn derived_values(&self) -> Result<Vec<Digest>, StoreError> {
        let mut values = Vec::new();
        for kind in sorted(&self.dir.join("derived"))? {
            for entry in sorted(&kind)? {
                let text =
                    fs::read_to_string(&entry).map_err(|error| StoreError::io(&entry, error))?;
                values.extend(text.trim_end().parse::<Digest>().ok());
            }
        }
        Ok(values)
    }

    fn sweep(&self, keep: &BTreeSet<Digest>) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        for (digest, size) in self.contents()? {
            if keep.contains(&digest) {
                collected.kept = collected.kept.saturating_add(1);
                collected.kept_bytes = collected.kept_bytes.saturating_add(size);
            } else {
                self.remove(&digest)?;
                collected.removed = collected.removed.saturating_add(1);
                collected.removed_bytes = collected.removed_bytes.saturating_add(size);
            }
        }
        Ok(collected)
    }
}

/// The entries of a directory in byte order; none if it does not exist.
#[expect(clippy::disallowed_methods, reason = "this is a sorted walk")]
pub(super) fn sorted(directory: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |error| StoreError::io(directory, error);
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(directory).map_err(failed)?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    paths.sort();
    Ok(paths)
}

/// Removes everything in a directory, but not the directory.
fn empty_directory(path: &Path) -> Result<(), StoreError> {
    for entry in sorted(path)? {
        let removed = if entry.is_dir() && !entry.is_symlink() {
            fs::remove_dir_all(&entry)
        } else {
            fs::remove_file(&entry)
        };
        removed.map_err(|error| StoreError::io(&entry, error))?;
    }
    Ok(())
}
