//! `disk.raw`: GPT with an EFI system partition, the root file system and its dm-verity tree.
//!
//! Units: bytes, except where a name says sectors (512 bytes). Every partition starts at a multiple of 1 MiB and fills
//! whole MiB; the disk ends 1 MiB after the last partition, with the backup GPT in its last 33 sectors, so that its
//! size is a multiple of 1 MiB (what Azure's fixed VHD needs).
//! Determinism: GUIDs from the recipe's name, no time, no free space that is not zero. The file is written front to
//! back in one pass, hashed on the way, and sparse where it is zero.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::fat::Volume;
use crate::gpt::{GptError, Partition, SECTOR, Table};
use crate::guid::{Guid, Role};

/// Alignment of partitions and of the disk.
pub(crate) const MIB: u64 = 1 << 20;
/// Pieces that are zero are left out of the file.
const HOLE: usize = 64 << 10;

/// Where everything is on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The partition table.
    pub(crate) table: Table,
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

    /// Writes the disk to `file`, which must be empty, and returns its SHA-256.
    pub(crate) fn write(
        &self,
        file: &File,
        contents: &Contents<'_>,
    ) -> Result<[u8; 32], DiskError> {
        let mut out = SparseWriter {
            file,
            at: 0,
            hash: Sha256::new(),
        };
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
        Ok(out.hash.finalize().into())
    }
}

fn sectors(bytes: u64) -> u64 {
    bytes / SECTOR as u64
}

fn copy_root(path: &Path, out: &mut SparseWriter<'_>) -> Result<(), DiskError> {
    let mut root = File::open(path)?;
    let wanted = root.metadata()?.len();
    let mut buffer = vec![0; 16 * HOLE];
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

/// Writes front to back, hashes everything and leaves holes where everything is zero.
struct SparseWriter<'a> {
    file: &'a File,
    at: u64,
    hash: Sha256,
}

impl SparseWriter<'_> {
    fn zeros_to(&mut self, end: u64) -> io::Result<()> {
        io::copy(&mut io::repeat(0).take(end.saturating_sub(self.at)), self).map(|_| ())
    }
}

impl Write for SparseWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        for piece in bytes.chunks(HOLE) {
            if piece.iter().any(|byte| *byte != 0) {
                self.file.write_all_at(piece, self.at)?;
            }
            self.at += piece.len() as u64;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::MetadataExt as _;
    use std::process::Command;

    use super::*;

    fn write(dir: &Path) -> (Layout, std::path::PathBuf, [u8; 32]) {
        let root = dir.join("root");
        std::fs::write(&root, vec![5; 3 << 20 | 4096]).unwrap();
        let kernel = vec![6; 70_000];
        let files = BTreeMap::from([("EFI/BOOT/BOOTX64.EFI", kernel.as_slice())]);
        let esp = Volume::new(&files, 64 * MIB, 1).unwrap();
        let layout = Layout::new("demo", 64 * MIB, 3 << 20 | 4096, 8192);
        let path = dir.join("disk.raw");
        let file = File::create_new(&path).unwrap();
        let hash = layout
            .write(
                &file,
                &Contents {
                    esp: &esp,
                    root: &root,
                    verity: &[8; 8192],
                },
            )
            .unwrap();
        (layout, path, hash)
    }

    #[test]
    fn disk_holds_all_partitions_and_is_sparse() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, path, hash) = write(dir.path());
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, layout.size());
        assert_eq!(layout.size(), (1 + 64 + 4 + 1 + 1) * MIB);
        assert_eq!(<[u8; 32]>::from(Sha256::digest(&bytes)), hash);
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
        let (_, _, hash) = write(dir.path());
        assert_eq!(
            hex::encode(hash),
            "5a7779194cd98a02d96baba01cbdb31c4825a37f738f8c972a4fc41ec0183163"
        );
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
