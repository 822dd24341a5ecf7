//! The zip container of a wheel, read once with limits: small files are kept in memory, large ones are hashed and stay where they are.

use std::collections::BTreeMap;
use std::fs::File as Archive;
use std::io::{BufReader, Read};
use std::sync::Arc;

use zip::CompressionMethod;
use zip::read::ZipFile;

use super::WheelError;
use crate::store::Digest;
use crate::tree::{Content, Packed, TreePath};

/// Files by their path in the wheel.
pub(super) type Files = BTreeMap<String, File>;

/// One file of a wheel.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) content: Content,
    pub(super) executable: bool,
}

/// Bytes that may always come out, and bytes for each byte of the wheel.
const FLOOR: u64 = 64 << 20;
const RATIO: u64 = 250;

/// A file of at least as many bytes stays in the archive.
const LARGE: u64 = 256 << 10;

/// Type bits of a Unix mode, and the types a wheel may hold (0: not recorded).
const TYPE_MASK: u32 = 0o170_000;
const TYPES: [u32; 3] = [0, 0o040_000, 0o100_000];

/// Unpacks every file; names are checked, nothing else.
pub(super) fn unpack(archive: Archive) -> Result<Files, WheelError> {
    let packed = archive.metadata().map_err(zip::result::ZipError::Io)?.len();
    let limit = packed.saturating_mul(RATIO).saturating_add(FLOOR);
    let mut left = limit;
    let archive = Arc::new(archive);
    let mut zip = zip::ZipArchive::new(BufReader::with_capacity(1 << 16, Arc::clone(&archive)))?;
    let mut files = Files::new();
    for index in 0..zip.len() {
        let mut member = zip.by_index(index)?;
        let path = std::str::from_utf8(member.name_raw())
            .map_err(|_| WheelError::Kind(String::from_utf8_lossy(member.name_raw()).into_owned()))?
            .to_owned();
        if !TYPES.contains(&(member.unix_mode().unwrap_or(0) & TYPE_MASK)) {
            return Err(WheelError::Kind(path));
        }
        TreePath::new(path.strip_suffix('/').unwrap_or(&path).as_bytes())?;
        if path.ends_with('/') {
            continue;
        }
        let content = read(&mut member, &path, left, &archive)?;
        let content = content.ok_or(WheelError::Bomb { limit })?;
        left = left.saturating_sub(content.len());
        let file = File {
            content,
            executable: member.unix_mode().unwrap_or(0) & 0o111 != 0,
        };
        if files.insert(path.clone(), file).is_some() {
            return Err(WheelError::Twice(path));
        }
    }
    Ok(files)
}

/// Reads one member to its end; `None` when more than `limit` bytes come out.
fn read<R: Read>(
    member: &mut ZipFile<'_, R>,
    path: &str,
    limit: u64,
    archive: &Arc<Archive>,
) -> Result<Option<Content>, WheelError> {
    let wrong = |source| WheelError::Unpack {
        path: path.to_owned(),
        source,
    };
    if member.size() < LARGE {
        // One byte more than stated tells an honest member from one that would go on.
        let mut bytes = Vec::with_capacity(usize::try_from(member.size()).unwrap_or(0));
        let most = member.size().min(limit).saturating_add(1);
        member
            .by_ref()
            .take(most)
            .read_to_end(&mut bytes)
            .map_err(wrong)?;
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > limit {
            return Ok(None);
        }
        return if length == member.size() {
            let sha256 = Digest::of(&bytes);
            Ok(Some(Content::with_sha256(bytes, sha256)))
        } else {
            Err(length_differs(member.size(), path))
        };
    }
    // One byte more than allowed tells a full member from one that is too large.
    let mut most = member.by_ref().take(limit.saturating_add(1));
    let (sha256, length) = Digest::of_reader(&mut most).map_err(wrong)?;
    if length > limit {
        return Ok(None);
    }
    if length != member.size() {
        return Err(length_differs(member.size(), path));
    }
    let start = member.data_start();
    Ok(Some(Content::packed(Packed {
        archive: Arc::clone(archive),
        start,
        packed: member.compressed_size(),
        deflated: member.compression() != CompressionMethod::Stored,
        size: length,
        sha256,
    })))
}

fn length_differs(wanted: u64, path: &str) -> WheelError {
    let text = format!("its length is not the {wanted} bytes that the archive states");
    WheelError::Unpack {
        path: path.to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidData, text),
    }
}
