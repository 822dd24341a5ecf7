//! `disk.raw`: GPT with an EFI system partition, the root file system and its dm-verity tree.
//!
//! Units: bytes, except where a name says sectors (512 bytes). Every partition starts at a multiple of 1 MiB and fills
//! whole MiB; the disk ends 1 MiB after the last partition, with the backup GPT in its last 33 sectors, so that its
//! size is a multiple of 1 MiB (what Azure's fixed VHD needs). Google takes whole GiB: [`Layout::grown`] is the same disk
//! with room at its end, so that only the two copies of the table differ, and no image grows for a cloud it is not for.
//! Determinism: GUIDs from the recipe's name, no time, no free space that is not zero. The file is written front to
//! back in one pass, hashed on the way, and sparse where it is zero. What is a hole is decided for aligned pieces of the
//! disk, whatever pieces it is written in.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::fat::Volume;
use crate::gpt::{GptError, Partition, SECTOR, Table};
use crate::guid::{Guid, Role};

/// Alignment of partitions and of the disk.
pub(crate) const MIB: u64 = 1 << 20;
/// Aligned pieces that are zero are left out of the file.
pub(crate) const HOLE: u64 = 64 << 10;
/// Bytes read at once.
const READ: usize = 1 << 20;

/// Where everything is on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The partition table.
    pub(crate) table: Table,
}

/// A disk that can be read: its first bytes from memory, and what is behind them from a file, at the same places.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readable<'a> {
    /// The first bytes; empty where the file has them.
    pub(crate) front: &'a [u8],
    /// The rest.
    pub(crate) file: &'a File,
}

/// A disk that was written: what other formats of it are made from.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    /// Bytes.
    pub(crate) size: u64,
    /// State of SHA-256 behind the last byte, so that formats with something behind the disk need no second pass.
    pub(crate) hash: Sha256,
    /// Where there is data: ascending, apart, in multiples of [`HOLE`]. Everything else is zero.
    pub(crate) extents: Vec<Range<u64>>,
}

/// What goes into the partitions.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    /// The EFI system partition.
    pub(crate) esp: &'a Volume<'a>,
    /// The root file system image.
    pub(crate) root: &'a Path,
    /// The dm-verity hash tree.
    pub(crate) verity: &'a [u8],
}

/// Why no disk could be written.
#[derive(Debug, Error)]
pub(crate) enum DiskError {
    /// The partition table cannot be made.
    #[error("partition table could not be made")]
    Table(#[from] GptError),
    /// Reading or writing failed.
    #[error("disk image could not be written")]
    Io(#[from] io::Error),
    /// The root image is not the file that was laid out.
    #[error("root image has {found} bytes, its partition was made for {wanted}")]
    RootChanged {
        /// Bytes that the layout was made for.
        wanted: u64,
        /// Bytes read.
        found: u64,
    },
}

impl Layout {
    /// The layout of a disk of the recipe called `recipe`, for contents of these sizes in bytes.
    pub(crate) fn new(recipe: &str, esp: u64, root: u64, verity: u64) -> Self {
        let specification = [
            (Guid::TYPE_ESP, Role::EspPartition, "esp", esp),
            (Guid::TYPE_ROOT, Role::RootPartition, "root", root),
            (
                Guid::TYPE_ROOT_VERITY,
                Role::VerityPartition,
                "root-verity",
                verity,
            ),
        ];
        let mut at = MIB;
        let partitions = specification.map(|(type_guid, role, name, size)| {
            let first = at;
            at += size.max(1).next_multiple_of(MIB);
            let guid = Guid::derive(recipe, role);
            let (first, last) = (sectors(first), sectors(at) - 1);
            Partition {
                type_guid,
                guid,
                first,
                last,
                attributes: 0,
                name: name.to_owned(),
            }
        });
        let table = Table {
            disk: Guid::derive(recipe, Role::Disk),
            sectors: sectors(at + MIB),
            partitions: partitions.into(),
        };
        Self { table }
    }

    /// Size of the disk in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.table.sectors * SECTOR as u64
    }

    /// The same disk with room at its end, so that its size is a multiple of `unit` bytes, itself one of 1 MiB.
    pub(crate) fn grown(&self, unit: u64) -> Self {
        let mut table = self.table.clone();
        table.sectors = sectors(self.size().next_multiple_of(unit));
        Self { table }
    }

    /// Where the partitions end, in bytes.
    pub(crate) fn end(&self) -> u64 {
        let last = self.table.partitions.iter().map(|last| last.last + 1);
        last.max().unwrap_or(0) * SECTOR as u64
    }

    /// Writes the disk to `file`, which must be empty.
    pub(crate) fn write(&self, file: &File, contents: &Contents<'_>) -> Result<Written, DiskError> {
        let mut out = SparseWriter::new(Some(file));
        out.write_all(&self.table.primary()?)?;
        let starts = self
            .table
            .partitions
            .iter()
            .map(|partition| partition.first * SECTOR as u64);
        for (number, start) in starts.enumerate() {
            out.zeros_to(start)?;
            match number {
                0 => contents.esp.write(&mut out)?,
                1 => copy_root(contents.root, &mut out)?,
                _ => out.write_all(contents.verity)?,
            }
        }
        let backup = self.table.backup()?;
        out.zeros_to(self.size() - backup.len() as u64)?;
        out.write_all(&backup)?;
        file.set_len(self.size())?;
        Ok(out.finish())
    }

    /// The first bytes of the disk, up to the root file system.
    pub(crate) fn front(&self, esp: &Volume<'_>) -> Result<Vec<u8>, DiskError> {
        let start = |number: usize| {
            let partition = self.table.partitions.get(number);
            let bytes = partition.map_or(0, |partition| partition.first * SECTOR as u64);
            usize::try_from(bytes).unwrap_or_default()
        };
        let mut front = self.table.primary()?;
        front.resize(start(0), 0);
        esp.write(&mut front)?;
        front.resize(start(1), 0);
        Ok(front)
    }
}

impl<'a> Readable<'a> {
    /// A disk that `file` has all of.
    #[cfg(test)]
    pub(crate) fn whole(file: &'a File) -> Self {
        Self { front: &[], file }
    }

    /// Fills `buffer` with what is at `at` bytes and behind.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let here = usize::try_from(at).ok().and_then(|at| self.front.get(at..));
        let here = here.unwrap_or_default();
        let count = here.len().min(buffer.len());
        let (first, rest) = buffer.split_at_mut(count);
        first.copy_from_slice(here.get(..count).unwrap_or_default());
        self.file.read_exact_at(rest, at + count as u64)
    }

    /// Reads all `size` bytes once: their hash, and where there is data.
    pub(crate) fn examine(&self, size: u64) -> io::Result<Written> {
        let mut out = SparseWriter::new(None);
        let mut buffer = vec![0; READ];
        while out.at < size {
            let count = usize::try_from(size - out.at).map_or(READ, |left| left.min(READ));
            let piece = buffer.get_mut(..count).unwrap_or_default();
            self.read_exact_at(piece, out.at)?;
            out.write_all(piece)?;
        }
        Ok(out.finish())
    }
}

impl Written {
    /// SHA-256 of the disk.
    pub(crate) fn sha256(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
}

fn sectors(bytes: u64) -> u64 {
    bytes / SECTOR as u64
}

fn copy_root(path: &Path, out: &mut SparseWriter<'_>) -> Result<(), DiskError> {
    let mut root = File::open(path)?;
    let wanted = root.metadata()?.len();
    let mut buffer = vec![0; READ];
    let mut found = 0;
    loop {
        let read = root.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        found += read as u64;
        out.write_all(buffer.get(..read).unwrap_or_default())?;
    }
    if found == wanted {
        Ok(())
    } else {
        Err(DiskError::RootChanged { wanted, found })
    }
}

/// Writes front to back, hashes everything and leaves holes where everything is zero; without a file it only hashes.
struct SparseWriter<'a> {
    file: Option<&'a File>,
    at: u64,
    hash: Sha256,
    extents: Vec<Range<u64>>,
}

impl<'a> SparseWriter<'a> {
    fn new(file: Option<&'a File>) -> Self {
        Self {
            file,
            at: 0,
            hash: Sha256::new(),
            extents: Vec::new(),
        }
    }

    fn finish(self) -> Written {
        Written {
            size: self.at,
            hash: self.hash,
            extents: self.extents,
        }
    }

    fn zeros_to(&mut self, end: u64) -> io::Result<()> {
        io::copy(&mut io::repeat(0).take(end.saturating_sub(self.at)), self).map(|_| ())
    }

    /// Writes `piece`, which lies within one aligned piece of the disk.
    fn piece(&mut self, piece: &[u8]) -> io::Result<()> {
        if piece.iter().any(|byte| *byte != 0) {
            if let Some(file) = self.file {
                file.write_all_at(piece, self.at)?;
            }
            let start = self.at - self.at % HOLE;
            let end = start + HOLE;
            match self.extents.last_mut() {
                Some(last) if last.end >= start => last.end = end,
                _ => self.extents.push(start..end),
            }
        }
        self.at += piece.len() as u64;
        Ok(())
    }
}

impl Write for SparseWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = usize::try_from(HOLE - self.at % HOLE).unwrap_or(usize::MAX);
            let (piece, behind) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            self.piece(piece)?;
            rest = behind;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt as _;
    use std::process::Command;

    use super::*;

    pub(crate) fn write(dir: &Path) -> (Layout, std::path::PathBuf, Written) {
        let root = dir.join("root");
        std::fs::write(&root, vec![5; 3 << 20 | 4096]).unwrap();
        let kernel = vec![6; 70_000];
        let files = BTreeMap::from([("EFI/BOOT/BOOTX64.EFI", kernel.as_slice())]);
        let esp = Volume::new(&files, 64 * MIB, 1).unwrap();
        let layout = Layout::new("demo", 64 * MIB, 3 << 20 | 4096, 8192);
        let path = dir.join("disk.raw");
        let file = File::create_new(&path).unwrap();
        let written = layout
            .write(
                &file,
                &Contents {
                    esp: &esp,
                    root: &root,
                    verity: &[8; 8192],
                },
            )
            .unwrap();
        (layout, path, written)
    }

    #[test]
    fn disk_holds_all_partitions_and_is_sparse() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, path, written) = write(dir.path());
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, layout.size());
        assert_eq!(layout.size(), (1 + 64 + 4 + 1 + 1) * MIB);
        assert_eq!(<[u8; 32]>::from(Sha256::digest(&bytes)), written.sha256());
        assert_eq!(Table::parse(&bytes).unwrap(), layout.table);
        let tail = &bytes[bytes.len() - 33 * SECTOR..];
        assert_eq!(
            Table::parse_backup(tail, layout.table.sectors).unwrap(),
            layout.table
        );
        assert!(bytes[65 << 20..][..3 << 20 | 4096].iter().all(|b| *b == 5));
        assert!(bytes[69 << 20..][..8192].iter().all(|b| *b == 8));
        let esp = crate::fat::Reader::open(&bytes[1 << 20..65 << 20]).unwrap();
        let listed = esp.list().unwrap();
        assert_eq!(listed[2].path, "EFI/BOOT/BOOTX64.EFI");
        assert!(esp.read(&listed[2]).unwrap() == vec![6; 70_000]);
        assert!(
            std::fs::metadata(&path).unwrap().blocks() * 512 < 8 << 20,
            "not sparse"
        );
    }

    #[test]
    fn disk_bytes_are_golden() {
        // Origin: this writer; structure checked by sgdisk, sfdisk, fsck.vfat and the gpt and fatfs crates.
        let dir = tempfile::tempdir().unwrap();
        let (_, _, written) = write(dir.path());
        assert_eq!(
            hex::encode(written.sha256()),
            "5a7779194cd98a02d96baba01cbdb31c4825a37f738f8c972a4fc41ec0183163"
        );
    }

    #[test]
    fn extents_cover_exactly_the_pieces_with_data() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, path, written) = write(dir.path());
        let bytes = std::fs::read(&path).unwrap();
        let hole = usize::try_from(HOLE).unwrap();
        let mut covered = vec![false; bytes.len() / hole];
        for extent in &written.extents {
            assert!(extent.start % HOLE == 0 && extent.end % HOLE == 0);
            let pieces = extent.start / HOLE..extent.end / HOLE;
            pieces.for_each(|piece| covered[usize::try_from(piece).unwrap()] = true);
        }
        for (piece, covered) in bytes.chunks(hole).zip(covered) {
            assert_eq!(piece.iter().any(|byte| *byte != 0), covered);
        }
        let apart = |pair: &[Range<u64>]| pair[0].end < pair[1].start;
        assert!(written.extents.windows(2).all(apart));
        assert_eq!(written.size, layout.size());
    }

    #[test]
    fn holes_do_not_depend_on_the_pieces_that_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = vec![0; 5 << 16];
        bytes[(1 << 16) + 70] = 1;
        bytes[(3 << 16) - 1] = 1;
        bytes[4 << 16] = 1;
        for size in [1 << 20, 1 << 16, 4096, 777] {
            let path = dir.path().join(size.to_string());
            let file = File::create_new(&path).unwrap();
            let mut out = SparseWriter::new(Some(&file));
            bytes
                .chunks(size)
                .for_each(|piece| out.write_all(piece).unwrap());
            assert_eq!(out.extents, [1 << 16..3 << 16, 4 << 16..5 << 16], "{size}");
        }
    }

    #[test]
    fn disk_with_another_front_reads_as_if_it_had_been_written() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, path, _) = write(dir.path());
        let kernel = vec![7; 80_000];
        let files = BTreeMap::from([("EFI/BOOT/BOOTX64.EFI", kernel.as_slice())]);
        let esp = Volume::new(&files, 64 * MIB, 1).unwrap();
        let front = layout.front(&esp).unwrap();
        assert_eq!(front.len(), 65 << 20);
        let root = dir.path().join("root");
        let (other, new) = (dir.path().join("other"), File::open(&path).unwrap());
        let contents = Contents {
            esp: &esp,
            root: &root,
            verity: &[8; 8192],
        };
        let wanted = layout
            .write(&File::create_new(&other).unwrap(), &contents)
            .unwrap();
        let disk = Readable {
            front: &front,
            file: &new,
        };
        let found = disk.examine(layout.size()).unwrap();
        assert_eq!(found.sha256(), wanted.sha256());
        assert_eq!((found.size, found.extents), (wanted.size, wanted.extents));
        let bytes = std::fs::read(&other).unwrap();
        for (at, length) in [
            (0, 9),
            (65 << 20, 4096),
            ((65 << 20) - 5, 10),
            (70 << 20, 1),
        ] {
            let mut piece = vec![0; length];
            disk.read_exact_at(&mut piece, at as u64).unwrap();
            assert_eq!(piece, bytes[at..at + length], "{at}");
        }
        let end = layout.size();
        assert!(disk.read_exact_at(&mut [0; 2], end - 1).is_err());
    }

    #[test]
    fn grown_disk_differs_in_its_tables_only() {
        let layout = Layout::new("demo", 64 * MIB, 3 << 20, 8192);
        let grown = layout.grown(1 << 30);
        assert_eq!(grown.size(), 1 << 30);
        assert_eq!(grown.table.partitions, layout.table.partitions);
        assert_eq!((grown.end(), layout.end()), (69 * MIB, 69 * MIB));
        assert_eq!(grown.grown(1 << 30), grown);
        let tail = grown.table.backup().unwrap();
        let read = Table::parse_backup(&tail, grown.table.sectors).unwrap();
        assert_eq!(read, grown.table);
    }

    #[test]
    fn partitioning_tools_find_no_problem() {
        let dir = tempfile::tempdir().unwrap();
        let (_, path, _) = write(dir.path());
        for (program, args, wanted) in [
            ("sgdisk", ["-v"].as_slice(), "No problems found"),
            ("sfdisk", &["--verify"], "No errors detected"),
        ] {
            let Ok(output) = Command::new(program).args(args).arg(&path).output() else {
                println!("skipped: {program} is not installed");
                continue;
            };
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.status.success() && text.contains(wanted),
                "{program}: {text}"
            );
        }
    }
}
