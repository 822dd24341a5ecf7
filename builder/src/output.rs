//! The directory that a build writes: complete and consistent, or as it was before.
//!
//! Files are written into a hidden directory beside their final place, synced, and renamed when the build has
//! succeeded; the manifest goes first and comes last, so that a manifest never stands beside files of another build.
//! A disk of which only the front changes is changed in its place, between these two moments. A lock file keeps two builds of one directory apart.

mod earlier;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use thiserror::Error;

use crate::cmd::Hinted;
use crate::store::Digest;
pub(crate) use earlier::Earlier;
use earlier::{Stamp, State, replace_front};

/// Name of the manifest.
pub(crate) const MANIFEST: &str = "manifest.json";
/// Name of what a later build compares itself with; depends on this program, so it is no output.
const STATE: &str = ".build-state.json";
const LOCK: &str = ".lock";

/// Size and hash of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Output {
    /// SHA-256.
    pub(crate) sha256: Digest,
    /// Bytes.
    pub(crate) size: u64,
}

/// Outputs by path relative to the output directory.
pub(crate) type Outputs = BTreeMap<String, Output>;

/// Why outputs could not be written.
#[derive(Debug, Error)]
pub(crate) enum OutputError {
    /// No space left.
    #[error("no space left while writing `{path}`; nothing was changed")]
    Full {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The disk is too small from the start.
    #[error(
        "disk of `{path}` has {free} bytes free, the build needs about {need}; nothing was changed"
    )]
    NoRoom {
        /// Output directory.
        path: PathBuf,
        /// Bytes needed while building.
        need: u64,
        /// Bytes free.
        free: u64,
    },
    /// Any other failure.
    #[error("`{path}` could not be written")]
    Io {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
}

impl Hinted for OutputError {
    fn hint(&self) -> Option<String> {
        let full = matches!(self, Self::Full { .. } | Self::NoRoom { .. });
        full.then(|| "make room, or choose another disk with `--out DIR`".to_owned())
    }
}

impl OutputError {
    /// Sorts a failed system call: full disks are named as such.
    pub(crate) fn new(path: &Path, source: io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.to_owned();
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full { path, source },
            _ => Self::Io { path, source },
        }
    }
}

/// An output directory held by this process.
#[derive(Debug)]
pub(crate) struct OutputDirectory {
    path: PathBuf,
    /// Released when dropped.
    _lock: File,
}

impl OutputDirectory {
    /// Makes the directory and waits until no other build holds it; `wait` is called once when one does.
    pub(crate) fn hold(path: &Path, wait: impl FnOnce()) -> Result<Self, OutputError> {
        fs::create_dir_all(path).map_err(|error| OutputError::new(path, error))?;
        let name = path.join(LOCK);
        let failed = |error| OutputError::new(&name, error);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&name)
            .map_err(failed)?;
        if lock.try_lock().is_err() {
            wait();
            lock.lock().map_err(failed)?;
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// The outputs of the last build, if it had this fingerprint and no file was changed since.
    pub(crate) fn unchanged(&self, fingerprint: &Digest) -> Option<Outputs> {
        let earlier = self.earlier()?;
        (earlier.fingerprint() == fingerprint && earlier.is_whole()).then(|| earlier.into_outputs())
    }

    /// What the last build left.
    pub(crate) fn earlier(&self) -> Option<Earlier> {
        Earlier::read(&self.path)
    }

    /// Begins to write new outputs.
    pub(crate) fn stage(&self) -> Result<Staging<'_>, OutputError> {
        let partial = tempfile::Builder::new()
            .prefix(".partial-")
            .tempdir_in(&self.path);
        let partial = partial.map_err(|error| OutputError::new(&self.path, error))?;
        Ok(Staging {
            directory: self,
            partial,
            outputs: Outputs::new(),
            fronts: BTreeMap::new(),
        })
    }
}

/// Outputs under way; dropped before [`Staging::finish`], nothing of them stays.
#[derive(Debug)]
pub(crate) struct Staging<'a> {
    directory: &'a OutputDirectory,
    partial: TempDir,
    outputs: Outputs,
    /// Outputs of the last build of which only the first bytes change.
    fronts: BTreeMap<String, Arc<[u8]>>,
}

impl Staging<'_> {
    /// Where the output `name` is being written; its directory exists.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf, OutputError> {
        let path = self.partial.path().join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| OutputError::new(parent, error))?;
        }
        Ok(path)
    }

    /// Refuses to go on when the disk has less than `need` bytes free: tools that meet a full disk half-way do not
    /// all end by themselves.
    pub(crate) fn require(&self, need: u64) -> Result<(), OutputError> {
        let path = &self.directory.path;
        let failed = |error: nix::Error| OutputError::new(path, error.into());
        let disk = nix::sys::statvfs::statvfs(path.as_path()).map_err(failed)?;
        let free = disk.blocks_available().saturating_mul(disk.fragment_size());
        if free < need {
            return Err(OutputError::NoRoom {
                path: path.clone(),
                need,
                free,
            });
        }
        Ok(())
    }

    /// Writes a whole output.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), OutputError> {
        let path = self.path(name)?;
        let mut file = File::create_new(&path).map_err(|error| OutputError::new(&path, error))?;
        file.write_all(bytes)
            .map_err(|error| OutputError::new(&path, error))?;
        self.add(
            name,
            Output {
                sha256: Digest::of(bytes),
                size: bytes.len() as u64,
            },
        );
        Ok(())
    }

    /// Counts a file that was written to [`Staging::path`] as an output.
    pub(crate) fn add(&mut self, name: &str, output: Output) {
        self.outputs.insert(name.to_owned(), output);
    }

    /// The last build's output `name` stays, but for its first bytes, which become `front`; then it is `output`.
    pub(crate) fn keep_behind(&mut self, name: &str, front: Arc<[u8]>, output: Output) {
        self.fronts.insert(name.to_owned(), front);
        self.add(name, output);
    }

    /// What the last build left, and where.
    pub(crate) fn earlier(&self) -> Option<Earlier> {
        self.directory.earlier()
    }

    /// The outputs so far.
    pub(crate) fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// Replaces the outputs of the last build by these and removes those that are no more. `fingerprint` is of everything
    /// that decides the outputs, `root` of what decides the root image.
    pub(crate) fn finish(self, fingerprint: Digest, root: Digest) -> Result<Outputs, OutputError> {
        let target = &self.directory.path;
        let new: Vec<_> = self
            .outputs
            .keys()
            .filter(|name| !self.fronts.contains_key(*name))
            .collect();
        new.par_iter().try_for_each(|name| {
            let path = self.partial.path().join(name);
            File::open(&path)
                .and_then(|file| file.sync_data())
                .map_err(|error| OutputError::new(&path, error))
        })?;
        let old = fs::read(target.join(STATE))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<State>(&bytes).ok());
        for name in [STATE, MANIFEST] {
            remove(&target.join(name))?;
        }
        for name in old
            .iter()
            .flat_map(|state| state.outputs.keys())
            .filter(|name| !self.outputs.contains_key(*name))
        {
            remove(&target.join(name))?;
        }
        for (name, front) in &self.fronts {
            let path = target.join(name);
            replace_front(&path, front).map_err(|error| OutputError::new(&path, error))?;
        }
        let last = MANIFEST.to_owned();
        for name in new.into_iter().filter(|name| **name != last) {
            self.place(name)?;
        }
        self.place(MANIFEST)?;
        self.leave_state(fingerprint, root)?;
        Ok(self.outputs)
    }

    /// Writes what the next build compares itself with.
    fn leave_state(&self, fingerprint: Digest, root: Digest) -> Result<(), OutputError> {
        let stamp = |name: &String| {
            let path = self.directory.path.join(name);
            let stamp = Stamp::of(&path).map_err(|error| OutputError::new(&path, error))?;
            Ok((name.clone(), stamp))
        };
        let state = State {
            fingerprint,
            root,
            outputs: self.outputs.clone(),
            stamps: self
                .outputs
                .keys()
                .map(stamp)
                .collect::<Result<_, OutputError>>()?,
        };
        let path = self.partial.path().join(STATE);
        let text =
            serde_json::to_vec(&state).map_err(|error| OutputError::new(&path, error.into()))?;
        fs::write(&path, text).map_err(|error| OutputError::new(&path, error))?;
        self.place(STATE)
    }

    fn place(&self, name: &str) -> Result<(), OutputError> {
        let (from, to) = (
            self.partial.path().join(name),
            self.directory.path.join(name),
        );
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|error| OutputError::new(parent, error))?;
        }
        fs::rename(&from, &to).map_err(|error| OutputError::new(&to, error))
    }
}

fn remove(path: &Path) -> Result<(), OutputError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(OutputError::new(path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: Digest = Digest([1; 32]);
    const ROOT: Digest = Digest([7; 32]);

    fn build(path: &Path, files: &[(&str, &[u8])]) -> Outputs {
        let directory = OutputDirectory::hold(path, || ()).unwrap();
        let mut staging = directory.stage().unwrap();
        for (name, bytes) in files {
            staging.write(name, bytes).unwrap();
        }
        staging.finish(FINGERPRINT, ROOT).unwrap()
    }

    fn names(path: &Path) -> Vec<String> {
        let mut names = Vec::new();
        for name in ["a", "b", "measurements/x.json", MANIFEST, STATE] {
            names.extend(path.join(name).exists().then(|| name.to_owned()));
        }
        names
    }

    #[test]
    fn outputs_replace_those_of_the_last_build() {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path(), &[("a", b"1"), ("b", b"2"), (MANIFEST, b"{}")]);
        build(
            dir.path(),
            &[
                ("a", b"3"),
                ("measurements/x.json", b"4"),
                (MANIFEST, b"{}"),
            ],
        );
        assert_eq!(
            names(dir.path()),
            ["a", "measurements/x.json", MANIFEST, STATE]
        );
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"3");
    }

    #[test]
    fn unchanged_needs_the_fingerprint_and_every_hash() {
        let dir = tempfile::tempdir().unwrap();
        let outputs = build(dir.path(), &[("a", b"1"), (MANIFEST, b"{}")]);
        let directory = OutputDirectory::hold(dir.path(), || ()).unwrap();
        assert_eq!(directory.unchanged(&FINGERPRINT), Some(outputs));
        assert_eq!(directory.unchanged(&Digest([2; 32])), None);
        fs::write(dir.path().join("a"), b"2").unwrap();
        assert_eq!(directory.unchanged(&FINGERPRINT), None);
        fs::remove_file(dir.path().join("a")).unwrap();
        assert_eq!(directory.unchanged(&FINGERPRINT), None);
    }

    #[test]
    fn abandoned_build_leaves_nothing_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        build(dir.path(), &[("a", b"1"), (MANIFEST, b"{}")]);
        let directory = OutputDirectory::hold(dir.path(), || ()).unwrap();
        let mut staging = directory.stage().unwrap();
        staging.write("a", b"other").unwrap();
        let partial = staging.partial.path().to_owned();
        drop(staging);
        assert!(!partial.exists());
        assert!(directory.unchanged(&FINGERPRINT).is_some());
    }

    #[test]
    fn more_bytes_than_the_disk_has_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let directory = OutputDirectory::hold(dir.path(), || ()).unwrap();
        let staging = directory.stage().unwrap();
        assert!(staging.require(1).is_ok());
        let error = staging.require(u64::MAX).unwrap_err();
        assert!(matches!(error, OutputError::NoRoom { need: u64::MAX, .. }));
        assert!(error.hint().unwrap().contains("--out"));
    }

    #[test]
    fn second_build_waits_for_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = OutputDirectory::hold(dir.path(), || ()).unwrap();
        let (told, waits) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let second = scope
                .spawn(|| OutputDirectory::hold(dir.path(), || told.send(()).unwrap()).map(|_| ()));
            waits.recv().unwrap();
            drop(first);
            second.join().unwrap().unwrap();
        });
    }
}
