//! File contents, held once however many paths share them.
//!
//! Small files are in memory. A large file of a wheel stays packed in the store's copy of the wheel, whose digest was
//! checked when it was opened, and is inflated each time it is read: an image may be many times larger than memory.

use std::borrow::Cow;
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, OnceLock};

use flate2::read::DeflateDecoder;
use sha2::{Digest as _, Sha256};

use crate::store::Digest;

/// Bytes read or written at once.
const CHUNK: usize = 1 << 17;

/// Immutable bytes of a file. Clones share the bytes, so a hard link costs nothing.
#[derive(Clone)]
pub(crate) struct Content(Arc<Bytes>);

enum Bytes {
    Held {
        bytes: Vec<u8>,
        sha256: OnceLock<Digest>,
    },
    Packed(Packed),
}

/// A member of a zip archive.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    /// The archive.
    pub(crate) archive: Arc<File>,
    /// Where its packed bytes begin.
    pub(crate) start: u64,
    /// Length of the packed bytes.
    pub(crate) packed: u64,
    /// Whether they are deflated; the file as it is otherwise.
    pub(crate) deflated: bool,
    /// Length of the file.
    pub(crate) size: u64,
    /// SHA-256 of the file.
    pub(crate) sha256: Digest,
}

impl Content {
    /// Takes over `bytes` without copying them.
    pub(crate) fn new(mut bytes: Vec<u8>) -> Content {
        if bytes.capacity() - bytes.len() > bytes.len() / 8 {
            bytes.shrink_to_fit();
        }
        let sha256 = OnceLock::new();
        Content(Arc::new(Bytes::Held { bytes, sha256 }))
    }

    /// As [`Content::new`] for bytes whose SHA-256 the caller has just computed.
    pub(crate) fn with_sha256(bytes: Vec<u8>, sha256: Digest) -> Content {
        let sha256 = OnceLock::from(sha256);
        Content(Arc::new(Bytes::Held { bytes, sha256 }))
    }

    /// A file that stays in its archive.
    pub(crate) fn packed(packed: Packed) -> Content {
        Content(Arc::new(Bytes::Packed(packed)))
    }

    /// All bytes in memory.
    ///
    /// # Errors
    /// The archive cannot be read, or holds other bytes than before.
    pub(crate) fn read(&self) -> io::Result<Cow<'_, [u8]>> {
        match &*self.0 {
            Bytes::Held { bytes, .. } => Ok(Cow::Borrowed(bytes)),
            Bytes::Packed(packed) => {
                let mut bytes = Vec::with_capacity(usize::try_from(packed.size).unwrap_or(0));
                packed.copy(&mut bytes)?;
                Ok(Cow::Owned(bytes))
            }
        }
    }

    /// Writes all bytes to `out`, a piece at a time.
    ///
    /// # Errors
    /// As [`Content::read`], or what `out` says. Bytes may have been written by then.
    pub(crate) fn copy(&self, out: &mut impl Write) -> io::Result<()> {
        match &*self.0 {
            Bytes::Held { bytes, .. } => out.write_all(bytes),
            Bytes::Packed(packed) => packed.copy(out),
        }
    }

    /// Whether the first bytes are `start`; of a large file no more than these are read.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub(crate) fn begins_with(&self, start: &[u8]) -> io::Result<bool> {
        match &*self.0 {
            Bytes::Held { bytes, .. } => Ok(bytes.starts_with(start)),
            Bytes::Packed(packed) => {
                let mut first = Vec::with_capacity(start.len());
                let most = u64::try_from(start.len()).unwrap_or(u64::MAX);
                packed.plain().take(most).read_to_end(&mut first)?;
                Ok(first == start)
            }
        }
    }

    /// Length in bytes.
    pub(crate) fn len(&self) -> u64 {
        match &*self.0 {
            // A `usize` is never wider than 64 bits on a supported target.
            Bytes::Held { bytes, .. } => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Bytes::Packed(packed) => packed.size,
        }
    }

    /// SHA-256 of the bytes, computed on first use.
    pub(crate) fn sha256(&self) -> Digest {
        match &*self.0 {
            Bytes::Held { bytes, sha256 } => {
                *sha256.get_or_init(|| Digest(Sha256::digest(bytes).into()))
            }
            Bytes::Packed(packed) => packed.sha256,
        }
    }

    /// A number that hard links share and different files do not, within one process.
    pub(crate) fn address(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    /// Whether both are the same allocation, that is, hard links of one file.
    pub(crate) fn is_shared_with(&self, other: &Content) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Packed {
    /// The file's bytes, not compared with anything.
    fn plain(&self) -> Box<dyn Read + '_> {
        let packed = BufReader::with_capacity(
            CHUNK,
            Window {
                file: &self.archive,
                at: self.start,
                left: self.packed,
            },
        );
        if self.deflated {
            Box::new(DeflateDecoder::new(packed))
        } else {
            Box::new(packed)
        }
    }

    /// Writes the file to `out` and compares its length and SHA-256.
    fn copy(&self, out: &mut impl Write) -> io::Result<()> {
        let mut plain = self.plain();
        let mut hash = Sha256::new();
        let mut buffer = vec![0; CHUNK];
        let mut length = 0_u64;
        loop {
            let read = plain.read(&mut buffer)?;
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            length = length.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
            if length > self.size {
                break;
            }
            hash.update(bytes);
            out.write_all(bytes)?;
        }
        let found = Digest(hash.finalize().into());
        if length == self.size && found == self.sha256 {
            return Ok(());
        }
        let text = format!(
            "a file of a wheel changed while it was in use: wanted SHA-256 {} of {} bytes, found {found}",
            self.sha256, self.size
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    }
}

/// A part of a file, read without moving the position that others share.
struct Window<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        let part = buffer.get_mut(..wanted).unwrap_or_default();
        let read = self.file.read_at(part, self.at)?;
        let length = u64::try_from(read).unwrap_or(u64::MAX);
        self.at = self.at.saturating_add(length);
        self.left = self.left.saturating_sub(length);
        Ok(read)
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Content) -> bool {
        self.is_shared_with(other) || (self.len() == other.len() && self.sha256() == other.sha256())
    }
}

impl Eq for Content {}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_clones_share_bytes() {
        let a = Content::new(b"x".to_vec());
        let b = a.clone();
        assert!(a.is_shared_with(&b));
        assert!(!a.is_shared_with(&Content::new(b"x".to_vec())));
        assert_eq!(a, Content::new(b"x".to_vec()));
        assert_eq!(a.len(), 1);
    }

    /// A file with `before` bytes in front of `packed`, and the content that it holds of `plain`.
    fn packed(plain: &[u8], packed: &[u8], deflated: bool) -> (Arc<File>, Content) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"before").unwrap();
        file.write_all(packed).unwrap();
        file.write_all(b"behind").unwrap();
        let archive = Arc::new(file);
        let content = Content::packed(Packed {
            archive: Arc::clone(&archive),
            start: 6,
            packed: packed.len() as u64,
            deflated,
            size: plain.len() as u64,
            sha256: Digest::of(plain),
        });
        (archive, content)
    }

    fn deflate(plain: &[u8]) -> Vec<u8> {
        let mut encoder =
            flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packed_content_reads_as_the_same_file_held_in_memory() {
        let plain: Vec<u8> = (0..300_000_u32)
            .flat_map(|n| (n / 7).to_le_bytes())
            .collect();
        for (bytes, deflated) in [(deflate(&plain), true), (plain.clone(), false)] {
            let (_, content) = packed(&plain, &bytes, deflated);
            assert_eq!(content.read().unwrap(), plain);
            assert_eq!(content, Content::new(plain.clone()));
            assert_eq!(content.len(), plain.len() as u64);
            let mut copy = Vec::new();
            content.copy(&mut copy).unwrap();
            assert_eq!(copy, plain);
            for (start, begins) in [(&plain[..9], true), (b"x", false), (b"", true)] {
                assert_eq!(content.begins_with(start).unwrap(), begins);
            }
        }
    }

    #[test]
    fn packed_content_that_changed_is_an_error() {
        let plain = b"the same again and again, the same again and again".repeat(40);
        let cases: [(&str, Vec<u8>, bool); 4] = [
            ("other bytes", deflate(&plain.to_ascii_uppercase()), true),
            ("shorter", deflate(&plain[1..]), true),
            ("longer", deflate(&[&plain[..], b"!"].concat()), true),
            ("other bytes as they are", plain.to_ascii_uppercase(), false),
        ];
        for (what, bytes, deflated) in cases {
            let (_, content) = packed(&plain, &bytes, deflated);
            let error = content.read().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{what}");
        }
        let (_, torn) = packed(&plain, &deflate(&plain)[..20], true);
        assert!(torn.read().is_err(), "truncated");
    }
}
