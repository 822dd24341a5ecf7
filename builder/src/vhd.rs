//! `disk.vhd`: the disk with the footer that makes it a fixed virtual hard disk.
//!
//! Spec: Microsoft, Virtual Hard Disk Image Format Specification 1.0 (2006), "Hard Disk Footer Format" and, for the
//! geometry, its appendix "CHS Calculation".
//! Units: bytes, integers big-endian; the footer is the last 512 bytes of the file, the disk everything before it.
//! Determinism: time zero (2000-01-01), identity derived from the recipe's name.
//! Not covered: dynamic and differencing disks, which Azure does not take.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::disk::{Copy, MIB, Readable};
use crate::guid::Guid;
use crate::le::{array_at, put};

/// Bytes of the footer.
pub(crate) const FOOTER: usize = 512;
/// Azure takes disks of whole MiB only.
pub(crate) const ALIGNMENT: u64 = MIB;

const COOKIE: &[u8; 8] = b"conectix";
/// The reserved bit that is always set; no other feature.
const FEATURES: u32 = 2;
const VERSION: u32 = 0x0001_0000;
/// No dynamic header follows.
const NO_HEADER: u64 = u64::MAX;
/// Decides which size readers believe: with this one, and few others, the exact size and not the geometry, which is a
/// rounded one (QEMU `block/vpc.c`).
const CREATOR: &[u8; 4] = b"win ";
const CREATOR_VERSION: u32 = 0x000a_0000;
const HOST: &[u8; 4] = b"Wi2k";
const FIXED: u32 = 2;
const CHECKSUM_AT: usize = 64;
/// Where the reserved bytes begin, which are zero.
const RESERVED_AT: usize = 85;

/// The fields of a footer, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Seconds since 2000-01-01.
    pub(crate) time: u32,
    /// Program that made the file.
    pub(crate) creator: [u8; 4],
    /// Its version.
    pub(crate) creator_version: u32,
    /// System it ran on.
    pub(crate) host: [u8; 4],
    /// Size of the disk when it was made, in bytes.
    pub(crate) original_size: u64,
    /// Size of the disk, in bytes.
    pub(crate) size: u64,
    /// Cylinders, heads, sectors per track.
    pub(crate) geometry: Geometry,
    /// Identity.
    pub(crate) id: Guid,
    /// Whether a machine was suspended on it.
    pub(crate) saved_state: bool,
    /// One's complement of the sum of the other bytes.
    pub(crate) checksum: u32,
}

/// Cylinders, heads and sectors of 512 bytes per track.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Cylinders.
    pub(crate) cylinders: u16,
    /// Heads.
    pub(crate) heads: u8,
    /// Sectors per track.
    pub(crate) sectors: u8,
}

/// Why bytes are not the footer of a fixed disk.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum FooterError {
    /// Not 512 bytes with the cookie in front.
    #[error("no VHD footer: the last 512 bytes do not begin with `conectix`")]
    NoFooter,
    /// The bytes were changed.
    #[error("checksum of the VHD footer is {found:08x}, its bytes say {wanted:08x}")]
    Checksum {
        /// What it should be.
        wanted: u32,
        /// What is stored.
        found: u32,
    },
    /// A field of another kind of disk.
    #[error("VHD field `{field}` is {found:#x}, wanted {wanted:#x}")]
    Field {
        /// Name as in the specification.
        field: &'static str,
        /// Accepted value.
        wanted: u64,
        /// Value in the footer.
        found: u64,
    },
}

/// Why no VHD could be written.
#[derive(Debug, Error)]
pub(crate) enum VhdError {
    /// Reading or writing failed.
    #[error("VHD could not be written")]
    Io(#[from] io::Error),
}

impl Geometry {
    /// The geometry of a disk of `size` bytes by the specification's rule: never larger than the disk, and at most
    /// 65535 cylinders of 16 heads and 255 sectors.
    pub(crate) fn of(size: u64) -> Self {
        let total = (size / 512).min(65_535 * 16 * 255);
        let (sectors, heads, tracks) = if total >= 65_535 * 16 * 63 {
            (255, 16, total / 255)
        } else {
            small_geometry(total)
        };
        let narrow = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
        Self {
            cylinders: u16::try_from(tracks / heads).unwrap_or(u16::MAX),
            heads: narrow(heads),
            sectors: narrow(sectors),
        }
    }
}

/// Sectors per track, heads, and tracks of all heads: 17, 31 or 63 sectors, the first with which 1024 cylinders are enough.
fn small_geometry(total: u64) -> (u64, u64, u64) {
    let tracks = total / 17;
    let heads = tracks.div_ceil(1024).max(4);
    if heads <= 16 && tracks < heads * 1024 {
        return (17, heads, tracks);
    }
    let tracks = total / 31;
    if tracks < 16 * 1024 {
        return (31, 16, tracks);
    }
    (63, 16, total / 63)
}

impl Footer {
    /// The footer of a disk of `size` bytes called `id`.
    pub(crate) fn new(size: u64, id: Guid) -> Self {
        let mut footer = Self {
            time: 0,
            creator: *CREATOR,
            creator_version: CREATOR_VERSION,
            host: *HOST,
            original_size: size,
            size,
            geometry: Geometry::of(size),
            id,
            saved_state: false,
            checksum: 0,
        };
        footer.checksum = checksum(&footer.encode());
        footer
    }

    /// The 512 bytes.
    pub(crate) fn encode(&self) -> [u8; FOOTER] {
        let Geometry {
            cylinders,
            heads,
            sectors,
        } = self.geometry;
        let [high, low] = cylinders.to_be_bytes();
        let fields: [&[u8]; 16] = [
            COOKIE,
            &FEATURES.to_be_bytes(),
            &VERSION.to_be_bytes(),
            &NO_HEADER.to_be_bytes(),
            &self.time.to_be_bytes(),
            &self.creator,
            &self.creator_version.to_be_bytes(),
            &self.host,
            &self.original_size.to_be_bytes(),
            &self.size.to_be_bytes(),
            &[high, low, heads, sectors],
            &FIXED.to_be_bytes(),
            &self.checksum.to_be_bytes(),
            &self.id.to_text_order(),
            &[u8::from(self.saved_state)],
            &[0; FOOTER - RESERVED_AT],
        ];
        let mut bytes = [0; FOOTER];
        let all = fields.into_iter().flatten();
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// Reads the last 512 bytes of a file: checksum, and every field that is fixed for a fixed disk.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FooterError> {
        let bytes: &[u8; FOOTER] = bytes.try_into().map_err(|_| FooterError::NoFooter)?;
        if !bytes.starts_with(COOKIE) {
            return Err(FooterError::NoFooter);
        }
        let (wanted, found) = (checksum(bytes), word(bytes, CHECKSUM_AT)?);
        if wanted != found {
            return Err(FooterError::Checksum { wanted, found });
        }
        expect("Features", FEATURES.into(), word(bytes, 8)?.into())?;
        expect(
            "File Format Version",
            VERSION.into(),
            word(bytes, 12)?.into(),
        )?;
        expect("Data Offset", NO_HEADER, long(bytes, 16)?)?;
        expect("Disk Type", FIXED.into(), word(bytes, 60)?.into())?;
        let reserved = bytes.iter().skip(RESERVED_AT).find(|byte| **byte != 0);
        expect("Reserved", 0, reserved.copied().unwrap_or(0).into())?;
        let [high, low, heads, sectors] = field(bytes, 56)?;
        let [saved] = field(bytes, 84)?;
        expect("Saved State", 0, (saved & !1).into())?;
        Ok(Self {
            time: word(bytes, 24)?,
            creator: field(bytes, 28)?,
            creator_version: word(bytes, 32)?,
            host: field(bytes, 36)?,
            original_size: long(bytes, 40)?,
            size: long(bytes, 48)?,
            geometry: Geometry {
                cylinders: u16::from_be_bytes([high, low]),
                heads,
                sectors,
            },
            id: Guid::from_text_order(field(bytes, 68)?),
            saved_state: saved == 1,
            checksum: found,
        })
    }
}

/// One's complement of the sum of all bytes but the checksum's own.
fn checksum(bytes: &[u8; FOOTER]) -> u32 {
    let mut without = *bytes;
    // Never outside: the field lies within the footer.
    put(&mut without, CHECKSUM_AT, &[0; 4]).unwrap_or_default();
    !without.iter().map(|byte| u32::from(*byte)).sum::<u32>()
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], FooterError> {
    array_at(bytes, at).ok_or(FooterError::NoFooter)
}

fn word(bytes: &[u8], at: usize) -> Result<u32, FooterError> {
    field(bytes, at).map(u32::from_be_bytes)
}

fn long(bytes: &[u8], at: usize) -> Result<u64, FooterError> {
    field(bytes, at).map(u64::from_be_bytes)
}

fn expect(field: &'static str, wanted: u64, found: u64) -> Result<(), FooterError> {
    if wanted == found {
        return Ok(());
    }
    Err(FooterError::Field {
        field,
        wanted,
        found,
    })
}

/// Writes the disk `raw` of `size` bytes, which has data where `extents` says, once more to `out`, which must be empty, with the
/// footer behind it. Returns the state of SHA-256 behind the disk, from which [`digest`] has what was written.
pub(crate) fn write(
    raw: Readable<'_>,
    size: u64,
    extents: &[Range<u64>],
    id: Guid,
    out: &File,
) -> Result<Sha256, VhdError> {
    let hash = raw.hash(size, Some(Copy { extents, out }))?;
    out.write_all_at(&Footer::new(size, id).encode(), size)?;
    Ok(hash)
}

/// SHA-256 and length of what [`write`] makes of a disk of `size` bytes whose state of SHA-256 is `hash`.
pub(crate) fn digest(hash: &Sha256, size: u64, id: Guid) -> ([u8; 32], u64) {
    let footer = Footer::new(size, id).encode();
    let hash: Sha256 = hash.clone().chain_update(footer);
    (hash.finalize().into(), size + FOOTER as u64)
}

#[cfg(test)]
mod tests;
