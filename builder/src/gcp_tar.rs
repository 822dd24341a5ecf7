//! `disk.tar.gz`: the disk as Google Compute Engine imports it, one sparse file called `disk.raw` in a compressed archive.
//!
//! Spec: GNU tar manual, "Basic Tar Format" and "Storing Sparse Files" (old GNU format: member of type `S`, the map of its
//! data in the header and in blocks behind it); RFC 1952 (gzip), RFC 1951 (deflate).
//! Units: bytes; blocks of the archive have 512. The disk has whole GiB, as [`UNIT`] says.
//! Determinism: mode, owner and time are fixed, the map follows from the contents. The archive is deflated in pieces of a
//! fixed length, each by itself and ended at a byte, on all cores, and the pieces are joined to one gzip member: no number of
//! cores changes a byte.
//! Not covered: other tar formats, more than one member.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;

use flate2::Crc;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};
use thiserror::Error;

use crate::disk::{HOLE, Layout, Readable};
use crate::gpt::{GptError, PRIMARY_SECTORS, SECTOR};

/// Google takes disks of whole GiB only.
pub(crate) const UNIT: u64 = 1 << 30;
/// The only name that is taken.
pub(crate) const MEMBER: &str = "disk.raw";
/// Permission bits of the member.
pub(crate) const MODE: u32 = 0o644;

/// Bytes that are deflated by themselves.
const PIECE: usize = 1 << 20;
/// Pieces in memory at once: their number changes no byte.
const BATCH: usize = 32;
/// Gzip: magic, deflate, no flags, no time, fastest, unknown system.
const GZIP: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];
const BLOCK: usize = 512;

/// Why no archive could be written.
#[derive(Debug, Error)]
pub(crate) enum GcpTarError {
    /// The partition table for the larger disk cannot be made.
    #[error("partition table could not be made")]
    Table(#[from] GptError),
    /// Reading or writing failed.
    #[error("archive could not be written")]
    Io(#[from] io::Error),
    /// The deflater did not take a whole piece.
    #[error("deflate stopped after {found} of {wanted} bytes")]
    Deflate {
        /// Bytes of the piece.
        wanted: usize,
        /// Bytes taken.
        found: usize,
    },
}

/// Where a run of the archive's bytes comes from.
enum Source {
    /// Made here.
    Bytes(Vec<u8>),
    /// A range of the disk that was written.
    Disk(Range<u64>),
}

/// The archive before it is compressed, readable at any place.
struct Archive<'a> {
    raw: Readable<'a>,
    /// Runs with the place where each begins, ascending.
    runs: Vec<(u64, Source)>,
    size: u64,
}

impl Source {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Disk(range) => range.end - range.start,
        }
    }
}

/// Writes the disk `raw` of `layout`, which has data where `extents` says, grown to whole GiB, as an archive to `out`, which must be empty;
/// returns SHA-256 and length.
pub(crate) fn write(
    raw: Readable<'_>,
    layout: &Layout,
    extents: &[Range<u64>],
    epoch: u64,
    out: &File,
) -> Result<([u8; 32], u64), GcpTarError> {
    let archive = Archive::new(raw, layout, extents, epoch)?;
    let mut out = Hashed {
        out: io::BufWriter::with_capacity(PIECE, out),
        hash: Sha256::new(),
        size: 0,
    };
    out.write_all(&GZIP)?;
    let mut crc = Crc::new();
    let last = archive.size.div_ceil(PIECE as u64).saturating_sub(1);
    let mut next = 0;
    while next <= last {
        let batch = next..(next + BATCH as u64).min(last + 1);
        let deflated: Vec<_> = batch
            .clone()
            .into_par_iter()
            .map(|piece| archive.deflated(piece, piece == last))
            .collect::<Result<_, _>>()?;
        for (bytes, own) in &deflated {
            out.write_all(bytes)?;
            crc.combine(own);
        }
        next = batch.end;
    }
    out.write_all(&crc.sum().to_le_bytes())?;
    out.write_all(&crc.amount().to_le_bytes())?;
    out.out.flush()?;
    Ok((out.hash.finalize().into(), out.size))
}

impl<'a> Archive<'a> {
    fn new(
        raw: Readable<'a>,
        layout: &Layout,
        extents: &[Range<u64>],
        epoch: u64,
    ) -> Result<Self, GcpTarError> {
        let grown = layout.grown(UNIT);
        let disk = disk_runs(&grown, extents)?;
        let extents: Vec<Range<u64>> = disk
            .iter()
            .map(|(start, source)| *start..*start + source.len())
            .collect();
        let mut runs = Vec::new();
        let mut size = 0;
        let header = Source::Bytes(headers(&extents, grown.size(), epoch)?);
        // Two empty blocks end an archive.
        let end = Source::Bytes(vec![0; 2 * BLOCK]);
        let sources = disk.into_iter().map(|(_, source)| source);
        for source in [header].into_iter().chain(sources).chain([end]) {
            let start = size;
            size += source.len();
            runs.push((start, source));
        }
        Ok(Self { raw, runs, size })
    }

    /// Piece number `piece` of the archive, deflated, and its checksum.
    fn deflated(&self, piece: u64, last: bool) -> Result<(Vec<u8>, Crc), GcpTarError> {
        let start = piece * PIECE as u64;
        let length = (self.size - start).min(PIECE as u64);
        let mut plain = vec![0; usize::try_from(length).unwrap_or(PIECE)];
        self.read(start, &mut plain)?;
        let mut crc = Crc::new();
        crc.update(&plain);
        Ok((deflate::piece(&plain, last)?, crc))
    }

    /// Fills `buffer` with the archive's bytes from `at` on.
    fn read(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut run = self.runs.partition_point(|(start, _)| *start <= at);
        run = run.saturating_sub(1);
        let (mut at, mut rest) = (at, buffer);
        for (start, source) in self.runs.get(run..).unwrap_or_default() {
            if rest.is_empty() {
                break;
            }
            let inside = at - start;
            let length = (source.len() - inside).min(rest.len() as u64);
            let count = usize::try_from(length).unwrap_or(usize::MAX);
            let (piece, behind) = rest
                .split_at_mut_checked(count)
                .ok_or(io::ErrorKind::InvalidInput)?;
            match source {
                Source::Bytes(bytes) => {
                    let from = usize::try_from(inside).unwrap_or(usize::MAX);
                    let bytes = bytes.get(from..).and_then(|bytes| bytes.get(..count));
                    piece.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
                }
                Source::Disk(range) => self.raw.read_exact_at(piece, range.start + inside)?,
            }
            at += length;
            rest = behind;
        }
        if rest.is_empty() {
            return Ok(());
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// The data of the grown disk: its own tables in front and behind, and between them what was written into partitions.
fn disk_runs(grown: &Layout, extents: &[Range<u64>]) -> Result<Vec<(u64, Source)>, GptError> {
    let mut head = grown.table.primary()?;
    head.resize(usize::try_from(HOLE).unwrap_or_default(), 0);
    let backup = grown.table.backup()?;
    let mut tail = vec![0; usize::try_from(HOLE).unwrap_or_default() - backup.len()];
    tail.extend(backup);
    let first = grown.table.partitions.iter().map(|part| part.first).min();
    let first = first.unwrap_or(PRIMARY_SECTORS) * SECTOR as u64;
    let contents = extents.iter().filter_map(|extent| {
        let (start, end) = (extent.start.max(first), extent.end.min(grown.end()));
        (start < end).then_some((start, Source::Disk(start..end)))
    });
    let tail = (grown.size() - HOLE, Source::Bytes(tail));
    let head = (0, Source::Bytes(head));
    Ok([head].into_iter().chain(contents).chain([tail]).collect())
}

/// The member's header and the blocks of its map.
fn headers(extents: &[Range<u64>], real_size: u64, epoch: u64) -> io::Result<Vec<u8>> {
    let mut header = Header::new_gnu();
    header.set_path(MEMBER)?;
    header.set_mode(MODE);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(epoch);
    header.set_entry_type(EntryType::GNUSparse);
    header.set_size(extents.iter().map(|extent| extent.end - extent.start).sum());
    let mut rest = extents.iter();
    let gnu = header.as_gnu_mut().ok_or(io::ErrorKind::InvalidData)?;
    gnu.set_real_size(real_size);
    fill(&mut gnu.sparse, &mut rest);
    gnu.set_is_extended(!rest.as_slice().is_empty());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    while !rest.as_slice().is_empty() {
        let mut more = GnuExtSparseHeader::new();
        fill(more.sparse_mut(), &mut rest);
        more.set_is_extended(!rest.as_slice().is_empty());
        bytes.extend(more.as_bytes());
    }
    Ok(bytes)
}

/// Moves as many extents as fit into the `places` of one block.
fn fill(places: &mut [GnuSparseHeader], extents: &mut std::slice::Iter<'_, Range<u64>>) {
    for (place, extent) in places.iter_mut().zip(extents) {
        place.set_offset(extent.start);
        place.set_length(extent.end - extent.start);
    }
}

/// Counts and hashes what is written.
struct Hashed<'a> {
    out: io::BufWriter<&'a File>,
    hash: Sha256,
    size: u64,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

mod deflate;
mod reader;

pub(crate) use reader::{Form, FormError, is_gzip, read};

#[cfg(test)]
mod tests;
