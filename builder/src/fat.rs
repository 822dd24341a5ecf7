//! FAT: a write-once FAT32 volume for the EFI system partition, and a reader for any FAT12, FAT16 or FAT32 volume.
//!
//! Spec: Microsoft "FAT32 File System Specification" 1.03 (`fatgen103`), UEFI 2.10 section 13.3.
//! Units: sectors of 512 bytes; clusters are numbered from 2.
//! Determinism: directories first, then files, both in path order and contiguous; one fixed time stamp (1980-01-01,
//! the format's zero); the volume serial is an argument.
//! Not covered: long names in the writer (every name is 8.3 in upper case, which firmware needs no more than).

use std::collections::BTreeMap;
use std::io::{self, Write};

use thiserror::Error;

use crate::le::{put, u8_at, u16_at, u32_at};

const SECTOR: u64 = 512;
const RESERVED: u32 = 32;
const FATS: u32 = 2;
const ENTRY: usize = 32;
/// A volume with fewer clusters is FAT16 by definition, whatever it says.
const FAT32_MIN_CLUSTERS: u32 = 65_525;
/// 1980-01-01, the earliest date of the format.
const DATE: u16 = 0x21;
const DIRECTORY: u8 = 0x10;
const VOLUME_LABEL: u8 = 0x08;
const LONG_NAME: u8 = 0x0f;
/// Bytes of the largest directory that the format allows.
const DIRECTORY_LIMIT: usize = 65_536 * ENTRY;
const END_OF_CHAIN: u32 = 0x0fff_ffff;

/// Why no volume could be made.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum FatWriteError {
    /// A path component is not an upper-case 8.3 name.
    #[error("`{0}` is not an upper-case 8.3 name")]
    Name(String),
    /// The volume is too small to be FAT32, or too large.
    #[error("an EFI system partition of {0} MiB cannot be FAT32, wanted 34 to 65536 MiB")]
    Size(u64),
    /// The files do not fit.
    #[error(
        "the files of the EFI system partition need {need} clusters of {cluster} bytes, it has {have}"
    )]
    Full {
        /// Clusters needed.
        need: u64,
        /// Clusters there are.
        have: u32,
        /// Bytes per cluster.
        cluster: u64,
    },
}

/// A finished volume, ready to be written front to back.
#[derive(Debug)]
pub(crate) struct Volume<'a> {
    metadata: Vec<u8>,
    files: Vec<&'a [u8]>,
    cluster: u64,
    size: u64,
}

/// A directory of the volume: names in order.
#[derive(Default)]
struct Directory<'a> {
    directories: BTreeMap<String, Directory<'a>>,
    files: BTreeMap<String, &'a [u8]>,
}

impl<'a> Volume<'a> {
    /// Lays `files` (path with `/` -> contents) out on a FAT32 volume of `size` bytes.
    pub(crate) fn new(
        files: &BTreeMap<&str, &'a [u8]>,
        size: u64,
        serial: u32,
    ) -> Result<Self, FatWriteError> {
        let geometry = Geometry::new(size)?;
        let mut root = Directory::default();
        for (path, bytes) in files {
            root.insert(path, bytes)?;
        }
        let mut writer = Writer {
            geometry,
            next: 2,
            fat: vec![0x0fff_fff8, END_OF_CHAIN],
            ..Writer::default()
        };
        let root_cluster = writer.reserve_directories(&root);
        writer.fill(&root, root_cluster, None)?;
        let used = u64::from(writer.next) - 2;
        if used > u64::from(geometry.clusters) {
            let (need, have) = (used, geometry.clusters);
            return Err(FatWriteError::Full {
                need,
                have,
                cluster: geometry.cluster_bytes(),
            });
        }
        let metadata = writer
            .metadata(serial)
            .ok_or(FatWriteError::Size(size >> 20))?;
        Ok(Self {
            metadata,
            files: writer.files,
            cluster: geometry.cluster_bytes(),
            size,
        })
    }

    /// Writes the whole volume, `size` bytes.
    pub(crate) fn write(&self, mut out: impl Write) -> io::Result<()> {
        out.write_all(&self.metadata)?;
        let mut written = self.metadata.len() as u64;
        for bytes in &self.files {
            out.write_all(bytes)?;
            let padded = (bytes.len() as u64).next_multiple_of(self.cluster);
            io::copy(
                &mut io::Read::take(io::repeat(0), padded - bytes.len() as u64),
                &mut out,
            )?;
            written += padded;
        }
        io::copy(
            &mut io::Read::take(io::repeat(0), self.size - written),
            &mut out,
        )?;
        Ok(())
    }
}

impl<'a> Directory<'a> {
    fn insert(&mut self, path: &str, bytes: &'a [u8]) -> Result<(), FatWriteError> {
        match path.split_once('/') {
            None => {
                short_name(path)?;
                self.files.insert(path.to_owned(), bytes);
                Ok(())
            }
            Some((name, rest)) => {
                short_name(name)?;
                self.directories
                    .entry(name.to_owned())
                    .or_default()
                    .insert(rest, bytes)
            }
        }
    }

    /// Clusters this directory's own entries need (two more for `.` and `..`, one for a label or end mark).
    fn clusters(&self, cluster: u64) -> u64 {
        let entries = self.directories.len() + self.files.len() + 3;
        ((entries * ENTRY) as u64).div_ceil(cluster)
    }
}

#[derive(Clone, Copy, Default)]
struct Geometry {
    sectors: u32,
    per_cluster: u8,
    fat_sectors: u32,
    clusters: u32,
}

impl Geometry {
    fn new(size: u64) -> Result<Self, FatWriteError> {
        let error = FatWriteError::Size(size >> 20);
        let sectors = u32::try_from(size / SECTOR).map_err(|_| FatWriteError::Size(size >> 20))?;
        for per_cluster in [8_u8, 4, 2, 1] {
            let most = sectors.saturating_sub(RESERVED) / u32::from(per_cluster);
            let fat_sectors = (most.saturating_add(2)).div_ceil(128);
            let data = sectors.saturating_sub(RESERVED + FATS * fat_sectors);
            let clusters = data / u32::from(per_cluster);
            if clusters >= FAT32_MIN_CLUSTERS && clusters < 0x0fff_fff0 {
                return Ok(Self {
                    sectors,
                    per_cluster,
                    fat_sectors,
                    clusters,
                });
            }
        }
        Err(error)
    }

    fn cluster_bytes(self) -> u64 {
        u64::from(self.per_cluster) * SECTOR
    }
}

#[derive(Default)]
struct Writer<'a> {
    geometry: Geometry,
    /// Next free cluster.
    next: u32,
    fat: Vec<u32>,
    /// Directory clusters, from cluster 2 on.
    directories: Vec<u8>,
    files: Vec<&'a [u8]>,
    /// First cluster of every directory, in the order of [`Writer::reserve_directories`].
    starts: Vec<u32>,
}

impl<'a> Writer<'a> {
    /// Gives every directory its clusters, parents before children, so that all metadata precedes all contents.
    fn reserve_directories(&mut self, directory: &Directory<'_>) -> u32 {
        let start = self.allocate(directory.clusters(self.geometry.cluster_bytes()));
        self.starts.push(start);
        for child in directory.directories.values() {
            self.reserve_directories(child);
        }
        start
    }

    /// Chains `count` clusters and returns the first; 0 for none.
    fn allocate(&mut self, count: u64) -> u32 {
        if count == 0 {
            return 0;
        }
        let start = self.next;
        let limit = u64::from(self.geometry.clusters) + 2;
        for _ in 0..count {
            self.next = self.next.saturating_add(1);
            // Past the end only the count matters: the volume is refused afterwards.
            if u64::from(self.next) <= limit {
                self.fat.push(self.next);
            }
        }
        if let Some(last) = self.fat.last_mut() {
            *last = END_OF_CHAIN;
        }
        start
    }

    /// Writes the entries of `directory` and everything below it; `parent` is `None` for the root.
    fn fill(
        &mut self,
        directory: &Directory<'a>,
        own: u32,
        parent: Option<u32>,
    ) -> Result<(), FatWriteError> {
        let mut entries = Vec::new();
        match parent {
            None => entries.extend(directory_entry(*b"CLOISTER   ", VOLUME_LABEL, 0, 0)),
            Some(parent) => {
                entries.extend(directory_entry(*b".          ", DIRECTORY, own, 0));
                entries.extend(directory_entry(*b"..         ", DIRECTORY, parent, 0));
            }
        }
        let mut below = Vec::new();
        let mut next_directory = self
            .starts
            .iter()
            .position(|start| *start == own)
            .map_or(0, |at| at + 1);
        for (name, child) in &directory.directories {
            let start = self.starts.get(next_directory).copied().unwrap_or(0);
            next_directory += count_directories(child);
            entries.extend(directory_entry(short_name(name)?, DIRECTORY, start, 0));
            below.push((child, start));
        }
        for (name, bytes) in &directory.files {
            let start = self.allocate((bytes.len() as u64).div_ceil(self.geometry.cluster_bytes()));
            let size = u32::try_from(bytes.len()).map_err(|_| FatWriteError::Name(name.clone()))?;
            entries.extend(directory_entry(short_name(name)?, 0x20, start, size));
            self.files.push(bytes);
        }
        let space =
            directory.clusters(self.geometry.cluster_bytes()) * self.geometry.cluster_bytes();
        entries.resize(usize::try_from(space).unwrap_or(entries.len()), 0);
        self.directories.extend(entries);
        // `..` of a directory in the root is 0 by definition.
        let above = if parent.is_none() { 0 } else { own };
        below
            .into_iter()
            .try_for_each(|(child, start)| self.fill(child, start, Some(above)))
    }

    /// Boot sector, FS information, their copies, both FATs and all directories.
    fn metadata(&self, serial: u32) -> Option<Vec<u8>> {
        let boot = boot_sector(self.geometry, serial)?;
        let used = self.next - 2;
        let info = information_sector(self.geometry.clusters - used, self.next)?;
        let mut bytes = vec![0; RESERVED as usize * SECTOR as usize];
        for (sector, content) in [(0, &boot), (1, &info), (6, &boot), (7, &info)] {
            put(&mut bytes, sector * SECTOR as usize, content)?;
        }
        let mut fat: Vec<u8> = self
            .fat
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        fat.resize(self.geometry.fat_sectors as usize * SECTOR as usize, 0);
        bytes.extend(&fat);
        bytes.extend(&fat);
        bytes.extend(&self.directories);
        Some(bytes)
    }
}

fn count_directories(directory: &Directory<'_>) -> usize {
    1 + directory
        .directories
        .values()
        .map(count_directories)
        .sum::<usize>()
}

fn boot_sector(geometry: Geometry, serial: u32) -> Option<Vec<u8>> {
    let mut sector = vec![0; SECTOR as usize];
    put(&mut sector, 0, &[0xeb, 0x58, 0x90])?;
    put(&mut sector, 3, b"CLOISTER")?;
    put(&mut sector, 11, &512_u16.to_le_bytes())?;
    put(&mut sector, 13, &[geometry.per_cluster])?;
    put(
        &mut sector,
        14,
        &u16::try_from(RESERVED).ok()?.to_le_bytes(),
    )?;
    put(&mut sector, 16, &[2])?;
    put(&mut sector, 21, &[0xf8])?;
    put(&mut sector, 24, &[63, 0, 255, 0])?;
    put(&mut sector, 32, &geometry.sectors.to_le_bytes())?;
    put(&mut sector, 36, &geometry.fat_sectors.to_le_bytes())?;
    put(&mut sector, 44, &2_u32.to_le_bytes())?;
    put(&mut sector, 48, &[1, 0, 6, 0])?;
    put(&mut sector, 64, &[0x80, 0, 0x29])?;
    put(&mut sector, 67, &serial.to_le_bytes())?;
    put(&mut sector, 71, b"CLOISTER   FAT32   ")?;
    put(&mut sector, 510, &[0x55, 0xaa])?;
    Some(sector)
}

fn information_sector(free: u32, next: u32) -> Option<Vec<u8>> {
    let mut sector = vec![0; SECTOR as usize];
    put(&mut sector, 0, b"RRaA")?;
    put(&mut sector, 484, b"rrAa")?;
    put(&mut sector, 488, &free.to_le_bytes())?;
    put(&mut sector, 492, &next.to_le_bytes())?;
    put(&mut sector, 510, &[0x55, 0xaa])?;
    Some(sector)
}

fn directory_entry(name: [u8; 11], attributes: u8, cluster: u32, size: u32) -> Vec<u8> {
    let [low0, low1, high0, high1] = cluster.to_le_bytes();
    let [day, month] = DATE.to_le_bytes();
    let mut entry = name.to_vec();
    entry.extend([
        attributes, 0, 0, 0, 0, day, month, day, month, high0, high1, 0, 0, day, month, low0, low1,
    ]);
    entry.extend(size.to_le_bytes());
    entry
}

/// The padded 11-byte form of an upper-case 8.3 name.
fn short_name(name: &str) -> Result<[u8; 11], FatWriteError> {
    let error = || FatWriteError::Name(name.to_owned());
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let plain = |part: &str| {
        part.bytes()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_')
    };
    if base.is_empty() || base.len() > 8 || extension.len() > 3 || !plain(base) || !plain(extension)
    {
        return Err(error());
    }
    format!("{base:<8}{extension:<3}")
        .into_bytes()
        .try_into()
        .map_err(|_| error())
}

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

impl<'a> Reader<'a> {
    /// Reads the boot sector of the volume in `bytes`.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self, FatReadError> {
        let missing = FatReadError::NotFat("truncated");
        let half = |at| {
            u16_at(bytes, at)
                .map(usize::from)
                .ok_or(FatReadError::NotFat("truncated"))
        };
        let word = |at| u32_at(bytes, at).ok_or(FatReadError::NotFat("truncated"));
        if half(510)? != 0xaa55 || half(11)? != 512 {
            return Err(FatReadError::NotFat(
                "no signature, or sectors are not of 512 bytes",
            ));
        }
        let per_cluster = u8_at(bytes, 13)
            .filter(|n| n.is_power_of_two())
            .ok_or(missing)?;
        let (reserved, root_entries) = (half(14)?, half(17)?);
        let fats = usize::from(u8_at(bytes, 16).unwrap_or(0));
        let sectors = if half(19)? == 0 {
            word(32)?
        } else {
            u32::try_from(half(19)?).unwrap_or(0)
        };
        let old_fat = half(22)?;
        let fat_sectors = if old_fat == 0 {
            usize::try_from(word(36)?).unwrap_or(usize::MAX)
        } else {
            old_fat
        };
        let product = |a: usize, b: usize| {
            a.checked_mul(b)
                .ok_or(FatReadError::NotFat("sizes overflow"))
        };
        let root_at =
            product(reserved, 512)?.saturating_add(product(product(fat_sectors, 512)?, fats)?);
        let root_length = root_entries * ENTRY;
        let data_at = root_at.saturating_add(root_length.next_multiple_of(512));
        let volume = u64::from(sectors) * SECTOR;
        let data = volume.saturating_sub(data_at as u64);
        let cluster = usize::from(per_cluster) * 512;
        let clusters = u32::try_from(data / cluster as u64).unwrap_or(u32::MAX);
        let kind = match clusters {
            0..4085 => Kind::Fat12,
            4085..65_525 => Kind::Fat16,
            _ => Kind::Fat32,
        };
        let (root, tail) = if kind == Kind::Fat32 {
            (Root::Cluster(word(44)?), 67)
        } else {
            (
                Root::Fixed {
                    at: root_at,
                    length: root_length,
                },
                39,
            )
        };
        let label = bytes.get(tail + 4..tail + 15).unwrap_or_default();
        let label = String::from_utf8_lossy(label).trim_end().to_owned();
        Ok(Self {
            bytes,
            kind,
            serial: word(tail)?,
            label,
            cluster,
            fat_at: reserved * 512,
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

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};
    use std::process::Command;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn volume(size: u64) -> Vec<u8> {
        let big = vec![7; 100_000];
        let files = BTreeMap::from([
            ("EFI/BOOT/BOOTX64.EFI", big.as_slice()),
            ("EFI/CLOISTER/A.TXT", b"a".as_slice()),
            ("EMPTY", b"".as_slice()),
        ]);
        let mut bytes = Vec::new();
        Volume::new(&files, size, 0x1234_5678)
            .unwrap()
            .write(&mut bytes)
            .unwrap();
        bytes
    }

    #[test]
    fn fatfs_crate_reads_the_same_files() {
        let bytes = volume(64 * MIB);
        assert_eq!(bytes.len() as u64, 64 * MIB);
        let fs = fatfs::FileSystem::new(Cursor::new(bytes), fatfs::FsOptions::new()).unwrap();
        assert_eq!(
            (fs.fat_type(), fs.volume_id()),
            (fatfs::FatType::Fat32, 0x1234_5678)
        );
        let root = fs.root_dir();
        let mut content = Vec::new();
        root.open_file("EFI/BOOT/BOOTX64.EFI")
            .unwrap()
            .read_to_end(&mut content)
            .unwrap();
        assert!(content == vec![7; 100_000]);
        let names: Vec<_> = root
            .open_dir("EFI")
            .unwrap()
            .iter()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(names, [".", "..", "BOOT", "CLOISTER"]);
    }

    #[test]
    fn own_reader_lists_what_own_writer_and_fatfs_write() {
        let bytes = volume(64 * MIB);
        let reader = Reader::open(&bytes).unwrap();
        let list = reader.list().unwrap();
        let paths: Vec<_> = list.iter().map(|found| found.path.as_str()).collect();
        let wanted = [
            "EFI",
            "EFI/BOOT",
            "EFI/BOOT/BOOTX64.EFI",
            "EFI/CLOISTER",
            "EFI/CLOISTER/A.TXT",
            "EMPTY",
        ];
        assert_eq!(paths, wanted);
        assert!(reader.read(&list[2]).unwrap() == vec![7; 100_000]);
        assert_eq!(
            (reader.label.as_str(), reader.serial),
            ("CLOISTER", 0x1234_5678)
        );

        for (mib, kind) in [(2, Kind::Fat12), (16, Kind::Fat16), (64, Kind::Fat32)] {
            let mut disk = Cursor::new(vec![0; mib << 20]);
            let sort = match kind {
                Kind::Fat12 => fatfs::FatType::Fat12,
                Kind::Fat16 => fatfs::FatType::Fat16,
                Kind::Fat32 => fatfs::FatType::Fat32,
            };
            fatfs::format_volume(&mut disk, fatfs::FormatVolumeOptions::new().fat_type(sort))
                .unwrap();
            {
                let fs = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).unwrap();
                let root = fs.root_dir();
                root.create_dir("a rather long directory name").unwrap();
                root.create_file("a rather long directory name/file.text")
                    .unwrap()
                    .write_all(&[9; 5000])
                    .unwrap();
            }
            let bytes = disk.into_inner();
            let reader = Reader::open(&bytes).unwrap();
            let list = reader.list().unwrap();
            assert_eq!(list[1].path, "a rather long directory name/file.text");
            assert_eq!(reader.kind, kind);
            assert!(reader.read(&list[1]).unwrap() == vec![9; 5000]);
        }
    }

    #[test]
    fn fsck_finds_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for mib in [34, 64, 300] {
            std::fs::write(file.path(), volume(mib * MIB)).unwrap();
            let Ok(output) = Command::new("fsck.vfat")
                .args(["-n", "-v"])
                .arg(file.path())
                .output()
            else {
                println!("skipped: fsck.vfat is not installed");
                return;
            };
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.status.success() && text.contains("7 files"),
                "{mib} MiB: {text}"
            );
        }
    }

    #[test]
    fn bad_names_small_volumes_and_too_many_bytes_are_refused() {
        let of = |path, size, bytes: &[u8]| {
            Volume::new(&BTreeMap::from([(path, bytes)]), size, 0).map(|_| ())
        };
        assert_eq!(
            of("efi/x", 64 * MIB, b""),
            Err(FatWriteError::Name("efi".to_owned()))
        );
        assert_eq!(
            of("LONGERTHAN8", 64 * MIB, b""),
            Err(FatWriteError::Name("LONGERTHAN8".to_owned()))
        );
        assert_eq!(of("A", 32 * MIB, b""), Err(FatWriteError::Size(32)));
        assert_eq!(of("A", 16 * MIB, b""), Err(FatWriteError::Size(16)));
        assert!(matches!(
            of("A", 34 * MIB, &vec![0; 34 << 20]),
            Err(FatWriteError::Full { .. })
        ));
    }

    #[test]
    fn damaged_volumes_are_errors_and_never_panics() {
        let good = volume(34 * MIB);
        assert!(matches!(
            Reader::open(&good[..511]),
            Err(FatReadError::NotFat(_))
        ));
        for at in (0..512).chain(32 * 512..32 * 512 + 64) {
            let mut bad = good.clone();
            bad[at] = !bad[at];
            if let Ok(reader) = Reader::open(&bad) {
                let _ = reader.list().map(|list| {
                    list.iter()
                        .map(|found| reader.read(found))
                        .collect::<Vec<_>>()
                });
            }
        }
        let mut looped = good;
        put(&mut looped, 32 * 512 + 2 * 4, &2_u32.to_le_bytes()).unwrap();
        assert_eq!(
            Reader::open(&looped).unwrap().list(),
            Err(FatReadError::TooMany)
        );
    }
}
