//! The parts of a disk that decide whether it boots, read front to back so that an archive can be read too.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;

use crate::fat;
use crate::gpt::{BACKUP_SECTORS, GptError, PRIMARY_SECTORS, SECTOR, Table};
use crate::guid::Guid;
use crate::uki::BOOT_PATH;

/// Bytes of an EFI system partition that are read.
const ESP_LIMIT: u64 = 1 << 30;

/// The parts of a disk.
#[derive(Debug)]
pub(super) struct DiskView {
    /// Bytes of the disk.
    pub(super) size: u64,
    /// The table at its front.
    pub(super) table: Result<Table, GptError>,
    /// The table in its last sectors.
    pub(super) backup: Result<Table, GptError>,
    /// The file that firmware starts, or why there is none.
    pub(super) boot: Result<Vec<u8>, String>,
}

impl DiskView {
    /// A disk in the first `size` bytes of `file`.
    pub(super) fn of_file(file: &File, size: u64) -> io::Result<Self> {
        Self::read(size, |at, length| {
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            file.read_exact_at(&mut bytes, at)?;
            Ok(bytes)
        })
    }

    /// A disk of `size` bytes that can be read once.
    pub(super) fn of_stream(stream: &mut dyn Read, size: u64) -> io::Result<Self> {
        let mut position = 0;
        Self::read(size, |at, length| {
            let skipped = at.checked_sub(position).ok_or(io::ErrorKind::Unsupported)?;
            io::copy(&mut stream.take(skipped), &mut io::sink())?;
            let mut bytes = Vec::new();
            stream.take(length).read_to_end(&mut bytes)?;
            position = at + length;
            if bytes.len() as u64 == length {
                return Ok(bytes);
            }
            Err(io::ErrorKind::UnexpectedEof.into())
        })
    }

    /// Reads with `read`, which is given ascending places and lengths.
    fn read(size: u64, mut read: impl FnMut(u64, u64) -> io::Result<Vec<u8>>) -> io::Result<Self> {
        let sectors = size / SECTOR as u64;
        let head = PRIMARY_SECTORS * SECTOR as u64;
        let tail = BACKUP_SECTORS * SECTOR as u64;
        if size < head + tail {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let table = Table::parse(&read(0, head)?);
        let boot = match table.as_ref().ok().and_then(|table| esp(table, size)) {
            Some((at, length)) => boot_file(&read(at, length)?),
            None => Err("no EFI system partition".to_owned()),
        };
        let backup = Table::parse_backup(&read(sectors * SECTOR as u64 - tail, tail)?, sectors);
        Ok(Self {
            size,
            table,
            backup,
            boot,
        })
    }
}

/// Place and length of the EFI system partition, if it lies on the disk and is not too large to be read.
fn esp(table: &Table, size: u64) -> Option<(u64, u64)> {
    let mut all = table.partitions.iter();
    let esp = all.find(|partition| partition.type_guid == Guid::TYPE_ESP)?;
    let at = esp.first.checked_mul(SECTOR as u64)?;
    let end = esp.last.checked_add(1)?.checked_mul(SECTOR as u64)?;
    let length = end.checked_sub(at)?;
    let tail = BACKUP_SECTORS * SECTOR as u64;
    (length <= ESP_LIMIT && end <= size - tail).then_some((at, length))
}

fn boot_file(esp: &[u8]) -> Result<Vec<u8>, String> {
    let volume = fat::Reader::open(esp).map_err(|error| error.to_string())?;
    let listed = volume.list().map_err(|error| error.to_string())?;
    let mut files = listed.iter().filter(|file| file.size.is_some());
    let boot = files.find(|file| file.path.eq_ignore_ascii_case(BOOT_PATH));
    let boot = boot.ok_or_else(|| format!("no `{BOOT_PATH}`"))?;
    volume.read(boot).map_err(|error| error.to_string())
}
