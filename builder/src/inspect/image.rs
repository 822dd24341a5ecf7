//! Files of an image: initrd, kernel, UKI, disk, file systems and the hash tree.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;

use cloister_measure::digest::Bank;
use cloister_measure::pe::Pe;
use cloister_measure::uki::predict;
use sha2::{Digest as _, Sha256};

use super::report::{Fields, Report, Value};
use crate::fat;
use crate::gpt::{self, SECTOR, Table};
use crate::initrd;
use crate::le::{u8_at, u16_at, u32_at};
use crate::superblock::Superblock;
use crate::verity::BLOCK;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Bytes of a decompressed initrd that are read.
const INITRD_LIMIT: u64 = 1 << 30;
/// Bytes of an EFI system partition that are read.
const ESP_LIMIT: u64 = 1 << 30;
/// Entries of an initrd or a partition that are listed one by one.
const LISTED: usize = 200;

/// SHA-256 in hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// An initrd: `newc`, plain or compressed with zstd.
pub(super) fn initrd(bytes: &[u8]) -> Option<Report> {
    let compressed = bytes.starts_with(&ZSTD_MAGIC);
    let mut plain = Vec::new();
    if compressed {
        zstd::Decoder::new(bytes)
            .ok()?
            .take(INITRD_LIMIT)
            .read_to_end(&mut plain)
            .ok()?;
    } else {
        plain = bytes.to_vec();
    }
    if !initrd::is_archive(&plain) {
        return None;
    }
    let fields = Fields::new()
        .with("compression", if compressed { "zstd" } else { "none" })
        .with("size", bytes.len())
        .with("unpacked-size", plain.len());
    let fields = match initrd::list(&plain) {
        Ok(entries) => {
            let shown: Vec<Fields> = entries.iter().take(LISTED).map(initrd_entry).collect();
            fields
                .with("entry-count", entries.len())
                .with("entries", shown)
        }
        Err(error) => fields.with("damage", error.to_string()),
    };
    Some(Report::new("initrd (newc archive)", fields))
}

fn initrd_entry(entry: &initrd::Listed<'_>) -> Fields {
    Fields::new()
        .with("mode", format!("{:06o}", entry.mode))
        .with("owner", format!("{}:{}", entry.uid, entry.gid))
        .with("mtime", entry.mtime)
        .with("size", entry.bytes.len())
        .with("path", entry.path.as_str())
        .with_some(
            "sha256",
            (!entry.bytes.is_empty()).then(|| sha256(entry.bytes)),
        )
}

/// A Linux kernel (bzImage); spec: Linux `Documentation/arch/x86/boot.rst`.
pub(super) fn kernel(bytes: &[u8]) -> Option<Report> {
    if bytes.get(0x202..0x206) != Some(b"HdrS") {
        return None;
    }
    let protocol = u16_at(bytes, 0x206)?;
    let version_at = usize::from(u16_at(bytes, 0x20e)?) + 0x200;
    let version = bytes
        .get(version_at..)?
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    let version: String = String::from_utf8_lossy(version).chars().take(256).collect();
    let fields = Fields::new()
        .with("version", version)
        .with(
            "boot-protocol",
            format!("{}.{:02}", protocol >> 8, protocol & 0xff),
        )
        .with("efi-stub", bytes.starts_with(b"MZ"))
        .with_some("setup-sectors", u8_at(bytes, 0x1f1).map(u32::from))
        .with_some("command-line-limit", u32_at(bytes, 0x238))
        .with_some("unpacked-size", u32_at(bytes, 0x260))
        .with("size", bytes.len())
        .with("sha256", sha256(bytes))
        .with_some(
            "authenticode-sha256",
            Pe::parse(bytes)
                .ok()
                .map(|pe| pe.authenticode(Bank::Sha256).to_string()),
        );
    Some(Report::new("Linux kernel (bzImage)", fields))
}

/// A PE file: a UKI when it has a kernel in `.linux`.
pub(super) fn pe(bytes: &[u8]) -> Option<Report> {
    if !bytes.starts_with(b"MZ") {
        return None;
    }
    let pe = Pe::parse(bytes).ok()?;
    let sections: Vec<Fields> = pe
        .sections()
        .iter()
        .map(|section| {
            let contents = section.contents().unwrap_or_default();
            Fields::new()
                .with("name", section.name().into_owned())
                .with("size", section.virtual_size())
                .with("sha256", sha256(&contents))
        })
        .collect();
    let text = |name: &str| {
        let contents = pe.section(name)?.contents().ok()?;
        Some(
            String::from_utf8_lossy(&contents)
                .trim_end_matches('\0')
                .to_owned(),
        )
    };
    let is_uki = pe.section(".linux").is_some();
    let mut fields = Fields::new()
        .with("size", bytes.len())
        .with("sha256", sha256(bytes))
        .with(
            "authenticode-sha256",
            pe.authenticode(Bank::Sha256).to_string(),
        )
        .with_some("stub", text(".sdmagic"))
        .with_some("command-line", text(".cmdline"))
        .with("sections", sections);
    if is_uki {
        fields = match predict(bytes, Bank::Sha256) {
            Ok(prediction) => {
                let registers = prediction
                    .pcrs
                    .iter()
                    .fold(Fields::new(), |all, (index, value)| {
                        all.with(&format!("pcr{index}"), value.to_string())
                    });
                fields.with("predicted-sha256-bank", registers)
            }
            Err(error) => fields.with("prediction", error.to_string()),
        };
    }
    Some(Report::new(
        if is_uki {
            "unified kernel image"
        } else {
            "EFI application"
        },
        fields,
    ))
}

/// A disk with a GPT, read where its table says.
pub(super) fn disk(file: &File, length: u64) -> io::Result<Option<Report>> {
    let head = range(file, 0, (gpt::PRIMARY_SECTORS * SECTOR as u64).min(length))?;
    if head.get(SECTOR..SECTOR + 8) != Some(b"EFI PART") {
        return Ok(None);
    }
    let table = match Table::parse(&head) {
        Ok(table) => table,
        Err(error) => {
            let fields = Fields::new()
                .with("size", length)
                .with("damage", error.to_string());
            return Ok(Some(Report::new("disk image (GPT)", fields)));
        }
    };
    let partitions = describe_partitions(file, &table)?;
    let fields = Fields::new()
        .with("size", length)
        .with("disk-guid", table.disk.to_string())
        .with("backup-table", backup(file, length, &table)?)
        .with("partitions", partitions);
    Ok(Some(Report::new("disk image (GPT)", fields)))
}

/// Every partition of `table`, in its order.
pub(super) fn describe_partitions(file: &File, table: &Table) -> io::Result<Vec<Fields>> {
    let described = table.partitions.iter();
    described
        .map(|partition| describe_partition(file, partition))
        .collect()
}

/// What the last sectors of a disk of `length` bytes hold, in words.
pub(super) fn backup(file: &File, length: u64, primary: &Table) -> io::Result<String> {
    let size = gpt::BACKUP_SECTORS * SECTOR as u64;
    let tail = range(file, length.saturating_sub(size), size.min(length))?;
    Ok(match Table::parse_backup(&tail, length / SECTOR as u64) {
        Ok(table) if table == *primary => "equal, in the last sectors".to_owned(),
        Ok(_) => "differs from the primary table".to_owned(),
        Err(error) => error.to_string(),
    })
}

fn describe_partition(file: &File, partition: &gpt::Partition) -> io::Result<Fields> {
    let (first, sectors) = (partition.first, partition.last - partition.first + 1);
    let (at, length) = (first * SECTOR as u64, sectors * SECTOR as u64);
    let fields = Fields::new()
        .with("name", partition.name.as_str())
        .with("type", partition.type_guid.to_string())
        .with("guid", partition.guid.to_string())
        .with("first-sector", first)
        .with("sectors", sectors);
    let head = range(file, at, length.min(4096))?;
    if Superblock::parse(&head).is_ok() {
        return Ok(fields.with_some("erofs", superblock(&head)));
    }
    if partition.type_guid == crate::guid::Guid::TYPE_ESP && length <= ESP_LIMIT {
        let volume = range(file, at, length)?;
        return Ok(fields.with_some("fat", fat_fields(&volume)));
    }
    Ok(fields)
}

/// At most `length` bytes of `file` from `at` on.
pub(super) fn range(file: &File, at: u64, length: u64) -> io::Result<Vec<u8>> {
    let length =
        usize::try_from(length).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut bytes = vec![0; length];
    let mut done = 0;
    while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + done as u64)? {
            0 => break,
            read => done += read,
        }
    }
    bytes.truncate(done);
    Ok(bytes)
}

/// A FAT volume.
pub(super) fn fat_volume(bytes: &[u8]) -> Option<Report> {
    fat_fields(bytes).map(|fields| Report::new("FAT volume", fields))
}

fn fat_fields(bytes: &[u8]) -> Option<Fields> {
    let volume = fat::Reader::open(bytes).ok()?;
    let fields = Fields::new()
        .with("kind", format!("{:?}", volume.kind))
        .with("serial", format!("{:08x}", volume.serial))
        .with("label", volume.label.as_str());
    let listed = match volume.list() {
        Ok(listed) => listed,
        Err(error) => return Some(fields.with("damage", error.to_string())),
    };
    let files: Vec<Fields> = listed
        .iter()
        .take(LISTED)
        .map(|found| {
            let entry = Fields::new().with("path", found.path.as_str());
            match (found.size, volume.read(found)) {
                (None, _) => entry.with("directory", true),
                (Some(size), Ok(content)) => {
                    entry.with("size", size).with("sha256", sha256(&content))
                }
                (Some(size), Err(error)) => {
                    entry.with("size", size).with("damage", error.to_string())
                }
            }
        })
        .collect();
    Some(fields.with("files", files))
}

/// An erofs image.
pub(super) fn erofs(head: &[u8], length: u64) -> Option<Report> {
    superblock(head).map(|fields| Report::new("erofs image", fields.with("size", length)))
}

fn superblock(head: &[u8]) -> Option<Fields> {
    let superblock = Superblock::parse(head).ok()?;
    let names = ["lz4", "lzma", "deflate", "zstd"];
    let used = names
        .iter()
        .enumerate()
        .filter(|(bit, _)| superblock.algorithms >> bit & 1 == 1);
    let used: Vec<&str> = used.map(|(_, name)| *name).collect();
    let fields = Fields::new()
        .with("uuid", superblock.uuid.to_string())
        .with("block-size", superblock.block_size)
        .with("blocks", superblock.blocks)
        .with("inodes", superblock.inodes)
        .with("build-time", superblock.build_time)
        .with("volume-name", superblock.name.as_str())
        .with(
            "features-compatible",
            format!("{:#x}", superblock.compatible),
        )
        .with(
            "features-incompatible",
            format!("{:#x}", superblock.incompatible),
        );
    // The bits mean algorithms only where compression configurations are stored (incompatible bit 1).
    let compressed = superblock.incompatible & 0x2 != 0;
    Some(fields.with_some("compression", compressed.then(|| Value::from(used))))
}

/// A dm-verity hash tree without superblock, recognised by its levels hashing to each other.
pub(super) fn verity(bytes: &[u8]) -> Option<Report> {
    let blocks = bytes.len() / BLOCK;
    if bytes.is_empty() || !bytes.len().is_multiple_of(BLOCK) {
        return None;
    }
    let levels = levels(blocks)?;
    let mut at = 0;
    for pair in levels.windows(2) {
        let [upper, lower] = pair else { return None };
        let above = bytes.get(at * BLOCK..(at + upper) * BLOCK)?;
        let below = bytes.get((at + upper) * BLOCK..(at + upper + lower) * BLOCK)?;
        let digests: Vec<u8> = below.chunks(BLOCK).flat_map(Sha256::digest).collect();
        if above.get(..digests.len())? != digests
            || above.get(digests.len()..)?.iter().any(|byte| *byte != 0)
        {
            return None;
        }
        at += upper;
    }
    let leaves = bytes.get(at * BLOCK..)?;
    let used = leaves.len() - leaves.iter().rev().take_while(|byte| **byte == 0).count();
    let data_blocks = used.div_ceil(32);
    if levels.len() == 1 && data_blocks < 2 {
        return None;
    }
    let fields = Fields::new()
        .with("root-hash", sha256(bytes.get(..BLOCK)?))
        .with("levels", levels.len())
        .with("hash-blocks", blocks)
        .with("data-blocks", data_blocks)
        .with("consistent", levels.len() > 1);
    Some(Report::new(
        "dm-verity hash tree (SHA-256, 4096-byte blocks, no salt, no superblock)",
        fields,
    ))
}

/// Blocks of each level of a tree of `total` blocks, highest first; `None` when no tree has that many.
fn levels(total: usize) -> Option<Vec<usize>> {
    let tree = |leaves: usize| {
        let mut levels = vec![leaves];
        while let Some(last) = levels.last().filter(|last| **last > 1) {
            levels.push(last.div_ceil(128));
        }
        levels
    };
    // The lowest level has all but about one in 128 of the blocks.
    let from = (total * 127 / 128).saturating_sub(8).max(1);
    (from..=total)
        .map(tree)
        .find(|levels| levels.iter().sum::<usize>() == total)
        .map(|mut levels| {
            levels.reverse();
            levels
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verity::HashTree;

    #[test]
    fn verity_trees_of_every_height_are_recognised() {
        for blocks in [2_usize, 128, 129, 128 * 128 + 1] {
            let data: Vec<u8> = (0..blocks)
                .flat_map(|n| [u8::try_from(n % 255).unwrap() + 1; BLOCK])
                .collect();
            let tree = HashTree::of(&*data).unwrap();
            let report = verity(&tree.tree).unwrap();
            assert_eq!(
                report.fields.get("root-hash"),
                Some(&Value::Text(hex::encode(tree.root))),
                "{blocks}"
            );
            assert_eq!(
                report.fields.get("data-blocks"),
                Some(&Value::Number(blocks as u64))
            );
        }
        let tree = HashTree::of(&*vec![3; 129 * BLOCK]).unwrap();
        let mut damaged = tree.tree;
        damaged[BLOCK + 5] ^= 1;
        assert_eq!(verity(&damaged), None);
    }

    #[test]
    fn initrd_and_uki_are_described() {
        let members = std::collections::BTreeMap::from([(
            "init".to_owned(),
            initrd::Member::File {
                mode: 0o755,
                bytes: b"x",
            },
        )]);
        let archive = initrd::archive(&members, 7).unwrap();
        let compressed = initrd::compress(&archive, 3).unwrap();
        let text = initrd_report_text(&compressed);
        assert!(
            text.contains("mode 100755  owner 0:0  mtime 7  size 1  path init"),
            "{text}"
        );
        assert!(initrd(b"not an archive").is_none());

        let stub = crate::uki::tests::small_stub();
        let sections = crate::uki::Sections {
            cmdline: b"quiet",
            initrd: b"i",
            linux: b"k",
        };
        let uki = crate::uki::build(&stub, &sections).unwrap();
        let report = pe(&uki).unwrap();
        assert_eq!(report.kind, "unified kernel image");
        assert_eq!(
            report.fields.get("command-line"),
            Some(&Value::Text("quiet".to_owned()))
        );
        assert_eq!(pe(&stub).unwrap().kind, "EFI application");
    }

    fn initrd_report_text(bytes: &[u8]) -> String {
        initrd(bytes).unwrap().to_text()
    }
}
