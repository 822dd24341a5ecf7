//! FAT: a write-once FAT32 volume for the EFI system partition, and a reader for any FAT12, FAT16 or FAT32 volume.
//!
//! Spec: Microsoft "FAT32 File System Specification" 1.03 (`fatgen103`), UEFI 2.10 section 13.3.
//! Units: sectors of 512 bytes; clusters are numbered from 2.
//! Determinism: directories first, then files, both in path order and contiguous; one fixed time stamp (1980-01-01,
//! the format's zero); the volume serial is an argument.
//! Not covered: long names in the writer (every name is 8.3 in upper case, which firmware needs no more than).

mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use reader::Reader;
#[cfg(test)]
use reader::{FatReadError, Kind};
pub(crate) use writer::{FatWriteError, Volume};

const SECTOR: u64 = 512;
const SECTOR_BYTES: usize = 512;
/// Bytes of a directory entry.
const ENTRY: usize = 32;
/// Attribute bits of directories and of the volume label.
const DIRECTORY: u8 = 0x10;
const VOLUME_LABEL: u8 = 0x08;
/// A volume with fewer clusters is FAT16 by definition, whatever it says.
const FAT32_MIN_CLUSTERS: u32 = 65_525;
