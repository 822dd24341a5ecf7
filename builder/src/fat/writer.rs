//! A FAT32 volume laid out once and written front to back.

use std::collections::BTreeMap;
use std::io::{self, Write};

use thiserror::Error;

use super::{DIRECTORY, ENTRY, FAT32_MIN_CLUSTERS, SECTOR, SECTOR_BYTES, VOLUME_LABEL};
use crate::le::put;

const RESERVED: u32 = 32;
const FATS: u32 = 2;
/// 1980-01-01, the earliest date of the format.
const DATE: u16 = 0x21;
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
            if (FAT32_MIN_CLUSTERS..0x0fff_fff0).contains(&clusters) {
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
        let mut bytes = vec![0; RESERVED as usize * SECTOR_BYTES];
        for (sector, content) in [(0, &boot), (1, &info), (6, &boot), (7, &info)] {
            put(&mut bytes, sector * SECTOR_BYTES, content)?;
        }
        let mut fat: Vec<u8> = self
            .fat
            .iter()
            .flat_map(|entry| entry.to_le_bytes())
            .collect();
        fat.resize(self.geometry.fat_sectors as usize * SECTOR_BYTES, 0);
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
    let mut sector = vec![0; SECTOR_BYTES];
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
    let mut sector = vec![0; SECTOR_BYTES];
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
