//! What the last build of a directory left: what it was made of, and whether its files are still what it wrote.
//!
//! A small file is hashed to know it. A large one is known by its inode and the times that the kernel stamped on it:
//! nobody can write to a file and set its change time (`st_ctime`) back without setting the machine's clock. Where a
//! stamp differs, the file is hashed as well; so a copied directory is believed, and only costs time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{MANIFEST, Output, Outputs, STATE};
use crate::disk;
use crate::store::Digest;

/// Files of fewer bytes are hashed whatever their stamps say: stamps have the kernel's grain, some milliseconds, and a
/// large file is finished long before the state is written.
const LARGE: u64 = 64 << 20;

/// What the last build of a directory was made of, and what it made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct State {
    /// Of everything that decides the outputs.
    pub(super) fingerprint: Digest,
    /// Of everything that decides the root image.
    #[serde(default = "no_root")]
    pub(super) root: Digest,
    pub(super) outputs: Outputs,
    #[serde(default)]
    pub(super) stamps: BTreeMap<String, Stamp>,
}

/// What the kernel says of a file without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of the last change of contents.
    modified: (i64, i64),
    /// Seconds and nanoseconds of the last change of contents or of anything about the file.
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let data = fs::metadata(path)?;
        Ok(Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
            changed: (data.ctime(), data.ctime_nsec()),
        })
    }
}

/// The last build of a directory.
#[derive(Clone, Debug)]
pub(crate) struct Earlier {
    directory: PathBuf,
    state: State,
}

impl Earlier {
    /// The last build of `directory`, if one was finished there.
    pub(super) fn read(directory: &Path) -> Option<Self> {
        let state: State = serde_json::from_slice(&fs::read(directory.join(STATE)).ok()?).ok()?;
        let whole = state.outputs.contains_key(MANIFEST);
        let directory = directory.to_owned();
        whole.then_some(Self { directory, state })
    }

    /// Of everything that decided the outputs.
    pub(crate) fn fingerprint(&self) -> &Digest {
        &self.state.fingerprint
    }

    /// Of everything that decided the root image.
    pub(crate) fn root(&self) -> &Digest {
        &self.state.root
    }

    /// Where the output `name` is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The output `name`, if it is still what the build wrote.
    pub(crate) fn unchanged(&self, name: &str) -> Option<Output> {
        let output = *self.state.outputs.get(name)?;
        let path = self.path(name);
        let found = Stamp::of(&path).ok()?;
        let stamped = self.state.stamps.get(name) == Some(&found);
        if output.size >= LARGE && stamped && found.size == output.size {
            return Some(output);
        }
        let read = File::open(path).and_then(|mut file| Digest::of_reader(&mut file));
        read.is_ok_and(|(sha256, size)| Output { sha256, size } == output)
            .then_some(output)
    }

    /// As [`Earlier::unchanged`], if the file has no other name by which somebody keeps it.
    pub(crate) fn unchanged_and_alone(&self, name: &str) -> Option<Output> {
        self.is_alone(name).then(|| self.unchanged(name)).flatten()
    }

    /// Whether the file of the output `name` has no other name by which somebody keeps it.
    pub(crate) fn is_alone(&self, name: &str) -> bool {
        let data = fs::symlink_metadata(self.path(name));
        data.is_ok_and(|data| data.is_file() && data.nlink() == 1)
    }

    /// Whether every output is what the build wrote.
    pub(crate) fn is_whole(&self) -> bool {
        let names: Vec<_> = self.state.outputs.keys().collect();
        names.par_iter().all(|name| self.unchanged(name).is_some())
    }

    /// The outputs.
    pub(crate) fn into_outputs(self) -> Outputs {
        self.state.outputs
    }
}

/// Makes `front` the first bytes of the file at `path`, which is longer, and waits until the disk has it.
pub(super) fn replace_front(path: &Path, front: &[u8]) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    disk::replace(&file, front)?;
    file.sync_data()
}

/// No root: what a state of an earlier program says.
fn no_root() -> Digest {
    Digest([0; 32])
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;
    use std::sync::Arc;
    use std::time::SystemTime;

    use super::super::OutputDirectory;
    use super::*;

    const FINGERPRINT: Digest = Digest([1; 32]);
    const ROOT: Digest = Digest([7; 32]);

    /// A directory with a large sparse output `disk` whose first bytes are `front`, a small one, and a manifest.
    fn build(directory: &OutputDirectory, front: &[u8]) {
        let mut staging = directory.stage().unwrap();
        let path = staging.path("disk").unwrap();
        let mut file = File::create_new(&path).unwrap();
        file.write_all(front).unwrap();
        file.set_len(LARGE + 1).unwrap();
        let (sha256, size) = Digest::of_reader(&mut File::open(&path).unwrap()).unwrap();
        staging.add("disk", Output { sha256, size });
        staging.write("small", b"1").unwrap();
        staging.write(MANIFEST, b"{}").unwrap();
        staging.finish(FINGERPRINT, ROOT).unwrap();
    }

    #[test]
    fn large_file_that_was_written_to_is_noticed_whatever_its_modification_time() {
        let dir = tempfile::tempdir().unwrap();
        let directory = OutputDirectory::hold(dir.path(), || ()).unwrap();
        build(&directory, b"front");
        assert!(directory.unchanged(&FINGERPRINT).is_some());
        let path = dir.path().join("disk");
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"x", LARGE / 2).unwrap();
        file.set_modified(before).unwrap();
        assert_eq!(directory.unchanged(&FINGERPRINT), None);
        // What was undone is hashed and believed.
        file.write_all_at(b"\0", LARGE / 2).unwrap();
        assert!(directory.unchanged(&FINGERPRINT).is_some());
    }

    #[test]
    fn large_file_with_other_stamps_is_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let directory = OutputDirectory::hold(dir.path(), || ()).unwrap();
        build(&directory, b"front");
        let path = dir.path().join("disk");
        let copy = dir.path().join("copy");
        fs::copy(&path, &copy).unwrap();
        fs::rename(&copy, &path).unwrap();
        assert!(directory.unchanged(&FINGERPRINT).is_some());
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        assert!(directory.unchanged(&FINGERPRINT).is_some());
    }

    #[test]
    fn front_of_an_output_is_replaced_in_its_place_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let directory = OutputDirectory::hold(dir.path(), || ()).unwrap();
        build(&directory, &[5; 200_000]);
        let inode = || fs::metadata(dir.path().join("disk")).unwrap().ino();
        let before = inode();
        let earlier = directory.earlier().unwrap();
        assert_eq!(earlier.root(), &ROOT);
        let mut wanted = fs::read(dir.path().join("disk")).unwrap();
        wanted[..100_000].fill(6);
        let output = Output {
            sha256: Digest::of(&wanted),
            size: wanted.len() as u64,
        };
        let mut staging = directory.stage().unwrap();
        staging.keep_behind("disk", Arc::from(vec![6; 100_000]), output);
        staging.write(MANIFEST, b"{ }").unwrap();
        let untouched = fs::read(dir.path().join("disk")).unwrap();
        assert!(untouched[0] == 5, "changed before everything else is there");
        staging.finish(Digest([2; 32]), ROOT).unwrap();
        assert!(fs::read(dir.path().join("disk")).unwrap() == wanted);
        assert_eq!(inode(), before);
        assert!(directory.unchanged(&Digest([2; 32])).is_some());
    }

    #[test]
    fn file_with_a_second_name_is_not_for_changing() {
        let dir = tempfile::tempdir().unwrap();
        let directory = OutputDirectory::hold(dir.path(), || ()).unwrap();
        build(&directory, b"front");
        let earlier = directory.earlier().unwrap();
        assert!(earlier.unchanged_and_alone("disk").is_some());
        fs::hard_link(dir.path().join("disk"), dir.path().join("kept")).unwrap();
        assert_eq!(earlier.unchanged_and_alone("disk"), None);
        assert!(earlier.unchanged("disk").is_some());
    }

    #[test]
    fn state_of_an_earlier_program_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let directory = OutputDirectory::hold(dir.path(), || ()).unwrap();
        build(&directory, b"front");
        let path = dir.path().join(STATE);
        let mut state: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let fields = state.as_object_mut().unwrap();
        assert!(fields.remove("stamps").is_some() && fields.remove("root").is_some());
        fs::write(&path, state.to_string()).unwrap();
        assert!(directory.unchanged(&FINGERPRINT).is_some());
        assert_eq!(directory.earlier().unwrap().root(), &no_root());
    }
}
