//! Files that `cloister measure` is given: read whole within a bound, or in pieces and in constant memory.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use cloister_measure::igvm::MAX_FILE;
use ring::digest::{Context, SHA256};

use super::error::MeasureError;

/// Bytes read at once of a file that is only hashed: they stay in the processor's cache until they are.
const CHUNK: usize = 64 << 10;
/// Largest file that is read whole unless its format allows for more: firmware is not larger.
const MOST: u64 = 64 << 20;
/// Largest PE image, kernel and initrd: their formats and the boot protocol have 32 bits for a size.
const MOST_32_BITS: u64 = u32::MAX as u64;
/// Room behind a file that is read whole, without which the standard library would try in small steps.
const PROBE: u64 = 32;

/// A format whose files may be large, known by its magic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    magic: &'static [u8],
    /// Where the magic is, in bytes.
    at: usize,
    /// Most bytes that a file may have.
    most: u64,
}

impl Format {
    /// PE images.
    pub(super) const PE: Format = Format {
        magic: b"MZ",
        at: 0,
        most: MOST_32_BITS,
    };
    /// IGVM files.
    pub(super) const IGVM: Format = Format {
        magic: b"IGVM",
        at: 0,
        most: MAX_FILE as u64,
    };
    /// Linux kernels.
    pub(super) const LINUX: Format = Format {
        magic: b"HdrS",
        at: 0x202,
        most: MOST_32_BITS,
    };
    /// Files compressed with zstd.
    pub(super) const ZSTD: Format = Format {
        magic: b"\x28\xb5\x2f\xfd",
        at: 0,
        most: MOST_32_BITS,
    };

    fn begins(&self, file: &[u8]) -> bool {
        let rest = file.get(self.at..);
        rest.is_some_and(|rest| rest.starts_with(self.magic))
    }
}

/// Reads a whole file that is not to be larger than firmware can be.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, MeasureError> {
    Open::new(path, MOST)?.rest(Vec::new())
}

/// Reads the last `length` bytes of a file, or all of one that has less or does not tell its size.
pub(super) fn end(path: &Path, length: u64) -> Result<Vec<u8>, MeasureError> {
    let mut open = Open::new(path, MOST)?;
    if let Some(before) = open.size.checked_sub(length) {
        let moved = open.file.seek(SeekFrom::Start(before));
        moved.map_err(|source| open.failed(source))?;
        open.size = length;
    }
    open.rest(Vec::new())
}

/// Reads a whole file of a format that may be large. Of a file that lacks the magic it reads no more than shows this: a
/// parser refuses that just the same.
pub(super) fn read_large(path: &Path, format: Format) -> Result<Vec<u8>, MeasureError> {
    let mut file = Open::new(path, format.most)?;
    let mut bytes = Vec::new();
    file.fill(&mut bytes, (format.at + format.magic.len()) as u64)?;
    match format.begins(&bytes) {
        true => file.rest(bytes),
        false => Ok(bytes),
    }
}

/// Hands a kernel or initrd over in pieces, and returns its size in bytes.
pub(super) fn pieces(path: &Path, mut take: impl FnMut(&[u8])) -> Result<u32, MeasureError> {
    let mut file = Open::new(path, MOST_32_BITS)?;
    let mut chunk = vec![0; CHUNK];
    let mut size = 0_u32;
    loop {
        let length = match file.file.read(&mut chunk) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            length => length.map_err(|source| file.failed(source))?,
        };
        match chunk.get(..length) {
            None | Some([]) => return Ok(size),
            Some(piece) => take(piece),
        }
        let added = u32::try_from(length).ok();
        size = added
            .and_then(|added| size.checked_add(added))
            .ok_or_else(|| file.large())?;
    }
}

/// Hashes a kernel or initrd in constant memory, with the SHA-256 that is fastest on every CPU here: a launch is measured in
/// hardly more time than its initrd takes to hash.
pub(super) fn sha256(path: &Path) -> Result<[u8; 32], MeasureError> {
    let mut hasher = Context::new(&SHA256);
    pieces(path, |piece| hasher.update(piece))?;
    let mut hash = [0; 32];
    for (to, from) in hash.iter_mut().zip(hasher.finish().as_ref()) {
        *to = *from;
    }
    Ok(hash)
}

/// Lists the files of a directory with the given extension, sorted; none when there is no directory.
#[expect(clippy::disallowed_methods, reason = "the names are sorted here")]
pub(super) fn list(directory: &Path, extension: &str) -> Result<Vec<PathBuf>, MeasureError> {
    let failed = |source| MeasureError::Read {
        path: directory.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed));
    let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|found| found == extension));
    paths.sort();
    Ok(paths)
}

/// An open file.
struct Open<'p> {
    path: &'p Path,
    file: File,
    /// Size in bytes as far as the file system knows: 0 for a pipe or device.
    size: u64,
    /// Most bytes that it may have.
    most: u64,
}

impl<'p> Open<'p> {
    /// Opens a file, and refuses one that says that it has more than `most` bytes.
    fn new(path: &'p Path, most: u64) -> Result<Open<'p>, MeasureError> {
        let failed = |source| MeasureError::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        let size = if about.is_file() { about.len() } else { 0 };
        let open = Open {
            path,
            file,
            size,
            most,
        };
        match size > most {
            true => Err(open.large()),
            false => Ok(open),
        }
    }

    /// Appends what is left of the file to `bytes`, the beginning of it.
    fn rest(mut self, mut bytes: Vec<u8>) -> Result<Vec<u8>, MeasureError> {
        self.fill(&mut bytes, self.most.saturating_add(1))?;
        match bytes.len() as u64 > self.most {
            true => Err(self.large()),
            false => Ok(bytes),
        }
    }

    /// Reads until there are `length` bytes, or the file ends.
    fn fill(&mut self, bytes: &mut Vec<u8>, length: u64) -> Result<(), MeasureError> {
        let missing = length.saturating_sub(bytes.len() as u64);
        let room = usize::try_from(missing.min(self.size.saturating_add(PROBE)));
        let reserved = bytes.try_reserve(room.unwrap_or(usize::MAX));
        reserved.map_err(|_| self.failed(ErrorKind::OutOfMemory.into()))?;
        let read = self.file.by_ref().take(missing).read_to_end(bytes);
        read.map(drop).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: std::io::Error) -> MeasureError {
        MeasureError::Read {
            path: self.path.to_owned(),
            source,
        }
    }

    fn large(&self) -> MeasureError {
        MeasureError::Large {
            path: self.path.to_owned(),
            most: self.most,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use sha2::{Digest as _, Sha256};

    use super::*;

    /// A file of `size` zeros that takes no room, behind `head`.
    fn sparse(head: &[u8], size: u64) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(head).unwrap();
        file.as_file().set_len(size).unwrap();
        file
    }

    fn too_large(result: Result<impl std::fmt::Debug, MeasureError>) -> u64 {
        match result.unwrap_err() {
            MeasureError::Large { most, .. } => most,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn end_of_a_file_is_its_last_bytes_or_all_of_it() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..=250).cycle().take(1000).collect();
        file.write_all(&bytes).unwrap();
        for length in [0, 1, 999, 1000, 1001, 5000] {
            let wanted = &bytes[1000_usize.saturating_sub(length)..];
            assert_eq!(end(file.path(), length as u64).unwrap(), wanted, "{length}");
        }
        let large = sparse(b"", MOST + 1);
        assert_eq!(too_large(end(large.path(), 10)), MOST);
    }

    #[test]
    fn hash_of_a_file_larger_than_a_chunk_is_that_of_its_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("initrd");
        let bytes: Vec<u8> = (0..=250).cycle().take(CHUNK * 2 + 17).collect();
        std::fs::write(&path, &bytes).unwrap();
        let wanted = <[u8; 32]>::from(Sha256::digest(&bytes));
        assert_eq!(sha256(&path).unwrap(), wanted);
        let mut read = Vec::<u8>::new();
        let size = pieces(&path, |piece| read.extend(piece)).unwrap();
        assert_eq!(size as usize, bytes.len());
        assert!(read == bytes);
    }

    #[test]
    fn reading_names_the_missing_file() {
        for error in [
            sha256(Path::new("/nonexistent/initrd")).map(drop),
            read(Path::new("/nonexistent/initrd")).map(drop),
        ] {
            let error = error.unwrap_err();
            assert_eq!(error.to_string(), "cannot read `/nonexistent/initrd`");
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_bound_and_not_beyond() {
        assert_eq!(read(sparse(b"", MOST).path()).unwrap().len() as u64, MOST);
        assert_eq!(too_large(read(sparse(b"", MOST + 1).path())), MOST);
        // A device does not say how much there is.
        assert_eq!(too_large(read(Path::new("/dev/zero"))), MOST);
        assert_eq!(read(Path::new("/dev/null")).unwrap(), b"");
        let large = sparse(b"", MOST_32_BITS + 1);
        assert_eq!(too_large(sha256(large.path())), MOST_32_BITS);
    }

    #[test]
    fn a_large_file_is_read_only_if_it_begins_with_the_magic() {
        let of = |head: &[u8], format| read_large(sparse(head, MOST + 1).path(), format);
        let read = of(b"MZ", Format::PE).unwrap();
        assert_eq!(read.len() as u64, MOST + 1);
        assert!(read.starts_with(b"MZ\0\0"));
        assert_eq!(of(b"", Format::PE).unwrap(), [0; 2]);
        assert_eq!(of(b"IGVN", Format::IGVM).unwrap(), b"IGVN");
        assert_eq!(of(b"MZ", Format::LINUX).unwrap().len(), 0x206);
        assert_eq!(
            read_large(Path::new("/dev/zero"), Format::PE).unwrap(),
            [0; 2]
        );
        assert_eq!(read_large(Path::new("/dev/null"), Format::PE).unwrap(), b"");
        let large = sparse(b"MZ", MOST_32_BITS + 1);
        assert_eq!(
            too_large(read_large(large.path(), Format::PE)),
            MOST_32_BITS
        );
    }

    #[test]
    fn list_is_sorted_and_chosen_by_extension() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.json", "a.json", "c.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let wanted = ["a.json", "b.json"].map(|name| dir.path().join(name));
        assert_eq!(list(dir.path(), "json").unwrap(), wanted);
        assert!(list(&dir.path().join("none"), "json").unwrap().is_empty());
    }
}
