//! The content-addressed store: every input and every derived file, by SHA-256.
//!
//! Layout under the store's directory: `sha256/<2 hex>/<64 hex>` holds bytes, `derived/<kind>/<key>` holds the digest
//! that a set of inputs led to, `tools/<key>/` holds unpacked locked programs, `tmp/` holds what is being written,
//! `partial/<64 hex>` holds downloads that the next run continues. The file `lock` is locked shared by every process
//! that uses the store, and exclusively while garbage is collected.
//! A file gets its name only when it is whole: written under `tmp/`, flushed, renamed. Two processes that write the
//! same digest write the same bytes, so the later rename changes nothing.

mod gc;
mod partial;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use tempfile::{NamedTempFile, TempDir};
use thiserror::Error;

use crate::cmd::Hinted;
pub(crate) use crate::digest::Digest;
pub(crate) use partial::Partial;

/// A content-addressed store in one directory.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    dir: PathBuf,
    /// Locked shared as long as any clone of this value lives.
    guard: Arc<File>,
}

/// Why the store could not do what was asked.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// The bytes were never fetched, or were removed.
    #[error("store has no file with SHA-256 {0}")]
    Missing(Digest),
    /// The bytes changed on disk.
    #[error("store file `{path}` is damaged: wanted SHA-256 {wanted}, found {found}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The digest in its name.
        wanted: Digest,
        /// The digest of its bytes.
        found: Digest,
    },
    /// The disk is full.
    #[error("no space left on the disk of `{path}`")]
    Full {
        /// Where was written.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Bytes are not those that were asked for.
    #[error("wanted SHA-256 {wanted}, found {found}")]
    Mismatch {
        /// What was asked for.
        wanted: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// Garbage cannot be collected while others use the store.
    #[error("another `cloister` uses the store `{0}`")]
    InUse(PathBuf),
    /// Reading or writing failed.
    #[error("store path `{path}` could not be used")]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Hinted for StoreError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) => Some("run `cloister fetch` for this recipe".to_owned()),
            Self::Damaged { .. } => Some("run `cloister fetch` for this recipe: it replaces damaged files".to_owned()),
            Self::Full { .. } => Some("free some space, or name another store with `--store DIR`; nothing was half-written".to_owned()),
            Self::InUse(_) => Some("run the command again when it has ended".to_owned()),
            Self::Mismatch { .. } | Self::Io { .. } => None,
        }
    }
}

impl StoreError {
    /// Sorts a system error by what a person can do about it.
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full { path, source },
            _ => Self::Io { path, source },
        }
    }
}

/// Bytes on their way into the store; dropped without `finish`, they leave nothing behind.
#[derive(Debug)]
pub(crate) struct StoreWriter {
    store: Store,
    file: NamedTempFile,
    hash: Sha256,
}

impl Store {
    /// The directory, for a child process that shall use the same store.
    pub(crate) fn directory(&self) -> &Path {
        &self.dir
    }

    /// Opens the store in `dir`, making its folders where they are missing.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        for name in ["sha256", "derived", "tools", "tmp", "partial"] {
            let path = dir.join(name);
            fs::create_dir_all(&path).map_err(|e| StoreError::io(&path, e))?;
        }
        let dir = dir.canonicalize().map_err(|e| StoreError::io(dir, e))?;
        let path = dir.join("lock");
        let guard = open_lock(&path)?;
        guard.lock_shared().map_err(|e| StoreError::io(&path, e))?;
        Ok(Self {
            dir,
            guard: Arc::new(guard),
        })
    }

    /// The store's directory, absolute.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the bytes with this digest are, or would be.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        let shelf: String = name.chars().take(2).collect();
        self.dir.join("sha256").join(shelf).join(name)
    }

    /// Whether a file with this name exists; its bytes are checked when they are read.
    pub(crate) fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Reads a whole file and checks its digest.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Vec<u8>, StoreError> {
        let path = self.path(digest);
        let bytes = fs::read(&path).map_err(|e| missing(digest, &path, e))?;
        check(&path, digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// Opens a file after checking its digest; the reader stands at the beginning.
    pub(crate) fn open_verified(&self, digest: &Digest) -> Result<File, StoreError> {
        let path = self.path(digest);
        let mut file = File::open(&path).map_err(|e| missing(digest, &path, e))?;
        let mut hash = Sha256::new();
        io::copy(&mut file, &mut hash).map_err(|e| StoreError::io(&path, e))?;
        check(&path, digest, Digest(hash.finalize().into()))?;
        io::Seek::rewind(&mut file).map_err(|e| StoreError::io(&path, e))?;
        Ok(file)
    }

    /// Starts writing a file whose digest is not known yet.
    pub(crate) fn writer(&self) -> Result<StoreWriter, StoreError> {
        let tmp = self.dir.join("tmp");
        let file = NamedTempFile::new_in(&tmp).map_err(|e| StoreError::io(&tmp, e))?;
        Ok(StoreWriter {
            store: self.clone(),
            file,
            hash: Sha256::new(),
        })
    }

    /// Stores `bytes` and returns their digest.
    pub(crate) fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if self.contains(&digest) && self.open_verified(&digest).is_ok() {
            return Ok(digest);
        }
        let mut writer = self.writer()?;
        writer
            .write_all(bytes)
            .map_err(|e| StoreError::io(&self.dir, e))?;
        writer.finish()
    }

    /// Removes a file, because its bytes are damaged or no lock needs them.
    pub(crate) fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io(&path, error))
            }
            _ => Ok(()),
        }
    }

    /// Stores everything that `reader` gives and returns its digest.
    pub(crate) fn put_reader(&self, reader: &mut impl Read) -> Result<Digest, StoreError> {
        let mut writer = self.writer()?;
        io::copy(reader, &mut writer).map_err(|e| StoreError::io(&self.dir, e))?;
        writer.finish()
    }

    /// The digest that was stored for a set of inputs: `kind` names the rule, `key` is the hash of everything that
    /// decides the bytes. `None` where nothing was stored or its bytes are gone.
    pub(crate) fn derived(&self, kind: &str, key: &Digest) -> Option<Digest> {
        let text = fs::read_to_string(self.derived_path(kind, key)).ok()?;
        let digest: Digest = text.trim_end().parse().ok()?;
        self.contains(&digest).then_some(digest)
    }

    /// Records that the inputs hashed in `key` lead to `value`.
    pub(crate) fn set_derived(
        &self,
        kind: &str,
        key: &Digest,
        value: &Digest,
    ) -> Result<(), StoreError> {
        let path = self.derived_path(kind, key);
        let dir = path.parent().unwrap_or(&self.dir);
        fs::create_dir_all(dir).map_err(|e| StoreError::io(dir, e))?;
        write_atomically(&path, format!("{value}\n").as_bytes())
    }

    /// What `make` says of the content `key` by the rule `kind`, which the store keeps; with `cache` what it has kept. A record
    /// that cannot be read counts as none.
    pub(crate) fn remembered<T: Serialize + DeserializeOwned>(
        &self,
        kind: &str,
        key: &Digest,
        cache: bool,
        make: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let known = self.derived(kind, key).filter(|_| cache);
        let known = known.and_then(|digest| self.read(&digest).ok());
        if let Some(known) = known.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(known);
        }
        let made = make()?;
        let kept = self
            .put(&serde_json::to_vec(&made)?)
            .and_then(|digest| self.set_derived(kind, key, &digest));
        kept.map_err(io::Error::other)?;
        Ok(made)
    }

    /// A scratch directory on the store's file system, removed when dropped.
    pub(crate) fn scratch(&self) -> Result<TempDir, StoreError> {
        let tmp = self.dir.join("tmp");
        TempDir::new_in(&tmp).map_err(|e| StoreError::io(&tmp, e))
    }

    /// Where unpacked locked programs stand.
    pub(crate) fn tools_dir(&self) -> PathBuf {
        self.dir.join("tools")
    }

    fn derived_path(&self, kind: &str, key: &Digest) -> PathBuf {
        self.dir.join("derived").join(kind).join(key.to_string())
    }
}

impl StoreWriter {
    /// Digest of the bytes written so far.
    pub(crate) fn digest(&self) -> Digest {
        Digest(self.hash.clone().finalize().into())
    }

    /// Flushes to disk and gives the file its name.
    pub(crate) fn finish(self) -> Result<Digest, StoreError> {
        let digest = self.digest();
        let path = self.store.path(&digest);
        let shelf = path.parent().unwrap_or(&self.store.dir);
        fs::create_dir_all(shelf).map_err(|e| StoreError::io(shelf, e))?;
        place(self.file, &path)?;
        Ok(digest)
    }
}

impl Write for StoreWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.file.write(bytes)?;
        self.hash.update(bytes.get(..n).unwrap_or(bytes));
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a small file so that it is either the old one or whole: temporary name, flush, rename.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let dir = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = NamedTempFile::new_in(dir).map_err(|e| StoreError::io(dir, e))?;
    file.write_all(bytes).map_err(|e| StoreError::io(path, e))?;
    place(file, path)
}

fn open_lock(path: &Path) -> Result<File, StoreError> {
    let mut options = File::options();
    let options = options.create(true).truncate(false).read(true).write(true);
    options.open(path).map_err(|e| StoreError::io(path, e))
}

/// Flushes a temporary file, gives it ordinary permissions and its final name.
fn place(file: NamedTempFile, path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt as _;
    let fail = |e| StoreError::io(path, e);
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))
        .map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    file.persist(path)
        .map_err(|e| StoreError::io(path, e.error))?;
    Ok(())
}

fn missing(digest: &Digest, path: &Path, source: io::Error) -> StoreError {
    match source.kind() {
        io::ErrorKind::NotFound => StoreError::Missing(*digest),
        _ => StoreError::io(path, source),
    }
}

fn check(path: &Path, wanted: &Digest, found: Digest) -> Result<(), StoreError> {
    if found == *wanted {
        return Ok(());
    }
    Err(StoreError::Damaged {
        path: path.to_owned(),
        wanted: *wanted,
        found,
    })
}

#[cfg(test)]
mod tests;
