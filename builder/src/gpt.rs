//! GUID partition table: writer for our disks and reader for anybody's.
//!
//! Spec: UEFI 2.10, chapter 5 (protective MBR 5.2.3, header 5.3.2, entries 5.3.3).
//! Units: sectors of 512 bytes; LBAs are sector numbers, `last` inclusive. 128 entries of 128 bytes, as every
//! firmware expects. The backup copy stands in the last 33 sectors of the disk.
//! Not covered: 4096-byte sectors (OVMF does not find an ESP made with them), hybrid MBRs.

use flate2::Crc;
use thiserror::Error;

use crate::guid::Guid;
use crate::le::{array_at, put, u32_at, u64_at};

/// Bytes per sector.
pub(crate) const SECTOR: usize = 512;
/// Sectors before the first usable one: protective MBR, header, entries.
pub(crate) const PRIMARY_SECTORS: u64 = 34;
/// Sectors of the backup copy: entries, header.
pub(crate) const BACKUP_SECTORS: u64 = 33;

const ENTRIES: u32 = 128;
const ENTRY: usize = 128;
const ENTRY_TABLE: usize = 128 * ENTRY;
const HEADER: usize = 92;
const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// What the partition is for.
    pub(crate) type_guid: Guid,
    /// The partition's own identity (`PARTUUID`).
    pub(crate) guid: Guid,
    /// First sector.
    pub(crate) first: u64,
    /// Last sector, inclusive.
    pub(crate) last: u64,
    /// Attribute bits.
    pub(crate) attributes: u64,
    /// Name, at most 36 UTF-16 units.
    pub(crate) name: String,
}

/// A partition table of a disk of `sectors` sectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// The disk's identity.
    pub(crate) disk: Guid,
    /// Size of the disk in sectors.
    pub(crate) sectors: u64,
    /// Used entries, in table order.
    pub(crate) partitions: Vec<Partition>,
}

/// Why bytes are not a partition table, or a table cannot be written.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum GptError {
    /// Fewer bytes than the named structure needs.
    #[error("partition table is truncated: {0} is missing")]
    Truncated(&'static str),
    /// No `EFI PART` at sector 1.
    #[error("no GPT header: sector 1 does not begin with `EFI PART`")]
    NoHeader,
    /// A checksum is wrong.
    #[error("checksum of the GPT {what} is {found:08x}, its fields say {wanted:08x}")]
    Checksum {
        /// Which part.
        what: &'static str,
        /// Stored value.
        wanted: u32,
        /// Computed value.
        found: u32,
    },
    /// A field has a value this reader does not know.
    #[error("GPT field `{field}` is {found}, wanted {wanted}")]
    Field {
        /// Field name as in the specification.
        field: &'static str,
        /// Accepted value.
        wanted: u64,
        /// Value in the table.
        found: u64,
    },
    /// A partition lies outside of the usable sectors or overlaps another one.
    #[error(
        "partition `{name}` occupies sectors {first} to {last}, which overlap another one or leave the disk"
    )]
    Range {
        /// Partition name.
        name: String,
        /// First sector.
        first: u64,
        /// Last sector.
        last: u64,
    },
    /// More partitions than entries, or a name longer than 36 units.
    #[error("partition table does not fit: {0}")]
    TooLarge(&'static str),
}

impl Table {
    /// The first 34 sectors of the disk: protective MBR, header, entries.
    pub(crate) fn primary(&self) -> Result<Vec<u8>, GptError> {
        let entries = self.entries()?;
        let mut bytes = self.protective_mbr()?;
        bytes.extend(self.header(1, 2, &entries)?);
        bytes.extend(entries);
        Ok(bytes)
    }

    /// The last 33 sectors of the disk: entries, header.
    pub(crate) fn backup(&self) -> Result<Vec<u8>, GptError> {
        let mut entries = self.entries()?;
        let table = self
            .sectors
            .checked_sub(BACKUP_SECTORS)
            .ok_or(GptError::TooLarge("the disk is too small"))?;
        let header = self.header(table + BACKUP_SECTORS - 1, table, &entries)?;
        entries.extend(header);
        Ok(entries)
    }

    fn last_usable(&self) -> u64 {
        self.sectors.saturating_sub(BACKUP_SECTORS + 1)
    }

    fn protective_mbr(&self) -> Result<Vec<u8>, GptError> {
        let mut mbr = vec![0; SECTOR];
        let size = u32::try_from(self.sectors.saturating_sub(1)).unwrap_or(u32::MAX);
        let mut entry = vec![0, 0x00, 0x02, 0x00, 0xee, 0xff, 0xff, 0xff];
        entry.extend(1u32.to_le_bytes());
        entry.extend(size.to_le_bytes());
        put(&mut mbr, 446, &entry)
            .and_then(|()| put(&mut mbr, 510, &[0x55, 0xaa]))
            .ok_or(GptError::TooLarge("MBR"))?;
        Ok(mbr)
    }

    fn entries(&self) -> Result<Vec<u8>, GptError> {
        self.check_ranges()?;
        if self.partitions.len() > ENTRY_TABLE / ENTRY {
            return Err(GptError::TooLarge("more than 128 partitions"));
        }
        let mut table = Vec::with_capacity(ENTRY_TABLE);
        for partition in &self.partitions {
            let name: Vec<u8> = partition
                .name
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect();
            if name.len() > 72 {
                return Err(GptError::TooLarge("a name has more than 36 characters"));
            }
            table.extend(partition.type_guid.to_disk());
            table.extend(partition.guid.to_disk());
            table.extend(partition.first.to_le_bytes());
            table.extend(partition.last.to_le_bytes());
            table.extend(partition.attributes.to_le_bytes());
            table.extend(&name);
            table.resize(table.len() + 72 - name.len(), 0);
        }
        table.resize(ENTRY_TABLE, 0);
        Ok(table)
    }

    fn check_ranges(&self) -> Result<(), GptError> {
        let mut taken: Vec<(u64, u64)> = Vec::new();
        for Partition {
            name, first, last, ..
        } in &self.partitions
        {
            let overlaps = taken.iter().any(|(from, to)| first <= to && last >= from);
            if first > last || *first < PRIMARY_SECTORS || *last > self.last_usable() || overlaps {
                return Err(GptError::Range {
                    name: name.clone(),
                    first: *first,
                    last: *last,
                });
            }
            taken.push((*first, *last));
        }
        Ok(())
    }

    fn header(&self, own: u64, entries_at: u64, entries: &[u8]) -> Result<Vec<u8>, GptError> {
        let other = if own == 1 {
            self.sectors.saturating_sub(1)
        } else {
            1
        };
        let mut header = SIGNATURE.to_vec();
        header.extend(REVISION.to_le_bytes());
        header.extend(92u32.to_le_bytes());
        header.extend([0; 8]);
        for lba in [own, other, PRIMARY_SECTORS, self.last_usable()] {
            header.extend(lba.to_le_bytes());
        }
        header.extend(self.disk.to_disk());
        header.extend(entries_at.to_le_bytes());
        header.extend(ENTRIES.to_le_bytes());
        header.extend(128u32.to_le_bytes());
        header.extend(crc32(entries).to_le_bytes());
        let crc = crc32(&header);
        put(&mut header, 16, &crc.to_le_bytes()).ok_or(GptError::Truncated("header"))?;
        header.resize(SECTOR, 0);
        Ok(header)
    }

    /// Reads the primary table from the first sectors of a disk; both checksums and every range are checked.
    pub(crate) fn parse(disk: &[u8]) -> Result<Self, GptError> {
        let header = disk.get(SECTOR..).ok_or(GptError::Truncated("header"))?;
        Self::parse_at(header, |lba, length| {
            let at = usize::try_from(lba).ok()?.checked_mul(SECTOR)?;
            disk.get(at..)?.get(..length)
        })
    }

    /// Reads the backup table from the last 33 sectors of a disk of `sectors` sectors.
    pub(crate) fn parse_backup(tail: &[u8], sectors: u64) -> Result<Self, GptError> {
        let header = tail
            .get(ENTRY_TABLE..)
            .ok_or(GptError::Truncated("backup header"))?;
        let first = sectors
            .checked_sub(BACKUP_SECTORS)
            .ok_or(GptError::Truncated("backup table"))?;
        Self::parse_at(header, |lba, length| {
            let at = usize::try_from(lba.checked_sub(first)?)
                .ok()?
                .checked_mul(SECTOR)?;
            tail.get(at..)?.get(..length)
        })
    }

    fn parse_at<'a>(
        header: &[u8],
        read: impl Fn(u64, usize) -> Option<&'a [u8]>,
    ) -> Result<Self, GptError> {
        if header.get(..8) != Some(SIGNATURE) {
            return Err(GptError::NoHeader);
        }
        let header = header.get(..HEADER).ok_or(GptError::Truncated("header"))?;
        let missing = GptError::Truncated("header field");
        let word = |at| u32_at(header, at).ok_or(GptError::Truncated("header field"));
        let long = |at| u64_at(header, at).ok_or(GptError::Truncated("header field"));
        expect("HeaderSize", 92, u64::from(word(12)?))?;
        expect("NumberOfPartitionEntries", 128, u64::from(word(80)?))?;
        expect("SizeOfPartitionEntry", 128, u64::from(word(84)?))?;
        let mut unsigned = header.to_vec();
        put(&mut unsigned, 16, &[0; 4]).ok_or(missing)?;
        check_crc("header", word(16)?, &unsigned)?;
        let entries =
            read(long(72)?, ENTRY_TABLE).ok_or(GptError::Truncated("partition entries"))?;
        check_crc("partition entries", word(88)?, entries)?;
        let disk = array_at(header, 56)
            .map(Guid::from_disk)
            .ok_or(GptError::Truncated("header field"))?;
        let sectors = long(24)?
            .max(long(32)?)
            .checked_add(1)
            .ok_or(GptError::TooLarge("the last LBA"))?;
        let partitions = entries
            .chunks_exact(ENTRY)
            .filter_map(parse_entry)
            .collect();
        let table = Self {
            disk,
            sectors,
            partitions,
        };
        table.check_ranges()?;
        Ok(table)
    }
}

fn parse_entry(entry: &[u8]) -> Option<Partition> {
    let type_guid = Guid::from_disk(array_at(entry, 0)?);
    if type_guid.is_zero() {
        return None;
    }
    let units = entry
        .get(56..)?
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| u16::from_le_bytes(*pair));
    let name = char::decode_utf16(units.take_while(|unit| *unit != 0));
    Some(Partition {
        type_guid,
        guid: Guid::from_disk(array_at(entry, 16)?),
        first: u64_at(entry, 32)?,
        last: u64_at(entry, 40)?,
        attributes: u64_at(entry, 48)?,
        name: name
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect(),
    })
}

fn expect(field: &'static str, wanted: u64, found: u64) -> Result<(), GptError> {
    if wanted == found {
        Ok(())
    } else {
        Err(GptError::Field {
            field,
            wanted,
            found,
        })
    }
}

fn check_crc(what: &'static str, wanted: u32, bytes: &[u8]) -> Result<(), GptError> {
    let found = crc32(bytes);
    if wanted == found {
        Ok(())
    } else {
        Err(GptError::Checksum {
            what,
            wanted,
            found,
        })
    }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guid::Role;

    fn table() -> Table {
        let partition = |type_guid, role, first, last, name: &str| Partition {
            type_guid,
            guid: Guid::derive("demo", role),
            first,
            last,
            attributes: 0,
            name: name.to_owned(),
        };
        Table {
            disk: Guid::derive("demo", Role::Disk),
            sectors: 16384,
            partitions: vec![
                partition(Guid::TYPE_ESP, Role::EspPartition, 2048, 8191, "esp"),
                partition(Guid::TYPE_ROOT, Role::RootPartition, 8192, 10239, "root"),
            ],
        }
    }

    fn disk() -> Vec<u8> {
        let mut disk = table().primary().unwrap();
        let backup = table().backup().unwrap();
        disk.resize(16384 * SECTOR - backup.len(), 0);
        disk.extend(backup);
        disk
    }

    #[test]
    fn both_copies_parse_to_what_was_written() {
        let disk = disk();
        assert_eq!(disk.len(), 16384 * SECTOR);
        assert_eq!(Table::parse(&disk), Ok(table()));
        let tail = &disk[disk.len() - 33 * SECTOR..];
        assert_eq!(Table::parse_backup(tail, 16384), Ok(table()));
    }

    #[test]
    fn the_gpt_crate_reads_the_same_table() {
        let mut device = std::io::Cursor::new(disk());
        let read = gpt::GptConfig::new().open_from_device(&mut device).unwrap();
        assert_eq!(
            read.guid().to_string(),
            Guid::derive("demo", Role::Disk).to_string()
        );
        assert_eq!(read.primary_header().unwrap().backup_lba, 16383);
        assert_eq!(read.backup_header().unwrap().current_lba, 16383);
        let root = &read.partitions()[&2];
        assert_eq!(
            (root.first_lba, root.last_lba, root.name.as_str()),
            (8192, 10239, "root")
        );
        assert_eq!(
            root.part_guid.to_string(),
            Guid::derive("demo", Role::RootPartition).to_string()
        );
    }

    #[test]
    fn every_changed_byte_of_header_and_used_entries_is_noticed() {
        let good = disk();
        for at in (SECTOR..SECTOR + HEADER).chain(2 * SECTOR..2 * SECTOR + 256) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(Table::parse(&bad).is_err(), "byte {at}");
        }
    }

    #[test]
    fn overlapping_and_outside_partitions_are_refused() {
        let mut overlapping = table();
        overlapping.partitions[1].first = 8191;
        assert!(matches!(overlapping.primary(), Err(GptError::Range { .. })));
        let mut outside = table();
        outside.partitions[1].last = 16384 - 33;
        assert!(matches!(outside.backup(), Err(GptError::Range { .. })));
        assert_eq!(Table::parse(&[0; 100]), Err(GptError::Truncated("header")));
    }
}
