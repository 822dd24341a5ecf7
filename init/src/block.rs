//! Block devices by the GUID of their partition, without udev.
//!
//! Linux 6.12 does not tell the GUID in sysfs, so the primary GPT of each disk is read (UEFI 2.10,
//! section 5.3) and its entry's number looked up there: device numbers and sizes are the kernel's.
//! The host chooses which disks there are, and may offer a GUID twice: the first in the order of
//! names is taken, and what is on it is dm-verity's to judge. So no checksum of the GPT is checked.
//! Units: sizes in blocks of 4096 bytes, GPT places in the disk's own logical blocks.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::directory;

/// Time given to the drivers to find the disks.
pub const PATIENCE: Duration = Duration::from_secs(20);

const PAUSE: Duration = Duration::from_millis(10);

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// `MAJOR:MINOR`.
    pub device: String,
    /// Length in whole blocks of 4096 bytes.
    pub blocks: u64,
}

/// Why a partition is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlockError {
    /// No disk has it.
    #[error("no disk has partition {uuid}, waited {seconds} s; disks found: {found}")]
    Missing {
        /// Unique partition GUID.
        uuid: String,
        /// Time waited.
        seconds: u64,
        /// Names of the block devices there are.
        found: String,
    },
    /// It is too short for what it must hold.
    #[error("partition {uuid} has {found} blocks, wanted {wanted}")]
    Short {
        /// Unique partition GUID.
        uuid: String,
        /// Blocks of 4096 bytes wanted.
        wanted: u64,
        /// Blocks of 4096 bytes it has.
        found: u64,
    },
    /// sysfs cannot be read.
    #[error("sysfs: {0}")]
    Sysfs(#[from] std::io::Error),
}

/// Waits up to `patience` for partition `uuid` of at least `wanted` blocks. `sys` is `/sys`, `dev`
/// is `/dev`.
///
/// # Errors
/// [`BlockError`].
pub fn wait(
    sys: &Path,
    dev: &Path,
    uuid: &str,
    wanted: u64,
    patience: Duration,
) -> Result<Partition, BlockError> {
    let start = Instant::now();
    loop {
        if let Some(partition) = find(sys, dev, uuid)? {
            let found = partition.blocks;
            if found < wanted {
                return Err(BlockError::Short {
                    uuid: uuid.to_owned(),
                    wanted,
                    found,
                });
            }
            return Ok(partition);
        }
        if start.elapsed() >= patience {
            let found = directory::names(&sys.join("class/block"))?;
            let found = if found.is_empty() {
                "none".to_owned()
            } else {
                found.join(" ")
            };
            return Err(BlockError::Missing {
                uuid: uuid.to_owned(),
                seconds: patience.as_secs(),
                found,
            });
        }
        std::thread::sleep(PAUSE);
    }
}

/// Looks once for partition `uuid`.
fn find(sys: &Path, dev: &Path, uuid: &str) -> Result<Option<Partition>, BlockError> {
    let class = sys.join("class/block");
    for disk in directory::names(&class)? {
        let about = class.join(&disk);
        if about.join("partition").exists() {
            continue;
        }
        // A disk may vanish between two calls, or be none; then it has no such partition.
        let Some(number) = File::open(dev.join(&disk))
            .ok()
            .and_then(|file| number(&file, &about, uuid))
        else {
            continue;
        };
        if let Some(partition) = partition(&about, number)? {
            return Ok(Some(partition));
        }
    }
    Ok(None)
}

/// The number of partition `uuid` in the GPT of `disk`, from 1.
fn number(disk: &File, about: &Path, uuid: &str) -> Option<u32> {
    let block: u64 =
        decimal(&about.join("queue/logical_block_size")).filter(|size| *size >= 512)?;
    let mut header = [0; HEADER];
    disk.read_exact_at(&mut header, block).ok()?;
    let table = Table::parse(&header)?;
    let mut entries = vec![0; table.length()?];
    disk.read_exact_at(&mut entries, table.place.checked_mul(block)?)
        .ok()?;
    let position = entries.chunks_exact(table.entry).position(|entry| {
        entry
            .get(UNIQUE)
            .and_then(|guid| guid.try_into().ok())
            .map(guid_text)
            .as_deref()
            == Some(uuid)
    })?;
    u32::try_from(position).ok()?.checked_add(1)
}

/// Partition `number` of the disk described by `about`, as the kernel sees it.
fn partition(about: &Path, number: u32) -> Result<Option<Partition>, BlockError> {
    for name in directory::names(about)? {
        let part = about.join(&name);
        if decimal(&part.join("partition")) != Some(u64::from(number)) {
            continue;
        }
        let device = std::fs::read_to_string(part.join("dev"))?
            .trim_end()
            .to_owned();
        // Sectors of 512 bytes, whatever the disk's own are.
        let sectors = decimal(&part.join("size")).unwrap_or(0);
        return Ok(Some(Partition {
            device,
            blocks: sectors / 8,
        }));
    }
    Ok(None)
}

/// The number in a sysfs file.
fn decimal(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim_end().parse().ok()
}

/// Length of the part of the GPT header that is read.
const HEADER: usize = 92;

/// Place of `UniquePartitionGUID` in an entry.
const UNIQUE: std::ops::Range<usize> = 16..32;

/// Where the entries of a GPT are.
#[derive(Debug, PartialEq, Eq)]
struct Table {
    place: u64,
    count: usize,
    entry: usize,
}

impl Table {
    /// Reads a GPT header (table "GPT Header"): signature, `PartitionEntryLBA`,
    /// `NumberOfPartitionEntries`, `SizeOfPartitionEntry`.
    fn parse(header: &[u8; HEADER]) -> Option<Self> {
        let (signature, _) = header.split_first_chunk::<8>()?;
        let (place, rest) = header.get(72..)?.split_first_chunk::<8>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (entry, _) = rest.split_first_chunk::<4>()?;
        let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
        let entry = usize::try_from(u32::from_le_bytes(*entry)).ok()?;
        let sane = signature == b"EFI PART" && (128..=4096).contains(&entry) && count <= 1024;
        sane.then_some(Self {
            place: u64::from_le_bytes(*place),
            count,
            entry,
        })
    }

    fn length(&self) -> Option<usize> {
        self.count.checked_mul(self.entry)
    }
}

/// A GUID as text: the first three groups are little-endian (UEFI 2.10, appendix A).
fn guid_text(guid: [u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = guid;
    let rest = hex::encode(rest);
    let (clock, node) = rest.split_at(4);
    let group = |bytes: &[u8]| hex::encode(bytes);
    format!(
        "{}-{}-{}-{clock}-{node}",
        group(&[d, c, b, a]),
        group(&[f, e]),
        group(&[h, g])
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "01234567-89ab-cdef-0011-223344556677";
    /// The same as on disk.
    const GUID: [u8; 16] = [
        0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66,
        0x77,
    ];

    /// A `sys` and a `dev` with one disk of two partitions; the second has `GUID` and 80 sectors.
    fn machine(block: usize) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let mut disk = vec![0; block * 2 + 128 * 4];
        disk[block..block + 8].copy_from_slice(b"EFI PART");
        disk[block + 72..block + 88]
            .copy_from_slice(&[2, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 128, 0, 0, 0]);
        disk[block * 2 + 128 + 16..block * 2 + 128 + 32].copy_from_slice(&GUID);
        write("dev/vda", &disk);
        write("dev/dm-0", &[]);
        write("sys/class/block/dm-0/queue/logical_block_size", b"512\n");
        write(
            "sys/class/block/vda/queue/logical_block_size",
            format!("{block}\n").as_bytes(),
        );
        write("sys/class/block/vda/vda1/partition", b"1\n");
        write("sys/class/block/vda/vda2/partition", b"2\n");
        write("sys/class/block/vda/vda2/dev", b"254:2\n");
        write("sys/class/block/vda/vda2/size", b"80\n");
        write("sys/class/block/vda2/partition", b"2\n");
        root
    }

    fn look(root: &Path, uuid: &str, wanted: u64) -> Result<Partition, BlockError> {
        wait(
            &root.join("sys"),
            &root.join("dev"),
            uuid,
            wanted,
            Duration::ZERO,
        )
    }

    #[test]
    fn wait_finds_a_partition_by_its_guid() {
        for block in [512, 4096] {
            let found = look(machine(block).path(), UUID, 10).unwrap();
            assert_eq!(
                found,
                Partition {
                    device: "254:2".into(),
                    blocks: 10
                }
            );
        }
    }

    #[test]
    fn wait_says_what_is_missing() {
        let other = "21111111-2222-3333-4444-555555555555";
        let error = look(machine(512).path(), other, 1).unwrap_err();
        let wanted =
            format!("no disk has partition {other}, waited 0 s; disks found: dm-0 vda vda2");
        assert_eq!(error.to_string(), wanted);
        let error = look(tempfile::tempdir().unwrap().path(), UUID, 1).unwrap_err();
        let wanted = format!("no disk has partition {UUID}, waited 0 s; disks found: none");
        assert_eq!(error.to_string(), wanted);
    }

    #[test]
    fn wait_refuses_a_short_partition() {
        let error = look(machine(512).path(), UUID, 11).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("partition {UUID} has 10 blocks, wanted 11")
        );
    }

    #[test]
    fn table_refuses_absurd_sizes() {
        let mut header = [0; HEADER];
        assert_eq!(Table::parse(&header), None);
        header[..8].copy_from_slice(b"EFI PART");
        header[80..88].copy_from_slice(&[4, 0, 0, 0, 128, 0, 0, 0]);
        assert_eq!(
            Table::parse(&header),
            Some(Table {
                place: 0,
                count: 4,
                entry: 128
            })
        );
        header[83] = 1;
        assert_eq!(Table::parse(&header), None);
        header[80..88].copy_from_slice(&[4, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Table::parse(&header), None);
    }
}
