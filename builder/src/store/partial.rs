//! Downloads under way: kept when interrupted, so that the next run goes on where this one ended.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::{Digest, Store, StoreError};

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// The beginning of a content whose digest is known, held by a file lock against other processes.
#[derive(Debug)]
pub(crate) struct Partial<'a> {
    store: &'a Store,
    wanted: Digest,
    path: PathBuf,
    file: File,
    hash: Sha256,
    length: u64,
}

impl Store {
    /// The download of `wanted`, continued if an earlier one was interrupted. Waits for another process that
    /// downloads the same; `None` when that one brought it.
    pub(crate) fn partial(&self, wanted: &Digest) -> Result<Option<Partial<'_>>, StoreError> {
        let path = self.dir.join("partial").join(wanted.to_string());
        let failed = |error| StoreError::io(&path, error);
        loop {
            let options = File::options()
                .create(true)
                .truncate(false)
                .read(true)
                .write(true)
                .clone();
            let mut file = options.open(&path).map_err(failed)?;
            file.lock().map_err(failed)?;
            if self.contains(wanted) {
                // Another process was quicker; what is left here is ours to remove.
                let _ = fs::remove_file(&path);
                return Ok(None);
            }
            if !still_named(&file, &path) {
                continue;
            }
            let (hash, length) = digest_so_far(&mut file).map_err(failed)?;
            return Ok(Some(Partial {
                store: self,
                wanted: *wanted,
                path,
                file,
                hash,
                length,
            }));
        }
    }
}

/// Whether `path` still leads to the file that was locked.
fn still_named(file: &File, path: &std::path::Path) -> bool {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(named)) => held.ino() == named.ino() && held.dev() == named.dev(),
        _ => false,
    }
}

fn digest_so_far(file: &mut File) -> io::Result<(Sha256, u64)> {
    use io::Read as _;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((hash, file.stream_position()?));
        }
        hash.update(buffer.get(..count).unwrap_or_default());
    }
}

impl Partial<'_> {
    /// Bytes that are there already.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Where they are, for messages.
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Throws away what is there.
    pub(crate) fn restart(&mut self) -> Result<(), StoreError> {
        let failed = |error| StoreError::io(&self.path, error);
        self.file.set_len(0).map_err(failed)?;
        self.file.seek(SeekFrom::Start(0)).map_err(failed)?;
        self.hash = Sha256::new();
        self.length = 0;
        Ok(())
    }

    /// Removes the file: its bytes can never become the wanted ones, or there is no room for them.
    pub(crate) fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }

    /// Checks the digest and moves the bytes to their final name; wrong bytes are removed.
    pub(crate) fn finish(self) -> Result<(), StoreError> {
        let found = Digest(self.hash.clone().finalize().into());
        if found != self.wanted {
            let wanted = self.wanted;
            self.discard();
            return Err(StoreError::Mismatch { wanted, found });
        }
        let target = self.store.path(&self.wanted);
        let failed = |error| StoreError::io(&target, error);
        if let Some(shelf) = target.parent() {
            fs::create_dir_all(shelf).map_err(failed)?;
        }
        self.file
            .set_permissions(fs::Permissions::from_mode(0o644))
            .map_err(failed)?;
        self.file.sync_all().map_err(failed)?;
        fs::rename(&self.path, &target).map_err(failed)
    }
}

impl Write for Partial<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hash.update(bytes.get(..count).unwrap_or_default());
        self.length = self
            .length
            .saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
