//! Any FAT volume, read without trust in any of its fields.

use thiserror::Error;

use super::{DIRECTORY, ENTRY, FAT32_MIN_CLUSTERS, SECTOR, SECTOR_BYTES, VOLUME_LABEL};
use crate::le::{u8_at, u16_at, u32_at};

const LONG_NAME: u8 = 0x0f;
const TRUNCATED: FatReadError = FatReadError::NotFat("truncated");
/// Bytes of the largest directory that the format allows.
const DIRECTORY_LIMIT: usize = 65_536 * ENTRY;

/// Kind of a FAT volume, by its number of clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// 12-bit entries.
    Fat12,
    /// 16-bit entries.
    Fat16,
    /// 32-bit entries.
    Fat32,
}

/// A FAT volume in memory.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    /// Kind of volume.
    pub(crate) kind: Kind,
    /// Volume serial number.
    pub(crate) serial: u32,
    /// Volume label of the boot sector, trimmed.
    pub(crate) label: String,
    cluster: usize,
    fat_at: usize,
    data_at: usize,
    clusters: u32,
    root: Root,
}

#[derive(Clone, Copy, Debug)]
enum Root {
    Fixed { at: usize, length: usize },
    Cluster(u32),
}

/// A file or directory of a FAT volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Path from the root, `/` between components, long names where there are any.
    pub(crate) path: String,
    /// Size in bytes; `None` for a directory.
    pub(crate) size: Option<u32>,
    cluster: u32,
}

/// Why bytes are not a FAT volume, or a file could not be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum FatReadError {
    /// The boot sector is not one.
    #[error("no FAT boot sector: {0}")]
    NotFat(&'static str),
    /// A cluster chain leaves the volume, loops or ends early.
    #[error("cluster chain from {0} is damaged")]
    Chain(u32),
    /// More than 16 levels of directories or 65536 entries.
    #[error("directories are nested too deeply or hold too many entries")]
    TooMany,
}

/// Bytes of all file allocation tables.
fn fats_length(boot: &[u8]) -> Result<usize, FatReadError> {
    let old = u16_at(boot, 22).ok_or(TRUNCATED)?;
    let sectors = if old == 0 {
        u32_at(boot, 36).ok_or(TRUNCATED)?
    } else {
        u32::from(old)
    };
    let count = u8_at(boot, 16).ok_or(TRUNCATED)?;
    let length = u64::from(sectors) * u64::from(count) * SECTOR;
    usize::try_from(length).map_err(|_| FatReadError::NotFat("sizes overflow"))
}

impl<'a> Reader<'a> {
    /// Reads the boot sector of the volume in `bytes`.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, FatReadError> {
        let half = |at| u16_at(bytes, at).map(usize::from).ok_or(TRUNCATED);
        let word = |at| u32_at(bytes, at).ok_or(TRUNCATED);
        let plain = "no signature, or sectors are not of 512 bytes";
        if half(510)? != 0xaa55 || half(11)? != SECTOR_BYTES {
            return Err(FatReadError::NotFat(plain));
        }
        let per_cluster = u8_at(bytes, 13)
            .filter(|n| n.is_power_of_two())
            .ok_or(TRUNCATED)?;
        let cluster = usize::from(per_cluster) * SECTOR_BYTES;
        let fat_at = half(14)? * SECTOR_BYTES;
        let root_at = fat_at
            .checked_add(fats_length(bytes)?)
            .ok_or(FatReadError::NotFat("sizes overflow"))?;
        let root_length = half(17)? * ENTRY;
        let data_at = root_at.saturating_add(root_length.next_multiple_of(SECTOR_BYTES));
        let sectors = if half(19)? == 0 {
            u64::from(word(32)?)
        } else {
            half(19)? as u64
        };
        let data = (sectors * SECTOR).saturating_sub(data_at as u64);
        let clusters = u32::try_from(data / cluster as u64).unwrap_or(u32::MAX);
        let kind = match clusters {
            0..4085 => Kind::Fat12,
            4085..FAT32_MIN_CLUSTERS => Kind::Fat16,
            _ => Kind::Fat32,
        };
        let (root, tail) = match kind {
            Kind::Fat32 => (Root::Cluster(word(44)?), 67),
            _ => (
                Root::Fixed {
                    at: root_at,
                    length: root_length,
                },
                39,
            ),
        };
        let label = bytes.get(tail + 4..tail + 15).unwrap_or_default();
        let label = String::from_utf8_lossy(label).trim_end().to_owned();
        let serial = word(tail)?;
        Ok(Self {
            bytes,
            kind,
            serial,
            label,
            cluster,
            fat_at,
            data_at,
            clusters,
            root,
        })
    }

    /// Every file and directory, depth first, in directory order.
    pub(crate) fn list(&self) -> Result<Vec<Found>, FatReadError> {
        let root = match self.root {
            Root::Cluster(cluster) => self.chain(cluster, DIRECTORY_LIMIT)?,
            Root::Fixed { at, length } => self
                .bytes
                .get(at..)
                .and_then(|rest| rest.get(..length))
                .ok_or(FatReadError::Chain(0))?
                .to_vec(),
        };
        let mut found = Vec::new();
        self.walk(&root, "", 0, &mut found)?;
        Ok(found)
    }

    /// Contents of a listed file.
    pub(crate) fn read(&self, file: &Found) -> Result<Vec<u8>, FatReadError> {
        let size = usize::try_from(file.size.unwrap_or(0)).map_err(|_| FatReadError::TooMany)?;
        if size == 0 {
            return Ok(Vec::new());
        }
        let mut bytes = self.chain(file.cluster, usize::MAX)?;
        if bytes.len() < size {
            return Err(FatReadError::Chain(file.cluster));
        }
        bytes.truncate(size);
        Ok(bytes)
    }

    fn walk(
        &self,
        entries: &[u8],
        above: &str,
        depth: u32,
        found: &mut Vec<Found>,
    ) -> Result<(), FatReadError> {
        let mut long = Vec::new();
        for entry in entries.chunks_exact(ENTRY) {
            let (Some(first), Some(attributes)) = (u8_at(entry, 0), u8_at(entry, 11)) else {
                break;
            };
            if first == 0 {
                break;
            }
            if attributes & 0x3f == LONG_NAME && first != 0xe5 {
                let mut part = long_name_part(entry);
                part.append(&mut long);
                long = part;
                continue;
            }
            let name = if long.is_empty() {
                plain_name(entry)
            } else {
                String::from_utf16_lossy(&long)
            };
            long.clear();
            if first == 0xe5
                || attributes & VOLUME_LABEL != 0
                || matches!(name.as_str(), "." | "..")
            {
                continue;
            }
            let (Some(high), Some(low), Some(size)) =
                (u16_at(entry, 20), u16_at(entry, 26), u32_at(entry, 28))
            else {
                break;
            };
            let cluster = u32::from(high) << 16 | u32::from(low);
            let directory = attributes & DIRECTORY != 0;
            let path = if above.is_empty() {
                name
            } else {
                format!("{above}/{name}")
            };
            found.push(Found {
                path: path.clone(),
                size: (!directory).then_some(size),
                cluster,
            });
            if found.len() > 65_536 || depth > 16 {
                return Err(FatReadError::TooMany);
            }
            if directory {
                self.walk(
                    &self.chain(cluster, DIRECTORY_LIMIT)?,
                    &path,
                    depth + 1,
                    found,
                )?;
            }
        }
        Ok(())
    }

    /// The bytes of all clusters of a chain of at most `limit` bytes.
    fn chain(&self, start: u32, limit: usize) -> Result<Vec<u8>, FatReadError> {
        let damaged = || FatReadError::Chain(start);
        let mut bytes = Vec::new();
        let mut cluster = start;
        for _ in 0..=self.clusters {
            let index = usize::try_from(cluster.checked_sub(2).ok_or_else(damaged)?)
                .map_err(|_| damaged())?;
            let at = index
                .checked_mul(self.cluster)
                .and_then(|n| n.checked_add(self.data_at))
                .ok_or_else(damaged)?;
            bytes.extend(
                self.bytes
                    .get(at..)
                    .and_then(|rest| rest.get(..self.cluster))
                    .ok_or_else(damaged)?,
            );
            if bytes.len() > limit {
                return Err(FatReadError::TooMany);
            }
            let (next, end) = self.next(cluster).ok_or_else(damaged)?;
            if next >= end {
                return Ok(bytes);
            }
            cluster = next;
        }
        Err(damaged())
    }

    /// The FAT entry of `cluster`, and the lowest value that means the end.
    fn next(&self, cluster: u32) -> Option<(u32, u32)> {
        let fat = self.bytes.get(self.fat_at..)?;
        let index = usize::try_from(cluster).ok()?;
        match self.kind {
            Kind::Fat32 => Some((u32_at(fat, index * 4)? & 0x0fff_ffff, 0x0fff_fff8)),
            Kind::Fat16 => Some((u32::from(u16_at(fat, index * 2)?), 0xfff8)),
            Kind::Fat12 => {
                let pair = u32::from(u16_at(fat, index + index / 2)?);
                Some((
                    if index % 2 == 0 {
                        pair & 0xfff
                    } else {
                        pair >> 4
                    },
                    0xff8,
                ))
            }
        }
    }
}

fn plain_name(entry: &[u8]) -> String {
    let text = |range: std::ops::Range<usize>| {
        String::from_utf8_lossy(entry.get(range).unwrap_or_default()).into_owned()
    };
    let (base, extension) = (text(0..8), text(8..11));
    match extension.trim_end() {
        "" => base.trim_end().to_owned(),
        extension => format!("{}.{extension}", base.trim_end()),
    }
}

fn long_name_part(entry: &[u8]) -> Vec<u16> {
    let offsets = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
    offsets
        .into_iter()
        .filter_map(|at| u16_at(entry, at))
        .take_while(|unit| *unit != 0 && *unit != 0xffff)
        .collect()
}
