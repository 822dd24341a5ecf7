//! Alters copies of built disk images.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::images::Image;
use crate::program::scratch;

const SECTOR: u64 = 512;
/// Header and entries of the backup partition table, in sectors from the end.
const ENTRY_SIZE: usize = 128;

/// A copy of an image's disk.
#[derive(Debug)]
pub(crate) struct Disk {
    /// Folder that holds `disk.raw`.
    pub(crate) out: PathBuf,
    file: fs::File,
}

/// A partition, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partition {
    pub(crate) start: u64,
    pub(crate) size: u64,
    /// Index in the table.
    index: u64,
}

impl Disk {
    /// Copies the disk of `image` into a folder called `name`.
    pub(crate) fn copy(image: &Image, name: &str) -> Disk {
        let out = scratch().join("altered").join(name);
        fs::create_dir_all(&out).expect("folder");
        let path = out.join("disk.raw");
        fs::copy(image.out.join("disk.raw"), &path).expect("copy of the disk");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .expect("disk");
        Disk { out, file }
    }

    /// The partitions in the order of the table: EFI system partition, root, hash tree.
    pub(crate) fn partitions(&self) -> Vec<Partition> {
        let mut entries = vec![0; ENTRY_SIZE * 128];
        self.file
            .read_exact_at(&mut entries, 2 * SECTOR)
            .expect("partition entries");
        let number = |entry: &[u8], at: usize| {
            u64::from_le_bytes(entry[at..at + 8].try_into().expect("8 bytes"))
        };
        entries
            .chunks(ENTRY_SIZE)
            .zip(0..)
            .filter(|(entry, _)| entry[..16] != [0; 16])
            .map(|(entry, index)| {
                let (first, last) = (number(entry, 32), number(entry, 40));
                Partition {
                    start: first * SECTOR,
                    size: (last + 1 - first) * SECTOR,
                    index,
                }
            })
            .collect()
    }

    /// Flips every bit of the byte at `offset`.
    pub(crate) fn flip(&self, offset: u64) {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, offset).expect("byte");
        self.file.write_all_at(&[!byte[0]], offset).expect("byte");
    }

    /// Takes a partition out of both tables, and sets their checksums right.
    pub(crate) fn remove(&self, partition: Partition) {
        let size = self.file.metadata().expect("disk").len();
        for (header, entries) in [(SECTOR, 2 * SECTOR), (size - SECTOR, size - 33 * SECTOR)] {
            let at = entries + partition.index * ENTRY_SIZE as u64;
            self.file.write_all_at(&[0; ENTRY_SIZE], at).expect("entry");
            let mut table = vec![0; ENTRY_SIZE * 128];
            self.file
                .read_exact_at(&mut table, entries)
                .expect("entries");
            let mut head = [0; 92];
            self.file.read_exact_at(&mut head, header).expect("header");
            assert_eq!(&head[..8], b"EFI PART");
            head[88..92].copy_from_slice(&crc32(&table).to_le_bytes());
            head[16..20].fill(0);
            let sum = crc32(&head);
            head[16..20].copy_from_slice(&sum.to_le_bytes());
            self.file.write_all_at(&head, header).expect("header");
        }
    }

    /// The UKI's place on the disk: its offset and its bytes.
    pub(crate) fn uki(&self, image: &Image) -> (u64, Vec<u8>) {
        let uki = fs::read(image.out.join("uki.efi")).expect("uki");
        let esp = self.partitions()[0];
        let mut bytes = vec![0; usize::try_from(esp.size).expect("size")];
        self.file
            .read_exact_at(&mut bytes, esp.start)
            .expect("EFI system partition");
        let at = (0..bytes.len() - uki.len())
            .step_by(512)
            .find(|at| bytes[*at..].starts_with(&uki))
            .expect("the UKI lies in one piece on the disk");
        (esp.start + at as u64, uki)
    }

    /// Writes bytes.
    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, offset).expect("bytes");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        remove(&self.out);
    }
}

fn remove(folder: &Path) {
    fs::remove_dir_all(folder).ok();
}

/// Adds words to the command line inside a UKI, in the padding of its section.
pub(crate) fn with_words(uki: &[u8], words: &str) -> Vec<u8> {
    let mut uki = uki.to_vec();
    let header = uki
        .windows(8)
        .position(|window| window == b".cmdline")
        .expect("a section .cmdline");
    let field = |uki: &[u8], at: usize| {
        let bytes = uki[header + at..header + at + 4]
            .try_into()
            .expect("4 bytes");
        usize::try_from(u32::from_le_bytes(bytes)).expect("usize")
    };
    let (length, room, start) = (field(&uki, 8), field(&uki, 16), field(&uki, 20));
    let text = uki[start..start + length].to_vec();
    let end = text.iter().rposition(|byte| *byte != 0).expect("words") + 1;
    let altered = [&text[..end], b" ", words.as_bytes(), &text[end..]].concat();
    assert!(altered.len() <= room, "the section has no room");
    uki[start..start + altered.len()].copy_from_slice(&altered);
    let length = u32::try_from(altered.len()).expect("u32");
    uki[header + 8..header + 12].copy_from_slice(&length.to_le_bytes());
    uki
}

/// Another time stamp in a PE file's header: another file for the firmware, the same sections.
pub(crate) fn with_time_stamp(uki: &[u8], stamp: u32) -> Vec<u8> {
    let mut uki = uki.to_vec();
    let pe = u32::from_le_bytes(uki[0x3c..0x40].try_into().expect("4 bytes"));
    let at = usize::try_from(pe).expect("usize") + 8;
    uki[at..at + 4].copy_from_slice(&stamp.to_le_bytes());
    uki
}

/// CRC-32 as the partition table uses it (UEFI 2.10, section 5.3).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| {
        if crc & 1 == 1 {
            (crc >> 1) ^ 0xedb8_8320
        } else {
            crc >> 1
        }
    };
    let add = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    !bytes.iter().fold(!0, add)
}

#[test]
fn crc32_gives_the_check_value() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}
