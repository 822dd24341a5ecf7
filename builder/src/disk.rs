//! `disk.raw`: GPT with an EFI system partition, the root file system and its dm-verity tree.
//!
//! Units: bytes, except where a name says sectors (512 bytes). Every partition starts at a multiple of 1 MiB and fills
//! whole MiB; the disk ends 1 MiB after the last partition, with the backup GPT in its last 33 sectors, so that its
//! size is a multiple of 1 MiB (what Azure's fixed VHD needs). Google takes whole GiB: [`Layout::grown`] is the same disk
//! with room at its end, so that only the two copies of the table differ, and no image grows for a cloud it is not for.
//! Determinism: GUIDs from the recipe's name, no time, no free space that is not zero. The file is sparse where it is zero:
//! what is a hole is decided for aligned pieces of the disk. Where the root has data is known from its hash tree, so that
//! nothing is read to find out.
//!
//! The root is not laid onto the disk: it is written there, and never anywhere else ([`root_start`]). Everything else is put
//! around it ([`Layout::write_around`]); the one pass over the whole disk behind that hashes it and copies it
//! ([`Readable::hash`]).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::fat::Volume;
use crate::gpt::{GptError, Partition, SECTOR, Table};
use crate::guid::{Guid, Role};
use crate::verity::{self, HashTree};

/// Alignment of partitions and of the disk.
pub(crate) const MIB: u64 = 1 << 20;
/// Aligned pieces that are zero are left out of the file.
pub(crate) const HOLE: u64 = 64 << 10;
/// Bytes read at once.
const READ: usize = 1 << 20;
/// Numbers of the partitions.
const ESP: usize = 0;
const ROOT: usize = 1;
pub(crate) const VERITY: usize = 2;

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

/// Where a disk has data: ascending, apart, in multiples of [`HOLE`]. Everything else is zero.
pub(crate) type Extents = Vec<Range<u64>>;

/// A second file that becomes equal to a disk while that is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copy<'a> {
    /// Where the disk has data.
    pub(crate) extents: &'a [Range<u64>],
    /// The file, which must be empty.
    pub(crate) out: &'a File,
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
}

/// Where the root begins on a disk with an EFI system partition of `esp` bytes.
pub(crate) const fn root_start(esp: u64) -> u64 {
    MIB + whole(esp)
}

/// Bytes of a partition with `size` bytes of contents.
const fn whole(size: u64) -> u64 {
    if size == 0 {
        MIB
    } else {
        size.next_multiple_of(MIB)
    }
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
            at += whole(size);
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

    /// Where the partition `number` begins, in bytes.
    pub(crate) fn start(&self, number: usize) -> u64 {
        let partition = self.table.partitions.get(number);
        partition.map_or(0, |partition| partition.first * SECTOR as u64)
    }

    /// Writes everything but the root to `file`, which has that in its place and ends with it: `front` before it, the hash
    /// tree `verity` and the second table behind it.
    pub(crate) fn write_around(
        &self,
        file: &File,
        front: &[u8],
        verity: &[u8],
    ) -> Result<(), DiskError> {
        replace(file, front)?;
        file.write_all_at(verity, self.start(VERITY))?;
        file.set_len(self.size())?;
        let backup = self.table.backup()?;
        Ok(file.write_all_at(&backup, self.size() - backup.len() as u64)?)
    }

    /// Where the disk has data when `front` and the root of `verity` are on it.
    pub(crate) fn extents(&self, front: &[u8], verity: &HashTree) -> Result<Extents, DiskError> {
        let mut found = Extents::new();
        let piece = usize::try_from(HOLE).unwrap_or(usize::MAX);
        let has_data = |piece: &[u8]| piece.iter().any(|byte| *byte != 0);
        let backup = self.table.backup()?;
        let mut end = vec![0; piece.saturating_sub(backup.len())];
        end.extend(backup);
        add(&mut found, 0, front.chunks(piece).map(has_data));
        let root = verity.has_data(piece / verity::BLOCK);
        add(&mut found, self.start(ROOT), root);
        let tree = verity.tree.chunks(piece).map(has_data);
        add(&mut found, self.start(VERITY), tree);
        add(&mut found, self.size() - HOLE, [has_data(&end)]);
        Ok(found)
    }

    /// The first bytes of the disk, up to the root file system.
    pub(crate) fn front(&self, esp: &Volume<'_>) -> Result<Vec<u8>, DiskError> {
        let start = |number| usize::try_from(self.start(number)).unwrap_or_default();
        let mut front = self.table.primary()?;
        front.resize(start(ESP), 0);
        esp.write(&mut front)?;
        front.resize(start(ROOT), 0);
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

    /// Reads all `size` bytes once: the state of SHA-256 behind the last of them, so that forms with something behind the disk
    /// need no second pass. Makes `copy` on the way.
    pub(crate) fn hash(&self, size: u64, copy: Option<Copy<'_>>) -> io::Result<Sha256> {
        let mut hash = Sha256::new();
        let mut buffer = vec![0; READ];
        let mut at = 0;
        while at < size {
            let count = usize::try_from(size - at).map_or(READ, |left| left.min(READ));
            let piece = buffer.get_mut(..count).unwrap_or_default();
            self.read_exact_at(piece, at)?;
            hash.update(&piece);
            if let Some(copy) = copy {
                copy.write(piece, at)?;
            }
            at += count as u64;
        }
        if let Some(copy) = copy {
            copy.out.set_len(size)?;
        }
        Ok(hash)
    }
}

impl Copy<'_> {
    /// Writes what of `bytes`, which stand at `at`, lies within data.
    fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let end = at + bytes.len() as u64;
        let first = self.extents.partition_point(|extent| extent.end <= at);
        let extents = self.extents.get(first..).unwrap_or_default();
        for extent in extents.iter().take_while(|extent| extent.start < end) {
            let (from, to) = (extent.start.max(at), extent.end.min(end));
            let place = |place: u64| usize::try_from(place - at).unwrap_or(usize::MAX);
            let data = bytes.get(place(from)..place(to)).unwrap_or_default();
            self.out.write_all_at(data, from)?;
        }
        Ok(())
    }
}

fn sectors(bytes: u64) -> u64 {
    bytes / SECTOR as u64
}

/// Adds those of the `pieces` of [`HOLE`] bytes from `at` on that have data.
fn add(extents: &mut Extents, mut at: u64, pieces: impl IntoIterator<Item = bool>) {
    for has_data in pieces {
        let end = at + HOLE;
        match extents.last_mut() {
            _ if !has_data => {}
            Some(last) if last.end >= at => last.end = end,
            _ => extents.push(at..end),
        }
        at = end;
    }
}

/// Makes `front` the first bytes of `file`; pieces that are equal, as holes are to zeros, are not written.
pub(crate) fn replace(file: &File, front: &[u8]) -> io::Result<()> {
    let piece = usize::try_from(HOLE).unwrap_or(usize::MAX);
    let mut held = vec![0; piece];
    let mut at = 0;
    for piece in front.chunks(piece) {
        let there = held.get_mut(..piece.len()).unwrap_or_default();
        file.read_exact_at(there, at)?;
        if there != piece {
            file.write_all_at(piece, at)?;
        }
        at += piece.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;
    use std::process::Command;

    use super::*;

    /// A disk that was written.
    pub(crate) struct Written {
        pub(crate) size: u64,
        pub(crate) hash: Sha256,
        pub(crate) extents: Extents,
    }

    impl Written {
        pub(crate) fn sha256(&self) -> [u8; 32] {
            self.hash.clone().finalize().into()
        }
    }

    /// Writes a disk with these contents to `path`.
    pub(crate) fn lay_out(
        path: &Path,
        files: &BTreeMap<&str, &[u8]>,
        root: &[u8],
    ) -> (Layout, Written) {
        let esp = Volume::new(files, 64 * MIB, 1).unwrap();
        let file = File::create_new(path).unwrap();
        file.write_all_at(root, root_start(64 * MIB)).unwrap();
        let verity = HashTree::of(root).unwrap();
        let layout = Layout::new(
            "demo",
            64 * MIB,
            root.len() as u64,
            verity.tree.len() as u64,
        );
        let front = layout.front(&esp).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        layout.write_around(&file, &front, &verity.tree).unwrap();
        let size = layout.size();
        let written = Written {
            size,
            hash: Readable::whole(&file).hash(size, None).unwrap(),
            extents: layout.extents(&front, &verity).unwrap(),
        };
        (layout, written)
    }

    static KERNEL: [u8; 70_000] = [6; 70_000];

    /// A root with a hole of its own, which ends within a piece.
    fn root() -> Vec<u8> {
        let mut root = vec![5; 3 << 20 | 4096];
        root[1 << 20..][..200 << 10].fill(0);
        root
    }

    pub(crate) fn write(dir: &Path) -> (Layout, std::path::PathBuf, Written) {
        let files = BTreeMap::from([("EFI/BOOT/BOOTX64.EFI", KERNEL.as_slice())]);
        let path = dir.join("disk.raw");
        let (layout, written) = lay_out(&path, &files, &root());
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
        let root = root();
        assert!(bytes[65 << 20..][..root.len()] == root);
        let tree = HashTree::of(root.as_slice()).unwrap().tree;
        assert!(bytes[69 << 20..][..tree.len()] == tree);
        let esp = crate::fat::Reader::open(&bytes[1 << 20..65 << 20]).unwrap();
        let listed = esp.list().unwrap();
        assert_eq!(listed[2].path, "EFI/BOOT/BOOTX64.EFI");
        assert!(esp.read(&listed[2]).unwrap() == KERNEL);
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
            "801ef4e8838643a24d102a1aa1b32ac7291cd18df12a1e1f8fa0981fab4ad3ca"
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
    fn copy_is_equal_and_as_sparse() {
        let dir = tempfile::tempdir().unwrap();
        let (_, path, written) = write(dir.path());
        let disk = File::open(&path).unwrap();
        let other = dir.path().join("other");
        let copy = Copy {
            extents: &written.extents,
            out: &File::create_new(&other).unwrap(),
        };
        let hash = Readable::whole(&disk).hash(written.size, Some(copy));
        assert_eq!(<[u8; 32]>::from(hash.unwrap().finalize()), written.sha256());
        assert!(std::fs::read(&other).unwrap() == std::fs::read(&path).unwrap());
        let blocks = |path| std::fs::metadata(path).unwrap().blocks();
        assert!(blocks(&other) <= blocks(&path) && blocks(&path) * 512 < 8 << 20);
    }

    /// Pieces of a copy begin and end before, in and behind data.
    #[test]
    fn copy_takes_data_from_pieces_of_any_place() {
        let mut bytes = vec![0; 5 << 16];
        bytes[(1 << 16) + 70] = 1;
        bytes[(3 << 16) - 1] = 1;
        bytes[4 << 16] = 1;
        let extents = [1 << 16..3 << 16, 4 << 16..5 << 16];
        for size in [1 << 20, 1 << 16, 4096, 777] {
            let out = tempfile::tempfile().unwrap();
            let copy = Copy {
                extents: &extents,
                out: &out,
            };
            for (number, piece) in bytes.chunks(size).enumerate() {
                copy.write(piece, (number * size) as u64).unwrap();
            }
            let mut found = vec![9; bytes.len()];
            out.read_exact_at(&mut found, 0).unwrap();
            assert!(found == bytes, "{size}");
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
        let other = dir.path().join("other");
        let (_, wanted) = lay_out(&other, &files, &root());
        let file = File::open(&path).unwrap();
        let disk = Readable {
            front: &front,
            file: &file,
        };
        let hash = disk.hash(layout.size(), None).unwrap();
        assert_eq!(<[u8; 32]>::from(hash.finalize()), wanted.sha256());
        let verity = HashTree::of(root().as_slice()).unwrap();
        assert_eq!(layout.extents(&front, &verity).unwrap(), wanted.extents);
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

    /// What a tool left there is overwritten, also where the disk has zeros.
    #[test]
    fn front_replaces_whatever_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![3; 1 << 20]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let mut front = vec![0; 700_000];
        front[100_000] = 1;
        replace(&file, &front).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes[..front.len()] == front);
        assert!(bytes[front.len()..].iter().all(|byte| *byte == 3));
        assert!(replace(&file, &vec![0; 2 << 20]).is_err(), "a longer front");
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
