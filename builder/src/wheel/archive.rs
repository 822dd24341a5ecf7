//! The zip container of a wheel, unpacked in memory with limits.

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use sha2::{Digest as _, Sha256};

use super::WheelError;
use crate::store::Digest;
use crate::tree::{Content, TreePath};

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

/// Type bits of a Unix mode, and the types a wheel may hold (0: not recorded).
const TYPE_MASK: u32 = 0o170_000;
const TYPES: [u32; 3] = [0, 0o040_000, 0o100_000];

/// Unpacks every file; names are checked, nothing else.
pub(super) fn unpack(mut wheel: impl Read + Seek) -> Result<Files, WheelError> {
    let packed = wheel
        .seek(std::io::SeekFrom::End(0))
        .map_err(zip::result::ZipError::Io)?;
    let limit = packed.saturating_mul(RATIO).saturating_add(FLOOR);
    let mut left = limit;
    let mut zip = zip::ZipArchive::new(wheel)?;
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
        let executable = member.unix_mode().unwrap_or(0) & 0o111 != 0;
        let bytes = read(&mut member, &path, left).ok_or(WheelError::Bomb { limit })??;
        left = left.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let sha256 = Digest(Sha256::digest(&bytes).into());
        let file = File {
            content: Content::with_sha256(bytes, sha256),
            executable,
        };
        if files.insert(path.clone(), file).is_some() {
            return Err(WheelError::Twice(path));
        }
    }
    Ok(files)
}

/// Reads one member; `None` when more than `limit` bytes come out.
fn read(
    member: &mut (impl Read + HasSize),
    path: &str,
    limit: u64,
) -> Option<Result<Vec<u8>, WheelError>> {
    let size = usize::try_from(member.stated_size().min(limit)).unwrap_or(0);
    let mut bytes = Vec::with_capacity(size);
    // One byte more than allowed tells a full member from one that is too large.
    let outcome = member.take(limit.saturating_add(1)).read_to_end(&mut bytes);
    if u64::try_from(bytes.len()).is_ok_and(|n| n > limit) {
        return None;
    }
    Some(match outcome {
        Ok(_) => Ok(bytes),
        Err(source) => Err(WheelError::Unpack {
            path: path.to_owned(),
            source,
        }),
    })
}

/// The size a member claims, before it is unpacked.
trait HasSize {
    fn stated_size(&self) -> u64;
}

impl<R: Read> HasSize for zip::read::ZipFile<'_, R> {
    fn stated_size(&self) -> u64 {
        // A lie costs at most this much memory before reading shows it.
        self.size()
            .min(self.compressed_size().saturating_mul(RATIO))
    }
}
